"""How each face is asked for an operation on many tasks, and the words it refuses in."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.models import User
from tasks.admin import bulk as admin_bulk
from tasks.api.htm import verbs
from tasks.api.htm.ids import tkiid
from tasks.api.native.serializers import BULK_INPUTS
from tests.faces import htm_client
from tests.faces.admin_pages import client_of, fill, stored
from tests.faces.native_client import Api, bulk_path

from .world import CALLERS, ENTRIES, Entry, first_of

NATIVE = {
    "task_not_found": 404,
    "not_authorized": 403,
    "invalid_task_state": 409,
    "task_suspended": 409,
    "not_suspended": 409,
    "not_skippable": 409,
    "wrong_kind": 409,
    "stale_task": 412,
    "already_owner": 409,
    "no_such_work_item": 409,
    "target_not_eligible": 409,
    "reason_required": 400,
}
"""Native: the code itself, and this status."""

HTM = {
    "task_not_found": (404, "CWTKA0024E"),
    "not_authorized": (401, "CWTKA0068E"),
    "invalid_task_state": (409, "CWTKA0062E"),
    "task_suspended": (409, "CWTKA0072E"),
    "not_suspended": (409, "CWTKA0112E"),
    "not_skippable": (409, "CWTKA0064E"),
    "wrong_kind": (409, "CWTKA0064E"),
    "stale_task": (412, "CWTKA0007E"),
    "already_owner": (409, "CWTKA0062E"),
    "no_such_work_item": (409, "CWTKA0099E"),
    "target_not_eligible": (409, "CWTKA0110E"),
}
"""IBM's dialect: status and message id; in bulk the message id alone."""

ITENTIAL = {
    "task_not_found": 404,
    "not_authorized": 403,
    "invalid_task_state": 409,
    "task_suspended": 409,
    "wrong_kind": 409,
    "target_not_eligible": 409,
}
"""Itential's dialect: the status; the words are the core's."""

HTM_BULK = {
    "cancel": ("cancel_claim", ""),
    "suspend": ("suspend", "&duration=P1D"),
    "suspendAndCancelClaim": ("suspend_and_release", "&keepTaskData=true&duration=P1D"),
    "resume": ("resume", ""),
}
"""Actions of IBM's dialect on many tasks: the operation and the further parameters."""

HTM_VALUES = {"priority": 1}
"""What an update of IBM's dialect changes."""

HTM_ROLES = {
    "owner": "owner",
    "potential_owner": "potentialOwner",
    "editor": "editor",
    "reader": "reader",
    "administrator": "administrator",
    "originator": "originator",
    "starter": "starter",
    "potential_starter": "potentialStarter",
    "escalation_receiver": "escalationReceiver",
    "stakeholder": "stakeholder",
}

REASON = "because the proof says so"


@dataclass(frozen=True)
class Said:
    """What a face answered about each task: what was done, and what refused in its words.

    `whole` is the status of a call that was refused as a whole.
    """

    done: list[UUID]
    refused: dict[UUID, str]
    whole: int = 0


Bulk = Callable[[User, Sequence[UUID]], Said]


