"""What people do with a task they work on, from claim to complete, and how they give it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from tasks import errors, metrics, work_items
from tasks.calls import Call, Outcome
from tasks.lifecycle import HELD, OPERATIONS, State
from tasks.masking import masked_data
from tasks.models import Task
from tasks.people import Reference
from tasks.schemas import mismatches
from tasks.work_items import LockedTask

from .fields import check_data
from .frame import Run, performing, refuse_ineligible
from .units import action


@action
def claim(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Take ready tasks: the caller becomes their owner."""
    with performing(OPERATIONS["claim"], ids, call) as run:
        run.change(owner_id=call.user_id, claimed_at=run.at)
    return run.outcome


def demand_claimer(call: Call) -> None:
    """Raise NotPermitted unless the actor may claim tasks."""
    if not call.may(OPERATIONS["claim"].permission, "claim"):
        raise errors.NotPermitted(operation="claim tasks")


def claim_next(*, call: Call, groups: Sequence[Reference] | None = None) -> Task | None:
    """Take the first task of the caller's worklist that is free; None where there is none.

    The worklist is in the order of priority, due date and id; with `groups` it is what these may
    work on. Never waits for a task that somebody else has locked. Raises NotPermitted without the
    permission to claim, UnknownGroup.
    """
    demand_claimer(call)
    only = None if groups is None else [reference.find().pk for reference in groups]
    while True:
        with performing(
            OPERATIONS["claim"], (), call, choose=lambda: work_items.lock_next(call.actor, only)
        ) as run:
            run.change(owner_id=call.user_id, claimed_at=run.at)
        if run.outcome.done or not run.ids:
            metrics.count("claim", {metrics.DONE: len(run.outcome.done)})
            return next(iter(run.outcome.tasks.values()), None)
        # It was given to others between the two looks at it, so the next one stands first.


