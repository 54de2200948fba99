"""What happened: the feed of all events for pollers, and the history of one task."""

from __future__ import annotations

import base64
import hmac
import secrets
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from uuid import UUID, uuid5

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from accounts.models import User
from tasks import feed, reading
from tasks.api.middleware import WAITING
from tasks.feed import EVENTS, Found, Part
from tasks.models import AuditEvent
from tasks.uuid7 import uuid_of

from .base import NativeView, TaskView, parameter_error, refuse_parameters
from .pagination import DEFAULT_LIMIT, MAX_LIMIT
from .serializers.fields import Moment

LONGEST_WAIT: Final = 20
"""Seconds that a call may wait for an event."""

_IDS: Final = UUID("5b7c2f9e-7d0f-4a86-9d1e-0c6f6a3b8e21")
"""The name space of the ids of events."""


# --- Places as clients carry them -----------------------------------------------------------------


class Seal:
    """Turns places into cursors that tell nothing, and back.

    A place counts what others did as well, so it is enciphered, each time anew: two cursors say not
    even whether anything happened between them. The cipher is HMAC-SHA-256 over a nonce as the
    stream, and over nonce and text as the proof that a cursor is ours.
    """

    _NUMBER = struct.Struct(">Q")
    _PART = 8  # bytes of nonce, text and proof alike

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose

    def close(self, place: int) -> str:
        """The cursor of a place."""
        nonce = secrets.token_bytes(self._PART)
        text = self._with_stream(nonce, self._NUMBER.pack(place))
        return base64.urlsafe_b64encode(nonce + text + self._proof(nonce + text)).decode()

    def open(self, cursor: str) -> int:
        """The place of a cursor. Raises ValueError for one that is not ours."""
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        body, proof = raw[: 2 * self._PART], raw[2 * self._PART :]
        if not hmac.compare_digest(proof, self._proof(body)):
            raise ValueError(cursor)
        nonce, text = body[: self._PART], body[self._PART :]
        (place,) = self._NUMBER.unpack(self._with_stream(nonce, text))
        return int(place)

    def _with_stream(self, nonce: bytes, text: bytes) -> bytes:
        stream = self._keyed("stream", nonce)
        return bytes(a ^ b for a, b in zip(text, stream, strict=True))

    def _proof(self, body: bytes) -> bytes:
        return self._keyed("proof", body)

    def _keyed(self, use: str, message: bytes) -> bytes:
        key = hmac.digest(settings.SECRET_KEY.encode(), f"{self._purpose} {use}".encode(), "sha256")
        return hmac.digest(key, message, "sha256")[: self._PART]


FEED: Final = Seal("cursor of the feed")
HISTORY: Final = Seal("cursor of a history")


# --- Events as this face shows them ---------------------------------------------------------------


class EventDocument(serializers.Serializer[AuditEvent]):
    """One committed change of one task; secrets were masked when it was recorded."""

    id = serializers.SerializerMethodField()
    at = Moment()
    event = serializers.CharField()
    task = serializers.SerializerMethodField()
    actor = serializers.CharField()
    on_behalf_of = serializers.SerializerMethodField()
    channel = serializers.CharField()
    operation_id = serializers.UUIDField()
    request_id = serializers.SerializerMethodField()
    before = serializers.SerializerMethodField()
    after = serializers.SerializerMethodField()
    reason = serializers.CharField(allow_null=True)

    def get_id(self, event: AuditEvent) -> str:
        """An id that is the same each time; the number of its row would tell of other rows."""
        return str(uuid5(_IDS, f"{event.task_id} {event.version}"))

    def get_task(self, event: AuditEvent) -> dict[str, Any]:
        """The task, and the version that the event made of it."""
        return {"id": str(event.task_id), "version": event.version}

    def get_on_behalf_of(self, event: AuditEvent) -> str | None:
        """For whom the actor acted."""
        return event.on_behalf_of or None

    def get_request_id(self, event: AuditEvent) -> str | None:
        """The id of the request, for whoever sent it."""
        return event.request_id if event.actor_id == self.context["user"].pk else None

    def get_before(self, event: AuditEvent) -> dict[str, Any]:
        """What changed, as it was."""
        return self._shown(event.before)

    def get_after(self, event: AuditEvent) -> dict[str, Any]:
        """What changed, as it became."""
        return self._shown(event.after)

    def _shown(self, values: dict[str, Any]) -> dict[str, Any]:
        parent = values.get("parent")
        if parent is None or parent in self.context["parents"]:
            return values
        return {name: value for name, value in values.items() if name != "parent"}


