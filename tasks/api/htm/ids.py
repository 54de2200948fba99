"""How this face spells task ids: `_TKI:` and the 128 bits in four groups of hexadecimal digits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

from .errors import BadRequest

_TASK = re.compile(r"_TKI:" + r"\.".join(["([0-9A-Fa-f]{1,8})"] * 4))
_OTHER_KIND = re.compile(r"_[A-Z]+:")


def parse(text: str) -> UUID:
    """The task that an id names; leading zeros of a group may be missing (spec, section 0).

    Raises BadRequest: CWTKA0002E for the id of another kind of object, CWTKA0001E for any other
    text (section 5.2).
    """
    match = _TASK.fullmatch(text)
    if match is not None:
        return UUID("".join(group.zfill(8) for group in match.groups()))
    prefix = _OTHER_KIND.match(text)
    if prefix is not None and prefix[0] != "_TKI:":
        raise BadRequest("CWTKA0002E", f"{text} is not the id of a task.")
    raise BadRequest("CWTKA0001E", f"{text} does not have the form of a task id.")


def tkiid(pk: UUID) -> str:
    """The id of a task as this face writes it."""
    return "_TKI:" + ".".join(f"{pk.int >> shift & 0xFFFFFFFF:x}" for shift in (96, 64, 32, 0))


def parse_all(texts: Iterable[str]) -> dict[UUID, str]:
    """Several tasks, each with its id as it was sent; of duplicates the first stays."""
    found: dict[UUID, str] = {}
    for text in texts:
        found.setdefault(parse(text), text)
    return found
