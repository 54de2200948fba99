"""The admin site: open to every active account that may read tasks; no staff flag."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, cast
from zoneinfo import ZoneInfo

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils import timezone

from accounts.forms import LoginForm
from accounts.models import User
from accounts.site import AccountSite
from tasks.api import RETRY_SECONDS, database_in_trouble

View = Callable[..., Any]

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST")
"""What browsers use."""

REFUSALS = {
    400: (
        "This cannot be read",
        "What your browser sent makes no sense here; nothing was changed.",
    ),
    403: ("Not permitted", "Your roles do not permit this; nothing was changed."),
    404: ("Nothing here", "There is nothing here, or nothing that you may see."),
    405: ("Not like this", "This page is opened or its form is sent; nothing was changed."),
    413: ("Too much", "That is more than one call of yours may take."),
}


class TaskAdminSite(AccountSite):
    """Operations staff's way in."""

    site_header = "Human tasks"
    site_title = "Human tasks"
    index_title = "Work"
    site_url = None
    index_template = "admin/dashboard.html"
    login_form = LoginForm
    # Its few pages stand in the header; a side bar would take the list's room.
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the account may enter: active, and with a role that reads tasks."""
        user = request.user
        return user.is_active and user.has_perm("tasks.view_task")

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Django's gate around a view; what the view raises becomes a page of ours."""
        gated = super().admin_view(self._answering(view), cacheable)

        @wraps(gated)
        def available(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                return gated(request, *args, **kwargs)
            except Error as error:
                if not database_in_trouble(error):
                    raise
                logger.warning("The database did not answer.", exc_info=error)
                page = render_to_string("admin/unavailable.html")
                headers = {"Retry-After": str(RETRY_SECONDS)}
                return HttpResponse(page, status=503, headers=headers)

        return available

    def _answering(self, view: View) -> View:
        """The view in the account's time zone, its refusals as pages."""

        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                if request.method not in METHODS:
                    return self._no_method(request, METHODS)
                _check_form(request)
                with timezone.override(_zone_of(request.user)):
                    response = view(request, *args, **kwargs)
                    if isinstance(response, HttpResponseNotAllowed):
                        return self._no_method(request, response["Allow"].split(", "))
                    # Rendered here, while the time zone holds and the database's errors are caught.
                    if isinstance(response, SimpleTemplateResponse):
                        response.render()
                    return response
            except Http404:
                return self.refuse(request, 404)
            except PermissionDenied:
                return self.refuse(request, 403)
            except (BadRequest, SuspiciousOperation):
                return self.refuse(request, 400)

        return answer

    def refuse(self, request: HttpRequest, status: int, text: str = "") -> HttpResponse:
        """A page that says no; the same for whatever is hidden and whatever is missing."""
        title, words = REFUSALS[status]
        context = {**self.each_context(request), "title": title, "text": text or words}
        return TemplateResponse(request, "admin/refused.html", context, status=status).render()

    def _no_method(self, request: HttpRequest, allowed: Iterable[str]) -> HttpResponse:
        page = self.refuse(request, 405)
        page["Allow"] = ", ".join(allowed)
        return page

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The log-in page; 429 while the account is locked for this network."""
        if request.method not in METHODS:
            return self._no_method(request, METHODS)
        response = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        locked_out = getattr(form, "locked_out", None)
        if locked_out is not None:
            response.status_code = 429
            response["Retry-After"] = str(locked_out.seconds)
        return response

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """The first page, with the numbers of the account's work."""
        # The pages register with this site, which must exist before they can be imported.
        from tasks.admin import dashboard

        return super().index(
            request, {**dashboard.context(cast(User, request.user)), **(extra_context or {})}
        )

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The pages by app: the work first, then access; what is used most comes first."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=lambda page: page["object_name"] not in ("Task", "User"))
        return sorted(apps, key=lambda app: app["app_label"] != "tasks")

    def get_urls(self) -> list[Any]:
        """Django's, without the way to an object by its type: nothing here has a page elsewhere."""
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]


def _check_form(request: HttpRequest) -> None:
    """Raise BadRequest for a form that was not UTF-8.

    Django reads it all the same and puts U+FFFD, which nobody types, for what it could not read.
    """
    for name, values in request.POST.lists():
        if any("\ufffd" in text for text in (name, *values)):
            raise BadRequest("The form is not UTF-8.")


def _zone_of(user: Any) -> ZoneInfo:
    """The time zone of the account; UTC where the name is not known here."""
    try:
        return ZoneInfo(user.time_zone)
    except (ValueError, OSError, KeyError):
        return ZoneInfo("UTC")
