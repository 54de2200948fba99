"""What the tests of the native API share: a client that speaks JSON, and the state of all rows."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.files import File
from django.test import Client

from accounts.authentication import issue
from accounts.models import Token, User
from tasks.models import (
    Attachment,
    AuditEvent,
    BulkOperation,
    Comment,
    OutboxEvent,
    Task,
    TaskGroupRole,
    TaskUserRole,
)
from tasks.people import Reference
from tests.conftest import Cast
from tests.core.cases import Case

TASKS = "/api/v1/tasks/"
MISSING = UUID("01900000-0000-7000-8000-000000000000")
REQUEST_ID = "test-request"


class Api:
    """The API as one account uses it, with a token; nobody's without an account."""

    def __init__(self, user: User | None = None, **headers: str) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"X-Request-ID": REQUEST_ID, **headers}
        if user is not None:
            _, secret = issue(user, Token.Kind.API, actor="test")
            self.headers["Authorization"] = f"Token {secret}"

    def get(self, path: str, params: Any = None, **headers: str) -> Any:
        """GET with query parameters."""
        return self.client.get(path, params, headers={**self.headers, **_named(headers)})

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """POST of a JSON value, of the very bytes given, or of nothing."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
        kind = "application/json" if raw else ""
        return self.send("POST", path, raw, kind, **headers)

    def send(
        self, method: str, path: str, body: Any = b"", content_type: str = "", **headers: str
    ) -> Any:
        """Any request."""
        return self.client.generic(
            method, path, body, content_type, headers={**self.headers, **_named(headers)}
        )


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def task_path(pk: UUID | str, operation: str = "") -> str:
    """Where a task, or an operation on it, is found."""
    return f"{TASKS}{pk}/" + (f"{operation.replace('_', '-')}/" if operation else "")


def bulk_path(operation: str) -> str:
    """Where an operation on many tasks is found."""
    return f"{TASKS}bulk/{operation.replace('_', '-')}/"


def body_of(case: Case, cast: Cast) -> dict[str, Any]:
    """The body that says what the core is called with."""
    found: dict[str, Any] = {}
    for name, value in case.arguments(cast).items():
        if name == "values":
            found |= {property_: _as_json(new) for property_, new in value.items()}
        elif name == "people":
            found["people"] = {
                f"{kind}s": [one.value for one in value if one.kind == kind]
                for kind in ("user", "group")
            }
        else:
            found[name.rstrip("_")] = _as_json(value)
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, Reference):
        return {value.kind: value.value}
    if isinstance(value, File):
        return base64.b64encode(value.read()).decode()
    return value.isoformat() if isinstance(value, datetime) else value


def everything() -> list[Any]:
    """All rows that a refused call must leave as they are."""
    tables = (
        Task,
        TaskUserRole,
        TaskGroupRole,
        AuditEvent,
        OutboxEvent,
        BulkOperation,
        Comment,
        Attachment,
    )
    return [list(table.objects.order_by("pk").values()) for table in tables]  # type: ignore[attr-defined]


def problem(path: str, status: int, code: str, detail: str, **members: Any) -> dict[str, Any]:
    """The problem document that is expected."""
    return {
        "type": f"/problems/{code}/",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": path,
        "code": code,
        "errors": [],
        **members,
        "request_id": REQUEST_ID,
    }


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem document, and return it."""
    assert (response.status_code, response["Content-Type"]) == (
        status,
        "application/problem+json",
    ), response.content
    document: dict[str, Any] = response.json()
    assert (document["status"], document["code"]) == (status, code), document
    assert document["type"] == f"/problems/{code}/"
    assert document["request_id"] == response["X-Request-ID"] == REQUEST_ID
    assert isinstance(document["errors"], list)
    assert document["detail"]
    return document
