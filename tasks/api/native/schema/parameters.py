"""The parameters of addresses, queries and headers, each described once, and headers of answers."""

from __future__ import annotations

from typing import Any, Final

from tasks.api.native.base import KEY_HEADER, MOST_TERMS
from tasks.api.native.bulk import ITEMS
from tasks.api.native.directory import LONGEST_SEARCH
from tasks.api.native.feed import LONGEST_WAIT
from tasks.api.native.filters import (
    FILTERS,
    LONGEST,
    REPEATABLE,
    Among,
    AnyOf,
    Flag,
    TaskFilters,
    Time,
)
from tasks.api.native.listing import ORDERED, VIEWS
from tasks.api.native.pagination import DEFAULT_LIMIT, MAX_LIMIT
from tasks.api.native.serializers.documents import MEMBERS
from tasks.feed import EVENTS
from tasks.lists import ORDERS

from .documents import listed, one_of, ref
from .fields import UUID_, Schema


def _told(description: str, schema: Schema, **more: Any) -> Schema:
    return {"description": description, "schema": schema, **more}


_SEARCH: Final = {"type": "string", "minLength": 1, "maxLength": LONGEST_SEARCH}
_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}

PLACES: Final[dict[str, Schema]] = {
    "id": _told("The id of the task, or of the bulk operation.", UUID_),
    "number": _told("Its id.", _NUMBER),
}
"""The parameters within addresses."""

PARAMETERS: Final[dict[str, Schema]] = {
    "cursor": _told(
        "Where the page begins: from an answer's next, previous or cursor. It is opaque.",
        {"type": "string", "minLength": 1},
    ),
    "limit": _told(
        "How many a page has at most.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    "q": _told("Those whose name begins so.", _SEARCH),
    "user": _told("Those of this user, by name; else one's own.", _SEARCH),
    "status": _told("Those of which this became.", one_of(ITEMS)),
    "from": _told("The end of the feed, to begin there. Not beside cursor.", one_of(["now"])),
    "wait": _told(
        "Seconds that the answer may wait for an event.",
        {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 0},
    ),
    "task": _told("Events of this task.", UUID_),
    "event": _told(
        "Events of this kind; several are joined by or.",
        {**listed(one_of(EVENTS)), "maxItems": MOST_TERMS},
        explode=True,
    ),
}
"""Those of the other lists, and of all."""


def _filter(one: Any) -> Schema:
    """A filter of tasks by its declaration."""
    words = [value for value, _ in one.extra.get("choices", ())]
    about = one.extra["help_text"]
    if isinstance(one, AnyOf):
        about += " Several are joined by or."
        return _told(about, {**listed(one_of(words)), "maxItems": MOST_TERMS}, explode=True)
    if isinstance(one, Among):
        return _told(about, one_of(words))
    if isinstance(one, Flag):
        return _told(about, {"type": "boolean"})
    if isinstance(one, Time):
        return _told(about, {"type": "string", "format": "date-time"})
    schema: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST}
    if "pattern" in one.extra:
        schema["pattern"] = f"^({one.extra['pattern']})$"
    return _told(about, schema)


TASK_PARAMETERS: Final[dict[str, Schema]] = {
    **{name: _filter(one) for name, one in TaskFilters.base_filters.items()},
    "view": _told("A named view of the list.", one_of(VIEWS)),
    "ordering": _told("The order; which ones there are depends on the view.", one_of(ORDERS)),
    "fields": _told(
        "The members that each task is to have, joined by commas; all without it.",
        {**listed(one_of(MEMBERS)), "minItems": 1},
        explode=False,
    ),
}
"""Those of the list of tasks alone."""


def _in_a_body(name: str) -> Schema:
    schema: Schema = TASK_PARAMETERS[name]["schema"]
    return {"anyOf": [schema, schema["items"]]} if name in REPEATABLE else schema


FILTER: Final[Schema] = {
    "type": "object",
    "description": "The tasks that the list would show with these parameters.",
    "properties": {name: _in_a_body(name) for name in sorted(FILTERS | ORDERED)},
    "maxProperties": MOST_TERMS,
    "additionalProperties": False,
}
"""The filter of a call on many tasks: the parameters of the list."""

_TAGS: Final = {"type": "string", "pattern": '^("[!#-~]*"|[*])$', "examples": ['"3"']}
"""A list of tags is read too; one is what clients send."""

HEADERS: Final[dict[str, Schema]] = {
    KEY_HEADER: _told(
        "A key of your choice. The call takes effect at most once in 24 hours under it, and is "
        "answered again as it was.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    "If-Match": _told("The versions that the task may be at; else 412.", _TAGS),
    "If-None-Match": _told("The versions that you have already; then 304.", _TAGS),
    "X-Request-ID": _told(
        "An id of your choice for the request, for logs and the audit; one that is not well formed "
        "(1 to 64 of A-Z a-z 0-9 . _ -) is replaced.",
        {"type": "string"},
    ),
}
"""The headers of requests."""


def header_ref(name: str) -> Schema:
    """A reference to the header of a request."""
    return ref(name, "parameters")


ANSWER_HEADERS: Final[dict[str, Schema]] = {
    "ETag": _told("The version of the task, or what stands for the file.", {"type": "string"}),
    "Location": _told("Where it is found.", {"type": "string", "format": "uri"}),
    "Idempotency-Replayed": _told(
        "Whether this was answered before, under the same key.", one_of(["true"])
    ),
    "Retry-After": _told("Seconds until it makes sense to try again.", {"type": "integer"}),
    "WWW-Authenticate": _told("How to say who asks.", {"type": "string"}),
    "X-Request-ID": _told("The id of the request.", {"type": "string"}),
}
"""The headers of answers."""
