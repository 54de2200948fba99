"""What every operation has in common: it works for who may, and says no in one fixed order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts.models import User
from tasks.errors import CallError, TaskError
from tasks.lifecycle import ANY, ENDED, Kind, Reason, State
from tasks.models import Channel, Task
from tasks.people import Reference
from tasks.roles import TaskRole
from tasks.uuid7 import uuid7
from tests.conftest import Cast
from tests.factories import UserFactory, call_by

from .cases import CASES, Case
from .record import deactivate, done, everything, nothing_changes, refusal_of


def for_every_case(test: Callable[[Case, Cast], None]) -> Callable[..., None]:
    """Run a test for each case with one cast, and undo what each has done."""

    def run(cast: Cast, subtests: pytest.Subtests) -> None:
        for case in CASES:
            with subtests.test(str(case)):
                savepoint = transaction.savepoint()
                try:
                    test(case, cast)
                finally:
                    transaction.savepoint_rollback(savepoint)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def stranger() -> User:
    """An account with all permissions that is nothing to any task."""
    return UserFactory(username="gina", system_roles=["engineering"])


def other_states(case: Case) -> list[State]:
    """The states the operation is not allowed in."""
    allowed = {state for rule in case.operation.rules for state in rule.sources}
    return sorted(ANY - allowed)


def shown(error: TaskError) -> tuple[Any, ...]:
    """All a caller can learn from a refusal."""
    return type(error), error.text, error.params, error.version, error.holder


@for_every_case
def test_it_works_for_who_may_and_all_rows_agree(case: Case, cast: Cast) -> None:
    task = case.task(cast)
    stored, event = done(case.act, task, call_by(case.actor(cast)), **case.arguments(cast))
    rule = case.operation.rule_for(case.state)
    assert rule is not None
    assert stored.state == (rule.target or case.state)
    assert event.event == case.operation.event


@for_every_case
def test_a_hidden_task_is_answered_as_a_missing_one(case: Case, cast: Cast) -> None:
    task, gina = case.task(cast), stranger()
    hidden = refusal_of(case.act, task, call_by(gina), **case.arguments(cast))
    missing = refusal_of(case.act, Task(pk=uuid7()), call_by(gina), **case.arguments(cast))
    assert hidden.code == "task_not_found"
    assert shown(hidden) == shown(missing)
    assert (hidden.version, hidden.holder) == (None, None)


@for_every_case
def test_gate_1_without_the_permission_a_visible_task_is_not_permitted(
    case: Case, cast: Cast
) -> None:
    error = refusal_of(case.act, case.task(cast), call_by(cast.erin), **case.arguments(cast))
    assert error.code == "not_authorized"
    assert error.version == 1


@for_every_case
def test_gate_1_counts_for_administrators_of_the_task_too(case: Case, cast: Cast) -> None:
    weak = UserFactory(username="gina", system_roles=["viewer"])
    task = case.task(cast, people_of={TaskRole.ADMINISTRATOR: [weak]})
    error = refusal_of(case.act, task, call_by(weak), **case.arguments(cast))
    assert error.code == "not_authorized"


@for_every_case
def test_gate_2_without_a_fitting_task_role_it_is_not_permitted(case: Case, cast: Cast) -> None:
    gina = stranger()
    enough = {role for rule in case.operation.rules for role in rule.roles} | {case.role}
    useless = [role for role in (TaskRole.STAKEHOLDER, TaskRole.READER) if role not in enough]
    if not useless:  # retry: whoever sees the task and holds the permission may
        assert case.name == "retry"
        return
    task = case.task(cast, people_of={useless[0]: [gina]})
    error = refusal_of(case.act, task, call_by(gina), **case.arguments(cast))
    assert error.code == "not_authorized"


@for_every_case
def test_an_inactive_account_holds_nothing(case: Case, cast: Cast) -> None:
    actor = case.actor(cast)
    if actor is None:  # the system never leaves
        return
    task = case.task(cast)
    leaver = deactivate(User.objects.get(pk=actor.pk))
    error = refusal_of(case.act, task, call_by(leaver), **case.arguments(cast))
    assert error.code == "task_not_found"


@for_every_case
def test_who_is_only_excluded_does_not_see_the_task(case: Case, cast: Cast) -> None:
    gina = stranger()
    task = case.task(cast, people_of={TaskRole.EXCLUDED_OWNER: [gina]})
    error = refusal_of(case.act, task, call_by(gina), **case.arguments(cast))
    assert error.code == "task_not_found"


@for_every_case
def test_every_other_state_is_refused(case: Case, cast: Cast) -> None:
    for state in other_states(case):
        task = case.task(cast, state)
        error = refusal_of(case.act, task, call_by(case.actor(cast)), **case.arguments(cast))
        assert error.code == "invalid_task_state"
        assert error.params["state"] == state
        assert error.version == 1
        assert error.holder == task.owner_name


@for_every_case
def test_on_hold_it_is_refused_or_done_as_the_rule_says(case: Case, cast: Cast) -> None:
    for state in (State.READY, State.RESERVED, State.IN_PROGRESS):
        rule = case.operation.rule_for(state)
        if rule is None:
            continue
        task = case.task(cast, state, on_hold=True)
        if rule.on_hold:
            stored, _ = done(case.act, task, call_by(case.actor(cast)), **case.arguments(cast))
            assert stored.on_hold == (case.name != "resume" and stored.state not in ENDED)
        else:
            error = refusal_of(case.act, task, call_by(case.actor(cast)), **case.arguments(cast))
            assert error.code == "task_suspended"


@for_every_case
def test_another_kind_than_manual_is_refused_where_people_work(case: Case, cast: Cast) -> None:
    states = [s for s in (State.READY, State.CREATED) if case.operation.rule_for(s) is not None]
    for state in states:
        task = case.task(cast, state, kind=Kind.AUTOMATIC)
        if case.operation.manual_only:
            error = refusal_of(case.act, task, call_by(case.actor(cast)), **case.arguments(cast))
            assert error.code == "wrong_kind"
            assert error.params["kind"] == "automatic"
        else:
            done(case.act, task, call_by(case.actor(cast)), **case.arguments(cast))


@for_every_case
def test_a_version_that_is_not_the_present_one_is_refused(case: Case, cast: Cast) -> None:
    task = case.task(cast)
    for version in (0, 2):
        call = call_by(case.actor(cast), versions={task.pk: version})
        error = refusal_of(case.act, task, call, **case.arguments(cast))
        assert error.code == "stale_task"
        assert error.params == {"expected": version}
        assert error.version == 1
    done(case.act, task, call_by(case.actor(cast), versions={task.pk: 1}), **case.arguments(cast))


@for_every_case
def test_a_dry_run_answers_the_same_and_writes_nothing(case: Case, cast: Cast) -> None:
    task = case.task(cast)
    with nothing_changes():
        call = call_by(case.actor(cast), dry_run=True)
        outcome = case.act([task.pk], call=call, **case.arguments(cast))
    assert outcome.done == {task.pk: 1}
    assert not outcome.refused
    hidden = refusal_of(case.act, task, call_by(stranger(), dry_run=True), **case.arguments(cast))
    assert hidden.code == "task_not_found"


@for_every_case
def test_a_reason_is_demanded_where_the_book_says_so(case: Case, cast: Cast) -> None:
    """And never of the dialects, which cannot carry one."""
    demanding = case.operation.reason is not Reason.OPTIONAL
    for channel in (Channel.NATIVE, Channel.ADMIN, Channel.COMMAND) if demanding else ():
        for reason in (None, ""):
            call = call_by(case.actor(cast), channel, reason=reason)
            error = refusal_of(case.act, case.task(cast), call, **case.arguments(cast))
            assert error.code == "reason_required"
    for channel in (Channel.ITENTIAL, Channel.HTM) if demanding else (Channel.NATIVE,):
        call = call_by(case.actor(cast), channel, reason=None)
        _, event = done(case.act, case.task(cast), call, **case.arguments(cast))
        assert event.reason is None


# --- The order of answers -------------------------------------------------------------------------


def broken(case: Case, cast: Cast) -> dict[str, Any]:
    """The arguments with a receiver or giver that does not exist."""
    arguments = case.arguments(cast)
    name = "to" if "to" in arguments else "from_"
    return {**arguments, name: Reference("user", "nobody-by-this-name")}


def named(case: Case) -> bool:
    return bool(case.to or case.from_)


@for_every_case
def test_hidden_comes_before_names_version_and_state(case: Case, cast: Cast) -> None:
    if not named(case):
        return
    task = case.task(cast)
    call = call_by(stranger(), versions={task.pk: 9}, reason=None)
    assert refusal_of(case.act, task, call, **broken(case, cast)).code == "task_not_found"


@for_every_case
def test_not_permitted_comes_before_names_version_and_state(case: Case, cast: Cast) -> None:
    arguments = broken(case, cast) if named(case) else case.arguments(cast)
    for state in [case.state, *other_states(case)[:1]]:
        task = case.task(cast, state)
        call = call_by(cast.erin, versions={task.pk: 9}, reason=None)
        assert refusal_of(case.act, task, call, **arguments).code == "not_authorized"


@for_every_case
def test_names_come_before_version_and_state(case: Case, cast: Cast) -> None:
    if not named(case):
        return
    for state in [case.state, *other_states(case)[:1]]:
        task = case.task(cast, state)
        call = call_by(case.actor(cast), versions={task.pk: 9}, reason=None)
        with nothing_changes(), pytest.raises(CallError) as caught:
            case.act([task.pk], call=call, **broken(case, cast))
        assert caught.value.code == "unknown_user"


@for_every_case
def test_version_comes_before_state(case: Case, cast: Cast) -> None:
    for state in [case.state, *other_states(case)[:1]]:
        task = case.task(cast, state)
        call = call_by(case.actor(cast), versions={task.pk: 9}, reason=None)
        assert refusal_of(case.act, task, call, **case.arguments(cast)).code == "stale_task"


@for_every_case
def test_state_comes_before_a_missing_reason(case: Case, cast: Cast) -> None:
    for state in other_states(case)[:1]:
        call = call_by(case.actor(cast), reason=None)
        error = refusal_of(case.act, case.task(cast, state), call, **case.arguments(cast))
        assert error.code == "invalid_task_state"


@for_every_case
def test_who_may_not_do_it_at_all_cannot_probe_names(case: Case, cast: Cast) -> None:
    """An unknown and a known name are answered alike, in bulk as well."""
    task = case.task(cast)
    answers = []
    for arguments in (
        case.arguments(cast),
        broken(case, cast) if named(case) else case.arguments(cast),
    ):
        before = everything()
        outcome = case.act([task.pk], call=call_by(cast.erin, bulk=True), **arguments)
        answers.append({pk: shown(error) for pk, error in outcome.refused.items()})
        assert everything() == before
    assert answers[0] == answers[1]
    assert answers[0][task.pk][0].code == "not_authorized"
