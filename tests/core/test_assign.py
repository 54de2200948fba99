"""Assigning: who may give a task to whom, and who must not receive one."""

from __future__ import annotations

import pytest

from accounts.models import Membership, User
from tasks.actions import ACTIONS
from tasks.errors import CallError
from tasks.lifecycle import State
from tasks.models import Task
from tasks.people import group, user
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import GroupFactory, UserFactory, call_by, make_in, make_task, reference

from .record import deactivate, done, nothing_changes, refusal_of

assign = ACTIONS["assign"]


def to(person: User) -> dict[str, object]:
    return {"to": reference(person)}


def test_a_potential_owner_assigns_to_a_colleague(cast: Cast) -> None:
    stored, event = done(
        assign, make_task(cast.carol, cast.noc), call_by(cast.bob), **to(cast.alice)
    )
    assert (stored.state, stored.owner_id) == ("reserved", cast.alice.pk)
    assert stored.claimed_at == event.at
    assert event.event == "assigned"
    assert event.before == {"state": "ready", "owner": None}
    assert event.after == {"state": "reserved", "owner": "alice"}


def test_a_potential_owner_assigns_to_himself(cast: Cast) -> None:
    stored, _ = done(assign, make_task(cast.carol, cast.noc), call_by(cast.bob), **to(cast.bob))
    assert stored.owner_id == cast.bob.pk


@pytest.mark.parametrize("name", ["carol", "frank"])
def test_a_potential_owner_assigns_to_nobody_else(cast: Cast, name: str) -> None:
    """Not to an administrator of the task either."""
    task = make_task(cast.carol, cast.noc)
    error = refusal_of(assign, task, call_by(cast.bob), **to(getattr(cast, name)))
    assert error.code == "target_not_eligible"
    assert error.params == {"target": name, "why": "not a potential owner of it"}


@pytest.mark.parametrize("name", ["alice", "carol", "dave", "root", "svc_integration"])
def test_an_owner_assigns_to_potential_owners_and_administrators(cast: Cast, name: str) -> None:
    task = make_in(State.IN_PROGRESS, cast.carol, cast.noc, owner=cast.bob)
    stored, event = done(assign, task, call_by(cast.bob), **to(getattr(cast, name)))
    assert (stored.state, stored.owner_id) == ("reserved", getattr(cast, name).pk)
    assert event.before == {"state": "in_progress", "owner": "bob"}


def test_an_owner_assigns_to_nobody_else(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    error = refusal_of(assign, task, call_by(cast.bob), **to(cast.frank))
    assert error.code == "target_not_eligible"
    assert error.params["why"] == "not an administrator or a potential owner of it"


@pytest.mark.parametrize("state", [State.READY, State.RESERVED, State.IN_PROGRESS])
def test_an_administrator_assigns_to_anybody(cast: Cast, state: State) -> None:
    owner = None if state == State.READY else cast.bob
    task = make_in(state, cast.carol, cast.noc, owner=owner)
    stored, _ = done(assign, task, call_by(cast.alice), **to(cast.frank))
    assert (stored.state, stored.owner_id) == ("reserved", cast.frank.pk)


def test_colleagues_take_nothing_from_a_holder(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.alice)
    assert refusal_of(assign, task, call_by(cast.bob), **to(cast.bob)).code == "not_authorized"


@pytest.mark.parametrize("name", ["bob", "alice"])
def test_assigning_to_the_present_holder_says_already_owner(cast: Cast, name: str) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    error = refusal_of(assign, task, call_by(getattr(cast, name)), **to(cast.bob))
    assert error.code == "already_owner"
    assert (error.version, error.holder) == (1, "bob")


def test_on_hold_an_administrator_assigns_what_is_held_and_it_stays_on_hold(cast: Cast) -> None:
    held = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob, on_hold=True)
    assert refusal_of(assign, held, call_by(cast.bob), **to(cast.alice)).code == "task_suspended"
    stored, _ = done(assign, held, call_by(cast.alice), **to(cast.frank))
    assert stored.on_hold
    free = make_in(State.READY, cast.carol, cast.noc, on_hold=True)
    assert refusal_of(assign, free, call_by(cast.alice), **to(cast.bob)).code == "task_suspended"


