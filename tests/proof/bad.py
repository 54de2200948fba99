"""The classes of bad input as data: each bends the good request of a route into bad ones."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from tasks.actions.properties import LARGEST_FILE
from tasks.api.htm.ids import tkiid
from tasks.api.middleware import ATTACHMENT_BODY, LARGE_BODY, MAX_URL_PARAMETERS, SMALL_BODY

from .routes import Route
from .routes.htm import MESSAGE
from .routes.native import BOUNDARY, form, part
from .wire import FORM, JSON, NOTHING, Sent

Bent = Iterator[tuple[str, Sent]]
"""Bad requests, each with a few words that say what is bad about it."""

REFUSED, EITHER, FINE = "refused", "either", "fine"
"""What has to come of it: a refusal, a refusal or a success, or what the good request gives."""


@dataclass(frozen=True)
class Class:
    """A class of bad input: where it makes sense, how it is made, and what has to come of it."""

    name: str
    kind: str
    applies: Callable[[Route, Sent], bool]
    bend: Callable[[Route, Sent], Bent]
    outcome: str = REFUSED
    statuses: frozenset[int] = frozenset()
    """The only statuses that will do, where that is more than any clear refusal."""


CLASSES: list[Class] = []


def _class(
    kind: str,
    applies: Callable[[Route, Sent], bool],
    outcome: str = REFUSED,
    statuses: tuple[int, ...] = (),
) -> Callable[[Callable[[Route, Sent], Bent]], Callable[[Route, Sent], Bent]]:
    def add(bend: Callable[[Route, Sent], Bent]) -> Callable[[Route, Sent], Bent]:
        name = bend.__name__.replace("_", " ")
        CLASSES.append(Class(name, kind, applies, bend, outcome, frozenset(statuses)))
        return bend

    return add


def _everywhere(route: Route, good: Sent) -> bool:
    return True


def _api(route: Route, good: Sent) -> bool:
    return route.face in ("native", "htm", "itential")


def _with_body(route: Route, good: Sent) -> bool:
    return _api(route, good) and route.takes_body


def _with_members(route: Route, good: Sent) -> bool:
    return _with_body(route, good) and isinstance(good.json, dict)


def _with_form(route: Route, good: Sent) -> bool:
    return route.face == "admin" and good.form is not None


def _opened(route: Route, good: Sent) -> bool:
    """There is a resource here, so what is asked of it is looked at."""
    return not (route.nothing or route.redirects)


def _on(face: str) -> Callable[[Route, Sent], bool]:
    return lambda route, good: route.face == face and _opened(route, good)


# --- URLs ----------------------------------------------------------------------------------------


@_class("url", _everywhere)
def characters_in_the_path(route: Route, good: Sent) -> Bent:
    """NUL and what is not UTF-8."""
    path = good.path.rstrip("/").encode()
    for words, evil in UNREADABLE.items():
        yield words, replace(good, raw_path=path + b"/a" + evil + b"/")
        yield f"{words} at the end", replace(good, raw_path=path + b"/" + evil)


@_class("url", _everywhere)
def characters_in_the_query(route: Route, good: Sent) -> Bent:
    """NUL and what is not UTF-8, in names and values."""
    query = good.query_string + (b"&" if good.query_string else b"")
    for words, evil in UNREADABLE.items():
        escaped = b"".join(b"%%%02x" % byte for byte in evil)
        yield f"{words} in a value", replace(good, raw_query=query + b"q=a" + escaped)
        yield f"{words} in a name", replace(good, raw_query=query + escaped + b"=1")
    yield "raw bytes", replace(good, raw_query=query + b"q=\xff")


UNREADABLE = {
    "NUL": b"\0",
    "not UTF-8": b"\xff",
    "half a surrogate pair": b"\xed\xa0\x80",
    "an overlong NUL": b"\xc0\x80",
}


@_class("url", _everywhere)
def urls_without_end(route: Route, good: Sent) -> Bent:
    """Over 8 KiB, and more parameters than anybody needs."""
    yield "a long query", replace(good, raw_query=good.query_string + b"&q=" + b"x" * 8192)
    yield "a long path", replace(good, raw_path=good.path.encode() + b"/" + b"x" * 8192)
    yield "parameters", replace(good, raw_query=b"&a" * (MAX_URL_PARAMETERS + 1))


# --- Methods and headers -------------------------------------------------------------------------


@_class("method", _everywhere)
def unknown_methods(route: Route, good: Sent) -> Bent:
    """Those that the address has not."""
    for method in ("BREW", "TRACE", "PATCH", "CONNECT", "DELETE", "PROPFIND", "PUT", "POST"):
        passed_over = route.face == "admin" and method == "POST"  # by Django, as if it were a GET
        if method not in route.methods and not passed_over:
            yield method, replace(good, method=method, headers=_with_csrf(good))


def _with_csrf(good: Sent) -> Mapping[str, str]:
    return {**good.headers, "X-CSRFToken": "c" * 32}


@_class("method", lambda route, good: route.face != "htm")
def override_headers(route: Route, good: Sent) -> Bent:
    """Outside IBM's face no header names the method."""
    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        for method in ("GET", "POST", "DELETE", "\x7f"):
            yield f"{name}: {method!r}", replace(good, headers={**good.headers, name: method})


@_class("method", lambda route, good: route.face == "htm" and not route.nothing)
def overrides_of_other_methods(route: Route, good: Sent) -> Bent:
    """In IBM's face a POST can be a PUT, and nothing else anything."""
    for method, named in (("POST", "GET"), ("POST", "BREW"), ("GET", "PUT"), ("PUT", "DELETE")):
        headers = {**good.headers, "X-Method-Override": named}
        yield f"{method} as {named}", replace(good, method=method, headers=headers)


