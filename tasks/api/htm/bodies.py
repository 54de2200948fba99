"""What the bodies of this face's calls say: lists of tasks, messages, updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from rest_framework.request import Request

from accounts.models import User

from . import ids, times
from .errors import BadRequest


def task_ids(body: Any, name: str = "taskIDs") -> dict[UUID, str]:
    """The tasks of a bulk call, each with its id as it was sent; of duplicates the first stays.

    Raises BadRequest, for one malformed id too: then nothing is done (spec, section 1.6).
    """
    sent = _member(body, name)
    if not isinstance(sent, list) or not all(isinstance(text, str) for text in sent):
        raise BadRequest("CWTKA0149E", f"The property {name} is not a list of strings.")
    return ids.parse_all(sent)


def message(request: Request) -> Any:
    """The message that a body holds; None where there is no body (section 1.9).

    Raises CWTKA0013E for null, which stands for no message.
    """
    if request.stream is None:
        return None
    if request.data is None:
        raise BadRequest("CWTKA0013E", "The message must not be null.")
    return request.data


def needed_message(request: Request) -> Any:
    """As `message`, for a call that means nothing without one: CWTKA0013E."""
    found = message(request)
    if found is None:
        raise BadRequest("CWTKA0013E", "The message is missing: send it as the body.")
    return found


# --- Updates (sections 1.5 and 3.7) -------------------------------------------------------------


class Property(NamedTuple):
    """Which property of ours a member stands for, and how its value is read."""

    name: str
    read: Callable[[str, Any, User], Any]


def _text(name: str, value: Any, user: User) -> str:
    if not isinstance(value, str):
        raise BadRequest("CWTKA0149E", f"The property {name} is not a string.")
    return value


def _number(name: str, value: Any, user: User) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest("CWTKA0136E", f"The property {name} is not an integer.")
    return value


def _boolean(name: str, value: Any, user: User) -> bool:
    if not isinstance(value, bool):
        raise BadRequest("CWTKA0149E", f"The property {name} is not a boolean.")
    return value


def _texts(name: str, value: Any, user: User) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise BadRequest("CWTKA0149E", f"The property {name} is not an object of strings.")
    return value


def _due(name: str, value: Any, user: User) -> Any:
    if value is None:  # IBM refuses it for this time alone (section 3.7)
        raise BadRequest("CWTKA0013E", f"The property {name} must not be null.")
    return _time(name, value, user)


def _time(name: str, value: Any, user: User) -> Any:
    return None if value is None else times.deadline(name, _text(name, value, user))(user)


def _duration(name: str, value: Any, user: User) -> Any:
    """A duration counts from now: when it was activated differs from task to task."""
    return times.expression(name, _text(name, value, user))(user)


PROPERTIES: Final[Mapping[str, Property]] = {
    "name": Property("name", _text),
    "displayName": Property("name", _text),
    "description": Property("description", _text),
    "customProperties": Property("custom_properties", _texts),
    "priority": Property("priority", _number),
    "dueTime": Property("due_at", _due),
    "durationUntilDue": Property("due_at", _duration),
    "expirationTime": Property("expires_at", _time),
    "durationUntilExpires": Property("expires_at", _duration),
    "supportsClaimIfSuspended": Property("claim_while_on_hold", _boolean),
}
"""The members that can be updated. `customProperties` is the whole of them, as GET answers it."""

NOT_KEPT: Final = frozenset(
    (
        "businessRelevance contextAuthorizationOfOwner deletionTime durationUntilDeleted "
        "eventHandlerName isBusinessRelevant isEscalated isRead namespace parentContextID "
        "supportsDelegation supportsFollowOnTasks supportsSubTasks type workBasketName"
    ).split()
)
"""What IBM can update and this server has no place for; to drop it silently would be a lie."""


def update(body: Any, user: User) -> dict[str, Any]:
    """What a Task Update changes, as `actions.update` takes it.

    Members that IBM does not have are passed over. Raises CWTKA0041E for one that is not kept
    here, CWTKA0116E for two that say different things of the same, CWTKA0159E for nothing at all.
    """
    if not isinstance(body, dict):
        raise BadRequest("CWTKA0159E", "The request body is not an object with properties.")
    for name in sorted(NOT_KEPT & set(body)):
        raise BadRequest("CWTKA0041E", f"The property {name} cannot be updated.")
    values: dict[str, Any] = {}
    for name, prop in PROPERTIES.items():
        if name not in body:
            continue
        value = prop.read(name, body[name], user)
        if values.setdefault(prop.name, value) != value:
            raise BadRequest(
                "CWTKA0116E", f"The property {name} cannot be updated together with its other form."
            )
    if not values:
        raise BadRequest(
            "CWTKA0159E", f"The request body has none of the properties {', '.join(PROPERTIES)}."
        )
    return values


def bulk_update(body: Any, user: User) -> dict[str, Any]:
    """As `update`, from the body of a bulk update (section 1.6)."""
    return update(_member(body, "updatedPropertyValues"), user)


def _member(body: Any, name: str) -> Any:
    if not isinstance(body, dict) or name not in body:
        raise BadRequest("CWTKA0159E", f"The property {name} is missing in the request body.")
    return body[name]
