"""Which tasks a list is asked for, and which part of them: the query parameters of lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from accounts.models import User
from tasks.lifecycle import State
from tasks.querysets import TaskQuerySet

from .base import parameter_error, refuse_parameters
from .pagination import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Page

WINDOW: Final = frozenset({"limit", "cursor"})
"""The parameters of every list."""

NO_OWNER: Final = "none"
"""The value of the filter `owner` for tasks that nobody holds."""

VIEWS: Final[dict[str, Callable[[TaskQuerySet, User], TaskQuerySet]]] = {
    "mine": TaskQuerySet.held_by,
    "available": TaskQuerySet.available_to,
    "team": TaskQuerySet.of_teams_of,
    "unclaimable": lambda tasks, _: tasks.unclaimable(),
}
"""The named views of the list."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is asked for."""

    limit: int
    cursor: Cursor | None

    @classmethod
    def read(cls, given: QueryDict, wrong: list[dict[str, str]]) -> Window:
        """The window that query parameters ask for; what is wrong with them goes into `wrong`."""
        limit, cursor = given.get("limit", str(DEFAULT_LIMIT)), None
        if not (limit.isascii() and limit.isdigit() and len(limit) <= len(str(MAX_LIMIT))) or not (
            1 <= int(limit) <= MAX_LIMIT
        ):
            wrong.append(parameter_error("limit", "invalid", f"A number from 1 to {MAX_LIMIT}."))
            limit = "0"
        text = given.get("cursor")
        try:
            cursor = None if text is None else Cursor.read(text)
        except ValueError:
            detail = "Not a cursor of this list; take it from next or previous."
            wrong.append(parameter_error("cursor", "invalid", detail))
        return cls(int(limit), cursor)

    def links(self, page: Page[Any], request: Request) -> dict[str, str | None]:
        """Where the list goes on from a page of it, as addresses."""
        here = request.build_absolute_uri()

        def link(cursor: Cursor | None) -> str | None:
            return replace_query_param(here, "cursor", cursor.text) if cursor else None

        return {"next": link(page.next), "previous": link(page.previous)}


@dataclass(frozen=True, slots=True)
class Listing:
    """Which part of which tasks a list is asked for."""

    states: Sequence[str]
    owner: str | None
    view: str | None
    window: Window

    @classmethod
    def read(cls, given: QueryDict) -> Listing:
        """The listing that query parameters ask for. Raises BadSyntax; looks nothing up."""
        wrong: list[dict[str, str]] = []
        states, owner, view = given.getlist("state"), given.get("owner"), given.get("view")
        if not set(states) <= set(State):
            wrong.append(parameter_error("state", "invalid", f"One of {', '.join(State)}."))
        if owner == "":
            detail = f"A user name, or {NO_OWNER} for tasks that nobody holds."
            wrong.append(parameter_error("owner", "invalid", detail))
        if view is not None and view not in VIEWS:
            wrong.append(parameter_error("view", "invalid", f"One of {', '.join(VIEWS)}."))
        window = Window.read(given, wrong)
        refuse_parameters(wrong)
        return cls(states, owner, view, window)

    def of(self, tasks: TaskQuerySet, user: User) -> TaskQuerySet:
        """Those of `tasks` that the filters let through."""
        if self.view is not None:
            tasks = VIEWS[self.view](tasks, user)
        if self.states:
            tasks = tasks.filter(state__in=self.states)
        if self.owner == NO_OWNER:
            return tasks.filter(owner=None)
        return tasks if self.owner is None else tasks.filter(owner__username=self.owner)
