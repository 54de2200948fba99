"""The limit: what a server of this kind costs at the least, written by hand for a few calls.

A bare WSGI application, psycopg, and prepared statements: one looks up the token with the grants
that the call asks for, one does the rest, be it for one task or for 100,000: locks, reads roles,
checks, hashes, changes, records. Rules stand in SQL here, which ours never has, and the key of the
hashes is sent to the database, which ours never does. It knows the calls of the bench and no other.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import psycopg

from tasks.uuid7 import uuid7

KEY = os.environ.get("BENCH_AUDIT_KEY", "").encode()
"""The key of the hash chain; the bench gives its server the same."""


def _pad(byte: int) -> bytes:
    key = hashlib.sha256(KEY).digest() if len(KEY) > 64 else KEY
    return bytes(one ^ byte for one in key.ljust(64, b"\0"))


FAR = datetime(9999, 12, 31, tzinfo=UTC)
_here = threading.local()
_permissions: dict[str, int] = {}


def run(statement: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a prepared statement on this thread's connection."""
    connection = getattr(_here, "connection", None)
    if connection is None:
        connection = psycopg.connect(os.environ["BENCH_DSN"], autocommit=True)
        _here.connection = connection
    if not _permissions:
        found = connection.execute(
            "select codename, p.id from auth_permission p "
            "join django_content_type c on c.id = p.content_type_id "
            "where app_label = 'tasks' and model = 'task'"
        )
        _permissions.update(found.fetchall())
    return list(connection.execute(statement, params, prepare=True).fetchall())


class Actor(NamedTuple):
    """Who asks, and which of the permissions asked for the account's roles grant."""

    id: int
    name: str
    grants: frozenset[str]

    @property
    def everywhere(self) -> bool:
        """Whether the account may administer or read every task."""
        return bool(self.grants & {"administrator", "reader"})


_WHO = """
    select u.id, u.username, array(
        select p.codename from auth_permission p
        join accounts_role_permissions rp on rp.permission_id = p.id
        where p.codename = any(%(asked)s::text[]) and rp.role_id in (
            select role_id from accounts_user_roles where user_id = u.id
            union
            select gr.role_id from accounts_effectivemembership e
            join accounts_group_roles gr on gr.group_id = e.group_id
            where e.user_id = u.id and not e.lead))
    from accounts_token t join accounts_user u on u.id = t.user_id
    where t.digest = %(digest)s and t.kind = 'api' and u.is_active
        and (t.expires_at is null or t.expires_at > clock_timestamp())"""

_PEOPLE = """(
    select jsonb_object_agg(p.codename, x.holders) from (
        select permission_id, jsonb_agg(holder order by holder) holders from (
            select permission_id, 'user:' || username holder from tasks_taskuserrole r
            join accounts_user u on u.id = r.user_id where r.content_object_id = t.id
            union all
            select permission_id, 'group:' || name from tasks_taskgrouprole r
            join auth_group g on g.id = r.group_id where r.content_object_id = t.id) y
        group by permission_id) x
    join auth_permission p on p.id = x.permission_id)"""

_DOCUMENT = f"""(to_jsonb(t) - 'head' || jsonb_build_object(
    'owner', (select username from accounts_user where id = t.owner_id),
    'originator', (select username from accounts_user where id = t.originator_id),
    'starter', (select username from accounts_user where id = t.starter_id),
    'people', {_PEOPLE}))"""


def _held(user: str) -> str:
    return f"""array(
        select permission_id from tasks_taskuserrole r
        where r.content_object_id = t.id and r.user_id = %({user})s::bigint
        union
        select case when m.lead then %(administrator)s::bigint else r.permission_id end
        from tasks_taskgrouprole r join accounts_effectivemembership m
            on m.group_id = r.group_id and m.user_id = %({user})s::bigint
        where r.content_object_id = t.id
            and (not m.lead or r.permission_id = %(potential_owner)s::bigint))"""


# --- Operations -----------------------------------------------------------------------------------


class Operation(NamedTuple):
    """One row of the rule book, as far as the bench goes: conditions and values as SQL."""

    event: str
    allowed: str
    fits: str
    assignments: str
    before: str
    after: str
    concerned: str = "null::bigint[]"
    sync: str = ""


