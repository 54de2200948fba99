"""The documents that views put together themselves, and the members that serializers work out."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.extensions import OpenApiSerializerExtension
from rest_framework.serializers import Serializer

from tasks.api.native.bulk import ITEMS
from tasks.api.native.directory import ManagedUserDocument
from tasks.api.native.errors import STATUSES
from tasks.api.native.feed import EventDocument
from tasks.api.native.listing import EXACT
from tasks.api.native.serializers import INPUTS, AttachmentDocument
from tasks.api.native.serializers.documents import MEMBERS, TaskDocument
from tasks.api.native.tokens import TokenDocument
from tasks.errors import TaskError, reasons
from tasks.feed import EVENTS
from tasks.lifecycle import OPERATIONS, UPDATES, Kind, State
from tasks.models import BulkOperation, Channel
from tasks.roles import GRANTED, TaskRole
from tasks.summaries import AGES, OLDER

from .fields import MOMENT, NAMES, UUID_, VERSION, Schema

TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
ADDRESS: Final[Schema] = {"type": "string", "format": "uri"}
OBJECT: Final[Schema] = {"type": "object", "additionalProperties": {}}


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    if "type" in schema and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listed(items: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": items}


def one_of(names: Any) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": sorted(map(str, names))}


def made_of(members: dict[str, Schema], about: str = "", optional: Any = ()) -> Schema:
    """An object whose members are all there but for the optional ones."""
    return {
        "type": "object",
        **({"description": about} if about else {}),
        "properties": members,
        "required": [name for name in members if name not in optional],
    }


COUNTS: Final[dict[str, Schema]] = {
    "count": {**or_null(COUNT), "description": f"How many there are; null beyond {EXACT:,}."},
    "count_estimate": {**COUNT, "description": "In place of the count: about how many."},
}


def page_of(items: Schema, *, counted: bool = True, backwards: bool = True) -> Schema:
    """A page of a list."""
    return made_of(
        {
            **(COUNTS if counted else {}),
            "next": or_null(ADDRESS),
            **({"previous": or_null(ADDRESS)} if backwards else {}),
            "results": listed(items),
        },
        optional=("count_estimate",),
    )


_PERSON: Final = made_of({"id": {"type": "integer"}, "name": TEXT, "member": FLAG, "lead": FLAG})
_NAMED: Final = made_of({"name": or_null(TEXT), "count": COUNT})
_LIMITS: Final[dict[str, Schema]] = {
    "read_only": FLAG,
    "operations": or_null(NAMES),
    "groups": or_null(NAMES),
}
_REASONS: Final = {"type": "object", "additionalProperties": COUNT}
_TASK_CODE: Final = one_of(kind.code for kind in reasons(TaskError) if kind in STATUSES)
_REFUSED: Final = {"code": _TASK_CODE, "detail": TEXT}
_KEPT: Final = {"description": "What an undo had to leave as it is, with reasons."}

_PROBLEM: Final[dict[str, Schema]] = {
    "type": {
        "type": "string",
        "format": "uri-reference",
        "description": "Where the problem is explained.",
    },
    "title": TEXT,
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
    "detail": {**TEXT, "description": "What is wrong, in words for people."},
    "instance": {**TEXT, "description": "The path that was asked for."},
    "code": {**TEXT, "description": "What is wrong, for programs; it never changes."},
    "errors": {
        **listed(ref("ProblemError")),
        "description": "The single things at fault, at most 20.",
    },
    "version": {**VERSION, "description": "The version of the task now."},
    "holder": {**TEXT, "description": "Who holds the task now."},
    "refused": listed(ref("RefusedTask")),
    "request_id": TEXT,
}
_AT_TIMES: Final = ("version", "holder", "refused")

DOCUMENTS: Final[dict[str, Schema]] = {
    "Problem": made_of(_PROBLEM, "What went wrong (RFC 9457).", optional=_AT_TIMES),
    "OAuthProblem": made_of(
        {**_PROBLEM, "error": TEXT, "error_description": TEXT},
        "What went wrong, as RFC 6749 says it as well.",
        optional=(*_AT_TIMES, "error", "error_description"),
    ),
    "ProblemError": made_of(
        {
            "pointer": {**TEXT, "description": "Where in the body (RFC 6901)."},
            "parameter": {**TEXT, "description": "Or the query parameter."},
            "code": TEXT,
            "detail": TEXT,
        },
        optional=("pointer", "parameter"),
    ),
    "RefusedTask": made_of(
        {"id": UUID_, **_REFUSED, "version": or_null(VERSION)},
        "A task that was left as it is, and why.",
    ),
    "DoneTask": made_of(
        {"id": UUID_, "version": VERSION, "kept": _KEPT},
        "A task that was changed, and the version it has now.",
        optional=("kept",),
    ),
    "Outcome": made_of(
        {
            "dry_run": {"const": True},
            "operation_id": {
                **or_null(UUID_),
                "description": "The recorded operation; null where nothing was recorded.",
            },
            "counts": made_of({"done": COUNT, "refused": COUNT, "refused_by_reason": _REASONS}),
            "done": listed(ref("DoneTask")),
            "refused": listed(ref("RefusedTask")),
            "not_potential_owner": made_of({"count": COUNT, "ids": listed(UUID_)}),
            "loads": listed(
                made_of(
                    {"user": TEXT, "group": TEXT, "open_now": COUNT, "open_then": COUNT},
                    optional=("user", "group"),
                )
            ),
        },
        "What came of a call on many tasks, in the order asked; or would come of it (dry_run).",
        optional=("dry_run", "not_potential_owner", "loads"),
    ),
    "BulkOperation": made_of(
        {
            "id": UUID_,
            "url": ADDRESS,
            "operation": TEXT,
            "arguments": OBJECT,
            "reason": or_null(TEXT),
            "actor": or_null(TEXT),
            "channel": one_of(Channel.values),
            "request_id": TEXT,
            "status": one_of(BulkOperation.Status.values),
            "created_at": MOMENT,
            "finished_at": or_null(MOMENT),
            "counts": made_of(
                {
                    "total": COUNT,
                    "processed": COUNT,
                    "done": COUNT,
                    "refused": COUNT,
                    "refused_by_reason": _REASONS,
                }
            ),
            "failure": or_null(OBJECT),
            "items": ADDRESS,
        },
        "An operation on many tasks: what was asked, how far it is, what came of it.",
    ),
    "BulkItem": made_of(
        {
            "id": UUID_,
            "status": one_of(ITEMS),
            "version": or_null(VERSION),
            **_REFUSED,
            "kept": _KEPT,
        },
        "What became of one task; code and detail where it was refused.",
        optional=("code", "detail", "kept"),
    ),
    "Root": {
        "type": "object",
        "additionalProperties": made_of({"url": ADDRESS, "description": TEXT}),
    },
    "Me": made_of(
        {
            "id": {"type": "integer"},
            "object_id": TEXT,
            **dict.fromkeys(
                ("username", "first_name", "last_name", "email", "time_zone", "language"), TEXT
            ),
            "is_superuser": FLAG,
            "roles": NAMES,
            "permissions": NAMES,
            "bulk_limit": or_null(COUNT),
            "groups": listed(_PERSON),
            "token": made_of(_LIMITS, "What the token of the call is limited to."),
            "tasks": or_null(made_of({"held": COUNT, "overdue": COUNT})),
        },
        "The account that asks.",
    ),
    "EventPage": made_of(
        {"next": ADDRESS, "cursor": TEXT, "more": FLAG, "results": listed(ref("Event"))},
        "Some events, and the cursor to ask on with.",
    ),
    "PermittedOperation": made_of(
        {
            "operation": one_of(OPERATIONS.keys() | INPUTS.keys()),
            "permitted": FLAG,
            "code": or_null(_TASK_CODE),
            "detail": or_null(TEXT),
            "reason_required": FLAG,
            "properties": listed(one_of(UPDATES)),
            "roles": listed(one_of(TaskRole)),
            "url": or_null(ADDRESS),
        },
        "Whether the account may do it now, or why not.",
        optional=("properties", "roles"),
    ),
    "Count": made_of(COUNTS, "How many tasks a list has.", optional=("count_estimate",)),
    "Summary": made_of(
        {
            "summed": {**COUNT, "description": "How many tasks were looked at, the newest first."},
            "complete": {**FLAG, "description": "Whether the list has no others."},
            "by_state": made_of(dict.fromkeys(map(str, State), COUNT)),
            "by_owner": listed(_NAMED),
            "other_owners": COUNT,
            "by_group": listed(_NAMED),
            "other_groups": COUNT,
            "by_age": made_of(dict.fromkeys((*AGES, OLDER), COUNT)),
        },
        "The tasks of a list, counted by what they are.",
    ),
    "TaskRole": made_of(
        {
            "role": one_of(TaskRole),
            "label": TEXT,
            "users": NAMES,
            "groups": NAMES,
            "grant": or_null(ADDRESS),
            "revoke": or_null(ADDRESS),
        },
        "A task role and who holds it.",
    ),
    "AccessToken": made_of(
        {
            "access_token": TEXT,
            "token_type": {"const": "Bearer"},
            "expires_in": COUNT,
            "scope": TEXT,
        },
        "A token of short life (RFC 6749, 5.1).",
        optional=("scope",),
    ),
}
"""Documents that no serializer makes, by the names of their components."""


class ListedTaskDocument(TaskDocument):
    """A task of a list, with those of its members that are asked for."""


_HOLDERS: Final = made_of({"users": NAMES, "groups": NAMES})
_MEMBERS: Final[dict[type[Serializer[Any]], tuple[dict[str, Schema], set[str]]]] = {
    TaskDocument: (
        {
            "url": ADDRESS,
            "version": VERSION,
            "kind": one_of(Kind),
            "state": one_of(State),
            "state_label": TEXT,
            "people": {
                "type": "object",
                "properties": {role.value: _HOLDERS for role in GRANTED},
            },
            "custom_properties": OBJECT,
            "output_schema": or_null(OBJECT),
            "job": made_of({"id": {"type": "integer"}, "name": TEXT}),
            "parent": or_null(UUID_),
            "permitted_operations": {
                **listed(one_of(OPERATIONS.keys() | INPUTS.keys())),
                "description": "What you may do now; with one task only.",
            },
        },
        {"job", "permitted_operations"},
    ),
    EventDocument: (
        {
            "id": UUID_,
            "event": one_of(EVENTS),
            "channel": one_of(Channel.values),
            "task": made_of({"id": UUID_, "version": VERSION}),
            "before": OBJECT,
            "after": OBJECT,
        },
        set(),
    ),
    ManagedUserDocument: (
        {"groups": listed(made_of({"name": TEXT, "lead": FLAG}))},
        set(),
    ),
    TokenDocument: (
        {
            "kind": one_of(("api", "client", "itential")),
            "client_id": or_null(TEXT),
            **_LIMITS,
            "secret": {**TEXT, "description": "In the answer that issues it, and never again."},
        },
        {"secret"},
    ),
    AttachmentDocument: ({"url": ADDRESS}, set()),
}
"""What serializers work out: members with their schemas, and which may be missing."""


_MEMBERS[ListedTaskDocument] = (_MEMBERS[TaskDocument][0], set(MEMBERS) | {"permitted_operations"})


class _DocumentSchema(OpenApiSerializerExtension):
    """Documents that go out: what their serializer says, and what it works out."""

    target_class = Serializer
    match_subclasses = True
    priority = -1

    def get_name(self, auto_schema: Any, direction: Any) -> str:
        """The name without what says that it is a document."""
        return type(self.target).__name__.removesuffix("Document")

    def map_serializer(self, auto_schema: Any, direction: Any) -> Schema:
        """The object, with its members."""
        schema: Schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        members, optional = _MEMBERS.get(type(self.target), ({}, set()))
        properties = {
            # What a field demands of what comes in says nothing of what goes out.
            name: {k: value for k, value in member.items() if k not in ("readOnly", "minLength")}
            for name, member in schema.get("properties", {}).items()
        }
        properties |= members
        return {
            **schema,
            "properties": properties,
            "required": sorted(set(properties) - optional),
        }
