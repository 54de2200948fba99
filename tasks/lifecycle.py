"""The rule book as data: which operation leads from which state to which, and by whom.

Sources: WS-HumanTask 1.1 chapter 4, IBM's authorization and transfer tables, Itential's task
routes. Nothing here reads the database; `Operation.refusal` is asked under the lock, in previews
and for "why not", always with the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Protocol

from . import errors
from .roles import WORKING, TaskRole


class State(StrEnum):
    """Where a task stands (WS-HumanTask's states, and expired)."""

    CREATED = "created"
    READY = "ready"
    RESERVED = "reserved"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    ERROR = "error"
    EXITED = "exited"
    OBSOLETE = "obsolete"
    EXPIRED = "expired"

    @property
    def label(self) -> str:
        """The word people see for it."""
        return LABELS[self]


LABELS = {
    State.CREATED: "Waiting to start",
    State.READY: "Unassigned",
    State.RESERVED: "Assigned",
    State.IN_PROGRESS: "In work",
    State.COMPLETED: "Done",
    State.FAILED: "Failed",
    State.ERROR: "Error",
    State.EXITED: "Cancelled",
    State.OBSOLETE: "Skipped",
    State.EXPIRED: "Expired",
}

HELD = frozenset({State.RESERVED, State.IN_PROGRESS})
ACTIVE = HELD | {State.READY}
OPEN = ACTIVE | {State.CREATED}
ENDED = frozenset(State) - OPEN
ANY = frozenset(State)


class Kind(StrEnum):
    """Who works a task: a person, or an engine (Itential's task types)."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    OPERATION = "operation"


class Reason(Enum):
    """Whether a reason has to be given, on faces that can carry one."""

    OPTIONAL = "optional"
    UNLESS_OWNER = "required unless the caller is the owner"


class Standing(Protocol):
    """What the rules look at in a task."""

    @property
    def state(self) -> str: ...
    @property
    def on_hold(self) -> bool: ...
    @property
    def kind(self) -> str: ...
    @property
    def owner_id(self) -> int | None: ...
    @property
    def owner_name(self) -> str | None: ...
    @property
    def claim_while_on_hold(self) -> bool: ...


class Asker(Protocol):
    """What the rules look at in the account that asks."""

    @property
    def user_id(self) -> int | None: ...
    def may(self, permission: str) -> bool: ...


OW, PO, AD, ED = TaskRole.OWNER, TaskRole.POTENTIAL_OWNER, TaskRole.ADMINISTRATOR, TaskRole.EDITOR
RD, SH, OR = TaskRole.READER, TaskRole.STAKEHOLDER, TaskRole.ORIGINATOR
PS, SR = TaskRole.POTENTIAL_STARTER, TaskRole.STARTER
ER, XO = TaskRole.ESCALATION_RECEIVER, TaskRole.EXCLUDED_OWNER

NOBODY: frozenset[TaskRole] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the rule book.

    `sources`: the states it applies in. `roles`: the task roles that may. `target`: the state it
    leads to, None where the state stays. `on_hold`: the roles that may while the task is on hold.
    `with_permission`: task roles that may if the account also holds that permission.
    """

    sources: frozenset[State]
    roles: frozenset[TaskRole]
    target: State | None = None
    on_hold: frozenset[TaskRole] = NOBODY
    with_permission: Mapping[TaskRole, str] = field(default_factory=dict)

    def admits(self, held: frozenset[TaskRole], asker: Asker) -> bool:
        """Whether one of the task roles in `held` is enough."""
        return not self.roles.isdisjoint(held) or any(
            role in held and asker.may(permission)
            for role, permission in self.with_permission.items()
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """What may be done to a task: its rules, its permission (gate 1), the event it leaves.

    `manual_only`: only tasks of kind manual. `is_work`: never by an excluded owner, whatever else
    he holds. `open_to_excluded`: working roles count for an excluded owner too.
    `hold_flag`: allowed on hold where the task says `claim_while_on_hold`. `repeatable`: refused
    as `already_owner` when the caller holds the task. `makes_owner`: the receiver becomes the
    owner, so must not be excluded. `receivers`: for each task role of the caller, the roles of
    which the receiver must hold one; None means anybody. `receiver_permission`: a permission
    that makes a receiver eligible too.
    """

    name: str
    permission: str
    event: str
    rules: tuple[Rule, ...]
    reason: Reason = Reason.OPTIONAL
    manual_only: bool = False
    is_work: bool = False
    open_to_excluded: bool = False
    hold_flag: bool = False
    repeatable: bool = False
    makes_owner: bool = False
    receivers: Mapping[TaskRole, frozenset[TaskRole] | None] = field(default_factory=dict)
    receiver_permission: str = ""

    @property
    def words(self) -> str:
        """The operation as a verb for people."""
        return self.name.replace("_", " ")

    def rule_for(self, state: str) -> Rule | None:
        """The line of the rule book for a state; None where it does not allow the operation."""
        return next((rule for rule in self.rules if state in rule.sources), None)

    def forbids(
        self, task: Standing, held: frozenset[TaskRole], asker: Asker
    ) -> errors.TaskError | None:
        """Why the account may not do this to the task at all: hidden, or not permitted."""
        if held <= {XO}:
            return errors.TaskNotFound()
        refused = errors.NotAuthorized(operation=self.words)
        if not asker.may(self.permission) or (self.is_work and XO in held):
            return refused
        if self._repeats(task, asker):
            return None
        usable = self._usable(held)
        if not any(rule.admits(usable, asker) for rule in self.rules):
            return refused
        rule = self.rule_for(task.state)
        if rule is not None and not rule.admits(usable, asker):
            return refused
        return None

    def conflicts(
        self, task: Standing, held: frozenset[TaskRole], asker: Asker
    ) -> errors.TaskError | None:
        """Why the task does not allow it now, for an account that may do it."""
        if self._repeats(task, asker):
            return errors.AlreadyOwner(owner=task.owner_name)
        if self.manual_only and task.kind != Kind.MANUAL:
            return errors.WrongKind(kind=task.kind, operation=self.words)
        rule = self.rule_for(task.state)
        if rule is None:
            return errors.InvalidTaskState(state=task.state, operation=self.words)
        waived = self.hold_flag and task.claim_while_on_hold
        if task.on_hold and not waived and rule.on_hold.isdisjoint(self._usable(held)):
            return errors.TaskSuspended(operation=self.words)
        return None

    def refusal(
        self, task: Standing, held: frozenset[TaskRole], asker: Asker
    ) -> errors.TaskError | None:
        """The first reason against it, or None: `forbids`, then `conflicts`."""
        return self.forbids(task, held, asker) or self.conflicts(task, held, asker)

    def wants_reason(self, task: Standing, asker: Asker) -> bool:
        """Whether this caller has to say why, on a face that can carry a reason."""
        return self.reason is Reason.UNLESS_OWNER and task.owner_id != asker.user_id

    def eligible(
        self,
        held: frozenset[TaskRole],
        receiver_held: frozenset[TaskRole],
        receiver_may: bool = False,
    ) -> str:
        """Why the receiver may not have it, in words; empty where he may.

        `held` are the caller's task roles, `receiver_held` the receiver's, `receiver_may` whether
        the receiver holds `receiver_permission`.
        """
        if self.makes_owner and XO in receiver_held:
            return "excluded from working on it"
        demands = [self.receivers[role] for role in self._usable(held) if role in self.receivers]
        if receiver_may or any(
            demand is None or not demand.isdisjoint(receiver_held) for demand in demands
        ):
            return ""
        labels = {role.label for demand in demands for role in demand or ()}
        wanted = [f"{'an' if label[0] in 'aeiou' else 'a'} {label}" for label in sorted(labels)]
        return f"not {' or '.join(wanted)} of it"

    def _repeats(self, task: Standing, asker: Asker) -> bool:
        return self.repeatable and task.state in HELD and task.owner_id == asker.user_id

    def _usable(self, held: frozenset[TaskRole]) -> frozenset[TaskRole]:
        if XO in held and not self.open_to_excluded:
            return held - WORKING
        return held


def _roles(*roles: TaskRole) -> frozenset[TaskRole]:
    return frozenset(roles)


def _states(*states: State) -> frozenset[State]:
    return frozenset(states)


READY = _states(State.READY)

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
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
            (
                Rule(READY, _roles(PO, AD), State.COMPLETED),
                Rule(HELD, _roles(OW, AD), State.COMPLETED),
            ),
            manual_only=True,
            is_work=True,
        ),
    )
}


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
    SR: _transfer(SR, ENDED | {State.IN_PROGRESS}, {SR: _roles(PS, AD), AD: None}),
    OR: _transfer(OR, ANY, {OR: _roles(AD)}, receiver_permission="tasks.add_task"),
    PS: _transfer(PS, _states(State.CREATED), {OR: None, AD: None}),
    PO: _transfer(PO, ACTIVE, {AD: None}),
    ED: _transfer(ED, ACTIVE, {AD: None}),
    RD: _transfer(RD, ANY - {State.CREATED}, {AD: None}),
    SH: _transfer(SH, ANY - {State.CREATED}, {AD: None}),
    AD: _transfer(AD, ANY - {State.CREATED}, {AD: None}),
    ER: _transfer(ER, ACTIVE, {AD: None}),
}
"""The row of each task role that can be transferred; excluded owner never can."""


def _maintain(name: str, event: str, sources: frozenset[State]) -> Operation:
    """A grant or revoke row: everything while created, else as IBM's work item rules say."""
    both = _roles(AD, OR)
    while_created = Rule(_states(State.CREATED), both, on_hold=both)
    later = Rule(sources - {State.CREATED}, _roles(AD), on_hold=_roles(AD))
    return Operation(name, "tasks.grant_task", event, (while_created, later))


_MAINTAINED_IN = {
    PS: _states(State.CREATED),
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

BY_ROLE: dict[str, dict[TaskRole, Operation]] = {
    "transfer": TRANSFERS,
    "grant": GRANTS,
    "revoke": REVOKES,
}
"""The operations that have a row for each task role."""


def permission_for(name: str) -> str:
    """The permission of gate 1 for an operation; all rows of one with rows by role share it."""
    operation = OPERATIONS.get(name) or next(iter(BY_ROLE[name].values()))
    return operation.permission
