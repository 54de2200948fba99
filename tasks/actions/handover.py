"""Who is what to a task: nominate, delegate, forward; transfer, grant and revoke task roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from accounts.models import Group, User
from tasks import errors, work_items
from tasks.calls import Call, Outcome
from tasks.lifecycle import GRANTS, HELD, OPERATIONS, REVOKES, TRANSFERS, Operation, State
from tasks.people import Reference, named, tagged
from tasks.roles import COLUMNS, TaskRole
from tasks.work_items import LockedTask

from .course import started_by
from .frame import Run, performing, refuse_ineligible
from .units import action
from .work import GIVEN_BACK, refuse_owner


@action
def nominate(ids: Sequence[UUID], *, call: Call, people: Sequence[Reference]) -> Outcome:
    """Offer waiting tasks to `people` and nobody else; a single user has them at once.

    Raises InvalidArgument where nobody is named.
    """
    if not people:
        raise errors.InvalidArgument(field="people", why="nobody is named")
    with performing(OPERATIONS["nominate"], ids, call, named=people) as run:
        refuse_ineligible(run)
        change = _nominated(run, started_by(run)) if run.allowed else {}
        if run.receiver is not None:
            run.change(owner_id=run.receiver.pk, claimed_at=run.at, **change)
        else:
            run.change(to=State.READY, **change)
        run.replace(TaskRole.POTENTIAL_OWNER)
    return run.outcome


def _nominated(run: Run, start: dict[str, Any]) -> dict[str, Any]:
    """What changes in a task that is nominated; the audit names old and new potential owners."""
    starter, role = start["after"], TaskRole.POTENTIAL_OWNER
    offered = work_items.holders_of([task.id for task in run.allowed], role)
    named = [tagged(one) for one in run.named]
    return {
        **start,
        "before": lambda task: {role: offered[task.id]},
        "after": lambda task: {**starter(task), role: named},
    }


@action
def delegate(ids: Sequence[UUID], *, call: Call, to: Reference) -> Outcome:
    """Make one user the owner of tasks, and their potential owner too."""
    with performing(OPERATIONS["delegate"], ids, call, to=to, role=TaskRole.POTENTIAL_OWNER) as run:
        refuse_owner(run)
        refuse_ineligible(run)
        if run.allowed and run.receiver is not None:
            receiver = tagged(run.receiver)
            run.move(TaskRole.POTENTIAL_OWNER)
            run.change(
                owner_id=run.receiver.pk,
                claimed_at=run.at,
                after=lambda task: (
                    {} if task.extra["receiver_holds"] else {TaskRole.POTENTIAL_OWNER: receiver}
                ),
            )
    return run.outcome


@action
def forward(
    ids: Sequence[UUID], *, call: Call, to: Reference, from_: Reference | None = None
) -> Outcome:
    """Give tasks away: potential ownership goes from `from_`, or the caller, to a user or group.

    Who does not administer a task gives away what is his own: held by himself, or by a group that
    he is a member of.
    """
    if from_ is None and call.actor is None:
        raise errors.InvalidArgument(field="from", why="the system has nothing of its own to give")
    with performing(
        OPERATIONS["forward"],
        ids,
        call,
        to=to,
        from_=from_ or call.actor,
        role=TaskRole.POTENTIAL_OWNER,
        across=True,
    ) as run:
        giver, receiver = run.giver, run.receiver
        if run.allowed and giver is not None and receiver is not None:
            run.refuse(lambda task: _lacking(task, giver, TaskRole.POTENTIAL_OWNER))
            run.move(TaskRole.POTENTIAL_OWNER)
            run.change(
                **GIVEN_BACK,
                before=lambda task: {TaskRole.POTENTIAL_OWNER: tagged(giver)},
                after=lambda task: {
                    TaskRole.POTENTIAL_OWNER: tagged(receiver),
                    "merged": task.extra["receiver_holds"],
                },
            )
    return run.outcome


def _lacking(task: LockedTask, giver: User | Group, role: TaskRole) -> errors.TaskError | None:
    """NoSuchWorkItem where the giver does not hold a role himself."""
    if role in COLUMNS:
        holds = getattr(task, f"{role}_id") == giver.pk
    else:
        holds = task.extra["giver_holds"]
    return None if holds else errors.NoSuchWorkItem(holder=named(giver), role=role.label)


@action
def transfer(
    ids: Sequence[UUID],
    *,
    call: Call,
    role: str,
    to: Reference,
    from_: Reference | None = None,
) -> Outcome:
    """Move the work items of one task role from one holder to another (IBM HTM, Task Role, PUT).

    Without `from_` the caller gives away his own. Raises UnknownRole for a role that cannot be
    transferred.
    """
    task_role = _known(role, TRANSFERS)
    if from_ is None and call.actor is None:
        raise errors.InvalidArgument(field="from", why="the system has nothing of its own to give")
    with performing(
        TRANSFERS[task_role], ids, call, to=to, from_=from_ or call.actor, role=task_role
    ) as run:
        giver, receiver = run.giver, run.receiver
        if run.allowed and giver is not None and receiver is not None:
            run.refuse(lambda task: _lacking(task, giver, task_role))
            refuse_ineligible(run)
            if task_role is TaskRole.OWNER:
                run.change(owner_id=receiver.pk, claimed_at=run.at)
            elif task_role in COLUMNS:
                column: dict[str, Any] = {f"{task_role}_id": receiver.pk}
                run.change(
                    before=lambda task: {task_role: named(giver)},
                    after=lambda task: {task_role: named(receiver)},
                    **column,
                )
            else:
                run.move(task_role)
                run.change(
                    before=lambda task: {task_role: tagged(giver)},
                    after=lambda task: {
                        task_role: tagged(receiver),
                        "merged": task.extra["receiver_holds"],
                    },
                )
    return run.outcome


@action
def grant(ids: Sequence[UUID], *, call: Call, role: str, to: Reference) -> Outcome:
    """Give a user or group a task role.

    Raises UnknownRole for one that is not granted.
    """
    task_role = _known(role, GRANTS)
    with performing(GRANTS[task_role], ids, call, to=to, role=task_role) as run:
        receiver = run.receiver

        def judge(task: LockedTask) -> errors.TaskError | None:
            assert receiver is not None  # it was found, or nothing is allowed
            if task.extra["receiver_holds"]:
                return errors.AlreadyGranted(holder=named(receiver), role=task_role.label)
            hit = (
                task.owner_id == receiver.pk
                if isinstance(receiver, User)
                else task.extra["owner_in_group"]
            )
            if task_role is TaskRole.EXCLUDED_OWNER and task.state in HELD and hit:
                return errors.TargetNotEligible(
                    target=named(receiver), why="the present owner would be excluded"
                )
            return None

        run.refuse(judge)
        if run.allowed and receiver is not None:
            run.move(task_role)
            run.change(after=lambda task: {task_role: tagged(receiver)})
    return run.outcome


@action
def revoke(ids: Sequence[UUID], *, call: Call, role: str, from_: Reference) -> Outcome:
    """Take a task role from a user or group.

    Raises UnknownRole for one that is not granted.
    """
    task_role = _known(role, REVOKES)
    with performing(REVOKES[task_role], ids, call, from_=from_, role=task_role) as run:
        giver = run.giver

        def judge(task: LockedTask) -> errors.TaskError | None:
            lacking = _lacking(task, cast("User | Group", giver), task_role)
            if lacking is not None:
                return lacking
            if task_role is TaskRole.ADMINISTRATOR and task.extra["rows_of_role"] == 1:
                return errors.LastAdministrator()
            return None

        run.refuse(judge)
        if run.allowed and giver is not None:
            run.move(task_role)
            run.change(before=lambda task: {task_role: tagged(giver)})
    return run.outcome


def _known(role: str, table: Mapping[TaskRole, Operation]) -> TaskRole:
    if role not in table:
        raise errors.UnknownRole(role=role)
    return TaskRole(role)
