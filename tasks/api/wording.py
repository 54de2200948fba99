"""What an answer may repeat of what a caller wrote: nothing that nobody sees, nothing endless."""

from __future__ import annotations

from typing import Any

from accounts.texts import UNSEEN

LONGEST = 1000
"""How many characters of one text an error answer holds."""


def legible(text: str) -> str:
    """The text with a visible mark for each character that nobody sees, cut where it is endless."""
    shown = UNSEEN.sub("\ufffd", text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def legible_within(value: Any) -> Any:
    """A JSON value with all its texts made legible; the names of members stay."""
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, dict):
        return {name: legible_within(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [legible_within(inner) for inner in value]
    return value