@_class("headers", _everywhere)
def charsets(route: Route, good: Sent) -> Bent:
    """Any but UTF-8, and none that can be read."""
    kind = good.media_type or JSON
    for charset in ("utf-16", "utf-7", "latin-1", "bz2_codec", "x\0", "''", '"'):
        yield charset, replace(good, content_type=f"{kind}; charset={charset}")
    for tail in ("; charset*=bogus''x", "; charset", "; =utf-8", '; a="b', ", text/plain"):
        yield f"the tail {tail}", replace(good, content_type=kind + tail)
    yield "two", replace(good, content_type=f"{kind}; charset=utf-8; charset=UTF-8")


@_class("headers", _everywhere)
def content_encodings(route: Route, good: Sent) -> Bent:
    """Packed bodies."""
    for coding in ("gzip", "br", "deflate, identity", "\xff"):
        yield coding, replace(good, headers={**good.headers, "Content-Encoding": coding})


@_class("headers", _with_body)
def content_types(route: Route, good: Sent) -> Bent:
    """Bodies that are not said to be JSON; some of them would be read otherwise."""
    raw = good.body or b"{}"
    for kind in (
        "text/plain",
        "text/json",
        "application/xml",
        FORM,
        "multipart/form-data; boundary=x",
        "application/vnd.x+json",
        "application/octet-stream",
        "json",
        "/",
        "*/*",
        "application/*",
        "x" * 300,
        "\x1b[31m",
        "application/json text",
    ):
        yield kind[:40], replace(good, raw=raw, json=NOTHING, content_type=kind)
    yield "a form", replace(good, raw=b"a=b&ids=1", json=NOTHING, content_type=FORM)


def _conditional(route: Route, good: Sent) -> bool:
    """Writes of one task take If-Match."""
    return route.on_task and route.face != "admin" and good.method != "GET"


@_class("headers", _conditional)
def conditions(route: Route, good: Sent) -> Bent:
    """If-Match that is none, or that names no version of ours."""
    for value in (
        "1",
        "x",
        '"x',
        "'1'",
        '"1" "2"',
        '"999999999"',
        '"-1"',
        'W/"1"',
        '"99999999999999999999"',
        '"\xb2"',
        "",
        ",",
        '"1",',
        "*, *",
    ):
        yield value, replace(good, headers={**good.headers, "If-Match": value})


@_class("headers", lambda route, good: bool(route.many))
def conditions_of_many(route: Route, good: Sent) -> Bent:
    """If-Match could be about one task only."""
    for value in ('"1"', "*", "x"):
        yield value, replace(good, headers={**good.headers, "If-Match": value})


def _by_header(route: Route, good: Sent) -> bool:
    return _api(route, good) and _opened(route, good) and "Authorization" in good.headers


@_class("headers", _by_header, statuses=(401,))
def credentials(route: Route, good: Sent) -> Bent:
    """Names and tokens that cannot be any."""
    for words, value in {
        "NUL in the name": "Basic Ym9iADpib2ItZGVtbw==",
        "half a surrogate pair in the name": "Basic Ym9i7aCAOmJvYi1kZW1v",
        "Latin-1": "Basic Yvxi",
        "no colon": "Basic Ym9i",
        "no base64": "Basic \xff!!",
        "nothing": "Basic ",
        "a long name": "Basic " + "eHh4" * 1000 + "Ong=",
        "an unknown token": "Token x",
        "NUL in a token": "Token htm_\0",
        "half a surrogate pair in a token": "Bearer \xed\xa0\x80",
        "another scheme": "Digest x",
    }.items():
        yield words, replace(good, headers={**good.headers, "Authorization": value})


# --- Framing -------------------------------------------------------------------------------------


def _writes(route: Route, good: Sent) -> bool:
    return good.method in ("POST", "PUT", "PATCH", "DELETE")


@_class("framing", _writes)
def lengths(route: Route, good: Sent) -> Bent:
    """A length that is no number, that is missing, or that is told in two ways."""
    body = good.body or b"{}"
    kind = good.media_type or JSON
    sent = replace(good, raw=body, json=NOTHING, form=None, content_type=kind)
    for length in ("-1", "+2", "0x2", "2, 2", "2_0", "\xb2", "9" * 30, "1e1"):
        yield f"length {length}", replace(sent, environ={"CONTENT_LENGTH": length})
    yield "no length", replace(sent, environ={"CONTENT_LENGTH": None})
    chunked = {**good.headers, "Transfer-Encoding": "chunked"}
    yield "chunked", replace(sent, headers=chunked, environ={"CONTENT_LENGTH": None})
    yield "chunked with a length", replace(sent, headers=chunked)


@_class("framing", lambda route, good: _writes(route, good) and route.takes_body)
def broken_off(route: Route, good: Sent) -> Bent:
    """A body of which less comes than was said."""
    body = good.body or b"{}"
    kind = good.media_type or JSON
    length = {"CONTENT_LENGTH": str(len(body) + 10)}
    yield (
        "10 bytes missing",
        replace(good, raw=body, json=NOTHING, form=None, content_type=kind, environ=length),
    )


@functools.cache
def _spaces(count: int) -> bytes:
    return b" " * count


@_class("framing", _writes, statuses=(413,))
def large_bodies(route: Route, good: Sent) -> Bent:
    """One byte more than the limit."""
    most = LARGE_BODY if _api(route, good) and route.view != "Login" else SMALL_BODY
    if good.path.endswith("/attach/") and route.face == "native":
        most = ATTACHMENT_BODY
    yield f"{most >> 20} MiB and a byte", _raw(good, _spaces(most + 1))


def _raw(good: Sent, body: bytes) -> Sent:
    kind = FORM if good.form is not None else JSON
    return replace(good, raw=body, json=NOTHING, form=None, content_type=kind)


