"""The frame of every action: round trips, units, the record of a bulk call, plan and resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Role, User
from tasks import actions, events, people, work_items
from tasks.actions import ACTIONS, carry_out, plan
from tasks.errors import CallError, InvalidArgument, TooManyTasks
from tasks.lifecycle import State
from tasks.models import AuditEvent, BulkOperation, OutboxEvent, Task
from tasks.people import user
from tasks.roles import TaskRole
from tasks.uuid7 import uuid7
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task, make_tasks

from .record import deactivate, everything, nothing_changes

claim = ACTIONS["claim"]
release = ACTIONS["release"]
transfer = ACTIONS["transfer"]


def ids_of(tasks: Sequence[Task]) -> list[UUID]:
    return [task.pk for task in tasks]


def statements(act: Callable[[], Any]) -> list[str]:
    """How each statement that an act sends begins."""
    with CaptureQueriesContext(connection) as captured:
        act()
    return [" ".join(query["sql"].split()[:2]).lower() for query in captured]


def warmed(user: User) -> User:
    """An account whose roles have been read, as they are once a request has been let in."""
    assert user.has_perm("tasks.claim_task")
    return user


# --- Round trips ----------------------------------------------------------------------------------

FOUR = ["begin", "with locked", "with input", "commit"]


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize("bulk", [False, True])
def test_one_or_five_hundred_take_four_round_trips(
    committed_cast: Cast, count: int, bulk: bool
) -> None:
    ids = ids_of(make_tasks(count, committed_cast.carol, [committed_cast.noc]))
    bob = warmed(committed_cast.bob)
    assert statements(lambda: claim(ids, call=call_by(bob, bulk=bulk))) == FOUR
    assert statements(lambda: release(ids, call=call_by(bob, bulk=bulk))) == FOUR
    assert Task.objects.filter(version=3, state="ready").count() == count


@pytest.mark.parametrize("count", [1, 500])
def test_names_cost_one_look_up_each(committed_cast: Cast, count: int) -> None:
    """Giver, receiver and the receiver's roles, however many tasks there are."""
    tasks = make_tasks(count, committed_cast.carol, [committed_cast.noc])
    bob, dave = warmed(committed_cast.bob), warmed(committed_cast.dave)
    claim(ids_of(tasks), call=call_by(bob, bulk=True))
    names = {"from_": user("bob"), "to": user("alice")}
    sent = statements(
        lambda: transfer(ids_of(tasks), call=call_by(dave, bulk=True), role="owner", **names)
    )
    assert len(sent) == len(FOUR) + 3
    assert [one for one in sent if one in FOUR] == FOUR
    assert Task.objects.filter(owner=committed_cast.alice, version=3).count() == count


def prepared() -> list[tuple[str, int]]:
    """How the session's prepared statements begin, and how often each was planned or run."""
    with connection.cursor() as cursor:
        cursor.execute("select statement, generic_plans + custom_plans from pg_prepared_statements")
        return [(" ".join(text.split()[:2]), runs) for text, runs in cursor.fetchall()]


def test_the_hand_written_statements_are_prepared_once_and_run_again(
    committed_cast: Cast, settings: Any
) -> None:
    def three_releases() -> list[tuple[str, int]]:
        connection.close()
        for task in make_tasks(3, committed_cast.carol, [committed_cast.noc]):
            claim([task.pk], call=call_by(bob)).one()
            release([task.pk], call=call_by(bob)).one()
        return prepared()

    bob = warmed(committed_cast.bob)
    found = three_releases()
    # Looking is the same for both; claim and release each change and record in a way of their own.
    assert found.count(("with locked", 6)) == 1
    assert found.count(("with input", 3)) == 2
    settings.DB_PREPARE = False  # negative control
    connection.settings_dict["OPTIONS"]["prepare_threshold"] = None
    try:
        assert three_releases() == []
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"]["prepare_threshold"] = 1


