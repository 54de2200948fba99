"""How this face says no: statuses, and problem documents (RFC 9457) for every error there is."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.utils.encoding import escape_uri_path
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from tasks import errors
from tasks.api import RETRY_SECONDS, database_in_trouble
from tasks.api.middleware import request_id_of
from tasks.api.parsers import BadBody
from tasks.api.strict_json import POINTER_LENGTH
from tasks.api.wording import legible, legible_within
from tasks.errors import Refusal, TaskError

logger = logging.getLogger(__name__)

PROBLEM: Final = "application/problem+json"

STATUSES: Final[dict[type[Refusal], int]] = {
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
    errors.KeyReused: 422,
    errors.KeyInUse: 409,
}
"""The status of each reason of the core."""

MOST_ERRORS: Final = 20
"""How many single errors one answer lists; the first ones are enough to go on with."""


class BadSyntax(APIException):
    """What is wrong with path, parameters or headers, told before anybody is asked who he is.

    `errors` name each parameter at fault: [{parameter, code, detail}].
    """

    status_code = 400

    def __init__(self, code: str, detail: str, errors: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(detail, code)
        self.errors = list(errors)


@dataclass(slots=True)
class Problem:
    """What an error answer says; `members` are its further members, `headers` its headers."""

    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def document(self, request: HttpRequest | Request) -> dict[str, Any]:
        """The problem document that answers a request."""
        return {
            "type": f"/problems/{self.code}/",
            "title": title_of(self.code),
            "status": self.status,
            "detail": legible(self.detail),
            "instance": escape_uri_path(request.path),
            "code": self.code,
            "errors": legible_within(self.errors[:MOST_ERRORS]),
            **self.members,
            "request_id": request_id_of(request),
        }


def title_of(code: str) -> str:
    """A code as the title of what it stands for."""
    return code.replace("_", " ").capitalize()


def refuse(request: HttpRequest, status: int, code: str, message: str) -> HttpResponse:
    """The answer to a request that no view has seen: its URL, framing or charset is at fault."""
    document = Problem(status, code, message).document(request)
    return HttpResponse(json.dumps(document), status=status, content_type=PROBLEM)


def handle(exc: Exception, context: dict[str, Any]) -> Response:
    """REST framework's hook: any exception of a view as a problem document."""
    request: Request = context["request"]
    problem = _problem(exc)
    if problem.status >= 500:
        logger.log(
            logging.WARNING if problem.status == 503 else logging.ERROR,
            "A call of the native API failed: %s",
            problem.code,
            exc_info=exc,
        )
    return Response(problem.document(request), status=problem.status, headers=problem.headers)


def entry(error: TaskError) -> dict[str, Any]:
    """What a bulk answer says of a refused task, beside its id."""
    return {"code": error.code, "detail": error.text, "version": error.version}


def pointer(path: Iterable[str | int]) -> str:
    """The RFC 6901 pointer to a place in the body."""
    found = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return found[:POINTER_LENGTH]


def _problem(exc: Exception) -> Problem:
    if isinstance(exc, Refusal):
        return _refused(exc)
    if isinstance(exc, BadSyntax):
        return Problem(exc.status_code, _code(exc), str(exc.detail), exc.errors)
    if isinstance(exc, BadBody):
        return _bad_body(exc)
    if isinstance(exc, ValidationError):
        found = list(_flat(exc.detail, ()))
        return Problem(400, "invalid_body", "The body cannot be used; see errors.", found)
    if isinstance(exc, APIException):
        return Problem(exc.status_code, _code(exc), str(exc.detail), headers=_headers(exc))
    if isinstance(exc, Http404):
        return Problem(404, "not_found", "There is nothing at this address.")
    if isinstance(exc, (SuspiciousOperation, MultiPartParserError)):
        return Problem(400, "unreadable_body", "The body could not be read.")
    if database_in_trouble(exc):
        return Problem(
            503,
            "database_unavailable",
            "The database does not answer at the moment; try again.",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    return Problem(500, "internal_error", "An unexpected problem has occurred; it was logged.")


def _refused(error: Refusal) -> Problem:
    problem = Problem(STATUSES[type(error)], error.code, error.text)
    if isinstance(error, errors.StaleTask) and error.version is not None:
        problem.detail = f"The task is at version {error.version}, which If-Match does not name."
    elif isinstance(error, errors.InvalidArgument):
        where = {"pointer": pointer([error.params["field"]]), "code": error.code}
        problem.errors = [{**where, "detail": error.params["why"]}]
    elif isinstance(error, errors.InvalidOutput):
        problem.errors = [
            {"pointer": f"/output{found['pointer']}", "code": error.code, "detail": found["detail"]}
            for found in error.params["errors"]
        ]
    elif isinstance(error, errors.NotAllDone):
        problem.members["refused"] = [
            {"id": str(pk), **entry(refused)} for pk, refused in error.refused.items()
        ]
    if isinstance(error, TaskError) and error.version is not None:
        problem.members["version"] = error.version
        problem.headers["ETag"] = f'"{error.version}"'
        # Whoever gets a conflict may act on the task, and so may know who holds it.
        if problem.status in (409, 412) and error.holder is not None:
            problem.members["holder"] = error.holder
    return problem


def _bad_body(error: BadBody) -> Problem:
    problem = Problem(error.status_code, error.code, error.message)
    if error.pointer is not None:
        problem.errors = [
            {"pointer": error.pointer, "code": error.code, "detail": error.message},
        ]
    return problem


def _code(error: APIException) -> str:
    detail = error.detail
    code = detail.code if isinstance(detail, ErrorDetail) else None
    return code or error.default_code


def _headers(error: APIException) -> dict[str, str]:
    headers = {}
    challenge = getattr(error, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    wait = getattr(error, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    return headers


def _flat(detail: Any, path: tuple[str | int, ...]) -> Iterator[dict[str, str]]:
    """The single errors of REST framework's nested ones."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            whole = name == api_settings.NON_FIELD_ERRORS_KEY
            yield from _flat(inner, path if whole else (*path, name))
    elif isinstance(detail, list):
        for position, inner in enumerate(detail):
            yield from _flat(inner, path if isinstance(inner, str) else (*path, position))
    else:
        yield {"pointer": pointer(path), "code": detail.code, "detail": str(detail)}
