"""The audit: a chain for each task, and every kind of tampering is named with task and version."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import Error, connection, transaction
from django.db.models import Sum

from tasks import events
from tasks.actions import ACTIONS
from tasks.models import AuditEvent, BulkOperation, OutboxEvent, Task
from tasks.uuid7 import uuid7
from tests.conftest import Cast
from tests.factories import call_by, make_task, make_tasks

from .test_races import Racer

claim, release, complete = ACTIONS["claim"], ACTIONS["release"], ACTIONS["complete"]


def history(cast: Cast, **fields: Any) -> Task:
    """A task with five events: created, claimed, released, claimed, completed."""
    task = make_task(cast.carol, cast.noc, **fields)
    for act in (claim, release, claim):
        act([task.pk], call=call_by(cast.bob)).one()
    complete([task.pk], call=call_by(cast.bob), output={"n": 1}).one()
    return Task.objects.get(pk=task.pk)


@contextmanager
def as_replica() -> Iterator[Any]:
    """A cursor that no trigger hinders: what somebody with the rights of the database could do.

    Rows that would point nowhere are removed as well, which verifying does not look at.
    """
    with connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        yield cursor
        for table, column, target in (
            ("tasks_outboxevent", "event_id", "tasks_auditevent"),
            ("tasks_taskuserrole", "content_object_id", "tasks_task"),
            ("tasks_taskgrouprole", "content_object_id", "tasks_task"),
        ):
            cursor.execute(f"delete from {table} where {column} not in (select id from {target})")
        cursor.execute("set session_replication_role = default")


def tamper(statement: str, *values: Any) -> None:
    with as_replica() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount >= 1


def faults() -> list[tuple[UUID, int]]:
    return [(fault.task_id, fault.version) for fault in events.verify()]


# --- All is well ----------------------------------------------------------------------------------


def test_untouched_chains_hold(cast: Cast) -> None:
    tasks = [history(cast) for _ in range(3)]
    make_tasks(5, cast.carol)
    assert faults() == []
    assert list(events.verify(tasks[:1])) == []
    assert list(events.verify([])) == []


def test_values_survive_the_way_through_the_database(cast: Cast) -> None:
    """Whatever JSON holds hashes to the same when read back."""
    output = {"ü": "\u2028 é 🙂", "b": [1.0, 1, 1e100, -0.0, 2**63 - 1, 0.1, None, True], "a": {}}
    task = make_task(cast.carol, cast.noc, input=output)
    claim([task.pk], call=call_by(cast.bob, reason="  \n'\"\\ "))
    complete([task.pk], call=call_by(cast.bob), output=output)
    assert faults() == []
    assert AuditEvent.objects.get(task_id=task.pk, version=3).after["output"] == output


def test_versions_events_and_outbox_rows_are_as_many(cast: Cast) -> None:
    for _ in range(2):
        history(cast)
    make_tasks(4, cast.carol)
    versions = Task.objects.aggregate(all=Sum("version"))["all"]
    assert versions == AuditEvent.objects.count() == OutboxEvent.objects.count() == 14
    assert set(OutboxEvent.objects.values_list("event_id", flat=True)) == set(
        AuditEvent.objects.values_list("pk", flat=True)
    )


# --- Tampering ------------------------------------------------------------------------------------

CHANGES = {
    "event": "'released'",
    "actor": "'alice'",
    "actor_id": "actor_id + 1",
    "on_behalf_of": "'root'",
    "channel": "'admin'",
    "request_id": "'other'",
    "operation_id": "gen_random_uuid()",
    "before": """'{"owner":"alice","state":"ready"}'""",
    "after": """'{"owner":"alice","state":"reserved"}'""",
    "reason": "'another'",
    "at": "at + interval '1 microsecond'",
    "previous_hash": "sha256('x')",
    "hash": "sha256('x')",
}


def test_no_column_is_forgotten() -> None:
    columns = {column.name for column in AuditEvent._meta.concrete_fields}
    # The key of the row says nothing of the event; task and version have tests of their own.
    assert columns - {"id", "task_id", "version"} == CHANGES.keys()


@pytest.mark.parametrize("version", [1, 2, 5])
@pytest.mark.parametrize("column", CHANGES)
def test_a_changed_value_is_named(cast: Cast, column: str, version: int) -> None:
    task, other = history(cast), history(cast)
    tamper(
        f"update tasks_auditevent set {column} = {CHANGES[column]} "
        "where task_id = %s and version = %s",
        task.pk,
        version,
    )
    assert faults() == [(task.pk, version)]
    assert list(events.verify([other])) == []


@pytest.mark.parametrize("column", ["actor_id", "reason"])
def test_a_value_made_null_is_named(cast: Cast, column: str) -> None:
    task = history(cast)
    tamper(f"update tasks_auditevent set {column} = null where version = 3")
    assert faults() == [(task.pk, 3)]


@pytest.mark.parametrize(
    "text",
    [
        '{ "owner":null,"state":"ready"}',
        '{"state":"ready","owner":null}',
        '{"owner":"x","owner":null,"state":"ready"}',
        "not JSON at all",
        "",
    ],
)
def test_a_text_that_reads_the_same_or_not_at_all_is_named(cast: Cast, text: str) -> None:
    """What was hashed is the text itself."""
    task = history(cast)
    tamper("update tasks_auditevent set before = %s where version = 2", text)
    assert faults() == [(task.pk, 2)]


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_removed_event_is_named(cast: Cast, version: int) -> None:
    task = history(cast)
    tamper("delete from tasks_auditevent where version = %s", version)
    (fault,) = events.verify()
    assert (fault.task_id, fault.version, fault.why) == (task.pk, version, "missing")


@pytest.mark.parametrize("kept", [4, 1])
def test_events_cut_off_at_the_end_are_named(cast: Cast, kept: int) -> None:
    task = history(cast)
    tamper("delete from tasks_auditevent where version > %s", kept)
    assert faults() == [(task.pk, kept + 1)]


def test_a_chain_removed_as_a_whole_is_named(cast: Cast) -> None:
    gone, kept = history(cast), history(cast)
    tamper("delete from tasks_auditevent where task_id = %s", gone.pk)
    (fault,) = events.verify()
    assert (fault.task_id, fault.version) == (gone.pk, 1)
    assert fault.why == "the task has no events at all"
    assert list(events.verify([kept])) == []


def test_a_task_that_is_gone_without_a_trace_is_named(cast: Cast) -> None:
    task = history(cast)
    tamper("delete from tasks_task where id = %s", task.pk)
    (fault,) = events.verify()
    assert (fault.task_id, fault.version) == (task.pk, 5)
    assert list(events.verify([task])) == [fault]


def copy_of_last(task: Task, version: int, **values: str) -> str:
    """SQL that adds an event like the last one of a task, under another version."""
    columns = [column.column for column in AuditEvent._meta.concrete_fields if column.name != "id"]
    values = {"version": str(version), **values}
    return (
        f"insert into tasks_auditevent ({', '.join(columns)}) "
        f"select {', '.join(values.get(column, column) for column in columns)} "
        f"from tasks_auditevent where task_id = '{task.pk}' and version = 5"
    )


def test_an_added_event_is_named(cast: Cast) -> None:
    task = history(cast)
    tamper(copy_of_last(task, 6))
    assert faults() == [(task.pk, 6)]


def test_an_added_event_that_follows_the_last_is_named(cast: Cast) -> None:
    """Right in all but the key."""
    task = history(cast)
    tamper(copy_of_last(task, 6, previous_hash="hash", hash="sha256(hash)"))
    assert faults() == [(task.pk, 6)]


def test_an_added_event_that_the_task_names_is_named(cast: Cast) -> None:
    task = history(cast)
    tamper(copy_of_last(task, 6, previous_hash="hash", hash="sha256(hash)"))
    tamper(
        "update tasks_task set version = 6, head = e.hash from tasks_auditevent e "
        "where e.task_id = tasks_task.id and e.version = 6"
    )
    assert faults() == [(task.pk, 6)]


def test_an_event_added_to_no_task_is_named(cast: Cast) -> None:
    task, nowhere = history(cast), uuid7()
    tamper(copy_of_last(task, 1, task_id=f"'{nowhere}'", previous_hash="sha256('x')"))
    assert faults() == [(nowhere, 1)]


def test_swapped_events_are_named(cast: Cast) -> None:
    task = history(cast)
    with as_replica() as cursor:
        cursor.execute("update tasks_auditevent set version = 99 where version = 2")
        cursor.execute("update tasks_auditevent set version = 2 where version = 4")
        cursor.execute("update tasks_auditevent set version = 4 where version = 99")
    assert faults() == [(task.pk, 2)]


def test_an_event_moved_to_another_task_is_named_in_both(cast: Cast) -> None:
    giver, taker = history(cast), history(cast)
    tamper(
        "update tasks_auditevent set task_id = %s, version = 6 where task_id = %s and version = 3",
        taker.pk,
        giver.pk,
    )
    assert sorted(faults()) == sorted([(giver.pk, 3), (taker.pk, 6)])


def test_chains_exchanged_between_tasks_are_named(cast: Cast) -> None:
    one, other = history(cast), history(cast)
    with as_replica() as cursor:
        cursor.execute(
            "update tasks_auditevent set task_id = case task_id when %s then %s::uuid "
            "else %s::uuid end, version = version + 100",
            [one.pk, other.pk, one.pk],
        )
        cursor.execute("update tasks_auditevent set version = version - 100")
    assert sorted(faults()) == sorted([(one.pk, 1), (other.pk, 1)])


def test_a_chain_made_again_without_the_key_is_named_at_its_first_change(cast: Cast) -> None:
    """All hashes, links and the head agree with one another, but not with the key."""
    task = history(cast)
    previous = bytes(AuditEvent.objects.get(version=2).hash)
    with as_replica() as cursor:
        cursor.execute("update tasks_auditevent set actor = 'mallory' where version = 3")
        for event in AuditEvent.objects.filter(version__gte=3).order_by("version"):
            made = hashlib.sha256(previous + json.dumps([event.actor, event.after]).encode())
            cursor.execute(
                "update tasks_auditevent set previous_hash = %s, hash = %s where id = %s",
                [previous, made.digest(), event.pk],
            )
            previous = made.digest()
        cursor.execute("update tasks_task set head = %s", [previous])
    assert faults() == [(task.pk, 3)]


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ("head = sha256('x')", 5),
        ("version = 4", 5),
        ("version = 6", 6),
        ("version = 6, head = sha256('x')", 6),
    ],
)
def test_a_task_that_names_another_last_event_is_named(
    cast: Cast, change: str, version: int
) -> None:
    task, other = history(cast), history(cast)
    tamper(f"update tasks_task set {change} where id = %s", task.pk)
    assert faults() == [(task.pk, version)]
    assert list(events.verify([other])) == []


def test_only_the_first_bad_event_of_each_chain_is_named(cast: Cast) -> None:
    tasks = [history(cast) for _ in range(3)]
    tamper("update tasks_auditevent set reason = 'x' where version in (2, 4)")
    assert sorted(faults()) == sorted((task.pk, 2) for task in tasks)


def test_another_key_fits_no_chain(cast: Cast, settings: Any) -> None:
    task = history(cast)
    settings.AUDIT_KEY = "another"
    assert faults() == [(task.pk, 1)]


# --- Append-only ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "update tasks_auditevent set reason = 'x'",
        "update tasks_auditevent set reason = reason where version = 1",
        "delete from tasks_auditevent",
        "truncate tasks_auditevent cascade",
    ],
)
def test_the_database_refuses_to_change_or_remove_events(cast: Cast, statement: str) -> None:
    history(cast)
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")  # or nothing can be truncated at all
        with pytest.raises(Error, match="append-only"), transaction.atomic():
            cursor.execute(statement)
    assert AuditEvent.objects.count() == 5
    assert faults() == []


def test_a_version_has_one_event(cast: Cast) -> None:
    task = history(cast)
    with (
        pytest.raises(Error, match="audit_once_a_version"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(copy_of_last(task, 5))


# --- Secrets --------------------------------------------------------------------------------------


def test_secret_values_are_nowhere_but_in_the_task(cast: Cast) -> None:
    """Not in audit, outbox or bulk records, through every operation that touches data."""
    secret = "hunter2-hunter2"
    fields = {
        "input": {"a": {"b/c": secret}, "list": [1, {"x": secret}]},
        "secret_pointers": ["/input/a/b~1c", "/input/list/1/x", "/output/key", "/fault"],
        "output_schema": {"properties": {"n": {"type": "integer"}, "key": {"maxLength": 20}}},
    }
    tasks = make_tasks(3, cast.carol, [cast.noc], **fields)
    output = {"key": secret, "n": 1}
    for task in tasks:
        claim([task.pk], call=call_by(cast.bob)).one()
    Task.objects.filter(pk=tasks[0].pk).update(output=output, fault={"why": secret})
    ACTIONS["cancel_claim"]([tasks[0].pk], call=call_by(cast.bob)).one()
    wrong = {"key": secret * 2, "n": 1}
    complete([tasks[1].pk], call=call_by(cast.bob, bulk=True), output={"key": 1, "n": secret})
    refused = complete([tasks[1].pk], call=call_by(cast.bob), output=wrong).refused
    complete([tasks[1].pk], call=call_by(cast.bob), output=output).one()
    ACTIONS["finish"]([tasks[2].pk], call=call_by(cast.bob), output=output).one()
    assert secret in str(Task.objects.get(pk=tasks[1].pk).output)
    assert secret not in str([error.params for error in refused.values()])
    for table in (AuditEvent, OutboxEvent):
        assert secret not in str(list(table._default_manager.values_list()))
    assert secret not in str(list(BulkOperation.objects.values_list("refused")))
    assert "******" in str(AuditEvent.objects.get(task_id=tasks[2].pk, version=3).after)


# --- The command ----------------------------------------------------------------------------------


def verify(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    out = StringIO()
    try:
        call_command("audit", "verify", *arguments, stdout=out)
    except SystemExit as stopped:
        return int(stopped.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_the_command_counts_and_names_what_is_bad(committed_cast: Cast) -> None:
    task, other = history(committed_cast), history(committed_cast)
    code, said = verify()
    assert code == 0
    assert said.startswith("10 events in ")
    assert said.endswith(" s, all as they were written.\n")
    tamper("update tasks_auditevent set reason = 'x' where task_id = %s and version = 3", task.pk)
    code, said = verify()
    assert code == 1
    assert said.splitlines()[0] == f"{task.pk} version 3: changed after it was written"
    assert said.splitlines()[1].endswith("bad chains: 1.")
    assert verify("--task", str(task.pk))[0] == 1
    code, said = verify("--task", str(other.pk).upper())
    assert code == 0
    assert said.startswith("5 events in ")


@contextmanager
def versions_may_repeat() -> Iterator[None]:
    """Without the constraint that a version has one event; what breaks it is removed afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("alter table tasks_auditevent drop constraint audit_once_a_version")
        try:
            yield
        finally:
            with as_replica() as replica:
                replica.execute(
                    "delete from tasks_auditevent a using tasks_auditevent b "
                    "where a.task_id = b.task_id and a.version = b.version and a.id > b.id"
                )
            cursor.execute(
                "alter table tasks_auditevent "
                "add constraint audit_once_a_version unique (task_id, version)"
            )


