"""What one may not see does not exist: all answers are the same with it and without it.

The same requests are made twice, before and after tasks come to be that the caller may not see;
whole answers are compared, headers included, but for what differs from one request to the next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from tasks import actions, errors
from tasks.actions import Draft
from tasks.api.htm import verbs
from tasks.api.htm.ids import tkiid
from tasks.api.native import listing
from tasks.api.native.serializers import INPUTS
from tasks.lifecycle import ACTIVE, ENDED, HELD, Operation, State
from tasks.models import Job, Task
from tasks.querysets import TaskQuerySet
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.faces import htm_client, itential_client
from tests.faces.admin_pages import client_of, fill
from tests.faces.native_client import TASKS, Api, bulk_path, task_path
from tests.factories import JobFactory, UserFactory, call_by, make_in, reference

from .faces import HTM_BULK, as_native
from .world import first_of

LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "Moonlight"
"""A word that stands in the name of every hidden task."""
HIDDEN_JOB = 987_654
"""The key of a job all of whose tasks are hidden, wherever it is."""

# --- The two worlds -------------------------------------------------------------------------------


@dataclass
class Scene:
    """Who is there, what is visible to the callers, and the ids of what is or would be hidden."""

    cast: Cast
    stranger: User
    callers: dict[str, User]
    visible: list[Task]
    hidden: list[UUID]

    def hide(self) -> None:
        """Make the hidden tasks: in all states, old and new, urgent and late, below and above."""
        mine, other = self.visible[0], self.visible[1]
        ids = iter(self.hidden)
        secret_job = Job.objects.create(pk=HIDDEN_JOB, name=SECRET)
        drafts = []
        for number, state in enumerate(State):
            for on_hold in (False, True) if state in ACTIVE else (False,):
                drafts.append(
                    self._hidden(
                        next(ids),
                        state,
                        on_hold=on_hold,
                        priority=number % 3,
                        due_at=LONG_AGO,
                        created_at=timezone.now() if number % 2 else LONG_AGO,
                        parent=mine if state in ENDED else None,
                        job=other.job if number else secret_job,
                        source="erp",
                        external_id=f"{SECRET}-{number}-{on_hold}",
                        input={"text": SECRET},
                    )
                )
        actions.import_(drafts, call=call_by(None))

    def _hidden(self, pk: UUID, state: State, **fields: Any) -> Draft:
        """A task of the stranger's from which all callers are excluded, which shows it to none."""
        people: dict[TaskRole, Any] = {
            TaskRole.POTENTIAL_OWNER: [reference(self.stranger)],
            TaskRole.ADMINISTRATOR: [reference(self.stranger)],
            TaskRole.EXCLUDED_OWNER: [reference(self.cast.noc), reference(self.cast.frank)],
        }
        task = Task(
            id=pk,
            name=f"{SECRET} {state}",
            state=state,
            originator=self.stranger,
            owner=self.stranger if state in HELD or state in ENDED else None,
            ended_at=LONG_AGO if state in ENDED else None,
            **fields,
        )
        return Draft(task, people)


@pytest.fixture
def scene(cast: Cast) -> Scene:
    """The cast with eight tasks of noc's; nothing is hidden yet."""
    stranger = UserFactory(username="stranger", system_roles=["operations"])
    job = JobFactory(name="Ring")
    visible = [
        make_in(
            state,
            cast.carol,
            cast.noc,
            name=f"Replace router {number}",
            owner=cast.bob if state in HELD else None,
            priority=number % 3,
            created_at=LONG_AGO + timedelta(minutes=number),
            due_at=LONG_AGO,
            job=job,
            people_of={
                TaskRole.ADMINISTRATOR: [cast.carol],
                TaskRole.READER: [cast.frank],
            },
        )
        for number, state in enumerate(
            [
                State.READY,
                State.READY,
                State.RESERVED,
                State.IN_PROGRESS,
                State.COMPLETED,
                State.CREATED,
                State.READY,
                State.RESERVED,
            ]
        )
    ]
    none = UserFactory(username="gina", system_roles=["retryUser"])
    callers = {
        "member": cast.bob,
        "lead": cast.alice,
        "originator": cast.carol,
        "reader": cast.frank,
        "nobody": UserFactory(username="hugo", system_roles=["operations"]),
        "without view": none,
    }
    hidden = [Task(name="x").pk for _ in range(len(State) + len(ACTIVE))]
    return Scene(cast, stranger, callers, visible, hidden)


