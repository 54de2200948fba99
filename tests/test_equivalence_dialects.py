"""Each verb of the two dialects leaves the rows that the core leaves for the same act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from accounts.models import Role, User
from taskmanager.demo_data import password_of
from tasks import actions
from tasks.actions import Outcome
from tasks.api.htm.ids import tkiid
from tasks.api.htm.verbs import BULK, TASK
from tasks.lifecycle import State
from tasks.models import AuditEvent, BulkOperation, Channel, Task

from .conftest import Cast
from .factories import JobFactory, call_by, make_in, make_tasks, reference
from .test_equivalence import URL, kept_connection, ok, rows_of, transport

__all__ = ["kept_connection"]  # a fixture that every test here uses

UNTIL = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
UNTIL_TEXT = "2099-01-02T03:04:05"

Maker = Callable[[Cast], list[Task]]
Sender = Callable[[Cast, list[Task]], None]


def client(who: User) -> httpx.Client:
    """A client of both dialects, which logs in with every call."""
    auth = (who.username, password_of(who.username))
    return httpx.Client(base_url=URL, auth=auth, transport=transport())


# --- What the acts begin with -------------------------------------------------------------------


def ready(cast: Cast) -> list[Task]:
    return make_tasks(2, cast.carol, [cast.noc], name="Replace router")


def waiting(cast: Cast) -> list[Task]:
    return make_tasks(2, cast.carol, [cast.noc], name="Replace router", waiting=True)


def held(cast: Cast) -> list[Task]:
    """Two tasks that dave has, with a draft of their output."""
    ids = [task.pk for task in ready(cast)]
    actions.claim(ids, call=call_by(cast.dave, bulk=True))
    actions.save_output(ids, call=call_by(cast.dave, bulk=True), output={"draft": 1})
    return list(Task.objects.filter(pk__in=ids).order_by("pk"))


def faulty(cast: Cast) -> list[Task]:
    """Two tasks that dave has, with a draft of a fault."""
    ids = [task.pk for task in held(cast)]
    call = call_by(cast.dave, bulk=True)
    actions.save_fault(ids, call=call, fault={"why": "x"}, fault_name="broken")
    return list(Task.objects.filter(pk__in=ids).order_by("pk"))


def on_hold(cast: Cast) -> list[Task]:
    ids = [task.pk for task in held(cast)]
    actions.suspend(ids, call=call_by(cast.dave, bulk=True), until=UNTIL)
    return list(Task.objects.filter(pk__in=ids).order_by("pk"))


def of_job(cast: Cast) -> list[Task]:
    """Two ready tasks of a job; the next job is another one."""
    return make_tasks(2, cast.carol, [cast.noc], name="Approve", job=JobFactory(name="A job"))


def in_error(cast: Cast) -> list[Task]:
    """Two tasks of a job that ended in error; dave may try again."""
    cast.dave.roles.add(Role.objects.get(name="retryUser"))
    job = JobFactory(name="A job")
    fields: dict[str, Any] = {"job": job, "input": {"a": 1}, "ended_at": UNTIL}
    return [
        make_in(State.ERROR, cast.carol, cast.noc, short_id=short, **fields) for short in ("a", "b")
    ]


# --- The acts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Act:
    """One act of dave's: on what, through a dialect, and through the core."""

    before: Maker
    send: Sender
    operation: str
    arguments: dict[str, Any] = field(default_factory=dict)
    channel: Channel = Channel.HTM
    bulk: bool = False


def one_by_one(rest: str, body: Any = None, *, method: str = "PUT") -> Sender:
    """A call of IBM's dialect for each task; `rest` follows its id."""

    def send(cast: Cast, tasks: list[Task]) -> None:
        for task in tasks:
            url = f"/rest/bpm/htm/v1/task/{tkiid(task.pk)}{rest}"
            more = {} if body is None else {"json": body}
            assert ok(client(cast.dave).request(method, url, **more)).content == b""

    return send


def at_once(action: str, **members: Any) -> Sender:
    """A call of IBM's dialect for all tasks."""

    def send(cast: Cast, tasks: list[Task]) -> None:
        name = "updatedTaskIDs" if members else "taskIDs"
        body = {name: [tkiid(task.pk) for task in tasks], **members}
        url = f"/rest/bpm/htm/v1/task?action={action}"
        assert ok(client(cast.dave).put(url, json=body)).content == b""

    return send


def in_job(name: str, body: Any) -> Sender:
    """A call of Itential's dialect for each task of a job."""

    def send(cast: Cast, tasks: list[Task]) -> None:
        for task in tasks:
            assert task.job is not None
            url = f"/operations-manager/jobs/{task.job.object_id}/tasks/{task.short_id}/{name}"
            ok(client(cast.dave).post(url, json=body))

    return send


UPDATE = {"priority": 1, "description": "Zürich", "customProperties": {"a": "b"}}
UPDATED = {"priority": 1, "description": "Zürich", "custom_properties": {"a": "b"}}
LATER = {"until": UNTIL}

