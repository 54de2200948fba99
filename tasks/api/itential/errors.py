"""How this face answers: the envelope, and what becomes of every reason to say no."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse
from rest_framework.exceptions import APIException, NotAuthenticated, Throttled

from tasks import errors
from tasks.api import RETRY_SECONDS, database_in_trouble, retry_after
from tasks.api.wording import legible
from tasks.errors import Refusal, TaskError

logger = logging.getLogger(__name__)

STATUSES: dict[type[Refusal], int] = {
    errors.TaskNotFound: 404,
    errors.NotAuthorized: 403,
    errors.InvalidTaskState: 409,
    errors.TaskSuspended: 409,
    errors.NotSuspended: 409,
    errors.NotSkippable: 409,
    errors.SubtasksOpen: 409,
    errors.WrongKind: 409,
    errors.StaleTask: 412,
    errors.AlreadyOwner: 409,
    errors.AlreadyGranted: 409,
    errors.NoSuchWorkItem: 409,
    errors.TargetNotEligible: 409,
    errors.LastAdministrator: 409,
    errors.InvalidOutput: 400,
    errors.ReasonRequired: 400,
    errors.NotAttempted: 503,
    errors.NothingToUndo: 409,
    errors.TooLateToUndo: 409,
    errors.Irreversible: 409,
    errors.NotAllDone: 409,
    errors.StillRunning: 409,
    errors.AlreadyFinished: 409,
    errors.NotPermitted: 403,
    errors.UnknownUser: 400,
    errors.UnknownGroup: 400,
    errors.UnknownRole: 400,
    errors.TargetInactive: 400,
    errors.TargetEmpty: 400,
    errors.InvalidArgument: 400,
    errors.ExternalIdTaken: 409,
    errors.FileTooLarge: 413,
    errors.TooManyTasks: 413,
    errors.KeyReused: 400,
    errors.KeyInUse: 409,
}
"""The status of each reason; Itential itself documents none but 500 (spec, 1.2 and 6)."""


def envelope(message: str, data: Any = None, *, status: int = 200) -> HttpResponse:
    """The shape of every answer (spec, 1.3); on errors `data` is null."""
    message = legible(message)
    return JsonResponse(
        {"message": message, "data": data, "metadata": {}},
        status=status,
        json_dumps_params={"ensure_ascii": False},
    )


def refuse(request: HttpRequest, status: int, code: str, message: str) -> HttpResponse:
    """A refusal for what stands before the views; the envelope has no place for the code."""
    return envelope(message, status=status)


def with_version(response: HttpResponse, version: int | None) -> HttpResponse:
    """The answer with the task's version as its ETag, where a task is known."""
    if version is not None:
        response["ETag"] = f'"{version}"'
    return response


def answer_to(exc: Exception, request: HttpRequest) -> HttpResponse:
    """Any exception as an answer of this face; what nobody foresaw is logged and not shown."""
    if isinstance(exc, TaskError):
        status = STATUSES[type(exc)]
        message = exc.text
        if status == 409 and exc.holder and exc.holder not in message:
            message = f"{message} It belongs to {exc.holder}."
        return with_version(envelope(message, status=status), exc.version)
    if isinstance(exc, Refusal):
        return envelope(exc.text, status=STATUSES[type(exc)])
    if isinstance(exc, NotAuthenticated):
        return envelope("Log in first.", status=401)
    if isinstance(exc, APIException):
        response = envelope(str(exc.detail), status=exc.status_code)
        if isinstance(exc, Throttled):
            response["Retry-After"] = str(retry_after(exc))
        return response
    if database_in_trouble(exc):
        logger.warning("The database did not answer.", exc_info=exc)
        response = envelope("The database does not answer at the moment; try again.", status=503)
        response["Retry-After"] = str(RETRY_SECONDS)
        return response
    if isinstance(exc, RequestDataTooBig):
        return envelope("The body is too large.", status=413)
    if isinstance(exc, SuspiciousOperation):
        return envelope("The request cannot be read.", status=400)
    logger.error("A call failed unexpectedly.", exc_info=exc)
    return envelope("An unexpected problem has occurred; it has been logged.", status=500)
