"""A request as data, to be bent in every way, and its answer from the real application."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction

from taskmanager.wsgi import application

REQUEST_ID = "proof"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class _Nothing:
    """Stands for no body at all, since null is one."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Any = _Nothing()


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: `path` unquoted, `json` or `form` or the bytes `raw` as its body.

    `environ` overrides single keys of the WSGI environment; None takes a key out.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = NOTHING
    form: tuple[tuple[str, str], ...] | None = None
    raw: bytes | None = None
    content_type: str | None = None
    raw_query: bytes | None = None
    raw_path: bytes | None = None
    environ: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The bytes of the body."""
        if self.raw is not None:
            return self.raw
        if self.json is not NOTHING:
            return json.dumps(self.json).encode()
        return b"" if self.form is None else urlencode(self.form).encode()

    @property
    def media_type(self) -> str:
        """The Content-Type, as a well-behaved client would have it unless told otherwise."""
        if self.content_type is not None:
            return self.content_type
        if self.form is not None:
            return FORM
        return JSON if self.raw is not None or self.json is not NOTHING else ""

    @property
    def query_string(self) -> bytes:
        """The query string."""
        return urlencode(self.query).encode() if self.raw_query is None else self.raw_query

    def as_environ(self) -> dict[str, Any]:
        """What a WSGI server makes of it."""
        body = self.body
        path = self.path.encode() if self.raw_path is None else self.raw_path
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path.decode("latin-1"),
            "QUERY_STRING": self.query_string.decode("latin-1"),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "HTTP_X_REQUEST_ID": REQUEST_ID,
            "CONTENT_TYPE": self.media_type,
            "CONTENT_LENGTH": str(len(body)) if body else "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.input_terminated": True,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        environ |= self.environ
        return {key: value for key, value in environ.items() if value is not None}

    def __str__(self) -> str:
        line = quote(self.path, safe="/:%")[:200]
        query = f"?{self.query_string[:200].decode('latin-1')}" if self.query_string else ""
        return f"{self.method} {line}{query} {self.media_type[:80]!r} {self.body[:200]!r}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0]

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)


def send(sent: Sent) -> Answer:
    """The answer of the application that the server runs, CSRF checks and all."""
    started: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [status, headers]
        return lambda _: None

    environ = sent.as_environ()
    chunks = application(environ, start)
    try:
        content = b"".join(chunks)
    finally:
        chunks.close()  # type: ignore[attr-defined]
    status, headers = started
    assert environ["wsgi.errors"].getvalue() == ""
    return Answer(int(status[:3]), {name.lower(): value for name, value in headers}, content)


@contextmanager
def one_connection() -> Iterator[None]:
    """The end of a request must not close the connection that holds the test's transaction."""
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    try:
        yield
    finally:
        request_started.connect(close_old_connections)
        request_finished.connect(close_old_connections)


@contextmanager
def undone() -> Iterator[None]:
    """What happens within is taken back, whether it fails or not."""
    savepoint = transaction.atomic()
    # As Django marks those of its own test cases: the core's transactions may stand within.
    savepoint._from_testcase = True  # type: ignore[attr-defined]
    with savepoint:
        yield
        transaction.set_rollback(True)
