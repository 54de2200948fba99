"""One line in the log for each request."""

from __future__ import annotations

import logging
import time
from typing import Final, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path

from tasks.api.middleware import GetResponse, face_name

logger: Final = logging.getLogger("taskmanager.access")


class AccessLog:
    """Writes one line for each request: who asked for what, what came of it, how long it took.

    Never the query string, headers or bodies. Stands within `RequestIdMiddleware`.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The response, once its line is written."""
        begun = time.perf_counter()
        response = self.get_response(request)
        fields = {
            "method": request.method,
            "path": escape_uri_path(request.path),  # so that no path breaks the line
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - begun) * 1000, 1),
            "user": _user_of(request),
            "face": face_name(request.path_info),
        }
        logger.info("request", extra=fields)
        return response


def _user_of(request: HttpRequest) -> str | None:
    """The name of the account, where somebody has already asked for it: no line costs a query."""
    for name in ("user", "_cached_user"):
        user: object = vars(request).get(name)
        # By its true type: Django's lazy user poses as an account, and would be looked up.
        if issubclass(type(user), AbstractBaseUser):
            return str(cast(AbstractBaseUser, user).get_username())
    return None