def test_a_refusal_writes_nothing_and_a_dry_run_locks_nothing(committed_cast: Cast) -> None:
    task = make_task(committed_cast.carol, committed_cast.noc)
    bob, frank = warmed(committed_cast.bob), warmed(committed_cast.frank)
    refused = statements(lambda: claim([task.pk], call=call_by(frank)))
    assert refused == ["begin", "with locked", "commit"]
    with CaptureQueriesContext(connection) as captured:
        claim([task.pk], call=call_by(bob, dry_run=True))
    assert len(captured) == 1
    assert "for no key update" not in captured[0]["sql"]


def test_an_action_inside_a_transaction_raises(committed_cast: Cast) -> None:
    """What it answers must be committed, so nobody may roll it back later."""
    task = make_task(committed_cast.carol, committed_cast.noc)
    with transaction.atomic(), nothing_changes():
        with pytest.raises(RuntimeError, match="durable"):
            claim([task.pk], call=call_by(committed_cast.bob))
        with pytest.raises(RuntimeError, match="durable"):
            make_task(committed_cast.carol)


def test_what_fails_while_writing_leaves_nothing(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(committed_cast.carol, committed_cast.noc)
    monkeypatch.setattr(events, "RECORD", events.RECORD.replace("i.hash", "null"))
    with nothing_changes(), pytest.raises(DatabaseError):
        claim([task.pk], call=call_by(committed_cast.bob))
    monkeypatch.undo()
    claim([task.pk], call=call_by(committed_cast.bob)).one()


# --- Each id once, in order -----------------------------------------------------------------------


def test_each_id_is_answered_once_in_the_order_asked(cast: Cast) -> None:
    tasks = make_tasks(4, cast.carol, [cast.noc])
    mine = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    missing = uuid7()
    a, b, c, d = ids_of(tasks)
    asked = [d, missing, b, d, mine.pk, a, b, missing, c]
    outcome = claim(asked, call=call_by(cast.bob, bulk=True))
    assert list(outcome.done) == [d, b, a, c]
    assert list(outcome.refused) == [missing, mine.pk]
    assert [error.code for error in outcome.refused.values()] == [
        "task_not_found",
        "already_owner",
    ]
    assert Task.objects.filter(pk__in=[a, b, c, d], version=2).count() == 4
    stored = BulkOperation.objects.get()
    assert stored.ids == [d, missing, b, mine.pk, a, c]


def test_refused_ones_do_not_keep_the_others_from_being_done(cast: Cast) -> None:
    good = make_tasks(3, cast.carol, [cast.noc])
    bad = [
        make_in(State.COMPLETED, cast.carol, cast.noc),
        make_in(State.READY, cast.carol, cast.noc, on_hold=True),
        make_in(State.READY, cast.carol, cast.noc, people_of={TaskRole.EXCLUDED_OWNER: [cast.bob]}),
    ]
    hidden = make_task(cast.carol, cast.field)
    outcome = claim(ids_of([*bad, hidden, *good]), call=call_by(cast.bob, bulk=True))
    assert list(outcome.done.values()) == [2, 2, 2]
    assert [error.code for error in outcome.refused.values()] == [
        "invalid_task_state",
        "task_suspended",
        "not_authorized",
        "task_not_found",
    ]
    assert set(Task.objects.filter(pk__in=ids_of([*bad, hidden])).values_list("version")) == {(1,)}


def test_versions_are_expected_task_by_task(cast: Cast) -> None:
    one, two, three = ids_of(make_tasks(3, cast.carol, [cast.noc]))
    call = call_by(cast.bob, bulk=True, versions={one: 1, two: 2})
    outcome = claim([one, two, three], call=call)
    assert list(outcome.done) == [one, three]
    assert outcome.refused[two].code == "stale_task"


# --- The record of a bulk call --------------------------------------------------------------------


def test_a_bulk_call_is_on_record_with_what_came_of_it(cast: Cast) -> None:
    free, other = make_tasks(2, cast.carol, [cast.noc])
    hidden, missing = make_task(cast.carol, cast.field), uuid7()
    claim([other.pk], call=call_by(cast.alice))
    call = call_by(cast.bob, bulk=True, reason="night shift")
    outcome = claim([free.pk, other.pk, hidden.pk, missing], call=call)
    stored = BulkOperation.objects.get()
    assert stored.pk == outcome.operation_id == call.operation_id
    assert (stored.operation, stored.arguments) == ("claim", {})
    assert (stored.actor, stored.channel, stored.request_id) == (cast.bob, "command", "test")
    assert (stored.reason, stored.status) == ("night shift", "done")
    assert stored.ids == [free.pk, other.pk, hidden.pk, missing]
    assert stored.versions == [1, 2, 0, 0]
    assert (stored.processed, stored.done_count) == (4, 1)
    gone = {"code": "task_not_found", "detail": "There is no such task."}
    assert stored.refused == {
        str(other.pk): {
            "code": "invalid_task_state",
            "detail": "A task in state reserved does not allow claim.",
        },
        str(hidden.pk): gone,
        str(missing): gone,
    }
    event = AuditEvent.objects.get(task_id=free.pk, version=2)
    assert event.operation_id == stored.pk
    assert stored.created_at == stored.finished_at == event.at


def test_the_record_keeps_the_arguments(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    call = call_by(cast.dave, bulk=True)
    transfer([task.pk], call=call, role="owner", from_=user("bob"), to=user("alice"))
    assert BulkOperation.objects.get().arguments == {
        "role": "owner",
        "from_": {"kind": "user", "value": "bob", "by": "name"},
        "to": {"kind": "user", "value": "alice", "by": "name"},
    }


def test_single_calls_and_dry_runs_are_not_on_record(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    claim([task.pk], call=call_by(cast.bob, bulk=True, dry_run=True))
    claim([task.pk], call=call_by(cast.bob))
    assert not BulkOperation.objects.exists()


def test_no_ids_do_nothing(cast: Cast) -> None:
    with nothing_changes():
        outcome = claim([], call=call_by(cast.bob))
        bulk = claim([], call=call_by(cast.bob, bulk=True))
    for answered in (outcome, bulk):
        assert (answered.done, answered.refused) == ({}, {})


# --- How many at once -----------------------------------------------------------------------------


def limit(name: str, most: int | None) -> None:
    Role.objects.filter(name=name).update(bulk_limit=most)


def test_the_limit_of_ones_roles_is_for_the_whole_call(cast: Cast) -> None:
    limit("operations", 3)
    ids = ids_of(make_tasks(4, cast.carol, [cast.noc]))
    with nothing_changes(), pytest.raises(TooManyTasks) as caught:
        claim(ids, call=call_by(cast.bob, bulk=True))
    assert caught.value.params == {"count": 4, "limit": 3}
    outcome = claim([*ids[:3], *ids[:3]], call=call_by(cast.bob, bulk=True))
    assert list(outcome.done) == ids[:3]


def test_the_largest_limit_of_ones_roles_counts(cast: Cast) -> None:
    limit("operations", 1)
    limit("engineering", 2)
    ids = ids_of(make_tasks(3, cast.dave, [cast.noc]))
    cast.bob.roles.add(Role.objects.get(name="engineering"))
    bob = User.objects.get(username="bob")
    with pytest.raises(TooManyTasks):
        claim(ids, call=call_by(bob, bulk=True))
    limit("engineering", None)
    assert len(claim(ids, call=call_by(User.objects.get(pk=bob.pk), bulk=True)).done) == 3


@pytest.mark.parametrize("name", ["dave", "root", "svc_integration"])
def test_some_have_no_limit(cast: Cast, name: str) -> None:
    assert getattr(cast, name).bulk_limit is None


def test_the_limits_are_those_of_the_book(cast: Cast) -> None:
    limits = dict(Role.objects.values_list("name", "bulk_limit"))
    assert {name: limits[name] for name in ("admin", "engineering", "operations", "apiwrite")} == {
        "admin": None,
        "engineering": 50_000,
        "operations": 10_000,
        "apiwrite": None,
    }


def test_who_may_not_do_it_at_all_is_told_so_and_not_that_it_is_too_much(cast: Cast) -> None:
    ids = ids_of(make_tasks(2, cast.carol, [cast.noc]))
    outcome = claim(ids, call=call_by(cast.erin, bulk=True))
    assert {error.code for error in outcome.refused.values()} == {"not_authorized"}


def test_one_call_about_several_tasks_that_is_no_bulk_call_has_no_limit(cast: Cast) -> None:
    limit("operations", 1)
    ids = ids_of(make_tasks(2, cast.carol, [cast.noc]))
    outcome = claim(ids, call=call_by(cast.bob))
    assert len(outcome.done) == len(outcome.tasks) == 2


# --- Units ----------------------------------------------------------------------------------------


@pytest.fixture
def unit_of_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.actions.units.UNIT", 3)


def fail_in_unit(monkeypatch: pytest.MonkeyPatch, number: int, fail: Callable[[], None]) -> None:
    """Have `fail` called when a call locks the tasks of its unit `number`."""
    lock, calls = work_items.lock, []

    def failing(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            fail()
        return lock(*args, **more)

    monkeypatch.setattr(work_items, "lock", failing)


def raiser(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.usefixtures("unit_of_3")
def test_many_are_worked_through_in_units_and_stay_one_act(committed_cast: Cast) -> None:
    ids = ids_of(make_tasks(8, committed_cast.carol, [committed_cast.noc]))
    bob = warmed(committed_cast.bob)
    missing = uuid7()
    asked = [*ids[:4], missing, *ids[4:]]
    with CaptureQueriesContext(connection) as captured:
        outcome = claim(asked, call=call_by(bob, bulk=True))
    assert sum("with locked" in query["sql"] for query in captured) == 3
    assert list(outcome.done) == ids
    assert list(outcome.refused) == [missing]
    stored = BulkOperation.objects.get()
    assert (stored.status, stored.processed, stored.done_count) == ("done", 9, 8)
    assert stored.ids == asked
    assert stored.versions == [1, 1, 1, 1, 0, 1, 1, 1, 1]
    assert list(stored.refused) == [str(missing)]
    assert stored.finished_at is not None
    claims = AuditEvent.objects.filter(event="claimed")
    assert set(claims.values_list("operation_id", flat=True)) == {stored.pk}
    assert claims.count() == 8


ERRORS = [OperationalError("lock timeout"), InterfaceError("connection is closed")]


@pytest.mark.usefixtures("unit_of_3")
@pytest.mark.parametrize("error", ERRORS, ids=["operational", "interface"])
def test_a_later_unit_that_fails_is_reported_and_can_be_resumed(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ids = ids_of(make_tasks(8, committed_cast.carol, [committed_cast.noc]))
    call = call_by(committed_cast.bob, bulk=True)
    fail_in_unit(monkeypatch, 2, raiser(error))
    outcome = claim(ids, call=call)
    monkeypatch.undo()
    monkeypatch.setattr("tasks.actions.units.UNIT", 3)
    assert list(outcome.done) == ids[:3]
    assert list(outcome.refused) == ids[3:]
    assert {error.code for error in outcome.refused.values()} == {"not_attempted"}
    assert set(Task.objects.filter(pk__in=ids[3:]).values_list("version", "state")) == {
        (1, "ready")
    }
    stored = BulkOperation.objects.get()
    assert (stored.status, stored.processed, stored.done_count) == ("running", 3, 3)
    assert stored.finished_at is None
    claim([ids[5]], call=call_by(committed_cast.alice))
    rest = carry_out(stored, call=call_by(committed_cast.bob))
    assert list(rest.done) == [ids[3], ids[4], ids[6], ids[7]]
    assert rest.refused[ids[5]].code == "invalid_task_state"
    stored.refresh_from_db()
    assert (stored.status, stored.processed, stored.done_count) == ("done", 8, 7)
    assert stored.versions == [1, 1, 1, 1, 1, 2, 1, 1]
    assert list(stored.refused) == [str(ids[5])]
    assert Task.objects.filter(owner=committed_cast.bob, version=2).count() == 7


@pytest.mark.usefixtures("unit_of_3")
def test_a_name_that_is_lost_between_units_is_reported_too(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ids_of(make_tasks(4, committed_cast.carol, [committed_cast.noc]))
    receiver, asked = people.Reference.receiver, []

    def then_gone(reference: Any) -> Any:
        asked.append(reference)
        if len(asked) == 2:
            deactivate(User.objects.get(username="alice"))
        return receiver(reference)

    monkeypatch.setattr(people.Reference, "receiver", then_gone)
    outcome = ACTIONS["assign"](ids, call=call_by(committed_cast.dave, bulk=True), to=user("alice"))
    assert list(outcome.done) == ids[:3]
    assert outcome.refused[ids[3]].code == "not_attempted"
    assert "alice is inactive" in outcome.refused[ids[3]].text


@pytest.mark.usefixtures("unit_of_3")
@pytest.mark.parametrize("error", ERRORS, ids=["operational", "interface"])
def test_a_first_unit_that_fails_raises_and_leaves_no_record(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ids = ids_of(make_tasks(4, committed_cast.carol, [committed_cast.noc]))
    fail_in_unit(monkeypatch, 1, raiser(error))
    with nothing_changes(), pytest.raises(type(error)):
        claim(ids, call=call_by(committed_cast.bob, bulk=True))
    assert not BulkOperation.objects.exists()


@pytest.mark.usefixtures("unit_of_3")
def test_what_is_wrong_with_the_call_raises_in_the_first_unit(committed_cast: Cast) -> None:
    ids = ids_of(make_tasks(4, committed_cast.carol, [committed_cast.noc]))
    call = call_by(committed_cast.dave, bulk=True)
    with nothing_changes(), pytest.raises(CallError) as caught:
        ACTIONS["assign"](ids, call=call, to=user("zoe"))
    assert caught.value.code == "unknown_user"
    assert not BulkOperation.objects.exists()


@pytest.mark.usefixtures("unit_of_3")
def test_a_plan_outlives_a_first_unit_that_fails(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ids_of(make_tasks(4, committed_cast.carol, [committed_cast.noc]))
    stored, _ = plan("claim", ids, call=call_by(committed_cast.bob))
    fail_in_unit(monkeypatch, 1, raiser(OperationalError("lock timeout")))
    with nothing_changes(), pytest.raises(OperationalError):
        carry_out(stored, call=call_by(committed_cast.bob))
    stored.refresh_from_db()
    assert stored.status == "planned"
    assert len(carry_out(stored, call=call_by(committed_cast.bob)).done) == 4


@pytest.mark.usefixtures("unit_of_3")
def test_many_that_are_no_bulk_call_are_worked_in_units_without_a_record(
    committed_cast: Cast,
) -> None:
    ids = ids_of(make_tasks(4, committed_cast.carol, [committed_cast.noc]))
    outcome = claim(ids, call=call_by(committed_cast.bob))
    assert list(outcome.done) == ids
    assert not BulkOperation.objects.exists()


# --- Plan and confirmation ------------------------------------------------------------------------


def test_a_plan_says_what_would_happen_and_changes_nothing(cast: Cast) -> None:
    free, taken = make_tasks(2, cast.carol, [cast.noc])
    claim([taken.pk], call=call_by(cast.alice))
    missing = uuid7()
    call = call_by(cast.bob, reason="night shift")
    with nothing_changes():
        stored, outcome = plan("claim", [free.pk, taken.pk, missing, free.pk], call=call)
    assert list(outcome.done) == [free.pk]
    assert list(outcome.refused) == [taken.pk, missing]
    stored.refresh_from_db()
    assert (stored.status, stored.operation, stored.reason) == ("planned", "claim", "night shift")
    assert stored.ids == [free.pk, taken.pk, missing]
    assert stored.versions == [1, 2, 0]
    assert (stored.processed, stored.done_count, stored.refused) == (0, 0, {})


def test_what_is_done_is_what_was_confirmed(cast: Cast) -> None:
    """As of the versions shown, with the arguments and the reason shown."""
    kept, changed = (
        make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob),
        make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob),
    )
    call = call_by(cast.dave, reason="bob leaves")
    stored, _ = plan(
        "transfer",
        [kept.pk, changed.pk],
        call=call,
        role="owner",
        from_=user("bob"),
        to=user("alice"),
    )
    release([changed.pk], call=call_by(cast.bob))
    claim([changed.pk], call=call_by(cast.bob))
    outcome = carry_out(BulkOperation.objects.get(), call=call_by(cast.dave, reason="other"))
    assert outcome.operation_id == stored.pk
    assert list(outcome.done) == [kept.pk]
    assert outcome.refused[changed.pk].code == "stale_task"
    event = AuditEvent.objects.get(task_id=kept.pk, version=2)
    assert (event.reason, event.operation_id) == ("bob leaves", stored.pk)
    stored.refresh_from_db()
    assert (stored.status, stored.processed, stored.done_count) == ("done", 2, 1)
    assert stored.versions == [1, 3]
    assert list(stored.refused) == [str(changed.pk)]


def test_it_is_carried_out_once(cast: Cast) -> None:
    """Whether the second confirmation comes from a page that is old or from one that is new."""
    task = make_task(cast.carol, cast.noc)
    stored, _ = plan("claim", [task.pk], call=call_by(cast.bob))
    old = BulkOperation.objects.get()
    carry_out(stored, call=call_by(cast.bob))
    release([task.pk], call=call_by(cast.bob))
    for again in (old, BulkOperation.objects.get()):
        with nothing_changes(), pytest.raises(InvalidArgument):
            carry_out(again, call=call_by(cast.bob))
    assert BulkOperation.objects.get().done_count == 1


@pytest.mark.usefixtures("unit_of_3")
def test_a_large_plan_is_carried_out_once_too(committed_cast: Cast) -> None:
    ids = ids_of(make_tasks(5, committed_cast.carol, [committed_cast.noc]))
    stored, _ = plan("claim", ids, call=call_by(committed_cast.bob))
    old = BulkOperation.objects.get()
    assert len(carry_out(stored, call=call_by(committed_cast.bob)).done) == 5
    with nothing_changes(), pytest.raises(InvalidArgument):
        carry_out(old, call=call_by(committed_cast.bob))
    stored.refresh_from_db()
    assert (stored.status, stored.processed, stored.done_count) == ("done", 5, 5)


@pytest.mark.usefixtures("unit_of_3")
def test_an_old_page_does_not_carry_on_where_another_has(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first unit is done and released since: who still sees a plan does not do it again."""
    ids = ids_of(make_tasks(5, committed_cast.carol, [committed_cast.noc]))
    bob = committed_cast.bob
    claim(ids, call=call_by(bob))
    stored, _ = plan("release", ids, call=call_by(bob))
    old = BulkOperation.objects.get()
    old.versions = [4] * 3 + [2] * 2
    fail_in_unit(monkeypatch, 2, raiser(OperationalError("lock timeout")))
    assert list(carry_out(stored, call=call_by(bob)).done) == ids[:3]
    claim(ids[:3], call=call_by(bob))
    with nothing_changes(), pytest.raises(InvalidArgument):
        carry_out(old, call=call_by(bob))


def test_a_task_that_was_hidden_in_the_plan_is_not_done_later(cast: Cast) -> None:
    """The page said it was not there, so nobody has confirmed it."""
    hidden = make_task(cast.carol, cast.field)
    shown = make_task(cast.carol, cast.noc)
    stored, _ = plan("claim", [hidden.pk, shown.pk], call=call_by(cast.bob))
    ACTIONS["grant"](
        [hidden.pk], call=call_by(cast.carol), role="potential_owner", to=user("bob")
    ).one()
    outcome = carry_out(stored, call=call_by(cast.bob))
    assert list(outcome.done) == [shown.pk]
    assert outcome.refused[hidden.pk].code == "stale_task"


def test_the_record_of_a_bulk_call_keeps_no_task_data(cast: Cast) -> None:
    """A task may mark any of it secret."""
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    output = {"password": "hunter2"}
    with nothing_changes(), pytest.raises(InvalidArgument):
        plan("complete", [task.pk], call=call_by(cast.bob), output=output)
    ACTIONS["complete"]([task.pk], call=call_by(cast.bob, bulk=True), output=output)
    assert Task.objects.get(pk=task.pk).output == output
    assert BulkOperation.objects.get().arguments == {"output": "******"}


@pytest.mark.usefixtures("unit_of_3")
def test_a_call_with_task_data_is_not_resumed_without_it(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ids_of(make_tasks(4, committed_cast.carol, [committed_cast.noc]))
    fail_in_unit(monkeypatch, 2, raiser(OperationalError("lock timeout")))
    call = call_by(committed_cast.bob, bulk=True)
    assert list(ACTIONS["finish"](ids, call=call, output={"n": 1}).done) == ids[:3]
    stored = BulkOperation.objects.get()
    assert stored.status == "running"
    with nothing_changes(), pytest.raises(InvalidArgument):
        carry_out(stored, call=call_by(committed_cast.bob))


def test_the_limit_counts_what_earlier_units_have_done(cast: Cast) -> None:
    ids = ids_of(make_tasks(4, cast.carol, [cast.noc]))
    stored, _ = plan("claim", ids, call=call_by(cast.bob))
    BulkOperation.objects.update(processed=2, status="running")
    stored.refresh_from_db()
    limit("operations", 3)
    before = everything()
    with pytest.raises(TooManyTasks):
        carry_out(stored, call=call_by(User.objects.get(username="bob")))
    assert everything() == before


# --- What may I do, and why not -------------------------------------------------------------------


def test_what_is_permitted_is_what_would_go_through(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.alice)
    codes = {
        name: error.code if error else ""
        for name, error in actions.permitted(task, call_by(cast.bob)).items()
    }
    assert codes == {
        **dict.fromkeys(set(ACTIONS) - {"undo"}, "not_authorized"),
        "claim": "invalid_task_state",
        "release": "",
        "comment": "",
        "attach": "",
    }
    hidden = actions.permitted(task, call_by(cast.frank))
    assert {error.code for error in hidden.values() if error} == {"task_not_found"}
    assert set(hidden) == set(ACTIONS) - {"undo"}  # which is asked of an operation
    boss = actions.permitted(task, call_by(cast.dave))
    assert boss["transfer"] is boss["grant"] is boss["revoke"] is None


BY_THE_CLOCK = {"expire", "mark_unclaimable", "mark_claimable"}


@pytest.mark.parametrize("name", sorted(set(ACTIONS) - BY_THE_CLOCK))
def test_what_is_forbidden_is_so_whatever_the_state(cast: Cast, name: str) -> None:
    task = make_in(State.EXPIRED, cast.carol, cast.noc)
    assert actions.forbidden(name, task.pk, call_by(cast.root)) is None
    refused = actions.forbidden(name, task.pk, call_by(cast.erin))
    assert refused is not None
    assert (refused.code, refused.version) == ("not_authorized", 1)
    for pk in (task.pk, uuid7()):
        hidden = actions.forbidden(name, pk, call_by(cast.frank))
        assert hidden is not None
        assert (hidden.code, hidden.version, hidden.holder) == ("task_not_found", None, None)


def test_events_and_outbox_rows_are_as_many_as_versions(committed_cast: Cast) -> None:
    ids = ids_of(make_tasks(10, committed_cast.carol, [committed_cast.noc]))
    for round_ in range(3):
        claim(ids[round_:], call=call_by(committed_cast.bob, bulk=True))
        release(ids[: 5 + round_], call=call_by(committed_cast.bob, bulk=True))
    versions = sum(Task.objects.values_list("version", flat=True))
    assert versions == AuditEvent.objects.count() == OutboxEvent.objects.count()
    assert versions > 10


def test_a_subtask_that_goes_along_stands_where_it_was_asked_for(cast: Cast) -> None:
    parent = make_task(cast.carol, cast.noc)
    child = make_task(cast.carol, cast.field, parent=parent)
    call = call_by(cast.carol)
    actions.grant([child.pk], call=call, role=TaskRole.READER, to=user("bob"))

    outcome = actions.suspend([child.pk, parent.pk], call=call_by(cast.bob, bulk=True))

    assert list(outcome.done.items()) == [(child.pk, 3), (parent.pk, 2)]
