"""The words of this face and what they mean: actions, and task roles in both spellings."""

from __future__ import annotations

from dataclasses import dataclass

from tasks import actions
from tasks.roles import TaskRole


@dataclass(frozen=True, slots=True)
class Verb:
    """What an action of one task calls, and whether its answer is the task's input message."""

    action: actions.Action
    answers_input: bool = False


TASK = {
    "claim": Verb(actions.claim, answers_input=True),
    "cancel": Verb(actions.cancel_claim),
}
"""Values of `action` on a task (spec, section 1.5)."""

TRANSFER = "transfer"
"""The value of `action` on a task role (sections 1.7 and 1.8)."""

_NAMES = {
    "owner": TaskRole.OWNER,
    "potentialOwner": TaskRole.POTENTIAL_OWNER,
    "editor": TaskRole.EDITOR,
    "reader": TaskRole.READER,
    "administrator": TaskRole.ADMINISTRATOR,
    "originator": TaskRole.ORIGINATOR,
    "starter": TaskRole.STARTER,
    "potentialStarter": TaskRole.POTENTIAL_STARTER,
    "escalationReceiver": TaskRole.ESCALATION_RECEIVER,
}

ROLES = {
    **_NAMES,
    **{f"REASON_{role.upper()}": role for role in _NAMES.values()},
    "admin": TaskRole.ADMINISTRATOR,
    "stakeholder": TaskRole.STAKEHOLDER,
}
"""The `role` of a path, in exactly these spellings: IBM's model names and its constants (section
3.4), and stakeholder, which is ours alone. Potential instance creators belong to templates, and
excluded owners are never transferred (section 4.3), so neither stands here."""
