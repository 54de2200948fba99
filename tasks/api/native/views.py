"""The resources of this face: its front page, and tasks with a route for each operation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from tasks import actions, reading
from tasks.actions import ACTIONS, Answer, Draft
from tasks.errors import AlreadyOwner, CallError, StaleTask
from tasks.lifecycle import OPERATIONS
from tasks.models import Task
from tasks.querysets import TaskQuerySet

from . import bulk
from .base import NativeView, TaskView
from .errors import BadSyntax, refuse
from .listing import WINDOW, Listing
from .pagination import count, page
from .serializers import (
    BULK_INPUTS,
    INPUTS,
    AttachForm,
    BulkAttachForm,
    NewTask,
    NewTasks,
    Strict,
    documents,
    related,
    task_url,
)
from .uploads import AttachmentParser, FormParser, is_form, read_form

REPEATABLE: Final = {name for name, operation in OPERATIONS.items() if operation.repeatable}
"""Operations that succeed once more, changing nothing, for an account that holds the task."""


LISTED: Final = WINDOW | {"state", "owner", "view"}
"""The parameters of the list."""


class Root(NativeView):
    """What there is below this address."""

    name = "Human tasks"
    description = "The native API. Each resource says what it is for; follow its link."
    example: ClassVar[dict[str, Any]] = {}

    def get(self, request: Request) -> Response:
        """Answer with the resources."""
        return Response(
            {
                "tasks": {
                    "url": reverse("native:tasks", request=request),
                    "description": "Work that waits for a person: find it, make it, act on it.",
                },
                "bulk-operations": {
                    "url": reverse("native:bulk-operations", request=request),
                    "description": "What was done to many tasks at once: follow it, undo it.",
                },
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

    repeatable = frozenset({"state"})
    listing: Listing

    def get_parsers(self) -> list[BaseParser]:
        """A file may be large, and come in a form."""
        if self.operation == "attach":
            return [AttachmentParser(), FormParser()]
        return super().get_parsers()

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters, id and conditions that make no sense."""
        if self.action == "list":
            self.parameters = LISTED
        super().check_syntax(request)
        if self.action == "list":
            self.listing = Listing.read(request.query_params)
        if "pk" not in self.kwargs and "If-Match" in request.headers:
            raise BadSyntax("invalid_header", "If-Match applies to a single task.")

    @property
    def example(self) -> dict[str, Any]:
        """The body that the page of this route starts from."""
        if not self.operation:
            return (NewTasks if self.action == "create_many" else NewTask).example
        return (INPUTS if "pk" in self.kwargs else BULK_INPUTS)[self.operation].example

    def example_of(self, operation: str) -> dict[str, Any]:
        """The body that a page starts from for an operation on one task."""
        return INPUTS[operation].example

    def list(self, request: Request) -> Response:
        """Answer with a page of the tasks that the account sees."""
        listing = self.listing
        tasks = listing.of(reading.visible(self.user), self.user)
        window = listing.window
        found = page(
            tasks.select_related("owner", "originator", "starter", "job"),
            window.cursor,
            window.limit,
        )
        return Response(
            {
                **count(tasks, self.user),
                **window.links(found, request),
                "results": documents(reading.read_all(found.rows), request),
            }
        )

    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer with a task and what the account may do with it now."""
        task = reading.find(self.pk, self.user)
        if self.versions is None or task.version in self.versions:
            return Response(status=304, headers={"ETag": _etag(task)})
        self.answers = tuple(actions.answers(task, self.call()))
        permitted = [answer.name for answer in self.answers if answer.error is None]
        return self._answer(task, permitted_operations=permitted)

    def create(self, request: Request) -> Response:
        """Make a task."""
        try:
            values = self.read_body(NewTask)
            people, waiting = values.pop("people", {}), values.pop("waiting", False)
            seen: TaskQuerySet = Task.objects.visible_to(self.user)
            task = Task(**{**values, **related(values, seen)})
        except APIException:
            actions.demand_creator(self.call())
            raise
        (task,) = actions.create([Draft(task, people)], call=self.call(), waiting=waiting)
        return self._answer(task, 201, {"Location": task_url(task, request)})

    def create_many(self, request: Request) -> Response:
        """Make tasks, all of them or none."""
        call = self.call(bulk=True)
        seen: TaskQuerySet = Task.objects.visible_to(self.user)
        try:
            body = self.read_body(NewTasks)
            drafts = [self._draft(place, one, seen) for place, one in enumerate(body["tasks"])]
        except APIException:
            actions.demand_creator(call)
            raise
        call = replace(call, reason=body.get("reason"))
        made = actions.create(drafts, call=call, waiting=body.get("waiting", False))
        return Response(
            {
                "operation_id": call.operation_id,
                "counts": {"done": len(made), "refused": 0, "refused_by_reason": {}},
                "done": [{"id": str(task.pk), "version": task.version} for task in made],
                "refused": [],
            },
            status=201,
            headers={"Location": bulk.address(call.operation_id, request)},
        )

    def _draft(self, place: int, values: dict[str, Any], seen: TaskQuerySet) -> Draft:
        """One of several tasks to be made. Raises ValidationError that names its place."""
        people = values.pop("people", {})
        try:
            return Draft(Task(**{**values, **related(values, seen)}), people)
        except ValidationError as error:
            raise ValidationError({"tasks": {str(place): error.detail}}) from None

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
        try:
            task = self._attempt(self._arguments(INPUTS[self.operation], AttachForm))
        except (APIException, CallError) as error:
            # Whether the task is there, and what one may do to it, is told before what is wrong
            # with the body.
            forbidden = actions.forbidden(self.operation, self.pk, self.call())
            raise forbidden or error from None
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
            if isinstance(refused, AlreadyOwner) and self.operation in REPEATABLE:
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
        return bulk.act(request, self.operation, arguments, call, LISTED)

    def _answer(
        self,
        task: Task,
        status: int = 200,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> Response:
        (document,) = documents([reading.read(task, self.user)], self.request)
        headers = {"ETag": _etag(task), **(headers or {})}
        return Response({**document, **members}, status=status, headers=headers)


def _etag(task: Task) -> str:
    return f'"{task.version}"'
