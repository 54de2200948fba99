"""Lists of tasks in SQL: walks along indexes, as quick with a million tasks as with a thousand.

`querysets` says which tasks a list has. Asked in that form PostgreSQL would test or sort every
visible task for each page. A walk takes the first tasks of each group and role that the account
holds, each along an index that is in the order of the list, and merges them: what is among the
first fifty of all is among the first fifty of each that has it. A property test holds the two
forms equal.

Filters that no index knows are tested one by one along the walk. Where an index says that only few
tasks can be meant, those are fetched, sorted and tested for whether the account sees them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db.models import JSONField, QuerySet
from django.db.models.expressions import RawSQL

from accounts import sql
from accounts.models import User

from .lifecycle import ACTIVE, ENDED, HELD, OPEN, State
from .models import NO_DUE_DATE, Task
from .querysets import VISIBLE_THROUGH, TaskQuerySet, in_scope, permission_ids, scope_of
from .roles import COLUMNS, TaskRole
from .work_items import HOLDERS, NAMED, NAMES, Around, holders_from


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted; by id where that leaves two tasks equal, in the same direction.

    `of_task` and `of_row` are the columns to sort by, of a task and of a row of its roles (none
    where those do not know it), `types` what they hold.
    """

    name: str
    of_task: tuple[str, ...]
    of_row: tuple[str, ...]
    types: tuple[str, ...]
    descending: bool = False

    def place(self, task: Row | Task) -> tuple[Any, ...]:
        """What a task sorts by, its id at the end."""
        if self.name == "priority":
            return (task.priority, task.due_at or NO_DUE_DATE, task.pk)
        if self.name == "due_at":
            return (task.due_at or NO_DUE_DATE, task.pk)
        return (getattr(task, self.name), task.pk)


_DUE: Final = "coalesce(t.due_at, '9999-12-31 00:00+00')"
_BY: Final = (
    Order("created_at", ("t.created_at",), ("r.created",), ("timestamptz",)),
    Order("priority", ("t.priority", _DUE), ("r.priority", "r.due"), ("smallint", "timestamptz")),
    Order("due_at", (_DUE,), ("r.due",), ("timestamptz",)),
    Order("updated_at", ("t.updated_at",), (), ("timestamptz",)),
)
ORDERS: Final[dict[str, Order]] = {order.name: order for order in _BY} | {
    f"-{order.name}": Order(order.name, order.of_task, order.of_row, order.types, True)
    for order in _BY
}
"""All orders by their names; "-" stands for the reverse."""

NEWEST: Final = ORDERS["-created_at"]


class Place(NamedTuple):
    """Where in a list a page begins: beyond what sorts by `values`, onwards or back."""

    values: tuple[Any, ...]
    backwards: bool


# --- Rows -----------------------------------------------------------------------------------------

_FIELDS: Final = [f for f in Task._meta.concrete_fields if f.name not in ("head", "imported")]
_COLUMNS: Final = tuple(str(field.column) for field in _FIELDS)
_JSON: Final = [n for n, f in enumerate(_FIELDS) if isinstance(f, JSONField)]
_NAMES: Final = (*(f"{role}_name" for role in COLUMNS), "job_name")
_KNOWN: Final = (*_COLUMNS, *_NAMES)


class Row:
    """A task of a list: the columns of the task by their names, and the names of its people.

    It is no Task, since making one costs more than all the rest of a list.
    """

    __slots__ = (*_KNOWN, "holders")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def pk(self) -> UUID:
        """Its id, by the name that it has with models."""
        found: UUID = self.id
        return found

    def __init__(self, values: Sequence[Any]) -> None:
        """The row of one line that `_ROWS` answers with."""
        *columns, users, groups = values
        # Read all at once: asking for each takes longer than reading it.
        read = json.loads(f"[{','.join(columns[number] or 'null' for number in _JSON)}]")
        for number, value in zip(_JSON, read, strict=True):
            columns[number] = value
        for name, value in zip(_KNOWN, columns, strict=True):
            setattr(self, name, value)
        self.holders = holders_from(users, groups)

    @classmethod
    def of(cls, task: Task, around: Around) -> Row:
        """The row of a task that is at hand."""
        row = cls.__new__(cls)
        for name in _COLUMNS:
            setattr(row, name, getattr(task, name))
        for name, value in zip(_NAMES, around.names, strict=True):
            setattr(row, name, value)
        row.holders = around.holders
        return row


