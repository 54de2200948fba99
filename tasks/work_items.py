"""Who holds which task role: the only module that writes guardian's tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Coalesce

from accounts import sql
from accounts.models import Group, User

from .lifecycle import OPEN, Kind, State
from .models import NO_DUE_DATE, Task, TaskGroupRole, TaskUserRole
from .querysets import in_scope, is_open, is_ready, permission_ids, roles_everywhere, scope_of
from .roles import COLUMNS, TaskRole


class LockedTask(NamedTuple):
    """A task as the rules look at it, under its lock, with what the actor is to it.

    `version_seen` is the version that the statement's snapshot saw; where it is older than
    `version`, the roles are older too. `at` is the time, once all were locked, in microseconds
    since 1970. `permissions` are the ids of what the actor holds, as text. `in_scope`: the task is
    not hidden from the token that the actor came with. `extra` holds the further columns and probes
    asked for. Tasks with the same number in `alike` differ in nothing but id, version, head and
    parent: what the rules say of one, they say of all.
    """

    id: UUID
    version: int
    version_seen: int
    head: bytes
    parent_id: UUID | None
    at: int
    permissions: str
    in_scope: bool
    owner_name: str | None
    state: str
    on_hold: bool
    kind: str
    claim_while_on_hold: bool
    skippable: bool
    owner_id: int | None
    originator_id: int | None
    starter_id: int | None
    extra: Mapping[str, Any]
    alike: int

    def roles(self, user_id: int | None, permissions: str) -> frozenset[TaskRole]:
        """The task roles of an account: those its permissions stand for, and its columns."""
        return _roles(self, user_id, permissions)


def _roles(task: LockedTask | Task, user_id: int | None, permissions: str) -> frozenset[TaskRole]:
    held = {_role_of()[int(permission)] for permission in permissions.split()}
    if user_id is not None:
        held |= {role for role in COLUMNS if getattr(task, f"{role}_id") == user_id}
    return frozenset(held)


_OWN = LockedTask._fields.index("at")
"""So many fields are a task's own; alike tasks share the others."""
_KNOWN = LockedTask._fields.index("extra")
_RULED = LockedTask._fields[LockedTask._fields.index("state") : _KNOWN]
"""The columns of a task that the rules look at."""


@cache
def _role_of() -> dict[int, TaskRole]:
    return {pk: role for role, pk in permission_ids().items()}


def _held_by(user: str, task: str = "l") -> str:
    """SQL: the permission ids, as text, that the account in `user` holds on the task of that name.

    A lead of a group that is potential owner counts as administrator. Written as probes by task, so
    that the planner never hashes all rows of a large group (it did: a third of a bulk transfer);
    what it does hash, once a statement, are the account's own groups.
    """
    groups = f"""
            select m.group_id from accounts_effectivemembership m
            where m.user_id = %({user})s::bigint"""
    return f"""concat_ws(' ',
        (select string_agg(r.permission_id::text, ' ') from tasks_taskuserrole r
         where r.content_object_id = {task}.id and r.user_id = %({user})s::bigint),
        (select string_agg(concat_ws(' ',
            case when r.group_id in ({groups} and not m.lead) then r.permission_id end,
            case when r.permission_id = %(potential_owner)s::bigint
                and r.group_id in ({groups} and m.lead) then %(administrator)s::bigint end), ' ')
         from tasks_taskgrouprole r where r.content_object_id = {task}.id))"""


def _holds(holder: User | Group, parameter: str) -> str:
    kind = "user" if isinstance(holder, User) else "group"
    return f"""exists(
        select from tasks_task{kind}role r
        where r.content_object_id = l.id and r.permission_id = %(role)s::bigint
            and r.{kind}_id = %({parameter})s::bigint)"""


_ROWS_OF_ROLE = """(
    (select count(*) from tasks_taskuserrole r
     where r.content_object_id = l.id and r.permission_id = %(role)s::bigint)
    + (select count(*) from tasks_taskgrouprole r
       where r.content_object_id = l.id and r.permission_id = %(role)s::bigint))"""

