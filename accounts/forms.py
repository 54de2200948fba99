"""Forms of the log-in page and of the account pages in the admin."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.forms import (
    AdminUserCreationForm,
    AuthenticationForm,
    UserChangeForm,
    UsernameField,
)
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db.models import Model

from .authentication import LockedOut, verify
from .delegation import lacking
from .leaving import OpenWork, keeper
from .models import Group, Membership, Role, Token, User
from .scopes import Scope, work
from .texts import UNSEEN
from .widgets import Picker


class LoginForm(AuthenticationForm):
    """The admin's log-in: any active account; wrong passwords count as on every other face."""

    locked_out: LockedOut | None = None
    """Set when the try was refused unseen: the page should then answer 429 and Retry-After."""

    def clean(self) -> dict[str, Any]:
        """Check name and password; raises ValidationError, also while locked out."""
        username = self.cleaned_data.get("username")
        password = self.cleaned_data.get("password")
        if self.request is None or username is None or not password:
            return self.cleaned_data
        self.request.channel = "admin"  # type: ignore[attr-defined]
        try:
            self.user_cache = verify(self.request, username, password)
        except LockedOut as refusal:
            self.locked_out = refusal
            raise ValidationError(
                "Too many wrong passwords for this account. Try again in %(minutes)d min.",
                code="locked_out",
                params={"minutes": -(-refusal.seconds // 60)},
            ) from None
        if self.user_cache is None:
            raise self.get_invalid_login_error()
        return self.cleaned_data


class Legible(forms.ModelForm):  # type: ignore[type-arg]
    """A form none of whose texts holds characters that nobody sees; passwords may."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse such texts; each is an error of its field."""
        cleaned = super().clean()
        for name, value in list(self.cleaned_data.items()):
            if "password" not in name and isinstance(value, str) and UNSEEN.search(value):
                self.add_error(name, "This holds characters that nobody sees.")
        return cleaned


class GrantingForm(Legible):
    """A form that lets nobody give what they lack; the admin sets `actor` on the class it makes."""

    actor: User
    GRANTS: tuple[str, ...] = ("roles", "permissions", "group", "parent")

    def clean(self) -> dict[str, Any] | None:
        """Refuse whatever was added in one of the granting fields and exceeds the actor."""
        cleaned = super().clean()
        for name in self.GRANTS:
            if name not in self.changed_data:
                continue
            held = {getattr(had, "pk", had) for had in _several(self.initial.get(name))}
            for added in _several(self.cleaned_data.get(name)):
                if added.pk not in held and (missing := lacking(self.actor, added)):
                    self.add_error(name, _refusal(added, missing))
        return cleaned


class UserAddForm(Legible, AdminUserCreationForm):  # type: ignore[type-arg]
    """A new account: its name, and a password or none."""

    class Meta:
        model = User
        fields = ("username",)
        field_classes = {"username": UsernameField}  # noqa: RUF012


class UserForm(GrantingForm, UserChangeForm):  # type: ignore[type-arg]
    """An account's own page; whoever deactivates it says what becomes of its open work."""

    open_work = forms.ChoiceField(
        choices=[("", "Choose when you deactivate the account"), *OpenWork.choices],
        required=False,
        help_text="What becomes of the tasks that the account holds.",
    )
    open_work_to = forms.ModelChoiceField(
        User.objects.filter(is_active=True),
        required=False,
        label="Hand it over to",
        widget=Picker(Membership._meta.get_field("user"), admin.site),
    )

    def clean(self) -> dict[str, Any] | None:
        """Refuse to leave open work behind without a word on it."""
        cleaned = super().clean() or {}
        if self.instance.pk is None or not self.deactivates:
            return cleaned
        choice, receiver = cleaned.get("open_work"), cleaned.get("open_work_to")
        held = keeper().held(self.instance)
        if held and not choice:
            self.add_error("open_work", f"The account holds {held:,} open tasks.")
        if choice == OpenWork.TRANSFER and receiver is None:
            self.add_error("open_work_to", "Name somebody, or choose otherwise.")
        if receiver is not None and receiver == self.instance:
            self.add_error("open_work_to", "This is the account that leaves.")
        return cleaned

    @property
    def deactivates(self) -> bool:
        """Whether an account that was active will not be."""
        return bool(self.initial.get("is_active")) and not self.cleaned_data.get("is_active", True)

    class Meta:
        model = User
        # The admin chooses among these; Django's own form would take every field there is.
        fields = (
            "username",
            "password",
            "first_name",
            "last_name",
            "email",
            "time_zone",
            "language",
            "is_active",
            "is_superuser",
            "roles",
            "provenance",
            "legacy_id",
        )
        field_classes = {"username": UsernameField}  # noqa: RUF012


class TokenForm(Legible):
    """A new API token."""

    actor: User
    LIFETIMES = {"30": "30 days", "90": "90 days", "365": "1 year", "": "Until revoked"}  # noqa: RUF012

    lifetime = forms.ChoiceField(
        choices=list(LIFETIMES.items()), initial="90", required=False, label="Valid for"
    )

    kind = forms.ChoiceField(
        choices=[(kind.value, kind.label) for kind in (Token.Kind.API, Token.Kind.CLIENT)],
        required=False,
    )
    access = forms.ChoiceField(
        choices=[
            ("", "All that the account may do"),
            ("read", "Reading only"),
            ("some", "Reading, and the operations chosen below"),
        ],
        required=False,
    )
    chosen = forms.MultipleChoiceField(
        choices=lambda: [(name, name.replace("_", " ")) for name in work().PERMISSIONS],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label="Operations",
        help_text="Only those, if the access is limited to operations chosen below.",
    )
    groups = forms.ModelMultipleChoiceField(
        Group.objects.order_by("name"),
        required=False,
        label="Tasks of these groups only",
        help_text="Other tasks do not exist for the token. With none chosen there is no limit.",
    )

    class Meta:
        model = Token
        fields = ("user", "name")

    def clean_kind(self) -> Token.Kind:
        """The kind, an API token where nothing is said."""
        return Token.Kind(self.cleaned_data["kind"] or Token.Kind.API)

    def clean(self) -> dict[str, Any] | None:
        """Refuse operations that would not count, and a choice of none."""
        cleaned = super().clean() or {}
        some = cleaned.get("access") == "some"
        if bool(cleaned.get("chosen")) != some and not self.errors:
            self.add_error("chosen", "Choose operations here exactly if access says so.")
        return cleaned

    @property
    def scope(self) -> Scope:
        """What the token is limited to."""
        groups = {group.pk for group in self.cleaned_data["groups"]}
        return Scope(
            frozenset(self.cleaned_data["chosen"]) if self.cleaned_data["access"] else None,
            frozenset(groups) or None,
        )

    def clean_user(self) -> User:
        """An active account that holds no more than the one who makes the token."""
        user: User = self.cleaned_data["user"]
        if not user.is_active:
            raise ValidationError("This account is not active.")
        if missing := lacking(self.actor, user):
            raise _refusal(user, missing)
        return user

    def clean_lifetime(self) -> timedelta | None:
        """How long the token holds; None for ever."""
        days = self.cleaned_data["lifetime"]
        return timedelta(days=int(days)) if days else None


def _several(value: Any) -> Iterable[Any]:
    """The value or values of a relation field."""
    if value is None:
        return ()
    return (value,) if isinstance(value, Model | int) else value


def _refusal(subject: User | Group | Role | Permission, missing: set[str]) -> ValidationError:
    return ValidationError(
        "%(subject)s brings what you do not hold yourself: %(missing)s.",
        code="exceeds",
        params={"subject": subject, "missing": ", ".join(sorted(missing))},
    )
