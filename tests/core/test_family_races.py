"""Families of tasks under real commits: no subtask is left behind, no deadlock, one order."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction

from tasks import events, work_items
from tasks.actions import ACTIONS, Draft, Outcome, create
from tasks.errors import InvalidArgument
from tasks.lifecycle import State
from tasks.models import Comment, Task, TaskUserRole, Tombstone
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task, make_tasks

from .record import assert_copies_right
from .test_races import Racer, in_turn, together, wait_until_it_waits, warmed

exit_, suspend, resume = ACTIONS["exit"], ACTIONS["suspend"], ACTIONS["resume"]
remove, claim, comment = ACTIONS["remove"], ACTIONS["claim"], ACTIONS["comment"]


def make_below(cast: Cast, parent: UUID) -> Any:
    """An act that makes a subtask, and answers with it."""
    return lambda: create([Draft(Task(name="x", parent_id=parent))], call=call_by(cast.carol))[0]


ENDS = {
    "exit": (exit_, State.READY, "exited", False),
    "suspend": (suspend, State.READY, "ready", True),
    "suspend_and_release": (ACTIONS["suspend_and_release"], State.RESERVED, "ready", True),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_subtask_made_first_is_taken_along_though_the_parent_was_asked_for_before(
    committed_cast: Cast, name: str
) -> None:
    """Both wait for the parent's lock; the subtask comes first, and is found after the wait."""
    cast = committed_cast
    act, state, after, on_hold = ENDS[name]
    dave = warmed(cast.dave)
    warmed(cast.carol)
    owner = cast.bob if state == State.RESERVED else None
    parent = make_in(state, cast.carol, cast.noc, owner=owner)
    made, ended = in_turn(
        parent,
        make_below(cast, parent.pk),
        lambda: act([parent.pk], call=call_by(dave)),
    )
    assert ended.done == {parent.pk: 2}
    child = Task.objects.get(pk=made.pk)
    assert (child.state, child.on_hold, child.version) == (after, on_hold, 2)
    assert_copies_right(child)


@pytest.mark.parametrize("name", [*ENDS, "remove"])
def test_a_subtask_that_comes_second_is_refused(committed_cast: Cast, name: str) -> None:
    cast = committed_cast
    dave = warmed(cast.dave)
    warmed(cast.carol)
    act, state = (remove, State.CREATED) if name == "remove" else ENDS[name][:2]
    owner = cast.bob if state == State.RESERVED else None
    parent = make_in(state, cast.carol, cast.noc, owner=owner)
    ended, made = in_turn(
        parent,
        lambda: act([parent.pk], call=call_by(dave)),
        make_below(cast, parent.pk),
    )
    assert ended.done
    assert isinstance(made, InvalidArgument), made
    assert made.params["field"] == "parent"
    assert not Task.objects.filter(parent=parent.pk).exists()


def test_a_parent_with_a_new_subtask_under_way_is_not_removed(committed_cast: Cast) -> None:
    cast = committed_cast
    dave = warmed(cast.dave)
    warmed(cast.carol)
    parent = make_in(State.CREATED, cast.carol, cast.noc)
    made, removed = in_turn(
        parent, make_below(cast, parent.pk), lambda: remove([parent.pk], call=call_by(dave))
    )
    assert removed.refused[parent.pk].code == "subtasks_open"
    assert Task.objects.get(pk=made.pk).parent_id == parent.pk


def test_many_subtasks_made_meanwhile_are_all_ended_or_never_made(committed_cast: Cast) -> None:
    cast = committed_cast
    dave, root = warmed(cast.dave), warmed(cast.root)
    warmed(cast.carol)
    made = refused = 0
    for number in range(15):
        parent = make_task(cast.carol, cast.noc)
        (middle,) = make_tasks(1, cast.carol, [cast.noc], parent=parent)
        ends = exit_ if number % 2 else suspend
        answers = together(
            make_below(cast, parent.pk),
            lambda act=ends, pk=parent.pk: act([pk], call=call_by(dave)),
            make_below(cast, middle.pk),
            lambda act=ends, pk=middle.pk: act([pk], call=call_by(root)),
            make_below(cast, middle.pk),
        )
        tasks = Task.objects.filter(pk__in=work_items.family([parent.pk]))
        ended = {(task.state, task.on_hold) for task in tasks}
        assert ended == {("exited", False) if number % 2 else ("ready", True)}
        for answer in answers[::2]:
            made += isinstance(answer, Task)
            refused += isinstance(answer, InvalidArgument)
        assert all(isinstance(answer, Outcome) for answer in answers[1::2])
    assert made + refused == 45
    assert made, "nothing was made meanwhile"
    assert refused, "nothing was refused meanwhile"
    assert list(events.verify()) == []


