"""Files that come in: as a part of a form, or as base64 within JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import (
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.http import parse_header_parameters
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from tasks.api.middleware import ATTACHMENT_BODY
from tasks.api.parsers import BadBody, StrictJSONParser
from tasks.api.strict_json import DEFAULT, BadJSON, loads

FORM: Final = "multipart/form-data"

TOKEN: Final = "csrfmiddlewaretoken"  # noqa: S105 (the name of the field)
"""The part in which a browser's form proves where it comes from; read before any view."""


class AttachmentParser(StrictJSONParser):
    """JSON that may carry a file."""

    max_bytes = ATTACHMENT_BODY
    free = frozenset({"content"})


class FormParser(BaseParser):
    """Says that forms are read on a route; `read_form` reads them."""

    media_type = FORM

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parts by name."""
        return read_form((parser_context or {})["request"])


def is_form(request: Request) -> bool:
    """Whether the body is a form that may hold files."""
    media_type, _ = parse_header_parameters(request.content_type or "")
    return media_type == FORM


def read_form(request: Request) -> dict[str, Any]:
    """The parts of a form by name: texts and files; a list of them where one comes twice.

    `ids` is always a list: of the texts given, or the one that a single text holds as JSON. Raises
    BadBody.
    """
    # Django's own reading: looking for the token of a session may have read the form already.
    sent = request._request
    try:
        texts, files = sent.POST, sent.FILES
    except (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent):
        raise BadBody("too_many_parts", "The form has too many parts, or too long texts.") from None
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        raise BadBody("unreadable_body", "The body could not be read.") from None
    found: dict[str, list[Any]] = {}
    for name, values in texts.lists():
        if name != TOKEN:
            found[name] = _ids(values) if name == "ids" else [_checked(name, v) for v in values]
    for name, uploads in files.lists():
        found[name] = [*found.get(name, ()), *uploads]
    return {
        name: values if name == "ids" or len(values) > 1 else values[0]
        for name, values in found.items()
    }


def _ids(values: list[Any]) -> Any:
    if len(values) > 1 or not values[0].lstrip().startswith("["):
        return values
    try:
        return loads(values[0].encode())
    except BadJSON as error:
        raise BadBody(error.code, error.message, f"/ids{error.pointer or ''}") from None


def _checked(name: str, text: str) -> str:
    """The text, under the rules that hold for texts in JSON."""
    if "\ufffd" in text:  # what Django puts in the place of bytes that it cannot read
        raise BadBody("invalid_utf8", "A text is not UTF-8.", f"/{name}")
    if len(text.encode()) > DEFAULT.string_bytes:
        message = f"A text is longer than {DEFAULT.string_bytes} bytes."
        raise BadBody("string_too_long", message, f"/{name}")
    return text
