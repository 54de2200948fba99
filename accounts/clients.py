"""Where a request comes from, as far as it can be believed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "0.0.0.0"  # noqa: S104  (a value to show and count by, nothing is bound to it)
"""Stands for every client without a readable address; they are counted as one."""


def client_address(request: HttpRequest) -> str:
    """The client's address: the hop that the outermost of our own proxies saw.

    `settings.TRUSTED_PROXIES` hops are believed; with none, X-Forwarded-For is not looked at. An
    unreadable hop gives the address of the connection, an unreadable connection UNKNOWN.
    """
    return str(_client(request) or UNKNOWN)


def client_network(request: HttpRequest) -> str:
    """The first address of the client's network (/24, IPv6 /64), by which guesses are counted."""
    address = _client(request)
    if address is None:
        return UNKNOWN
    prefix = 24 if address.version == 4 else 64
    return str(ip_network(f"{address}/{prefix}", strict=False).network_address)


def _client(request: HttpRequest) -> IPv4Address | IPv6Address | None:
    connection = _parsed(request.META.get("REMOTE_ADDR", ""))
    proxies: int = settings.TRUSTED_PROXIES
    if not proxies:
        return connection
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    # The last hop was added by the innermost proxy; each proxy further out is one to the left.
    return _parsed(hops[max(len(hops) - proxies, 0)]) or connection


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `text`; some proxies add a port, IPv6 may carry a zone or hold an IPv4 one."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
