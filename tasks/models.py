"""Jobs, tasks, who holds which role on them, and the record of everything that happened."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from accounts.models import Group, LegacyIdentity

from .lifecycle import ACTIVE, ENDED, HELD, OPEN, Kind, State
from .querysets import TaskQuerySet
from .roles import GRANTED
from .uuid7 import uuid7

NO_DUE_DATE = datetime(9999, 12, 31, tzinfo=UTC)
"""What a task without a due date sorts by: rows are compared as a whole, so never by null."""

_VERBS = """
    activate claim start stop release release_others assign delegate forward nominate transfer
    suspend resume save complete finish fail skip exit raise_error reopen retry set_priority
    comment attach grant undo
""".split()
"""What system roles grant besides view, add, change and delete: "claim" is `claim_task`."""

PRIORITIES = (0, 10)
"""Highest and lowest priority: 0 is the most urgent (WS-HumanTask 3.1)."""


def _values(members: Iterable[StrEnum]) -> list[str]:
    """Members as migrations can keep them: plain strings, always in the same order."""
    return sorted(member.value for member in members)


class Job(LegacyIdentity):
    """A piece of work that tasks belong to; an engine's run of a workflow."""

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    imported = models.JSONField(
        default=dict, blank=True, help_text="Members of an imported document that have no column."
    )

    class Meta:
        default_permissions = ("view", "add", "change", "delete")
        indexes: ClassVar = [models.Index(fields=["name"], name="job_name")]

    def __str__(self) -> str:
        return self.name


