"""Files on the native API: sent as form or JSON, listed, downloaded, and never shown as a page."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.test.client import BOUNDARY, MULTIPART_CONTENT

from tasks.actions.properties import LARGEST_FILE
from tasks.api.middleware import ATTACHMENT_BODY
from tasks.models import Attachment, AuditEvent, Task
from tests.conftest import Cast
from tests.factories import make_task, make_tasks

from .native_client import (
    MISSING,
    TASKS,
    Api,
    assert_problem,
    bulk_path,
    everything,
    task_path,
)

PLAN = b"a plan\x00\xff"


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """A folder of its own for the files."""
    settings.MEDIA_ROOT = str(tmp_path)
    return tmp_path


def part(name: str, content: bytes, filename: str | None = None, kind: str = "") -> bytes:
    """One part of a form, as bytes that no client would have to mean well."""
    head = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"'
    if kind:
        head += f"\r\nContent-Type: {kind}"
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


def send(api: Api, path: str, *parts: bytes, **headers: str) -> Any:
    """POST of a form."""
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return api.send("POST", path, body, MULTIPART_CONTENT, **headers)


def files(api: Api, task: Task) -> list[dict[str, Any]]:
    """The attachments of a task as they are listed."""
    response = api.get(f"{task_path(task.pk)}attachments/")
    assert response.status_code == 200
    found: list[dict[str, Any]] = response.json()["results"]
    return found


@pytest.mark.parametrize("kind", ["form", "json"])
def test_a_file_comes_back_as_it_was(cast: Cast, kind: str) -> None:
    task = make_task(cast.carol, cast.noc)
    api, path = Api(cast.bob), task_path(task.pk, "attach")
    if kind == "form":
        response = send(
            api, path, part("file", PLAN, "plan 7.pdf", "application/pdf"), part("reason", b"late")
        )
    else:
        response = api.post(
            path,
            {
                "name": "plan 7.pdf",
                "content_type": "application/pdf",
                "content": base64.b64encode(PLAN).decode(),
                "reason": "late",
            },
        )
    assert response.status_code == 200, response.content
    assert (response.json()["version"], response["ETag"]) == (2, '"2"')
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert (event.event, event.reason) == ("attached", "late")
    (listed,) = files(api, task)
    digest = hashlib.sha256(PLAN).hexdigest()
    stored = Attachment.objects.get()
    assert listed == {
        "url": f"http://testserver{task_path(task.pk)}attachments/{stored.pk}/",
        "id": stored.pk,
        "author": "bob",
        "name": "plan 7.pdf",
        "content_type": "application/pdf",
        "size": len(PLAN),
        "sha256": digest,
        "at": event.at.isoformat().replace("+00:00", "Z"),
    }
    response = api.get(listed["url"], Accept="application/pdf")
    assert (response.status_code, response.getvalue()) == (200, PLAN)
    assert response["ETag"] == f'"{digest}"'
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == 'attachment; filename="plan 7.pdf"'
    assert response["Cache-Control"] == "no-store"
    again = api.get(listed["url"], If_None_Match=f'"{digest}"')
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "kind",
    ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", "text/css", "x/y"],
)
def test_what_a_browser_might_run_is_never_shown(cast: Cast, kind: str) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    page = b"<script>alert(1)</script>"
    send(api, task_path(task.pk, "attach"), part("file", page, "index.html", kind))
    (listed,) = files(api, task)
    assert listed["content_type"] == kind
    for accept in ("text/html", "*/*", "application/json"):
        response = api.get(listed["url"], Accept=accept)
        assert response.getvalue() == page
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment; ")
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response["Content-Security-Policy"]
        assert "unsafe" not in response["Content-Security-Policy"]
    head = api.send("HEAD", listed["url"])
    assert (head.status_code, head.getvalue()) == (200, b"")


@pytest.mark.parametrize(
    ("sent", "kept", "disposition"),
    [
        ("../../etc/passwd", "passwd", 'attachment; filename="passwd"'),
        ("C:\\\\temp\\\\plan.txt", "plan.txt", 'attachment; filename="plan.txt"'),
        ("r\u00f6ck.txt", "r\u00f6ck.txt", "attachment; filename*=utf-8''r%C3%B6ck.txt"),
        ("a\u202egpj.exe", "agpj.exe", 'attachment; filename="agpj.exe"'),
        ("a;b='c'.txt", "a;b='c'.txt", "attachment; filename=\"a;b='c'.txt\""),
        ("<b>.txt", "<b>.txt", 'attachment; filename="<b>.txt"'),
    ],
)
def test_the_name_of_a_part_is_kept_without_its_path(
    cast: Cast, sent: str, kept: str, disposition: str
) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    assert send(api, task_path(task.pk, "attach"), part("file", b"x", sent)).status_code == 200
    (listed,) = files(api, task)
    assert (listed["name"], listed["content_type"]) == (kept, "application/octet-stream")
    response = api.get(listed["url"])
    assert response["Content-Disposition"] == disposition
    assert response.getvalue() == b"x"


@pytest.mark.parametrize("ids", ["repeated", "json"])
def test_one_file_for_many_tasks(cast: Cast, ids: str, folder: Path) -> None:
    tasks = make_tasks(3, cast.carol, [cast.noc])
    named = [str(task.pk) for task in tasks]
    parts = (
        [part("ids", pk.encode()) for pk in named]
        if ids == "repeated"
        else [part("ids", json.dumps([{"id": named[0], "version": 7}, *named[1:]]).encode())]
    )
    response = send(Api(cast.bob), bulk_path("attach"), part("file", PLAN, "plan.txt"), *parts)
    answer = response.json()
    stale = 0 if ids == "repeated" else 1
    assert answer["done"] == [{"id": pk, "version": 2} for pk in named[stale:]]
    assert [item["code"] for item in answer["refused"]] == ["stale_task"] * stale
    assert len({one.file.name for one in Attachment.objects.all()}) == len(list(folder.iterdir()))
    assert len(list(folder.iterdir())) == 1


FILE = part("file", b"x", "a.txt")
WRONG_FORMS: list[tuple[list[bytes], str, str]] = [
    ([], "/file", "required"),
    ([part("file", b"x", "")], "/file", "invalid"),
    ([part("file", b"text")], "/file", "invalid"),
    ([FILE, FILE], "/file", "invalid"),
    ([FILE, part("file", b"text")], "/file", "invalid"),
    ([FILE, part("other", b"x", "b.txt")], "/other", "unknown_field"),
    ([FILE, part("name", b"x")], "/name", "unknown_field"),
    ([FILE, part("content_type", b"text/html")], "/content_type", "unknown_field"),
    ([FILE, part("reason", b"a"), part("reason", b"b")], "/reason", "invalid"),
    ([FILE, part("reason", b"x", "a.txt")], "/reason", "invalid"),
    ([FILE, part("reason", b"a\x00b")], "/reason", "null_characters_not_allowed"),
]


@pytest.mark.parametrize(("parts", "pointer", "code"), WRONG_FORMS)
def test_forms_are_read_strictly(
    cast: Cast, parts: list[bytes], pointer: str, code: str, folder: Path
) -> None:
    task = make_task(cast.carol, cast.noc)
    before = everything()
    for path, more in (
        (task_path(task.pk, "attach"), b""),
        (bulk_path("attach"), part("ids", str(task.pk).encode())),
    ):
        document = assert_problem(send(Api(cast.bob), path, *parts, more), 400, "invalid_body")
        assert (document["errors"][0]["pointer"], document["errors"][0]["code"]) == (pointer, code)
    assert everything() == before
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([FILE, part("reason", b"\xff")], "invalid_utf8"),
        ([FILE, part("reason", b"x" * 65_537)], "string_too_long"),
        ([FILE, part("ids", b"[1,")], "invalid_json"),
        ([FILE, part("ids", b'["a\\u0000"]')], "nul_character"),
        ([FILE, *[part("ids", b"x")] * 10_101], "too_many_parts"),
        ([part(f"file{number}", b"x", "a.txt") for number in range(101)], "too_many_parts"),
        ([FILE, part("reason", b"x" * (10 * 1024 * 1024 + 1))], "too_many_parts"),
    ],
)
def test_texts_of_forms_obey_the_rules_of_json(cast: Cast, parts: list[bytes], code: str) -> None:
    before = everything()
    assert_problem(send(Api(cast.bob), bulk_path("attach"), *parts), 400, code)
    assert everything() == before


def test_a_broken_form_is_told_after_who_may(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    path = task_path(task.pk, "attach")

    def ask(api: Api, status: int, code: str) -> None:
        response = api.send("POST", path, b"nonsense", "multipart/form-data")
        assert_problem(response, status, code)

    ask(Api(), 401, "not_authenticated")
    ask(Api(cast.frank), 404, "task_not_found")
    ask(Api(cast.erin), 403, "not_authorized")
    ask(Api(cast.bob), 400, "unreadable_body")
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        response = Api(cast.bob).send("POST", path, b"x=1", kind)
        assert_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["form", "json"])
def test_a_file_is_not_larger_than_it_may_be(cast: Cast, kind: str, folder: Path) -> None:
    task = make_task(cast.carol, cast.noc)
    api, path = Api(cast.bob), task_path(task.pk, "attach")

    def attach(size: int) -> Any:
        if kind == "form":
            return send(api, path, part("file", bytes(size), "zero"))
        content = base64.b64encode(bytes(size)).decode()
        return api.post(path, {"name": "zero", "content": content})

    before = everything()
    assert_problem(attach(LARGEST_FILE + 1), 413, "file_too_large")
    assert everything() == before
    assert list(folder.iterdir()) == []
    assert attach(LARGEST_FILE).json()["version"] == 2
    assert Attachment.objects.get().size == LARGEST_FILE


def test_only_the_routes_for_files_take_large_bodies(cast: Cast) -> None:
    api, body = Api(cast.bob), bytes(ATTACHMENT_BODY + 1)
    for path in (task_path(MISSING, "attach"), bulk_path("attach")):
        response = api.send("POST", path, body, "application/json")
        assert_problem(response, 413, "body_too_large")
    body = bytes(10 * 1024 * 1024 + 1)
    for path in (TASKS, task_path(MISSING), task_path(MISSING, "comment"), bulk_path("claim")):
        response = api.send("POST", path, body, "application/json")
        assert_problem(response, 413, "body_too_large")


def test_a_session_sends_a_file_with_its_token(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api, path = Api(), task_path(task.pk, "attach")
    api.client.handler.enforce_csrf_checks = True
    api.client.force_login(cast.bob, "accounts.backends.RoleBackend")
    before = everything()
    assert_problem(send(api, path, FILE), 403, "csrf_failed")
    assert everything() == before
    page = api.get(task_path(task.pk), Accept="text/html").content.decode()
    token = page.partition('"csrfToken": "')[2].partition('"')[0]
    assert send(api, path, FILE, part("csrfmiddlewaretoken", token.encode())).status_code == 200
    assert send(api, path, FILE, X_CSRFToken=token).status_code == 200
    refused = send(api, path, part("nonsense", b"x"), X_CSRFToken=token, Accept="text/html")
    assert refused.status_code == 400
    assert refused["Content-Type"] == "text/html; charset=utf-8"
    assert Attachment.objects.count() == 2


def test_a_version_may_be_asked_for_twice_and_the_file_stays_whole(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    api.post(task_path(task.pk, "comment"), {"text": "first"})
    tags = '"3", "2"'
    response = send(api, task_path(task.pk, "attach"), part("file", PLAN, "plan"), If_Match=tags)
    assert response.status_code == 200, response.content
    (listed,) = files(api, task)
    assert listed["sha256"] == hashlib.sha256(PLAN).hexdigest()
    assert api.get(listed["url"]).getvalue() == PLAN


def test_downloads_keep_the_order_of_the_answers(cast: Cast) -> None:
    task, other = make_task(cast.carol, cast.noc), make_task(cast.carol, cast.noc)
    send(Api(cast.bob), task_path(task.pk, "attach"), FILE)
    number = Attachment.objects.get().pk
    where = f"{task_path(task.pk)}attachments/"
    for wrong in ("x", "-1", "1.0", "\u0661", "9" * 19, "%20"):
        assert_problem(Api().get(f"{where}{wrong}/"), 400, "invalid_id")
    assert_problem(Api(cast.bob).get(f"{where}{number}/?limit=1"), 400, "invalid_parameter")
    bad = Api().get(f"{where}{number}/", If_None_Match="x")
    assert_problem(bad, 400, "invalid_header")
    for path in (where, f"{where}{number}/"):
        assert_problem(Api().get(path), 401, "not_authenticated")
        assert_problem(Api(cast.frank).get(path, If_None_Match="*"), 404, "task_not_found")
        assert_problem(Api(cast.svc_integration).get(path), 403, "not_authorized")
    assert Api(cast.erin).get(f"{where}{number}/").getvalue() == b"x"
    assert_problem(Api(cast.bob).get(f"{where}{number + 1}/"), 404, "not_found")
    elsewhere = f"{task_path(other.pk)}attachments/{number}/"
    assert_problem(Api(cast.bob).get(elsewhere), 404, "not_found")
