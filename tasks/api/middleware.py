"""What every request passes before any view: a request id, and a guard against bad framing."""

import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import parse_header_parameters
from django.utils.module_loading import import_string
from structlog.contextvars import bound_contextvars

GetResponse = Callable[[HttpRequest], HttpResponseBase]
Refuser = Callable[[HttpRequest, int, str, str], HttpResponseBase]
"""How a face renders a refusal: request, status, stable code, message for people."""

Refusal = tuple[int, str, str]
"""Status, code and message."""

MAX_URL_BYTES: Final = 8 * 1024
MAX_URL_PARAMETERS: Final = 1000
SMALL_BODY: Final = 1024 * 1024
"""The size limit of routes that carry neither task data nor bulk nor imports."""
LARGE_BODY: Final = 10 * 1024 * 1024
"""The size limit of routes that do."""

ATTACHMENT_BODY: Final = 36 * 1024 * 1024
"""The size limit of routes that carry a file: 25 MiB as base64, and ids for many tasks."""

BODY_LIMITS: Final[Sequence[tuple[str, int]]] = (
    (r"/api/v1/tasks/[^/]+/attach/\Z", ATTACHMENT_BODY),
    (r"/api/oauth/", SMALL_BODY),
    (r"/api/v1/tokens/", SMALL_BODY),
    (r"/api/", LARGE_BODY),
    (r"/rest/bpm/htm/", LARGE_BODY),
    (r"/operations-manager/", LARGE_BODY),
    (r"", SMALL_BODY),
)
"""Body limits: (pattern of the path's beginning, bytes); the first that matches holds.

An outer bound by prefix; the parser of a view may allow less.
"""

OVERRIDE_PREFIX: Final = "/rest/bpm/htm/"
"""The one dialect whose clients may name the method in a header."""
OVERRIDE_HEADERS: Final = ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method")

UTF8_NAMES: Final = frozenset({"utf-8", "utf8"})
"""The charsets, in lower case, that a Content-Type may name."""

DISCARD_BYTES: Final = 40 * 1024 * 1024
"""How much of a body that nobody wants is still read, so that its sender sees the answer."""

BODYLESS_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

RAW_PATH: Final = "tasks.raw_path"
REFUSAL: Final = "tasks.refusal"
"""Keys that `keep_raw` adds to the WSGI environment."""

WAITING: Final = "tasks.waiting"
"""The key of the WSGI environment by which a view says what it waits for: (account, `feed.Part`).

Its answer is right and may be sent at once; a server that can wait asks again when there is more.
"""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE: Final = re.compile(
    rf"[^;,\x00-\x1f\x7f]*([ \t]*;[ \t]*({_WORD}=({_WORD}|\"([^\"\\]|\\.)*\"))?)*[ \t]*"
)
"""One media type, of whatever form, with parameters as RFC 9110 has them (empty ones too)."""
_PARAMETER: Final = re.compile(rf";[ \t]*({_WORD})=")
_CONTENT_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_PERCENT_RUN: Final = re.compile(rb"(?:%[89A-F][0-9A-F])+")
_URL_SAFE: Final = "/:@!$&'()*+,;=-._~"


def keep_raw(application: WSGIApplication) -> WSGIApplication:
    """Wrap Django's WSGI application so that `RequestGuard` sees what Django would hide.

    Building its request, outside of all middleware, Django rewrites a path that is not UTF-8,
    and fails on a charset that it cannot decode with, as it does on too many parameters once a
    charset is named. The path is copied before that; the refusal of the others is decided here,
    their Content-Type is taken out of the way, and the guard renders it. A body that breaks off
    is an error where it is read: what has come of it may be valid and mean another thing.
    """

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[RAW_PATH] = environ.get("PATH_INFO", "")
        declared = environ.get("CONTENT_LENGTH") or ""
        if _CONTENT_LENGTH.fullmatch(declared):
            environ["wsgi.input"] = WholeBody(environ["wsgi.input"], int(declared))
        # Without parameters there is no charset, and Django does nothing that could fail.
        if ";" in environ.get("CONTENT_TYPE", ""):
            refusal = _charset_refusal(environ) or _parameters_refusal(environ)
            if refusal is not None:
                environ[REFUSAL] = refusal
                environ["CONTENT_TYPE"] = ""
        return application(environ, start_response)

    return wrapped


