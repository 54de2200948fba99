"""Granting and revoking task roles: to whom, when, and never so that nobody is responsible."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import GroupNesting, Membership
from tasks.actions import ACTIONS
from tasks.errors import CallError
from tasks.lifecycle import GRANTS, State
from tasks.models import Task
from tasks.people import group, user
from tasks.roles import COLUMNS, TaskRole
from tests.conftest import Cast
from tests.factories import UserFactory, call_by, make_in, make_task, reference

from .record import deactivate, done, holders, nothing_changes, refusal_of

grant = ACTIONS["grant"]
revoke = ACTIONS["revoke"]
ROLES = list(GRANTS)
AD, XO = TaskRole.ADMINISTRATOR, TaskRole.EXCLUDED_OWNER


def state_for(role: TaskRole) -> State:
    return State.CREATED if role is TaskRole.POTENTIAL_STARTER else State.READY


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_role_is_granted_and_revoked(cast: Cast, role: TaskRole, kind: str) -> None:
    holder = cast.frank if kind == "user" else cast.field
    name = {kind: "frank" if kind == "user" else "field"}
    task = make_in(state_for(role), cast.dave, cast.noc, people_of={AD: [cast.dave]})
    before = holders(task, role)
    stored, event = done(grant, task, call_by(cast.dave), role=role, to=reference(holder))
    assert name in holders(task, role)
    assert (event.event, event.before, event.after) == (f"{role}_granted", {}, {role: name})
    _, event = done(revoke, stored, call_by(cast.dave), role=role, from_=reference(holder))
    assert holders(task, role) == before
    assert (event.event, event.before, event.after) == (f"{role}_revoked", {role: name}, {})


def test_a_role_takes_effect_at_once(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    assert refusal_of(ACTIONS["claim"], task, call_by(cast.frank)).code == "task_not_found"
    task, _ = done(grant, task, call_by(cast.carol), role="potential_owner", to=user("frank"))
    ACTIONS["claim"]([task.pk], call=call_by(cast.frank, dry_run=True)).done[task.pk]
    task, _ = done(revoke, task, call_by(cast.carol), role="potential_owner", from_=user("frank"))
    assert refusal_of(ACTIONS["claim"], task, call_by(cast.frank)).code == "task_not_found"


@pytest.mark.parametrize("role", ROLES)
def test_the_originator_grants_and_revokes_everything_while_created(
    cast: Cast, role: TaskRole
) -> None:
    carol = call_by(cast.carol)
    task = make_in(State.CREATED, cast.carol, people_of={AD: [cast.dave]})
    task, _ = done(grant, task, carol, role=role, to=user("frank"))
    done(revoke, task, carol, role=role, from_=user("frank"))
    if role is not TaskRole.POTENTIAL_STARTER:
        ready = make_in(State.READY, cast.carol, people_of={AD: [cast.dave]})
        error = refusal_of(grant, ready, carol, role=role, to=user("frank"))
        assert error.code == "not_authorized"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_granted_once(cast: Cast, role: TaskRole) -> None:
    task = make_in(state_for(role), cast.dave, people_of={role: [cast.frank, cast.field]})
    for holder, name in ((cast.frank, "frank"), (cast.field, "field")):
        error = refusal_of(grant, task, call_by(cast.dave), role=role, to=reference(holder))
        assert error.code == "already_granted"
        assert error.params == {"holder": name, "role": role.label}


@pytest.mark.parametrize("role", ROLES)
def test_what_nobody_holds_is_not_revoked(cast: Cast, role: TaskRole) -> None:
    """Membership of a group that holds it is no row of one's own, and a user is no group."""
    task = make_in(
        state_for(role), cast.dave, people_of={role: [cast.noc], AD: [cast.dave, cast.noc]}
    )
    error = refusal_of(revoke, task, call_by(cast.dave), role=role, from_=user("bob"))
    assert error.code == "no_such_work_item"
    assert error.params == {"holder": "bob", "role": role.label}
    error = refusal_of(revoke, task, call_by(cast.dave), role=role, from_=group("field"))
    assert error.code == "no_such_work_item"


