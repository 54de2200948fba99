"""What a line of the rule book says, and how it is asked.

Nothing here reads the database; `Operation.refusal` is asked under the lock, in previews and for
"why not", always with the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from tasks import errors
from tasks.roles import WORKING, TaskRole

from .states import HELD, Kind, State


class Reason(Enum):
    """Whether a reason has to be given, on faces that can carry one."""

    OPTIONAL = "optional"
    UNLESS_OWNER = "required unless the caller is the owner"
    ALWAYS = "required"


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
    @property
    def skippable(self) -> bool: ...


class Asker(Protocol):
    """What the rules look at in the account that asks."""

    @property
    def user_id(self) -> int | None: ...
    def may(self, permission: str, operation: str = "") -> bool: ...


NOBODY: frozenset[TaskRole] = frozenset()

_PHRASES = {
    "attach": "attach a file to",
    "comment": "comment on",
    "raise_error": "raise an error on",
    "save_fault": "save a fault of",
    "save_output": "save the output of",
    "set_priority": "set the priority of",
}
"""Operations whose name alone does not stand before "this task"."""


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

    The permission is empty where the system alone acts.

    `manual_only`: only tasks of kind manual. `is_work`: never by an excluded owner, whatever else
    he holds. `open_to_excluded`: working roles count for an excluded owner too.
    `hold_flag`: allowed on hold where the task says `claim_while_on_hold`. `ends_hold`: only for
    tasks on hold. `skippable_only`: only for tasks that say they may be skipped. `system_only`:
    never by an account, whatever it holds. `own_part`: who is no administrator of the task gives
    away nobody else's part of it. `subtasks_in`: what is done to a task is done to its
    subtasks in these states as well. `repeatable`: refused as `already_owner` when the caller
    holds the task. `makes_owner`: the receiver becomes the owner, so must not be
    excluded. `receivers`: for each task role of the caller, the roles of which the receiver must
    hold one; None means anybody. `receiver_permission`: a permission that makes a receiver
    eligible too. `reversible`: undo can put back what it did. `limited`: the bulk limit of the
    caller's roles applies.
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
    ends_hold: bool = False
    skippable_only: bool = False
    system_only: bool = False
    own_part: bool = False
    subtasks_in: frozenset[State] = frozenset()
    repeatable: bool = False
    makes_owner: bool = False
    receivers: Mapping[TaskRole, frozenset[TaskRole] | None] = field(default_factory=dict)
    receiver_permission: str = ""
    reversible: bool = True
    limited: bool = True

    @property
    def words(self) -> str:
        """The operation as a verb for people."""
        return self.name.replace("_", " ")

    @property
    def phrase(self) -> str:
        """The verb as it stands before "this task"."""
        return _PHRASES.get(self.name, self.words)

    def rule_for(self, state: str) -> Rule | None:
        """The line of the rule book for a state; None where it does not allow the operation."""
        return next((rule for rule in self.rules if state in rule.sources), None)

    def forbids(
        self, task: Standing, held: frozenset[TaskRole], asker: Asker
    ) -> errors.TaskError | None:
        """Why the account may not do this to the task at all: hidden, or not permitted."""
        if held <= {TaskRole.EXCLUDED_OWNER}:
            return errors.TaskNotFound()
        refused = errors.NotAuthorized(operation=self.phrase)
        if self.system_only and asker.user_id is not None:
            return refused
        if not asker.may(self.permission, self.name) or (
            self.is_work and TaskRole.EXCLUDED_OWNER in held
        ):
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

    def forbids_giving(
        self, held: frozenset[TaskRole], *, own: bool, giver: str
    ) -> errors.TaskError | None:
        """Why, in an `own_part` operation, the account may not give away the part of `giver`.

        `own`: it is the account's, or that of a group that it is a member of.
        """
        if own or TaskRole.ADMINISTRATOR in held:
            return None
        return errors.NotAuthorized(operation=f"{self.name} {giver}'s part of")

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
        if self.ends_hold and not task.on_hold:
            return errors.NotSuspended()
        waived = self.hold_flag and task.claim_while_on_hold
        if task.on_hold and not waived and rule.on_hold.isdisjoint(self._usable(held)):
            return errors.TaskSuspended(operation=self.words)
        if self.skippable_only and not task.skippable:
            return errors.NotSkippable()
        return None

    def refusal(
        self, task: Standing, held: frozenset[TaskRole], asker: Asker
    ) -> errors.TaskError | None:
        """The first reason against it, or None: `forbids`, then `conflicts`."""
        return self.forbids(task, held, asker) or self.conflicts(task, held, asker)

    def takes_along(self, subtask: Standing) -> bool:
        """Whether a subtask changes with its parent; nobody's roles on it are asked for."""
        if subtask.state not in self.subtasks_in:
            return False
        if self.ends_hold or not subtask.on_hold:
            return subtask.on_hold == self.ends_hold
        return any(rule.on_hold for rule in self.rules)

    def wants_reason(self, task: Standing, asker: Asker) -> bool:
        """Whether this caller has to say why, on a face that can carry a reason."""
        if self.reason is Reason.UNLESS_OWNER:
            return task.owner_id != asker.user_id
        return self.reason is Reason.ALWAYS

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
        if self.makes_owner and TaskRole.EXCLUDED_OWNER in receiver_held:
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
        if TaskRole.EXCLUDED_OWNER in held and not self.open_to_excluded:
            return held - WORKING
        return held
