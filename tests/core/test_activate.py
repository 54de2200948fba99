"""Activate: waiting tasks are offered, with a new input if one is given."""

from __future__ import annotations

import pytest

from tasks import actions, errors
from tasks.lifecycle import State
from tests.conftest import Cast
from tests.factories import call_by, make_task

from .record import done, nothing_changes, refusal_of


def test_the_input_stays_unless_a_new_one_is_given(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, waiting=True, input={"a": 1})
    stored, event = done(actions.activate, task, call_by(cast.dave))
    assert (stored.state, stored.starter, stored.input) == (State.READY, cast.dave, {"a": 1})
    assert (event.before, event.after) == (
        {"state": "created"},
        {"state": "ready", "starter": "dave"},
    )


def test_a_new_input_is_part_of_the_same_change_and_its_secrets_are_masked(cast: Cast) -> None:
    task = make_task(
        cast.dave, cast.noc, waiting=True, input={"pin": "1"}, secret_pointers=["/input/pin"]
    )
    new = {"pin": "2", "site": "ZRH"}
    stored, event = done(actions.activate, task, call_by(cast.dave), input=new)
    assert (stored.state, stored.input) == (State.READY, new)
    assert event.before["input"] == {"pin": "******"}
    assert event.after["input"] == {"pin": "******", "site": "ZRH"}


def test_nothing_is_written_where_it_is_refused(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, input={"a": 1})
    error = refusal_of(actions.activate, task, call_by(cast.dave), input={"b": 2})
    assert isinstance(error, errors.InvalidTaskState)


def test_a_bulk_call_shares_no_large_input(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, waiting=True)
    large = {"a": "x" * 70_000}
    with nothing_changes(), pytest.raises(errors.InvalidArgument) as caught:
        actions.activate([task.pk], call=call_by(cast.dave, bulk=True), input=large)
    assert caught.value.params["field"] == "input"
    done(actions.activate, task, call_by(cast.dave), input=large)


def test_each_row_of_an_operation_can_be_asked_for(cast: Cast) -> None:
    def properties() -> list[str]:
        answers = {answer.name: answer for answer in actions.answers(task, call_by(cast.dave))}
        return answers["update"].permitted_rows

    task = make_task(cast.dave, cast.noc, waiting=True)
    assert {"input", "name"} <= set(properties())
    actions.activate([task.pk], call=call_by(cast.dave))
    assert "name" in properties()
    assert "input" not in properties()
    for answer in actions.answers(task, call_by(cast.frank)):
        assert {type(error) for error in (answer.error, *answer.rows.values())} == {
            errors.TaskNotFound
        }
