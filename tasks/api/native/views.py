"""The resources of this face: its front page, and tasks with a route for each operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.utils.urls import replace_query_param
from rest_framework.viewsets import ViewSet

from accounts.models import User
from tasks import actions, reading
from tasks.actions import ACTIONS, Draft
from tasks.errors import AlreadyOwner, CallError, StaleTask, TaskNotFound
from tasks.lifecycle import OPERATIONS, State
from tasks.models import Task
from tasks.querysets import TaskQuerySet
from tasks.uuid7 import uuid_of

from .base import (
    NativeView,
    expected_versions,
    known_versions,
    parameter_error,
    refuse_parameters,
)
from .errors import BadSyntax, entry, refuse
from .pagination import DEFAULT_LIMIT, MAX_LIMIT, Cursor, count, page
from .serializers import BULK_INPUTS, INPUTS, NewTask, documents, related, task_url

NO_OWNER: Final = "none"
"""The value of the filter `owner` for tasks that nobody holds."""

VIEWS: Final = {
    "mine": TaskQuerySet.held_by,
    "available": TaskQuerySet.available_to,
    "team": TaskQuerySet.of_teams_of,
}
"""The named views of the list."""

REPEATABLE: Final = {name for name, operation in OPERATIONS.items() if operation.repeatable}
"""Operations that succeed once more, changing nothing, for an account that holds the task."""


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
                }
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


@dataclass(frozen=True, slots=True)
class Listing:
    """Which part of which tasks a list is asked for."""

    states: Sequence[str]
    owner: str | None
    view: str | None
    limit: int
    cursor: Cursor | None

    @classmethod
    def read(cls, given: QueryDict) -> Listing:
        """The listing that query parameters ask for. Raises BadSyntax; looks nothing up."""
        wrong = []
        states, owner, view = given.getlist("state"), given.get("owner"), given.get("view")
        if not set(states) <= set(State):
            wrong.append(parameter_error("state", "invalid", f"One of {', '.join(State)}."))
        if owner == "":
            detail = f"A user name, or {NO_OWNER} for tasks that nobody holds."
            wrong.append(parameter_error("owner", "invalid", detail))
        if view is not None and view not in VIEWS:
            wrong.append(parameter_error("view", "invalid", f"One of {', '.join(VIEWS)}."))
        limit, cursor = given.get("limit", str(DEFAULT_LIMIT)), None
        if not (limit.isascii() and limit.isdigit() and len(limit) <= len(str(MAX_LIMIT))) or not (
            1 <= int(limit) <= MAX_LIMIT
        ):
            wrong.append(parameter_error("limit", "invalid", f"A number from 1 to {MAX_LIMIT}."))
            limit = "0"
        text = given.get("cursor")
        try:
            cursor = None if text is None else Cursor.read(text)
        except ValueError:
            detail = "Not a cursor of this list; take it from next or previous."
            wrong.append(parameter_error("cursor", "invalid", detail))
        refuse_parameters(wrong)
        return cls(states, owner, view, int(limit), cursor)

    def of(self, tasks: TaskQuerySet, user: User) -> TaskQuerySet:
        """Those of `tasks` that the filters let through."""
        if self.view is not None:
            tasks = VIEWS[self.view](tasks, user)
        if self.states:
            tasks = tasks.filter(state__in=self.states)
        if self.owner == NO_OWNER:
            return tasks.filter(owner=None)
        return tasks if self.owner is None else tasks.filter(owner__username=self.owner)


class TaskViewSet(NativeView, ViewSet):
    """Tasks, and the operations on one of them or on many."""

    operation: str = ""
    """The operation of the route, as the core names it."""

    repeatable = frozenset({"state"})
    listing: Listing
    pk: UUID
    versions: frozenset[int] | None

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters, id and conditions that make no sense."""
        listing = self.action_map.get((request.method or "").lower()) == "list"
        if listing:
            self.parameters = frozenset({"state", "owner", "view", "limit", "cursor"})
        super().check_syntax(request)
        if listing:
            self.listing = Listing.read(request.query_params)
        if "pk" in self.kwargs:
            pk = uuid_of(self.kwargs["pk"])
            if pk is None:
                raise BadSyntax("invalid_id", "The id of a task is a UUID.")
            self.pk = pk
            safe = request.method in ("GET", "HEAD")
            self.versions = (known_versions if safe else expected_versions)(request.headers)
        elif "If-Match" in request.headers:
            raise BadSyntax("invalid_header", "If-Match applies to a single task.")

    @property
    def example(self) -> dict[str, Any]:
        """The body that the page of this route starts from."""
        if not self.operation:
            return NewTask.example
        return (INPUTS if "pk" in self.kwargs else BULK_INPUTS)[self.operation].example

    def example_of(self, operation: str) -> dict[str, Any]:
        """The body that a page starts from for an operation on one task."""
        return INPUTS[operation].example

    def list(self, request: Request) -> Response:
        """Answer with a page of the tasks that the account sees."""
        listing = self.listing
        tasks = listing.of(reading.visible(self.user), self.user)
        found = page(
            tasks.select_related("owner", "originator", "starter", "job"),
            listing.cursor,
            listing.limit,
        )
        here = request.build_absolute_uri()

        def link(cursor: Cursor | None) -> str | None:
            return replace_query_param(here, "cursor", cursor.text) if cursor else None

        return Response(
            {
                **count(tasks, self.user),
                "next": link(found.next),
                "previous": link(found.previous),
                "results": documents(reading.read_all(found.tasks), request),
            }
        )

    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer with a task and what the account may do with it now."""
        task = reading.find(self.pk, self.user)
        if self.versions is None or task.version in self.versions:
            return Response(status=304, headers={"ETag": _etag(task)})
        refusals = actions.permitted(task, self.call())
        permitted = [name for name, refusal in refusals.items() if refusal is None]
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

    def operate(self, request: Request, pk: str) -> Response:
        """Do the operation of the route to one task."""
        try:
            arguments = self.read_body(INPUTS[self.operation])
            task = self._attempt(arguments)
        except (APIException, CallError) as error:
            # Whether the task is there, and what one may do to it, is told before what is wrong
            # with the body.
            forbidden = actions.forbidden(self.operation, self.pk, self.call())
            raise forbidden or error from None
        return self._answer(task)

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
                return self._own()
            # If-Match may name several versions. They only rise, so this ends.
            if (
                isinstance(refused, StaleTask)
                and refused.version in (self.versions or ())
                and refused.version != expected
            ):
                expected = refused.version
                continue
            return outcome.one()

    def _own(self) -> Task:
        """The task that the account holds already; without asking whether it may view tasks."""
        seen: TaskQuerySet = Task.objects.visible_to(self.user)
        task = seen.filter(pk=self.pk).first()
        if task is None:
            raise TaskNotFound
        found: Task = task
        return found

    def operate_on_many(self, request: Request) -> Response:
        """Do the operation of the route to many tasks."""
        arguments = self.read_body(BULK_INPUTS[self.operation])
        ids: dict[UUID, int | None] = arguments.pop("ids")
        call = self.call(
            reason=arguments.pop("reason", None),
            versions={pk: version for pk, version in ids.items() if version is not None},
            bulk=True,
        )
        outcome = ACTIONS[self.operation](tuple(ids), call=call, **arguments)
        return Response(
            {
                "operation_id": outcome.operation_id,
                "done": [
                    {"id": str(pk), "version": version} for pk, version in outcome.done.items()
                ],
                "refused": [
                    {"id": str(pk), **entry(error)} for pk, error in outcome.refused.items()
                ],
            }
        )

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
