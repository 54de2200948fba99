"""What the proofs share: started servers, and a world to be asked, rolled back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.conftest import sweep

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


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[worlds.World]:
    """One world for all tests of a module, which undo what they do to it.

    It is committed: what is undone in a transaction that goes on would lie in its way for good.
    """
    with django_db_blocker.unblock():
        try:
            yield worlds.build()
        finally:
            sweep()
