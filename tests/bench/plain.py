"""The usual way: a ModelViewSet of DRF with guardian's shortcuts, on our models and tables.

Written as tutorials write it: querysets by `get_objects_for_user`, `has_perm` on each object, one
`save()` at a time, a serializer that follows relations, bulk as a loop. It writes audit events and
outbox rows and keeps the copied columns right, but it has no hash chain: its events carry an empty
hash, so `audit verify` finds fault with every task it has touched.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.utils import timezone
from guardian.shortcuts import get_objects_for_user
from rest_framework import serializers, viewsets
from rest_framework.authentication import TokenAuthentication
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, AuthenticationFailed, PermissionDenied
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter

from accounts.models import Group, Token, User
from tasks.models import (
    NO_DUE_DATE,
    AuditEvent,
    Channel,
    OutboxEvent,
    Task,
    TaskGroupRole,
    TaskUserRole,
)
from tasks.querysets import permission_ids
from tasks.roles import TaskRole

SEEN_BY = [
    f"tasks.{role}"
    for role in ("potential_owner", "editor", "reader", "stakeholder", "administrator")
]


class DigestTokens(TokenAuthentication):
    """DRF's own tokens, but for the digest that our table keeps."""

    model = Token

    def authenticate_credentials(self, key: str) -> tuple[User, Token]:
        """The account and its token. Raises AuthenticationFailed."""
        digest = hashlib.sha256(key.encode()).digest()
        token = Token.objects.select_related("user").filter(digest=digest, kind="api").first()
        if token is None or not token.user.is_active:
            raise AuthenticationFailed("Invalid token.")
        return token.user, token


class Conflict(APIException):
    """The task is not in a state for it."""

    status_code = 409


class UserRoleSerializer(serializers.ModelSerializer[TaskUserRole]):
    """A role that an account holds."""

    role = serializers.CharField(source="permission.codename")
    user = serializers.CharField(source="user.username")

    class Meta:
        model = TaskUserRole
        fields = ("role", "user")


class GroupRoleSerializer(serializers.ModelSerializer[TaskGroupRole]):
    """A role that a group holds."""

    role = serializers.CharField(source="permission.codename")
    group = serializers.CharField(source="group.name")

    class Meta:
        model = TaskGroupRole
        fields = ("role", "group")


class TaskSerializer(serializers.ModelSerializer[Task]):
    """A task with those who hold roles on it."""

    owner = serializers.StringRelatedField[User]()
    originator = serializers.StringRelatedField[User]()
    starter = serializers.StringRelatedField[User]()
    user_roles = UserRoleSerializer(many=True, read_only=True)
    group_roles = GroupRoleSerializer(many=True, read_only=True)

    class Meta:
        model = Task
        exclude = ("head",)


class Pages(PageNumberPagination):
    """Pages by number, with a total."""

    page_size_query_param = "limit"
    max_page_size = 200


