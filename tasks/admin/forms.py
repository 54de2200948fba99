"""The forms in which an operation on many tasks is told what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.sites import AdminSite

from accounts.models import Group, User
from tasks import people
from tasks.errors import CallError
from tasks.lifecycle import TRANSFERS
from tasks.people import Reference
from tasks.roles import TaskRole

from .filters import group_field, user_field

LONGEST_REASON = 2000


class BulkForm(forms.Form):
    """What every operation asks: the reason."""

    reason = forms.CharField(
        required=False,
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
        help_text="It stands in the history of each task.",
    )

    FIELDS_OF: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The form's fields for an argument of the operation."""

    def __init__(
        self, *args: Any, site: AdminSite, user: User, reason_required: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        self.fields["reason"].required = reason_required
        self.fields["reason"].error_messages["required"] = (
            "Say why: not all of these tasks are your own."
        )

    def arguments(self) -> dict[str, Any]:
        """The operation's arguments; the form is valid."""
        return {}

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The form's values for the arguments of a stored operation."""
        return {}

    def add_call_error(self, error: CallError) -> None:
        """Say what the core found wrong with the call, at the field that it is about."""
        about = str(error.params.get("field", "to")).rstrip("_")
        for name in self.FIELDS_OF.get(about, ()):
            if self.cleaned_data.get(name):
                self.add_error(name, error.params.get("why", error.text))
                return
        self.add_error(None, error.text)


class ReleaseForm(BulkForm):
    """Release asks nothing but the reason."""


class TransferForm(BulkForm):
    """Hand over: which task role, from whom, to whom."""

    role = forms.ChoiceField(
        label="Task role",
        initial=TaskRole.OWNER.value,
        choices=[(role.value, role.label.capitalize()) for role in TRANSFERS],
    )

    FIELDS_OF: ClassVar = {
        "to": ("to_user", "to_group"),
        "from": ("from_user", "from_group"),
        "role": ("role",),
    }
    field_order = ("from_user", "to_user", "reason", "role", "from_group", "to_group")

    def __init__(self, *args: Any, site: AdminSite, user: User, **kwargs: Any) -> None:
        super().__init__(*args, site=site, user=user, **kwargs)
        self.fields["from_user"] = user_field(
            site,
            active=False,
            label="From",
            help_text="Who holds the tasks now. Left empty, you hand over your own.",
        )
        self.fields["to_user"] = user_field(
            site, active=True, label="To", help_text="Who is to hold them."
        )
        if user.has_perm("accounts.view_group"):
            self.fields["from_group"] = group_field(site, active=False, label="From group")
            self.fields["to_group"] = group_field(site, active=True, label="To group")
        self.order_fields(self.field_order)

    @property
    def main_fields(self) -> list[forms.BoundField]:
        """What is asked of everybody."""
        return [self[name] for name in ("from_user", "to_user", "reason")]

    @property
    def further_fields(self) -> list[forms.BoundField]:
        """What only other roles and groups need."""
        return [self[name] for name in ("role", "from_group", "to_group") if name in self.fields]

    @property
    def further_open(self) -> bool:
        """Whether the further fields say anything yet."""
        return any(
            field.errors or field.value() not in (None, "", TaskRole.OWNER.value)
            for field in self.further_fields
        )

    def clean(self) -> dict[str, Any]:
        """Demand one giver and one receiver."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("from_user") and cleaned.get("from_group"):
            self.add_error("from_group", "Choose an account or a group, not both.")
        if cleaned.get("to_user") and cleaned.get("to_group"):
            self.add_error("to_group", "Choose an account or a group, not both.")
        receivers = self.errors.keys() & {"to_user", "to_group"}
        if not receivers and not (cleaned.get("to_user") or cleaned.get("to_group")):
            self.add_error("to_user", "Choose who is to hold them.")
        givers = self.errors.keys() & {"from_user", "from_group"}
        other_role = cleaned.get("role") not in (None, TaskRole.OWNER.value)
        if (
            other_role
            and not givers
            and not (cleaned.get("from_user") or cleaned.get("from_group"))
        ):
            self.add_error("from_user", "Choose who holds that role now.")
        return cleaned

    def arguments(self) -> dict[str, Any]:
        """Role, receiver and giver; without a giver the actor gives away his own."""
        given = self.cleaned_data
        giver = given.get("from_user") or given.get("from_group")
        return {
            "role": given["role"],
            "to": _reference(given.get("to_user") or given.get("to_group")),
            "from_": _reference(giver) if giver else None,
        }

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The form's values for the arguments of a stored operation."""
        initial = {"role": arguments.get("role")}
        for name in ("to", "from"):
            value = arguments.get("from_" if name == "from" else name)
            if value:
                initial[f"{name}_{value['kind']}"] = value["value"]
        return initial


def _reference(holder: User | Group | None) -> Reference:
    """A reference by key, which a change of name between preview and confirmation cannot bend."""
    assert holder is not None  # noqa: S101  (the form demands one)
    named = people.user if isinstance(holder, User) else people.group
    return named(str(holder.pk), "pk")
