"""The daily seals: no chain and no seal can be taken away or changed without being named."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import Error, OperationalError, connection, transaction

from tasks import events, seals
from tasks.models import AuditEvent, AuditSeal, Task
from tasks.seals import SealFault, make_daily_seal, make_seal, verify_seals
from tasks.uuid7 import uuid7
from tests.conftest import Cast
from tests.factories import call_by, make_task, make_tasks

from .test_audit import as_replica, claim, history, release, tamper
from .test_races import Racer


def named() -> list[Any]:
    """What verifying finds: (task, version) of chains, and the numbers of seals."""
    return [
        fault.number if isinstance(fault, SealFault) else (fault.task_id, fault.version)
        for fault in verify_seals()
    ]


def entries(seal: AuditSeal) -> dict[Any, int]:
    """The chains that a seal names, with their versions."""
    stored = AuditSeal.objects.get(pk=seal.pk)
    return dict(zip(stored.task_ids, stored.versions, strict=True))


def vanish(task: Task) -> None:
    """Remove a task with all that knows of it, as whoever has all rights of the database could."""
    with as_replica() as cursor:
        cursor.execute("delete from tasks_auditevent where task_id = %s", [task.pk])
        cursor.execute("delete from tasks_task where id = %s", [task.pk])


# --- All is well ----------------------------------------------------------------------------------


def test_a_seal_names_each_chain_that_grew_since_the_one_before(cast: Cast) -> None:
    old, new = history(cast), make_task(cast.carol, cast.noc)
    first = make_seal()
    claim([new.pk], call=call_by(cast.bob))
    release([new.pk], call=call_by(cast.bob))
    second, third = make_seal(), make_seal()
    assert entries(first) == {old.pk: 5, new.pk: 1}
    assert entries(second) == {new.pk: 3}
    assert entries(third) == {}
    assert [seal.number for seal in (first, second, third)] == [1, 2, 3]
    assert third.last_event == AuditEvent.objects.latest("pk").pk
    assert named() == []


def test_an_audit_without_events_can_be_sealed(cast: Cast) -> None:
    make_seal()
    make_task(cast.carol)
    make_seal()
    assert named() == []


def test_a_removed_task_whose_events_stay_is_no_fault(cast: Cast) -> None:
    task = history(cast)
    make_seal()
    tamper("delete from tasks_task where id = %s", task.pk)
    assert named() == []


# --- Chains that are gone -------------------------------------------------------------------------


def test_a_chain_removed_whole_is_named(cast: Cast) -> None:
    task, other = history(cast), history(cast)
    make_seal()
    vanish(task)
    assert list(events.verify()) == []  # the chains alone do not show it
    assert named() == [(task.pk, 5)]
    vanish(other)
    assert sorted(named()) == sorted([(task.pk, 5), (other.pk, 5)])


def test_a_chain_that_several_seals_name_is_named_once(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    make_seal()
    claim([task.pk], call=call_by(cast.bob))
    make_seal()
    vanish(task)
    assert named() == [(task.pk, 1)]


def test_a_chain_cut_back_to_an_earlier_state_is_named(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    earlier = Task.objects.get(pk=task.pk)
    claim([task.pk], call=call_by(cast.bob))
    make_seal()
    with as_replica() as cursor:
        cursor.execute("delete from tasks_auditevent where task_id = %s and version = 2", [task.pk])
        cursor.execute(
            "update tasks_task set version = 1, head = %s, state = 'ready', owner_id = null",
            [earlier.head],
        )
    assert list(events.verify()) == []
    assert named() == [(task.pk, 2)]


def test_a_chain_that_no_seal_has_seen_yet_is_not_known(cast: Cast) -> None:
    make_seal()
    vanish(history(cast))
    assert named() == []


# --- Seals that are not as they were --------------------------------------------------------------

CHANGES = {
    "at": "at + interval '1 microsecond'",
    "last_event": "last_event + 1",
    "task_ids": "task_ids[2:]",
    "versions": "array[4] || versions[2:]",
    "previous_hash": "sha256('x')",
    "hash": "sha256('x')",
}


def test_no_column_is_forgotten() -> None:
    columns = {column.name for column in AuditSeal._meta.concrete_fields}
    assert columns - {"number"} == CHANGES.keys()  # a changed number is a gap


@pytest.mark.parametrize("column", CHANGES)
def test_a_changed_seal_is_named(cast: Cast, column: str) -> None:
    for _ in range(3):
        history(cast)
        make_seal()
    tamper(f"update tasks_auditseal set {column} = {CHANGES[column]} where number = 2")
    assert 2 in named()
    assert 1 not in named()


def test_a_chain_taken_out_of_its_seal_too_shows_in_the_seal(cast: Cast) -> None:
    task = history(cast)
    history(cast)
    make_seal()
    vanish(task)
    place = f"array_position(task_ids, '{task.pk}')"
    tamper(
        f"update tasks_auditseal set task_ids = array_remove(task_ids, '{task.pk}'), "
        f"versions = versions[:{place} - 1] || versions[{place} + 1:]"
    )
    assert named() == [1]


@pytest.mark.parametrize("gone", [1, 2])
def test_a_removed_seal_is_named(cast: Cast, gone: int) -> None:
    for _ in range(3):
        make_seal()
    tamper("delete from tasks_auditseal where number = %s", gone)
    assert named() == [gone]


def test_renumbering_does_not_hide_a_removed_seal(cast: Cast) -> None:
    for _ in range(3):
        make_seal()
    tamper("delete from tasks_auditseal where number = 2")
    tamper("update tasks_auditseal set number = 2 where number = 3")
    assert 2 in named()


def test_a_seal_made_with_another_key_is_named(cast: Cast, settings: Any) -> None:
    history(cast)
    real = settings.AUDIT_KEY
    settings.AUDIT_KEY = "another"
    make_seal()
    settings.AUDIT_KEY = real
    make_seal()
    assert named() == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "update tasks_auditseal set versions = '{}'",
        "delete from tasks_auditseal",
        "truncate tasks_auditseal",
    ],
)
def test_the_database_refuses_to_change_or_remove_seals(cast: Cast, statement: str) -> None:
    make_seal()
    with (
        connection.cursor() as cursor,
        pytest.raises(Error, match="append-only"),
        transaction.atomic(),
    ):
        cursor.execute(statement)
    assert named() == []


# --- One a day ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moments", "numbers"),
    [
        (["2026-11-01T00:00:30", "2026-11-01T00:01:30", "2026-11-01T23:59:59"], [1, None, None]),
        (["2026-11-01T23:59:59", "2026-11-02T00:00:00"], [1, 2]),
        (["2026-11-01T12:00:00", "2026-11-07T03:00:00", "2026-11-07T03:01:00"], [1, 2, None]),
    ],
)
def test_each_day_has_one_seal_and_a_day_missed_is_caught_up(
    cast: Cast, moments: list[str], numbers: list[int | None]
) -> None:
    made = []
    for moment in moments:
        with time_machine.travel(datetime.fromisoformat(moment).replace(tzinfo=UTC), tick=False):
            seal = make_daily_seal()
        made.append(seal.number if seal else None)
    assert made == numbers
    assert named() == []


def test_a_seal_leaves_the_database_by_the_log(
    committed_cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    history(committed_cast)
    with caplog.at_level(logging.INFO, "tasks.seals"):
        seal = make_seal()
    assert caplog.messages == [f"Audit seal 1 of 1 chains: {bytes(seal.hash).hex()}"]


# --- While others write ---------------------------------------------------------------------------


@pytest.fixture
def late(committed_cast: Cast) -> Iterator[tuple[Task, threading.Event, Racer]]:
    """A writer that has taken the id of an event, and commits only when the test lets it."""
    task = make_task(committed_cast.carol, committed_cast.noc)
    written, may_commit = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "insert into tasks_auditevent (task_id, version, event, actor, on_behalf_of, "
                    "channel, request_id, operation_id, before, after, at, previous_hash, hash) "
                    "select task_id, 2, event, actor, on_behalf_of, channel, request_id, "
                    "operation_id, before, after, at, hash, sha256('late') "
                    "from tasks_auditevent where task_id = %s",
                    [task.pk],
                )
            written.set()
            assert may_commit.wait(30)

    racer = Racer(write)
    racer.start()
    assert written.wait(30)
    yield task, may_commit, racer
    may_commit.set()
    racer.result()


def test_an_event_with_a_lower_id_that_commits_late_is_in_the_seal(
    committed_cast: Cast, late: tuple[Task, threading.Event, Racer]
) -> None:
    task, may_commit, _ = late
    other = make_task(committed_cast.carol, committed_cast.noc)  # its event has a higher id
    sealing = Racer(make_seal)
    sealing.start()
    sealing.join(0.5)
    assert sealing.is_alive()
    claim([other.pk], call=call_by(committed_cast.bob)).one()  # nobody waits for the seal
    may_commit.set()
    assert entries(sealing.result()) == {task.pk: 2, other.pk: 1}
    assert entries(make_seal()) == {other.pk: 2}
    assert named() == []


def test_no_seal_is_made_while_a_writer_does_not_end(
    late: tuple[Task, threading.Event, Racer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(OperationalError, match="no seal for now"):
        make_seal()
    assert not AuditSeal.objects.exists()


def test_two_at_once_make_two_seals_one_after_the_other(committed_cast: Cast) -> None:
    make_tasks(50, committed_cast.carol)
    racers = [Racer(make_seal) for _ in range(4)]
    for racer in racers:
        racer.start()
    assert sorted(racer.result().number for racer in racers) == [1, 2, 3, 4]
    assert named() == []


# --- The command ----------------------------------------------------------------------------------


def audit(*arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines of the command."""
    out = StringIO()
    try:
        call_command("audit", *arguments, stdout=out)
    except SystemExit as stopped:
        return int(stopped.code or 0), out.getvalue().splitlines()
    return 0, out.getvalue().splitlines()