_OWNER = "t.owner_id = %(actor)s::bigint"
_ADMIN = "(%(everywhere)s or %(administrator)s::bigint = any(t.held))"
_POTENTIAL = "%(potential_owner)s::bigint = any(t.held)"
_NOT_EXCLUDED = "not %(excluded_owner)s::bigint = any(t.held)"
_HOLDER = "coalesce(to_json(t.holder)::text, 'null')"
_HELD_STATES = "t.state in ('reserved', 'in_progress') and not t.on_hold"

OPERATIONS = {
    "claim": Operation(
        "claimed",
        f"({_POTENTIAL} or {_ADMIN}) and {_NOT_EXCLUDED}",
        "t.state = 'ready' and not t.on_hold and t.kind = 'manual'",
        "state = 'reserved', owner_id = %(actor)s::bigint, claimed_at = %(at)s::timestamptz",
        """'{"owner":null,"state":"ready"}'""",
        """'{"owner":' || to_json(%(name)s::text) || ',"state":"reserved"}'""",
        "array[%(actor)s::bigint]",
        "ready = false",
    ),
    "release": Operation(
        "released",
        f"({_OWNER} or {_ADMIN} or ({_POTENTIAL} and %(release_others)s))",
        f"{_HELD_STATES} and (t.owner_id = %(actor)s::bigint or %(reason)s::text is not null)",
        "state = 'ready', owner_id = null, claimed_at = null",
        f"""'{{"owner":' || {_HOLDER} || ',"state":"' || t.state || '"}}'""",
        """'{"owner":null,"state":"ready"}'""",
        "array[g.owner_id]",
        "ready = true",
    ),
    "complete": Operation(
        "completed",
        f"({_OWNER} or {_ADMIN}) and {_NOT_EXCLUDED}",
        f"{_HELD_STATES} and t.kind = 'manual' and t.output_schema is null",
        "state = 'completed', ended_at = %(at)s::timestamptz",
        """'{"state":"' || t.state || '"}'""",
        """'{"state":"completed"}'""",
        sync="open = false, ready = false",
    ),
    "transfer": Operation(
        "owner_transferred",
        f"({_OWNER} or {_ADMIN})",
        f"""{_HELD_STATES} and t.holder = %(giver)s::text
            and ({_ADMIN} or %(potential_owner)s::bigint = any(t.theirs)
                or %(administrator)s::bigint = any(t.theirs))
            and not %(excluded_owner)s::bigint = any(t.theirs)""",
        "owner_id = %(receiver)s::bigint, claimed_at = %(at)s::timestamptz",
        f"""'{{"owner":' || {_HOLDER} || '}}'""",
        """'{"owner":' || to_json(%(to)s::text) || '}'""",
        "(select array_agg(id order by id) from unnest(array[g.owner_id, %(receiver)s]) x(id))",
    ),
}

_BULK_RECORD = """,
    bulk as (
        insert into tasks_bulkoperation (id, operation, arguments, reason, actor_id, channel,
            request_id, status, ids, versions, processed, done_count, refused, kept,
            created_at, finished_at)
        select %(operation_id)s::uuid, %(operation)s, %(arguments)s::jsonb, %(reason)s::text,
            %(actor)s::bigint, 'native', %(request_id)s, 'done', array_agg(r.id order by r.n),
            array_agg(case when j.why = 'not_found' then 0 else coalesce(j.version, 0) end
                order by r.n),
            count(*), count(j.id) filter (where j.why is null),
            coalesce(jsonb_object_agg(r.id, jsonb_build_object('code',
                coalesce(j.why, 'not_found'), 'detail', coalesce(j.why, 'not_found')))
                filter (where j.id is null or j.why is not null), '{}'),
            '{}', %(at)s::timestamptz, %(at)s::timestamptz
        from req r left join judged j on j.id = r.id)"""


