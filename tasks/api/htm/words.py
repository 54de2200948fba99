"""The words of this face for what the core has: task roles, states, kinds, actions, events."""

from __future__ import annotations

from tasks.lifecycle import Kind, State
from tasks.roles import TaskRole

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

REASONS = {role: f"REASON_{role.upper()}" for role in _NAMES.values()}
"""The assignment reason of each task role that IBM has (spec, section 3.4)."""

ROLES = {
    **_NAMES,
    **{reason: role for role, reason in REASONS.items()},
    "admin": TaskRole.ADMINISTRATOR,
    "stakeholder": TaskRole.STAKEHOLDER,
}
"""The `role` of a path, in exactly these spellings: IBM's model names and its constants (section
3.4), and stakeholder, which is ours alone. Potential instance creators belong to templates, and
excluded owners are never transferred (section 4.3), so neither stands here."""

STATES = {
    State.CREATED: "STATE_INACTIVE",
    State.READY: "STATE_READY",
    State.RESERVED: "STATE_CLAIMED",
    State.IN_PROGRESS: "STATE_CLAIMED",
    State.COMPLETED: "STATE_FINISHED",
    State.FAILED: "STATE_FAILED",
    State.ERROR: "STATE_FAILED",
    State.EXITED: "STATE_TERMINATED",
    State.OBSOLETE: "STATE_TERMINATED",
    State.EXPIRED: "STATE_EXPIRED",
}
"""The state of a task (section 3.1); whether it is on hold is said beside it."""

KINDS = {
    Kind.MANUAL: "KIND_PARTICIPATING",
    Kind.AUTOMATIC: "KIND_ORIGINATING",
    Kind.OPERATION: "KIND_ORIGINATING",
}
"""A to-do task, or an invocation task, which an engine works (section 0)."""

READING = (
    "ACTION_CREATEFAULTMESSAGE",
    "ACTION_CREATEINPUTMESSAGE",
    "ACTION_CREATEOUTPUTMESSAGE",
    "ACTION_GETCUSTOMPROPERTY",
    "ACTION_GETFAULTMESSAGE",
    "ACTION_GETINPUTMESSAGE",
    "ACTION_GETOUTPUTMESSAGE",
    "ACTION_GETROLEINFO",
    "ACTION_GETTASK",
)
"""What whoever may read a task may always do: create is to ask for an empty message."""

ACTIONS = {
    "ACTION_CANCELCLAIM": "cancel_claim",
    "ACTION_CLAIM": "claim",
    "ACTION_COMPLETE": "complete",
    "ACTION_CREATEWORKITEM": "grant",
    "ACTION_DELETE": "remove",
    "ACTION_DELETEWORKITEM": "revoke",
    "ACTION_RESTARTTASK": "reopen",
    "ACTION_RESUME": "resume",
    "ACTION_SETFAULTMESSAGE": "save_fault",
    "ACTION_SETOUTPUTMESSAGE": "save_output",
    "ACTION_STARTTASK": "activate",
    "ACTION_SUSPEND": "suspend",
    "ACTION_SUSPENDWITHCANCELCLAIM": "suspend_and_release",
    "ACTION_TERMINATE": "exit",
    "ACTION_TRANSFERWORKITEM": "transfer",
    "ACTION_UPDATE": "update",
}
"""The actions that are operations of the core (section 1.11)."""

UPDATES = {"ACTION_SETCUSTOMPROPERTY": "custom_properties", "ACTION_SETINPUTMESSAGE": "input"}
"""The actions that are updates of one property."""

OTHER_ACTIONS = frozenset(
    f"ACTION_{name}"
    for name in (
        "CALLTASK COMPLETEWITHFOLLOWONTASK CREATEMESSAGE GETDOCUMENTATION GETFAULTNAMES "
        "GETUISETTINGS SETTASKREAD STARTTASKASSUBTASK TRANSFERTOWORKBASKET UPDATEINACTIVETASK"
    ).split()
)
"""The actions that IBM has and this server has not: they may be asked for and nobody may."""

EVENTS = {
    "created": "TaskCreated",
    "imported": "TaskCreated",
    "activated": "TaskStarted",
    "nominated": "TaskStarted",
    "claimed": "TaskClaimed",
    # The work on a claimed task begins and stops: IBM has one state for both.
    "started": "TaskUpdated",
    "stopped": "TaskUpdated",
    "released": "TaskClaimCancelled",
    "claim_cancelled": "TaskClaimCancelled",
    "assigned": "TaskWorkItemCreated",
    "delegated": "TaskWorkItemCreated",
    "forwarded": "TaskWorkItemTransferred",
    "suspended": "TaskSuspended",
    "suspended_and_released": "TaskSuspended",
    "resumed": "TaskResumed",
    "output_saved": "TaskOutputMessageUpdated",
    "fault_saved": "TaskFaultMessageUpdated",
    "completed": "TaskCompleted",
    "finished": "TaskCompleted",
    "failed": "TaskFailed",
    "error_raised": "TaskFailed",
    "skipped": "TaskTerminated",
    "exited": "TaskTerminated",
    "expired": "TaskExpired",
    "became_unclaimable": "TaskUpdated",
    "became_claimable": "TaskUpdated",
    "reopened": "TaskRestarted",
    "retried": "TaskRestarted",
    "removed": "TaskDeleted",
    "updated": "TaskUpdated",
    "priority_set": "TaskUpdated",
    "commented": "TaskUpdated",
    "attached": "TaskUpdated",
}
"""The event of the history for each of ours (section 1.13), work items apart; what IBM does not
know is an update."""

WORK_ITEM_EVENTS = {
    "_granted": "TaskWorkItemCreated",
    "_revoked": "TaskWorkItemDeleted",
    "_transferred": "TaskWorkItemTransferred",
}
"""The same by the end of our event's name, which begins with the task role."""
