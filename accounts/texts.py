"""Characters that nobody sees: they make one name look like another, and forge screens and logs."""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control codes, marks of direction, and what is no character at all."""
