"""What the proofs share: started servers, and a world to be asked, rolled back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from . import world as worlds
from .live import serving
from .troubled import Client, Troubled, troubled


@pytest.fixture(scope="session")
def port(django_db_setup: None) -> Iterator[int]:
    """The port of a server on the test database."""
    with serving(connection.settings_dict["NAME"]) as found:
        yield found


@pytest.fixture(scope="session")
def served() -> Iterator[Troubled]:
    """A server and its database, neither of them shared with any other test."""
    with troubled() as server:
        yield server


@pytest.fixture(scope="session")
def client(served: Troubled) -> Iterator[Client]:
    """Its clients."""
    client = Client(served)
    yield client
    client.http.close()


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
