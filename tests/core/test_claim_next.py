"""P6: claim-next hands each task to one caller, waits for nobody, overlooks nothing free."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Membership, User
from tasks import events, work_items
from tasks.actions import ACTIONS, claim_next
from tasks.errors import NotPermitted, UnknownGroup
from tasks.models import AuditEvent, OutboxEvent, Task
from tasks.people import group
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import UserFactory, call_by, make_task, make_tasks, reference

from .record import nothing_changes
from .test_races import Racer, together, warmed


def next_of(user: User, **more: object) -> UUID | None:
    task = claim_next(call=call_by(user), **more)  # type: ignore[arg-type]
    return None if task is None else task.pk


def test_the_first_of_the_worklist_comes_first(cast: Cast) -> None:
    due = timezone.now() + timedelta(days=1)
    late, urgent, plain, dated = (
        make_task(cast.carol, cast.noc, **fields)
        for fields in ({"priority": 7}, {"priority": 1}, {}, {"due_at": due})
    )
    own = make_task(cast.carol, cast.bob)
    order = [next_of(cast.bob) for _ in range(6)]
    assert order == [urgent.pk, dated.pk, *sorted([plain.pk, own.pk]), late.pk, None]


def test_it_is_a_claim_like_any_other(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    claimed = claim_next(call=call_by(cast.bob))
    assert claimed is not None
    stored = Task.objects.get(pk=task.pk)
    assert (stored.state, stored.owner, stored.version) == ("reserved", cast.bob, 2)
    assert (claimed.state, claimed.owner_id, claimed.version) == ("reserved", cast.bob.pk, 2)
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert (event.event, event.actor) == ("claimed", "bob")
    assert OutboxEvent.objects.filter(event=event).exists()
    assert list(events.verify([stored])) == []
    assert list(work_items.differing_rows()) == []


def test_only_what_one_could_claim_is_handed_out(cast: Cast) -> None:
    make_task(cast.carol, cast.field)  # another group's
    make_task(cast.carol, cast.noc, waiting=True)  # not activated yet
    on_hold = make_task(cast.carol, cast.noc)
    ACTIONS["suspend"]([on_hold.pk], call=call_by(cast.carol))
    for excluded in (cast.bob, cast.noc):
        people_of = {TaskRole.EXCLUDED_OWNER: [reference(excluded)]}
        make_task(cast.carol, cast.noc, cast.bob, people_of=people_of)
    with nothing_changes():
        assert next_of(cast.bob) is None
    # Administrators have no worklist by being administrators.
    with nothing_changes():
        assert next_of(cast.dave) is None


def test_of_named_groups_only(cast: Cast) -> None:
    first = make_task(cast.carol, cast.bob, cast.field, priority=0)
    second = make_task(cast.carol, cast.noc)
    assert next_of(cast.bob, groups=[group("field")]) is None  # he is no member
    assert next_of(cast.bob, groups=[group("field"), group("noc")]) == second.pk
    assert next_of(cast.bob) == first.pk
    with pytest.raises(UnknownGroup):
        next_of(cast.bob, groups=[group("nobody")])


def test_without_the_permission_nothing_is_looked_up(cast: Cast) -> None:
    make_task(cast.carol, cast.erin)
    with nothing_changes(), pytest.raises(NotPermitted):
        next_of(cast.erin, groups=[group("nobody")])


def test_five_round_trips(committed_cast: Cast) -> None:
    make_task(committed_cast.carol, committed_cast.noc)
    bob = warmed(committed_cast.bob)
    with CaptureQueriesContext(connection) as captured:
        claim_next(call=call_by(bob))
    sent = [" ".join(query["sql"].split()[:2]).lower() for query in captured]
    assert sent == ["begin", "with first", "with locked", "with input", "commit"]


# --- Races ----------------------------------------------------------------------------------------


def test_a_locked_task_is_passed_over_at_once(committed_cast: Cast) -> None:
    locked, free = make_tasks(2, committed_cast.carol, [committed_cast.noc])
    bob = warmed(committed_cast.bob)
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=locked.pk)
        begun = time.monotonic()
        taken = Racer(lambda: [next_of(bob), next_of(bob)])
        taken.start()
        assert taken.result() == [free.pk, None]
        assert time.monotonic() - begun < 5  # the lock timeout is ten seconds
    assert next_of(bob) == locked.pk


def test_what_is_free_behind_many_locked_ones_is_found(committed_cast: Cast) -> None:
    tasks = make_tasks(600, committed_cast.carol, [committed_cast.noc])
    bob = warmed(committed_cast.bob)
    first = sorted(task.pk for task in tasks)
    with transaction.atomic():
        list(Task.objects.select_for_update().filter(pk__in=first[:-1]))
        taken = Racer(lambda: next_of(bob))
        taken.start()
        assert taken.result() == first[-1]


def drain(user: User, clients: int) -> list[UUID]:
    """Claim until none is left; what still was ready then, others had in hand."""
    taken = []
    while (pk := next_of(user)) is not None:
        taken.append(pk)
    assert Task.objects.filter(state="ready").count() < clients, "none was said too early"
    return taken


@pytest.mark.parametrize(("clients", "count"), [(2, 60), (8, 160)])
def test_many_clients_drain_a_worklist(committed_cast: Cast, clients: int, count: int) -> None:
    people = [UserFactory(system_roles=["operations"]) for _ in range(clients)]
    groups = (committed_cast.noc, committed_cast.field)
    Membership.objects.bulk_create(
        [Membership(user=one, group=of) for one in people for of in groups]
    )
    tasks = make_tasks(count, committed_cast.carol, groups)
    answers: Sequence[list[UUID]] = together(
        *(lambda one=one: drain(one, clients) for one in map(warmed, people))
    )
    for answer in answers:
        assert isinstance(answer, list), answer
    handed_out = [pk for answer in answers for pk in answer]
    assert sorted(handed_out) == sorted(task.pk for task in tasks)
    assert AuditEvent.objects.filter(event="claimed").count() == count
    assert set(Task.objects.values_list("version", flat=True)) == {2}
    for one, answer in zip(people, answers, strict=True):
        assert set(Task.objects.filter(owner=one).values_list("pk", flat=True)) == set(answer)


def test_what_is_taken_away_between_the_two_looks_is_not_handed_out(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock finds a task; by the time it is judged, the caller may not have it any more."""
    lost, other = (
        make_task(committed_cast.carol, committed_cast.bob, priority=priority)
        for priority in (0, 1)
    )
    lock_next = work_items.lock_next
    bob, looks = warmed(committed_cast.bob), []

    def late(*given: object) -> list[UUID]:
        looks.append(lock_next(*given))  # type: ignore[arg-type]
        if len(looks) == 1:
            # As a change of the group's members would be: no task is locked or raised by it.
            User.objects.get(username="bob").task_roles.filter(content_object=lost.pk).delete()
        return looks[-1]

    monkeypatch.setattr(work_items, "lock_next", late)
    assert next_of(bob) == other.pk
    assert looks == [[lost.pk], [other.pk]]
    assert Task.objects.get(pk=lost.pk).state == "ready"
