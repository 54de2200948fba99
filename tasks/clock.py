"""What time does to tasks: those whose time has run out expire, those on hold until now go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from .actions import ACTIONS, UNIT, Call
from .locks import alone
from .models import Channel, Task, WorkerHeartbeat
from .querysets import TaskQuerySet

logger = logging.getLogger(__name__)

SWEEP_LOCK = 7164223580027224064
"""The advisory lock of whoever sweeps: "clock" in ASCII."""


class Swept(NamedTuple):
    """How many tasks a sweep woke and expired, and how many it has to leave to the next one."""

    woken: int = 0
    expired: int = 0
    refused: int = 0


def sweep(at: datetime | None = None, *, stopping: Callable[[], bool] = lambda: False) -> Swept:
    """Expire and wake every task whose time has come by `at`, else by now.

    Works in units until nothing is left or `stopping` answers true. Expiring comes first and wins.
    Of several sweeps at once one works; the others do nothing. Whatever somebody else holds locked
    or changes at this moment is left to the next sweep.
    """
    beat()
    at = at or timezone.now()
    expiring, waking = Task.objects.due_to_expire(at), Task.objects.due_to_wake(at)
    if not (expiring.exists() or waking.exists()):
        return Swept()
    with alone(SWEEP_LOCK) as still_alone:
        if still_alone is None:
            return Swept()

        def may_go_on() -> bool:
            beat()
            still_alone()
            return not stopping()

        expired, left = work_through("expire", expiring, may_go_on)
        woken, left_too = work_through("resume", waking, may_go_on)
    return Swept(woken, expired, left + left_too)


def work_through(name: str, due: TaskQuerySet, may_go_on: Callable[[], bool]) -> tuple[int, int]:
    """Do one operation to all tasks that are due, in units, as the system.

    Answers how many were done and how many refused. The operation must take what it did out of
    `due`. `may_go_on` is asked before each unit.
    """
    done = 0
    refused: set[UUID] = set()
    while may_go_on():
        with transaction.atomic():
            # One row that somebody holds locked must not keep all the others waiting.
            free = due.exclude(pk__in=refused).select_for_update(skip_locked=True, no_key=True)
            unit = dict(free.values_list("pk", "version")[:UNIT])
        if not unit:
            break
        left = _perform(name, unit)
        refused |= left
        done += len(unit) - len(left)
    return done, len(refused)


def _perform(name: str, unit: dict[UUID, int]) -> set[UUID]:
    """Do the operation to some tasks as of their versions; answers those that were not changed.

    A unit that fails is tried again in halves, so that one bad task stops no other; the failure of
    a single task is logged. Raises what it met when the database is away.
    """
    act = ACTIONS[name]
    call = Call(None, Channel.WORKER, versions=unit, bulk=len(unit) > 1)
    try:
        return set(act(list(unit), call=call).refused)
    except Exception:
        if not connection.is_usable():
            raise
        if len(unit) == 1:
            logger.exception("Task %s: %s failed", *unit, name)
            return set(unit)
    entries = list(unit.items())
    half = len(entries) // 2
    return _perform(name, dict(entries[:half])) | _perform(name, dict(entries[half:]))


def beat() -> None:
    """Write down that a worker sweeps now; cheap, since nobody minds if a power cut takes it."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("set local synchronous_commit = off")
        WorkerHeartbeat.objects.bulk_create(
            [WorkerHeartbeat(at=timezone.now())],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["at"],
        )
