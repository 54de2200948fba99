"""Faults that a started server can have planted in it, to see that the checker finds them.

What is patched is the core as it stands; it holds no hook for this.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from accounts import sql
from accounts.models import User
from tasks import events, work_items
from tasks.actions import work
from tasks.lifecycle import Operation

OTHERS_SECONDS = 0.02
"""How long an unlocked claim waits before it writes, so that others come in between."""

LIFE = 25
"""How many changes a process records after their commit before it is killed between the two."""


def unlocked_claim() -> None:
    """A claim looks at the tasks without locking them, and only once."""
    local = threading.local()
    performing, lock = work.performing, work_items.lock

    def noting(operation: Operation, *arguments: Any, **more: Any) -> Any:
        local.claims = operation.name == "claim"
        return performing(operation, *arguments, **more)

    def looking(ids: Sequence[UUID], user: User | None, **more: Any) -> Any:
        if not getattr(local, "claims", False):
            return lock(ids, user, **more)
        local.claims = False
        found = lock(ids, user, **{**more, "locking": False})
        time.sleep(OTHERS_SECONDS)
        return found

    work.performing = noting  # type: ignore[assignment]
    work_items.lock = looking


def audit_apart() -> None:
    """Audit and outbox are written in a transaction of their own, once the change is committed."""
    record, run, changes = events.RECORD, sql.run, itertools.count(1)

    def recording(statement: str, parameters: Any) -> Any:
        rows = run(statement, parameters)
        if events.RECORD in statement and parameters["task_ids"]:
            transaction.on_commit(lambda: write(parameters))
        return rows

    def write(parameters: Any) -> None:
        if next(changes) == LIFE:
            os.kill(os.getpid(), signal.SIGKILL)
        columns = (
            events.input_cte(events.INPUT_COLUMNS, len(parameters["task_ids"])),
            events.concerned_cte(),
        )
        run(f"with {', '.join(columns)}, {record} select 1", parameters)

    events.RECORD = "event as (select 1)"
    sql.run = recording


def commit_unwaited() -> None:
    """PostgreSQL says that it has committed before that is on disk."""
    connections.settings["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault for fault in (unlocked_claim, audit_apart, commit_unwaited)
}
