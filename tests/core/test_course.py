"""What becomes of tasks: activated, put on hold, ended from outside, taken up again, removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Role, User
from tasks import actions, events
from tasks.actions import ACTIONS, Draft, create
from tasks.errors import InvalidArgument
from tasks.lifecycle import ENDED, HELD, OPEN, Kind, State
from tasks.models import AuditEvent, Channel, OutboxEvent, Task, TaskGroupRole, Tombstone
from tasks.people import user
from tasks.roles import TaskRole
from tasks.uuid7 import uuid7
from tests.conftest import Cast
from tests.factories import UserFactory, call_by, make_in, make_task, make_tasks

from .record import assert_copies_right, done, nothing_changes, refusal_of

activate, exit_, expire = ACTIONS["activate"], ACTIONS["exit"], ACTIONS["expire"]
suspend, resume = ACTIONS["suspend"], ACTIONS["resume"]
suspend_and_release = ACTIONS["suspend_and_release"]
raise_error, reopen, retry = ACTIONS["raise_error"], ACTIONS["reopen"], ACTIONS["retry"]
remove = ACTIONS["remove"]

LATER = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
DRAFT = {"output": {"ok": True}, "fault": {"code": 7}, "fault_name": "broken"}
ACTIVE_STATES = [State.READY, State.RESERVED, State.IN_PROGRESS]


def task_in(cast: Cast, state: State, **more: Any) -> Task:
    """A task of carol's for the group noc; bob has it where somebody must."""
    if state in HELD:
        more.setdefault("owner", cast.bob)
    return make_in(state, cast.carol, cast.noc, **more)


def fresh(*tasks: Task) -> list[Task]:
    return [Task.objects.get(pk=task.pk) for task in tasks]


# --- Activate -------------------------------------------------------------------------------------


