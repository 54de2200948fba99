"""The embedded PostgreSQL starts, heals and stops, and touches nothing that is not its own."""

import fcntl
import os
import pickle
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taskmanager import postgres
from taskmanager.postgres import Address, Cluster, EmbeddedPostgresError

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[2]
ODD = "a b,c 'd' \"e\" $HOME `f` é 木"

needs_root = pytest.mark.skipif(not ROOT, reason="only root can become somebody else")

ENSURE = """
import sys
from pathlib import Path
from taskmanager.postgres import Cluster
print(*Cluster(Path(sys.argv[1]), durable=False).ensure())
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A folder that every account may enter, which pytest's own are not; nothing outlives it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make(ground: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters with data folders of their own, and stops them afterwards."""
    made = []

    def cluster(name: str = "pg", *, durable: bool = False) -> Cluster:
        folder = Path(tempfile.mkdtemp(dir=ground))
        folder.chmod(0o755)
        made.append(Cluster(folder / name, durable=durable))
        return made[-1]

    yield cluster
    for cluster_made in made:
        clear(cluster_made)


@pytest.fixture(scope="module")
def shared(ground: Path) -> Iterator[Cluster]:
    """One cluster for the tests that it must survive in any case."""
    cluster = Cluster(ground / "shared" / "pg", durable=False)
    yield cluster
    clear(cluster)


@pytest.fixture
def bystander(shared: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """An innocent process of the server's account that sits in the server's folder."""
    shared.ensure()
    uid = shared.uid if ROOT else None
    process = subprocess.Popen(["sleep", "60"], cwd=shared.data, user=uid)
    yield process
    process.kill()
    process.wait()


def clear(cluster: Cluster) -> None:
    """Stop the server and remove its socket folder."""
    cluster.stop()
    shutil.rmtree(cluster.address().host, ignore_errors=True)


def ask(address: Address, query: str) -> Any:
    """The first value that the query returns."""
    with psycopg.connect(**address._asdict()) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def postmaster(cluster: Cluster) -> int:
    """The process id of the running server."""
    state, pid = cluster.status()
    assert state == "running"
    assert pid is not None
    return pid


def path_of(pid: int) -> Path:
    """The program that the process was started from."""
    return Path(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0])


def starts_of(cluster: Cluster) -> int:
    """How often the log says that a server has started."""
    return cluster.log_path.read_text().count("LOG:  starting PostgreSQL")


