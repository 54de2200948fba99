"""Transferring task roles: one work item moves from one holder to another, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.actions import ACTIONS
from tasks.errors import CallError
from tasks.lifecycle import ANY, ENDED, HELD, TRANSFERS, State
from tasks.models import Channel, Task
from tasks.people import group, user
from tasks.roles import COLUMNS, GRANTED, TaskRole
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task, reference

from .record import deactivate, done, holders, nothing_changes, refusal_of

transfer = ACTIONS["transfer"]
OWNER = {"role": "owner"}
MOVED = [role for role in TRANSFERS if role not in COLUMNS]


def move(role: TaskRole | str, from_: Any, to: Any) -> dict[str, Any]:
    """The arguments of a transfer."""
    return {"role": role, "from_": reference(from_), "to": reference(to)}


def held_by_bob(cast: Cast, state: State = State.RESERVED, **more: Any) -> Task:
    return make_in(state, cast.carol, cast.noc, owner=cast.bob, **more)


def state_for(role: TaskRole) -> State:
    return State.CREATED if role is TaskRole.POTENTIAL_STARTER else State.READY


# --- Owner ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(HELD))
@pytest.mark.parametrize("on_hold", [False, True])
def test_an_administrator_moves_ownership_to_anybody(
    cast: Cast, state: State, on_hold: bool
) -> None:
    task = held_by_bob(cast, state, on_hold=on_hold)
    call = call_by(cast.dave)
    stored, event = done(transfer, task, call, **move("owner", cast.bob, cast.frank))
    assert (stored.state, stored.owner_id, stored.on_hold) == (state, cast.frank.pk, on_hold)
    assert stored.claimed_at == event.at
    assert event.event == "owner_transferred"
    assert event.before == {"owner": "bob"}
    assert event.after == {"owner": "frank"}


def test_an_owner_gives_his_own_away_without_saying_from_whom(cast: Cast) -> None:
    for from_ in ({}, {"from_": user("bob")}):
        task = held_by_bob(cast)
        stored, _ = done(transfer, task, call_by(cast.bob), to=user("alice"), **OWNER, **from_)
        assert stored.owner_id == cast.alice.pk


@pytest.mark.parametrize("name", ["alice", "carol", "dave", "root"])
def test_an_owner_gives_to_potential_owners_and_administrators(cast: Cast, name: str) -> None:
    call = call_by(cast.bob)
    stored, _ = done(transfer, held_by_bob(cast), call, to=user(name), **OWNER)
    assert stored.owner_id == getattr(cast, name).pk


def test_an_owner_gives_to_nobody_else(cast: Cast) -> None:
    error = refusal_of(transfer, held_by_bob(cast), call_by(cast.bob), to=user("frank"), **OWNER)
    assert error.code == "target_not_eligible"
    assert error.text == (
        "frank cannot receive this task: not an administrator or a potential owner of it."
    )


@pytest.mark.parametrize("how", ["directly", "through a group", "as a superuser"])
def test_an_excluded_owner_receives_nothing(cast: Cast, how: str) -> None:
    receiver = cast.root if how == "as a superuser" else cast.alice
    excluded = cast.noc if how == "through a group" else receiver
    task = make_in(
        State.RESERVED,
        cast.carol,
        receiver,
        owner=cast.frank,
        people_of={TaskRole.EXCLUDED_OWNER: [excluded]},
    )
    for caller in (cast.dave, cast.frank):
        error = refusal_of(transfer, task, call_by(caller), **move("owner", cast.frank, receiver))
        assert error.code == "target_not_eligible"
        assert error.params["why"] == "excluded from working on it"


def test_colleagues_move_no_ownership(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.dave)
    call = call_by(cast.bob)
    error = refusal_of(transfer, task, call, **move("owner", cast.dave, cast.bob))
    assert error.code == "not_authorized"


def test_a_leaver_gives_and_does_not_receive(cast: Cast) -> None:
    task = held_by_bob(cast)
    deactivate(cast.bob)
    stored, _ = done(transfer, task, call_by(cast.dave), **move("owner", cast.bob, cast.alice))
    with nothing_changes(), pytest.raises(CallError) as caught:
        transfer([task.pk], call=call_by(cast.dave), **move("owner", cast.alice, cast.bob))
    assert caught.value.code == "target_inactive"
    assert stored.owner_id == cast.alice.pk


def test_ended_tasks_keep_their_owner(cast: Cast) -> None:
    for state in sorted(ENDED):
        call = call_by(cast.dave)
        error = refusal_of(
            transfer, held_by_bob(cast, state), call, **move("owner", cast.bob, cast.alice)
        )
        assert error.code == "invalid_task_state"


@pytest.mark.parametrize("name", ["alice", "dave"])
def test_who_is_not_the_owner_has_no_such_work_item(cast: Cast, name: str) -> None:
    arguments = move("owner", getattr(cast, name), cast.frank)
    error = refusal_of(transfer, held_by_bob(cast), call_by(cast.dave), **arguments)
    assert error.code == "no_such_work_item"
    assert error.params == {"holder": name, "role": "actual owner"}
    assert (error.version, error.holder) == (1, "bob")


def test_a_work_item_that_is_not_there_comes_before_the_receiver(cast: Cast) -> None:
    task = held_by_bob(cast, people_of={TaskRole.EXCLUDED_OWNER: [cast.frank]})
    call = call_by(cast.dave)
    error = refusal_of(transfer, task, call, **move("owner", cast.alice, cast.frank))
    assert error.code == "no_such_work_item"


# --- Starter and originator -----------------------------------------------------------------------


def test_a_starter_gives_to_potential_starters_and_administrators(cast: Cast) -> None:
    def started() -> Task:
        return held_by_bob(
            cast,
            State.IN_PROGRESS,
            starter=cast.frank,
            people_of={TaskRole.POTENTIAL_STARTER: [cast.field, cast.erin]},
        )

    for name in ("carol", "erin", "dave"):
        call = call_by(cast.frank)
        stored, event = done(transfer, started(), call, role="starter", to=user(name))
        assert stored.starter_id == getattr(cast, name).pk
        assert (event.event, event.before, event.after) == (
            "starter_transferred",
            {"starter": "frank"},
            {"starter": name},
        )
    error = refusal_of(transfer, started(), call_by(cast.frank), role="starter", to=user("bob"))
    assert error.code == "target_not_eligible"
    assert error.params["why"] == "not an administrator or a potential starter of it"
    done(transfer, started(), call_by(cast.dave), **move("starter", cast.frank, cast.bob))


@pytest.mark.parametrize("state", sorted(ANY))
def test_an_originator_gives_to_whoever_may_create_in_every_state(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.frank, cast.noc, owner=owner)
    call = call_by(cast.frank)
    stored, event = done(transfer, task, call, role="originator", to=user("carol"))
    assert stored.originator_id == cast.carol.pk
    assert (event.before, event.after) == ({"originator": "frank"}, {"originator": "carol"})


def test_an_originator_gives_to_administrators_and_to_nobody_else(cast: Cast) -> None:
    def task() -> Task:
        return make_in(
            State.READY, cast.frank, people_of={TaskRole.ADMINISTRATOR: [cast.frank, cast.alice]}
        )

    call = call_by(cast.frank)
    done(transfer, task(), call, role="originator", to=user("alice"))
    error = refusal_of(transfer, task(), call, role="originator", to=user("bob"))
    assert error.code == "target_not_eligible"
    assert error.params["why"] == "not an administrator of it"


def test_administrators_do_not_give_away_what_the_originator_is(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    call = call_by(cast.dave)
    error = refusal_of(transfer, task, call, **move("originator", cast.carol, cast.dave))
    assert error.code == "not_authorized"


# --- Granted roles --------------------------------------------------------------------------------


@pytest.mark.parametrize("role", MOVED)
def test_a_granted_role_moves_from_user_to_user(cast: Cast, role: TaskRole) -> None:
    task = make_in(state_for(role), cast.carol, people_of={role: [cast.bob, cast.alice]})
    call = call_by(cast.dave)
    _, event = done(transfer, task, call, **move(role, cast.bob, cast.frank))
    assert holders(task, role) == [{"user": "alice"}, {"user": "frank"}]
    assert event.event == f"{role}_transferred"
    assert event.before == {role: {"user": "bob"}}
    assert event.after == {role: {"user": "frank"}, "merged": False}


@pytest.mark.parametrize("role", MOVED)
def test_a_granted_role_moves_from_group_to_group(cast: Cast, role: TaskRole) -> None:
    task = make_in(state_for(role), cast.carol, people_of={role: [cast.noc]})
    call = call_by(cast.dave)
    _, event = done(transfer, task, call, **move(role, cast.noc, cast.field))
    assert holders(task, role) == [{"group": "field"}]
    assert event.after == {role: {"group": "field"}, "merged": False}


@pytest.mark.parametrize("role", MOVED)
def test_a_receiver_who_has_the_role_already_keeps_one_row(cast: Cast, role: TaskRole) -> None:
    task = make_in(state_for(role), cast.carol, people_of={role: [cast.bob, cast.frank]})
    call = call_by(cast.dave)
    _, event = done(transfer, task, call, **move(role, cast.bob, cast.frank))
    assert holders(task, role) == [{"user": "frank"}]
    assert event.after["merged"] is True


@pytest.mark.parametrize("role", MOVED)
def test_membership_is_not_a_work_item(cast: Cast, role: TaskRole) -> None:
    task = make_in(state_for(role), cast.carol, people_of={role: [cast.noc]})
    call = call_by(cast.dave)
    error = refusal_of(transfer, task, call, **move(role, cast.bob, cast.frank))
    assert error.code == "no_such_work_item"
    assert error.params == {"holder": "bob", "role": role.label}


def test_only_the_named_role_moves(cast: Cast) -> None:
    people = {role: [cast.bob] for role in GRANTED if role is not TaskRole.EXCLUDED_OWNER}
    task = make_in(State.READY, cast.carol, people_of=people)
    done(transfer, task, call_by(cast.dave), **move("reader", cast.bob, cast.frank))
    for role in people:
        wanted = "frank" if role is TaskRole.READER else "bob"
        assert holders(task, role) == [{"user": wanted}]


@pytest.mark.parametrize("role", [TaskRole.EDITOR, TaskRole.READER, TaskRole.POTENTIAL_OWNER])
def test_holders_of_a_granted_role_do_not_give_it_away(cast: Cast, role: TaskRole) -> None:
    task = make_in(State.READY, cast.carol, people_of={role: [cast.frank]})
    error = refusal_of(transfer, task, call_by(cast.frank), role=role, to=user("bob"))
    assert error.code == "not_authorized"


def test_the_only_administrator_can_hand_over(cast: Cast) -> None:
    """Somebody has the row afterwards, so it is no last one taken away."""
    task = make_task(cast.carol, cast.noc)
    done(transfer, task, call_by(cast.carol), **move("administrator", cast.carol, cast.frank))
    assert holders(task, TaskRole.ADMINISTRATOR) == [{"user": "frank"}]


# --- What is wrong with the call ------------------------------------------------------------------


def raised(cast: Cast, task: Task, **arguments: Any) -> CallError:
    with nothing_changes(), pytest.raises(CallError) as caught:
        transfer([task.pk], call=call_by(cast.dave), **arguments)
    return caught.value


@pytest.mark.parametrize("role", ["excluded_owner", "boss", ""])
def test_some_roles_are_never_transferred(cast: Cast, role: str) -> None:
    task = held_by_bob(cast, people_of={TaskRole.EXCLUDED_OWNER: [cast.frank]})
    error = raised(cast, task, **move(role, cast.frank, cast.alice))
    assert (error.code, error.params) == ("unknown_role", {"role": role})


def test_the_receiver_must_be_another(cast: Cast) -> None:
    error = raised(cast, held_by_bob(cast), **move("owner", cast.bob, cast.bob))
    assert (error.code, error.params["field"]) == ("invalid_argument", "to")
    # Also where the caller is meant by saying nothing.
    error = raised(cast, held_by_bob(cast), role="owner", to=user("dave"))
    assert (error.code, error.params["field"]) == ("invalid_argument", "to")


def test_users_hand_over_to_users_and_groups_to_groups(cast: Cast) -> None:
    for from_, to in ((cast.bob, cast.field), (cast.noc, cast.bob)):
        error = raised(cast, held_by_bob(cast), **move("reader", from_, to))
        assert (error.code, error.params["field"]) == ("invalid_argument", "to")
    error = raised(cast, held_by_bob(cast), role="reader", to=group("field"))
    assert error.code == "invalid_argument"


@pytest.mark.parametrize("role", [str(role) for role in COLUMNS])
def test_groups_are_no_owner_originator_or_starter(cast: Cast, role: str) -> None:
    task = make_in(State.IN_PROGRESS, cast.dave, owner=cast.bob, starter=cast.dave)
    error = raised(cast, task, **move(role, cast.noc, cast.field))
    assert (error.code, error.params["field"]) == ("invalid_argument", "to")


def test_people_named_must_be_there_and_receivers_active(cast: Cast) -> None:
    task = held_by_bob(cast)
    deactivate(cast.frank)
    names = {
        "unknown_user": (user("zoe"), user("alice")),
        "unknown_group": (group("zoo"), group("noc")),
        "target_inactive": (user("bob"), user("frank")),
        "target_empty": (group("noc"), group("change-board")),
    }
    for code, (from_, to) in names.items():
        assert raised(cast, task, role="reader", from_=from_, to=to).code == code


def test_the_system_gives_nothing_of_its_own(cast: Cast) -> None:
    task = held_by_bob(cast)
    with nothing_changes(), pytest.raises(CallError) as caught:
        transfer([task.pk], call=call_by(None, Channel.WORKER), to=user("alice"), **OWNER)
    assert caught.value.params["field"] == "from"
    call = call_by(None, Channel.WORKER)
    _, event = done(transfer, task, call, **move("owner", cast.bob, cast.alice))
    assert (event.actor, event.actor_id) == ("system", None)
