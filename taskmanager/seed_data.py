"""Tasks by the million for measuring: people, groups, and who holds which role on what."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from accounts import sql
from accounts.models import Group, Membership, Role, User
from tasks import events
from tasks.calls import Call
from tasks.lifecycle import Kind, State
from tasks.models import NO_DUE_DATE, Channel, canonical
from tasks.querysets import is_open, is_ready, permission_ids
from tasks.roles import TaskRole

PROVENANCE = "Seed"
USERS, ENGINES, TEAMS, ADMINISTRATORS = 2000, 20, 200, 3
BATCH = 10_000

RARE, NORMAL, BIG, ADMIN = "seed-rare", "seed-normal", "seed-big", "seed-admin"
"""Who sees little, as much as most, and a great deal; and who sees everything."""
BIG_TEAM = "seed-big-team"

TABLES = (
    "tasks_task",
    "tasks_taskuserrole",
    "tasks_taskgrouprole",
    "tasks_auditevent",
    "tasks_outboxevent",
)
_PERIOD = timedelta(days=60)
_BIG_SHARE = 0.267
"""How many of all tasks the big team may work on: of a million, 200,000 that are open."""
_EXCLUDED_SHARE = 0.02
_WORK = ("Check", "Replace", "Approve", "Restore", "Measure", "Document", "Upgrade", "Inspect")
_THINGS = ("router", "switch", "firewall", "uplink", "circuit", "licence", "badge", "backup")


class People(NamedTuple):
    """The keys of the people and groups that seeded tasks name."""

    names: dict[int, str]
    workers: Sequence[int]
    engines: Sequence[int]
    teams: Sequence[int]
    """The big team stands first."""
    members: Mapping[int, Sequence[int]]
    administrators: Sequence[int]


class _Batch(NamedTuple):
    """Lines for COPY, and the events that go with them."""

    tasks: list[str]
    user_roles: list[str]
    group_roles: list[str]


def write_people() -> People:
    """Make 2,000 accounts, 200 teams and three groups of administrators, in a transaction.

    Nobody has a password. Most are in about five teams, `RARE` in none, `BIG` in the big one too.
    """
    chance = random.Random(200)  # noqa: S311 (made-up people, not a secret)
    team_names = [BIG_TEAM, *(f"seed-team-{n:03}" for n in range(1, TEAMS))]
    admin_names = [f"seed-administrators-{n}" for n in range(1, ADMINISTRATORS + 1)]
    engine_names = [f"seed-engine-{n:02}" for n in range(1, ENGINES + 1)]
    special = [RARE, NORMAL, BIG, ADMIN]
    others = [f"seed-{n:04}" for n in range(len(special) + ENGINES + 1, USERS + 1)]
    roles = {role.name: role for role in Role.objects.filter(provenance="OperationsManager")}
    with transaction.atomic():
        teams = [Group.objects.create(name=n, provenance=PROVENANCE) for n in team_names]
        administrators = [Group.objects.create(name=n, provenance=PROVENANCE) for n in admin_names]
        made = User.objects.bulk_create(
            User(username=name, password="!", provenance=PROVENANCE)  # noqa: S106 (no log-in)
            for name in (*special, *engine_names, *others)
        )
        users = {user.username: user for user in made}
        role_of = {**dict.fromkeys(engine_names, "apiwrite"), ADMIN: "admin"}
        User.roles.through.objects.bulk_create(
            User.roles.through(user_id=user.pk, role_id=roles[role_of.get(name, "operations")].pk)
            for name, user in users.items()
        )
        members: dict[int, list[int]] = {team.pk: [] for team in teams}
        for name in (NORMAL, BIG, *others):
            number = 5 if name in special else chance.randint(3, 7)
            chosen = chance.sample(teams[1:], number)
            if name == BIG or name in others[:40]:
                chosen.append(teams[0])
            for team in chosen:
                members[team.pk].append(users[name].pk)
        Membership.objects.bulk_create(
            Membership(user_id=user, group_id=team)
            for team, some in members.items()
            for user in some
        )
        Membership.objects.bulk_create(
            Membership(user=users[name], group=group)
            for position, group in enumerate(administrators)
            for name in others[position * 5 : position * 5 + 5]
        )
    return People(
        names={user.pk: user.username for user in made},
        workers=[users[name].pk for name in (RARE, NORMAL, BIG, *others)],
        engines=[users[name].pk for name in engine_names],
        teams=[team.pk for team in teams],
        members=members,
        administrators=[group.pk for group in administrators],
    )


def write_tasks(count: int, people: People, done: Callable[[int], None]) -> None:
    """Write `count` tasks with their role rows, events and outbox rows; `done` hears of batches.

    Set-up, not an operation: tasks and role rows go in by COPY, past the actions, as they would
    stand after an import, each at version 1 with the one event `imported`. Call it within `bare`.
    """
    chance = random.Random(count)  # noqa: S311
    call = Call(None, Channel.COMMAND, request_id="seed", reason="seed data")
    now = timezone.now()
    start, step = now - _PERIOD, _PERIOD / count
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        batch, entries = _Batch([], [], []), []
        for number in numbers:
            entries.append(_task(number, start + step * number, people, chance, batch))
        record = events.parameters("imported", call, now, call.reason, entries)
        heads = [head.hex() for head in record["hashes"]]
        _copy(
            _COPY_TASKS,
            (f"{line}\t\\\\x{head}\n" for line, head in zip(batch.tasks, heads, strict=True)),
        )
        _copy(_COPY_USER_ROLES, batch.user_roles)
        _copy(_COPY_GROUP_ROLES, batch.group_roles)
        ctes = (
            events.input_cte(events.INPUT_COLUMNS, len(entries)),
            events.concerned_cte(),
            events.RECORD,
        )
        sql.run(f"with {', '.join(ctes)} select 1", record)
        done(len(numbers))


_COPY_TASKS = """
    copy tasks_task (id, version, name, description, kind, state, priority, due_at, on_hold,
        claim_while_on_hold, skippable, automatic_claim, owner_id, originator_id, starter_id,
        created_at, updated_at, activated_at, claimed_at, ended_at, input, output, fault_name,
        custom_properties, secret_pointers, imported, head) from stdin"""
_COPY_USER_ROLES = """
    copy tasks_taskuserrole
        (content_object_id, permission_id, user_id, open, ready, priority, due,
            created) from stdin"""
_COPY_GROUP_ROLES = """
    copy tasks_taskgrouprole
        (content_object_id, permission_id, group_id, open, ready, priority, due,
            created) from stdin"""


def _copy(statement: str, lines: Iterable[str]) -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write("".join(lines))


def _task(
    number: int, created: datetime, people: People, chance: random.Random, batch: _Batch
) -> events.Entry:
    """One task, written into the batch; the entry of its event."""
    draw = chance.random
    pk = _uuid7(created, chance)
    teams, users = _potential_owners(people, draw)
    state, owner = _state_and_owner(people, teams, users, draw)
    excluded = people.workers[int(draw() * len(people.workers))]
    priority = (1, 3, 5, 5, 5, 7, 9)[int(draw() * 7)]
    due = created + timedelta(days=(3, 7, 14, 30, 70)[int(draw() * 5)]) if draw() < 0.8 else None
    name = f"{_WORK[int(draw() * 8)]} {_THINGS[int(draw() * 8)]} {number}"
    engine = people.engines[int(draw() * len(people.engines))]
    at, held = created.isoformat(), owner is not None
    ended = state == State.COMPLETED
    data = f'{{"ticket": "CHG{number:07d}", "site": "site-{number % 97}"}}'
    batch.tasks.append(
        f"{pk}\t1\t{name}\tSeeded to be measured with.\t{Kind.MANUAL.value}\t{state.value}\t"
        f"{priority}\t{due.isoformat() if due else _NULL}\tf\tf\t{'t' if number % 5 == 0 else 'f'}"
        f"\tf\t{owner or _NULL}\t{engine}\t{engine}\t{at}\t{at}\t{at}\t{at if held else _NULL}\t"
        f"{at if ended else _NULL}\t{data}\t{_DONE if ended else _NULL}\t\t{{}}\t[]\t{{}}"
    )
    rest = (
        f"{_yes(is_open(state))}\t{_yes(is_ready(state, Kind.MANUAL, False))}\t{priority}\t"
        f"{(due or NO_DUE_DATE).isoformat()}\t{at}\n"
    )
    ids = permission_ids()
    potential, editor = ids[TaskRole.POTENTIAL_OWNER], ids[TaskRole.EDITOR]
    batch.group_roles.extend(f"{pk}\t{potential}\t{team}\t{rest}" for team in teams)
    administrators = people.administrators[number % len(people.administrators)]
    batch.group_roles.append(f"{pk}\t{ids[TaskRole.ADMINISTRATOR]}\t{administrators}\t{rest}")
    batch.user_roles.extend(f"{pk}\t{potential}\t{user}\t{rest}" for user in users)
    if held:
        batch.user_roles.append(f"{pk}\t{editor}\t{owner}\t{rest}")
    if draw() < _EXCLUDED_SHARE and excluded != owner and excluded not in users:
        batch.user_roles.append(f"{pk}\t{ids[TaskRole.EXCLUDED_OWNER]}\t{excluded}\t{rest}")
    after: dict[str, Any] = {"name": name, "state": state.value, "priority": priority}
    if owner is not None:
        after["owner"] = people.names[owner]
    return events.Entry(pk, 1, events.GENESIS, canonical({}), canonical(after))


_NULL = "\\N"
_DONE = '{"result": "done"}'


def _yes(value: bool) -> str:
    return "t" if value else "f"


def _potential_owners(
    people: People, draw: Callable[[], float]
) -> tuple[Sequence[int], Sequence[int]]:
    """One to three teams and none to two users, in the order in which they were drawn."""
    others = len(people.teams) - 1
    wanted = 1 + int(draw() * 3)
    teams = {people.teams[0]} if draw() < _BIG_SHARE else set()
    while len(teams) < wanted:
        teams.add(people.teams[1 + int(draw() * others)])
    users = {people.workers[int(draw() * len(people.workers))] for _ in range(int(draw() * 3))}
    return sorted(teams), sorted(users)


def _state_and_owner(
    people: People, teams: Sequence[int], users: Sequence[int], draw: Callable[[], float]
) -> tuple[State, int | None]:
    """Half of all tasks are ready, a quarter is held, a quarter is done; by a potential owner."""
    place = draw()
    if place < 0.5:
        return State.READY, None
    able = users or people.members[teams[int(draw() * len(teams))]]
    owner = able[int(draw() * len(able))]
    if place < 0.7:
        return State.RESERVED, owner
    return (State.IN_PROGRESS if place < 0.75 else State.COMPLETED), owner


def _uuid7(created: datetime, chance: random.Random) -> UUID:
    """As `tasks.uuid7` makes them, of the time the task is said to have been made at."""
    value = int(created.timestamp() * 1000) << 80 | chance.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


@contextmanager
def bare() -> Iterator[list[str]]:
    """A transaction in which the tables of tasks have neither foreign keys nor plain indexes.

    Yields the statements that put them back just as they were, for the caller to run; on an error
    nothing has happened at all. Building an index once is several times faster than growing it by
    a million rows. Until the end nobody else can use these tables.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            cursor.execute(f"set local {name} = 0")
        cursor.execute("set local maintenance_work_mem = '512MB'")
        cursor.execute("set constraints all immediate")
        cursor.execute(_TAKE_OFF, {"tables": list(TABLES)})
        parts: list[tuple[str, str]] = cursor.fetchall()
        for drop, _ in parts:
            cursor.execute(drop)
        yield [add for _, add in reversed(parts)]


_TAKE_OFF = """
    select format('alter table %%s drop constraint %%I', conrelid::regclass, conname),
        format('alter table %%s add constraint %%I %%s', conrelid::regclass, conname,
            pg_get_constraintdef(oid))
    from pg_constraint where contype = 'f' and conrelid = any(%(tables)s::regclass[])
    union all
    select format('drop index %%s', indexrelid::regclass), pg_get_indexdef(indexrelid)
    from pg_index where indrelid = any(%(tables)s::regclass[]) and not indisunique"""


def settle() -> None:
    """Let PostgreSQL look at what was written; plans and index-only scans depend on it."""
    analyze = "analyze" if connection.in_atomic_block else "vacuum analyze"
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 0")
        cursor.execute(f"{analyze} {', '.join(TABLES)}, accounts_effectivemembership")
        cursor.execute("reset statement_timeout")
