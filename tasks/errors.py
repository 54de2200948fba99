"""One class for each reason a call or a task is refused; none of them knows HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast
from uuid import UUID


class Refusal(Exception):
    """A reason to say no.

    `code` is stable and snake_case, `params` hold the values that the words are made of, and the
    words are for people. Each face has one table from these classes to its own way of saying so.
    """

    code: ClassVar[str]
    message: ClassVar[str]

    def __init__(self, **params: Any) -> None:
        self.params = params
        super().__init__(self.message.format(**params))

    @property
    def text(self) -> str:
        """The reason in words."""
        return str(self)


class TaskError(Refusal):
    """What is wrong with one task; in bulk the other tasks go on.

    `version` and `holder` (a user name) tell a caller who may see the task how it stands now.
    """

    version: int | None = None
    holder: str | None = None


class CallError(Refusal):
    """What is wrong with the call as a whole; nothing is done."""


class TaskNotFound(TaskError):
    code = "task_not_found"
    message = "There is no such task."


class NotAuthorized(TaskError):
    code = "not_authorized"
    message = "You are not permitted to {operation} this task."


class InvalidTaskState(TaskError):
    code = "invalid_task_state"
    message = "A task in state {state} does not allow {operation}."


class TaskSuspended(TaskError):
    code = "task_suspended"
    message = "The task is on hold, which does not allow {operation}."


class NotSuspended(TaskError):
    code = "not_suspended"
    message = "The task is not on hold."


class NotSkippable(TaskError):
    code = "not_skippable"
    message = "The task may not be skipped."


class SubtasksOpen(TaskError):
    code = "subtasks_open"
    message = "The task has subtasks that have not ended."


class WrongKind(TaskError):
    code = "wrong_kind"
    message = "A task of kind {kind} does not allow {operation}; only manual tasks do."


class StaleTask(TaskError):
    code = "stale_task"
    message = "The task has changed: version {expected} was expected."


class AlreadyOwner(TaskError):
    code = "already_owner"
    message = "The task already belongs to {owner}."


class AlreadyGranted(TaskError):
    code = "already_granted"
    message = "{holder} already holds the role {role}."


class NoSuchWorkItem(TaskError):
    code = "no_such_work_item"
    message = "{holder} does not hold the role {role} on this task."


class TargetNotEligible(TaskError):
    code = "target_not_eligible"
    message = "{target} cannot receive this task: {why}."


class LastAdministrator(TaskError):
    code = "last_administrator"
    message = "The last administrator of a task cannot be taken away."


class InvalidOutput(TaskError):
    """The output does not match the task's schema; `errors` is [{pointer, detail}]."""

    code = "invalid_output"
    message = "The output does not match the task's schema: {detail}"


class ReasonRequired(TaskError):
    code = "reason_required"
    message = "A reason is required to {operation} this task."


class NotAttempted(TaskError):
    """A later unit of a large bulk call could not be carried out; its tasks are unchanged."""

    code = "not_attempted"
    message = "The task was left as it is, because {why}; try again."


class NothingToUndo(TaskError):
    code = "nothing_to_undo"
    message = "Nothing of it can be put back: {why}."


class TooLateToUndo(TaskError):
    code = "too_late_to_undo"
    message = "It was done more than {days} days ago, so it can no longer be undone."


class NotPermitted(CallError):
    code = "not_permitted"
    message = "You are not permitted to {operation}."


class UnknownUser(CallError):
    code = "unknown_user"
    message = "There is no user {name}."


class UnknownGroup(CallError):
    code = "unknown_group"
    message = "There is no group {name}."


class UnknownRole(CallError):
    code = "unknown_role"
    message = "{role} is not a task role that can be used here."


class TargetInactive(CallError):
    code = "target_inactive"
    message = "{name} is inactive and cannot receive tasks."


class TargetEmpty(CallError):
    code = "target_empty"
    message = "The group {name} has no active member."


class InvalidArgument(CallError):
    """An argument has a value that the operation cannot use; `field` names it."""

    code = "invalid_argument"
    message = "{field}: {why}"


class Irreversible(CallError):
    code = "irreversible"
    message = "What was done by {operation} cannot be undone."


class NotAllDone(CallError):
    """An atomic call of which some tasks are refused; `refused` has all the reasons."""

    code = "not_all_done"
    message = "{count} of the tasks would be refused, so nothing was changed."
    refused: Mapping[UUID, TaskError]

    @classmethod
    def of(cls, refused: Mapping[UUID, TaskError]) -> NotAllDone:
        """The error with all the reasons."""
        error = cls(count=len(refused))
        error.refused = refused
        return error


class StillRunning(CallError):
    code = "still_running"
    message = "The operation is still being carried out; wait for its end, or cancel it."


class AlreadyFinished(CallError):
    code = "already_finished"
    message = "The operation has already come to its end."


class ExternalIdTaken(CallError):
    code = "external_id_taken"
    message = "There is already a task with external id {external_id} from {source}."


class FileTooLarge(CallError):
    code = "file_too_large"
    message = "A file may have at most {limit} bytes."


class TooManyTasks(CallError):
    code = "too_many_tasks"
    message = "{count} tasks are more than the {limit} that one call of yours may take."


class KeyReused(CallError):
    code = "idempotency_key_reused"
    message = "This Idempotency-Key was used for another request."


class KeyInUse(CallError):
    code = "idempotency_key_in_use"
    message = "A request with this Idempotency-Key is still running; try again."


def recorded(code: str, text: str) -> TaskError:
    """The refusal that a record keeps by its code and words."""
    kind = next(kind for kind in reasons(TaskError) if kind.code == code)
    error = cast(TaskError, kind.__new__(kind))
    Exception.__init__(error, text)
    error.params = {}
    return error


def reasons(base: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Every concrete class of refusal, for the checks that no face forgets one."""
    found = []
    for child in base.__subclasses__():
        if "code" in vars(child):
            found.append(child)
        found.extend(reasons(child))
    return found
