"""The gateway between server and threads: bodies, headers, answers, and clients that stall."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from taskmanager import asgi, waiting
from taskmanager.asgi import Gateway
from tasks import feed
from tasks.api.middleware import LARGE_BODY, REFUSAL
from tasks.feed import Part

HOST = (b"host", b"localhost")


def scope(method: str = "POST", path: bytes = b"/api/v1/", *headers: tuple[bytes, bytes]) -> Any:
    """A request as Granian hands it over."""
    return {
        "type": "http",
        "method": method,
        "raw_path": path,
        "query_string": b"a=%FF",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", "8000"),
        "client": ("10.0.0.9", "4000"),
        "headers": [HOST, *headers],
    }


class Application:
    """A WSGI application that keeps what it was asked, and answers "done"."""

    def __init__(self, answer: Any = None) -> None:
        self.seen: dict[str, Any] = {}
        self.body = b""
        self.answer = [b"do", b"ne"] if answer is None else answer

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.seen, self.body = dict(environ), environ["wsgi.input"].read()
        start_response("200 OK", [("X-Answer", "yes")])
        return self.answer


def ask(
    application: Any, request: Any, *events: dict[str, Any], stall: bool = False
) -> list[dict[str, Any]]:
    """What is sent in answer to a request whose body comes in these events."""
    sent: list[dict[str, Any]] = []
    coming = iter(events)

    async def receive() -> dict[str, Any]:
        event = next(coming, None)
        if event is None:
            assert stall, "more was read than came"
            await asyncio.sleep(60)
        return event or {}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    asyncio.run(Gateway(application, 1)(request, receive, send))
    return sent


def piece(data: bytes, more: bool = False) -> dict[str, Any]:
    """A part of a body."""
    return {"type": "http.request", "body": data, "more_body": more}


LENGTH = (b"content-length", b"6")


def test_a_request_arrives_as_it_was_sent() -> None:
    application = Application()
    sent = ask(
        application,
        scope("POST", b"/a%FF%2Fb", LENGTH, (b"content-type", b"x/y"), (b"x-one", b"1")),
        piece(b"abc", more=True),
        piece(b"def"),
    )
    assert application.body == b"abcdef"
    seen = application.seen
    assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/a\xff/b", "a=%FF")
    assert (seen["CONTENT_LENGTH"], seen["CONTENT_TYPE"]) == ("6", "x/y")
    assert (seen["HTTP_X_ONE"], seen["REMOTE_ADDR"]) == ("1", "10.0.0.9")
    assert [event["type"] for event in sent] == ["http.response.start", "http.response.body"]
    assert (sent[0]["status"], sent[0]["headers"]) == (200, [(b"x-answer", b"yes")])
    assert sent[1]["body"] == b"done"


def test_a_request_without_a_body_is_not_waited_for() -> None:
    assert ask(Application(), scope("GET"))[0]["status"] == 200


def test_a_header_with_an_underscore_does_not_pose_as_another() -> None:
    application = Application()
    headers = ((b"x_forwarded_for", b"1.1.1.1"), (b"x-twice", b"a"), (b"x-twice", b"b"))
    ask(application, scope("GET", b"/", *headers, (b"cookie", b"a=1"), (b"cookie", b"b=2")))
    assert "HTTP_X_FORWARDED_FOR" not in application.seen
    assert application.seen["HTTP_X_TWICE"] == "a,b"
    assert application.seen["HTTP_COOKIE"] == "a=1; b=2"


def test_a_body_that_stops_coming_is_refused_and_takes_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asgi, "PAUSE_SECONDS", 0.05)
    application = Application()
    ask(application, scope("POST", b"/api/v1/", LENGTH), piece(b"abc", more=True), stall=True)
    assert application.seen[REFUSAL][0] == 408
    assert application.body == b""


def test_a_body_that_breaks_off_is_refused_and_nothing_of_it_is_seen() -> None:
    application = Application()
    request = scope("POST", b"/api/v1/", LENGTH)
    ask(application, request, piece(b"abc", more=True), {"type": "http.disconnect"})
    assert application.seen[REFUSAL][0] == 400
    assert application.body == b""


def test_what_is_over_the_limit_is_read_and_not_kept() -> None:
    application = Application()
    request = scope("POST", b"/api/v1/", (b"transfer-encoding", b"chunked"))
    parts = [piece(bytes(LARGE_BODY), more=True)] * 2
    ask(application, request, *parts, piece(b""))
    assert len(application.body) == LARGE_BODY + 1


def test_who_asks_first_gets_the_refusal_instead_of_leave_to_send() -> None:
    length = (b"content-length", str(LARGE_BODY + 1).encode())
    application = Application()
    ask(application, scope("POST", b"/api/v1/", length, (b"expect", b"100-continue")))
    assert application.body == b""


def test_a_streamed_answer_goes_out_piece_by_piece_and_is_closed() -> None:
    class Streamed:
        streaming = True
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            yield from (b"a", b"b")

        def close(self) -> None:
            self.closed = True

    answer = Streamed()
    sent = ask(Application(answer), scope("GET"))
    assert [event.get("body") for event in sent] == [None, b"a", b"b", None]
    assert answer.closed


def test_a_probe_is_answered_while_all_threads_are_taken() -> None:
    busy, leave = threading.Event(), threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/healthz":
            busy.set()
            assert leave.wait(10)
        start_response("200 OK", [])
        return [b"ok"]

    gateway = Gateway(application, 1)
    answered: list[str] = []

    async def call(path: bytes) -> None:
        async def send(event: dict[str, Any]) -> None:
            if "status" in event:
                answered.append(path.decode())

        async def receive() -> dict[str, Any]:
            raise AssertionError("there is no body")

        await gateway(scope("GET", path), receive, send)

    async def both() -> None:
        slow = asyncio.create_task(call(b"/api/v1/"))
        await asyncio.to_thread(busy.wait, 10)
        await call(b"/healthz")
        leave.set()
        await slow

    asyncio.run(both())
    assert answered == ["/healthz", "/api/v1/"]


def waited(events: list[dict[str, Any]], seconds: float = 5) -> tuple[bool, float]:
    """Whether a call that waits was woken, and after how many seconds."""

    async def receive() -> dict[str, Any]:
        if not events:
            await asyncio.sleep(60)
        return events.pop(0)

    async def wait() -> tuple[bool, float]:
        begun = time.monotonic()
        woken = await waiting.Waiters().wait(User(pk=1), Part(after=0), seconds, receive)
        return woken, time.monotonic() - begun

    before = signal.getsignal(signal.SIGTERM)
    try:
        return asyncio.run(wait())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_client_that_leaves_is_not_waited_for() -> None:
    woken, took = waited([piece(b""), {"type": "http.disconnect"}])
    assert (woken, took < 0.4) == (False, True)


def test_no_more_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited([], seconds=0.1)[1] >= 0.1
    monkeypatch.setattr(waiting, "MOST", 0)
    woken, took = waited([])
    assert (woken, took < 0.4) == (False, True)


def test_who_waits_is_woken_when_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """His call, made once more, says so."""

    def away() -> int:
        raise OperationalError("the database is away")

    monkeypatch.setattr(feed, "end", away)
    woken, took = waited([])
    assert (woken, took < 2) == (True, True)


@pytest.mark.parametrize(
    ("query", "seconds"), [("", 0), ("wait=7", 7), ("wait=x", 0), ("wait=-1", 0), ("wait=9999", 0)]
)
def test_how_long_a_call_waits_is_read_off_its_query(query: str, seconds: int) -> None:
    assert waiting.seconds_to_wait({"QUERY_STRING": query}) == seconds
