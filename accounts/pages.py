"""What the admin pages of every app share."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR, PAGE_VAR
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse

from .models import User

_ORDER = re.compile(r"-?([0-9]{1,3})")
_KEY = re.compile(r"[0-9]{1,18}")


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


class Exact:
    """For admin classes: an address or a selection without meaning is refused, not passed over."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list as the address asks for it. Raises BadRequest where that makes no sense."""
        page = request.GET.get(PAGE_VAR, "1")
        try:
            found = super().get_changelist_instance(request)  # type: ignore[misc]
        except IncorrectLookupParameters:
            raise BadRequest("The list cannot be filtered like this.") from None
        # Where there is one page only, Django takes any number for it.
        if page != str(found.page_num) or not 1 <= found.page_num <= found.paginator.num_pages:
            raise BadRequest("There is no such page.")
        order = request.GET.get(ORDER_VAR, "")
        if ERROR_FLAG in request.GET or (order and not _orders(found, order)):
            raise BadRequest("The list cannot be shown like this.")
        return found

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list; of what it posts, Django would take almost anything for "all of them"."""
        if request.method == "POST":
            across = request.POST.getlist("select_across") or ["0"]
            keys = request.POST.getlist(ACTION_CHECKBOX_NAME)
            if across not in (["0"], ["1"]) or not all(map(_KEY.fullmatch, keys)):
                raise BadRequest("This selection makes no sense.")
            action = request.POST.get("action", "")
            if action and action not in self.get_actions(request):  # type: ignore[attr-defined]
                raise BadRequest("There is no such operation.")
        page: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        return page

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """The list's own filters; Django lets an address probe every column of the table."""
        return lookup.partition("__")[0] in self.get_list_filter(request)  # type: ignore[attr-defined]

    def _get_obj_does_not_exist_redirect(self, *_: Any) -> Any:
        """Where Django would lead elsewhere with a message: there is no such object."""
        raise Http404


def _orders(listed: Any, text: str) -> bool:
    """Whether each part of an order names a column that can be ordered by."""
    for part in text.split("."):
        match = _ORDER.fullmatch(part)
        if match is None or int(match[1]) >= len(listed.list_display):
            return False
        if not listed.get_ordering_field(listed.list_display[int(match[1])]):
            return False
    return True
