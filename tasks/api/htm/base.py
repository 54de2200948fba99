"""What every view of this face shares: the order of the tests, who asks, the shape of errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from django.http import Http404, HttpResponse, JsonResponse
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    MethodNotAllowed,
    NotAcceptable,
    NotAuthenticated,
    Throttled,
)
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.authentication import BasicAuthentication, TokenAuthentication
from accounts.models import User
from tasks import actions
from tasks.actions import Call
from tasks.api import RETRY_SECONDS, database_in_trouble, retry_after
from tasks.api.middleware import LARGE_BODY, request_id_of
from tasks.api.parsers import BadBody, JSONByDefault, StrictJSONParser
from tasks.errors import CallError, Refusal, TaskError
from tasks.models import Channel, Task

from .errors import NUMBERS, STATUSES, BadRequest, describe, error_object
from .verbs import Act

logger = logging.getLogger(__name__)

OVERRIDES = ("X-Method-Override", "X-HTTP-Method-Override")
"""The headers by which a POST can stand for another method (spec, section 5.4)."""


class BasicCredentials(BasicAuthentication):
    """HTTP Basic, with log-ins recorded as this face's."""

    channel = Channel.HTM.value


class BulkParser(StrictJSONParser):
    """JSON of the size that a bulk call may have."""

    max_bytes = LARGE_BODY


class MessageParser(BulkParser):
    """JSON that is a message of a task, whose texts may have any length within the body's."""

    free = frozenset({""})


class HTMView(APIView):
    """One resource of this face.

    A subclass says in `read` what the request line must be like, which is tested before anybody
    is asked who he is, and in `answers_json` whether there is a body to accept in its answer.
    """

    http_method_names = ["get", "head", "put", "delete"]  # noqa: RUF012  (the type is Django's)
    authentication_classes = (BasicCredentials, TokenAuthentication)
    permission_classes = (IsAuthenticated,)
    parser_classes = (BulkParser,)
    content_negotiation_class = JSONByDefault
    answers_json = True

    def read(self, request: Request, **parts: str) -> None:
        """Read path and parameters. Raises BadRequest for their syntax; looks nothing up."""
        raise NotImplementedError

    @property
    def default_response_headers(self) -> dict[str, str]:
        """None: what DRF would add says nothing to clients of this face."""
        return {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Everything before the call: method, syntax, and only then the credentials."""
        _apply_override(request)
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(request.method or "")
        self.read(request, **kwargs)
        if self.answers_json and not request.accepts("application/json"):
            raise NotAcceptable("Answers are written in application/json only.")
        self.perform_authentication(request)
        self.check_permissions(request)
        self.check_throttles(request)

    @property
    def user(self) -> User:
        """The account that asks."""
        return cast(User, self.request.user)

    def call(self, *, bulk: bool = False, versions: Mapping[UUID, int] | None = None) -> Call:
        """The call that this request makes of the core."""
        return Call(
            self.user,
            Channel.HTM,
            request_id=request_id_of(self.request),
            bulk=bulk,
            versions=versions or {},
        )

    def perform(self, act: Act, pk: UUID, versions: Mapping[UUID, int]) -> Task:
        """Do something to one task, and answer with it as it was committed.

        Whether the task is there, and what one may do to it, is told before what is wrong with
        the body. Raises TaskError, CallError, BadRequest, APIException.
        """
        if act.carries_data:
            self.request.parsers = [MessageParser()]
        try:
            arguments = act.read(self.request, self.user)
            call = self.call(versions=versions)
            return actions.ACTIONS[act.operation]([pk], call=call, **arguments).one()
        except (APIException, BadRequest, CallError) as error:
            raise actions.forbidden(act.operation, pk, self.call()) or error from None

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        """Any exception as this face's error object."""
        response = self._answer_to(exc)
        if isinstance(exc, (NotAuthenticated, AuthenticationFailed)):
            response["WWW-Authenticate"] = self.get_authenticate_header(self.request)
        elif isinstance(exc, MethodNotAllowed):
            response["Allow"] = ", ".join(self.allowed_methods)
        elif isinstance(exc, Throttled):
            response["Retry-After"] = str(retry_after(exc))
        elif response.status_code == 503:
            response["Retry-After"] = str(RETRY_SECONDS)
        if isinstance(exc, TaskError) and exc.version is not None:
            with_version(response, exc.version)
        return response

    def _answer_to(self, exc: Exception) -> JsonResponse:
        request = self.request._request
        if isinstance(exc, Refusal):
            return error_object(request, STATUSES[type(exc)].status, *describe(exc))
        if isinstance(exc, BadRequest):
            return error_object(request, 400, exc.number, str(exc))
        if isinstance(exc, BadBody) and exc.status_code == 400:
            return error_object(request, 400, "CWTKA0016E", exc.message)
        if isinstance(exc, APIException):
            status, message = exc.status_code, str(exc.detail)
        elif isinstance(exc, Http404):
            status, message = 404, "There is no such resource."
        elif database_in_trouble(exc):
            logger.warning("The database did not answer.", exc_info=exc)
            status, message = 503, "The database does not answer at the moment; try again."
        else:
            logger.error("A call failed unexpectedly.", exc_info=exc)
            status, message = 500, "An unexpected problem has occurred; it has been logged."
        # Clients of this interface know lack of rights as 401 (section 1.5).
        status = 401 if status == 403 else status
        return error_object(request, status, NUMBERS.get(status, NUMBERS[400]), message)


class UnknownResource(HTMView):
    """Every path below this face's that is none of its resources."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise Http404, whoever asks and by whatever method."""
        raise Http404


def nothing() -> HttpResponse:
    """The empty answer of a call that did all it was asked."""
    response = HttpResponse()
    del response["Content-Type"]
    return response


def with_version(response: HttpResponse, version: int) -> HttpResponse:
    """An answer about one task, with its version."""
    response["ETag"] = f'"{version}"'
    return response


def _apply_override(request: Request) -> None:
    """Let a POST stand for the method its header names: PUT or DELETE, and nothing else."""
    named = {request.headers[name].upper() for name in OVERRIDES if name in request.headers}
    if not named:
        return
    if request.method != "POST" or len(named) > 1 or not named <= {"PUT", "DELETE"}:
        raise BadRequest("CWTKA0083E", "A POST alone can be overridden, by PUT or by DELETE.")
    request._request.method = named.pop()
