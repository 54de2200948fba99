"""Pages of a list by cursor: nothing shown twice or missed while others write."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from tasks.lists import ORDERS

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE: Final = struct.Struct(">cBBq16s")
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{36}")

_MOST_NUMBER: Final = 2**63 - 1
"""A cursor may be made up; no row has a higher number."""

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Model)
Found = TypeVar("Found")


class Order(Protocol):
    """How a list is sorted: by what its name stands for, at the end a time; then by key."""

    @property
    def name(self) -> str:
        """The name without its direction."""

    @property
    def descending(self) -> bool:
        """Whether it runs from the last to the first."""

    def place(self, item: Any) -> tuple[Any, ...]:
        """What a row sorts by, its key at the end."""


@dataclass(frozen=True, slots=True)
class InTime:
    """The order of rows whose keys are numbers, by a column with a time."""

    name: str
    descending: bool = False

    def place(self, item: Any) -> tuple[Any, ...]:
        """The time of a row and its key, in the form that the key of a task has."""
        return (getattr(item, self.name), UUID(int=item.pk))


NOTES: Final = InTime("at")
"""Comments, attachments, and what has no time of its own: the oldest first."""
NEWEST: Final = InTime("created_at", descending=True)
LATEST_JOINED: Final = InTime("date_joined", descending=True)

_ORDERS: Final[tuple[Order, ...]] = (NOTES, *ORDERS.values(), NEWEST, LATEST_JOINED)
"""A cursor names its order by the place here, so new ones go to the end."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list, just after a row (or just before it, walking backwards)."""

    order: Order
    values: tuple[Any, ...]
    """What the row sorts by: perhaps a priority, a time, its key."""
    backwards: bool = False

    @classmethod
    def at(cls, item: Any, order: Order, *, backwards: bool = False) -> Cursor:
        """The place of a row."""
        return cls(order, order.place(item), backwards)

    @classmethod
    def read(cls, text: str, order: Order) -> Cursor:
        """The place in a list of this order that a cursor stands for. Raises ValueError if none."""
        if not _TEXT.fullmatch(text):
            raise ValueError(text)
        direction, number, priority, since, key = _PLACE.unpack(base64.urlsafe_b64decode(text))
        if number != _ORDERS.index(order):
            raise ValueError(text)
        try:
            values = (_EPOCH + timedelta(microseconds=since), UUID(bytes=key))
        except OverflowError as error:
            raise ValueError(text) from error
        of_priority = (priority,) if order.name == "priority" else ()
        found = cls(order, (*of_priority, *values), direction == b"<")
        if found.text != text:  # one place has one text
            raise ValueError(text)
        return found

    @property
    def text(self) -> str:
        """The cursor as clients carry it."""
        *priority, time, key = self.values
        since = (time - _EPOCH) // timedelta(microseconds=1)
        direction = b"<" if self.backwards else b">"
        number = _ORDERS.index(self.order)
        place = _PLACE.pack(direction, number, *(priority or [0]), since, key.bytes)
        return base64.urlsafe_b64encode(place).decode()


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows of a list, and where it goes on in both directions."""

    rows: Sequence[Item]
    previous: Cursor | None = None
    next: Cursor | None = None
    whole: bool = field(init=False)
    """Whether it is all there is of the list."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", self.previous is None and self.next is None)


def page_of(found: Sequence[Item], cursor: Cursor | None, limit: int, order: Order) -> Page[Item]:
    """The page that up to `limit` + 1 rows make, which were met in the direction of the cursor."""
    backwards = cursor is not None and cursor.backwards
    more, found = len(found) > limit, list(found[:limit])
    if backwards:
        found.reverse()
    if not found:
        return Page([])
    return Page(
        found,
        Cursor.at(found[0], order, backwards=True) if (more if backwards else cursor) else None,
        Cursor.at(found[-1], order) if (backwards or more) else None,
    )


def page(
    rows: QuerySet[Row, Found], cursor: Cursor | None, limit: int, order: Order
) -> Page[Found]:
    """The page at a cursor, or the first one, of rows in the order of one column: one query."""
    descending = order.descending != (cursor is not None and cursor.backwards)
    if cursor is not None:
        time, key = cursor.values
        number = min(key.int, _MOST_NUMBER) if isinstance(order, InTime) else key
        beyond = "lt" if descending else "gt"
        # Two conditions: the first lets the index skip, the second is exact.
        rows = rows.filter(
            Q(**{f"{order.name}__{beyond}e": time})
            & (Q(**{f"{order.name}__{beyond}": time}) | Q(**{f"pk__{beyond}": number}))
        )
    sign = "-" if descending else ""
    found = rows.order_by(f"{sign}{order.name}", f"{sign}pk")[: limit + 1]
    return page_of(list(found), cursor, limit, order)
