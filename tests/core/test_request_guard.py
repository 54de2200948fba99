"""The guard before the views, the request id, and the parser behind them, over real requests."""

import json
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import TooManyFieldsSent
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from tasks.api.middleware import (
    DISCARD_BYTES,
    LARGE_BODY,
    SMALL_BODY,
    RequestGuard,
    RequestIdMiddleware,
    WholeBody,
    keep_raw,
)
from tasks.api.parsers import BadBody, StrictJSONParser

RF = RequestFactory()


def view(request: HttpRequest) -> HttpResponse:
    """Stand in for everything behind the guard."""
    return HttpResponse(b"passed")


def envelope(request: HttpRequest, status: int, code: str, message: str) -> HttpResponse:
    """Refuse in the shape of one face."""
    return JsonResponse({"code": code, "message": message}, status=status)


def other(request: HttpRequest, status: int, code: str, message: str) -> HttpResponse:
    """Refuse in the shape of another face."""
    return JsonResponse({"other": code}, status=status)


@pytest.fixture(autouse=True)
def faces() -> Iterable[None]:
    """Register two faces, one below the other, so that refusals can be read."""
    table = {
        "/": f"{__name__}.envelope",
        "/other/": f"{__name__}.other",
        "/other/inner": f"{__name__}.envelope",
    }
    with override_settings(FACES=table):
        yield


def answer(request: HttpRequest) -> tuple[int, str]:
    """Send a request through the guard; return the status, and the code or "passed"."""
    response = RequestGuard(view)(request)
    assert isinstance(response, HttpResponse)
    if response.status_code == 200:
        return 200, response.content.decode()
    body = json.loads(response.content)
    assert body["message"]
    return response.status_code, body["code"]


PASSED = (200, "passed")


def raw_request(path: bytes, query: bytes = b"", **environ: Any) -> HttpRequest:
    """Build a request as a server does, from the bytes of the unquoted path and of the query."""
    return RF.get(
        "/", PATH_INFO=path.decode("latin-1"), QUERY_STRING=query.decode("latin-1"), **environ
    )


# --- Request id ---------------------------------------------------------------------------------


@pytest.mark.parametrize("given_id", ["a", "A.b_c-9", "x" * 64])
def test_a_wellformed_request_id_is_kept_and_echoed(given_id: str) -> None:
    request = RF.get("/", headers={"X-Request-ID": given_id})
    response = RequestIdMiddleware(view)(request)
    assert request.request_id == given_id  # type: ignore[attr-defined]
    assert response["X-Request-ID"] == given_id


@pytest.mark.parametrize("given_id", [None, "", "x" * 65, "a b", "a\n", "a,b", "é", "<b>"])
def test_any_other_request_id_is_replaced(given_id: str | None) -> None:
    extra: dict[str, Any] = {} if given_id is None else {"HTTP_X_REQUEST_ID": given_id}
    request = RF.get("/", **extra)
    made = RequestIdMiddleware(view)(request)["X-Request-ID"]
    assert len(made) == 32
    assert int(made, 16)
    assert made == request.request_id  # type: ignore[attr-defined]
    assert made != RequestIdMiddleware(view)(RF.get("/", **extra))["X-Request-ID"]


def test_a_refusal_carries_the_request_id() -> None:
    response = RequestIdMiddleware(RequestGuard(view))(
        RF.get("/%00", headers={"X-Request-ID": "mine"})
    )
    assert (response.status_code, response["X-Request-ID"]) == (400, "mine")


# --- Who renders a refusal ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/", "code"),
        ("/others", "code"),
        ("/other", "other"),
        ("/other/", "other"),
        ("/other/x", "other"),
        ("/other/inner", "code"),
        ("/other/inner/x", "code"),
        ("/other/innermost", "other"),
    ],
)
def test_the_face_with_the_longest_prefix_renders(path: str, key: str) -> None:
    response = RequestGuard(view)(RF.get(path, {"q": "\0"}))
    assert isinstance(response, HttpResponse)
    assert response.status_code == 400
    assert json.loads(response.content)[key] == "nul_character"


