"""The resources of this face: its front page, and tasks with a route for each operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, ClassVar, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from tasks import actions, reading
from tasks.actions import ACTIONS, Answer, Draft, Outcome
from tasks.errors import AlreadyOwner, CallError, ExternalIdTaken, StaleTask
from tasks.lifecycle import OPERATIONS
from tasks.models import Task, canonical
from tasks.people import group
from tasks.querysets import TaskQuerySet

from . import bulk, directory, tokens
from .base import NativeView, TaskView
from .errors import BadSyntax, refuse
from .filters import FILTERS, REPEATABLE
from .listing import FIELDS, ORDERED, VIEWS, WINDOW, Listing
from .renderers import spoken
from .serializers import (
    BULK_INPUTS,
    INPUTS,
    AttachForm,
    BulkAttachForm,
    ClaimNext,
    NewTask,
    NewTasks,
    Related,
    Strict,
    documents,
    task_url,
)
from .uploads import AttachmentParser, FormParser, is_form, read_form

RETAKEN: Final = {name for name, operation in OPERATIONS.items() if operation.repeatable}
"""Operations that succeed once more, changing nothing, for an account that holds the task."""


RESOURCES: Final = {
    "tasks": "Work that waits for a person: find it, make it, act on it.",
    "events": "What happened to tasks, for those who want to keep up.",
    "bulk-operations": "What was done to many tasks at once: follow it, undo it.",
    **directory.RESOURCES,
    **tokens.RESOURCES,
}
"""What the front page leads to, by the name of its route."""


PARTS: Final = {
    "comments/": "Comments",
    "attachments/": "Attachments",
    "subtasks/": "Subtasks",
    "roles/": "Task roles",
    "events/": "History",
    "permitted-operations/": "Permitted operations",
}
"""What the page of a task leads to."""


class Root(NativeView):
    """What there is below this address."""

    name = "Human tasks"
    description = ""  # the page says more
    example: ClassVar[dict[str, Any]] = {}
    resources = RESOURCES

    def get(self, request: Request) -> Response:
        """Answer with the resources."""
        return Response(
            {
                name: {"url": reverse(f"native:{name}", request=request), "description": words}
                for name, words in RESOURCES.items()
            }
        )


@csrf_exempt
def nothing_here(request: HttpRequest) -> HttpResponse:
    """Answer for a path below this face's that is none of its resources."""
    return refuse(
        request,
        404,
        "not_found",
        "There is nothing at this address. Every address of this API ends with a slash.",
    )


