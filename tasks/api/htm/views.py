"""The resources of this face: a task, a role of one task, and a role of many."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from tasks import actions

from . import ids, parameters
from .base import HTMView, nothing, with_version
from .errors import as_json, describe
from .verbs import TASK, TRANSFER


class Task(HTMView):
    """PUT /v1/task/{tkiid}?action=claim|cancel (spec, section 1.5)."""

    def read(self, request: Request, **parts: str) -> None:
        """The task, what to do with it, and the version that the caller expects."""
        self.pk = ids.parse(parts["tkiid"])
        given = parameters.known(request.query_params)
        self.verb = TASK[parameters.action(given, TASK)]
        self.answers_json = self.verb.answers_input
        self.versions = parameters.expected(request.headers.get("If-Match"), self.pk)

    def put(self, request: Request, tkiid: str) -> HttpResponse:
        """Do it. A claim answers the input message, unmasked: the caller owns the task now."""
        task = self.verb.action([self.pk], call=self.call(versions=self.versions)).one()
        response = as_json(task.input) if self.verb.answers_input else nothing()
        return with_version(response, task.version)


class TaskRole(HTMView):
    """PUT /v1/task/{tkiid}/role/{role}?action=transfer (section 1.8)."""

    answers_json = False

    def read(self, request: Request, **parts: str) -> None:
        """The task, the role, who hands it over to whom, and the version that is expected."""
        self.pk = ids.parse(parts["tkiid"])
        self.move = _move(request, parts["role"])
        self.versions = parameters.expected(request.headers.get("If-Match"), self.pk)

    def put(self, request: Request, tkiid: str, role: str) -> HttpResponse:
        """Move one work item."""
        arguments = self.move.arguments(self.user)
        task = actions.transfer(
            [self.pk], call=self.call(versions=self.versions), **arguments
        ).one()
        return with_version(nothing(), task.version)


class BulkTaskRole(HTMView):
    """PUT /v1/task/role/{role}?action=transfer (section 1.7)."""

    def read(self, request: Request, **parts: str) -> None:
        """The role, and who hands it over to whom."""
        self.move = _move(request, parts["role"])
        parameters.expect_nothing(request.headers.get("If-Match"))

    def put(self, request: Request, role: str) -> HttpResponse:
        """Move the work items of many tasks; what failed is reported, and nothing else."""
        sent = parameters.task_ids(request.data)
        arguments = self.move.arguments(self.user)
        outcome = actions.transfer(list(sent), call=self.call(bulk=True), **arguments)
        if not outcome.refused:
            return nothing()
        report = []
        for pk, error in outcome.refused.items():
            number, message = describe(error)
            report.append({"tkiid": sent[pk], "errorNumber": number, "errorMessage": message})
        return as_json({"failedOperations": report})


def _move(request: Request, role: str) -> parameters.Move:
    given = parameters.known(request.query_params)
    parameters.action(given, [TRANSFER])
    return parameters.move(given, parameters.role(role))
