"""What Itential's face makes of bad input, of callers nobody knows, and of faults."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client

from tasks.actions import ACTIONS
from tasks.errors import InvalidArgument
from tasks.models import Task
from tests.conftest import Cast
from tests.core.record import nothing_changes
from tests.faces.itential_client import OM, act, assert_error, basic, get, send
from tests.factories import make_task

NOT_FOUND = "There is no such task."
NO_ROUTE = "There is no such route."


@pytest.fixture
def task(cast: Cast) -> Task:
    """A ready task of the team noc."""
    return make_task(cast.dave, cast.noc)


# --- Ids and paths -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        "1",
        "05c0a84dd746004e0721859f",
        "0195f8b26c1e4d7a9a532f1d0c7b8e41",
        "{0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41}",
        "urn:uuid:0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41",
        "0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e4",
        "0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e4g",
        "0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41%0A",
        "%200195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41",
        "٠195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41",
        "None",
        "%F0%9F%98%80",
    ],
)
def test_an_id_of_a_wrong_spelling_comes_before_everything(cast: Cast, bad: str) -> None:
    for who in (cast.alice, None):
        message = "The task id is not a UUID."
        assert_error(get(bad, who), 400, message)
        for name in ("claim", "assign", "release"):
            assert_error(act(name, bad, who, raw=b"["), 400, message)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{OM}/tasks/%00", "The URL holds a NUL character."),
        (f"{OM}/tasks/%FF", "The URL is not UTF-8."),
        (f"{OM}/tasks/x?include=%00", "The URL holds a NUL character."),
        ("/login?x=%00", "The URL holds a NUL character."),
        ("/logout?x=%ED%A0%80", "The URL is not UTF-8."),
        ("/whoami?roles=%00", "The URL holds a NUL character."),
    ],
)
def test_what_no_view_sees_is_refused_in_the_envelope(db: None, path: str, message: str) -> None:
    assert_error(send("GET", path), 400, message)


@pytest.mark.parametrize(
    "path",
    [
        OM,
        f"{OM}/",
        f"{OM}/tasks",
        f"{OM}/nothing",
        f"{OM}/tasks/0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41/",
        f"{OM}/tasks/0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41/finish",
        f"{OM}/tasks/0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41/claim/again",
        f"{OM}/x%0Ay",
        "/login/x",
        "/whoami/x/",
        "/logout//",
    ],
)
def test_unknown_paths_are_answered_in_the_envelope(cast: Cast, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "BREW"):
        response = send(method, path, cast.alice)
        if path.endswith("8e41/") and method == "GET":
            assert_error(response, 404, NOT_FOUND)
        elif path.endswith("8e41/"):
            assert_error(response, 405, f'Method "{method}" not allowed.')
        else:
            assert_error(response, 404, NO_ROUTE)


def test_a_slash_at_the_end_is_neither_needed_nor_redirected(cast: Cast, task: Task) -> None:
    assert send("GET", f"{OM}/tasks/{task.pk}/", cast.alice).status_code == 200
    assert send("POST", f"{OM}/tasks/{task.pk}/claim/", cast.alice).status_code == 200
    assert send("GET", "/whoami/", cast.alice).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_unknown_methods(cast: Cast, task: Task, method: str) -> None:
    with nothing_changes():
        for path, allowed in (
            (f"{OM}/tasks/{task.pk}", "GET, HEAD"),
            (f"{OM}/tasks/{task.pk}/claim", "POST"),
            ("/login", "POST"),
            ("/logout", "GET"),
        ):
            response = send(method, path, cast.alice)
            assert_error(response, 405, f'Method "{method}" not allowed.')
            assert response["Allow"] == allowed


def test_nothing_is_done_by_get(cast: Cast, task: Task) -> None:
    with nothing_changes():
        for name in ("claim", "assign", "release"):
            response = send("GET", f"{OM}/tasks/{task.pk}/{name}", cast.alice)
            assert_error(response, 405, 'Method "GET" not allowed.')


def test_no_header_overrides_the_method(cast: Cast, task: Task) -> None:
    with nothing_changes():
        response = send(
            "GET",
            f"{OM}/tasks/{task.pk}/claim",
            cast.alice,
            headers={"X-HTTP-Method-Override": "POST"},
        )
    assert_error(response, 400, "The method cannot be overridden by a header here.")


# --- Bodies --------------------------------------------------------------------------------------

BAD_JSON = [
    (b"[", "This is not JSON: Expecting value (line 1, column 2)."),
    (b" ", "The body is empty; JSON is expected."),
    (b"\xef\xbb\xbf{}", "The body starts with a byte order mark; send none."),
    (b'{"a": "\xff"}', "The body is not UTF-8 (byte 7)."),
    (b'{"a": 1, "a": 1}', "A key appears twice in an object."),
    (b'{"a": "\\u0000"}', "A text holds a NUL character."),
    (b'{"\\ud800": 1}', "A text holds half of a surrogate pair."),
    (b'{"a": NaN}', "NaN is not a JSON number."),
    (b'{"a": 1e400}', "A number is too large."),
    (b'{"a": 9223372036854775808}', "An integer does not fit into 64 bits."),
    (b"[" * 65 + b"]" * 65, "Objects and arrays are nested more than 64 deep."),
    (b'{"a": "' + b"x" * 70_000 + b'"}', "A text is longer than 65536 bytes."),
    (b"[]", "body: an object is expected."),
    (b"null", "body: an object is expected."),
    (b'"{}"', "body: an object is expected."),
    (b"0", "body: an object is expected."),
    (b"true", "body: an object is expected."),
    (b'{"foo": 1}', "foo: there is no such member."),
    (b'{"_id": 1}', "_id: there is no such member."),
    (b'{"<b>\\u202e": 1}', "<b>\ufffd: there is no such member."),
]


@pytest.mark.parametrize(("raw", "message"), BAD_JSON)
@pytest.mark.parametrize("name", ["claim", "assign", "release"])
def test_bad_bodies(cast: Cast, task: Task, name: str, raw: bytes, message: str) -> None:
    with nothing_changes():
        assert_error(act(name, task, cast.alice, raw=raw), 400, message)
        # Whoever may not do it hears that first.
        assert_error(act(name, task, cast.frank, raw=raw), 404, NOT_FOUND)
        refused = f"You are not permitted to {name} this task."
        assert_error(act(name, task, cast.erin, raw=raw), 403, refused, version=1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "userId: it is missing."),
        ({}, "userId: it is missing."),
        ({"userId": None}, "userId: it is missing."),
        ({"userId": 5}, "userId: an id of 24 hexadecimal digits is expected."),
        ({"userId": "alice"}, "userId: an id of 24 hexadecimal digits is expected."),
        (
            {"userId": "05C0A84DD746004E0721859F"},
            "userId: an id of 24 hexadecimal digits is expected.",
        ),
        ({"userId": "a" * 24 + "\n"}, "userId: an id of 24 hexadecimal digits is expected."),
        ({"userId": "a" * 24, "force": True}, "force: there is no such member."),
        ({"userid": "a" * 24}, "userid: there is no such member."),
    ],
)
def test_bad_bodies_of_assign(cast: Cast, task: Task, body: Any, message: str) -> None:
    with nothing_changes():
        assert_error(act("assign", task, cast.alice, body), 400, message)


def test_a_bad_body_comes_before_the_state(cast: Cast, task: Task) -> None:
    with nothing_changes():
        assert_error(act("release", task, cast.alice, {"a": 1}), 400, "a: there is no such member.")


def test_a_name_made_up_by_the_caller_is_not_given_back_at_length(cast: Cast, task: Task) -> None:
    response = act("claim", task, cast.alice, {"x" * 5000: 1})
    assert_error(response, 400, "x" * 100 + ": there is no such member.")


def test_a_body_without_a_content_type_is_json(cast: Cast, task: Task) -> None:
    assert act("claim", task, cast.alice, raw=b"{}", content_type="").status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
def test_other_content_types_are_refused(cast: Cast, task: Task, content_type: str) -> None:
    with nothing_changes():
        response = act("claim", task, cast.alice, raw=b"{}", content_type=content_type)
        message = f'Unsupported media type "{content_type}" in request.'
        assert_error(response, 415, message)
        hidden = act("claim", task, cast.frank, raw=b"{}", content_type=content_type)
        assert_error(hidden, 404, NOT_FOUND)
    # curl's -d '' says form and sends nothing, which is no body.
    empty = Client().generic(
        "POST",
        f"{OM}/tasks/{task.pk}/claim",
        b"",
        content_type="application/x-www-form-urlencoded",
        headers={"Authorization": basic("alice")},
    )
    assert empty.status_code == 200


def test_other_charsets_and_codings_are_refused(cast: Cast, task: Task) -> None:
    with nothing_changes():
        utf16 = act(
            "claim",
            task,
            cast.alice,
            raw="{}".encode("utf-16"),
            content_type="application/json; charset=utf-16",
        )
        assert_error(utf16, 415, "Only UTF-8 is read.")
        packed = act("claim", task, cast.alice, {}, headers={"Content-Encoding": "gzip"})
        assert_error(packed, 415, "Bodies are read without content encoding only.")


def test_a_large_body_is_refused(cast: Cast, task: Task) -> None:
    large = b'{"a": "' + b"x" * (1024 * 1024) + b'"}'
    with nothing_changes():
        response = act("claim", task, cast.alice, raw=large)
        assert_error(response, 413, "The body is larger than 1048576 bytes.")
        assert_error(act("claim", task, cast.frank, raw=large), 404, NOT_FOUND)
        enormous = act("claim", task, cast.alice, raw=b"x" * (10 * 1024 * 1024 + 1))
        assert_error(enormous, 413, "The body is larger than 10485760 bytes.")
        chunked = act("claim", task, cast.alice, headers={"Transfer-Encoding": "chunked"})
        assert chunked.status_code in (400, 411)


def test_answers_are_json_whatever_is_asked_for(cast: Cast, task: Task) -> None:
    for accept in ("text/html", "application/xml", "*/*", "nonsense"):
        response = get(task, cast.alice, headers={"Accept": accept})
        assert response.status_code == 200
        assert response["Content-Type"] == "application/json"
        assert response["Cache-Control"] == "no-store"


# --- Who nobody knows ----------------------------------------------------------------------------

ROUTES = [
    ("GET", f"{OM}/tasks/0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41"),
    ("POST", f"{OM}/tasks/0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41/claim"),
    ("POST", f"{OM}/tasks/0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41/assign"),
    ("POST", f"{OM}/tasks/0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41/release"),
    ("GET", "/whoami"),
    ("GET", "/logout"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_session_is_needed(cast: Cast, method: str, path: str) -> None:
    def refused(message: str, **more: Any) -> None:
        response = send(method, path, raw=b"[" if method == "POST" else None, **more)
        assert_error(response, 401, message)
        assert response["WWW-Authenticate"].startswith("Basic realm=")

    refused("Log in first.")
    refused("Wrong user name or password.", headers={"Authorization": basic("alice", "wrong")})
    refused("Wrong user name or password.", headers={"Authorization": basic("a\0b", "x")})
    refused("The token is unknown, expired or revoked.", headers={"Authorization": "Token x"})
    refused("The session is unknown or has ended.", headers={"Cookie": "token=x"})
    refused("The Basic credentials cannot be read.", headers={"Authorization": "Basic \u00e9"})
    client = Client(raise_request_exception=False)
    client.force_login(cast.alice)
    refused("Log in first.", client=client)


def test_a_lock_out_says_when_to_come_back(cast: Cast, task: Task) -> None:
    for _ in range(10):
        response = get(task, None, headers={"Authorization": basic("alice", "wrong")})
        assert response.status_code == 401
    response = get(task, cast.alice)
    assert response.status_code == 429
    assert response.json()["message"].startswith("Too many wrong passwords")
    assert set(response.json()) == {"message", "data", "metadata"}
    assert 0 < int(response["Retry-After"]) <= 900
    body = {"username": "alice", "password": "alice-demo"}
    assert send("POST", "/login", None, body).status_code == 429


# --- Faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [OperationalError, InterfaceError])
def test_without_a_database_it_says_when_to_come_back(
    cast: Cast, task: Task, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise fault("connection to /a/secret/path failed")

    monkeypatch.setattr("tasks.work_items.lock", fail)
    response = act("claim", task, cast.alice)
    assert_error(response, 503, "The database does not answer at the moment; try again.")
    assert response["Retry-After"] == "5"
    monkeypatch.setattr("accounts.authentication.verify_basic", fail)
    assert_error(get(task, cast.alice), 503, response.json()["message"])


def test_an_unforeseen_fault_is_logged_and_not_shown(
    cast: Cast, task: Task, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise RuntimeError("an inner secret")

    monkeypatch.setattr("tasks.work_items.lock", fail)
    response = act("release", task, cast.alice)
    assert_error(response, 500, "An unexpected problem has occurred; it has been logged.")
    assert "an inner secret" in caplog.text


def test_a_refusal_of_the_call_is_in_the_envelope(
    cast: Cast, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise InvalidArgument(field="x", why="y")

    monkeypatch.setitem(ACTIONS, "release", fail)
    assert_error(act("release", task, cast.alice), 400, "x: y")


def test_bodies_are_json_text_in_utf8(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, name="Köln <b>=1+1", description="\u202e\x1b[31m")
    response = get(task, cast.alice)
    assert json.loads(response.content.decode())["data"]["name"] == task.name
