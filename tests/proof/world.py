"""Accounts of every system role before tasks that each is something to, in every way there is.

What is expected of a cell comes from the hand-typed book (`tests/core/book.py`) and from the few
lines here that say what the arguments add to it; nothing is asked of the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.models import Group, GroupNesting, Membership, User
from tasks import actions, people
from tasks.actions import Call, Draft
from tasks.models import Channel, Job, Task
from tasks.people import Reference
from tasks.roles import TaskRole
from tests.core.book import BOOK, ROLES, STATES, Page, system_roles
from tests.core.cases import GIVEN, NEW
from tests.factories import GroupFactory, JobFactory, UserFactory, reference

HELD = ("reserved", "in_progress")
MAY_BE_ON_HOLD = ("ready", *HELD)
"""The states in which the database lets a task be on hold."""
UNOWNED = ("created", "ready")
"""The states in which the database lets nobody own a task."""

STANDINGS = [(state, False) for state in STATES] + [(state, True) for state in MAY_BE_ON_HOLD]
COLUMNS = ("owner", "originator", "starter")
GRANTED = [role for role in ROLES.values() if role not in COLUMNS]

# --- Callers --------------------------------------------------------------------------------------

ROLES_GRANT = system_roles()
GRANTS: dict[str, set[str]] = {
    **ROLES_GRANT,
    "no role": set(),
    "superuser": set().union(*ROLES_GRANT.values()),
}
"""What each kind of caller is permitted, by gate 1."""
CALLERS = list(GRANTS)
NO_BULK = ("apiread", "viewer", "retryUser", "no role")
"""Callers who may name no task in a bulk call, should they be permitted the operation."""


# --- What a caller is to a task -------------------------------------------------------------------


@dataclass(frozen=True)
class Holding:
    """What some callers are to a task: `roles`, held in some `way`.

    `rows` say who is given which role; the name of a group, or "caller". A `column` of the task
    can name one account only, so every caller has tasks of his own for it.
    """

    roles: frozenset[str]
    way: str
    rows: tuple[tuple[str, str], ...] = ()
    column: str = ""

    def excluded(self, way: str, holder: str) -> Holding:
        """The same for somebody who is excluded as well."""
        return replace(
            self,
            roles=self.roles | {"excluded_owner"},
            way=f"{self.way}, excluded {way}",
            rows=(*self.rows, ("excluded_owner", holder)),
        )


WAYS = {
    "himself": "caller",
    "through a group": "team",
    "through a group within": "department",
    "as everybody": "everybody",
}


def holdings() -> Iterator[Holding]:
    """Every task role in every way it can be held, and with exclusion on top."""
    yield Holding(frozenset(), "not at all")
    leads = [
        # A lead is a member too; leads of the group above are not.
        Holding(
            frozenset({"potential_owner", "administrator"}),
            "as a lead",
            (("potential_owner", "led"),),
        ),
        Holding(
            frozenset({"administrator"}), "as a lead above", (("potential_owner", "led below"),)
        ),
    ]
    columns = [Holding(frozenset({name}), "by name", column=name) for name in COLUMNS]
    yield from (*leads, *columns)
    for role in GRANTED:
        for way, holder in WAYS.items():
            # Were all excluded, there would be nobody left to give it to.
            if (role, holder) != ("excluded_owner", "everybody"):
                yield Holding(frozenset({role}), way, ((role, holder),))
    for role in GRANTED:
        if role != "excluded_owner":
            yield Holding(frozenset({role}), "himself", ((role, "caller"),)).excluded(
                "himself", "caller"
            )
    for one in (*leads, *columns):
        yield one.excluded("himself", "caller")
    owner = Holding(frozenset({"potential_owner"}), "himself", (("potential_owner", "caller"),))
    yield owner.excluded("through a group", "team")
    yield owner.excluded("through a group within", "department")


# --- The world ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spot:
    """A task of the world: what it is, and what the callers are to it."""

    pk: UUID
    state: str
    on_hold: bool
    holding: Holding
    caller: str | None = None


@dataclass
class World:
    """The callers, the tasks of each, and those who give and receive.

    The `giver` holds every granted role on every task; the `target` is potential owner and
    administrator of each; the `receiver` is nothing to any; the `filler` stands in columns.
    """

    users: dict[str, User] = field(default_factory=dict)
    spots: dict[str, list[Spot]] = field(default_factory=dict)
    job: Job = field(default_factory=Job)
    """The job that all tasks belong to."""
    automatic: UUID | None = None
    unskippable: UUID | None = None

    def ids(self, caller: str) -> list[UUID]:
        return [spot.pk for spot in self.spots[caller]]


def name_of(caller: str) -> str:
    """The user name of a caller."""
    return f"a-{caller.replace(' ', '-')}"


def build() -> World:
    """Make the world, by few statements."""
    world = World(job=JobFactory(name="World"))
    groups = {name: GroupFactory(name=name) for name in ("team", "department", "led", "led below")}
    groups["everybody"] = Group.objects.get(name="everybody")
    GroupNesting.objects.create(child=groups["team"], parent=groups["department"])
    GroupNesting.objects.create(child=groups["led below"], parent=groups["led"])
    for one in ("giver", "target", "receiver", "filler"):
        world.users[one] = UserFactory(username=one)
    for caller in CALLERS:
        user = UserFactory(
            username=name_of(caller),
            is_superuser=caller == "superuser",
            system_roles=[caller] if caller in ROLES_GRANT else [],
        )
        Membership.objects.create(user=user, group=groups["team"])
        Membership.objects.create(user=user, group=groups["led"], lead=True)
        world.users[caller] = User.objects.get(pk=user.pk)
        world.spots[caller] = []
    drafts = _drafts(world, groups)
    call = Call(None, Channel.COMMAND, request_id="world")
    actions.import_(drafts, call=call)
    return world


def _drafts(world: World, groups: dict[str, Group]) -> Iterator[Draft]:
    callers = [world.users[caller] for caller in CALLERS]

    def draft(
        state: str, on_hold: bool, holding: Holding, alone: User | None, **more: Any
    ) -> Draft:
        filler = world.users["filler"]
        columns = {"originator": filler, "starter": filler}
        if state in HELD:
            columns["owner"] = filler
        if holding.column and alone is not None:
            columns[holding.column] = alone
        named: dict[TaskRole, list[Reference]] = {
            TaskRole(role): [reference(world.users["giver"])] for role in GRANTED
        }
        for role in (TaskRole.POTENTIAL_OWNER, TaskRole.ADMINISTRATOR):
            named[role].append(reference(world.users["target"]))
        for role, holder in holding.rows:
            these: Sequence[User | Group] = (
                [groups[holder]] if holder in groups else (callers if alone is None else [alone])
            )
            named[TaskRole(role)] += [reference(one) for one in these]
        ended = None if state in (*UNOWNED, *HELD) else timezone.now()
        fields = {
            "name": f"{state}{' on hold' * on_hold}, {holding.way}",
            "state": state,
            "on_hold": on_hold,
            "skippable": True,
            "ended_at": ended,
            "job": world.job,
            **columns,
            **more,
        }
        return Draft(Task(**fields), named)

    for holding in holdings():
        for state, on_hold in STANDINGS:
            if holding.column == "owner" and state in UNOWNED:
                continue
            for caller in CALLERS if holding.column else [None]:
                made = draft(state, on_hold, holding, world.users[caller] if caller else None)
                spot = Spot(made.task.pk, state, on_hold, holding, caller)
                for one in [caller] if caller else CALLERS:
                    world.spots[one].append(spot)
                yield made
    everything = Holding(
        frozenset(GRANTED) - {"excluded_owner"},
        "in all ways",
        tuple((role, "caller") for role in GRANTED if role != "excluded_owner"),
    )
    special = draft("ready", False, everything, None, kind="automatic")
    world.automatic = special.task.pk
    yield special
    special = draft("ready", False, everything, None, skippable=False)
    world.unskippable = special.task.pk
    yield special


# --- Operations and what they are asked with ------------------------------------------------------

GIVER, TARGET, RECEIVER = people.user("giver"), people.user("target"), people.user("receiver")
FILLER = people.user("filler")


@dataclass(frozen=True)
class Entry:
    """A line of the book as it is asked: `table` and `row` name its page."""

    table: str
    row: str
    arguments: dict[str, Any] = field(default_factory=dict)
    giving: str = ""
    """Whose part is given away: "own", or that of somebody by name."""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.table, self.row, self.giving)))

    @property
    def operation(self) -> str:
        return self.table or self.row

    @property
    def page(self) -> Page:
        return BOOK[self.table][self.row]

    def given(self) -> dict[str, Any]:
        """The arguments of one call; a file is read by each."""
        content = {"content": ContentFile(b"a plan")} if self.row == "attach" else {}
        return {**self.arguments, **content}

    def expected(self, caller: str, spot: Spot) -> str:
        """The code of the refusal, or the state in which the task will be."""
        granted = GRANTS[caller]
        held = set(spot.holding.roles)
        held |= {role for role in ("administrator", "reader") if f"tasks.{role}" in granted}
        found = self.page.outcome(spot.state, held, spot.on_hold, granted)
        if found in ("task_not_found", "not_authorized"):
            return found
        if self.page.own_part and self.giving != "own" and "administrator" not in held:
            return "not_authorized"
        return self._part(spot) or found if found in STATES else found

    def _part(self, spot: Spot) -> str:
        """What stands against giving a part away that is not there."""
        if self.row == "forward" and self.giving == "own":
            holds = ("potential_owner", "caller") in spot.holding.rows
            return "" if holds else "no_such_work_item"
        if self.table == "transfer" and self.row in COLUMNS:
            holds = spot.holding.column == self.row
            return "" if holds == (self.giving == "own") else "no_such_work_item"
        return ""


_ASKED_WITH: dict[str, dict[str, Any]] = {
    **GIVEN,
    "nominate": {"people": [TARGET]},
    "assign": {"to": TARGET},
    "delegate": {"to": TARGET},
}


def _entries() -> Iterator[Entry]:
    for name in BOOK[""]:
        if name == "forward":
            yield Entry("", name, {"to": RECEIVER}, "own")
            yield Entry("", name, {"to": RECEIVER, "from_": TARGET}, "target")
        else:
            yield Entry("", name, _ASKED_WITH.get(name, {}))
    for role in BOOK["transfer"]:
        if role in COLUMNS:
            yield Entry("transfer", role, {"role": role, "to": TARGET}, "own")
            yield Entry("transfer", role, {"role": role, "to": TARGET, "from_": FILLER}, "filler")
        else:
            given = {"role": role, "to": RECEIVER, "from_": GIVER}
            yield Entry("transfer", role, given, "giver")
    for role in BOOK["grant"]:
        yield Entry("grant", role, {"role": role, "to": RECEIVER})
        yield Entry("revoke", role, {"role": role, "from_": GIVER})
    for name in BOOK["update"]:
        yield Entry("update", name, {"values": {name: NEW[name]}})


ENTRIES = list(_entries())


def first_of(operation: str, row: str = "") -> Entry:
    """One entry for an operation that has many rows, or that of a row."""
    return next(entry for entry in ENTRIES if entry.operation == operation and row in entry.row)


IN_FULL = ("operations",)
"""Callers who are asked for every row of the tables in the short form too."""


def entries_for(caller: str, long: bool) -> list[Entry]:
    """What a caller is asked for: everything, or of transfer, grant, revoke and update one row."""
    if long or caller in IN_FULL:
        return ENTRIES
    return [entry for entry in ENTRIES if not entry.table or entry is first_of(entry.table)]


def cells_of(entries: Sequence[Entry]) -> int:
    """How many cells one caller has in some entries, counted without a database."""
    per_entry = sum(
        len(STANDINGS) - (3 if holding.column == "owner" else 0) for holding in holdings()
    )
    return per_entry * len(entries)
