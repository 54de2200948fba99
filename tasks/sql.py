"""Runs the hand-written statements: prepared, counted, with Django's errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import psycopg
from django.conf import settings
from django.db import connection


def run(statement: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows that one statement answers with.

    `statement` uses named parameters (`%(name)s`). It runs as a prepared statement on Django's own
    connection and so in Django's transaction; Django's cursor cannot prepare, and planning is most
    of the work PostgreSQL has with statements like ours. `jsonb` arrives as text. Raises what the
    ORM would raise (django.db.Error and its subclasses). Seen by query counters like any query.
    """
    connection.ensure_connection()
    started = time.monotonic()
    with (
        connection.wrap_database_errors,
        psycopg.Cursor(cast("psycopg.Connection[Any]", connection.connection)) as cursor,
    ):
        cursor.execute(statement.encode(), params, prepare=settings.DB_PREPARE)
        rows = cursor.fetchall()
    if connection.queries_logged:
        connection.queries_log.append(
            {"sql": statement, "time": f"{time.monotonic() - started:.3f}"}
        )
    return rows
