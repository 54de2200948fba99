"""The rule book as data says what the hand-typed copy of it says, cell by cell and no more."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from accounts import roles as accounts_roles
from tasks import lifecycle
from tasks.actions import ACTIONS
from tasks.lifecycle import GRANTS, OPERATIONS, REVOKES, TRANSFERS, UPDATES, Operation, Reason
from tasks.roles import TaskRole

from . import rule_book
from .book import BOOK, ROLES, STATES, Page, rows, states_in, system_roles

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

    def may(self, permission: str, operation: str = "") -> bool:
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
    assert operation.own_part == page.own_part
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
    assert set(ACTIONS) == {*OPERATIONS, "transfer", "grant", "revoke", "update", "undo"}
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


def test_the_system_roles_grant_what_the_book_says_and_no_more() -> None:
    """Of tasks; what they grant of accounts, jobs and templates is another page."""
    granted = {
        role.name: {
            name
            for name in role.permissions
            if name.startswith("tasks.") and not name.endswith(("_job", "_template"))
        }
        for role in accounts_roles.system_roles()
    }
    assert granted == system_roles()


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