# --- What is asked --------------------------------------------------------------------------------

Request = Callable[[], list[Any]]

HOLDERS = ("me", "user:stranger", "group:noc", "group:field")


def native_requests(scene: Scene, user: User) -> Iterator[tuple[str, Request]]:
    """Lists, filters, pages, details, and every operation alone and in bulk."""
    api = Api(user)
    seen, hidden = scene.visible, scene.hidden

    def get(path: str, params: Any = None) -> Request:
        return lambda: [api.get(path, params)]

    def walk(params: dict[str, Any]) -> Request:
        def steps() -> list[Any]:
            pages = [api.get(TASKS, params)]
            while pages[-1].status_code == 200 and (following := pages[-1].json()["next"]):
                pages.append(api.get(following))
            return pages

        return steps

    filters: list[dict[str, Any]] = [{}, {"owner": "none"}, {"owner": "stranger"}, {"owner": "bob"}]
    filters += [{"state": state} for state in State]
    filters += [{"view": view} for view in listing.VIEWS]
    filters += [{"q": text} for text in ("router", SECRET, "planner")]
    filters += [{"job": job} for job in (HIDDEN_JOB, f"{HIDDEN_JOB:024x}")]
    filters += [{"role": "potential_owner", "holder": who} for who in HOLDERS]
    filters += [{"role": "owner", "holder": "user:stranger"}, {"due_at__isnull": "true"}]
    filters += [{"priority": "5"}, {"kind": "manual"}, {"on_hold": "true"}, {"source": "planner"}]
    filters += [{"created_at__gte": "2001-01-01T00:00:00Z"}, {"external_id": "1"}]
    for params in filters:
        yield f"native count {params}", get(f"{TASKS}count/", params)
        yield f"native summary {params}", get(f"{TASKS}summary/", params)
        yield f"native list {params}", get(TASKS, params)
        yield f"native walk {params}", walk({**params, "limit": 2})
    for pk in [*hidden[:4], *(task.pk for task in seen[:3])]:
        yield f"native task {pk}", get(task_path(pk))
    body = {"name": "x", "parent": str(hidden[0])}
    yield "native create below", lambda: [api.post(TASKS, body)]
    for job in (HIDDEN_JOB, f"{HIDDEN_JOB:024x}"):
        within = {"name": "x", "job": job}
        yield f"native create in job {job}", lambda b=within: [api.post(TASKS, b)]
    yield "native job", get(f"/api/v1/jobs/{HIDDEN_JOB}/")
    for params in ({}, {"limit": 1}, {"q": SECRET[:4]}):
        yield f"native jobs {params}", get("/api/v1/jobs/", params)
    yield "native me", get("/api/v1/me/")
    for pk in (hidden[0], seen[0].pk):
        yield f"native roles {pk}", get(task_path(pk, "roles"))
    for operation in INPUTS:
        entry = first_of(operation)
        good = {**as_native(entry.given()), "reason": "x"}
        many = bulk_path(operation)
        for pk in (hidden[0], hidden[-1], hidden[2]):
            path = task_path(pk, operation)
            for words in (good, {}, {"nonsense": 1}, b"{"):
                yield (
                    f"native {operation} {pk} {words!r:.20}",
                    lambda p=path, b=words: [api.post(p, b)],
                )
            yield (
                f"native {operation} {pk} of a version",
                lambda p=path, b=good: [api.post(p, b, If_Match='"1"')],
            )
        ids = [seen[0].pk, hidden[0], seen[3].pk, hidden[5], seen[1].pk, hidden[-1]]
        for asked in (ids, ids[::-1], hidden):
            sent = {**good, "ids": [str(pk) for pk in asked]}
            yield (
                f"native bulk {operation}",
                lambda p=many, b=sent: [api.post(p, b)],
            )
        versions = {**good, "ids": [{"id": str(pk), "version": 1} for pk in ids]}
        yield (
            f"native bulk {operation} of versions",
            lambda p=many, b=versions: [api.post(p, b)],
        )


