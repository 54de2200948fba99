"""The OpenAPI document, and a page on which to read it and try it out."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from rest_framework.authentication import BaseAuthentication
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from .base import NativeView
from .schema import Generator


@cache
def described(*, basic: bool) -> bytes:
    """The document as JSON; `basic` says whether it has user name and password."""
    # The views look at the setting; it is an argument so that each answer is kept by itself.
    generator = Generator()  # type: ignore[no-untyped-call]
    return json.dumps(generator.get_schema(public=True)).encode()


class Open(NativeView):
    """What anybody may read: it says nothing that the source does not."""

    schema = None  # it is no part of the document
    keeps_answers = False
    example: ClassVar[dict[str, Any]] = {}

    def get_authenticators(self) -> list[BaseAuthentication]:
        """None: nobody is asked who they are."""
        return []

    def get_permissions(self) -> list[Any]:
        """None, likewise."""
        return []

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """There is one form only, whatever is asked for."""
        return JSONRenderer(), JSONRenderer.media_type


class Document(Open):
    """The OpenAPI document."""

    def get(self, request: Request) -> HttpResponse:
        """Answer with it, as JSON."""
        text = described(basic=settings.NATIVE_BASIC_AUTH)
        return HttpResponse(text, content_type=JSONRenderer.media_type)


class Docs(Open):
    """The page that shows it."""

    def get(self, request: Request) -> HttpResponse:
        """Answer with Swagger UI, from files of our own."""
        return render(request._request, "native/docs.html")


urlpatterns = [
    path("schema/", Document.as_view(), name="schema"),
    path("docs/", Docs.as_view(), name="docs"),
]