# --- Bodies that are no JSON, or not the JSON that is wanted -------------------------------------

BODIES: dict[str, bytes] = {
    "white space": b" \n",
    "an array": b"[]",
    "an array of objects": b"[{}]",
    "null": b"null",
    "true": b"true",
    "a text": b'"x"',
    "a number": b"7",
    "cut off": b'{"reason": "x"',
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // so",
    "a comma too many": b'{"reason": "x",}',
    "two documents": b"{} {}",
    "a form": b"reason=x",
    "a duplicate key": b'{"reason": "a", "reason": "b"}',
    "a duplicate key by escape": b'{"reason": "a", "re\\u0061son": "b"}',
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"reason": "x"}'.encode("utf-16"),
    "UTF-32": '{"reason": "x"}'.encode("utf-32"),
    "not UTF-8": b'{"reason": "\xff"}',
    "an overlong NUL": b'{"reason": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"reason": "\xed\xa0\x80"}',
    "a raw NUL": b'{"reason": "\0"}',
    "only NUL": b"\0",
    "a control character": b'{"reason": "\x1b"}',
    "a deep array": b"[" * 65 + b"]" * 65,
    "a very deep array": b"[" * 100_000,
}

VALUES: dict[str, bytes] = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e400": b"1e400",
    "-1e400": b"-1e400",
    "65 bits": b"9223372036854775808",
    "65 bits below zero": b"-9223372036854775809",
    "4,000 digits": b"9" * 4000,
    "an escaped NUL": b'"a\\u0000b"',
    "half a surrogate pair": b'"\\ud800"',
    "the other half": b'"\\udfff"',
    "halves the wrong way round": b'"\\udc00\\ud800"',
    "NUL in a key": b'{"\\u0000": 1}',
    "half a surrogate pair in a key": b'{"\\udbff": 1}',
    "a duplicate key": b'{"a": 1, "a": 1}',
    "too many keys": json.dumps(dict.fromkeys(map(str, range(2001)))).encode(),
    "too deep": b"[" * 64 + b"]" * 64,
    "deep objects": b'{"a":' * 64 + b"1" + b"}" * 64,
    "+1": b"+1",
    "01": b"01",
    "undefined": b"undefined",
    "hexadecimal": b"0x10",
}
"""JSON texts, or what some take for them, that no member may have, free ones included."""


MESSAGES = ("an array", "an array of objects", "true", "a text", "a number")
"""Bodies that a message of IBM's may be: any JSON but null (section 1.9)."""


def _is_message(route: Route, good: Sent) -> bool:
    return route.face == "htm" and good.json == MESSAGE


@_class("body", _with_body)
def bodies(route: Route, good: Sent) -> Bent:
    """Whole bodies."""
    for words, raw in BODIES.items():
        if not (words in MESSAGES and _is_message(route, good)):
            yield words, _raw(good, raw)


@_class("body", _with_body)
def values(route: Route, good: Sent) -> Bent:
    """One value somewhere in a body that is good otherwise, and in a member of a made-up name."""
    members = good.json if isinstance(good.json, dict) else {}
    for words, raw in VALUES.items():
        for name in [*members, "made_up"]:
            whole = json.dumps({**members, name: "@@"}).encode()
            yield f"{words} in {name}", _raw(good, whole.replace(b'"@@"', raw))


# --- Members -------------------------------------------------------------------------------------

FREE = frozenset({"input", "output", "variables", "fault", "fault_data", "decision"})
"""Members whose value may be any JSON."""

KINDS: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a fraction": 1.5,
    "a huge number": 2**62,
    "a negative number": -1,
    "a text": "x",
    "an empty text": "",
    "a text with a bidi mark": "a\u202eb",
    "a text with an ANSI code": "a\x1b[31mb",
    "markup": "<script>alert(1)</script>",
    "an empty list": [],
    "a list": [1, "x", None],
    "an empty object": {},
    "an object": {"$ne": None},
    "true": True,
    "false": False,
}


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place within a JSON value but the whole, with what is there."""
    if path:
        yield path, value
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in steps:
        if path and path[0] in FREE:
            return
        if isinstance(inner, (dict, list)):
            yield from _places(inner, (*path, step))
        else:
            yield (*path, step), inner


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a JSON value with another value at one place."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = _put(value[path[0]], path[1:], new)
    return copied


def _free(path: tuple[Any, ...]) -> bool:
    return not FREE.isdisjoint(path)


def _surely_wrong(path: tuple[Any, ...], old: Any, new: Any) -> bool:
    """Whether a member may not have a value of that kind, for all one can tell from another."""
    if _free(path) or new is None:
        return False
    if old is None:
        return not isinstance(new, str)
    return type(old) is not type(new)


@_class("members", _with_members)
def wrong_kinds(route: Route, good: Sent) -> Bent:
    """Each member with values of every other kind."""
    for path, old in _places(good.json):
        for words, new in KINDS.items():
            if _surely_wrong(path, old, new):
                where = "/".join(map(str, path))
                yield f"{where} as {words}", replace(good, json=_put(good.json, path, new))


@_class("members", _with_members, EITHER)
def odd_values(route: Route, good: Sent) -> Bent:
    """Each member with odd values of a kind that may be right: never an accident."""
    for path, old in _places(good.json):
        for words, new in KINDS.items():
            if not _surely_wrong(path, old, new):
                where = "/".join(map(str, path))
                yield f"{where} as {words}", replace(good, json=_put(good.json, path, new))


@_class("members", _with_members)
def long_texts(route: Route, good: Sent) -> Bent:
    """64 KiB and a byte in each text, and in the name of a member."""
    for path, old in _places(good.json):
        if isinstance(old, str) and not _free(path):
            where = "/".join(map(str, path))
            yield where, replace(good, json=_put(good.json, path, "x" * 65_537))
            yield (
                f"{where} in two bytes each",
                replace(good, json=_put(good.json, path, "\u00e9" * 32_769)),
            )
    if not _is_message(route, good):
        yield "a key", replace(good, json={**good.json, "x" * 65_537: 1})


UNKNOWN = ("version", "id", "state", "created_at", "owner_id", "__class__", "Reason", "", "a.b")


def _refuses_unknown(route: Route, good: Sent) -> bool:
    return route.face in ("native", "itential") and _with_body(route, good)


@_class("members", _refuses_unknown, statuses=(400,))
def unknown_members(route: Route, good: Sent) -> Bent:
    """Members that there are not, or that nobody may write; they are named in the answer."""
    members = good.json if isinstance(good.json, dict) else {}
    for name in UNKNOWN:
        yield name, replace(good, raw=None, content_type=None, json={**members, name: 1})


@_class(
    "members", lambda route, good: route.face == "htm" and _with_members(route, good), outcome=FINE
)
def members_that_ibm_passes_over(route: Route, good: Sent) -> Bent:
    """IBM's schema allows more members."""
    for name in ("version", "nonsense", "__class__"):
        yield name, replace(good, json={**good.json, name: 1})


