"""The log: one line a record, whose request it was, and no secret in it by any way."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client

from accounts.authentication import issue
from accounts.models import Token
from taskmanager.logs import REDACTED, configuration
from tasks.api.native.views import TaskViewSet
from tests.conftest import Cast
from tests.factories import basic, make_task

Lines = Callable[[], list[dict[str, Any]]]
SECRET = "swordfish-41"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the server would write to standard error, as JSON."""
    yield from _written("json")


@pytest.fixture
def lines(written: io.StringIO) -> Lines:
    """The lines of the log so far."""
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


def _written(form: str) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    setting = configuration(form, "INFO")
    setting["handlers"]["stderr"]["stream"] = stream
    before = logging.getLogger().handlers[:]
    logging.config.dictConfig(setting)
    yield stream
    logging.getLogger().handlers[:] = before


def client(**headers: str) -> Client:
    """A client that takes a 500 as an answer."""
    return Client(raise_request_exception=False, headers=headers)


def access(lines: Lines) -> list[dict[str, Any]]:
    """The lines about requests."""
    return [line for line in lines() if line["logger"] == "taskmanager.access"]


# --- What a line says -----------------------------------------------------------------------------


def test_each_request_has_one_line_that_says_what_came_of_it(cast: Cast, lines: Lines) -> None:
    _, secret = issue(cast.bob, Token.Kind.API, actor="test")
    answer = client(Authorization=f"Token {secret}").get("/api/v1/tasks/?limit=1")
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "taskmanager.access",
        "method": "GET",
        "path": "/api/v1/tasks/",
        "status": 200,
        "user": "bob",
        "face": "native",
        "request_id": answer["X-Request-ID"],
    }


@pytest.mark.parametrize(
    ("path", "face"),
    [
        ("/api/v1/tasks/", "native"),
        ("/rest/bpm/htm/v1/task/x", "htm"),
        ("/operations-manager/tasks/x", "itential"),
        ("/whoami", "itential"),
        ("/admin/", "admin"),
        ("/healthz", None),
        ("/nowhere", None),
    ],
)
def test_the_request_id_that_came_is_logged_and_answered(
    cast: Cast, lines: Lines, path: str, face: str | None
) -> None:
    answer = client(**{"X-Request-ID": "from-outside-1"}).get(path)
    assert answer["X-Request-ID"] == "from-outside-1"
    assert {line["request_id"] for line in lines()} == {"from-outside-1"}
    (line,) = access(lines)
    assert (line["face"], line["user"], line["status"]) == (face, None, answer.status_code)


def test_who_asks_is_known_for_sessions_and_basic_credentials(cast: Cast, lines: Lines) -> None:
    pages = client()
    pages.force_login(cast.alice, "accounts.backends.RoleBackend")
    pages.get("/admin/")
    client(Authorization=basic("dave")).get("/whoami")
    client(Authorization=basic("dave", "wrong")).get("/whoami")
    assert [line["user"] for line in access(lines)] == ["alice", "dave", None]


def test_the_line_costs_no_query(
    cast: Cast, lines: Lines, django_assert_num_queries: Callable[[int], Any]
) -> None:
    pages = client()
    pages.force_login(cast.alice, "accounts.backends.RoleBackend")
    with django_assert_num_queries(0):
        pages.get("/static/tasks/admin.css")
    assert lines()[-1]["user"] is None


def test_a_line_outside_of_requests_has_no_request_id(lines: Lines) -> None:
    client().get("/healthz")
    logging.getLogger("tasks").warning("The clock struck %d.", 12, extra={"bell": "big"})
    line = lines()[-1]
    assert (line["event"], line["bell"]) == ("The clock struck 12.", "big")
    assert (line["level"], line["request_id"]) == ("warning", None)