def seal_again(task: Task, key: bytes) -> None:
    """Change the third event, and make all hashes from there on agree, under another key."""
    previous = bytes(AuditEvent.objects.get(task_id=task.pk, version=2).hash)
    with as_replica() as cursor:
        cursor.execute(
            "update tasks_auditevent set actor = 'mallory' where task_id = %s and version = 3",
            [task.pk],
        )
        later = AuditEvent.objects.filter(task_id=task.pk, version__gte=3).order_by("version")
        for event in later:
            previous = hmac.digest(key, previous + event.actor.encode(), "sha256")
            cursor.execute(
                "update tasks_auditevent set previous_hash = (select e.hash from tasks_auditevent "
                "e where e.task_id = %s and e.version = %s), hash = %s where id = %s",
                [task.pk, event.version - 1, previous, event.pk],
            )
        cursor.execute("update tasks_task set head = %s where id = %s", [previous, task.pk])


def swap(task: Task) -> None:
    """Exchange the versions of the second and the fourth event."""
    for new, old in ((99, 2), (2, 4), (4, 99)):
        tamper(
            "update tasks_auditevent set version = %s where task_id = %s and version = %s",
            *(new, task.pk, old),
        )


def where(statement: str) -> Callable[[Task], None]:
    """Tampers with the events of one task by a statement that ends before its `where`."""
    return lambda task: tamper(f"{statement} task_id = %s", task.pk)