def _several_members(route: Route, good: Sent) -> bool:
    return _with_members(route, good) and route.face == "native"


@_class("members", _several_members)
def missing_members(route: Route, good: Sent) -> Bent:
    """Without a member that is needed; which those are is told by the serializer."""
    for name in REQUIRED & set(good.json):
        rest = {other: value for other, value in good.json.items() if other != name}
        yield name, replace(good, json=rest)


REQUIRED = frozenset({"to", "role", "name", "ids", "content", "text"})


# --- Ids -----------------------------------------------------------------------------------------

PLAIN = "01900000-0000-7000-8000-000000000000"

SPELLINGS = (
    "x",
    "0",
    "-1",
    "null",
    "undefined",
    PLAIN.replace("-", ""),
    "{" + PLAIN + "}",
    "urn:uuid:" + PLAIN,
    PLAIN[:-1],
    PLAIN + "0",
    PLAIN[:-1] + "g",
    PLAIN[:-1] + "\u0660",
    PLAIN + " ",
    " " + PLAIN,
    PLAIN + "\n",
    PLAIN + "\u202e",
    "\x1b[31m" + PLAIN,
    PLAIN + "%00",
    "_TKI:a.b.c",
    "_TKI:a.b.c.d.e",
    "_TKI:100000000.0.0.0",
    "_PI:a.b.c.d",
    "_tki:a.b.c.d",
    "' or 1=1 --",
    "<script>",
    "1e400",
    "\U0001f600",
)


@_class("ids", lambda route, good: route.on_task)
def ids_in_the_path(route: Route, good: Sent) -> Bent:
    """Ids of every wrong spelling."""
    for name, spelling in _by_name(SPELLINGS):
        yield name, replace(good, path=with_id(good.path, spelling))


def _by_name(spellings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((ascii(spelling), spelling) for spelling in spellings)


def with_id(path: str, new: str) -> str:
    """A path with another id in the place of the task's."""
    parts = path.split("/")
    whole = (number for number, part in enumerate(parts) if _is_id(part))
    at = next(whole, None) or parts.index("tasks") + 1
    return "/".join([*parts[:at], new, *parts[at + 1 :]])


def _is_id(part: str) -> bool:
    if part.startswith("_TKI:"):
        return True
    try:
        UUID(part)
    except ValueError:
        return False
    return len(part) == 36


def _with_list(route: Route, good: Sent) -> bool:
    return bool(route.many) and good.json is not NOTHING


@_class("lists", _with_list)
def lists_of_ids(route: Route, good: Sent) -> Bent:
    """Lists that are missing, that are none, or that hold something else."""
    (one,) = good.json[route.many]
    rest = {name: value for name, value in good.json.items() if name != route.many}
    yield "missing", replace(good, json=rest)
    for words, new in {
        "null": None,
        "a text": one,
        "an object": {"0": one},
        "a number": 7,
        "a number within": [one, 7],
        "null within": [one, None],
        "a list within": [[one]],
        "true within": [True],
        "an empty text within": [one, ""],
        "an empty object within": [{}],
        "an id and more within": [{"id": one, "state": "x"}],
        "a version that is none": [{"id": one, "version": "1"}],
        "a version below one": [{"id": one, "version": 0}],
        "a version that is true": [{"id": one, "version": True}],
        "two versions of one task": [{"id": one, "version": 1}, {"id": one, "version": 2}],
    }.items():
        yield words, replace(good, json={**good.json, route.many: new})
    for name, spelling in _by_name(SPELLINGS):
        yield name, replace(good, json={**good.json, route.many: [one, spelling]})


@_class(
    "lists",
    lambda route, good: _with_list(route, good) and route.face == "native",
    statuses=(413,),
)
def long_lists(route: Route, good: Sent) -> Bent:
    """10,001 ids."""
    ids = [str(UUID(int=number)) for number in range(100_001)]
    yield "10,001", replace(good, json={**good.json, "ids": ids})


@_class("lists", _with_list, outcome=FINE)
def the_same_task_twice(route: Route, good: Sent) -> Bent:
    """Duplicates are answered once."""
    (one,) = good.json[route.many]
    other = one.upper() if route.many == "ids" else tkiid(_of_tkiid(one)).replace(":", ":0", 1)
    other = one if len(other) > 40 and route.face == "htm" else other
    yield "twice", replace(good, json={**good.json, route.many: [one, one, other]})


def _of_tkiid(text: str) -> UUID:
    groups = text.removeprefix("_TKI:").split(".")
    return UUID("".join(group.zfill(8) for group in groups))


# --- Query parameters ----------------------------------------------------------------------------


@_class("query", _on("native"), statuses=(400,))
def parameters(route: Route, good: Sent) -> Bent:
    """Parameters that there are not, that come too often, or that make no sense."""
    for query in (
        (("made_up", "1"),),
        (("", "1"),),
        (("\u202e", "1"),),
        (("x\x1b[31m", "1"),),
        (("format", "xml"),),
        (("format", "json"), ("format", "json")),
        (("owner__password__startswith", "p"),),
        (("ids[]", "1"),),
    ):
        yield str(query), replace(good, query=query)


LISTS = ("comments", "attachments", "subtasks")


def _list(route: Route, good: Sent) -> bool:
    return route.view in ("TaskViewSet.list", *(f"PartViewSet.{name}" for name in LISTS))


@_class("query", _list, statuses=(400,))
def filters_and_pages(route: Route, good: Sent) -> Bent:
    """Absurd filters, limits, cursors and orderings."""
    for name, value in (
        ("state", "nothing"),
        ("state", ""),
        ("state", "\u202e"),
        ("view", "all"),
        ("owner", ""),
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "201"),
        ("limit", "1e2"),
        ("limit", "\u0661"),
        ("limit", "9" * 400),
        ("limit", ""),
        ("limit", " 5"),
        ("cursor", ""),
        ("cursor", "x"),
        ("cursor", "A" * 34),
        ("cursor", "_" * 34),
        ("cursor", "A" * 4000),
        ("cursor", "\u00e9" * 34),
        ("order", "id"),
        ("ordering", "-password"),
        ("page", "1"),
        ("offset", "1"),
    ):
        yield f"{name}={ascii(value)[:20]}", replace(good, query=((name, value),))
    yield "21 states", replace(good, query=(("state", "ready"),) * 21)


