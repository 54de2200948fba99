"""What the fields of a task may hold, whether it is made or changed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from django.core.exceptions import ValidationError

from accounts.texts import UNSEEN
from tasks import errors
from tasks.calls import Call
from tasks.models import PRIORITIES, Task, canonical
from tasks.schemas import check_schema

from .statement import TASK_FIELDS

_TEXTS = {"name", "kind", "short_id", "source", "external_id", "fault_name"}
"""Fields whose form the model describes; the rest is checked here, or made by us."""

LONGEST_FAULT_NAME = cast(int, Task._meta.get_field("fault_name").max_length)

MOST_SHARED_DATA = 64 * 1024
"""Bytes of data that one bulk call may write to each of its tasks."""


def check_task(task: Task) -> None:
    """Raise InvalidArgument for what a new task may not hold."""
    check_values(task, _TEXTS | {"priority", "output_schema"})
    if (task.source is None) != (task.external_id is None):
        raise errors.InvalidArgument(field="external_id", why="it goes together with a source")
    if task.short_id is not None and task.job_id is None:
        raise errors.InvalidArgument(field="short_id", why="it needs a job to be unique in")


def check_values(task: Task, names: Collection[str]) -> None:
    """Raise InvalidArgument for what a task may not hold in some of its fields."""
    if "priority" in names:
        check_priority(task.priority)
    if "name" in names:
        check_name("name", task.name)
    try:
        task.clean_fields(exclude={f.name for f in TASK_FIELDS} - (set(names) & _TEXTS))
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        raise errors.InvalidArgument(field=name, why=messages[0]) from None
    if "output_schema" in names and task.output_schema is not None:
        check_schema(task.output_schema)


def check_priority(priority: int) -> None:
    """Raise InvalidArgument for a priority out of range."""
    if not PRIORITIES[0] <= priority <= PRIORITIES[1]:
        raise errors.InvalidArgument(field="priority", why="0 (most urgent) to 10")


def check_name(field: str, name: str) -> None:
    """Raise InvalidArgument for a name that is empty or holds what nobody sees."""
    if not name.strip():
        raise errors.InvalidArgument(field=field, why="it must not be empty")
    if UNSEEN.search(name):
        raise errors.InvalidArgument(field=field, why="it holds characters that nobody sees")


def check_data(call: Call, **data: Any) -> None:
    """Raise InvalidArgument where a bulk call would write too much, or a fault's name is bad."""
    for name, value in data.items():
        if call.bulk and value is not None and len(canonical(value)) > MOST_SHARED_DATA:
            raise errors.InvalidArgument(field=name, why="at most 64 KiB in a bulk call")
    fault_name = data.get("fault_name") or ""
    if len(fault_name) > LONGEST_FAULT_NAME:
        why = f"at most {LONGEST_FAULT_NAME} characters"
        raise errors.InvalidArgument(field="fault_name", why=why)
    if fault_name:
        check_name("fault_name", fault_name)
