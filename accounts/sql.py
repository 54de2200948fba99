"""Runs the hand-written statements: prepared, counted, with Django's errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar, cast
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connection
from django.db.models import Model

M = TypeVar("M", bound=Model)


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


def instance(model: type[M], row: Sequence[Any]) -> M:
    """The instance of a model that a row of all its columns, in their order, stands for."""
    names, values = [], []
    for model_field, value in zip(model._meta.concrete_fields, row, strict=True):
        for convert in model_field.get_db_converters(connection):
            value = convert(value, None, connection)
        names.append(model_field.attname)
        values.append(value)
    return model.from_db(connection.alias, names, values)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


_ELEMENTS: dict[type, Callable[[Any], str]] = {
    UUID: attrgetter("hex"),
    int: str,
    bool: str,
    bytes: lambda value: rf'"\\x{value.hex()}"',
    datetime: datetime.isoformat,
    str: _quoted,
    NoneType: lambda value: "NULL",
}
"""How PostgreSQL reads an element of an array, by its type."""


def _adapted(value: Any) -> Any:
    """A list as the text of a PostgreSQL array, anything else as it is.

    The driver would spend more time on 10,000 ids than PostgreSQL takes to change their tasks.
    """
    if not isinstance(value, list):
        return value
    kinds = {type(element) for element in value}
    element = _ELEMENTS.get(kinds.pop(), _element) if len(kinds) == 1 else _element
    if element is _quoted:  # often few texts, and each many times
        texts = {text: _quoted(text) for text in set(value)}
        element = texts.__getitem__
    return "{" + ",".join(map(element, value)) + "}"


def _element(value: Any) -> str:
    for kind in type(value).__mro__:
        if kind in _ELEMENTS:
            return _ELEMENTS[kind](value)
    # Not StopIteration by any chance, which would end the array here without a word.
    raise TypeError(f"{type(value).__name__} is no element of an array")
