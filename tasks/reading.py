"""What an account may read: one task, the list of tasks, and the values behind a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from accounts.models import Group, User

from .errors import NotAuthorized, NotPermitted, TaskNotFound
from .lists import Row
from .masking import masked_data
from .models import Attachment, Comment, Job, Task
from .querysets import TaskQuerySet, sees_all
from .roles import WORKING, TaskRole
from .work_items import Holders, around, load_holders, people_of, roles_of

VIEW = "tasks.view_task"

SEES_SECRETS = frozenset(
    {TaskRole.POTENTIAL_OWNER, TaskRole.OWNER, TaskRole.EDITOR, TaskRole.ADMINISTRATOR}
)
"""Those who may work a task see what it marks secret; readers see a mask."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A task as one account may see it: `people` by granted role, data with secrets masked.

    `masks` are the pointers of the secrets that this account does not see.
    """

    task: Task
    people: dict[TaskRole, tuple[list[User], list[Group]]]
    masks: Sequence[str]
    input: Any
    output: Any
    fault: Any


@dataclass(frozen=True, slots=True)
class Listed:
    """A task of a list with its secrets masked for everybody, or one as one account may see it."""

    task: Row
    input: Any
    output: Any
    fault: Any

    @property
    def holders(self) -> Holders:
        """The names of those who hold each role."""
        return self.task.holders


def find(pk: UUID, user: User) -> Task:
    """The task, if the account may read it.

    Raises TaskNotFound for a hidden one as for a missing one, NotAuthorized for one that is
    visible to an account without the permission to view tasks.
    """
    people = ("owner", "originator", "starter", "job")
    task = Task.objects.visible_to(user).select_related(*people).filter(pk=pk).first()
    if task is None:
        raise TaskNotFound
    if not user.has_perm(VIEW):
        error = NotAuthorized(operation="view")
        error.version = task.version
        raise error
    found: Task = task
    return found


def comments(task: Task) -> QuerySet[Comment]:
    """What was said about a task that `find` has found."""
    return task.comments.all()


def attachments(task: Task) -> QuerySet[Attachment]:
    """The files kept with a task that `find` has found."""
    return task.attachments.all()


def subtasks(task: Task, user: User) -> TaskQuerySet:
    """The subtasks of a task that `find` has found, as far as the account sees them."""
    return visible(user).filter(parent=task)


def demand_viewer(user: User) -> None:
    """Raise NotPermitted for an account without the permission to view."""
    if not user.has_perm(VIEW):
        raise NotPermitted(operation="view tasks")


def visible(user: User) -> TaskQuerySet:
    """The tasks that an account may list. Raises NotPermitted without the permission to view."""
    demand_viewer(user)
    found: TaskQuerySet = Task.objects.visible_to(user)
    return found


def jobs(user: User) -> QuerySet[Job]:
    """The jobs that an account may list. Raises NotPermitted without the permission to view."""
    demand_viewer(user)
    return visible_jobs(user)


def visible_jobs(user: User) -> QuerySet[Job]:
    """The jobs of which an account sees a task; all of them for one that sees all tasks."""
    if sees_all(user):
        return Job.objects.all()
    return Job.objects.filter(Exists(Task.objects.visible_to(user).filter(job=OuterRef("pk"))))


def read(task: Task, user: User) -> Reading:
    """One task for one account; a writer sees the task it wrote to, with or without VIEW."""
    secrets = _hidden(task, roles_of(user, task))
    load_holders(task)
    return _reading(task, people_of([task])[task.pk], secrets)


def shown(task: Task, user: User) -> Listed:
    """As `read`, with people by name: one statement."""
    found = around(task, user)
    return _masked(Row.of(task, found), _hidden(task, found.roles))


def _hidden(task: Task, held: frozenset[TaskRole]) -> Sequence[str]:
    """The pointers of the secrets that are not for somebody with these roles."""
    if TaskRole.EXCLUDED_OWNER in held:
        held -= WORKING
    return [] if held & SEES_SECRETS else task.secret_pointers


def read_all(tasks: Sequence[Task]) -> list[Reading]:
    """Tasks of a list: nobody sees a secret there, whoever he is."""
    people = people_of(tasks)
    return [_reading(task, people[task.pk], task.secret_pointers) for task in tasks]


def listed(rows: Sequence[Row]) -> list[Listed]:
    """Rows of a list: nobody sees a secret there, whoever he is."""
    return [_masked(row, row.secret_pointers) for row in rows]


def _masked(row: Row, secrets: Sequence[str]) -> Listed:
    return Listed(row, **masked_data(secrets, input=row.input, output=row.output, fault=row.fault))


def _reading(
    task: Task,
    people: dict[TaskRole, tuple[list[User], list[Group]]],
    secrets: Sequence[str],
) -> Reading:
    data = masked_data(secrets, input=task.input, output=task.output, fault=task.fault)
    return Reading(task=task, people=people, masks=secrets, **data)