def _asked_to_act(route: Route, good: Sent) -> bool:
    return route.face == "htm" and any(name == "action" for name, _ in good.query)


@_class("query", _asked_to_act)
def actions_of_ibm(route: Route, good: Sent) -> Bent:
    """Actions that are none, or twofold."""
    (_, action), *others = good.query
    rest = tuple(others)
    for words, query in {
        "no action": rest,
        "an empty action": (("action", ""), *rest),
        "an unknown action": (("action", "explode"), *rest),
        "an action with a bidi mark": (("action", "cla\u202eim"), *rest),
        "an action with an ANSI code": (("action", "\x1b[31mclaim"), *rest),
        "the action in capitals": (("action", action.upper()), *rest),
        "two actions": (*good.query, ("action", "claim")),
    }.items():
        yield words, replace(good, query=query)


VALUES_OF_IBM: dict[str, tuple[str, ...]] = {
    "actions": ("", "ACTION_EXPLODE", "ACTION_CLAIM,", "claim", "ACTION_CLAIM\u202e", "," * 999),
    "duration": ("", "P", "PT", "1 day", "P1.5D", "-P1D", "P1D1D", "P\u0661D", "P999999Y", "1e400"),
    "faultName": ("", "a\u202eb", "a\x1b[31mb", "x" * 5000),
    "keepTaskData": ("", "TRUE", "1", "yes", "\u202e"),
    "mode": ("", "sync", "ASYNC", "\u202e"),
    "new": ("", "1", "maybe", "\u202e"),
    "newEventType": ("", "true", "1", "\u202e"),
    "newUser": ("", "a\u202eb", "a\x1b[31mb", "<b>", "x" * 5000, "nobody-of-that-name"),
    "taskIDs": (
        "",
        ",",
        "x",
        "_TKI:a.b.c",
        "_PI:a.b.c.d",
        "_TKI:a.b.c.d",
        "\u202e",
        "_TKI:1.1.1.g",
    ),
}
"""Values that parameters of IBM's cannot have."""

NEEDED_BY_IBM = ("keepTaskData", "mode", "newUser", "taskIDs")
"""Those without which a call cannot be."""


@_class("query", lambda route, good: route.face == "htm" and not route.nothing)
def parameters_of_ibm(route: Route, good: Sent) -> Bent:
    """Missing, senseless, twofold or contradicting values of parameters that this face knows."""
    yield "a federation", replace(good, query=(*good.query, ("federationMode", "false")))
    for name, value in good.query:
        yield f"{name} twice", replace(good, query=(*good.query, (name, value)))
        rest = tuple(pair for pair in good.query if pair[0] != name)
        for bad in VALUES_OF_IBM.get(name, ()):
            if (name, route.method) not in FOUND_BY_IBM:
                yield f"{name}={ascii(bad)[:40]}", replace(good, query=(*rest, (name, bad)))
        if name in NEEDED_BY_IBM:
            yield f"no {name}", replace(good, query=rest)
        if name == "duration":
            both = (*good.query, ("deadline", "2090-01-31T12:00:00"))
            yield "deadline and duration", replace(good, query=both)
            for at in (
                "",
                "x",
                "2001-01-01T00:00:00",
                "2090-02-30T12:00:00",
                "0001-01-01",
                "9" * 40,
            ):
                yield f"deadline={at[:20]}", replace(good, query=(*rest, ("deadline", at)))


FOUND_BY_IBM = {
    ("faultName", "GET"): "Any name may be asked for; the answer is that it is not there."
}
"""Parameters whose odd values are no mistake, by method, and why."""


def _passes_over_the_body(route: Route, good: Sent) -> bool:
    return route.face == "htm" and not route.takes_body and not route.nothing


@_class("body", _passes_over_the_body, outcome=FINE)
def bodies_that_are_not_read(route: Route, good: Sent) -> Bent:
    """Where IBM has no body, one is passed over, whatever it is."""
    for kind in (JSON, "text/plain", "application/xml", FORM, ""):
        for words, raw in (("no JSON", b"[1"), ("not UTF-8", b"\xff"), ("an object", b'{"a": 1}')):
            yield f"{words} as {kind or 'nothing'}", replace(good, raw=raw, content_type=kind)


