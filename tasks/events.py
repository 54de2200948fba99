"""The record of what happened: audit events, hash-chained by task, and their outbox rows."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import TextField
from django.db.models.functions import Cast

from accounts import sql

from .calls import Call
from .models import AuditEvent, Task, Tombstone, canonical

GENESIS = bytes(32)
"""What stands in for the hash before a task's first event."""


class Entry(NamedTuple):
    """One event to be written: the task, the version it makes, and what changed."""

    task_id: UUID
    version: int
    previous_hash: bytes
    before: str
    after: str


def seal(previous_hash: bytes, *values: Any) -> bytes:
    """The HMAC-SHA-256 of an event and the hash before it, under the key outside the database."""
    message = previous_hash + canonical([_plain(value) for value in values]).encode()
    return hmac.digest(settings.AUDIT_KEY.encode(), message, "sha256")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value) if isinstance(value, UUID) else value


def parameters(
    event: str, call: Call, at: datetime, reason: str | None, entries: Sequence[Entry]
) -> dict[str, Any]:
    """The parameters of RECORD for some entries of one event; hashes are made here."""
    shared = {
        "event": event,
        "actor": call.actor.username if call.actor else "system",
        "actor_id": call.user_id,
        "on_behalf_of": call.on_behalf_of,
        "channel": str(call.channel),
        "request_id": call.request_id,
        "operation_id": call.operation_id,
        "reason": reason,
        "at": at,
    }
    return {
        **shared,
        "task_ids": [entry.task_id for entry in entries],
        "task_versions": [entry.version for entry in entries],
        "previous": [entry.previous_hash for entry in entries],
        "before": [entry.before for entry in entries],
        "after": [entry.after for entry in entries],
        "hashes": list(_seals(entries, [_plain(value) for value in shared.values()])),
    }


def _seals(entries: Sequence[Entry], shared: Sequence[Any]) -> Iterator[bytes]:
    """What `seal` makes of each entry, with the part that many have in common written once."""
    key = settings.AUDIT_KEY.encode()
    ends: dict[tuple[str, str], str] = {}
    for entry in entries:
        change = (entry.before, entry.after)
        if change not in ends:
            ends[change] = canonical([*shared, *change])[1:]
        text = f'["{entry.task_id}",{entry.version},{ends[change]}'
        yield hmac.digest(key, entry.previous_hash + text.encode(), "sha256")


INPUT_COLUMNS = {
    "id": "%(task_ids)s::uuid[]",
    "version": "%(task_versions)s::int[]",
    "previous": "%(previous)s::bytea[]",
    "before": "%(before)s::text[]",
    "after": "%(after)s::text[]",
    "hash": "%(hashes)s::bytea[]",
}
"""The columns of the CTE `input`, one row for each entry, that RECORD reads."""


class Audience(NamedTuple):
    """Whom each event concerns, as SQL over a row `i` of `input`; see `OutboxEvent`."""

    users: str = "null::bigint[]"
    members: str = "null::bigint[]"
    leads: str = "null::bigint[]"


def concerned_cte(audience: Audience | None = None) -> str:
    """The CTE `concerned`, one row for each of `input`, that RECORD reads."""
    columns = zip(Audience._fields, audience or Audience(), strict=True)
    return (
        "concerned as (select i.id"
        + "".join(f", {expression} as {name}" for name, expression in columns)
        + " from input i)"
    )


RECORD = """
    event as (
        insert into tasks_auditevent (task_id, version, event, actor, actor_id, on_behalf_of,
            channel, request_id, operation_id, before, after, reason, at, previous_hash, hash)
        select i.id, i.version, %(event)s, %(actor)s, %(actor_id)s::bigint, %(on_behalf_of)s,
            %(channel)s, %(request_id)s, %(operation_id)s::uuid, i.before, i.after,
            %(reason)s::text, %(at)s::timestamptz, i.previous, i.hash
        from input i order by i.id
        returning id, task_id),
    outbox as (
        insert into tasks_outboxevent (event_id, users, members, leads)
        select e.id, c.users, c.members, c.leads
        from event e join concerned c on c.id = e.task_id)"""
"""CTEs that write the audit and outbox rows of the entries in `input`, for those `concerned`."""


FEED_LOCK = 1717921124
"""The advisory lock of whoever gives positions: "feed" in ASCII."""

NUMBERED_AT_ONCE = 10_000
"""How many events get their positions in one transaction."""

_HEAD = "select coalesce(max(position), 0) from tasks_outboxevent"

_NUMBER = f"""
    with pending as (
        select event_id from tasks_outboxevent
        where position is null order by event_id limit %(most)s::int),
    numbered as (
        select event_id, ({_HEAD}) + row_number() over (order by event_id) as position
        from pending),
    given as (
        update tasks_outboxevent o set position = n.position
        from numbered n where n.event_id = o.event_id
        returning o.position)
    select count(*), coalesce(max(position), ({_HEAD})) from given"""