TAMPERING: dict[str, tuple[Callable[[Task], None], int, str]] = {
    **{
        f"{column} of version {version} changed": (
            where(f"update tasks_auditevent set {column} = {value} where version = {version} and"),
            version,
            "does not follow the event before it"
            if column == "previous_hash"
            else "changed after it was written",
        )
        for column, value in CHANGES.items()
        for version in (1, 2, 5)
    },
    "the first removed": (
        where("delete from tasks_auditevent where version = 1 and"),
        1,
        "missing",
    ),
    "one amid removed": (where("delete from tasks_auditevent where version = 3 and"), 3, "missing"),
    "the last removed": (
        where("delete from tasks_auditevent where version = 5 and"),
        5,
        "missing: the task is at version 5",
    ),
    "all removed": (
        where("delete from tasks_auditevent where"),
        1,
        "the task has no events at all",
    ),
    "one inserted": (
        lambda task: tamper(copy_of_last(task, 6)),
        6,
        "does not follow the event before it",
    ),
    "one inserted that follows": (
        lambda task: tamper(copy_of_last(task, 6, previous_hash="hash", hash="sha256(hash)")),
        6,
        "changed after it was written",
    ),
    "two swapped": (swap, 2, "does not follow the event before it"),
    "one there twice": (lambda task: tamper(copy_of_last(task, 5)), 5, "there twice"),
    "sealed with another key": (
        lambda task: seal_again(task, b"another key"),
        3,
        "changed after it was written",
    ),
}
"""What may be done to a history of five events: the first bad one, and what is said of it."""


