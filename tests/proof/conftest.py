"""The world of the permission proof, in a transaction that is rolled back after it was used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction

from . import world as worlds


@contextmanager
def standing(django_db_blocker: Any) -> Iterator[worlds.World]:
    """A world while it stands."""
    with django_db_blocker.unblock():
        whole = transaction.atomic()
        whole._from_testcase = True  # as Django marks those around tests, in which ours may nest
        whole.__enter__()
        try:
            yield worlds.build()
        finally:
            transaction.set_rollback(True)
            whole.__exit__(None, None, None)


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[worlds.World]:
    """One world for all tests of a module, which undo what they do to it."""
    with standing(django_db_blocker) as found:
        yield found


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return "function" if config.getoption("--long") else "module"


@pytest.fixture(scope=_scope)
def busy_world(django_db_setup: None, django_db_blocker: Any) -> Iterator[worlds.World]:
    """The same for tests that do very much: in the long form each has a world of its own.

    What is undone within a transaction still lies in its tables, and slows down what follows.
    """
    with standing(django_db_blocker) as found:
        yield found