def test_a_waiting_task_is_offered_and_who_activates_it_is_its_starter(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    assert (task.state, task.starter, task.activated_at) == ("created", None, None)
    stored, event = done(activate, task, call_by(cast.dave))
    assert (stored.state, stored.starter_id) == ("ready", cast.dave.pk)
    assert stored.activated_at == event.at
    assert event.before == {"state": "created"}
    assert event.after == {"state": "ready", "starter": "dave"}
    assert list(Task.objects.available_to(cast.bob)) == [stored]


def test_potential_starters_activate_and_potential_owners_do_not(cast: Cast) -> None:
    task = make_in(
        State.CREATED,
        cast.dave,
        cast.noc,
        people_of={TaskRole.POTENTIAL_STARTER: [cast.carol]},
    )
    # Bob lacks the permission, which is only to be had with other roles than his.
    cast.bob.roles.add(Role.objects.get(name="engineering"))
    bob = User.objects.get(pk=cast.bob.pk)
    assert refusal_of(activate, task, call_by(bob)).code == "not_authorized"
    done(activate, task, call_by(cast.carol))


def test_what_the_system_activates_has_no_starter(cast: Cast) -> None:
    stored, event = done(activate, task_in(cast, State.CREATED), call_by(None))
    assert (stored.starter_id, event.after) == (None, {"state": "ready"})


# --- On hold and off it ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", ACTIVE_STATES)
def test_on_hold_is_a_flag_beside_the_state_and_resume_takes_it_off(
    cast: Cast, state: State
) -> None:
    task = task_in(cast, state)
    held, event = done(suspend, task, call_by(cast.carol))
    assert (held.state, held.owner_id, held.on_hold) == (state, task.owner_id, True)
    assert held.wakeup_at is None
    assert (event.before, event.after) == ({"on_hold": False}, {"on_hold": True})
    assert refusal_of(suspend, held, call_by(cast.carol)).code == "task_suspended"
    back, event = done(resume, held, call_by(cast.carol))
    assert (back.state, back.owner_id, back.on_hold) == (state, task.owner_id, False)
    assert (event.before, event.after) == ({"on_hold": True}, {"on_hold": False})
    assert refusal_of(resume, back, call_by(cast.carol)).code == "not_suspended"


def test_a_task_on_hold_is_not_in_the_worklist(cast: Cast) -> None:
    task = task_in(cast, State.READY)
    done(suspend, task, call_by(cast.bob))
    assert not Task.objects.available_to(cast.bob).exists()
    (task,) = fresh(task)
    done(resume, task, call_by(cast.bob))
    assert Task.objects.available_to(cast.bob).exists()


def test_who_holds_it_decides_about_a_held_task_and_colleagues_do_not(cast: Cast) -> None:
    task = task_in(cast, State.RESERVED, owner=cast.alice)
    assert refusal_of(suspend, task, call_by(cast.bob)).code == "not_authorized"
    held, _ = done(suspend, task, call_by(cast.alice))
    assert refusal_of(resume, held, call_by(cast.bob)).code == "not_authorized"


@pytest.mark.parametrize("until", [LATER, LATER.isoformat()], ids=["time", "text"])
def test_it_wakes_up_at_a_time_and_resume_forgets_it(cast: Cast, until: Any) -> None:
    """Text is what the record of a bulk call keeps."""
    held, event = done(suspend, task_in(cast, State.READY), call_by(cast.bob), until=until)
    assert held.wakeup_at == LATER
    assert event.after == {"on_hold": True, "wakeup_at": LATER.isoformat()}
    back, _ = done(resume, held, call_by(cast.bob))
    assert back.wakeup_at is None


@pytest.mark.parametrize("act", [suspend, suspend_and_release])
def test_a_time_to_wake_up_lies_ahead(cast: Cast, act: Any) -> None:
    task = task_in(cast, State.RESERVED)
    for until in (timezone.now() - timedelta(seconds=1), datetime(2020, 1, 1, tzinfo=UTC)):
        with nothing_changes(), pytest.raises(InvalidArgument) as caught:
            act([task.pk], call=call_by(cast.bob), until=until)
        assert caught.value.params["field"] == "until"
    # Who may not do it is told that, not what is wrong with the time.
    error = refusal_of(act, task, call_by(cast.erin), until=datetime(2020, 1, 1, tzinfo=UTC))
    assert error.code == "not_authorized"


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_PROGRESS])
def test_it_is_taken_from_its_owner_and_keeps_its_data(cast: Cast, state: State) -> None:
    task = task_in(cast, state, claimed_at=timezone.now(), **DRAFT)
    stored, event = done(suspend_and_release, task, call_by(cast.bob), until=LATER)
    assert (stored.state, stored.owner_id, stored.claimed_at) == ("ready", None, None)
    assert (stored.on_hold, stored.wakeup_at) == (True, LATER)
    assert {name: getattr(stored, name) for name in DRAFT} == DRAFT
    assert event.before == {"state": state, "owner": "bob", "on_hold": False}
    assert event.after == {
        "state": "ready",
        "owner": None,
        "on_hold": True,
        "wakeup_at": LATER.isoformat(),
    }


def test_it_is_taken_from_its_owner_without_its_data_and_the_audit_has_that(cast: Cast) -> None:
    task = task_in(
        cast,
        State.IN_PROGRESS,
        **{**DRAFT, "output": {"key": "hunter2"}},
        secret_pointers=["/output/key"],
    )
    stored, event = done(suspend_and_release, task, call_by(cast.bob), keep_data=False)
    assert (stored.output, stored.fault, stored.fault_name) == (None, None, "")
    assert event.before["output"] == {"key": "******"}
    assert (event.before["fault"], event.before["fault_name"]) == ({"code": 7}, "broken")
    assert event.before["owner"] == "bob"
    assert event.after["on_hold"] is True


def test_colleagues_do_not_take_it_from_its_owner_by_putting_it_on_hold(cast: Cast) -> None:
    task = task_in(cast, State.RESERVED, owner=cast.alice)
    assert refusal_of(suspend_and_release, task, call_by(cast.bob)).code == "not_authorized"
    done(suspend_and_release, task, call_by(cast.dave))


# --- Ended from outside ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CREATED, *ACTIVE_STATES])
@pytest.mark.parametrize(
    ("act", "name", "end"),
    [(exit_, "carol", "exited"), (raise_error, "carol", "error"), (expire, None, "expired")],
)
def test_an_open_task_is_ended_and_who_had_it_stays_named(
    cast: Cast, state: State, act: Any, name: str | None, end: str
) -> None:
    task = task_in(cast, state)
    stored, event = done(act, task, call_by(getattr(cast, name) if name else None))
    assert (stored.state, stored.owner_id, stored.ended_at) == (end, task.owner_id, event.at)
    assert (event.before, event.after) == ({"state": state}, {"state": end})


