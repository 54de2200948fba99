"""IBM's face: each action of each resource is a route of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.api.htm import verbs
from tasks.api.htm.ids import tkiid
from tests.factories import basic
from tests.proof.wire import NOTHING, Sent

from .route import Maker, Route, UnknownRoute, simple
from .world import CALLERS, SCENES, World

V1 = "rest/bpm/htm/v1/"
BULK = f"{V1}task"
TASK = f"{V1}task/<str:tkiid>"

Query = tuple[tuple[str, str], ...]

MOVE: Query = (("action", verbs.TRANSFER), ("fromUser", "bob"), ("toUser", "alice"))
MESSAGE = {"decision": "approve"}
HOLD: Query = (("duration", "P1D"),)

ACTIONS: dict[str, tuple[Query, Any]] = {
    "update": ((), {"priority": 3}),
    "start": ((("mode", "async"),), MESSAGE),
    "complete": ((), MESSAGE),
    "suspend": (HOLD, NOTHING),
    "suspendAndCancelClaim": ((("keepTaskData", "true"), *HOLD), NOTHING),
}
"""Further parameters, and the body, of actions on one task that have them; in bulk likewise."""

GETS: dict[str, Query] = {
    "": (),
    "/input": (("new", "false"),),
    "/output": (("new", "false"),),
    "/fault": (("new", "false"), ("faultName", "broken")),
    "/role/<str:role>": (),
    "/subtasks": (),
    "/history": (("newEventType", "false"),),
}
"""What can be read of a task, with the parameters that there are."""

PUTS: dict[str, dict[str, tuple[Query, Any]]] = {
    "": {
        **{action: ACTIONS.get(action, ((), NOTHING)) for action in verbs.TASK},
        "complete with a fault": ((("faultName", "broken"),), MESSAGE),
    },
    "/input": {"": ((), MESSAGE)},
    "/output": {"": ((), MESSAGE)},
    "/fault": {"": ((("faultName", "broken"),), MESSAGE)},
    "/role/<str:role>": {
        verbs.TRANSFER: (MOVE[1:], NOTHING),
        verbs.ASSIGN: ((("newUser", "alice"),), NOTHING),
    },
}
"""What can be put to a task, by action where there are several."""

ROLES = {verbs.TRANSFER: "owner", verbs.ASSIGN: "reader"}
"""The task role that each action on one is tried with."""


def routes_of(pattern: str, callback: Any) -> Iterator[Route]:
    """The routes of one pattern."""
    view = callback.cls.__name__
    shared: dict[str, Any] = {"pattern": pattern, "face": "htm", "view": view}
    rest = pattern.removeprefix(TASK)
    if pattern == "rest/bpm/htm/":
        maker = simple("/rest/bpm/htm/v1/nothing")
        yield Route(**shared, method="PUT", maker=maker, nothing=True, takes_body=False)
    elif pattern == BULK:
        for action in verbs.BULK:
            member = "updatedTaskIDs" if action == "update" else "taskIDs"
            maker = _doing_to_many(action, member)
            yield Route(**shared, method="PUT", maker=maker, variant=action, many=member)
    elif pattern == f"{BULK}/role/<str:role>":
        yield Route(**shared, method="PUT", maker=_moving_many, many="taskIDs")
    elif pattern == f"{BULK}/actions":
        yield Route(**shared, method="GET", maker=_asking, takes_body=False)
    elif pattern.startswith(TASK) and rest in GETS:
        yield from _of_one(shared, rest)
    else:
        raise UnknownRoute(f"{pattern} ({view})")


def _of_one(shared: dict[str, Any], rest: str) -> Iterator[Route]:
    of_task = {**shared, "on_task": True}
    place = rest.replace("<str:role>", "owner")
    reading = _acting("GET", place, GETS[rest], NOTHING)
    yield Route(**of_task, method="GET", maker=reading, takes_body=False)
    for words, (query, body) in PUTS.get(rest, {}).items():
        action = words.partition(" ")[0]
        place = rest.replace("<str:role>", ROLES.get(action, ""))
        asked = (("action", action), *query) if action else query
        put = {"variant": words, "takes_body": body is not NOTHING}
        yield Route(**of_task, **put, method="PUT", maker=_acting("PUT", place, asked, body))
    if rest == "":
        removing = _acting("DELETE", "", (), NOTHING)
        yield Route(**of_task, method="DELETE", maker=removing, takes_body=False)
        for method, query in (("PUT", (("action", "claim"),)), ("DELETE", ())):
            maker = _acting("POST", "", query, NOTHING, {"X-Method-Override": method})
            words = {"variant": f"as {method}", "takes_body": False}
            yield Route(**of_task, **words, method="POST", maker=maker)


def _acting(
    method: str, rest: str, query: Query, body: Any, more: Mapping[str, str] | None = None
) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        for scene in SCENES:
            for who in CALLERS:
                path = f"/{BULK}/{tkiid(world.task(scene).pk)}{rest}"
                headers = {"Authorization": basic(who), **(more or {})}
                yield who, Sent(method, path, query, headers, json=body)

    return make


def _doing_to_many(action: str, member: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        query, body = ACTIONS.get(action, ((), NOTHING))
        more = {} if body is NOTHING else {"updatedPropertyValues": body}
        for scene in SCENES:
            sent = {member: [tkiid(world.task(scene).pk)], **more}
            for who in CALLERS:
                headers = {"Authorization": basic(who)}
                yield who, Sent("PUT", f"/{BULK}", (("action", action), *query), headers, json=sent)

    return make


def _moving_many(world: World) -> Iterator[tuple[str, Sent]]:
    body = {"taskIDs": [tkiid(world.task("reserved").pk)]}
    headers = {"Authorization": basic("dave")}
    yield "dave", Sent("PUT", f"/{BULK}/role/owner", MOVE, headers, json=body)


def _asking(world: World) -> Iterator[tuple[str, Sent]]:
    ids = ",".join(tkiid(world.task(scene).pk) for scene in ("ready", "reserved"))
    query = (("taskIDs", ids), ("actions", "ACTION_CLAIM,ACTION_UPDATE"))
    yield "bob", Sent("GET", f"/{BULK}/actions", query, {"Authorization": basic("bob")})
