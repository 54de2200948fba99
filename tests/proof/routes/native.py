"""The native face: lists, tasks, what belongs to them, an operation on one or on many."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from tasks.api.native import views
from tasks.api.native.bulk import BulkOperationViewSet
from tasks.api.native.directory import Listed
from tasks.api.native.docs import Open
from tasks.api.native.feed import HistoryViewSet
from tasks.api.native.oauth import TokenEndpoint
from tasks.api.native.parts import PartViewSet
from tasks.api.native.tokens import Tokens
from tests.proof.wire import Sent

from .route import Maker, Route, UnknownRoute, simple
from .world import CALLERS, SCENES, World

BODIES: dict[str, dict[str, Any]] = {
    "nominate": {"people": {"users": ["alice"], "groups": ["noc"]}},
    "forward": {"from": {"group": "noc"}},
    "attach": {"name": "plan.txt", "content": "YSBwbGFu"},
}
"""Members of operations whose example, filled in by `filled`, is not enough."""

BOUNDARY = "proof"


def filled(example: Any, path: tuple[str, ...] = ()) -> Any:
    """An example with names of the cast in the places of users and groups, and other texts."""
    if isinstance(example, dict):
        return {name: filled(value, (*path, name)) for name, value in example.items()}
    if example != "":
        return copy.deepcopy(example)
    known = {
        ("to", "user"): "alice",
        ("from", "user"): "bob",
        ("to", "group"): "field",
        ("from", "group"): "noc",
    }
    return known.get(path[-2:], "because a test says so")


def form(*parts: bytes) -> bytes:
    """A multipart body of these parts."""
    whole = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), part) for part in parts)
    return whole + b"--%s--\r\n" % BOUNDARY.encode()


def part(name: str, content: bytes, filename: str | None = None, more: str = "") -> bytes:
    """One part of a multipart body; a file where it has a name of its own."""
    head = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"'
    return f"{head}{more}\r\n\r\n".encode() + content


def routes_of(pattern: str, callback: Any) -> Iterator[Route]:
    """The routes of one pattern: one for each method, and one for files sent as a form."""
    if callback is views.nothing_here:
        maker = simple("/api/nothing/")
        yield Route(pattern, "POST", "native", "nothing", maker, takes_body=False, nothing=True)
        return
    view = callback.cls
    methods: dict[str, str] | None = getattr(callback, "actions", None)
    if not methods:
        methods = {"post": "post"} if view is TokenEndpoint else {"get": "get"}
    for method, action in methods.items():
        operation = callback.initkwargs.get("operation", "")
        shared = {"pattern": pattern, "method": method.upper(), "face": "native"}
        shared["view"] = f"{view.__name__}.{action}"
        if view is BulkOperationViewSet:
            made = _of_operations(method.upper(), pattern, action)
            yield Route(**shared, maker=made, takes_body=method == "post")
        elif action in ("operate", "operate_on_many"):
            many = "ids" if action == "operate_on_many" else ""
            kind: dict[str, Any] = {**shared, "many": many, "on_task": not many}
            yield Route(**kind, maker=_operating(pattern, operation, many=bool(many)))
            if operation == "attach":
                kind["view"] += " form"
                yield Route(**kind, maker=_attaching(pattern), variant="form")
        elif view is Tokens and action == "create":
            yield Route(**shared, maker=_issuing)
        elif action == "destroy" and view is Tokens:
            yield Route(**shared, maker=_revoking, takes_body=False)
        elif view is TokenEndpoint:
            yield Route(**shared, maker=_exchanging, takes_body=False)
        elif issubclass(view, Listed):
            yield Route(**shared, maker=_directory(pattern), takes_body=False)
        elif action == "create":
            yield Route(**shared, maker=_creating)
        elif action == "claim_next":
            yield Route(**shared, maker=_claiming_next)
        elif action == "create_many":
            yield Route(**shared, maker=_creating_many)
        elif issubclass(view, Open):
            yield Route(**shared, maker=simple(f"/{pattern}"), takes_body=False)
        elif action in WRITES:
            maker = _writing(method.upper(), pattern, WRITES[action])
            yield Route(**shared, maker=maker, on_task=True)
        elif method == "get" and (view in (PartViewSet, HistoryViewSet) or pattern.count("<") <= 1):
            on_task = "<str:pk>" in pattern
            yield Route(**shared, maker=_reading(pattern), on_task=on_task, takes_body=False)
        else:
            raise UnknownRoute(f"{method.upper()} {pattern} ({shared['view']})")


WRITES: dict[str, dict[str, Any]] = {
    "amend": {"description": "On the roof", "priority": 3, "reason": "because a test says so"},
    "destroy": {},
}
"""The bodies of what is done to a task by its own address."""


def _tasks(pattern: str) -> Callable[[World], Iterator[tuple[str, str, str]]]:
    """Who asks, the id of the task and the address, for each scene."""

    def each(world: World) -> Iterator[tuple[str, str, str]]:
        for scene in SCENES:
            pk = str(world.task(scene).pk)
            for who in CALLERS:
                yield who, pk, "/" + pattern.replace("<str:pk>", pk)

    return each


def _operating(pattern: str, operation: str, *, many: bool) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        table = views.BULK_INPUTS if many else views.INPUTS
        body = filled(table[operation].example) | BODIES.get(operation, {})
        body.setdefault("reason", "because a test says so")
        for who, pk, path in _tasks(pattern)(world):
            ids = {"ids": [pk]} if many else {}
            yield who, Sent("POST", path, headers=world.bearer(who), json=body | ids)

    return make


def _of_operations(method: str, pattern: str, action: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        stored = world.put_off if action == "cancel" else world.claimed
        path = "/" + pattern.replace("<str:pk>", str(stored.pk))
        body: dict[str, Any] = {
            "undo": {"reason": "because a test says so"},
            "undo_account": {
                "actor": "bob",
                "from": "2030-01-31T12:00:00Z",
                "until": "2030-01-31T13:00:00Z",
            },
        }.get(action, {})
        more = {"json": body} if method == "POST" else {}
        yield "bob", Sent(method, path, headers=world.bearer("bob"), **more)

    return make


def _attaching(pattern: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        for who, pk, path in _tasks(pattern)(world):
            ids = [] if "<str:pk>" in pattern else [part("ids", pk.encode())]
            body = form(part("file", b"a plan", "plan.txt"), part("reason", b"so"), *ids)
            kind = f"multipart/form-data; boundary={BOUNDARY}"
            sent = Sent("POST", path, headers=world.bearer(who), raw=body, content_type=kind)
            yield who, sent

    return make


def _writing(method: str, pattern: str, body: dict[str, Any]) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        for who, _, path in _tasks(pattern)(world):
            yield who, Sent(method, path, headers=world.bearer(who), json=body)

    return make


def _creating(world: World) -> Iterator[tuple[str, Sent]]:
    body = filled(views.NewTask.example)
    body["people"] = {"potential_owner": {"users": ["alice"], "groups": ["noc"]}}
    yield "carol", Sent("POST", "/api/v1/tasks/", headers=world.bearer("carol"), json=body)


def _claiming_next(world: World) -> Iterator[tuple[str, Sent]]:
    world.task("ready")
    path, body = "/api/v1/tasks/claim-next/", {"groups": ["noc"]}
    yield "bob", Sent("POST", path, headers=world.bearer("bob"), json=body)


def _issuing(world: World) -> Iterator[tuple[str, Sent]]:
    headers = world.bearer("alice")
    body = {"name": "sync", "operations": ["claim"], "groups": ["noc"]}
    yield "alice", Sent("POST", "/api/v1/tokens/", headers=headers, json=body)


def _exchanging(world: World) -> Iterator[tuple[str, Sent]]:
    fields = {
        "grant_type": "client_credentials",
        "client_id": world.cast.alice.object_id,
        "client_secret": world.client_secret,
        "scope": "read claim",
    }
    kind = "application/x-www-form-urlencoded"
    body = urlencode(fields).encode()
    yield "nobody", Sent("POST", "/api/oauth/token/", raw=body, content_type=kind)


def _revoking(world: World) -> Iterator[tuple[str, Sent]]:
    path = f"/api/v1/tokens/{world.token.pk}/"
    yield "alice", Sent("DELETE", path, headers=world.bearer("alice"))


def _directory(pattern: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        keys = {
            "jobs": lambda: world.job.pk,
            "users": lambda: world.cast.alice.pk,
            "groups": lambda: world.cast.noc.pk,
            "roles": lambda: world.role.pk,
            "tokens": lambda: world.token.pk,
        }
        path = "/" + pattern
        if "<" in pattern:
            path = path.replace("<str:number>", str(keys[pattern.split("/")[2]]()))
        yield "dave", Sent("GET", path, headers=world.bearer("dave"))

    return make


def _creating_many(world: World) -> Iterator[tuple[str, Sent]]:
    for who, sent in _creating(world):
        yield who, replace(sent, path="/api/v1/tasks/bulk/create/", json={"tasks": [sent.json]})


def _reading(pattern: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        path = "/" + pattern.replace("<str:pk>", str(world.task("ready").pk))
        path = path.replace("<str:number>", str(world.file.pk))
        yield "bob", Sent("GET", path, headers=world.bearer("bob"))

    return make
