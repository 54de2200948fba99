"""The work itself: begun and put down, drafts of a result, failing, skipping; never if excluded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Group, User
from tasks.actions import ACTIONS
from tasks.errors import InvalidArgument
from tasks.lifecycle import HELD, State
from tasks.models import Channel, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task, reference

from .record import done, nothing_changes, refusal_of

start, stop = ACTIONS["start"], ACTIONS["stop"]
save_output, save_fault = ACTIONS["save_output"], ACTIONS["save_fault"]
complete, fail, skip = ACTIONS["complete"], ACTIONS["fail"], ACTIONS["skip"]
LONG_AGO = timezone.now() - timedelta(days=3)


def held_by_bob(cast: Cast, state: State = State.RESERVED, **more: Any) -> Task:
    return make_in(state, cast.carol, cast.noc, owner=cast.bob, **more)


# --- Start and stop -------------------------------------------------------------------------------


def test_starting_an_unassigned_task_claims_it_in_the_same_step(cast: Cast) -> None:
    stored, event = done(start, make_task(cast.carol, cast.noc), call_by(cast.bob))
    assert (stored.state, stored.owner_id) == ("in_progress", cast.bob.pk)
    assert stored.claimed_at == event.at
    assert event.event == "started"
    assert event.before == {"state": "ready", "owner": None}
    assert event.after == {"state": "in_progress", "owner": "bob"}


def test_starting_ones_own_task_leaves_it_ones_own(cast: Cast) -> None:
    task = held_by_bob(cast, claimed_at=LONG_AGO)
    stored, event = done(start, task, call_by(cast.bob))
    assert (stored.state, stored.owner_id) == ("in_progress", cast.bob.pk)
    assert stored.claimed_at == LONG_AGO
    assert (event.before, event.after) == ({"state": "reserved"}, {"state": "in_progress"})


@pytest.mark.parametrize("name", ["alice", "dave", "root", "carol"])
def test_nobody_starts_what_another_holds_not_even_an_administrator(cast: Cast, name: str) -> None:
    task = held_by_bob(cast)
    assert refusal_of(start, task, call_by(getattr(cast, name))).code == "not_authorized"


@pytest.mark.parametrize("name", ["bob", "alice", "dave"])
def test_work_is_put_down_by_its_owner_or_an_administrator_and_stays_his(
    cast: Cast, name: str
) -> None:
    task = held_by_bob(cast, State.IN_PROGRESS)
    stored, event = done(stop, task, call_by(getattr(cast, name)))
    assert (stored.state, stored.owner_id) == ("reserved", cast.bob.pk)
    assert (event.before, event.after) == ({"state": "in_progress"}, {"state": "reserved"})
    assert refusal_of(stop, stored, call_by(cast.bob)).code == "invalid_task_state"


def test_colleagues_do_not_put_it_down(cast: Cast) -> None:
    task = make_in(State.IN_PROGRESS, cast.carol, cast.noc, owner=cast.alice)
    assert refusal_of(stop, task, call_by(cast.bob)).code == "not_authorized"


# --- Drafts of a result ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_PROGRESS])
def test_a_draft_of_the_output_is_kept_and_a_fault_goes(cast: Cast, state: State) -> None:
    task = held_by_bob(cast, state, output={"n": 1}, fault=[1], fault_name="broken")
    stored, event = done(save_output, task, call_by(cast.bob), output={"n": 2})
    assert (stored.state, stored.owner_id) == (state, cast.bob.pk)
    assert (stored.output, stored.fault, stored.fault_name) == ({"n": 2}, None, "")
    assert event.event == "output_saved"
    assert event.before == {"output": {"n": 1}, "fault": [1], "fault_name": "broken"}
    assert event.after == {"output": {"n": 2}, "fault": None, "fault_name": ""}


def test_a_draft_of_a_fault_is_kept_and_the_output_goes(cast: Cast) -> None:
    task = held_by_bob(cast, output={"n": 1})
    stored, event = done(save_fault, task, call_by(cast.bob), fault={"c": 7}, fault_name="broken")
    assert (stored.output, stored.fault, stored.fault_name) == (None, {"c": 7}, "broken")
    assert event.event == "fault_saved"
    assert event.before == {"output": {"n": 1}, "fault": None, "fault_name": ""}
    assert event.after == {"output": None, "fault": {"c": 7}, "fault_name": "broken"}


def test_a_draft_may_be_what_the_schema_does_not_allow_yet(cast: Cast) -> None:
    task = held_by_bob(cast, output_schema={"type": "object", "required": ["ok"]})
    stored, _ = done(save_output, task, call_by(cast.bob), output={})
    assert refusal_of(complete, stored, call_by(cast.bob)).code == "invalid_output"


@pytest.mark.parametrize("act", [save_output, save_fault])
def test_editors_keep_drafts_and_colleagues_do_not(cast: Cast, act: Any) -> None:
    task = held_by_bob(cast, people_of={TaskRole.EDITOR: [cast.frank]})
    given = {"output": 1} if act is save_output else {"fault": 1}
    done(act, task, call_by(cast.frank), **given)
    theirs = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.alice)
    assert refusal_of(act, theirs, call_by(cast.bob), **given).code == "not_authorized"


@pytest.mark.parametrize(
    ("act", "given"), [(save_output, {"output": "x" * 65_537}), (fail, {"fault": "x" * 65_537})]
)
def test_a_bulk_call_keeps_no_large_draft(cast: Cast, act: Any, given: Any) -> None:
    task = held_by_bob(cast)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        act([task.pk], call=call_by(cast.bob, bulk=True), **given)
    assert caught.value.params["field"] in given
    done(act, task, call_by(cast.bob), **given)


SECRET = {"key": "hunter2", "open": 1}
MASKED = {"key": "******", "open": 1}


@pytest.mark.parametrize(
    ("act", "member"), [(save_output, "output"), (save_fault, "fault"), (fail, "fault")]
)
def test_secrets_of_a_draft_are_masked_in_the_audit_alone(
    cast: Cast, act: Any, member: str
) -> None:
    pointers = ["/output/key", "/fault/key"]
    old = {"output": {"key": "old hunter2"}, "fault": {"key": "old hunter2"}}
    task = held_by_bob(cast, secret_pointers=pointers, **old)
    stored, event = done(act, task, call_by(cast.bob), **{member: SECRET})
    assert getattr(stored, member) == SECRET
    assert event.after[member] == MASKED
    assert event.before[member] == {"key": "******"}
    assert "hunter2" not in str([event.before, event.after])


def test_a_secret_that_is_a_whole_value_is_masked_too(cast: Cast) -> None:
    task = held_by_bob(cast, secret_pointers=["/output"])
    _, event = done(save_output, task, call_by(cast.bob), output="hunter2")
    assert event.after["output"] == "******"


# --- How it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_PROGRESS])
@pytest.mark.parametrize("name", ["bob", "alice"])
def test_failing_keeps_the_fault_and_the_owner(cast: Cast, state: State, name: str) -> None:
    task = held_by_bob(cast, state, output={"n": 1})
    call = call_by(getattr(cast, name))
    stored, event = done(fail, task, call, fault={"c": 7}, fault_name="broken")
    assert (stored.state, stored.owner_id, stored.ended_at) == ("failed", cast.bob.pk, event.at)
    assert (stored.output, stored.fault, stored.fault_name) == ({"n": 1}, {"c": 7}, "broken")
    assert event.after == {"state": "failed", "fault": {"c": 7}, "fault_name": "broken"}


def test_failing_without_a_fault_keeps_the_one_saved_before(cast: Cast) -> None:
    task = held_by_bob(cast, fault={"c": 7}, fault_name="broken")
    stored, event = done(fail, task, call_by(cast.bob))
    assert (stored.fault, stored.fault_name) == ({"c": 7}, "broken")
    assert event.after == {"state": "failed"}
    stored, _ = done(fail, held_by_bob(cast), call_by(cast.bob))
    assert (stored.state, stored.fault) == ("failed", None)


def test_failing_with_a_name_alone_replaces_both(cast: Cast) -> None:
    task = held_by_bob(cast, fault={"c": 7}, fault_name="broken")
    stored, _ = done(fail, task, call_by(cast.bob), fault_name="lost")
    assert (stored.fault, stored.fault_name) == (None, "lost")


@pytest.mark.parametrize("saved", [{"fault": {"c": 7}}, {"fault_name": "broken"}, {"fault": 0}])
def test_completing_with_a_saved_fault_fails_where_the_face_says_so(cast: Cast, saved: Any) -> None:
    task = held_by_bob(cast, output_schema={"type": "object"}, **saved)
    call = call_by(cast.bob, Channel.HTM, reason=None)
    stored, event = done(complete, task, call, fails_with_fault=True)
    assert stored.state == "failed"
    assert {name: getattr(stored, name) for name in saved} == saved
    assert (event.event, event.after) == ("completed", {"state": "failed"})


def test_an_output_given_goes_before_a_saved_fault(cast: Cast) -> None:
    task = held_by_bob(cast, fault={"c": 7}, fault_name="broken")
    stored, _ = done(complete, task, call_by(cast.bob), fails_with_fault=True, output={"n": 1})
    assert (stored.state, stored.output) == ("completed", {"n": 1})


def test_a_saved_fault_is_nothing_to_faces_that_do_not_say_so(cast: Cast) -> None:
    task = held_by_bob(cast, fault={"c": 7}, output={"n": 1})
    assert done(complete, task, call_by(cast.bob))[0].state == "completed"
    assert done(complete, held_by_bob(cast), call_by(cast.bob), fails_with_fault=True)[0].state == (
        "completed"
    )


def test_of_many_those_with_a_fault_fail(cast: Cast) -> None:
    good, bad = held_by_bob(cast, output={"n": 1}), held_by_bob(cast, fault={"c": 7})
    call = call_by(cast.bob, bulk=True)
    outcome = complete([good.pk, bad.pk], call=call, fails_with_fault=True)
    assert outcome.done == {good.pk: 2, bad.pk: 2}
    states = dict(Task.objects.values_list("pk", "state"))
    assert (states[good.pk], states[bad.pk]) == ("completed", "failed")


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (State.CREATED, "carol"),
        (State.READY, "bob"),
        (State.RESERVED, "bob"),
        (State.IN_PROGRESS, "alice"),
    ],
)
def test_what_may_be_skipped_is_skipped_with_a_reason(cast: Cast, state: State, name: str) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, owner=owner, skippable=True)
    user = getattr(cast, name)
    error = refusal_of(skip, task, call_by(user, Channel.NATIVE, reason=None))
    assert error.code == "reason_required"
    stored, event = done(skip, task, call_by(user, Channel.NATIVE, reason="done by hand"))
    assert (stored.state, stored.owner_id, stored.ended_at) == ("obsolete", task.owner_id, event.at)
    assert (event.event, event.reason) == ("skipped", "done by hand")
    assert (event.before, event.after) == ({"state": state}, {"state": "obsolete"})


def test_what_may_not_be_skipped_is_not_whoever_asks(cast: Cast) -> None:
    task = held_by_bob(cast)
    for user in (cast.bob, cast.dave, cast.root):
        assert refusal_of(skip, task, call_by(user)).code == "not_skippable"
    ended = make_in(State.COMPLETED, cast.carol, cast.noc)
    assert refusal_of(skip, ended, call_by(cast.dave)).code == "invalid_task_state"
    assert refusal_of(skip, task, call_by(cast.erin)).code == "not_authorized"


# --- Excluded owners ------------------------------------------------------------------------------

NEVER = {
    "claim": (State.READY, {}),
    "start": (State.READY, {}),
    "save_output": (State.RESERVED, {"output": 1}),
    "save_fault": (State.RESERVED, {"fault": 1}),
    "complete": (State.RESERVED, {}),
    "finish": (State.READY, {}),
    "fail": (State.RESERVED, {}),
}


@pytest.mark.parametrize("operation", NEVER)
@pytest.mark.parametrize("name", ["carol", "dave", "root"])
@pytest.mark.parametrize("through", ["himself", "a group"])
def test_an_excluded_owner_never_does_the_work_whatever_else_he_is(
    cast: Cast, operation: str, name: str, through: str
) -> None:
    """Carol holds every granted role, dave is admin, root a superuser; each owns the task."""
    user: User = getattr(cast, name)
    excluded: User | Group = user if through == "himself" else everybody()
    state, given = NEVER[operation]
    people: dict[TaskRole, Any] = {
        role: [user] for role in TaskRole if role not in ("owner", "originator", "starter")
    }
    people[TaskRole.EXCLUDED_OWNER] = [excluded]
    for where in {state, State.RESERVED, State.IN_PROGRESS}:
        task = make_in(
            where,
            user,
            starter=user,
            owner=user if where in HELD else None,
            people_of=people,
        )
        error = refusal_of(ACTIONS[operation], task, call_by(user), **given)
        assert error.code == "not_authorized"


def everybody() -> Group:
    return Group.objects.get(name="everybody")


@pytest.mark.parametrize("operation", ["assign", "delegate", "nominate", "transfer"])
@pytest.mark.parametrize("through", ["himself", "a group"])
@pytest.mark.parametrize("name", ["bob", "dave", "root"])
def test_an_excluded_owner_is_given_nothing(
    cast: Cast, operation: str, through: str, name: str
) -> None:
    user: User = getattr(cast, name)
    excluded: User | Group = user if through == "himself" else everybody()
    state = {"nominate": State.CREATED, "transfer": State.RESERVED}.get(operation, State.READY)
    task = make_in(
        state,
        cast.carol,
        user,
        owner=cast.frank if state in HELD else None,
        people_of={TaskRole.EXCLUDED_OWNER: [excluded], TaskRole.ADMINISTRATOR: [user, cast.carol]},
    )
    given: dict[str, Any] = {"to": reference(user)}
    if operation == "nominate":
        given = {"people": [reference(user)]}
    elif operation == "transfer":
        given |= {"role": "owner", "from_": reference(cast.frank)}
    error = refusal_of(ACTIONS[operation], task, call_by(cast.carol), **given)
    assert error.code == "target_not_eligible"
    assert "excluded" in error.text
