"""What every view of this face shares: the order of the tests, who asks, the shape of answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO, ClassVar, Final, NamedTuple, cast
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.http import parse_header_parameters
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import APIException, PermissionDenied, UnsupportedMediaType
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from accounts.authentication import BasicAuthentication, TokenAuthentication
from accounts.models import User
from tasks.actions import Call
from tasks.api.middleware import LARGE_BODY, SMALL_BODY, request_id_of
from tasks.api.parsers import BadBody, StrictJSONParser
from tasks.errors import Refusal
from tasks.masking import masked_data
from tasks.models import Channel
from tasks.retries import Answered, Once
from tasks.uuid7 import uuid_of

from .errors import PROBLEM, BadSyntax, handle
from .renderers import Pages

FORMATS: Final = ("json", "api")
"""The values of the parameter `format`, for browsers, which cannot choose a header."""

MOST_TERMS: Final = 20
"""How often a parameter that may be repeated may be, and how many values filters have in all."""

KEY_HEADER: Final = "Idempotency-Key"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

_ETAG: Final = r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
_ETAGS: Final = re.compile(rf"\s*{_ETAG}(\s*,\s*{_ETAG})*\s*")


class Session(SessionAuthentication):
    """A log-in through the admin; writes need the CSRF token."""

    def enforce_csrf(self, request: Request) -> None:
        """Raise PermissionDenied for a write without the token."""
        # Looking for the token in REST framework's request would read the body, and tell what is
        # wrong with it before anything else.
        try:
            super().enforce_csrf(request._request)  # type: ignore[arg-type]
        except PermissionDenied as error:
            raise PermissionDenied(str(error.detail), "csrf_failed") from None


class Basic(BasicAuthentication):
    """HTTP Basic, with log-ins recorded as this face's."""

    channel = Channel.NATIVE.value


class TaskDataParser(StrictJSONParser):
    """JSON that may carry task data or many ids."""

    max_bytes = LARGE_BODY
    free = frozenset({"input", "output", "fault"})


class Again(Exception):
    """Raised instead of a call that was answered before, under the same key."""

    def __init__(self, answered: Answered) -> None:
        super().__init__()
        self.answered = answered

    def response(self) -> HttpResponse:
        """What was answered, and that it was before."""
        headers = {**self.answered.headers, "Idempotency-Replayed": "true"}
        response = HttpResponse(
            self.answered.body,
            status=self.answered.status,
            headers=headers,
            content_type=JSONRenderer.media_type,
        )
        if not self.answered.body:
            del response["Content-Type"]
        return response


class Offer(NamedTuple):
    """A form on a page: its words, where it goes, and the body it starts from."""

    words: str
    url: str
    body: dict[str, Any]
    method: str = "POST"


