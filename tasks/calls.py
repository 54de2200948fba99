"""Who asks for what under which circumstances, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from accounts.models import User

from . import errors
from .models import Channel, Task
from .retries import Once
from .uuid7 import uuid7


@dataclass(frozen=True, slots=True)
class Call:
    """The circumstances of an act: who asks, through which face, why, and with what reservations.

    `actor` None is the system itself. `versions` are the versions the caller expects, by task id.
    `bulk` calls are recorded as a BulkOperation under `operation_id`, which all events of the call
    carry; `processed` counts the tasks of a stored one that earlier units have dealt with.
    An `atomic` call changes nothing where any task is refused; it has to fit into one unit.
    A `dry_run` locks and writes nothing and answers what would happen.
    """

    actor: User | None
    channel: Channel
    request_id: str = ""
    reason: str | None = None
    versions: Mapping[UUID, int] = field(default_factory=dict)
    bulk: bool = False
    dry_run: bool = False
    atomic: bool = False
    operation_id: UUID = field(default_factory=uuid7)
    processed: int = 0
    on_behalf_of: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the operation was asked with, as the record of a bulk call keeps it."""
    once: Once | None = None
    """The key under which the call takes effect at most once, if it carries one."""

    @property
    def user_id(self) -> int | None:
        """The primary key of the actor."""
        return self.actor.pk if self.actor else None

    def may(self, permission: str, operation: str = "") -> bool:
        """Gate 1: whether the actor's system roles grant a permission; the system may all.

        With the name of an `operation`, also whether the token of the call is good for that.
        """
        if self.actor is None:
            return True
        covered = not operation or self.actor.scope.covers(operation)
        return covered and self.actor.has_perm(permission)


@dataclass(slots=True)
class Outcome:
    """What came of a call: each id once, in `done` (its version now) or in `refused` (why).

    `tasks` holds the task as it was committed when the call was about a single one. `kept` says of
    a task that was done what was left as it is, and why: [{field, code, detail}].
    """

    operation_id: UUID
    done: dict[UUID, int] = field(default_factory=dict)
    refused: dict[UUID, errors.TaskError] = field(default_factory=dict)
    tasks: dict[UUID, Task] = field(default_factory=dict)
    kept: dict[UUID, list[dict[str, str]]] = field(default_factory=dict)

    def one(self) -> Task:
        """The task of a call about one task. Raises the TaskError it was refused with."""
        for error in self.refused.values():
            raise error
        (task,) = self.tasks.values()
        return task