_OWNER_IN_GROUP = """exists(
    select from accounts_effectivemembership m
    where m.user_id = l.owner_id and m.group_id = %(receiver)s::bigint and not m.lead)"""


def lock(
    ids: Sequence[UUID],
    user: User | None,
    *,
    columns: Sequence[str] = (),
    role: TaskRole | None = None,
    giver: User | Group | None = None,
    receiver: User | Group | None = None,
    locking: bool = True,
) -> dict[UUID, LockedTask]:
    """The tasks that exist, locked in the order of their ids, with the roles of `user` on each.

    One statement. `columns` are further columns of the task for `extra`. With a `receiver`, `extra`
    has `receiver_permissions` (an account's) or `owner_in_group` (a group's); with a granted
    `role` also `giver_holds`, `receiver_holds` and `rows_of_role`. Without `locking` it is the same
    question without the lock, for previews.

    A role change that committed while this statement waited for a lock is not in its snapshot. Each
    such change raises the version, so where a version moved, the statement runs once more under
    the locks it now has.
    """
    params: dict[str, Any] = {
        "ids": list(ids),
        "actor": user.pk if user else None,
        "potential_owner": permission_ids()[TaskRole.POTENTIAL_OWNER],
        "administrator": permission_ids()[TaskRole.ADMINISTRATOR],
        "scope": scope_of(user),
    }
    probes = {name: f"l.{name}" for name in columns}
    if isinstance(receiver, User):
        probes["receiver_permissions"] = _held_by("receiver")
        params["receiver"] = receiver.pk
    elif receiver is not None:
        probes["owner_in_group"] = _OWNER_IN_GROUP
        params["receiver"] = receiver.pk
    if role is not None and role not in COLUMNS:
        params["role"] = permission_ids()[role]
        probes["rows_of_role"] = _ROWS_OF_ROLE
        if giver is not None:
            probes["giver_holds"] = _holds(giver, "giver")
            params["giver"] = giver.pk
        if receiver is not None:
            probes["receiver_holds"] = _holds(receiver, "receiver")
    # A plan for one task serves every other; for many PostgreSQL looks at how many they are.
    one_or_many = f"id = {'' if len(ids) == 1 else 'any'}(%(ids)s::uuid[])"
    if len(ids) == 1:
        one_or_many += "[1]"
    statement = f"""
        with locked as materialized (
            select id, version, head, parent_id,
                {", ".join(dict.fromkeys([*_RULED, *columns]))}
            from tasks_task
            where {one_or_many} order by id
            {"for no key update" if locking else ""}),
        clock as materialized (
            select (extract(epoch from clock_timestamp()) * 1000000)::bigint as at
            from (select count(*) from locked) as all_locked)
        select l.id, l.version, seen.version, l.head, l.parent_id, clock.at, {_held_by("actor")},
            {in_scope("l.id")}, holder.username, {", ".join(f"l.{name}" for name in _RULED)}
            {"".join(f", {probe}" for probe in probes.values())}
        from locked l
        cross join clock
        join tasks_task seen on seen.id = l.id
        left join accounts_user holder on holder.id = l.owner_id"""
    for _ in range(2 if locking else 1):
        rows = sql.run(statement, params)
        if all(version == seen for _, version, seen, *_ in rows):
            break
    alike: dict[tuple[Any, ...], tuple[int, Mapping[str, Any]]] = {}
    found = {}
    for row in rows:
        shared = row[_OWN:]
        if shared not in alike:
            alike[shared] = len(alike), dict(zip(probes, row[_KNOWN:], strict=True))
        number, extra = alike[shared]
        found[row[0]] = LockedTask._make((*row[:_KNOWN], extra, number))
    return found


_WINDOWS = ("20", "500", "all")
"""How far down a worklist to look for a free task: the first 20, the first 500, to its end."""