@pytest.mark.parametrize("how", ["directly", "through a group", "as a superuser"])
def test_nobody_assigns_to_an_excluded_owner(cast: Cast, how: str) -> None:
    receiver = cast.root if how == "as a superuser" else cast.bob
    excluded = cast.noc if how == "through a group" else receiver
    task = make_in(
        State.READY,
        cast.carol,
        receiver,
        people_of={
            TaskRole.EXCLUDED_OWNER: [excluded],
            TaskRole.ADMINISTRATOR: [cast.carol, receiver],
        },
    )
    for caller in (cast.carol, cast.dave):
        error = refusal_of(assign, task, call_by(caller), **to(receiver))
        assert error.code == "target_not_eligible"
        assert error.params["why"] == "excluded from working on it"
    if how != "through a group":
        done(assign, task, call_by(cast.dave), **to(cast.frank))


def test_an_excluded_potential_owner_assigns_nothing(cast: Cast) -> None:
    task = make_in(
        State.READY, cast.carol, cast.noc, people_of={TaskRole.EXCLUDED_OWNER: [cast.bob]}
    )
    assert refusal_of(assign, task, call_by(cast.bob), **to(cast.alice)).code == "not_authorized"


def test_an_excluded_administrator_still_assigns_to_others(cast: Cast) -> None:
    task = make_in(
        State.READY, cast.carol, cast.noc, people_of={TaskRole.EXCLUDED_OWNER: [cast.dave]}
    )
    assert (
        refusal_of(assign, task, call_by(cast.dave), **to(cast.dave)).code == "target_not_eligible"
    )
    done(assign, task, call_by(cast.dave), **to(cast.alice))


# --- What is wrong with the call ------------------------------------------------------------------


def raised(cast: Cast, task: Task, **arguments: object) -> CallError:
    with nothing_changes(), pytest.raises(CallError) as caught:
        assign([task.pk], call=call_by(cast.alice), **arguments)
    return caught.value


def test_receivers_must_exist_be_active_and_be_users(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    deactivate(cast.frank)
    team = GroupFactory(name="night shift")
    assert raised(cast, task, to=user("zoe")).text == "There is no user zoe."
    assert raised(cast, task, to=group("zoo")).text == "There is no group zoo."
    assert raised(cast, task, to=user("frank")).code == "target_inactive"
    assert raised(cast, task, to=group("night shift")).code == "target_empty"
    Membership.objects.create(user=UserFactory(username="gina"), group=team)
    error = raised(cast, task, to=group("night shift"))
    assert (error.code, error.params["field"]) == ("invalid_argument", "to")
    team.is_active = False
    team.save()
    assert raised(cast, task, to=group("night shift")).code == "target_inactive"


def test_a_group_whose_members_are_all_inactive_is_empty(cast: Cast) -> None:
    team, member = GroupFactory(name="night shift"), UserFactory(username="gina")
    Membership.objects.create(user=member, group=team)
    deactivate(member)
    task = make_task(cast.carol, cast.noc)
    assert raised(cast, task, to=group("night shift")).code == "target_empty"


def test_receivers_are_found_by_key_and_by_the_id_itential_shows(cast: Cast) -> None:
    for reference_ in (
        user(str(cast.frank.pk), by="pk"),
        user(cast.frank.object_id, by="object_id"),
    ):
        stored, _ = done(
            assign, make_task(cast.carol, cast.noc), call_by(cast.alice), to=reference_
        )
        assert stored.owner_id == cast.frank.pk
    task = make_task(cast.carol, cast.noc)
    for reference_ in (user("frank", by="pk"), user("9" * 30, by="pk"), user("z", by="object_id")):
        assert raised(cast, task, to=reference_).code == "unknown_user"
