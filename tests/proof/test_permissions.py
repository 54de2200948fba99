"""Every cell of system role, task role, way held, operation, state and hold: as the book says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction

from accounts.models import Role, User
from tasks.actions import ACTIONS, Call, Outcome
from tasks.lifecycle import OPERATIONS, State
from tasks.models import Channel, Task
from tasks.roles import TaskRole
from tests.core.book import STATES

from .world import CALLERS, ENTRIES, GRANTS, Entry, World, cells_of, entries_for

Tally = Callable[[str, int], None]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, settings: Any) -> None:
    """Attached files are kept where they do not stay."""
    settings.MEDIA_ROOT = tmp_path


@contextmanager
def undoing() -> Iterator[None]:
    """What happens within is undone."""
    whole = transaction.atomic()
    whole._from_testcase = True  # as Django marks those around tests, in which ours may nest
    with whole:
        try:
            yield
        finally:
            transaction.set_rollback(True)


def ask(world: World, caller: str, entry: Entry, *, dry_run: bool) -> Outcome:
    """What the core answers to one call about all tasks of a caller."""
    call = Call(
        world.users[caller],
        Channel.COMMAND,
        request_id="proof",
        reason="because the proof says so",
        dry_run=dry_run,
    )
    return ACTIONS[entry.operation](world.ids(caller), call=call, **entry.given())


def wrong_cells(world: World, caller: str, entry: Entry, seen: Counter[str]) -> list[str]:
    """The cells of one call that answer otherwise than the book says."""
    outcome = ask(world, caller, entry, dry_run=True)
    wrong = []
    for spot in world.spots[caller]:
        expected = entry.expected(caller, spot)
        expected = "done" if expected in STATES else expected
        error = outcome.refused.get(spot.pk)
        said = error.code if error else "done" if spot.pk in outcome.done else "nothing"
        seen[said] += 1
        if said != expected:
            wrong.append(
                f"{caller}, {'+'.join(sorted(spot.holding.roles))} {spot.holding.way}: {entry} in "
                f"{spot.state}{' on hold' * spot.on_hold} said {said}, not {expected}"
            )
    return wrong


@pytest.mark.parametrize("caller", CALLERS)
def test_every_cell_of_the_core_answers_as_the_book_says(
    world: World, caller: str, tally: Tally, long: bool
) -> None:
    seen: Counter[str] = Counter()
    asked = entries_for(caller, long)
    wrong = [cell for entry in asked for cell in wrong_cells(world, caller, entry, seen)]
    assert wrong == []
    assert seen.total() == len(asked) * len(world.spots[caller])
    everywhere = {"tasks.administrator", "tasks.reader"} & GRANTS[caller]
    assert bool(seen["task_not_found"]) != bool(everywhere)
    tally("permission cells, core", seen.total())


def performer(entry: Entry) -> str:
    """Who carries the operation out in the short form: a caller who is nothing by that alone."""
    able = [name for name in GRANTS if entry.page.permission in GRANTS[name]]
    return next((name for name in ("engineering", "retryUser") if name in able), "admin")


@pytest.mark.parametrize("caller", CALLERS)
def test_what_the_core_does_is_what_it_said(
    world: World, caller: str, tally: Tally, long: bool
) -> None:
    """Each call carried out: the same tasks change, into the state of the book, the rest stays."""
    tried = 0
    for entry in ENTRIES:
        if not long and caller != performer(entry):
            continue
        with undoing():
            outcome = ask(world, caller, entry, dry_run=False)
            said = {
                **{pk: error.code for pk, error in outcome.refused.items()},
                **{pk: task.state for pk, task in outcome.tasks.items()},
            }
            expected = {spot.pk: entry.expected(caller, spot) for spot in world.spots[caller]}
            assert said == expected, str(entry)
            versions = dict(Task.objects.filter(pk__in=expected).values_list("pk", "version"))
            if entry.row != "remove":
                assert {pk for pk, version in versions.items() if version == 2} == set(outcome.done)
            assert all(versions[pk] == 1 for pk in outcome.refused)
            tried += len(expected)
    tally("permission cells, carried out", tried)


def test_the_cells_are_counted_as_they_are(world: World) -> None:
    assert {len(world.spots[caller]) for caller in CALLERS} == {cells_of(ENTRIES[:1])}


def test_one_changed_cell_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a reader who may comment, in one state alone."""
    comment = OPERATIONS["comment"]
    (rule,) = comment.rules
    failed = frozenset({State.FAILED})
    rules = (
        replace(rule, sources=rule.sources - failed),
        replace(rule, sources=failed, roles=rule.roles | {TaskRole.READER}),
    )
    entry = next(entry for entry in ENTRIES if entry.row == "comment")
    assert wrong_cells(world, "operations", entry, Counter()) == []
    monkeypatch.setitem(OPERATIONS, "comment", replace(comment, rules=rules))
    wrong = wrong_cells(world, "operations", entry, Counter())
    assert len(wrong) == 5  # in every way that a reader is one, and once more excluded
    assert all("reader" in line and "in failed said done" in line for line in wrong)


def test_a_permission_too_many_is_found(world: World) -> None:
    """Negative control: a site where viewers may claim."""
    entry = next(entry for entry in ENTRIES if entry.row == "claim")
    with undoing():
        claim = Permission.objects.get(codename="claim_task")
        Role.objects.get(name="viewer").permissions.add(claim)
        viewer = User.objects.get(pk=world.users["viewer"].pk)
        loose = replace(world, users={"viewer": viewer})
        assert wrong_cells(loose, "viewer", entry, Counter())
