"""The routes of this face: log-in, log-out, who one is, one task, claim, assign, release."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import APIException, AuthenticationFailed, NotFound, ParseError
from rest_framework.request import Request

from accounts import authentication
from accounts.authentication import ItentialAuthentication
from accounts.models import Token, User
from tasks import actions, people, reading
from tasks.actions import ACTIONS, Call
from tasks.api.conditions import expected_version
from tasks.errors import AlreadyOwner, CallError
from tasks.models import Channel, Task
from tasks.uuid7 import uuid_of

from .base import ItentialView, bad_body, members_of
from .documents import TARGETS, identity, may_expand, project, task_document
from .errors import envelope, with_version

OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_CREDENTIALS = ("username", "password")

# --- Sessions -----------------------------------------------------------------------------------


def plain(text: str) -> HttpResponse:
    """A bare text under the media type that these two routes have (spec, 5.2)."""
    return HttpResponse(text, content_type="application/json")


class Login(ItentialView):
    """POST /login: the session token, as the body and as a cookie."""

    authentication_classes = ()
    permission_classes = ()

    @sensitive_variables()
    def post(self, request: Request) -> HttpResponse:
        """Log in with a name and a password, at the top of the body or within `user`."""
        username, password = self._credentials()
        channel = Channel.ITENTIAL.value
        user = authentication.log_in(request, username, password, channel=channel)
        secret = self._open_session(user, channel) if user else None
        if secret is None:
            raise AuthenticationFailed("Wrong user name or password.")
        response = plain(secret)
        response.set_cookie(
            ItentialAuthentication.cookie,
            secret,
            path="/",
            secure=settings.HTTPS,
            httponly=True,
            samesite="Strict",
        )
        # As it is: the standard library would put quotes around the value because of its "=".
        response.cookies[ItentialAuthentication.cookie].set(
            ItentialAuthentication.cookie, secret, secret
        )
        return response

    @sensitive_variables()
    def _credentials(self) -> tuple[str, str]:
        body, where = self.members(("user", *_CREDENTIALS)), ""
        if "user" in body:
            members_of(body, ("user",))
            body, where = members_of(body["user"], _CREDENTIALS, "user"), "user."
        for name in _CREDENTIALS:
            if not isinstance(body.get(name), str):
                bad_body("invalid_member", f"{where}{name}", "a text is expected")
        return body["username"], body["password"]

    def _open_session(self, user: User, channel: str) -> str | None:
        """A token, or None where the account has been deactivated this very moment."""
        try:
            _, secret = authentication.issue(
                user,
                Token.Kind.ITENTIAL,
                lifetime=timedelta(seconds=settings.SESSION_COOKIE_AGE),
                actor=user.username,
                channel=channel,
                request=self.http_request,
            )
        except ValueError:
            return None
        return secret


class Logout(ItentialView):
    """GET /logout: the session ends; the one GET of this server that changes something."""

    http_method_names = ["get"]  # noqa: RUF012  (a HEAD must not end a session)

    def get(self, request: Request) -> HttpResponse:
        """End the session that the call came with; other credentials have none."""
        given = {
            "cookie": request.COOKIES.get(ItentialAuthentication.cookie),
            "parameter": request.query_params.get(ItentialAuthentication.parameter),
        }.get(str(request.auth))
        token = authentication.find_token(given, Token.Kind.ITENTIAL) if given else None
        if token is not None:
            authentication.revoke(
                token,
                actor=self.user.username,
                channel=Channel.ITENTIAL.value,
                request=self.http_request,
            )
        response = plain("You have successfully logged out.")
        response.delete_cookie(ItentialAuthentication.cookie, samesite="Strict")
        return response


class WhoAmI(ItentialView):
    """GET /whoami: the account, its groups and roles, and the methods it may use."""

    def read(self, request: Request, **parts: str) -> None:
        """Check the parameter `roles`: names or ids."""
        if request.query_params.get("roles", "ids") not in ("names", "ids"):
            raise ParseError("Parameter 'roles' is either names or ids.")

    def get(self, request: Request) -> HttpResponse:
        """Answer with a bare object, as Itential does."""
        names = request.query_params.get("roles") == "names"
        return JsonResponse(
            identity(self.user, role_names=names), json_dumps_params={"ensure_ascii": False}
        )


# --- Tasks --------------------------------------------------------------------------------------


class TaskRoute(ItentialView):
    """A route about one task, named by its iteration id: a UUID in any case."""

    task_id: UUID

    def read(self, request: Request, **parts: str) -> None:
        """Check the id."""
        task_id = uuid_of(parts["task_id"])
        if task_id is None:
            raise ParseError("The task id is not a UUID.")
        self.task_id = task_id


class Projected(ItentialView):
    """A route whose answer can be asked for in parts, or with what it refers to expanded."""

    expandable: ClassVar[frozenset[str]]

    def read(self, request: Request, **parts: str) -> None:
        """Check the parameters; those that Itential does not know it ignores, and so do we."""
        super().read(request, **parts)
        lists: dict[str, set[str]] = {}
        for name in ("include", "exclude", "dereference"):
            values = request.query_params.getlist(name)
            lists[name] = {part.strip() for value in values for part in value.split(",")} - {""}
        self.include, self.exclude, self.targets = lists.values()
        if self.include and self.exclude - {"_id"}:
            raise ParseError("Parameter 'exclude' goes with 'include' only for '_id'.")
        if not self.targets <= self.expandable:
            raise ParseError("Unsupported dereference target(s)")

    def retrieved(self, document: dict[str, Any]) -> HttpResponse:
        """The document, or the part of it that is asked for."""
        data = project(document, self.include, self.exclude)
        return envelope("Successfully retrieved item", data)


class GetTask(Projected, TaskRoute):
    """GET /operations-manager/tasks/:id."""

    expandable = TARGETS

    def get(self, request: Request, task_id: str) -> HttpResponse:
        """Answer with the task document, or the part of it that is asked for."""
        task = reading.find(self.task_id, self.user)
        may_expand(self.user, self.targets)
        document = task_document(reading.read(task, self.user), self.targets)
        return with_version(self.retrieved(document), task.version)


class Act(TaskRoute):
    """A route that does something to one task."""

    operation: ClassVar[str]
    """The operation of the core."""

    done: ClassVar[str]
    """What a success says."""

    def read(self, request: Request, **parts: str) -> None:
        """Check the id, and the version that the caller expects."""
        super().read(request, **parts)
        self.read_version(request)

    def read_version(self, request: Request) -> None:
        """Check the version that the caller expects."""
        try:
            self.version = expected_version(request.headers.get("If-Match"))
        except ValueError as error:
            raise ParseError(str(error)) from None

    def call(self) -> Call:
        """The call, with the version that the caller expects."""
        if self.version is None:
            return super().call()
        return replace(super().call(), versions={self.task_id: self.version})

    def arguments(self) -> dict[str, Any]:
        """What the body says; raises APIException for a bad one."""
        self.members(())
        return {}

    def post(self, request: Request, **parts: str) -> HttpResponse:
        """Do it and answer with the task as it then is.

        Whether the task is there, and what one may do to it, is told before what is wrong with
        the body.
        """
        try:
            task = self.act(**self.arguments())
        except (APIException, CallError) as error:
            raise actions.forbidden(self.operation, self.task_id, self.call()) or error from None
        return with_version(envelope(self.done, self.document(task)), task.version)

    def act(self, **arguments: Any) -> Task:
        """The task as it was committed. Raises TaskError, CallError."""
        return ACTIONS[self.operation]([self.task_id], call=self.call(), **arguments).one()

    def document(self, task: Task) -> dict[str, Any]:
        """What is answered of the task."""
        return task_document(reading.read(task, self.user))


class Claim(Act):
    """POST /operations-manager/tasks/:taskId/claim."""

    operation = "claim"
    done = "Successfully claimed the task"

    def act(self, **arguments: Any) -> Task:
        """As for any act; the task's own holder changes nothing by it and gets the task."""
        while True:
            try:
                return super().act()
            except AlreadyOwner as refusal:
                version = refusal.version or 0
                held = Task.objects.filter(pk=self.task_id, version=version).first()
                if held is not None:
                    return held
                # It has changed since, so the question stands anew.


class Assign(Act):
    """POST /operations-manager/tasks/:taskId/assign."""

    operation = "assign"
    done = "Successfully assigned the task"

    def arguments(self) -> dict[str, Any]:
        """The account that `userId` names."""
        user_id = self.members(("userId",)).get("userId")
        if user_id is None:
            bad_body("missing_member", "userId", "it is missing")
        if not isinstance(user_id, str) or not OBJECT_ID.fullmatch(user_id):
            bad_body("invalid_member", "userId", "an id of 24 hexadecimal digits is expected")
        return {"to": people.user(user_id, by="object_id")}


class Release(Act):
    """POST /operations-manager/tasks/:taskId/release."""

    operation = "release"
    done = "Successfully released the task"


class UnknownRoute(ItentialView):
    """Every other path below those of this face, so that it too is answered in the envelope."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse, whatever the method and whoever asks."""
        raise NotFound("There is no such route.")
