"""Who is meant: accounts and groups named in a call, found and found fit to receive work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from django.db.models import Q

from accounts.models import EffectiveMembership, Group, User, by_object_id

from .errors import TargetEmpty, TargetInactive, UnknownGroup, UnknownUser


@dataclass(frozen=True, slots=True)
class Reference:
    """An account or group as a caller names it, not looked up yet.

    `by` says what `value` is: the user name or group name, the 24-digit object id Itential shows,
    or the primary key as text.
    """

    kind: Literal["user", "group"]
    value: str
    by: Literal["name", "object_id", "pk"] = "name"

    def as_json(self) -> dict[str, str]:
        """What a stored bulk operation keeps; `Reference(**it)` is the reference again."""
        return asdict(self)

    def find(self) -> User | Group:
        """The account or group, active or not. Raises UnknownUser or UnknownGroup."""
        if self.by == "object_id":
            condition = by_object_id(self.value)
        elif self.by == "pk":
            number = self.value.isascii() and self.value.isdecimal() and len(self.value) < 19
            condition = Q(pk=int(self.value)) if number else Q(pk__in=())
        else:
            condition = Q(**{"username" if self.kind == "user" else "name": self.value})
        if self.kind == "user":
            user = User.objects.filter(condition).first()
            if user is None:
                raise UnknownUser(name=self.value)
            return user
        group = Group.objects.filter(condition).first()
        if group is None:
            raise UnknownGroup(name=self.value)
        return group

    def receiver(self) -> User | Group:
        """As `find`, for somebody who is to get work.

        Raises TargetInactive for an inactive account or group, TargetEmpty for a group without an
        active member, besides what `find` raises.
        """
        found = self.find()
        if not found.is_active:
            raise TargetInactive(name=named(found))
        if (
            isinstance(found, Group)
            and not EffectiveMembership.objects.filter(group=found, lead=False).exists()
        ):
            raise TargetEmpty(name=found.name)
        return found


def user(value: str, by: Literal["name", "object_id", "pk"] = "name") -> Reference:
    """A reference to an account."""
    return Reference("user", value, by)


def group(value: str, by: Literal["name", "object_id", "pk"] = "name") -> Reference:
    """A reference to a group."""
    return Reference("group", value, by)


def named(holder: User | Group) -> str:
    """The name people and the audit know an account or group by."""
    return holder.username if isinstance(holder, User) else holder.name


def tagged(holder: User | Group) -> dict[str, Any]:
    """How the audit writes down a holder: {"user": name} or {"group": name}."""
    return {"user" if isinstance(holder, User) else "group": named(holder)}
