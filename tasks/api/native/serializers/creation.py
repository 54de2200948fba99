"""What goes in for a new task: its properties, its people, what it belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Q
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts.models import LEGACY_ID, User
from tasks import reading
from tasks.models import Job, Task
from tasks.people import Reference
from tasks.querysets import TaskQuerySet
from tasks.roles import GRANTED, TaskRole

from .fields import Flag, Holders, Strict, TaskId, Text
from .inputs import Plain, Properties


class People(serializers.Field[dict[Any, Any], Any, Any, Any]):
    """Users and groups by task role: {role: {"users": [names], "groups": [names]}}."""

    default_error_messages: ClassVar[dict[str, Any]] = {"object": "This has to be an object."}

    def to_internal_value(self, data: Any) -> dict[str, Sequence[Reference]]:
        """The references by role; whether there is such a role is the core's to say."""
        if not isinstance(data, dict):
            self.fail("object")
        found: dict[str, Sequence[Reference]] = {}
        wrong: dict[str, Any] = {}
        for role, named in data.items():
            try:
                holders = Holders().run_validation(named)
            except ValidationError as error:
                wrong[role] = error.detail
            else:
                found[TaskRole(role) if role in GRANTED else role] = holders
        if wrong:
            raise ValidationError(wrong)
        return found

    def to_representation(self, value: Any) -> Any:
        """Not answered with."""
        raise NotImplementedError


class NewJob(Strict):
    """A job to be made with its first task."""

    name = Text(max_length=255)
    description = Text(required=False, allow_blank=True)


class JobNamed(serializers.Field[Any, Any, Any, Any]):
    """The job of a new task: its number, the id Itential knows it by, or one to be made."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": "The number of a job, its id of 24 hexadecimal digits, or an object."
    }

    def to_internal_value(self, data: Any) -> int | str | Job:
        """The key, the id, or the job to be."""
        if isinstance(data, dict):
            return Job(**NewJob().run_validation(data))
        if isinstance(data, str) and re.fullmatch(LEGACY_ID, data):
            return data
        if isinstance(data, str) and re.fullmatch(r"0{8}[0-9a-f]{16}", data):
            return int(data, 16)
        if type(data) is not int:
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        """Not answered with."""
        raise NotImplementedError


class NewTask(Properties):
    """A task to be made, who is to have to do with it, and whether it waits to be activated."""

    name = Text(max_length=255)
    source = Text(required=False, allow_null=True, max_length=255)  # type: ignore[assignment]
    external_id = Text(required=False, allow_null=True, max_length=255)
    job = JobNamed(required=False, allow_null=True)
    short_id = Text(required=False, allow_null=True)
    parent = TaskId(required=False, allow_null=True)  # type: ignore[assignment]
    waiting = Flag(required=False)
    people = People(required=False)
    example: ClassVar = {
        "name": "Replace router 7",
        "description": "",
        "priority": 5,
        "due_at": None,
        "input": {},
        "people": {"potential_owner": {"users": [], "groups": []}},
    }

    def validate_short_id(self, value: str | None) -> str | None:
        """Refuse what is not one to four hexadecimal digits."""
        if value is not None and not re.fullmatch(r"[0-9a-f]{1,4}", value):
            raise ValidationError("One to four hexadecimal digits in lower case.", "invalid")
        return value

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """Refuse one half of what belongs together."""
        for one, other in (("source", "external_id"), ("external_id", "source")):
            if values.get(one) is not None and values.get(other) is None:
                raise ValidationError({other: [ErrorDetail(f"{one} needs it.", "required")]})
        if values.get("short_id") is not None and values.get("job") is None:
            raise ValidationError({"job": [ErrorDetail("short_id needs it.", "required")]})
        return values


MOST_NEW = 10_000
"""How many tasks one call may make."""


class NewTasks(Plain):
    """Tasks to be made, all or none; whether they wait to be activated holds for all of them."""

    tasks = serializers.ListField(child=NewTask(), allow_empty=True, max_length=MOST_NEW)
    waiting = Flag(required=False)
    example: ClassVar = {"tasks": [NewTask.example], "reason": ""}

    def validate_tasks(self, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse what is said of all tasks at once."""
        problem = ErrorDetail("Say this once, beside tasks.", "invalid")
        wrong = {
            place: {"waiting": [problem]} for place, one in enumerate(values) if "waiting" in one
        }
        if wrong:
            raise ValidationError(wrong)  # type: ignore[arg-type]
        return values


class Related:
    """The jobs and parents that new tasks name, each looked up once.

    What is hidden from the account is as unknown as what is missing. A job without tasks is hidden
    from nobody.
    """

    def __init__(self, user: User) -> None:
        self._user = user
        self._job, self._parent = cache(self._find_job), cache(self._find_parent)

    def of(self, values: dict[str, Any]) -> dict[str, Any]:
        """Those of one new task. Raises ValidationError."""
        found: dict[str, Any] = {}
        job, parent = values.get("job"), values.get("parent")
        if job is not None and not isinstance(job, Job):
            found["job"] = self._job(job)
            if found["job"] is None:
                problem = ErrorDetail("There is no such job.", "unknown_job")
                raise ValidationError({"job": [problem]})
        if parent is not None:
            found["parent"] = self._parent(parent)
            if found["parent"] is None:
                problem = ErrorDetail("There is no such task.", "task_not_found")
                raise ValidationError({"parent": [problem]})
        return found

    def _find_job(self, job: int | str) -> Job | None:
        named = Q(pk=job) if isinstance(job, int) else Q(legacy_id=job)
        seen = reading.visible_jobs(self._user).filter(named).values("pk")
        return Job.objects.filter(named & (Q(tasks=None) | Q(pk__in=seen))).first()

    def _find_parent(self, pk: UUID) -> Task | None:
        visible: TaskQuerySet = Task.objects.visible_to(self._user)
        return visible.filter(pk=pk).first()
