"""The application as Granian runs it: a request gets a thread only once its body is here."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

from taskmanager.health import PATHS
from taskmanager.server import end_with_parent
from taskmanager.waiting import Waiters, seconds_to_wait
from taskmanager.wsgi import application as wsgi_application
from tasks.api.middleware import DISCARD_BYTES, REFUSAL, WAITING, body_limit

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

THREADS: Final = "WEB_THREADS"
"""The environment variable that says how many requests a worker handles at a time."""

BODY_SECONDS: Final = 300.0
"""How long a body may take in all, and ..."""
PAUSE_SECONDS: Final = 15.0
"""... how long the next piece of it may let wait, as the client for the next piece of an answer."""
IN_MEMORY: Final = 1024 * 1024
"""The size from which a body is kept in a file until it is whole."""


class ClientGone(Exception):
    """The client has left, or takes no more of its answer."""


class Gateway:
    """An ASGI application around a WSGI one, whose threads no client can hold.

    Bodies come in and answers go out beside the threads, so that those who send half a body or
    never read their answer cost a little memory and stop nobody. So do those that wait for an
    event: when there is one their call is made once more, one after the other, so that news for
    many keeps no others waiting. Probes have threads of their own: a server with all hands full is
    still alive.
    """

    def __init__(self, application: WSGIApplication, threads: int) -> None:
        self.application = application
        self.threads = ThreadPoolExecutor(threads, "request")
        self.probes = {path: ThreadPoolExecutor(1, "probe") for path in PATHS}
        self.waiters, self.woken = Waiters(), asyncio.Semaphore(1)

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Answer one request; without a word where its client has left."""
        loop = asyncio.get_running_loop()
        with SpooledTemporaryFile(IN_MEMORY) as body:
            environ = _environ(scope, body)
            executor: Executor = self.probes.get(environ["PATH_INFO"], self.threads)
            try:
                if _has_body(environ):
                    await _read_body(environ, receive, body)
                until = loop.time() + seconds_to_wait(environ)
                answer = _Answer(loop, send)
                await loop.run_in_executor(executor, answer.make, self.application, environ)
                while WAITING in environ:
                    user, part = environ[WAITING]
                    if not await self.waiters.wait(user, part, until - loop.time(), receive):
                        break
                    environ, answer = _environ(scope, body), _Answer(loop, send)
                    async with self.woken:
                        await loop.run_in_executor(executor, answer.make, self.application, environ)
                await answer.finish()
            except ClientGone:
                return


class _Answer:
    """What the WSGI application answers: whole, or piece by piece as it is made."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self.loop, self.send = loop, send
        self.start: Event = {}
        self.body = b""
        self.streamed = False

    def make(self, application: WSGIApplication, environ: WSGIEnvironment) -> None:
        """Run the application, in a thread. Raises ClientGone while streaming."""
        result = application(environ, self._begin)
        try:
            if getattr(result, "streaming", False):
                self._stream(result)
            else:
                self.body = b"".join(result)
        finally:
            if (close := getattr(result, "close", None)) is not None:
                close()

    def _begin(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None, /
    ) -> Callable[[bytes], object]:
        self.start = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            ],
        }
        return self._refuse_to_write

    @staticmethod
    def _refuse_to_write(piece: bytes) -> None:
        raise NotImplementedError("Django never writes so.")

    def _stream(self, pieces: Iterable[bytes]) -> None:
        self.streamed = True
        self._push(self.start)
        for piece in pieces:
            self._push({"type": "http.response.body", "body": piece, "more_body": True})
        self._push({"type": "http.response.body"})

    def _push(self, event: Event) -> None:
        """Send from the thread; a thread does not wait for ever for a client that does not read."""
        asyncio.run_coroutine_threadsafe(_within(self.send(event)), self.loop).result()

    async def finish(self) -> None:
        """Send what was not streamed. Raises ClientGone."""
        if not self.streamed:
            await _within(self.send(self.start))
            await _within(self.send({"type": "http.response.body", "body": self.body}))


async def _within(sending: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(PAUSE_SECONDS):
            await sending
    except (TimeoutError, OSError) as error:
        raise ClientGone from error


def _environ(scope: Event, body: IO[bytes]) -> WSGIEnvironment:
    """The request as WSGI has it; of headers with an underscore, which may pose as others, none."""
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": str(scope["server"][1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ


def _has_body(environ: WSGIEnvironment) -> bool:
    """Whether there is a body to wait for.

    Who asks before sending one (Expect) is not told to go on where it is refused in any case.
    """
    declared = environ.get("CONTENT_LENGTH", "0")
    if "HTTP_EXPECT" in environ and (
        not declared.isdecimal() or int(declared) > body_limit(environ["PATH_INFO"])
    ):
        return False
    return declared != "0" or "HTTP_TRANSFER_ENCODING" in environ


async def _read_body(environ: WSGIEnvironment, receive: Receive, body: IO[bytes]) -> None:
    """Read the body into `body`; one that stops coming, or breaks off, becomes a refusal.

    What is over the limit is read, since most clients look for an answer only when they have sent
    everything, and thrown away.
    """
    room, unwanted = body_limit(environ["PATH_INFO"]) + 1, DISCARD_BYTES
    loop = asyncio.get_running_loop()
    end = loop.time() + BODY_SECONDS
    more = True
    try:
        while more and unwanted > 0:
            async with asyncio.timeout_at(min(end, loop.time() + PAUSE_SECONDS)):
                event = await receive()
            if event["type"] == "http.disconnect":
                # Its sender may still listen, having closed his half of the connection.
                body.truncate(0)
                environ[REFUSAL] = (400, "incomplete_body", "The body broke off.")
                break
            piece, more = event.get("body", b""), event.get("more_body", False)
            body.write(piece[:room])
            unwanted -= max(0, len(piece) - room)
            room = max(0, room - len(piece))
    except TimeoutError:
        body.truncate(0)
        environ[REFUSAL] = (408, "body_timeout", "The body did not come in time.")
    body.seek(0)


if THREADS in os.environ:
    # One of Granian's processes, which would go on without the one that looks after it.
    end_with_parent()
    # What is loaded by now stays: to look through it for garbage, again and again, took a fifth of
    # the time of a list.
    gc.freeze()

application = Gateway(wsgi_application, int(os.environ.get(THREADS, "8")))
