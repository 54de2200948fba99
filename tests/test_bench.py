"""The scale data is as real data would be, and the bench's contenders do the same work."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, Sum

from accounts.models import User
from taskmanager import seed_data
from tasks import events, work_items
from tasks.models import (
    AuditEvent,
    BulkOperation,
    OutboxEvent,
    Task,
    TaskGroupRole,
    TaskUserRole,
)

from .bench.cases import CreateOne
from .bench.contenders import NAMES, Contender, Request
from .bench.world import World, demand
from .conftest import sweep
from .proof.live import environment

TASKS = 2000
CATALOG = """
    select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
    from pg_constraint where conrelid = any(%(tables)s::regclass[])
    union all select pg_get_indexdef(indexrelid) from pg_index
    where indrelid = any(%(tables)s::regclass[]) order by 1"""


class Seeded(NamedTuple):
    """What the seed said, and the catalogue before and after."""

    told: str
    before: list[str]
    after: list[str]


def catalog() -> list[str]:
    """Keys and indexes in words, but for brackets and casts, which PostgreSQL puts otherwise in a
    condition that it has read from its own words, here as after a dump and a restore.
    """
    with connection.cursor() as cursor:
        cursor.execute(CATALOG, {"tables": list(seed_data.TABLES)})
        return sorted(re.sub(r"::[a-z ]+|[()\[\]]", "", text) for (text,) in cursor.fetchall())


@pytest.fixture(scope="module")
def seeded(django_db_setup: None, django_db_blocker: Any) -> Iterator[Seeded]:
    """A committed database with 2,000 seeded tasks."""
    with django_db_blocker.unblock():
        try:
            before, out = catalog(), StringIO()
            call_command("seed", tasks=TASKS, stdout=out)
            yield Seeded(out.getvalue(), before, catalog())
        finally:
            sweep()


def test_the_seed_says_what_it_made_and_leaves_tasks_alone(seeded: Seeded) -> None:
    assert "2,000 accounts, 204 groups, 2,000 tasks, " in seeded.told
    with pytest.raises(CommandError, match="holds tasks already"):
        call_command("seed", tasks=10)
    assert Task.objects.count() == TASKS


def test_indexes_and_keys_are_as_they_were(seeded: Seeded) -> None:
    assert len(seeded.before) > 50
    assert seeded.after == seeded.before


def test_seeded_rows_agree_with_each_other(seeded: Seeded) -> None:
    assert list(work_items.differing_rows()) == []
    assert list(events.verify()) == []
    versions = Task.objects.aggregate(sum=Sum("version"))["sum"]
    assert versions == AuditEvent.objects.count() == OutboxEvent.objects.count() == TASKS


def test_seeded_tasks_lie_as_those_of_a_large_site(seeded: Seeded) -> None:
    states = dict(Task.objects.values_list("state").annotate(Count("pk")).order_by())
    held = states["reserved"] + states["in_progress"]
    assert states["ready"] == pytest.approx(TASKS / 2, rel=0.1)
    assert held == pytest.approx(TASKS / 4, rel=0.15)
    assert states["completed"] == pytest.approx(TASKS / 4, rel=0.15)
    rows = TaskUserRole.objects.count() + TaskGroupRole.objects.count()
    assert rows / TASKS == pytest.approx(4.5, rel=0.03)


# --- The contenders -------------------------------------------------------------------------------

WITH_CHAIN = ("ours", "limit")


@pytest.fixture(scope="module")
def servers(seeded: Seeded) -> Iterator[dict[str, Contender]]:
    """The three of them on the seeded database."""
    with ExitStack() as stack:
        told = environment(str(connection.settings_dict["NAME"]))
        stack.enter_context(patch.dict("os.environ", told))
        found = {name: stack.enter_context(Contender(name, workers=1)) for name in NAMES}
        for contender in found.values():
            contender.wait()
        yield found


def left_by(pk: str) -> dict[str, Any]:
    """All rows of a task but for keys, times and hashes; the same of two tasks of one shape."""
    task = Task.objects.select_related("owner").get(pk=pk)
    columns = ("version", "event", "actor", "on_behalf_of", "channel", "before", "after", "reason")
    history = AuditEvent.objects.filter(task_id=pk).order_by("version")
    copies = ("open", "ready")
    return {
        "task": (
            task.version,
            task.state,
            task.owner_name,
            task.claimed_at is None,
            task.ended_at is None,
        ),
        "copies": {
            *TaskUserRole.objects.filter(content_object=pk).values_list(*copies),
            *TaskGroupRole.objects.filter(content_object=pk).values_list(*copies),
        },
        "due": set(TaskGroupRole.objects.filter(content_object=pk).values_list("due", "priority"))
        == {(task.due_at or seed_data.NO_DUE_DATE, task.priority)},
        "events": list(history.exclude(version=1).values(*columns)),
        "created": set(TaskGroupRole.objects.filter(content_object=pk).values_list("created"))
        == {(task.created_at,)},
        "outbox": list(
            OutboxEvent.objects.filter(event__task_id=pk)
            .order_by("event_id")
            .values_list("users", "members", "leads")
        ),
    }


def test_the_contenders_leave_the_same_rows(servers: dict[str, Contender]) -> None:
    world = World()
    one, other = world.client(0), world.client(1)
    left: dict[str, list[Any]] = {}
    for name, server in servers.items():
        pk, *many = world.single[name][:4]
        handing = {"role": "owner", "to": {"user": other}, "from": {"user": one}}
        steps = [
            world.call("claim", pk, one),
            world.call("transfer", pk, one, **handing),
            world.call("release", pk, other),
            world.call("claim", pk, other),
            world.call("complete", pk, other),
        ]
        rows = []
        for step in steps:
            demand(server, step)
            rows.append(left_by(pk))
        for step in (
            world.bulk("claim", many, one),
            world.bulk("transfer", [*many, pk], world.admin, **handing),
            world.bulk("release", many, world.admin, reason="to be done elsewhere"),
        ):
            demand(server, step)
            rows.append([left_by(task) for task in [*many, pk]])
        left[name] = rows
    assert left["ours"][0]["events"][0]["event"] == "claimed"
    assert [row["task"][0] for row in left["ours"][:5]] == [2, 3, 4, 5, 6]
    taker = User.objects.get(username=other).pk
    assert left["ours"][3]["outbox"][-1] == ([taker], None, None)
    assert left["limit"] == left["ours"]
    assert left["plain"] == left["ours"]

    for name in NAMES:
        touched = Task.objects.filter(pk__in=[UUID(pk) for pk in world.single[name][:4]])
        faults = list(events.verify(touched))
        # The usual way has no chain: nobody can tell whether its events are as they were.
        assert (faults == []) is (name in WITH_CHAIN)
    assert list(work_items.differing_rows()) == []


def test_the_contenders_make_the_same_tasks(servers: dict[str, Contender]) -> None:
    world = World()
    made, request = {}, CreateOne(world, servers["ours"]).requests(servers["ours"], 1)[0]
    for name, server in servers.items():
        pk = json.loads(demand(server, request, 201))["id"]
        first = AuditEvent.objects.get(task_id=pk)
        made[name] = (left_by(pk), first.before, {**first.after, "created_at": 0})
    assert made["ours"][0]["created"] is True
    assert made["ours"][0]["outbox"] == [(None, None, None)]
    assert made["plain"][0] == made["limit"][0] == made["ours"][0]
    assert {**made["limit"][2], "activated_at": 0} == {**made["ours"][2], "activated_at": 0}


def test_the_record_of_a_bulk_call_is_the_same(servers: dict[str, Contender]) -> None:
    """The usual way keeps none."""
    world, records = World(), {}
    for name in WITH_CHAIN:
        free, taken = world.single[name][7:9]
        one = world.client(0)
        demand(servers["ours"], world.call("claim", taken, one))
        demand(servers[name], world.bulk("claim", [free, taken], one))
        kept = BulkOperation.objects.filter(ids__contains=[free]).values(
            *("operation", "arguments", "reason", "channel", "status", "versions", "processed"),
            *("done_count", "kept", "scope_group_ids", "background", "failure"),
        )
        refused = BulkOperation.objects.get(ids__contains=[free]).refused
        records[name] = (kept.get(), list(refused) == [taken])
    assert records["ours"][1] is True
    assert records["limit"] == records["ours"]


def test_a_refusal_changes_nothing_whoever_answers(servers: dict[str, Contender]) -> None:
    world = World()
    for name, server in servers.items():
        pk = world.single[name][5]
        before = left_by(pk)
        demand(server, world.call("release", pk, world.client(0)), 409)
        assert left_by(pk) == before


def test_one_of_many_wins_whoever_answers(servers: dict[str, Contender]) -> None:
    world = World()
    for name, server in servers.items():
        pk = world.single[name][6]
        calls = [world.call("claim", pk, world.client(number)) for number in range(8)]
        statuses = [reply.status for reply in server.ask(calls, clients=8)]
        assert statuses.count(200) == 1
        assert left_by(pk)["task"][0] == 2


def test_the_limit_gives_nobody_the_task_of_another(servers: dict[str, Contender]) -> None:
    """Claim-next, which nothing of ours can be compared with yet."""
    world = World()
    calls = [
        Request("POST", "/api/v1/tasks/claim-next/", world.tokens[world.client(number)])
        for number in range(16)
    ]
    replies = servers["limit"].ask(calls, clients=8)
    assert {reply.status for reply in replies} == {200}
    taken = [json.loads(reply.body)["id"] for reply in replies]
    assert len(set(taken)) == 16
    tasks = Task.objects.filter(pk__in=taken)
    assert {(task.version, task.state) for task in tasks} == {(2, "reserved")}
    assert list(events.verify(tasks)) == []