@pytest.mark.parametrize("act", [exit_, raise_error, expire])
@pytest.mark.parametrize("state", ACTIVE_STATES)
def test_an_end_takes_a_task_off_hold(cast: Cast, act: Any, state: State) -> None:
    task = task_in(cast, state, on_hold=True, wakeup_at=LATER)
    stored, event = done(act, task, call_by(None if act is expire else cast.carol))
    assert (stored.on_hold, stored.wakeup_at) == (False, None)
    assert (event.before["on_hold"], event.after["on_hold"]) == (True, False)


def test_starters_cancel_and_owners_do_not(cast: Cast) -> None:
    cast.bob.roles.add(Role.objects.get(name="engineering"))
    bob = User.objects.get(pk=cast.bob.pk)
    task = task_in(cast, State.RESERVED)
    assert refusal_of(exit_, task, call_by(bob)).code == "not_authorized"
    done(exit_, task_in(cast, State.RESERVED, starter=bob), call_by(bob))


def test_what_an_engine_reports_is_kept_and_masked_in_the_audit(cast: Cast) -> None:
    task = task_in(cast, State.READY, secret_pointers=["/fault/trace"])
    stored, event = done(
        raise_error,
        task,
        call_by(cast.svc_integration, Channel.ITENTIAL, reason=None),
        fault={"trace": "hunter2", "code": 7},
        fault_name="timeout",
    )
    assert stored.fault == {"trace": "hunter2", "code": 7}
    assert event.after == {
        "state": "error",
        "fault": {"trace": "******", "code": 7},
        "fault_name": "timeout",
    }
    assert "hunter2" not in str([event.before, event.after])


@pytest.mark.parametrize("fault_name", ["x" * 256, "two\nlines", " "])
def test_the_name_of_a_fault_is_one_line_of_bounded_length(cast: Cast, fault_name: str) -> None:
    task = task_in(cast, State.READY)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        raise_error([task.pk], call=call_by(cast.carol), fault_name=fault_name)
    assert caught.value.params["field"] == "fault_name"


@pytest.mark.parametrize("name", ["dave", "root", "svc_integration", "carol"])
def test_nobody_makes_a_task_expire_but_the_clock(cast: Cast, name: str) -> None:
    task = task_in(cast, State.READY)
    assert refusal_of(expire, task, call_by(getattr(cast, name))).code == "not_authorized"


# --- Taken up again -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_ended_task_is_ready_once_more(cast: Cast, state: State) -> None:
    """The output stays as a draft; the fault goes, and the time at which it would expire."""
    task = task_in(
        cast, state, owner=cast.bob, claimed_at=timezone.now(), expires_at=LATER, **DRAFT
    )
    stored, event = done(reopen, task, call_by(cast.dave))
    assert (stored.state, stored.owner_id, stored.claimed_at) == ("ready", None, None)
    assert (stored.ended_at, stored.expires_at) == (None, None)
    assert stored.activated_at == event.at
    assert (stored.output, stored.fault, stored.fault_name) == ({"ok": True}, None, "")
    assert event.before == {
        "state": state,
        "owner": "bob",
        "expires_at": LATER.isoformat(),
        "fault": {"code": 7},
        "fault_name": "broken",
    }
    assert event.after == {
        "state": "ready",
        "owner": None,
        "expires_at": None,
        "fault": None,
        "fault_name": "",
    }
    assert list(Task.objects.available_to(cast.bob)) == [stored]


@pytest.mark.parametrize("state", [State.FAILED, State.ERROR])
def test_a_failed_task_is_tried_again_with_another_input(cast: Cast, state: State) -> None:
    gina = UserFactory(username="gina", system_roles=["retryUser"])
    task = task_in(
        cast,
        state,
        input={"key": "old secret", "router": 1},
        secret_pointers=["/input/key"],
        people_of={TaskRole.READER: [gina]},
        **DRAFT,
    )
    new = {"key": "new secret", "router": 2}
    stored, event = done(retry, task, call_by(gina), input=new)
    assert (stored.state, stored.input, stored.fault) == ("ready", new, None)
    assert event.before["input"] == {"key": "******", "router": 1}
    assert event.after["input"] == {"key": "******", "router": 2}
    assert "secret" not in str([event.before, event.after])