def test_a_fault_is_logged_with_its_trace_and_its_request_but_no_local_variables(
    cast: Cast, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        inner = SECRET
        raise RuntimeError(f"broken after {len(inner)}")

    monkeypatch.setattr(TaskViewSet, "list", broken)
    _, secret = issue(cast.bob, Token.Kind.API, actor="test")
    answer = client(Authorization=f"Token {secret}").get("/api/v1/tasks/")
    assert answer.status_code == 500
    assert {line["request_id"] for line in lines()} == {answer["X-Request-ID"]}
    (fault,) = [line for line in lines() if "exception" in line]
    assert fault["level"] == "error"
    assert "in broken" in fault["exception"]
    assert fault["exception"].endswith("RuntimeError: broken after 12")
    assert SECRET not in str(lines())


def test_a_line_for_people_is_one_line_too(cast: Cast) -> None:
    for stream in _written("text"):
        client(**{"X-Request-ID": "mine"}).get("/api/v1/%0A%1B[31mfalse%20line")
        (line,) = stream.getvalue().splitlines()
        assert "request_id=mine" in line
        assert "\x1b" not in line
        assert "path=/api/v1/%0A%1B%5B31mfalse%20line" in line


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="LOG_FORMAT"):
        configuration("xml", "INFO")


# --- What no line says ----------------------------------------------------------------------------


def test_no_secret_reaches_the_log_by_log_ins_tokens_or_parameters(
    cast: Cast, written: io.StringIO, lines: Lines
) -> None:
    cast.alice.set_password(SECRET)
    cast.alice.save()
    task = make_task(cast.dave, cast.noc)
    _, token = issue(cast.alice, Token.Kind.API, actor="test")
    itential = client()
    body = {"user": {"username": "alice", "password": SECRET}}
    session = itential.post("/login", body, content_type="application/json").content.decode()
    assert client().get(f"/whoami?token={session}").status_code == 200
    assert itential.get("/whoami").status_code == 200
    assert client(Authorization=f"Token {token}").get("/api/v1/tasks/").status_code == 200
    assert client(Authorization=f"Bearer {token}x").get("/api/v1/tasks/").status_code == 401
    basics = basic("alice", SECRET)
    assert (
        client(Authorization=basics).get(f"/operations-manager/tasks/{task.pk}").status_code == 200
    )
    pages = client()
    form = {"username": "alice", "password": SECRET}
    assert pages.post("/admin/login/", form).status_code == 302
    wrong = {"username": "alice", "password": f"{SECRET}-wrong"}
    assert pages.post("/admin/login/", wrong).status_code == 200
    assert client().get("/whoami?token=never-issued-token").status_code == 401
    assert len(access(lines)) == 9
    for secret in (
        SECRET,
        session,
        token,
        basics.split()[1],
        pages.session.session_key,
        "never-issued-token",
    ):
        assert secret not in written.getvalue()


def test_a_fault_with_a_token_in_its_address_shows_no_token(
    cast: Cast, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django logs such faults with the request itself, which prints with its query string."""

    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("accounts.authentication.find", broken)
    assert client().get(f"/whoami?token={SECRET}").status_code == 500
    assert "Internal Server Error" in written.getvalue()
    assert SECRET not in written.getvalue()


def test_the_rows_that_postgresql_quotes_are_not_logged(
    db: None, written: io.StringIO, lines: Lines
) -> None:
    statement = f"do $$ begin raise exception 'refused' using detail = 'row ({SECRET})'; end $$"
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match=SECRET) as caught:
        cursor.execute(statement)
    logging.getLogger("tasks").error("It failed.", exc_info=caught.value)
    assert "refused" in lines()[-1]["exception"]
    assert SECRET not in written.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"password": SECRET},
        {"new_passwd": SECRET},
        {"Authorization": SECRET},
        {"headers": {"Cookie": SECRET, "deeper": [{"api_key": SECRET}]}},
        {"query_string": SECRET},
        {"body": SECRET},
        {"said": f"Authorization: Basic {SECRET}"},
        {"said": f"with token={SECRET}&more=1"},
        {"said": f'{{"password": "{SECRET}"}}'},
        {"said": f"Bearer {SECRET}"},
        {"said": f"htm_{SECRET}"},
        {"said": f"postgres://somebody:{SECRET}@host/database"},
    ],
)
def test_what_looks_like_a_secret_is_crossed_out(
    written: io.StringIO, lines: Lines, fields: dict[str, Any]
) -> None:
    logging.getLogger("tasks").warning("Something.", extra={**fields, "kept": "the token is new"})
    assert SECRET not in written.getvalue()
    assert REDACTED in written.getvalue()
    assert lines()[-1]["kept"] == "the token is new"
