"""How this face says no: statuses and message ids, the error object, the line of a bulk report."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

from django.http import HttpRequest, JsonResponse

from tasks import errors
from tasks.api.middleware import request_id_of
from tasks.api.wording import legible
from tasks.errors import Refusal


class Answer(NamedTuple):
    """A status, a message id of IBM's catalogue, and the words where they are not the core's."""

    status: int
    number: str
    message: str = ""


_NOBODY = Answer(400, "CWTKA0084E", "There is no active user or group {name}.")
"""One answer for all: an inactive account is an unknown one to clients of this face."""

STATUSES: Final[dict[type[Refusal], Answer]] = {
    errors.TaskNotFound: Answer(404, "CWTKA0024E"),
    errors.NotAuthorized: Answer(401, "CWTKA0068E"),
    errors.InvalidTaskState: Answer(409, "CWTKA0062E"),
    errors.TaskSuspended: Answer(409, "CWTKA0072E"),
    errors.NotSuspended: Answer(409, "CWTKA0112E"),
    errors.NotSkippable: Answer(409, "CWTKA0064E"),
    errors.SubtasksOpen: Answer(409, "CWTKA0075E"),
    errors.WrongKind: Answer(409, "CWTKA0064E"),
    errors.StaleTask: Answer(412, "CWTKA0007E"),
    errors.AlreadyOwner: Answer(409, "CWTKA0062E"),
    errors.AlreadyGranted: Answer(409, "CWTKA0011E"),
    errors.NoSuchWorkItem: Answer(409, "CWTKA0099E"),
    errors.TargetNotEligible: Answer(409, "CWTKA0110E"),
    errors.LastAdministrator: Answer(409, "CWTKA0015E"),
    errors.InvalidOutput: Answer(400, "CWTKA0114E"),
    errors.ReasonRequired: Answer(400, "CWTKA0122E"),
    errors.NotAttempted: Answer(503, "CWTKA0016E"),
    errors.NothingToUndo: Answer(409, "CWTKA0062E"),
    errors.TooLateToUndo: Answer(409, "CWTKA0062E"),
    errors.Irreversible: Answer(409, "CWTKA0062E"),
    errors.NotAllDone: Answer(409, "CWTKA0062E"),
    errors.StillRunning: Answer(409, "CWTKA0062E"),
    errors.AlreadyFinished: Answer(409, "CWTKA0062E"),
    errors.NotPermitted: Answer(401, "CWTKA0012E"),
    errors.UnknownUser: _NOBODY,
    errors.UnknownGroup: _NOBODY,
    errors.TargetInactive: _NOBODY,
    errors.TargetEmpty: _NOBODY,
    errors.UnknownRole: Answer(400, "CWTKA0022E"),
    errors.InvalidArgument: Answer(400, "CWTKA0123E"),
    errors.ExternalIdTaken: Answer(409, "CWTKA0007E"),
    errors.FileTooLarge: Answer(413, "CWTKA0005E"),
    errors.TooManyTasks: Answer(413, "CWTKA0005E"),
    errors.KeyReused: Answer(400, "CWTKA0122E"),
    errors.KeyInUse: Answer(409, "CWTKA0062E"),
}
"""The answer to each reason of the core (spec, sections 4.4 and 5.2). Lack of rights is 401."""

NUMBERS: Final[dict[int, str]] = {
    400: "CWTKA0083E",
    401: "CWTKA0012E",
    404: "CWTKA0017E",
    405: "CWTKA0008E",
    406: "CWTKA0156E",
    411: "CWTKA0016E",
    413: "CWTKA0005E",
    414: "CWTKA0005E",
    415: "CWTKA0016E",
    429: "CWTKA0012E",
    500: "CWTKA0016E",
    503: "CWTKA0016E",
}
"""The nearest message id, by status, for what goes wrong before or beside the core. The catalogue
has no exact one for most of it; CWTKA0016E says that data could not be handled."""


class BadRequest(Exception):
    """What is wrong with the request line, its parameters or the body: always 400."""

    def __init__(self, number: str, message: str) -> None:
        super().__init__(message)
        self.number = number


FIELDS: Final[dict[str, tuple[str, str]]] = {
    "claim_while_on_hold": ("supportsClaimIfSuspended", "CWTKA0149E"),
    "custom_properties": ("customProperties", "CWTKA0149E"),
    "description": ("description", "CWTKA0149E"),
    "due_at": ("dueTime", "CWTKA0149E"),
    "expires_at": ("expirationTime", "CWTKA0149E"),
    "fault_name": ("faultName", "CWTKA0158E"),
    "name": ("name", "CWTKA0149E"),
    "priority": ("priority", "CWTKA0136E"),
    "until": ("deadline or duration", "CWTKA0158E"),
}
"""What this face calls an argument of the core, and the message id for a bad value of it."""


def describe(error: Refusal) -> tuple[str, str]:
    """Message id and text of a refusal, alike in an error object and in a bulk report."""
    if isinstance(error, errors.InvalidArgument) and error.params["field"] in FIELDS:
        name, number = FIELDS[error.params["field"]]
        return number, f"{name}: {error.params['why']}"
    answer = STATUSES[type(error)]
    return answer.number, answer.message.format(**error.params) or error.text


def error_object(request: HttpRequest, status: int, number: str, message: str) -> JsonResponse:
    """IBM's error response (section 5.1); its details are the request id, no stack trace."""
    body = {
        "errorNumber": number,
        "errorMessage": legible(message),
        "programmersDetails": {"requestId": request_id_of(request)},
    }
    return as_json(body, status)


def as_json(body: object, status: int = HTTPStatus.OK) -> JsonResponse:
    """Any JSON answer of this face."""
    written = {"ensure_ascii": False, "separators": (",", ":")}
    return JsonResponse(body, status=status, safe=False, json_dumps_params=written)


def refuse(request: HttpRequest, status: int, code: str, message: str) -> JsonResponse:
    """The answer to a request that no view has seen: its URL, framing or charset is at fault."""
    return error_object(request, status, NUMBERS.get(status, NUMBERS[400]), message)
