"""Runs the cases in interleaved rounds, and makes medians and ratios of what it saw."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from taskmanager.postgres import cluster_of
from tasks import actions, people
from tasks.actions import Draft
from tasks.calls import Call
from tasks.models import Channel, Task
from tasks.roles import TaskRole

from .cases import Case
from .contenders import (
    NAMES,
    BenchError,
    Contender,
    Reply,
    cpu_of,
    environment,
    postgres,
)
from .world import World

_STATEMENT = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*):")


class Round(NamedTuple):
    """What one round of one contender came to."""

    value: float
    seconds: list[float]
    server_cpu: float
    postgres_cpu: float
    memory: int
    extra: dict[str, Any]


def measure(case: Case, contender: Contender, calls: int) -> Round:
    """One round. Raises BenchError for any answer that is not as the case says."""
    if contender.name == "plain":  # its calls take so long that fewer tell as much
        calls = max(case.clients, calls // 4)
    requests = case.requests(contender, calls)
    server, database = contender.root(), postgres()
    before = contender.memory()
    servers, backends = cpu_of(server), cpu_of(database)
    started = time.perf_counter()
    replies = contender.ask(requests, case.clients)
    wall = time.perf_counter() - started
    server_cpu = (cpu_of(server) - servers) / len(requests)
    postgres_cpu = (cpu_of(database) - backends) / len(requests)
    demand_statuses(case, contender, replies)
    extra = case.figures(contender, replies)
    memory = contender.memory() - before
    case.put_back(contender, replies)
    seconds = [reply.seconds for reply in replies]
    rows = extra.get("measured_rows", 1)
    value = {
        "ms": median(seconds) * 1000,
        "calls/s": len(replies) / wall,
        "rows/s": rows / wall,
    }[case.unit]
    return Round(value, seconds, server_cpu, postgres_cpu, memory, extra)


def demand_statuses(case: Case, contender: Contender, replies: Sequence[Reply]) -> None:
    """Raise BenchError where an answer has none of the statuses that the case expects."""
    for reply in replies:
        if reply.status not in case.statuses:
            text = reply.body[:300].decode(errors="replace")
            raise BenchError(f"{case.key}: {contender.name} answered {reply.status} {text}")


def run(
    case: Case,
    contenders: Mapping[str, Contender],
    *,
    calls: int,
    rounds: int,
) -> dict[str, Any]:
    """The figures of a case: medians of `rounds` rounds in which all take turns."""
    names = [name for name in case.contenders if name in contenders]
    seen: dict[str, list[Round]] = {name: [] for name in names}
    began = time.monotonic()
    if case.rows == 1:
        for name in names:  # connections, plans and caches; not counted
            measure(case, contenders[name], min(calls, case.clients))
    for number in range(rounds):
        turn = names[number % len(names) :] + names[: number % len(names)]
        for name in turn:
            seen[name].append(measure(case, contenders[name], calls))
    result = compared(case.unit, {name: _summary(some) for name, some in seen.items()})
    return {"unit": case.unit, **result, "took_s": round(time.monotonic() - began, 1)}


def compared(unit: str, figures: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """A case as it is printed: `of_limit` and `of_plain` say how fast ours is, 1 being as fast."""
    values = {name: (figures.get(name) or {}).get("value") for name in NAMES}
    result: dict[str, Any] = dict(values)
    for other in ("limit", "plain"):
        ours, theirs = values["ours"], values[other]
        ratio = None
        if ours and theirs:
            ratio = round(theirs / ours if unit == "ms" else ours / theirs, 3)
        result[f"of_{other}"] = ratio
    result["detail"] = {name: figures.get(name) for name in NAMES}
    return result


def _summary(rounds: Sequence[Round]) -> dict[str, Any]:
    seconds = sorted(second for one in rounds for second in one.seconds)
    extra = rounds[0].extra
    return {
        "value": round(median(one.value for one in rounds), 3),
        "p50_ms": round(median(seconds) * 1000, 3),
        "p95_ms": round(seconds[min(len(seconds) - 1, int(len(seconds) * 0.95))] * 1000, 3),
        "server_cpu_ms": round(median(one.server_cpu for one in rounds) * 1000, 3),
        "postgres_cpu_ms": round(median(one.postgres_cpu for one in rounds) * 1000, 3),
        "memory_growth_mb": round(max(one.memory for one in rounds) / 2**20, 1),
        **extra,
    }


# --- Statements -----------------------------------------------------------------------------------


@contextmanager
def logging_statements() -> Iterator[Path | None]:
    """PostgreSQL writes every statement to its log meanwhile; None where its log is elsewhere."""
    cluster = cluster_of(connection.settings_dict)
    if cluster is None:
        yield None
        return
    try:
        _configure("set log_statement = 'all'", "set log_parameter_max_length = 0")
        yield cluster.log_path
    finally:
        log_no_statements()


def log_no_statements() -> None:
    """Also for the beginning of a run: one that was killed may have left the log switched on."""
    _configure("reset log_statement", "reset log_parameter_max_length")


def _configure(*changes: str) -> None:
    with connection.cursor() as cursor:
        for change in changes:
            cursor.execute(f"alter system {change}")
        cursor.execute("select pg_reload_conf()")
    time.sleep(0.3)


def count_statements(case: Case, contender: Contender, log: Path) -> int:
    """How many statements one call makes, transaction control included."""
    clients, rows = case.clients, case.rows
    case.clients, case.rows = 1, min(rows, 20)  # what a call makes does not depend on how many
    try:
        requests = case.requests(contender, 1)[:1]
        # Asked before and after, since a connection that is too old is closed and made anew.
        backends = _backends_of(contender)
        begin = log.stat().st_size
        replies = contender.ask(requests)
        time.sleep(0.02)
        backends |= _backends_of(contender)
        with log.open("rb") as file:
            file.seek(begin)
            text = file.read().decode(errors="replace")
        demand_statuses(case, contender, replies)
        case.put_back(contender, replies)
    finally:
        case.clients, case.rows = clients, rows
    found = sum(pid in backends for pid in _STATEMENT.findall(text))
    if not found:
        raise BenchError(f"{case.key}: no statement of {contender.name} was logged")
    return found


def _backends_of(contender: Contender) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select pid from pg_stat_activity where application_name = %s",
            [f"bench-{contender.name}"],
        )
        return {str(pid) for (pid,) in cursor.fetchall()}


# --- In process, and at the start -----------------------------------------------------------------


def bulk_create(world: World, *, count: int, rounds: int, sample: int) -> dict[str, Any]:
    """Making many tasks at once, by a function of each contender in this process: no route does.

    The usual way makes a sample. The tasks stay.
    """
    os.environ |= {k: v for k, v in environment("limit").items() if k.startswith("BENCH_")}
    from . import limit, plain

    admin = User.objects.get(username=world.admin)
    team, admins = "seed-team-001", "seed-administrators-1"
    held = {
        "potential_owner": {"groups": [team], "users": [world.client(0)]},
        "administrator": {"groups": [admins]},
    }
    named = {
        TaskRole.POTENTIAL_OWNER: [people.group(team), people.user(world.client(0))],
        TaskRole.ADMINISTRATOR: [people.group(admins)],
    }
    bodies = [{"name": f"Made by the bench {number}", "people": held} for number in range(count)]

    def ours() -> int:
        drafts = [Draft(Task(name=body["name"]), named) for body in bodies]
        return len(actions.create(drafts, call=Call(admin, Channel.NATIVE)))

    def by_limit() -> int:
        return len(limit.create(bodies, limit.Actor(admin.pk, admin.username, frozenset())))

    def by_plain() -> int:
        return len([plain.TaskViewSet.make(body, admin) for body in bodies[:sample]])

    ways: dict[str, Callable[[], int]] = {"ours": ours, "limit": by_limit, "plain": by_plain}
    limit.run("select 1", {})
    seen: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in ways}
    statements = {}
    for number in range(rounds):
        for name, way in ways.items():
            database = postgres()
            mine, backends = time.process_time(), cpu_of(database)
            started = time.perf_counter()
            with CaptureQueriesContext(connection) as queries:
                made = way()
            wall = time.perf_counter() - started
            cpu = time.process_time() - mine, cpu_of(database) - backends
            seen[name].append((made / wall, *cpu, made))
            if number == 0:
                statements[name] = 1 if name == "limit" else len(queries)
    figures = {
        name: {
            "value": round(median(one[0] for one in some), 1),
            "p50_ms": round(median(one[3] / one[0] for one in some) * 1000, 1),
            "p95_ms": round(max(one[3] / one[0] for one in some) * 1000, 1),
            "server_cpu_ms": round(median(one[1] for one in some) * 1000, 1),
            "postgres_cpu_ms": round(median(one[2] for one in some) * 1000, 1),
            "measured_rows": some[0][3],
            "statements": statements[name],
        }
        for name, some in seen.items()
    }
    return {"unit": "rows/s", **compared("rows/s", figures)}


def startup(*, rounds: int) -> dict[str, Any]:
    """From the start of a server of one worker to its first answer, and its memory then."""
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        for name in NAMES:
            with Contender(name, workers=1) as contender:
                seconds = contender.wait()
                cpu = cpu_of(contender.root())
                seen[name].append((seconds, contender.memory() / 2**20, cpu))
    figures = {
        name: {
            "value": round(median(one[0] for one in some) * 1000, 1),
            "p50_ms": round(median(one[0] for one in some) * 1000, 1),
            "p95_ms": round(max(one[0] for one in some) * 1000, 1),
            "memory_mb": round(median(one[1] for one in some), 1),
            "server_cpu_ms": round(median(one[2] for one in some) * 1000, 1),
        }
        for name, some in seen.items()
    }
    return {"unit": "ms", **compared("ms", figures)}


def clean_up() -> None:
    """Take back the tokens and sessions of the bench."""
    from django.contrib.sessions.models import Session

    from accounts.models import Token

    Token.objects.filter(Q(user__username__startswith="seed-")).delete()
    Session.objects.all().delete()