def lock_next(user: User | None, groups: Sequence[int] | None = None) -> list[UUID]:
    """The first free task of an account's worklist, locked; none where each one is taken.

    Free is a ready task that nobody has locked and from which the account is not excluded; of
    `groups`, by primary key, where they are given. A locked one is passed over at once. While
    others take tasks too, a short look may find only what they are just taking, so none is said
    only after a look at the whole list. What is found has still to be judged by the rules.
    """
    params = {
        "actor": user.pk if user else None,
        "groups": None if groups is None else list(groups),
        "potential_owner": permission_ids()[TaskRole.POTENTIAL_OWNER],
        "excluded_owner": permission_ids()[TaskRole.EXCLUDED_OWNER],
        "state": State.READY.value,
        "scope": scope_of(user),
    }
    for window in _WINDOWS:
        for (pk,) in sql.run(_next(window), params):
            return [pk]
    return []


def _next(window: str) -> str:
    """SQL: lock and answer with the first free task of the account in `actor`."""

    def first(kind: str, condition: str) -> str:
        return f"""
            select r.priority, r.due, r.content_object_id as id from tasks_task{kind}role r
            where {condition} and r.permission_id = %(potential_owner)s::bigint and r.ready
                and not exists(
                    select from tasks_taskuserrole x
                    where x.content_object_id = r.content_object_id
                        and x.permission_id = %(excluded_owner)s::bigint
                        and x.user_id = %(actor)s::bigint)
                and not exists(
                    select from tasks_taskgrouprole x
                    join accounts_effectivemembership m on m.group_id = x.group_id
                    where x.content_object_id = r.content_object_id
                        and x.permission_id = %(excluded_owner)s::bigint
                        and m.user_id = %(actor)s::bigint and not m.lead)
                and {in_scope("r.content_object_id")}
            order by r.priority, r.due, r.content_object_id limit {window}"""

    return f"""
        with first as materialized (
            select distinct priority, due, id from (
                select of_group.* from accounts_effectivemembership own,
                    lateral ({first("group", "r.group_id = own.group_id")}) of_group
                where own.user_id = %(actor)s::bigint and not own.lead
                    and (%(groups)s::bigint[] is null
                        or own.group_id = any(%(groups)s::bigint[]))
                union all
                select of_user.* from ({first("user", "r.user_id = %(actor)s::bigint")}) of_user
                where %(groups)s::bigint[] is null) either
            order by priority, due, id limit {window})
        select t.id from first join tasks_task t on t.id = first.id
        where t.state = %(state)s::text and not t.on_hold
        order by first.priority, first.due, first.id
        limit 1 for no key update of t skip locked"""


def roles_of(user: User, task: Task) -> frozenset[TaskRole]:
    """Everything that an account is to one task, excluded owner and model permissions included."""
    if not user.is_active:
        return frozenset()
    found = lock([task.pk], user, locking=False).get(task.pk)
    if found is None or not found.in_scope:
        return frozenset()
    return found.roles(user.pk, found.permissions) | roles_everywhere(user)


Holders = dict[TaskRole, tuple[list[str], list[str]]]
"""The names of users and of groups by the role they hold."""


def _named(kind: str, table: str, name: str) -> str:
    return f"""(
        select jsonb_agg(jsonb_build_array(r.permission_id, h.{name}) order by h.{name})
        from tasks_task{kind}role r join {table} h on h.id = r.{kind}_id
        where r.content_object_id = t.id)"""


NAMES = f"{', '.join(f'{role}.username' for role in COLUMNS)}, job.name"
"""SQL: the names of those in the columns of a task `t`, and of its job."""

HOLDERS = f"""
    {_named("user", "accounts_user", "username")}, {_named("group", "auth_group", "name")}"""
"""SQL: the names of the users and of the groups that hold roles of a task `t`."""

NAMED = f"""
    {" ".join(f"left join accounts_user {role} on {role}.id = t.{role}_id" for role in COLUMNS)}
    left join tasks_job job on job.id = t.job_id"""
"""SQL: what NAMES needs beside the task."""


def holders_from(users: str | None, groups: str | None) -> Holders:
    """What the two columns of HOLDERS say."""
    holders: Holders = {}
    for number, found in enumerate((users, groups)):
        for permission, name in json.loads(found) if found else ():
            holders.setdefault(_role_of()[permission], ([], []))[number].append(name)
    return holders


