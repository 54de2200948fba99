"""People who leave: their open work, tasks nobody can claim any more, and who administers them."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.leaving import OpenWork
from accounts.models import Membership
from tasks.leavers import held, report, settle
from tasks.lifecycle import State
from tasks.models import AuditEvent, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import UserFactory, make_in, make_task

from .record import deactivate, holders


def last_event(task: Task) -> AuditEvent:
    """The newest event of a task."""
    return AuditEvent.objects.filter(task_id=task.pk).latest("version")


def held_by_bob(cast: Cast, **fields: object) -> Task:
    return make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob, **fields)


def test_released_work_is_claimable_again_on_hold_or_not(cast: Cast) -> None:
    tasks = [held_by_bob(cast), held_by_bob(cast, on_hold=True)]
    assert held(cast.bob) == 2
    said = settle(deactivate(cast.bob), OpenWork.RELEASE, actor="dave")
    assert said == "2 tasks released."
    for task in tasks:
        task.refresh_from_db()
        assert (task.state, task.owner) == ("ready", None)
        event = last_event(task)
        assert (event.event, event.actor, event.on_behalf_of) == ("released", "system", "dave")
        assert event.reason == "bob has left"
    assert held(cast.bob) == 0


def test_kept_work_stays_where_it_is(cast: Cast) -> None:
    task = held_by_bob(cast)
    assert settle(deactivate(cast.bob), OpenWork.KEEP) == "Nothing was changed."
    task.refresh_from_db()
    assert (task.owner, task.version) == (cast.bob, 1)


def test_handing_over_gives_tasks_and_the_roles_that_were_his_own(cast: Cast) -> None:
    task = held_by_bob(cast)
    offered = make_task(cast.carol, cast.bob, people_of={})
    ended = make_in(State.COMPLETED, cast.carol, cast.bob, owner=cast.bob)
    said = settle(deactivate(cast.bob), OpenWork.TRANSFER, to=cast.frank, actor="dave")
    assert "1 task handed over to frank as actual owner." in said
    for row in (task, offered, ended):
        row.refresh_from_db()
    assert task.owner == cast.frank
    assert holders(offered, TaskRole.POTENTIAL_OWNER) == [{"user": "frank"}]
    assert (ended.owner, ended.version) == (cast.bob, 1)
    assert last_event(offered).event == "potential_owner_transferred"


def test_what_cannot_be_handed_over_is_said(cast: Cast) -> None:
    make_in(
        State.RESERVED,
        cast.carol,
        cast.noc,
        owner=cast.bob,
        people_of={TaskRole.EXCLUDED_OWNER: [cast.frank]},
    )
    said = settle(deactivate(cast.bob), OpenWork.TRANSFER, to=cast.frank)
    assert "0 tasks handed over" in said
    assert "1 could not be: frank cannot receive this task" in said
    assert held(cast.bob) == 1


@pytest.mark.parametrize("choice", [OpenWork.KEEP, OpenWork.RELEASE])
def test_the_originator_administers_what_nobody_does_any_more(cast: Cast, choice: str) -> None:
    people = {TaskRole.ADMINISTRATOR: [cast.bob]}
    orphan = make_in(State.READY, cast.carol, cast.noc, people_of=people)
    both = {TaskRole.ADMINISTRATOR: [cast.bob, cast.alice]}
    cared_for = make_in(State.READY, cast.carol, cast.noc, people_of=both)
    settle(deactivate(cast.bob), choice)
    assert {"user": "carol"} in holders(orphan, TaskRole.ADMINISTRATOR)
    assert {"user": "carol"} not in holders(cared_for, TaskRole.ADMINISTRATOR)
    assert last_event(orphan).event == "administrator_granted"


# --- Unclaimable ----------------------------------------------------------------------------------


def test_unclaimable_is_what_nobody_active_and_not_excluded_may_claim(cast: Cast) -> None:
    gina = UserFactory(username="gina")
    empty = make_task(cast.carol, gina)
    excluded = make_in(
        State.READY,
        cast.carol,
        cast.bob,
        people_of={TaskRole.POTENTIAL_OWNER: [cast.bob], TaskRole.EXCLUDED_OWNER: [cast.noc]},
    )
    for_a_group = make_task(cast.carol, cast.field)
    someone_left = make_task(cast.carol, gina, cast.bob)
    for_everybody = make_task(cast.carol)
    held_one = held_by_bob(cast)
    deactivate(gina)
    assert set(Task.objects.unclaimable()) == {empty, excluded}
    Membership.objects.filter(group=cast.field).delete()
    assert set(Task.objects.unclaimable()) == {empty, excluded, for_a_group}
    assert not Task.objects.unclaimable().filter(
        pk__in=[someone_left.pk, for_everybody.pk, held_one.pk]
    )


def test_that_a_task_becomes_unclaimable_is_reported_once_and_so_is_the_end_of_it(
    cast: Cast,
) -> None:
    gina = UserFactory(username="gina")
    task = make_task(cast.carol, gina)
    assert report() == (0, 0)
    deactivate(gina)
    assert report() == (1, 0)
    assert last_event(task).event == "became_unclaimable"
    assert report() == (0, 0)
    gina.is_active = True
    gina.save()
    assert report() == (0, 1)
    assert last_event(task).event == "became_claimable"
    task.refresh_from_db()
    assert (task.version, task.unclaimable_since) == (3, None)


# --- The command ----------------------------------------------------------------------------------


def test_deactivating_someone_with_open_work_asks_what_becomes_of_it(cast: Cast) -> None:
    held_by_bob(cast)
    with pytest.raises(CommandError, match="bob holds 1 open tasks"):
        call_command("deactivate", "bob")
    cast.bob.refresh_from_db()
    assert cast.bob.is_active
    call_command("deactivate", "bob", open_work="transfer", to="frank", stdout=StringIO())
    cast.bob.refresh_from_db()
    assert not cast.bob.is_active
    assert (held(cast.bob), held(cast.frank)) == (0, 1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"open_work": "transfer"}, "--to goes together"),
        ({"to": "frank"}, "--to goes together"),
        ({"open_work": "transfer", "to": "bob"}, "cannot receive"),
        ({"open_work": "transfer", "to": "nobody"}, "There is no account nobody"),
    ],
)
def test_a_command_that_makes_no_sense_changes_nothing(
    cast: Cast, options: dict[str, str], why: str
) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("deactivate", "bob", **options)
    cast.bob.refresh_from_db()
    assert cast.bob.is_active