def dialect_requests(scene: Scene, user: User) -> Iterator[tuple[str, Request]]:
    """Every call of the two dialects that can name a task."""
    seen, hidden = scene.visible, scene.hidden
    for pk in (hidden[0], hidden[2], hidden[-1]):
        for verb in verbs.TASK:
            path = f"/task/{tkiid(pk)}?action={verb}"
            yield f"htm {verb}", lambda p=path: [htm_client.send(p, user)]
        for query in ("toUser=alice", "toUser=alice&fromUser=stranger", "toUser=nobody"):
            for role in ("owner", "potentialOwner", "reader"):
                path = f"/task/{tkiid(pk)}/role/{role}?action=transfer&{query}"
                yield f"htm transfer {role}", lambda p=path: [htm_client.send(p, user)]
        for query in ("", "?include=name", "?dereference=groups"):
            yield (
                f"itential task{query}",
                lambda pk=pk, q=query: [itential_client.get(pk, user, q)],
            )
        for name in ("claim", "release", "assign"):
            for body in (None, {"userId": scene.cast.alice.object_id}, {"userId": "0" * 24}, [1]):
                yield (
                    f"itential {name} {body}",
                    lambda pk=pk, n=name, b=body: [itential_client.act(n, pk, user, b)],
                )
    ids = [tkiid(pk) for pk in (seen[2].pk, hidden[0], seen[0].pk, hidden[4], hidden[-1])]
    for query in ("fromUser=bob&toUser=alice", "fromUser=stranger&toUser=alice"):
        for asked in (ids, ids[::-1]):
            path = f"/task/role/owner?action=transfer&{query}"
            body = {"taskIDs": asked}
            yield "htm bulk transfer", lambda p=path, b=body: [htm_client.send(p, user, b)]
    for verb in sorted(set(getattr(verbs, "BULK", ())) & set(HTM_BULK)):
        path = f"/task?action={verb}{HTM_BULK[verb][1]}"
        body = {"taskIDs": ids}
        yield f"htm bulk {verb}", lambda p=path, b=body: [htm_client.send(p, user, b)]


