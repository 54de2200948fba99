"""Runs the web server and the worker beside it: for `serve`, and for `demo`."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

START_SECONDS = 60.0
STOP_SECONDS = 20.0
RELOAD_SECONDS = 8  # how long a new process of the web server may take before the old one goes
WATCH_SECONDS = 0.2  # how long a child may be dead before it is noticed
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # before a child that died is started again
STEADY_SECONDS = 60.0  # a child that lived so long starts with the shortest pause again
MANAGE = Path(__file__).resolve().parent.parent / "manage.py"

_PARENT_DIES = 1  # PR_SET_PDEATHSIG of prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


class ServerError(Exception):
    """The web server cannot start; the message says why."""


def _leave(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def free_port(wanted: int = 0, host: str = "127.0.0.1") -> int:
    """`wanted` or, where it is taken, one of the next hundred; 0 asks for any free port.

    Raises ServerError when all of them are taken.
    """
    for port in range(wanted, wanted + 100) if wanted else [0]:
        with suppress(OSError), _listening(host, port) as probe:
            return int(probe.getsockname()[1])
    raise ServerError(f"Ports {wanted} to {wanted + 99} are all taken.")


def address(host: str, port: int) -> str:
    """Where a server that listens there is found, as the beginning of its URLs."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def demand_free(host: str, port: int) -> None:
    """Raises ServerError when nobody can listen there, with the system's word for why."""
    try:
        _listening(host, port).close()
    except OSError as error:
        raise ServerError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from error


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def web_command(host: str, port: int, workers: int, threads: int) -> list[str]:
    """The command line of Granian with our application; `threads` are those of each worker."""
    return [
        *("env", f"WEB_THREADS={threads}"),  # for taskmanager.asgi, whose threads they are
        *(sys.executable, "-m", "granian"),
        *("--interface", "asginl", "--http", "1", "--no-ws"),
        *("--host", host, "--port", str(port), "--workers", str(workers)),
        *("--http1-header-read-timeout", "15000"),
        *("--log-level", "warning", "--respawn-failed-workers"),
        *("--respawn-interval", str(RELOAD_SECONDS)),
        "taskmanager.asgi:application",
    ]


def end_with_parent() -> None:
    """From now on this process gets SIGTERM when the one that started it ends, however it ends."""
    _LIBC.prctl(_PARENT_DIES, signal.SIGTERM)


class Child:
    """One process of ours with all it starts; it never outlives us, however we end."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.renewing = False
        """Told to end, so as to be started again at once."""
        self._started, self._pause = 0.0, SHORTEST_PAUSE / 2
        self._due: float | None = None  # when one that has ended is started again

    def start(self) -> None:
        """Start it in a process group of its own: Ctrl-C reaches us alone, and we end it."""
        self._kill_group()
        us = os.getpid()

        def die_with_us() -> None:
            end_with_parent()
            if os.getppid() != us:  # we were gone before it asked
                os._exit(1)

        self.process = subprocess.Popen(  # noqa: S603 (our own command line)
            self.command, start_new_session=True, preexec_fn=die_with_us
        )
        self._started, self._due = time.monotonic(), None

    def revive(self) -> None:
        """Start it again where it has ended, after a pause that is longer each time."""
        if self.code is None:
            return
        now = time.monotonic()
        if self._due is None:
            steady = now - self._started > STEADY_SECONDS
            self._pause = SHORTEST_PAUSE if steady else min(self._pause * 2, LONGEST_PAUSE)
            self._due = now if self.renewing else now + self._pause
            self.renewing = False
        if now >= self._due:
            self.start()

    @property
    def code(self) -> int | None:
        """Its exit code as a shell has it, 128 and the signal that killed it; None while it runs.

        None as well before it was started.
        """
        code = self.process.poll() if self.process else None
        return 128 - code if code is not None and code < 0 else code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None:
            self.process.send_signal(number)

    def end(self) -> None:
        """Wait until it has ended by itself; kill it and all it started when it does not."""
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._kill_group()
        self.process.wait()

    def _kill_group(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Server:
    """The web server, and unless told otherwise the worker; a context manager that ends them."""

    def __init__(self, web: Sequence[str], url: str, *, worker: bool = True) -> None:
        self.url = url
        self.web = Child(web)
        self.worker = Child([sys.executable, str(MANAGE), "worker"]) if worker else None
        self._children = [child for child in (self.web, self.worker) if child is not None]

    def start(self) -> None:
        """Start both. From then on SIGTERM ends this process as Ctrl-C does, with them before it.

        SIGHUP lets the web server load the code anew, losing no request, and renews the worker.
        """
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGHUP, self._renew)
        for child in self._children:
            child.start()

    def demand_answers(self) -> None:
        """Wait until the web server answers. Raises ServerError when it does not."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.web.code is not None:
                raise ServerError(f"The web server ended with code {self.web.code}.")
            if time.monotonic() > deadline:
                raise ServerError(f"The web server did not answer in {START_SECONDS:.0f} s.")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urlopen(Request(f"{self.url}/healthz"), timeout=5).close()  # noqa: S310
        except HTTPError:
            return True
        except (URLError, OSError):
            return False
        return True

    def wait(self) -> NoReturn:
        """Watch over both until a signal ends us: whichever dies is started again.

        The web server gives up when a process of its own dies twice within seconds.
        """
        while True:
            for child in self._children:
                child.revive()
            time.sleep(WATCH_SECONDS)

    def _renew(self, number: int, frame: object) -> None:
        self.web.signal(signal.SIGHUP)
        if self.worker is not None:
            self.worker.renewing = True
            self.worker.signal(signal.SIGTERM)

    def stop(self) -> None:
        """End both, the web server with all its workers; what is under way is finished first."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # we are leaving already
        for child in self._children:
            child.signal(signal.SIGTERM)
        for child in self._children:
            child.end()

    def __enter__(self) -> Self:
        """Start; what cannot be started is ended again."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
