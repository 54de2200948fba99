"""How IBM's face says no: every reason, the order of the answers, bad input, and nothing leaks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.test import RequestFactory
from rest_framework.exceptions import PermissionDenied

from accounts.models import Role
from tasks import actions, errors, people, work_items
from tasks.api.htm.errors import STATUSES, describe, refuse
from tasks.api.htm.ids import tkiid
from tasks.errors import Refusal, TaskError
from tasks.models import BulkOperation, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.faces.htm_client import (
    REQUEST_ID,
    assert_empty,
    assert_error,
    bulk,
    bulk_calls,
    error,
    failed,
    held_by_bob,
    send,
    standing,
)
from tests.factories import make_task

MOVE = "/task/role/owner?action=transfer&fromUser=bob&toUser=alice"

# --- Every reason --------------------------------------------------------------------------------

EVERY_REASON: list[tuple[Refusal, int, str]] = [
    (errors.TaskNotFound(), 404, "CWTKA0024E"),
    (errors.NotAuthorized(operation="claim"), 401, "CWTKA0068E"),
    (errors.InvalidTaskState(state="ready", operation="release"), 409, "CWTKA0062E"),
    (errors.TaskSuspended(operation="claim"), 409, "CWTKA0072E"),
    (errors.NotSuspended(), 409, "CWTKA0112E"),
    (errors.NotSkippable(), 409, "CWTKA0064E"),
    (errors.SubtasksOpen(), 409, "CWTKA0075E"),
    (errors.WrongKind(kind="automatic", operation="claim"), 409, "CWTKA0064E"),
    (errors.StaleTask(expected=3), 412, "CWTKA0007E"),
    (errors.AlreadyOwner(owner="bob"), 409, "CWTKA0062E"),
    (errors.AlreadyGranted(holder="bob", role="reader"), 409, "CWTKA0011E"),
    (errors.NoSuchWorkItem(holder="bob", role="reader"), 409, "CWTKA0099E"),
    (errors.TargetNotEligible(target="bob", why="no"), 409, "CWTKA0110E"),
    (errors.LastAdministrator(), 409, "CWTKA0015E"),
    (errors.InvalidOutput(detail="no"), 400, "CWTKA0114E"),
    (errors.ReasonRequired(operation="release"), 400, "CWTKA0122E"),
    (errors.NotAttempted(why="the database is busy"), 503, "CWTKA0016E"),
    (errors.NothingToUndo(why="no"), 409, "CWTKA0062E"),
    (errors.TooLateToUndo(days=30), 409, "CWTKA0062E"),
    (errors.Irreversible(operation="comment"), 409, "CWTKA0062E"),
    (errors.NotAllDone(count=2), 409, "CWTKA0062E"),
    (errors.StillRunning(), 409, "CWTKA0062E"),
    (errors.AlreadyFinished(), 409, "CWTKA0062E"),
    (errors.KeyReused(), 400, "CWTKA0122E"),
    (errors.KeyInUse(), 409, "CWTKA0062E"),
    (errors.NotPermitted(operation="create tasks"), 401, "CWTKA0012E"),
    (errors.UnknownUser(name="{0}"), 400, "CWTKA0084E"),
    (errors.UnknownGroup(name="x"), 400, "CWTKA0084E"),
    (errors.TargetInactive(name="x"), 400, "CWTKA0084E"),
    (errors.TargetEmpty(name="x"), 400, "CWTKA0084E"),
    (errors.UnknownRole(role="x"), 400, "CWTKA0022E"),
    (errors.InvalidArgument(field="to", why="no"), 400, "CWTKA0123E"),
    (errors.InvalidArgument(field="due_at", why="no"), 400, "CWTKA0149E"),
    (errors.InvalidArgument(field="priority", why="no"), 400, "CWTKA0136E"),
    (errors.ExternalIdTaken(external_id="x", source="y"), 409, "CWTKA0007E"),
    (errors.FileTooLarge(limit=2), 413, "CWTKA0005E"),
    (errors.TooManyTasks(count=3, limit=2), 413, "CWTKA0005E"),
]


def test_no_reason_is_forgotten() -> None:
    assert {type(reason) for reason, _, _ in EVERY_REASON} == set(errors.reasons())
    assert set(STATUSES) == set(errors.reasons())


@pytest.mark.parametrize(
    ("reason", "status", "number"), EVERY_REASON, ids=lambda value: getattr(value, "code", "")
)
def test_every_reason(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, reason: Refusal, status: int, number: str
) -> None:
    def act(*_: Any, **__: Any) -> None:
        if isinstance(reason, TaskError):
            reason.version = 7
        raise reason

    monkeypatch.setitem(actions.ACTIONS, "transfer", act)
    task = tkiid(held_by_bob(cast)[0].pk)
    response = send(f"/task/{task}/role/owner?action=transfer&toUser=alice", cast.bob)
    assert response.status_code == status
    assert json.loads(response.content) == error(*describe(reason))
    assert describe(reason)[0] == number
    assert ("ETag" in response) == isinstance(reason, TaskError)
    assert ("Retry-After" in response) == (status == 503)
    assert "WWW-Authenticate" not in response


# --- The order of the answers --------------------------------------------------------------------


def test_syntax_comes_before_credentials(cast: Cast) -> None:
    task = tkiid(uuid4())
    for path in (
        "/task/x?action=claim",
        f"/task/{task}",
        f"/task/{task}?action=x",
        "/task/role/x?action=transfer&toUser=alice",
        "/task/role/owner?action=transfer",
        f"/task/{task}/role/owner?action=transfer&fromUser=bob&toUser=bob",
    ):
        response = send(path)
        assert response.status_code == 400
        assert "WWW-Authenticate" not in response
    assert send(f"/task/{task}?action=claim", headers={"If-Match": "x"}).status_code == 400


def test_credentials_come_before_the_body(cast: Cast) -> None:
    for raw, content_type in ((b"{", ""), (b"<x/>", "text/xml"), (b'{"taskIDs":["x"]}', "")):
        assert_error(send(MOVE, raw=raw, content_type=content_type), 401, "CWTKA0012E")


def test_hidden_comes_before_names_and_rights_and_version(cast: Cast) -> None:
    task = make_task(cast.dave, cast.carol)
    path = f"/task/{tkiid(task.pk)}/role/owner?action=transfer&toUser=nobody"
    assert_error(send(path, cast.bob, headers={"If-Match": '"9"'}), 404, "CWTKA0024E")


def test_rights_come_before_names_and_version(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    actions_path = f"/task/{tkiid(task.pk)}/role/owner?action=transfer&toUser=nobody"
    assert_error(send(actions_path, cast.erin, headers={"If-Match": '"9"'}), 401, "CWTKA0068E")


def test_names_come_before_version_and_state(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    path = f"/task/{tkiid(task.pk)}/role/owner?action=transfer&toUser=nobody"
    assert_error(send(path, cast.dave, headers={"If-Match": '"9"'}), 400, "CWTKA0084E")


def test_version_comes_before_state(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    path = f"/task/{tkiid(task.pk)}/role/owner?action=transfer&toUser=alice"
    assert_error(send(path, cast.dave, headers={"If-Match": '"9"'}), 412, "CWTKA0007E")
    assert_error(send(path, cast.dave, headers={"If-Match": '"1"'}), 409, "CWTKA0062E")


# --- Hidden is missing ---------------------------------------------------------------------------


def everything(response: HttpResponse) -> tuple[int, bytes, dict[str, str]]:
    return response.status_code, response.content, dict(response.items())


@pytest.mark.parametrize(
    "rest",
    [
        "?action=claim",
        "?action=cancel",
        "/role/owner?action=transfer&toUser=alice",
        "/role/owner?action=transfer&toUser=nobody",
        "/role/reader?action=transfer&fromUser=bob&toUser=frank",
        "/role/potentialOwner?action=transfer&fromGroup=field&toGroup=noc",
    ],
)
def test_a_hidden_task_is_a_missing_one(cast: Cast, rest: str) -> None:
    hidden = make_task(cast.dave, cast.carol)
    before = standing()
    answers = [
        everything(send(f"/task/{tkiid(pk)}{rest}", cast.frank)) for pk in (hidden.pk, uuid4())
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    assert json.loads(answers[0][1]) == error("CWTKA0024E", "There is no such task.")
    assert "ETag" not in answers[0][2]
    assert standing() == before


def test_hidden_and_missing_tasks_look_the_same_in_a_report(cast: Cast) -> None:
    hidden, unknown = make_task(cast.dave, cast.carol).pk, uuid4()
    answers = []
    for ids in ([hidden, unknown], [unknown, hidden]):
        response = bulk(cast.frank, ids, "toUser=alice")
        assert failed(response) == [(tkiid(pk), "CWTKA0024E") for pk in ids]
        status, content, headers = everything(response)
        for number, pk in enumerate(ids):
            content = content.replace(tkiid(pk).encode(), b"%d" % number)
        answers.append((status, content, headers.pop("Content-Length") and headers))
    assert answers[0] == answers[1]


def test_excluded_owners_alone_see_nothing(cast: Cast) -> None:
    task = make_task(
        cast.dave, cast.noc, people_of={TaskRole.EXCLUDED_OWNER: [people.user("frank")]}
    )
    assert_error(send(f"/task/{tkiid(task.pk)}?action=claim", cast.frank), 404, "CWTKA0024E")


# --- Bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"", "CWTKA0159E"),
        (b"{}", "CWTKA0159E"),
        (b"null", "CWTKA0159E"),
        (b"[]", "CWTKA0159E"),
        (b'["_TKI:1.2.3.4"]', "CWTKA0159E"),
        (b'"taskIDs"', "CWTKA0159E"),
        (b"7", "CWTKA0159E"),
        (b'{"taskids": []}', "CWTKA0159E"),
        (b'{"taskIDs": null}', "CWTKA0149E"),
        (b'{"taskIDs": "_TKI:1.2.3.4"}', "CWTKA0149E"),
        (b'{"taskIDs": {"0": "_TKI:1.2.3.4"}}', "CWTKA0149E"),
        (b'{"taskIDs": ["_TKI:1.2.3.4", 7]}', "CWTKA0149E"),
        (b'{"taskIDs": [null]}', "CWTKA0149E"),
        (b'{"taskIDs": [["_TKI:1.2.3.4"]]}', "CWTKA0149E"),
        (b" ", "CWTKA0016E"),
        (b"{", "CWTKA0016E"),
        (b"{'taskIDs': []}", "CWTKA0016E"),
        (b"taskIDs=_TKI:1.2.3.4", "CWTKA0016E"),
        (b'\xef\xbb\xbf{"taskIDs": []}', "CWTKA0016E"),
        (b'{"taskIDs": ["\xff"]}', "CWTKA0016E"),
        ('{"taskIDs": []}'.encode("utf-16"), "CWTKA0016E"),
        (b'{"taskIDs": [], "taskIDs": []}', "CWTKA0016E"),
        (b'{"taskIDs": ["\\u0000"]}', "CWTKA0016E"),
        (b'{"taskIDs": ["\x00"]}', "CWTKA0016E"),
        (b'{"taskIDs": ["\\ud800"]}', "CWTKA0016E"),
        (b'{"taskIDs": [], "\\udfff": 1}', "CWTKA0016E"),
        (b'{"taskIDs": [], "x": NaN}', "CWTKA0016E"),
        (b'{"taskIDs": [], "x": 1e400}', "CWTKA0016E"),
        (b'{"taskIDs": [], "x": 9223372036854775808}', "CWTKA0016E"),
        (b'{"taskIDs": [], "x": ' + b"[" * 100 + b"]" * 100 + b"}", "CWTKA0016E"),
        (b"[" * 100_000, "CWTKA0016E"),
        (b'{"taskIDs": [], "x": "' + b"x" * 70_000 + b'"}', "CWTKA0016E"),
        (b'{"taskIDs": ["' + b"1" * 60_000 + b'"]}', "CWTKA0001E"),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else value,
)
def test_bad_bodies(cast: Cast, raw: bytes, number: str) -> None:
    held_by_bob(cast)
    before = standing()
    assert_error(send(MOVE, cast.dave, raw=raw), 400, number)
    assert standing() == before
    assert bulk_calls() == 0


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "text/json",
        "json",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "x" * 300,
        "/",
        "application/octet-stream",
        "application/json; charset=utf-16",
        "application/vnd.x+json",
    ],
)
def test_other_content_types(cast: Cast, content_type: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    raw = json.dumps({"taskIDs": [tkiid(task.pk)]}).encode()
    response = send(MOVE, cast.dave, raw=raw, content_type=content_type)
    assert_error(response, 415, "CWTKA0016E")
    assert standing() == before


def test_an_answer_that_the_client_cannot_accept(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    before = standing()
    xml = {"Accept": "application/xml"}
    claim = f"/task/{tkiid(task.pk)}?action=claim"
    assert_error(send(claim, cast.bob, headers=xml), 406, "CWTKA0156E")
    assert_error(send(MOVE, cast.bob, {"taskIDs": []}, headers=xml), 406, "CWTKA0156E")
    assert standing() == before
    json_too = {"Accept": "application/xml, application/json;q=0.5"}
    assert send(claim, cast.bob, headers=json_too).status_code == 200
    # What has no body to accept is done whatever the client accepts.
    assert_empty(send(claim.replace("claim", "cancel"), cast.bob, headers=xml))


# --- Before any view -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "more", "status", "number"),
    [
        ("/task/%00?action=claim", {}, 400, "CWTKA0083E"),
        ("/task/x?action=claim&toUser=%00", {}, 400, "CWTKA0083E"),
        ("/task/x?action=claim&toUser=%ED%A0%80", {}, 400, "CWTKA0083E"),
        ("/task/x?action=claim&toUser=%FF", {}, 400, "CWTKA0083E"),
        ("/task/x?" + "a=1&" * 1500, {}, 400, "CWTKA0083E"),
        ("/task/x?toUser=" + "x" * 9000, {}, 414, "CWTKA0005E"),
        (MOVE, {"headers": {"Content-Encoding": "gzip"}}, 415, "CWTKA0016E"),
        (MOVE, {"headers": {"Transfer-Encoding": "chunked"}}, 400, "CWTKA0083E"),
        (MOVE, {"raw": b"x" * (10 * 1024 * 1024 + 1)}, 413, "CWTKA0005E"),
        (MOVE, {"CONTENT_LENGTH": "-1"}, 400, "CWTKA0083E"),
    ],
)
def test_refused_before_any_view(
    cast: Cast, path: str, more: dict[str, Any], status: int, number: str
) -> None:
    sent = {"raw": b"{}", **more}
    assert_error(send(path, cast.dave, **sent), status, number)


def test_a_refusal_of_the_guard_has_the_face_s_shape() -> None:
    request = RequestFactory().put("/rest/bpm/htm/v1/task")
    request.request_id = REQUEST_ID  # type: ignore[attr-defined]
    for status, number in ((411, "CWTKA0016E"), (413, "CWTKA0005E"), (418, "CWTKA0083E")):
        response = refuse(request, status, "some_code", "Some words.")
        assert response.status_code == status
        assert json.loads(response.content) == error(number, "Some words.")


# --- Sizes ---------------------------------------------------------------------------------------


def test_more_tasks_than_a_role_may_move_at_once(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    Role.objects.filter(name="operations").update(bulk_limit=2)
    before = standing()
    response = bulk(cast.alice, [task.pk, uuid4(), uuid4()], "fromUser=bob&toUser=alice")
    assert response.status_code == 413
    assert json.loads(response.content) == error(
        "CWTKA0005E", "3 tasks are more than the 2 that one call of yours may take."
    )
    assert standing() == before


def test_a_very_large_list_of_ids(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    ids = [f"_TKI:{number:x}.0.0.0" for number in range(20_000)]
    response = send(MOVE, cast.dave, {"taskIDs": [*ids, tkiid(task.pk)]})
    assert failed(response) == [(text, "CWTKA0024E") for text in ids]
    assert Task.objects.get(pk=task.pk).owner == cast.alice
    assert_error(send(MOVE, cast.alice, {"taskIDs": ids}), 413, "CWTKA0005E")


def test_after_the_first_unit_what_fails_is_reported(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = held_by_bob(cast, 5)
    monkeypatch.setattr("tasks.actions.units.UNIT", 2)
    calls, lock = [], work_items.lock

    def failing(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise OperationalError("away")
        return lock(*args, **more)

    monkeypatch.setattr(work_items, "lock", failing)
    response = bulk(cast.dave, [task.pk for task in tasks], "fromUser=bob&toUser=alice")
    assert failed(response) == [(tkiid(task.pk), "CWTKA0016E") for task in tasks[2:]]
    owners = [Task.objects.get(pk=task.pk).owner_name for task in tasks]
    assert owners == ["alice", "alice", "bob", "bob", "bob"]
    assert BulkOperation.objects.get().status == BulkOperation.Status.RUNNING


# --- Faults --------------------------------------------------------------------------------------


def raising(problem: Exception) -> Callable[..., None]:
    def act(*_: Any, **__: Any) -> None:
        raise problem

    return act


@pytest.mark.parametrize("problem", [OperationalError("secret host"), InterfaceError("closed")])
@pytest.mark.parametrize("where", ["tasks.work_items.lock", "accounts.authentication.verify_basic"])
def test_without_the_database(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, problem: Exception, where: str
) -> None:
    monkeypatch.setattr(where, raising(problem))
    response = bulk(cast.dave, [uuid4()], "toUser=alice")
    assert_error(response, 503, "CWTKA0016E")
    assert response["Retry-After"] == "5"
    assert b"secret" not in response.content


def test_an_unexpected_problem_is_logged_and_shows_nothing(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(actions.ACTIONS, "transfer", raising(RuntimeError("secret")))
    with caplog.at_level(logging.ERROR):
        response = bulk(cast.dave, [uuid4()], "toUser=alice")
    assert_error(response, 500, "CWTKA0016E")
    assert b"secret" not in response.content
    (record,) = [entry for entry in caplog.records if entry.name == "tasks.api.htm.base"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "secret"


def test_nothing_is_forbidden_by_403(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(actions.ACTIONS, "transfer", raising(PermissionDenied()))
    response = bulk(cast.dave, [uuid4()], "toUser=alice")
    assert_error(response, 401, "CWTKA0012E")
    assert "WWW-Authenticate" not in response
