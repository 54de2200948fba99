"""No list and no page reads a whole table: the plans of all statements at 20,000 tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client

from accounts.models import Group, User
from tasks.api.htm import ids
from tasks.models import Task
from tests.conftest import Cast

from . import htm_client, itential_client
from .native_client import TASKS, Api, task_path

TABLES = {"tasks_task", "tasks_auditevent", "tasks_taskuserrole", "tasks_taskgrouprole"}

FILL = """
    insert into tasks_task (id, version, head, name, description, kind, state, priority, due_at,
        on_hold, claim_while_on_hold, skippable, automatic_claim, created_at, updated_at,
        activated_at, ended_at, input, fault_name, custom_properties, secret_pointers, imported,
        originator_id, owner_id)
    select gen_random_uuid(), 1, '', 'Replace router ' || n, '', 'manual', state,
        n % 11, case when n % 3 > 0 then now() + n * interval '1 minute' end, n % 100 = 0
        and state <> 'completed', false, false, false,
        now() - n * interval '1 minute', now(), now(), case when state = 'completed' then now() end,
        '{}', '', '{}', '[]', '{}', u.id, case when state <> 'ready' then u.id end
    from (select n, (array['ready', 'ready', 'reserved', 'completed'])[n % 4 + 1] as state
          from generate_series(1, 20000) n) s
    join lateral (select id from accounts_user where username like 'worker%'
                  order by id limit 1 offset n % 50) u on true;
    insert into tasks_taskgrouprole
        (open, ready, priority, due, created, content_object_id, group_id, permission_id)
    select t.state <> 'completed', t.state = 'ready' and not t.on_hold, t.priority,
        coalesce(t.due_at, '9999-12-31'), t.created_at, t.id, g.id, p.id
    from tasks_task t join auth_permission p on p.codename in ('potential_owner', 'administrator')
    join auth_group g on g.name = case
        when p.codename = 'administrator' then 'change-board'
        when t.priority = 0 then 'noc' else 'team' || (t.priority * 3 + length(t.name)) % 30 end;
    insert into tasks_taskuserrole
        (open, ready, priority, due, created, content_object_id, user_id, permission_id)
    select t.state <> 'completed', t.state = 'ready' and not t.on_hold, t.priority,
        coalesce(t.due_at, '9999-12-31'), t.created_at, t.id, t.originator_id, p.id
    from tasks_task t join auth_permission p on p.codename in ('potential_owner', 'editor');
    insert into tasks_auditevent (task_id, version, event, actor, on_behalf_of, channel, request_id,
        operation_id, before, after, at, previous_hash, hash)
    select id, 1, 'created', 'dave', '', 'native', '', id, '{}', '{}', now(), '', ''
    from tasks_task;
    analyze tasks_task; analyze tasks_taskuserrole; analyze tasks_taskgrouprole;
    analyze tasks_auditevent; analyze accounts_user; analyze accounts_effectivemembership;
    """


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, Any]]]:
    """Every statement that is sent meanwhile, with its parameters."""
    sent: list[tuple[Any, Any]] = []
    execute = psycopg.Cursor.execute

    def listen(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        sent.append((query, params))
        return execute(self, query, params, **options)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", listen)
        yield sent


def read_whole(plan: Any) -> Iterator[str]:
    """The tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for below in plan.get("Plans", ()):
        yield from read_whole(below)


def whole_tables(query: Any, params: Any) -> set[str]:
    """The large tables that a statement reads from end to end, as first planned or ever after."""
    text = query.decode() if isinstance(query, bytes) else query
    if text.split(None, 1)[0].lower() not in ("select", "with"):
        return set()
    found: set[str] = set()
    raw: Any = connection.connection
    prepared = isinstance(query, bytes)  # only `accounts.sql` sends those
    for options in ("format json", *(["format json, generic_plan"] if prepared else [])):
        kind = psycopg.Cursor if prepared else psycopg.ClientCursor
        with kind(raw) as cursor:
            cursor.execute(f"explain ({options}) {text}", params)
            (plans,) = cursor.fetchone()
        found |= set(
            read_whole((json.loads(plans) if isinstance(plans, str) else plans)[0]["Plan"])
        )
    return found & TABLES