class NativeView(APIView):
    """A resource of this face: syntax first, then who asks, then the call."""

    permission_classes = (IsAuthenticated,)
    parser_classes = (TaskDataParser,)
    renderer_classes = (JSONRenderer, Pages)
    repeatable: ClassVar[frozenset[str]] = frozenset()
    """The query parameters that may be given more than once."""
    columns: ClassVar[tuple[str, ...]] = ()
    """What the page of a list shows of each row in a table, as far as it is there."""
    keeps_answers: ClassVar[bool] = True
    """Whether calls may carry a key; an answer with a secret in it is never kept."""
    _body: IO[bytes] | None = None

    @property
    def parameters(self) -> frozenset[str]:
        """The query parameters of a GET, besides `format`."""
        return frozenset()

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Tokens, sessions, and Basic credentials if the site wants them."""
        basic = [Basic()] if settings.NATIVE_BASIC_AUTH else []
        return [TokenAuthentication(), Session(), *basic]

    def get_exception_handler(self) -> Any:
        """Every exception becomes a problem document."""
        return handle

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Answers depend on who asks and may hold secrets, so nothing keeps them."""
        return {**super().default_response_headers, "Cache-Control": "no-store"}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Everything before the call: syntax comes before credentials."""
        offered = request.method in self.allowed_methods
        if offered:  # else there is nothing to be right or wrong
            self.check_syntax(request)
        keyed = offered and KEY_HEADER in request.headers and request.method not in SAFE_METHODS
        digest = self._digest(request._request) if keyed else b""
        super().initial(request, *args, **kwargs)
        if keyed:
            self.once = Once(self.user.pk, request.headers[KEY_HEADER], digest)
            answered = self.once.earlier()
            if answered is not None:
                raise Again(answered)

    def _digest(self, request: HttpRequest) -> bytes:
        """What stands for a whole request; its body can be read afterwards as before.

        Raises BadBody.
        """
        body = self._body = SpooledTemporaryFile(SMALL_BODY)  # noqa: SIM115 (closed with the answer)
        digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
        try:
            while piece := request.read(64 * 1024):
                digest.update(piece)
                body.write(piece)
        except OSError as error:
            raise BadBody("unreadable_body", "The body could not be read.") from error
        body.seek(0)
        request._stream = cast(BinaryIO, body)
        request._read_started = False  # type: ignore[attr-defined]
        return digest.digest()

    once: Once | None = None
    """The key under which the call takes effect at most once, if it carries one."""
    answered: Response | None = None
    """The answer that was kept under it."""

    def answer_with(
        self,
        answer: Callable[[Any], Response],
        secrets: Callable[[Any], Sequence[str]] = lambda done: (),
    ) -> None:
        """Say how what this call does is answered, for a call that is answered once and again.

        `secrets` has the pointers of what is secret in a task that is answered with.
        """
        if self.once is None:
            return

        def kept(done: Any) -> Answered:
            self.answered = answer(done)
            return _as_kept(self.answered, secrets(done))

        self.once.answer = kept

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for what can be told without looking anything up."""
        if not _KEY.fullmatch(request.headers.get(KEY_HEADER, "-")):
            detail = f"{KEY_HEADER} has 1 to 255 visible ASCII characters."
            raise BadSyntax("invalid_header", detail)
        if KEY_HEADER in request.headers and not self.keeps_answers:
            detail = f"{KEY_HEADER} cannot be used here: a secret is answered once and never kept."
            raise BadSyntax("invalid_header", detail)
        known = {"format"} | (self.parameters if request.method in ("GET", "HEAD") else set())
        check_parameters(request.query_params, known, self.repeatable)

    def handle_exception(self, exc: Exception) -> Response:
        """The problem document of an exception; for browsers as a page where that can be."""
        if isinstance(exc, Again):
            return cast(Response, exc.response())
        response = super().handle_exception(exc)
        if isinstance(exc, BadSyntax) or not isinstance(exc, (APIException, Refusal, Http404)):
            # A page names its reader, who may not be known yet, or cannot be looked up.
            self.request.accepted_renderer = JSONRenderer()
            self.request.accepted_media_type = JSONRenderer.media_type
        return response

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        """The answer with its media type."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._body is not None:
            response._resource_closers.append(self._body.close)
        if not isinstance(response, Response):  # a file
            return cast(Response, response)
        if response.exception and response.accepted_renderer.format == "json":
            response.content_type = PROBLEM
        return response

    @property
    def user(self) -> User:
        """The account that asks."""
        return cast(User, self.request.user)

    def call(self, **more: Any) -> Call:
        """The call of the core that this request makes; `more` are further members of it."""
        request_id = request_id_of(self.request)
        return Call(self.user, Channel.NATIVE, request_id=request_id, once=self.once, **more)

    def links(self, answer: Mapping[str, Any]) -> Mapping[str, str]:
        """Where the page of an answer leads to besides: addresses and the words for them."""
        return {}

    def offers(self, answer: Mapping[str, Any]) -> Sequence[Offer]:
        """What may be done from the page of an answer, each with a form of its own."""
        return ()

    def read_body(self, serializer: type[Serializer[Any]]) -> dict[str, Any]:
        """The validated body; no body at all stands for an empty object.

        Raises ValidationError, BadBody or UnsupportedMediaType.
        """
        return self.validated(serializer, _body(self.request))

    def validated(self, serializer: type[Serializer[Any]], given: Any) -> dict[str, Any]:
        """What a serializer makes of values. Raises ValidationError."""
        filled = serializer(data=given)
        filled.is_valid(raise_exception=True)
        return cast("dict[str, Any]", filled.validated_data)


class TaskView(NativeView, ViewSet):
    """A resource that is a task, or belongs to one: its id, and the versions the caller names."""

    pk: UUID
    versions: frozenset[int] | None
    """Those of If-Match, or of If-None-Match where the task is only read."""

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters, id and conditions that make no sense."""
        super().check_syntax(request)
        if "pk" in self.kwargs:
            pk = uuid_of(self.kwargs["pk"])
            if pk is None:
                raise BadSyntax("invalid_id", "The id of a task is a UUID.")
            self.pk = pk
            safe = request.method in ("GET", "HEAD")
            self.versions = (known_versions if safe else expected_versions)(request.headers)


