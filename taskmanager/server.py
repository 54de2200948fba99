"""Runs the web server: in place of `serve`, as a child process of `demo`."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import NoReturn, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServerError(Exception):
    """The web server does not start; the message says why."""


def _leave(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def free_port(wanted: int = 0, host: str = "127.0.0.1") -> int:
    """`wanted` or, where it is taken, one of the next hundred; 0 asks for any free port.

    Raises ServerError when all of them are taken.
    """
    for port in range(wanted, wanted + 100) if wanted else [0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerError(f"Ports {wanted} to {wanted + 99} are all taken.")


def command(host: str, port: int, workers: int, threads: int) -> list[str]:
    """The command line of Granian with our application; `threads` are those of each worker."""
    return [
        *("env", f"WEB_THREADS={threads}"),  # for taskmanager.asgi, whose threads they are
        *(sys.executable, "-m", "granian"),
        *("--interface", "asginl", "--http", "1", "--no-ws"),
        *("--host", host, "--port", str(port), "--workers", str(workers)),
        *("--http1-header-read-timeout", "15000"),
        *("--log-level", "warning", "--respawn-failed-workers"),
        "taskmanager.asgi:application",
    ]


class Server:
    """A web server on this machine; use it as a context manager to have it ended."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.command = command("127.0.0.1", port, workers=2, threads=4)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers. Raises ServerError when it does not.

        From then on SIGTERM ends this process as Ctrl-C does, with the server before it.
        """
        signal.signal(signal.SIGTERM, _leave)
        # A process group of its own: Ctrl-C reaches us alone, and we end it in order.
        self.process = subprocess.Popen(  # noqa: S603 (our own command line)
            self.command, start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None:
                raise ServerError(f"The web server ended with code {self.process.returncode}.")
            if time.monotonic() > deadline:
                self.stop()
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

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None  # noqa: S101 (start comes first)
        return self.process.wait()

    def stop(self) -> None:
        """End it and all its workers; what is under way is finished first."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
