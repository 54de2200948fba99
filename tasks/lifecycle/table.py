"""The rule book itself: one entry for each operation, one line for each set of states.

Sources: WS-HumanTask 1.1 chapter 4, IBM's authorization, transfer, work item and update tables,
Itential's task routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from tasks.roles import TaskRole

from .rules import NOBODY, Operation, Reason, Rule
from .states import ACTIVE, ANY, ENDED, HELD, OPEN, State

OW, PO, AD, ED = TaskRole.OWNER, TaskRole.POTENTIAL_OWNER, TaskRole.ADMINISTRATOR, TaskRole.EDITOR
RD, SH, OR = TaskRole.READER, TaskRole.STAKEHOLDER, TaskRole.ORIGINATOR
PS, SR = TaskRole.POTENTIAL_STARTER, TaskRole.STARTER
ER, XO = TaskRole.ESCALATION_RECEIVER, TaskRole.EXCLUDED_OWNER


def _roles(*roles: TaskRole) -> frozenset[TaskRole]:
    return frozenset(roles)


def _states(*states: State) -> frozenset[State]:
    return frozenset(states)


CREATED, READY = _states(State.CREATED), _states(State.READY)
RESERVED, IN_PROGRESS = _states(State.RESERVED), _states(State.IN_PROGRESS)
VISIBLE_BY = frozenset(TaskRole) - {XO}


def _hold(name: str, permission: str, event: str, *, ends_hold: bool = False) -> Operation:
    """Suspend or resume: the same roles, which for resume count on hold."""
    lines = ((READY, _roles(PO, OR, AD)), (HELD, _roles(OW, OR, AD)))
    return Operation(
        name,
        permission,
        event,
        tuple(
            Rule(states, roles, on_hold=roles if ends_hold else NOBODY) for states, roles in lines
        ),
        subtasks_in=ACTIVE,
        ends_hold=ends_hold,
    )


def _note(name: str, event: str) -> Operation:
    """Comment or attach."""
    roles = _roles(PO, OW, ED, SH, OR, AD)
    rules = (Rule(ANY, roles, on_hold=roles),)
    return Operation(name, f"tasks.{name}_task", event, rules, reversible=False)


def _save(name: str, event: str) -> Operation:
    return Operation(
        name,
        "tasks.save_task",
        event,
        (Rule(HELD, _roles(OW, ED, AD)),),
        manual_only=True,
        is_work=True,
    )


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "activate",
            "tasks.activate_task",
            "activated",
            (Rule(CREATED, _roles(OR, PS, AD), State.READY),),
        ),
        Operation(
            "nominate",
            "tasks.nominate_task",
            "nominated",
            # Ready instead, where more than one user is named.
            (Rule(CREATED, _roles(AD), State.RESERVED),),
            manual_only=True,
            makes_owner=True,
            receivers={AD: None},
        ),
        Operation(
            "claim",
            "tasks.claim_task",
            "claimed",
            (Rule(READY, _roles(PO, AD), State.RESERVED),),
            manual_only=True,
            is_work=True,
            hold_flag=True,
            repeatable=True,
        ),
        Operation(
            "start",
            "tasks.start_task",
            "started",
            (
                Rule(READY, _roles(PO, AD), State.IN_PROGRESS),
                Rule(RESERVED, _roles(OW), State.IN_PROGRESS),
            ),
            manual_only=True,
            is_work=True,
        ),
        Operation(
            "stop",
            "tasks.stop_task",
            "stopped",
            (Rule(IN_PROGRESS, _roles(OW, AD), State.RESERVED),),
        ),
        Operation(
            "release",
            "tasks.release_task",
            "released",
            (
                Rule(
                    HELD,
                    _roles(OW, AD),
                    State.READY,
                    on_hold=_roles(AD),
                    with_permission={PO: "tasks.release_others_task"},
                ),
            ),
            reason=Reason.UNLESS_OWNER,
            open_to_excluded=True,
        ),
        Operation(
            "cancel_claim",
            "tasks.release_task",
            "claim_cancelled",
            (Rule(HELD, _roles(OW, AD), State.READY),),
            open_to_excluded=True,
        ),
        Operation(
            "assign",
            "tasks.assign_task",
            "assigned",
            (
                Rule(READY, _roles(PO, AD), State.RESERVED),
                Rule(HELD, _roles(OW, AD), State.RESERVED, on_hold=_roles(AD)),
            ),
            manual_only=True,
            makes_owner=True,
            receivers={PO: _roles(PO), OW: _roles(PO, AD), AD: None},
        ),
        Operation(
            "delegate",
            "tasks.delegate_task",
            "delegated",
            (
                Rule(READY, _roles(PO, AD), State.RESERVED),
                Rule(HELD, _roles(OW, AD), State.RESERVED),
            ),
            manual_only=True,
            makes_owner=True,
            receivers={PO: None, OW: None, AD: None},
        ),
        Operation(
            "forward",
            "tasks.forward_task",
            "forwarded",
            (
                Rule(READY, _roles(PO, AD), State.READY, on_hold=_roles(AD)),
                Rule(HELD, _roles(OW, AD), State.READY, on_hold=_roles(AD)),
            ),
            own_part=True,
        ),
        _hold("suspend", "tasks.suspend_task", "suspended"),
        Operation(
            "suspend_and_release",
            "tasks.suspend_task",
            "suspended_and_released",
            (Rule(HELD, _roles(OW, AD), State.READY),),
            subtasks_in=ACTIVE,
        ),
        _hold("resume", "tasks.resume_task", "resumed", ends_hold=True),
        _save("save_output", "output_saved"),
        _save("save_fault", "fault_saved"),
        Operation(
            "complete",
            "tasks.complete_task",
            "completed",
            (Rule(HELD, _roles(OW, AD), State.COMPLETED),),
            manual_only=True,
            is_work=True,
        ),
        Operation(
            "finish",
            "tasks.finish_task",
            "finished",
            # Failed instead, where that is what is reported.
            (
                Rule(READY, _roles(PO, AD), State.COMPLETED),
                Rule(HELD, _roles(OW, AD), State.COMPLETED),
            ),
            manual_only=True,
            is_work=True,
        ),
        Operation(
            "fail",
            "tasks.fail_task",
            "failed",
            (Rule(HELD, _roles(OW, AD), State.FAILED),),
            manual_only=True,
            is_work=True,
        ),
        Operation(
            "skip",
            "tasks.skip_task",
            "skipped",
            (
                Rule(CREATED, _roles(OR, AD), State.OBSOLETE),
                Rule(READY, _roles(PO, AD), State.OBSOLETE),
                Rule(HELD, _roles(OW, AD), State.OBSOLETE),
            ),
            reason=Reason.ALWAYS,
            skippable_only=True,
        ),
        Operation(
            "exit",
            "tasks.exit_task",
            "exited",
            (Rule(OPEN, _roles(OR, SR, AD), State.EXITED, on_hold=_roles(OR, SR, AD)),),
            reason=Reason.ALWAYS,
            subtasks_in=OPEN,
        ),
        Operation(
            "raise_error",
            "tasks.raise_error_task",
            "error_raised",
            (Rule(OPEN, _roles(AD), State.ERROR, on_hold=_roles(AD)),),
        ),
        Operation(
            "expire",
            "",
            "expired",
            (Rule(OPEN, _roles(AD), State.EXPIRED, on_hold=_roles(AD)),),
            system_only=True,
            reversible=False,  # the clock would do it again; reopen takes the time away
        ),
        Operation(
            "mark_unclaimable",
            "",
            "became_unclaimable",
            (Rule(READY, _roles(AD), on_hold=_roles(AD)),),
            system_only=True,
            reversible=False,
        ),
        Operation(
            "mark_claimable",
            "",
            "became_claimable",
            (Rule(ANY, _roles(AD), on_hold=_roles(AD)),),
            system_only=True,
            reversible=False,
        ),
        Operation(
            "reopen",
            "tasks.reopen_task",
            "reopened",
            (Rule(ENDED, _roles(OR, AD), State.READY),),
        ),
        Operation(
            "retry",
            "tasks.retry_task",
            "retried",
            # By permission alone: whoever sees the task has a role on it.
            (Rule(_states(State.FAILED, State.ERROR), VISIBLE_BY, State.READY),),
            open_to_excluded=True,
        ),
        Operation(
            "set_priority",
            "tasks.set_priority_task",
            "priority_set",
            (Rule(OPEN, _roles(OW, OR, PS, SR, AD), on_hold=_roles(OW, OR, PS, SR, AD)),),
        ),
        _note("comment", "commented"),
        _note("attach", "attached"),
        Operation(
            "remove",
            "tasks.delete_task",
            "removed",
            (Rule(CREATED, _roles(OR, AD)), Rule(ENDED, _roles(AD))),
            subtasks_in=CREATED | ENDED,
            reversible=False,
        ),
    )
}

UNDO = Operation(
    "undo",
    "tasks.undo_task",
    "undone",
    (Rule(ANY, _roles(AD), on_hold=_roles(AD)),),
    limited=False,
)
"""Puts back what a recorded operation did; not asked of a task, so not among OPERATIONS.

