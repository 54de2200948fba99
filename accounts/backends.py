"""The authentication backend that turns roles into permissions and checks passwords."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from .grants import grants_of
from .models import DEMO, User


class RoleBackend(BaseBackend):
    """Replaces Django's ModelBackend; permissions of Django's own groups are never read."""

    @sensitive_variables("password")
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """The active account with this name and password, or None."""
        if username is None or password is None:
            return None
        user = User.objects.filter(username=username).first()
        if user is None:
            # As long as a check takes, so that the time does not tell which names exist.
            make_password(password)
            return None
        # The password is checked where it cannot help, too, for the same reason.
        admitted = user.is_active and (settings.DEMO or user.provenance != DEMO)
        return user if user.check_password(password) and admitted else None

    def get_user(self, user_id: int) -> User | None:
        """The account of a session while it is active."""
        return User.objects.filter(pk=user_id, is_active=True).first()

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """The permissions of the account's roles; none on single objects."""
        if obj is not None or not isinstance(user_obj, User):
            return set()
        return set(grants_of(user_obj).permissions)

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Whether a role of the account grants `perm`; never for a single object."""
        return (
            obj is None and isinstance(user_obj, User) and perm in grants_of(user_obj).permissions
        )

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Whether any role grants anything in the app."""
        return isinstance(user_obj, User) and any(
            name.startswith(f"{app_label}.") for name in grants_of(user_obj).permissions
        )
