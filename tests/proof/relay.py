"""A relay before PostgreSQL that sees every statement pass and lets a chosen one go wrong."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import psycopg

PORT = 5432  # only ends the name of the socket


class Harm(StrEnum):
    """What happens at the chosen statement."""

    FAILS = "fails"
    """PostgreSQL answers as it does after a timeout; the session lives on."""
    LOST = "answer lost"
    """PostgreSQL carries it out, but the connection breaks before the answer is there."""
    ENDED = "session ended"
    """PostgreSQL ends the session before the statement arrives."""


_FAILING = (
    b"do $$begin raise exception 'as after a timeout' using errcode = 'query_canceled'; end$$\0"
)


class Relay:
    """A Unix socket in `folder` that leads to the server of a connection.

    Every round trip is one statement here, BEGIN, COMMIT and the preparing of a statement
    included; `sent` holds the text of each since `arm`.
    """

    def __init__(self, info: psycopg.ConnectionInfo) -> None:
        """Listen; `info` is of a connection that is open."""
        self._host, self._port = info.host, info.port
        self._admin = psycopg.connect(info.dsn, password=info.password, autocommit=True)
        self.folder = tempfile.mkdtemp()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(Path(self.folder) / f".s.PGSQL.{PORT}"))
        self._listener.listen()
        self.sent: list[str] = []
        self._armed: tuple[int, Harm] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, position: int | None = None, harm: Harm = Harm.FAILS) -> None:
        """Count from here; the statement at `position`, the first being 0, goes wrong."""
        self.sent = []
        self._armed = None if position is None else (position, harm)

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._admin.close()
        shutil.rmtree(self.folder)

    def harm_of(self, text: str) -> Harm | None:
        """What is to happen to the statement that has just come."""
        self.sent.append(text)
        if self._armed is None or self._armed[0] != len(self.sent) - 1:
            return None
        _, harm = self._armed
        self._armed = None
        return harm

    def end_session(self, pid: int) -> None:
        """Have a session ended."""
        self._admin.execute("select pg_terminate_backend(%s)", [pid])

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            server = socket.create_connection((self._host, self._port))
        with client, server, contextlib.suppress(OSError, EOFError):
            _Session(self, client, server).run()


class _Session:
    """One connection: strictly a question, then its answer."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self.relay, self.client, self.server = relay, client, server
        self.from_client, self.from_server = client.makefile("rb"), server.makefile("rb")
        self.pid = 0
        self.prepared: dict[bytes, bytes] = {}

    def run(self) -> None:
        """Until either side leaves. Raises OSError or EOFError where it leaves without a word."""
        with self.from_client, self.from_server:
            self._greet()
            for question, text in self._questions():
                harm = self.relay.harm_of(text)
                if harm is Harm.ENDED:
                    self.relay.end_session(self.pid)  # its last words are the answer
                elif harm is Harm.FAILS:
                    self.server.sendall(_message(b"Q", _FAILING))
                else:
                    self.server.sendall(question)
                answer = b"".join(whole for _, whole in self._answer())
                if harm is Harm.LOST:
                    return
                self.client.sendall(answer)
                if harm is Harm.ENDED:
                    return

    def _greet(self) -> None:
        length = _exactly(self.from_client, 4)
        self.server.sendall(length + _exactly(self.from_client, int.from_bytes(length) - 4))
        for kind, whole in self._answer():
            self.client.sendall(whole)
            if kind == b"K":
                self.pid = int.from_bytes(whole[5:9])
            # Neither "you are in" nor the last word of SASL waits for a reply.
            if kind == b"R" and int.from_bytes(whole[5:9]) not in (0, 12):
                self.server.sendall(_next(self.from_client)[1])

    def _questions(self) -> Iterator[tuple[bytes, str]]:
        """Each round trip the client begins: its bytes, and the statement it is about."""
        while True:
            whole, text, runs = b"", b"", False
            kind = b""
            while kind not in (b"Q", b"S"):
                kind, message = _next(self.from_client)
                if kind == b"X":
                    return
                whole += message
                body = message[5:]
                if kind == b"Q":
                    text, runs = body.rstrip(b"\0"), True
                elif kind == b"P":
                    name, text, _ = body.split(b"\0", 2)
                    self.prepared[name] = text
                elif kind == b"B":
                    text = self.prepared.get(body.split(b"\0", 2)[1], b"")
                elif kind == b"E":
                    runs = True
            yield whole, ("" if runs else "prepare ") + " ".join(text.decode().split())

    def _answer(self) -> Iterator[tuple[bytes, bytes]]:
        """The messages of the server up to "ready", or up to its end where it leaves."""
        kind = b""
        while kind != b"Z":
            try:
                kind, whole = _next(self.from_server)
            except (OSError, EOFError):
                return
            yield kind, whole


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def _exactly(stream: IO[Any], size: int) -> bytes:
    found: bytes = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _next(stream: IO[Any]) -> tuple[bytes, bytes]:
    """The next message: its kind, and all its bytes. Raises EOFError at the end."""
    head = _exactly(stream, 5)
    return head[:1], head + _exactly(stream, int.from_bytes(head[1:]) - 4)
