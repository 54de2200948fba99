"""How each face is called and what its answers say, in the terms of a recorded history."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from .history import CREATE, NEVER, READ, UNTOLD, Answer, Asked, Call
from .live import Connection, Reply

_numbers = itertools.count(1)

Reader = Callable[["Request", Reply], list[Answer]]


@dataclass(frozen=True, slots=True)
class Request:
    """A call to be made, and how its answer is read."""

    face: str
    operation: str
    asked: tuple[Asked, ...]
    method: str
    path: str
    read: Reader
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    giver: str | None = None


class Client:
    """One account on one connection, which records all that it does in `history`."""

    def __init__(
        self, port: int, name: str, secret: str, history: list[Call], number: int = 0
    ) -> None:
        self.connection = Connection(port, f"Token {secret}")
        self.name, self.number, self.history = name, number, history

    def make(self, request: Request) -> Call:
        """Make a call and record it."""
        call_id = f"proof-{os.getpid()}-{next(_numbers)}"
        headers = {**request.headers, "X-Request-ID": call_id}
        reply = self.connection.send(request.method, request.path, request.body, headers)
        known = reply.status is not None and reply.status < 500
        call = Call(
            id=call_id,
            client=self.number,
            actor=self.name,
            face=request.face,
            operation=request.operation,
            asked=request.asked,
            start=reply.start,
            end=reply.end if known else NEVER,
            status=reply.status,
            answers=tuple(request.read(request, reply)) if known else (),
            target=request.target,
            giver=request.giver,
        )
        self.history.append(call)
        return call


def _if_match(expected: int | None) -> dict[str, str]:
    return {} if expected is None else {"If-Match": f'"{expected}"'}


def _for_all(request: Request, code: str) -> list[Answer]:
    return [Answer(task, False, code=code) for task in dict.fromkeys(t for t, _ in request.asked)]


# --- Native ---------------------------------------------------------------------------------------

TASKS: Final = "/api/v1/tasks/"


def native(
    operation: str,
    task: UUID,
    expected: int | None = None,
    *,
    target: str | None = None,
    giver: str | None = None,
    **body: Any,
) -> Request:
    """An operation on one task."""
    path = f"{TASKS}{task}/{operation.replace('_', '-')}/"
    asked, headers = (Asked(task, expected),), _if_match(expected)
    return Request("native", operation, asked, "POST", path, _native, body, headers, target, giver)


def native_bulk(
    operation: str,
    asked: Sequence[Asked],
    *,
    target: str | None = None,
    giver: str | None = None,
    **body: Any,
) -> Request:
    """An operation on many tasks, each with the version expected of it, if any."""
    ids = [
        str(task) if expected is None else {"id": str(task), "version": expected}
        for task, expected in asked
    ]
    path = f"{TASKS}bulk/{operation.replace('_', '-')}/"
    return Request(
        "native bulk",
        operation,
        tuple(asked),
        "POST",
        path,
        _native_bulk,
        {**body, "ids": ids},
        target=target,
        giver=giver,
    )


def native_create(name: str, groups: Sequence[str]) -> Request:
    """A new task of some groups."""
    body = {"name": name, "people": {"potential_owner": {"groups": list(groups)}}}
    return Request("native", CREATE, (), "POST", TASKS, _native, body)


def native_read(task: UUID) -> Request:
    """A look at one task."""
    return Request("native", READ, (Asked(task),), "GET", f"{TASKS}{task}/", _native)


def _native(request: Request, reply: Reply) -> list[Answer]:
    document = json.loads(reply.body)
    if reply.status in (200, 201):
        assert document["version"] == reply.version, "body and ETag name two versions"
        task = UUID(document["id"])
        return [Answer(task, True, reply.version, document["state"], document["owner"])]
    ((task, _),) = request.asked
    assert document.get("version") == reply.version, "body and ETag name two versions"
    owner = document.get("holder", UNTOLD)
    return [Answer(task, False, reply.version, owner=owner, code=document["code"])]


def _native_bulk(request: Request, reply: Reply) -> list[Answer]:
    document = json.loads(reply.body)
    if reply.status != 200:
        return _for_all(request, document["code"])
    done = [Answer(UUID(item["id"]), True, item["version"]) for item in document["done"]]
    refused = [
        Answer(UUID(item["id"]), False, item["version"], code=item["code"])
        for item in document["refused"]
    ]
    return done + refused


# --- Itential -------------------------------------------------------------------------------------

_CODES: Final = {
    400: "bad_request",
    401: "not_authenticated",
    403: "not_authorized",
    404: "task_not_found",
    409: "conflict",
    412: "stale_task",
}
"""What the status says where an answer has no code."""


def itential(
    operation: str,
    task: UUID,
    expected: int | None = None,
    *,
    target: str | None = None,
    target_id: str = "",
) -> Request:
    """Claim, assign or release one task; `target_id` is the account's 24 digits."""
    path = f"/operations-manager/tasks/{task}/{operation}"
    asked, headers = (Asked(task, expected),), _if_match(expected)
    body = {"userId": target_id} if target else None
    return Request(
        "itential", operation, asked, "POST", path, _itential, body, headers, target=target
    )


