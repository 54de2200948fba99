"""What is counted of the work itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter

DONE: Final = "done"
"""The outcome of what was carried out; the others are the codes of refusals."""

OPERATIONS: Final = Counter(
    "taskmanager_operations",
    "Tasks that an operation was asked for, by what came of it; a refused call counts once.",
    ["operation", "outcome"],
)


def count(operation: str, outcomes: Mapping[str, int]) -> None:
    """Count what came of a call: how many tasks by outcome."""
    for outcome, number in outcomes.items():
        OPERATIONS.labels(operation, outcome).inc(number)
