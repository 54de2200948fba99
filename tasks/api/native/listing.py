"""Which tasks a list is asked for, and which part of them: the query parameters of lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from accounts.models import User
from tasks import lists, reading
from tasks.lifecycle import State
from tasks.lists import NEWEST, ORDERS, Place, Walk
from tasks.querysets import TaskQuerySet, roles_everywhere, sees_all

from .base import parameter_error, refuse_parameters
from .pagination import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Order, Page, page, page_of

WINDOW: Final = frozenset({"limit", "cursor"})
"""The parameters of every list."""

FILTERS: Final = frozenset({"state", "owner", "view", "ordering"})
"""Those of the list of tasks besides."""

REPEATABLE: Final = frozenset({"state"})
"""Those that may be given more than once."""

EXACT: Final = 10_000
"""Up to so many tasks are counted exactly."""

NO_OWNER: Final = "none"
"""The value of the filter `owner` for tasks that nobody holds."""


class View(NamedTuple):
    """A named view of the list: which of the visible tasks, and the orders it is offered in."""

    narrow: Callable[[TaskQuerySet, User], TaskQuerySet]
    walk: lists.View | None = None
    """The same for a walk, where there is one."""
    orderings: Sequence[str] = ("-created_at", "created_at")
    """The first is the one that is not asked for. Each needs an index, or few tasks to sort."""


_BY_PRIORITY: Final = ("priority", "-priority")

VIEWS: Final[dict[str, View]] = {
    "mine": View(
        TaskQuerySet.held_by,
        lists.MINE,
        ("-created_at", *(name for name in ORDERS if name != "-created_at")),
    ),
    "available": View(
        TaskQuerySet.available_to, lists.AVAILABLE, (*_BY_PRIORITY, "-created_at", "created_at")
    ),
    "team": View(
        TaskQuerySet.of_teams_of, lists.TEAM, ("-created_at", "created_at", *_BY_PRIORITY)
    ),
    "unclaimable": View(lambda tasks, _: tasks.unclaimable()),
}
"""The named views of the list."""

ALL: Final = View(lambda tasks, _: tasks, lists.VISIBLE)
"""The list without a view: all that the account sees."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is asked for."""

    limit: int
    cursor: Cursor | None

    @classmethod
    def read(cls, given: QueryDict, wrong: list[dict[str, str]], order: Order) -> Window:
        """The window that query parameters ask for; what is wrong with them goes into `wrong`."""
        limit, cursor = given.get("limit", str(DEFAULT_LIMIT)), None
        if not (limit.isascii() and limit.isdigit() and len(limit) <= len(str(MAX_LIMIT))) or not (
            1 <= int(limit) <= MAX_LIMIT
        ):
            wrong.append(parameter_error("limit", "invalid", f"A number from 1 to {MAX_LIMIT}."))
            limit = "0"
        text = given.get("cursor")
        try:
            cursor = None if text is None else Cursor.read(text, order)
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
    """Which part of which tasks a list is asked for, and in which order."""

    states: frozenset[State]
    owner: str | None
    view: View
    order: lists.Order
    window: Window

    @classmethod
    def read(cls, given: QueryDict) -> Listing:
        """The listing that query parameters ask for. Raises BadSyntax; looks nothing up."""
        wrong: list[dict[str, str]] = []
        states, owner, name = given.getlist("state"), given.get("owner"), given.get("view")
        if not set(states) <= set(State):
            wrong.append(parameter_error("state", "invalid", f"One of {', '.join(State)}."))
            states = []
        if owner == "":
            detail = f"A user name, or {NO_OWNER} for tasks that nobody holds."
            wrong.append(parameter_error("owner", "invalid", detail))
        if name is not None and name not in VIEWS:
            wrong.append(parameter_error("view", "invalid", f"One of {', '.join(VIEWS)}."))
        view = ALL if name is None else VIEWS.get(name, ALL)
        ordering = given.get("ordering", view.orderings[0])
        if ordering not in view.orderings:
            detail = f"One of {', '.join(view.orderings)}."
            wrong.append(parameter_error("ordering", "invalid", detail))
        order = ORDERS.get(ordering, NEWEST)
        window = Window.read(given, wrong, order)
        refuse_parameters(wrong)
        return cls(frozenset(map(State, states)), owner, view, order, window)

    def page(self, user: User) -> tuple[Page[lists.Row], dict[str, int | None]]:
        """The page asked for, and how many tasks the list has: `count`, perhaps an estimate.

        Raises NotPermitted without the permission to view.
        """
        reading.demand_viewer(user)
        walk = self._walk(user)
        if walk is None:
            return listed(self.of(reading.visible(user), user), user, self.window, self.order)
        cursor, limit = self.window.cursor, self.window.limit
        place = Place(cursor.values, cursor.backwards) if cursor else None
        found = page_of(walk.page(self.order, place, limit + 1), cursor, limit, self.order)
        if found.whole and cursor is None:
            return found, {"count": len(found.rows)}
        if walk.view is lists.EVERYTHING:
            return found, count(_newest(self.of(reading.visible(user), user)), user)
        return found, counted(walk.count(EXACT + 1))

    def _walk(self, user: User) -> Walk | None:
        """The walk that finds the tasks; None where a queryset does as well or better.

        That is so for accounts that see all tasks anyway, if only some are asked for, and for the
        tasks that somebody holds or held, which an index knows.
        """
        if self.view.walk is None or self.owner not in (None, NO_OWNER):
            return None
        if self.view is ALL and roles_everywhere(user):
            return None if self.states or self.owner else Walk(lists.EVERYTHING, user)
        return Walk(self.view.walk, user, self.states, unowned=self.owner == NO_OWNER)

    def of(self, tasks: TaskQuerySet, user: User) -> TaskQuerySet:
        """Those of `tasks` that the filters let through."""
        tasks = self.view.narrow(tasks, user)
        if self.states:
            tasks = tasks.filter(state__in=sorted(self.states))
        if self.owner == NO_OWNER:
            return tasks.filter(owner=None)
        return tasks if self.owner is None else tasks.filter(owner__username=self.owner)