def test_outside_of_all_faces_a_refusal_is_plain_text() -> None:
    with override_settings(FACES={"/api/": "no.such.module"}, REFUSAL_PAGE=""):
        response = RequestGuard(view)(RF.get("/apis/%00"))
    assert isinstance(response, HttpResponse)
    assert response.status_code == 400
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == b"The URL holds a NUL character.\n"


# --- URL ----------------------------------------------------------------------------------------


def test_a_url_ends_at_8_kib() -> None:
    assert answer(RF.get("/" + "a" * 8191)) == PASSED
    assert answer(RF.get("/" + "a" * 8192)) == (414, "url_too_long")
    assert answer(raw_request(b"/a", b"q=" + b"x" * 8187)) == PASSED
    assert answer(raw_request(b"/a", b"q=" + b"x" * 8188)) == (414, "url_too_long")


def test_the_length_of_a_url_counts_its_escapes() -> None:
    assert answer(RF.get("/" + "%C3%A9" * 1365)) == PASSED
    assert answer(RF.get("/" + "%C3%A9" * 1366)) == (414, "url_too_long")


@pytest.mark.parametrize("path", [b"/a\0b", b"/\0", b"/tasks/1\0/"])
def test_a_nul_in_the_path_is_refused(path: bytes) -> None:
    assert answer(raw_request(path)) == (400, "nul_character")


@pytest.mark.parametrize("query", [b"q=%00", b"a%00=1", b"%00", b"q=a&b=%C3%A9%00"])
def test_a_nul_in_the_query_is_refused(query: bytes) -> None:
    assert answer(raw_request(b"/", query)) == (400, "nul_character")


BROKEN = [b"\xff", b"a\xc3b", b"\xc3", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\x80"]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_url_that_is_not_utf8_is_refused(broken: bytes) -> None:
    assert answer(raw_request(b"/x" + broken + b"/y")) == (400, "invalid_utf8")
    escaped = b"".join(b"%%%02x" % byte for byte in broken)
    assert answer(raw_request(b"/", b"q=" + escaped)) == (400, "invalid_utf8")
    assert answer(raw_request(b"/", escaped + b"=1")) == (400, "invalid_utf8")
    assert answer(raw_request(b"/", b"q=" + broken)) == (400, "invalid_utf8")


@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_any_other_text_passes_in_path_and_query(name: str) -> None:
    assert answer(RF.get("/", {"q": name, name: "x"})) == PASSED
    environ = RF.get("/").environ | {"PATH_INFO": ("/" + name).encode().decode("latin-1")}
    seen: list[str] = []
    assert through_wsgi(environ, seen) == PASSED
    assert seen == ["/" + name]


def test_escapes_that_are_no_escapes_pass() -> None:
    assert answer(raw_request(b"/100%", b"q=100%&r=%zz&s=%")) == PASSED
    assert answer(raw_request(b"/%C3%A9")) == PASSED


def test_more_parameters_than_django_takes_are_refused() -> None:
    with override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=3):
        assert answer(raw_request(b"/", b"a&b&c")) == PASSED
        assert answer(raw_request(b"/", b"a&b&c&d")) == (400, "too_many_parameters")
    with override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=None):
        assert answer(raw_request(b"/", b"a&b&c&d")) == PASSED


# --- What only the WSGI wrapper sees ------------------------------------------------------------