@_class("query", lambda route, good: ("toUser", "alice") in good.query)
def moves_of_ibm(route: Route, good: Sent) -> Bent:
    """Givers and receivers that cannot be any."""
    action = good.query[0]
    for query in (
        (),
        (("toUser", ""),),
        (("toUser", "bob"), ("fromUser", "bob")),
        (("toUser", "a\u202eb"),),
        (("toUser", "a\x1b[31mb"),),
        (("toUser", "<b>"),),
        (("toUser", "x" * 5000),),
        (("toUser", "alice"), ("toGroup", "noc")),
        (("toGroup", "noc"),),
        (("fromGroup", "noc"), ("toGroup", "field")),
        (("fromUser", "bob"),),
    ):
        yield str(query)[:80], replace(good, query=(action, *query))


@_class("ids", lambda route, good: "/role/" in route.pattern)
def roles_of_ibm(route: Route, good: Sent) -> Bent:
    """Task roles that there are not, or that nobody hands over."""
    for role in ("x", "Owner", "REASON_X", "excludedOwner", "a\u202eb", "\x1b[0m", "' or 1=1"):
        path = good.path.rpartition("/")[0] + "/" + role
        yield f"role {role!a}", replace(good, path=path)


@_class("query", _on("itential"), outcome=FINE)
def operators_that_itential_passes_over(route: Route, good: Sent) -> Bent:
    """Its real server ignores what it does not know."""
    yield "made up", replace(good, query=(*good.query, ("made_up", "1"), ("$where", "x")))


@_class("ids", lambda route, good: "/jobs/" in good.path)
def ids_of_jobs(route: Route, good: Sent) -> Bent:
    """Ids of jobs of every wrong spelling, and one that no job has."""
    job = good.path.split("/")[3]
    for name, spelling in _by_name((*SPELLINGS, job.upper() + "A", job[:-1], "f" * 24)):
        yield name, replace(good, path=good.path.replace(job, spelling, 1))


def _has_number(route: Route, good: Sent) -> bool:
    return "number>" in route.pattern


@_class("ids", _has_number, statuses=(400, 404))
def numbers_of_files(route: Route, good: Sent) -> Bent:
    """Files that there are not, and numbers that are none."""
    start, number = good.path.rstrip("/").rsplit("/", 1)
    for text in (
        "x",
        "0",
        "-1",
        "1e3",
        "+1",
        "\u0661",
        "9" * 18,
        "9" * 19,
        "9" * 40,
        f"{number}%00",
    ):
        yield ascii(text), replace(good, path=f"{start}/{text}/")


@_class("query", lambda route, good: route.view in ("GetTask", "GetJob", "WhoAmI"))
def parameters_of_itential(route: Route, good: Sent) -> Bent:
    """Values that its parameters cannot have."""
    if route.view == "WhoAmI":
        yield "roles", replace(good, query=(("roles", "all\u202e"),))
        return
    yield "a target", replace(good, query=(("dereference", "password\u202e"),))
    yield "both lists", replace(good, query=(("include", "name"), ("exclude", "status")))


# --- Files sent as a form -------------------------------------------------------------------------

FILE = part("file", b"a plan", "plan.txt")


def _with_file(route: Route, good: Sent) -> bool:
    return good.media_type.startswith("multipart/")


def _parts(good: Sent, *parts: bytes) -> Sent:
    """The good form, which names the tasks, with other parts in the place of its file."""
    kept = [each for each in good.body.split(MARK)[1:-1] if b'"ids"' in each]
    return replace(good, raw=form(*parts, *(each.strip(b"\r\n") for each in kept)))


MARK = b"--" + BOUNDARY.encode()


@_class("multipart", _with_file)
def broken_forms(route: Route, good: Sent) -> Bent:
    """Forms that cannot be read from end to end."""
    body, kind = good.body, "multipart/form-data"
    for words, content_type in {
        "no boundary": kind,
        "an empty boundary": f"{kind}; boundary=",
        "another boundary": f"{kind}; boundary=other",
        "a long boundary": f"{kind}; boundary={'x' * 300}",
        "a boundary that is not ASCII": f"{kind}; boundary=\xe9",
        "two boundaries": f"{kind}; boundary=other; boundary={BOUNDARY}",
        "another kind of form": f"multipart/mixed; boundary={BOUNDARY}",
    }.items():
        yield words, replace(good, content_type=content_type)
    for words, raw in {
        "nothing": b"",
        "no parts": MARK + b"--\r\n",
        "no form": b"a plan",
        "JSON": b'{"name": "x", "content": "YQ=="}',
        "the end missing": body[: body.index(b"a plan") + 3],
        "only the last line missing": body.removesuffix(MARK + b"--\r\n"),
    }.items():
        yield words, replace(good, raw=raw)
    broken = b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
    for words, parts in {
        "a part without a head": (FILE, b"\r\nso"),
        "a part without an end to its head": (FILE, b"Content-Disposition: form-data"),
        "a part without a name": (FILE, b"Content-Disposition: form-data\r\n\r\nso"),
        "a part without its disposition": (FILE, b"Content-Type: text/plain\r\n\r\nso"),
        "base64 that is none": (broken + b"Content-Transfer-Encoding: base64\r\n\r\n\xff!",),
        "a long head": (broken + b"X-A: " + b"x" * 20_000 + b"\r\n\r\na plan",),
    }.items():
        yield words, _parts(good, *parts)


