"""What can be done to tasks: the only writer of them, for one task and for many alike.

Every action takes task ids and a Call, locks the tasks in the order of their ids, sorts them into
allowed and refused by the rule book (`lifecycle`), writes once, and answers for each id.
"""

from tasks.calls import Call, Outcome

from .asking import Answer, answers, forbidden, permitted
from .course import (
    activate,
    exit,
    expire,
    mark_claimable,
    mark_unclaimable,
    raise_error,
    remove,
    reopen,
    resume,
    retry,
    suspend,
    suspend_and_release,
)
from .creation import Draft, create, demand_creator, import_
from .handover import delegate, forward, grant, nominate, revoke, transfer
from .properties import attach, comment, set_priority, update
from .undo import irreversible, recorded, undo
from .units import ACTIONS, REFERENCES, UNIT, Action, carry_out, plan, put_off, repeat, take_further
from .work import (
    assign,
    cancel_claim,
    claim,
    claim_next,
    complete,
    demand_claimer,
    fail,
    finish,
    release,
    save_fault,
    save_output,
    skip,
    start,
    stop,
)

__all__ = [
    "ACTIONS",
    "REFERENCES",
    "UNIT",
    "Action",
    "Answer",
    "Call",
    "Draft",
    "Outcome",
    "activate",
    "answers",
    "assign",
    "attach",
    "cancel_claim",
    "carry_out",
    "claim",
    "claim_next",
    "comment",
    "complete",
    "create",
    "delegate",
    "demand_claimer",
    "demand_creator",
    "exit",
    "expire",
    "fail",
    "finish",
    "forbidden",
    "forward",
    "grant",
    "import_",
    "irreversible",
    "mark_claimable",
    "mark_unclaimable",
    "nominate",
    "permitted",
    "plan",
    "put_off",
    "raise_error",
    "recorded",
    "release",
    "remove",
    "reopen",
    "repeat",
    "resume",
    "retry",
    "revoke",
    "save_fault",
    "save_output",
    "set_priority",
    "skip",
    "start",
    "stop",
    "suspend",
    "suspend_and_release",
    "take_further",
    "transfer",
    "undo",
    "update",
]
