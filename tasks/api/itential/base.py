"""What every view of this face shares: the order of the tests, who asks, the body, the envelope."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn, cast

from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, MethodNotAllowed, NotAuthenticated
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.authentication import ItentialAuthentication
from accounts.models import User
from tasks.actions import Call
from tasks.api.middleware import request_id_of
from tasks.api.parsers import BadBody, JSONByDefault
from tasks.models import Channel

from .errors import answer_to

MOST_SHOWN = 100
"""How many characters of a name that a caller made up are given back to him."""


class JSONAlways(JSONByDefault):
    """Answers are JSON too, whatever is asked for."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """The only one."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ItentialView(APIView):
    """One route of this face.

    A subclass reads what the URL says in `read`, which runs before anybody is asked who he is.
    """

    http_method_names = ["get", "head", "post"]  # noqa: RUF012  (the type is Django's)
    authentication_classes: Sequence[type[BaseAuthentication]] = (ItentialAuthentication,)
    permission_classes: Sequence[type[BasePermission]] = (IsAuthenticated,)
    content_negotiation_class = JSONAlways

    def read(self, request: Request, **parts: str) -> None:
        """Check the syntax of path and parameters; looks nothing up."""

    @property
    def default_response_headers(self) -> dict[str, str]:
        """What is said to one account is not for another: no cache keeps it."""
        return {"Cache-Control": "no-store"}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Everything before the call: method, syntax, and only then the credentials."""
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(request.method or "")
        self.read(request, **kwargs)
        super().initial(request, *args, **kwargs)

    @property
    def user(self) -> User:
        """The account that asks."""
        return cast(User, self.request.user)

    def call(self) -> Call:
        """The call that this request makes of the core."""
        return Call(self.user, Channel.ITENTIAL, request_id=request_id_of(self.request))

    @property
    def http_request(self) -> HttpRequest:
        """Django's own request."""
        return self.request._request

    def members(self, allowed: Collection[str]) -> dict[str, Any]:
        """The body, an object with no members but those allowed; no body is an empty object."""
        return members_of(self.request.data, allowed)

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        """Any exception in the envelope."""
        response = answer_to(exc, self.http_request)
        if (
            isinstance(exc, (NotAuthenticated, AuthenticationFailed))
            and self.authentication_classes
        ):
            response["WWW-Authenticate"] = self.get_authenticate_header(self.request)
        elif isinstance(exc, MethodNotAllowed):
            response["Allow"] = ", ".join(self.allowed_methods)
        return response


def members_of(value: Any, allowed: Collection[str], where: str = "") -> dict[str, Any]:
    """`value`, an object with no members but those allowed; raises BadBody.

    `where` is the member of the body that it is in.
    """
    if not isinstance(value, Mapping):
        bad_body("not_an_object", where, "an object is expected")
    for name in value:
        if name not in allowed:
            shown = f"{where}.{name}" if where else name
            bad_body("unknown_member", shown[:MOST_SHOWN], "there is no such member")
    return dict(value)


def bad_body(code: str, where: str, why: str) -> NoReturn:
    """Raise BadBody for a member of the body, or for the whole of it where that has no name."""
    raise BadBody(code, f"{where or 'body'}: {why}.")