def _statement(operation: Operation, *, bulk: bool, picking: bool = False) -> str:
    receiver = _held("receiver") if "%(receiver)s" in operation.assignments else "'{}'::bigint[]"
    # An account's own name in `order by` keeps two calls from waiting for each other in a circle.
    lock = (
        "and t.state = 'ready' order by array_position(%(ids)s::uuid[], t.id) limit 1 "
        "for no key update of t skip locked"
        if picking
        else "order by t.id for no key update of t"
    )
    synced = "".join(
        f""",
    synced_{kind} as (update tasks_task{kind}role r set {operation.sync} from good g
        where r.content_object_id = g.id)"""
        for kind in ("user", "group")
        if operation.sync
    )
    answer = (
        "select r.id::text, g.version + 1, coalesce(j.why, 'not_found') from req r "
        "left join good g on g.id = r.id left join judged j on j.id = r.id order by r.n"
        if bulk
        else f"select null, {_DOCUMENT}::text from changed t union all "
        "select why, null from judged where why is not null"
    )
    return f"""
    with req as materialized (
        select id, n from unnest(%(ids)s::uuid[]) with ordinality as u(id, n)),
    locked as materialized (
        select t.* from tasks_task t where t.id = any(%(ids)s::uuid[]) {lock}),
    seen as materialized (
        select t.*, o.username holder, {_held("actor")} held, {receiver} theirs
        from locked t left join accounts_user o on o.id = t.owner_id),
    judged as materialized (
        select t.*, case
            when not (cardinality(t.held) > 0 or %(everywhere)s
                or %(actor)s::bigint in (t.owner_id, t.originator_id, t.starter_id))
                then 'not_found'
            when ({operation.allowed}) is not true then 'not_authorized'
            when ({operation.fits}) is not true then 'invalid_state' end why,
            {operation.before} before, {operation.after} after
        from seen t),
    good as materialized (
        select j.*, sha256(%(outer)s::bytea || sha256(%(inner)s::bytea || j.head || convert_to(
            '["' || j.id || '",' || j.version + 1 || ',' || %(shared)s::text || ','
            || to_json(j.before) || ',' || to_json(j.after) || ']', 'utf8'))) hash
        from judged j where why is null),
    changed as (
        update tasks_task t set version = g.version + 1, head = g.hash,
            updated_at = %(at)s::timestamptz, {operation.assignments}
        from good g where t.id = g.id returning t.*){synced},
    event as (
        insert into tasks_auditevent (task_id, version, event, actor, actor_id, on_behalf_of,
            channel, request_id, operation_id, before, after, reason, at, previous_hash, hash)
        select id, version + 1, %(event)s, %(name)s, %(actor)s::bigint, '', 'native',
            %(request_id)s, %(operation_id)s::uuid, before, after, %(reason)s::text,
            %(at)s::timestamptz, head, hash
        from good order by id returning id, task_id),
    outbox as (
        insert into tasks_outboxevent (event_id, users)
        select e.id, {operation.concerned} from event e join good g on g.id = e.task_id)
    {_BULK_RECORD if bulk else ""}
    {answer}"""


STATEMENTS = {
    (name, bulk): _statement(operation, bulk=bulk)
    for name, operation in OPERATIONS.items()
    for bulk in (False, True)
}
_PICK = _statement(OPERATIONS["claim"], bulk=False, picking=True)

_ACCOUNT = "select id from accounts_user where username = %(name)s and is_active"


def operate(
    name: str, ids: list[str], actor: Actor, body: dict[str, Any], *, bulk: bool, pick: bool = False
) -> list[tuple[Any, ...]]:
    """Do one operation to tasks: (id, new version, why not) of each; for one (why not, answer)."""
    operation, at = OPERATIONS[name], datetime.now(UTC)
    operation_id, request_id = str(uuid7()), str(uuid.uuid4())
    reason = body.get("reason")
    shared = [operation.event, actor.name, actor.id, "", "native", request_id, operation_id]
    shared += [reason, at.isoformat(timespec="microseconds")]
    params: dict[str, Any] = {
        "ids": ids,
        "actor": actor.id,
        "name": actor.name,
        "everywhere": "administrator" in actor.grants,
        "release_others": "release_others_task" in actor.grants,
        "event": operation.event,
        "operation": name,
        "operation_id": operation_id,
        "request_id": request_id,
        "reason": reason,
        "at": at,
        "shared": json.dumps(shared, separators=(",", ":"), ensure_ascii=False)[1:-1],
        "outer": _pad(0x5C),
        "inner": _pad(0x36),
        "arguments": "{}",
        **_roles(),
    }
    if name == "transfer":
        ((receiver,),) = run(_ACCOUNT, {"name": body["to"]["user"]})
        giver = body["from"]["user"]
        params |= {"receiver": receiver, "to": body["to"]["user"], "giver": giver}
        arguments = {"role": "owner", "to": {"kind": "user", "value": params["to"]}}
        arguments["from_"] = {"kind": "user", "value": giver}
        params["arguments"] = json.dumps(arguments)
    return run(_PICK if pick else STATEMENTS[name, bulk], params)


