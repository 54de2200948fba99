"""Releasing and cancelling a claim: who may, what stays, and what is kept of what goes."""

from __future__ import annotations

import pytest

from accounts.models import Membership, Role, User
from tasks.actions import ACTIONS
from tasks.lifecycle import State
from tasks.models import Channel, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import UserFactory, call_by, make_in, reference

from .record import done, refusal_of

release = ACTIONS["release"]
cancel_claim = ACTIONS["cancel_claim"]
DRAFT = {"output": {"ok": True}, "fault": {"code": 7}, "fault_name": "broken"}


def held_by(cast: Cast, owner: User, state: State = State.RESERVED, **more: object) -> Task:
    return make_in(state, cast.carol, cast.noc, owner=owner, **more)


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_PROGRESS])
def test_the_owner_gives_it_back_and_the_draft_stays(cast: Cast, state: State) -> None:
    task = held_by(cast, cast.bob, state, **DRAFT)
    stored, event = done(release, task, call_by(cast.bob, Channel.NATIVE, reason=None))
    assert (stored.state, stored.owner_id, stored.claimed_at) == ("ready", None, None)
    assert {name: getattr(stored, name) for name in DRAFT} == DRAFT
    assert event.event == "released"
    assert event.before == {"state": state, "owner": "bob"}
    assert event.after == {"state": "ready", "owner": None}


def test_a_colleague_frees_a_task_and_the_record_names_the_former_holder(cast: Cast) -> None:
    task = held_by(cast, cast.alice)
    stored, event = done(release, task, call_by(cast.bob, reason="she is ill"))
    assert stored.owner_id is None
    assert (event.actor, event.before["owner"], event.reason) == ("bob", "alice", "she is ill")


def test_a_site_may_take_release_others_task_away(cast: Cast) -> None:
    role = Role.objects.get(name="operations")
    role.permissions.remove(role.permissions.get(codename="release_others_task"))
    error = refusal_of(release, held_by(cast, cast.alice), call_by(cast.bob))
    assert error.code == "not_authorized"
    done(release, held_by(cast, cast.bob), call_by(cast.bob))  # his own still


def test_who_may_not_work_on_it_does_not_free_it(cast: Cast) -> None:
    task = held_by(cast, cast.alice, people_of={TaskRole.EDITOR: [cast.frank]})
    assert refusal_of(release, task, call_by(cast.frank)).code == "not_authorized"


@pytest.mark.parametrize("name", ["carol", "alice", "dave", "root", "svc_integration"])
def test_administrators_free_it(cast: Cast, name: str) -> None:
    done(release, held_by(cast, cast.bob), call_by(getattr(cast, name)))


def test_on_hold_only_an_administrator_frees_it_and_it_stays_on_hold(cast: Cast) -> None:
    task = held_by(cast, cast.bob, on_hold=True)
    colleague = UserFactory(username="gina", system_roles=["operations"])
    Membership.objects.create(user=colleague, group=cast.noc)
    for user in (cast.bob, colleague):
        assert refusal_of(release, task, call_by(user)).code == "task_suspended"
    stored, _ = done(release, task, call_by(cast.alice))
    assert (stored.state, stored.on_hold) == ("ready", True)


def test_a_reason_is_needed_unless_the_task_is_ones_own(cast: Cast) -> None:
    task = held_by(cast, cast.alice)
    for user in (cast.bob, cast.carol):
        error = refusal_of(release, task, call_by(user, Channel.ADMIN, reason=None))
        assert error.code == "reason_required"
    _, event = done(release, task, call_by(cast.alice, Channel.ADMIN, reason=None))
    assert event.reason is None


def test_an_owner_who_became_excluded_may_still_release(cast: Cast) -> None:
    task = held_by(cast, cast.bob, people_of={TaskRole.EXCLUDED_OWNER: [cast.noc]})
    for act in ("complete", "assign"):
        arguments = {"to": reference(cast.alice)} if act == "assign" else {}
        error = refusal_of(ACTIONS[act], task, call_by(cast.bob), **arguments)
        assert error.code == "not_authorized"
    done(release, task, call_by(cast.bob))


def test_an_owner_who_is_nothing_else_to_the_task_may_release_it(cast: Cast) -> None:
    stored, _ = done(release, held_by(cast, cast.frank), call_by(cast.frank))
    assert stored.owner_id is None
    assert refusal_of(release, stored, call_by(cast.frank)).code == "task_not_found"


# --- Cancel claim, as IBM has it ------------------------------------------------------------------


def test_cancelling_a_claim_discards_the_result_and_the_audit_keeps_it(cast: Cast) -> None:
    task = held_by(cast, cast.bob, input={"router": "r1"}, **DRAFT)
    stored, event = done(cancel_claim, task, call_by(cast.bob, Channel.HTM, reason=None))
    assert (stored.state, stored.owner_id, stored.claimed_at) == ("ready", None, None)
    assert stored.activated_at == event.at
    assert (stored.output, stored.fault, stored.fault_name) == (None, None, "")
    assert stored.input == {"router": "r1"}
    assert event.event == "claim_cancelled"
    assert event.before == {"state": "reserved", "owner": "bob", **DRAFT}
    discarded = {"output": None, "fault": None, "fault_name": ""}
    assert event.after == {"state": "ready", "owner": None, **discarded}


def test_cancelling_without_a_result_records_none(cast: Cast) -> None:
    _, event = done(cancel_claim, held_by(cast, cast.bob), call_by(cast.bob))
    assert event.before == {"state": "reserved", "owner": "bob"}


@pytest.mark.parametrize("output", [False, 0, [], {}])
def test_a_result_that_counts_as_false_is_kept_too(cast: Cast, output: object) -> None:
    _, event = done(cancel_claim, held_by(cast, cast.bob, output=output), call_by(cast.bob))
    assert event.before["output"] == output


def test_secrets_of_a_discarded_result_are_masked_in_the_audit(cast: Cast) -> None:
    task = held_by(
        cast,
        cast.bob,
        output={"password": "hunter2", "user": "me"},
        secret_pointers=["/output/password"],
    )
    _, event = done(cancel_claim, task, call_by(cast.bob))
    assert event.before["output"] == {"password": "******", "user": "me"}


def test_colleagues_do_not_cancel_claims(cast: Cast) -> None:
    """That is for the owner and administrators; releasing is another thing."""
    task = held_by(cast, cast.alice)
    assert refusal_of(cancel_claim, task, call_by(cast.bob)).code == "not_authorized"
    done(cancel_claim, task, call_by(cast.alice))


def test_on_hold_nobody_cancels_a_claim(cast: Cast) -> None:
    task = held_by(cast, cast.bob, on_hold=True)
    for user in (cast.bob, cast.alice, cast.dave):
        assert refusal_of(cancel_claim, task, call_by(user)).code == "task_suspended"
