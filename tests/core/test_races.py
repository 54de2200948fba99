"""Races with threads and real commits: one winner, no deadlock, no step lost or made twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models import F

from accounts import sql
from accounts.models import Membership, User
from tasks import events, work_items
from tasks.actions import ACTIONS, Outcome, carry_out, plan
from tasks.errors import InvalidArgument
from tasks.models import AuditEvent, BulkOperation, OutboxEvent, Task
from tasks.people import group, user
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import UserFactory, call_by, make_task, make_tasks

claim, release = ACTIONS["claim"], ACTIONS["release"]
grant, revoke, transfer = ACTIONS["grant"], ACTIONS["revoke"], ACTIONS["transfer"]


class Racer(threading.Thread):
    """A thread with a connection of its own that keeps what its act answers or raises."""

    def __init__(self, act: Callable[[], Any], start: threading.Barrier | None = None) -> None:
        super().__init__(daemon=True)
        self.act, self.at = act, start
        self.answer: Any = None
        self.session: int | None = None

    def run(self) -> None:
        try:
            connection.ensure_connection()
            self.session = connection.connection.info.backend_pid
            if self.at is not None:
                self.at.wait(timeout=30)
            self.answer = self.act()
        except Exception as error:
            self.answer = error
        finally:
            connection.close()

    def result(self) -> Any:
        """What came of it; raises when it hangs."""
        self.join(timeout=30)
        assert not self.is_alive(), "a racer hangs"
        return self.answer


def paused_before_commit(
    monkeypatch: pytest.MonkeyPatch, pk: UUID
) -> tuple[threading.Event, threading.Event]:
    """Whoever writes the task waits before the commit: (it is written, it may commit)."""
    written, commit = threading.Event(), threading.Event()
    run = sql.run

    def pausing(statement: str, params: Any) -> Any:
        rows = run(statement, params)
        if params.get("task_ids") == [pk]:
            written.set()
            assert commit.wait(20)
        return rows

    monkeypatch.setattr(sql, "run", pausing)
    return written, commit


def together(*acts: Callable[[], Any]) -> list[Any]:
    """What each act answers or raises, all begun at one moment."""
    start = threading.Barrier(len(acts))
    racers = [Racer(act, start) for act in acts]
    for racer in racers:
        racer.start()
    return [racer.result() for racer in racers]


def warmed(user: User) -> User:
    """An account whose roles have been read."""
    assert user.has_perm("tasks.claim_task")
    return user


# --- Sixteen claimers -----------------------------------------------------------------------------


def sixteen(cast: Cast) -> list[User]:
    people = [UserFactory(system_roles=["operations"]) for _ in range(16)]
    Membership.objects.bulk_create([Membership(user=one, group=cast.noc) for one in people])
    return [warmed(one) for one in people]


def check_one_winner(task: Task, people: Sequence[User], outcomes: Sequence[Outcome]) -> None:
    """Exactly one has the task; every other was told the version and the holder."""
    winners = [
        one
        for one, outcome in zip(people, outcomes, strict=True)
        if outcome.done == {task.pk: task.version + 1}
    ]
    assert len(winners) == 1
    stored = Task.objects.get(pk=task.pk)
    assert (stored.owner_id, stored.version) == (winners[0].pk, task.version + 1)
    for one, outcome in zip(people, outcomes, strict=True):
        if one != winners[0]:
            error = outcome.refused[task.pk]
            assert error.code == "invalid_task_state"
            assert (error.version, error.holder) == (task.version + 1, winners[0].username)
    claims = AuditEvent.objects.filter(task_id=task.pk, event="claimed")
    assert [event.actor for event in claims] == [winners[0].username]
    assert OutboxEvent.objects.filter(event__in=claims).count() == 1


def test_of_sixteen_claimers_exactly_one_wins(committed_cast: Cast) -> None:
    people = sixteen(committed_cast)
    for _ in range(3):
        task = make_task(committed_cast.carol, committed_cast.noc)
        acts = [lambda one=one, pk=task.pk: claim([pk], call=call_by(one)) for one in people]
        check_one_winner(task, people, together(*acts))


def test_the_same_check_catches_a_claim_that_reads_before_it_writes(committed_cast: Cast) -> None:
    """Negative control: without the lock several win, and the check says so."""
    people = sixteen(committed_cast)
    task = make_task(committed_cast.carol, committed_cast.noc)
    all_have_read = threading.Barrier(len(people))

    def careless(one: User) -> Outcome:
        read = Task.objects.get(pk=task.pk)
        all_have_read.wait(timeout=30)
        outcome = Outcome(call_by(one).operation_id)
        if read.state == "ready":
            Task.objects.filter(pk=task.pk).update(
                state="reserved", owner=one, version=F("version") + 1
            )
            outcome.done[task.pk] = read.version + 1
        return outcome

    outcomes = together(*(lambda one=one: careless(one) for one in people))
    assert sum(bool(outcome.done) for outcome in outcomes) > 1
    with pytest.raises(AssertionError):
        check_one_winner(task, people, outcomes)


# --- Claim against exclusion ----------------------------------------------------------------------


def test_nobody_comes_to_own_what_he_is_being_excluded_from(committed_cast: Cast) -> None:
    cast = committed_cast
    bob, dave = warmed(cast.bob), warmed(cast.dave)
    for number in range(30):
        task = make_task(cast.carol, cast.noc)
        excluded = user("bob") if number % 2 else group("noc")
        claimed, granted = together(
            lambda pk=task.pk: claim([pk], call=call_by(bob)),
            lambda pk=task.pk, to=excluded: grant(
                [pk], call=call_by(dave), role="excluded_owner", to=to
            ),
        )
        stored = Task.objects.get(pk=task.pk)
        excluded_now = TaskRole.EXCLUDED_OWNER in work_items.roles_of(bob, stored)
        assert (stored.owner_id == bob.pk) != excluded_now
        assert bool(claimed.done) != bool(granted.done)
        assert stored.version == 2
        if granted.done:
            assert claimed.refused[task.pk].code == "not_authorized"
        else:
            assert granted.refused[task.pk].code == "target_not_eligible"
    assert list(events.verify()) == []


# --- Bulk against bulk ----------------------------------------------------------------------------


def test_two_transfers_of_the_same_tasks_in_opposite_order_share_them(
    committed_cast: Cast,
) -> None:
    cast = committed_cast
    dave, root = warmed(cast.dave), warmed(cast.root)
    ids = [task.pk for task in make_tasks(300, cast.carol, [cast.noc])]
    claim(ids, call=call_by(warmed(cast.bob), bulk=True))

    def move(caller: User, asked: Sequence[UUID], to: str) -> Outcome:
        call = call_by(caller, bulk=True)
        return transfer(asked, call=call, role="owner", from_=user("bob"), to=user(to))

    for one, other in (("alice", "frank"), ("carol", "dave")):
        first, second = together(
            lambda to=one: move(dave, ids, to), lambda to=other: move(root, ids[::-1], to)
        )
        assert {**first.done, **second.done}.keys() == set(ids)
        assert not first.done.keys() & second.done.keys()
        refused = {**first.refused, **second.refused}
        assert {error.code for error in refused.values()} == {"no_such_work_item"}
        owners = dict(Task.objects.values_list("pk", "owner__username"))
        assert all(owners[pk] == one for pk in first.done)
        assert all(owners[pk] == other for pk in second.done)
        for holder in (one, other):
            mine = [pk for pk in ids if owners[pk] == holder]
            call = call_by(dave, bulk=True)
            back = {"from_": user(holder), "to": user("bob")}
            assert list(transfer(mine, call=call, role="owner", **back).done) == mine
    assert set(Task.objects.values_list("version", flat=True)) == {6}
    assert list(events.verify()) == []


def test_a_plan_confirmed_by_several_at_once_is_carried_out_once(committed_cast: Cast) -> None:
    bob = warmed(committed_cast.bob)
    ids = [task.pk for task in make_tasks(20, committed_cast.carol, [committed_cast.noc])]
    plan("claim", ids, call=call_by(bob))
    stored = BulkOperation.objects.get()
    answers = together(*[lambda: carry_out(stored, call=call_by(bob)) for _ in range(6)])
    outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
    assert [list(outcome.done) for outcome in outcomes] == [ids]
    assert [type(a) for a in answers if not isinstance(a, Outcome)] == [InvalidArgument] * 5
    stored.refresh_from_db()
    assert (stored.processed, stored.done_count) == (20, 20)
    assert AuditEvent.objects.filter(event="claimed").count() == 20


# --- Storms ---------------------------------------------------------------------------------------


def test_a_storm_of_claims_and_releases_leaves_one_legal_history(committed_cast: Cast) -> None:
    cast = committed_cast
    people = [warmed(one) for one in (cast.alice, cast.bob, cast.dave, cast.root)] * 2
    ids = [task.pk for task in make_tasks(3, cast.carol, [cast.noc])]

    def storm(one: User) -> list[tuple[UUID, int]]:
        written = []
        for round_ in range(12):
            asked = ids[round_ % 3 :] + ids[: round_ % 3]
            for act in (claim, release):
                written += act(asked, call=call_by(one)).done.items()
        return written

    answers = together(*(lambda one=one: storm(one) for one in people))
    written = sorted(step for answer in answers for step in answer)
    assert len(set(written)) == len(written), "two writes answered the same version"
    for pk in ids:
        history = list(
            AuditEvent.objects.filter(task_id=pk)
            .order_by("version")
            .values_list("version", "event", "at")
        )
        assert [version for version, _, _ in history] == [*range(1, len(history) + 1)]
        assert Task.objects.get(pk=pk).version == len(history)
        assert [(pk, version) for version, _, _ in history[1:]] == [
            s for s in written if s[0] == pk
        ]
        steps = [event for _, event, _ in history]
        assert steps == ["created", *(["claimed", "released"] * len(steps))][: len(steps)]
        times = [at for _, _, at in history]
        assert times == sorted(times)
        assert len(history) > 10
    assert list(events.verify()) == []


# --- What commits while we wait for the lock ------------------------------------------------------


def wait_until_it_waits(racer: Racer) -> None:
    """Return when the session of a racer waits for a lock; of others nothing is concluded."""
    end = time.monotonic() + 10
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "select exists(select from pg_locks where pid = %s and not granted)",
                [racer.session],
            )
            if cursor.fetchone()[0]:
                return
            assert time.monotonic() < end, "the racer does not come to wait for a lock"
            time.sleep(0.005)


@contextmanager
def holding(task: Task) -> Iterator[None]:
    """Hold the lock of a task's row in the connection of the test."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select from tasks_task where id = %s for no key update", [task.pk])
        yield


