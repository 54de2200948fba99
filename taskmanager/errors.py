"""Answers to what no view could answer: in the shape of the face, or as a page."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import loader

from tasks.api import RETRY_SECONDS, database_in_trouble
from tasks.api.middleware import refuse


def page(request: HttpRequest, status: int, code: str, message: str) -> HttpResponseBase:
    """The refusal of a request that no view has seen, and that is no face's, as a page."""
    # Rendered without a request: whatever is broken, the page that says so is not.
    text = loader.render_to_string("error.html", {"message": message})
    return HttpResponse(text, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """400: a request that Django itself refuses, such as one for a host that is not ours."""
    return refuse(request, 400, "bad_request", "The request is not valid.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """403: a page that the account may not open."""
    return refuse(request, 403, "not_permitted", "You are not permitted to open this page.")


def no_csrf_token(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """403: a form that did not come from a page of ours, or from one that is too old."""
    return refuse(
        request, 403, "csrf", "The form is not valid any more. Go back, reload the page, try again."
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """404: no such page, or one that is not shown to this account."""
    return refuse(request, 404, "not_found", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponseBase:
    """500; or 503 with Retry-After where the database is what failed."""
    if database_in_trouble(sys.exc_info()[1]):
        answer = refuse(
            request, 503, "unavailable", "The database cannot be reached now. Try again shortly."
        )
        answer["Retry-After"] = str(RETRY_SECONDS)
        return answer
    return refuse(request, 500, "internal_error", "Something went wrong here; it has been logged.")
