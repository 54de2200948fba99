"""One call over HTTP for each operation of each face and each reason it can be refused for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from accounts.models import User
from tasks.admin.operations import BULK
from tasks.api.htm import verbs
from tasks.api.htm.ids import tkiid
from tasks.api.native.serializers import INPUTS
from tasks.models import AuditEvent, Task
from tests.core.book import STATES
from tests.faces import htm_client, itential_client
from tests.faces.admin_pages import client_of
from tests.faces.native_client import Api, task_path

from .faces import HTM, HTM_ROLES, HTM_VALUES, ITENTIAL, NATIVE, REASON, as_native
from .test_permissions import undoing
from .world import CALLERS, ENTRIES, GIVER, GRANTS, Entry, World, first_of

HTM_TASK = {
    "claim": ("claim", ""),
    "cancel": ("cancel_claim", ""),
    "complete": ("complete", ""),
    "start": ("activate", "&mode=async"),
    "suspend": ("suspend", ""),
    "suspendAndCancelClaim": ("suspend_and_release", "&keepTaskData=true&duration=P1D"),
    "resume": ("resume", ""),
    "terminate": ("exit", ""),
}
"""Actions of IBM's dialect on one task: the operation and the further parameters."""

ADMIN = {
    "not_authorized": "You are not permitted to",
    "invalid_task_state": "does not allow",
    "task_suspended": "on hold",
    "not_suspended": "is not on hold",
    "already_owner": "already belongs to",
    "wrong_kind": "only manual tasks do",
}
"""Words on the page that a button of the admin leads to."""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, settings: Any) -> None:
    """Attached files are kept where they do not stay."""
    settings.MEDIA_ROOT = tmp_path


@dataclass(frozen=True)
class Face:
    """A face's way to do an operation to one task; `says` demands the answer to a code."""

    name: str
    entry: Entry
    act: Callable[..., Any]
    says: Callable[[Any, str, UUID], None]
    repeats: bool = False
    """Whether the holder's own claim succeeds once more."""

    def __str__(self) -> str:
        return f"{self.name} {self.entry}"


def native(entry: Entry) -> Face:
    def act(user: User, pk: UUID, reason: str | None = REASON, version: int = 0) -> Any:
        headers = {"If-Match": f'"{version}"'} if version else {}
        body = {**as_native(entry.given()), **({"reason": reason} if reason else {})}
        return Api(user, **headers).post(task_path(pk, entry.operation), body)

    def says(response: Any, code: str, pk: UUID) -> None:
        assert response.status_code in ([NATIVE[code]] if code else (200, 204)), response.content
        assert not code or response.json()["code"] == code

    return Face("native", entry, act, says, repeats=True)


def htm(entry: Entry, path: str, body: dict[str, Any] | None = None) -> Face:
    def act(user: User, pk: UUID, version: int = 0) -> Any:
        headers = {"If-Match": f'"{version}"'} if version else {}
        return htm_client.send(path.format(tkiid(pk)), user, body, headers=headers)

    def says(response: Any, code: str, pk: UUID) -> None:
        status, number = HTM[code] if code else (200, "")
        assert response.status_code == status, response.content
        assert not code or json.loads(response.content)["errorNumber"] == number

    return Face("htm", entry, act, says)


def itential(entry: Entry, name: str, body: Callable[[], Any]) -> Face:
    def act(user: User, pk: UUID, version: int = 0) -> Any:
        headers = {"If-Match": f'"{version}"'} if version else {}
        return itential_client.act(name, pk, user, body(), headers=headers)

    def says(response: Any, code: str, pk: UUID) -> None:
        wanted = {**ITENTIAL, "stale_task": 412}[code] if code else 200
        assert response.status_code == wanted, response.content
        assert (response.json()["data"] is None) == bool(code)

    return Face("itential", entry, act, says, repeats=True)


def in_job(entry: Entry, name: str, body: dict[str, Any] | None = None) -> Face:
    """A call of Itential's dialect about a task of a job."""

    def act(user: User, pk: UUID, version: int = 0) -> Any:
        headers = {"If-Match": f'"{version}"'} if version else {}
        job = Task.objects.select_related("job").get(pk=pk).job
        assert job is not None
        path = f"{itential_client.OM}/jobs/{job.object_id}/tasks/{pk}/{name}"
        return itential_client.send("POST", path, user, body, headers=headers)

    return replace(itential(entry, name, lambda: body), act=act)


def at_once(entry: Entry) -> bool:
    """Whether a button of the admin acts by itself; a release may have to be explained first."""
    return bool(BULK[entry.operation].at_once) and entry.operation != "release"


def in_admin(entry: Entry) -> Face:
    def act(user: User, pk: UUID) -> Any:
        client = client_of(user, raise_request_exception=False)
        url = f"/admin/tasks/task/{pk}/do/{entry.operation}/"
        return client.post(url, follow=at_once(entry))

    def says(response: Any, code: str, pk: UUID) -> None:
        if code == "task_not_found":
            assert response.status_code == 404
        elif not at_once(entry):  # its page tells what stands against it
            assert response.status_code == 302
        else:
            assert response.status_code == 200
            words = ADMIN[code] if code else BULK[entry.operation].at_once
            assert words in response.content.decode()

    return Face("admin", entry, act, says)