class Around(NamedTuple):
    """What stands around a task: the roles an account has on it, what NAMES and HOLDERS say.

    `names` are those of the accounts in its columns, and of its job.
    """

    roles: frozenset[TaskRole]
    names: Sequence[str | None]
    holders: Holders


def around(task: Task, user: User) -> Around:
    """What stands around a task as it is at hand: one statement."""
    references = [*(f"{role}_id" for role in COLUMNS), "job_id"]
    values = ", ".join(f"%({name})s::bigint as {name}" for name in references)
    statement = f"""
        select {_held_by("actor", "t")}, {in_scope("t.id")}, {NAMES}, {HOLDERS}
        from (select %(id)s::uuid as id, {values}) t {NAMED}"""
    params = {
        **{name: getattr(task, name) for name in references},
        "id": task.pk,
        "actor": user.pk,
        "potential_owner": permission_ids()[TaskRole.POTENTIAL_OWNER],
        "administrator": permission_ids()[TaskRole.ADMINISTRATOR],
        "scope": scope_of(user),
    }
    ((permissions, seen, *names, users, groups),) = sql.run(statement, params)
    held: frozenset[TaskRole] = frozenset()
    if user.is_active and seen:
        held = _roles(task, user.pk, permissions) | roles_everywhere(user)
    return Around(held, names, holders_from(users, groups))


def family(ids: Sequence[UUID]) -> set[UUID]:
    """The ids and those of all their subtasks, however deep."""
    statement = """
        with recursive family(id) as (
            select unnest(%(ids)s::uuid[])
            union select t.id from tasks_task t join family f on t.parent_id = f.id)
        select id from family"""
    return {pk for (pk,) in sql.run(statement, {"ids": list(ids)})}


_COPY = {
    "open": "i.open",
    "ready": "i.ready",
    "priority": "%(priority)s::smallint",
    "due": "coalesce(%(due_at)s::timestamptz, %(no_due_date)s::timestamptz)",
}
"""Where each copied column of a role row comes from, in a statement that changes tasks."""


_COPY_OF_EACH = {
    **_COPY,
    "priority": "c.priority",
    "due": "coalesce(c.due_at, %(no_due_date)s::timestamptz)",
}
"""The same where they differ from task to task."""


def sync(columns: Iterable[str], leaving: Mapping[str, str], *, each: bool = False) -> str:
    """CTEs that bring the copied columns of role rows after the tasks changed.

    `leaving` says which rows of a table the same statement deletes (see `removal`): one statement
    must not touch a row twice.
    """
    copy = _COPY_OF_EACH if each else _COPY
    assignments = ", ".join(f"{column} = {copy[column]}" for column in columns)
    return ",".join(
        f"""
    synced_{kind}s as (
        update tasks_task{kind}role r set {assignments}
        from input i {"join changed c on c.id = i.id" if each else ""}
        where r.content_object_id = i.id
            {f"and not ({leaving[kind]})" if kind in leaving else ""})"""
        for kind in ("user", "group")
    )


def removal(holder: User | Group) -> dict[str, str]:
    """Which rows go when the holder in `%(giver)s` loses the role in `%(role)s`: {table: SQL}."""
    kind = "user" if isinstance(holder, User) else "group"
    return {kind: f"r.permission_id = %(role)s::bigint and r.{kind}_id = %(giver)s::bigint"}


REPLACED = {
    kind: f"r.permission_id = %(role)s::bigint and r.{kind}_id <> all(%(new_{kind}s)s::bigint[])"
    for kind in ("user", "group")
}
"""Which rows go when others than those in `new_users` and `new_groups` lose a role."""


class RoleRow(NamedTuple):
    """One role row: a task, the role, and the user or group that holds it."""

    task_id: UUID
    role: TaskRole
    kind: str
    holder_id: int


def _rows(name: str, kind: str) -> str:
    return (
        f"unnest(%({name}_{kind}_tasks)s::uuid[], %({name}_{kind}_roles)s::bigint[], "
        f"%({name}_{kind}_holders)s::bigint[])"
    )