class Task(models.Model):
    """Work that waits for a person.

    Written by `tasks.actions` alone: each committed change raises `version` by one and leaves one
    audit event, whose hash is the task's `head`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    version = models.PositiveIntegerField(default=1)
    head = models.BinaryField(max_length=32)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    kind = models.CharField(
        max_length=16,
        choices=[(kind.value, kind.value) for kind in Kind],
        default=Kind.MANUAL.value,
    )
    state = models.CharField(
        max_length=16,
        choices=[(state.value, state.label) for state in State],
        default=State.READY.value,
    )
    priority = models.SmallIntegerField(default=5, help_text="0 is the most urgent, 10 the least.")
    due_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    on_hold = models.BooleanField(default=False)
    wakeup_at = models.DateTimeField(null=True, blank=True)
    claim_while_on_hold = models.BooleanField(default=False)
    skippable = models.BooleanField(default=False)
    automatic_claim = models.BooleanField(default=False)

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="owned_tasks",
        db_index=False,
    )
    originator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        related_name="originated_tasks",
        db_index=False,
    )
    starter = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        related_name="started_tasks",
        db_index=False,
    )

    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    activated_at = models.DateTimeField(null=True, help_text="When it became ready.")
    claimed_at = models.DateTimeField(null=True, help_text="Since when the owner has it.")
    ended_at = models.DateTimeField(null=True)
    unclaimable_since = models.DateTimeField(
        null=True, help_text="When the clock found that nobody was left who could claim it."
    )

    input = models.JSONField(default=dict, blank=True)
    output = models.JSONField(null=True, blank=True)
    fault = models.JSONField(null=True, blank=True)
    fault_name = models.CharField(max_length=255, blank=True)
    custom_properties = models.JSONField(default=dict, blank=True)
    output_schema = models.JSONField(null=True, blank=True)
    secret_pointers = models.JSONField(
        default=list,
        blank=True,
        help_text='Secret values, as JSON pointers into the data: "/input/password".',
    )

    source = models.CharField(max_length=255, null=True, blank=True)
    external_id = models.CharField(max_length=255, null=True, blank=True)
    request_digest = models.BinaryField(
        max_length=32,
        null=True,
        editable=False,
        help_text="Of the body that made it, to tell the same request from another one.",
    )
    job = models.ForeignKey(
        Job, models.PROTECT, null=True, blank=True, related_name="tasks", db_index=False
    )
    short_id = models.CharField(
        max_length=4,
        null=True,
        blank=True,
        validators=[RegexValidator(r"^[0-9a-f]{1,4}$")],
        help_text="Its id within the job.",
    )
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="subtasks", db_index=False
    )
    imported = models.JSONField(
        default=dict, blank=True, help_text="Members of an imported document that have no column."
    )

    objects = TaskQuerySet.as_manager()

    class Meta:
        permissions: ClassVar = [
            *((role.value, f"Is {role.label} of a task") for role in GRANTED),
            *((f"{verb}_task", f"Can {verb.replace('_', ' ')} tasks") for verb in _VERBS),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=_values(State)), name="task_state_is_known"
            ),
            models.CheckConstraint(condition=Q(kind__in=_values(Kind)), name="task_kind_is_known"),
            models.CheckConstraint(
                condition=Q(state__in=_values([State.CREATED, State.READY]), owner=None)
                | Q(state__in=_values(HELD), owner__isnull=False)
                | Q(state__in=_values(ENDED)),
                name="task_owner_fits_state",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=_values(HELD)) | Q(kind=Kind.MANUAL.value),
                name="task_held_is_manual",
            ),
            models.CheckConstraint(
                condition=Q(on_hold=False) | Q(state__in=_values(ACTIVE)),
                name="task_on_hold_is_active",
            ),
            models.CheckConstraint(
                condition=Q(wakeup_at=None) | Q(on_hold=True), name="task_wakeup_needs_hold"
            ),
            models.CheckConstraint(
                condition=Q(state__in=_values(ENDED), ended_at__isnull=False)
                | Q(state__in=_values(OPEN), ended_at=None),
                name="task_end_has_time",
            ),
            models.CheckConstraint(
                condition=Q(priority__gte=PRIORITIES[0], priority__lte=PRIORITIES[1]),
                name="task_priority_in_range",
            ),
            models.CheckConstraint(condition=Q(version__gte=1), name="task_version_from_1"),
            models.CheckConstraint(
                condition=Q(source=None, external_id=None)
                | Q(source__isnull=False, external_id__isnull=False),
                name="task_external_id_has_source",
            ),
            models.CheckConstraint(
                condition=Q(short_id=None) | Q(job__isnull=False), name="task_short_id_has_job"
            ),
            models.CheckConstraint(
                condition=Q(parent=None) | ~Q(parent=F("id")), name="task_not_its_own_parent"
            ),
            models.UniqueConstraint(fields=["source", "external_id"], name="task_external_id"),
            models.UniqueConstraint(fields=["job", "short_id"], name="task_short_id_in_job"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-created_at", "-id"], name="task_newest"),
            models.Index(
                fields=["owner", "priority", "due_at", "id"],
                name="task_held",
                condition=Q(state__in=_values(HELD)),
            ),
            models.Index(fields=["state", "created_at", "id"], name="task_by_state"),
            *(
                models.Index(
                    fields=[column, "created_at", "id"],
                    name=name,
                    condition=Q(**{f"{column}__isnull": False}),
                )
                for column, name in (
                    ("owner", "task_owned"),
                    ("originator", "task_originated"),
                    ("starter", "task_started"),
                )
            ),
            models.Index(
                fields=["unclaimable_since"],
                name="task_unclaimable",
                condition=Q(unclaimable_since__isnull=False),
            ),
            models.Index(
                fields=["parent"], name="task_subtasks", condition=Q(parent__isnull=False)
            ),
            models.Index(
                fields=["due_at", "id"],
                name="task_due",
                condition=Q(due_at__isnull=False, state__in=_values(OPEN)),
            ),
            models.Index(
                fields=["external_id"],
                name="task_by_external_id",
                condition=Q(external_id__isnull=False),
            ),
            models.Index(
                fields=["expires_at"],
                name="task_due_to_expire",
                condition=Q(expires_at__isnull=False, state__in=_values(OPEN)),
            ),
            models.Index(
                fields=["wakeup_at"], name="task_due_to_wake", condition=Q(wakeup_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def owner_name(self) -> str | None:
        """The user name of the holder; asks the database when `owner` is not loaded."""
        return self.owner.username if self.owner else None

    @property
    def originator_name(self) -> str | None:
        """The user name of the originator, likewise."""
        return self.originator.username if self.originator else None

    @property
    def starter_name(self) -> str | None:
        """The user name of the starter, likewise."""
        return self.starter.username if self.starter else None

    @property
    def job_name(self) -> str | None:
        """The name of the job, likewise."""
        return self.job.name if self.job else None


class RoleRow(models.Model):
    """What both tables of task roles share: guardian's permission, and copied columns.

    The copies let "my next fifty of 200,000" be one walk along an index; the statement that
    changes the task changes them too, and `manage.py check_role_rows` finds any that differ.
    """

    open = models.BooleanField(help_text="The task has not ended.")
    ready = models.BooleanField(help_text="The task can be claimed now.")
    priority = models.SmallIntegerField()
    due = models.DateTimeField(help_text="Its due date; the year 9999 where it has none.")
    created = models.DateTimeField(help_text="When the task was created.")

    class Meta:
        abstract = True


class TaskUserRole(RoleRow, UserObjectPermissionBase):
    """A user's work item: one account holds one role on one task."""

    permission = models.ForeignKey("auth.Permission", models.PROTECT, db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, db_index=False, related_name="task_roles"
    )
    content_object = models.ForeignKey(
        Task, models.CASCADE, db_index=False, related_name="user_roles"
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["content_object", "permission", "user"], name="user_role_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["user", "permission", "priority", "due", "content_object"],
                name="user_role_open",
                condition=Q(open=True),
            ),
            models.Index(
                fields=["user", "permission", "priority", "due", "content_object"],
                name="user_role_ready",
                condition=Q(ready=True),
            ),
            models.Index(
                fields=["user", "permission", "created", "content_object"],
                name="user_role_newest",
            ),
        ]


