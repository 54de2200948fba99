"""Secret values: what a task marks secret is shown to those who may work it and to nobody else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MASK = "******"


def masked(value: Any, pointers: Iterable[str]) -> Any:
    """A copy of `value` in which the members that the JSON pointers (RFC 6901) name are masked.

    Pointers that lead nowhere are passed over. The value itself is left as it is.
    """
    for pointer in pointers:
        value = _masked(value, [_unescape(part) for part in pointer.split("/")[1:]])
    return value


def masked_data(pointers: Iterable[str], **data: Any) -> dict[str, Any]:
    """The members of a task's data (`input`, `output`, `fault`) with its secrets masked.

    `pointers` are the task's `secret_pointers`, which begin with the name of the member.
    """
    found: dict[str, Any] = masked(data, pointers)
    return found


def has_secret(pointers: Iterable[str], **data: Any) -> bool:
    """Whether one of the pointers names a member that is there."""
    return any(
        _leads_somewhere(data, [_unescape(part) for part in pointer.split("/")[1:]])
        for pointer in pointers
    )


def _leads_somewhere(value: Any, path: list[str]) -> bool:
    for head in path:
        if isinstance(value, dict) and head in value:
            value = value[head]
        elif isinstance(value, list) and head.isascii() and head.isdigit():
            if int(head) >= len(value):
                return False
            value = value[int(head)]
        else:
            return False
    return value is not None


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _masked(value: Any, path: list[str]) -> Any:
    if not path:
        return MASK
    head, rest = path[0], path[1:]
    if isinstance(value, dict) and head in value:
        return {**value, head: _masked(value[head], rest)}
    if isinstance(value, list) and head.isascii() and head.isdigit() and int(head) < len(value):
        index = int(head)
        return [*value[:index], _masked(value[index], rest), *value[index + 1 :]]
    return value
