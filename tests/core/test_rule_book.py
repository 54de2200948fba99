"""The rule book as data says what the hand-typed copy of it says, cell by cell and no more."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tasks import lifecycle
from tasks.actions import ACTIONS
from tasks.lifecycle import GRANTS, OPERATIONS, REVOKES, TRANSFERS, UPDATES, Operation, Reason
from tasks.roles import TaskRole

from . import rule_book

STATES = rule_book.STATES.split()
ROLES = rule_book.ROLES
WORKING = {"potential_owner", "owner", "editor"}


def rows(table: str) -> list[dict[str, str]]:
    """The lines of one of the hand-typed tables, by its headings."""
    headings, *lines = [
        [cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()
    ]
    return [dict(zip(headings, line, strict=True)) for line in lines]


def states_in(text: str) -> set[str]:
    """The states that a cell names."""
    if text == "-":
        return set()
    if text.startswith("any"):
        return set(STATES) - set(text.removeprefix("any").removeprefix(" but").split())
    return set(text.split())


def roles_in(text: str) -> set[str]:
    """The task roles that a cell names by two letters, those with a condition apart."""
    return {ROLES[word] for word in text.split() if word in ROLES}


@dataclass
class Line:
    """One line of the hand-typed book as a test can ask it."""

    sources: set[str]
    target: str | None
    roles: set[str]
    on_hold: set[str]
    with_permission: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """All the hand-typed book says of one operation."""

    permission: str
    event: str
    lines: list[Line]
    excluded: str = "not by it"
    manual_only: bool = False
    hold_flag: bool = False
    already_ours: bool = False
    reason: str = "-"
    system_only: bool = False
    ends_hold: bool = False
    skippable_only: bool = False
    receivers: dict[str, set[str] | None] = field(default_factory=dict)

    def outcome(self, state: str, held: set[str], on_hold: bool, granted: set[str]) -> str:
        """The code of the refusal, or the state a task of kind manual comes to be in."""
        if not held - {"excluded_owner"}:
            return "task_not_found"
        if self.system_only or self.permission not in granted:
            return "not_authorized"
        if "excluded_owner" in held and self.excluded == "never":
            return "not_authorized"
        if self.already_ours and "owner" in held and state in ("reserved", "in_progress"):
            return "already_owner"
        usable = held - {"excluded_owner"}
        if "excluded_owner" in held and self.excluded == "not by it":
            usable -= WORKING

        def may(line: Line) -> bool:
            return bool(usable & line.roles) or any(
                role in usable and permission in granted
                for role, permission in line.with_permission.items()
            )

        if not any(may(line) for line in self.lines):
            return "not_authorized"
        here = [line for line in self.lines if state in line.sources]
        if not here:
            return "invalid_task_state"
        (line,) = here
        if not may(line):
            return "not_authorized"
        if self.ends_hold and not on_hold:
            return "not_suspended"
        if on_hold and not usable & line.on_hold:
            return "task_suspended"
        return line.target or state


def receivers_in(lines: list[dict[str, str]]) -> dict[str, set[str] | None]:
    """Whom a task may go to, by the role of the caller; None is anybody."""
    return {
        ROLES[line["by"]]: None if line["to"] == "anybody" else roles_in(line["to"])
        for line in lines
    }


RECEIVERS: dict[str, dict[str, set[str] | None]] = {
    "assign": receivers_in(rows(rule_book.ASSIGNMENTS)),
    "delegate": {ROLES[role]: None for role in ("PO", "OW", "AD")},
    "nominate": {ROLES["AD"]: None},
}


def property_pages() -> Iterator[tuple[str, Page]]:
    for row in rows(rule_book.PROPERTIES):
        by = roles_in(row["by"])
        yield (
            row["property"],
            Page("tasks.change_task", "updated", [Line(states_in(row["from"]), None, by, by)]),
        )


def operation_pages() -> Iterator[tuple[str, Page]]:
    for row in rows(rule_book.OPERATIONS):
        lines = []
        for rule in rows(rule_book.RULES):
            if rule["operation"] != row["operation"]:
                continue
            conditional = dict(word.split("+") for word in rule["roles"].split() if "+" in word)
            ends_hold = rule["on hold too"] == "only then"
            by_system = rule["roles"] == "system"
            lines.append(
                Line(
                    states_in(rule["from"]),
                    None if rule["to"] == "same" else rule["to"],
                    roles_in("AD" if by_system else rule["roles"]),
                    roles_in(rule["roles" if ends_hold else "on hold too"]),
                    {ROLES[role]: f"tasks.{name}" for role, name in conditional.items()},
                )
            )
        yield (
            row["operation"],
            Page(
                permission="" if row["permission"] == "-" else f"tasks.{row['permission']}",
                event=row["event"],
                lines=lines,
                excluded=row["excluded"],
                manual_only=row["kinds"] == "manual",
                hold_flag=any(
                    rule["on hold too"] == "if the task says so"
                    for rule in rows(rule_book.RULES)
                    if rule["operation"] == row["operation"]
                ),
                already_ours=row["already ours"] == "says so",
                reason=row["reason"],
                system_only=any(
                    rule["roles"] == "system"
                    for rule in rows(rule_book.RULES)
                    if rule["operation"] == row["operation"]
                ),
                ends_hold=any(
                    rule["on hold too"] == "only then"
                    for rule in rows(rule_book.RULES)
                    if rule["operation"] == row["operation"]
                ),
                skippable_only=row["operation"] in rule_book.SKIPPABLE_ONLY,
                receivers=RECEIVERS.get(row["operation"], {}),
            ),
        )


def transfer_pages() -> Iterator[tuple[str, Page]]:
    by_role: dict[str, list[dict[str, str]]] = {}
    for row in rows(rule_book.TRANSFERS):
        by_role.setdefault(row["role"], []).append(row)
    for role, lines in by_role.items():
        givers = {ROLES[line["by"]] for line in lines}
        (sources,) = {line["from"] for line in lines}
        yield (
            role,
            Page(
                permission="tasks.transfer_task",
                event=f"{role}_transferred",
                lines=[Line(states_in(sources), None, givers, givers)],
                manual_only=role == "owner",
                receivers=receivers_in(lines),
            ),
        )


def work_item_pages(what_happened: str) -> Iterator[tuple[str, Page]]:
    for row in rows(rule_book.WORK_ITEMS):
        while_created, later = roles_in(row["while created"]), roles_in(row["else by"])
        lines = [Line({"created"}, None, while_created, while_created)]
        if later:
            lines.append(Line(states_in(row["in"]), None, later, later))
        yield (
            row["role"],
            Page("tasks.grant_task", f"{row['role']}_{what_happened}", lines),
        )


BOOK: dict[str, dict[str, Page]] = {
    "": dict(operation_pages()),
    "transfer": dict(transfer_pages()),
    "grant": dict(work_item_pages("granted")),
    "revoke": dict(work_item_pages("revoked")),
    "update": dict(property_pages()),
}
CODE: dict[str, dict[str, Operation]] = {
    "": dict(OPERATIONS),
    "transfer": {str(role): row for role, row in TRANSFERS.items()},
    "grant": {str(role): row for role, row in GRANTS.items()},
    "revoke": {str(role): row for role, row in REVOKES.items()},
    "update": dict(UPDATES),
}
ENTRIES = [(table, name) for table, pages in BOOK.items() for name in pages]


@dataclass(frozen=True)
class Somebody:
    """An account that holds some permissions."""

    permissions: frozenset[str]
    user_id: int | None = 7

    def may(self, permission: str) -> bool:
        return permission in self.permissions


@dataclass(frozen=True)
class Something:
    """A task as the rules look at it."""

    state: str
    on_hold: bool = False
    kind: str = "manual"
    owner_id: int | None = None
    owner_name: str | None = None
    claim_while_on_hold: bool = False
    skippable: bool = True


def answer(
    operation: Operation, state: str, held: set[str], on_hold: bool, granted: set[str]
) -> str:
    """What the code says to a cell, in the words of `Page.outcome`."""
    asker = Somebody(frozenset(granted))
    task = Something(state, on_hold, owner_id=7 if "owner" in held else None, owner_name="x")
    refusal = operation.refusal(task, frozenset(TaskRole(role) for role in held), asker)
    if refusal is not None:
        return refusal.code
    rule = operation.rule_for(state)
    assert rule is not None
    return rule.target or state


def cells(page: Page) -> Iterator[tuple[str, set[str], bool, set[str]]]:
    """Every state x one or two task roles, with and without exclusion x on hold x permissions."""
    permissions = [
        set(),
        {page.permission},
        {page.permission, "tasks.release_others_task"},
    ]
    roles = [*map(set, itertools.combinations(ROLES.values(), 1))]
    roles += map(set, itertools.combinations(ROLES.values(), 2))
    roles += [held | {"excluded_owner"} for held in roles]
    return (
        (state, held, on_hold, granted)
        for state, held, on_hold, granted in itertools.product(
            STATES, roles, (False, True), permissions
        )
    )


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_every_cell_answers_as_the_book_says(table: str, name: str) -> None:
    page, operation = BOOK[table][name], CODE[table][name]
    wrong = [
        (cell, said, expected)
        for cell in cells(page)
        if (said := answer(operation, *cell)) != (expected := page.outcome(*cell))
    ]
    assert wrong == []


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_permission_event_and_conditions_are_the_books(table: str, name: str) -> None:
    page, operation = BOOK[table][name], CODE[table][name]
    assert operation.name == (table or name)
    assert operation.permission == page.permission
    assert operation.event == page.event
    assert operation.manual_only == page.manual_only
    assert operation.hold_flag == page.hold_flag
    assert operation.repeatable == page.already_ours
    assert operation.is_work == (page.excluded == "never")
    assert operation.open_to_excluded == (page.excluded == "as others")
    assert operation.system_only == page.system_only
    assert operation.ends_hold == page.ends_hold
    assert operation.skippable_only == page.skippable_only
    reasons = {"-": Reason.OPTIONAL, "unless owner's": Reason.UNLESS_OWNER, "yes": Reason.ALWAYS}
    assert operation.reason is reasons[page.reason]
    receivers = {
        str(role): None if demand is None else {str(one) for one in demand}
        for role, demand in operation.receivers.items()
    }
    assert receivers == page.receivers


def test_the_code_has_no_operation_more_and_none_less() -> None:
    assert {table: set(rules) for table, rules in CODE.items()} == {
        table: set(pages) for table, pages in BOOK.items()
    }
    assert {str(state) for state in lifecycle.State} == set(STATES)
    assert {str(role) for role in TaskRole} == set(ROLES.values())
    assert set(ACTIONS) == {*OPERATIONS, "transfer", "grant", "revoke", "update"}
    assert {
        name: {str(state) for state in operation.subtasks_in}
        for name, operation in OPERATIONS.items()
        if operation.subtasks_in
    } == {row["operation"]: states_in(row["subtasks in"]) for row in rows(rule_book.WITH_SUBTASKS)}


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_one_state_has_one_rule_at_most(table: str, name: str) -> None:
    """Else the order of the rules would be a rule that the book does not have."""
    rules = CODE[table][name].rules
    for one, other in itertools.combinations(rules, 2):
        assert one.sources.isdisjoint(other.sources)


def test_who_receives_ownership_must_not_be_excluded_and_only_he() -> None:
    makers = {(table, name) for table, name in ENTRIES if CODE[table][name].makes_owner}
    assert makers == {
        ("", "assign"),
        ("", "delegate"),
        ("", "nominate"),
        ("transfer", "owner"),
    }


def test_originators_may_hand_over_to_whoever_may_create() -> None:
    by_permission = {
        (table, name): CODE[table][name].receiver_permission
        for table, name in ENTRIES
        if CODE[table][name].receiver_permission
    }
    assert by_permission == {("transfer", "originator"): "tasks.add_task"}


@pytest.mark.parametrize("kind", ["automatic", "operation"])
def test_only_manual_tasks_are_worked_by_people(kind: str) -> None:
    for table, name in ENTRIES:
        page, operation = BOOK[table][name], CODE[table][name]
        everything = Somebody(frozenset({page.permission}), None if page.system_only else 7)
        state = min(page.lines[0].sources)
        held = frozenset({TaskRole(min(page.lines[0].roles))})
        refusal = operation.refusal(Something(state, kind=kind), held, everything)
        assert (refusal is not None and refusal.code == "wrong_kind") == page.manual_only


def test_a_claim_on_hold_goes_through_where_the_task_says_so() -> None:
    everything = Somebody(frozenset({"tasks.claim_task", "tasks.finish_task"}))
    held = frozenset({TaskRole.POTENTIAL_OWNER})
    willing = Something("ready", on_hold=True, claim_while_on_hold=True)
    assert OPERATIONS["claim"].refusal(willing, held, everything) is None
    finish = OPERATIONS["finish"].refusal(willing, held, everything)
    assert finish is not None
    assert finish.code == "task_suspended"


def test_the_comparison_notices_a_changed_cell() -> None:
    """Negative control: one role more in one rule of a copy is found."""
    claim = OPERATIONS["claim"]
    looser = Operation(
        claim.name,
        claim.permission,
        claim.event,
        tuple(
            lifecycle.Rule(rule.sources, rule.roles | {TaskRole.EDITOR}, rule.target)
            for rule in claim.rules
        ),
        is_work=True,
        repeatable=True,
    )
    page = BOOK[""]["claim"]
    assert [cell for cell in cells(page) if answer(looser, *cell) != page.outcome(*cell)]
