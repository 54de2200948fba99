"""All cells once more through each face in bulk: one call for each caller and operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.api.htm import verbs
from tests.core.book import STATES

from .counts import in_bulk, refused_whole
from .faces import HTM_BULK, Way, ways, ways_of
from .test_permissions import undoing
from .world import CALLERS, World


@pytest.fixture(autouse=True)
def files(tmp_path: Path, settings: Any) -> None:
    """Attached files are kept where they do not stay."""
    settings.MEDIA_ROOT = tmp_path


def check(world: World, caller: str, way: Way) -> int:
    """Hold one call against the book, line by line and in order; answer how many cells it had."""
    ids = world.ids(caller)
    with undoing():
        said = way.act(world.users[caller], ids)
    whole = refused_whole(caller, way)
    if whole:
        assert said.whole == whole
        return 0
    expected = {spot.pk: way.entry.expected(caller, spot) for spot in world.spots[caller]}
    done = [pk for pk in ids if expected[pk] in STATES]
    refused = {pk: way.words(expected[pk]) for pk in ids if expected[pk] not in STATES}
    assert said.whole == 0
    assert said.refused == refused
    assert said.done == done
    if way.face != "admin":  # there, by reason
        assert list(said.refused) == list(refused)
    return len(ids)


@pytest.mark.parametrize("caller", CALLERS)
def test_every_line_of_a_bulk_call_is_as_the_book_says(
    world: World,
    caller: str,
    tally: Callable[[str, int], None],
    long: bool,
    subtests: pytest.Subtests,
) -> None:
    tried: Counter[str] = Counter()
    for way in ways_of(caller, long):
        with subtests.test(str(way)):
            tried[way.face] += check(world, caller, way)
    for face, number in tried.items():
        assert number == in_bulk(face, caller, long)
        tally(f"permission cells, bulk, {face}", number)


def test_every_face_that_has_bulk_is_asked() -> None:
    assert {way.face for way in ways(False)} == {"native", "htm", "admin"}
    # An update of many through IBM's dialect takes names and values of its own form.
    assert set(getattr(verbs, "BULK", ())) - set(HTM_BULK) <= {"update"}