@_class("multipart", _with_file, statuses=(400,))
def forms_with_other_parts(route: Route, good: Sent) -> Bent:
    """Parts that are missing, unknown, too many, or not what they should be."""
    for words, parts in {
        "no file": (),
        "a text as the file": (part("file", b"a plan"),),
        "a file without a name": (part("file", b"a plan", ""),),
        "two files": (FILE, FILE),
        "a file and a text": (FILE, part("file", b"a plan")),
        "another file": (FILE, part("other", b"a plan", "b.txt")),
        "another text": (FILE, part("made_up", b"1")),
        "a name": (FILE, part("name", b"plan.txt")),
        "a version": (FILE, part("version", b"1")),
        "a part with an empty name": (FILE, part("", b"1")),
        "two reasons": (FILE, part("reason", b"a"), part("reason", b"b")),
        "a reason in a file": (FILE, part("reason", b"a", "a.txt")),
        "NUL in a reason": (FILE, part("reason", b"a\0b")),
        "a reason that is not UTF-8": (FILE, part("reason", b"\xff")),
        "half a surrogate pair in a reason": (FILE, part("reason", b"\xed\xa0\x80")),
        "a long reason": (FILE, part("reason", b"x" * 65_537)),
        "a media type that is none": (part("file", b"x", "a.txt", "\r\nContent-Type: text plain"),),
        "a media type with an ANSI code": (
            part("file", b"x", "a.txt", "\r\nContent-Type: text/\x1b[31m"),
        ),
        "a long media type": (part("file", b"x", "a.txt", f"\r\nContent-Type: text/{'x' * 300}"),),
        "a name of spaces": (part("file", b"x", "   "),),
        "a name of dots": (part("file", b"x", ".."),),
        "another file whose name is dots": (FILE, part("other", b"x", "..")),
        "a folder for a name": (part("file", b"x", "a/"),),
        "many files": tuple(part(f"file{number}", b"x", "a") for number in range(101)),
    }.items():
        yield words, _parts(good, *parts)


@_class("multipart", _with_file, statuses=(413,))
def files_that_are_too_large(route: Route, good: Sent) -> Bent:
    """25 MiB and a byte."""
    yield "25 MiB and a byte", _parts(good, part("file", bytes(LARGEST_FILE + 1), "zero"))


@_class("multipart", _with_file, EITHER)
def odd_names_of_files(route: Route, good: Sent) -> Bent:
    """Names that could lead astray: those that are kept are looked at in a proof of their own."""
    for words, name in ODD_FILE_NAMES.items():
        yield words, _parts(good, part("file", b"x", name))


ODD_FILE_NAMES = {
    "a path": "../../etc/passwd",
    "a path of Windows": "C:\\\\temp\\\\plan.txt",
    "a line break": "a\r\nSet-Cookie: x=1.txt",
    "an escaped line break": "a%0d%0ab.txt",
    "a bidi mark": "a\u202egpj.exe",
    "an ANSI code": "a\x1b[31mb.txt",
    "NUL": "a\0b.txt",
    "markup": "<script>.txt",
    "a quote": 'a\\"b.txt',
    "a long name": "x" * 5000,
    "an entity": "a&#x202e;b.txt",
}


@_class(
    "members", lambda route, good: "content" in (good.json if _with_members(route, good) else ())
)
def names_of_files(route: Route, good: Sent) -> Bent:
    """Within JSON no reader of forms has taken away what a name must not hold."""
    for words in ("a path", "a line break", "a bidi mark", "an ANSI code", "NUL", "a long name"):
        yield words, replace(good, json={**good.json, "name": ODD_FILE_NAMES[words]})
    for words, content in {
        "no base64": "a plan",
        "base64 of URLs": "__-_",
        "without its end": "YQ",
        "with a line break": "YSBw\nbGFu",
        "with a bidi mark": "YSBw\u202ebGFu",
    }.items():
        yield words, replace(good, json={**good.json, "content": content})


# --- Pages and forms of the admin ----------------------------------------------------------------

GARBAGE: dict[str, str] = {
    "NUL": "a\0b",
    "a long text": "x" * 65_537,
    "a bidi mark": "a\u202eb",
    "an ANSI code": "a\x1b[31mb",
    "markup": "<script>alert(1)</script>",
    "a word": "garbage",
    "a huge number": "9" * 40,
    "a negative number": "-1",
    "1e400": "1e400",
    "NaN": "NaN",
    "nothing": "",
    "spaces": "   ",
    "a surrogate escape": "\\ud800",
    "\u00b2": "\u00b2",
}


@_class("form", _with_form, EITHER)
def garbage_in_each_field(route: Route, good: Sent) -> Bent:
    """What no field, or not every field, may have: never an accident, never a traceback."""
    for at, (name, _) in enumerate(good.form or ()):
        if name == "csrfmiddlewaretoken":
            continue
        for words, value in GARBAGE.items():
            form = [*(good.form or ())]
            form[at] = (name, value)
            yield f"{name} as {words}", replace(good, form=tuple(form))


@_class("form", lambda route, good: _with_form(route, good) and route.takes_body)
def unseen_characters_in_texts(route: Route, good: Sent) -> Bent:
    """NUL, marks of direction and control codes in names and other texts of a line."""
    for at, (name, _) in enumerate(good.form or ()):
        if name.rpartition("-")[2] not in TEXTS or "password" in route.view or route.guesses:
            continue
        for words in ("NUL", "a bidi mark", "an ANSI code", "a long text"):
            form = [*(good.form or ())]
            form[at] = (name, GARBAGE[words])
            yield f"{name} with {words}", replace(good, form=tuple(form))


TEXTS = frozenset(
    {"username", "first_name", "last_name", "email", "time_zone", "language", "provenance"}
    | {"name", "description", "legacy_id", "bulk_limit"}
)