@pytest.fixture
def many(cast: Cast) -> Task:
    """Twenty thousand tasks of fifty people and thirty groups; one of those that all can see."""
    for number in range(30):
        Group.objects.create(name=f"team{number}")
    User.objects.bulk_create(User(username=f"worker{number}") for number in range(50))
    with connection.cursor() as cursor:
        cursor.execute(FILL)
    found = Task.objects.available_to(cast.bob).first()
    assert found is not None
    return found


NATIVE = (
    *("", "ordering=created_at", "state=ready", "state=completed&state=reserved", "owner=none"),
    *("owner=worker7", "owner=bob&state=completed", "view=mine", "view=mine&ordering=due_at"),
    *("view=available", "view=available&ordering=-created_at", "view=team", "limit=200"),
    *("view=team&ordering=priority", "view=team&state=reserved", "view=team&owner=none"),
    *("view=overdue", "view=finished", "view=overdue&ordering=-created_at"),
    *("job=7", "job=5f2e8a3b9c1d4e6f7a8b9c0d", "external_id=X7", "source=planner", "q=9999"),
    "fields=id&limit=200",
    *("role=potential_owner&holder=me", "role=editor&holder=user:worker7", "view=team&q=9999"),
    *("role=administrator&holder=group:change-board", "role=originator&holder=user:worker7"),
    *("created_at__gte=2025-01-01T00:00:00Z", "created_at__lt=2025-01-01T00:00:00Z"),
)
COUNTED = ("", "view=team", "view=available", "state=ready", "q=9999", "job=7")
OF_ONES_OWN = (
    *("priority=0", "on_hold=true", "kind=automatic", "view=on-hold", "q=9999&priority=0"),
    *("due_at__lt=2025-01-01T00:00:00Z", "updated_at__gte=2099-01-01T00:00:00Z"),
)
"""Filters of columns without an index: asked of all there is, they read the table."""
PARTS = ("", "comments/", "attachments/", "subtasks/", "permitted-operations/")
HTM = ("", "/input", "/output", "/role/potentialOwner", "/subtasks", "/history")
ADMIN = ("", "?view=mine", "?view=available", "?o=-6", "?state=ready", "?state=failed")


def test_no_route_that_reads_reads_a_whole_table(
    cast: Cast, many: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear: dict[str, set[str]] = {}

    def ask(name: str, get: Any) -> Any:
        with statements(monkeypatch) as sent:
            response = get()
        assert response.status_code in (200, 404), (name, response.content)
        assert any(b"tasks_" in (q if isinstance(q, bytes) else q.encode()) for q, _ in sent), name
        for query, params in sent:
            tables = whole_tables(query, params)
            if tables:
                dear.setdefault(name, set()).update(tables)
        return response

    for user in (cast.bob, cast.alice, cast.frank, cast.erin):
        api = Api(user)
        for query in (*NATIVE, *(OF_ONES_OWN if user != cast.erin else ())):
            response = ask(f"{user} native {query}", partial(api.get, f"{TASKS}?{query}"))
            onwards = response.json()["next"]
            if onwards:
                path = onwards.removeprefix("http://testserver")
                ask(f"{user} native {query}, next", partial(api.get, path))
        for query in COUNTED:
            ask(f"{user} count {query}", partial(api.get, f"{TASKS}count/?{query}"))
    for user in (cast.bob, cast.erin):
        api = Api(user)
        for part in PARTS:
            ask(f"{user} {part}", partial(api.get, task_path(many.pk) + part))
    for part in HTM:
        path = f"/task/{ids.tkiid(many.pk)}{part}"
        ask(f"HTM {part}", partial(htm_client.send, path, cast.bob, method="GET"))
    ask("Itential", partial(itential_client.get, many, cast.bob))
    client = Client()
    client.force_login(cast.erin, "accounts.backends.RoleBackend")
    for query in ADMIN:
        ask(f"admin {query}", partial(client.get, f"/admin/tasks/task/{query}"))
    ask("admin page", partial(client.get, f"/admin/tasks/task/{many.pk}/change/"))
    assert dear == {}


def test_a_whole_table_that_is_read_is_noticed(many: Task) -> None:
    """Negative control."""
    assert whole_tables("select * from tasks_task where name = %s", ["x"]) == {"tasks_task"}
    query = b"select count(*) from tasks_auditevent where actor = %(a)s::text"
    assert whole_tables(query, {"a": "x"}) == {"tasks_auditevent"}