def is_gone(pid: int) -> bool:
    """Whether the process has ended; its parent may still have to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def has_ended(pid: int) -> bool:
    """Whether the process is gone within a moment: its memory goes before it does."""
    deadline = time.monotonic() + 2
    while not is_gone(pid) and time.monotonic() < deadline:
        time.sleep(0.001)
    return is_gone(pid)


def kill(pid: int) -> None:
    """Kill the process and wait until it has ended, which is a moment after the signal."""
    os.kill(pid, signal.SIGKILL)
    while not is_gone(pid):
        time.sleep(0.001)


def as_nobody(work: Callable[[], Any]) -> Any:
    """What `work` returns, or the exception it raises, in a process of the account nobody."""
    account = pwd.getpwnam("nobody")
    read, write = os.pipe()
    with warnings.catch_warnings():  # of threads, of which the child uses none
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            result = work()
        except Exception as error:
            result = error
        with open(write, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        result = pickle.load(pipe)  # noqa: S301  (written by the child above)
    os.waitpid(child, 0)
    return result


# Starting and stopping


def test_a_cluster_that_nobody_uses_leaves_no_trace(make: Callable[..., Cluster]) -> None:
    cluster = make()
    address = cluster.address()

    assert cluster.status() == ("absent", None)
    assert cluster.stop() is False
    assert not cluster.home.exists()
    assert not Path(address.host).exists()


def test_the_first_use_makes_a_cluster_with_the_application_database(
    make: Callable[..., Cluster],
) -> None:
    cluster = make()
    expected = cluster.address()

    address = cluster.ensure()

    assert address == expected
    assert ask(address, "SELECT current_database()") == "taskmanager"
    locale = "SELECT datlocale FROM pg_database WHERE datname = current_database()"
    assert ask(address, locale) == "C.UTF-8"
    assert ask(address, "SELECT upper('é')") == "É"
    for setting, value in {
        "listen_addresses": "",
        "max_connections": "200",
        "TimeZone": "UTC",
        "jit": "off",
        "fsync": "off",
    }.items():
        assert ask(address, f"SHOW {setting}") == value
    for folder in (cluster.home, cluster.data, Path(address.host)):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == cluster.uid


def test_a_durable_cluster_syncs_to_disk(make: Callable[..., Cluster]) -> None:
    cluster = make(durable=True)

    address = cluster.ensure()

    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        assert ask(address, f"SHOW {setting}") == "on"


def test_a_running_server_is_found_at_once(shared: Cluster) -> None:
    shared.ensure()
    pid = postmaster(shared)

    begun = time.perf_counter()
    for _ in range(100):
        shared.ensure()
    each = (time.perf_counter() - begun) / 100

    assert each < 0.01
    assert postmaster(shared) == pid


def test_data_outlives_a_stop(shared: Cluster) -> None:
    ask(shared.ensure(), "CREATE TABLE kept AS SELECT 7 AS value")
    pid = postmaster(shared)

    assert shared.stop() is True
    assert has_ended(pid)
    assert not Path(shared.address().host).exists()
    assert shared.status() == ("stopped", None)
    assert shared.stop() is False

    assert ask(shared.ensure(), "SELECT value FROM kept") == 7


def test_twelve_processes_at_once_start_one_server(make: Callable[..., Cluster]) -> None:
    cluster = make()
    command = [sys.executable, "-c", ENSURE, str(cluster.home)]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(12)
    ]
    answers = {process.communicate()[0] for process in processes}

    assert [process.returncode for process in processes] == [0] * 12
    assert len(answers) == 1
    assert starts_of(cluster) == 1
    assert ask(cluster.address(), "SELECT 1") == 1


def test_the_server_is_out_of_reach_of_the_terminal_that_started_it(shared: Cluster) -> None:
    shared.ensure()

    assert os.getsid(postmaster(shared)) != os.getsid(0)


def test_settings_that_the_server_refuses_are_quoted_from_its_log(
    make: Callable[..., Cluster],
) -> None:
    cluster = make()
    cluster.ensure()
    cluster.stop()
    with (cluster.data / "postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = 1\n")

    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        cluster.ensure()


def test_outside_linux_the_message_asks_for_a_database_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(EmbeddedPostgresError, match="DATABASE_URL"):
        Cluster(tmp_path)


# Healing


def test_a_killed_server_recovers_what_was_committed(make: Callable[..., Cluster]) -> None:
    cluster = make(durable=True)
    ask(cluster.ensure(), "CREATE TABLE committed AS SELECT 8 AS value")
    pid = postmaster(cluster)

    kill(pid)

    assert ask(cluster.ensure(), "SELECT value FROM committed") == 8
    assert postmaster(cluster) != pid


def test_a_query_that_outlives_a_killed_server_does_not_block_the_next(
    shared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "GRACE_SECONDS", 0.5)
    busy = psycopg.connect(**shared.ensure()._asdict())
    backend = busy.info.backend_pid
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")
    time.sleep(0.1)

    kill(postmaster(shared))
    assert not is_gone(backend)

    assert ask(shared.ensure(), "SELECT 1") == 1
    assert has_ended(backend)
    busy.close()


@pytest.mark.parametrize("content", ["", "1", "{pid}\n{data}\n", "{pid}\n{rest}", "no number\n"])
def test_a_stale_pid_file_is_cleared_and_the_process_it_names_lives(
    shared: Cluster, bystander: subprocess.Popen[bytes], content: str
) -> None:
    file = shared.data / "postmaster.pid"
    rest = file.read_text().partition("\n")[2]
    kill(postmaster(shared))
    file.write_text(content.format(pid=bystander.pid, data=shared.data, rest=rest))

    assert ask(shared.ensure(), "SELECT 1") == 1
    assert shared.stop() is True
    assert bystander.poll() is None


def test_a_running_server_whose_pid_file_is_lost_is_replaced(
    shared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "GRACE_SECONDS", 0.2)
    shared.ensure()
    pid = postmaster(shared)
    (shared.data / "postmaster.pid").write_text("")

    assert ask(shared.ensure(), "SELECT 1") == 1
    assert has_ended(pid)


def test_a_server_whose_socket_folder_is_deleted_comes_back(shared: Cluster) -> None:
    address = shared.ensure()
    shutil.rmtree(address.host)

    assert shared.ensure() == address
    assert ask(address, "SELECT 1") == 1


def test_a_killed_initdb_leaves_nothing_that_counts(make: Callable[..., Cluster]) -> None:
    cluster = make()
    command = [sys.executable, "-c", ENSURE, str(cluster.home)]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    while not (half := list(cluster.home.glob("cluster.new-*/base"))):
        time.sleep(0.005)
    process.kill()
    process.wait()

    assert ask(cluster.ensure(), "SELECT 1") == 1
    assert not half[0].parent.exists()


def test_a_deleted_data_folder_means_a_new_cluster(make: Callable[..., Cluster]) -> None:
    cluster = make()
    ask(cluster.ensure(), "CREATE TABLE old ()")
    pid = postmaster(cluster)
    shutil.rmtree(cluster.home)

    assert ask(cluster.ensure(), "SELECT to_regclass('old')") is None
    assert has_ended(pid)


def test_a_renamed_data_folder_takes_its_data_along(make: Callable[..., Cluster]) -> None:
    before = make("before", durable=True)
    ask(before.ensure(), "CREATE TABLE kept AS SELECT 9 AS value")
    pid = postmaster(before)
    if not os.access(f"/proc/{pid}/cwd", os.R_OK):
        pytest.skip("without the right to trace, another account's folders cannot be told apart")
    before.home.rename(before.home.with_name("after"))
    after = Cluster(before.home.with_name("after"))

    assert ask(after.ensure(), "SELECT value FROM kept") == 9
    assert has_ended(pid)
    clear(after)


# Paths and owners


@pytest.mark.parametrize("name", [ODD, "long/" + "l" * 100 + "/" + "m" * 100])
def test_any_path_will_do(make: Callable[..., Cluster], name: str) -> None:
    cluster = make(name)

    address = cluster.ensure()

    assert ask(address, "SHOW data_directory") == str(cluster.data)
    assert len(f"{address.host}/.s.PGSQL.{address.port}") <= 107
    assert cluster.stop() is True


def test_programs_whose_path_means_something_to_a_shell_will_do(
    make: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make()
    wheel = postgres.program("postgres").parents[2]
    odd = cluster.home.parent / 'a"b $HOME `c`'
    odd.mkdir()
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(part, odd / part.name)
    monkeypatch.setattr(
        postgres, "program", lambda name: odd / wheel.name / "pginstall18" / "bin" / name
    )

    assert ask(cluster.ensure(), "SELECT 1") == 1
    assert path_of(postmaster(cluster)).is_relative_to(odd)
    assert not Path(cluster.address().host, "programs").exists()


def test_a_link_to_the_data_folder_is_the_same_cluster(shared: Cluster, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(shared.home)

    assert Cluster(link).address() == shared.address()


def test_the_address_does_not_depend_on_the_temporary_folder(
    shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)

    assert Cluster(shared.home).address() == shared.address()


def test_a_server_out_of_sight_is_not_joined_on_its_data(
    shared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ALONE_SECONDS", 0.1)
    shared.ensure()
    shared.stop()
    with (shared.home / "alive").open() as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedPostgresError, match="another container"):
            shared.ensure()
        assert shared.status() == ("stopped", None)

    shared.ensure()


def test_a_socket_folder_that_is_not_ours_is_refused_and_left_alone(shared: Cluster) -> None:
    host = Path(shared.ensure().host)
    shared.stop()
    host.write_text("not a folder")

    with pytest.raises(EmbeddedPostgresError, match="remove it"):
        shared.ensure()
    assert host.read_text() == "not a folder"

    host.unlink()
    shared.ensure()


@needs_root
def test_a_socket_folder_of_another_account_is_never_connected_to(shared: Cluster) -> None:
    host = Path(shared.ensure().host)
    os.chown(host, pwd.getpwnam("games").pw_uid, -1)

    with pytest.raises(EmbeddedPostgresError, match="remove it"):
        shared.ensure()

    os.chown(host, shared.uid, -1)
    assert ask(shared.ensure(), "SELECT 1") == 1


@needs_root
def test_root_and_the_owner_take_turns_and_the_owner_keeps_all_files(
    make: Callable[..., Cluster],
) -> None:
    path = make().home
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(path.parent, nobody, -1)

    def owner() -> Cluster:
        return Cluster(path, durable=False)

    assert (
        as_nobody(lambda: ask(owner().ensure(), "CREATE TABLE kept AS SELECT 3 AS value")) is None
    )
    theirs = Cluster(path, durable=False)
    assert ask(theirs.ensure(), "SELECT value FROM kept") == 3
    assert theirs.stop() is True
    assert ask(theirs.ensure(), "SELECT value FROM kept") == 3
    assert as_nobody(lambda: ask(owner().ensure(), "SELECT value FROM kept")) == 3
    assert as_nobody(lambda: owner().stop()) is True
    assert {found.lstat().st_uid for found in (path, *path.rglob("*"))} == {nobody}
    clear(theirs)


@needs_root
def test_another_account_is_told_whose_cluster_it_is(shared: Cluster) -> None:
    shared.ensure()
    pid = postmaster(shared)

    error = as_nobody(lambda: Cluster(shared.home).ensure())

    assert isinstance(error, EmbeddedPostgresError)
    assert f"belongs to user {shared.uid}" in str(error)
    assert postmaster(shared) == pid


@needs_root
def test_a_checkout_in_a_private_home_puts_data_elsewhere_and_stays_private(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATE_FOLDER", ground / "state")
    private = ground / "private"
    private.mkdir(mode=0o700)
    wheel = postgres.program("postgres").parents[2]
    (private / wheel.name).symlink_to(wheel)
    shutil.copytree(f"{wheel}.libs", private / f"{wheel.name}.libs")
    monkeypatch.setattr(
        postgres, "program", lambda name: private / wheel.name / "pginstall18" / "bin" / name
    )

    first = Cluster(private / "data" / "pg", durable=False)
    ask(first.ensure(), "CREATE TABLE kept AS SELECT 4 AS value")
    first.stop()
    again = Cluster(private / "data" / "pg", durable=False)

    assert ask(again.ensure(), "SELECT value FROM kept") == 4
    assert again.home.parent == ground / "state"
    assert path_of(postmaster(again)).is_relative_to(again.home)
    assert private.stat().st_mode & 0o777 == 0o700
    assert private.stat().st_uid == 0
    clear(again)


@needs_root
def test_a_strict_umask_of_root_does_not_lock_the_account_out(make: Callable[..., Cluster]) -> None:
    cluster = make("new/pg")
    before = os.umask(0o077)
    try:
        assert ask(cluster.ensure(), "SELECT 1") == 1
    finally:
        os.umask(before)
    assert cluster.home.name == "pg"