def faces() -> Iterator[Face]:
    """Every operation on one task that a face has, as its own tables say."""
    for operation in INPUTS:
        yield native(first_of(operation))
    for verb in sorted(set(verbs.TASK) & set(HTM_TASK)):
        operation, more = HTM_TASK[verb]
        yield htm(first_of(operation), f"/task/{{}}?action={verb}{more}")
    yield htm(first_of("update", "priority"), "/task/{}?action=update", HTM_VALUES)
    for entry in ENTRIES:
        if entry.table == "transfer":
            giver = entry.arguments.get("from_")
            query = f"toUser={entry.arguments['to'].value}"
            query += f"&fromUser={giver.value}" if giver else ""
            path = f"/task/{{}}/role/{HTM_ROLES[entry.row]}?action=transfer&{query}"
            yield htm(entry, path)
    yield itential(first_of("claim"), "claim", lambda: None)
    yield itential(first_of("release"), "release", lambda: None)
    yield itential(
        first_of("assign"),
        "assign",
        lambda: {"userId": User.objects.get(username="target").object_id},
    )
    finished = {"taskData": {"finish_state": "success", "variables": {"decision": "approve"}}}
    yield in_job(first_of("finish"), "finish", finished)
    yield in_job(first_of("retry"), "retry")
    for operation in BULK:
        yield in_admin(first_of(operation))


FACES = list(faces())


def classes(world: World, face: Face) -> dict[str, tuple[str, UUID]]:
    """A cell for each reason that the book gives, gate 1 and gate 2 apart, and one that is done."""
    found: dict[str, tuple[str, UUID]] = {}
    for caller in CALLERS:
        permitted = face.entry.page.permission in GRANTS[caller]
        if face.name == "admin" and not (permitted and "tasks.view_task" in GRANTS[caller]):
            continue  # its pages are closed to them, which is its own test's matter
        for spot in world.spots[caller]:
            code = face.entry.expected(caller, spot)
            gate = ("", " by gate 1")[code == "not_authorized" and not permitted]
            found.setdefault("done" if code in STATES else code + gate, (caller, spot.pk))
    return found


@pytest.mark.parametrize("face", FACES, ids=str)
def test_each_reason_is_answered_in_the_words_of_the_face(
    world: World, face: Face, tally: Callable[[str, int], None]
) -> None:
    tried = 0
    for name, (caller, pk) in classes(world, face).items():
        code = name.removesuffix(" by gate 1")
        with undoing():
            events = AuditEvent.objects.count()
            response = face.act(world.users[caller], pk)
            again = code == "already_owner" and face.repeats
            face.says(response, "" if code == "done" or again else code, pk)
            done = code == "done" and (face.name != "admin" or at_once(face.entry))
            assert AuditEvent.objects.count() == events + done
        tried += 1
    assert tried >= (2 if face.name == "admin" else 3)
    tally(f"permission classes, single, {face.name}", tried)


BY_VERSION = [
    face
    for face in FACES
    # Nobody but an originator gives that part away, so from another it never comes to a version.
    if face.name != "admin" and (face.entry.row, face.entry.giving) != ("originator", "filler")
]


@pytest.mark.parametrize("face", BY_VERSION, ids=str)
def test_another_version_is_refused_on_each_face(world: World, face: Face) -> None:
    caller, pk = classes(world, face)["done"]
    with undoing():
        face.says(face.act(world.users[caller], pk, version=7), "stale_task", pk)
        assert Task.objects.get(pk=pk).version == 1
        face.says(face.act(world.users[caller], pk, version=1), "", pk)


@pytest.mark.parametrize("face", [f for f in FACES if f.name == "native"], ids=str)
def test_a_reason_is_demanded_where_the_book_says_so(world: World, face: Face) -> None:
    page = face.entry.page
    caller, pk = classes(world, face)["done"]
    with undoing():
        own = Task.objects.get(pk=pk).owner_id == world.users[caller].pk
        response = face.act(world.users[caller], pk, reason=None)
        wanted = page.reason == "yes" or (page.reason == "unless owner's" and not own)
        face.says(response, "reason_required" if wanted else "", pk)


@pytest.mark.parametrize("face", FACES, ids=str)
def test_what_people_do_not_work_is_refused_as_that(world: World, face: Face) -> None:
    if not face.entry.page.manual_only or (face.name, face.entry.operation) == (
        "admin",
        "transfer",
    ):
        return
    pk = world.automatic
    assert pk is not None
    with undoing():
        face.says(face.act(world.users["superuser"], pk), "wrong_kind", pk)


TO_SOMEBODY = [
    face
    for face in FACES
    if face.name in ("native", "htm")
    and (face.entry.operation in ("assign", "delegate", "nominate") or face.entry.row == "owner")
]


@pytest.mark.parametrize("face", TO_SOMEBODY, ids=str)
def test_who_is_excluded_receives_nothing(world: World, face: Face) -> None:
    """The giver is excluded from all tasks, whatever else he is to them."""
    caller, pk = classes(world, face)["done"]
    arguments = {
        name: [GIVER] if name == "people" else GIVER if name == "to" else value
        for name, value in face.entry.arguments.items()
    }
    other = Entry(face.entry.table, face.entry.row, arguments, face.entry.giving)
    if face.name == "native":
        face = native(other)
    else:
        more = "&fromUser=filler" if "from_" in arguments else ""
        face = htm(other, f"/task/{{}}/role/owner?action=transfer&toUser=giver{more}")
    with undoing():
        face.says(face.act(world.users[caller], pk), "target_not_eligible", pk)


def test_what_may_not_be_skipped_is_refused_where_skipping_is_offered(world: World) -> None:
    offered = [face for face in FACES if face.entry.operation == "skip"]
    pk = world.unskippable
    assert pk is not None
    for face in offered:
        with undoing():
            face.says(face.act(world.users["superuser"], pk), "not_skippable", pk)
