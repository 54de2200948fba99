"""What goes out: the documents of tasks, comments and attachments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.reverse import reverse

from accounts.models import User
from tasks.lifecycle import State
from tasks.models import Attachment, Comment, Task
from tasks.querysets import TaskQuerySet
from tasks.reading import Listed
from tasks.roles import GRANTED

from .fields import Moment

Shown = TypeVar("Shown")

_AS_THEY_ARE: Final = (
    serializers.BooleanField,
    serializers.CharField,
    serializers.IntegerField,
    serializers.JSONField,
)
"""Fields that show just what the database holds."""


class Document(serializers.Serializer[Shown]):
    """A document that goes out, and never in: its fields are read without further ado.

    REST framework looks up and tests every field of every object in turn, which took most of the
    time of a list, and copies every field for each answer, a third of the time of a single one.
    """

    @property
    def _only(self) -> frozenset[str]:
        """The members that are asked for; none for all."""
        return frozenset()

    @classmethod
    @cache
    def _readers(cls) -> list[tuple[str, Callable[[Any, Any], Any]]]:
        return [(name, cls._reader(field)) for name, field in cls().fields.items()]

    @classmethod
    def _reader(cls, field: serializers.Field[Any, Any, Any, Any]) -> Callable[[Any, Any], Any]:
        if isinstance(field, serializers.SerializerMethodField):
            method: Callable[[Any, Any], Any] = getattr(cls, field.method_name or "")
            return method
        read = attrgetter(field.source or "")
        if isinstance(field, _AS_THEY_ARE):
            return lambda document, shown: read(shown)
        show = field.to_representation
        return lambda document, shown: None if (value := read(shown)) is None else show(value)

    def to_representation(self, instance: Shown) -> dict[str, Any]:
        """The document."""
        only = self._only
        return {
            name: read(self, instance) for name, read in self._readers() if not only or name in only
        }


class Flags(Document[Task]):
    """What a task allows."""

    claim_while_on_hold = serializers.BooleanField()
    skippable = serializers.BooleanField()
    automatic_claim = serializers.BooleanField()


class TaskDocument(Document[Listed]):
    """A task as this face shows it, alone or in a list."""

    url = serializers.SerializerMethodField()
    id = serializers.UUIDField(source="task.pk")
    version = serializers.IntegerField(source="task.version")
    name = serializers.CharField(source="task.name")
    description = serializers.CharField(source="task.description")
    kind = serializers.CharField(source="task.kind")
    state = serializers.CharField(source="task.state")
    state_label = serializers.SerializerMethodField()
    on_hold = serializers.BooleanField(source="task.on_hold")
    wakeup_at = Moment(source="task.wakeup_at", allow_null=True)
    priority = serializers.IntegerField(source="task.priority")
    due_at = Moment(source="task.due_at", allow_null=True)
    expires_at = Moment(source="task.expires_at", allow_null=True)
    owner = serializers.CharField(source="task.owner_name", allow_null=True)
    originator = serializers.CharField(source="task.originator_name", allow_null=True)
    starter = serializers.CharField(source="task.starter_name", allow_null=True)
    people = serializers.SerializerMethodField()
    input = serializers.JSONField()
    output = serializers.JSONField(allow_null=True)
    fault = serializers.JSONField(allow_null=True)
    fault_name = serializers.CharField(source="task.fault_name")
    custom_properties = serializers.JSONField(source="task.custom_properties")
    output_schema = serializers.JSONField(source="task.output_schema", allow_null=True)
    source = serializers.CharField(source="task.source", allow_null=True)  # type: ignore[assignment]
    external_id = serializers.CharField(source="task.external_id", allow_null=True)
    job = serializers.SerializerMethodField()
    short_id = serializers.CharField(source="task.short_id", allow_null=True)
    parent = serializers.SerializerMethodField()  # type: ignore[assignment]
    flags = Flags(source="task")
    created_at = Moment(source="task.created_at")
    updated_at = Moment(source="task.updated_at")
    activated_at = Moment(source="task.activated_at", allow_null=True)
    claimed_at = Moment(source="task.claimed_at", allow_null=True)
    ended_at = Moment(source="task.ended_at", allow_null=True)

    @property
    def _only(self) -> frozenset[str]:
        only: frozenset[str] = self.context.get("only", frozenset())
        return only

    def get_url(self, shown: Listed) -> str:
        """Where the task is found."""
        return f"{self.context['tasks']}{shown.task.pk}/"

    def get_state_label(self, shown: Listed) -> str:
        """The word people see for the state."""
        return _LABELS[shown.task.state]

    def get_people(self, shown: Listed) -> dict[str, dict[str, list[str]]]:
        """The names of those who hold each role; a role that nobody holds is left out."""
        held = shown.holders
        return {
            role.value: dict(zip(("users", "groups"), held[role], strict=True))
            for role in GRANTED
            if role in held
        }

    def get_job(self, shown: Listed) -> dict[str, Any] | None:
        """The job it belongs to."""
        task = shown.task
        return {"id": task.job_id, "name": task.job_name} if task.job_id else None

    def get_parent(self, shown: Listed) -> str | None:
        """The id of its parent, for those who may see that too."""
        parent = shown.task.parent_id
        return str(parent) if parent in self.context["parents"] else None

    def to_representation(self, instance: Listed) -> dict[str, Any]:
        """The document; the job is left out where there is none."""
        document = super().to_representation(instance)
        if document.get("job", "") is None:
            del document["job"]
        return document


MEMBERS: Final = frozenset(TaskDocument().fields)
"""The names of the members of a task's document."""


_LABELS: Final = {state.value: state.label for state in State}


def task_url(task: Task, request: Request) -> str:
    """Where a task is found."""
    return reverse("native:task", args=[task.pk], request=request)


def operation_url(pk: UUID, operation: str, request: Request) -> str:
    """Where an operation on a task is called."""
    return reverse(f"native:{operation.replace('_', '-')}", args=[pk], request=request)


def documents(
    shown: Sequence[Listed], request: Request, only: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The documents of tasks, in a fixed number of queries; with some members only, if named."""
    above = {one.task.parent_id for one in shown if one.task.parent_id}
    if only and "parent" not in only:
        above = set()
    parents: set[UUID] = set()
    if above:  # even the question costs more than all the rest of an answer
        seen: TaskQuerySet = Task.objects.visible_to(cast("User", request.user))
        parents = set(seen.filter(pk__in=above).values_list("pk", flat=True))
    context = {
        "tasks": reverse("native:tasks", request=request),
        "parents": parents,
        "only": frozenset(only),
    }
    # One serializer for all of them: making one copies every field.
    return list(serializers.ListSerializer(shown, child=TaskDocument(), context=context).data)


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