class WholeBody:
    """The stream of a body that raises OSError where it ends before its declared length."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all of them without a size."""
        data: bytes = self._stream.read(size)
        return self._checked(data, ended=size < 0 or len(data) < size)

    def readline(self, size: int = -1) -> bytes:
        """The next line, or up to `size` bytes of it."""
        data: bytes = self._stream.readline(size)
        ended = not data.endswith(b"\n") and (size < 0 or len(data) < size)
        return self._checked(data, ended=ended)

    def _checked(self, data: bytes, *, ended: bool) -> bytes:
        self._left -= len(data)
        if ended and self._left > 0:
            raise OSError("The body is shorter than its Content-Length.")
        return data


class RequestIdMiddleware:
    """Gives each request an id, taken from a well-formed X-Request-ID or made, and echoes it.

    Sets `request.request_id`. Stands outside `RequestGuard`, so that refusals carry it too.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response with the id in its X-Request-ID header."""
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        # Whatever is logged from here on belongs to this request; threads are used again.
        with bound_contextvars(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


def request_id_of(request: object) -> str:
    """The id of a request, Django's or REST framework's; empty for one that came by no server."""
    return str(getattr(request, "request_id", ""))


class RequestGuard:
    """Refuses requests whose URL or framing no view should have to think about.

    A refusal is rendered by the face below whose prefix the path lies: the setting FACES maps
    prefixes to dotted paths of a `Refuser`; the longest prefix wins, and a path below none of
    them is answered by the setting REFUSAL_PAGE, or in plain text without it. The dotted paths
    are imported on use, so that this module knows no face.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response, or a refusal that no view has seen."""
        refusal = (
            request.META.get(REFUSAL)
            or _url_refusal(request)
            or _header_refusal(request)
            or _framing_refusal(request, body_limit(request.path_info))
        )
        response = self.get_response(request) if refusal is None else refuse(request, *refusal)
        _discard_rest_of_body(request)
        return response


def body_limit(path: str) -> int:
    """How many bytes a body sent to `path` may have."""
    return next((limit for pattern, limit in BODY_LIMITS if re.match(pattern, path)), SMALL_BODY)


def refuse(request: HttpRequest, status: int, code: str, message: str) -> HttpResponseBase:
    """Return a refusal in the shape of the face that the request's path belongs to."""
    face = face_of(request.path_info) or getattr(settings, "REFUSAL_PAGE", "")
    if not face:
        return HttpResponse(message + "\n", status=status, content_type="text/plain; charset=utf-8")
    refuser: Refuser = import_string(face)
    return refuser(request, status, code, message)


def face_of(path: str) -> str | None:
    """The dotted path of the `Refuser` of the face that `path` belongs to; None for no face's."""
    faces: dict[str, str] = getattr(settings, "FACES", {})
    below = [prefix for prefix in faces if _lies_below(path, prefix)]
    return faces[max(below, key=len)] if below else None


def face_name(path: str) -> str | None:
    """What a face is called: "native", "itential", "htm" or "admin"; None for no face's path."""
    if (dotted := face_of(path)) is not None:
        return dotted.split(".")[-3]
    return "admin" if _lies_below(path, "/admin/") else None


def _lies_below(path: str, prefix: str) -> bool:
    """Tell whether `path` is `prefix` or lies below it; "/login" does not cover "/logins"."""
    stem = prefix.rstrip("/")
    return path == stem or path.startswith(stem + "/")


def _url_refusal(request: HttpRequest) -> Refusal | None:
    """Check length and characters of path and query string."""
    query = request.META.get("QUERY_STRING", "")
    # Servers hand over the path unquoted; quoting it again is as near as one can get.
    if len(quote(request.path, safe=_URL_SAFE)) + len(query) + bool(query) > MAX_URL_BYTES:
        return 414, "url_too_long", f"The URL is longer than {MAX_URL_BYTES} bytes."
    try:
        path = _path_bytes(request)
        # What a server hands over is bytes in the guise of Latin-1.
        pairs = unquote_to_bytes(query.encode("latin-1"))
        path.decode()
        pairs.decode()
    except UnicodeError:
        return 400, "invalid_utf8", "The URL is not UTF-8."
    if b"\0" in path or b"\0" in pairs:
        return 400, "nul_character", "The URL holds a NUL character."
    return _parameters_refusal(request.META)


def _parameters_refusal(environ: WSGIEnvironment) -> Refusal | None:
    """Check that the query string has no more parameters than Django is willing to read.

    Django's setting is for forms too; a URL needs far fewer.
    """
    most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    most = None if most is None else min(most, MAX_URL_PARAMETERS)
    if most is not None and environ.get("QUERY_STRING", "").count("&") >= most:
        return 400, "too_many_parameters", f"The URL has more than {most} parameters."
    return None


def _path_bytes(request: HttpRequest) -> bytes:
    """Return the path as it came, percent escapes resolved.

    Without `keep_raw` it is told from what Django made of it: bytes that were not UTF-8 are
    percent escapes again. A client that sent such escapes escaped ("%25FF") looks the same.
    """
    if (raw := request.META.get(RAW_PATH)) is not None:
        return str(raw).encode("latin-1")
    path = request.path_info.encode()
    return _PERCENT_RUN.sub(lambda run: unquote_to_bytes(run[0]), path)


def _header_refusal(request: HttpRequest) -> Refusal | None:
    """Check method override, encoding and charset."""
    if not _lies_below(request.path_info, OVERRIDE_PREFIX) and any(
        name in request.headers for name in OVERRIDE_HEADERS
    ):
        return 400, "method_override", "The method cannot be overridden by a header here."
    codings = request.headers.get("Content-Encoding", "").lower().split(",")
    if any(coding.strip() not in {"", "identity"} for coding in codings):
        return 415, "content_encoding", "Bodies are read without content encoding only."
    return _charset_refusal(request.META)


def _charset_refusal(environ: WSGIEnvironment) -> Refusal | None:
    """Check that the Content-Type names no charset but UTF-8.

    Django would decode forms and even the query string in it, in UTF-7 for instance. Two such
    headers, which a server joins by a comma, parameters that are cut off or that come twice are
    refused too: what one reader takes from them another does not.
    """
    content_type = environ.get("CONTENT_TYPE", "")
    try:
        _, parameters = parse_header_parameters(content_type)
    except ValueError:
        parameters = None
    names = [name.lower() for name in _PARAMETER.findall(content_type)]
    twofold = len(set(names)) < len(names)
    if parameters is None or twofold or not _CONTENT_TYPE.fullmatch(content_type):
        return 415, "unsupported_charset", "The Content-Type header cannot be read."
    if parameters.get("charset", "utf-8").lower() not in UTF8_NAMES:
        return 415, "unsupported_charset", "Only UTF-8 is read."
    return None


def _framing_refusal(request: HttpRequest, body_limit: int) -> Refusal | None:
    """Check that the body's length is declared, well-formed and within the limit."""
    declared = request.META.get("CONTENT_LENGTH") or ""
    if request.headers.get("Transfer-Encoding"):
        if declared:
            return 400, "ambiguous_length", "Send Content-Length or Transfer-Encoding, not both."
        return 411, "length_required", "Send the body with a Content-Length."
    if declared:
        if not _CONTENT_LENGTH.fullmatch(declared):
            return 400, "invalid_content_length", "The Content-Length is not a number."
        if int(declared) > body_limit:
            return 413, "body_too_large", f"The body is larger than {body_limit} bytes."
    elif _has_undeclared_body(request):
        return 411, "length_required", "Send the body with a Content-Length."
    return None


def _has_undeclared_body(request: HttpRequest) -> bool:
    """Tell whether a body comes without any declaration, as HTTP/2 allows.

    Django would take it for an empty one. Only a server that ends the input by itself can be
    asked: on others, reading past a body waits for ever.
    """
    if request.method in BODYLESS_METHODS or not request.META.get("wsgi.input_terminated"):
        return False
    return bool(request.META["wsgi.input"].read(1))


def _discard_rest_of_body(request: HttpRequest) -> None:
    """Read what the views left of the body, within bounds.

    The server closes a connection whose body was not read, and most clients look for an answer
    only when they have sent everything: instead of a 413 or 401 they would report a broken pipe.
    Those that ask first (Expect) get the answer in place of the permission to go on.
    """
    if (
        request.method in BODYLESS_METHODS
        or not request.META.get("wsgi.input_terminated")
        or "Expect" in request.headers
    ):
        return
    stream, left = request.META["wsgi.input"], DISCARD_BYTES
    with suppress(OSError):
        while left > 0 and (chunk := stream.read(min(left, 64 * 1024))):
            left -= len(chunk)
