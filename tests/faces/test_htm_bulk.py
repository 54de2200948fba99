"""IBM's face: one action on many tasks, and the report of what failed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.http import HttpResponse

from accounts.models import Role, User
from tasks import actions
from tasks.api.htm.ids import tkiid
from tasks.lifecycle import State
from tasks.models import AuditEvent, BulkOperation, Task
from tests.conftest import Cast
from tests.faces.htm_client import (
    assert_empty,
    assert_error,
    bulk_calls,
    failed,
    held_by_bob,
    send,
    standing,
)
from tests.factories import call_by, make_task, make_tasks

VALUES = {"priority": 1, "customProperties": {"wave": "2"}}


def body_of(action: str, ids: list[str]) -> dict[str, Any]:
    """The body of a bulk call."""
    if action.startswith("update"):
        return {"updatedTaskIDs": ids, "updatedPropertyValues": VALUES}
    return {"taskIDs": ids}


def many(who: User | None, action: str, tasks: list[Task | UUID], **more: Any) -> HttpResponse:
    """One action on tasks; `action` with its parameters."""
    ids = [tkiid(task.pk if isinstance(task, Task) else task) for task in tasks]
    return send(f"/task?action={action}", who, body_of(action, ids), **more)


ACTIONS = {
    "cancel": ("claim_cancelled", "cancel_claim"),
    "suspend&duration=P14D": ("suspended", "suspend"),
    "suspendAndCancelClaim&keepTaskData=true&deadline=2099-01-01T00:00:00": (
        "suspended_and_released",
        "suspend_and_release",
    ),
    "update": ("updated", "update"),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_bulk_call_that_succeeds_is_answered_by_an_empty_body(cast: Cast, action: str) -> None:
    event, operation = ACTIONS[action]
    tasks = held_by_bob(cast, 3)
    response = many(cast.dave, action, [*tasks])
    assert_empty(response)
    assert "ETag" not in response
    last = AuditEvent.objects.filter(version=3)
    assert {(e.task_id, e.event, e.channel) for e in last} == {
        (task.pk, event, "htm") for task in tasks
    }
    record = BulkOperation.objects.get()
    assert (record.operation, record.done_count, record.refused) == (operation, 3, {})
    for task in Task.objects.all():
        assert task.on_hold == ("suspend" in action)
        assert (task.owner is None) == ("ancel" in action)
        assert task.priority == (1 if action == "update" else 5)
        assert task.custom_properties == ({"wave": "2"} if action == "update" else {})


def test_suspended_for_a_while_and_resumed(cast: Cast) -> None:
    tasks = make_tasks(2, cast.dave, [cast.noc])
    assert_empty(many(cast.bob, "suspend&duration=P14D", [*tasks]))
    for task in Task.objects.all():
        assert task.wakeup_at is not None
        passed = task.wakeup_at - task.updated_at - timedelta(days=14)
        assert abs(passed) < timedelta(seconds=5)
    assert_empty(many(cast.bob, "resume", [*tasks]))
    assert not Task.objects.filter(on_hold=True).exists()
    report = failed(many(cast.bob, "resume", [*tasks]))
    assert report == [(tkiid(task.pk), "CWTKA0112E") for task in tasks]


@pytest.mark.parametrize("action", [*ACTIONS, "resume"])
def test_only_the_failures_are_reported_once_and_in_order(cast: Cast, action: str) -> None:
    good, ended = held_by_bob(cast, 2)
    if action == "resume":
        actions.suspend([good.pk], call=call_by(cast.dave))
    actions.complete([ended.pk], call=call_by(cast.bob))
    unknown, hidden = uuid4(), make_task(cast.carol, cast.carol)
    # Alice leads noc: she administers its tasks, and sees no other.
    caller = cast.dave if action == "update" else cast.alice
    first = [unknown] if action == "update" else [unknown, hidden]
    response = many(caller, action, [*first, ended, good, unknown, good])
    assert failed(response) == [
        *((tkiid(pk.pk if isinstance(pk, Task) else pk), "CWTKA0024E") for pk in first),
        (tkiid(ended.pk), "CWTKA0062E"),
    ]
    assert AuditEvent.objects.filter(channel="htm").count() == 1
    assert Task.objects.get(pk=ended.pk).state == State.COMPLETED


def test_lack_of_rights_is_reported(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    for action in (*ACTIONS, "resume"):
        response = many(cast.erin, action, [task, uuid4()])
        assert [number for _, number in failed(response)] == ["CWTKA0068E", "CWTKA0024E"]
    assert standing() == before


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("", "CWTKA0122E"),
        ("action=", "CWTKA0158E"),
        ("action=claim", "CWTKA0158E"),
        ("action=terminate", "CWTKA0158E"),
        ("action=cancel&action=cancel", "CWTKA0123E"),
        ("action=suspend", "CWTKA0122E"),
        ("action=suspend&deadline=2099-01-01T00:00:00&duration=P1D", "CWTKA0123E"),
        ("action=suspend&duration=x", "CWTKA0121E"),
        ("action=suspendAndCancelClaim&duration=P1D", "CWTKA0122E"),
        ("action=suspendAndCancelClaim&keepTaskData=1&duration=P1D", "CWTKA0158E"),
        ("action=suspendAndCancelClaim&keepTaskData=true", "CWTKA0122E"),
        ("action=cancel&federationMode=false", "CWTKA0158E"),
    ],
)
def test_illegal_parameters_come_before_everything(cast: Cast, query: str, number: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    for who in (cast.dave, None):
        for body in ({"taskIDs": [tkiid(task.pk)]}, None):
            assert_error(send(f"/task?{query}", who, body), 400, number)
    assert standing() == before


BAD_BODIES: list[tuple[bytes, str]] = [
    (b"", "CWTKA0159E"),
    (b"{}", "CWTKA0159E"),
    (b"[]", "CWTKA0159E"),
    (b"null", "CWTKA0159E"),
    (b"{", "CWTKA0016E"),
    (b'{"%b": "_TKI:1.2.3.4"}', "CWTKA0149E"),
    (b'{"%b": [1]}', "CWTKA0149E"),
    (b'{"%b": ["_TKI:1.2.3.4", "x"]}', "CWTKA0001E"),
    (b'{"%b": ["_PI:1.2.3.4"]}', "CWTKA0002E"),
]


@pytest.mark.parametrize("action", [*ACTIONS, "resume"])
@pytest.mark.parametrize(("raw", "number"), BAD_BODIES)
def test_bad_bodies(cast: Cast, action: str, raw: bytes, number: str) -> None:
    held_by_bob(cast)
    before = standing()
    name = b"updatedTaskIDs" if action == "update" else b"taskIDs"
    raw = raw.replace(b"%b", name)
    assert_error(send(f"/task?action={action}", cast.dave, raw=raw), 400, number)
    assert_error(send(f"/task?action={action}", None, raw=raw), 401, "CWTKA0012E")
    assert standing() == before
    assert bulk_calls() == 0


@pytest.mark.parametrize(
    ("values", "number"),
    [
        (None, "CWTKA0159E"),
        ([], "CWTKA0159E"),
        ({}, "CWTKA0159E"),
        ({"isRead": True}, "CWTKA0041E"),
        ({"priority": 99}, "CWTKA0136E"),
        ({"customProperties": {"a": "x" * 60_000, "b": "x" * 60_000}}, "CWTKA0149E"),
    ],
)
def test_bad_values_fail_the_whole_update(cast: Cast, values: Any, number: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    body = {"updatedTaskIDs": [tkiid(task.pk)], "updatedPropertyValues": values}
    assert_error(send("/task?action=update", cast.dave, body), 400, number)
    assert standing() == before


def test_an_update_needs_its_values(cast: Cast) -> None:
    response = send("/task?action=update", cast.dave, {"updatedTaskIDs": []})
    assert_error(response, 400, "CWTKA0159E")


@pytest.mark.parametrize("action", [*ACTIONS, "resume"])
def test_an_empty_list_does_nothing(cast: Cast, action: str) -> None:
    before = standing()
    assert_empty(many(cast.dave, action, []))
    assert standing() == before


def test_a_version_cannot_be_that_of_many(cast: Cast) -> None:
    response = many(cast.dave, "cancel", [], headers={"If-Match": '"1"'})
    assert_error(response, 400, "CWTKA0083E")


def test_an_answer_that_the_client_cannot_accept(cast: Cast) -> None:
    response = many(cast.dave, "cancel", [], headers={"Accept": "application/xml"})
    assert_error(response, 406, "CWTKA0156E")


def test_a_time_in_the_past_fails_the_whole_call(cast: Cast) -> None:
    tasks = make_tasks(2, cast.dave, [cast.noc])
    before = standing()
    response = many(cast.dave, "suspend&deadline=2020-01-01T00:00:00", [*tasks])
    assert_error(response, 400, "CWTKA0158E")
    message = json.loads(response.content)["errorMessage"]
    assert message == "deadline or duration: it lies in the past"
    assert standing() == before


def test_more_tasks_than_a_role_may_take_at_once(cast: Cast) -> None:
    tasks = held_by_bob(cast, 3)
    Role.objects.filter(name="operations").update(bulk_limit=2)
    before = standing()
    assert_error(many(cast.alice, "cancel", [*tasks]), 413, "CWTKA0005E")
    assert standing() == before


def test_many_are_worked_through_in_units(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = held_by_bob(cast, 5)
    monkeypatch.setattr("tasks.actions.units.UNIT", 2)
    assert_empty(many(cast.dave, "cancel", [*tasks]))
    assert not Task.objects.exclude(state=State.READY).exists()
    record = BulkOperation.objects.get()
    assert (record.done_count, record.status) == (5, BulkOperation.Status.DONE)
