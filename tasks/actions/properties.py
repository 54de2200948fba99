"""What a task says and carries: its properties, comments and files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.files import File
from django.db import InterfaceError, OperationalError
from django.db.models import Field

from tasks import errors
from tasks.calls import Call, Outcome
from tasks.lifecycle import OPERATIONS, UPDATES, update_of
from tasks.masking import masked_data
from tasks.models import Task
from tasks.work_items import LockedTask

from . import files
from .fields import check_data, check_name, check_priority, check_values
from .frame import performing
from .units import action
from .work import stored

MOST_TEXT = 64 * 1024
"""Characters of a comment or a description."""

LONGEST_NAME = 255
"""Characters of a file's name and of its media type."""

_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)

LARGEST_FILE = 25 * 1024 * 1024
"""Bytes of an attachment."""


@action
def update(ids: Sequence[UUID], *, call: Call, values: Mapping[str, Any]) -> Outcome:
    """Change properties of tasks: all of `values` or, where one of them may not be, none.

    Raises InvalidArgument for a property that cannot be updated, or a value it cannot have.
    """
    unknown = sorted(set(values) - set(UPDATES))
    if unknown or not values:
        field, why = (unknown[0], "it cannot be updated") if unknown else ("values", "none given")
        raise errors.InvalidArgument(field=field, why=why)
    new = {name: _value(name, value) for name, value in values.items()}

    def shown(task: LockedTask, value_of: Mapping[str, Any]) -> dict[str, Any]:
        now = {name: _stored(task, name) for name in new}
        changed = {name: _plain(value_of[name]) for name in new if now[name] != new[name]}
        return masked_data(stored(task, "secret_pointers"), **changed)

    with performing(
        update_of(new),
        ids,
        call,
        columns=(*new, "secret_pointers"),
        valid=lambda task: _check(call, new),
    ) as run:
        run.change(
            before=lambda task: shown(task, {name: _stored(task, name) for name in new}),
            after=lambda task: shown(task, new),
            **new,
        )
    return run.outcome


def _value(name: str, value: Any) -> Any:
    """A value as the model has it: a date may come as text from the record of a bulk call."""
    try:
        return cast("Field[Any, Any]", Task._meta.get_field(name)).to_python(value)
    except ValidationError as error:
        raise errors.InvalidArgument(field=name, why=error.messages[0]) from None


_JSON = {"custom_properties", "input", "output_schema"}


def _stored(task: LockedTask, name: str) -> Any:
    return stored(task, name) if name in _JSON else task.extra[name]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _check(call: Call, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is None and not Task._meta.get_field(name).null:
            raise errors.InvalidArgument(field=name, why="it must not be null")
        if isinstance(value, str) and len(value) > MOST_TEXT:
            raise errors.InvalidArgument(field=name, why="at most 64 KiB")
    check_data(call, **{name: values[name] for name in _JSON & set(values)})
    check_values(Task(**values), set(values))


@action
def set_priority(ids: Sequence[UUID], *, call: Call, priority: int) -> Outcome:
    """Say how urgent tasks are, from 0 (most) to 10."""
    with performing(
        OPERATIONS["set_priority"],
        ids,
        call,
        columns=("priority",),
        valid=lambda task: check_priority(priority),
    ) as run:
        run.change(
            priority=priority,
            before=lambda task: {"priority": task.extra["priority"]},
            after=lambda task: {"priority": priority},
        )
    return run.outcome


@action
def comment(ids: Sequence[UUID], *, call: Call, text: str) -> Outcome:
    """Say something about tasks, for all who see them."""

    def check(task: LockedTask) -> None:
        if not text.strip():
            raise errors.InvalidArgument(field="text", why="it must not be empty")
        if len(text) > MOST_TEXT:
            raise errors.InvalidArgument(field="text", why="at most 64 KiB")

    with performing(OPERATIONS["comment"], ids, call, valid=check) as run:
        run.add("tasks_comment", author=_author(call), text=text)
        run.change(after=lambda task: {"comment": text})
    return run.outcome


@action
def attach(
    ids: Sequence[UUID],
    *,
    call: Call,
    name: str,
    content: File[bytes],
    content_type: str = "application/octet-stream",
) -> Outcome:
    """Keep a file with tasks; one copy of it, even for many.

    The file is written before the rows are committed, and taken back where they are not. After a
    commit whose answer was lost it stays: a file too many is better than one too few.

    Raises FileTooLarge besides InvalidArgument.
    """
    content.seek(0)  # where a unit of many tasks, or the caller, has read it before
    facts = {
        "name": name,
        "content_type": content_type,
        "size": content.size,
        "sha256": hashlib.file_digest(content, "sha256").hexdigest(),
    }

    def check(task: LockedTask) -> None:
        check_name("name", name)
        if "/" in name or "\\" in name or name in (".", ".."):
            raise errors.InvalidArgument(field="name", why="it is a path, not the name of a file")
        if not _MEDIA_TYPE.fullmatch(content_type):
            raise errors.InvalidArgument(field="content_type", why="it is no media type")
        for field, text in (("name", name), ("content_type", content_type)):
            if len(text) > LONGEST_NAME:
                raise errors.InvalidArgument(field=field, why=f"at most {LONGEST_NAME} characters")
        if content.size > LARGEST_FILE:
            raise errors.FileTooLarge(limit=LARGEST_FILE)

    path = ""
    try:
        with performing(OPERATIONS["attach"], ids, call, valid=check) as run:
            if run.allowed and not call.dry_run:
                path = files.write(content)
                run.add("tasks_attachment", author=_author(call), file=path, **facts)
            run.change(after=lambda task: {"attachment": facts})
    except (OperationalError, InterfaceError):
        raise
    except BaseException:
        files.delete_unused({path} - {""})
        raise
    return run.outcome


def _author(call: Call) -> str:
    return call.actor.username if call.actor else "system"
