"""The pages that explain error codes, which anybody may read."""

from __future__ import annotations

from collections.abc import Iterator

from .route import Route, simple


def routes_of(pattern: str) -> Iterator[Route]:
    """The one route of a pattern."""
    path = "/" + pattern.replace("<str:code>", "task_not_found")
    yield Route(pattern, "GET", "probe", "problems", simple(path), takes_body=False)
