"""Handing work to others: nominate, delegate, forward; who may give whose part to whom."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import GroupNesting, Membership, Role, User
from tasks.actions import ACTIONS
from tasks.errors import CallError, InvalidArgument
from tasks.lifecycle import HELD, State
from tasks.models import Task
from tasks.people import Reference, group, user
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import GroupFactory, UserFactory, call_by, make_in, make_task

from .record import deactivate, done, holders, nothing_changes, refusal_of

nominate, delegate, forward = ACTIONS["nominate"], ACTIONS["delegate"], ACTIONS["forward"]
PO = TaskRole.POTENTIAL_OWNER


def waiting(cast: Cast, **more: Any) -> Task:
    return make_task(cast.carol, cast.noc, waiting=True, **more)


def raised(act: Any, task: Task, who: User, **arguments: Any) -> CallError:
    """What is wrong with a call; asserts that nothing has changed."""
    with nothing_changes(), pytest.raises(CallError) as caught:
        act([task.pk], call=call_by(who), **arguments)
    return caught.value


# --- Nominate -------------------------------------------------------------------------------------


def test_one_user_who_is_nominated_has_the_task_at_once(cast: Cast) -> None:
    stored, event = done(nominate, waiting(cast), call_by(cast.dave), people=[user("frank")])
    assert (stored.state, stored.owner_id, stored.starter_id) == (
        "reserved",
        cast.frank.pk,
        cast.dave.pk,
    )
    assert stored.claimed_at == stored.activated_at == event.at
    assert holders(stored, PO) == [{"user": "frank"}]
    assert event.event == "nominated"
    assert event.before == {
        "state": "created",
        "owner": None,
        "potential_owner": [{"group": "noc"}],
    }
    assert event.after == {
        "state": "reserved",
        "owner": "frank",
        "starter": "dave",
        "potential_owner": [{"user": "frank"}],
    }


def test_several_who_are_nominated_may_claim_it_and_nobody_else(cast: Cast) -> None:
    people = [user("frank"), group("field"), user("bob")]
    stored, event = done(nominate, waiting(cast), call_by(cast.carol), people=people)
    assert (stored.state, stored.owner_id) == ("ready", None)
    assert holders(stored, PO) == [{"user": "bob"}, {"user": "frank"}, {"group": "field"}]
    assert event.after["potential_owner"] == [
        {"user": "frank"},
        {"group": "field"},
        {"user": "bob"},
    ]
    for one, listed in ((cast.frank, 1), (cast.bob, 1), (cast.carol, 1), (cast.alice, 0)):
        assert Task.objects.available_to(one).count() == listed


def test_a_group_of_one_is_still_to_claim_it(cast: Cast) -> None:
    stored, _ = done(nominate, waiting(cast), call_by(cast.carol), people=[group("field")])
    assert (stored.state, stored.owner_id) == ("ready", None)


def test_one_user_named_twice_is_one(cast: Cast) -> None:
    same = [user("frank"), user("frank"), user(str(cast.frank.pk), "pk")]
    stored, event = done(nominate, waiting(cast), call_by(cast.carol), people=same)
    assert (stored.state, stored.owner_id) == ("reserved", cast.frank.pk)
    assert event.after["potential_owner"] == [{"user": "frank"}]


def test_who_is_a_potential_owner_already_stays_it(cast: Cast) -> None:
    stored, _ = done(
        nominate, waiting(cast), call_by(cast.carol), people=[group("noc"), user("frank")]
    )
    assert holders(stored, PO) == [{"user": "frank"}, {"group": "noc"}]


def test_originators_do_not_nominate_where_another_administers(cast: Cast) -> None:
    task = make_in(
        State.CREATED, cast.carol, cast.noc, people_of={TaskRole.ADMINISTRATOR: [cast.frank]}
    )
    error = refusal_of(nominate, task, call_by(cast.carol), people=[user("bob")])
    assert error.code == "not_authorized"


def test_somebody_is_nominated(cast: Cast) -> None:
    task = waiting(cast)
    assert raised(nominate, task, cast.carol, people=[]).params["field"] == "people"
    assert raised(nominate, task, cast.carol, people=[user("x")]).code == "unknown_user"
    two = [user("bob"), group("x")]
    assert raised(nominate, task, cast.carol, people=two).code == "unknown_group"
    assert raised(nominate, task, cast.carol, people=[group("change-board")]).code == "target_empty"
    deactivate(cast.frank)
    for people in ([user("frank")], [user("bob"), user("frank")]):
        assert raised(nominate, task, cast.carol, people=people).code == "target_inactive"


# --- Delegate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "giver"),
    [
        (State.READY, "bob"),
        (State.READY, "alice"),
        (State.RESERVED, "bob"),
        (State.IN_PROGRESS, "bob"),
        (State.IN_PROGRESS, "dave"),
    ],
)
def test_anybody_may_be_given_the_task_to_work_in_ones_place(
    cast: Cast, state: State, giver: str
) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, owner=owner)
    stored, event = done(delegate, task, call_by(getattr(cast, giver)), to=user("frank"))
    assert (stored.state, stored.owner_id) == ("reserved", cast.frank.pk)
    assert stored.claimed_at == event.at
    assert holders(stored, PO) == [{"user": "frank"}, {"group": "noc"}]
    assert event.event == "delegated"
    assert event.before["owner"] == (owner.username if owner else None)
    assert event.after["owner"] == "frank"
    assert event.after["potential_owner"] == {"user": "frank"}


def test_who_is_a_potential_owner_himself_gets_no_second_row(cast: Cast) -> None:
    task = make_in(State.READY, cast.carol, cast.noc, cast.frank)
    stored, event = done(delegate, task, call_by(cast.bob), to=user("frank"))
    assert holders(stored, PO) == [{"user": "frank"}, {"group": "noc"}]
    assert "potential_owner" not in event.after


def test_colleagues_do_not_delegate_what_another_holds(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.alice)
    error = refusal_of(delegate, task, call_by(cast.bob), to=user("frank"))
    assert error.code == "not_authorized"


def test_who_holds_it_is_not_given_it(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    error = refusal_of(delegate, task, call_by(cast.alice), to=user("bob"))
    assert (error.code, error.holder) == ("already_owner", "bob")


def test_a_group_is_not_delegated_to(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    assert raised(delegate, task, cast.bob, to=group("field")).text == (
        "to: only a user can be that"
    )


@pytest.mark.parametrize("state", [State.READY, State.RESERVED])
def test_on_hold_nobody_delegates(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, owner=owner, on_hold=True)
    for who in (cast.bob, cast.alice, cast.root):
        error = refusal_of(delegate, task, call_by(who), to=user("frank"))
        assert error.code == "task_suspended"


# --- Forward --------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [user("frank"), group("field")], ids=["user", "group"])
@pytest.mark.parametrize("state", [State.READY, State.RESERVED, State.IN_PROGRESS])
def test_ones_own_part_goes_to_a_user_or_a_group(cast: Cast, to: Reference, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.bob, cast.noc, owner=owner, claimed_at=None)
    stored, event = done(forward, task, call_by(cast.bob), to=to)
    receiver = {to.kind: to.value}
    assert (stored.state, stored.owner_id, stored.claimed_at) == ("ready", None, None)
    assert holders(stored, PO) == sorted([receiver, {"group": "noc"}], key=lambda h: "group" in h)
    assert event.event == "forwarded"
    assert event.before["potential_owner"] == {"user": "bob"}
    assert (event.after["potential_owner"], event.after["merged"]) == (receiver, False)
    assert event.before.get("owner") == (owner.username if owner else None)


def test_who_forwards_has_nothing_more_to_do_with_it(cast: Cast) -> None:
    stored, _ = done(forward, make_task(cast.carol, cast.bob), call_by(cast.bob), to=user("frank"))
    assert refusal_of(ACTIONS["claim"], stored, call_by(cast.bob)).code == "task_not_found"
    done(ACTIONS["claim"], stored, call_by(cast.frank))


def test_a_member_forwards_the_part_of_his_group_and_of_no_other(cast: Cast) -> None:
    task = make_in(State.READY, cast.carol, cast.noc, cast.field)
    error = refusal_of(forward, task, call_by(cast.bob), from_=group("field"), to=user("frank"))
    assert error.code == "not_authorized"
    assert error.text == "You are not permitted to forward field's part of this task."
    stored, event = done(forward, task, call_by(cast.bob), from_=group("noc"), to=user("frank"))
    assert holders(stored, PO) == [{"user": "frank"}, {"group": "field"}]
    assert event.before["potential_owner"] == {"group": "noc"}


def test_members_of_a_group_within_count_as_its_own(cast: Cast) -> None:
    team = GroupFactory(name="night shift")
    Membership.objects.create(user=cast.frank, group=team)
    GroupNesting.objects.create(child=team, parent=cast.noc)
    task = make_task(cast.carol, cast.noc)
    done(forward, task, call_by(cast.frank), from_=group("noc"), to=group("field"))


def test_nobody_forwards_another_persons_part_but_an_administrator(cast: Cast) -> None:
    task = make_in(State.READY, cast.carol, cast.noc, cast.frank)
    given = {"from_": user("frank"), "to": user("dave")}
    assert refusal_of(forward, task, call_by(cast.bob), **given).code == "not_authorized"
    stale = call_by(cast.bob, versions={task.pk: 9})  # what one may not comes before the version
    assert refusal_of(forward, task, stale, **given).code == "not_authorized"
    stored, _ = done(forward, task, call_by(cast.alice), **given)
    assert holders(stored, PO) == [{"user": "dave"}, {"group": "noc"}]


def test_an_owner_who_is_no_potential_owner_has_no_part_to_forward(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.frank)
    error = refusal_of(forward, task, call_by(cast.frank), to=user("dave"))
    assert error.code == "no_such_work_item"
    assert refusal_of(forward, task, call_by(cast.alice), to=user("dave")).code == (
        "no_such_work_item"
    )


def test_who_receives_what_he_has_already_keeps_one_row(cast: Cast) -> None:
    task = make_in(State.READY, cast.carol, cast.bob, cast.frank)
    stored, event = done(forward, task, call_by(cast.bob), to=user("frank"))
    assert holders(stored, PO) == [{"user": "frank"}]
    assert event.after["merged"] is True


def test_a_part_is_not_forwarded_to_where_it_is(cast: Cast) -> None:
    task = make_task(cast.carol, cast.bob)
    assert isinstance(raised(forward, task, cast.bob, to=user("bob")), InvalidArgument)
    assert raised(forward, task, cast.bob, to=group("change-board")).code == "target_empty"
    with nothing_changes(), pytest.raises(InvalidArgument):
        forward([task.pk], call=call_by(None), to=user("bob"))


@pytest.mark.parametrize("state", [State.READY, State.RESERVED])
def test_on_hold_administrators_forward_and_it_stays_on_hold(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, cast.bob, owner=owner, on_hold=True)
    assert refusal_of(forward, task, call_by(cast.bob), to=user("frank")).code == "task_suspended"
    call = call_by(cast.alice)
    stored, _ = done(forward, task, call, from_=group("noc"), to=group("field"))
    assert (stored.state, stored.owner_id, stored.on_hold) == ("ready", None, True)


@pytest.mark.parametrize("operation", ["forward", "delegate"])
def test_an_excluded_owner_gives_nothing_as_a_potential_owner_or_owner(
    cast: Cast, operation: str
) -> None:
    people = {TaskRole.EXCLUDED_OWNER: [cast.bob]}
    act = ACTIONS[operation]
    ready = make_in(State.READY, cast.carol, cast.bob, people_of=people)
    held = make_in(State.RESERVED, cast.carol, cast.bob, owner=cast.bob, people_of=people)
    for task in (ready, held):
        assert refusal_of(act, task, call_by(cast.bob), to=user("frank")).code == "not_authorized"
    people = {TaskRole.EXCLUDED_OWNER: [cast.bob], TaskRole.ADMINISTRATOR: [cast.bob]}
    ready = make_in(State.READY, cast.carol, cast.bob, people_of=people)
    done(act, ready, call_by(cast.bob), to=user("frank"))


def test_one_call_forwards_many_each_by_its_own_state(cast: Cast) -> None:
    ready = make_in(State.READY, cast.carol, cast.bob)
    held = make_in(State.IN_PROGRESS, cast.carol, cast.bob, owner=cast.bob)
    ended = make_in(State.COMPLETED, cast.carol, cast.bob)
    not_his = make_in(State.READY, cast.carol, cast.noc)
    call = call_by(cast.bob, bulk=True)
    outcome = forward([t.pk for t in (ready, held, ended, not_his)], call=call, to=group("field"))
    assert outcome.done == {ready.pk: 2, held.pk: 2}
    assert [error.code for error in outcome.refused.values()] == [
        "invalid_task_state",
        "no_such_work_item",
    ]


def test_gate_1_is_asked_for_each_of_them(cast: Cast) -> None:
    """A role that lacks one of the three permissions lets one do the other two."""
    gina = UserFactory(username="gina", system_roles=["engineering"])
    role = Role.objects.get(name="engineering")
    acts = {
        "nominate": (State.CREATED, {"people": [user("bob")]}),
        "delegate": (State.READY, {"to": user("bob")}),
        "forward": (State.READY, {"to": user("bob")}),
    }
    for name, (state, given) in acts.items():
        permission = role.permissions.get(codename=f"{name}_task")
        role.permissions.remove(permission)
        task = make_in(state, gina, gina)
        asker = User.objects.get(pk=gina.pk)
        assert refusal_of(ACTIONS[name], task, call_by(asker), **given).code == "not_authorized"
        role.permissions.add(permission)
        done(ACTIONS[name], task, call_by(User.objects.get(pk=gina.pk)), **given)