def listed(
    tasks: TaskQuerySet, user: User, window: Window, order: lists.Order = NEWEST
) -> tuple[Page[lists.Row], dict[str, int | None]]:
    """The page of a queryset, and how many tasks that has."""
    # No tasks, since making one costs more than finding it; what orders sort by is enough here.
    places = tasks.values_list("pk", "created_at", "updated_at", "priority", "due_at", named=True)
    found: Page[Any] = page(places, window.cursor, window.limit, order)
    rows = Page(lists.rows([task.pk for task in found.rows]), found.previous, found.next)
    if found.whole and window.cursor is None:
        return rows, {"count": len(rows.rows)}
    return rows, count(_newest(tasks), user)


def _newest(tasks: TaskQuerySet) -> TaskQuerySet:
    """In an order, so that counting walks an index up to the bound instead of reading the table."""
    return tasks.order_by("-created_at", "-pk")


def count(rows: QuerySet[Any], user: User) -> dict[str, int | None]:
    """How many rows there are, as `counted` says it."""
    exact = rows[: EXACT + 1].count()
    if exact > EXACT and sees_all(user):
        # The planner knows of all rows, so only those who see all tasks may know what it says.
        plan: Any = json.loads(rows.order_by().explain(format="json"))
        return counted(max(plan[0]["Plan"]["Plan Rows"], exact))
    return counted(exact)


def counted(found: int) -> dict[str, int | None]:
    """`count` up to EXACT; beyond, that is null, and `count_estimate` a number there are at least.

    The planner's estimate is no lower bound, but only those who see all tasks are told that.
    """
    return {"count": found} if found <= EXACT else {"count": None, "count_estimate": found}
