"""A really started server, connections to it, and what its database holds when all is over."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import psycopg
from django.db import connection

from accounts.authentication import issue
from accounts.models import Token, User
from taskmanager.server import free_port, web_command

from .history import Event, Row

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
CALL_SECONDS = 40.0
"""More than any time limit of the server's own."""


def environment(database: str, **more: str) -> dict[str, str]:
    """The environment of a process that works on a database of the tests."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.proof.settings", "PROOF_DATABASE": database}
    return {**os.environ, **settings, **more}


@contextmanager
def serving(
    database: str, *, application: str = "", workers: int = 2, **more: str
) -> Iterator[int]:
    """A server as `serve` starts it; yields its port.

    `application` runs in place of the project's own; `more` goes into the environment.
    """
    port = free_port()
    line = web_command("127.0.0.1", port, workers=workers, threads=8)
    if application:
        line[-1] = application
    process = subprocess.Popen(
        [*line, "--respawn-interval", "0.1"],
        cwd=ROOT,
        env=environment(database, **more),
        start_new_session=True,
    )
    try:
        _wait(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while Connection(port, "").send("GET", "/api/v1/").status is None:
        assert process.poll() is None, f"the server ended with code {process.returncode}"
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.05)


class Reply(NamedTuple):
    """What came back, and when the call began and ended; no status where no answer came."""

    status: int | None
    headers: http.client.HTTPMessage
    body: bytes
    start: float
    end: float

    @property
    def version(self) -> int | None:
        """The version in the ETag header."""
        tag = self.headers.get("ETag")
        return None if tag is None else int(tag.strip('"'))


class Connection:
    """One kept-alive connection, with the Authorization header of one account."""

    def __init__(self, port: int, authorization: str) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
        self.headers = {"Authorization": authorization} if authorization else {}

    def send(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One call; `body` goes as JSON."""
        sent = {**self.headers, **(headers or {})}
        raw = None
        if body is not None:
            raw, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        start = time.monotonic()
        try:
            self.http.request(method, path, raw, sent)
            answer = self.http.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return Reply(None, http.client.HTTPMessage(), b"", start, time.monotonic())
        return Reply(answer.status, answer.headers, content, start, time.monotonic())

    def close(self) -> None:
        """Hang up; the next call connects anew."""
        self.http.close()


def tokens(*names: str) -> dict[str, str]:
    """A token for each of these accounts, by user name."""
    return {
        user.username: issue(user, Token.Kind.API, actor="test")[1]
        for user in User.objects.filter(username__in=names)
    }


def object_ids() -> dict[str, str]:
    """The 24 digits by which Itential knows each account, by user name."""
    return {user.username: user.object_id for user in User.objects.all()}


class Evidence(NamedTuple):
    """What `history.check` wants to see of the database."""

    audit: list[Event]
    rows: list[Row]
    outbox: list[int]


def the_database() -> dict[str, str]:
    """Where the test database is, in the words of psycopg."""
    settings = connection.settings_dict
    names = {"host": "HOST", "port": "PORT", "user": "USER", "dbname": "NAME"}
    return {name: settings[key] for name, key in names.items()}


def stored() -> Evidence:
    """What the test database holds."""
    return evidence(**the_database())


def evidence(**parameters: str) -> Evidence:
    """The whole audit, all tasks and the outbox, in one snapshot; parameters as psycopg's."""
    with psycopg.connect(**parameters) as session:  # type: ignore[arg-type]
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        audit = session.execute(
            "select id, task_id, version, event, actor, request_id, before, after "
            "from tasks_auditevent order by task_id, version, id"
        ).fetchall()
        rows: list[tuple[UUID, int, str, str | None]] = session.execute(
            "select t.id, t.version, t.state, u.username from tasks_task t "
            "left join accounts_user u on u.id = t.owner_id"
        ).fetchall()
        outbox = session.execute("select event_id from tasks_outboxevent").fetchall()
    return Evidence(
        [Event(*some, json.loads(before), json.loads(after)) for *some, before, after in audit],
        [Row(*row) for row in rows],
        [event for (event,) in outbox],
    )