def _roles() -> dict[str, int]:
    names = ("potential_owner", "administrator", "excluded_owner")
    return {name: _permissions[name] for name in names}


# --- Creating -------------------------------------------------------------------------------------

_CREATE = f"""
    with input as materialized (
        select * from unnest(%(ids)s::uuid[], %(names)s::text[], %(afters)s::text[],
            %(hashes)s::bytea[]) as i(id, name, after, hash)),
    holder as materialized (
        select p.permission, null::bigint as "user", g.id "group"
        from unnest(%(group_roles)s::bigint[], %(groups)s::text[]) p(permission, name)
        join auth_group g on g.name = p.name
        union all
        select p.permission, u.id, null
        from unnest(%(user_roles)s::bigint[], %(users)s::text[]) p(permission, name)
        join accounts_user u on u.username = p.name and u.is_active),
    t as (
        insert into tasks_task (id, version, head, name, description, kind, state, priority,
            on_hold, claim_while_on_hold, skippable, automatic_claim, originator_id, starter_id,
            created_at, updated_at, activated_at, input, fault_name, custom_properties,
            secret_pointers, imported)
        select id, 1, hash, name, '', 'manual', 'ready', 5, false, false, false, false,
            %(actor)s, %(actor)s, %(at)s, %(at)s, %(at)s, '{{}}', '', '{{}}', '[]', '{{}}'
        from input returning *),
    to_groups as (
        insert into tasks_taskgrouprole (content_object_id, permission_id, group_id, open, ready,
            priority, due, created)
        select i.id, h.permission, h.group, true, true, 5, %(far)s::timestamptz, %(at)s
        from input i, holder h where h.group is not null),
    to_users as (
        insert into tasks_taskuserrole (content_object_id, permission_id, user_id, open, ready,
            priority, due, created)
        select i.id, h.permission, h.user, true, true, 5, %(far)s::timestamptz, %(at)s
        from input i, holder h where h.user is not null),
    event as (
        insert into tasks_auditevent (task_id, version, event, actor, actor_id, on_behalf_of,
            channel, request_id, operation_id, before, after, reason, at, previous_hash, hash)
        select id, 1, 'created', %(name)s, %(actor)s, '', 'native', %(request_id)s,
            %(operation_id)s::uuid, '{{}}', after, null, %(at)s::timestamptz,
            %(genesis)s::bytea, hash
        from input order by id returning id),
    outbox as (insert into tasks_outboxevent (event_id) select id from event)
    select {_DOCUMENT}::text from t"""


