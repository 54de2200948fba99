"""How many cells the permission proof asks, counted from its tables and without a database."""

from __future__ import annotations

from .faces import Way, ways_of
from .world import CALLERS, ENTRIES, GRANTS, NO_BULK, cells_of, entries_for

CORE, DONE = "core, asked", "core, carried out"
FACES = {"native": "native API, bulk", "htm": "IBM HTM, bulk", "admin": "admin, bulk"}


def refused_whole(caller: str, way: Way) -> int:
    """The status of a bulk call that is refused as a whole, so that no cell is answered; or 0."""
    permission = way.entry.page.permission
    if way.face == "admin" and not {permission, "tasks.view_task"} <= GRANTS[caller]:
        return 403
    if caller in NO_BULK and permission in GRANTS[caller]:
        return 413
    return 0


def in_bulk(face: str, caller: str, long: bool) -> int:
    """How many cells a caller asks through a face in bulk."""
    entries = [
        way.entry
        for way in ways_of(caller, long)
        if way.face == face and not refused_whole(caller, way)
    ]
    return cells_of(entries)


def cells(long: bool) -> dict[str, int]:
    """How many cells each part of the proof has."""
    return {
        CORE: sum(cells_of(entries_for(caller, long)) for caller in CALLERS),
        DONE: cells_of(ENTRIES) * (len(CALLERS) if long else 1),
        **{
            title: sum(in_bulk(face, caller, long) for caller in CALLERS)
            for face, title in FACES.items()
        },
    }


def markdown() -> str:
    """The counts as the README prints them."""
    short, whole = cells(False), cells(True)
    lines = ["| cells | in the suite | `--long` |", "|---|---|---|"]
    lines += [f"| {what} | {short[what]:,} | {whole[what]:,} |" for what in short]
    return "\n".join(lines)
