"""Picking accounts and groups by typing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect
from django.http import HttpRequest


class Picker(AutocompleteSelect):
    """Django's picker, which does not fall over a posted key that is no number."""

    @property
    def media(self) -> forms.Media:
        """Django's scripts and, after them, ours, which names the picker for screen readers."""
        ours = forms.Media(js=["admin/js/autocomplete.js", "accounts/pickers.js"])
        return super().media + ours

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        """The selected option, if its key can be one; the form says what is wrong with others."""
        keys = [key for key in value if str(key).isascii() and str(key).isdecimal()]
        return super().optgroups(name, keys, attr)


class Picking:
    """For admin classes with `autocomplete_fields`: their widgets are Pickers."""

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest | None, **kwargs: Any
    ) -> Any:
        """Django's form field, with our widget where Django would put its own."""
        if request is not None and db_field.name in self.get_autocomplete_fields(request):  # type: ignore[attr-defined]
            kwargs.setdefault("widget", Picker(db_field, self.admin_site))  # type: ignore[attr-defined]
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]
