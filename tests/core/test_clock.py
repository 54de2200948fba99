"""The clock: tasks whose time has run out expire, those on hold until now go on; on time, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tasks import background, clock
from tasks.actions import ACTIONS, Outcome
from tasks.clock import Swept, sweep, work_through
from tasks.lifecycle import ENDED, OPEN, State
from tasks.models import AuditEvent, BulkOperation, Channel, Task, WorkerHeartbeat
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_tasks

from .test_races import Racer

NOW = timezone.now()
PAST, FUTURE = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)


def on_hold(cast: Cast, **fields: Any) -> Task:
    return make_in(State.READY, cast.carol, cast.noc, on_hold=True, **fields)


# --- What is due ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(State))
def test_open_tasks_expire_at_their_time_and_ended_ones_never(cast: Cast, state: State) -> None:
    owner = cast.bob if state not in (State.CREATED, State.READY) else None
    tasks = [
        make_in(state, cast.carol, owner=owner, expires_at=at) for at in (PAST, NOW, FUTURE, None)
    ]
    due = set(Task.objects.due_to_expire(NOW))
    assert due == (set(tasks[:2]) if state in OPEN else set())
    assert (state in OPEN) != (state in ENDED)


def test_tasks_on_hold_expire_and_are_not_woken_instead(cast: Cast) -> None:
    both = on_hold(cast, expires_at=PAST, wakeup_at=PAST)
    later = on_hold(cast, expires_at=FUTURE, wakeup_at=PAST)
    assert list(Task.objects.due_to_expire(NOW)) == [both]
    assert list(Task.objects.due_to_wake(NOW)) == [later]


def test_tasks_on_hold_wake_at_their_time(cast: Cast) -> None:
    due = [on_hold(cast, wakeup_at=at) for at in (NOW, PAST)]
    on_hold(cast, wakeup_at=FUTURE)
    on_hold(cast)
    assert list(Task.objects.due_to_wake(NOW)) == [due[1], due[0]]  # the longest overdue first


@pytest.mark.parametrize(
    ("due", "index"),
    [("due_to_expire", "task_due_to_expire"), ("due_to_wake", "task_due_to_wake")],
)
def test_asking_every_second_reads_the_few_due_ones_alone(cast: Cast, due: str, index: str) -> None:
    make_tasks(2000, cast.carol)
    with connection.cursor() as cursor:
        cursor.execute("analyze tasks_task")
    plan = getattr(Task.objects, due)(NOW).values_list("pk", "version")[:10_000].explain()
    assert index in plan


# --- Working through, with an operation that every system has -------------------------------------

# As a system call may do it to tasks in any state that is held, without a reason.
OPERATION = "cancel_claim"


def held(cast: Cast, count: int) -> list[Task]:
    tasks = make_tasks(count, cast.carol, [cast.noc])
    ACTIONS["claim"]([task.pk for task in tasks], call=call_by(cast.bob))
    return tasks


def through(may_go_on: Callable[[], bool] = lambda: True) -> tuple[int, int]:
    return work_through(OPERATION, Task.objects.filter(state=State.RESERVED), may_go_on)


def test_all_that_is_due_is_done_in_units(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "UNIT", 4)
    held(cast, 10)
    assert through() == (10, 0)
    done = AuditEvent.objects.filter(version=3)
    assert set(done.values_list("actor", "actor_id", "channel")) == {
        ("system", None, Channel.WORKER)
    }
    assert done.values("operation_id").distinct().count() == 3
    assert sorted(BulkOperation.objects.values_list("done_count", flat=True)) == [2, 4, 4]


def test_one_task_alone_is_no_bulk_operation(cast: Cast) -> None:
    held(cast, 1)
    assert through() == (1, 0)
    assert not BulkOperation.objects.exists()


def test_it_stops_between_two_units(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "UNIT", 4)
    held(cast, 10)
    answers = iter([True, True, False])
    assert through(lambda: next(answers)) == (8, 0)
    assert through() == (2, 0)


def test_what_changes_meanwhile_is_left_for_the_next_time(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = held(cast, 3)
    real = ACTIONS[OPERATION]

    def meanwhile(ids: Any, **more: Any) -> Outcome:
        monkeypatch.setitem(ACTIONS, OPERATION, real)
        ACTIONS["assign"]([tasks[1].pk], call=call_by(cast.alice), to=reference_to(cast)).one()
        return real(ids, **more)

    monkeypatch.setitem(ACTIONS, OPERATION, meanwhile)
    assert through() == (2, 1)
    assert Task.objects.get(pk=tasks[1].pk).version == 3
    assert through() == (1, 0)


def reference_to(cast: Cast) -> Any:
    from tests.factories import reference

    return reference(cast.alice)


def test_one_bad_task_stops_no_other(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = held(cast, 9)
    bad = tasks[4].pk
    real = ACTIONS[OPERATION]

    def failing(ids: list[UUID], **more: Any) -> Outcome:
        if bad in ids:
            raise ValueError("this one cannot be done")
        return real(ids, **more)

    monkeypatch.setitem(ACTIONS, OPERATION, failing)
    with caplog.at_level(logging.ERROR):
        assert through() == (8, 1)
    assert caplog.messages == [f"Task {bad}: {OPERATION} failed"]
    assert set(Task.objects.filter(state=State.RESERVED)) == {tasks[4]}


@contextmanager
def locked(task: Task) -> Iterator[None]:
    """Somebody holds the row of a task locked meanwhile."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("select from tasks_task where id = %s for update", [task.pk])
            yield
    finally:
        other.rollback()  # closing alone would let go of the lock a moment later
        other.close()