class TaskGroupRole(RoleRow, GroupObjectPermissionBase):
    """A group's work item: all effective members of a group hold one role on one task."""

    permission = models.ForeignKey("auth.Permission", models.PROTECT, db_index=False)
    group = models.ForeignKey(Group, models.PROTECT, db_index=False, related_name="task_roles")
    content_object = models.ForeignKey(
        Task, models.CASCADE, db_index=False, related_name="group_roles"
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["content_object", "permission", "group"], name="group_role_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["group", "permission", "priority", "due", "content_object"],
                name="group_role_open",
                condition=Q(open=True),
            ),
            models.Index(
                fields=["group", "permission", "priority", "due", "content_object"],
                name="group_role_ready",
                condition=Q(ready=True),
            ),
            models.Index(
                fields=["group", "permission", "created", "content_object"],
                name="group_role_newest",
            ),
        ]


class Comment(models.Model):
    """What somebody said about a task; it goes with the task, and the audit keeps it."""

    task = models.ForeignKey(Task, models.CASCADE, related_name="comments")
    author = models.CharField(max_length=150)
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:50]}"


class Attachment(models.Model):
    """A file that somebody kept with a task; several tasks may share one copy of it."""

    task = models.ForeignKey(Task, models.CASCADE, related_name="attachments")
    author = models.CharField(max_length=150)
    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=255)
    size = models.PositiveIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64)
    file = models.FileField(max_length=100)
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        indexes: ClassVar = [models.Index(fields=["file"], name="attachment_file")]

    def __str__(self) -> str:
        return self.name


class Tombstone(models.Model):
    """What remains of a removed task besides its history: where its chain of events ends."""

    id = models.UUIDField(primary_key=True, editable=False)
    version = models.PositiveIntegerField()
    head = models.BinaryField(max_length=32)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.id} v{self.version}"


class CanonicalJSONField(models.TextField):  # type: ignore[type-arg]
    """JSON kept as the very text that was hashed: keys sorted, no spaces."""

    def from_db_value(self, value: str | None, *_: object) -> Any:
        """The value of the stored text."""
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> str | None:
        """The canonical text of a value."""
        return None if value is None else canonical(value)


