"""The system check that no face forgets a reason to refuse."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from .errors import reasons


@register
def every_face_knows_every_error(**_: Any) -> list[CheckMessage]:
    """Beside its `refuse`, each of FACES has a table, `STATUSES`, from refusals to its answers."""
    found: list[CheckMessage] = []
    for module in sorted({refuser.rpartition(".")[0] for refuser in settings.FACES.values()}):
        table = import_module(module).STATUSES
        found += [
            Error(
                f"{module} does not say how its face answers {reason.__name__}.",
                hint="Add it to STATUSES there.",
                id="tasks.E001",
            )
            for reason in reasons()
            if reason not in table
        ]
    return found