def test_a_locked_task_keeps_no_other_waiting(committed_cast: Cast) -> None:
    tasks = held(committed_cast, 3)
    with locked(tasks[1]):
        assert through() == (2, 0)
    assert through() == (1, 0)


# --- Sweeping -------------------------------------------------------------------------------------


def test_a_sweep_beats_and_finds_nothing_to_do(cast: Cast) -> None:
    assert background.last_heartbeat() is None
    on_hold(cast, wakeup_at=FUTURE + timedelta(hours=1), expires_at=FUTURE + timedelta(hours=1))
    before = timezone.now()
    assert sweep() == Swept()
    assert sweep() == Swept()
    beat = background.last_heartbeat()
    assert beat is not None
    assert before <= beat <= timezone.now()
    assert WorkerHeartbeat.objects.count() == 1


def test_a_sweep_expires_and_wakes_what_is_due(committed_cast: Cast) -> None:
    cast = committed_cast
    expiring = [
        make_in(State.CREATED, cast.carol, expires_at=PAST),
        make_in(State.READY, cast.carol, cast.noc, expires_at=PAST),
        make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob, expires_at=PAST),
        on_hold(cast, expires_at=PAST, wakeup_at=PAST),
    ]
    waking = [on_hold(cast, wakeup_at=PAST), on_hold(cast, wakeup_at=PAST, expires_at=FUTURE)]
    left = [on_hold(cast), on_hold(cast, wakeup_at=FUTURE), make_in(State.READY, cast.carol)]
    assert sweep(NOW) == Swept(woken=2, expired=4)
    for task in expiring:
        task.refresh_from_db()
        assert (task.state, task.on_hold, task.version) == (State.EXPIRED, False, 2)
        assert task.ended_at is not None
    for task in waking:
        task.refresh_from_db()
        assert (task.state, task.on_hold, task.wakeup_at) == (State.READY, False, None)
    for task in left:
        task.refresh_from_db()
        assert task.version == 1
    assert set(AuditEvent.objects.filter(version=2).values_list("actor", "channel")) == {
        ("system", Channel.WORKER)
    }
    assert sweep(NOW) == Swept()


def test_two_sweeps_at_once_do_everything_once(committed_cast: Cast) -> None:
    cast = committed_cast
    tasks = make_tasks(300, cast.carol, [cast.noc], expires_at=PAST)
    racers = [Racer(lambda: sweep(NOW)) for _ in range(4)]
    for racer in racers:
        racer.start()
    swept = [racer.result() for racer in racers]
    assert sum(one.expired for one in swept) == 300
    assert sum(one.refused for one in swept) == 0
    assert AuditEvent.objects.filter(version=2).count() == len(tasks)


def test_while_another_sweeps_a_sweep_only_beats(committed_cast: Cast) -> None:
    task = on_hold(committed_cast, wakeup_at=PAST)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", [clock.SWEEP_LOCK])
        racer = Racer(lambda: sweep(NOW))
        racer.start()
        assert racer.result() == Swept()
    assert background.last_heartbeat() is not None
    task.refresh_from_db()
    assert task.on_hold


def test_after_days_of_downtime_everything_is_caught_up(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "UNIT", 100)
    cast = committed_cast
    make_tasks(250, cast.carol, [cast.noc], expires_at=NOW - timedelta(days=3))
    assert sweep() == Swept(expired=250)


def test_a_sweep_that_has_to_stop_stops_after_its_unit(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "UNIT", 10)
    make_tasks(30, committed_cast.carol, [committed_cast.noc], expires_at=PAST)
    answers = iter([False, True, True])
    assert sweep(NOW, stopping=lambda: next(answers)) == Swept(expired=10)
    assert sweep(NOW) == Swept(expired=20)
