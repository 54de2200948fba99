"""The forms in which an operation on many tasks is told what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.sites import AdminSite
from django.utils.dateparse import parse_datetime

from accounts.models import Group, User
from tasks import people
from tasks.actions.properties import MOST_TEXT
from tasks.errors import CallError
from tasks.lifecycle import TRANSFERS
from tasks.models import PRIORITIES
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
            "Say why; it stands in the history of each task."
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


class PlainForm(BulkForm):
    """Most operations ask nothing but the reason."""


class AssignForm(BulkForm):
    """Assign and delegate: to whom."""

    field_order = ("to_user", "reason")
    FIELDS_OF: ClassVar = {"to": ("to_user",)}

    def __init__(self, *args: Any, site: AdminSite, user: User, **kwargs: Any) -> None:
        super().__init__(*args, site=site, user=user, **kwargs)
        self.fields["to_user"] = user_field(
            site, active=True, label="To", help_text="Who is to have the tasks."
        )
        self.fields["to_user"].required = True
        self.order_fields(self.field_order)

    def arguments(self) -> dict[str, Any]:
        """The receiver."""
        return {"to": _reference(self.cleaned_data["to_user"])}

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The receiver of a stored operation."""
        return {"to_user": arguments["to"]["value"]} if "to" in arguments else {}


class HoldForm(BulkForm):
    """Put on hold: until when, in the time zone of the account, or until somebody resumes."""

    until = forms.DateTimeField(
        required=False,
        label="Until",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="Then the tasks wake up by themselves. Left empty, somebody has to resume them.",
    )
    field_order = ("until", "reason")
    FIELDS_OF: ClassVar = {"until": ("until",)}

    def arguments(self) -> dict[str, Any]:
        """The time of waking up."""
        return {"until": self.cleaned_data["until"]}

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The time that a stored operation names."""
        until = parse_datetime(arguments["until"]) if "until" in arguments else None
        return {"until": until}


class PriorityForm(BulkForm):
    """Set priority: which."""

    priority = forms.TypedChoiceField(
        coerce=int,
        initial=5,
        choices=[
            (number, {0: "0, most urgent", 10: "10, least urgent"}.get(number, str(number)))
            for number in range(PRIORITIES[0], PRIORITIES[1] + 1)
        ],
    )
    field_order = ("priority", "reason")

    def arguments(self) -> dict[str, Any]:
        """The priority."""
        return {"priority": self.cleaned_data["priority"]}

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The priority that a stored operation names."""
        return {"priority": arguments.get("priority")}


class CommentForm(BulkForm):
    """Comment: the text, which is its own reason."""

    text = forms.CharField(
        label="Comment",
        max_length=MOST_TEXT,
        widget=forms.Textarea(attrs={"rows": 5, "cols": 60}),
        help_text="Everybody who sees the task reads it.",
    )
    field_order = ("text", "reason")
    FIELDS_OF: ClassVar = {"text": ("text",)}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].widget = forms.HiddenInput()

    def arguments(self) -> dict[str, Any]:
        """The text."""
        return {"text": self.cleaned_data["text"]}

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The text that a stored operation has."""
        return {"text": arguments.get("text")}


class HandingForm(BulkForm):
    """From whom, to whom: accounts or groups."""

    MAIN: ClassVar = ("from_user", "to_user", "reason")
    FURTHER: ClassVar[tuple[str, ...]] = ("from_group", "to_group")
    FURTHER_LABEL: ClassVar = "From or to a group"
    FIELDS_OF: ClassVar = {
        "to": ("to_user", "to_group"),
        "from": ("from_user", "from_group"),
    }
    NO_RECEIVER: ClassVar = "Choose who is to have them."

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
        self.order_fields((*self.MAIN, *self.FURTHER))

    @property
    def main_fields(self) -> list[forms.BoundField]:
        """What is asked of everybody."""
        return [self[name] for name in self.MAIN]

    @property
    def further_fields(self) -> list[forms.BoundField]:
        """What only other roles and groups need."""
        return [self[name] for name in self.FURTHER if name in self.fields]

    @property
    def further_open(self) -> bool:
        """Whether the further fields say anything yet."""
        return any(
            field.errors or field.value() not in (None, "", TaskRole.OWNER.value)
            for field in self.further_fields
        )

    def clean(self) -> dict[str, Any]:
        """Demand one receiver, and one giver at most."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("from_user") and cleaned.get("from_group"):
            self.add_error("from_group", "Choose an account or a group, not both.")
        if cleaned.get("to_user") and cleaned.get("to_group"):
            self.add_error("to_group", "Choose an account or a group, not both.")
        receivers = self.errors.keys() & {"to_user", "to_group"}
        if not receivers and not (cleaned.get("to_user") or cleaned.get("to_group")):
            self.add_error("to_user", self.NO_RECEIVER)
        return cleaned

    def arguments(self) -> dict[str, Any]:
        """Receiver and giver; without a giver the actor gives away his own."""
        given = self.cleaned_data
        giver = given.get("from_user") or given.get("from_group")
        return {
            "to": _reference(given.get("to_user") or given.get("to_group")),
            "from_": _reference(giver) if giver else None,
        }

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The form's values for the arguments of a stored operation."""
        initial = {}
        for name in ("to", "from"):
            value = arguments.get("from_" if name == "from" else name)
            if value:
                initial[f"{name}_{value['kind']}"] = value["value"]
        return initial


class ForwardForm(HandingForm):
    """Forward: whose part of the tasks goes to whom."""

    MAIN: ClassVar = ("from_group", "to_group", "reason")
    FURTHER: ClassVar = ("from_user", "to_user")
    FURTHER_LABEL: ClassVar = "From or to an account"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["from_user"].help_text = "Whose part it is. Left empty, it is your own."
        self.fields["to_user"].help_text = ""

    @property
    def main_fields(self) -> list[forms.BoundField]:
        """The groups, for those who may look them up."""
        return [self[name] for name in self.MAIN if name in self.fields]


class TransferForm(HandingForm):
    """Hand over: which task role, from whom, to whom."""

    FURTHER: ClassVar = ("role", "from_group", "to_group")
    FURTHER_LABEL: ClassVar = "Another task role, or groups"
    NO_RECEIVER: ClassVar = "Choose who is to hold them."

    role = forms.ChoiceField(
        label="Task role",
        initial=TaskRole.OWNER.value,
        choices=[(role.value, role.label.capitalize()) for role in TRANSFERS],
    )

    FIELDS_OF: ClassVar = {**HandingForm.FIELDS_OF, "role": ("role",)}

    def clean(self) -> dict[str, Any]:
        """Demand a giver too, where another role than the owner's goes."""
        cleaned = super().clean()
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
        """The role too."""
        return {"role": self.cleaned_data["role"], **super().arguments()}

    @classmethod
    def initial_of(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The role too."""
        return {"role": arguments.get("role"), **super().initial_of(arguments)}


def _reference(holder: User | Group | None) -> Reference:
    """A reference by key, which a change of name between preview and confirmation cannot bend."""
    assert holder is not None  # noqa: S101  (the form demands one)
    named = people.user if isinstance(holder, User) else people.group
    return named(str(holder.pk), "pk")
