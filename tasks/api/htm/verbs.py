"""What each action of this face asks the core to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rest_framework.request import Request

from accounts.models import User

from . import bodies, parameters
from .errors import BadRequest
from .parameters import Given

TRANSFER, ASSIGN = "transfer", "assign"
"""The values of `action` on a task role (spec, sections 1.7 and 1.8)."""


def _nothing(user: User) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Act:
    """An operation of the core and what it is asked with.

    `arguments` come from the parameters, `body` reads more of them off the body, if there is one
    to be read. `carries_data` says that the body is a message, whose texts may have any length;
    `answers_input` that the answer is the task's input message.
    """

    operation: str
    arguments: Callable[[User], dict[str, Any]] = _nothing
    body: Callable[[Request, User], dict[str, Any]] | None = None
    carries_data: bool = False
    answers_input: bool = False

    def read(self, request: Request, user: User) -> dict[str, Any]:
        """All arguments of the operation. Raises BadRequest, APIException."""
        if self.body is None:
            return self.arguments(user)
        return {**self.arguments(user), **self.body(request, user)}


Reader = Callable[[Given], Act]
"""Reads the parameters of one action; raises BadRequest, and looks nothing up."""


def _message(name: str) -> Callable[[Request, User], dict[str, Any]]:
    """An optional message becomes the argument `name`."""
    return lambda request, user: {name: bodies.message(request)}


def message_of(name: str, more: Mapping[str, Any]) -> Act:
    """The act of PUT on the resource `name`: input, output or fault (section 1.9).

    `more` goes with the message.
    """

    def read(request: Request, user: User) -> dict[str, Any]:
        found = bodies.needed_message(request)
        return {"values": {"input": found}} if name == "input" else {name: found, **more}

    operation = "update" if name == "input" else f"save_{name}"
    return Act(operation, body=read, carries_data=True)


def _start(given: Given) -> Act:
    """Start an inactive task; an input message replaces the one it has.

    Nobody can wait for the output of a task that people work on (section 1.5: invocation tasks
    only), and engines fetch their tasks themselves, so there is no synchronous start here. A
    subtask is made below its parent from the beginning, and not by starting it.
    """
    parameters.choice(given, "mode", ["async"])
    for name in ("relation", "parentTaskID"):
        if name in given:
            raise BadRequest("CWTKA0123E", f"The parameter {name} is not supported.")
    return Act("activate", body=_message("input"), carries_data=True)


def _complete(given: Given) -> Act:
    """With an output, with a fault if `faultName` is given, or with what has been saved."""
    if "faultName" in given:
        named = {"fault_name": parameters.required(given, "faultName")}
        return Act("fail", lambda user: named, _message("fault"), carries_data=True)
    saved = {"fails_with_fault": True}
    return Act("complete", lambda user: saved, _message("output"), carries_data=True)


def _suspend(given: Given) -> Act:
    until = parameters.hold(given)
    return Act("suspend", lambda user: {"until": until(user)})


def _suspend_many(given: Given) -> Act:
    """In bulk the time is required (section 1.6)."""
    until = parameters.hold(given, needed=True)
    return Act("suspend", lambda user: {"until": until(user)})


def _suspend_and_cancel_claim(given: Given) -> Act:
    parameters.required(given, "keepTaskData")
    keep_data = parameters.boolean(given, "keepTaskData")
    until = parameters.hold(given, needed=True)
    return Act("suspend_and_release", lambda user: {"until": until(user), "keep_data": keep_data})


TASK: Final[dict[str, Reader]] = {
    "claim": lambda given: Act("claim", answers_input=True),
    "cancel": lambda given: Act("cancel_claim"),
    "start": _start,
    "complete": _complete,
    "suspend": _suspend,
    "suspendAndCancelClaim": _suspend_and_cancel_claim,
    "resume": lambda given: Act("resume"),
    "terminate": lambda given: Act("exit"),
    "update": lambda given: Act(
        "update", body=lambda request, user: {"values": bodies.update(request.data, user)}
    ),
}
"""Values of `action` on a task (section 1.5)."""

BULK: Final[dict[str, Reader]] = {
    "cancel": TASK["cancel"],
    "suspend": _suspend_many,
    "suspendAndCancelClaim": _suspend_and_cancel_claim,
    "resume": TASK["resume"],
    "update": lambda given: Act(
        "update", body=lambda request, user: {"values": bodies.bulk_update(request.data, user)}
    ),
}
"""Values of `action` on many tasks (section 1.6)."""
