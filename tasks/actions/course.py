"""What becomes of a task: activated, put on hold, ended from outside, taken up again, removed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from tasks import errors
from tasks.calls import Call, Outcome
from tasks.lifecycle import OPERATIONS

from . import files
from .fields import check_data
from .frame import Run, performing
from .units import action
from .work import GIVEN_BACK, NO_RESULT, RESULT, replaced


def _off_hold(**data: Any) -> dict[str, Any]:
    """What changes in a task that is on hold no more; it has to be locked with `wakeup_at`."""
    awake = {"wakeup_at": None}
    return _merged(
        {
            "on_hold": False,
            **awake,
            "before": lambda task: (
                {"wakeup_at": task.extra["wakeup_at"].isoformat()}
                if task.extra["wakeup_at"]
                else {}
            ),
            "after": lambda task: awake if task.extra["wakeup_at"] else {},
        },
        data,
    )


@action
def activate(ids: Sequence[UUID], *, call: Call, input: Any = None) -> Outcome:
    """Offer waiting tasks to their potential owners; the caller becomes the starter.

    A new `input`, if one is given, is written in the same step (IBM, Task, PUT action=start): the
    same task roles may replace it and start the task.
    """
    with performing(
        OPERATIONS["activate"],
        ids,
        call,
        columns=() if input is None else ("input", "secret_pointers"),
        valid=lambda task: check_data(call, input=input),
    ) as run:
        data = {} if input is None else replaced(input=input)
        run.change(**_merged(started_by(run), data))
    return run.outcome


def started_by(run: Run) -> dict[str, Any]:
    """What changes in a task that waits no longer."""
    actor = run.call.actor
    return {
        "starter_id": run.call.user_id,
        "activated_at": run.at,
        "after": lambda task: {"starter": actor.username} if actor else {},
    }


@action
def suspend(ids: Sequence[UUID], *, call: Call, until: datetime | str | None = None) -> Outcome:
    """Put tasks and their subtasks on hold, `until` a time at which they wake up, or for good."""
    with performing(OPERATIONS["suspend"], ids, call, valid=lambda task: _ahead(until)) as run:
        run.change(**_on_hold(until))
    return run.outcome


@action
def suspend_and_release(
    ids: Sequence[UUID],
    *,
    call: Call,
    until: datetime | str | None = None,
    keep_data: bool = True,
) -> Outcome:
    """Put held tasks on hold and take them from their owners (IBM, suspendAndCancelClaim).

    Their subtasks likewise. Without `keep_data` output and fault are discarded.
    """
    with performing(
        OPERATIONS["suspend_and_release"],
        ids,
        call,
        columns=() if keep_data else RESULT,
        valid=lambda task: _ahead(until),
    ) as run:
        data = {} if keep_data else replaced(**NO_RESULT)
        run.change(**GIVEN_BACK, **_merged(_on_hold(until), data))
    return run.outcome


@action
def resume(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Take tasks off hold, with all their subtasks, whoever put those on hold."""
    with performing(OPERATIONS["resume"], ids, call, columns=("wakeup_at",)) as run:
        run.change(**_off_hold())
    return run.outcome


@action
def exit(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Cancel tasks and their open subtasks."""
    with performing(OPERATIONS["exit"], ids, call, columns=("wakeup_at",)) as run:
        run.change(**_off_hold())
    return run.outcome


@action
def raise_error(
    ids: Sequence[UUID], *, call: Call, fault: Any = None, fault_name: str = ""
) -> Outcome:
    """End tasks that cannot go on, with what an engine has to report of it."""
    with performing(
        OPERATIONS["raise_error"],
        ids,
        call,
        columns=(*RESULT, "wakeup_at"),
        valid=lambda task: check_data(call, fault=fault, fault_name=fault_name),
    ) as run:
        run.change(**_off_hold(**replaced(fault=fault, fault_name=fault_name)))
    return run.outcome


@action
def expire(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """End tasks whose time is over; for the clock alone."""
    with performing(OPERATIONS["expire"], ids, call, columns=("wakeup_at",)) as run:
        run.change(**_off_hold())
    return run.outcome


@action
def mark_unclaimable(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Record that nobody is left who could claim tasks; for the clock alone."""
    with performing(OPERATIONS["mark_unclaimable"], ids, call) as run:
        run.change(unclaimable_since=run.at)
    return run.outcome


@action
def mark_claimable(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Record that tasks have somebody again, or need nobody any more; for the clock alone."""
    with performing(OPERATIONS["mark_claimable"], ids, call) as run:
        run.change(unclaimable_since=None)
    return run.outcome


_ENDING = (*RESULT, "expires_at")


@action
def reopen(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Make ended tasks ready again (IBM restart).

    The output stays as a draft; the fault goes, and the time at which the task would expire.
    """
    with performing(OPERATIONS["reopen"], ids, call, columns=_ENDING) as run:
        run.change(**_anew(run))
    return run.outcome


@action
def retry(ids: Sequence[UUID], *, call: Call, input: Any = None) -> Outcome:
    """Make failed tasks ready again, with a new `input` if one is given (Itential retryTask)."""
    with performing(
        OPERATIONS["retry"],
        ids,
        call,
        columns=(*_ENDING, "input"),
        valid=lambda task: check_data(call, input=input),
    ) as run:
        run.change(**_anew(run, **({} if input is None else {"input": input})))
    return run.outcome


def _anew(run: Run, **data: Any) -> dict[str, Any]:
    """What changes in a task that begins once more."""
    expiry = {"expires_at": None}
    return _merged(
        {
            **GIVEN_BACK,
            **expiry,
            "activated_at": run.at,
            "before": lambda task: (
                {"expires_at": task.extra["expires_at"].isoformat()}
                if task.extra["expires_at"]
                else {}
            ),
            "after": lambda task: expiry if task.extra["expires_at"] else {},
        },
        replaced(fault=None, fault_name="", **data),
    )


@action
def remove(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Remove tasks and their subtasks; their history stays, and a tombstone of each.

    Refused as SubtasksOpen where a subtask has not ended.
    """
    with performing(OPERATIONS["remove"], ids, call) as run:
        open_below = {
            above.id
            for task in run.found.values()
            if task.state not in run.operation.subtasks_in
            for above in run.above(task)
        }
        run.refuse_each(lambda task: errors.SubtasksOpen() if task.id in open_below else None)
        carried = files.of_tasks(task.id for task in (*run.allowed, *run.along))
        run.remove()
    if not call.dry_run:
        files.delete_unused(carried)
    return run.outcome


def _on_hold(until: datetime | str | None) -> dict[str, Any]:
    wakeup_at = _moment(until)
    return {
        "on_hold": True,
        "wakeup_at": wakeup_at,
        "after": lambda task: {"wakeup_at": wakeup_at.isoformat()} if wakeup_at else {},
    }


def _moment(until: datetime | str | None) -> datetime | None:
    return parse_datetime(until) if isinstance(until, str) else until


def _ahead(until: datetime | str | None) -> None:
    """Raise InvalidArgument unless a time lies ahead."""
    moment = _moment(until)
    if moment is not None and moment <= timezone.now():
        raise errors.InvalidArgument(field="until", why="it lies in the past")


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two sets of arguments of `Run.change` as one; both may have something for the audit."""

    def both(name: str) -> Any:
        shown = [part[name] for part in (one, other) if name in part]
        return lambda task: {k: v for show in shown for k, v in show(task).items()}

    return {**one, **other, "before": both("before"), "after": both("after")}
