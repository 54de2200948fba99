"""OAuth 2 for programs: a client exchanges its secret for a token of short life (RFC 6749, 4.4)."""

from __future__ import annotations

import base64
from typing import Any, ClassVar, Final

from django.http import HttpRequest
from django.urls import path
from django.utils.http import parse_header_parameters
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import BeyondScope, authorization, exchange
from accounts.scopes import work
from tasks.models import Channel

from .base import NativeView
from .uploads import read_form

FORM: Final = "application/x-www-form-urlencoded"
READ: Final = "read"
"""The scope that is good for reading alone; the others are operations by name."""


class OAuthError(APIException):
    """What is wrong, by a code of RFC 6749, 5.2."""

    def __init__(self, code: str, detail: str, status: int = 400) -> None:
        super().__init__(detail, code)
        self.status_code = status
        if status == 401:
            self.auth_header = 'Basic realm="human tasks", charset="UTF-8"'


class TokenEndpoint(NativeView):
    """Tokens for clients; errors are problem documents that say `error` as well, as OAuth wants."""

    name = "OAuth token"
    description = (
        "A client exchanges its secret for a token of short life. Send a form, not JSON: "
        "grant_type=client_credentials and, if you like, a scope; the client's id and secret "
        "in the form or by HTTP Basic."
    )
    example: ClassVar[dict[str, Any]] = {}
    keeps_answers = False

    def get_authenticators(self) -> list[BaseAuthentication]:
        """None: the client says who it is in the call itself."""
        return []

    def get_permissions(self) -> list[Any]:
        """None, likewise."""
        return []

    @sensitive_variables()
    def post(self, request: Request) -> Response:
        """Exchange the secret of a client for a token."""
        given = self._parameters(request)
        client_id, secret = self._credentials(request, given)
        if given.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "The only grant here: client_credentials.")
        sent: HttpRequest = request._request
        channel = Channel.NATIVE.value
        try:
            found = exchange(client_id, secret, self._scope(given), channel=channel, request=sent)
        except BeyondScope:
            raise OAuthError("invalid_scope", "The client may not do all of that.") from None
        if found is None:
            raise OAuthError("invalid_client", "The client or its secret is not known.", 401)
        token, access_token = found
        assert token.expires_at is not None  # noqa: S101  (it was issued with a lifetime)
        lifetime = token.expires_at - token.created_at
        answer: dict[str, Any] = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": round(lifetime.total_seconds()),
        }
        if token.operations is not None:
            answer["scope"] = " ".join([READ, *token.operations])
        return Response(answer, headers={"Pragma": "no-cache"})

    def handle_exception(self, exc: Exception) -> Response:
        """The problem document; OAuth's clients look for `error` in it."""
        response = super().handle_exception(exc)
        if isinstance(response.data, dict):
            known = isinstance(exc, OAuthError)
            response.data["error"] = response.data["code"] if known else "invalid_request"
            response.data["error_description"] = response.data["detail"]
        return response

    def _parameters(self, request: Request) -> dict[str, str]:
        """The parameters of the form, each given once; unknown ones are passed over (RFC 6749)."""
        media_type, _ = parse_header_parameters(request.content_type or "")
        if media_type != FORM:
            raise UnsupportedMediaType(request.content_type or "without Content-Type")
        found = {}
        for name in ("grant_type", "client_id", "client_secret", "scope"):
            value = read_form(request).get(name)
            if isinstance(value, str):
                found[name] = value
            elif value is not None:
                raise OAuthError("invalid_request", f"{name} is given more than once.")
        return found

    def _credentials(self, request: Request, given: dict[str, str]) -> tuple[str, str]:
        """Id and secret, from the header or the form. Raises OAuthError."""
        scheme, credentials = authorization(request)
        if scheme != "basic":
            if not given.get("client_id") or not given.get("client_secret"):
                raise OAuthError("invalid_client", "Say client_id and client_secret.", 401)
            return given["client_id"], given["client_secret"]
        if "client_secret" in given:
            raise OAuthError("invalid_request", "Two ways to say who the client is.")
        try:
            text = base64.b64decode(credentials, validate=True).decode()
        except ValueError:
            raise OAuthError("invalid_client", "The credentials cannot be read.", 401) from None
        client_id, _, secret = text.partition(":")
        return client_id, secret

    def _scope(self, given: dict[str, str]) -> frozenset[str] | None:
        """The operations asked for; None where nothing is said. Raises OAuthError."""
        if "scope" not in given:
            return None
        named = frozenset(given["scope"].split()) - {READ}
        if not named <= work().PERMISSIONS.keys() or not given["scope"].split():
            raise OAuthError("invalid_scope", f"A scope is {READ}, or the name of an operation.")
        return named


urlpatterns = [
    path(
        "oauth/token/",
        TokenEndpoint.as_view(),
        name="oauth-token",
    ),
]