@_class("form", _with_form)
def forms_that_are_not_utf8(route: Route, good: Sent) -> Bent:
    """Bytes that could only be guessed at."""
    if route.guesses:
        return
    for words, evil in UNREADABLE.items():
        if words == "NUL":
            continue
        escaped = b"".join(b"%%%02X" % byte for byte in evil)
        yield words, replace(good, raw=good.body + b"&reason=" + escaped, content_type=FORM)
        yield (
            f"{words} in a name",
            replace(good, raw=good.body + b"&" + escaped + b"=1", content_type=FORM),
        )


@_class("form", lambda route, good: _with_form(route, good), statuses=(403,))
def forms_without_their_token(route: Route, good: Sent) -> Bent:
    """A form that did not come from a page of ours."""
    rest = tuple(pair for pair in good.form or () if pair[0] != "csrfmiddlewaretoken")
    yield "no token", replace(good, form=rest)
    yield "another token", replace(good, form=(*rest, ("csrfmiddlewaretoken", "d" * 32)))
    yield "garbage", replace(good, form=(*rest, ("csrfmiddlewaretoken", "\0\u202e")))
    cookie = good.headers["Cookie"].partition("csrftoken")[0]
    yield "no cookie", replace(good, headers={**good.headers, "Cookie": cookie})
    yield "another site", replace(good, headers={**good.headers, "Origin": "http://evil.test"})
    yield "JSON", replace(good, form=None, raw=b'{"a": 1}', content_type=JSON)
    yield "text", replace(good, raw=good.body, content_type="text/plain")


@_class("form", lambda route, good: _with_form(route, good), statuses=(400,))
def forms_of_too_many_fields(route: Route, good: Sent) -> Bent:
    """More fields than any form here has."""
    yield "10,101", replace(good, raw=good.body + b"&a" * 10_101, content_type=FORM)


@_class("form", lambda route, good: route.variant == "selection")
def selections(route: Route, good: Sent) -> Bent:
    """`select_across` with anything but 0 or 1, keys that are none, operations that are none."""
    form = dict(good.form or ())
    for name, value in (
        ("select_across", "2"),
        ("select_across", "-1"),
        ("select_across", "on"),
        ("select_across", "true"),
        ("select_across", "00"),
        ("select_across", "\0"),
        ("select_across", "\u0661"),
        ("_selected_action", "x"),
        ("_selected_action", "\0"),
        ("_selected_action", "\u00b2"),
        ("_selected_action", "-1"),
        ("_selected_action", "1e400"),
        ("_selected_action", "9" * 400),
        ("_selected_action", "' or 1=1 --"),
        ("action", "explode"),
        ("action", "\0"),
        ("action", "a\u202eb"),
    ):
        sent = tuple({**form, name: value}.items())
        yield f"{name}={ascii(value)[:20]}", replace(good, form=sent)


def _list_of_the_admin(route: Route, good: Sent) -> bool:
    return route.face == "admin" and route.view.endswith("_changelist") and good.method == "GET"


@_class("query", _list_of_the_admin, statuses=(400,))
def pages_and_filters_of_the_admin(route: Route, good: Sent) -> Bent:
    """Absurd pages, orderings and filters; an address must not be a way to probe columns."""
    for name, value in (
        ("p", "0"),
        ("p", "-1"),
        ("p", "x"),
        ("p", "99999"),
        ("p", "9" * 400),
        ("p", "\u0661"),
        ("o", "x"),
        ("o", "99"),
        ("o", "1.x"),
        ("o", "-"),
        ("o", "9" * 400),
        ("made_up", "1"),
        ("password__startswith", "p"),
        ("user__password__startswith", "p"),
        ("digest", "x"),
        ("pk__in", "x"),
        ("id__gt", "x"),
        ("_to_field", "password"),
        ("is_active__exact", "perhaps"),
        ("roles__id__exact", "x"),
        ("roles__id__exact", "9" * 40),
        ("owner", "x"),
        ("owner", "9" * 40),
        ("kind__exact", "\x1b"),
        ("e", "1"),
    ):
        if name in ALLOWED.get(route.view, ()):
            continue
        yield f"{name}={ascii(value)[:20]}", replace(good, query=((name, value),))


ALLOWED: dict[str, tuple[str, ...]] = {
    "accounts_token_changelist": ("kind__exact",),
    "accounts_user_changelist": ("roles__id__exact",),
    "accounts_group_changelist": ("roles__id__exact",),
}
"""Filters that a list has, whose odd values find nothing."""


def _page_of_one(route: Route, good: Sent) -> bool:
    of_one = "<path:object_id>" in route.pattern or "<id>" in route.pattern
    return of_one and route.face == "admin" and not route.redirects


@_class("ids", _page_of_one, statuses=(403, 404))
def keys_in_the_path(route: Route, good: Sent) -> Bent:
    """Keys that no row has, or that are none."""
    app, model = good.path.split("/")[2:4]
    last = good.path.rstrip("/").rpartition("/")[2]
    for key in ("x", "0", "-1", "1e4", "9" * 40, "\u00b2", "\u202e", "\x1b", "1 or 1", "_5F"):
        yield ascii(key), replace(good, path=f"/admin/{app}/{model}/{key}/{last}/")


@_class("query", lambda route, good: route.view in ("autocomplete", "tasks_task_holders"))
def pickers(route: Route, good: Sent) -> Bent:
    """Fields that are none, and pages that there are not."""
    query = dict(good.query)
    for name, value in (
        ("app_label", "x"),
        ("app_label", "auth"),
        ("model_name", "password\u202e"),
        ("field_name", "x"),
        ("field_name", "password"),
        ("page", "0"),
        ("page", "x"),
        ("page", "99999"),
        ("page", "9" * 400),
    ):
        bent = tuple({**query, name: value}.items())
        yield f"{name}={ascii(value)[:20]}", replace(good, query=bent)
    for name in query:
        rest = tuple(pair for pair in good.query if pair[0] != name)
        yield f"no {name}", replace(good, query=rest)
