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
from tasks.lists import NEWEST, ORDERS, Place, Sifted, Walk
from tasks.models import Task
from tasks.querysets import TaskQuerySet, roles_everywhere, sees_all
from tasks.summaries import SUMMED, Summary, summary

from .base import parameter_error, refuse_parameters
from .filters import TaskFilters
from .pagination import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Order, Page, page, page_of
from .serializers.documents import MEMBERS

WINDOW: Final = frozenset({"limit", "cursor"})
"""The parameters of every list."""

ORDERED: Final = frozenset({"view", "ordering"})
"""Those of the list of tasks besides its filters."""

FIELDS: Final = "fields"
"""The parameter with the members of a document that are asked for."""

EXACT: Final = 10_000
"""Up to so many tasks are counted exactly."""


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
    "overdue": View(
        lambda tasks, _: tasks.overdue(),
        lists.OVERDUE,
        ("due_at", "-due_at", "-created_at", "created_at"),
    ),
    "on-hold": View(lambda tasks, _: tasks.on_hold(), lists.ON_HOLD),
    "finished": View(lambda tasks, _: tasks.finished(), lists.FINISHED),
}
"""The named views of the list."""

ALL: Final = View(lambda tasks, _: tasks, lists.VISIBLE)
"""The list without a view: all that the account sees."""

_OF_SEEN: Final = (lists.VISIBLE, lists.OVERDUE, lists.ON_HOLD, lists.FINISHED)
"""What is walked only for those who do not see all tasks."""


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

    filters: TaskFilters
    view: View
    order: lists.Order
    window: Window
    fields: tuple[str, ...] = ()
    """The members of the documents that are asked for; none for all."""

    @classmethod
    def read(cls, given: QueryDict) -> Listing:
        """The listing that query parameters ask for. Raises BadSyntax; looks nothing up."""
        wrong: list[dict[str, str]] = []
        filters, name = TaskFilters.read(given, wrong), given.get("view")
        if name is not None and name not in VIEWS:
            wrong.append(parameter_error("view", "invalid", f"One of {', '.join(VIEWS)}."))
        view = ALL if name is None else VIEWS.get(name, ALL)
        ordering = given.get("ordering", view.orderings[0])
        if ordering not in view.orderings:
            detail = f"One of {', '.join(view.orderings)}."
            wrong.append(parameter_error("ordering", "invalid", detail))
        order = ORDERS.get(ordering, NEWEST)
        window = Window.read(given, wrong, order)
        fields = tuple(str(given[FIELDS]).split(",")) if FIELDS in given else ()
        if not set(fields) <= MEMBERS:
            detail = f"Some of {', '.join(sorted(MEMBERS))}, with commas between them."
            wrong.append(parameter_error(FIELDS, "invalid", detail))
        refuse_parameters(wrong)
        return cls(filters, view, order, window, fields)

    def page(self, user: User) -> tuple[Page[lists.Row], dict[str, int | None]]:
        """The page asked for, and how many tasks the list has: `count`, perhaps an estimate.

        Raises NotPermitted without the permission to view.
        """
        reading.demand_viewer(user)
        way = self._way(user)
        without = unread(self.fields)
        if way is None:
            tasks = self.of(reading.visible(user), user)
            return listed(tasks, user, self.window, self.order, without=without)
        cursor, limit = self.window.cursor, self.window.limit
        place = Place(cursor.values, cursor.backwards) if cursor else None
        rows = way.page(self.order, place, limit + 1, without)
        found = page_of(rows, cursor, limit, self.order)
        if found.whole and cursor is None:
            return found, {"count": len(found.rows)}
        return found, self._counted(way, user)

    def count(self, user: User) -> dict[str, int | None]:
        """How many tasks there are, perhaps an estimate. Raises NotPermitted likewise."""
        reading.demand_viewer(user)
        return self._counted(self._way(user), user)

    def summary(self, user: User) -> Summary:
        """The tasks counted by what they are. Raises NotPermitted likewise."""
        reading.demand_viewer(user)
        way = self._way(user)
        if way is not None:
            return summary(way.newest(SUMMED + 1))
        seen = self.of(reading.visible(user), user)
        return summary(lists.newest(_newest(seen)[: SUMMED + 1]))

    def _counted(self, way: Walk | Sifted | None, user: User) -> dict[str, int | None]:
        if way is None or way == Walk(lists.EVERYTHING, user):
            return count(_newest(self.of(reading.visible(user), user)), user)
        return counted(way.count(EXACT + 1))

    def _way(self, user: User) -> Walk | Sifted | None:
        """How the tasks are found; None where a queryset does as well or better.

        That is so for accounts that see all tasks anyway, if only some are asked for; but not
        where somebody holds a role on many, since PostgreSQL might read all tasks to find those.
        Where an index tells that few can be meant, those are sifted; else a walk tests what the
        filters ask on its way.
        """
        plenty = False
        for ids in self.filters.candidates(user):
            found = lists.few(ids)
            if found is not None:
                return Sifted(found, lists.test(self.of(reading.visible(user), user)))
            plenty = self.filters.by_holder
        if self.view.walk is None:
            return None
        filters = self.filters
        view = self.view.walk
        if view in _OF_SEEN and roles_everywhere(user):
            some = filters.states or filters.unowned or filters.others
            if view is not lists.VISIBLE or (some and not plenty):
                return None
            view = lists.EVERYTHING
        among = lists.test(filters.through(Task.objects.all(), user)) if filters.others else None
        return Walk(view, user, filters.states, filters.unowned, among, filters.created)

    def of(self, tasks: TaskQuerySet, user: User) -> TaskQuerySet:
        """Those of `tasks` that view and filters let through."""
        return self.filters.through(self.view.narrow(tasks, user), user)


def unread(fields: Sequence[str]) -> frozenset[str]:
    """What need not be read of tasks of whose documents only some members are asked for."""
    if not fields:
        return frozenset()
    return (lists.LARGE | {lists.PEOPLE}) - set(fields)


def _newest(tasks: TaskQuerySet) -> TaskQuerySet:
    """In an order, so that what is bounded walks an index instead of reading the table."""
    return tasks.order_by("-created_at", "-pk")


def listed(
    tasks: TaskQuerySet,
    user: User,
    window: Window,
    order: lists.Order = NEWEST,
    *,
    without: frozenset[str] = frozenset(),
) -> tuple[Page[lists.Row], dict[str, int | None]]:
    """The page of a queryset, and how many tasks that has; for `without` see `lists.rows`."""
    # No tasks, since making one costs more than finding it; what orders sort by is enough here.
    places = tasks.values_list("pk", "created_at", "updated_at", "priority", "due_at", named=True)
    found: Page[Any] = page(places, window.cursor, window.limit, order)
    read = lists.rows([task.pk for task in found.rows], without)
    rows = Page(read, found.previous, found.next)
    if found.whole and window.cursor is None:
        return rows, {"count": len(rows.rows)}
    return rows, count(_newest(tasks), user)


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