def _as_kept(response: Response, secrets: Sequence[str]) -> Answered:
    """An answer as it is kept; nothing that a task marks secret is kept outside the task."""
    data = response.data
    if secrets:
        data = {**data, **masked_data(secrets, **{name: data[name] for name in DATA})}
    body = b"" if data is None else JSONRenderer().render(data)
    headers = {name: response[name] for name in ("ETag", "Location") if name in response}
    return Answered(response.status_code, headers, body)


DATA: Final = ("input", "output", "fault")
"""The members of a task's document in which there may be secrets."""


def _body(request: Request) -> dict[str, Any]:
    if request.META.get("CONTENT_LENGTH") in (None, "", "0"):
        return {}
    # Asked here, since REST framework takes a form that Django has read for an empty body.
    media_type, _ = parse_header_parameters(request.content_type or "")
    if media_type != "application/json":
        raise UnsupportedMediaType(request.content_type or "without Content-Type")
    data: Any = request.data
    if not isinstance(data, dict):
        raise BadBody("not_an_object", "The body has to be a JSON object.", "")
    return data


def check_parameters(
    given: QueryDict, known: frozenset[str] | set[str], repeatable: frozenset[str]
) -> None:
    """Raise BadSyntax for parameters that are unknown, or given more often than makes sense."""
    wrong = []
    for name, values in given.lists():
        if name not in known:
            wrong.append(parameter_error(name, "unknown_parameter", "There is no such parameter."))
        elif len(values) > (MOST_TERMS if name in repeatable else 1):
            wrong.append(parameter_error(name, "repeated_parameter", "Given too often."))
        elif name == "format" and values[0] not in FORMATS:
            wrong.append(parameter_error(name, "invalid", f"One of {', '.join(FORMATS)}."))
    refuse_parameters(wrong)


def parameter_error(name: str, code: str, detail: str) -> dict[str, str]:
    """What is wrong with one parameter, for `BadSyntax.errors`."""
    return {"parameter": name[:255], "code": code, "detail": detail}


def refuse_parameters(wrong: list[dict[str, str]]) -> None:
    """Raise BadSyntax if something is wrong with the parameters."""
    if wrong:
        named = ", ".join(dict.fromkeys(error["parameter"] for error in wrong[:5]))
        raise BadSyntax("invalid_parameter", f"These parameters cannot be used: {named}.", wrong)


def expected_versions(headers: Mapping[str, str]) -> frozenset[int] | None:
    """The versions that If-Match names; None where any will do. Raises BadSyntax.

    A weak tag, or one that was never ours, matches nothing.
    """
    tags = _tags(headers.get("If-Match", "*"))
    if tags is None:
        return None
    return frozenset(int(tag) for weak, tag in tags if not weak and _is_version(tag))


def known_versions(headers: Mapping[str, str]) -> frozenset[int] | None:
    """The versions that If-None-Match names, weak or not; None for all. Raises BadSyntax."""
    tags = known_tags(headers)
    return None if tags is None else frozenset(int(tag) for tag in tags if _is_version(tag))


def known_tags(headers: Mapping[str, str]) -> frozenset[str] | None:
    """The tags that If-None-Match names, weak or not; None for all. Raises BadSyntax."""
    tags = _tags(headers["If-None-Match"]) if "If-None-Match" in headers else []
    return None if tags is None else frozenset(tag for _, tag in tags)


def _tags(header: str) -> list[tuple[str, str]] | None:
    if header.strip() == "*":
        return None
    if not _ETAGS.fullmatch(header):
        raise BadSyntax("invalid_header", "If-Match and If-None-Match hold a list of entity tags.")
    return re.findall(_ETAG, header)


def _is_version(tag: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,9}", tag) is not None
