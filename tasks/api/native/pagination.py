"""Pages of a list by cursor: nothing shown twice or missed while others write."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from accounts.models import User
from tasks.querysets import sees_all

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

EXACT: Final = 10_000
"""Up to so many tasks are counted exactly."""
COUNTED: Final = 100_000
"""Up to so many are counted for an account that does not see all tasks; see `count`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE: Final = struct.Struct(">cq16s")
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{34}")

_MOST_NUMBER: Final = 2**63 - 1
"""A cursor may be made up; no row has a higher number."""

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted: by a column that holds a time, and by key where times are equal."""

    time: str
    newest_first: bool


TASKS: Final = Order("created_at", newest_first=True)
NOTES: Final = Order("at", newest_first=False)
"""Comments and attachments: their keys are numbers."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list, just after a row (or just before it, walking backwards)."""

    time: datetime
    id: UUID
    """The key of the row; one that is a number is put in the same form."""
    backwards: bool = False

    @classmethod
    def at(cls, row: Model, order: Order = TASKS, *, backwards: bool = False) -> Cursor:
        """The place of a row."""
        key = row.pk if isinstance(row.pk, UUID) else UUID(int=row.pk)
        return cls(getattr(row, order.time), key, backwards)

    @classmethod
    def read(cls, text: str) -> Cursor:
        """The place that a cursor of ours stands for. Raises ValueError for any other text."""
        if not _TEXT.fullmatch(text):
            raise ValueError(text)
        direction, since, pk = _PLACE.unpack(base64.urlsafe_b64decode(text + "=="))
        try:
            time = _EPOCH + timedelta(microseconds=since)
        except OverflowError as error:
            raise ValueError(text) from error
        found = cls(time, UUID(bytes=pk), direction == b"<")
        if found.text != text:  # one place has one text
            raise ValueError(text)
        return found

    @property
    def text(self) -> str:
        """The cursor as clients carry it."""
        since = (self.time - _EPOCH) // timedelta(microseconds=1)
        place = _PLACE.pack(b"<" if self.backwards else b">", since, self.id.bytes)
        return base64.urlsafe_b64encode(place).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a list, and where it goes on in both directions."""

    rows: Sequence[Row]
    previous: Cursor | None
    next: Cursor | None


def page(rows: QuerySet[Row], cursor: Cursor | None, limit: int, order: Order = TASKS) -> Page[Row]:
    """The page at a cursor, or the first one: one query."""
    backwards = cursor is not None and cursor.backwards
    ascending = order.newest_first == backwards
    if cursor is not None:
        key = cursor.id if order is TASKS else min(cursor.id.int, _MOST_NUMBER)
        beyond = "gt" if ascending else "lt"
        # Two conditions: the first lets the index skip, the second is exact.
        rows = rows.filter(
            Q(**{f"{order.time}__{beyond}e": cursor.time})
            & (Q(**{f"{order.time}__{beyond}": cursor.time}) | Q(**{f"pk__{beyond}": key}))
        )
    sign = "" if ascending else "-"
    found = list(rows.order_by(f"{sign}{order.time}", f"{sign}pk")[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found.reverse()
    if not found:
        return Page([], None, None)
    return Page(
        found,
        Cursor.at(found[0], order, backwards=True) if (more if backwards else cursor) else None,
        Cursor.at(found[-1], order) if (backwards or more) else None,
    )


def count(tasks: QuerySet[Any], user: User) -> dict[str, int | None]:
    """`count`, exact up to EXACT; beyond, it is null and `count_estimate` tells roughly.

    The planner's estimate knows of all tasks, so only accounts that see all tasks get it; for
    others as many as they see are counted, up to COUNTED.
    """
    exact = tasks.order_by()[: EXACT + 1].count()
    if exact <= EXACT:
        return {"count": exact}
    if sees_all(user):
        plan: Any = json.loads(tasks.order_by().explain(format="json"))
        return {"count": None, "count_estimate": max(plan[0]["Plan"]["Plan Rows"], EXACT + 1)}
    return {"count": None, "count_estimate": tasks.order_by()[:COUNTED].count()}
