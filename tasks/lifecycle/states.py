"""Where a task stands, and who works it: states and kinds."""

from __future__ import annotations

from enum import StrEnum


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
