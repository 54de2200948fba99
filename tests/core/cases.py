"""Every operation once, each on a task that its caller may do it to, for tests that go for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.core.files.base import ContentFile

from accounts.models import Role, User
from tasks.actions import ACTIONS, Action
from tasks.lifecycle import (
    ACTIVE,
    GRANTS,
    HELD,
    OPERATIONS,
    REVOKES,
    TRANSFERS,
    UPDATES,
    Operation,
    State,
)
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

    row: str = ""
    """The property, of an update."""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.name, self.role, self.row)))

    by: str | None = "carol"
    """Who may do it; None is the system."""
    given: dict[str, Any] = field(default_factory=dict)

    def actor(self, cast: Cast) -> User | None:
        """The account that may do it; carol gets the system role she lacks."""
        if self.name == "retry":
            cast.carol.roles.add(Role.objects.get(name="retryUser"))
            return User.objects.get(pk=cast.carol.pk)
        return getattr(cast, self.by) if self.by else None

    def arguments(self, cast: Cast) -> dict[str, Any]:
        """What the operation is called with."""
        found: dict[str, Any] = dict(self.given)
        if self.role:
            found["role"] = self.role
        if self.name == "nominate":
            found["people"] = [reference(cast.frank)]
        if self.name == "attach":
            found["content"] = ContentFile(b"a plan")
        for name, person in (("to", self.to), ("from_", self.from_)):
            if person:
                found[name] = reference(getattr(cast, person))
        return found

    def task(self, cast: Cast, state: State | None = None, **more: Any) -> Task:
        """A task as the case needs it, or in another state."""
        state = state or self.state
        people: dict[TaskRole, list[User]] = dict(more.pop("people_of", {}))
        fields: dict[str, Any] = {**self.fields, **more}
        if state not in ACTIVE:
            fields.pop("on_hold", None)
        if state in HELD:
            fields.setdefault("owner", cast.carol if self.name == "start" else cast.bob)
        giver = getattr(cast, self.from_) if self.from_ else None
        if giver and self.name == "forward":
            people[TaskRole.POTENTIAL_OWNER] = [giver]
        elif giver and self.role in COLUMNS and self.role not in (TaskRole.OWNER, None):
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


GIVEN: dict[str, dict[str, Any]] = {  # what some operations are called with, besides people
    "save_output": {"output": {"done": True}},
    "save_fault": {"fault": {"code": 7}, "fault_name": "broken"},
    "fail": {"fault": {"code": 7}, "fault_name": "broken"},
    "raise_error": {"fault": {"code": 7}, "fault_name": "broken"},
    "set_priority": {"priority": 1},
    "comment": {"text": "The spare part is late."},
    "attach": {"name": "plan.txt", "content_type": "text/plain"},
}
_FIELDS: dict[str, dict[str, Any]] = {"resume": {"on_hold": True}, "skip": {"skippable": True}}
NEW: dict[str, Any] = {  # what an update changes each property to
    "name": "Replace switch",
    "description": "In rack 7.",
    "custom_properties": {"site": "B"},
    "due_at": datetime(2040, 1, 1, tzinfo=UTC),
    "priority": 2,
    "expires_at": datetime(2041, 1, 1, tzinfo=UTC),
    "skippable": True,
    "claim_while_on_hold": True,
    "automatic_claim": True,
    "input": {"router": 8},
    "output_schema": {"type": "object"},
}
_BY = {
    "expire": None,
    "mark_unclaimable": None,
    "mark_claimable": None,
    "reopen": "dave",
    "remove": "dave",
}
"""Who may, where carol may not: by her system role engineering she does all else."""


def _all() -> list[Case]:
    found = [
        Case(
            name,
            operation,
            _some_state(operation),
            to="frank" if name in ("assign", "delegate", "forward") else None,
            from_="bob" if name == "forward" else None,
            by=_BY.get(name, "carol"),
            given=GIVEN.get(name, {}),
            fields=_FIELDS.get(name, {}),
        )
        for name, operation in OPERATIONS.items()
    ]
    for name, operation in UPDATES.items():
        given = {"values": {name: NEW[name]}}
        found.append(Case("update", operation, _some_state(operation), given=given, row=name))
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