def test_without_the_parents_lock_a_subtask_would_be_left_open(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: what the lock of the parent is for."""
    cast = committed_cast
    dave = warmed(cast.dave)
    warmed(cast.carol)
    monkeypatch.setattr("tasks.actions.creation._lock_parents", lambda drafts: None)
    parent = make_task(cast.carol, cast.noc)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select from tasks_task where id = %s for key share", [parent.pk])
        racer = Racer(lambda: exit_([parent.pk], call=call_by(dave)))
        racer.start()
        assert racer.result().done
        late = Racer(make_below(cast, parent.pk))
        late.start()
        child = late.result()
    assert Task.objects.get(pk=child.pk).state == "ready"


def test_opposite_families_that_overlap_do_not_deadlock(committed_cast: Cast) -> None:
    """Trees whose ids run up, and trees whose ids run down, from either end."""
    cast = committed_cast
    dave, root, carol = warmed(cast.dave), warmed(cast.root), warmed(cast.carol)
    ids: list[UUID] = []
    for _ in range(3):
        keys = [Task(name="x").pk for _ in range(8)]
        keys = [*keys[4:], *keys[3::-1]]
        above: Task | None = None
        for pk in keys:
            above = make_in(State.READY, cast.carol, cast.noc, id=pk, parent=above)
            ids.append(pk)

    def storm(who: Any, number: int) -> list[Any]:
        answers: list[Any] = []
        for round_ in range(10):
            asked = ids[(3 * round_ + 7 * number) % len(ids) :: -4 if number % 2 else 5]
            for act in (suspend, resume):
                try:
                    answers.append(act(asked, call=call_by(who, bulk=True)))
                except DatabaseError as error:
                    answers.append(error)
        return answers

    people = (dave, root, carol, dave, root)
    found = together(*(lambda who=who, n=n: storm(who, n) for n, who in enumerate(people)))
    answers = [answer for some in found for answer in some]
    assert [answer for answer in answers if not isinstance(answer, Outcome)] == []
    assert sum(len(answer.done) for answer in answers) > 50
    assert {error.code for answer in answers for error in answer.refused.values()} <= {
        "task_suspended",
        "not_suspended",
    }
    assert_copies_right(*Task.objects.all())
    assert list(events.verify()) == []


def test_of_a_removal_and_a_claim_one_comes_first(committed_cast: Cast) -> None:
    """A ready task is never removed, so the claim meets it before or after its end."""
    cast = committed_cast
    dave, bob = warmed(cast.dave), warmed(cast.bob)
    for _ in range(10):
        task = make_in(State.EXITED, cast.carol, cast.noc)
        acts = [
            lambda pk=task.pk: remove([pk], call=call_by(dave)),
            lambda pk=task.pk: ACTIONS["reopen"]([pk], call=call_by(dave)),
            lambda pk=task.pk: claim([pk], call=call_by(bob)),
            lambda pk=task.pk: comment([pk], call=call_by(bob), text="x"),
        ]
        removed, reopened, claimed, commented = together(*acts)
        assert bool(removed.done) != bool(reopened.done)
        left = Task.objects.filter(pk=task.pk)
        assert left.exists() == bool(reopened.done)
        if removed.done:
            assert claimed.refused
            assert Tombstone.objects.get(pk=task.pk).version == 2 + len(commented.done)
            assert not TaskUserRole.objects.filter(content_object=task.pk).exists()
            assert not Comment.objects.filter(task=task.pk).exists()
        else:
            assert bool(claimed.done) == (left.get().owner_id == bob.pk)
    assert list(events.verify()) == []


def test_who_waited_for_a_task_that_was_removed_is_told_it_is_not_there(
    committed_cast: Cast,
) -> None:
    cast = committed_cast
    dave, bob = warmed(cast.dave), warmed(cast.bob)
    task = make_in(State.EXITED, cast.carol, cast.noc)
    removed, claimed = in_turn(
        task,
        lambda: remove([task.pk], call=call_by(dave)),
        lambda: claim([task.pk], call=call_by(bob)),
    )
    assert removed.done
    error = claimed.refused[task.pk]
    assert (error.code, error.version, error.holder) == ("task_not_found", None, None)


def test_a_family_is_locked_in_the_order_of_ids_once_more_when_it_grew(
    committed_cast: Cast,
) -> None:
    """While it waits for one of the family it gives way to nobody; then it takes all anew."""
    cast = committed_cast
    dave = warmed(cast.dave)
    warmed(cast.carol)
    parent = make_task(cast.carol, cast.noc)
    early = Task(name="early").pk
    racer = Racer(lambda: exit_([parent.pk], call=call_by(dave)))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select from tasks_task where id = %s for no key update", [parent.pk])
        racer.start()
        wait_until_it_waits(racer)
        # As an import would: no lock of the parent but that of the row's own reference.
        other = Racer(
            lambda: make_in(State.READY, cast.carol, cast.noc, id=early, parent_id=parent.pk)
        )
        other.start()
        assert isinstance(other.result(), Task), other.result()
    assert racer.result().done == {parent.pk: 2}
    assert Task.objects.get(pk=early).state == "exited"