LARGE: Final = frozenset(
    {"input", "output", "fault", "custom_properties", "output_schema", "description"}
)
"""Columns that may hold much; a list can do without them."""

PEOPLE: Final = "people"
"""Stands for the names of those who hold the roles, beside the columns of LARGE."""


def _rows(without: frozenset[str]) -> str:
    """The end of a statement: what there is to say of the tasks `k.id`, in the order of `k.n`."""
    columns = ["null" if name in without else f"t.{name}" for name in _COLUMNS]
    holders = "null, null" if PEOPLE in without else HOLDERS
    return f"""
    select {", ".join(columns)}, {NAMES}, {holders}
    from k join tasks_task t on t.id = k.id {NAMED}
    order by k.n"""


def rows(ids: Sequence[UUID], without: frozenset[str] = frozenset()) -> list[Row]:
    """The tasks of the ids in that order, without those that are gone: one statement.

    `without` are those of LARGE and PEOPLE that are not read.
    """
    statement = f"""
        with k as (select * from unnest(%(ids)s::uuid[]) with ordinality as k(id, n))
        {_rows(without)}"""
    return [Row(values) for values in sql.run(statement, {"ids": list(ids)})]


# --- Querysets as parts of statements -------------------------------------------------------------


class Part(NamedTuple):
    """A piece of SQL and its named parameters."""

    text: str
    params: dict[str, Any]


def chosen(tasks: TaskQuerySet, name: str) -> Part:
    """The statement that finds the ids of a queryset; its parameters begin with `name`."""
    try:
        text, values = tasks.values("pk").query.sql_with_params()
    except EmptyResultSet:
        return Part("select null::uuid where false", {})
    params = {f"{name}{number}": value for number, value in enumerate(values)}
    return Part(text % tuple(f"%({name})s" for name in params), params)


def newest(tasks: TaskQuerySet) -> Part:
    """A CTE `k` with the ids of a queryset."""
    found = chosen(tasks, "chosen")
    return Part(f"k(id) as materialized ({found.text})", found.params)


class Test(NamedTuple):
    """The test whether a task is one of a queryset, for the statements that walk and sift."""

    text: str
    params: dict[str, Any]

    def of(self, pk: str) -> str:
        """The test for the task whose id is in the column `pk`.

        A probe by id: joined, the planner might read all.
        """
        return self.text.replace(_PK, pk)


_PK: Final = "<pk>"


def test(tasks: TaskQuerySet) -> Test:
    """The test whether a task is one of `tasks`."""
    mark = RawSQL(_PK, [])  # noqa: S611 (a constant)
    found = chosen(tasks.order_by().filter(pk=mark), "among")
    return Test(f"({found.text}) is not null", found.params)


# --- Walks ----------------------------------------------------------------------------------------


def _quoted(states: Iterable[str]) -> str:
    """States as SQL; written out, so that the planner knows a partial index to fit."""
    return ", ".join(f"'{state}'" for state in sorted(states))


_EXCLUDED: Final = """
    excluded as materialized (
    select x.content_object_id as id from tasks_taskuserrole x
    where x.user_id = %(user)s::bigint and x.permission_id = %(excluded_owner)s::int and x.ready
    union all
    select x.content_object_id from tasks_taskgrouprole x
    join accounts_effectivemembership m on m.group_id = x.group_id and not m.lead
    where m.user_id = %(user)s::bigint and x.permission_id = %(excluded_owner)s::int and x.ready)"""
