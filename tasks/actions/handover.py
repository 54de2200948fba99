"""Who is what to a task: transfer, grant and revoke task roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from accounts.models import Group, User
from tasks import errors, people
from tasks.calls import Call, Outcome
from tasks.lifecycle import GRANTS, HELD, REVOKES, TRANSFERS, Operation
from tasks.people import Reference
from tasks.roles import COLUMNS, TaskRole
from tasks.work_items import LockedTask

from .frame import performing, refuse_ineligible
from .units import action


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
            in_column = task_role in COLUMNS

            def has_it(task: LockedTask) -> bool:
                if in_column:
                    return bool(getattr(task, f"{task_role}_id") == giver.pk)
                return bool(task.extra["giver_holds"])

            run.refuse(
                lambda task: (
                    None
                    if has_it(task)
                    else errors.NoSuchWorkItem(holder=people.named(giver), role=task_role.label)
                )
            )
            refuse_ineligible(run)
            if task_role is TaskRole.OWNER:
                run.change(owner_id=receiver.pk, claimed_at=run.at)
            elif in_column:
                column: dict[str, Any] = {f"{task_role}_id": receiver.pk}
                run.change(
                    before=lambda task: {task_role: people.named(giver)},
                    after=lambda task: {task_role: people.named(receiver)},
                    **column,
                )
            else:
                run.move(task_role)
                run.change(
                    before=lambda task: {task_role: people.tagged(giver)},
                    after=lambda task: {
                        task_role: people.tagged(receiver),
                        "merged": task.extra["receiver_holds"],
                    },
                )
    return run.outcome


@action
def grant(ids: Sequence[UUID], *, call: Call, role: str, to: Reference) -> Outcome:
    """Give a user or group a task role. Raises UnknownRole for one that is not granted."""
    task_role = _known(role, GRANTS)
    with performing(GRANTS[task_role], ids, call, to=to, role=task_role) as run:
        receiver = run.receiver

        def judge(task: LockedTask) -> errors.TaskError | None:
            assert receiver is not None  # it was found, or nothing is allowed
            if task.extra["receiver_holds"]:
                return errors.AlreadyGranted(holder=people.named(receiver), role=task_role.label)
            hit = (
                task.owner_id == receiver.pk
                if isinstance(receiver, User)
                else task.extra["owner_in_group"]
            )
            if task_role is TaskRole.EXCLUDED_OWNER and task.state in HELD and hit:
                return errors.TargetNotEligible(
                    target=people.named(receiver), why="the present owner would be excluded"
                )
            return None

        run.refuse(judge)
        if run.allowed and receiver is not None:
            run.move(task_role)
            run.change(after=lambda task: {task_role: people.tagged(receiver)})
    return run.outcome


@action
def revoke(ids: Sequence[UUID], *, call: Call, role: str, from_: Reference) -> Outcome:
    """Take a task role from a user or group. Raises UnknownRole for one that is not granted."""
    task_role = _known(role, REVOKES)
    with performing(REVOKES[task_role], ids, call, from_=from_, role=task_role) as run:
        giver = run.giver

        def judge(task: LockedTask) -> errors.TaskError | None:
            if not task.extra["giver_holds"]:
                holder = people.named(cast("User | Group", giver))
                return errors.NoSuchWorkItem(holder=holder, role=task_role.label)
            if task_role is TaskRole.ADMINISTRATOR and task.extra["rows_of_role"] == 1:
                return errors.LastAdministrator()
            return None

        run.refuse(judge)
        if run.allowed and giver is not None:
            run.move(task_role)
            run.change(before=lambda task: {task_role: people.tagged(giver)})
    return run.outcome


def _known(role: str, table: Mapping[TaskRole, Operation]) -> TaskRole:
    if role not in table:
        raise errors.UnknownRole(role=role)
    return TaskRole(role)
