"""What each operation takes, answers and refuses, as its view and the tables declare it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.serializers import Serializer

from tasks import errors
from tasks.actions import ACTIONS
from tasks.api.native import problems
from tasks.api.native.base import NativeView, TaskView
from tasks.api.native.bulk import BulkOperationViewSet
from tasks.api.native.directory import (
    GroupDocument,
    Groups,
    Holders,
    JobDocument,
    Jobs,
    Listed,
    ManagedGroupDocument,
    ManagedUserDocument,
    RoleDocument,
    Roles,
    UserDocument,
    Users,
)
from tasks.api.native.errors import PROBLEM
from tasks.api.native.feed import EventDocument, Events, HistoryViewSet
from tasks.api.native.oauth import FORM, TokenEndpoint
from tasks.api.native.parts import PartViewSet
from tasks.api.native.serializers import (
    BULK_INPUTS,
    INPUTS,
    AttachForm,
    AttachmentDocument,
    BulkAttachForm,
    ClaimNext,
    CommentDocument,
    NewTask,
    NewTasks,
    Strict,
    UndoAccount,
    UndoOperation,
)
from tasks.api.native.serializers.documents import TaskDocument
from tasks.api.native.serializers.fields import Holders as People
from tasks.api.native.serializers.fields import Person
from tasks.api.native.tokens import Me, NewToken, TokenDocument, Tokens
from tasks.api.native.uploads import FORM as MULTIPART
from tasks.api.native.views import RESOURCES, Root, TaskViewSet
from tasks.errors import Refusal
from tasks.lifecycle import OPERATIONS, Operation, Reason

from .documents import ListedTaskDocument, page_of, ref
from .examples import example_of
from .fields import Schema
from .parameters import PARAMETERS, PLACES, TASK_PARAMETERS, header_ref

JSON: Final = "application/json"

Body = type[Serializer[Any]]
Code = str | type[Refusal]


@dataclass(frozen=True)
class Told:
    """What an operation is called, takes, answers and refuses.

    `answers`: by status, a document (a serializer or the name of a component), a schema, or None
    for an answer without a body. `bodies`: by media type. `refuses`: reasons besides those of every
    call.
    """

    name: str
    answers: Mapping[int, Body | str | Schema | None]
    bodies: Mapping[str, Body | Schema] = field(default_factory=dict)
    refuses: frozenset[Code] = frozenset()
    media_type: str = JSON
    tagged: bool = False
    """Whether the answer carries the version of a task."""


def _told(name: str, answers: Any, body: Body | None = None, *refuses: Code, **more: Any) -> Told:
    bodies = {} if body is None else {JSON: body}
    return Told(name, answers, bodies, frozenset(refuses), **more)


READ: Final = (errors.TaskNotFound, errors.NotAuthorized)
"""Why a task is not shown."""
TARGETS: Final = (
    errors.UnknownUser,
    errors.UnknownGroup,
    errors.TargetInactive,
    errors.TargetEmpty,
)
MAKES: Final = (
    errors.NotPermitted,
    errors.InvalidArgument,
    errors.UnknownRole,
    errors.ExternalIdTaken,
    *TARGETS,
)
_TASK_PAGE: Final = page_of(ref("Task"))
_UNDOES: Final = (errors.NotPermitted, errors.InvalidArgument, errors.TooManyTasks, "not_found")

TOLD: Final[dict[tuple[type[NativeView], str], Told]] = {
    (Root, "get"): _told("get_root", {200: "Root"}),
    (Me, "get"): _told("get_me", {200: "Me"}),
    (Events, "get"): _told("list_events", {200: "EventPage"}, None, errors.NotPermitted),
    (HistoryViewSet, "events"): _told(
        "list_events_of_task", {200: page_of(ref("Event"))}, None, *READ
    ),
    (TaskViewSet, "list"): _told(
        "list_tasks", {200: page_of(ref("ListedTask"))}, None, errors.NotPermitted
    ),
    (TaskViewSet, "count"): _told("count_tasks", {200: "Count"}, None, errors.NotPermitted),
    (TaskViewSet, "summary"): _told("sum_up_tasks", {200: "Summary"}, None, errors.NotPermitted),
    (TaskViewSet, "retrieve"): _told(
        "get_task", {200: TaskDocument, 304: None}, None, *READ, tagged=True
    ),
    (TaskViewSet, "create"): _told(
        "create_task", {201: TaskDocument, 200: TaskDocument}, NewTask, *MAKES, tagged=True
    ),
    (TaskViewSet, "create_many"): _told(
        "create_tasks", {201: "Outcome"}, NewTasks, errors.TooManyTasks, *MAKES
    ),
    (TaskViewSet, "claim_next"): _told(
        "claim_next_task",
        {200: TaskDocument, 204: None},
        ClaimNext,
        errors.NotPermitted,
        errors.UnknownGroup,
        tagged=True,
    ),
    (PartViewSet, "comments"): _told(
        "list_comments_of_task", {200: page_of(ref("Comment"))}, None, *READ
    ),
    (PartViewSet, "attachments"): _told(
        "list_attachments_of_task", {200: page_of(ref("Attachment"))}, None, *READ
    ),
    (PartViewSet, "subtasks"): _told("list_subtasks_of_task", {200: _TASK_PAGE}, None, *READ),
    (PartViewSet, "permitted"): _told(
        "list_permitted_operations_of_task",
        {200: page_of(ref("PermittedOperation"))},
        None,
        *READ,
    ),
    (PartViewSet, "download"): _told(
        "download_attachment",
        {200: {"contentMediaType": "application/octet-stream"}, 304: None},
        None,
        "not_found",
        *READ,
        media_type="*/*",
        tagged=True,
    ),
    (Holders, "holders"): _told(
        "list_roles_of_task",
        {
            200: {
                "allOf": [page_of(ref("TaskRole"))],
                "properties": {"version": {"type": "integer"}},
            }
        },
        None,
        *READ,
        tagged=True,
    ),
    (BulkOperationViewSet, "list"): _told(
        "list_bulk_operations", {200: page_of(ref("BulkOperation"), counted=False)}
    ),
    (BulkOperationViewSet, "retrieve"): _told(
        "get_bulk_operation", {200: "BulkOperation"}, None, "not_found"
    ),
    (BulkOperationViewSet, "items"): _told(
        "list_items_of_bulk_operation",
        {200: page_of(ref("BulkItem"), counted=False, backwards=False)},
        None,
        "not_found",
    ),
    (BulkOperationViewSet, "cancel"): _told(
        "cancel_bulk_operation", {200: "BulkOperation"}, Strict, "not_found", errors.AlreadyFinished
    ),
    (BulkOperationViewSet, "retry"): _told(
        "retry_bulk_operation",
        {200: "Outcome", 202: "BulkOperation"},
        Strict,
        errors.StillRunning,
        errors.InvalidArgument,
        errors.UnknownRole,
        errors.TooManyTasks,
        "not_found",
        *TARGETS,
    ),
    (BulkOperationViewSet, "undo"): _told(
        "undo_bulk_operation",
        {200: "Outcome", 202: "BulkOperation"},
        UndoOperation,
        errors.StillRunning,
        errors.Irreversible,
        *_UNDOES,
    ),
    (BulkOperationViewSet, "undo_account"): _told(
        "undo_what_an_account_did",
        {200: "Outcome", 202: "BulkOperation"},
        UndoAccount,
        errors.UnknownUser,
        errors.Irreversible,
        *_UNDOES[:-1],
    ),
    (Tokens, "create"): _told(
        "issue_token",
        {201: TokenDocument},
        NewToken,
        errors.NotPermitted,
        errors.UnknownUser,
        errors.UnknownGroup,
        errors.InvalidArgument,
    ),
    (Tokens, "destroy"): _told("revoke_token", {204: None}, None, "not_found", errors.NotPermitted),
    (TokenEndpoint, "post"): Told(
        "exchange_client_secret",
        {200: "AccessToken"},
        {
            FORM: {
                "type": "object",
                "properties": {
                    "grant_type": {"const": "client_credentials"},
                    "client_id": {"type": "string"},
                    "client_secret": {"type": "string"},
                    "scope": {"type": "string"},
                },
                "required": ["grant_type"],
            }
        },
        frozenset(problems.OF_OAUTH),
    ),
}
"""What is told of each method of each view, but for lists of what tasks refer to and operations."""

DIRECTORY: Final[dict[type[Listed], tuple[str, str, tuple[Body, ...]]]] = {
    Jobs: ("job", "jobs", (JobDocument,)),
    Users: ("user", "users", (UserDocument, ManagedUserDocument)),
    Groups: ("group", "groups", (GroupDocument, ManagedGroupDocument)),
    Roles: ("role", "system_roles", (RoleDocument,)),
    Tokens: ("token", "tokens", (TokenDocument,)),
}
"""What tasks refer to: the words for one and for many, and the documents, by what one may know."""

_WORDS: Final = {
    "comment": "comment_on",
    "attach": "attach_to",
    "grant": "grant_role_on",
    "revoke": "revoke_role_on",
    "transfer": "transfer_role_on",
    "raise_error": "raise_error_on",
    "save_output": "save_output_of",
    "save_fault": "save_fault_of",
    "set_priority": "set_priority_of",
    "cancel_claim": "cancel_claim_of",
}
"""How an operation is named before "task", where its own name does not go there."""

_ALSO: Final[dict[str, frozenset[Code]]] = {
    "transfer": frozenset({errors.TargetNotEligible, errors.NoSuchWorkItem}),
    "forward": frozenset({errors.NoSuchWorkItem}),
    "grant": frozenset({errors.AlreadyGranted, errors.TargetNotEligible}),
    "revoke": frozenset({errors.NoSuchWorkItem, errors.LastAdministrator}),
    "remove": frozenset({errors.SubtasksOpen}),
    "attach": frozenset({errors.FileTooLarge}),
    "assign": frozenset({errors.AlreadyOwner}),
    "delegate": frozenset({errors.AlreadyOwner}),
    "nominate": frozenset({errors.TargetNotEligible}),
}
"""Reasons that no table gives: they are found within the operation."""


def _of_task(rules: Operation | None, name: str) -> set[Code]:
    """Why a task is refused, by what the rule book says of the operation."""
    found: set[Code] = {
        *READ,
        errors.InvalidTaskState,
        errors.TaskSuspended,
        *_ALSO.get(name, ()),
    }
    if rules is not None:
        found |= {errors.WrongKind} if rules.manual_only else set()
        found |= {errors.NotSuspended} if rules.ends_hold else set()
        found |= {errors.NotSkippable} if rules.skippable_only else set()
        found |= {errors.AlreadyOwner} if rules.repeatable else set()
        found |= {errors.TargetNotEligible} if rules.receivers or rules.makes_owner else set()
        found |= {errors.ReasonRequired} if rules.reason is not Reason.OPTIONAL else set()
    return found


def _of_body(body: Body) -> set[Code]:
    """Why a call is refused, by what its body may say."""
    found: set[Code] = {errors.InvalidArgument}
    fields = body().fields
    if any(isinstance(each, (Person, People)) for each in fields.values()):
        found |= set(TARGETS)
    if "role" in fields:
        found.add(errors.UnknownRole)
    return found


@cache
def _operating(name: str, *, many: bool) -> Told:
    """What is told of an operation on one task, or on many."""
    rules, words = OPERATIONS.get(name), _WORDS.get(name, name)
    body: Body = (BULK_INPUTS if many else INPUTS)[name]
    found = _of_body(body)
    bodies: dict[str, Body | Schema] = {JSON: body}
    if name == "attach":
        bodies[MULTIPART] = BulkAttachForm if many else AttachForm
        found.add(errors.FileTooLarge)
    if many:
        found |= {errors.TooManyTasks, errors.NotAllDone}
        answers: dict[int, Any] = {200: "Outcome", 202: "BulkOperation"}
        return Told(f"{words}_tasks", answers, bodies, frozenset(found))
    found |= _of_task(rules, name) | {errors.StaleTask}
    if "output" in body().fields:
        found.add(errors.InvalidOutput)
    answers = {204: None} if name == "remove" else {200: TaskDocument}
    return Told(f"{words}_task", answers, bodies, frozenset(found), tagged=True)


def told_of(view: Any, action: str) -> Told:
    """What is told of a method of a view. Raises LookupError for one that nobody has told of."""
    if action in ("operate", "operate_on_many"):
        return _operating(view.operation, many=action == "operate_on_many")
    if isinstance(view, TaskViewSet) and action in ("amend", "destroy"):
        told = _operating({"amend": "update", "destroy": "remove"}[action], many=False)
        bodies = told.bodies if action == "amend" else {}
        name = {"amend": "patch_task", "destroy": "delete_task"}[action]
        return Told(name, told.answers, bodies, told.refuses, tagged=True)
    told_here = TOLD.get((type(view), action))
    if told_here is not None:
        return told_here
    if type(view) in DIRECTORY and action in ("list", "retrieve"):
        one, many, documents = DIRECTORY[type(view)]
        shown = [ref(document.__name__.removesuffix("Document")) for document in documents]
        row = shown[0] if len(shown) == 1 else {"anyOf": shown[::-1]}
        refuses: frozenset[Code] = frozenset({errors.NotPermitted})
        if action == "list":
            return Told(f"list_{many}", {200: page_of(row)}, refuses=refuses)
        return Told(f"get_{one}", {200: row}, refuses=refuses | {"not_found"})
    raise LookupError(
        f"{type(view).__name__}.{action} is not in tasks.api.native.schema.operations.TOLD"
    )


def codes_of(view: Any, path: str, method: str, told: Told) -> dict[int, set[str]]:
    """The codes of all refusals that an operation may answer with, by status."""
    found: dict[int, set[str]] = defaultdict(set)
    common = set(problems.OF_EVERY_CALL)
    if view.get_authenticators():
        common |= problems.OF_LOG_INS
    if method != "GET":
        common |= problems.OF_WRITES
        if view.get_authenticators():
            common |= {"csrf_failed"}
        if view.keeps_answers:
            common |= problems.OF_KEYS
    if told.bodies:
        common |= problems.OF_BODIES
    if MULTIPART in told.bodies:
        common |= problems.OF_FORMS
    if "{" in path:
        common |= {"invalid_id"}
    for code in common | {each if isinstance(each, str) else each.code for each in told.refuses}:
        found[problems.STATUS_OF[code]].add(code)
    return found


class OperationSchema(AutoSchema):
    """One operation of this face in the OpenAPI document."""

    view: Any
    path: str
    method: str

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        """The operation; the documents that pages are made of are then known as components."""
        operation = super().get_operation(*args, **kwargs)
        for document in SHOWN_IN_PAGES:
            self.resolve_serializer(document, "response")
        return operation

    @property
    def action(self) -> str:
        """The method of the view that answers."""
        return str(getattr(self.view, "action", None) or self.method.lower())

    @property
    def told(self) -> Told:
        """What is told of it."""
        return told_of(self.view, self.action)

    def get_operation_id(self) -> str:
        """A verb and what it is done to, as a function of a client would be named."""
        return self.told.name

    def get_summary(self) -> str:
        """The name of the page, or what the address stands for."""
        name = self.told.name
        return name.replace("_", " ").capitalize()

    def get_description(self) -> str:  # type: ignore[override]
        """What the page says of it; else what the code does."""
        operation = getattr(self.view, "operation", "")
        acting = {"amend": "update", "destroy": "remove"}.get(self.action, operation)
        if acting and self.action != "operate_on_many":
            text = ACTIONS[acting].__doc__ or ""
        elif acting:
            text = self.view.description
        else:
            text = getattr(self.view, self.action).__doc__ or ""
        return " ".join(text.partition("\n\n")[0].split())

    def get_tags(self) -> list[str]:
        """The resource."""
        parts = self.path.removeprefix("/api/").removeprefix("v1/").strip("/").split("/")
        if parts[:2] == ["tasks", "bulk"]:
            return ["many-tasks"]
        if parts[0] == "tasks" and len(parts) == 3 and self.method == "POST":
            return ["one-task"]
        return [parts[0] or "about"]

    def _get_parameters(self) -> list[Schema]:
        found = []
        for name in sorted(part[1:-1] for part in self.path.split("/") if part.startswith("{")):
            found.append({"in": "path", "name": name, "required": True, **PLACES[name]})
        for name in sorted(self.view.parameters if self.method == "GET" else ()):
            own = TASK_PARAMETERS if isinstance(self.view, TaskViewSet) else {}
            found.append({"in": "query", "name": name, **(own.get(name) or PARAMETERS[name])})
        found += [header_ref(name) for name in sorted(self._headers())]
        return found

    def _headers(self) -> Iterable[str]:
        yield "X-Request-ID"
        if self.method == "GET":
            if 304 in self.told.answers:
                yield "If-None-Match"
            return
        if self.view.keeps_answers:
            yield "Idempotency-Key"
        if isinstance(self.view, TaskView) and "{id}" in self.path:
            yield "If-Match"

    def _get_request_body(self, direction: Any = "request") -> Schema | None:
        told = self.told
        if not told.bodies:
            return None
        content: dict[str, Schema] = {}
        required = False
        for media_type, body in told.bodies.items():
            if isinstance(body, dict):
                content[media_type] = {"schema": body}
                required = True
                continue
            component = self.resolve_serializer(body, "request")
            schema = component.ref if component else {"type": "object", "maxProperties": 0}
            required |= not body(data={}).is_valid()  # no body stands for an empty object
            content[media_type] = {"schema": schema}
            example = example_of(body)
            if example is not None:
                content[media_type]["examples"] = {"example": {"value": example}}
        return {"content": content, "required": required}

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Schema]:
        told = self.told
        found = {str(status): self._answer(status, shown) for status, shown in told.answers.items()}
        for status, codes in sorted(codes_of(self.view, self.path, self.method, told).items()):
            found[str(status)] = self._refusal(status, codes)
        return found

    def _answer(self, status: int, shown: Any) -> Schema:
        told = self.told
        headers = {"X-Request-ID"}
        if told.tagged:
            headers |= {"ETag"}
        if status in (201, 202) or (status == 200 and 201 in told.answers):
            headers |= {"Location"}
        if self.method != "GET" and self.view.keeps_answers:
            headers |= {"Idempotency-Replayed"}
        answer: Schema = {
            "description": SAID[status],
            "headers": {name: ref(name, "headers") for name in sorted(headers)},
        }
        if shown is None:
            return answer
        if isinstance(shown, str):
            schema = ref(shown)
        elif isinstance(shown, dict):
            schema = shown
        else:
            schema = self.resolve_serializer(shown, "response").ref
        return {**answer, "content": {told.media_type: {"schema": schema}}}

    def _refusal(self, status: int, codes: set[str]) -> Schema:
        """A refusal; one that is the same everywhere stands among the components."""
        headers = {"X-Request-ID", *ON_REFUSALS.get(status, ())}
        if self.told.tagged and status in (409, 412):
            headers |= {"ETag"}
        words, sentence = problems.SAID[status]
        oauth = isinstance(self.view, TokenEndpoint)
        problem = ref("OAuthProblem" if oauth else "Problem")
        answer: Schema = {
            "description": sentence,
            "headers": {name: ref(name, "headers") for name in sorted(headers)},
            "content": {PROBLEM: {"schema": {**problem, "properties": {"code": _one_of(codes)}}}},
        }
        if oauth or not codes <= ANYWHERE:
            return answer
        name = words.title().replace(" ", "")
        component = ResolvedComponent(name, ResolvedComponent.RESPONSE, answer, object=name)
        self.registry.register_on_missing(component)
        known = self.registry[component]
        return known.ref if known.schema == answer else answer


def _one_of(codes: set[str]) -> Schema:
    """The schema of a code that is one of these; the groups of codes are components."""
    groups = [name for name, group in CODE_GROUPS.items() if group <= codes]
    own = codes.difference(*(CODE_GROUPS[name] for name in groups))
    found = [ref(name) for name in groups] + ([{"enum": sorted(own)}] if own else [])
    return found[0] if len(found) == 1 else {"anyOf": found}


def _of_status(status: int, codes: Iterable[str]) -> frozenset[str]:
    return frozenset(code for code in codes if problems.STATUS_OF[code] == status)


CODE_GROUPS: Final = {
    "CodeOfCall": _of_status(400, problems.OF_EVERY_CALL),
    "CodeOfBody": _of_status(400, problems.OF_BODIES | problems.OF_WRITES),
    "CodeOfTarget": frozenset(target.code for target in TARGETS),
}
"""Codes of 400 that come together, by the names of their components."""

ANYWHERE: Final = (
    problems.OF_EVERY_CALL
    | problems.OF_LOG_INS
    | problems.OF_WRITES
    | {errors.KeyReused.code, errors.TaskNotFound.code, errors.StaleTask.code}
)
"""Codes of answers that are the same for many operations."""

TAGS: Final = {
    "tasks": RESOURCES["tasks"],
    "one-task": "What can be done to a task: an address for each operation.",
    "many-tasks": "The same to many tasks, by ids or by a filter; foreseen with dry_run.",
    **{name: words for name, words in RESOURCES.items() if name != "tasks"},
    "oauth": "Tokens of short life for the secrets of clients.",
    "about": "What there is.",
}
"""What the parts of the document are about, in their order."""

SAID: Final = {
    200: "Done; this is how it stands now.",
    201: "Made; Location says where it is.",
    202: "Accepted; a worker carries it out. Location says where to follow it.",
    204: "Done; there is nothing to say.",
    304: "It is as it was.",
}
ON_REFUSALS: Final = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
"""Headers of refusals by status."""

SHOWN_IN_PAGES: Final[tuple[Body, ...]] = (
    TaskDocument,
    ListedTaskDocument,
    CommentDocument,
    AttachmentDocument,
    EventDocument,
    *(document for _, _, documents in DIRECTORY.values() for document in documents),
)
"""Documents that are named by references alone."""
