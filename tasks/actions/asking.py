"""What could be done: the rule book asked beforehand, without lock or change."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tasks import errors, work_items
from tasks.calls import Call
from tasks.lifecycle import OPERATIONS, ROWS, Operation, rows_of
from tasks.models import Task
from tasks.roles import TaskRole
from tasks.work_items import LockedTask

from .frame import Run


def _standing(pk: UUID, call: Call) -> tuple[LockedTask | None, frozenset[TaskRole]]:
    """The task as it is now, though not locked, and what the actor is to it."""
    task = work_items.lock([pk], call.actor, locking=False).get(pk)
    if task is None:
        return None, frozenset()
    # What one is to a task is the same for every operation, so any will do.
    return task, Run(OPERATIONS["claim"], [pk], call).held(task)


def _permitted_last(error: errors.TaskError | None) -> bool:
    """Orders reasons: what stands in the way now says more than what is never permitted."""
    return isinstance(error, errors.NotAuthorized)


def permitted(task: Task, call: Call) -> dict[str, errors.TaskError | None]:
    """Every operation by name with the reason against it, or None where the actor may do it now.

    `transfer` counts as permitted when some task role may be transferred. For a task that the
    actor cannot see every answer is TaskNotFound.
    """
    standing, held = _standing(task.pk, call)

    def ask(operation: Operation) -> errors.TaskError | None:
        if standing is None:
            return errors.TaskNotFound()
        return operation.refusal(standing, held, call)

    answers = {name: ask(operation) for name, operation in OPERATIONS.items()}
    for name, table in ROWS.items():
        found = [ask(operation) for operation in table.values()]
        answers[name] = None if None in found else min(found, key=_permitted_last)
    return answers


def forbidden(name: str, pk: UUID, call: Call) -> errors.TaskError | None:
    """Why the actor may not do the operation `name` to a task at all, or None where he may.

    For a face that cannot call the operation, since the body of the call is at fault: whether the
    task is hidden, and whether the caller is permitted, is answered before that.
    """
    standing, held = _standing(pk, call)
    if standing is None:
        return errors.TaskNotFound()
    found = [row.forbids(standing, held, call) for row in rows_of(name)]
    if None in found:
        return None
    error = found[0]
    if isinstance(error, errors.NotAuthorized):
        error.version, error.holder = standing.version, standing.owner_name
    return error


def permitted_rows(name: str, task: Task, call: Call) -> dict[Any, errors.TaskError | None]:
    """As `permitted`, for each row of one operation that has several: task roles or properties."""
    standing, held = _standing(task.pk, call)
    if standing is None:
        return {key: errors.TaskNotFound() for key in ROWS[name]}
    return {key: row.refusal(standing, held, call) for key, row in ROWS[name].items()}
