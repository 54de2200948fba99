"""What becomes of the work of an account that leaves; the app that keeps the work settles it."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from django.conf import settings
from django.db import models

from .models import User


class OpenWork(models.TextChoices):
    """What is done with the open work of an account that is deactivated."""

    RELEASE = "release", "Release it: others may claim it"
    TRANSFER = "transfer", "Hand it over to somebody else"
    KEEP = "keep", "Keep it where it is"


class Keeper(Protocol):
    """The module that settings.OPEN_WORK_KEEPER names: it knows what work there is."""

    def held(self, user: User) -> int:
        """How many pieces of open work only this account can do now."""

    def settle(
        self,
        user: User,
        choice: str,
        *,
        to: User | None = None,
        actor: str = "",
        channel: str = "command",
        request_id: str = "",
    ) -> str:
        """Release, hand over or keep the open work of an account that is inactive by now.

        `actor` is the name of the account that decided so. Call it outside of a transaction. The
        answer says in words what was done and what could not be.
        """


def keeper() -> Keeper:
    """The module that keeps the work."""
    return cast(Keeper, import_module(settings.OPEN_WORK_KEEPER))
