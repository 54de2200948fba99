"""What goes out: the documents of tasks, comments and attachments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.db.models import prefetch_related_objects
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.reverse import reverse

from accounts.models import Group, User
from tasks.lifecycle import State
from tasks.models import Attachment, Comment, Task
from tasks.querysets import TaskQuerySet
from tasks.reading import Reading
from tasks.roles import GRANTED, TaskRole

from .fields import Moment


class UserName(serializers.Field[User, Any, str, Any]):
    """The user name of an account."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def to_representation(self, value: User) -> str:
        """The name."""
        return value.username


class Flags(serializers.Serializer[Task]):
    """What a task allows."""

    claim_while_on_hold = serializers.BooleanField()
    skippable = serializers.BooleanField()
    automatic_claim = serializers.BooleanField()


class TaskDocument(serializers.Serializer[Reading]):
    """A task as this face shows it."""

    url = serializers.SerializerMethodField()
    id = serializers.UUIDField(source="task.pk")
    version = serializers.IntegerField(source="task.version")
    name = serializers.CharField(source="task.name")
    description = serializers.CharField(source="task.description")
    kind = serializers.CharField(source="task.kind")
    state = serializers.CharField(source="task.state")
    state_label = serializers.SerializerMethodField()
    on_hold = serializers.BooleanField(source="task.on_hold")
    wakeup_at = Moment(source="task.wakeup_at")
    priority = serializers.IntegerField(source="task.priority")
    due_at = Moment(source="task.due_at")
    expires_at = Moment(source="task.expires_at")
    owner = UserName(source="task.owner")
    originator = UserName(source="task.originator")
    starter = UserName(source="task.starter")
    people = serializers.SerializerMethodField()
    input = serializers.JSONField()
    output = serializers.JSONField()
    fault = serializers.JSONField()
    fault_name = serializers.CharField(source="task.fault_name")
    custom_properties = serializers.JSONField(source="task.custom_properties")
    output_schema = serializers.JSONField(source="task.output_schema")
    source = serializers.CharField(source="task.source")  # type: ignore[assignment]
    external_id = serializers.CharField(source="task.external_id")
    job = serializers.SerializerMethodField()
    short_id = serializers.CharField(source="task.short_id")
    parent = serializers.SerializerMethodField()  # type: ignore[assignment]
    flags = Flags(source="task")
    created_at = Moment(source="task.created_at")
    updated_at = Moment(source="task.updated_at")
    activated_at = Moment(source="task.activated_at")
    claimed_at = Moment(source="task.claimed_at")
    ended_at = Moment(source="task.ended_at")

    def get_url(self, reading: Reading) -> str:
        """Where the task is found."""
        return task_url(reading.task, self.context["request"])

    def get_state_label(self, reading: Reading) -> str:
        """The word people see for the state."""
        return State(reading.task.state).label

    def get_people(self, reading: Reading) -> dict[str, dict[str, Sequence[str]]]:
        """The names of those who hold each role; a role that nobody holds is left out."""
        held: dict[TaskRole, tuple[list[User], list[Group]]] = reading.people
        return {
            role.value: {
                "users": [user.username for user in held[role][0]],
                "groups": [group.name for group in held[role][1]],
            }
            for role in GRANTED
            if role in held
        }

    def get_job(self, reading: Reading) -> dict[str, Any] | None:
        """The job it belongs to."""
        job = reading.task.job
        return {"id": job.pk, "name": job.name} if job else None

    def get_parent(self, reading: Reading) -> str | None:
        """The id of its parent, for those who may see that too."""
        parent = reading.task.parent_id
        return str(parent) if parent in self.context["parents"] else None

    def to_representation(self, instance: Reading) -> dict[str, Any]:
        """The document; the job is left out where there is none."""
        document: dict[str, Any] = super().to_representation(instance)
        if document["job"] is None:
            del document["job"]
        return document


def task_url(task: Task, request: Request) -> str:
    """Where a task is found."""
    return reverse("native:task", args=[task.pk], request=request)


def operation_url(pk: UUID, operation: str, request: Request) -> str:
    """Where an operation on a task is called."""
    return reverse(f"native:{operation.replace('_', '-')}", args=[pk], request=request)


def documents(readings: Sequence[Reading], request: Request) -> list[dict[str, Any]]:
    """The documents of tasks, in a fixed number of queries."""
    tasks = [reading.task for reading in readings]
    prefetch_related_objects(tasks, "owner", "originator", "starter", "job")
    above = {task.parent_id for task in tasks if task.parent_id}
    parents: set[UUID] = set()
    if above:  # even the question costs more than all the rest of an answer
        seen: TaskQuerySet = Task.objects.visible_to(cast("User", request.user))
        parents = set(seen.filter(pk__in=above).values_list("pk", flat=True))
    context = {"request": request, "parents": parents}
    # One serializer for all of them: making one copies every field.
    return list(serializers.ListSerializer(readings, child=TaskDocument(), context=context).data)


class CommentDocument(serializers.Serializer[Comment]):
    """What somebody said about a task."""

    id = serializers.IntegerField()
    author = serializers.CharField()
    text = serializers.CharField()
    at = Moment()


class AttachmentDocument(serializers.Serializer[Attachment]):
    """A file that somebody kept with a task; `url` is where it is downloaded."""

    url = serializers.SerializerMethodField()
    id = serializers.IntegerField()
    author = serializers.CharField()
    name = serializers.CharField()
    content_type = serializers.CharField()
    size = serializers.IntegerField()
    sha256 = serializers.CharField()
    at = Moment()

    def get_url(self, attachment: Attachment) -> str:
        """Where the file is downloaded."""
        where = [attachment.task_id, attachment.pk]
        return reverse("native:attachment", args=where, request=self.context["request"])
