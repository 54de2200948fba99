"""System checks: no face forgets a reason to refuse, no face forgets an operation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.core.checks import CheckMessage, Error, register

from .errors import reasons

FACES = ("native", "itential", "htm")


@register
def every_face_knows_every_error(**_: Any) -> list[CheckMessage]:
    """Each face has one table, `STATUSES`, from the classes of refusal to its own answers."""
    found: list[CheckMessage] = []
    for face in FACES:
        table = import_module(f"tasks.api.{face}.errors").STATUSES
        found += [
            Error(
                f"The face {face} does not say how it answers {reason.__name__}.",
                hint=f"Add it to STATUSES in tasks/api/{face}/errors.py.",
                id="tasks.E001",
            )
            for reason in reasons()
            if reason not in table
        ]
    return found
