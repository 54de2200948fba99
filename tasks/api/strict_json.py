"""A strict JSON reader: what it lets through can be stored, compared and sent on unchanged.

The stdlib decoder does the parsing. What it is too lenient about is caught by hooks while it
parses, or by a walk over the result when a scan of the raw bytes says that one is needed.
"""

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

JSONValue = dict[str, Any] | list[Any] | str | int | float | bool | None
"""What `loads` returns: the plain values of the stdlib decoder."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
INT_DIGITS: Final = 19

POINTER_LENGTH: Final = 1000
"""A longer pointer ends at the last ancestor that fits: it is an aid, not a copy of the body."""

_DIGITS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_RUN: Final = b"0" * INT_DIGITS
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class BadJSON(Exception):
    """JSON that is refused.

    `code` is stable snake_case, `message` is for people. `pointer` is an RFC 6901 pointer to the
    offence, "" being the whole document, or None where the place has no name: in bytes that do
    not parse, the message says where instead.
    """

    def __init__(self, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a document may be in its parts; the size of the whole is the caller's to bound.

    `free` names members whose text may have any length, by dotted path from the top
    ("input", "options.variables"). Arrays do not count as a step, so "tasks.input" also covers
    `/tasks/0/input`, and "input" covers `/0/input` of a top-level array. The empty path ""
    frees the whole document. Depth, keys, numbers and characters are checked everywhere.
    """

    depth: int = 64
    keys: int = 2_000
    string_bytes: int = 64 * 1024
    free: frozenset[str] = frozenset()


DEFAULT: Final = Limits()


def loads(raw: bytes, *, limits: Limits = DEFAULT) -> JSONValue:
    """Read one JSON document from `raw`, which must be UTF-8 without a byte order mark.

    Returns the value; raises BadJSON with one of the codes empty_body, byte_order_mark,
    nul_character, invalid_utf8, invalid_json, too_deep, not_a_number, number_out_of_range,
    duplicate_key, too_many_keys, lone_surrogate, string_too_long.
    """
    document = _decode(raw)
    reader = _Reader(limits)
    value: JSONValue
    try:
        value = reader.decoder(numbers=_may_overflow(raw)).decode(document)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadJSON("invalid_json", f"This is not JSON: {error.msg} ({where}).") from None
    except RecursionError:
        raise _too_deep(limits, None) from None
    if reader.offence is not None:
        raise reader.offence.located_in(value)
    escapes = _may_hide_bad_characters(raw)
    texts = escapes or len(raw) > limits.string_bytes
    # A level costs one opening bracket, so few brackets need no look at the levels.
    if (texts or raw.count(b"[") + raw.count(b"{") > limits.depth) and _survey(
        value, limits, texts=texts
    ):
        _check_texts(value, limits)
    return value


# --- Before parsing: what the bytes alone tell ---------------------------------------------------


def _decode(raw: bytes) -> str:
    """Return the document as text; raise BadJSON if it is empty or no clean UTF-8."""
    if not raw or raw.isspace():
        raise BadJSON("empty_body", "The body is empty; JSON is expected.", "")
    if raw.startswith(codecs.BOM_UTF8):
        raise BadJSON("byte_order_mark", "The body starts with a byte order mark; send none.", "")
    try:
        document = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8 (byte {error.start})."
        raise BadJSON("invalid_utf8", message) from None
    if (position := raw.find(b"\0")) >= 0:
        raise BadJSON("nul_character", f"The body holds a NUL character (byte {position}).")
    return document


def _may_overflow(raw: bytes) -> bool:
    """Tell whether a number of this document could leave its range.

    That takes 19 digits in a row, or an exponent of three digits: with fewer of both the largest
    number is below 1e118. Such bytes inside a string only cost the slower path.
    """
    shape = raw.translate(_DIGITS, b"+")
    return _LONG_RUN in shape or b"e000" in shape