"""A CTE of the tasks that the account would find available, were it not excluded."""

_MEMBER: Final = """
    select m.group_id, %(potential_owner)s::int as permission_id
    from accounts_effectivemembership m where m.user_id = %(user)s::bigint"""

_SEEING: Final = f"""
    select m.group_id, p.permission_id
    from accounts_effectivemembership m, unnest(%(visible_through)s::int[]) as p(permission_id)
    where m.user_id = %(user)s::bigint and not m.lead
    union {_MEMBER} and m.lead"""
"""The groups whose roles an account has, and those whose members it leads."""


class _Source(NamedTuple):
    """Part of a list: rows along one index, or one index walk for each of some principals."""

    rows: str
    where: str
    principals: str = ""


def _rows_of(kind: str, principals: str, where: str = "true") -> _Source:
    return _Source(
        f"tasks_task{kind}role r",
        f"r.{kind}_id = p.{kind}_id and r.permission_id = p.permission_id and {where}",
        principals,
    )


def _of_user(permissions: str) -> str:
    return f"""
        select %(user)s::bigint as user_id, p.permission_id
        from unnest({permissions}) as p(permission_id)"""


_POTENTIAL: Final = _of_user("array[%(potential_owner)s::int]")
_FREE: Final = "r.ready and r.content_object_id not in (select id from excluded)"


class View(NamedTuple):
    """A list that can be walked: where its tasks are found, and the states they can be in."""

    sources: tuple[_Source, ...]
    states: frozenset[State]


def _seen(of_row: str, of_task: str) -> tuple[_Source, ...]:
    """What an account sees that holds no role on every task, so far as the conditions hold."""
    return (
        _rows_of("group", _SEEING, of_row),
        _rows_of("user", _of_user("%(visible_through)s::int[]"), of_row),
        *(
            _Source("tasks_task t", f"t.{column}_id = %(user)s::bigint and {of_task}")
            for column in ("owner", "originator", "starter")
        ),
    )


VISIBLE: Final = View(_seen("true", "true"), frozenset(State))
"""What an account sees that holds no role on every task."""

_ON_HOLD: Final = "(select t.on_hold from tasks_task t where t.id = r.content_object_id)"
_IS_OPEN: Final = f"t.state in ({_quoted(OPEN)})"

OVERDUE: Final = View(
    _seen("r.open and r.due < now()", f"{_IS_OPEN} and t.due_at < now()"), frozenset(OPEN)
)
ON_HOLD: Final = View(
    _seen(f"r.open and not r.ready and {_ON_HOLD}", "t.on_hold"), frozenset(ACTIVE)
)
FINISHED: Final = View(_seen("not r.open", f"t.state in ({_quoted(ENDED)})"), frozenset(ENDED))
EVERYTHING: Final = View((_Source("tasks_task t", "true"),), frozenset(State))
"""What an account sees that holds a role on every task."""

AVAILABLE: Final = View(
    (_rows_of("group", f"{_MEMBER} and not m.lead", _FREE), _rows_of("user", _POTENTIAL, _FREE)),
    frozenset({State.READY}),
)
TEAM: Final = View((_rows_of("group", _MEMBER, "r.open"),), frozenset(OPEN))
MINE: Final = View(
    (_Source("tasks_task t", f"t.owner_id = %(user)s::bigint and t.state in ({_quoted(HELD)})"),),
    frozenset(HELD),
)


