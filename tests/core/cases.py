"""Every operation once, each on a task that its caller may do it to, for tests that go for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from accounts.models import User
from tasks.actions import ACTIONS, Action
from tasks.lifecycle import GRANTS, HELD, OPERATIONS, REVOKES, TRANSFERS, Operation, State
from tasks.models import Task
from tasks.roles import COLUMNS, TaskRole
from tests.conftest import Cast
from tests.factories import make_in, reference


@dataclass(frozen=True)
class Case:
    """One operation: carol, originator and administrator of the task, may do it in `state`.

    `to` and `from_` name people of the cast.
    """

    name: str
    operation: Operation
    state: State
    role: TaskRole | None = None
    to: str | None = None
    from_: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def act(self) -> Action:
        return ACTIONS[self.name]

    def __str__(self) -> str:
        return f"{self.name}-{self.role}" if self.role else self.name

    def arguments(self, cast: Cast) -> dict[str, Any]:
        """What the operation is called with."""
        found: dict[str, Any] = {"role": self.role} if self.role else {}
        for name, person in (("to", self.to), ("from_", self.from_)):
            if person:
                found[name] = reference(getattr(cast, person))
        return found

    def task(self, cast: Cast, state: State | None = None, **more: Any) -> Task:
        """A task as the case needs it, or in another state."""
        state = state or self.state
        people: dict[TaskRole, list[User]] = dict(more.pop("people_of", {}))
        fields: dict[str, Any] = {**self.fields, **more}
        if state in HELD:
            fields.setdefault("owner", cast.bob)
        giver = getattr(cast, self.from_) if self.from_ else None
        if giver and self.role in COLUMNS and self.role not in (TaskRole.OWNER, None):
            fields.setdefault(str(self.role), giver)
        elif giver and self.role and self.role not in COLUMNS:
            people[self.role] = [*people.get(self.role, []), giver]
        # Carol is named administrator, since somebody else may be named as one above.
        people[TaskRole.ADMINISTRATOR] = [*people.get(TaskRole.ADMINISTRATOR, []), cast.carol]
        named: dict[TaskRole, Any] = {TaskRole.POTENTIAL_OWNER: [cast.noc], **people}
        named[TaskRole.POTENTIAL_OWNER] = [
            *dict.fromkeys([*named[TaskRole.POTENTIAL_OWNER], cast.noc])
        ]
        fields.setdefault("originator", cast.carol)
        return make_in(state, people_of=named, **fields)


def _some_state(operation: Operation) -> State:
    """A state the operation is allowed in; ready where it may be."""
    sources = {state for rule in operation.rules for state in rule.sources}
    return State.READY if State.READY in sources else min(sources & HELD or sources)


def _all() -> list[Case]:
    found = [
        Case(name, operation, _some_state(operation), to="frank" if name == "assign" else None)
        for name, operation in OPERATIONS.items()
    ]
    for role, operation in TRANSFERS.items():
        own = role is TaskRole.ORIGINATOR  # nobody but the originator can give it away
        found.append(
            Case(
                "transfer",
                operation,
                _some_state(operation),
                role,
                to="dave" if own else "frank",
                from_="carol" if own else "bob",
            )
        )
    for role, operation in GRANTS.items():
        found.append(Case("grant", operation, _some_state(operation), role, to="frank"))
    for role, operation in REVOKES.items():
        found.append(Case("revoke", operation, _some_state(operation), role, from_="bob"))
    return found


CASES = _all()
