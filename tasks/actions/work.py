"""What people do with a task they work on: claim, release, assign, complete, finish."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from accounts.models import User
from tasks import errors
from tasks.calls import Call, Outcome
from tasks.lifecycle import HELD, OPERATIONS, State
from tasks.masking import masked_data
from tasks.models import canonical
from tasks.people import Reference
from tasks.schemas import mismatches
from tasks.work_items import LockedTask

from .frame import performing, refuse_ineligible
from .units import action


@action
def claim(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Take ready tasks: the caller becomes their owner."""
    with performing(OPERATIONS["claim"], ids, call) as run:
        run.change(owner_id=call.user_id, claimed_at=run.at)
    return run.outcome


@action
def release(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Give held tasks back to their potential owners; drafts and comments stay."""
    with performing(OPERATIONS["release"], ids, call) as run:
        run.change(owner_id=None, claimed_at=None)
    return run.outcome


_RESULT = ("output", "fault", "fault_name", "secret_pointers")


@action
def cancel_claim(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Give held tasks back as IBM does: output and fault are discarded, the audit keeps them."""

    def snapshot(task: LockedTask) -> dict[str, Any]:
        data = masked_data(
            stored_json(task, "secret_pointers"),
            output=stored_json(task, "output"),
            fault=stored_json(task, "fault"),
            fault_name=task.extra["fault_name"],
        )
        return {name: value for name, value in data.items() if value not in (None, "")}

    with performing(OPERATIONS["cancel_claim"], ids, call, columns=_RESULT) as run:
        run.change(
            owner_id=None,
            claimed_at=None,
            output=None,
            fault=None,
            fault_name="",
            before=snapshot,
            after=lambda task: dict.fromkeys(snapshot(task)),
        )
    return run.outcome


@action
def assign(ids: Sequence[UUID], *, call: Call, to: Reference) -> Outcome:
    """Give tasks to one user, who becomes their owner."""
    with performing(OPERATIONS["assign"], ids, call, to=to) as run:
        receiver = cast(User, run.receiver)
        run.refuse(
            lambda task: (
                errors.AlreadyOwner(owner=task.owner_name)
                if task.state in HELD and task.owner_id == receiver.pk
                else None
            )
        )
        refuse_ineligible(run)
        if run.allowed:
            run.change(owner_id=receiver.pk, claimed_at=run.at)
    return run.outcome


@action
def complete(ids: Sequence[UUID], *, call: Call, output: Any = None) -> Outcome:
    """End held tasks well, with `output` or else the output saved before."""
    with performing(
        OPERATIONS["complete"],
        ids,
        call,
        columns=_CHECKED,
        valid=lambda task: _check_output(task, output, call),
    ) as run:
        run.change(**_output(output), **_audit_of_output(output))
    return run.outcome


FINISH_STATES = {"success": State.COMPLETED, "failure": State.FAILED}


@action
def finish(
    ids: Sequence[UUID], *, call: Call, finish_state: str = "success", output: Any = None
) -> Outcome:
    """End tasks in one step, claimed or not (Itential's finish): `success` or `failure`.

    Of a ready task the caller becomes the owner. Raises InvalidArgument for another finish state.
    """
    if finish_state not in FINISH_STATES:
        raise errors.InvalidArgument(field="finish_state", why="success or failure")
    succeeded = finish_state == "success"
    with performing(
        OPERATIONS["finish"],
        ids,
        call,
        columns=_CHECKED,
        valid=lambda task: _check_output(task, output, call) if succeeded else None,
    ) as run:
        run.change(
            to=FINISH_STATES[finish_state],
            defaults={"owner_id": call.user_id, "claimed_at": run.at},
            **_output(output),
            **_audit_of_output(output),
        )
    return run.outcome


_CHECKED = ("output_schema", "output", "secret_pointers")

MOST_SHARED_OUTPUT = 64 * 1024
"""Bytes of output that one bulk call may write to each of its tasks."""


def _check_output(task: LockedTask, output: Any, call: Call) -> errors.TaskError | None:
    if output is not None and call.bulk and len(canonical(output)) > MOST_SHARED_OUTPUT:
        raise errors.InvalidArgument(field="output", why="at most 64 KiB in a bulk call")
    schema = stored_json(task, "output_schema")
    if schema is None:
        return None
    value = stored_json(task, "output") if output is None else output
    found = mismatches(schema, value)
    if not found:
        return None
    error = errors.InvalidOutput(detail=found[0]["detail"])
    error.params["errors"] = found
    return error


def _output(output: Any) -> dict[str, Any]:
    return {} if output is None else {"output": output}


def _audit_of_output(output: Any) -> dict[str, Any]:
    if output is None:
        return {}

    def shown(task: LockedTask, value: Any) -> dict[str, Any]:
        return masked_data(stored_json(task, "secret_pointers"), output=value)

    return {
        "before": lambda task: shown(task, stored_json(task, "output")),
        "after": lambda task: shown(task, output),
    }


def stored_json(task: LockedTask, column: str) -> Any:
    """A JSON column of a locked task; the driver hands it over as text."""
    value = task.extra[column]
    return None if value is None else json.loads(value)
