"""Bodies whose length is a lie, over real connections to the real server: never acted upon."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test import Client

from accounts.authentication import issue
from accounts.models import Token
from taskmanager.server import free_port, web_command
from tasks.models import Task
from tests.conftest import Cast
from tests.faces.native_client import everything
from tests.factories import make_task

from .routes import CSRF

GOOD = b'{"reason": "x"}'


@pytest.fixture
def port(committed_cast: Cast) -> Iterator[int]:
    """The port of a server on the test's database; the cast is committed for it."""
    found = free_port(8700 + os.getpid() % 200)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.proof.settings",
        "PROOF_DATABASE": str(connection.settings_dict["NAME"]),
    }
    server = subprocess.Popen(web_command("127.0.0.1", found, 1, 2), env=environment)
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", found), timeout=5).close())
        yield found
    finally:
        server.terminate()
        server.wait(30)


def wait_for(act: Callable[[], object]) -> None:
    """Try until it works, for a minute."""
    deadline = time.monotonic() + 60
    while True:
        try:
            act()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def talk(port: int, sent: bytes, *, half_close: bool = False) -> bytes:
    """What the server answers to these bytes until it closes, or says no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(sent)
        if half_close:
            stream.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while chunk := stream.recv(65_536):
                received += chunk
        except (TimeoutError, ConnectionError):
            pass
        return received


def status_of(answer: bytes) -> int:
    """The status of the first answer; 0 where the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def request(task: Task, secret: str, headers: str, body: bytes) -> bytes:
    """A claim, with these lines besides the usual ones."""
    head = (
        f"POST /api/v1/tasks/{task.pk}/claim/ HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Token {secret}\r\nConnection: close\r\n{headers}\r\n"
    )
    return head.encode("latin-1") + body


KIND = "Content-Type: application/json\r\n"

LIES = {
    "chunked": (f"{KIND}Transfer-Encoding: chunked\r\n", b"f\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    "chunked and a length": (
        f"{KIND}Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
        b"f\r\n" + GOOD + b"\r\n0\r\n\r\n",
    ),
    "too short a length": (f"{KIND}Content-Length: 3\r\n", GOOD),
    "no number": (f"{KIND}Content-Length: x\r\n", GOOD),
    "below zero": (f"{KIND}Content-Length: -1\r\n", GOOD),
    "two lengths": (f"{KIND}Content-Length: 15\r\nContent-Length: 3\r\n", GOOD),
    "two types in one": (
        "Content-Type: application/json, text/plain\r\nContent-Length: 15\r\n",
        GOOD,
    ),
    "a chunk that is none": (f"{KIND}Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
    "gzip, chunked": (f"{KIND}Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "a header with NUL": (f"{KIND}X-A: \0\r\nContent-Length: 15\r\n", GOOD),
    "a folded header": (f"{KIND}X-A: a\r\n b\r\nContent-Length: 15\r\n", GOOD[:3]),
}


def test_lengths_that_lie_are_never_acted_upon(
    port: int, committed_cast: Cast, tally: Callable[[str, int], None]
) -> None:
    task = make_task(committed_cast.dave, committed_cast.noc)
    _, secret = issue(committed_cast.bob, Token.Kind.API, actor="test")
    before = everything()
    answers = {
        words: talk(port, request(task, secret, headers, body))
        for words, (headers, body) in LIES.items()
    }
    # Sent in part, and then nothing more comes.
    answers["broken off"] = talk(
        port, request(task, secret, f"{KIND}Content-Length: 99\r\n", GOOD), half_close=True
    )
    statuses = {words: status_of(answer) for words, answer in answers.items()}
    wrong = {
        words: status
        for words, status in statuses.items()
        if status != 0 and not 400 <= status < 500
    }
    assert not wrong
    assert statuses["chunked"] == 411
    assert statuses["two types in one"] == 415
    assert b"application/problem+json" in answers["chunked"]
    assert everything() == before
    tally("bad inputs", len(answers))

    good = talk(port, request(task, secret, f"{KIND}Content-Length: 15\r\n", GOOD))
    assert status_of(good) == 200


def test_a_form_that_breaks_off_is_never_acted_upon(port: int, committed_cast: Cast) -> None:
    task = make_task(committed_cast.dave, committed_cast.noc)
    client = Client()
    client.force_login(committed_cast.bob, "accounts.backends.RoleBackend")
    form = f"csrfmiddlewaretoken={CSRF}".encode()
    head = (
        f"POST /admin/tasks/task/{task.pk}/do/claim/ HTTP/1.1\r\nHost: localhost\r\n"
        f"Cookie: csrftoken={CSRF}; sessionid={client.cookies['sessionid'].value}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
    )

    def sent(length: int) -> bytes:
        return f"{head}Content-Length: {length}\r\n\r\n".encode() + form

    before = everything()
    broken = talk(port, sent(len(form) + 10), half_close=True)
    assert status_of(broken) in (0, *range(400, 500))
    assert everything() == before
    assert status_of(talk(port, sent(len(form)))) == 302
    assert Task.objects.get(pk=task.pk).owner_name == "bob"
