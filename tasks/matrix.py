"""The rule book for people: the table of `lifecycle` and the system roles, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from accounts.roles import system_roles

from .lifecycle import (
    ACTIVE,
    ANY,
    ENDED,
    GRANTS,
    HELD,
    OPEN,
    OPERATIONS,
    ROWS,
    TRANSFERS,
    UNDO,
    UNDO_BY_ADMINISTRATOR,
    UNDO_BY_INITIATOR,
    UPDATES,
    Operation,
    Reason,
    Rule,
    State,
    permission_for,
)
from .roles import TaskRole

_SETS = (
    (ANY, "any state"),
    (ANY - {State.CREATED}, "any but created"),
    (ENDED | {State.IN_PROGRESS}, "in progress, ended"),
    (OPEN, "created, ready, reserved, in progress"),
    (ACTIVE, "ready, reserved, in progress"),
    (HELD, "reserved, in progress"),
)


def markdown() -> str:
    """Both gates as tables: who may use an operation at all, and who may on a given task."""
    tables = (_operations(), _by_role(), _properties(), _roles())
    return "\n\n".join("\n".join(table) for table in tables)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    titles = list(header)
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _operations() -> Iterator[str]:
    yield from _table(
        ("operation", "from", "to", "task roles", "on hold too", "can be undone"),
        (
            (
                operation.words if number == 0 else "",
                _states(rule.sources),
                _target(operation, rule),
                _who(operation, rule) + (_reason(operation) if number == 0 else ""),
                _on_hold(operation, rule),
                ("yes" if operation.reversible else "no") if number == 0 else "",
            )
            for operation in (*OPERATIONS.values(), UNDO)
            for number, rule in enumerate(operation.rules)
        ),
    )


def _by_role() -> Iterator[str]:
    yield from _table(
        ("task role", "may be transferred", "by (to whom)", "granted and revoked in"),
        (
            (
                role.label,
                _states(TRANSFERS[role].rules[0].sources) if role in TRANSFERS else "never",
                _receivers(TRANSFERS[role]) if role in TRANSFERS else "-",
                _maintained(role),
            )
            for role in TaskRole
        ),
    )


def _properties() -> Iterator[str]:
    yield from _table(
        ("property", "may be updated in", "by"),
        (
            (name.replace("_", " "), _states(rule.sources), _who(operation, rule))
            for name, operation in UPDATES.items()
            for rule in operation.rules
        ),
    )


def _roles() -> Iterator[str]:
    roles = system_roles()
    names: dict[str, list[str]] = {"tasks.view_task": ["view"], "tasks.add_task": ["create"]}
    for name in (*OPERATIONS, *ROWS, UNDO.name):
        names.setdefault(permission_for(name), []).append(name.replace("_", " "))
    del names[""]  # what the clock does needs none
    operations = {permission: ", ".join(found) for permission, found in names.items()}
    operations |= {
        "tasks.release_others_task": "release a colleague's",
        "tasks.administrator": "administrator of every task",
        "tasks.reader": "reader of every task",
    }
    yield from _table(
        ("system role", *(role.name for role in roles)),
        [
            *(
                (words, *("Y" if name in role.permissions else "-" for role in roles))
                for name, words in sorted(operations.items(), key=lambda item: item[1])
            ),
            (
                "most tasks in one bulk call",
                *(
                    "no limit"
                    if role.bulk_limit is None
                    else f"{role.bulk_limit:,}"
                    if role.bulk_limit
                    else "-"
                    for role in roles
                ),
            ),
        ],
    )


def _states(states: frozenset[State]) -> str:
    for known, words in _SETS:
        if states == known:
            return words
    return ", ".join(state.replace("_", " ") for state in State if state in states)


def _target(operation: Operation, rule: Rule) -> str:
    if operation.name == "finish":
        return "completed or failed"
    if operation.name == "nominate":
        return "reserved (one user) or ready"
    if operation.name == "remove":
        return "gone"
    return rule.target.replace("_", " ") if rule.target else "same"


def _who(operation: Operation, rule: Rule) -> str:
    if operation.system_only:
        return "the clock"
    if rule.roles | {TaskRole.EXCLUDED_OWNER} == frozenset(TaskRole):
        return "any but excluded owner"
    if operation is UNDO:
        hours = UNDO_BY_INITIATOR // timedelta(hours=1)
        days = UNDO_BY_ADMINISTRATOR.days
        return f"whoever did it ({hours} hours), administrator ({days} days)"
    roles = [role.label for role in TaskRole if role in rule.roles]
    return ", ".join(
        [*roles, *(f"{role.label} with `{name}`" for role, name in rule.with_permission.items())]
    )


def _reason(operation: Operation) -> str:
    part = "; one's own part, but for an administrator" if operation.own_part else ""
    return (
        part
        + {
            Reason.OPTIONAL: "",
            Reason.UNLESS_OWNER: "; reason unless one's own",
            Reason.ALWAYS: "; reason",
        }[operation.reason]
    )


def _on_hold(operation: Operation, rule: Rule) -> str:
    if operation.hold_flag:
        return "if the task says so"
    if operation.ends_hold:
        return "only then"
    if operation.system_only:
        return "yes"
    return ", ".join(role.label for role in TaskRole if role in rule.on_hold) or "no"


def _receivers(operation: Operation) -> str:
    found = []
    for giver, wanted in operation.receivers.items():
        whom = " or ".join(role.label for role in TaskRole if role in (wanted or ()))
        if operation.receiver_permission:
            whom += " or whoever may create tasks"
        found.append(f"{giver.label} (to {whom or 'anybody'})")
    return ", ".join(found)


def _maintained(role: TaskRole) -> str:
    if role not in GRANTS:
        return "never"
    sources = frozenset[State]().union(*(rule.sources for rule in GRANTS[role].rules))
    return _states(sources)
