"""The resources about many tasks: an action of theirs, and the transfer of a role."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from tasks import actions

from . import bodies, parameters
from .base import HTMView, nothing
from .errors import as_json, describe
from .verbs import BULK, TRANSFER, Act


class BulkView(HTMView):
    """One act on many tasks; `ids_member` of the body lists them."""

    http_method_names = ["put"]  # noqa: RUF012  (the type is Django's)
    ids_member = "taskIDs"
    act: Act

    def read(self, request: Request, **parts: str) -> None:
        """No version can be expected: it could be that of one task only."""
        parameters.expect_nothing(request.headers.get("If-Match"))

    def put(self, request: Request, **parts: str) -> HttpResponse:
        """Do it to all; what failed is reported, and nothing else (spec, section 1.6)."""
        sent = bodies.task_ids(request.data, self.ids_member)
        arguments = self.act.read(request, self.user)
        outcome = actions.ACTIONS[self.act.operation](
            list(sent), call=self.call(bulk=True), **arguments
        )
        if not outcome.refused:
            return nothing()
        report = []
        for pk, error in outcome.refused.items():
            number, message = describe(error)
            report.append({"tkiid": sent[pk], "errorNumber": number, "errorMessage": message})
        return as_json({"failedOperations": report})


class BulkTask(BulkView):
    """PUT /v1/task?action=cancel|suspend|suspendAndCancelClaim|resume|update (section 1.6)."""

    def read(self, request: Request, **parts: str) -> None:
        """What to do with the tasks."""
        super().read(request, **parts)
        given = parameters.known(request.query_params)
        action = parameters.choice(given, "action", BULK)
        self.act = BULK[action](given)
        if action == "update":
            self.ids_member = "updatedTaskIDs"


class BulkTaskRole(BulkView):
    """PUT /v1/task/role/{role}?action=transfer (section 1.7)."""

    def read(self, request: Request, **parts: str) -> None:
        """The role, and who hands it over to whom."""
        given = parameters.known(request.query_params)
        parameters.choice(given, "action", [TRANSFER])
        move = parameters.move(given, parameters.role(parts["role"]))
        self.act = Act("transfer", move.arguments)
        super().read(request, **parts)