class TaskViewSet(viewsets.ModelViewSet[Task]):
    """Tasks."""

    queryset = Task.objects.all()
    serializer_class = TaskSerializer
    pagination_class = Pages
    authentication_classes: ClassVar[Any] = [DigestTokens]
    permission_classes: ClassVar[Any] = [IsAuthenticated]

    def get_queryset(self) -> Any:
        """What the account may see, the newest first; with `view=available`, what it may claim."""
        tasks = Task.objects.select_related("owner", "originator", "starter").prefetch_related(
            "user_roles__user", "user_roles__permission", "group_roles__group"
        )
        if self.request.query_params.get("view") == "available":
            mine = get_objects_for_user(
                self.request.user, "tasks.potential_owner", tasks, accept_global_perms=False
            )
            return mine.filter(state="ready").order_by("priority", "due_at", "id")
        return get_objects_for_user(
            self.request.user, SEEN_BY, tasks, any_perm=True, accept_global_perms=True
        ).order_by("-created_at", "-id")

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a task with the people named."""
        self._demand("tasks.add_task")
        task = self.make(request.data, request.user)
        return Response(self.get_serializer(task).data, status=201)

    @staticmethod
    @transaction.atomic
    def make(data: Any, user: Any) -> Task:
        """One task, its role rows one by one, and its event."""
        task = Task.objects.create(
            name=data["name"],
            originator=user,
            starter=user,
            activated_at=timezone.now(),
            head=b"",
        )
        copies = {
            "open": True,
            "ready": True,
            "priority": task.priority,
            "due": task.due_at or NO_DUE_DATE,
            "created": task.created_at,
        }
        for role, held in data["people"].items():
            permission = permission_ids()[TaskRole(role)]
            for name in held.get("users", ()):
                TaskUserRole.objects.create(
                    content_object=task,
                    permission_id=permission,
                    user=User.objects.get(username=name),
                    **copies,
                )
            for name in held.get("groups", ()):
                TaskGroupRole.objects.create(
                    content_object=task,
                    permission_id=permission,
                    group=Group.objects.get(name=name),
                    **copies,
                )
        _record(task, "created", user, {}, {"name": task.name, "state": task.state})
        return task

    @action(detail=True, methods=["post"])
    def claim(self, request: Request, pk: str) -> Response:
        """Take a task."""
        self._demand("tasks.claim_task")
        return self._answer(self._claim(self.get_object()))

    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Give a task back."""
        self._demand("tasks.release_task")
        return self._answer(self._release(self.get_object(), request.data.get("reason")))

    @action(detail=True, methods=["post"])
    def complete(self, request: Request, pk: str) -> Response:
        """End a task well."""
        self._demand("tasks.complete_task")
        return self._answer(self._complete(self.get_object()))

    @action(detail=True, methods=["post"])
    def transfer(self, request: Request, pk: str) -> Response:
        """Give a task to somebody else."""
        self._demand("tasks.transfer_task")
        return self._answer(self._transfer(self.get_object(), request.data))

    @action(detail=False, methods=["post"], url_path="bulk/(?P<verb>[a-z]+)")
    def bulk(self, request: Request, verb: str) -> Response:
        """Do the same to many, one after the other."""
        self._demand(f"tasks.{verb}_task")
        done: list[Any] = []
        refused: list[Any] = []
        for pk in request.data["ids"]:
            try:
                task = self.get_queryset().get(pk=pk)
                arguments: list[Any] = {
                    "transfer": [request.data],
                    "release": [request.data.get("reason")],
                }.get(verb, [])
                task = getattr(self, f"_{verb}")(task, *arguments)
                done.append({"id": str(task.pk), "version": task.version})
            except (Task.DoesNotExist, APIException) as error:
                refused.append({"id": pk, "code": type(error).__name__})
        return Response({"done": done, "refused": refused})

    def _demand(self, permission: str) -> None:
        if not self.request.user.has_perm(permission):
            raise PermissionDenied

    def _answer(self, task: Task) -> Response:
        return Response(self.get_serializer(task).data)

    def _locked(self, task: Task, *states: str) -> Task:
        task = Task.objects.select_for_update().get(pk=task.pk)
        if task.state not in states or task.on_hold:
            raise Conflict
        return task

    def _may(self, task: Task, *roles: str) -> bool:
        user: Any = self.request.user
        return any(user.has_perm(f"tasks.{role}", task) for role in roles) or user.has_perm(
            "tasks.administrator"
        )

    @transaction.atomic
    def _claim(self, task: Task) -> Task:
        task = self._locked(task, "ready")
        user: Any = self.request.user
        if user.has_perm("tasks.excluded_owner", task) or not self._may(
            task, "potential_owner", "administrator"
        ):
            raise PermissionDenied
        task.owner, task.state, task.claimed_at = user, "reserved", timezone.now()
        return self._save(
            task,
            "claimed",
            {"owner": None, "state": "ready"},
            {"owner": user.username, "state": "reserved"},
            concerned=[user],
            ready=False,
        )

    @transaction.atomic
    def _release(self, task: Task, reason: str | None = None) -> Task:
        task = self._locked(task, "reserved", "in_progress")
        if task.owner != self.request.user and not self._may(task, "administrator"):
            raise PermissionDenied
        before = {"owner": task.owner_name, "state": task.state}
        concerned = [task.owner]
        task.owner, task.state, task.claimed_at = None, "ready", None
        return self._save(
            task,
            "released",
            before,
            {"owner": None, "state": "ready"},
            reason,
            concerned,
            ready=True,
        )

    @transaction.atomic
    def _complete(self, task: Task) -> Task:
        task = self._locked(task, "reserved", "in_progress")
        if task.owner != self.request.user and not self._may(task, "administrator"):
            raise PermissionDenied
        before = {"state": task.state}
        task.state, task.ended_at = "completed", timezone.now()
        return self._save(
            task, "completed", before, {"state": "completed"}, open=False, ready=False
        )

    @transaction.atomic
    def _transfer(self, task: Task, data: Any) -> Task:
        task = self._locked(task, "reserved", "in_progress")
        if task.owner != self.request.user and not self._may(task, "administrator"):
            raise PermissionDenied
        receiver = User.objects.get(username=data["to"]["user"], is_active=True)
        if task.owner_name != data["from"]["user"] or receiver.has_perm(
            "tasks.excluded_owner", task
        ):
            raise Conflict
        before, concerned = {"owner": task.owner_name}, [task.owner, receiver]
        task.owner, task.claimed_at = receiver, timezone.now()
        return self._save(
            task,
            "owner_transferred",
            before,
            {"owner": receiver.username},
            concerned=concerned,
        )

    def _save(
        self,
        task: Task,
        event: str,
        before: dict[str, Any],
        after: dict[str, Any],
        reason: str | None = None,
        concerned: Sequence[Any] = (),
        **copies: bool,
    ) -> Task:
        task.version += 1
        task.updated_at = timezone.now()
        task.save()
        if copies:
            task.user_roles.update(**copies)
            task.group_roles.update(**copies)
        _record(task, event, self.request.user, before, after, reason, concerned)
        return task


def _record(
    task: Task,
    event: str,
    user: Any,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str | None = None,
    concerned: Sequence[Any] = (),
) -> None:
    made = AuditEvent.objects.create(
        task_id=task.pk,
        version=task.version,
        event=event,
        actor=user.username,
        actor_id=user.pk,
        channel=Channel.NATIVE,
        request_id=str(uuid.uuid4()),
        operation_id=uuid.uuid4(),
        before=before,
        after=after,
        reason=reason,
        at=timezone.now(),
        previous_hash=b"",
        hash=b"",
    )
    OutboxEvent.objects.create(event=made, users=sorted(one.pk for one in concerned) or None)


def healthz(request: HttpRequest) -> HttpResponse:
    """Whether the server is there."""
    return HttpResponse("{}", content_type="application/json")


router = DefaultRouter()
router.register("tasks", TaskViewSet)
urlpatterns = [path("healthz", healthz), path("api/v1/", include(router.urls))]
