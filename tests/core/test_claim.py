"""Claiming: a ready manual task becomes the caller's, once, and never an excluded owner's."""

from __future__ import annotations

import pytest

from accounts.models import GroupNesting, Membership, User
from tasks.actions import ACTIONS
from tasks.lifecycle import State
from tasks.models import Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import GroupFactory, UserFactory, call_by, make_in, make_task

from .record import done, refusal_of

claim = ACTIONS["claim"]


def test_a_potential_owner_through_a_group_takes_the_task(cast: Cast) -> None:
    stored, event = done(claim, make_task(cast.carol, cast.noc), call_by(cast.bob))
    assert (stored.state, stored.owner_id) == ("reserved", cast.bob.pk)
    assert stored.claimed_at == event.at
    assert event.event == "claimed"
    assert event.before == {"state": "ready", "owner": None}
    assert event.after == {"state": "reserved", "owner": "bob"}


def test_a_potential_owner_by_name_takes_the_task(cast: Cast) -> None:
    stored, _ = done(claim, make_task(cast.carol, cast.frank), call_by(cast.frank))
    assert stored.owner_id == cast.frank.pk


def test_a_member_of_a_nested_group_takes_the_task(cast: Cast) -> None:
    GroupNesting.objects.create(child=cast.noc, parent=cast.field)
    stored, _ = done(claim, make_task(cast.dave, cast.field), call_by(cast.bob))
    assert stored.owner_id == cast.bob.pk


@pytest.mark.parametrize("name", ["carol", "dave", "svc_integration", "root"])
def test_administrators_take_tasks_they_are_no_potential_owners_of(cast: Cast, name: str) -> None:
    """By a row, by the roles admin and apiwrite, and as superuser."""
    user: User = getattr(cast, name)
    stored, _ = done(claim, make_task(cast.carol, cast.noc), call_by(user))
    assert stored.owner_id == user.pk


def test_leads_administer_what_their_group_may_work_on(cast: Cast) -> None:
    """Leading passes down to nested groups and never up."""
    team = GroupFactory(name="night shift")
    GroupNesting.objects.create(child=team, parent=cast.noc)
    UserFactory(username="gina", system_roles=["operations"])
    Membership.objects.create(user=User.objects.get(username="gina"), group=team, lead=True)
    below, above = make_task(cast.dave, team), make_task(cast.dave, cast.noc, name="above")
    stored, _ = done(claim, below, call_by(cast.alice))
    assert stored.owner_id == cast.alice.pk
    gina = call_by(User.objects.get(username="gina"))
    held_above = make_in(State.RESERVED, cast.dave, cast.noc, owner=cast.bob)
    # As a member of the nested group she may work on it, but she does not administer it.
    error = refusal_of(ACTIONS["complete"], held_above, gina)
    assert error.code == "not_authorized"
    stored, _ = done(claim, above, gina)
    assert stored.owner.username == "gina"


def test_groups_of_a_lead_that_may_not_work_on_it_give_him_nothing(cast: Cast) -> None:
    task = make_in(State.READY, cast.dave, cast.field, people_of={TaskRole.STAKEHOLDER: [cast.noc]})
    assert refusal_of(claim, task, call_by(cast.alice)).code == "not_authorized"


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_PROGRESS])
def test_claiming_again_says_already_owner(cast: Cast, state: State) -> None:
    """Also to an owner who is no potential owner, and on hold."""
    task = make_in(state, cast.dave, cast.noc, owner=cast.frank, on_hold=True)
    error = refusal_of(claim, task, call_by(cast.frank))
    assert error.code == "already_owner"
    assert error.params == {"owner": "frank"}
    assert (error.version, error.holder) == (1, "frank")


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
def test_who_owned_an_ended_task_does_not_have_it_already(cast: Cast, state: State) -> None:
    task = make_in(state, cast.dave, cast.bob, owner=cast.bob)
    assert refusal_of(claim, task, call_by(cast.bob)).code == "invalid_task_state"


def test_a_task_of_somebody_else_names_its_holder(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.dave, cast.noc, owner=cast.alice)
    error = refusal_of(claim, task, call_by(cast.bob))
    assert error.code == "invalid_task_state"
    assert (error.version, error.holder) == (1, "alice")


def test_on_hold_it_can_be_claimed_where_the_task_says_so_and_stays_on_hold(cast: Cast) -> None:
    closed = make_in(State.READY, cast.dave, cast.noc, on_hold=True)
    for user in (cast.bob, cast.alice, cast.root):
        assert refusal_of(claim, closed, call_by(user)).code == "task_suspended"
    open_ = make_in(State.READY, cast.dave, cast.noc, on_hold=True, claim_while_on_hold=True)
    stored, _ = done(claim, open_, call_by(cast.bob))
    assert stored.on_hold
    assert stored.owner_id == cast.bob.pk


def excluded_somehow(cast: Cast, how: str) -> tuple[User, Task]:
    """Somebody who holds every right to claim a task, and is excluded from it."""
    user: User = {"superuser": cast.root, "admin": cast.dave}.get(how, cast.bob)
    excluded = cast.noc if how == "group" else user
    if how == "everybody":
        excluded = user.groups.model.objects.get(name="everybody")
    people = {
        TaskRole.POTENTIAL_OWNER: [user, cast.noc],
        TaskRole.ADMINISTRATOR: [user],
        TaskRole.EXCLUDED_OWNER: [excluded],
    }
    return user, make_in(State.READY, cast.carol, people_of=people)


@pytest.mark.parametrize("how", ["user", "group", "everybody", "superuser", "admin"])
def test_an_excluded_owner_never_claims_whatever_else_he_is(cast: Cast, how: str) -> None:
    user, task = excluded_somehow(cast, how)
    error = refusal_of(claim, task, call_by(user))
    assert error.code == "not_authorized"
    task = make_in(State.READY, cast.carol, user)
    done(claim, task, call_by(user))  # it was the exclusion, then


def test_who_is_excluded_from_his_own_task_does_not_get_it_confirmed(cast: Cast) -> None:
    task = make_in(
        State.RESERVED, cast.carol, owner=cast.bob, people_of={TaskRole.EXCLUDED_OWNER: [cast.noc]}
    )
    assert refusal_of(claim, task, call_by(cast.bob)).code == "not_authorized"


@pytest.mark.parametrize("name", ["erin", "svc_reader"])
def test_readers_of_everything_claim_nothing(cast: Cast, name: str) -> None:
    task = make_in(State.READY, cast.dave, getattr(cast, name))
    assert refusal_of(claim, task, call_by(getattr(cast, name))).code == "not_authorized"


@pytest.mark.parametrize(
    "role",
    [
        TaskRole.READER,
        TaskRole.EDITOR,
        TaskRole.STAKEHOLDER,
        TaskRole.POTENTIAL_STARTER,
        TaskRole.ESCALATION_RECEIVER,
    ],
)
def test_other_roles_see_the_task_and_do_not_claim_it(cast: Cast, role: TaskRole) -> None:
    task = make_in(State.READY, cast.dave, cast.noc, people_of={role: [cast.frank]})
    error = refusal_of(claim, task, call_by(cast.frank))
    assert error.code == "not_authorized"
    assert error.version == 1


def test_an_inactive_group_makes_nobody_a_potential_owner(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    cast.noc.is_active = False
    cast.noc.save()
    assert refusal_of(claim, task, call_by(cast.bob)).code == "task_not_found"