def through_wsgi(environ: dict[str, Any], seen: list[str] | None = None) -> tuple[int, str]:
    """Send a WSGI environment through `keep_raw`, Django's request and the guard."""
    answers: list[tuple[int, str]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        request = WSGIRequest(environ)
        if seen is not None:
            seen.append(request.path_info)
        answers.append(answer(request))
        return []

    keep_raw(application)(environ, None)  # type: ignore[arg-type]
    return answers[0]


def test_escaped_escapes_are_told_from_broken_utf8() -> None:
    environ = RF.get("/").environ
    assert through_wsgi(environ | {"PATH_INFO": "/%FF"}) == PASSED
    assert through_wsgi(environ | {"PATH_INFO": "/\xff"}) == (400, "invalid_utf8")
    assert through_wsgi(environ | {"PATH_INFO": "/%C3\xa9"}) == (400, "invalid_utf8")


@pytest.mark.parametrize(
    "content_type",
    [
        "a/b; charset*=utf-8''%00",
        "a/b; charset*=bogus''x",
        "a/b; x*=bogus''x",
        "a/b; charset=\0",
        "a/b; charset=bz2_codec",
    ],
)
def test_a_content_type_that_django_fails_on_is_refused(content_type: str) -> None:
    environ = RF.get("/?a=b").environ | {"CONTENT_TYPE": content_type}
    with pytest.raises((ValueError, LookupError)):
        WSGIRequest(dict(environ))
    assert through_wsgi(environ) == (415, "unsupported_charset")


@override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=1000)
def test_too_many_parameters_beside_a_charset_are_refused() -> None:
    environ = RF.get("/").environ | {
        "QUERY_STRING": "a&" * settings.DATA_UPLOAD_MAX_NUMBER_FIELDS,
        "CONTENT_TYPE": "application/json; charset=utf-8",
    }
    with pytest.raises(TooManyFieldsSent):
        WSGIRequest(dict(environ))
    assert through_wsgi(environ) == (400, "too_many_parameters")


def test_a_content_type_that_django_can_read_stays() -> None:
    environ = RF.post("/", b"{}", content_type="application/json; charset=utf-8").environ
    assert through_wsgi(environ) == PASSED
    assert environ["CONTENT_TYPE"] == "application/json; charset=utf-8"
    environ["CONTENT_TYPE"] = "application/json; charset=no-such"
    assert through_wsgi(environ) == (415, "unsupported_charset")


# --- Headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_only_one_dialect_may_override_the_method(header: str) -> None:
    def sent_to(path: str) -> tuple[int, str]:
        return answer(RF.post(path, headers={header: "PUT"}))

    assert sent_to("/rest/bpm/htm/v1/tasks") == PASSED
    assert sent_to("/rest/bpm/htmx") == (400, "method_override")
    assert sent_to("/api/v1/tasks") == (400, "method_override")
    assert sent_to("/") == (400, "method_override")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "GZIP", "x"])
def test_encoded_bodies_are_refused(coding: str) -> None:
    request = RF.post("/", b"{}", "application/json", headers={"Content-Encoding": coding})
    assert answer(request) == (415, "content_encoding")


@pytest.mark.parametrize("coding", ["", "identity", "Identity"])
def test_bodies_in_plain_pass(coding: str) -> None:
    request = RF.post("/", b"{}", "application/json", headers={"Content-Encoding": coding})
    assert answer(request) == PASSED


@pytest.mark.parametrize(
    "charset", ["utf-16", "utf-7", "latin-1", "utf-8-sig", "unicode_escape", "nope", '""']
)
@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded"])
def test_other_charsets_are_refused(media_type: str, charset: str) -> None:
    # Also on GET: Django would decode the query string in that charset.
    request = RF.get("/?q=%2BAAA-", CONTENT_TYPE=f"{media_type}; charset={charset}")
    assert answer(request) == (415, "unsupported_charset")


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
def test_utf8_passes_in_every_spelling(charset: str) -> None:
    content_type = f"application/json; charset={charset}"
    assert answer(RF.get("/", CONTENT_TYPE=content_type)) == PASSED


@pytest.mark.parametrize("method", ["TRACE", "BREW", "PATCH", "DELETE"])
def test_methods_are_left_to_the_views(method: str) -> None:
    assert answer(RF.generic(method, "/")) == PASSED


# --- Framing ------------------------------------------------------------------------------------


