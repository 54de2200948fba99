"""The operations that the admin offers for tasks, one or many, and the words around them."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import User
from tasks.lifecycle import permission_for

from .forms import (
    AssignForm,
    BulkForm,
    CommentForm,
    ForwardForm,
    HoldForm,
    PlainForm,
    PriorityForm,
    TransferForm,
)

_NAMES = ("accounts.view_user",)


@dataclass(frozen=True, slots=True)
class BulkAction:
    """An operation as people meet it: its words, its form, and what its form needs.

    `past` follows a number of tasks: "12 will be released". `everyday` operations stand in front,
    the others under "More". `at_once` ones need no form where one task is concerned; their words
    tell afterwards what has happened.
    """

    name: str
    label: str
    past: str
    form: type[BulkForm] = PlainForm
    also_needs: tuple[str, ...] = ()
    everyday: bool = False
    at_once: str = ""

    def offered_to(self, user: User) -> bool:
        """Whether the account has the permissions that the operation and its form need."""
        needed = (permission_for(self.name), *self.also_needs)
        return all(user.has_perm(permission) for permission in needed)


UNDO = BulkAction("undo", "Undo", "put back")
"""Offered on what was done, not on tasks."""


BULK = {
    action.name: action
    for action in (
        BulkAction("claim", "Claim", "claimed", everyday=True, at_once="The task is yours."),
        BulkAction("complete", "Complete", "completed", everyday=True, at_once="The task is done."),
        BulkAction(
            "release", "Release", "released", everyday=True, at_once="The task is released."
        ),
        BulkAction("transfer", "Hand over", "handed over", TransferForm, _NAMES, everyday=True),
        BulkAction("suspend", "Put on hold", "put on hold", HoldForm, everyday=True),
        BulkAction(
            "resume", "Resume", "resumed", everyday=True, at_once="The task is no longer on hold."
        ),
        BulkAction("start", "Start", "started", at_once="The task is in work."),
        BulkAction("stop", "Stop", "stopped", at_once="The task is no longer in work."),
        BulkAction("assign", "Assign", "assigned", AssignForm, _NAMES),
        BulkAction("delegate", "Delegate", "delegated", AssignForm, _NAMES),
        BulkAction("forward", "Forward", "forwarded", ForwardForm, _NAMES),
        BulkAction(
            "suspend_and_release", "Release and put on hold", "released and put on hold", HoldForm
        ),
        BulkAction("set_priority", "Set priority", "given that priority", PriorityForm),
        BulkAction("comment", "Comment", "commented on", CommentForm),
        BulkAction("activate", "Activate", "activated", at_once="The task can be claimed."),
        BulkAction("skip", "Skip", "skipped"),
        BulkAction("exit", "Cancel", "cancelled"),
        BulkAction("reopen", "Reopen", "reopened"),
        BulkAction("retry", "Try again", "made ready again"),
        BulkAction("remove", "Remove", "removed for good"),
    )
}
"""By name, in the order in which people are offered them."""
