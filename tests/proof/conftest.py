"""One started server for all proofs that want it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from .live import serving


@pytest.fixture(scope="session")
def port(django_db_setup: None) -> Iterator[int]:
    """The port of a server on the test database."""
    with serving(connection.settings_dict["NAME"]) as found:
        yield found