def _may_hide_bad_characters(raw: bytes) -> bool:
    r"""Tell whether an escape could stand for NUL or half a surrogate pair.

    The raw bytes cannot hold either any more. `\\u0000` (an escaped backslash) is a false alarm
    that the walk over the values sorts out.
    """
    return b"\\u" in raw and (b"\\u0000" in raw or b"\\ud" in raw or b"\\uD" in raw)


# --- While parsing: hooks ------------------------------------------------------------------------


class _Offence:
    """Stands in the result where the first offence was met, so that its pointer can be found."""

    __slots__ = ("code", "key", "message")

    def __init__(self, code: str, message: str, key: str | None) -> None:
        self.code = code
        self.message = message
        self.key = key

    def located_in(self, root: Any) -> BadJSON:
        """Return the exception to raise, with the pointer to this mark inside `root`."""
        for path, child, _ in _walk(root):
            if child is self:
                end = path if self.key is None else [*path, self.key]
                return BadJSON(self.code, self.message, _pointer(end))
        # The mark sat under a key that a duplicate has overwritten since.
        return BadJSON(self.code, self.message)


class _Reader:
    """The decoder's hooks for one document; they mark the first offence and go on."""

    __slots__ = ("keys", "offence")

    def __init__(self, limits: Limits) -> None:
        self.keys = limits.keys
        self.offence: _Offence | None = None

    def decoder(self, *, numbers: bool) -> json.JSONDecoder:
        """Return a decoder with these hooks; those for numbers are left out if not needed."""
        return json.JSONDecoder(
            object_pairs_hook=self.pairs,
            parse_constant=self.constant,
            parse_int=self.integer if numbers else None,
            parse_float=self.real if numbers else None,
        )

    def mark(self, code: str, message: str, key: str | None = None) -> _Offence | None:
        """Return what stands in the result: a mark for the first offence, nothing for others."""
        if self.offence is not None:
            return None
        self.offence = _Offence(code, message, key)
        return self.offence

    def pairs(self, pairs: list[tuple[str, Any]]) -> Any:
        """Build an object; mark too_many_keys and duplicate_key."""
        members = dict(pairs)
        if len(members) == len(pairs) <= self.keys or self.offence is not None:
            return members
        if len(pairs) > self.keys:
            return self.mark("too_many_keys", f"An object has more than {self.keys} keys.")
        times_seen = Counter(key for key, _ in pairs)
        twice = next(key for key, times in times_seen.items() if times > 1)
        return self.mark("duplicate_key", "A key appears twice in an object.", twice)

    def constant(self, name: str) -> Any:
        """Mark NaN, Infinity and -Infinity: the stdlib reads them, JSON does not know them."""
        return self.mark("not_a_number", f"{name} is not a JSON number.")

    def integer(self, digits: str) -> Any:
        """Read an integer; mark what a signed 64-bit column cannot hold."""
        # The length comes first: reading ever more digits costs ever more time.
        if len(digits) <= INT_DIGITS + 1 and INT_MIN <= (number := int(digits)) <= INT_MAX:
            return number
        return self.mark("number_out_of_range", "An integer does not fit into 64 bits.")

    def real(self, digits: str) -> Any:
        """Read a float; mark what would become an infinity."""
        if math.isfinite(number := float(digits)):
            return number
        return self.mark("number_out_of_range", "A number is too large.")


# --- After parsing: walks ------------------------------------------------------------------------


def _survey(root: Any, limits: Limits, *, texts: bool) -> bool:
    """Look at the document level by level; raise BadJSON if there are too many levels.

    Returns, if `texts`, whether some key or text needs a closer look: it is not clean, or it may
    be too long if it is not free. All of it runs in comprehensions: a large document must not
    cost a step of Python per value.
    """
    # No text of so few characters can be too long, however many bytes each of them takes.
    short = limits.string_bytes // 4
    suspect = False
    # The root is put into an array, so that it is a child like the others.
    level: list[Any] = [[root]]
    for _ in range(limits.depth + 1):
        children = [
            child for node in level for child in (node.values() if type(node) is dict else node)
        ]
        if texts and not suspect:
            found = [child for child in children if type(child) is str]
            found += [key for node in level if type(node) is dict for key in node]
            suspect = (
                max(map(len, found), default=0) > short
                or _bad_characters("".join(found)) is not None
            )
        level = [child for child in children if type(child) is dict or type(child) is list]
        if not level:
            return suspect
    pointer = next(_pointer(path) for path, child, _ in _walk(root) if child is level[0])
    raise _too_deep(limits, pointer)