def test_a_failed_task_is_tried_again_with_the_input_it_has(cast: Cast) -> None:
    gina = UserFactory(username="gina", system_roles=["retryUser", "viewer"])
    stored, event = done(retry, task_in(cast, State.FAILED, input={"a": 1}), call_by(gina))
    assert stored.input == {"a": 1}
    assert "input" not in event.after


def test_a_bulk_call_gives_no_large_input(cast: Cast) -> None:
    gina = UserFactory(username="gina", system_roles=["retryUser", "operations"])
    task = task_in(cast, State.FAILED, people_of={TaskRole.READER: [gina]})
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        retry([task.pk], call=call_by(gina, bulk=True), input="x" * 65_537)
    assert caught.value.params["field"] == "input"
    done(retry, task, call_by(gina), input="x" * 65_537)


# --- Removed --------------------------------------------------------------------------------------


def test_a_removed_task_leaves_its_history_and_a_tombstone(cast: Cast) -> None:
    task = task_in(cast, State.RESERVED)
    done(ACTIONS["comment"], task, call_by(cast.bob), text="Done soon.")
    (task,) = fresh(task)
    done(ACTIONS["complete"], task, call_by(cast.bob))
    (task,) = fresh(task)
    gone, event = done(remove, task, call_by(cast.dave))
    assert not Task.objects.filter(pk=task.pk).exists()
    assert not TaskGroupRole.objects.filter(content_object=task.pk).exists()
    assert (gone.version, event.event, event.after) == (4, "removed", {})
    history = AuditEvent.objects.filter(task_id=task.pk).order_by("version")
    assert [one.event for one in history] == ["imported", "commented", "completed", "removed"]
    assert OutboxEvent.objects.filter(event__in=history).count() == 4
    assert refusal_of(remove, task, call_by(cast.dave)).code == "task_not_found"


def test_originators_remove_what_never_began_and_administrators_what_has_ended(cast: Cast) -> None:
    cast.carol.roles.set(Role.objects.filter(name="admin"))
    # A model permission would make her administrator of every task.
    Role.objects.get(name="admin").permissions.remove(
        *Role.objects.get(name="admin").permissions.filter(codename="administrator")
    )
    carol = User.objects.get(pk=cast.carol.pk)
    people = {TaskRole.ADMINISTRATOR: [cast.alice]}
    ended = make_in(State.COMPLETED, carol, cast.field, people_of=people)
    assert refusal_of(remove, ended, call_by(carol)).code == "not_authorized"
    done(remove, make_in(State.CREATED, carol, cast.field, people_of=people), call_by(carol))


@pytest.mark.parametrize("state", ACTIVE_STATES)
def test_what_is_under_way_is_not_removed(cast: Cast, state: State) -> None:
    assert refusal_of(remove, task_in(cast, state), call_by(cast.dave)).code == "invalid_task_state"


def test_the_id_of_a_removed_task_is_not_given_to_another(cast: Cast) -> None:
    task = task_in(cast, State.CREATED)
    done(remove, task, call_by(cast.dave))
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        make_in(State.READY, cast.carol, id=task.pk)
    assert caught.value.text == "id: a task with this id has been removed"
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        make_task(cast.carol, id=task.pk)
    assert caught.value.params["field"] == "id"


def test_the_audit_notices_a_tombstone_that_is_gone_or_changed(cast: Cast) -> None:
    task = task_in(cast, State.CREATED)
    done(remove, task, call_by(cast.dave))
    buried = Tombstone.objects.get()

    def faults() -> list[tuple[int, str]]:
        found = list(events.verify())
        assert all(fault.task_id == task.pk for fault in found)
        return [(fault.version, fault.why) for fault in found]

    assert faults() == []
    Tombstone.objects.update(version=1)
    assert faults() == [(2, "not the event that the task names as its last")]
    Tombstone.objects.update(version=3)
    assert faults() == [(3, "missing: the task is at version 3")]
    Tombstone.objects.update(version=2, head=bytes(32))
    assert faults() == [(2, "not the event that the task names as its last")]
    Tombstone.objects.all().delete()
    assert faults() == [(2, "the task itself is gone without a trace")]
    Tombstone.objects.create(pk=buried.pk, version=buried.version, head=buried.head)
    assert faults() == []
    never = Tombstone.objects.create(pk=uuid7(), version=1, head=bytes(32))
    assert [fault.task_id for fault in events.verify()] == [never.pk]