def admin_requests(scene: Scene, user: User) -> Iterator[tuple[str, Request]]:
    """The first page, the list by every filter, pages of tasks, look-ups, and bulk to its end."""
    client = client_of(user, raise_request_exception=False)
    home, tasks = "/admin/", "/admin/tasks/task/"
    hidden, seen = scene.hidden, scene.visible
    queries = ["", "p=1", "p=2", "o=1", "o=-1", "o=-2", "o=3", "all="]
    queries += [f"view={name}" for name in ("mine", "available", "team", "open", "finished")]
    queries += ["view=on_hold", "view=overdue", "state=on_hold"]
    queries += [f"state={state}" for state in State] + [f"priority={n}" for n in range(3)]
    queries += [f"owner={scene.stranger.pk}", f"group={scene.cast.noc.pk}"]
    queries += [f"q={SECRET}", f"q={hidden[0]}", f"q={SECRET}-1-False", "q=Ring", "q=router"]
    queries += [f"q=router&view=open&owner={scene.cast.bob.pk}", "owner__username=stranger"]
    paths = [home, *(f"{tasks}?{query}" for query in queries), "/admin/tasks/bulkoperation/"]
    for pk in (*hidden[:3], seen[0].pk, seen[4].pk):
        paths += [f"{tasks}{pk}/{part}/" for part in ("change", "history", "delete")]
    paths += [f"{tasks}{pk}/change/?before=1" for pk in hidden[:2]]
    for term in ("str", SECRET, "a", ""):
        look = f"app_label=tasks&model_name=task&field_name=owner&term={term}"
        paths += [f"{tasks}holders/?{look}", f"{home}autocomplete/?{look}"]
    for path in paths:
        yield f"admin {path}", lambda p=path: [client.get(p)]
    for name in ("claim", "release", "transfer"):
        for pk in hidden[:3]:
            yield (
                f"admin {name} {pk}",
                lambda n=name, pk=pk: [client.post(f"{tasks}{pk}/do/{n}/")],
            )
    mixed = [seen[2].pk, hidden[0], seen[3].pk, hidden[1], hidden[-1], seen[7].pk]

    def bulk(operation: str, across: str, ids: list[UUID], **answers: str) -> list[Any]:
        data = {
            "action": operation,
            "_selected_action": [str(pk) for pk in ids],
            "select_across": across,
            "index": "0",
        }
        found = [client.post(tasks, data)]
        if found[0].status_code != 302 or "login" in found[0]["Location"]:
            return found
        found.append(client.get(found[0]["Location"]))
        found.append(fill(client, found[0], reason="x", **answers))
        if found[-1].status_code == 302:
            plan = found[-1]
            found.append(client.get(plan["Location"]))
            found.append(client.post(plan["Location"], {"number": "3"}))
            found.append(client.get(plan["Location"]))
            found.append(client.get("/admin/tasks/bulkoperation/"))
            found.append(client.get(home))
        return found

    to = {"from_user": str(scene.cast.bob.pk), "to_user": str(scene.cast.alice.pk)}
    for across in ("0", "1"):
        for ids in (mixed, mixed[::-1], hidden[:2]):
            yield "admin bulk release", lambda a=across, i=ids: bulk("release", a, i)
            yield "admin bulk transfer", lambda a=across, i=ids: bulk("transfer", a, i, **to)


# --- The comparison -------------------------------------------------------------------------------

UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIMES = re.compile(
    r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?|\b\d\d:\d\d(:\d\d)?( UTC)?"
)
ONE_OFF = re.compile(
    r'(name="csrfmiddlewaretoken" value=")[^"]*|(nonce[=-]["\']?)[\w+/=-]+|(csrfToken["\': =]+)\w+'
)
UNLIKE = {"Date", "Set-Cookie", "X-Request-ID"}


def plain(scene: Scene, response: Any) -> tuple[Any, ...]:
    """All of an answer that can tell something; what is made anew for each request is blanked."""
    known = {str(pk) for pk in (*scene.hidden, *(task.pk for task in scene.visible))}

    def blank(text: str) -> str:
        text = UUIDS.sub(lambda found: found[0] if found[0] in known else "<uuid>", text)
        text = TIMES.sub("<time>", text)
        return ONE_OFF.sub(lambda found: f"{found[1] or found[2] or found[3]}<once>", text)

    headers = {k: blank(v) for k, v in response.headers.items() if k not in UNLIKE}
    return response.status_code, sorted(headers.items()), blank(response.content.decode())


@contextmanager
def undoing() -> Iterator[None]:
    """What happens within is undone."""
    before = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(before)


REQUESTS = {
    "native": native_requests,
    "dialects": dialect_requests,
    "admin": admin_requests,
}


