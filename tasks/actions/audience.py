"""Whom an event concerns: those who gain or lose something of a task hear of it in any case."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from accounts.models import Group, User
from tasks import events, work_items
from tasks.querysets import permission_ids
from tasks.roles import TaskRole
from tasks.work_items import LockedTask

if TYPE_CHECKING:
    from .frame import Run


class Concern(NamedTuple):
    """The audience of some events, and what it needs: columns of the CTE `input`, parameters."""

    audience: events.Audience
    columns: Mapping[str, str]
    parameters: dict[str, Any]


def concern(run: Run, tasks: Sequence[LockedTask]) -> Concern:
    """Whom the events of a run concern.

    Whoever is excluded from a task, or no longer, neither gains nor loses sight of it.
    """
    parties: list[User | Group | None] = []
    if run.role is not TaskRole.EXCLUDED_OWNER:
        parties = [run.giver, run.receiver, *run.named]
    users: set[int | None] = {one.pk for one in parties if isinstance(one, User)}
    groups = [one.pk for one in parties if isinstance(one, Group)]
    led = groups if run.role is TaskRole.POTENTIAL_OWNER or run.named else []
    if run.moved:
        return _moved(run, tasks)
    audience = events.Audience(
        "i.concerned::bigint[]", "%(members)s::bigint[]", "%(leads)s::bigint[]"
    )
    of_kind = {run.kind(task): task for task in tasks}
    concerned = {kind: _array(users | _of(run, task)) for kind, task in of_kind.items()}
    parameters: dict[str, Any] = {
        "concerned": [concerned[run.kind(task)] for task in tasks],
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
    return Concern(audience, {"concerned": "%(concerned)s::text[]"}, parameters)


def _moved(run: Run, tasks: Sequence[LockedTask]) -> Concern:
    """As `concern`, where other role rows go and come with each task."""
    names = ("concerned", "joined", "led")
    parameters: dict[str, Any] = {name: [] for name in names}
    for task in tasks:
        rows = [
            row for row in run.moved.get(task.id, ()) if row.role is not TaskRole.EXCLUDED_OWNER
        ]
        groups = [row for row in rows if row.kind == "group"]
        users = {row.holder_id for row in rows if row.kind == "user"}
        parameters["concerned"].append(_array(users | _of(run, task)))
        parameters["joined"].append(_array({row.holder_id for row in groups}))
        parameters["led"].append(
            _array({row.holder_id for row in groups if row.role is TaskRole.POTENTIAL_OWNER})
        )
    return Concern(
        events.Audience(*(f"i.{name}::bigint[]" for name in names)),
        {name: f"%({name})s::text[]" for name in names},
        parameters,
    )


def _of(run: Run, task: LockedTask) -> set[int | None]:
    """The accounts that one task comes to, or goes from."""
    if run.removes:
        return {task.owner_id, task.originator_id, task.starter_id}
    owner = run.owner_after(task)
    return set() if owner == task.owner_id else {owner, task.owner_id}


def _array(users: Collection[int | None]) -> str | None:
    """The ids as PostgreSQL writes an array; arrays of arrays would have to be of one length."""
    ids = sorted(pk for pk in users if pk is not None)
    return "{" + ",".join(map(str, ids)) + "}" if ids else None