# --- Parents and subtasks -------------------------------------------------------------------------


def below(cast: Cast, parent: Task, *states: State, **more: Any) -> list[Task]:
    """Subtasks that are administered by others than the parent is, and seen by them alone."""
    strangers = {
        TaskRole.ADMINISTRATOR: [cast.frank],
        TaskRole.POTENTIAL_OWNER: [cast.frank],
    }
    return [
        make_in(
            state,
            cast.frank,
            parent=parent,
            people_of=strangers,
            **({"owner": cast.frank} if state in HELD else {}),
            **more,
        )
        for state in states
    ]


def states_of(*tasks: Task) -> list[str]:
    return [task.state for task in fresh(*tasks)]


def test_subtasks_are_cancelled_with_their_parent_whoever_may_see_them(cast: Cast) -> None:
    parent = task_in(cast, State.READY)
    created, reserved, completed = below(
        cast, parent, State.CREATED, State.RESERVED, State.COMPLETED
    )
    (held,) = below(cast, parent, State.READY, on_hold=True)
    (under_ended,) = below(cast, completed, State.READY)
    (deep,) = below(cast, created, State.IN_PROGRESS)
    assert not Task.objects.visible_to(cast.carol).filter(pk=deep.pk).exists()
    call = call_by(cast.carol, reason="not needed any more")
    answered = exit_([parent.pk], call=call)
    assert answered.done == {parent.pk: 2}
    assert list(answered.tasks) == [parent.pk], "of subtasks nothing is told"
    changed = [parent, created, reserved, held, deep, under_ended]
    assert states_of(*changed) == ["exited"] * 6
    assert [task.on_hold for task in fresh(*changed)] == [False] * 6
    assert [task.version for task in fresh(*changed, completed)] == [2, 2, 2, 2, 2, 2, 1]
    assert states_of(completed) == ["completed"]
    for task in changed:
        event = AuditEvent.objects.get(task_id=task.pk, version=2)
        assert (event.event, event.actor, event.reason) == ("exited", "carol", call.reason)
        assert (event.operation_id, event.before["state"]) == (call.operation_id, task.state)
    assert OutboxEvent.objects.count() == AuditEvent.objects.count()
    assert_copies_right(*fresh(*changed))
    assert list(events.verify()) == []


def test_subtasks_go_on_hold_and_off_it_with_their_parent(cast: Cast) -> None:
    parent = task_in(cast, State.RESERVED)
    ready, in_work, created, ended = below(
        cast, parent, State.READY, State.IN_PROGRESS, State.CREATED, State.FAILED
    )
    (before,) = below(cast, parent, State.READY, on_hold=True, wakeup_at=LATER)
    until = LATER + timedelta(days=1)
    suspend([parent.pk], call=call_by(cast.bob), until=until).one()
    assert [task.on_hold for task in fresh(parent, ready, in_work, before)] == [True] * 4
    assert [task.wakeup_at for task in fresh(ready, before)] == [until, LATER]
    assert [task.version for task in fresh(before, created, ended)] == [1, 1, 1]
    assert_copies_right(*fresh(parent, ready, in_work))
    resume([parent.pk], call=call_by(cast.bob)).one()
    back = fresh(parent, ready, in_work, before)
    assert [(task.on_hold, task.wakeup_at) for task in back] == [(False, None)] * 4
    assert [task.state for task in back] == ["reserved", "ready", "in_progress", "ready"]
    assert [task.version for task in fresh(created, ended)] == [1, 1]
    assert_copies_right(*back)


