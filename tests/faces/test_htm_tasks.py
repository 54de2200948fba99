"""IBM's face: the actions of one task from start to removal, and what a task looks like."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse
from django.utils import timezone

from accounts.models import User
from tasks import actions, people
from tasks.api.htm.ids import tkiid
from tasks.api.htm.times import Span
from tasks.lifecycle import State
from tasks.models import AuditEvent, Channel, Task, Tombstone
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.faces.htm_client import (
    assert_empty,
    assert_error,
    error,
    held_by_bob,
    send,
    standing,
)
from tests.factories import call_by, make_task

DAY = timedelta(days=1)


def put(who: User | None, task: Task, query: str, body: Any = None, **more: Any) -> HttpResponse:
    """One action of a task; `query` begins with its name."""
    return send(f"/task/{tkiid(task.pk)}?action={query}", who, body, **more)


def now(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def waiting(cast: Cast, **more: Any) -> Task:
    return make_task(cast.dave, cast.noc, waiting=True, **more)


def done(response: HttpResponse, task: Task, event: str) -> Task:
    """The task after a success: an empty answer with the new version, and one event."""
    assert_empty(response)
    after = now(task)
    assert after.version == task.version + 1
    assert response["ETag"] == f'"{after.version}"'
    last = AuditEvent.objects.get(task_id=task.pk, version=after.version)
    assert (last.event, last.channel, last.reason) == (event, Channel.HTM, None)
    return after


# --- Start ---------------------------------------------------------------------------------------


def test_start_activates_an_inactive_task(cast: Cast) -> None:
    task = waiting(cast, input={"site": "FRA2"})
    after = done(put(cast.dave, task, "start&mode=async"), task, "activated")
    assert (after.state, after.starter, after.input) == (State.READY, cast.dave, {"site": "FRA2"})


@pytest.mark.parametrize("message", [{"site": "MUC1"}, {}, [], "text", 0, False])
def test_start_takes_a_new_input_in_the_same_version(cast: Cast, message: Any) -> None:
    task = waiting(cast, input={"site": "FRA2", "pin": "1"}, secret_pointers=["/input/pin"])
    after = done(put(cast.dave, task, "start&mode=async", message), task, "activated")
    assert (after.state, after.input) == (State.READY, message)
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert event.before == {"state": "created", "input": {"site": "FRA2", "pin": "******"}}
    assert event.after == {"state": "ready", "starter": "dave", "input": message}


def test_nobody_waits_for_a_task_that_people_work_on(cast: Cast) -> None:
    task = waiting(cast)
    before = standing()
    for query, number in [
        ("start", "CWTKA0122E"),
        ("start&mode=", "CWTKA0158E"),
        ("start&mode=sync", "CWTKA0158E"),
        ("start&mode=createOnly", "CWTKA0158E"),
        ("start&mode=async&relation=subTask", "CWTKA0123E"),
        ("start&mode=async&parentTaskID=_TKI:1.2.3.4", "CWTKA0123E"),
        ("start&mode=async&mode=async", "CWTKA0123E"),
    ]:
        for who in (cast.dave, None):
            assert_error(put(who, task, query), 400, number)
    assert standing() == before


def test_only_an_inactive_task_starts(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    refused = put(cast.dave, task, "start&mode=async")
    assert_error(refused, 409, "CWTKA0062E")
    assert refused["ETag"] == '"1"'


# --- Complete ------------------------------------------------------------------------------------


def test_complete_with_an_output(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    after = done(put(cast.bob, task, "complete", {"ok": True}), task, "completed")
    assert (after.state, after.output, after.owner) == (
        State.COMPLETED,
        {"ok": True},
        cast.bob,
    )


def test_complete_without_a_body_takes_the_output_that_was_saved(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    task = actions.save_output([task.pk], call=call_by(cast.bob), output={"draft": 1}).one()
    after = done(put(cast.bob, task, "complete"), task, "completed")
    assert (after.state, after.output) == (State.COMPLETED, {"draft": 1})


def test_a_saved_fault_makes_the_task_fail(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    task = actions.save_fault(
        [task.pk], call=call_by(cast.bob), fault={"why": "x"}, fault_name="broken"
    ).one()
    after = done(put(cast.bob, task, "complete"), task, "completed")
    assert (after.state, after.fault, after.fault_name) == (State.FAILED, {"why": "x"}, "broken")


@pytest.mark.parametrize("body", [None, {"why": "no spare part"}])
def test_complete_with_the_name_of_a_fault_fails(cast: Cast, body: Any) -> None:
    task = held_by_bob(cast)[0]
    after = done(put(cast.bob, task, "complete&faultName=noSpare", body), task, "failed")
    assert (after.state, after.fault, after.fault_name) == (State.FAILED, body, "noSpare")


def test_an_output_that_does_not_match_its_definition(cast: Cast) -> None:
    schema = {"type": "object", "required": ["ok"]}
    task = held_by_bob(cast, output_schema=schema)[0]
    refused = put(cast.bob, task, "complete", {"no": 1})
    assert_error(refused, 400, "CWTKA0114E")
    assert refused["ETag"] == '"2"'


def test_bad_ways_to_complete(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    assert_error(put(cast.bob, task, "complete&faultName="), 400, "CWTKA0158E")
    assert_error(put(cast.bob, task, f"complete&faultName={'x' * 256}"), 400, "CWTKA0158E")
    assert_error(put(cast.bob, task, "complete", raw=b"null"), 400, "CWTKA0013E")
    assert_error(put(cast.bob, task, "complete", raw=b"{"), 400, "CWTKA0016E")
    xml = put(cast.bob, task, "complete", raw=b"<ok/>", content_type="application/xml")
    assert_error(xml, 415, "CWTKA0016E")
    assert standing() == before


def test_a_message_may_hold_long_texts(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    output = {"configuration": "x" * 200_000}
    assert_empty(put(cast.bob, task, "complete", output))
    assert now(task).output == output


# --- Suspend and resume --------------------------------------------------------------------------


def test_suspend_for_good_and_resume(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    held = done(put(cast.bob, task, "suspend"), task, "suspended")
    assert (held.on_hold, held.wakeup_at) == (True, None)
    back = done(put(cast.bob, held, "resume"), held, "resumed")
    assert (back.on_hold, back.state) == (False, State.READY)
    refused = put(cast.bob, task, "resume")
    assert_error(refused, 409, "CWTKA0112E")


def test_a_deadline_without_a_zone_is_the_account_s_own_time(cast: Cast) -> None:
    year = timezone.now().year + 1
    User.objects.filter(pk=cast.bob.pk).update(time_zone="Europe/Berlin")
    for text, hour in [
        ("-07-01T12:00:00", 10),
        ("-01-15T12:00:00", 11),
        ("-07-01T12:00:00Z", 12),
        ("-07-01T12:00:00%2B05:00", 7),
    ]:
        task = make_task(cast.dave, cast.noc)
        after = done(put(cast.bob, task, f"suspend&deadline={year}{text}"), task, "suspended")
        assert after.wakeup_at is not None
        assert after.wakeup_at.astimezone(UTC).hour == hour
        assert after.wakeup_at.year == year


@pytest.mark.parametrize(
    ("duration", "length"),
    [
        ("P14D", 14 * DAY),
        ("P2W", 14 * DAY),
        ("PT36H", 1.5 * DAY),
        ("P1DT2H3M4S", DAY + timedelta(hours=2, minutes=3, seconds=4)),
    ],
)
def test_a_duration_begins_now(cast: Cast, duration: str, length: timedelta) -> None:
    task = make_task(cast.dave, cast.noc)
    after = done(put(cast.bob, task, f"suspend&duration={duration}"), task, "suspended")
    assert after.wakeup_at is not None
    assert abs(after.wakeup_at - after.updated_at - length) < timedelta(seconds=5)


def test_months_and_years_follow_the_calendar() -> None:
    start = datetime(2024, 1, 31, 12, tzinfo=UTC)
    assert Span.of(0, 1, 0, 0, 0, 0, 0).after(start) == datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert Span.of(1, 1, 0, 1, 0, 0, 0).after(start) == datetime(2025, 3, 1, 12, tzinfo=UTC)
    assert Span.of(0, 11, 0, 0, 1, 0, 0).after(start) == datetime(2024, 12, 31, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("suspend&deadline=2099-01-01T00:00:00&duration=P1D", "CWTKA0123E"),
        ("suspend&deadline=", "CWTKA0083E"),
        ("suspend&deadline=tomorrow", "CWTKA0083E"),
        ("suspend&deadline=٢099-01-01T00:00:00", "CWTKA0083E"),
        ("suspend&deadline=2099-02-30T00:00:00", "CWTKA0083E"),
        ("suspend&deadline=2099-01-01T00:00:00&deadline=2099-01-01T00:00:00", "CWTKA0123E"),
        ("suspend&duration=", "CWTKA0121E"),
        ("suspend&duration=P", "CWTKA0121E"),
        ("suspend&duration=PT", "CWTKA0121E"),
        ("suspend&duration=P1DT", "CWTKA0121E"),
        ("suspend&duration=-P1D", "CWTKA0121E"),
        ("suspend&duration=14", "CWTKA0121E"),
        ("suspend&duration=P١D", "CWTKA0121E"),
        ("suspendAndCancelClaim&duration=P1D", "CWTKA0122E"),
        ("suspendAndCancelClaim&keepTaskData=true", "CWTKA0122E"),
        ("suspendAndCancelClaim&keepTaskData=T&duration=P1D", "CWTKA0158E"),
        ("suspendAndCancelClaim&keepTaskData=&duration=P1D", "CWTKA0158E"),
        ("suspendAndCancelClaim&keepTaskData=true&duration=P1D&deadline=x", "CWTKA0123E"),
    ],
)
def test_illegal_times(cast: Cast, query: str, number: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    for who in (cast.bob, None):  # syntax: whoever asks
        assert_error(put(who, task, query), 400, number)
    assert standing() == before


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("deadline=2020-01-01T00:00:00", "CWTKA0158E"),
        ("deadline=0001-01-01T00:00:00%2B10:00", "CWTKA0121E"),
        ("deadline=9999-12-31T23:59:59-10:00", "CWTKA0121E"),
        ("duration=PT0S", "CWTKA0158E"),
        ("duration=P99999Y", "CWTKA0121E"),
        ("duration=P999999W", "CWTKA0121E"),
    ],
)
def test_times_out_of_range(cast: Cast, query: str, number: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    assert_error(put(cast.bob, task, f"suspend&{query}"), 400, number)
    assert_error(put(cast.frank, task, f"suspend&{query}"), 404, "CWTKA0024E")
    assert_error(put(cast.erin, task, f"suspend&{query}"), 401, "CWTKA0068E")
    assert standing() == before


@pytest.mark.parametrize("keep", ["true", "false"])
def test_suspend_and_cancel_claim_keeps_or_discards_the_data(cast: Cast, keep: str) -> None:
    task = held_by_bob(cast)[0]
    task = actions.save_output([task.pk], call=call_by(cast.bob), output={"draft": 1}).one()
    query = f"suspendAndCancelClaim&keepTaskData={keep}&duration=P14D"
    after = done(put(cast.bob, task, query), task, "suspended_and_released")
    assert (after.state, after.owner, after.on_hold) == (State.READY, None, True)
    assert after.wakeup_at is not None
    assert after.output == ({"draft": 1} if keep == "true" else None)


# --- Terminate and delete ------------------------------------------------------------------------


def test_terminate_ends_a_task_whoever_holds_it(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    assert_error(put(cast.bob, task, "terminate"), 401, "CWTKA0068E")
    after = done(put(cast.dave, task, "terminate"), task, "exited")
    assert (after.state, after.owner) == (State.EXITED, cast.bob)


def remove(who: User, task: Task, **more: Any) -> HttpResponse:
    return send(f"/task/{tkiid(task.pk)}", who, method="DELETE", **more)


def test_delete_removes_an_ended_task(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    refused = remove(cast.dave, task)
    assert_error(refused, 409, "CWTKA0062E")
    ended = actions.complete([task.pk], call=call_by(cast.bob)).one()
    assert_error(remove(cast.bob, ended), 401, "CWTKA0068E")
    stale = remove(cast.dave, ended, headers={"If-Match": '"2"'})
    assert_error(stale, 412, "CWTKA0007E")
    response = remove(cast.dave, ended, headers={"If-Match": '"3"'})
    assert_empty(response)
    assert response["ETag"] == '"4"'
    assert not Task.objects.filter(pk=task.pk).exists()
    assert Tombstone.objects.get(pk=task.pk).version == 4
    again = remove(cast.dave, ended)
    assert_error(again, 404, "CWTKA0024E")
    assert again.content == remove(cast.dave, Task(pk=uuid4())).content


def test_a_post_can_stand_for_delete(cast: Cast) -> None:
    task = waiting(cast)
    path = f"/task/{tkiid(task.pk)}"
    headers = {"X-HTTP-Method-Override": "DELETE"}
    assert_empty(send(path, cast.dave, method="POST", headers=headers))
    assert not Task.objects.filter(pk=task.pk).exists()


def test_a_task_with_open_subtasks_is_not_deleted(cast: Cast) -> None:
    task = waiting(cast)
    make_task(cast.dave, cast.noc, parent=task)
    assert_error(remove(cast.dave, task), 409, "CWTKA0075E")


# --- Update --------------------------------------------------------------------------------------


def test_update_writes_every_property_that_is_kept(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, custom_properties={"old": "1"})
    body = {
        "displayName": "Replace router 7",
        "description": "Zürich",
        "customProperties": {"site": "ZRH", "empty": ""},
        "priority": 1,
        "dueTime": "2099-01-01T12:00:00",
        "expirationTime": "2099-02-01T12:00:00.500Z",
        "supportsClaimIfSuspended": True,
        "state": "STATE_FINISHED",
        "nonsense": [1],
    }
    after = done(put(cast.dave, task, "update", body), task, "updated")
    assert after.name == "Replace router 7"
    assert after.description == "Zürich"
    assert after.custom_properties == {"site": "ZRH", "empty": ""}
    assert after.priority == 1
    assert after.due_at == datetime(2099, 1, 1, 12, tzinfo=UTC)
    assert after.expires_at == datetime(2099, 2, 1, 12, 0, 0, 500_000, tzinfo=UTC)
    assert after.claim_while_on_hold is True
    assert after.state == State.READY


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("5days", 5 * DAY),
        ("1day 2hours", DAY + timedelta(hours=2)),
        ("90minutes30seconds", timedelta(minutes=90, seconds=30)),
        ("P1D", DAY),
        ("DURATION_ZERO", timedelta()),
        ("DURATION_INFINITE", None),
        ("DURATION_NOT_USED", None),
    ],
)
def test_a_duration_is_an_expression_of_the_calendar(
    cast: Cast, text: str, length: timedelta | None
) -> None:
    task = make_task(cast.dave, cast.noc, due_at=timezone.now(), expires_at=timezone.now())
    body = {"durationUntilDue": text, "durationUntilExpires": text}
    after = done(put(cast.dave, task, "update", body), task, "updated")
    for at in (after.due_at, after.expires_at):
        if length is None:
            assert at is None
        else:
            assert at is not None
            assert abs(at - after.updated_at - length) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (None, "CWTKA0159E"),
        ([], "CWTKA0159E"),
        ("name", "CWTKA0159E"),
        ({}, "CWTKA0159E"),
        ({"nonsense": 1}, "CWTKA0159E"),
        ({"name": 1}, "CWTKA0149E"),
        ({"name": None}, "CWTKA0149E"),
        ({"name": " "}, "CWTKA0149E"),
        ({"name": "x" * 256}, "CWTKA0149E"),
        ({"name": "a\u202eb"}, "CWTKA0149E"),
        ({"displayName": "a", "name": "b"}, "CWTKA0116E"),
        ({"description": "x" * 70_000}, "CWTKA0016E"),
        ({"customProperties": {"a": 1}}, "CWTKA0149E"),
        ({"customProperties": ["a"]}, "CWTKA0149E"),
        ({"priority": "1"}, "CWTKA0136E"),
        ({"priority": True}, "CWTKA0136E"),
        ({"priority": 1.0}, "CWTKA0136E"),
        ({"priority": 11}, "CWTKA0136E"),
        ({"priority": 2**40}, "CWTKA0136E"),
        ({"dueTime": None}, "CWTKA0013E"),
        ({"dueTime": "soon"}, "CWTKA0083E"),
        ({"dueTime": 7}, "CWTKA0149E"),
        ({"dueTime": "2099-01-01T00:00:00", "durationUntilDue": "1day"}, "CWTKA0116E"),
        ({"expirationTime": "2099-01-01T00:00:00", "durationUntilExpires": "P1D"}, "CWTKA0116E"),
        ({"durationUntilDue": "soon"}, "CWTKA0121E"),
        ({"durationUntilDue": "5 parsecs"}, "CWTKA0121E"),
        ({"durationUntilDue": None}, "CWTKA0149E"),
        ({"supportsClaimIfSuspended": "true"}, "CWTKA0149E"),
        ({"name": "x", "isRead": True}, "CWTKA0041E"),
        ({"workBasketName": "b"}, "CWTKA0041E"),
        ({"deletionTime": None}, "CWTKA0041E"),
    ],
)
def test_bad_updates(cast: Cast, body: Any, number: str) -> None:
    task = make_task(cast.dave, cast.noc)
    before = standing()
    assert_error(put(cast.dave, task, "update", body), 400, number)
    # Whoever may not do it hears that first.
    assert_error(put(cast.frank, task, "update", body), 404, "CWTKA0024E")
    assert_error(put(cast.erin, task, "update", body), 401, "CWTKA0068E")
    assert standing() == before


def test_what_is_not_kept_is_named(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    response = put(cast.dave, task, "update", {"name": "x", "eventHandlerName": "y"})
    assert json.loads(response.content) == error(
        "CWTKA0041E", "The property eventHandlerName cannot be updated."
    )


def test_an_update_follows_the_rules_of_each_property(cast: Cast) -> None:
    ended = held_by_bob(cast)[0]
    ended = actions.complete([ended.pk], call=call_by(cast.bob)).one()
    done(put(cast.dave, ended, "update", {"description": "done"}), ended, "updated")
    assert_error(put(cast.dave, ended, "update", {"priority": 1}), 409, "CWTKA0062E")
    task = make_task(cast.dave, cast.noc, people_of={TaskRole.EDITOR: [people.user("carol")]})
    done(put(cast.carol, task, "update", {"name": "x"}), task, "updated")
    refused = put(cast.carol, task, "update", {"name": "y", "priority": 1})
    assert_error(refused, 401, "CWTKA0068E")


def test_what_get_answers_can_be_sent_back(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, due_at=timezone.now() + DAY, custom_properties={"a": "b"})
    document = json.loads(send(f"/task/{tkiid(task.pk)}", cast.dave, method="GET").content)
    document["priority"] = 0
    after = done(put(cast.dave, task, "update", document), task, "updated")
    assert (after.priority, after.name, after.custom_properties) == (0, task.name, {"a": "b"})


# --- Get -----------------------------------------------------------------------------------------


def get(who: User | None, task: Task, **more: Any) -> HttpResponse:
    return send(f"/task/{tkiid(task.pk)}", who, method="GET", **more)


def test_a_task_reads_exactly_as_documented(cast: Cast) -> None:
    at = datetime(2099, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    task = make_task(
        cast.dave,
        cast.noc,
        name="Replace router",
        description="In Zürich",
        priority=2,
        due_at=at,
        expires_at=at,
        custom_properties={"site": "ZRH"},
    )
    response = get(cast.erin, task)
    assert response.status_code == 200
    assert response["ETag"] == '"1"'
    stamp = f"{task.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    stamp += f".{task.created_at.microsecond // 1000:03d}Z"
    ready = {
        "tkiid": tkiid(task.pk),
        "activationTime": stamp,
        "assignmentType": "ASSIGNMENT_TYPE_SINGLE",
        "customProperties": {"site": "ZRH"},
        "description": "In Zürich",
        "displayName": "Replace router",
        "dueTime": "2099-01-02T03:04:05.678Z",
        "expirationTime": "2099-01-02T03:04:05.678Z",
        "isSuspended": False,
        "kind": "KIND_PARTICIPATING",
        "lastModificationTime": stamp,
        "name": "Replace router",
        "originator": "dave",
        "positionInHierarchy": "HIERARCHY_POSITION_TOP_TASK",
        "priority": 2,
        "starter": "dave",
        "state": "STATE_READY",
        "supportsAutomaticClaim": False,
        "supportsClaimIfSuspended": False,
        "suspended": False,
    }
    assert json.loads(response.content) == ready
    actions.claim([task.pk], call=call_by(cast.bob))
    claimed = json.loads(get(cast.erin, task).content)
    assert set(claimed) - set(ready) == {"owner", "startTime"}
    assert (claimed["owner"], claimed["state"]) == ("bob", "STATE_CLAIMED")
    actions.suspend([task.pk], call=call_by(cast.bob), until=at)
    suspended = json.loads(get(cast.erin, task).content)
    assert (suspended["suspended"], suspended["isSuspended"]) == (True, True)
    assert suspended["resumptionTime"] == "2099-01-02T03:04:05.678Z"
    assert suspended["state"] == "STATE_CLAIMED"


def test_a_subtask_names_its_parent(cast: Cast) -> None:
    parent = make_task(cast.dave, cast.noc)
    child = make_task(cast.dave, cast.noc, parent=parent)
    document = json.loads(get(cast.bob, child).content)
    assert document["parentContextID"] == tkiid(parent.pk)
    assert document["positionInHierarchy"] == "HIERARCHY_POSITION_SUB_TASK"


def test_who_may_not_view_gets_no_task(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    refused = get(cast.svc_integration, task)
    assert_error(refused, 401, "CWTKA0068E")
    assert refused["ETag"] == '"1"'
    assert "WWW-Authenticate" not in refused


def test_xml_is_not_to_be_had(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    xml = {"Accept": "application/xml"}
    for rest in ("", "/input", "/output?new=true", "/role/owner", "/subtasks", "/history"):
        path = f"/task/{tkiid(task.pk)}{rest}"
        assert_error(send(path, cast.bob, method="GET", headers=xml), 406, "CWTKA0156E")
    assert_empty(put(cast.bob, task, "suspend", headers=xml))


# --- Shared by all actions -----------------------------------------------------------------------

ACTIONS = {
    "start&mode=async": ("dave", {"a": 1}),
    "complete": ("bob", {"a": 1}),
    "complete&faultName=x": ("bob", {"a": 1}),
    "suspend": ("bob", None),
    "suspend&duration=P1D": ("bob", None),
    "suspendAndCancelClaim&keepTaskData=true&duration=P1D": ("bob", None),
    "resume": ("bob", None),
    "terminate": ("dave", None),
    "update": ("dave", {"name": "x"}),
}


@pytest.mark.parametrize("query", ACTIONS)
def test_an_expected_version_counts(cast: Cast, query: str) -> None:
    who, body = ACTIONS[query]
    task = held_by_bob(cast)[0]
    before = standing()
    stale = put(getattr(cast, who), task, query, body, headers={"If-Match": '"7"'})
    assert_error(stale, 412, "CWTKA0007E")
    assert stale["ETag"] == '"2"'
    for who_asks in (cast.bob, None):
        bad = put(who_asks, task, query, body, headers={"If-Match": "7"})
        assert_error(bad, 400, "CWTKA0083E")
    assert standing() == before


@pytest.mark.parametrize("query", ACTIONS)
def test_credentials_hidden_rights_body_and_state_in_this_order(cast: Cast, query: str) -> None:
    who, body = ACTIONS[query]
    task = held_by_bob(cast)[0]
    before = standing()
    broken: dict[str, Any] = {"raw": b"{", "headers": {"If-Match": '"7"'}}
    assert_error(put(None, task, query, **broken), 401, "CWTKA0012E")
    hidden = put(cast.frank, task, query, **broken)
    missing = put(cast.frank, Task(pk=uuid4()), query, **broken)
    assert_error(hidden, 404, "CWTKA0024E")
    assert hidden.content == missing.content
    assert dict(hidden.items()) == dict(missing.items())
    refused = put(cast.erin, task, query, **broken)
    assert_error(refused, 401, "CWTKA0068E")
    assert "WWW-Authenticate" not in refused
    if body is not None:
        assert_error(put(getattr(cast, who), task, query, **broken), 400, "CWTKA0016E")
    assert standing() == before
