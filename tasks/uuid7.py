"""Identifiers: made in the order of time (RFC 9562 version 7), and read in one spelling only.

They are made here since PostgreSQL makes none before 18.
"""

import os
import re
import time
from typing import Any
from uuid import UUID

_PLAIN = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def uuid7() -> UUID:
    """A new UUIDv7: 48 bits of milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def uuid_of(text: Any) -> UUID | None:
    """The UUID that a text spells in its plain form, in any case; None for anything else."""
    return UUID(text) if isinstance(text, str) and _PLAIN.fullmatch(text) else None