def row_parameters(name: str, rows: Iterable[RoleRow]) -> dict[str, list[Any]]:
    """The parameters of LEAVING or ARRIVING for some role rows; `name` is one of the two."""
    found: dict[str, list[Any]] = {}
    rows = list(rows)
    for kind in ("user", "group"):
        of_kind = [row for row in rows if row.kind == kind]
        found[f"{name}_{kind}_tasks"] = [row.task_id for row in of_kind]
        found[f"{name}_{kind}_roles"] = [permission_ids()[row.role] for row in of_kind]
        found[f"{name}_{kind}_holders"] = [row.holder_id for row in of_kind]
    return found


LEAVING = {
    kind: f"(r.content_object_id, r.permission_id, r.{kind}_id) in "
    f"(select * from {_rows('leaving', kind)})"
    for kind in ("user", "group")
}
"""Which rows go when each task loses rows of its own."""

ARRIVING = [
    f"""
    arriving_{kind}s as (
        insert into tasks_task{kind}role
            (content_object_id, permission_id, {kind}_id, open, ready, priority, due, created)
        select c.id, a.permission_id, a.holder_id, i.open, i.ready, c.priority,
            coalesce(c.due_at, %(no_due_date)s::timestamptz), c.created_at
        from {_rows("arriving", kind)} as a(task_id, permission_id, holder_id)
        join changed c on c.id = a.task_id join input i on i.id = a.task_id
        on conflict do nothing)"""
    for kind in ("user", "group")
]
"""CTEs that give each task rows of its own."""


def rows_of(ids: Sequence[UUID], roles: Iterable[TaskRole]) -> set[RoleRow]:
    """All rows of some roles on some tasks; nobody changes them while the tasks are locked."""
    parameters = {"ids": list(ids), "roles": [permission_ids()[role] for role in roles]}
    statement = " union all ".join(
        f"""
        select content_object_id, permission_id, '{kind}', {kind}_id from tasks_task{kind}role
        where content_object_id = any(%(ids)s::uuid[])
            and permission_id = any(%(roles)s::bigint[])"""
        for kind in ("user", "group")
    )
    return {
        RoleRow(pk, _role_of()[permission], kind, holder)
        for pk, permission, kind, holder in sql.run(statement, parameters)
    }


def holders_of(ids: Sequence[UUID], role: TaskRole) -> dict[UUID, list[dict[str, str]]]:
    """Who holds a role on each of some tasks, as the audit names them, users first by name."""
    found: dict[UUID, list[dict[str, str]]] = {pk: [] for pk in ids}
    statement = """
        select r.content_object_id, 'user', u.username
        from tasks_taskuserrole r join accounts_user u on u.id = r.user_id
        where r.content_object_id = any(%(ids)s::uuid[]) and r.permission_id = %(role)s::bigint
        union all
        select r.content_object_id, 'group', g.name
        from tasks_taskgrouprole r join auth_group g on g.id = r.group_id
        where r.content_object_id = any(%(ids)s::uuid[]) and r.permission_id = %(role)s::bigint
        order by 1, 2 desc, 3"""
    for pk, kind, name in sql.run(statement, {"ids": list(ids), "role": permission_ids()[role]}):
        found[pk].append({kind: name})
    return found


