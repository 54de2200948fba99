"""A client of the HTM face as the tests need it, and what must not change when it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.test import Client

from accounts.models import User
from tasks import actions
from tasks.api.htm.ids import tkiid
from tasks.models import AuditEvent, BulkOperation, OutboxEvent, Task, TaskGroupRole, TaskUserRole
from tests.conftest import Cast
from tests.factories import basic, call_by, make_tasks

V1 = "/rest/bpm/htm/v1"
REQUEST_ID = "a-request"


def send(
    path: str,
    who: User | None = None,
    body: Any = None,
    *,
    method: str = "PUT",
    raw: bytes | None = None,
    content_type: str = "",
    headers: dict[str, str] | None = None,
    **environ: Any,
) -> HttpResponse:
    """One call; `body` goes as JSON without a Content-Type, `raw` as it is."""
    sent = {"X-Request-ID": REQUEST_ID, **(headers or {})}
    if who is not None:
        sent.setdefault("Authorization", basic(who.username))
    if raw is None:
        raw = b"" if body is None else json.dumps(body).encode()
    client = Client(raise_request_exception=False)
    response: HttpResponse = client.generic(
        method, V1 + path, raw, content_type=content_type, headers=sent, **environ
    )
    return response


def bulk(who: User | None, ids: Iterable[UUID], query: str, role: str = "owner") -> HttpResponse:
    """A bulk transfer of tasks; `query` without the action."""
    body = {"taskIDs": [tkiid(pk) for pk in ids]}
    return send(f"/task/role/{role}?action=transfer&{query}", who, body)


def error(number: str, message: str) -> dict[str, Any]:
    """The error object that these tests' calls are answered with."""
    return {
        "errorNumber": number,
        "errorMessage": message,
        "programmersDetails": {"requestId": REQUEST_ID},
    }


def failed(response: HttpResponse) -> list[tuple[str, str]]:
    """The ids and message ids of a report, which must hold nothing else."""
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/json"
    report = json.loads(response.content)
    assert set(report) == {"failedOperations"}
    for line in report["failedOperations"]:
        assert set(line) == {"tkiid", "errorNumber", "errorMessage"}
        assert line["errorMessage"]
    return [(line["tkiid"], line["errorNumber"]) for line in report["failedOperations"]]


def assert_error(response: HttpResponse, status: int, number: str) -> None:
    """The answer is this face's error object, with a request id and nothing else in its details."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    document = json.loads(response.content)
    assert document.pop("errorMessage")
    assert document == {
        "errorNumber": number,
        "programmersDetails": {"requestId": response["X-Request-ID"]},
    }


def assert_empty(response: HttpResponse) -> None:
    """The answer is 200 and nothing more."""
    assert response.status_code == 200, response.content
    assert response.content == b""
    assert response["Content-Length"] == "0"
    assert "Content-Type" not in response


def standing() -> list[Any]:
    """Everything that a refusal must leave as it is."""
    return [
        list(Task.objects.order_by("pk").values()),
        list(TaskUserRole.objects.order_by("pk").values()),
        list(TaskGroupRole.objects.order_by("pk").values()),
        list(AuditEvent.objects.order_by("pk").values_list("pk", flat=True)),
        OutboxEvent.objects.count(),
    ]


def bulk_calls() -> int:
    """How many bulk calls are on record."""
    return BulkOperation.objects.count()


def held_by_bob(cast: Cast, count: int = 1, **fields: Any) -> list[Task]:
    """Tasks of the group noc that bob has claimed; dave is their originator."""
    tasks = make_tasks(count, cast.dave, [cast.noc], **fields)
    actions.claim([task.pk for task in tasks], call=call_by(cast.bob))
    return [Task.objects.get(pk=task.pk) for task in tasks]
