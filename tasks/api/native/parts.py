"""What belongs to a task: its comments, attachments and subtasks, and what may be done to it."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from tasks import actions, reading
from tasks.actions import Answer
from tasks.lists import NEWEST

from .base import TaskView, known_tags, refuse_parameters
from .errors import BadSyntax
from .listing import WINDOW, Window, listed
from .pagination import NOTES, page
from .serializers import (
    INPUTS,
    AttachmentDocument,
    CommentDocument,
    documents,
    operation_url,
)

SHOWN_AS_THEY_ARE: Final = frozenset(
    {
        "application/json",
        "application/pdf",
        "application/zip",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/csv",
        "text/plain",
    }
)
"""Media types that a download says; others, which a browser might run, are bytes to it."""


class PartViewSet(TaskView):
    """What belongs to a task that the account may view."""

    example: ClassVar[dict[str, Any]] = {}
    columns = (
        *("name", "state_label", "owner", "text", "author", "content_type", "size", "at"),
        *("operation", "permitted", "detail"),
    )
    window: Window
    number: int

    @property
    def parameters(self) -> frozenset[str]:
        """Those of the lists."""
        listed = self.action in ("comments", "attachments", "subtasks")
        return WINDOW if listed else frozenset()

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters and ids that make no sense."""
        super().check_syntax(request)
        if self.parameters:
            wrong: list[dict[str, str]] = []
            order = NEWEST if self.action == "subtasks" else NOTES
            self.window = Window.read(request.query_params, wrong, order)
            refuse_parameters(wrong)
        if "number" in self.kwargs:
            number = self.kwargs["number"]
            if not (number.isascii() and number.isdigit() and len(number) < 19):
                raise BadSyntax("invalid_id", "The id of an attachment is a number.")
            self.number = int(number)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """A file is what it is, whatever is asked for."""
        return super().perform_content_negotiation(request, force or self.action == "download")

    def comments(self, request: Request, pk: str) -> Response:
        """Answer with what was said about the task, oldest first."""
        return self._notes(reading.comments(reading.find(self.pk, self.user)), CommentDocument)

    def attachments(self, request: Request, pk: str) -> Response:
        """Answer with the files kept with the task, oldest first."""
        task = reading.find(self.pk, self.user)
        return self._notes(reading.attachments(task), AttachmentDocument)

    def download(self, request: Request, pk: str, number: str) -> HttpResponseBase:
        """Answer with a file, to be kept and not to be shown."""
        task = reading.find(self.pk, self.user)
        found = reading.attachments(task).filter(pk=self.number).first()
        if found is None:
            raise Http404
        known = known_tags(request.headers)
        response: HttpResponseBase
        if known is None or found.sha256 in known:
            response = HttpResponse(status=304)
        else:
            plain = found.content_type in SHOWN_AS_THEY_ARE
            response = FileResponse(
                found.file.open("rb"),
                as_attachment=True,
                filename=found.name,
                content_type=found.content_type if plain else "application/octet-stream",
            )
        response["ETag"] = f'"{found.sha256}"'
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response

    def subtasks(self, request: Request, pk: str) -> Response:
        """Answer with the subtasks that the account sees, newest first."""
        tasks = reading.subtasks(reading.find(self.pk, self.user), self.user)
        found, count = listed(tasks, self.user, self.window)
        return Response(
            {
                **count,
                **self.window.links(found, request),
                "results": documents(reading.listed(found.rows), request),
            }
        )

    def permitted(self, request: Request, pk: str) -> Response:
        """Answer with every operation: whether the account may do it now, or why not."""
        task = reading.find(self.pk, self.user)
        answers = actions.answers(task, self.call())
        return Response(
            {
                "count": len(answers),
                "next": None,
                "previous": None,
                "results": [self._told(answer) for answer in answers],
            }
        )

    def _told(self, answer: Answer) -> dict[str, Any]:
        rows = {}
        if answer.rows:
            named = "properties" if answer.name == "update" else "roles"
            rows = {named: answer.permitted_rows}
        return {
            "operation": answer.name,
            "permitted": answer.error is None,
            "code": answer.error and answer.error.code,
            "detail": answer.error and answer.error.text,
            "reason_required": answer.wants_reason,
            **rows,
            "url": (
                operation_url(self.pk, answer.name, self.request) if answer.name in INPUTS else None
            ),
        }

    def _notes(self, rows: QuerySet[Any], document: type[Serializer[Any]]) -> Response:
        found = page(rows, self.window.cursor, self.window.limit, NOTES)
        shown = document(found.rows, many=True, context={"request": self.request})
        return Response(
            {
                "count": rows.count(),
                **self.window.links(found, self.request),
                "results": shown.data,
            }
        )
