"""What could be done: the rule book asked beforehand, without lock or change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from tasks import errors, work_items
from tasks.calls import Call
from tasks.lifecycle import NAMES, OPERATIONS, ROWS, Operation, rows_of
from tasks.models import Task
from tasks.roles import TaskRole
from tasks.work_items import LockedTask

from .frame import Run


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the actor may do one operation to a task now: `error` is the reason why not.

    `rows` holds the same for each task role or property, where the operation has a row for each;
    it counts as permitted when one of them is. `wants_reason`: the caller would have to say why.
    """

    name: str
    error: errors.TaskError | None
    wants_reason: bool
    rows: Mapping[str, errors.TaskError | None]

    @property
    def permitted_rows(self) -> list[str]:
        """The task roles or properties for which it is permitted."""
        return [row for row, error in self.rows.items() if error is None]


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


def answers(task: Task, call: Call) -> list[Answer]:
    """Every operation in the order of the rule book, and whether the actor may do it now.

    For a task that the actor cannot see every error is TaskNotFound.
    """
    standing, held = _standing(task.pk, call)

    def ask(operation: Operation) -> errors.TaskError | None:
        if standing is None:
            return errors.TaskNotFound()
        return operation.refusal(standing, held, call)

    found = []
    for name in NAMES:
        rows = {str(row): ask(operation) for row, operation in ROWS.get(name, {}).items()}
        reasons = list(rows.values()) or [ask(OPERATIONS[name])]
        error = None if None in reasons else min(reasons, key=_permitted_last)
        wants_reason = (
            standing is not None
            and call.channel.carries_reasons
            and any(operation.wants_reason(standing, call) for operation in rows_of(name))
        )
        found.append(Answer(name, error, wants_reason, rows))
    return found


def permitted(task: Task, call: Call) -> dict[str, errors.TaskError | None]:
    """Every operation by name with the reason against it, or None; see `answers`."""
    return {answer.name: answer.error for answer in answers(task, call)}


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
