"""One act through every face that has it leaves the same rows: task, roles, audit, outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from accounts.authentication import issue
from accounts.models import Token, User
from taskmanager.demo_data import password_of
from taskmanager.forms_over_http import Browser
from taskmanager.wsgi import application
from tasks import actions
from tasks.api.htm.ids import tkiid
from tasks.models import AuditEvent, BulkOperation, Channel, OutboxEvent, Task, Tombstone
from tasks.work_items import people_of

from .conftest import Cast
from .core.cases import CASES, Case
from .faces.native_client import body_of
from .factories import call_by, make_tasks, reference

URL = "http://localhost"
REASON = "the holder is away"


@dataclass(frozen=True)
class Face:
    """How one face does one act to some tasks, as dave."""

    channel: Channel
    bulk: bool
    act: Callable[[Cast, list[Task]], None]


@pytest.fixture(autouse=True)
def kept_connection() -> Iterator[None]:
    """The end of a request must not close the connection that holds the test's transaction."""
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    yield
    request_started.connect(close_old_connections)
    request_finished.connect(close_old_connections)


def transport() -> httpx.WSGITransport:
    """Requests to the real application, in this thread and so in the test's transaction."""
    return httpx.WSGITransport(app=application)


def ok(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is a success."""
    assert answer.status_code in (200, 204), answer.text
    return answer


def native(user: User) -> httpx.Client:
    """A client of the native API with a token."""
    _, secret = issue(user, Token.Kind.API, actor="test")
    headers = {"Authorization": f"Token {secret}"}
    return httpx.Client(base_url=f"{URL}/api/v1", headers=headers, transport=transport())


def native_single(operation: str, **arguments: Any) -> Callable[[Cast, list[Task]], None]:
    """One call for each task."""

    def act(cast: Cast, tasks: list[Task]) -> None:
        for task in tasks:
            body = {"reason": REASON, **arguments}
            ok(native(cast.dave).post(f"/tasks/{task.pk}/{operation}/", json=body))

    return act


def native_bulk(operation: str, **arguments: Any) -> Callable[[Cast, list[Task]], None]:
    """One call for all tasks."""

    def act(cast: Cast, tasks: list[Task]) -> None:
        body = {"ids": [str(task.pk) for task in tasks], "reason": REASON, **arguments}
        answer = ok(native(cast.dave).post(f"/tasks/bulk/{operation}/", json=body))
        assert answer.json()["refused"] == []

    return act


def itential_release(cast: Cast, tasks: list[Task]) -> None:
    """Release one after the other in Itential's dialect."""
    client = httpx.Client(base_url=URL, transport=transport())
    body = {"user": {"username": "dave", "password": password_of("dave")}}
    ok(client.post("/login", json=body))
    for task in tasks:
        ok(client.post(f"/operations-manager/tasks/{task.pk}/release"))


def htm(cast: Cast) -> httpx.Client:
    """A client of IBM's dialect."""
    return httpx.Client(
        base_url=f"{URL}/rest/bpm/htm/v1",
        auth=("dave", password_of("dave")),
        transport=transport(),
        params={"action": "transfer", "fromUser": "bob", "toUser": "alice"},
    )


def htm_single_transfer(cast: Cast, tasks: list[Task]) -> None:
    """Transfer one after the other in IBM's dialect."""
    for task in tasks:
        assert ok(htm(cast).put(f"/task/{tkiid(task.pk)}/role/owner")).content == b""


def htm_bulk_transfer(cast: Cast, tasks: list[Task]) -> None:
    """Transfer all at once in IBM's dialect."""
    body = {"taskIDs": [tkiid(task.pk) for task in tasks]}
    assert ok(htm(cast).put("/task/role/owner", json=body)).content == b""


def in_admin(action: str, **answers: str) -> Callable[[Cast, list[Task]], None]:
    """Select, fill in, preview, confirm: the forms that the pages hold."""

    def act(cast: Cast, tasks: list[Task]) -> None:
        browser = Browser(URL, transport())
        browser.log_in("dave", password_of("dave"))
        chosen = {
            "action": action,
            "_selected_action": [str(task.pk) for task in tasks],
            "select_across": "0",
        }
        people = {"to_user": str(cast.alice.pk), "from_user": str(cast.bob.pk)}
        filled = {**(people if action == "transfer" else {}), "reason": REASON, **answers}
        form = browser.get("/admin/tasks/task/").form("changelist-form").filled(chosen)
        preview = browser.submit(browser.submit(form).form("bulk-form").filled(filled))
        browser.submit(preview.form("confirm-form"))

    return act


USERS = {"role": "owner", "from": {"user": "bob"}, "to": {"user": "alice"}}

RELEASES = {
    "native, one by one": Face(Channel.NATIVE, False, native_single("release")),
    "native, in bulk": Face(Channel.NATIVE, True, native_bulk("release")),
    "Itential": Face(Channel.ITENTIAL, False, itential_release),
    "admin": Face(Channel.ADMIN, True, in_admin("release")),
}
TRANSFERS = {
    "native, one by one": Face(Channel.NATIVE, False, native_single("transfer", **USERS)),
    "native, in bulk": Face(Channel.NATIVE, True, native_bulk("transfer", **USERS)),
    "IBM HTM, one by one": Face(Channel.HTM, False, htm_single_transfer),
    "IBM HTM, in bulk": Face(Channel.HTM, True, htm_bulk_transfer),
    "admin": Face(Channel.ADMIN, True, in_admin("transfer")),
}


def held_by_bob(cast: Cast) -> list[Task]:
    """Three tasks of bob's, each with the same history."""
    tasks = make_tasks(3, cast.carol, [cast.noc], name="Replace router 1")
    actions.assign(
        [task.pk for task in tasks],
        call=call_by(cast.carol, bulk=True),
        to=reference(cast.bob),
    )
    return tasks


TIMES_AND_IDS = {
    *("id", "head", "created_at", "updated_at", "activated_at", "claimed_at", "ended_at"),
}


def rows_of(tasks: list[Task]) -> list[dict[str, Any]]:
    """Everything the database says of each task, without what must differ between two tasks.

    A task that was removed has only its history and its tombstone.
    """
    return [_rows_of(pk) for pk in sorted(task.pk for task in tasks)]


def _rows_of(pk: UUID) -> dict[str, Any]:
    audit = AuditEvent.objects.filter(task_id=pk).order_by("version")
    found: dict[str, Any] = {
        "audit": [
            (e.version, e.event, e.actor, e.actor_id, e.before, e.after)
            for e in audit
            if e.version > 1  # the first holds the time of creation
        ],
        "outbox": OutboxEvent.objects.filter(event__in=audit).count(),
        "tombstone": list(Tombstone.objects.filter(pk=pk).values("version")),
    }
    task = Task.objects.filter(pk=pk).first()
    if task is None:
        return found
    values = Task.objects.filter(pk=pk).values().get()
    return {
        **found,
        "task": {k: v for k, v in values.items() if k not in TIMES_AND_IDS},
        "claimed": task.claimed_at is not None,
        "ended": task.ended_at is not None,
        "people": {
            role: [user.username for user in users] + [group.name for group in groups]
            for role, (users, groups) in people_of([task])[pk].items()
        },
        "copies": sorted(
            [
                *task.user_roles.values_list("open", "ready", "priority", "due"),
                *task.group_roles.values_list("open", "ready", "priority", "due"),
            ]
        ),
        "comments": list(task.comments.values_list("author", "text")),
        "attachments": [
            (one.author, one.name, one.content_type, one.size, one.sha256, one.file.open().read())
            for one in task.attachments.all()
        ],
    }


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_leaves_the_rows_that_the_core_leaves(cast: Cast, name: str) -> None:
    check(
        cast,
        RELEASES[name],
        lambda ids: actions.release(ids, call=call_by(cast.dave, bulk=True)),
    )


@pytest.mark.parametrize("name", TRANSFERS)
def test_a_transfer_leaves_the_rows_that_the_core_leaves(cast: Cast, name: str) -> None:
    check(
        cast,
        TRANSFERS[name],
        lambda ids: actions.transfer(
            ids,
            call=call_by(cast.dave, bulk=True),
            role="owner",
            from_=reference(cast.bob),
            to=reference(cast.alice),
        ),
    )


def check(cast: Cast, face: Face, core: Callable[[list[Any]], Any]) -> None:
    """Do it once through the core and once through a face, and compare all rows."""
    by_core, by_face = held_by_bob(cast), held_by_bob(cast)
    untouched = rows_of(by_face)
    core([task.pk for task in by_core])
    recorded = BulkOperation.objects.filter(status="done").count()

    face.act(cast, by_face)

    assert rows_of(by_face) != untouched, "the face did nothing, so nothing was compared"
    assert rows_of(by_face) == rows_of(by_core)
    last = AuditEvent.objects.filter(task_id__in=[task.pk for task in by_face], version=3)
    assert {event.channel for event in last} == {face.channel}
    assert len({event.operation_id for event in last}) == (1 if face.bulk else len(by_face))
    assert {event.reason for event in last} == (
        {REASON} if face.channel.carries_reasons else {None}
    )
    assert BulkOperation.objects.filter(status="done").count() == recorded + (1 if face.bulk else 0)


# --- Every operation ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deed:
    """A case of an operation, to be done to some tasks by the account that may."""

    cast: Cast
    case: Case
    actor: User
    tasks: list[Task]

    @property
    def address(self) -> str:
        """The operation as the native face spells it."""
        return self.case.name.replace("_", "-")


@dataclass(frozen=True)
class Way:
    """How one face does an operation. `cases` are those it has words for, by name; none: all."""

    face: str
    channel: Channel
    bulk: bool
    do: Callable[[Deed], None]
    cases: frozenset[str] = frozenset()


def one_by_one(deed: Deed) -> None:
    """A call of the native API for each task."""
    for task in deed.tasks:
        body = {**body_of(deed.case, deed.cast), "reason": REASON}
        ok(native(deed.actor).post(f"/tasks/{task.pk}/{deed.address}/", json=body))


def in_bulk(deed: Deed) -> None:
    """One call of the native API for all tasks."""
    ids = [str(task.pk) for task in deed.tasks]
    body = {"ids": ids, **body_of(deed.case, deed.cast), "reason": REASON}
    answer = ok(native(deed.actor).post(f"/tasks/bulk/{deed.address}/", json=body))
    assert answer.json()["refused"] == []


def as_resource(deed: Deed) -> None:
    """PATCH or DELETE of each task; a DELETE carries no reason."""
    for task in deed.tasks:
        if deed.case.name == "remove":
            ok(native(deed.actor).delete(f"/tasks/{task.pk}/"))
        else:
            body = {**body_of(deed.case, deed.cast), "reason": REASON}
            ok(native(deed.actor).patch(f"/tasks/{task.pk}/", json=body))


def as_form(deed: Deed) -> None:
    """The file as a part of a form, once for all tasks."""
    content = deed.case.arguments(deed.cast)["content"]
    answer = ok(
        native(deed.actor).post(
            "/tasks/bulk/attach/",
            data={"ids": [str(task.pk) for task in deed.tasks], "reason": REASON},
            files={"file": (deed.case.given["name"], content, deed.case.given["content_type"])},
        )
    )
    assert answer.json()["refused"] == []


EVERYWHERE = (
    Way("native, one by one", Channel.NATIVE, False, one_by_one),
    Way("native, in bulk", Channel.NATIVE, True, in_bulk),
)
"""How every operation is done."""

WAYS: dict[str, tuple[Way, ...]] = {
    "update": (Way("native, as resource", Channel.NATIVE, False, as_resource),),
    "remove": (Way("native, as resource", Channel.NATIVE, False, as_resource),),
    "attach": (Way("native, as form", Channel.NATIVE, True, as_form),),
}
"""Further ways by the name of the operation: those of the other faces belong here."""


@pytest.mark.parametrize(
    ("case", "way"),
    [
        pytest.param(case, way, id=f"{case}, {way.face}")
        for case in CASES
        if not case.operation.system_only
        for way in (*EVERYWHERE, *WAYS.get(case.name, ()))
        if not way.cases or str(case) in way.cases
    ],
)
def test_every_way_leaves_the_rows_that_the_core_leaves(cast: Cast, case: Case, way: Way) -> None:
    by_core, by_face = ([case.task(cast), case.task(cast)] for _ in range(2))
    actor = case.actor(cast)
    assert actor is not None
    untouched = rows_of(by_face)
    ids = [task.pk for task in by_core]
    case.act(ids, call=call_by(actor, bulk=True), **case.arguments(cast))
    recorded = BulkOperation.objects.filter(status="done").count()

    way.do(Deed(cast, case, actor, by_face))

    assert rows_of(by_face) != untouched, "the face did nothing, so nothing was compared"
    assert rows_of(by_face) == rows_of(by_core)
    last = AuditEvent.objects.filter(task_id__in=[task.pk for task in by_face], version=2)
    assert {event.channel for event in last} == {way.channel}
    assert len({event.operation_id for event in last}) == (1 if way.bulk else len(by_face))
    assert BulkOperation.objects.filter(status="done").count() == recorded + (1 if way.bulk else 0)