@dataclass(frozen=True, slots=True)
class Walk:
    """The tasks of a view for an active account, in some states only, or only those without owner.

    No states means all of them. `among` is what else is asked of a task, and `created` what of
    that an index can skip by: pairs of an operator and a time.
    """

    view: View
    user: User
    states: frozenset[State] = frozenset()
    unowned: bool = False
    among: Test | None = None
    created: tuple[tuple[str, datetime], ...] = ()

    def page(
        self,
        order: Order,
        place: Place | None,
        limit: int,
        without: frozenset[str] = frozenset(),
    ) -> list[Row]:
        """The first tasks of the list, or those beyond a place, in the direction of the walk.

        One statement. An order that the view has no index for must not be asked for; for `without`
        see `rows`.
        """
        if self._empty:
            return []
        found = self._first(order, place, limit)
        statement = f"with {found.text} {_rows(without)}"
        return [Row(values) for values in sql.run(statement, found.params)]

    def newest(self, limit: int) -> Part:
        """CTEs, the last of which is `k` with the ids of the newest tasks of the list."""
        if self._empty:
            return Part("k as (select null::uuid as id where false)", {})
        return self._first(NEWEST, None, limit)

    def _first(self, order: Order, place: Place | None, limit: int) -> Part:
        descending = order.descending != (place is not None and place.backwards)
        parts = [self._part(source, order, place, descending) for source in self.view.sources]
        keys = [f"k{number}" for number in range(len(order.types))]
        by = _by([*keys, "id"], descending)
        text = f"""
            {_EXCLUDED}, k as materialized (
                select id, row_number() over (order by {by}) as n
                from (select distinct {", ".join(keys)}, id from ({" union all ".join(parts)}) x) y
                order by n limit %(limit)s::bigint)"""
        return Part(text, {**self._params, "limit": limit, **_beyond(place)})

    def count(self, most: int) -> int:
        """How many tasks the list has, counted no further than `most`: one statement, seldom two.

        Several groups may hold the same task. A few rows more than `most` mostly tell that there
        are so many tasks; only where they leave it open all rows are asked for.
        """
        if self._empty:
            return 0
        # All tasks have no index of their own but that in the order of time.
        order = NEWEST if self.view is EVERYTHING else None
        parts = " union all ".join(self._part(source, order) for source in self.view.sources)
        statement = f"""
            with {_EXCLUDED} select coalesce(sum(n), 0), count(*) from (
                select count(*) as n from (
                    select id from ({parts}) x limit %(rows)s::bigint) y group by id) z"""
        params = {**self._params, "limit": most}
        rows = most + most // 4 + 1
        ((found, tasks),) = sql.run(statement, {**params, "rows": rows})
        if found == rows and tasks < most:
            ((_, tasks),) = sql.run(statement, {**params, "rows": None})
        return min(int(tasks), most)

    @property
    def _empty(self) -> bool:
        return bool(self.states) and not self.states & self.view.states

    @property
    def _params(self) -> dict[str, Any]:
        ids = permission_ids()
        return {
            "user": self.user.pk,
            "potential_owner": ids[TaskRole.POTENTIAL_OWNER],
            "excluded_owner": ids[TaskRole.EXCLUDED_OWNER],
            "visible_through": [ids[role] for role in VISIBLE_THROUGH],
            "states": sorted(self.states),
            "scope": scope_of(self.user),
            **{f"created{number}": when for number, (_, when) in enumerate(self.created)},
            **({} if self.among is None else self.among.params),
        }

    def _part(
        self,
        source: _Source,
        order: Order | None = None,
        place: Place | None = None,
        descending: bool = False,
    ) -> str:
        """The first tasks of one source, in an order if one is given."""
        of_task = source.rows.endswith(" t")
        pk = "t.id" if of_task else "r.content_object_id"
        where = [source.where, *self._conditions(of_task)]
        keys: tuple[str, ...] = ()
        if order is not None:
            keys = order.of_task if of_task else order.of_row
            if place is not None:
                where.append(_is_beyond((*keys, pk), order, descending))
        columns = [*(f"{key} as k{number}" for number, key in enumerate(keys)), f"{pk} as id"]
        part = f"""(
            select {", ".join(columns)} from {source.rows} where {" and ".join(where)}
            {f"order by {_by([*keys, pk], descending)}" if keys else ""}
            limit %(limit)s::bigint)"""
        if not source.principals:
            return part
        return f"(select w.* from ({source.principals}) p, lateral {part} w)"

    def _conditions(self, of_task: bool) -> list[str]:
        """What the filters ask of a task. As probes by id: joined, the planner might read all."""

        def column(name: str) -> str:
            if of_task:
                return f"t.{name}"
            return f"(select t.{name} from tasks_task t where t.id = r.content_object_id)"

        pk = "t.id" if of_task else "r.content_object_id"
        found = []
        if self.user.scope.groups is not None:
            found.append(in_scope(pk))
        for number, (sign, _) in enumerate(self.created):
            since = "t.created_at" if of_task else "r.created"
            found.append(f"{since} {sign} %(created{number})s::timestamptz")
        if self.states and not self.view.states <= self.states:
            found.append(f"{column('state')} = any(%(states)s::text[])")
        if self.unowned:
            found.append(f"{column('owner_id')} is null")
        if self.among is not None:
            found.append(self.among.of(pk))
        return found


