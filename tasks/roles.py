"""Task roles: what an account is to one task (WS-HumanTask 3.1, IBM's assignment reasons)."""

from enum import StrEnum


class TaskRole(StrEnum):
    """One way of having to do with a task; the values of granted roles are guardian codenames."""

    POTENTIAL_OWNER = "potential_owner"
    EDITOR = "editor"
    READER = "reader"
    STAKEHOLDER = "stakeholder"
    ADMINISTRATOR = "administrator"
    POTENTIAL_STARTER = "potential_starter"
    ESCALATION_RECEIVER = "escalation_receiver"
    EXCLUDED_OWNER = "excluded_owner"
    OWNER = "owner"
    ORIGINATOR = "originator"
    STARTER = "starter"

    @property
    def label(self) -> str:
        """The role in words, as people read it."""
        return {"owner": "actual owner"}.get(self.value, self.value.replace("_", " "))


COLUMNS = (TaskRole.OWNER, TaskRole.ORIGINATOR, TaskRole.STARTER)
"""Held by one user at most, in a column of the task; operations move them, nobody grants them."""

GRANTED = tuple(role for role in TaskRole if role not in COLUMNS)
"""Held by any number of users and groups, as guardian object permissions."""

EVERYWHERE = (TaskRole.ADMINISTRATOR, TaskRole.READER)
"""May also be held as a model permission, which means on every task."""

WORKING = frozenset({TaskRole.POTENTIAL_OWNER, TaskRole.OWNER, TaskRole.EDITOR})
"""What an excluded owner may not make use of."""
