"""System checks of settings that would be unsafe together."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register
def demo_is_never_real(**_: Any) -> list[CheckMessage]:
    """Demo mode lets in accounts whose passwords anybody knows."""
    if settings.DEMO and not settings.EMBEDDED:
        return [
            Error(
                "DEMO is set together with DATABASE_URL.",
                hint="Demo accounts have known passwords; unset one of the two.",
                id="taskmanager.E001",
            )
        ]
    return []