def test_chunked_bodies_are_refused_for_their_length() -> None:
    request = RF.post("/", headers={"Transfer-Encoding": "chunked"})
    del request.META["CONTENT_LENGTH"]
    assert answer(request) == (411, "length_required")
    request.META["CONTENT_LENGTH"] = ""
    assert answer(request) == (411, "length_required")


def test_two_declarations_of_the_length_are_refused() -> None:
    request = RF.post("/", b"{}", "application/json", headers={"Transfer-Encoding": "chunked"})
    assert answer(request) == (400, "ambiguous_length")


@pytest.mark.parametrize("length", ["-1", "+5", "5_0", " 5", "5,5", "abc", "٣", "5.0", "9" * 5000])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    request = RF.post("/", CONTENT_LENGTH=length)
    assert answer(request) == (400, "invalid_content_length")


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/login", SMALL_BODY),
        ("/", SMALL_BODY),
        ("/nothing", SMALL_BODY),
        ("/api/v1/tasks", LARGE_BODY),
        ("/rest/bpm/htm/v1/tasks", LARGE_BODY),
        ("/operations-manager/jobs/start", LARGE_BODY),
    ],
)
def test_bodies_end_at_the_limit_of_their_route(path: str, limit: int) -> None:
    assert answer(RF.post(path, CONTENT_LENGTH=str(limit))) == PASSED
    assert answer(RF.post(path, CONTENT_LENGTH=str(limit + 1))) == (413, "body_too_large")


def undeclared(method: str, body: bytes, *, ends: bool = True) -> HttpRequest:
    """Build a request with a body and no declaration of it, as HTTP/2 allows."""
    request = RF.generic(method, "/")
    request.META.pop("CONTENT_LENGTH", None)
    request.META["wsgi.input"] = BytesIO(body)
    request.META["wsgi.input_terminated"] = ends
    return request


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_without_any_declaration_is_refused(method: str) -> None:
    assert answer(undeclared(method, b"{}")) == (411, "length_required")
    assert answer(undeclared(method, b"")) == PASSED


@pytest.mark.parametrize(("method", "ends"), [("POST", False), ("GET", True), ("HEAD", True)])
def test_the_input_is_left_alone_where_it_may_not_end_or_matter(method: str, ends: bool) -> None:
    request = undeclared(method, b"{}", ends=ends)
    assert answer(request) == PASSED
    assert request.META["wsgi.input"].tell() == 0


@pytest.mark.parametrize(("length", "status"), [("70000", 200), ("2000000", 413), ("x", 400)])
def test_what_nobody_read_of_a_body_is_discarded(length: str, status: int) -> None:
    body = BytesIO(b"x" * 2_000_000)
    request = RF.post("/", CONTENT_LENGTH=length)
    request.META |= {"wsgi.input": body, "wsgi.input_terminated": True}
    assert answer(request)[0] == status
    assert body.read() == b""


def test_a_body_is_discarded_within_bounds() -> None:
    body = BytesIO(b"x" * (DISCARD_BYTES + 5))
    request = RF.post("/", CONTENT_LENGTH=str(DISCARD_BYTES + 5))
    request.META |= {"wsgi.input": body, "wsgi.input_terminated": True}
    assert answer(request) == (413, "body_too_large")
    assert len(body.read()) == 5


@pytest.mark.parametrize("environ", [{"HTTP_EXPECT": "100-continue"}, {"wsgi.input_terminated": 0}])
def test_a_body_that_may_not_come_is_not_waited_for(environ: dict[str, Any]) -> None:
    request = RF.post("/", CONTENT_LENGTH="2000000")
    body = BytesIO(b"x" * 2_000_000)
    request.META |= {"wsgi.input": body, "wsgi.input_terminated": True} | environ
    assert answer(request) == (413, "body_too_large")
    assert body.tell() == 0


# --- Parser -------------------------------------------------------------------------------------


class SmallParser(StrictJSONParser):
    """A parser of one view."""

    max_bytes = 100_000
    free = frozenset({"input"})


