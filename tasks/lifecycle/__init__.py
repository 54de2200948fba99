"""The rule book as data: which operation leads from which state to which, and by whom.

`table` is the book itself, `rules` how its lines are asked, `states` the words they use.
"""

from .rules import NOBODY, Asker, Operation, Reason, Rule, Standing
from .states import ACTIVE, ANY, ENDED, HELD, LABELS, OPEN, Kind, State
from .table import (
    GRANTS,
    NAMES,
    OPERATIONS,
    REVOKES,
    ROWS,
    TRANSFERS,
    UNDO,
    UNDO_BY_ADMINISTRATOR,
    UNDO_BY_INITIATOR,
    UPDATES,
    irreversible_events,
    permission_for,
    rows_of,
    update_of,
)

__all__ = [
    "ACTIVE",
    "ANY",
    "ENDED",
    "GRANTS",
    "HELD",
    "LABELS",
    "NAMES",
    "NOBODY",
    "OPEN",
    "OPERATIONS",
    "REVOKES",
    "ROWS",
    "TRANSFERS",
    "UNDO",
    "UNDO_BY_ADMINISTRATOR",
    "UNDO_BY_INITIATOR",
    "UPDATES",
    "Asker",
    "Kind",
    "Operation",
    "Reason",
    "Rule",
    "Standing",
    "State",
    "irreversible_events",
    "permission_for",
    "rows_of",
    "update_of",
]
