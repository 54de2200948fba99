"""A client of the Itential face as the tests need it, and the answers they hold against."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.test import Client

from accounts.models import User
from tasks.models import Task
from tests.factories import basic

REQUEST_ID = "a-request"
OM = "/operations-manager"


def send(
    method: str,
    path: str,
    who: User | None = None,
    body: Any = None,
    *,
    raw: bytes | None = None,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
    client: Client | None = None,
    **environ: Any,
) -> Any:
    """One call; `body` goes as JSON, `raw` as it is, and no body at all without both."""
    sent = {"X-Request-ID": REQUEST_ID, **(headers or {})}
    if who is not None:
        sent["Authorization"] = basic(who.username)
    if raw is None:
        raw = b"" if body is None else json.dumps(body).encode()
    client = client or Client(raise_request_exception=False)
    return client.generic(
        method, path, raw, content_type=content_type if raw else "", headers=sent, **environ
    )


def act(name: str, task: Task | UUID | str, who: User | None, body: Any = None, **more: Any) -> Any:
    """Claim, assign or release one task."""
    pk = task.pk if isinstance(task, Task) else task
    return send("POST", f"{OM}/tasks/{pk}/{name}", who, body, **more)


def get(task: Task | UUID | str, who: User | None, query: str = "", **more: Any) -> Any:
    """Get one task."""
    pk = task.pk if isinstance(task, Task) else task
    return send("GET", f"{OM}/tasks/{pk}{query}", who, **more)


def document(response: Any, message: str) -> dict[str, Any]:
    """The task document in a success, which is in the envelope and carries the version."""
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"message", "data", "metadata"}
    assert body["message"] == message
    assert body["metadata"] == {}
    data: dict[str, Any] = body["data"]
    assert response["ETag"] == f'"{Task.objects.get(pk=data["_id"]).version}"'
    return data


def assert_error(response: Any, status: int, message: str, version: int | None = None) -> None:
    """Hold an error against its exact body, and its ETag against the version."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    assert response.json() == {"message": message, "data": None, "metadata": {}}
    assert response["X-Request-ID"] == REQUEST_ID
    assert response.get("ETag") == (None if version is None else f'"{version}"')
    assert "Location" not in response