def as_native(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the core as the native API takes them."""
    body: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in ("to", "from_"):
            body[name.rstrip("_")] = {value.kind: value.value}
        elif name == "people":
            body[name] = {"users": [one.value for one in value], "groups": []}
        elif name == "values":
            body |= as_native(value)
        elif name == "content":
            body[name] = base64.b64encode(value.read()).decode()
        else:
            body[name] = value.isoformat() if isinstance(value, datetime) else value
    return body


def native(entry: Entry) -> Bulk:
    """One bulk call of the native API."""

    def act(user: User, ids: Sequence[UUID]) -> Said:
        body = {"ids": [str(pk) for pk in ids], "reason": REASON, **as_native(entry.given())}
        response = Api(user).post(bulk_path(entry.operation), body)
        if response.status_code != 200:
            return Said([], {}, response.status_code)
        document = response.json()
        return Said(
            [UUID(line["id"]) for line in document["done"]],
            {UUID(line["id"]): line["code"] for line in document["refused"]},
        )

    return act


def htm(path: str, member: str = "taskIDs", values: dict[str, Any] | None = None) -> Bulk:
    """One bulk call of IBM's dialect; `member` of the body holds the ids."""

    def act(user: User, ids: Sequence[UUID]) -> Said:
        sent = {tkiid(pk): pk for pk in ids}
        response = htm_client.send(path, user, {member: list(sent), **(values or {})})
        if response.status_code != 200:
            return Said([], {}, response.status_code)
        lines = json.loads(response.content)["failedOperations"] if response.content else []
        refused = {sent[line["tkiid"]]: line["errorNumber"] for line in lines}
        return Said([pk for pk in ids if pk not in refused], refused)

    return act


def in_admin(entry: Entry) -> Bulk:
    """Select, fill in, look and confirm, through the forms of the admin."""

    def act(user: User, ids: Sequence[UUID]) -> Said:
        client = client_of(user, raise_request_exception=False)
        data = {
            "action": entry.operation,
            "_selected_action": [str(pk) for pk in ids],
            "select_across": "0",
            "index": "0",
        }
        draft = client.post("/admin/tasks/task/", data)
        if draft.status_code != 302 or "login" in draft["Location"]:
            return Said([], {}, 403)
        people = {
            f"{'from' if name == 'from_' else name}_user": str(
                User.objects.get(username=v.value).pk
            )
            for name, v in entry.arguments.items()
            if name in ("to", "from_")
        }
        if entry.giving == "own" and entry.row != "owner":  # of any other role it asks whose
            people["from_user"] = str(user.pk)
        role = {"role": entry.row} if entry.table else {}
        plain = {
            name: value
            for name, value in entry.given().items()
            if isinstance(value, (str, int)) and not isinstance(value, bool)
        }
        plan = fill(client, draft, reason=REASON, **people, **{**plain, **role})
        preview = client.get(plan["Location"]).context["preview"]
        confirm = {"number": str(preview.done.count)} if preview.typed else {}
        if preview.done.count:
            stored_ = stored(fill(client, plan, **confirm))
            assert stored_.done_count == preview.done.count
            assert len(stored_.refused) == preview.refused_count
        else:
            stored_ = stored(client.post(plan["Location"]))
        refused = {UUID(pk): line["code"] for pk, line in stored_.refused.items()}
        return Said([pk for pk in stored_.ids if pk not in refused], refused)

    return act


@dataclass(frozen=True)
class Way:
    """One face's way to do an operation to many tasks."""

    face: str
    entry: Entry
    act: Bulk
    words: Callable[[str], str]

    def __str__(self) -> str:
        return f"{self.face} {self.entry}"


def _rows(operation: str, long: bool) -> list[Entry]:
    found = [entry for entry in ENTRIES if entry.operation == operation]
    return found if long else [first_of(operation)]


def ways_of(caller: str, long: bool) -> list[Way]:
    """The ways that are tried by one caller: all of them, or in the short form every sixth."""
    found = ways(long)
    return found if long else found[list(CALLERS).index(caller) % 6 :: 6]


def ways(long: bool) -> list[Way]:
    """Every operation on many tasks that a face has, as its own tables say; one row or all."""
    found = [
        Way("native", entry, native(entry), str)
        for operation in BULK_INPUTS
        for entry in _rows(operation, long)
    ]
    for entry in _rows("transfer", long):
        giver = entry.arguments.get("from_")
        query = f"toUser={entry.arguments['to'].value}"
        query += f"&fromUser={giver.value}" if giver else ""
        path = f"/task/role/{HTM_ROLES[entry.row]}?action=transfer&{query}"
        found.append(Way("htm", entry, htm(path), lambda code: HTM[code][1]))
    bulk_verbs = set(getattr(verbs, "BULK", ()))
    for verb in sorted(bulk_verbs & set(HTM_BULK)):
        operation, more = HTM_BULK[verb]
        act = htm(f"/task?action={verb}{more}")
        found.append(Way("htm", first_of(operation), act, lambda code: HTM[code][1]))
    act = htm("/task?action=update", "updatedTaskIDs", {"updatedPropertyValues": HTM_VALUES})
    found.append(Way("htm", first_of("update", "priority"), act, lambda code: HTM[code][1]))
    # Whoever may enter the admin views tasks, and so looks people up by name as well.
    for operation in admin_bulk.BULK:
        found += [Way("admin", entry, in_admin(entry), str) for entry in _rows(operation, long)]
    return found
