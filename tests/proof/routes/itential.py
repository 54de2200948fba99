"""Itential's face: sessions, tasks, jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.factories import basic
from tests.proof.wire import NOTHING, Sent

from .route import Maker, Route, UnknownRoute, simple
from .world import CALLERS, JOB_TASKS, SCENES, World

OM = "operations-manager/"

BODIES: dict[str, Callable[[World], Any]] = {
    "claim": lambda world: NOTHING,
    "release": lambda world: NOTHING,
    "assign": lambda world: {"userId": world.cast.alice.object_id},
    "finish": lambda world: {"taskData": {"finish_state": "success", "variables": {}}},
    "retry": lambda world: {"variables": {}},
}
"""The body of each act on one task, by the end of its address."""


def routes_of(pattern: str, callback: Any) -> Iterator[Route]:
    """The routes of one pattern."""
    view = callback.cls.__name__
    path = pattern.replace("\\Z", "").replace("/?", "").removeprefix("^")
    act = path.rpartition("/")[2]
    alone = {"pattern": pattern, "face": "itential", "view": view, "takes_body": False}
    if path == "login":
        yield Route(
            pattern,
            "POST",
            "itential",
            view,
            lambda world: [("nobody", Sent("POST", "/login", json=_login("bob")))],
            guesses=True,
        )
    elif path == "logout":
        maker: Maker = lambda world: [  # noqa: E731
            ("bob", Sent("GET", "/logout", headers=world.itential_session("bob")))
        ]
        yield Route(**alone, method="GET", maker=maker)
    elif path == "whoami":
        yield Route(**alone, method="GET", maker=_as_bob("/whoami"))
    elif path == f"{OM}tasks/(?P<task_id>[^/]+)":
        yield Route(
            **alone,
            method="GET",
            on_task=True,
            maker=lambda world: _as_bob(f"/{OM}tasks/{world.task('ready').pk}")(world),
        )
    elif path == f"{OM}jobs/(?P<job_id>[^/]+)":
        yield Route(
            **alone,
            method="GET",
            maker=lambda world: _as_bob(f"/{OM}jobs/{world.job.object_id}")(world),
        )
    elif view == "UnknownRoute":
        yield Route(**alone, method="POST", maker=simple(f"/{OM}nothing"), nothing=True)
    elif act in BODIES:
        yield Route(pattern, "POST", "itential", view, _doing(path, act), on_task="task_id" in path)
    else:
        raise UnknownRoute(f"{pattern} ({view})")


def _login(name: str) -> dict[str, Any]:
    return {"user": {"username": name, "password": f"{name}-demo"}}


def _as_bob(path: str) -> Maker:
    return lambda world: [("bob", Sent("GET", path, headers={"Authorization": basic("bob")}))]


def _doing(path: str, act: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        body = BODIES[act](world)
        in_job = "job_id" in path
        ids = JOB_TASKS if in_job else [str(world.task(scene).pk) for scene in SCENES]
        for text in ids:
            filled_in = path.replace("(?P<task_id>[^/]+)", text)
            if in_job:
                filled_in = filled_in.replace("(?P<job_id>[^/]+)", world.job.object_id)
            for who in CALLERS:
                headers = {"Authorization": basic(who)}
                yield who, Sent("POST", f"/{filled_in}", headers=headers, json=body)

    return make
