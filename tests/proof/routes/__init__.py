"""Every route of every face, told by the URL configuration, with a request to each that succeeds.

What a face adds is found here by itself; what cannot be derived stands in the tables of its face,
and a route that is in none of them is an `UnknownRoute`, which fails the proofs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from django.urls import URLPattern, get_resolver

from . import admin, htm, itential, native, pages
from .route import NoGoodRequest, Route, UnknownRoute
from .world import CSRF, World

__all__ = ["CSRF", "NoGoodRequest", "Route", "UnknownRoute", "World", "routes"]


def routes() -> list[Route]:
    """All routes. Raises UnknownRoute."""
    found = [
        route
        for pattern, leaf in _leaves(get_resolver().url_patterns)
        for route in _routes_of(pattern, leaf)
    ]
    methods = defaultdict(set)
    for route in found:
        methods[route.pattern].add(route.method)
    return [replace(route, methods=frozenset(methods[route.pattern])) for route in found]


def _leaves(patterns: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for each in patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLPattern):
            yield path, each
        else:
            yield from _leaves(each.url_patterns, path)


def _routes_of(pattern: str, leaf: URLPattern) -> Iterator[Route]:
    if pattern.startswith("api/"):
        return native.routes_of(pattern, leaf.callback)
    if pattern.startswith("rest/bpm/htm/"):
        return htm.routes_of(pattern, leaf.callback)
    if pattern.startswith("problems/"):
        return pages.routes_of(pattern)
    if pattern.startswith("admin/") or pattern == "":
        return admin.routes_of(pattern, leaf)
    return itential.routes_of(pattern, leaf.callback)