def holding(role: TaskRole, pairs: Iterable[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
    """Those of some pairs of a task and an account in which the account holds a granted role."""
    pairs = list(pairs)
    statement = """
        select p.task_id, p.user_id
        from unnest(%(tasks)s::uuid[], %(users)s::bigint[]) as p(task_id, user_id)
        where exists(
            select from tasks_taskuserrole r
            where r.content_object_id = p.task_id and r.permission_id = %(role)s::bigint
                and r.user_id = p.user_id)
        or exists(
            select from tasks_taskgrouprole r
            join accounts_effectivemembership m
                on m.group_id = r.group_id and m.user_id = p.user_id and not m.lead
            where r.content_object_id = p.task_id and r.permission_id = %(role)s::bigint)"""
    parameters = {
        "tasks": [pk for pk, _ in pairs],
        "users": [user for _, user in pairs],
        "role": permission_ids()[role],
    }
    return {(pk, user) for pk, user in sql.run(statement, parameters)}


def deletion(leaving: Mapping[str, str]) -> list[str]:
    """CTEs that delete the rows that `removal` or REPLACED describes, of the tasks changed."""
    return [
        f"""
    removed_{kind}s as (
        delete from tasks_task{kind}role r using input i
        where r.content_object_id = i.id and {condition})"""
        for kind, condition in leaving.items()
    ]


def holders(kind: str, roles: str) -> str:
    """SQL: the ids of the users or groups that held a role on the task `i` before the statement.

    `roles` is the parameter with the permission ids of the roles that count.
    """
    return f"""array(
        select distinct r.{kind}_id from tasks_task{kind}role r
        where r.content_object_id = i.id and r.permission_id = any(%({roles})s::bigint[]))"""


def addition(holder: User | Group) -> str:
    """A CTE that gives the role in `%(role)s` to a holder in `%(receiver)s` on the tasks changed.

    A holder who has the role already keeps his row: the two merge.
    """
    kind = "user" if isinstance(holder, User) else "group"
    return f"""
    added as (
        insert into tasks_task{kind}role
            (content_object_id, permission_id, {kind}_id, open, ready, priority, due, created)
        select c.id, %(role)s::bigint, %(receiver)s::bigint, i.open, i.ready, c.priority,
            coalesce(c.due_at, %(no_due_date)s::timestamptz), c.created_at
        from changed c join input i on i.id = c.id
        on conflict do nothing)"""


ALL_ROWS_GONE = ",".join(
    f"""
    removed_{kind}s as (
        delete from tasks_task{kind}role r using input i where r.content_object_id = i.id)"""
    for kind in ("user", "group")
)
"""CTEs that delete all role rows of the tasks changed."""


ADDED = [
    f"""
    added_{kind}s as (
        insert into tasks_task{kind}role
            (content_object_id, permission_id, {kind}_id, open, ready, priority, due, created)
        select c.id, %(role)s::bigint, holder, i.open, i.ready, c.priority,
            coalesce(c.due_at, %(no_due_date)s::timestamptz), c.created_at
        from changed c join input i on i.id = c.id
        cross join unnest(%(new_{kind}s)s::bigint[]) holder
        on conflict do nothing)"""
    for kind in ("user", "group")
]
"""CTEs that give the role in `%(role)s` to all holders in `new_users` and `new_groups`."""


People = Mapping[TaskRole, tuple[Sequence[User], Sequence[Group]]]


INSERTED = [
    f"""
    new_{kind}s as (
        insert into tasks_task{kind}role
            (content_object_id, permission_id, {kind}_id, open, ready, priority, due, created)
        select * from unnest(%({kind}_tasks)s::uuid[], %({kind}_permissions)s::bigint[],
            %({kind}_ids)s::bigint[], %({kind}_opens)s::bool[], %({kind}_readies)s::bool[],
            %({kind}_priorities)s::smallint[], %({kind}_dues)s::timestamptz[],
            %({kind}_times)s::timestamptz[]))"""
    for kind in ("user", "group")
]
"""CTEs that write the role rows of new tasks; `insertion` makes their parameters."""


def insertion(people_of: Sequence[tuple[Task, People]]) -> dict[str, Any]:
    """The parameters of INSERTED: who holds which role on each of some new tasks."""
    rows: dict[str, list[tuple[Any, ...]]] = {"user": [], "group": []}
    for task, people in people_of:
        copies = (
            is_open(task.state),
            is_ready(task.state, task.kind, task.on_hold),
            task.priority,
            task.due_at or NO_DUE_DATE,
            task.created_at,
        )
        for role, (users, groups) in people.items():
            permission = permission_ids()[role]
            for kind, holders in (("user", users), ("group", groups)):
                rows[kind] += [
                    (task.pk, permission, pk, *copies)
                    for pk in dict.fromkeys(holder.pk for holder in holders)
                ]
    names = ("tasks", "permissions", "ids", "opens", "readies", "priorities", "dues", "times")
    return {
        f"{kind}_{name}": [row[number] for row in some]
        for kind, some in rows.items()
        for number, name in enumerate(names)
    }


def _columns(model: type[User | Group]) -> str:
    """SQL: all columns of an account or group, as `sql.instance` takes them."""
    return ", ".join(f"{f.model._meta.db_table}.{f.column}" for f in model._meta.concrete_fields)


_USERS = f"""
    select r.content_object_id, r.permission_id, {_columns(User)}
    from tasks_taskuserrole r join accounts_user on accounts_user.id = r.user_id
    where r.content_object_id = any(%(ids)s::uuid[]) order by accounts_user.username"""
_GROUPS = f"""
    select r.content_object_id, r.permission_id, {_columns(Group)}
    from tasks_taskgrouprole r
    join accounts_group on accounts_group.group_ptr_id = r.group_id
    join auth_group on auth_group.id = r.group_id
    where r.content_object_id = any(%(ids)s::uuid[]) order by auth_group.name"""
_ACCOUNTS = f"select {_columns(User)} from accounts_user where id = any(%(ids)s::bigint[])"


def people_of(tasks: Sequence[Task]) -> dict[UUID, dict[TaskRole, tuple[list[User], list[Group]]]]:
    """Who holds each granted role on each task: {task id: {role: (users, groups)}}, two queries."""
    found: dict[UUID, dict[TaskRole, tuple[list[User], list[Group]]]] = {
        task.pk: {} for task in tasks
    }
    for task_id, permission, *user in sql.run(_USERS, {"ids": list(found)}):
        found[task_id].setdefault(_role_of()[permission], ([], []))[0].append(
            sql.instance(User, user)
        )
    for task_id, permission, *group in sql.run(_GROUPS, {"ids": list(found)}):
        found[task_id].setdefault(_role_of()[permission], ([], []))[1].append(
            sql.instance(Group, group)
        )
    return found


def load_holders(task: Task) -> None:
    """Put the accounts in the columns owner, originator and starter of a task, in one query."""
    wanted = {role: getattr(task, f"{role}_id") for role in COLUMNS}
    ids = [pk for pk in dict.fromkeys(wanted.values()) if pk is not None]
    users = [sql.instance(User, row) for row in sql.run(_ACCOUNTS, {"ids": ids})]
    for role, pk in wanted.items():
        setattr(task, role, next((user for user in users if user.pk == pk), None))


class DifferingRow(NamedTuple):
    """A role row that is not as its task says: {column: (copy, what it should be)}."""

    task_id: UUID
    role: TaskRole
    holder: str
    differences: dict[str, tuple[Any, Any]]


def differing_rows() -> Iterator[DifferingRow]:
    """The role rows whose copied columns differ from their task; nothing when all is well."""
    for table, holder in ((TaskUserRole, "user__username"), (TaskGroupRole, "group__name")):
        rows = (
            table.objects.annotate(
                holder=F(holder),
                open_now=_true(content_object__state__in=OPEN),
                ready_now=_true(
                    content_object__state=State.READY,
                    content_object__kind=Kind.MANUAL,
                    content_object__on_hold=False,
                ),
                priority_now=F("content_object__priority"),
                due_now=Coalesce("content_object__due_at", Value(NO_DUE_DATE)),
                created_now=F("content_object__created_at"),
            )
            .exclude(**{name: F(f"{name}_now") for name in _COPIES})
            .order_by("content_object", "pk")
        )
        for row in rows.iterator():
            copies = {name: (getattr(row, name), getattr(row, f"{name}_now")) for name in _COPIES}
            differences = {name: pair for name, pair in copies.items() if pair[0] != pair[1]}
            role = _role_of()[row.permission_id]
            yield DifferingRow(row.content_object_id, role, row.holder, differences)


_COPIES = ("open", "ready", "priority", "due", "created")


def _true(**conditions: Any) -> ExpressionWrapper[Any]:
    return ExpressionWrapper(Q(**conditions), BooleanField())
