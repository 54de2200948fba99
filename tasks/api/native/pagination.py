"""Pages of a list by cursor, newest first: nothing shown twice or missed while others write."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Q

from accounts.models import User
from tasks.models import Task
from tasks.querysets import TaskQuerySet, roles_everywhere

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

EXACT: Final = 10_000
"""Up to so many tasks are counted exactly."""
COUNTED: Final = 100_000
"""Up to so many are counted for an account that does not see all tasks; see `count`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE: Final = struct.Struct(">cq16s")
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{34}")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list, just after a task (or just before it, walking backwards)."""

    created_at: datetime
    id: UUID
    backwards: bool = False

    @classmethod
    def at(cls, task: Task, *, backwards: bool = False) -> Cursor:
        """The place of a task."""
        return cls(task.created_at, task.pk, backwards)

    @classmethod
    def read(cls, text: str) -> Cursor:
        """The place that a cursor of ours stands for. Raises ValueError for any other text."""
        if not _TEXT.fullmatch(text):
            raise ValueError(text)
        direction, since, pk = _PLACE.unpack(base64.urlsafe_b64decode(text + "=="))
        try:
            created_at = _EPOCH + timedelta(microseconds=since)
        except OverflowError as error:
            raise ValueError(text) from error
        found = cls(created_at, UUID(bytes=pk), direction == b"<")
        if found.text != text:  # one place has one text
            raise ValueError(text)
        return found

    @property
    def text(self) -> str:
        """The cursor as clients carry it."""
        since = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        place = _PLACE.pack(b"<" if self.backwards else b">", since, self.id.bytes)
        return base64.urlsafe_b64encode(place).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks of a list, and where it goes on in both directions."""

    tasks: Sequence[Task]
    previous: Cursor | None
    next: Cursor | None


def page(tasks: TaskQuerySet, cursor: Cursor | None, limit: int) -> Page:
    """The page at a cursor, or the first one: one query."""
    backwards = cursor is not None and cursor.backwards
    if cursor is not None:
        at, pk = cursor.created_at, cursor.id
        # Two conditions: the first lets the index skip, the second is exact.
        tasks = (
            tasks.filter(Q(created_at__gte=at) & (Q(created_at__gt=at) | Q(pk__gt=pk)))
            if backwards
            else tasks.filter(Q(created_at__lte=at) & (Q(created_at__lt=at) | Q(pk__lt=pk)))
        )
    order = ("created_at", "pk") if backwards else ("-created_at", "-pk")
    found = list(tasks.order_by(*order)[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found.reverse()
    if not found:
        return Page([], None, None)
    return Page(
        found,
        Cursor.at(found[0], backwards=True) if (more if backwards else cursor) else None,
        Cursor.at(found[-1]) if (backwards or more) else None,
    )


def count(tasks: TaskQuerySet, user: User) -> dict[str, int | None]:
    """`count`, exact up to EXACT; beyond, it is null and `count_estimate` tells roughly.

    The planner's estimate knows of all tasks, so only accounts that see all tasks get it; for
    others as many as they see are counted, up to COUNTED.
    """
    exact = tasks.order_by()[: EXACT + 1].count()
    if exact <= EXACT:
        return {"count": exact}
    if roles_everywhere(user):
        plan: Any = json.loads(tasks.order_by().explain(format="json"))
        return {"count": None, "count_estimate": max(plan[0]["Plan"]["Plan Rows"], EXACT + 1)}
    return {"count": None, "count_estimate": tasks.order_by()[:COUNTED].count()}
