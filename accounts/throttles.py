"""How often one account may call: so many reads and so many writes a minute, by process."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any, Final

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

MOST_KEPT: Final = 10_000
"""How many accounts are remembered before those that are at rest are forgotten."""


class PerAccount(BaseThrottle):
    """A bucket of calls for each account, which fills up again within a minute.

    Whoever has been quiet may call in a burst. Many tasks in one call count as one. Callers
    without an account are not counted here: log-ins are bounded by themselves.
    """

    _buckets: dict[tuple[int, str], tuple[float, float]] = {}  # noqa: RUF012  (shared by all)
    _lock = Lock()

    def __init__(self) -> None:
        self._wait: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the call may go on; it then counts."""
        kind = "THROTTLE_READ" if request.method in SAFE_METHODS else "THROTTLE_WRITE"
        a_minute: int = getattr(settings, kind)
        pk = getattr(request.user, "pk", None)
        if not a_minute or pk is None:
            return True
        now = time.monotonic()
        with self._lock:
            left, since = self._buckets.get((pk, kind), (float(a_minute), now))
            left = min(a_minute, left + (now - since) * a_minute / 60)
            allowed = left >= 1
            self._buckets[pk, kind] = (left - allowed, now)
            if len(self._buckets) > MOST_KEPT:
                self._forget(now)
        self._wait = None if allowed else (1 - left) * 60 / a_minute
        return allowed

    def wait(self) -> float | None:
        """Seconds until the next call may come."""
        return self._wait

    @classmethod
    def _forget(cls, now: float) -> None:
        """Drop the accounts whose buckets are full again."""
        for key in [key for key, (_, since) in cls._buckets.items() if now - since > 60]:
            del cls._buckets[key]