ACTS = {
    "IBM start": Act(waiting, one_by_one("?action=start&mode=async"), "activate"),
    "IBM start with an input": Act(
        waiting,
        one_by_one("?action=start&mode=async", {"a": 1}),
        "activate",
        {"input": {"a": 1}},
    ),
    "IBM cancel": Act(held, one_by_one("?action=cancel"), "cancel_claim"),
    "IBM suspend": Act(held, one_by_one("?action=suspend"), "suspend"),
    "IBM suspend until": Act(
        held, one_by_one(f"?action=suspend&deadline={UNTIL_TEXT}"), "suspend", LATER
    ),
    "IBM suspendAndCancelClaim": Act(
        held,
        one_by_one(f"?action=suspendAndCancelClaim&keepTaskData=false&deadline={UNTIL_TEXT}"),
        "suspend_and_release",
        {**LATER, "keep_data": False},
    ),
    "IBM resume": Act(on_hold, one_by_one("?action=resume"), "resume"),
    "IBM terminate": Act(on_hold, one_by_one("?action=terminate"), "exit"),
    "IBM complete": Act(
        held, one_by_one("?action=complete", {"ok": 1}), "complete", {"output": {"ok": 1}}
    ),
    "IBM complete with what was saved": Act(held, one_by_one("?action=complete"), "complete"),
    "IBM complete with a saved fault": Act(
        faulty, one_by_one("?action=complete"), "complete", {"fails_with_fault": True}
    ),
    "IBM complete with a fault": Act(
        held,
        one_by_one("?action=complete&faultName=broken", {"why": 1}),
        "fail",
        {"fault_name": "broken", "fault": {"why": 1}},
    ),
    "IBM update": Act(ready, one_by_one("?action=update", UPDATE), "update", {"values": UPDATED}),
    "IBM input": Act(
        waiting, one_by_one("/input", {"a": 1}), "update", {"values": {"input": {"a": 1}}}
    ),
    "IBM output": Act(faulty, one_by_one("/output", {"a": 1}), "save_output", {"output": {"a": 1}}),
    "IBM fault": Act(
        held,
        one_by_one("/fault?faultName=x", {"a": 1}),
        "save_fault",
        {"fault_name": "x", "fault": {"a": 1}},
    ),
    "IBM assign a role": Act(
        ready,
        one_by_one("/role/editor?action=assign&newUser=bob"),
        "grant",
        {"role": "editor", "to": "bob"},
    ),
    "IBM cancel in bulk": Act(held, at_once("cancel"), "cancel_claim", bulk=True),
    "IBM suspend in bulk": Act(
        held, at_once(f"suspend&deadline={UNTIL_TEXT}"), "suspend", LATER, bulk=True
    ),
    "IBM suspendAndCancelClaim in bulk": Act(
        held,
        at_once(f"suspendAndCancelClaim&keepTaskData=true&deadline={UNTIL_TEXT}"),
        "suspend_and_release",
        LATER,
        bulk=True,
    ),
    "IBM resume in bulk": Act(on_hold, at_once("resume"), "resume", bulk=True),
    "IBM update in bulk": Act(
        ready,
        at_once("update", updatedPropertyValues=UPDATE),
        "update",
        {"values": UPDATED},
        bulk=True,
    ),
    "Itential finish": Act(
        of_job,
        in_job("finish", {"taskData": {"finish_state": "success", "variables": {"a": 1}}}),
        "finish",
        {"output": {"a": 1}},
        Channel.ITENTIAL,
    ),
    "Itential finish with failure": Act(
        of_job,
        in_job("finish", {"taskData": {"finish_state": "failure", "variables": {}}}),
        "finish",
        {"finish_state": "failure", "output": {}},
        Channel.ITENTIAL,
    ),
    "Itential retry": Act(
        in_error,
        in_job("retry", {"variables": {"b": 2}}),
        "retry",
        {"input": {"b": 2}},
        Channel.ITENTIAL,
    ),
}


def by_core(cast: Cast, act: Act, tasks: list[Task]) -> None:
    """The same act of dave's through the core."""
    named = {name: reference(cast.bob) for name in act.arguments if name == "to"}
    outcome: Outcome = actions.ACTIONS[act.operation](
        [task.pk for task in tasks],
        call=call_by(cast.dave, bulk=True),
        **{**act.arguments, **named},
    )
    assert not outcome.refused


def comparable(tasks: list[Task]) -> list[dict[str, Any]]:
    """All rows of the tasks, but for the job each is in."""
    found = rows_of(tasks)
    for row in found:
        for name in ("job_id", "short_id"):
            row["task"].pop(name)
    return found


@pytest.mark.parametrize("name", ACTS)
def test_a_verb_leaves_the_rows_that_the_core_leaves(cast: Cast, name: str) -> None:
    act = ACTS[name]
    one, other = act.before(cast), act.before(cast)
    untouched = comparable(other)
    by_core(cast, act, one)
    recorded = BulkOperation.objects.count()
    ids = [task.pk for task in other]
    before = set(AuditEvent.objects.values_list("pk", flat=True))

    act.send(cast, other)

    assert comparable(other) != untouched, "the face did nothing, so nothing was compared"
    assert comparable(other) == comparable(one)
    new = AuditEvent.objects.filter(task_id__in=ids).exclude(pk__in=before)
    assert len(new) == len(other)
    assert {(event.channel, event.reason) for event in new} == {(act.channel, None)}
    assert len({event.operation_id for event in new}) == (1 if act.bulk else len(other))
    assert BulkOperation.objects.count() == recorded + (1 if act.bulk else 0)


def test_delete_leaves_the_tombstones_that_the_core_leaves(cast: Cast) -> None:
    one, other = waiting(cast), waiting(cast)
    by_core(cast, Act(waiting, one_by_one(""), "remove"), one)
    one_by_one("", method="DELETE")(cast, other)
    assert not Task.objects.exists()
    left = [
        [
            (event.version, event.event, event.before, event.after)
            for event in AuditEvent.objects.filter(task_id__in=[task.pk for task in tasks])
            .exclude(event="created")
            .order_by("task_id")
        ]
        for tasks in (one, other)
    ]
    assert left[0] == left[1] != []


def test_every_verb_of_the_dialects_is_among_the_acts() -> None:

    spoken = {name.split()[1] for name in ACTS if name.startswith("IBM")}
    assert set(TASK) - {"claim"} <= spoken
    assert {f"IBM {name} in bulk" for name in BULK} <= set(ACTS)
