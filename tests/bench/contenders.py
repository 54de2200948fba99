"""The three servers: how each is started, asked, and what its processes use."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

from taskmanager.server import end_with_parent, free_port, web_command

ROOT = Path(__file__).resolve().parents[2]
WORKERS, THREADS = 2, 8
START_SECONDS = 60.0
CALL_SECONDS = 600.0
NAMES = ("ours", "limit", "plain")


class BenchError(Exception):
    """Something could not be measured; the message says what."""


class Request(NamedTuple):
    """One call: everything but whom it goes to."""

    method: str
    path: str
    token: str
    body: bytes = b""
    cookie: str = ""

    def text(self) -> bytes:
        """The bytes that go out."""
        who = f"Cookie: {self.cookie}" if self.cookie else f"Authorization: Token {self.token}"
        kind = f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
            f"{who}\r\n{kind if self.body else ''}\r\n"
        )
        return head.encode() + self.body


class Reply(NamedTuple):
    """What came back, and how long it took in seconds."""

    status: int
    body: bytes
    seconds: float


class Connection:
    """One kept-alive connection: sockets alone, so that the asking costs little."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), CALL_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: Request) -> Reply:
        """One call. Raises BenchError where the answer breaks off or has no length."""
        started = time.perf_counter()
        self.socket.sendall(request.text())
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head[9:12])
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        if not lengths and status != 204:
            raise BenchError(f"{request.path}: an answer without its length")
        parts, missing = [body], (lengths[0] if lengths else 0) - len(body)
        while missing > 0:
            parts.append(self._read())
            missing -= len(parts[-1])
        return Reply(status, b"".join(parts), time.perf_counter() - started)

    def _read(self) -> bytes:
        data = self.socket.recv(1 << 18)
        if not data:
            raise BenchError("the server hung up")
        return data

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def cpu_of(root: psutil.Process) -> float:
    """CPU seconds used so far by a process and all below it, those that have ended included.

    What has ended is in the account of the process that started it: PostgreSQL's backends come and
    go with the connections.
    """
    times = root.cpu_times()
    used = times.user + times.system + times.children_user + times.children_system
    for process in root.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            own = process.cpu_times()
            used += own.user + own.system + own.children_user + own.children_system
    return float(used)


def postgres() -> psutil.Process:
    """The database server's main process. Raises BenchError where it runs elsewhere."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        (pid,) = cursor.fetchone()
    try:
        main = psutil.Process(pid).parent()
    except psutil.NoSuchProcess:
        main = None
    if main is None:
        raise BenchError("PostgreSQL runs elsewhere, so nobody can tell what it uses")
    return main


def environment(name: str) -> dict[str, str]:
    """What a contender's processes are told: the database, the key, and their name in it."""
    params = connection.get_connection_params()
    known = ("host", "port", "user", "password", "dbname")
    return {
        **os.environ,
        "PGAPPNAME": f"bench-{name}",
        "BENCH_DSN": make_conninfo(**{key: params[key] for key in known if params.get(key)}),
        "BENCH_AUDIT_KEY": settings.AUDIT_KEY,
        "BENCH_SETTINGS": os.environ["DJANGO_SETTINGS_MODULE"],
        **({"DJANGO_SETTINGS_MODULE": "tests.bench.plain_settings"} if name == "plain" else {}),
    }


def _command(name: str, port: int, workers: int) -> list[str]:
    if name == "ours":
        return web_command("127.0.0.1", port, workers=workers, threads=THREADS)
    target = {"limit": "limit", "plain": "plain_wsgi"}[name]
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)),
        *("--blocking-threads", str(THREADS), "--log-level", "warning"),
        f"tests.bench.{target}:application",
    ]


class Contender:
    """One of the three as a running server; a context manager that ends it."""

    def __init__(self, name: str, *, workers: int = WORKERS) -> None:
        self.name, self.workers = name, workers
        self.port = free_port()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            _command(name, self.port, workers),
            cwd=ROOT,
            env=environment(name),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )

    def wait(self) -> float:
        """Seconds from the start to the first answer. Raises BenchError where none comes."""
        while True:
            try:
                connection = Connection(self.port)
                connection.send(Request("GET", "/healthz", ""))
                connection.close()
            except (OSError, BenchError):
                if self.process.poll() is not None:
                    raise BenchError(f"{self.name} ended with {self.process.returncode}") from None
                if time.monotonic() - self.started > START_SECONDS:
                    raise BenchError(f"{self.name} does not answer") from None
                time.sleep(0.01)
            else:
                return time.monotonic() - self.started

    def root(self) -> psutil.Process:
        """The process that was started; its workers are below it."""
        return psutil.Process(self.process.pid)

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        root = self.root()
        return sum(one.memory_info().rss for one in [root, *root.children(recursive=True)])

    def ask(self, requests: Sequence[Request], clients: int = 1) -> list[Reply]:
        """The replies to some calls, sent by `clients` connections at a time, in their order."""
        replies: list[Reply | None] = [None] * len(requests)
        errors: list[Exception] = []
        left = iter(range(len(requests)))
        lock = threading.Lock()

        def work() -> None:
            try:
                connection = Connection(self.port)
                while True:
                    with lock:
                        number = next(left, None)
                    if number is None:
                        break
                    replies[number] = connection.send(requests[number])
                connection.close()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(min(clients, len(requests)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise BenchError(f"{self.name}: {errors[0]!r}") from errors[0]
        return [reply for reply in replies if reply is not None]

    def stop(self) -> None:
        """End it, and whatever it started."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: Any) -> None:
        self.stop()