def in_turn(task: Task, *acts: Callable[[], Any]) -> list[Any]:
    """What acts answer that all began before the first of them could commit, in this order."""
    racers = [Racer(act) for act in acts]
    with holding(task):
        for racer in racers:
            racer.start()
            wait_until_it_waits(racer)
    return [racer.result() for racer in racers]


CHANGES: dict[str, tuple[Callable[..., Outcome], dict[str, Any], str, str]] = {
    "excluded": (grant, {"role": "excluded_owner", "to": user("bob")}, "bob", "not_authorized"),
    "excluded through a group": (
        grant,
        {"role": "excluded_owner", "to": group("noc")},
        "bob",
        "not_authorized",
    ),
    "no longer a potential owner": (
        revoke,
        {"role": "potential_owner", "from_": user("bob")},
        "bob",
        "task_not_found",
    ),
    "handed on": (
        transfer,
        {"role": "potential_owner", "from_": user("bob"), "to": user("frank")},
        "bob",
        "task_not_found",
    ),
    "a potential owner now": (grant, {"role": "potential_owner", "to": user("frank")}, "frank", ""),
    "handed to him": (
        transfer,
        {"role": "potential_owner", "from_": user("bob"), "to": user("frank")},
        "frank",
        "",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_role_change_that_commits_while_we_wait_counts(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    change, arguments, name, code = CHANGES[what]
    owners = [committed_cast.bob]
    if what == "excluded through a group":
        owners.append(committed_cast.noc)
    task = make_task(committed_cast.carol, *owners)
    claimer = warmed(User.objects.get(username=name))
    changer = warmed(committed_cast.dave)
    locked: list[str] = []
    run = work_items.sql.run

    def counting(statement: str, params: Any) -> Any:
        if "with locked" in statement:
            locked.append(threading.current_thread().name)
        return run(statement, params)

    monkeypatch.setattr(work_items.sql, "run", counting)
    changed, claimed = in_turn(
        task,
        lambda: change([task.pk], call=call_by(changer), **arguments),
        lambda: claim([task.pk], call=call_by(claimer)),
    )
    assert changed.done == {task.pk: 2}
    if code:
        assert claimed.refused[task.pk].code == code
        assert Task.objects.get(pk=task.pk).owner is None
    else:
        assert claimed.done == {task.pk: 3}
    # The claim did wait with an older snapshot, else this would prove nothing.
    assert sorted(map(locked.count, set(locked))) == [1, 2]


def test_the_target_is_judged_by_what_committed_while_we_waited(committed_cast: Cast) -> None:
    task = make_task(committed_cast.carol, committed_cast.noc)
    dave = warmed(committed_cast.dave)
    granted, assigned = in_turn(
        task,
        lambda: grant([task.pk], call=call_by(dave), role="excluded_owner", to=user("bob")),
        lambda: ACTIONS["assign"]([task.pk], call=call_by(dave), to=user("bob")),
    )
    assert granted.done
    assert assigned.refused[task.pk].code == "target_not_eligible"


def test_the_last_administrator_is_counted_under_the_lock(committed_cast: Cast) -> None:
    task = make_task(
        committed_cast.carol,
        people_of={TaskRole.ADMINISTRATOR: [user("alice"), user("carol")]},
    )
    dave = warmed(committed_cast.dave)
    first, second = in_turn(
        task,
        lambda: revoke([task.pk], call=call_by(dave), role="administrator", from_=user("alice")),
        lambda: revoke([task.pk], call=call_by(dave), role="administrator", from_=user("carol")),
    )
    assert first.done
    assert second.refused[task.pk].code == "last_administrator"


def test_an_expected_version_is_held_against_the_locked_row(committed_cast: Cast) -> None:
    task = make_task(committed_cast.carol, committed_cast.noc)
    bob, alice = warmed(committed_cast.bob), warmed(committed_cast.alice)
    first, second = in_turn(
        task,
        lambda: claim([task.pk], call=call_by(bob, versions={task.pk: 1})),
        lambda: claim([task.pk], call=call_by(alice, versions={task.pk: 1})),
    )
    assert first.done == {task.pk: 2}
    error = second.refused[task.pk]
    assert (error.code, error.version, error.holder) == ("stale_task", 2, "bob")
