"""What goes in and out of this face: strict input for each operation, and the task's document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, ClassVar, Final, cast
from uuid import UUID

from django.db.models import prefetch_related_objects
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.reverse import reverse

from accounts.models import Group, User
from tasks import people
from tasks.errors import TooManyTasks
from tasks.lifecycle import State
from tasks.models import Job, Task
from tasks.people import Reference
from tasks.querysets import TaskQuerySet
from tasks.reading import Reading
from tasks.roles import GRANTED, TaskRole
from tasks.uuid7 import uuid_of

from .errors import MOST_ERRORS

MOST_IDS: Final = 10_000
"""How many ids one call may name."""

MOST_NAMES: Final = 100
"""How many users, and how many groups, may be named for one role of a new task."""

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


# --- Fields that take a value for what it is, and convert nothing --------------------------------


class Text(serializers.CharField):
    """A text; kept as it was sent, spaces included."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        """The text; a number is none."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """An integer; a text of digits is none, nor is true."""

    def to_internal_value(self, data: Any) -> int:
        """The number."""
        if type(data) is not int:
            self.fail("invalid")
        return data


class Flag(serializers.BooleanField):
    """True or false, not something like it."""

    def to_internal_value(self, data: Any) -> bool:
        """The flag."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Moment(serializers.DateTimeField):
    """A point in time as RFC 3339 writes it: with seconds and an offset."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": "This is no RFC 3339 date and time with an offset, as 2030-01-31T12:00:00Z."
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(default_timezone=UTC, **options)

    def to_internal_value(self, value: Any) -> Any:
        """The point in time."""
        if not isinstance(value, str) or not _RFC3339.fullmatch(value):
            self.fail("invalid")
        return super().to_internal_value(value.upper())


class Document(serializers.JSONField):
    """A JSON object with any members."""

    default_error_messages: ClassVar[dict[str, Any]] = {"object": "This has to be an object."}

    def to_internal_value(self, data: Any) -> Any:
        """The object."""
        if not isinstance(data, dict):
            self.fail("object")
        return data


class TaskId(serializers.Field[UUID, str, str, Any]):
    """The id of a task."""

    default_error_messages: ClassVar[dict[str, Any]] = {"invalid_id": "This is not a UUID."}

    def to_internal_value(self, data: Any) -> UUID:
        """The id."""
        found = uuid_of(data)
        if found is None:
            self.fail("invalid_id")
        return found

    def to_representation(self, value: UUID) -> str:
        """The id in lower case."""
        return str(value)


class Ids(serializers.Field[dict[UUID, int | None], Any, Any, Any]):
    """Tasks by id, each once in the order asked, with the version expected where one is given.

    A task is written as its id, or as {"id": ..., "version": ...}.
    """

    default_error_messages: ClassVar[dict[str, Any]] = {"not_a_list": "This has to be a list."}

    def to_internal_value(self, data: Any) -> dict[UUID, int | None]:
        """The versions by id. Raises TooManyTasks besides ValidationError."""
        if not isinstance(data, list):
            self.fail("not_a_list")
        if len(data) > MOST_IDS:
            raise TooManyTasks(count=len(data), limit=MOST_IDS)
        found: dict[UUID, int | None] = {}
        wrong: dict[int, Any] = {}
        for position, item in enumerate(data):
            problem = self._take(item, found)
            if problem:
                wrong[position] = problem
                if len(wrong) == MOST_ERRORS:
                    break
        if wrong:
            raise ValidationError(wrong)  # type: ignore[arg-type]
        return found

    def _take(self, item: Any, found: dict[UUID, int | None]) -> Any:
        """Put one item into `found`; what is wrong with it, if anything."""
        version = None
        if isinstance(item, dict):
            unknown = item.keys() - {"id", "version"}
            if unknown:
                return {name: [UNKNOWN_FIELD] for name in sorted(unknown)}
            version, item = item.get("version"), item.get("id")
            if version is not None and (type(version) is not int or version < 1):
                return {"version": [ErrorDetail("This is no version.", "invalid")]}
        pk = uuid_of(item)
        if pk is None:
            return [ErrorDetail("This is not the id of a task.", "invalid_id")]
        known = found.setdefault(pk, version)
        if known is None:
            found[pk] = version
        elif version not in (None, known):
            return {"version": [ErrorDetail("The same task is named twice.", "contradiction")]}
        return None

    def to_representation(self, value: Any) -> Any:
        """Not answered with."""
        raise NotImplementedError


class Names(serializers.ListField):
    """Names of users or groups."""

    child = Text(max_length=150)

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "max_length": MOST_NAMES, **options})


UNKNOWN_FIELD: Final = ErrorDetail("There is no such field.", "unknown_field")


class Strict(serializers.Serializer[Any]):
    """Input that refuses unknown fields by name.

    A field that is named like a keyword of Python ends with an underscore in the class only.
    """

    example: ClassVar[dict[str, Any]] = {}
    """A body that shows what is meant; browsers get it to start from."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """The fields by the names they have in a body."""
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}

    def to_internal_value(self, data: Any) -> Any:
        """The values; raises ValidationError with all that is wrong."""
        wrong: dict[str, Any] = {}
        if isinstance(data, Mapping):
            wrong = {name: [UNKNOWN_FIELD] for name in data if name not in self.fields}
        try:
            found = super().to_internal_value(data)
        except ValidationError as error:
            wrong |= error.detail  # type: ignore[arg-type]
        if wrong:
            raise ValidationError(wrong)
        return found


# --- The operations ------------------------------------------------------------------------------


class Person(Strict):
    """A user or a group by name: {"user": ...} or {"group": ...}."""

    user = Text(required=False, max_length=150)
    group = Text(required=False, max_length=150)

    def to_internal_value(self, data: Any) -> Reference:
        """The reference, not looked up yet."""
        named = super().to_internal_value(data)
        if len(named) != 1:
            raise ValidationError("Name either a user or a group.", "one_of_two")
        return people.user(named["user"]) if "user" in named else people.group(named["group"])


class Plain(Strict):
    """An operation without arguments: it may have a reason, as all have."""

    reason = Text(required=False, allow_null=True, allow_blank=True)


class Giving(Plain):
    """Reasons stand in the audit, so an example shows one."""

    example: ClassVar = {"reason": ""}


class Assign(Plain):
    """Who is to have the task."""

    to = Person()
    example: ClassVar = {"to": {"user": ""}, "reason": ""}


class Transfer(Plain):
    """Which role moves, to whom, and from whom if it is not the caller's own."""

    role = Text()
    to = Person()
    from_ = Person(required=False, source="from_")
    example: ClassVar = {
        "role": "owner",
        "to": {"user": ""},
        "from": {"user": ""},
        "reason": "",
    }