def documents(events: Sequence[AuditEvent], user: User) -> list[dict[str, Any]]:
    """The documents of events for an account."""
    context = {"user": user, "parents": feed.parents_seen(user, events)}
    shown = serializers.ListSerializer(events, child=EventDocument(), context=context)
    return list(shown.data)


COLUMNS: Final = ("event", "at", "actor", "channel", "reason")
"""What a page shows of each event."""

# --- The resources --------------------------------------------------------------------------------


class Events(NativeView):
    """What happened to the tasks you may know of, in one order that never changes.

    Keep `cursor` of each answer and ask with it for what came after, at once where `more` says so;
    without one the feed starts at its beginning, with `from=now` at its end. `wait` lets an answer
    wait for an event.
    """

    name = "Events"
    description = "What happened to the tasks you may know of, in an order that never changes."
    example: ClassVar[dict[str, Any]] = {}
    columns = COLUMNS
    parameters = frozenset({"cursor", "from", "limit", "wait", "task", "event"})
    repeatable = frozenset({"event"})
    part: Part
    from_now: bool
    limit: int
    wait: int

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters that make no sense."""
        super().check_syntax(request)
        given = request.query_params
        wrong: list[dict[str, str]] = []
        self.limit = _number(given, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT, wrong)
        self.wait = _number(given, "wait", 0, 0, LONGEST_WAIT, wrong)
        self.from_now = "from" in given
        if self.from_now and given["from"] != "now":
            wrong.append(parameter_error("from", "invalid", "Only now, the end of the feed."))
        if self.from_now and "cursor" in given:
            wrong.append(parameter_error("from", "invalid", "Either from or cursor."))
        names = frozenset(given.getlist("event"))
        if not names <= EVENTS:
            wrong.append(
                parameter_error("event", "invalid", f"One of {', '.join(sorted(EVENTS))}.")
            )
        task = uuid_of(given["task"]) if "task" in given else None
        if "task" in given and task is None:
            wrong.append(parameter_error("task", "invalid", "The id of a task is a UUID."))
        self.part = Part(_place(given, FEED, wrong), task, names)
        refuse_parameters(wrong)

    def get(self, request: Request) -> Response:
        """Answer with the events after a place, and the place after those."""
        if self.from_now:
            found = feed.now(self.user)
        else:
            found = feed.read(self.user, self.part, self.limit)
        if self.wait and not (found.events or found.more):
            request.META[WAITING] = (self.user, replace(self.part, after=found.place))
        return Response(self._document(found, request))

    def _document(self, found: Found, request: Request) -> dict[str, Any]:
        cursor = FEED.close(found.place)
        here = remove_query_param(request.build_absolute_uri(), "from")
        return {
            "next": replace_query_param(here, "cursor", cursor),
            "cursor": cursor,
            "more": found.more,
            "results": documents(found.events, self.user),
        }


class HistoryViewSet(TaskView):
    """What happened to one task."""

    parameters = frozenset({"cursor", "limit"})
    example: ClassVar[dict[str, Any]] = {}
    columns = COLUMNS
    limit: int
    after: int

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters and ids that make no sense."""
        super().check_syntax(request)
        wrong: list[dict[str, str]] = []
        self.limit = _number(request.query_params, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT, wrong)
        self.after = _place(request.query_params, HISTORY, wrong)
        refuse_parameters(wrong)

    def events(self, request: Request, pk: str) -> Response:
        """Answer with the events of the task, oldest first."""
        task = reading.find(self.pk, self.user)
        found = feed.of_task(task, self.after, self.limit + 1)
        shown, after = found[: self.limit], None
        if len(found) > self.limit:
            cursor = HISTORY.close(shown[-1].version)
            after = replace_query_param(request.build_absolute_uri(), "cursor", cursor)
        return Response(
            {
                "count": task.version,  # each version is one event
                "next": after,
                "previous": None,
                "results": documents(shown, self.user),
            }
        )


def _number(
    given: Any, name: str, default: int, least: int, most: int, wrong: list[dict[str, str]]
) -> int:
    """The number in a parameter; what is wrong with it goes into `wrong`."""
    text = given.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)):
        number = int(text)
        if least <= number <= most:
            return number
    wrong.append(parameter_error(name, "invalid", f"A number from {least} to {most}."))
    return default


def _place(given: Any, seal: Seal, wrong: list[dict[str, str]]) -> int:
    """The place that the cursor stands for, 0 without one; what is wrong goes into `wrong`."""
    if "cursor" not in given:
        return 0
    try:
        return seal.open(given["cursor"])
    except ValueError:
        detail = "Not a cursor of this list; take it from an answer."
        wrong.append(parameter_error("cursor", "invalid", detail))
    return 0
