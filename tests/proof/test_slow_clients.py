"""Clients that send half a request, or never read their answer, do not stop others."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .troubled import FACES, Client, Troubled

MANY = 40
WITHIN_SECONDS = 2.0

HALF_HEADER = b"POST /api/v1/tasks/ HTTP/1.1\r\nHost: localhost\r\nX-Half: o"
PATHS = (
    "/api/v1/tasks/",
    "/login",
    "/rest/bpm/htm/v1/task/role/owner?action=transfer&toUser=bob",
    "/admin/login/",
)
LONG_ANSWERS = (("/api/v1/tasks/?limit=200", 3), ("/static/admin/js/vendor/jquery/jquery.js", 2))


def half_headers(served: Troubled) -> Iterator[bytes]:
    """Requests that stop within a header."""
    yield from [HALF_HEADER] * MANY


def half_bodies(served: Troubled) -> Iterator[bytes]:
    """Requests to all faces that stop within the body."""
    for number in range(MANY):
        path = PATHS[number % len(PATHS)]
        verb = "PUT" if "htm" in path else "POST"
        yield (
            f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {served.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            '{"reason": "half'
        ).encode()


def unread_answers(served: Troubled) -> Iterator[bytes]:
    """Requests for more than the buffers between hold: whole answers and streamed ones."""
    for number in range(MANY):
        path, times = LONG_ANSWERS[number % len(LONG_ANSWERS)]
        yield (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {served.token}\r\n\r\n"
        ).encode() * times


KINDS: dict[str, Callable[[Troubled], Iterator[bytes]]] = {
    "half a header": half_headers,
    "half a body": half_bodies,
    "an answer never read": unread_answers,
}


@contextmanager
def standing(served: Troubled, kind: str) -> Iterator[list[socket.socket]]:
    """Connections that have sent what they send and stay."""
    host, port = served.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        made = []
        for sent in KINDS[kind](served):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((host, int(port)))
            one.setblocking(False)
            one.send(sent)
            made.append(one)
        time.sleep(0.5)
        yield made


def ordinary(client: Client, rounds: int) -> list[float]:
    """How long calls of all faces and a probe take, several at a time; each must succeed."""

    def one(face: str) -> float:
        begun = time.monotonic()
        answer = client.http.get("/healthz") if face == "probe" else client.act(face)
        assert answer.status_code < 400, answer.text
        return time.monotonic() - begun

    with ThreadPoolExecutor(len(FACES) + 1) as together:
        return sorted(took for _ in range(rounds) for took in together.map(one, (*FACES, "probe")))


def waiting_to_be_read(served: Troubled) -> int:
    """How many connections the server has bytes for that nobody takes, as the kernel counts."""
    port = int(served.url.rpartition(":")[2])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        row[1].endswith(f":{port:04X}") and int(row[4].partition(":")[0], 16) > 0 for row in rows
    )


@pytest.mark.parametrize("kind", KINDS)
def test_forty_slow_clients_do_not_stop_others(
    served: Troubled,
    client: Client,
    kind: str,
    long: bool,
    tally: Callable[[str, int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    took: list[float] = []
    for _ in range(10 if long else 1):
        with standing(served, kind) as slow:
            # What they asked for in full is work like any other, and is not what is measured.
            ordinary(client, 3)
            took += ordinary(client, 10)
            # They must still stand, or it was nothing to be stopped by.
            if kind == "an answer never read":
                assert waiting_to_be_read(served) >= MANY
            else:
                assert select.select(slow, [], [], 0)[0] == []
    took.sort()
    p95 = took[int(len(took) * 0.95)]
    tally(f"ordinary calls beside {MANY} connections with {kind}", len(took))
    with capsys.disabled():
        print(f"  {kind}: p95 {p95 * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms")
    assert took[-1] < WITHIN_SECONDS
    client.nothing_is_half_done()
