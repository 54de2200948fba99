"""The world of the permission proof, made once for a module and rolled back after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from . import world as worlds


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[worlds.World]:
    """The world, in a transaction that is rolled back after the last test of the module."""
    with django_db_blocker.unblock():
        whole = transaction.atomic()
        whole._from_testcase = True  # as Django marks those around tests, in which ours may nest
        whole.__enter__()
        try:
            yield worlds.build()
        finally:
            transaction.set_rollback(True)
            whole.__exit__(None, None, None)


@pytest.fixture
def undone(world: worlds.World) -> Iterator[None]:
    """What the test does to the world is undone after it."""
    before = transaction.savepoint()
    yield
    transaction.savepoint_rollback(before)
