"""How callers say who they are, as security schemes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from accounts.authentication import TokenAuthentication
from accounts.scopes import work
from tasks.api.native.base import Basic, Session
from tasks.api.native.oauth import READ

from .fields import Schema


class TokenScheme(OpenApiAuthenticationExtension):
    """A token, whether it was issued as such or exchanged for the secret of a client."""

    target_class = TokenAuthentication
    name = ["token", "oauth2"]  # noqa: RUF012

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """Either."""
        return [{"token": []}, {"oauth2": []}]

    def get_security_definition(self, auto_schema: Any) -> list[Schema]:
        """A bearer token, and the flow that gives one."""
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "htm_...",
                "description": "A token from POST /api/v1/tokens/ or from the admin.",
            },
            {
                "type": "oauth2",
                "description": "A client exchanges its secret for a token of short life.",
                "flows": {
                    "clientCredentials": {
                        "tokenUrl": "/api/oauth/token/",
                        "scopes": {
                            READ: "Reading alone; each other scope is an operation.",
                            **{
                                name: f"The operation {name.replace('_', ' ')}."
                                for name in sorted(work().PERMISSIONS)
                            },
                        },
                    }
                },
            },
        ]


class SessionScheme(OpenApiAuthenticationExtension):
    """The log-in of a browser."""

    target_class = Session
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """The cookie."""
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "A log-in through the admin; writes need the header X-CSRFToken too.",
        }


class BasicScheme(OpenApiAuthenticationExtension):
    """User name and password, where the site wants them."""

    target_class = Basic
    name = "basic"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """The header."""
        return {"type": "http", "scheme": "basic"}