Whoever did it counts as administrator of the tasks it changed for UNDO_BY_INITIATOR.
"""

UNDO_BY_INITIATOR = timedelta(hours=24)
"""How long the one who did something may undo it, whatever has become of his task roles."""

UNDO_BY_ADMINISTRATOR = timedelta(days=30)
"""How long an administrator of a task may undo what was done to it."""


def _transfer(
    role: TaskRole,
    sources: frozenset[State],
    receivers: Mapping[TaskRole, frozenset[TaskRole] | None],
    **more: bool | str,
) -> Operation:
    """One row of the transfer table: who may give the role away is who has a line of receivers."""
    givers = frozenset(receivers)
    return Operation(
        "transfer",
        "tasks.transfer_task",
        f"{role}_transferred",
        (Rule(sources, givers, on_hold=givers),),
        receivers=receivers,
        **more,  # type: ignore[arg-type]
    )


TRANSFERS: dict[TaskRole, Operation] = {
    OW: _transfer(OW, HELD, {OW: _roles(PO, AD), AD: None}, manual_only=True, makes_owner=True),
    SR: _transfer(SR, ENDED | IN_PROGRESS, {SR: _roles(PS, AD), AD: None}),
    OR: _transfer(OR, ANY, {OR: _roles(AD)}, receiver_permission="tasks.add_task"),
    PS: _transfer(PS, CREATED, {OR: None, AD: None}),
    PO: _transfer(PO, ACTIVE, {AD: None}),
    ED: _transfer(ED, ACTIVE, {AD: None}),
    RD: _transfer(RD, ANY - CREATED, {AD: None}),
    SH: _transfer(SH, ANY - CREATED, {AD: None}),
    AD: _transfer(AD, ANY - CREATED, {AD: None}),
    ER: _transfer(ER, ACTIVE, {AD: None}),
}
"""The row of each task role that can be transferred; excluded owner never can."""


def _maintain(name: str, event: str, sources: frozenset[State]) -> Operation:
    """A grant or revoke row: everything while created, else as IBM's work item rules say."""
    both = _roles(AD, OR)
    while_created = Rule(CREATED, both, on_hold=both)
    later = Rule(sources - CREATED, _roles(AD), on_hold=_roles(AD))
    return Operation(name, "tasks.grant_task", event, (while_created, later))