def test_the_command_seals_and_verifies(committed_cast: Cast) -> None:
    task = history(committed_cast)
    code, (line,) = audit("seal")
    digest = bytes(AuditSeal.objects.get().hash).hex()
    assert (code, line) == (0, f"seal 1: {digest}")
    code, lines = audit("verify")
    assert code == 0
    assert lines[0].startswith("The newest seal is 1 of ")
    assert lines[0].endswith(digest)
    assert lines[1].endswith("all as they were written.")
    vanish(task)
    code, lines = audit("verify")
    assert code == 1
    assert lines[0] == f"{task.pk} version 5: gone, though seal 1 names it"
    assert lines[2].endswith("bad chains: 1.")
    assert audit("verify", "--task", str(task.pk))[0] == 1
    with pytest.raises(CommandError, match="never was"):
        audit("verify", "--task", str(uuid7()))


def test_a_chain_that_is_bad_and_gone_is_counted_once(committed_cast: Cast) -> None:
    task = history(committed_cast)
    make_seal()
    tamper("delete from tasks_auditevent where task_id = %s", task.pk)
    code, lines = audit("verify")
    assert code == 1
    assert lines[0] == f"{task.pk} version 1: the task has no events at all"
    assert lines[2].endswith("bad chains: 1.")


def test_a_hash_kept_elsewhere_shows_that_the_last_seals_were_removed(committed_cast: Cast) -> None:
    make_seal()
    newest = bytes(make_seal().hash).hex()
    assert audit("verify", "--expect", newest)[0] == 0
    tamper("delete from tasks_auditseal where number = 2")
    assert audit("verify")[0] == 0
    code, lines = audit("verify", "--expect", newest.upper())
    assert code == 1
    assert lines[1] == f"seal with hash {newest}: gone"
    assert lines[2].endswith("bad seals: 1.")
    with pytest.raises(CommandError, match="--expect"):
        audit("verify", "--expect", "no hash")
