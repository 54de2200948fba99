"""What a token can be limited to: every operation, with the permissions that it may ask for."""

from __future__ import annotations

from typing import Final

from tasks.roles import EVERYWHERE

from .table import NAMES, rows_of

PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    "create": frozenset({"tasks.add_task", "tasks.add_job"}),
    **{
        name: frozenset(
            {row.permission for row in rows_of(name)}
            | {
                permission
                for row in rows_of(name)
                for rule in row.rules
                for permission in rule.with_permission.values()
            }
        )
        for name in NAMES
        if not all(row.system_only for row in rows_of(name))
    },
    "undo": frozenset({"tasks.undo_task"}),
}
"""By the name of the operation, in the order of the rule book (settings.SCOPED_OPERATIONS)."""

STANDING: Final = frozenset(f"tasks.{role}" for role in EVERYWHERE)
"""The task roles that are held on every task by permission."""
