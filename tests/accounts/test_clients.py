"""Whose address is believed, and how networks are counted."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from accounts.clients import UNKNOWN, client_address, client_network


@pytest.mark.parametrize(
    ("proxies", "connection", "forwarded", "network"),
    [
        (0, "203.0.113.77", "198.51.100.1", "203.0.113.0"),
        (1, "10.0.0.1", "198.51.100.9", "198.51.100.0"),
        (1, "10.0.0.1", "6.6.6.6, 198.51.100.9", "198.51.100.0"),
        (2, "10.0.0.1", "6.6.6.6, 198.51.100.9, 10.0.0.2", "198.51.100.0"),
        (2, "10.0.0.1", "198.51.100.9", "198.51.100.0"),
        (1, "10.0.0.1", "", "10.0.0.0"),
        (1, "10.0.0.1", "rubbish", "10.0.0.0"),
        (1, "10.0.0.1", "198.51.100.9:4711", "198.51.100.0"),
        (1, "10.0.0.1", "[2001:db8:1:2:3::4]:4711", "2001:db8:1:2::"),
        (0, "2001:db8:1:2:ffff::1", "", "2001:db8:1:2::"),
        (0, "fe80::1%eth0", "", "fe80::"),
        (0, "::ffff:203.0.113.77", "", "203.0.113.0"),
        (0, "", "", UNKNOWN),
        (0, "unix:", "", UNKNOWN),
        (1, "\x00", "\ud800, 999.1.1.1", UNKNOWN),
    ],
)
def test_client_network(
    settings: Any, proxies: int, connection: str, forwarded: str, network: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/")
    request.META["REMOTE_ADDR"] = connection
    if forwarded:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_network(request) == network
    assert len(client_address(request)) <= 64