def itential_read(task: UUID) -> Request:
    """A look at one task."""
    path = f"/operations-manager/tasks/{task}"
    return Request("itential", READ, (Asked(task),), "GET", path, _itential)


def _itential(request: Request, reply: Reply) -> list[Answer]:
    ((task, _),) = request.asked
    if reply.status != 200:
        return [Answer(task, False, reply.version, code=_CODES[reply.status or 0])]
    data = json.loads(reply.body)["data"]
    assert UUID(data["_id"]) == task
    # The owner is an id of 24 digits; only whether there is one is told here.
    owner = UNTOLD if data["metrics"]["owner"] else None
    return [Answer(task, True, reply.version, owner=owner)]


# --- IBM HTM --------------------------------------------------------------------------------------

V1: Final = "/rest/bpm/htm/v1"
ACTIONS: Final = {"claim": "claim", "cancel_claim": "cancel"}

_NUMBERS: Final = {
    "CWTKA0062E": "conflict",
    "CWTKA0007E": "stale_task",
    "CWTKA0099E": "no_such_work_item",
    "CWTKA0024E": "task_not_found",
    "CWTKA0068E": "not_authorized",
}


def tkiid(task: UUID) -> str:
    """The id of a task as this face writes it."""
    return "_TKI:" + ".".join(f"{task.int >> shift & 0xFFFFFFFF:x}" for shift in (96, 64, 32, 0))


def htm(operation: str, task: UUID, expected: int | None = None) -> Request:
    """Claim a task, or cancel the claim."""
    path = f"{V1}/task/{tkiid(task)}?action={ACTIONS[operation]}"
    asked, headers = (Asked(task, expected),), _if_match(expected)
    return Request("htm", operation, asked, "PUT", path, _htm, headers=headers)


def htm_transfer(
    task: UUID, target: str, giver: str | None, expected: int | None = None
) -> Request:
    """Make another account the owner of a task."""
    path = f"{V1}/task/{tkiid(task)}/role/owner?{_move(target, giver)}"
    asked, headers = (Asked(task, expected),), _if_match(expected)
    return Request("htm", "transfer", asked, "PUT", path, _htm, None, headers, target, giver)


def htm_bulk_transfer(tasks: Sequence[UUID], target: str, giver: str | None) -> Request:
    """Make another account the owner of many tasks."""
    return Request(
        "htm bulk",
        "transfer",
        tuple(Asked(task) for task in tasks),
        "PUT",
        f"{V1}/task/role/owner?{_move(target, giver)}",
        _htm_bulk,
        {"taskIDs": [tkiid(task) for task in tasks]},
        target=target,
        giver=giver,
    )


def _move(target: str, giver: str | None) -> str:
    return f"action=transfer&toUser={target}" + (f"&fromUser={giver}" if giver else "")


def _htm(request: Request, reply: Reply) -> list[Answer]:
    ((task, _),) = request.asked
    if reply.status == 200:
        return [Answer(task, True, reply.version)]
    return [Answer(task, False, reply.version, code=_code(json.loads(reply.body)))]


def _htm_bulk(request: Request, reply: Reply) -> list[Answer]:
    if reply.status != 200:
        return _for_all(request, _code(json.loads(reply.body)))
    report = json.loads(reply.body)["failedOperations"] if reply.body else []
    task_of = {tkiid(task): task for task, _ in request.asked}
    refused = [Answer(task_of[item["tkiid"]], False, code=_code(item)) for item in report]
    failed = {answer.task for answer in refused}
    # What is not reported has been done.
    done = [Answer(task, True) for task in task_of.values() if task not in failed]
    return done + refused


def _code(error: Mapping[str, Any]) -> str:
    return _NUMBERS.get(error["errorNumber"], error["errorNumber"])