def canonical(value: Any) -> str:
    """One text for one JSON value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Channel(models.TextChoices):
    """The face a change came through."""

    NATIVE = "native", "native API"
    ITENTIAL = "itential", "Itential"
    HTM = "htm", "IBM HTM"
    ADMIN = "admin", "admin"
    COMMAND = "command", "command line"
    WORKER = "worker", "clock"

    @property
    def carries_reasons(self) -> bool:
        """Whether its callers can say why; the two dialects have no place for a reason."""
        return self not in (Channel.ITENTIAL, Channel.HTM)


class AuditEvent(models.Model):
    """One committed change of one task; never changed, never removed (a trigger sees to it).

    It keeps names, not foreign keys, and outlives its subject. `hash` is the HMAC of the event and
    of the hash before it.
    """

    task_id = models.UUIDField()
    version = models.PositiveIntegerField()
    event = models.CharField(max_length=64)
    actor = models.CharField(max_length=150)
    actor_id = models.BigIntegerField(null=True)
    on_behalf_of = models.CharField(max_length=150, blank=True)
    channel = models.CharField(max_length=16, choices=Channel.choices)
    request_id = models.CharField(max_length=64)
    operation_id = models.UUIDField()
    before = CanonicalJSONField()
    after = CanonicalJSONField()
    reason = models.TextField(null=True)
    at = models.DateTimeField()
    previous_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task_id", "version"], name="audit_once_a_version"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["operation_id"], name="audit_operation"),
            BrinIndex(fields=["at"], name="audit_at"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.task_id} v{self.version}"


class OutboxEvent(models.Model):
    """A committed event that readers outside have yet to hear of; holds the audit id only.

    `users`, `members` and `leads` are those whom the event gave something of the task, or took
    it from: accounts, groups whose members and groups whose leads that are. They hear of it even
    if they do not see the task afterwards. Ids, not names: a new account inherits nothing.
    """

    event = models.OneToOneField(
        AuditEvent, models.PROTECT, primary_key=True, related_name="outbox"
    )
    position = models.BigIntegerField(
        null=True, unique=True, help_text="Its place in the feed, given after commit."
    )
    users = ArrayField(models.BigIntegerField(), null=True)
    members = ArrayField(models.BigIntegerField(), null=True)
    leads = ArrayField(models.BigIntegerField(), null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["event"], name="outbox_pending", condition=Q(position=None))
        ]

    def __str__(self) -> str:
        return f"outbox {self.event_id}"


class BulkOperation(models.Model):
    """One act on many tasks: what was asked, of which as of which versions, and what came of it.

    The admin plans one, shows it and then carries out just that; a call of the faces records one
    as it acts. `ids` and `versions` run side by side, 0 standing for a task that was not found.
    `refused` maps an id to {code, detail}; what was processed and not refused is done. `kept` maps
    an id that is done to what an undo had to leave as it is. One that is to be carried out in the
    `background` waits for a worker, or is in the hands of one.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "tasks chosen"
        PLANNED = "planned", "planned"
        RUNNING = "running", "running"
        DONE = "done", "done"
        WAITING = "waiting", "waiting"
        CANCELLED = "cancelled", "cancelled"
        FAILED = "failed", "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    operation = models.CharField(max_length=32)
    arguments = models.JSONField(default=dict)
    reason = models.TextField(null=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        related_name="bulk_operations",
        db_index=False,
    )
    channel = models.CharField(max_length=16, choices=Channel.choices)
    request_id = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DONE)
    ids = ArrayField(models.UUIDField())
    versions = ArrayField(models.PositiveIntegerField())
    processed = models.PositiveIntegerField(default=0)
    done_count = models.PositiveIntegerField(default=0)
    refused = models.JSONField(default=dict)
    kept = models.JSONField(default=dict, db_default={})
    background = models.BooleanField(default=False, db_default=False)
    scope_group_ids = ArrayField(
        models.BigIntegerField(),
        null=True,
        help_text="The groups that the token of the call was limited to; none is no limit.",
    )
    failure = models.JSONField(
        null=True, help_text="Why it could not go on: {code, detail}, where it failed."
    )
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["actor", "-created_at"], name="bulk_of_actor"),
            models.Index(
                fields=["created_at"],
                name="bulk_for_worker",
                condition=Q(background=True, status__in=["running", "waiting"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operation} of {len(self.ids)} tasks"


class IdempotencyKey(models.Model):
    """What was answered to a call under a key of the account's, for as long as it may be retried.

    `digest` stands for the request. The row is written in the transaction of the call's effect;
    what is secret in a task is masked in `body`.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, db_index=False, related_name="idempotency_keys"
    )
    key = models.CharField(max_length=255)
    digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField()
    body = models.BinaryField()
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")
        ]
        indexes: ClassVar = [models.Index(fields=["at"], name="idempotency_key_age")]

    def __str__(self) -> str:
        return self.key


class AuditSeal(models.Model):
    """A signed statement of how far each chain of the audit had come; append-only like the audit.

    `task_ids` and `versions` run side by side: the chains that grew since the seal before, each
    with its last version among the events up to `last_event`. `hash` is an HMAC of the seal, of the
    hash before it and of the heads of those chains.
    """

    number = models.PositiveIntegerField(primary_key=True)
    at = models.DateTimeField()
    last_event = models.BigIntegerField()
    task_ids = ArrayField(models.UUIDField())
    versions = ArrayField(models.PositiveIntegerField())
    previous_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return f"seal {self.number}"


class WorkerHeartbeat(models.Model):
    """One row that says when a worker last swept through the tasks."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(id=1), name="worker_heartbeat_is_one_row")
        ]

    def __str__(self) -> str:
        return f"swept at {self.at}"
