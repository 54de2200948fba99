"""The part of an admin site that changes an account: the page for one's own password."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

from . import audit
from .models import User


class AccountSite(AdminSite):
    """An admin site that records it when people change their passwords."""

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Django's page for one's own password, and the event."""
        if request.method != "POST" or not isinstance(request.user, User):
            return super().password_change(request, extra_context)
        with audit.changing(
            request.user, actor=request.user.username, channel="admin", request=request
        ):
            return super().password_change(request, extra_context)
