"""Times and durations as this face writes and reads them."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.models import User

from .errors import BadRequest

Moment = Callable[[User], datetime | None]
"""A time that is settled once the account is known, whose time zone may count."""

NEVER = ("DURATION_INFINITE", "DURATION_NOT_USED")
"""The durations that have no end (spec, section 2)."""

_ISO = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,6})Y)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})S)?)?"
)
_UNITS = ("year", "month", "week", "day", "hour", "minute", "second")
_PART = re.compile(rf"([0-9]{{1,6}}) ?({'|'.join(_UNITS)})s?")
_EXPRESSION = re.compile(rf"{_PART.pattern}(?: ?{_PART.pattern})*")


class Span(NamedTuple):
    """A duration: months and days go by the calendar, the rest by the clock."""

    months: int
    days: int
    seconds: int

    @classmethod
    def of(cls, *counts: int) -> Span:
        """A span of so many years, months, weeks, days, hours, minutes and seconds."""
        years, months, weeks, days, hours, minutes, seconds = counts
        return cls(12 * years + months, 7 * weeks + days, 3600 * hours + 60 * minutes + seconds)

    def after(self, start: datetime) -> datetime:
        """The time so much later than an aware one.

        Raises OverflowError or ValueError beyond the year 9999.
        """
        year, month = divmod(start.year * 12 + start.month - 1 + self.months, 12)
        last_day = monthrange(year, month + 1)[1]
        first = start.replace(year=year, month=month + 1, day=min(start.day, last_day))
        day = first + timedelta(days=self.days)
        return day.astimezone(UTC) + timedelta(seconds=self.seconds)


def written(at: datetime) -> str:
    """A time in JSON: UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def deadline(name: str, text: str) -> Moment:
    """A time in ISO 8601; without a zone it is the account's local one (section 1.5).

    Raises BadRequest for any other text.
    """
    try:
        at = parse_datetime(text) if text.isascii() else None  # other digits count as digits too
    except ValueError:
        at = None
    if at is None:
        raise BadRequest("CWTKA0083E", f"{name} is not a time like 2008-10-10T12:00:00.")

    def settle(user: User) -> datetime:
        local = at.replace(tzinfo=ZoneInfo(user.time_zone)) if at.tzinfo is None else at
        return _settled(name, lambda: local.astimezone(UTC))

    return settle


def duration(name: str, text: str) -> Moment:
    """The end of a duration that begins now, in ISO 8601 like P14D (section 1.5).

    Raises BadRequest for any other text.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise BadRequest("CWTKA0121E", f"{name} is not a duration like P14D.")
    return _ending(name, Span.of(*(int(count or 0) for count in match.groups())))


def expression(name: str, text: str) -> Moment:
    """The end of a duration in ISO 8601, like `5days` or by a constant (section 2); None is never.

    Raises BadRequest for any other text.
    """
    if text in NEVER:
        return lambda user: None
    if text == "DURATION_ZERO":
        return _ending(name, Span(0, 0, 0))
    if _EXPRESSION.fullmatch(text):
        counts = dict.fromkeys(_UNITS, 0)
        for number, unit in _PART.findall(text):
            counts[unit] += int(number)
        return _ending(name, Span.of(*counts.values()))
    return duration(name, text)


def _ending(name: str, span: Span) -> Moment:
    def settle(user: User) -> datetime:
        now = timezone.now().astimezone(ZoneInfo(user.time_zone))
        return _settled(name, lambda: span.after(now))

    return settle


def _settled(name: str, compute: Callable[[], datetime]) -> datetime:
    try:
        return compute()
    except (OverflowError, ValueError):
        raise BadRequest("CWTKA0121E", f"{name} lies beyond the year 9999.") from None
