"""What tasks refer to: jobs, accounts, groups and system roles, and who holds a task's roles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, cast

from django.db.models import DateTimeField, Prefetch, Q, QuerySet, Value
from django.http import Http404
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.utils.urls import replace_query_param
from rest_framework.viewsets import ViewSet

from accounts.models import Group, Membership, Role, User
from tasks import reading
from tasks.errors import NotPermitted
from tasks.models import Job
from tasks.querysets import sees_all
from tasks.roles import GRANTED, TaskRole

from .base import NativeView, TaskView, parameter_error, refuse_parameters
from .errors import BadSyntax
from .listing import WINDOW, Window, count
from .pagination import LATEST_JOINED, NEWEST, NOTES, Order, page
from .serializers import operation_url
from .serializers.fields import Moment

LONGEST_SEARCH: Final = 255

MOST_ASKED_ABOUT: Final = 2_000
"""How many jobs are counted for an account that does not see all tasks: 0.1 ms each."""

START: Final = "q"
"""The parameter of a search by the beginning of a name."""

# --- Documents ------------------------------------------------------------------------------------


class Linked(serializers.Serializer[Any]):
    """What has an address of its own, `name:` followed by its key."""

    address: ClassVar[str]

    url = serializers.SerializerMethodField()
    id = serializers.IntegerField(source="pk")

    def get_url(self, row: Any) -> str:
        """Where it is found."""
        return reverse(f"native:{self.address}", args=[row.pk], request=self.context["request"])


class JobDocument(Linked):
    """A job; `tasks` is where its tasks are found."""

    address = "job"

    object_id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    created_at = Moment()
    tasks = serializers.SerializerMethodField()

    def get_tasks(self, job: Job) -> str:
        """The list of its tasks."""
        tasks = reverse("native:tasks", request=self.context["request"])
        return replace_query_param(tasks, "job", job.pk)


class UserDocument(Linked):
    """An account as those see it who look up people."""

    address = "user"

    object_id = serializers.CharField()
    username = serializers.CharField()
    first_name = serializers.CharField()
    last_name = serializers.CharField()
    is_active = serializers.BooleanField()


class ManagedUserDocument(UserDocument):
    """An account as those see it who manage accounts; roles and groups are those given to it."""

    email = serializers.CharField()
    is_superuser = serializers.BooleanField()
    is_placeholder = serializers.BooleanField()
    provenance = serializers.CharField()
    time_zone = serializers.CharField()
    language = serializers.CharField()
    roles = serializers.SlugRelatedField[Role]("name", many=True, read_only=True)
    groups = serializers.SerializerMethodField()
    date_joined = Moment()
    last_login = Moment(allow_null=True)

    def get_groups(self, user: User) -> list[dict[str, Any]]:
        """The groups it was put into, and whether it leads them."""
        return [{"name": each.group.name, "lead": each.lead} for each in user.memberships.all()]


class GroupDocument(Linked):
    """A group as those see it who look up groups."""

    address = "group"

    object_id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    is_active = serializers.BooleanField()


class ManagedGroupDocument(GroupDocument):
    """A group as those see it who manage groups."""

    is_builtin = serializers.BooleanField()
    provenance = serializers.CharField()
    roles = serializers.SlugRelatedField[Role]("name", many=True, read_only=True)
    parents = serializers.SlugRelatedField[Group]("name", many=True, read_only=True)
    children = serializers.SlugRelatedField[Group]("name", many=True, read_only=True)
    created_at = Moment()
    updated_at = Moment()


class RoleDocument(Linked):
    """A system role and what it grants."""

    address = "role"

    object_id = serializers.CharField()
    name = serializers.CharField()
    provenance = serializers.CharField()
    description = serializers.CharField()
    bulk_limit = serializers.IntegerField(allow_null=True)
    permissions = serializers.SerializerMethodField()

    def get_permissions(self, role: Role) -> list[str]:
        """The permissions, by app and codename."""
        return sorted(
            f"{permission.content_type.app_label}.{permission.codename}"
            for permission in role.permissions.all()
        )


# --- Views ----------------------------------------------------------------------------------------


class Listed(NativeView, ViewSet):
    """A list by cursor, and each of its rows by its number."""

    example: ClassVar[dict[str, Any]] = {}
    order: ClassVar[Order]
    filters: ClassVar[frozenset[str]] = frozenset({START})
    window: Window
    number: int

    @property
    def parameters(self) -> frozenset[str]:
        """Those of the list."""
        return WINDOW | self.filters if self.action == "list" else frozenset()

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters and numbers that make no sense."""
        super().check_syntax(request)
        if self.action == "list":
            wrong: list[dict[str, str]] = []
            self.window = Window.read(request.query_params, wrong, self.order)
            for name in self.filters & request.query_params.keys():
                if not 0 < len(request.query_params[name]) <= LONGEST_SEARCH:
                    wrong.append(
                        parameter_error(name, "invalid", f"1 to {LONGEST_SEARCH} characters.")
                    )
            refuse_parameters(wrong)
        if "number" in self.kwargs:
            number = self.kwargs["number"]
            if not (number.isascii() and number.isdigit() and len(number) < 19):
                raise BadSyntax("invalid_id", "The id is a number.")
            self.number = int(number)

    def rows(self) -> QuerySet[Any]:
        """What the account may see. Raises NotPermitted."""
        raise NotImplementedError

    def starting_with(self, text: str) -> Q:
        """Which rows a search finds."""
        return Q(name__istartswith=text)

    def document(self) -> type[serializers.Serializer[Any]]:
        """How the account sees a row."""
        raise NotImplementedError

    def filtered(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Those rows that the parameters ask for."""
        start = self.request.query_params.get(START)
        return rows if start is None else rows.filter(self.starting_with(start))

    def list(self, request: Request) -> Response:
        """Answer with a page of the rows."""
        rows = self.filtered(self.rows())
        found = page(rows, self.window.cursor, self.window.limit, self.order)
        return Response(
            {
                **self.counted(rows),
                **self.window.links(found, request),
                "results": self.shown(found.rows),
            }
        )

    def retrieve(self, request: Request, number: str) -> Response:
        """Answer with one row."""
        return Response(self.shown([self.found()])[0])

    def counted(self, rows: QuerySet[Any]) -> dict[str, int | None]:
        """How many rows there are, or about how many."""
        return count(rows.order_by(), self.user)

    def found(self) -> Any:
        """The row that the address names. Raises Http404 for one that is missing or hidden."""
        found = self.rows().filter(pk=self.number).first()
        if found is None:
            raise Http404
        return found

    def shown(self, rows: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """The documents of rows."""
        document = self.document()(rows, many=True, context={"request": self.request})
        return cast("Sequence[dict[str, Any]]", document.data)

    def demand(self, permission: str, operation: str) -> None:
        """Raise NotPermitted without the permission."""
        if not self.user.has_perm(permission):
            raise NotPermitted(operation=operation)


class Jobs(Listed):
    """Jobs, of which the account sees a task."""

    order = NEWEST
    columns = ("name", "created_at")

    def rows(self) -> QuerySet[Job]:
        """The jobs that the account may read."""
        return reading.jobs(self.user)

    def found(self) -> Job:
        """The job. A hidden one is answered before it is asked who may read."""
        job = reading.visible_jobs(self.user).filter(pk=self.number).first()
        if job is None:
            raise Http404
        self.demand(reading.VIEW, "view tasks")
        return job

    def counted(self, rows: QuerySet[Job]) -> dict[str, int | None]:
        """As for all; where each job has to be asked about, the estimate is the least there are."""
        if sees_all(self.user):
            return super().counted(rows)
        least = rows.order_by()[: MOST_ASKED_ABOUT + 1].count()
        return (
            {"count": least}
            if least <= MOST_ASKED_ABOUT
            else {"count": None, "count_estimate": least}
        )

    def document(self) -> type[JobDocument]:
        """One for all."""
        return JobDocument


class Users(Listed):
    """Accounts: names for those who look up, more for those who manage (as in the admin)."""

    order = LATEST_JOINED
    columns = ("username", "first_name", "last_name", "is_active")

    def rows(self) -> QuerySet[User]:
        """All accounts."""
        self.demand("accounts.view_user", "look up people")
        memberships = Membership.objects.select_related("group").order_by("group__name")
        if not self.manages:
            return User.objects.all()
        return User.objects.prefetch_related("roles", Prefetch("memberships", memberships))

    @property
    def manages(self) -> bool:
        """Whether the account manages accounts."""
        return self.user.has_perm("accounts.change_user")

    def starting_with(self, text: str) -> Q:
        """By any of the names; by address for those who see it."""
        names = ["username", "first_name", "last_name", *(["email"] if self.manages else [])]
        return Q(*[(f"{name}__istartswith", text) for name in names], _connector=Q.OR)

    def document(self) -> type[UserDocument]:
        """By what one may know."""
        return ManagedUserDocument if self.manages else UserDocument


class Groups(Listed):
    """Groups: names for those who look up, more for those who manage (as in the admin)."""

    order = NEWEST
    columns = ("name", "description", "is_active")

    def rows(self) -> QuerySet[Group]:
        """All groups."""
        self.demand("accounts.view_group", "look up groups")
        groups: QuerySet[Group] = Group.objects.all()
        return groups.prefetch_related("roles", "parents", "children") if self.manages else groups

    @property
    def manages(self) -> bool:
        """Whether the account manages groups."""
        return self.user.has_perm("accounts.change_group")

    def document(self) -> type[GroupDocument]:
        """By what one may know."""
        return ManagedGroupDocument if self.manages else GroupDocument


class Roles(Listed):
    """System roles, for those who may see them in the admin."""

    order = NOTES
    columns = ("name", "description", "bulk_limit")

    def rows(self) -> QuerySet[Role]:
        """All roles, in the order in which they were made: no role says when that was."""
        self.demand("accounts.view_role", "look up system roles")
        once = Value(datetime(2000, 1, 1, tzinfo=UTC), DateTimeField())
        return Role.objects.annotate(at=once).prefetch_related("permissions__content_type")

    def document(self) -> type[RoleDocument]:
        """One for all."""
        return RoleDocument


class Holders(TaskView):
    """Who holds which task role."""

    example: ClassVar[dict[str, Any]] = {}
    columns = ("label", "users", "groups")

    def holders(self, request: Request, pk: str) -> Response:
        """Answer with every task role of the task and those who hold it."""
        task = reading.find(self.pk, self.user)
        headers = {"ETag": f'"{task.version}"'}
        if self.versions is None or task.version in self.versions:
            return Response(status=304, headers=headers)
        people = reading.read(task, self.user).people
        links = {name: operation_url(task.pk, name, request) for name in ("grant", "revoke")}
        results = []
        for role in TaskRole:
            if role in GRANTED:
                users, groups = people.get(role, ([], []))
            else:
                column = getattr(task, role)
                users, groups = [column] if column else [], []
            results.append(
                {
                    "role": role.value,
                    "label": role.label,
                    "users": [user.username for user in users],
                    "groups": [group.name for group in groups],
                    **(links if role in GRANTED else dict.fromkeys(links)),
                }
            )
        answer = {"count": len(results), "next": None, "previous": None, "results": results}
        return Response({**answer, "version": task.version}, headers=headers)


RESOURCES: Final = {
    "jobs": "What tasks belong to: the jobs of the tasks you may see.",
    "users": "The people and integrations that work can be given to.",
    "groups": "The groups that work can be given to.",
    "roles": "The system roles, and what each of them grants.",
}
"""The lists, by their part of the address."""

_VIEWS: Final[dict[str, tuple[type[Listed], str]]] = {
    "jobs": (Jobs, "Job"),
    "users": (Users, "User"),
    "groups": (Groups, "Group"),
    "roles": (Roles, "Role"),
}

urlpatterns = [
    path(
        "v1/tasks/<str:pk>/roles/",
        Holders.as_view({"get": "holders"}, name="Task roles", description="Who holds which."),
        name="task-roles",
    )
]
for plural, (view, singular) in _VIEWS.items():
    urlpatterns += [
        path(
            f"v1/{plural}/",
            view.as_view({"get": "list"}, name=f"{singular}s", description=RESOURCES[plural]),
            name=plural,
        ),
        path(
            f"v1/{plural}/<str:number>/",
            view.as_view({"get": "retrieve"}, name=singular, description=""),
            name=singular.lower(),
        ),
    ]