@pytest.mark.parametrize("kind", ["user", "group"])
def test_the_last_administrator_row_stays(cast: Cast, kind: str) -> None:
    """Leads, model permissions and superusers do not count as one."""
    holder = cast.alice if kind == "user" else cast.noc
    task = make_in(State.READY, cast.carol, cast.noc, people_of={AD: [holder, cast.frank]})
    task, _ = done(revoke, task, call_by(cast.dave), role=AD, from_=user("frank"))
    Membership.objects.create(user=cast.carol, group=cast.noc, lead=True)
    for caller in (cast.dave, cast.root, cast.carol):
        error = refusal_of(revoke, task, call_by(caller), role=AD, from_=reference(holder))
        assert error.code == "last_administrator"
    other = make_in(State.READY, cast.carol, people_of={AD: [cast.bob, cast.field]})
    done(revoke, other, call_by(cast.carol), role=AD, from_=group("field"))  # not the last one


# --- Excluded owners ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_PROGRESS])
def test_the_present_owner_is_not_excluded(cast: Cast, state: State) -> None:
    """Neither by name, nor through a group, a group above it, or everybody."""
    GroupNesting.objects.create(child=cast.noc, parent=cast.change_board)
    task = make_in(state, cast.dave, cast.noc, owner=cast.bob)
    for holder in (user("bob"), group("noc"), group("change-board"), group("everybody")):
        error = refusal_of(grant, task, call_by(cast.dave), role=XO, to=holder)
        assert error.code == "target_not_eligible"
        assert error.params["why"] == "the present owner would be excluded"
        assert error.holder == "bob"
    for holder in (user("alice"), group("field")):
        task, _ = done(grant, task, call_by(cast.dave), role=XO, to=holder)


def test_a_lead_from_above_is_not_excluded_with_the_group(cast: Cast) -> None:
    """Who leads a group from above is no member of it."""
    GroupNesting.objects.create(child=cast.field, parent=cast.noc)
    task = make_in(State.RESERVED, cast.dave, cast.noc, owner=cast.alice)
    done(grant, task, call_by(cast.dave), role=XO, to=group("field"))


def test_who_owned_nothing_yet_can_be_excluded(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    task, _ = done(grant, task, call_by(cast.dave), role=XO, to=group("noc"))
    assert refusal_of(ACTIONS["claim"], task, call_by(cast.bob)).code == "not_authorized"
    task, _ = done(revoke, task, call_by(cast.dave), role=XO, from_=group("noc"))
    done(ACTIONS["claim"], task, call_by(cast.bob))


# --- What is wrong with the call ------------------------------------------------------------------


def raised(cast: Cast, name: str, **arguments: Any) -> CallError:
    task: Task = make_task(cast.dave, cast.noc)
    with nothing_changes(), pytest.raises(CallError) as caught:
        ACTIONS[name]([task.pk], call=call_by(cast.dave), **arguments)
    return caught.value


@pytest.mark.parametrize("role", [*(str(role) for role in COLUMNS), "boss"])
def test_owner_originator_and_starter_are_not_granted(cast: Cast, role: str) -> None:
    for name, holder in (("grant", "to"), ("revoke", "from_")):
        error = raised(cast, name, role=role, **{holder: user("frank")})
        assert (error.code, error.params) == ("unknown_role", {"role": role})


def test_who_is_granted_a_role_must_be_there_and_active(cast: Cast) -> None:
    UserFactory(username="gina")
    deactivate(cast.frank)
    codes = {
        "unknown_user": user("zoe"),
        "unknown_group": group("zoo"),
        "target_inactive": user("frank"),
        "target_empty": group("change-board"),
    }
    for code, holder in codes.items():
        assert raised(cast, "grant", role="reader", to=holder).code == code


def test_leavers_and_emptied_groups_can_be_revoked(cast: Cast) -> None:
    task = make_task(cast.dave, cast.frank, cast.field)
    deactivate(cast.frank)
    deactivate(cast.carol)
    for holder in (user("frank"), group("field")):
        task, _ = done(revoke, task, call_by(cast.dave), role="potential_owner", from_=holder)
    assert raised(cast, "revoke", role="reader", from_=user("zoe")).code == "unknown_user"


def test_a_grant_needs_its_own_permission(cast: Cast) -> None:
    """Operations administer through leads, but do not hold it (alice leads noc)."""
    task = make_task(cast.dave, cast.noc)
    error = refusal_of(grant, task, call_by(cast.alice), role="reader", to=user("frank"))
    assert error.code == "not_authorized"
