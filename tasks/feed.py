"""The feed: every committed event once, in an order that never changes, for those it is for."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from accounts.models import EffectiveMembership, User

from .errors import NotPermitted
from .events import give_positions
from .lifecycle import GRANTS, OPERATIONS, REVOKES, TRANSFERS, UNDO, UPDATES
from .models import AuditEvent, OutboxEvent, Task
from .querysets import TaskQuerySet, sees_all
from .reading import VIEW

EVENTS = frozenset(
    {"created", "imported", UNDO.event}
    | {
        operation.event
        for table in (OPERATIONS, TRANSFERS, GRANTS, REVOKES, UPDATES)
        for operation in table.values()
    }
)
"""The name of every event there is."""

WINDOW = 4_000
"""How many events are looked at in one go, at most."""

SPAN = 20_000
"""How many places are passed over in one go, at most, where only some events are asked for."""

SECONDS = 0.5
"""After how long a reader stops looking for more events that are his."""


@dataclass(frozen=True, slots=True)
class Part:
    """What of the feed is asked for: after which place, of which task, of which names."""

    after: int
    task: UUID | None = None
    events: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """Events in their order, and the place up to which the feed has been looked through.

    `more`: there may be more at once, since the page is full or the time was up. It says nothing of
    events that are somebody else's.
    """

    events: Sequence[AuditEvent]
    place: int
    more: bool = False


def read(user: User, part: Part, limit: int) -> Found:
    """Up to `limit` events that an account may know of.

    An event is for an account that sees the task now, that did it, or that it gave something of
    the task or took it from: whoever loses a task hears of that, and of nothing later. A token for
    some groups hears of the tasks that are theirs, or that came to them or went by the event.
    Raises NotPermitted without the permission to view tasks.
    """
    _demand_reader(user)
    return _look(user, part, limit, end())


def now(user: User) -> Found:
    """No events, and the place after the last one. Raises as `read`."""
    _demand_reader(user)
    return Found([], end())


def end() -> int:
    """The place of the last event that has one."""
    return give_positions()[1]


def news(user: User, part: Part, head: int) -> tuple[bool, Part]:
    """Whether there may be an event for an account up to `head`, and where to look on if not."""
    found = _look(user, part, 1, head)
    return bool(found.events) or found.more, replace(part, after=found.place)


def of_task(task: Task, after: int, limit: int) -> list[AuditEvent]:
    """Up to `limit` events of a task that the account may read, oldest first, after a version."""
    events = AuditEvent.objects.filter(task_id=task.pk, version__gt=after)
    return list(events.order_by("version")[:limit])


def parents_seen(user: User, events: Sequence[AuditEvent]) -> set[str]:
    """Those parents which events of new tasks name that the account may see."""
    named = {event.after["parent"] for event in events if "parent" in event.after}
    if not named:
        return set()
    return {str(pk) for pk in _seen(user, named)}


# --- Looking through the feed ---------------------------------------------------------------------


def _demand_reader(user: User) -> None:
    if not user.has_perm(VIEW):
        raise NotPermitted(operation="view events")


def _look(user: User, part: Part, limit: int, head: int) -> Found:
    """As `read`, up to the place `head`."""
    until = time.monotonic() + SECONDS
    groups = None if sees_all(user) else _Groups(user)
    found: list[int] = []
    place, size = part.after, limit
    while place < head and len(found) < limit and time.monotonic() < until:
        upto = min(head, place + SPAN) if part.events and part.task is None else head
        rows = _rows(part, place, size, upto)
        mine = rows if groups is None else groups.theirs(rows)
        mine = mine[: limit - len(found)]
        found += [row.event_id for row in mine]
        if len(found) == limit:
            place = mine[-1].position or 0
        else:
            place = upto if len(rows) < size else rows[-1].position or 0
        size = min(size * 4, WINDOW)
    events = AuditEvent.objects.in_bulk(found)
    more = len(found) == limit or place < head
    return Found([events[pk] for pk in found], place, more)


def _rows(part: Part, after: int, size: int, upto: int) -> list[OutboxEvent]:
    """The next events, whosever they are, without what they say."""
    rows: QuerySet[OutboxEvent] = OutboxEvent.objects.select_related("event")
    rows = rows.filter(position__gt=after, position__lte=upto)
    if part.task is not None:
        # A list, not a query: the planner would rather walk the whole feed than sort so few.
        history = AuditEvent.objects.filter(task_id=part.task).values_list("pk", flat=True)
        rows = rows.filter(event_id__in=list(history))
    if part.events:
        rows = rows.filter(event__event__in=part.events)
    light = ("position", "users", "members", "leads", "event__task_id", "event__actor_id")
    return list(rows.only(*light).order_by("position")[:size])


class _Groups:
    """An account with the groups it is a member of, and those it leads."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.members: set[int] = set()
        self.leads: set[int] = set()
        for group, lead in EffectiveMembership.objects.filter(user=user).values_list(
            "group_id", "lead"
        ):
            (self.leads if lead else self.members).add(group)

    def theirs(self, rows: Sequence[OutboxEvent]) -> list[OutboxEvent]:
        """Those of some events that are for the account."""
        tasks = {row.event.task_id for row in rows}
        seen = _seen(self.user, tasks)
        if self.user.scope.groups is not None:
            rows = self._in_scope(rows, tasks, self.user.scope.groups)
        return [
            row
            for row in rows
            if row.event.task_id in seen
            or row.event.actor_id == self.user.pk
            or self.user.pk in (row.users or ())
            or not self.members.isdisjoint(row.members or ())
            or not self.leads.isdisjoint(row.leads or ())
        ]

    def _in_scope(
        self, rows: Sequence[OutboxEvent], tasks: Collection[UUID], groups: frozenset[int]
    ) -> list[OutboxEvent]:
        """Those of some events that the account's token does not hide."""
        exist: TaskQuerySet = Task.objects.in_scope_of(self.user)
        theirs = set(exist.filter(pk__in=tasks).values_list("pk", flat=True))
        return [
            row
            for row in rows
            if row.event.task_id in theirs or not groups.isdisjoint(row.members or ())
        ]


def _seen(user: User, tasks: Collection[Any]) -> set[UUID]:
    """The ids of those tasks that an account sees now."""
    visible: QuerySet[Task] = Task.objects.visible_to(user)
    return set(visible.filter(pk__in=tasks).values_list("pk", flat=True))