def drf(body: bytes, content_type: str = "application/json") -> Request:
    """Wrap a POST for REST framework as a view would."""
    return Request(RF.generic("POST", "/", body, content_type), parsers=[SmallParser()])


def refused(request: Request) -> tuple[int, str, str | None]:
    """Return status, code and pointer of the parser's refusal."""
    with pytest.raises(BadBody) as caught:
        _ = request.data
    error = caught.value
    assert error.get_full_details() == {"message": error.message, "code": error.code}
    return error.status_code, error.code, error.pointer


def test_the_parser_hands_out_the_value() -> None:
    assert drf(b'{"a":[1,"\xc3\xa9"]}').data == {"a": [1, "é"]}
    assert drf(b"[1]").data == [1]
    assert drf(b"{}", "application/json; charset=UTF-8").data == {}


def test_the_parser_hands_on_code_and_pointer() -> None:
    assert refused(drf(b'{"a":{"b":1,"b":2}}')) == (400, "duplicate_key", "/a/b")
    assert refused(drf(b"{")) == (400, "invalid_json", None)
    assert refused(drf(b"  ")) == (400, "empty_body", "")


def test_the_parser_applies_its_view_s_limits() -> None:
    long = "x" * 70_000
    assert drf(json.dumps({"input": long}).encode()).data == {"input": long}
    assert refused(drf(json.dumps({"reason": long}).encode())) == (
        400,
        "string_too_long",
        "/reason",
    )
    assert drf(b"1" + b" " * 99_999).data == 1
    assert refused(drf(b"1" + b" " * 100_000)) == (413, "body_too_large", None)


@pytest.mark.parametrize("charset", ["utf-16", "latin-1", "utf-8-sig"])
def test_the_parser_refuses_other_charsets(charset: str) -> None:
    request = drf(b"{}")
    request.META["CONTENT_TYPE"] = f"application/json; charset={charset}"
    assert refused(request) == (415, "unsupported_charset", None)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "", "json"])
def test_other_media_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        _ = drf(b"{}", content_type).data


def test_a_body_that_breaks_off_is_refused() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError

    with pytest.raises(BadBody) as caught:
        SmallParser().parse(Broken(), "application/json")
    assert (caught.value.status_code, caught.value.code) == (400, "unreadable_body")


# --- Content types that are cut off, bodies that break off ---------------------------------------


@pytest.mark.parametrize("tail", ["; charset", "; =utf-8", '; a="b', ", text/plain", "; a b=c"])
def test_a_content_type_with_a_broken_tail_is_refused(tail: str) -> None:
    request = RF.generic("POST", "/", b"{}", "application/json" + tail)
    assert answer(request) == (415, "unsupported_charset")


@pytest.mark.parametrize("tail", [";;;", " ; ", '; a="b;c"', "; a=b; charset=utf-8"])
def test_a_content_type_may_have_empty_and_other_parameters(tail: str) -> None:
    assert answer(RF.generic("POST", "/", b"{}", "application/json" + tail)) == PASSED


@pytest.mark.parametrize(("length", "breaks"), [(2, False), (1, False), (3, True), (9, True)])
def test_a_body_that_breaks_off_is_an_error_where_it_is_read(length: int, breaks: bool) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return [WSGIRequest(environ).body]

    environ = RF.post("/").environ | {"CONTENT_LENGTH": str(length), "wsgi.input": BytesIO(b"{}")}
    if breaks:
        with pytest.raises(UnreadablePostError):
            keep_raw(application)(environ, None)  # type: ignore[arg-type]
    else:
        assert keep_raw(application)(environ, None) == [b"{}"[:length]]  # type: ignore[arg-type]


def test_a_line_that_breaks_off_is_an_error_too() -> None:
    body = WholeBody(BytesIO(b"one\ntw"), 8)
    assert body.readline() == b"one\n"
    with pytest.raises(OSError, match="shorter"):
        body.readline()