def give_positions() -> tuple[int, int]:
    """Give committed events their places in the feed: how many got one, and the last place now.

    A place is given after commit, by one at a time, so that no event ever comes before one that
    somebody has read. Gives at most NUMBERED_AT_ONCE. Whoever finds somebody else at it for long
    gives none: a reader must not wait for one that hangs.
    """
    with transaction.atomic():
        ((pending,),) = sql.run(
            "select exists(select from tasks_outboxevent where position is null)", {}
        )
        if pending and _alone():
            # A new statement, whose snapshot is younger than the lock.
            ((count, head),) = sql.run(_NUMBER, {"most": NUMBERED_AT_ONCE})
            return count, head
        ((head,),) = sql.run(_HEAD, {})
    return 0, head


def _alone() -> bool:
    """Wait for the lock of the feed, though not for long; it goes with the transaction."""
    try:
        with transaction.atomic():
            sql.run("select set_config('lock_timeout', '500ms', true)", {})
            sql.run("select pg_advisory_xact_lock(%(key)s::bigint)", {"key": FEED_LOCK})
            sql.run("select set_config('lock_timeout', '0', true)", {})
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            return False
        raise
    return True


LOCK_NOT_AVAILABLE = "55P03"


def input_cte(columns: Mapping[str, str], count: int) -> str:
    """The CTE `input` over parallel arrays of so many elements: {column: array expression}.

    One row is taken without unnesting: then PostgreSQL knows that it is one without looking at the
    values, and keeps its plan. Else it would plan each call anew, which costs more than the change.
    """
    if count == 1:
        first = ", ".join(f"({array})[1] as {column}" for column, array in columns.items())
        return f"input as materialized (select {first})"
    return (
        f"input as materialized (select * from unnest({', '.join(columns.values())}) "
        f"as i({', '.join(columns)}))"
    )


class Fault(NamedTuple):
    """The first event of a task that is not as it was written, and how one can tell."""

    task_id: UUID
    version: int
    why: str


def verify(tasks: Iterable[Task] | None = None) -> Iterator[Fault]:
    """The first bad event of each task whose chain does not hold; nothing when all is well.

    Without `tasks` every chain is walked, also those of tasks that are gone without a trace. While
    others write, call it in one snapshot (repeatable read), or a new event looks like a bad one.
    """
    events = (
        AuditEvent.objects.annotate(
            before_text=Cast("before", TextField()), after_text=Cast("after", TextField())
        )
        .defer("before", "after")
        .order_by("task_id", "version", "id")
    )
    heads, tombstones = Task.objects.order_by("pk"), Tombstone.objects.order_by("pk")
    if tasks is not None:
        ids = [task.pk for task in tasks]
        events, heads = events.filter(task_id__in=ids), heads.filter(pk__in=ids)
        tombstones = tombstones.none()
    ends = chain(
        heads.values_list("pk", "version", "head").iterator(10_000),
        tombstones.values_list("pk", "version", "head").iterator(10_000),
    )
    stored = {pk: (version, bytes(head)) for pk, version, head in ends}
    current: UUID | None = None
    version, previous, bad = 0, GENESIS, False
    for event in events.iterator(10_000):
        if event.task_id != current:
            if current is not None and not bad:
                yield from _end_of_chain(current, version, previous, stored)
            current, version, previous, bad = event.task_id, 0, GENESIS, False
        if bad:
            continue
        why = _fault(event, version, previous)
        if why:
            bad = True
            stored.pop(current, None)
            yield Fault(current, version + 1 if event.version > version + 1 else event.version, why)
        version, previous = event.version, bytes(event.hash)
    if current is not None and not bad:
        yield from _end_of_chain(current, version, previous, stored)
    for pk, (stored_version, _) in stored.items():
        if stored_version:
            yield Fault(pk, 1, "the task has no events at all")


def _end_of_chain(
    task_id: UUID, version: int, last: bytes, stored: dict[UUID, tuple[int, bytes]]
) -> Iterator[Fault]:
    head = stored.pop(task_id, None)
    if head is None:
        yield Fault(task_id, version, "the task itself is gone without a trace")
    elif head[0] > version:
        yield Fault(task_id, version + 1, f"missing: the task is at version {head[0]}")
    elif head != (version, last):
        yield Fault(task_id, version, "not the event that the task names as its last")


def _fault(event: Any, version: int, previous: bytes) -> str:
    if event.version != version + 1:
        return "missing" if event.version > version + 1 else "there twice"
    if bytes(event.previous_hash) != previous:
        return "does not follow the event before it"
    expected = seal(
        previous,
        event.task_id,
        event.version,
        event.event,
        event.actor,
        event.actor_id,
        event.on_behalf_of,
        event.channel,
        event.request_id,
        event.operation_id,
        event.reason,
        event.at,
        event.before_text,
        event.after_text,
    )
    return (
        "" if hmac.compare_digest(bytes(event.hash), expected) else "changed after it was written"
    )
