"""What can be done to tasks: the only writer of them, for one task and for many alike.

Every action takes task ids and a Call, locks the tasks in the order of their ids, sorts them into
allowed and refused by the rule book (`lifecycle`), writes once, and answers for each id.
"""

from tasks.calls import Call, Outcome

from .asking import forbidden, permitted
from .creation import Draft, create, demand_creator, import_
from .handover import grant, revoke, transfer
from .units import ACTIONS, UNIT, Action, carry_out, plan
from .work import assign, cancel_claim, claim, complete, finish, release

__all__ = [
    "ACTIONS",
    "UNIT",
    "Action",
    "Call",
    "Draft",
    "Outcome",
    "assign",
    "cancel_claim",
    "carry_out",
    "claim",
    "complete",
    "create",
    "demand_creator",
    "finish",
    "forbidden",
    "grant",
    "import_",
    "permitted",
    "plan",
    "release",
    "revoke",
    "transfer",
]
