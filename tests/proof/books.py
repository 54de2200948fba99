"""Whether the books balance: tasks, audit, outbox, role rows and bulk records say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from tasks import events, work_items

MOST = 20
"""How many faults of one kind are told; one defect may spoil every task there is."""

_NO_TOMBSTONES = "(select null::uuid as id, 0 as version, ''::bytea as head where false)"


def balance(connection: BaseDatabaseWrapper) -> list[str]:
    """What does not agree with what in the whole database, in words; nothing when all is well.

    `connection` is Django's default connection, which verifying goes through as well. Outside a
    transaction all is read in one snapshot, so writers need not stop.
    """
    snapshot: AbstractContextManager[None] = nullcontext()
    if not connection.in_atomic_block:
        snapshot = _one_moment(connection)
    with snapshot:
        return [fault for look in _LOOKS for fault in look(connection)]


@contextmanager
def _one_moment(connection: BaseDatabaseWrapper) -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        yield


def _rows(connection: BaseDatabaseWrapper, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _subjects(connection: BaseDatabaseWrapper) -> str:
    """SQL: id, version and head of every task that is or was."""
    ((found,),) = _rows(connection, "select to_regclass('tasks_tombstone')")
    gone = "tasks_tombstone" if found else _NO_TOMBSTONES
    return (
        "(select id, version, head from tasks_task "
        f"union all select g.id, g.version, g.head from {gone} g)"
    )


def _sums(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Versions, events and outbox rows are as many, and the latter two are pairs."""
    ((versions, kept, waiting, pairs),) = _rows(
        connection,
        f"""select (select coalesce(sum(version), 0) from {_subjects(connection)} s),
            (select count(*) from tasks_auditevent), (select count(*) from tasks_outboxevent),
            (select count(*) from tasks_auditevent e join tasks_outboxevent o
                on o.event_id = e.id)""",
    )
    if not versions == kept == waiting == pairs:
        yield (
            f"versions {versions}, events {kept}, outbox rows {waiting}, "
            f"events with their outbox row {pairs}: they should be as many"
        )


def _chains(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Each task has as many events as versions, and names the hash of its last one."""
    for task, version, count, last, same in _rows(
        connection,
        f"""select coalesce(s.id, e.task_id), s.version, e.count, e.last, s.head = h.hash
        from {_subjects(connection)} s
        full join (select task_id, count(*) as count, max(version) as last
            from tasks_auditevent group by task_id) e on e.task_id = s.id
        left join tasks_auditevent h on h.task_id = e.task_id and h.version = e.last
        where (s.version = e.count and s.version = e.last and s.head = h.hash) is not true
        order by 1 limit {MOST}""",
    ):
        yield (
            f"task {task}: version {version}, {count} events, the last of version {last}, "
            f"head {'right' if same else 'wrong'}"
        )


def _states(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """State and owner of each task are those that its events tell."""
    for task, state, told_state, owner, told_owner in _rows(
        connection,
        f"""with told as (
            select task_id, version, after::jsonb as after from tasks_auditevent),
        state as (
            select distinct on (task_id) task_id, after ->> 'state' as value from told
            where after ? 'state' order by task_id, version desc),
        owner as (
            select distinct on (task_id) task_id, after ->> 'owner' as value from told
            where after ? 'owner' order by task_id, version desc)
        select t.id, t.state, state.value, u.username, owner.value from tasks_task t
        left join accounts_user u on u.id = t.owner_id
        left join state on state.task_id = t.id left join owner on owner.task_id = t.id
        where (t.state, u.username) is distinct from (state.value, owner.value)
        order by 1 limit {MOST}""",
    ):
        yield (
            f"task {task}: {state} of {owner}, but the audit tells of {told_state} of {told_owner}"
        )


def _bulk_records(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Each bulk record tells what happened: one event for what it did, none for the rest."""
    for pk, status, task, count, wanted, right in _rows(
        connection,
        f"""with refused as (
            select b.id, k::uuid as task_id
            from tasks_bulkoperation b, jsonb_object_keys(b.refused) k),
        done as (
            select e.operation_id as id, e.task_id, count(*) as count, max(e.version) as version
            from tasks_auditevent e join tasks_bulkoperation b on b.id = e.operation_id
            group by 1, 2),
        asked as (
            select b.id, b.status, u.task_id, u.version, u.place <= b.processed as processed
            from tasks_bulkoperation b
            cross join unnest(b.ids, b.versions) with ordinality as u(task_id, version, place))
        select id, a.status, task_id, coalesce(d.count, 0),
            coalesce(a.processed and r.refused is null, false)::int, d.version = a.version + 1
        from (select true as refused, * from refused) r
        -- Only full joins cannot be planned as loops in loops, whatever the statistics say.
        full join asked a using (id, task_id) full join done d using (id, task_id)
        where coalesce(d.count, 0) <> coalesce(a.processed and r.refused is null, false)::int
            or d.version <> a.version + 1
        order by 1, 3 limit {MOST}""",
    ):
        yield (
            f"bulk operation {pk} ({status}): task {task} has {count} events of it instead of "
            f"{wanted}{'' if right is not False else ', of another version than was recorded'}"
        )
    for pk, status, processed, asked, done_count, done in _rows(
        connection,
        f"""select b.id, b.status, b.processed, cardinality(b.ids), b.done_count, coalesce(d.n, 0)
        from tasks_bulkoperation b
        left join (select operation_id, count(*) as n from tasks_auditevent group by 1) d
            on d.operation_id = b.id
        where b.done_count <> coalesce(d.n, 0)
            or (b.status = 'done') <> (b.processed = cardinality(b.ids))
            or (b.status = 'done') <> (b.finished_at is not null)
        order by 1 limit {MOST}""",
    ):
        yield (
            f"bulk operation {pk} ({status}): {processed} of {asked} processed, "
            f"{done_count} done by its own account, {done} by the audit"
        )


def _first(faults: Iterator[Any], told: Callable[[Any], str]) -> Iterator[str]:
    for fault, _ in zip(faults, range(MOST), strict=False):
        yield told(fault)


def _role_rows(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """The copied columns of role rows are right."""
    return _first(
        work_items.differing_rows(),
        lambda row: f"role row of {row.holder} ({row.role}) on {row.task_id}: {row.differences}",
    )


def _seals(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Every event is as it was written."""
    return _first(
        events.verify(), lambda bad: f"audit of {bad.task_id} version {bad.version}: {bad.why}"
    )


_LOOKS = (_sums, _chains, _states, _bulk_records, _role_rows, _seals)
