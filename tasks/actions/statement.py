"""The pieces of the one statement that changes tasks and records it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from django.db import connection
from django.db.models import BinaryField, Field, JSONField

from accounts import sql
from tasks import work_items
from tasks.models import Task


def demand(changed: int, locked: int) -> None:
    if changed != locked:
        raise RuntimeError(f"{changed} of {locked} locked tasks were changed")


RECORD_BULK = """
    bulk as (
        insert into tasks_bulkoperation as b (id, operation, arguments, reason, actor_id, channel,
            request_id, status, ids, versions, processed, done_count, refused, kept,
            scope_group_ids, created_at, finished_at)
        values (%(operation_id)s::uuid, %(bulk_operation)s, %(bulk_arguments)s::jsonb,
            %(reason)s::text, %(actor_id)s::bigint, %(channel)s, %(request_id)s, 'done',
            %(bulk_ids)s::uuid[], %(bulk_versions)s::int[], cardinality(%(bulk_ids)s::uuid[]),
            %(bulk_done)s::int, %(bulk_refused)s::jsonb, %(bulk_kept)s::jsonb,
            %(bulk_scope)s::bigint[], %(at)s::timestamptz, %(at)s::timestamptz)
        on conflict (id) do update set
            versions = b.versions[1:b.processed] || excluded.versions
                || b.versions[b.processed + excluded.processed + 1:],
            processed = b.processed + excluded.processed,
            done_count = b.done_count + excluded.done_count,
            refused = b.refused || excluded.refused,
            kept = b.kept || excluded.kept,
            status = case when b.processed + excluded.processed >= cardinality(b.ids)
                then 'done' else 'running' end,
            finished_at = case when b.processed + excluded.processed >= cardinality(b.ids)
                then excluded.finished_at end
        where b.status not in ('done', 'cancelled') and b.processed = %(bulk_before)s::int
        returning 1)"""
"""A CTE that records a bulk call, or takes a stored one further if nobody else has."""


def _field(name: str) -> Field[Any, Any]:
    return cast("Field[Any, Any]", Task._meta.get_field(name))


def _column(name: str) -> tuple[str, str]:
    """A column of the task and its type; without a length, which a cast would silently cut to."""
    model_field = _field(name)
    column_type = cast(str, model_field.db_type(connection)).split("(")[0]
    return cast(str, model_field.column), column_type


def prepared(name: str, value: Any) -> Any:
    return _field(name).get_db_prep_save(value, connection)


TASK_FIELDS = Task._meta.concrete_fields
_TASK_COLUMNS = tuple(cast(str, f.column) for f in TASK_FIELDS)
_NEW_FIELDS = [f for f in TASK_FIELDS if f.name not in ("id", "version", "head")]
NEW_COLUMNS = {
    column: f"%(new_{column})s::{column_type}[]"
    for column, column_type in (_column(model_field.name) for model_field in _NEW_FIELDS)
}
"""What the CTE `input` has of new tasks besides the columns of their events."""


def new_values(tasks: Sequence[Task]) -> dict[str, list[Any]]:
    """The parameters of NEW_COLUMNS: the values of new tasks, column by column."""
    found: dict[str, list[Any]] = {}
    for model_field in _NEW_FIELDS:
        values: list[Any] = [getattr(task, model_field.attname) for task in tasks]
        if isinstance(model_field, JSONField):
            values = [None if value is None else json.dumps(value) for value in values]
        elif not isinstance(model_field, BinaryField):
            values = [model_field.get_db_prep_save(value, connection) for value in values]
        found[f"new_{model_field.column}"] = values
    return found


def insert() -> str:
    """The CTE `created`, which writes the tasks of `input`."""
    columns = ", ".join(NEW_COLUMNS)
    return f"""
    created as (
        insert into tasks_task (id, version, head, {columns})
        select id, version, hash, {columns} from input returning 1)"""


def each_columns(names: Sequence[str]) -> dict[str, str]:
    """Columns of the CTE `input` for columns of the tasks that differ from task to task.

    Values go as text; `set_` says whether the task gets one.
    """
    found = {}
    for name in names:
        found[f"set_{name}"] = f"%(set_{name})s::bool[]"
        found[f"new_{name}"] = f"%(new_{name})s::text[]"
    return found


def each_parameters(
    names: Sequence[str], values: Sequence[Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """The parameters of `each_columns`: `values` of each task, in the order of the others."""
    found: dict[str, list[Any]] = {}
    for name in names:
        found[f"set_{name}"] = [name in one for one in values]
        found[f"new_{name}"] = [_as_text(name, one.get(name)) for one in values]
    return found


def _as_text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value) if isinstance(_field(name), JSONField) else str(value)


def update(
    columns: Mapping[str, Any],
    defaults: Mapping[str, Any],
    each: Sequence[str] = (),
    *,
    whole: bool,
) -> str:
    """The CTE `changed`, which writes the tasks of `input` and answers with them."""
    assignments = ["version = i.version", "head = i.hash", "state = i.state", "updated_at = %(at)s"]
    for name in columns:
        column, column_type = _column(name)
        assignments.append(f"{column} = %({name})s::{column_type}")
    for name in defaults:
        column, column_type = _column(name)
        assignments.append(f"{column} = coalesce(t.{column}, %({name})s::{column_type})")
    for name in each:
        column, column_type = _column(name)
        assignments.append(
            f"{column} = case when i.set_{name} then i.new_{name}::{column_type} "
            f"else t.{column} end"
        )
    return f"""
    changed as (
        update tasks_task t set {", ".join(assignments)} from input i where t.id = i.id
        returning {", ".join(f"t.{column}" for column in _answer(whole))})"""


def remove(*, whole: bool) -> str:
    """The CTE `changed`, which deletes the tasks of `input` and answers with them as they were.

    A tombstone of each keeps its last version and the head of its chain.
    """
    return f"""
    changed as (
        delete from tasks_task t using input i where t.id = i.id
        returning {", ".join(f"t.{column}" for column in _answer(whole))}),
    tombstone as (
        insert into tasks_tombstone (id, version, head) select id, version, hash from input),
    comments as (delete from tasks_comment r using input i where r.task_id = i.id),
    attachments as (delete from tasks_attachment r using input i where r.task_id = i.id),
    {work_items.ALL_ROWS_GONE}"""


def _answer(whole: bool) -> tuple[str, ...]:
    return _TASK_COLUMNS if whole else ("id", "priority", "due_at", "created_at")


def task_from(row: Sequence[Any]) -> Task:
    """The task that a row of all its columns stands for."""
    return sql.instance(Task, row)