def _check_texts(root: Any, limits: Limits) -> None:
    """Raise BadJSON for the first key or text that is not clean, or too long and not free."""
    for path, child, tree in _walk(root, _free_tree(limits.free)):
        if type(child) is str:
            found: Iterable[str] = (child,)
        elif type(child) is dict:
            # The pointer to a bad key is that of its object: an answer cannot repeat the key.
            found = child
        else:
            continue
        for value in found:
            if (offence := _bad_characters(value)) is not None:
                raise BadJSON(*offence, _pointer(path))
            if tree is not _FREE and len(value.encode()) > limits.string_bytes:
                message = f"A text is longer than {limits.string_bytes} bytes."
                raise BadJSON("string_too_long", message, _pointer(path))


def _too_deep(limits: Limits, pointer: str | None) -> BadJSON:
    message = f"Objects and arrays are nested more than {limits.depth} deep."
    return BadJSON("too_deep", message, pointer)


def _bad_characters(value: str) -> tuple[str, str] | None:
    """Return code and message of what makes `value` unfit for storing as text, if anything."""
    if "\0" in value:
        return "nul_character", "A text holds a NUL character."
    if not value.isascii() and _SURROGATE.search(value):
        return "lone_surrogate", "A text holds half of a surrogate pair."
    return None


# --- Where in the document -----------------------------------------------------------------------

_FREE: Final[dict[str, Any]] = {"": None}
"""The node of a free tree below which no text is too long."""
_BOUND: Final[dict[str, Any]] = {}
"""The node of a free tree with nothing free below."""


@lru_cache(maxsize=256)
def _free_tree(paths: frozenset[str]) -> dict[str, Any]:
    """Turn dotted paths into a tree of names that ends in _FREE."""
    if "" in paths:
        return _FREE
    tree: dict[str, Any] = {}
    # Sorted, a path comes before those below it, which it makes needless.
    for path in sorted(paths):
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if node is _FREE:
                break
        else:
            node[name] = _FREE
    return tree


def _walk(
    root: Any, tree: dict[str, Any] = _BOUND
) -> Iterator[tuple[list[str | int], Any, dict[str, Any]]]:
    """Yield every value in document order: its path, itself, and its node of the free tree.

    The path is one list that changes with every step; copy what should last.
    """
    path: list[str | int] = []
    yield path, root, tree
    stack = [(_steps(root), tree)]
    while stack:
        steps, tree = stack[-1]
        for step, child in steps:
            # An index is no step of the free tree, a key is.
            free = tree if tree is _FREE or type(step) is int else tree.get(step, _BOUND)
            path.append(step)
            yield path, child, free
            if type(child) is dict or type(child) is list:
                stack.append((_steps(child), free))
                break
            path.pop()
        else:
            stack.pop()
            if path:
                path.pop()


def _steps(node: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over the keys or indexes of a value and what is there."""
    if type(node) is dict:
        return iter(node.items())
    return iter(enumerate(node)) if type(node) is list else iter(())


def _pointer(path: list[str | int]) -> str:
    """Return the RFC 6901 pointer of a path.

    It ends above a key that is no clean text, since an answer could not repeat it.
    """
    pointer = ""
    for step in map(str, path):
        longer = f"{pointer}/{step.replace('~', '~0').replace('/', '~1')}"
        if len(longer) > POINTER_LENGTH or _bad_characters(step) is not None:
            break
        pointer = longer
    return pointer