def answers(
    scene: Scene, face: str, user: User, only: str = ""
) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Everything that a caller is answered through a face; nothing stays of what it did.

    `only` are the requests with that word in their names.
    """
    found = []
    with undoing():
        for name, request in REQUESTS[face](scene, user):
            if only not in name:
                continue
            with undoing():
                found.append((name, [plain(scene, response) for response in request()]))
    return found


def differences(scene: Scene, face: str, user: User, only: str = "") -> tuple[int, list[str]]:
    """How many answers were compared, and which requests tell that something is hidden."""
    without = answers(scene, face, User.objects.get(pk=user.pk), only)
    with undoing():
        scene.hide()
        within = answers(scene, face, User.objects.get(pk=user.pk), only)
    told = [name for (name, one), (_, other) in zip(without, within, strict=True) if one != other]
    return sum(len(some) for _, some in without), told


CALLERS = ["member", "lead", "originator", "reader", "nobody", "without view"]


@pytest.mark.parametrize("face", REQUESTS)
@pytest.mark.parametrize("caller", CALLERS)
def test_no_answer_tells_that_something_is_hidden(
    scene: Scene, face: str, caller: str, tally: Callable[[str, int], None], long: bool
) -> None:
    if not long and caller != "member":
        return
    user = scene.callers[caller]
    with undoing():
        scene.hide()
        visible = set(Task.objects.visible_to(user).values_list("pk", flat=True))
        assert not visible & set(scene.hidden)
    compared, told = differences(scene, face, user)
    assert told == []
    assert compared > 50
    tally(f"answers with and without hidden tasks, {face}", compared)


def test_the_requests_do_meet_the_hidden_tasks(scene: Scene) -> None:
    """Negative control: to the one who sees them every face answers otherwise."""
    for face, only in (("native", "claim"), ("dialects", "claim"), ("admin", "admin /admin/")):
        _, told = differences(scene, face, scene.stranger, only)
        assert len(told) > 5, face


def test_a_bulk_act_in_the_admin_is_followed_to_its_end(scene: Scene) -> None:
    """Draft, form, plan, preview, confirmation, result, list of acts, first page."""
    for operation in ("release", "transfer"):
        found = answers(scene, "admin", scene.cast.bob, f"bulk {operation}")
        assert {len(some) for _, some in found} == {8}
        assert all(some[5][0] == 200 and "Replace router" in some[5][2] for _, some in found[:2])


def count_all(found: int) -> Any:
    """A count that forgets what is visible."""
    return {"count": Task.objects.count()}


def list_almost_all(self: Any, user: User) -> Any:
    """A list that forgets it but for tasks in one state."""
    return self.exclude(state=State.ERROR)


def tell_apart(operation: Operation, task: Any, held: Any, asker: Any) -> Any:
    """A refusal that says of a hidden task that it is there."""
    return errors.NotAuthorized(operation=operation.phrase)


LEAKS: dict[str, tuple[str, str, Any, str, Any]] = {
    "a count": ("native", "walk", listing, "counted", count_all),
    "a list": ("admin", "admin /admin/", TaskQuerySet, "visible_to", list_almost_all),
    "the wording of a bulk call": ("dialects", "bulk", Operation, "forbids", tell_apart),
    "the wording of a single call": ("native", "claim", Operation, "forbids", tell_apart),
}


@pytest.mark.parametrize("what", LEAKS)
def test_a_planted_leak_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Negative control."""
    face, only, target, name, leak = LEAKS[what]
    assert differences(scene, face, scene.cast.bob, only)[1] == []
    monkeypatch.setattr(target, name, leak)
    assert differences(scene, face, scene.cast.bob, only)[1]


def test_what_is_compared_is_the_whole_answer(scene: Scene) -> None:
    """Words, order and headers count; the id of a request and the time do not."""
    response = Api(scene.cast.bob).get(TASKS)
    one = plain(scene, response)
    document = response.json()
    document["results"].reverse()
    response.content = json.dumps(document).encode()
    assert plain(scene, response) != one
    again = Api(scene.cast.bob, **{"X-Request-ID": "another"}).get(TASKS)
    assert plain(scene, again) == one
    again.headers["X-Total"] = "8"
    assert plain(scene, again) != one
