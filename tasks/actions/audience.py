"""Whom an event concerns: those who gain or lose something of a task hear of it in any case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accounts.models import Group, User
from tasks import events, work_items
from tasks.querysets import permission_ids
from tasks.roles import TaskRole
from tasks.work_items import LockedTask

if TYPE_CHECKING:
    from .frame import Run


def concern(run: Run, tasks: Sequence[LockedTask]) -> tuple[events.Audience, dict[str, Any]]:
    """The audience of the events of a run, and its parameters: `concerned` and others.

    Whoever is excluded from a task, or no longer, neither gains nor loses sight of it.
    """
    parties: list[User | Group | None] = []
    if run.role is not TaskRole.EXCLUDED_OWNER:
        parties = [run.giver, run.receiver, *run.named]
    users: set[int | None] = {one.pk for one in parties if isinstance(one, User)}
    groups = [one.pk for one in parties if isinstance(one, Group)]
    led = groups if run.role is TaskRole.POTENTIAL_OWNER or run.named else []
    audience = events.Audience(
        "i.concerned::bigint[]", "%(members)s::bigint[]", "%(leads)s::bigint[]"
    )
    of_kind = {task.alike: task for task in tasks}
    concerned = {alike: _array(users | _of(run, task)) for alike, task in of_kind.items()}
    parameters: dict[str, Any] = {
        "concerned": [concerned[task.alike] for task in tasks],
        "members": groups or None,
        "leads": led or None,
    }
    if run.emptied:
        audience = events.Audience(
            f"{audience.users} || {work_items.holders('user', 'emptied')}",
            f"{audience.members} || {work_items.holders('group', 'emptied')}",
            f"{audience.leads} || {work_items.holders('group', 'emptied_of_work')}",
        )
        parameters["emptied"] = [permission_ids()[role] for role in run.emptied]
        parameters["emptied_of_work"] = [
            permission_ids()[role] for role in run.emptied if role is TaskRole.POTENTIAL_OWNER
        ]
    return audience, parameters


def _of(run: Run, task: LockedTask) -> set[int | None]:
    """The accounts that one task comes to, or goes from."""
    if run.removes:
        return {task.owner_id, task.originator_id, task.starter_id}
    owner = run.owner_after(task)
    return set() if owner == task.owner_id else {owner, task.owner_id}


def _array(users: set[int | None]) -> str | None:
    """The ids as PostgreSQL writes an array; arrays of arrays would have to be of one length."""
    ids = sorted(pk for pk in users if pk is not None)
    return "{" + ",".join(map(str, ids)) + "}" if ids else None