FEW: Final = 10_000
"""Up to so many tasks are tested for whether an account sees them; for more, a walk is quicker."""


def few(ids: QuerySet[Any, UUID]) -> list[UUID] | None:
    """Ids that an index finds, if those are few."""
    found = list(ids[: FEW + 1])
    return None if len(found) > FEW else list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Sifted:
    """Those of few tasks that pass a test, as whether an account sees them."""

    ids: list[UUID]
    among: Test

    def page(
        self,
        order: Order,
        place: Place | None,
        limit: int,
        without: frozenset[str] = frozenset(),
    ) -> list[Row]:
        """The first tasks, or those beyond a place, in any order: one statement."""
        descending = order.descending != (place is not None and place.backwards)
        keys = [f"{key} as k{number}" for number, key in enumerate(order.of_task)]
        names = [*(f"k{number}" for number in range(len(keys))), "id"]
        by = _by(names, descending)
        beyond = "true" if place is None else _is_beyond(names, order, descending)
        # Sorted before they are tested, so that the test ends with the page.
        statement = f"""
            with s as materialized (
                select {", ".join(keys)}, t.id from tasks_task t where t.id = any(%(ids)s::uuid[])),
            k as materialized (
                select id, row_number() over () as n
                from (select * from s where {beyond} order by {by} offset 0) s
                where {self.among.of("s.id")} limit %(limit)s::bigint)
            {_rows(without)}"""
        params = {"ids": self.ids, "limit": limit, **self.among.params, **_beyond(place)}
        return [Row(values) for values in sql.run(statement, params)]

    def newest(self, limit: int) -> Part:
        """CTEs, the last of which is `k` with the ids of all the tasks, or of `limit` of them."""
        text = f"""
            k as materialized (
                select s.id from unnest(%(ids)s::uuid[]) as s(id)
                where {self.among.of("s.id")} limit %(limit)s::bigint)"""
        return Part(text, {"ids": self.ids, "limit": limit, **self.among.params})

    def count(self, most: int) -> int:
        """How many tasks there are, counted no further than `most`: one statement."""
        found = self.newest(most)
        ((tasks,),) = sql.run(f"with {found.text} select count(*) from k", found.params)
        return int(tasks)


def _is_beyond(keys: Sequence[str], order: Order, descending: bool) -> str:
    casts = (*order.types, "uuid")
    after = ", ".join(f"%(after{n})s::{cast}" for n, cast in enumerate(casts))
    return f"({', '.join(keys)}) {'<' if descending else '>'} ({after})"


def _beyond(place: Place | None) -> Mapping[str, Any]:
    values = () if place is None else place.values
    return {f"after{number}": value for number, value in enumerate(values)}


def _by(columns: Sequence[str], descending: bool) -> str:
    return ", ".join(f"{column} {'desc' if descending else 'asc'}" for column in columns)
