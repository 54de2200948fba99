"""Advisory locks: what only one process at a time may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(key: int) -> Iterator[Callable[[], None] | None]:
    """Hold the lock of this number for as long as it takes; yields None when somebody else has it.

    The lock belongs to the open transaction of a second connection, so it ends with this process
    and holds behind a pooler as well. PostgreSQL ends a transaction that is idle too long: what is
    yielded has to be called from time to time.
    """
    second = connection.copy()
    try:
        second.set_autocommit(False)
        with second.cursor() as cursor:
            cursor.execute("select pg_try_advisory_xact_lock(%s)", [key])
            (got,) = cursor.fetchone()
            yield (lambda: cursor.execute("select 1")) if got else None
    finally:
        second.close()
