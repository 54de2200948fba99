"""What the bench works on: the seeded people with tokens, and tasks of each contender's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.test import Client

from accounts import authentication
from accounts.models import Token, User
from taskmanager import seed_data
from tasks.models import Task

from .contenders import NAMES, BenchError, Contender, Request

CLIENTS = 32
"""Accounts that may all work on the same tasks: the first members of the big team."""
SINGLE = 400
"""Most tasks of each contender that are kept for calls on one task."""


class World:
    """A seeded database: who asks, and about which tasks.

    Each contender works on tasks of its own, since the usual way has no hash chain and leaves
    tasks whose history nobody can verify.
    """

    def __init__(self) -> None:
        team = User.objects.filter(groups__name=seed_data.BIG_TEAM).exclude(username=seed_data.BIG)
        self.clients = list(team.order_by("pk").values_list("username", flat=True)[:CLIENTS])
        self.people = [seed_data.RARE, seed_data.NORMAL, seed_data.BIG]
        self.admin = seed_data.ADMIN
        found = User.objects.in_bulk(
            [*self.clients, *self.people, self.admin], field_name="username"
        )
        self.tokens = {
            name: authentication.issue(user, Token.Kind.API, actor="bench")[1]
            for name, user in found.items()
        }
        browser = Client()
        browser.force_login(found[self.admin], "accounts.backends.RoleBackend")
        self.cookie = f"sessionid={browser.cookies['sessionid'].value}"
        self.total = Task.objects.count()
        ready = _claimable(seed_data.BIG_TEAM)
        if len(ready) < 3 * len(NAMES):
            raise BenchError("the database holds too few free tasks; seed it with more")
        each = min(SINGLE, len(ready) // len(NAMES) // 3)
        self.single = {
            name: ready[place : each * len(NAMES) : len(NAMES)] for place, name in enumerate(NAMES)
        }
        """Free tasks for calls on one task."""
        kept = set().union(*self.single.values())
        rest = [pk for pk in _claimable() if pk not in kept]
        self.many = {name: rest[place :: len(NAMES)] for place, name in enumerate(NAMES)}
        """Free tasks, of whatever team, for calls of an administrator on many."""

    def call(self, verb: str, pk: str, who: str, **body: Any) -> Request:
        """An operation on one task."""
        return Request("POST", f"/api/v1/tasks/{pk}/{verb}/", self.tokens[who], _json(body))

    def bulk(self, verb: str, ids: Sequence[str], who: str, **body: Any) -> Request:
        """An operation on many tasks."""
        data = _json({"ids": list(ids), **body})
        return Request("POST", f"/api/v1/tasks/bulk/{verb}/", self.tokens[who], data)

    def get(self, path: str, who: str) -> Request:
        """A page for one account."""
        return Request("GET", path, self.tokens[who])

    def client(self, number: int) -> str:
        """One of those who may work on all tasks of the world."""
        return self.clients[number % len(self.clients)]


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode() if body else b""


def _claimable(team: str | None = None) -> list[str]:
    """Ids of free tasks from which nobody is excluded, of one team or all; the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 0")
        cursor.execute(
            """
            select t.id::text from tasks_task t
            where t.state = 'ready' and (%(team)s::text is null or exists (
                select from tasks_taskgrouprole r
                join auth_group g on g.id = r.group_id and g.name = %(team)s::text
                join auth_permission p on p.id = r.permission_id
                where r.content_object_id = t.id and p.codename = 'potential_owner'))
            and not exists (
                select from tasks_taskuserrole x join auth_permission e on e.id = x.permission_id
                where x.content_object_id = t.id and e.codename = 'excluded_owner')
            order by t.id""",
            {"team": team},
        )
        found = [pk for (pk,) in cursor.fetchall()]
        cursor.execute("reset statement_timeout")
    return found


def demand(contender: Contender, request: Request, *statuses: int) -> bytes:
    """The body of one answer. Raises BenchError for another status."""
    (reply,) = contender.ask([request])
    if reply.status not in (statuses or (200,)):
        text = reply.body[:300].decode(errors="replace")
        raise BenchError(f"{contender.name} {request.path}: {reply.status} {text}")
    return reply.body
