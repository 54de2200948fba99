"""What a call of this face says: its parameters and its list of tasks, read without any look-up."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from django.http import QueryDict

from accounts.models import User
from tasks import people
from tasks.api.conditions import expected_version
from tasks.people import Reference
from tasks.roles import COLUMNS, TaskRole

from . import ids
from .errors import BadRequest
from .verbs import ROLES

KNOWN = ("action", "toUser", "fromUser", "toGroup", "fromGroup", "federationMode")
"""All other parameters are passed over, as IBM's interface does."""


class Move(NamedTuple):
    """What a transfer hands over: the role, to whom, and from whom (None is the caller)."""

    role: TaskRole
    to: Reference
    from_: Reference | None

    def arguments(self, user: User) -> dict[str, Any]:
        """What `actions.transfer` takes; a caller who names himself as giver may as well not."""
        own = self.from_ == people.user(user.username)
        return {"role": self.role, "to": self.to, "from_": None if own else self.from_}


def known(query: QueryDict) -> dict[str, str]:
    """The parameters that this face knows, each given once and with a value.

    `federationMode=true` says what is so anyway; false cannot be had (spec, section 5.4).
    """
    found = {}
    for name in KNOWN:
        values = query.getlist(name)
        if len(values) > 1:
            raise BadRequest("CWTKA0123E", f"The parameter {name} is given more than once.")
        if values:
            found[name] = values[0]
    if found.get("federationMode", "true") != "true":
        raise _unsupported("federationMode", found["federationMode"], ["true"])
    return found


def action(given: dict[str, str], supported: Collection[str]) -> str:
    """The value of the one required parameter. Raises CWTKA0122E without, CWTKA0158E if unknown."""
    if "action" not in given:
        raise BadRequest("CWTKA0122E", "The parameter action is missing.")
    if given["action"] not in supported:
        raise _unsupported("action", given["action"], supported)
    return given["action"]


def role(text: str) -> TaskRole:
    """The task role of a path, in one of the spellings of `verbs.ROLES`; else CWTKA0022E."""
    if text not in ROLES:
        raise BadRequest("CWTKA0022E", f"{text} is not a role that can be transferred.")
    return ROLES[text]


def move(given: dict[str, str], task_role: TaskRole) -> Move:
    """Who hands over to whom (sections 1.7 and 4.2).

    `toUser`; `toUser` and `fromUser`; or `toGroup` and `fromGroup`. Raises CWTKA0122E where nobody
    receives, CWTKA0123E for any other set of parameters, CWTKA0158E for an empty name.
    """
    to_user, from_user, to_group, from_group = (
        given.get(name) for name in ("toUser", "fromUser", "toGroup", "fromGroup")
    )
    users = {to_user, from_user} - {None}
    groups = {to_group, from_group} - {None}
    if not users and not groups:
        raise BadRequest("CWTKA0122E", "The parameter toUser or toGroup is missing.")
    if "" in users | groups:
        raise BadRequest("CWTKA0158E", "The name of a user or group is empty.")
    if users and groups:
        raise BadRequest("CWTKA0123E", "Users hand over to users, and groups to groups.")
    if groups and task_role in COLUMNS:
        raise BadRequest("CWTKA0123E", f"Only a user can be {task_role.label}, not a group.")
    if to_user is not None:
        to, from_ = people.user(to_user), people.user(from_user) if from_user else None
    elif to_group and from_group:
        to, from_ = people.group(to_group), people.group(from_group)
    else:
        raise BadRequest(
            "CWTKA0123E",
            "fromUser needs toUser, and toGroup and fromGroup need each other.",
        )
    if to == from_:
        raise BadRequest("CWTKA0123E", f"{to.value} cannot hand over to himself.")
    return Move(task_role, to, from_)


def task_ids(body: Any) -> dict[UUID, str]:
    """The tasks of a bulk call, each with its id as it was sent; of duplicates the first stays.

    Raises BadRequest, for one malformed id too: then nothing is done (section 1.6).
    """
    if not isinstance(body, dict) or "taskIDs" not in body:
        raise BadRequest("CWTKA0159E", "The property taskIDs is missing in the request body.")
    sent = body["taskIDs"]
    if not isinstance(sent, list) or not all(isinstance(text, str) for text in sent):
        raise BadRequest("CWTKA0149E", "The property taskIDs is not a list of strings.")
    found: dict[UUID, str] = {}
    for text in sent:
        found.setdefault(ids.parse(text), text)
    return found


def expected(if_match: str | None, pk: UUID) -> dict[UUID, int]:
    """The version that the caller of a single call expects, as `Call.versions` takes it.

    The header's value is that of the ETag headers of this face.
    """
    try:
        version = expected_version(if_match)
    except ValueError as error:
        raise BadRequest("CWTKA0083E", str(error)) from None
    return {} if version is None else {pk: version}


def expect_nothing(if_match: str | None) -> None:
    """Raise BadRequest where a bulk call expects a version: it could be that of one task only."""
    if if_match is not None:
        raise BadRequest("CWTKA0083E", "If-Match applies to a single task.")


def _unsupported(name: str, value: str, supported: Collection[str]) -> BadRequest:
    return BadRequest(
        "CWTKA0158E", f"{name} cannot be {value}; it can be {' or '.join(supported)}."
    )
