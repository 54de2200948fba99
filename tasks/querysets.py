"""Which tasks: the named questions that lists and pages ask."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from django.contrib.auth.models import Permission
from django.db.models import BooleanField, Exists, Model, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from accounts.models import EffectiveMembership, User

from .lifecycle import ACTIVE, ENDED, HELD, OPEN, Kind, State
from .roles import EVERYWHERE, GRANTED, TaskRole

if TYPE_CHECKING:
    from .models import Task  # noqa: F401 (named in the string below)

VISIBLE_THROUGH = tuple(role for role in GRANTED if role is not TaskRole.EXCLUDED_OWNER)


@cache
def permission_ids() -> dict[TaskRole, int]:
    """The primary key of the permission that stands for each granted task role.

    They are made by the migrations and never change afterwards, hence the cache. Raises LookupError
    while the database is not migrated.
    """
    found = dict(
        Permission.objects.filter(
            content_type__app_label="tasks", content_type__model="task", codename__in=GRANTED
        ).values_list("codename", "pk")
    )
    if len(found) != len(GRANTED):
        permission_ids.cache_clear()
        raise LookupError("The permissions of the task roles are missing: migrate the database.")
    return {role: found[role] for role in GRANTED}


def roles_everywhere(user: User) -> frozenset[TaskRole]:
    """The task roles that an account holds on every task, by model permission or as superuser."""
    if not user.is_active:
        return frozenset()
    held = {role for role in EVERYWHERE if user.has_perm(f"tasks.{role}")}
    if user.is_superuser:
        held = {TaskRole.ADMINISTRATOR}
    return frozenset(held)


def sees_all(user: User) -> bool:
    """Whether every task is visible to an account, with the token that it is used with."""
    return user.scope.groups is None and bool(roles_everywhere(user))


def scope_of(user: User | None) -> list[int] | None:
    """The keys of the groups that the token of a call is limited to; None is no limit."""
    return None if user is None or user.scope.groups is None else [*user.scope.groups]


def in_scope(task: str) -> str:
    """SQL: whether the task of this id exists for a token limited to the groups in `scope`."""
    return f"""(%(scope)s::bigint[] is null or exists(
        select from tasks_taskgrouprole s
        where s.content_object_id = {task} and s.permission_id = %(potential_owner)s::bigint
            and s.group_id = any(%(scope)s::bigint[])))"""


def _ids(roles: tuple[TaskRole, ...]) -> list[int]:
    return [permission_ids()[role] for role in roles]


class TaskQuerySet(QuerySet["Task"]):
    """Tasks, and the sets of them that people ask for."""

    def _rows(self, kind: str) -> Any:
        """All rows of one of the two tables of task roles."""
        table = cast("type[Model]", self.model._meta.get_field(f"{kind}_roles").related_model)
        return table._default_manager.all()

    def _user_rows(self, user: User, *roles: TaskRole, **columns: Any) -> Exists:
        rows = self._rows("user")
        return Exists(
            rows.filter(
                content_object=OuterRef("pk"),
                user=user,
                permission_id__in=_ids(roles),
                **columns,
            )
        )

    def _group_rows(
        self, user: User, *roles: TaskRole, lead: bool = False, **columns: Any
    ) -> Exists:
        rows = self._rows("group")
        groups = EffectiveMembership.objects.filter(user=user, lead=lead).values("group_id")
        return Exists(
            rows.filter(
                content_object=OuterRef("pk"),
                group__in=groups,
                permission_id__in=_ids(roles),
                **columns,
            )
        )

    def _holding(self, user: User, *roles: TaskRole, **columns: Any) -> Q:
        return Q(self._user_rows(user, *roles, **columns)) | Q(
            self._group_rows(user, *roles, **columns)
        )

    def visible_to(self, user: User) -> TaskQuerySet:
        """The tasks on which an account has any task role but excluded owner."""
        if not user.is_active:
            return self.none()
        seen = self.in_scope_of(user)
        if roles_everywhere(user):
            return seen
        return seen.filter(
            self._holding(user, *VISIBLE_THROUGH)
            | Q(self._group_rows(user, TaskRole.POTENTIAL_OWNER, lead=True))
            | Q(owner=user)
            | Q(originator=user)
            | Q(starter=user)
        )

    def in_scope_of(self, user: User) -> TaskQuerySet:
        """The tasks that exist for the token of a call: those of its groups, where it names any."""
        if user.scope.groups is None:
            return self.all()
        rows = self._rows("group").filter(
            content_object=OuterRef("pk"),
            group__in=user.scope.groups,
            permission_id=permission_ids()[TaskRole.POTENTIAL_OWNER],
        )
        return self.filter(Exists(rows))

    def available_to(self, user: User) -> TaskQuerySet:
        """The worklist: ready manual tasks, not on hold, that a potential owner may claim.

        Administrator rights do not count here (rule book: "Available to me").
        """
        if not user.is_active:
            return self.none()
        return self.in_scope_of(user).filter(
            self._holding(user, TaskRole.POTENTIAL_OWNER, ready=True),
            ~self._holding(user, TaskRole.EXCLUDED_OWNER),
        )

    def given_to(
        self, kind: Literal["user", "group"], pk: int, role: TaskRole, *, open_only: bool = False
    ) -> TaskQuerySet:
        """The tasks on which a user or group has a work item of its own; membership is none."""
        rows = self._rows(kind).filter(**{kind: pk}, permission_id=permission_ids()[role])
        if open_only:
            rows = rows.filter(open=True)
        return self.filter(pk__in=rows.values("content_object"))

    def held_by(self, user: User) -> TaskQuerySet:
        """The open tasks that an account holds."""
        return self.filter(owner=user, state__in=HELD)

    def of_teams_of(self, user: User) -> TaskQuerySet:
        """Open tasks that the groups of an account may work on, claimed and unclaimed."""
        if not user.is_active:
            return self.none()
        return self.filter(
            Q(self._group_rows(user, TaskRole.POTENTIAL_OWNER, open=True))
            | Q(self._group_rows(user, TaskRole.POTENTIAL_OWNER, lead=True, open=True))
        )

    def unclaimable(self) -> TaskQuerySet:
        """Ready manual tasks whose potential owners are all inactive, excluded or gone."""
        potential, excluded = _ids((TaskRole.POTENTIAL_OWNER, TaskRole.EXCLUDED_OWNER))
        of_user = Q(permission=excluded, user=OuterRef("user"))
        of_group = Q(
            permission=excluded,
            group__in=EffectiveMembership.objects.filter(
                user=OuterRef(OuterRef("user")), lead=False
            ).values("group"),
        )

        def free(task: OuterRef) -> Q:
            """The account of the row is not excluded from the task."""
            return ~Q(Exists(self._rows("user").filter(of_user, content_object=task))) & ~Q(
                Exists(self._rows("group").filter(of_group, content_object=task))
            )

        users = self._rows("user").filter(
            free(OuterRef("content_object")),
            content_object=OuterRef("pk"),
            permission=potential,
            user__is_active=True,
        )
        members = EffectiveMembership.objects.filter(
            free(OuterRef(OuterRef("pk"))),
            lead=False,
            group__task_roles__content_object=OuterRef("pk"),
            group__task_roles__permission=potential,
        )
        return self.filter(
            ~Q(Exists(users)), ~Q(Exists(members)), state=State.READY, kind=Kind.MANUAL
        )

    def without_administrator(self) -> TaskQuerySet:
        """Tasks of which no active account and no active group holds the role itself."""
        rows = {
            "content_object": OuterRef("pk"),
            "permission_id": permission_ids()[TaskRole.ADMINISTRATOR],
        }
        return self.exclude(
            Exists(self._rows("user").filter(**rows, user__is_active=True))
            | Exists(self._rows("group").filter(**rows, group__is_active=True))
        )

    def rows_of(
        self, role: TaskRole, kind: Literal["user", "group"], name: str
    ) -> QuerySet[Any, Any]:
        """The ids of the tasks of which a user or group of that name has a granted role itself."""
        by = "username" if kind == "user" else "name"
        rows = self._rows(kind).filter(
            **{f"{kind}__{by}": name}, permission_id=permission_ids()[role]
        )
        ids: QuerySet[Any, Any] = rows.values_list("content_object_id", flat=True)
        return ids

    def rows_for(self, role: TaskRole, user: User) -> QuerySet[Any, Any]:
        """The ids of those of which an account has it, itself or in a group; some of them twice."""
        permission = permission_ids()[role]
        groups = EffectiveMembership.objects.filter(user=user, lead=False).values("group_id")
        own = self._rows("user").filter(user=user, permission_id=permission)
        shared = self._rows("group").filter(group__in=groups, permission_id=permission)
        ids: QuerySet[Any, Any] = own.values_list("content_object_id", flat=True).union(
            shared.values_list("content_object_id", flat=True), all=True
        )
        return ids

    def with_words(self, text: str) -> TaskQuerySet:
        """The tasks whose names, description and ids have the words of a search.

        As PostgreSQL's websearch_to_tsquery reads them: "or", -not, "some words". No model has the
        column, so this asks the table by its name.
        """
        search = "tasks_task.search @@ websearch_to_tsquery('simple', %s)"
        return self.filter(RawSQL(search, [text], BooleanField()))  # noqa: S611 (a constant)

    def open(self) -> TaskQuerySet:
        """The tasks that have not ended."""
        return self.filter(state__in=OPEN)

    def on_hold(self) -> TaskQuerySet:
        """The tasks that are on hold."""
        return self.filter(on_hold=True, state__in=ACTIVE)

    def finished(self) -> TaskQuerySet:
        """The tasks that have ended, in whatever way."""
        return self.filter(state__in=ENDED)

    def overdue(self) -> TaskQuerySet:
        """The open tasks whose due date has passed."""
        return self.open().filter(due_at__lt=timezone.now())

    def due_to_expire(self, at: datetime) -> TaskQuerySet:
        """The open tasks, on hold or not, whose time has run out; the longest overdue first."""
        return self.open().filter(expires_at__lte=at).order_by("expires_at")

    def due_to_wake(self, at: datetime) -> TaskQuerySet:
        """The tasks on hold whose wake-up time has come and which do not expire instead."""
        lasting = Q(expires_at=None) | Q(expires_at__gt=at)
        return self.filter(lasting, wakeup_at__lte=at).order_by("wakeup_at")


def is_open(state: str) -> bool:
    """The copied column `open` of a role row: the task has not ended."""
    return state in OPEN


def is_ready(state: str, kind: str, on_hold: bool) -> bool:
    """The copied column `ready` of a role row: a person may claim the task now."""
    return state == State.READY and kind == Kind.MANUAL and not on_hold
