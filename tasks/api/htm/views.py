"""The resources about one task: itself, its messages, roles, subtasks, history."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from tasks import reading
from tasks.errors import TaskNotFound, TooManyTasks
from tasks.models import AuditEvent
from tasks.models import Task as TaskModel

from . import documents, ids, parameters
from .base import HTMView, nothing, with_version
from .errors import BadRequest, as_json, error_object
from .verbs import ASSIGN, TASK, TRANSFER, Act, message_of

MOST_LISTED: Final = 10_000
"""How many items a list without pages may have: above it is an error, never a cut."""

SAFE: Final = ("GET", "HEAD")


class TaskView(HTMView):
    """A resource about one task."""

    pk: UUID
    given: parameters.Given
    act: Act

    def read(self, request: Request, **parts: str) -> None:
        """The task and the parameters; the version that is expected, which only writes have."""
        self.pk = ids.parse(parts["tkiid"])
        self.given = parameters.known(request.query_params)
        self.answers_json = request.method in SAFE
        if request.method not in SAFE:
            self.versions = parameters.expected(request.headers.get("If-Match"), self.pk)

    def found(self) -> TaskModel:
        """The task, if the account may read it. Raises TaskNotFound, NotAuthorized."""
        return reading.find(self.pk, self.user)

    def answer(self, document: Any, task: TaskModel) -> HttpResponse:
        """What was read of the task."""
        return with_version(as_json(document), task.version)

    def act_on(self, act: Act) -> TaskModel:
        """The task after the act."""
        return self.perform(act, self.pk, self.versions)

    def done(self, act: Act) -> HttpResponse:
        """Do what was asked; the answer is empty."""
        return with_version(nothing(), self.act_on(act).version)


class Task(TaskView):
    """GET, DELETE and PUT /v1/task/{tkiid} (spec, section 1.5)."""

    def read(self, request: Request, **parts: str) -> None:
        """What to do with the task."""
        super().read(request, **parts)
        if request.method == "PUT":
            self.act = TASK[parameters.choice(self.given, "action", TASK)](self.given)
            self.answers_json = self.act.answers_input

    def get(self, request: Request, tkiid: str) -> HttpResponse:
        """The task itself; its messages are resources of their own."""
        task = self.found()
        return self.answer(documents.task_document(task), task)

    def put(self, request: Request, tkiid: str) -> HttpResponse:
        """Do it. A claim answers the input message, unmasked: the caller owns the task now."""
        if not self.act.answers_input:
            return self.done(self.act)
        task = self.act_on(self.act)
        return self.answer(task.input, task)

    def delete(self, request: Request, tkiid: str) -> HttpResponse:
        """Remove the task with its subtasks."""
        return self.done(Act("remove"))


class Message(TaskView):
    """GET and PUT /v1/task/{tkiid}/input, /output, /fault (section 1.9), in JSON alone."""

    message = ""
    """Which of them."""

    def read(self, request: Request, **parts: str) -> None:
        """Whether an empty message is asked for, and the name of a fault."""
        super().read(request, **parts)
        self.empty = parameters.boolean(self.given, "new")
        more = {}
        if self.message == "fault" and request.method == "PUT":
            more["fault_name"] = parameters.required(self.given, "faultName")
        self.act = message_of(self.message, more)

    def get(self, request: Request, tkiid: str) -> HttpResponse:
        """The message, with secrets masked for those who may not work the task; or `{}`."""
        task = self.found()
        if self.empty:
            return self.answer({}, task)
        if not self._there(task):
            answer = error_object(
                request._request, 404, "CWTKA0017E", f"The task has no {self.message} message."
            )
            return with_version(answer, task.version)
        return self.answer(getattr(reading.read(task, self.user), self.message), task)

    def put(self, request: Request, tkiid: str) -> HttpResponse:
        """Replace the message."""
        return self.done(self.act)

    def _there(self, task: TaskModel) -> bool:
        """Whether the task has the message; a fault may be there by name alone."""
        if self.message != "fault":
            return getattr(task, self.message) is not None
        asked = self.given.get("faultName", task.fault_name)
        return asked == task.fault_name and (task.fault is not None or task.fault_name != "")


class TaskRole(TaskView):
    """GET and PUT /v1/task/{tkiid}/role/{role} (section 1.8)."""

    def read(self, request: Request, **parts: str) -> None:
        """The role, and who hands it over to whom or is assigned it."""
        super().read(request, **parts)
        self.role = parameters.role(parts["role"])
        if request.method != "PUT":
            return
        if parameters.choice(self.given, "action", [TRANSFER, ASSIGN]) == TRANSFER:
            self.act = Act("transfer", parameters.move(self.given, self.role).arguments)
        else:
            arguments = {
                "role": self.role,
                "to": parameters.receiver(self.given, self.role),
            }
            self.act = Act("grant", lambda user: arguments)

    def get(self, request: Request, tkiid: str, role: str) -> HttpResponse:
        """Who holds the role."""
        task = self.found()
        return self.answer(documents.staff(reading.read(task, self.user), self.role), task)

    def put(self, request: Request, tkiid: str, role: str) -> HttpResponse:
        """Move one work item, or create one."""
        return self.done(self.act)


class Subtasks(TaskView):
    """GET /v1/task/{tkiid}/subtasks (section 1.12)."""

    def get(self, request: Request, tkiid: str) -> HttpResponse:
        """Those of its subtasks that the account may read."""
        task = self.found()
        below = reading.subtasks(task, self.user).order_by("pk")
        people = ("owner", "originator", "starter")
        listed = list(below.select_related(*people)[: MOST_LISTED + 1])
        if len(listed) > MOST_LISTED:
            raise TooManyTasks(count=len(listed), limit=MOST_LISTED)
        return self.answer(documents.task_list(listed), task)


class History(TaskView):
    """GET /v1/task/{tkiid}/history (section 1.13)."""

    def read(self, request: Request, **parts: str) -> None:
        """Only the names of events that the specification has can be had."""
        super().read(request, **parts)
        if parameters.boolean(self.given, "newEventType"):
            raise BadRequest("CWTKA0158E", "newEventType cannot be true; it can be false.")

    def get(self, request: Request, tkiid: str) -> HttpResponse:
        """What has happened to the task, oldest first."""
        task = self.found()
        events = AuditEvent.objects.filter(task_id=task.pk).order_by("version")
        listed = list(events[: MOST_LISTED + 1])
        if len(listed) > MOST_LISTED:
            return error_object(
                request._request, 413, "CWTKA0005E", f"It has more than {MOST_LISTED} events."
            )
        return self.answer(documents.history(task, listed), task)


class Actions(HTMView):
    """GET /v1/task/actions (section 1.11)."""

    http_method_names = ["get", "head"]  # noqa: RUF012  (the type is Django's)

    def read(self, request: Request, **parts: str) -> None:
        """The tasks, and the actions that are asked about."""
        given = parameters.known(request.query_params)
        self.sent = parameters.task_ids(given)
        self.asked = parameters.actions(given)

    def get(self, request: Request) -> HttpResponse:
        """What the account may do with each; one task that it does not see fails the call."""
        seen = reading.visible(self.user).in_bulk(list(self.sent))
        if len(seen) < len(self.sent):
            raise TaskNotFound
        call = self.call()
        tasks = [
            {
                documents.KEY: text,
                "actions": documents.permitted(seen[pk], call, self.asked),
            }
            for pk, text in self.sent.items()
        ]
        return as_json({"identifier": documents.KEY, "tasks": tasks})
