"""What stands between a request body and a view: one strict JSON parser for every face."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django.utils.http import parse_header_parameters
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from tasks.api.middleware import SMALL_BODY, UTF8_NAMES
from tasks.api.strict_json import BadJSON, Limits, loads


class BadBody(APIException):
    """A request body that is refused.

    `code`, `message` and `pointer` are those of `strict_json.BadJSON`; each face's exception
    handler puts them into its own shape. `status_code` is 400 unless a subclass says otherwise.
    """

    status_code: int = status.HTTP_400_BAD_REQUEST

    def __init__(self, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(message, code)
        self.code = code
        self.message = message
        self.pointer = pointer

    @classmethod
    def from_bad_json(cls, error: BadJSON) -> "BadBody":
        """Return what a face raises for `error`."""
        return cls(error.code, error.message, error.pointer)


class BodyTooLarge(BadBody):
    """A body over the limit of its route (413, code body_too_large)."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE

    def __init__(self, max_bytes: int) -> None:
        super().__init__("body_too_large", f"The body is larger than {max_bytes} bytes.")


class UnsupportedCharset(BadBody):
    """A Content-Type that names another charset than UTF-8 (415, code unsupported_charset)."""

    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE

    def __init__(self) -> None:
        super().__init__("unsupported_charset", "JSON is read as UTF-8 only.")


class StrictJSONParser(BaseParser):
    """Reads application/json under the limits of `strict_json`.

    A view that carries task data subclasses it and sets `max_bytes` to `middleware.LARGE_BODY`
    and `free` to the dotted names of the members whose text may have any length, as in
    `strict_json.Limits`.
    """

    media_type = "application/json"
    renderer_class = JSONRenderer
    max_bytes: ClassVar[int] = SMALL_BODY
    free: ClassVar[frozenset[str]] = frozenset()

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the JSON value in `stream`; raise BadBody or one of its subclasses."""
        _, parameters = parse_header_parameters(media_type or "")
        if str(parameters.get("charset", "utf-8")).lower() not in UTF8_NAMES:
            raise UnsupportedCharset
        try:
            raw = stream.read(self.max_bytes + 1)
        except OSError as error:
            # The client went away or stalled; there is no body to act on.
            raise BadBody("unreadable_body", "The body could not be read.") from error
        if len(raw) > self.max_bytes:
            raise BodyTooLarge(self.max_bytes)
        try:
            return loads(raw, limits=Limits(free=self.free))
        except BadJSON as error:
            raise BadBody.from_bad_json(error) from None


class JSONByDefault(DefaultContentNegotiation):
    """Takes a body without Content-Type for JSON, as the two dialects do."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser for the request's body, None where there is none."""
        if not request.content_type:
            return next(iter(parsers))
        if "*" in request.content_type:  # which says what one would take, not what one sends
            return None
        return super().select_parser(request, parsers)
