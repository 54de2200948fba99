"""The hand-typed rule book as tests ask it: what each operation answers in each cell.

It knows the typed tables alone, nothing of the code that they are held against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

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
    own_part: bool = False
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
                own_part=row["operation"] in rule_book.OWN_PART,
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


def system_roles() -> dict[str, set[str]]:
    """The permissions that the typed table gives each system role, as "tasks.claim_task"."""
    granted: dict[str, set[str]] = {}
    for row in rows(rule_book.SYSTEM_ROLES):
        for name, mark in row.items():
            if name != "grants":
                assert mark in ("Y", "-")
                granted.setdefault(name, set()).update(
                    f"tasks.{word}" for word in row["grants"].split() if mark == "Y"
                )
    return granted
