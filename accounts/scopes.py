"""What a token is limited to, below what its account may do: operations, groups, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Protocol, cast

from django.conf import settings


class Work(Protocol):
    """The module that settings.SCOPED_OPERATIONS names: it knows what can be done."""

    PERMISSIONS: Mapping[str, frozenset[str]]
    """The permissions ("app.codename") that each operation may ask for, by its name."""

    STANDING: frozenset[str]
    """Permissions that say what an account is to all work, not what it may do."""


def work() -> Work:
    """What a token can be limited to."""
    return cast(Work, import_module(settings.SCOPED_OPERATIONS))


@dataclass(frozen=True, slots=True)
class Scope:
    """The limits of what an account is used with; None is no limit.

    `operations`: the only ones that may be called, besides reading; none of them is reading only.
    `groups`: the keys of the groups whose tasks alone exist for it, those they are potential
    owners of.
    """

    operations: frozenset[str] | None = None
    groups: frozenset[int] | None = None

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.operations is not None or self.groups is not None

    def covers(self, operation: str) -> bool:
        """Whether an operation may be called."""
        return self.operations is None or operation in self.operations

    def narrowed(self, permissions: frozenset[str]) -> frozenset[str]:
        """Those of an account's permissions that are left.

        Nobody manages accounts, roles or tokens with a limited token: it could lift its own limits.
        """
        if not self.limited:
            return permissions
        known = work().PERMISSIONS
        named = known if self.operations is None else self.operations & known.keys()
        needed = frozenset[str]().union(*(known[name] for name in named))
        return frozenset(
            name
            for name in permissions
            if name in needed or name in work().STANDING or ".view_" in name
        )


UNLIMITED: Final = Scope()
"""The scope of log-ins, and of tokens without limits."""