def test_the_command_names_the_first_bad_event_of_every_kind_of_tampering(
    committed_cast: Cast,
) -> None:
    """Task by task, by exit code and first line, and all of them in one go."""
    kept = history(committed_cast)
    wanted = {}
    with versions_may_repeat():
        for kind, (spoil, version, why) in TAMPERING.items():
            task = history(committed_cast)
            assert verify("--task", str(task.pk))[0] == 0
            spoil(task)
            code, said = verify("--task", str(task.pk))
            line = f"{task.pk} version {version}: {why}"
            assert (kind, code, said.splitlines()[0]) == (kind, 1, line)
            assert said.splitlines()[1].endswith("bad chains: 1.")
            wanted[line] = kind
        code, said = verify()
        assert code == 1
        assert sorted(said.splitlines()[:-1]) == sorted(wanted)
        assert said.splitlines()[-1].endswith(f"bad chains: {len(TAMPERING)}.")
        assert verify("--task", str(kept.pk))[0] == 0


def test_the_command_knows_tasks_that_never_were(committed_cast: Cast) -> None:
    with pytest.raises(CommandError, match="never was"):
        verify("--task", str(uuid7()))
    with pytest.raises(CommandError, match="invalid UUID"):
        verify("--task", "x")


def test_the_command_sees_one_moment(committed_cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others commit between its look at the tasks and its look at the events is no fault."""
    task = make_task(committed_cast.carol, committed_cast.noc)
    claim([task.pk], call=call_by(committed_cast.bob))
    meanwhile: list[Callable[[], Any]] = [
        lambda: release([task.pk], call=call_by(committed_cast.bob))
    ]

    def slow(head: Any) -> bytes:
        if meanwhile:
            racer = Racer(meanwhile.pop())
            racer.start()
            assert racer.result().done
        return bytes(head)

    # Verifying turns what the tasks name into bytes, before it asks for the events.
    monkeypatch.setattr(events, "bytes", slow, raising=False)
    code, said = verify()
    monkeypatch.undo()
    assert not meanwhile
    assert (code, said.split()[0]) == (0, "2")
    assert verify()[1].split()[0] == "3"
