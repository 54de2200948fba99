"""What the admin pages of every app share."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from .models import User


def actor_of(request: HttpRequest) -> User:
    """The account behind a request; the admin lets nobody else in."""
    assert isinstance(request.user, User)  # noqa: S101
    return request.user


class ReadOnly:
    """For admin classes whose rows are looked at: no form makes, changes or deletes one."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False
