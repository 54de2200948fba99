"""What an act leaves behind: helpers that hold rows, audit and outbox against one another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from accounts.models import User
from tasks import events
from tasks.actions import Action, Call
from tasks.errors import TaskError
from tasks.lifecycle import OPEN, State
from tasks.models import (
    NO_DUE_DATE,
    Attachment,
    AuditEvent,
    Comment,
    OutboxEvent,
    Task,
    TaskGroupRole,
    TaskUserRole,
    Tombstone,
)
from tasks.people import tagged
from tasks.roles import TaskRole
from tasks.work_items import people_of

TABLES = (
    Task,
    TaskUserRole,
    TaskGroupRole,
    AuditEvent,
    OutboxEvent,
    Comment,
    Attachment,
    Tombstone,
)


def everything() -> dict[str, str]:
    """All that an action on tasks could have changed: every row of these tables, in one query."""
    parts = [
        f"(select json_agg(t order by t.{table._meta.pk.column})::text from {name} t)"
        for table in TABLES
        for name in [table._meta.db_table]
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"select {', '.join(parts)}")
        return dict(zip((table.__name__ for table in TABLES), cursor.fetchone(), strict=True))


@contextmanager
def nothing_changes() -> Iterator[None]:
    """Assert that no task, role row, audit event or outbox row is another afterwards."""
    before = everything()
    yield
    assert everything() == before


def refusal_of(act: Action, task: Task, call: Call, **arguments: Any) -> TaskError:
    """The reason why an action on one task is refused; asserts that nothing has changed."""
    with nothing_changes():
        outcome = act([task.pk], call=call, **arguments)
    assert not outcome.done
    assert not outcome.tasks
    (error,) = outcome.refused.values()
    return error


def done(act: Action, task: Task, call: Call, **arguments: Any) -> tuple[Task, AuditEvent]:
    """The task and the event that an action leaves; asserts that all rows agree on it.

    One version more, one event of it that carries the circumstances of the call and hangs on the
    chain, one outbox row, role rows whose copies are right, and an answer equal to the row.
    """
    head, version = bytes(Task.objects.get(pk=task.pk).head), task.version
    events_before = AuditEvent.objects.count()
    answered = act([task.pk], call=call, **arguments).one()
    stored = Task.objects.filter(pk=task.pk).first()
    if stored is None:  # removed: what it was last, and its tombstone
        stored = answered
        buried = Tombstone.objects.get(pk=task.pk)
        assert (buried.version, bytes(buried.head)) == (stored.version, bytes(stored.head))
    assert values_of(answered) == values_of(stored)
    assert stored.version == version + 1
    assert AuditEvent.objects.count() == OutboxEvent.objects.count() == events_before + 1
    event = AuditEvent.objects.get(task_id=task.pk, version=stored.version)
    assert OutboxEvent.objects.filter(event=event, position=None).exists()
    assert event.actor == (call.actor.username if call.actor else "system")
    assert event.actor_id == call.user_id
    assert (event.channel, event.request_id) == (call.channel, call.request_id)
    assert (event.operation_id, event.reason) == (call.operation_id, call.reason)
    assert event.at == stored.updated_at > task.updated_at
    assert bytes(event.previous_hash) == head
    assert bytes(event.hash) == bytes(stored.head) != head
    assert list(events.verify()) == []
    assert_copies_right(stored)
    return stored, event


def values_of(task: Task) -> dict[str, Any]:
    """Every column of a task as it can be compared."""
    values = {
        column.attname: getattr(task, column.attname) for column in task._meta.concrete_fields
    }
    return {**values, "head": bytes(values["head"])}


def assert_copies_right(*tasks: Task) -> None:
    """Hold the copied columns of all role rows of tasks against the tasks."""
    for task in tasks:
        wanted = (
            task.state in OPEN,
            task.state == State.READY and task.kind == "manual" and not task.on_hold,
            task.priority,
            task.due_at or NO_DUE_DATE,
        )
        for table in (TaskUserRole, TaskGroupRole):
            copies = table._default_manager.filter(content_object=task)
            for copy in copies.values_list("open", "ready", "priority", "due"):
                assert copy == wanted


def holders(task: Task, role: TaskRole) -> list[dict[str, Any]]:
    """Who holds a granted role on a task: users by name, then groups by name."""
    users, groups = people_of([task])[task.pk].get(role, ([], []))
    return [tagged(holder) for holder in (*users, *groups)]


def deactivate(user: User) -> User:
    """The account, inactive."""
    user.is_active = False
    user.save(update_fields=["is_active"])
    return user