@pytest.mark.parametrize("keep_data", [True, False])
def test_subtasks_are_taken_from_their_owners_with_their_parent(
    cast: Cast, keep_data: bool
) -> None:
    parent = task_in(cast, State.IN_PROGRESS)
    ready, reserved = below(cast, parent, State.READY, State.RESERVED, output={"n": 1})
    suspend_and_release([parent.pk], call=call_by(cast.bob), keep_data=keep_data).one()
    for task in fresh(parent, ready, reserved):
        assert (task.state, task.owner_id, task.on_hold) == ("ready", None, True)
    assert [task.output for task in fresh(ready, reserved)] == [{"n": 1} if keep_data else None] * 2
    event = AuditEvent.objects.get(task_id=reserved.pk, version=2)
    assert event.before["owner"] == "frank"


def test_subtasks_are_removed_with_their_parent_each_with_a_tombstone(cast: Cast) -> None:
    parent = task_in(cast, State.COMPLETED)
    created, ended = below(cast, parent, State.CREATED, State.EXITED)
    (deep,) = below(cast, ended, State.FAILED)
    done_ = remove([parent.pk], call=call_by(cast.dave))
    assert done_.done == {parent.pk: 2}
    assert not Task.objects.exists()
    assert set(Tombstone.objects.values_list("pk", "version")) == {
        (task.pk, 2) for task in (parent, created, ended, deep)
    }
    assert list(events.verify()) == []
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")  # a parent that is gone would be named


@pytest.mark.parametrize("state", ACTIVE_STATES)
def test_nothing_is_removed_above_a_subtask_that_is_under_way(cast: Cast, state: State) -> None:
    parent = task_in(cast, State.COMPLETED)
    (middle,) = below(cast, parent, State.COMPLETED)
    below(cast, middle, state)
    assert refusal_of(remove, parent, call_by(cast.dave)).code == "subtasks_open"
    assert refusal_of(remove, middle, call_by(cast.dave)).code == "subtasks_open"


def test_of_many_those_without_open_subtasks_are_removed(cast: Cast) -> None:
    one, other = task_in(cast, State.COMPLETED), task_in(cast, State.COMPLETED)
    below(cast, one, State.READY)
    outcome = remove([one.pk, other.pk], call=call_by(cast.dave, bulk=True))
    assert outcome.done == {other.pk: 2}
    assert outcome.refused[one.pk].code == "subtasks_open"


def test_a_subtask_is_ended_without_its_parent(cast: Cast) -> None:
    parent = task_in(cast, State.READY)
    one, other = below(cast, parent, State.READY, State.READY)
    done(exit_, one, call_by(cast.dave))
    assert [task.version for task in fresh(parent, other)] == [1, 1]


def test_a_subtask_that_was_asked_for_as_well_changes_once(cast: Cast) -> None:
    """Whether it is answered as done or not: never done twice, and hidden it stays hidden."""
    parent = task_in(cast, State.READY)
    (hidden,) = below(cast, parent, State.READY)
    seen = make_in(
        State.READY,
        cast.frank,
        parent=parent,
        people_of={TaskRole.ADMINISTRATOR: [cast.frank], TaskRole.READER: [cast.carol]},
    )
    alone = exit_([seen.pk], call=call_by(cast.carol, dry_run=True))
    assert alone.refused[seen.pk].code == "not_authorized"
    call = call_by(cast.carol, bulk=True)
    outcome = exit_([hidden.pk, seen.pk, parent.pk], call=call)
    assert outcome.done == {seen.pk: 2, parent.pk: 2}
    assert outcome.refused[hidden.pk].code == "task_not_found"
    assert (outcome.refused[hidden.pk].version, outcome.refused[hidden.pk].holder) == (None, None)
    assert [task.version for task in fresh(parent, hidden, seen)] == [2, 2, 2]


def test_what_does_not_take_subtasks_along_leaves_them(cast: Cast) -> None:
    parent = task_in(cast, State.RESERVED)
    (child,) = below(cast, parent, State.READY)
    done(ACTIONS["complete"], parent, call_by(cast.bob))
    assert fresh(child)[0].version == 1


@pytest.mark.parametrize("state", sorted(ENDED))
def test_no_subtask_is_made_below_a_task_that_has_ended(cast: Cast, state: State) -> None:
    parent = task_in(cast, state)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        make_task(cast.carol, parent=parent)
    assert caught.value.text == "parent: it has ended"


