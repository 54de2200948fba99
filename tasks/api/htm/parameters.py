"""What the parameters of a call say, read without any look-up."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.http import QueryDict

from accounts.models import User
from tasks import people
from tasks.api.conditions import expected_version
from tasks.people import Reference
from tasks.roles import COLUMNS, TaskRole

from . import ids, times
from .errors import BadRequest
from .words import ACTIONS, OTHER_ACTIONS, READING, ROLES, UPDATES

KNOWN = (
    "action",
    "actions",
    "deadline",
    "duration",
    "faultName",
    "federationMode",
    "fromGroup",
    "fromUser",
    "keepTaskData",
    "mode",
    "new",
    "newEventType",
    "newUser",
    "parentTaskID",
    "relation",
    "taskIDs",
    "toGroup",
    "toUser",
)
"""All other parameters are passed over, as IBM's interface does."""

Given = dict[str, str]
"""The known parameters of one call."""

BOOLEANS: Final = {"true": True, "false": False}
"""How IBM writes a boolean parameter; anything else is refused (section 5.3)."""


class Move(NamedTuple):
    """What a transfer hands over: the role, to whom, and from whom (None is the caller)."""

    role: TaskRole
    to: Reference
    from_: Reference | None

    def arguments(self, user: User) -> dict[str, Any]:
        """What `actions.transfer` takes; a caller who names himself as giver may as well not."""
        own = self.from_ == people.user(user.username)
        return {"role": self.role, "to": self.to, "from_": None if own else self.from_}


def known(query: QueryDict) -> Given:
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


def required(given: Given, name: str) -> str:
    """A parameter that must be there and must not be empty: CWTKA0122E, CWTKA0158E."""
    if name not in given:
        raise BadRequest("CWTKA0122E", f"The parameter {name} is missing.")
    if not given[name]:
        raise BadRequest("CWTKA0158E", f"The parameter {name} is empty.")
    return given[name]


def choice(given: Given, name: str, supported: Collection[str]) -> str:
    """A required parameter with a set of values. Raises CWTKA0122E, CWTKA0158E."""
    if name not in given:
        raise BadRequest("CWTKA0122E", f"The parameter {name} is missing.")
    if given[name] not in supported:
        raise _unsupported(name, given[name], supported)
    return given[name]


def boolean(given: Given, name: str) -> bool:
    """An optional boolean, false by default."""
    return name in given and BOOLEANS[choice(given, name, BOOLEANS)]


def hold(given: Given, *, needed: bool = False) -> times.Moment:
    """When a task wakes up: at `deadline`, after `duration`, or never (section 1.5).

    Raises CWTKA0123E for both, and CWTKA0122E for neither where one is `needed`.
    """
    if "deadline" in given and "duration" in given:
        raise BadRequest("CWTKA0123E", "Either deadline or duration can be given, not both.")
    if "deadline" in given:
        return times.deadline("deadline", given["deadline"])
    if "duration" in given:
        return times.duration("duration", given["duration"])
    if needed:
        raise BadRequest("CWTKA0122E", "The parameter deadline or duration is missing.")
    return lambda user: None


def role(text: str) -> TaskRole:
    """The task role of a path, in one of the spellings of `verbs.ROLES`; else CWTKA0022E."""
    if text not in ROLES:
        raise BadRequest("CWTKA0022E", f"{text} is not a role that can be transferred.")
    return ROLES[text]


def receiver(given: Given, task_role: TaskRole) -> Reference:
    """Whom `assign` gives a task role (sections 1.8 and 3.8); CWTKA0022E where nobody can be."""
    if task_role in COLUMNS:
        raise BadRequest("CWTKA0022E", f"Nobody is assigned the role {task_role.label}.")
    return people.user(required(given, "newUser"))


def move(given: Given, task_role: TaskRole) -> Move:
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


def task_ids(given: Given) -> dict[UUID, str]:
    """The tasks of the parameter taskIDs, a comma list, each as it was sent (section 1.11)."""
    return ids.parse_all(required(given, "taskIDs").split(","))


def actions(given: Given) -> frozenset[str]:
    """The actions that are asked about: all, or those of a comma list (section 1.11)."""
    every = frozenset((*READING, *ACTIONS, *UPDATES)) | OTHER_ACTIONS
    if "actions" not in given:
        return every
    asked = frozenset(given["actions"].split(","))
    for name in sorted(asked - every):
        raise _unsupported("actions", name, sorted(every))
    return asked


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