def create(bodies: list[dict[str, Any]], actor: Actor) -> list[tuple[Any, ...]]:
    """Make tasks with the people of the first: name and people are all that is read."""
    at, operation_id, request_id = datetime.now(UTC), str(uuid7()), str(uuid.uuid4())
    people: dict[str, dict[str, list[str]]] = bodies[0]["people"]
    pairs = {
        kind: [(role, name) for role, held in people.items() for name in held.get(kind, ())]
        for kind in ("users", "groups")
    }
    shared = ["created", actor.name, actor.id, "", "native", request_id, operation_id, None]
    shared.append(at.isoformat(timespec="microseconds"))
    ids, afters, hashes = [], [], []
    tagged = {
        role: [
            *({"user": name} for name in held.get("users", ())),
            *({"group": name} for name in held.get("groups", ())),
        ]
        for role, held in people.items()
    }
    for body in bodies:
        pk = str(uuid7())
        after = _canonical(
            {
                "name": body["name"],
                "kind": "manual",
                "state": "ready",
                "priority": 5,
                "originator": actor.name,
                "starter": actor.name,
                "created_at": at.isoformat(),
                "activated_at": at.isoformat(),
                "people": tagged,
            }
        )
        message = bytes(32) + _canonical([pk, 1, *shared, "{}", after]).encode()
        ids.append(pk)
        afters.append(after)
        hashes.append(hmac.digest(KEY, message, "sha256"))
    return run(
        _CREATE,
        {
            "ids": ids,
            "names": [body["name"] for body in bodies],
            "afters": afters,
            "hashes": hashes,
            "users": [name for _, name in pairs["users"]],
            "user_roles": [_permissions[role] for role, _ in pairs["users"]],
            "groups": [name for _, name in pairs["groups"]],
            "group_roles": [_permissions[role] for role, _ in pairs["groups"]],
            "actor": actor.id,
            "name": actor.name,
            "at": at,
            "far": FAR,
            "genesis": bytes(32),
            "request_id": request_id,
            "operation_id": operation_id,
        },
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# --- Reading --------------------------------------------------------------------------------------

_VISIBLE = """(%(everywhere)s or %(actor)s::bigint in (t.owner_id, t.originator_id, t.starter_id)
    or exists (select from tasks_taskuserrole r where r.content_object_id = t.id
        and r.user_id = %(actor)s::bigint and r.permission_id <> %(excluded_owner)s::bigint)
    or exists (select from tasks_taskgrouprole r join accounts_effectivemembership m
        on m.group_id = r.group_id and m.user_id = %(actor)s::bigint
        where r.content_object_id = t.id and (r.permission_id = %(potential_owner)s::bigint
            or not m.lead and r.permission_id <> %(excluded_owner)s::bigint)))"""

_DETAIL = f"""
    select {_DOCUMENT}::text from tasks_task t where t.id = %(id)s::uuid and {_VISIBLE}"""

_NEWEST = f"""
    with t as materialized (
        select * from tasks_task order by created_at desc, id desc limit %(limit)s)
    select coalesce(jsonb_agg({_DOCUMENT} order by created_at desc, id desc), '[]')::text from t"""


def _worklist(*, beyond: bool) -> str:
    place = "(r.priority, r.due, r.content_object_id)"
    after = (
        f"and {place} > (%(priority)s::smallint, %(due)s::timestamptz, %(id)s::uuid)"
        if beyond
        else ""
    )
    walk = f"""
        r.permission_id = %(potential_owner)s::bigint and r.ready {after}
        and not exists (select from tasks_taskuserrole x
            where x.content_object_id = r.content_object_id
            and x.permission_id = %(excluded_owner)s::bigint and x.user_id = %(actor)s::bigint)
        and not exists (select from tasks_taskgrouprole x join accounts_effectivemembership m
            on m.group_id = x.group_id and m.user_id = %(actor)s::bigint and not m.lead
            where x.content_object_id = r.content_object_id
            and x.permission_id = %(excluded_owner)s::bigint)
        order by r.priority, r.due, r.content_object_id limit %(limit)s"""
    return f"""
    select distinct priority, due, id from (
        (select w.* from accounts_effectivemembership m, lateral (
            select r.priority, r.due, r.content_object_id id from tasks_taskgrouprole r
            where r.group_id = m.group_id and {walk}) w
         where m.user_id = %(actor)s::bigint and not m.lead)
        union all
        (select r.priority, r.due, r.content_object_id from tasks_taskuserrole r
         where r.user_id = %(actor)s::bigint and {walk})) x
    order by 1, 2, 3 limit %(limit)s"""


def _page(*, beyond: bool) -> str:
    return f"""
    with k as materialized ({_worklist(beyond=beyond)})
    select coalesce(jsonb_agg({_DOCUMENT} order by k.priority, k.due, k.id), '[]')::text,
        (select to_json(l)::text from (select * from k order by 1 desc, 2 desc, 3 desc limit 1) l)
    from k join tasks_task t on t.id = k.id"""


_PAGES = {beyond: _page(beyond=beyond) for beyond in (False, True)}
_IDS = f"select id::text from ({_worklist(beyond=False)}) w"
_COUNT = """
    select count(*) from (select distinct id from (
        select r.content_object_id id from accounts_effectivemembership m
        join tasks_taskgrouprole r on r.group_id = m.group_id
            and r.permission_id = %(potential_owner)s::bigint and r.ready
        where m.user_id = %(actor)s::bigint and not m.lead
        union all
        select r.content_object_id from tasks_taskuserrole r where r.user_id = %(actor)s::bigint
            and r.permission_id = %(potential_owner)s::bigint and r.ready) x
        limit 10001) y"""


def listed(actor: Actor, query: dict[str, str]) -> str:
    """A page: of the worklist in its order, or of all tasks, the newest first."""
    limit = int(query.get("limit", "50"))
    params = {"actor": actor.id, "limit": limit, **_roles()}
    if query.get("view") != "available":
        if not actor.everywhere:
            raise ValueError("the bench lists all tasks for those who see all")
        return f'{{"results":{run(_NEWEST, params)[0][0]}}}'
    if limit == 1:
        return f'{{"count":{run(_COUNT, params)[0][0]}}}'
    cursor = query.get("cursor")
    if cursor:
        place = json.loads(cursor)
        params |= {name: place[name] for name in ("priority", "due", "id")}
    ((page, last),) = run(_PAGES[bool(cursor)], params)
    return f'{{"next":{json.dumps(last)},"results":{page}}}'


# --- HTTP -----------------------------------------------------------------------------------------

Answer = tuple[int, str]


def _handle(environ: dict[str, Any]) -> Answer:
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    parts = [part for part in path.split("/") if part][3:]
    verb = parts[-1] if method == "POST" and parts else method
    verb = "claim" if verb == "claim-next" else verb
    needed = {"GET": "view_task", "POST": "add_task"}.get(verb, f"{verb}_task")
    secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")[2]
    found = run(
        _WHO,
        {
            "digest": hashlib.sha256(secret.encode()).digest(),
            "asked": [needed, "administrator", "reader", "release_others_task"],
        },
    )
    if not found:
        return 401, '{"code":"not_authenticated"}'
    actor = Actor(found[0][0], found[0][1], frozenset(found[0][2]))
    if needed not in actor.grants:
        return 403, '{"code":"not_permitted"}'
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = json.loads(environ["wsgi.input"].read(length)) if length else {}
    if method == "GET":
        return _get(parts, actor, environ["QUERY_STRING"])
    if not parts:
        return 201, create([body], actor)[0][0]
    if parts[0] == "claim-next":
        return _claim_next(actor, body)
    if parts[0] == "bulk":
        rows = operate(verb, body["ids"], actor, body, bulk=True)
        return 200, json.dumps(
            {
                "done": [{"id": pk, "version": v} for pk, v, _ in rows if v is not None],
                "refused": [{"id": pk, "code": why} for pk, v, why in rows if v is None],
            }
        )
    rows = operate(verb, [parts[0]], actor, body, bulk=False)
    why, document = rows[0] if rows else ("not_found", None)
    if why is None:
        return 200, document
    return {"not_found": 404, "not_authorized": 403}.get(why, 409), json.dumps({"code": why})


def _get(parts: list[str], actor: Actor, query: str) -> Answer:
    if not parts:
        return 200, listed(actor, {name: values[0] for name, values in parse_qs(query).items()})
    params = {"id": parts[0], "actor": actor.id, "everywhere": actor.everywhere, **_roles()}
    rows = run(_DETAIL, params)
    return (200, rows[0][0]) if rows else (404, '{"code":"not_found"}')


def _claim_next(actor: Actor, body: dict[str, Any]) -> Answer:
    """Take the first free one of a window; a window in which others took all is made wider."""
    window = 20
    while True:
        ids = [pk for (pk,) in run(_IDS, {"actor": actor.id, "limit": window, **_roles()})]
        rows = operate("claim", ids, actor, body, bulk=False, pick=True) if ids else []
        if rows and rows[0][0] is None:
            return 200, rows[0][1]
        if len(ids) < window:
            return 204, ""
        window *= 4


def application(
    environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """The WSGI application."""
    if environ["PATH_INFO"] == "/healthz":
        status, text = 200, "{}"
    else:
        status, text = _handle(environ)
    body = text.encode()
    start(f"{status} -", [("Content-Type", "application/json"), ("Content-Length", f"{len(body)}")])
    return [body]
