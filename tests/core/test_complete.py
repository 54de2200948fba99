"""Completing and finishing: the result is checked, kept, and masked where it is secret."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from tasks.actions import ACTIONS, Draft, create
from tasks.errors import CallError, InvalidArgument
from tasks.lifecycle import Kind, State
from tasks.models import Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task, make_tasks

from .record import done, nothing_changes, refusal_of

complete = ACTIONS["complete"]
finish = ACTIONS["finish"]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


def held_by_bob(cast: Cast, state: State = State.RESERVED, **more: Any) -> Task:
    return make_in(state, cast.carol, cast.noc, owner=cast.bob, **more)


@pytest.mark.parametrize("state", [State.RESERVED, State.IN_PROGRESS])
@pytest.mark.parametrize("name", ["bob", "alice", "dave"])
def test_the_owner_and_administrators_complete(cast: Cast, state: State, name: str) -> None:
    task = held_by_bob(cast, state)
    stored, event = done(complete, task, call_by(getattr(cast, name)), output={"ok": True})
    assert (stored.state, stored.owner_id) == ("completed", cast.bob.pk)
    assert stored.ended_at == event.at
    assert stored.output == {"ok": True}
    assert event.event == "completed"
    assert event.before == {"state": state, "output": None}
    assert event.after == {"state": "completed", "output": {"ok": True}}


def test_without_an_output_the_saved_one_stays(cast: Cast) -> None:
    task = held_by_bob(cast, output={"ok": False}, output_schema=SCHEMA)
    stored, event = done(complete, task, call_by(cast.bob))
    assert stored.output == {"ok": False}
    assert event.after == {"state": "completed"}


def test_colleagues_do_not_complete(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.alice)
    assert refusal_of(complete, task, call_by(cast.bob)).code == "not_authorized"
    assert refusal_of(finish, task, call_by(cast.bob)).code == "not_authorized"


@pytest.mark.parametrize("act", [complete, finish])
@pytest.mark.parametrize("name", ["bob", "dave", "root"])
def test_an_excluded_owner_ends_nothing(cast: Cast, act: Any, name: str) -> None:
    user: User = getattr(cast, name)
    people = {TaskRole.EXCLUDED_OWNER: [user], TaskRole.POTENTIAL_OWNER: [user]}
    task = make_in(State.RESERVED, cast.carol, owner=user, people_of=people)
    assert refusal_of(act, task, call_by(user)).code == "not_authorized"
    done(act, task, call_by(cast.carol))


@pytest.mark.parametrize("act", [complete, finish])
def test_on_hold_nobody_ends_it(cast: Cast, act: Any) -> None:
    task = held_by_bob(cast, on_hold=True)
    for user in (cast.bob, cast.alice, cast.root):
        assert refusal_of(act, task, call_by(user)).code == "task_suspended"


# --- Finish ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish_state", "state"), [("success", State.COMPLETED), ("failure", State.FAILED)]
)
def test_finishing_a_ready_task_makes_the_caller_its_owner(
    cast: Cast, finish_state: str, state: State
) -> None:
    task = make_task(cast.carol, cast.noc)
    call = call_by(cast.bob)
    stored, event = done(finish, task, call, finish_state=finish_state, output={"n": 1})
    assert (stored.state, stored.owner_id) == (state, cast.bob.pk)
    assert stored.claimed_at == stored.ended_at == event.at
    assert event.event == "finished"
    assert event.before == {"state": "ready", "owner": None, "output": None}
    assert event.after == {"state": state, "owner": "bob", "output": {"n": 1}}


def test_finishing_a_held_task_leaves_it_to_its_owner(cast: Cast) -> None:
    task = held_by_bob(cast, State.IN_PROGRESS, claimed_at="2026-01-02T03:04:05Z")
    stored, event = done(finish, task, call_by(cast.alice))
    assert stored.owner_id == cast.bob.pk
    assert stored.claimed_at.year == 2026
    assert stored.claimed_at < event.at
    assert event.before == {"state": "in_progress"}


def test_a_failure_is_not_held_against_the_schema(cast: Cast) -> None:
    task = held_by_bob(cast, output_schema=SCHEMA)
    assert refusal_of(finish, task, call_by(cast.bob)).code == "invalid_output"
    stored, _ = done(finish, task, call_by(cast.bob), finish_state="failure")
    assert stored.state == "failed"


def test_another_finish_state_is_refused(cast: Cast) -> None:
    task = held_by_bob(cast)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        finish([task.pk], call=call_by(cast.bob), finish_state="maybe")
    assert caught.value.params["field"] == "finish_state"


def test_the_system_finishes_tasks_that_nobody_owns(cast: Cast) -> None:
    stored, event = done(finish, make_task(cast.carol, cast.noc), call_by(None))
    assert (stored.owner_id, event.actor) == (None, "system")


# --- The schema -----------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [complete, finish])
@pytest.mark.parametrize(
    ("output", "pointer"), [({"ok": "yes"}, "/ok"), ({}, ""), ({"ok": True, "more": 1}, "")]
)
def test_an_output_that_does_not_match_is_refused(
    cast: Cast, act: Any, output: Any, pointer: str
) -> None:
    task = held_by_bob(cast, output_schema=SCHEMA)
    error = refusal_of(act, task, call_by(cast.bob), output=output)
    assert error.code == "invalid_output"
    assert [found["pointer"] for found in error.params["errors"]] == [pointer]
    assert error.params["errors"][0]["detail"] in error.text
    done(act, task, call_by(cast.bob), output={"ok": True})


def test_a_saved_output_is_checked_too_and_a_missing_one_as_null(cast: Cast) -> None:
    for output in (None, {"ok": 1}):
        task = held_by_bob(cast, output=output, output_schema=SCHEMA)
        assert refusal_of(complete, task, call_by(cast.bob)).code == "invalid_output"


def test_the_words_of_a_mismatch_do_not_repeat_the_value(cast: Cast) -> None:
    """They are stored with bulk operations, where secret values must not be."""
    schema = {"properties": {"key": {"type": "integer"}}}
    task = held_by_bob(
        cast, output={"key": "hunter2"}, output_schema=schema, secret_pointers=["/output/key"]
    )
    error = refusal_of(complete, task, call_by(cast.alice))
    assert "hunter2" not in repr((error.text, error.params))


def test_not_permitted_comes_before_what_is_wrong_with_the_output(cast: Cast) -> None:
    task = held_by_bob(cast, output_schema=SCHEMA)
    assert refusal_of(complete, task, call_by(cast.erin), output=1).code == "not_authorized"
    call = call_by(cast.bob, versions={task.pk: 7})
    assert refusal_of(complete, task, call, output=1).code == "invalid_output"


def test_a_long_list_of_mismatches_is_cut(cast: Cast) -> None:
    task = held_by_bob(cast, output_schema={"items": {"type": "integer"}})
    error = refusal_of(complete, task, call_by(cast.bob), output=["x"] * 100)
    assert len(error.params["errors"]) == 20


def test_pointers_to_mismatches_are_escaped(cast: Cast) -> None:
    schema = {"properties": {"a/b~c": {"type": "integer"}}}
    task = held_by_bob(cast, output_schema=schema)
    error = refusal_of(complete, task, call_by(cast.bob), output={"a/b~c": "x"})
    assert error.params["errors"][0]["pointer"] == "/a~1b~0c"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "other.json"}}},
        {"type": "no such type"},
        {"pattern": "("},
    ],
)
def test_schemas_that_reach_outside_or_make_no_sense_are_refused(cast: Cast, schema: Any) -> None:
    with nothing_changes(), pytest.raises(CallError) as caught:
        create([Draft(Task(name="x", output_schema=schema))], call=call_by(cast.carol))
    assert caught.value.code == "invalid_argument"
    assert caught.value.params["field"] == "output_schema"


def test_a_schema_may_refer_to_itself(cast: Cast) -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}
    task = held_by_bob(cast, output_schema=schema)
    assert refusal_of(complete, task, call_by(cast.bob), output=["x"]).code == "invalid_output"
    done(complete, task, call_by(cast.bob), output=[1])


def test_a_bulk_call_checks_each_task_by_its_own_schema(cast: Cast) -> None:
    picky = held_by_bob(cast, output_schema=SCHEMA)
    easy = held_by_bob(cast)
    ids = [picky.pk, easy.pk]
    outcome = complete(ids, call=call_by(cast.bob, bulk=True), output={"n": 1})
    assert outcome.done == {easy.pk: 2}
    assert outcome.refused[picky.pk].code == "invalid_output"


def test_a_bulk_call_takes_no_large_output(cast: Cast) -> None:
    tasks = make_tasks(2, cast.carol, [cast.noc])
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        finish([t.pk for t in tasks], call=call_by(cast.bob, bulk=True), output="x" * 65_537)
    assert caught.value.params["field"] == "output"
    done(finish, tasks[0], call_by(cast.bob), output="x" * 65_537)


# --- Secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [complete, finish])
def test_secrets_of_the_result_are_masked_in_the_audit_alone(cast: Cast, act: Any) -> None:
    task = held_by_bob(
        cast, output={"keys": ["old secret", "open"]}, secret_pointers=["/output/keys/0"]
    )
    stored, event = done(act, task, call_by(cast.bob), output={"keys": ["new secret", "open"]})
    assert stored.output == {"keys": ["new secret", "open"]}
    assert event.before["output"] == event.after["output"] == {"keys": ["******", "open"]}


def test_a_task_nobody_works_is_not_finished_by_people(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, kind=Kind.OPERATION)
    assert refusal_of(finish, task, call_by(cast.bob)).code == "wrong_kind"