@pytest.mark.parametrize("state", ACTIVE_STATES)
def test_no_subtask_is_made_below_a_task_on_hold(cast: Cast, state: State) -> None:
    parent = task_in(cast, state, on_hold=True)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        make_task(cast.carol, parent=parent)
    assert caught.value.text == "parent: it is on hold"


def test_no_subtask_is_made_below_a_task_that_is_gone(cast: Cast) -> None:
    parent = task_in(cast, State.CREATED)
    done(remove, parent, call_by(cast.dave))
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        create([Draft(Task(name="x", parent_id=parent.pk))], call=call_by(cast.carol))
    assert caught.value.text == "parent: there is no such task"


@pytest.mark.parametrize("state", sorted(OPEN))
def test_subtasks_are_made_below_an_open_task(cast: Cast, state: State) -> None:
    assert make_task(cast.carol, parent=task_in(cast, state)).state == "ready"


def test_an_engine_ends_tasks_that_no_person_works(cast: Cast) -> None:
    task = task_in(cast, State.READY, kind=Kind.AUTOMATIC)
    assert done(raise_error, task, call_by(cast.carol))[0].state == "error"


# --- Round trips ----------------------------------------------------------------------------------


def sent(act: Any) -> list[str]:
    """How each statement that an act sends begins; the words that name a savepoint apart."""
    with CaptureQueriesContext(connection) as captured:
        act()
    starts = [" ".join(query["sql"].split()[:2]).lower() for query in captured]
    return [start.split()[0] if start.startswith("savepoint") else start for start in starts]


FAMILY = ["begin", "with recursive", "savepoint", "with locked", "with recursive"]


@pytest.mark.parametrize("count", [1, 50])
def test_families_cost_three_statements_more_however_large(
    committed_cast: Cast, count: int
) -> None:
    cast = committed_cast
    assert cast.dave.has_perm("tasks.exit_task")  # his roles are read before we count
    parents = make_tasks(count, cast.carol, [cast.noc])
    for parent in parents[:3]:
        make_tasks(2, cast.carol, [cast.noc], parent=parent)
    ids = [parent.pk for parent in parents]

    def by_dave(act: Any) -> list[str]:
        return sent(lambda: act(ids, call=call_by(cast.dave, bulk=True)))

    for act in (suspend, resume, exit_):
        assert by_dave(act) == [*FAMILY, "with input", "commit"]
    # The names of the files they carry are asked for before, since the rows go.
    files = 'select "tasks_attachment"."file"'
    assert by_dave(remove) == [*FAMILY, files, "with input", "commit"]
    assert not Task.objects.exists()


@pytest.mark.parametrize("count", [1, 50])
def test_the_others_cost_four(committed_cast: Cast, count: int) -> None:
    cast = committed_cast
    assert cast.dave.has_perm("tasks.exit_task")
    ids = [task.pk for task in make_tasks(count, cast.carol, [cast.noc], waiting=True)]
    steps: list[tuple[Any, dict[str, Any]]] = [
        (activate, {}),
        (ACTIONS["set_priority"], {"priority": 1}),
        (ACTIONS["update"], {"values": {"name": "x", "priority": 2, "due_at": LATER}}),
        (ACTIONS["comment"], {"text": "Hello."}),
        (ACTIONS["start"], {}),
        (ACTIONS["save_output"], {"output": 1}),
        (ACTIONS["save_fault"], {"fault": 1}),
        (ACTIONS["stop"], {}),
        (ACTIONS["fail"], {}),
        (reopen, {}),
        (raise_error, {}),
    ]
    for act, arguments in steps:
        call = call_by(cast.dave, bulk=True)
        statements = sent(lambda act=act, call=call, given=arguments: act(ids, call=call, **given))
        assert statements == ["begin", "with locked", "with input", "commit"]
    assert set(Task.objects.values_list("version", "state")) == {(len(steps) + 1, "error")}


def test_the_system_may_do_all_this(cast: Cast) -> None:
    """A clock and a command act as nobody, with the rights of an administrator."""
    task = task_in(cast, State.CREATED)
    call = call_by(None)
    for act in (activate, suspend, resume, exit_, reopen, raise_error, retry, expire, remove):
        act([task.pk], call=call_by(None)).one()
        if act is retry:
            actions.assign([task.pk], call=call, to=user("bob")).one()
    assert Tombstone.objects.get().version == 11
