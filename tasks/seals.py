"""Daily seals over the audit: each says how far every chain had come, so that none can vanish."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import Max
from django.utils import timezone

from .events import GENESIS, Fault
from .models import AuditEvent, AuditSeal, canonical

logger = logging.getLogger(__name__)

SEAL_LOCK = 8315159405423230976
"""The advisory lock of whoever makes a seal: "seals" in ASCII."""

PATIENCE_SECONDS = 5.0
"""How long a seal waits for the writers under way."""

Head = tuple[UUID, int, bytes]
"""A task, the version of its last event, and the hash of that event."""


class SealFault(NamedTuple):
    """A seal that is not as it was made, and how one can tell."""

    number: int
    why: str


# --- Making ---------------------------------------------------------------------------------------


def make_seal() -> AuditSeal:
    """Seal what the audit holds now; the seal's number and hash go to the log as well.

    Raises OperationalError when writers do not end in time; then nothing is sealed.
    """
    with transaction.atomic(durable=True):
        return _append(_newest())


def make_daily_seal() -> AuditSeal | None:
    """Seal, unless there is a seal of today (UTC); None then. A day without events has one too."""
    with transaction.atomic(durable=True):
        newest = _newest()
        if newest is not None and newest.at.astimezone(UTC).date() >= datetime.now(UTC).date():
            return None
        return _append(newest)


def _newest() -> AuditSeal | None:
    """The newest seal, once this transaction is the only one that makes seals."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", [SEAL_LOCK])
    return AuditSeal.objects.defer("task_ids", "versions").order_by("-number").first()


HEADS = """
    select distinct on (task_id) task_id, version, hash from tasks_auditevent
    where id > %(after)s and id <= %(last)s order by task_id, version desc"""

APPEND = f"""
    insert into tasks_auditseal
        (number, at, last_event, task_ids, versions, previous_hash, hash)
    select %(number)s, %(at)s, %(last)s, coalesce(array_agg(task_id order by task_id), '{{}}'),
        coalesce(array_agg(version order by task_id), '{{}}'), %(previous)s, %(hash)s
    from ({HEADS}) head"""


def _append(previous: AuditSeal | None) -> AuditSeal:
    after = previous.last_event if previous else 0
    newest_event = AuditEvent.objects.aggregate(newest=Max("pk"))["newest"] or 0
    _wait_for_writers()
    seal = AuditSeal(
        number=previous.number + 1 if previous else 1,
        at=timezone.now(),
        last_event=max(after, newest_event),
        previous_hash=bytes(previous.hash) if previous else GENESIS,
    )
    between = {"after": after, "last": seal.last_event}
    # Both statements see the same rows: those up to there are all committed, and none changes.
    seal.hash, chains = _hash(seal, _rows(HEADS, between))
    row: dict[str, Any] = {
        **between,
        "number": seal.number,
        "at": seal.at,
        "previous": seal.previous_hash,
        "hash": seal.hash,
    }
    with connection.cursor() as cursor:
        cursor.execute(APPEND, row)
    transaction.on_commit(
        lambda: logger.info(
            "Audit seal %s of %s chains: %s", seal.number, chains, bytes(seal.hash).hex()
        )
    )
    return seal


WRITERS = """
    select virtualtransaction from pg_locks
    where locktype = 'relation' and relation = 'tasks_auditevent'::regclass
        and database = (select oid from pg_database where datname = current_database())
        and mode = 'RowExclusiveLock' and granted and pid is distinct from pg_backend_pid()"""


