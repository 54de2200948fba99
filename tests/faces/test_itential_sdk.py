"""Itential's own Python client, as it is published, against a server that listens on a port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.test.testcases import LiveServerThread
from ipsdk import platform_factory
from ipsdk.exceptions import HTTPStatusError

from accounts.models import Role
from taskmanager.wsgi import application
from tasks.lifecycle import State
from tasks.models import AuditEvent, Task
from tests.conftest import Cast
from tests.factories import JobFactory, make_task

Connect = Callable[..., Any]


@pytest.fixture
def port(committed_cast: Cast) -> Iterator[int]:
    """The port of a server with the committed cast; it ends with the test."""
    server = LiveServerThread("127.0.0.1", lambda _: application)
    server.daemon = True
    server.start()
    assert server.is_ready.wait(10)
    assert server.error is None
    try:
        yield server.port
    finally:
        server.terminate()


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    """Makes clients for members of the cast."""
    clients = []

    def platform(name: str, password: str = "") -> Any:
        client = platform_factory(
            host="127.0.0.1",
            port=port,
            use_tls=False,
            user=name,
            password=password or f"{name}-demo",
        )
        clients.append(client)
        return client

    yield platform
    for client in clients:
        client.client.close()


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    """Status and message of the error that the client raises."""
    with pytest.raises(HTTPStatusError) as caught:
        call()
    body = caught.value.response.json()
    assert (body["data"], body["metadata"]) == (None, {})
    return caught.value.response.status_code, body["message"]


def test_claim_release_and_assign(committed_cast: Cast, connect: Connect) -> None:
    cast = committed_cast
    task = make_task(cast.dave, cast.noc)
    route = f"/operations-manager/tasks/{task.pk}"
    alice, bob, frank = (connect(name) for name in ("alice", "bob", "frank"))

    identity = alice.get("/whoami").json()
    assert identity["id"] == cast.alice.object_id
    assert {"claimTask", "assignTask", "releaseTask"} <= {*identity["methods"]["OperationsManager"]}

    claimed = alice.post(f"{route}/claim")
    assert claimed.status_code == 200
    assert claimed.json()["data"]["metrics"]["owner"] == cast.alice.object_id
    assert alice.get(route).json()["data"] == claimed.json()["data"]
    assert refused(lambda: frank.post(f"{route}/release")) == (404, "There is no such task.")
    message = "A task in state reserved does not allow claim. It belongs to alice."
    assert refused(lambda: bob.post(f"{route}/claim")) == (409, message)

    released = bob.post(f"{route}/release", json={})
    assert released.json()["data"]["metrics"]["owner"] == ""
    assert "claim_time" not in released.json()["data"]["metrics"]

    assigned = alice.post(f"{route}/assign", json={"userId": cast.bob.object_id})
    assert assigned.json()["data"]["metrics"]["owner"] == cast.bob.object_id
    expanded = alice.get(
        route, params={"dereference": "accounts.metrics.owner", "include": "metrics"}
    )
    assert expanded.json()["data"]["metrics"]["owner"]["username"] == "bob"

    now = Task.objects.get(pk=task.pk)
    assert (now.state, now.owner, now.version) == (State.RESERVED, cast.bob, 4)
    happened = AuditEvent.objects.filter(task_id=task.pk).order_by("version")
    assert list(happened.values_list("event", "actor", "channel")) == [
        ("created", "dave", "command"),
        ("claimed", "alice", "itential"),
        ("released", "bob", "itential"),
        ("assigned", "alice", "itential"),
    ]


def test_finish_retry_and_the_job(committed_cast: Cast, connect: Connect) -> None:
    cast = committed_cast
    cast.bob.roles.add(Role.objects.get(name="retryUser"))
    job = JobFactory(name="Replace fra-edge-07")
    task = make_task(cast.dave, cast.noc, job=job, short_id="3a1f")
    route = f"/operations-manager/jobs/{job.object_id}"
    alice, bob, frank = (connect(name) for name in ("alice", "bob", "frank"))

    body = {"taskData": {"finish_state": "failure", "variables": {"why": "no spare part"}}}
    finished = bob.post(f"{route}/tasks/3a1f/finish", json=body)
    assert finished.status_code == 200
    assert finished.json()["data"]["tasks"]["3a1f"]["status"] == "failure"
    assert alice.get(route).json()["data"] == finished.json()["data"]
    assert refused(lambda: frank.get(route)) == (404, "There is no such job.")
    message = "You are not permitted to retry this task."
    assert refused(lambda: alice.post(f"{route}/tasks/3a1f/retry")) == (403, message)

    retried = bob.post(f"{route}/tasks/3a1f/retry", json={"variables": {"site": "MUC1"}})
    assert retried.json()["data"]["variables"]["incoming"] == {"site": "MUC1"}
    body["taskData"]["finish_state"] = "success"
    alice.post(f"{route}/tasks/{task.pk}/finish", json=body)
    whole = bob.get(route, params={"dereference": "tasks"}).json()["data"]
    assert (whole["status"], whole["metrics"]["progress"]) == ("complete", 1)
    iteration = whole["tasks"]["3a1f"]["iterations"][0]
    assert iteration["metrics"]["user"] == cast.alice.object_id
    happened = AuditEvent.objects.filter(task_id=task.pk).order_by("version")
    assert [event.event for event in happened] == ["created", "finished", "retried", "finished"]


def test_a_wrong_password_is_an_error_of_the_client(connect: Connect) -> None:
    client = connect("alice", "wrong")
    assert refused(lambda: client.get("/whoami")) == (401, "Wrong user name or password.")


def test_the_body_of_a_log_in_is_the_token(committed_cast: Cast, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    body = {"username": "alice", "password": "alice-demo"}
    secret = httpx.post(f"{url}/login", json=body).text
    assert httpx.get(f"{url}/whoami?token={secret}").json()["username"] == "alice"
    assert httpx.get(f"{url}/whoami", cookies={"token": secret}).json()["username"] == "alice"
