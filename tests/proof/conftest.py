"""Started servers for the proofs: one to be used as it is, one to be put in trouble."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

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
