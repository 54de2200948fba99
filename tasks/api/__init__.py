"""The faces: each translates one dialect into calls of the core and knows no other face."""

import math

from django.db import InterfaceError, InternalError, OperationalError
from rest_framework.exceptions import Throttled

RETRY_SECONDS = 5
"""When to come back after the database was away, which it recovers from by itself."""

READ_ONLY = "25006"
"""The SQLSTATE of a write to a database that takes none."""


def database_in_trouble(exc: BaseException | None) -> bool:
    """Whether the database, not the call, is at fault: away, restarting, full, locked, read-only.

    Every face answers these with 503 and Retry-After.
    """
    if isinstance(exc, InternalError):  # the class of read-only, and else of faults of ours
        return sqlstate_of(exc) == READ_ONLY
    return isinstance(exc, (OperationalError, InterfaceError))


def retry_after(exc: Throttled) -> int:
    """When to come back after too many calls or wrong passwords, in seconds."""
    wait: float | None = getattr(exc, "wait", None)  # the stubs do not know it
    return max(1, math.ceil(wait or 0))


def sqlstate_of(exc: BaseException) -> str:
    """PostgreSQL's code of what went wrong; empty where it never answered."""
    return getattr(exc.__cause__, "sqlstate", None) or ""
