"""One act through every face that has it leaves the same rows: task, roles, audit, outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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
from tasks.models import AuditEvent, BulkOperation, Channel, OutboxEvent, Task
from tasks.work_items import people_of

from .conftest import Cast
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
    assert answer.status_code == 200, answer.text
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


TIMES_AND_IDS = {"id", "head", "created_at", "updated_at", "activated_at", "claimed_at"}


def rows_of(tasks: list[Task]) -> list[dict[str, Any]]:
    """Everything the database says of each task, without what must differ between two tasks."""
    found = []
    for task in Task.objects.filter(pk__in=[task.pk for task in tasks]).order_by("pk"):
        values = Task.objects.filter(pk=task.pk).values().get()
        audit = AuditEvent.objects.filter(task_id=task.pk).order_by("version")
        people = people_of([task])[task.pk]
        found.append(
            {
                "task": {k: v for k, v in values.items() if k not in TIMES_AND_IDS},
                "claimed": task.claimed_at is not None,
                "people": {
                    role: [user.username for user in users] + [group.name for group in groups]
                    for role, (users, groups) in people.items()
                },
                "copies": sorted(
                    [
                        *task.user_roles.values_list("open", "ready", "priority", "due"),
                        *task.group_roles.values_list("open", "ready", "priority", "due"),
                    ]
                ),
                "audit": [
                    (e.version, e.event, e.actor, e.actor_id, e.before, e.after)
                    for e in audit
                    if e.version > 1  # the first holds the time of creation
                ],
                "outbox": OutboxEvent.objects.filter(event__in=audit).count(),
            }
        )
    return found


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