@action
def start(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Begin the work on tasks; of a ready one the caller becomes the owner in the same step."""
    with performing(OPERATIONS["start"], ids, call) as run:
        run.change(defaults={"owner_id": call.user_id, "claimed_at": run.at})
    return run.outcome


@action
def stop(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Put work that was begun down again; the owner keeps the task."""
    with performing(OPERATIONS["stop"], ids, call) as run:
        run.change()
    return run.outcome


@action
def release(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Give held tasks back to their potential owners; drafts and comments stay."""
    with performing(OPERATIONS["release"], ids, call) as run:
        run.change(**GIVEN_BACK)
    return run.outcome


@action
def cancel_claim(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Give held tasks back as IBM does: output and fault are discarded, the audit keeps them.

    The task counts as activated anew (spec, 3.2).
    """
    with performing(OPERATIONS["cancel_claim"], ids, call, columns=RESULT) as run:
        run.change(**GIVEN_BACK, activated_at=run.at, **replaced(**NO_RESULT))
    return run.outcome


GIVEN_BACK: Mapping[str, Any] = {"owner_id": None, "claimed_at": None}
"""What changes in a task that nobody holds any more."""


NO_RESULT: Mapping[str, Any] = {"output": None, "fault": None, "fault_name": ""}
RESULT = (*NO_RESULT, "secret_pointers")
"""The columns that `replaced` has to see."""


def replaced(**data: Any) -> dict[str, Any]:
    """Arguments of `Run.change` that write data of a task; the audit has both values, masked.

    A value stands in the audit only where there was one, or is one now.
    """

    def shown(task: LockedTask, values: Mapping[str, Any]) -> dict[str, Any]:
        before = {name: stored(task, name) for name in data}
        touched = {
            name: value
            for name, value in values.items()
            if before[name] not in (None, "") or data[name] not in (None, "")
        }
        return masked_data(stored(task, "secret_pointers"), **touched)

    return {
        **data,
        "before": lambda task: shown(task, {name: stored(task, name) for name in data}),
        "after": lambda task: shown(task, data),
    }


@action
def assign(ids: Sequence[UUID], *, call: Call, to: Reference) -> Outcome:
    """Give tasks to one user, who becomes their owner."""
    with performing(OPERATIONS["assign"], ids, call, to=to) as run:
        refuse_owner(run)
        refuse_ineligible(run)
        if run.allowed and run.receiver is not None:
            run.change(owner_id=run.receiver.pk, claimed_at=run.at)
    return run.outcome


def refuse_owner(run: Run) -> None:
    """Refuse the tasks that the receiver holds already."""
    run.refuse(
        lambda task: (
            errors.AlreadyOwner(owner=task.owner_name)
            if run.receiver and task.state in HELD and task.owner_id == run.receiver.pk
            else None
        )
    )


@action
def save_output(ids: Sequence[UUID], *, call: Call, output: Any) -> Outcome:
    """Keep a draft of the output; a fault saved before goes (IBM, Task Output Message, PUT)."""
    return _save("save_output", ids, call, output=output, fault=None, fault_name="")


@action
def save_fault(
    ids: Sequence[UUID], *, call: Call, fault: Any = None, fault_name: str = ""
) -> Outcome:
    """Keep a draft of a fault; an output saved before goes (IBM, Task Fault Message, PUT)."""
    return _save("save_fault", ids, call, output=None, fault=fault, fault_name=fault_name)


def _save(name: str, ids: Sequence[UUID], call: Call, **data: Any) -> Outcome:
    with performing(
        OPERATIONS[name], ids, call, columns=RESULT, valid=lambda task: check_data(call, **data)
    ) as run:
        run.change(**replaced(**data))
    return run.outcome


@action
def complete(
    ids: Sequence[UUID], *, call: Call, output: Any = None, fails_with_fault: bool = False
) -> Outcome:
    """End held tasks well, with `output` or else the output saved before.

    With `fails_with_fault` a task for which a fault was saved fails instead, unless an output is
    given (IBM, 3.2).
    """

    def failing(task: LockedTask) -> bool:
        return (
            fails_with_fault
            and output is None
            and (stored(task, "fault") is not None or task.extra["fault_name"] != "")
        )

    with performing(
        OPERATIONS["complete"],
        ids,
        call,
        columns=_CHECKED,
        valid=lambda task: None if failing(task) else _check_output(task, output, call),
    ) as run:
        run.change(
            to=lambda task: State.FAILED if failing(task) else State.COMPLETED,
            **_result(output, keeps_fault=fails_with_fault and output is None),
        )
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
            **_result(output, keeps_fault=not succeeded),
        )
    return run.outcome


@action
def fail(ids: Sequence[UUID], *, call: Call, fault: Any = None, fault_name: str = "") -> Outcome:
    """End held tasks with a fault, or else with the fault saved before."""
    given: dict[str, Any] = {}
    if fault is not None or fault_name:
        given = {"fault": fault, "fault_name": fault_name}
    with performing(
        OPERATIONS["fail"],
        ids,
        call,
        columns=RESULT,
        valid=lambda task: check_data(call, **given),
    ) as run:
        run.change(**replaced(**given))
    return run.outcome


@action
def skip(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """End tasks that may be skipped without their work being done."""
    with performing(OPERATIONS["skip"], ids, call) as run:
        run.change()
    return run.outcome


_CHECKED = (*RESULT, "output_schema")


def _check_output(task: LockedTask, output: Any, call: Call) -> errors.TaskError | None:
    check_data(call, output=output)
    schema = stored(task, "output_schema")
    if schema is None:
        return None
    value = stored(task, "output") if output is None else output
    found = mismatches(schema, value)
    if not found:
        return None
    error = errors.InvalidOutput(detail=found[0]["detail"])
    error.params["errors"] = found
    return error


def _result(output: Any, *, keeps_fault: bool) -> dict[str, Any]:
    """What changes in the data of a task that ends; a fault saved before goes where all is well."""
    data: dict[str, Any] = {} if keeps_fault else {"fault": None, "fault_name": ""}
    if output is not None:
        data["output"] = output
    return replaced(**data) if data else {}


def stored(task: LockedTask, column: str) -> Any:
    """A further column of a locked task; the driver hands JSON over as text."""
    value = task.extra[column]
    return value if value is None or column == "fault_name" else json.loads(value)
