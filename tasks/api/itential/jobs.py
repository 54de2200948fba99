"""The routes of this face below a job: the job itself, and its tasks finished or tried again.

To pause, resume or cancel whole jobs is not spoken here: a job has no state of its own, so an
answer would have to speak for tasks that the caller does not see or that are yet to be made.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.request import Request

from accounts.models import by_object_id
from tasks import reading
from tasks.api.middleware import LARGE_BODY
from tasks.api.parsers import StrictJSONParser
from tasks.errors import TaskNotFound, TooManyTasks
from tasks.models import Job, Task
from tasks.querysets import TaskQuerySet
from tasks.uuid7 import uuid_of

from .base import bad_body, members_of
from .documents import JOB_TARGETS, job_document
from .views import OBJECT_ID, Act, Projected

_SHORT_ID = re.compile(r"[0-9a-f]{1,4}|workflow_start|workflow_end|error_handler")
"""Ids within a job (spec, section 0); the reserved names are never those of a task here."""

MOST_LISTED = 10_000
"""How many tasks a job may show: above it is an error, never a cut."""


def check_job_id(text: str) -> str:
    """The id of a job, if it has the form of one. Raises ParseError."""
    if not OBJECT_ID.fullmatch(text):
        raise ParseError("The job id does not have 24 hexadecimal digits.")
    return text


class GetJob(Projected):
    """GET /operations-manager/jobs/:id."""

    expandable = JOB_TARGETS

    def read(self, request: Request, **parts: str) -> None:
        """Check id and parameters."""
        self.job_id = check_job_id(parts["job_id"])
        super().read(request, **parts)

    def get(self, request: Request, job_id: str) -> HttpResponse:
        """Answer with the job and those of its tasks that the account sees.

        A job of which it sees none is not there.
        """
        seen: TaskQuerySet = Task.objects.visible_to(self.user)
        job = Job.objects.filter(by_object_id(self.job_id), tasks__in=seen).first()
        if job is None:
            raise NotFound("There is no such job.")
        tasks = list(of_job(reading.visible(self.user), job)[: MOST_LISTED + 1])
        if len(tasks) > MOST_LISTED:
            raise TooManyTasks(count=len(tasks), limit=MOST_LISTED)
        return self.retrieved(job_document(job, reading.read_all(tasks), self.targets))


def of_job(tasks: TaskQuerySet, job: Job) -> TaskQuerySet:
    """Those of `tasks` that belong to a job, with what a document names."""
    return tasks.filter(job=job).select_related("owner", "job").order_by("pk")


class DataParser(StrictJSONParser):
    """JSON that carries task data, whose texts may have any length within the body's."""

    max_bytes = LARGE_BODY
    free = frozenset({"variables", "taskData.variables"})


class ActInJob(Act):
    """An act on a task that is named by its job and its id within it, or its iteration id."""

    parser_classes = (DataParser,)

    def read(self, request: Request, **parts: str) -> None:
        """Check both ids, and the version that the caller expects."""
        self.job_id = check_job_id(parts["job_id"])
        text = parts["task_id"]
        pk = uuid_of(text)
        if pk is None and not _SHORT_ID.fullmatch(text):
            raise ParseError("The task id is neither one within a job nor a UUID.")
        self.named: dict[str, Any] = {"short_id": text} if pk is None else {"pk": pk}
        self.read_version(request)

    def post(self, request: Request, **parts: str) -> HttpResponse:
        """Find the task, which must be of that job, and do it."""
        seen: TaskQuerySet = Task.objects.visible_to(self.user)
        job = Job.objects.filter(by_object_id(self.job_id)).first()
        task = seen.filter(job=job, **self.named).first() if job else None
        if job is None or task is None:
            raise TaskNotFound
        self.job, self.task_id = job, task.pk
        return super().post(request, **parts)


class Finish(ActInJob):
    """POST /operations-manager/jobs/:jobId/tasks/:taskId/finish (finishManualTask)."""

    operation = "finish"
    done = "Successfully finished the task"
    members_of_data: ClassVar = ("finish_state", "variables")

    def arguments(self) -> dict[str, Any]:
        """How the task ends, and its output: both are required (spec, 1.4)."""
        body = self.members(("taskData",))
        if "taskData" not in body:
            bad_body("missing_member", "taskData", "it is missing")
        data = members_of(body["taskData"], self.members_of_data, "taskData")
        for name in self.members_of_data:
            if name not in data:
                bad_body("missing_member", f"taskData.{name}", "it is missing")
        if not isinstance(data["finish_state"], str):
            bad_body("invalid_member", "taskData.finish_state", "a text is expected")
        if not isinstance(data["variables"], dict):
            bad_body("invalid_member", "taskData.variables", "an object is expected")
        return {"finish_state": data["finish_state"], "output": data["variables"]}

    def document(self, task: Task) -> dict[str, Any]:
        """The job; to an account that may not view tasks, with the task alone that it finished."""
        if not self.user.has_perm(reading.VIEW):
            return job_document(self.job, reading.read_all([task]))
        tasks = of_job(reading.visible(self.user), self.job)
        return job_document(self.job, reading.read_all(list(tasks)))


class Retry(ActInJob):
    """POST /operations-manager/jobs/:jobId/tasks/:taskId/retry (retryTask)."""

    operation = "retry"
    done = "Successfully retried the task"

    def arguments(self) -> dict[str, Any]:
        """The new input; without it the task is tried again with the input it has."""
        body = self.members(("variables",))
        if "variables" not in body:
            return {}
        if not isinstance(body["variables"], dict):
            bad_body("invalid_member", "variables", "an object is expected")
        return {"input": body["variables"]}
