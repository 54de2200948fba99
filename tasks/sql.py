"""Runs the hand-written statements: prepared, counted, with Django's errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

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
        given = {name: _adapted(value) for name, value in params.items()}
        cursor.execute(statement.encode(), given, prepare=settings.DB_PREPARE)
        rows = cursor.fetchall()
    if connection.queries_logged:
        connection.queries_log.append(
            {"sql": statement, "time": f"{time.monotonic() - started:.3f}"}
        )
    return rows


_ELEMENTS: dict[type, Callable[[Any], str]] = {
    UUID: attrgetter("hex"),
    int: str,
    bool: str,
    bytes: lambda value: rf'"\\x{value.hex()}"',
    str: lambda value: '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"',
}
"""How PostgreSQL reads an element of an array, by its type."""


def _adapted(value: Any) -> Any:
    """A list as the text of a PostgreSQL array, anything else as it is.

    The driver would spend more time on 10,000 ids than PostgreSQL takes to change their tasks.
    """
    if not isinstance(value, list):
        return value
    (kind,) = {type(element) for element in value} or {str}
    element = _ELEMENTS[kind]
    if kind is str:  # often few and always the same
        texts = {text: element(text) for text in set(value)}
        element = texts.__getitem__
    return "{" + ",".join(map(element, value)) + "}"