def _wait_for_writers() -> None:
    """Wait until everybody who may have taken an event's id by now has committed or gone.

    Ids are given out before the commit, so one below the newest may still be to come. Whoever took
    one holds a lock on the table until then; new writers are not waited for, and wait for nobody.
    Raises OperationalError after PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    waiting: set[str] | None = None
    while True:
        with connection.cursor() as cursor:
            cursor.execute(WRITERS)
            now = {row[0] for row in cursor.fetchall()}
        waiting = now if waiting is None else waiting & now
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise OperationalError("writers of the audit do not end: no seal for now")
        time.sleep(0.02)


def _hash(seal: AuditSeal, heads: Iterable[Head]) -> tuple[bytes, int]:
    """The HMAC-SHA-256 of a seal, and how many heads it covers."""
    at = seal.at.astimezone(UTC).isoformat(timespec="microseconds")
    said = canonical(["seal", seal.number, at, seal.last_event])
    code = hmac.new(settings.AUDIT_KEY.encode(), bytes(seal.previous_hash) + said.encode(), sha256)
    count = 0
    for task_id, version, head in heads:
        code.update(task_id.bytes + version.to_bytes(4, "big") + bytes(head))
        count += 1
    return code.digest(), count


# --- Verifying ------------------------------------------------------------------------------------

SEALED = """
    select entry.task_id, entry.version, event.hash
    from tasks_auditseal seal
        cross join lateral unnest(seal.task_ids, seal.versions) with ordinality
            as entry (task_id, version, place)
        left join tasks_auditevent event
            on event.task_id = entry.task_id and event.version = entry.version
    where seal.number = %(number)s
    order by entry.place"""


def verify_seals() -> Iterator[Fault | SealFault]:
    """Every sealed chain that is gone, once each, and every seal that does not hold.

    Seals that were removed from the end leave nothing to tell by; `is_kept` asks for one of them.
    A chain that came back changed is found by `events.verify`.
    """
    number, previous = 0, GENESIS
    named: set[UUID] = set()
    for seal in AuditSeal.objects.defer("task_ids", "versions").order_by("number"):
        yield from (SealFault(gone, "missing") for gone in range(number + 1, seal.number))
        if number + 1 == seal.number and bytes(seal.previous_hash) != previous:
            yield SealFault(seal.number, "does not follow the seal before it")
        number, previous = seal.number, bytes(seal.hash)
        missing: list[tuple[UUID, int]] = []
        code, _ = _hash(seal, _present(seal, missing))
        for task_id, version in missing:
            if task_id not in named:
                named.add(task_id)
                yield _gone(task_id, version, number)
        if not missing and not hmac.compare_digest(code, previous):
            yield SealFault(number, "changed after it was made")


def _present(seal: AuditSeal, missing: list[tuple[UUID, int]]) -> Iterator[Head]:
    """The heads that a seal names; those that are gone are added to `missing`."""
    for task_id, version, head in _rows(SEALED, {"number": seal.number}):
        if head is not None:
            yield task_id, version, head
        elif task_id is not None and version is not None:  # lists of one length, as they were made
            missing.append((task_id, version))


GONE = """
    select seal.number, entry.version
    from tasks_auditseal seal
        cross join lateral unnest(seal.task_ids, seal.versions) as entry (task_id, version)
    where seal.task_ids @> array[%(task)s]::uuid[] and entry.task_id = %(task)s
        and not exists (select from tasks_auditevent event
            where event.task_id = entry.task_id and event.version = entry.version)
    order by seal.number limit 1"""


def gone(task_id: UUID) -> list[Fault]:
    """What `verify_seals` would say of one task."""
    with connection.cursor() as cursor:
        cursor.execute(GONE, {"task": task_id})
        return [_gone(task_id, version, number) for number, version in cursor.fetchall()]


def _gone(task_id: UUID, version: int, number: int) -> Fault:
    return Fault(task_id, version, f"gone, though seal {number} names it")


def is_kept(digest: bytes) -> bool:
    """Whether a seal with this hash, noted down elsewhere when it was made, is still there."""
    return AuditSeal.objects.filter(hash=digest).exists()


def _rows(query: str, parameters: Mapping[str, Any]) -> Iterator[Any]:
    """The rows of a query, a few at a time: there may be as many as there are tasks."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany(10_000):
            yield from rows
