"""One live server for the proofs that disturb it and wait until it has recovered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .live import Client, Live, live


@pytest.fixture(scope="session")
def served() -> Iterator[Live]:
    """A server and its database, neither of them shared with any other test."""
    with live() as server:
        yield server


@pytest.fixture(scope="session")
def client(served: Live) -> Iterator[Client]:
    """Its clients."""
    client = Client(served)
    yield client
    client.http.close()
