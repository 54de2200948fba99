"""The list of indexes is that of the database, and hot tables are set up as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import connection

from tasks.actions import ACTIONS
from tests.conftest import Cast
from tests.factories import call_by, make_task

LIST = Path(__file__).parents[2] / "docs/indexes.md"


@pytest.mark.django_db
def test_every_index_says_what_it_serves() -> None:
    listed = re.findall(r"^\| (tasks_\w+) \| `(\w+)` \| .+ \|$", LIST.read_text(), re.MULTILINE)
    with connection.cursor() as cursor:
        cursor.execute(
            "select tablename, indexname from pg_indexes where tablename like %s", ["tasks\\_%"]
        )
        there = cursor.fetchall()
    assert sorted(listed) == sorted(there)


def _updates() -> tuple[int, int]:
    """How many rows of tasks this transaction has updated, and how many of them in place."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables where relname = %s",
            ["tasks_task"],
        )
        found: tuple[int, int] = cursor.fetchone()
    return found


def test_what_changes_neither_state_nor_owner_updates_a_task_in_place(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    before = _updates()
    ACTIONS["claim"]([task.pk], call=call_by(cast.bob)).one()
    claimed = _updates()
    # Negative control: the indexes by state and by owner learn of a claim.
    assert (claimed[0] - before[0], claimed[1] - before[1]) == (1, 0)
    ACTIONS["comment"]([task.pk], call=call_by(cast.bob), text="On my way.").one()
    ACTIONS["suspend"]([task.pk], call=call_by(cast.bob)).one()
    ACTIONS["resume"]([task.pk], call=call_by(cast.bob)).one()
    after = _updates()
    assert (after[0] - claimed[0], after[1] - claimed[1]) == (3, 3)
