"""What a caller of a dialect expects of a task: one version, in the header If-Match."""

from __future__ import annotations

import re

_VERSION = re.compile(r'"([0-9]{1,10})"')


def expected_version(if_match: str | None) -> int | None:
    """The version that If-Match names, as the ETag headers do; None where any will do.

    Raises ValueError for anything but one strong tag of ours or an asterisk.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    match = _VERSION.fullmatch(if_match.strip())
    if match is None:
        raise ValueError('If-Match takes one version, as in "3".')
    return int(match[1])