_MAINTAINED_IN = {
    PS: CREATED,
    PO: ACTIVE,
    ED: ACTIVE,
    ER: ACTIVE,
    XO: OPEN,
    RD: ANY,
    SH: ANY,
    AD: ANY,
}

GRANTS: dict[TaskRole, Operation] = {
    role: _maintain("grant", f"{role}_granted", sources) for role, sources in _MAINTAINED_IN.items()
}
REVOKES: dict[TaskRole, Operation] = {
    role: _maintain("revoke", f"{role}_revoked", sources)
    for role, sources in _MAINTAINED_IN.items()
}


def _property(sources: frozenset[State], *roles: TaskRole) -> Operation:
    """The row of one property of the task in IBM's update table (spec, 3.7)."""
    may = frozenset(roles)
    return Operation("update", "tasks.change_task", "updated", (Rule(sources, may, on_hold=may),))


_UNTIL_ACTIVE = CREATED | READY

UPDATES: dict[str, Operation] = {
    "name": _property(ANY, OW, SR, OR, ED, AD),
    "description": _property(ANY, OW, SR, OR, ED, AD),
    "custom_properties": _property(ANY, OW, SR, OR, ED, AD),
    "due_at": _property(OPEN, OW, SR, OR, ED, AD),
    "priority": _property(OPEN, OW, OR, PS, SR, AD),
    "expires_at": _property(OPEN, OR, AD),
    "skippable": _property(OPEN, OR, AD),
    "claim_while_on_hold": _property(_UNTIL_ACTIVE, OW, OR, ED, AD),
    "automatic_claim": _property(CREATED, OR, AD),
    "input": _property(CREATED, OR, PS, AD),
    "output_schema": _property(_UNTIL_ACTIVE, OR, AD),
}
"""The row of each property that can be updated. `input` follows IBM's rule for the input message;
`skippable`, `automatic_claim` and `output_schema` are ours."""


def update_of(properties: Iterable[str]) -> Operation:
    """The operation that updates some properties at once: what each of their rows allows.

    Raises KeyError for one that cannot be updated.
    """
    rows = [UPDATES[name] for name in properties]
    rules = []
    for state in State:
        lines = [row.rule_for(state) for row in rows]
        if lines and None not in lines:
            roles = frozenset.intersection(*(line.roles for line in lines if line))
            rules.append(Rule(frozenset({state}), roles, on_hold=roles))
    first = next(iter(UPDATES.values()))
    return Operation(first.name, first.permission, first.event, tuple(rules))


ROWS: dict[str, Mapping[Any, Operation]] = {
    "transfer": TRANSFERS,
    "grant": GRANTS,
    "revoke": REVOKES,
    "update": UPDATES,
}
"""The operations that have a row for each task role, or for each property."""


_PLACES = {"transfer": "forward", "update": "retry", "grant": "attach", "revoke": "grant"}


def _names() -> Iterator[str]:
    followers = {before: name for name, before in _PLACES.items()}
    for found in OPERATIONS:
        name: str | None = found
        while name is not None:
            yield name
            name = followers.get(name)


NAMES = tuple(_names())
"""Every operation in the order of the rule book, also those that have rows."""


def rows_of(name: str) -> Sequence[Operation]:
    """All rows of an operation; one for most."""
    if name == UNDO.name:
        return (UNDO,)
    return tuple(ROWS[name].values()) if name in ROWS else (OPERATIONS[name],)


def permission_for(name: str) -> str:
    """The permission of gate 1 for an operation; all of its rows share it."""
    return rows_of(name)[0].permission


def irreversible_events() -> dict[str, str]:
    """The events that cannot be undone: {event: what was done, in words}."""
    found = {
        operation.event: operation.words
        for operation in OPERATIONS.values()
        if not operation.reversible
    }
    return {"created": "create", "imported": "import", **found}
