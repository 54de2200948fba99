"""Undo: what an act did is put back wherever it still stands, and the rest is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from tasks import actions, events
from tasks.actions import ACTIONS, Outcome
from tasks.errors import InvalidArgument, Irreversible, TaskError
from tasks.lifecycle import HELD, State, irreversible_events
from tasks.models import AuditEvent, BulkOperation, Task, TaskGroupRole, TaskUserRole
from tasks.people import group, user
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task, make_tasks

from .cases import CASES, Case
from .record import (
    assert_copies_right,
    deactivate,
    holders,
    nothing_changes,
    values_of,
)

PO, AD, XO = TaskRole.POTENTIAL_OWNER, TaskRole.ADMINISTRATOR, TaskRole.EXCLUDED_OWNER


def bulk(act: str, tasks: Sequence[Task], who: User | None, **arguments: Any) -> Outcome:
    """An act on many tasks that is done to all of them."""
    ids = [task.pk for task in tasks]
    outcome = ACTIONS[act](ids, call=call_by(who, bulk=True), **arguments)
    assert list(outcome.done) == ids
    return outcome


def undo(outcome: Outcome, who: User | None, **more: Any) -> Outcome:
    """The undo of an act, as all faces call it."""
    ids = affected(outcome.operation_id)
    call = call_by(who, bulk=True, **more)
    return ACTIONS["undo"](ids, call=call, operation=str(outcome.operation_id))


def affected(operation_id: UUID) -> list[UUID]:
    found = AuditEvent.objects.filter(operation_id=operation_id).order_by("task_id")
    return list(found.values_list("task_id", flat=True).distinct())


def standing(*tasks: Task) -> list[tuple[Any, ...]]:
    """All there is of tasks but what rises with every change: columns and role rows."""
    found = []
    for task in Task.objects.filter(pk__in=[one.pk for one in tasks]).order_by("pk"):
        values = values_of(task)
        for name in ("version", "head", "updated_at"):
            del values[name]
        rows = {
            table.__name__: sorted(
                table._default_manager.filter(content_object=task).values_list(
                    "permission_id", holder, "open", "ready", "priority", "due"
                )
            )
            for table, holder in ((TaskUserRole, "user_id"), (TaskGroupRole, "group_id"))
        }
        found.append((values, rows))
    return found


def kept(outcome: Outcome, task: Task) -> list[tuple[str, str]]:
    return [(one["field"], one["code"]) for one in outcome.kept.get(task.pk, [])]


def only(error: dict[UUID, TaskError]) -> TaskError:
    (found,) = error.values()
    return found


# --- Every operation ------------------------------------------------------------------------------

REVERSIBLE = [case for case in CASES if case.operation.reversible]


@pytest.mark.parametrize("case", REVERSIBLE, ids=str)
def test_what_is_undone_was_never_done_and_what_is_undone_again_was(cast: Cast, case: Case) -> None:
    """Of every operation that can be undone: columns and role rows are as before, then as after."""
    task = case.task(cast)
    before = standing(task)
    act = bulk(case.name, [task], case.actor(cast), **case.arguments(cast))
    after = standing(task)
    assert after != before
    back = undo(act, cast.dave)
    assert back.kept == {}
    assert list(back.done) == [task.pk]
    assert standing(task) == before
    again = undo(back, cast.dave)
    assert again.kept == {}
    assert list(again.done) == [task.pk]
    assert standing(task) == after
    stored = Task.objects.get(pk=task.pk)
    assert stored.version == 4
    assert_copies_right(stored)
    assert list(events.verify()) == []


@pytest.mark.parametrize("case", [case for case in CASES if not case.operation.reversible], ids=str)
def test_what_cannot_be_undone_says_so_before(cast: Cast, case: Case) -> None:
    task = case.task(cast)
    act = bulk(case.name, [task], case.actor(cast), **case.arguments(cast))
    assert actions.irreversible(str(act.operation_id)) == case.operation.words
    with nothing_changes(), pytest.raises(Irreversible):
        undo(act, cast.dave)
    with nothing_changes(), pytest.raises(Irreversible):
        undo(act, cast.dave, dry_run=True)


def test_which_operations_cannot_be_undone(cast: Cast) -> None:
    assert set(irreversible_events().values()) == {
        "create", "import", "remove", "comment", "attach", "expire",
        "mark unclaimable", "mark claimable",
    }  # fmt: skip


# --- Wherever it still stands ---------------------------------------------------------------------


def held(cast: Cast, **fields: Any) -> Task:
    """A task of the NOC that bob has."""
    return make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob, **fields)


def moved(cast: Cast, *tasks: Task, to: str = "frank") -> Outcome:
    return bulk("transfer", tasks, cast.alice, role="owner", from_=user("bob"), to=user(to))


def test_the_owner_goes_back_and_the_priority_another_set_stays(cast: Cast) -> None:
    task = held(cast)
    act = moved(cast, task)
    bulk("set_priority", [task], cast.carol, priority=1)
    back = undo(act, cast.alice)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.owner, stored.priority, stored.version) == (cast.bob, 1, 4)
    assert back.done == {task.pk: 4}
    assert back.kept == {}
    event = AuditEvent.objects.get(task_id=task.pk, version=4)
    assert (event.event, event.actor) == ("undone", "alice")
    assert (event.before["owner"], event.after["owner"]) == ("frank", "bob")
    assert "priority" not in event.after
    assert_copies_right(stored)
    assert list(events.verify()) == []


def test_an_owner_who_moved_on_since_stays_and_is_told(cast: Cast) -> None:
    moved_on, other = held(cast), held(cast)
    act = moved(cast, moved_on, other)
    bulk("transfer", [moved_on], cast.alice, role="owner", from_=user("frank"), to=user("alice"))
    back = undo(act, cast.alice)
    assert list(back.done) == [other.pk]
    error = only(back.refused)
    assert error.code == "nothing_to_undo"
    assert "alice by now" in error.text
    assert Task.objects.get(pk=moved_on.pk).owner == cast.alice
    assert Task.objects.get(pk=moved_on.pk).version == 3
    assert Task.objects.get(pk=other.pk).owner == cast.bob


def test_what_still_stands_goes_back_beside_what_does_not(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    act = bulk("update", [task], cast.carol, values={"priority": 1, "description": "wrong"})
    bulk("set_priority", [task], cast.carol, priority=3)
    back = undo(act, cast.carol)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.description, stored.priority) == ("", 3)
    assert kept(back, task) == [("priority", "changed_since")]
    record = BulkOperation.objects.get(pk=back.operation_id)
    assert record.kept == {str(task.pk): back.kept[task.pk]}


def test_an_owner_who_began_the_work_loses_the_task_all_the_same(cast: Cast) -> None:
    task = held(cast)
    act = moved(cast, task)
    ACTIONS["start"]([task.pk], call=call_by(cast.frank)).one()
    undo(act, cast.alice)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.owner, stored.state) == (cast.bob, "in_progress")


def test_work_that_was_done_since_stays_done(cast: Cast) -> None:
    task = held(cast)
    act = moved(cast, task)
    ACTIONS["complete"]([task.pk], call=call_by(cast.frank)).one()
    error = only(undo(act, cast.alice).refused)
    assert error.code == "nothing_to_undo"
    assert Task.objects.get(pk=task.pk).owner == cast.frank


def test_a_task_that_was_assigned_and_begun_stays_with_who_began_it(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    act = bulk("assign", [task], cast.alice, to=user("frank"))
    ACTIONS["start"]([task.pk], call=call_by(cast.frank)).one()
    assert only(undo(act, cast.alice).refused).code == "nothing_to_undo"
    assert Task.objects.get(pk=task.pk).state == "in_progress"


def test_a_task_that_somebody_put_on_hold_since_is_not_ended_on_hold(cast: Cast) -> None:
    task = make_in(State.COMPLETED, cast.carol, cast.noc, owner=cast.bob)
    act = bulk("reopen", [task], cast.dave)
    bulk("suspend", [task], cast.dave)
    assert only(undo(act, cast.dave).refused).code == "nothing_to_undo"


def test_a_hold_until_another_time_is_another_hold(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    act = bulk("suspend", [task], cast.carol)
    bulk("resume", [task], cast.carol)
    bulk("suspend", [task], cast.carol, until=timezone.now() + timedelta(days=1))
    assert only(undo(act, cast.carol).refused).code == "nothing_to_undo"


def test_subtasks_that_went_along_come_back_along(cast: Cast) -> None:
    parent = make_task(cast.carol, cast.noc)
    child = make_task(cast.carol, cast.noc, parent=parent)
    act = bulk("suspend", [parent], cast.carol)
    assert Task.objects.get(pk=child.pk).on_hold
    assert set(undo(act, cast.carol).done) == {parent.pk, child.pk}
    assert not Task.objects.filter(on_hold=True).exists()


def test_a_secret_that_the_record_does_not_keep_is_not_put_back(cast: Cast) -> None:
    task = make_in(
        State.CREATED, cast.carol, cast.noc,
        input={"password": "old"}, secret_pointers=["/input/password"],
    )  # fmt: skip
    values = {"input": {"password": "new"}, "name": "wrong"}
    act = bulk("update", [task], cast.carol, values=values)
    back = undo(act, cast.carol)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.name, stored.input) == ("Replace router", {"password": "new"})
    assert kept(back, task) == [("input", "secret")]


# --- Owners who are not there any more ------------------------------------------------------------


def leaves(cast: Cast, task: Task) -> None:
    deactivate(cast.bob)


def excluded(cast: Cast, task: Task) -> None:
    bulk("grant", [task], cast.carol, role=XO, to=user("bob"))


def excluded_with_the_group(cast: Cast, task: Task) -> None:
    bulk("grant", [task], cast.carol, role=XO, to=group("noc"))


def renamed(cast: Cast, task: Task) -> None:
    """Another has the name by now, and inherits nothing."""
    User.objects.filter(pk=cast.bob.pk).update(username="robert")
    User.objects.create_user("bob", password="x")


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (leaves, "owner_inactive"),
        (excluded, "owner_excluded"),
        (excluded_with_the_group, "owner_excluded"),
        (renamed, "owner_gone"),
    ],
)
def test_without_its_old_owner_a_task_becomes_ready(
    cast: Cast, happens: Callable[[Cast, Task], None], code: str
) -> None:
    task = held(cast)
    act = moved(cast, task)
    happens(cast, task)
    back = undo(act, cast.dave)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.state, stored.owner, stored.claimed_at) == ("ready", None, None)
    assert kept(back, task) == [("owner", code)]
    assert_copies_right(stored)


def test_work_taken_back_from_the_end_needs_an_owner_who_is_there(cast: Cast) -> None:
    task = held(cast)
    act = bulk("complete", [task], cast.bob)
    deactivate(cast.bob)
    back = undo(act, cast.dave)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.state, stored.owner, stored.ended_at) == ("ready", None, None)
    assert kept(back, task) == [("owner", "owner_inactive")]


# --- Role rows ------------------------------------------------------------------------------------


def forwarded(cast: Cast, *tasks: Task) -> Outcome:
    return bulk("forward", tasks, cast.alice, from_=group("noc"), to=group("field"))


def test_a_grant_that_was_there_before_is_never_dropped(cast: Cast) -> None:
    plain, granted = make_task(cast.dave, cast.noc), make_task(cast.dave, cast.noc, cast.field)
    before = standing(plain, granted)
    act = forwarded(cast, plain, granted)
    assert holders(granted, PO) == [{"group": "field"}]
    back = undo(act, cast.alice)
    assert standing(plain, granted) == before
    assert holders(granted, PO) == [{"group": "field"}, {"group": "noc"}]
    again = undo(back, cast.alice)
    assert again.refused == {}
    assert holders(plain, PO) == holders(granted, PO) == [{"group": "field"}]


def test_a_role_that_was_passed_on_since_stays_where_it_is(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    act = forwarded(cast, task)
    bulk("grant", [task], cast.dave, role=PO, to=user("frank"))
    bulk("revoke", [task], cast.dave, role=PO, from_=group("field"))
    assert only(undo(act, cast.alice).refused).code == "nothing_to_undo"
    assert holders(task, PO) == [{"user": "frank"}]


def test_a_holder_who_left_gets_nothing_back(cast: Cast) -> None:
    task = make_task(cast.dave, cast.bob)
    act = bulk("transfer", [task], cast.dave, role=PO, from_=user("bob"), to=user("frank"))
    deactivate(cast.bob)
    back = undo(act, cast.dave)
    assert back.done == {}
    assert holders(task, PO) == [{"user": "frank"}]


def test_the_last_administrator_stays(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    act = bulk("grant", [task], cast.carol, role=AD, to=user("frank"))
    bulk("revoke", [task], cast.carol, role=AD, from_=user("carol"))
    assert only(undo(act, cast.dave).refused).code == "nothing_to_undo"
    assert holders(task, AD) == [{"user": "frank"}]


def test_nobody_becomes_excluded_from_what_he_holds(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, people_of={XO: [group("noc")]})
    act = bulk("revoke", [task], cast.carol, role=XO, from_=group("noc"))
    bulk("assign", [task], cast.carol, to=user("bob"))
    assert only(undo(act, cast.carol).refused).code == "nothing_to_undo"
    assert holders(task, XO) == []


# --- Who may, and for how long --------------------------------------------------------------------


def ago(outcome: Outcome, time: timedelta) -> None:
    """Let an act have been some time ago; the chain does not hold after that."""
    with connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        cursor.execute(
            "update tasks_auditevent set at = at - %s where operation_id = %s",
            [time, outcome.operation_id],
        )
        cursor.execute("set session_replication_role = default")


def test_a_lead_undoes_what_put_the_tasks_out_of_her_sight(cast: Cast) -> None:
    tasks = make_tasks(3, cast.dave, [cast.noc])
    act = forwarded(cast, *tasks)
    assert not Task.objects.visible_to(cast.alice).exists()
    assert len(undo(act, cast.alice).done) == 3
    assert Task.objects.visible_to(cast.alice).count() == 3


def test_after_a_day_only_administrators_undo_and_after_thirty_days_nobody(cast: Cast) -> None:
    tasks = make_tasks(1, cast.dave, [cast.noc])
    act = forwarded(cast, *tasks)
    ago(act, timedelta(hours=25))
    with nothing_changes():
        assert only(undo(act, cast.alice).refused).code == "task_not_found"
    assert len(undo(act, cast.dave, dry_run=True).done) == 1
    ago(act, timedelta(days=29))
    with nothing_changes():
        assert only(undo(act, cast.dave).refused).code == "too_late_to_undo"


def test_others_undo_what_they_administer(cast: Cast) -> None:
    task = held(cast)
    act = moved(cast, task)
    with nothing_changes():
        assert only(undo(act, cast.frank).refused).code == "not_authorized"
        assert only(undo(act, cast.erin).refused).code == "not_authorized"
        outsider = User.objects.create_user("outsider")
        assert only(undo(act, outsider).refused).code == "task_not_found"
    assert len(undo(act, cast.carol).done) == 1  # its administrator


def test_the_expected_version_counts(cast: Cast) -> None:
    task = held(cast)
    act = moved(cast, task)
    with nothing_changes():
        refused = undo(act, cast.alice, versions={task.pk: 1}).refused
    assert only(refused).code == "stale_task"


def test_what_is_to_be_undone_is_named(cast: Cast) -> None:
    task = held(cast)
    call = call_by(cast.alice, bulk=True)
    with pytest.raises(InvalidArgument):
        ACTIONS["undo"]([task.pk], call=call)
    with pytest.raises(InvalidArgument):
        ACTIONS["undo"]([task.pk], call=call, account="bob")


def test_a_dry_run_of_an_undo_changes_nothing_and_tells_the_same(cast: Cast) -> None:
    stays, goes = held(cast), held(cast)
    act = moved(cast, stays, goes)
    ACTIONS["complete"]([stays.pk], call=call_by(cast.frank)).one()
    with nothing_changes():
        seen = undo(act, cast.alice, dry_run=True)
    back = undo(act, cast.alice)
    assert {pk: version + 1 for pk, version in seen.done.items()} == back.done
    assert seen.refused.keys() == back.refused.keys() == {stays.pk}


# --- What an account did in a time ----------------------------------------------------------------


def undo_account(cast: Cast, tasks: Sequence[Task], who: User, since: Any) -> Outcome:
    return ACTIONS["undo"](
        [task.pk for task in tasks],
        call=call_by(who, bulk=True),
        account="alice",
        since=since,
        until=timezone.now(),
    )


def test_all_that_an_account_did_in_a_time_goes_back_step_by_step(cast: Cast) -> None:
    tasks = [held(cast), held(cast), held(cast)]
    before = standing(*tasks)
    since = timezone.now()
    moved(cast, *tasks)
    bulk("release", tasks[:2], cast.alice)
    bulk("assign", tasks[:1], cast.alice, to=user("alice"))
    bulk("suspend", tasks, cast.alice)
    bulk("comment", tasks, cast.alice, text="oops")
    back = undo_account(cast, tasks, cast.carol, since)
    assert len(back.done) == 3
    assert {code for task in tasks for _, code in kept(back, task)} == {"irreversible"}
    assert standing(*tasks) == before
    assert list(events.verify()) == []


def test_what_another_did_between_bounds_what_goes_back(cast: Cast) -> None:
    task = held(cast)
    since = timezone.now()
    moved(cast, task)
    bulk("transfer", [task], cast.carol, role="owner", from_=user("frank"), to=user("carol"))
    bulk("transfer", [task], cast.alice, role="owner", from_=user("carol"), to=user("alice"))
    undo_account(cast, [task], cast.carol, since)
    assert Task.objects.get(pk=task.pk).owner == cast.carol


def test_what_was_before_the_time_stays(cast: Cast) -> None:
    task = held(cast)
    moved(cast, task)
    since = timezone.now()
    bulk("release", [task], cast.alice)
    undo_account(cast, [task], cast.carol, since)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.state, stored.owner) == ("reserved", cast.frank)


# --- Many -----------------------------------------------------------------------------------------


def test_an_undo_takes_as_many_statements_for_a_hundred_tasks_as_for_two(cast: Cast) -> None:
    def statements(number: int) -> int:
        act = forwarded(cast, *make_tasks(number, cast.dave, [cast.noc]))
        with CaptureQueriesContext(
            connection,
        ) as caught:
            undo(act, cast.alice)
        return len(caught)

    assert statements(2) == statements(100)


def test_a_wrong_move_of_4000_tasks_is_restored_by_its_lead_within_two_minutes(
    cast: Cast, tally: Callable[[str, int], None]
) -> None:
    tasks = make_tasks(4000, cast.dave, [cast.noc])
    bulk("assign", tasks[:2000], cast.alice, to=user("bob"))
    with connection.cursor() as cursor:  # as it would by itself, were the tasks committed
        cursor.execute("analyze")
    before = standing(*tasks[:50], *tasks[-50:])
    act = forwarded(cast, *tasks)
    started = time.monotonic()
    seen = undo(act, cast.alice, dry_run=True)
    looked = time.monotonic()
    back = undo(act, cast.alice)
    took = time.monotonic() - looked
    tally("milliseconds of the preview of an undo of 4,000", int((looked - started) * 1000))
    tally("milliseconds of an undo of 4,000", int(took * 1000))
    assert len(seen.done) == len(back.done) == 4000
    assert back.kept == {}
    assert standing(*tasks[:50], *tasks[-50:]) == before
    held_now = Task.objects.filter(state__in=HELD, owner=cast.bob).count()
    assert (held_now, Task.objects.filter(state="ready", owner=None).count()) == (2000, 2000)
    assert took < 120