class Grant(Plain):
    """Which role, and who is to have it."""

    role = Text()
    to = Person()
    example: ClassVar = {"role": "potential_owner", "to": {"group": ""}, "reason": ""}


class Revoke(Plain):
    """Which role, and who is to lose it."""

    role = Text()
    from_ = Person(source="from_")
    example: ClassVar = {"role": "potential_owner", "from": {"group": ""}, "reason": ""}


class Complete(Plain):
    """What came of the work; without it, what was saved before."""

    output = serializers.JSONField(required=False, allow_null=True)
    example: ClassVar = {"output": {}}


class Finish(Complete):
    """How it ended, success or failure, and what came of it."""

    finish_state = Text(required=False)
    example: ClassVar = {"finish_state": "success", "output": {}}


INPUTS: Final[dict[str, type[Plain]]] = {
    "claim": Plain,
    "release": Giving,
    "cancel_claim": Giving,
    "assign": Assign,
    "transfer": Transfer,
    "grant": Grant,
    "revoke": Revoke,
    "complete": Complete,
    "finish": Finish,
}
"""The input of each operation."""

BULK_INPUTS: Final[dict[str, type[Plain]]] = {
    name: type(
        f"Bulk{single.__name__}",
        (single,),
        {
            "__doc__": single.__doc__,
            "ids": Ids(),
            "example": {"ids": [], **single.example},
        },
    )
    for name, single in INPUTS.items()
}
"""The same with the ids of the tasks."""


# --- New tasks -----------------------------------------------------------------------------------


class Holders(Strict):
    """Users and groups by name."""

    users = Names()
    groups = Names()


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
                users = map(people.user, holders.get("users", ()))
                groups = map(people.group, holders.get("groups", ()))
                found[TaskRole(role) if role in GRANTED else role] = [*users, *groups]
        if wrong:
            raise ValidationError(wrong)
        return found

    def to_representation(self, value: Any) -> Any:
        """Not answered with."""
        raise NotImplementedError


class NewTask(Strict):
    """A task to be made, who is to have to do with it, and whether it waits to be activated."""

    name = Text(max_length=255)
    description = Text(required=False, allow_blank=True)
    priority = Whole(required=False)
    due_at = Moment(required=False, allow_null=True)
    expires_at = Moment(required=False, allow_null=True)
    input = serializers.JSONField(required=False)
    output_schema = Document(required=False, allow_null=True)
    custom_properties = Document(required=False)
    source = Text(required=False, allow_null=True, max_length=255)  # type: ignore[assignment]
    external_id = Text(required=False, allow_null=True, max_length=255)
    job = Whole(required=False, allow_null=True)
    short_id = Text(required=False, allow_null=True)
    parent = TaskId(required=False, allow_null=True)  # type: ignore[assignment]
    claim_while_on_hold = Flag(required=False)
    skippable = Flag(required=False)
    automatic_claim = Flag(required=False)
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


def related(values: dict[str, Any], visible: TaskQuerySet) -> dict[str, Any]:
    """The job and the parent that a new task names, looked up.

    `visible` are the tasks that the caller sees. Raises ValidationError: a hidden parent is as
    unknown as a missing one.
    """
    found: dict[str, Any] = {}
    if values.get("job") is not None:
        found["job"] = Job.objects.filter(pk=values["job"]).first()
        if found["job"] is None:
            raise ValidationError({"job": [ErrorDetail("There is no such job.", "unknown_job")]})
    if values.get("parent") is not None:
        found["parent"] = visible.filter(pk=values["parent"]).first()
        if found["parent"] is None:
            problem = ErrorDetail("There is no such task.", "task_not_found")
            raise ValidationError({"parent": [problem]})
    return found


# --- The task's document -------------------------------------------------------------------------


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


def documents(readings: Sequence[Reading], request: Request) -> list[dict[str, Any]]:
    """The documents of tasks, in a fixed number of queries."""
    tasks = [reading.task for reading in readings]
    prefetch_related_objects(tasks, "owner", "originator", "starter", "job")
    above = {task.parent_id for task in tasks if task.parent_id}
    seen: TaskQuerySet = Task.objects.visible_to(cast("User", request.user))
    parents = set(seen.filter(pk__in=above).values_list("pk", flat=True)) if above else set()
    context = {"request": request, "parents": parents}
    # One serializer for all of them: making one copies every field.
    return list(serializers.ListSerializer(readings, child=TaskDocument(), context=context).data)