class TaskViewSet(TaskView):
    """Tasks, and the operations on one of them or on many."""

    operation: str = ""
    """The operation of the route, as the core names it."""
    answers: tuple[Answer, ...] = ()
    """What the account may do with the task that is shown, for its page."""

    repeatable = REPEATABLE
    columns = ("name", "state_label", "owner", "priority", "due_at")
    listing: Listing

    @property
    def parameters(self) -> frozenset[str]:
        """Those of the list, its count and its summary."""
        if self.action in ("count", "summary"):
            return FILTERS | {"view"}
        return FILTERS | ORDERED | WINDOW | {FIELDS} if self.action == "list" else frozenset()

    def get_parsers(self) -> list[BaseParser]:
        """A file may be large, and come in a form."""
        if self.operation == "attach":
            return [AttachmentParser(), FormParser()]
        return super().get_parsers()

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters, id and conditions that make no sense."""
        super().check_syntax(request)
        if self.action in ("list", "count", "summary"):
            self.listing = Listing.read(request.query_params)
        if "pk" not in self.kwargs and "If-Match" in request.headers:
            raise BadSyntax("invalid_header", "If-Match applies to a single task.")

    @property
    def example(self) -> dict[str, Any]:
        """The body that the page of this route starts from."""
        action = self.action or self.action_map.get("post")  # none for a GET of such an address
        if action == "claim_next":
            return ClaimNext.example
        if not self.operation:
            return (NewTasks if action == "create_many" else NewTask).example
        return (INPUTS if "pk" in self.kwargs else BULK_INPUTS)[self.operation].example

    def links(self, answer: Mapping[str, Any]) -> Mapping[str, str]:
        """From the list to its views and to what is done to many; from a task to its parts."""
        if self.answers:
            return PARTS
        if self.action != "list":
            return {}
        views = {f"?view={name}": name.replace("-", " ").capitalize() for name in VIEWS}
        return {".": "All", **views, "claim-next/": "Claim next"}

    @property
    def of_many(self) -> Mapping[str, str]:
        """The addresses of what is done to many tasks, and the words for it, for the list."""
        names = ("create", *INPUTS) if self.action == "list" else ()
        return {f"bulk/{name.replace('_', '-')}/": spoken(name) for name in names}

    def example_of(self, operation: str) -> dict[str, Any]:
        """The body that a page starts from for an operation on one task."""
        return INPUTS[operation].example

    def list(self, request: Request) -> Response:
        """Answer with a page of the tasks that the account sees."""
        found, count = self.listing.page(self.user)
        return Response(
            {
                **count,
                **self.listing.window.links(found, request),
                "results": documents(reading.listed(found.rows), request, self.listing.fields),
            }
        )

    def count(self, request: Request) -> Response:
        """Answer with how many tasks the list has: exactly, or an estimate that says so."""
        return Response(self.listing.count(self.user))

    def summary(self, request: Request) -> Response:
        """Answer with how many tasks of the list are in each state, with whom, and how old."""
        return Response(self.listing.summary(self.user))

    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer with a task and what the account may do with it now."""
        task = reading.find(self.pk, self.user)
        if self.versions is None or task.version in self.versions:
            return Response(status=304, headers={"ETag": _etag(task)})
        self.answers = tuple(actions.answers(task, self.call()))
        permitted = [answer.name for answer in self.answers if answer.error is None]
        return self._answer(task, permitted_operations=permitted)

    def create(self, request: Request) -> Response:
        """Make a task; one with an external id once only, however often it is asked for."""
        try:
            values = self.read_body(NewTask)
            people, waiting = values.pop("people", {}), values.pop("waiting", False)
            task = Task(**{**values, **Related(self.user).of(values)})
        except APIException:
            actions.demand_creator(self.call())
            raise
        if task.external_id is not None:
            task.request_digest = digest_of(request.data)
        self.answer_with(lambda made: self._made(made[0]), _secrets)
        try:
            made = actions.create([Draft(task, people)], call=self.call(), waiting=waiting)
        except ExternalIdTaken:
            before = self._made_before(task)
            if before is None:
                raise
            return self._answer(before, 200, {"Location": task_url(before, request)})
        return self.answered or self._made(made[0])

    def _made(self, task: Task) -> Response:
        return self._answer(task, 201, {"Location": task_url(task, self.request)})

    def claim_next(self, request: Request) -> Response:
        """Claim the first free task of the worklist: 200 with it, or 204 where there is none."""
        try:
            groups = self.read_body(ClaimNext).get("groups")
        except APIException:
            actions.demand_claimer(self.call())
            raise
        named = None if groups is None else [group(name) for name in groups]
        self.answer_with(lambda outcome: self._answer(outcome.one()), _secrets)
        task = actions.claim_next(call=self.call(), groups=named)
        if task is None:
            return Response(status=204)
        return self.answered or self._answer(task)

    def _made_before(self, task: Task) -> Task | None:
        """The task that the same body has made already, if the account may see it."""
        seen: TaskQuerySet = Task.objects.visible_to(self.user)
        return seen.filter(
            source=task.source,
            external_id=task.external_id,
            request_digest=task.request_digest,
        ).first()

    def create_many(self, request: Request) -> Response:
        """Make tasks, all of them or none."""
        call = self.call(bulk=True)
        try:
            body = self.read_body(NewTasks)
            given: Any = request.data
            pairs = zip(body["tasks"], given["tasks"], strict=True)
            related = Related(self.user)
            drafts = [self._draft(place, *pair, related) for place, pair in enumerate(pairs)]
        except APIException:
            actions.demand_creator(call)
            raise
        call = replace(call, reason=body.get("reason"))
        self.answer_with(lambda made: self._made_many(made, call.operation_id))
        made = actions.create(drafts, call=call, waiting=body.get("waiting", False))
        return self.answered or self._made_many(made, call.operation_id)

    def _made_many(self, made: Sequence[Task], operation_id: UUID) -> Response:
        return Response(
            {
                "operation_id": operation_id,
                "counts": {"done": len(made), "refused": 0, "refused_by_reason": {}},
                "done": [{"id": str(task.pk), "version": task.version} for task in made],
                "refused": [],
            },
            status=201,
            headers={"Location": bulk.address(operation_id, self.request)},
        )

    def _draft(self, place: int, values: dict[str, Any], given: Any, related: Related) -> Draft:
        """One of several tasks to be made. Raises ValidationError that names its place."""
        people = values.pop("people", {})
        try:
            task = Task(**{**values, **related.of(values)})
        except ValidationError as error:
            raise ValidationError({"tasks": {str(place): error.detail}}) from None
        if task.external_id is not None:
            task.request_digest = digest_of(given)
        return Draft(task, people)

    def amend(self, request: Request, pk: str) -> Response:
        """Change properties of a task: the operation update."""
        self.operation = "update"
        return self.operate(request, pk)

    def destroy(self, request: Request, pk: str) -> Response:
        """Remove a task: the operation remove."""
        self.operation = "remove"
        return self.operate(request, pk)

    def operate(self, request: Request, pk: str) -> Response:
        """Do the operation of the route to one task."""
        self.answer_with(lambda outcome: self._operated(outcome.one()), _secrets)
        try:
            task = self._attempt(self._arguments(INPUTS[self.operation], AttachForm))
        except (APIException, CallError) as error:
            # Whether the task is there, and what one may do to it, is told before what is wrong
            # with the body.
            forbidden = actions.forbidden(self.operation, self.pk, self.call())
            raise forbidden or error from None
        return self.answered or self._operated(task)

    def _operated(self, task: Task) -> Response:
        if self.operation == "remove":
            return Response(status=204, headers={"ETag": _etag(task)})
        return self._answer(task)

    def _arguments(self, body: type[Strict], form: type[Strict]) -> dict[str, Any]:
        """What the call says, in a body or, with a file, in a form."""
        if self.request.method == "DELETE":
            return self.read_body(Strict)
        if self.operation == "attach" and is_form(self.request):
            return self.validated(form, read_form(self.request))
        return self.read_body(body)

    def _attempt(self, arguments: dict[str, Any]) -> Task:
        """The task after the operation. Raises TaskError and CallError."""
        reason = arguments.pop("reason", None)
        expected = None if self.versions is None else max(self.versions, default=0)
        while True:
            versions = {} if expected is None else {self.pk: expected}
            outcome = ACTIONS[self.operation](
                [self.pk], call=self.call(reason=reason, versions=versions), **arguments
            )
            refused = outcome.refused.get(self.pk)
            if isinstance(refused, AlreadyOwner) and self.operation in RETAKEN:
                held = self._held(refused.version or 0)
                if held is not None:
                    return held
                continue  # it has changed since, so the question stands anew
            # If-Match may name several versions. They only rise, so this ends.
            if (
                isinstance(refused, StaleTask)
                and refused.version in (self.versions or ())
                and refused.version != expected
            ):
                expected = refused.version
                continue
            return outcome.one()

    def _held(self, version: int) -> Task | None:
        """The task of that version, which the account holds; None where it is past.

        Not asked is whether the account may view tasks: it is answered as after a claim.
        """
        seen: TaskQuerySet = Task.objects.visible_to(self.user)
        return seen.filter(pk=self.pk, version=version).first()

    def operate_on_many(self, request: Request) -> Response:
        """Do the operation of the route to many tasks."""
        arguments = self._arguments(BULK_INPUTS[self.operation], BulkAttachForm)
        call = self.call(reason=arguments.pop("reason", None))
        return bulk.act(self, self.operation, arguments, call)

    def _answer(
        self,
        task: Task,
        status: int = 200,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> Response:
        (document,) = documents([reading.shown(task, self.user)], self.request)
        headers = {"ETag": _etag(task), **(headers or {})}
        return Response({**document, **members}, status=status, headers=headers)


def _secrets(done: Outcome | Sequence[Task]) -> Sequence[str]:
    """The pointers of what is secret in the task that a call was about."""
    tasks = done.tasks.values() if isinstance(done, Outcome) else done
    return [pointer for task in tasks for pointer in task.secret_pointers]


def digest_of(body: Any) -> bytes:
    """What tells whether two bodies say the same, whatever the order of their members."""
    return sha256(canonical(body).encode()).digest()


def _etag(task: Task) -> str:
    return f'"{task.version}"'
