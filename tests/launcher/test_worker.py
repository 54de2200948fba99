"""The worker and the server as real processes: how they start, work, lose things, and end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import psycopg
import pytest

from taskmanager.postgres import Cluster
from taskmanager.server import address, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
LONG = 30.0


class Site:
    """A data folder with a migrated embedded database, and the processes started on it."""

    def __init__(self, ground: Path) -> None:
        self.ground = ground
        self.cluster = Cluster(ground / "pg", durable=False)
        self.processes: list[subprocess.Popen[str]] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PG_DATA_NAME"},
            "DJANGO_SETTINGS_MODULE": "taskmanager.settings",
            "DATA_DIR": str(ground),
            "PG_DURABLE": "0",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of manage.py, to its end."""
        return subprocess.run(
            [sys.executable, ROOT / "manage.py", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LONG * 4,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command of manage.py that goes on; its output goes to a file of its own."""
        with (self.ground / f"out-{len(self.processes)}").open("w") as out:
            process = subprocess.Popen(
                [sys.executable, ROOT / "manage.py", *arguments],
                env=self.environment,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def said(self, process: subprocess.Popen[str]) -> str:
        """All that a process has printed so far."""
        return (self.ground / f"out-{self.processes.index(process)}").read_text()

    def clear(self) -> None:
        """End whatever a test has left."""
        for process in self.processes:
            for one in [process.pid, *(child.pid for child in children(process))]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            process.wait()

    def ask(self, query: str) -> Any:
        """The first row that the database answers with."""
        host, port, user, dbname = self.cluster.address()
        with psycopg.connect(host=host, port=port, user=user, dbname=dbname) as session:
            return session.execute(query.encode()).fetchone()

    def beat(self) -> datetime | None:
        """When a worker last swept; None while the database is away."""
        try:
            row = self.ask("select at from tasks_workerheartbeat")
        except psycopg.OperationalError:
            return None
        return row[0] if row else None

    def beats_on(self, seconds: float = LONG) -> float:
        """How long it takes until a worker sweeps again, twice; fails when none does."""
        began = time.monotonic()
        for _ in range(2):
            seen = self.beat()
            until(lambda seen=seen: self.beat() not in (seen, None), seconds)
        return time.monotonic() - began


def until(true: Callable[[], bool], seconds: float = LONG) -> None:
    """Wait until something is true; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """What a process has started, and what those have started; all at this moment."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [
            one
            for one in psutil.Process(process.pid).children(recursive=True)
            if not one.name().startswith("postgres")
        ]
    return []


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The background workers among them."""
    found = []
    for one in children(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.cmdline()[-1:] == ["worker"]:
                found.append(one)
    return found


def ends(process: subprocess.Popen[str], number: signal.Signals) -> float:
    """Signal a process; how long it took to end, with exit code 0."""
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(LONG) == 0
    return time.monotonic() - began


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A migrated site's data folder; copied by nobody, stopped at the end."""
    ground = Path(tempfile.mkdtemp(prefix="worker-"))
    ground.chmod(0o755)
    migrated = Site(ground).run("migrate", "-v0")
    assert migrated.returncode == 0, migrated.stderr
    yield ground
    Cluster(ground / "pg", durable=False).stop()
    shutil.rmtree(ground)


@pytest.fixture
def site(ground: Path) -> Iterator[Site]:
    """The site, with nothing running on it but the database."""
    site = Site(ground)
    site.cluster.ensure()
    yield site
    site.clear()
    site.cluster.ensure()
    site.ask(
        "with gone as (delete from procrastinate_workers) delete from procrastinate_jobs "
        "returning id"
    )


@pytest.fixture
def serve(site: Site) -> Callable[..., tuple[subprocess.Popen[str], int]]:
    """Start `serve` and wait until it answers."""

    def started(*arguments: str) -> tuple[subprocess.Popen[str], int]:
        port = free_port()
        process = site.start("serve", "--port", str(port), "--workers", "1", *arguments)
        until(lambda: answers(port))
        return process, port

    return started


def answers(port: int) -> bool:
    """Whether something answers there."""
    try:
        urlopen(f"http://127.0.0.1:{port}/admin/login/", timeout=10).close()
    except (URLError, OSError):
        return False
    return True


# --- The worker -----------------------------------------------------------------------------------


def test_it_sweeps_every_second_and_keeps_no_finished_jobs(site: Site) -> None:
    worker = site.start("worker")
    site.beats_on()
    beats = set()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        beats.add(site.beat())
        time.sleep(0.05)
    gaps = sorted(b - a for a, b in zip(sorted(beats), sorted(beats)[1:], strict=False))
    assert gaps[-1].total_seconds() < 1.8  # a task is seen within two seconds of its time
    assert site.ask("select count(*) from procrastinate_jobs")[0] <= 2
    assert site.ask("select count(*) from procrastinate_events")[0] <= 4
    assert site.ask("select count(*) from procrastinate_periodic_defers")[0] <= 6
    assert site.ask("select count(*) from tasks_auditseal")[0] == 1
    assert "Audit seal 1 of 0 chains: " in site.said(worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_when_told_to(site: Site, number: signal.Signals) -> None:
    worker = site.start("worker")
    site.beats_on()
    assert ends(worker, number) < 5
    assert "The worker has stopped." in site.said(worker).splitlines()[-1]
    assert "Traceback" not in site.said(worker)
    assert site.ask("select count(*) from procrastinate_workers") == (0,)


def test_it_works_again_after_the_database_was_killed(site: Site) -> None:
    worker = site.start("worker")
    site.beats_on()
    for _ in range(2):
        postmaster = site.cluster.status().pid
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        assert site.beats_on(10) < 10
    assert worker.poll() is None
    assert ends(worker, signal.SIGTERM) < 5


def test_it_ends_in_order_while_the_database_is_away(site: Site) -> None:
    outside = Site(site.ground)
    outside.environment["DATABASE_URL"] = f"postgres://nobody@127.0.0.1:{free_port()}/nothing"
    worker = outside.start("worker")
    until(lambda: outside.said(worker).count("The database cannot be reached: ") >= 2)
    assert worker.poll() is None
    assert ends(worker, signal.SIGTERM) < 5


def test_of_two_workers_one_goes_on_when_the_other_dies(site: Site) -> None:
    first, second = site.start("worker"), site.start("worker")
    for worker in (first, second):
        until(lambda worker=worker: "The worker works." in site.said(worker))
    site.beats_on()
    first.kill()
    first.wait()
    assert site.beats_on(5) < 5
    assert ends(second, signal.SIGTERM) < 5
    for worker in (first, second):
        assert "Traceback" not in site.said(worker)


def test_what_a_dead_worker_left_half_done_is_cleared_away(site: Site) -> None:
    """Its jobs stand as begun for ever; they keep no other from being done."""
    site.ask(
        "with dead as (insert into procrastinate_workers (last_heartbeat) "
        "values (now() - interval '1 hour') returning id) "
        "insert into procrastinate_jobs (queue_name, task_name, queueing_lock, status, worker_id) "
        "select 'default', task, task, 'doing', id from dead, unnest(array['sweep', 'tidy']) task "
        "returning id"
    )
    site.ask("delete from procrastinate_periodic_defers where task_name = 'tidy' returning 1")
    site.start("worker")
    site.beats_on(5)
    until(lambda: site.ask("select count(*) from procrastinate_workers") == (1,))
    until(lambda: site.ask("select count(*) from procrastinate_jobs")[0] <= 1)


def test_a_task_expires_within_two_seconds_of_its_time(site: Site) -> None:
    site.start("worker")
    site.beats_on()
    made = site.run(
        "shell",
        "-v0",
        "-c",
        "from datetime import timedelta\n"
        "from django.utils import timezone\n"
        "from accounts.models import User\n"
        "from tasks.actions import Call, Draft, create\n"
        "from tasks.models import Channel, Task\n"
        "carol, _ = User.objects.get_or_create(username='carol', is_superuser=True)\n"
        "soon = timezone.now() + timedelta(seconds=1)\n"
        "create([Draft(Task(name='soon', expires_at=soon), {}) for _ in range(3)], "
        "call=Call(carol, Channel.COMMAND))\n",
    )
    assert made.returncode == 0, made.stderr
    until(lambda: site.ask("select count(*) from tasks_task where state = 'expired'") == (3,), 5)
    late = site.ask("select max(ended_at - expires_at) from tasks_task where name = 'soon'")[0]
    assert 0 <= late.total_seconds() < 2


def test_it_refuses_a_database_that_is_not_migrated(tmp_path: Path) -> None:
    tmp_path = Path(tempfile.mkdtemp(prefix="worker-"))
    tmp_path.chmod(0o755)
    empty = Site(tmp_path)
    try:
        refused = empty.run("worker")
    finally:
        empty.cluster.stop()
        shutil.rmtree(tmp_path)
    assert refused.returncode == 1
    assert "run `./run migrate` first" in refused.stderr


# --- Beside the web server ------------------------------------------------------------------------

Serve = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_starts_a_worker_and_ends_it_in_order(
    site: Site, serve: Serve, number: signal.Signals
) -> None:
    server, port = serve()
    site.beats_on()
    family = children(server)
    assert len(workers(server)) == 1
    assert ends(server, number) < 10
    assert not [one for one in family if one.is_running()]
    assert not answers(port)
    assert "The worker has stopped." in site.said(server)
    assert "Traceback" not in site.said(server)


def test_nothing_outlives_a_server_that_is_killed(site: Site, serve: Serve) -> None:
    server, port = serve()
    site.beats_on()
    family = children(server)
    assert len(family) >= 3  # granian, its process, the worker
    server.kill()
    server.wait()
    until(lambda: not [one for one in family if one.is_running()], 10)
    assert not answers(port)


def test_a_worker_that_dies_is_started_again_more_slowly_each_time(
    site: Site, serve: Serve
) -> None:
    server, port = serve()
    pauses = []
    for _ in range(2):
        until(lambda: len(workers(server)) == 1)
        (worker,) = workers(server)
        worker.kill()
        began = time.monotonic()
        until(lambda pid=worker.pid: [one.pid for one in workers(server)] not in ([], [pid]))
        pauses.append(time.monotonic() - began)
    assert 1 <= pauses[0] < 2 <= pauses[1] < 3.5
    site.beats_on()
    assert answers(port)
    assert ends(server, signal.SIGTERM) < 10


def test_a_web_server_that_dies_is_started_again(site: Site, serve: Serve) -> None:
    """As after two deaths of one of its processes within seconds, when Granian gives up."""
    server, port = serve()
    (worker,) = workers(server)
    (granian,) = {*psutil.Process(server.pid).children()} - {worker}
    family = children(server)
    granian.kill()
    until(lambda: not granian.is_running())
    until(lambda: answers(port))
    assert [one for one in family if one.is_running()] == [worker]
    assert ends(server, signal.SIGTERM) < 10


def test_hang_up_renews_both_and_loses_no_request(site: Site, serve: Serve) -> None:
    server, port = serve()
    site.beats_on()
    (old,) = workers(server)
    (granian,) = {*psutil.Process(server.pid).children()} - {old}
    (process,) = granian.children()
    server.send_signal(signal.SIGHUP)
    began = time.monotonic()
    while process.is_running():
        assert answers(port)
        assert time.monotonic() < began + LONG
        time.sleep(0.05)
    assert answers(port)
    assert granian in psutil.Process(server.pid).children()
    until(lambda: workers(server) not in ([], [old]))
    site.beats_on()
    assert ends(server, signal.SIGTERM) < 10


def test_serve_without_a_worker_has_none(site: Site, serve: Serve) -> None:
    server, _ = serve("--no-worker")
    assert workers(server) == []
    assert ends(server, signal.SIGTERM) < 10


def test_the_address_to_ask_is_a_url_for_either_kind_of_host() -> None:
    assert address("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert address("::1", 8000) == "http://[::1]:8000"


def test_a_web_server_that_cannot_start_ends_everything_with_its_code(site: Site) -> None:
    server = site.start("serve", "--host", "203.0.113.1")  # no address of this machine
    family: set[psutil.Process] = set()
    until(lambda: family.update(children(server)) or server.poll() is not None)
    assert server.returncode == 1
    assert not [one for one in family if one.is_running()]
    assert "Cannot listen on 203.0.113.1, port 8000: " in site.said(server)
