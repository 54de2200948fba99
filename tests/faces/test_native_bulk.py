"""Bulk as a resource: by ids or a filter, at once or by a worker, foreseen, cancelled, undone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks import bulk
from tasks.actions import ACTIONS, units
from tasks.lifecycle import State
from tasks.locks import alone
from tasks.models import AuditEvent, BulkOperation, Task
from tests.conftest import Cast
from tests.core.record import deactivate, nothing_changes
from tests.factories import JobFactory, call_by, make_in, make_task, make_tasks

from .native_client import TASKS, Api, assert_problem, bulk_path, everything

OPERATIONS = "/api/v1/bulk-operations/"


def path(pk: object, part: str = "") -> str:
    return f"{OPERATIONS}{pk}/{part}"


def ids(tasks: list[Task]) -> list[str]:
    return [str(task.pk) for task in tasks]


def put_off(api: Api, operation: str, **body: Any) -> dict[str, Any]:
    """The document of a call that a worker is to carry out."""
    response = api.post(bulk_path(operation), body)
    assert response.status_code == 202, response.content
    document: dict[str, Any] = response.json()
    assert response["Location"].endswith(path(document["id"]))
    assert document["status"] == "waiting"
    return document


def small_units(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Units of a few tasks, so that few tasks make several."""
    from tasks.api.native import bulk as face

    for module in (units, face):
        monkeypatch.setattr(module, "UNIT", size)


# --- Which tasks ----------------------------------------------------------------------------------


def test_a_filter_is_fixed_at_the_call_and_carried_out_by_a_worker(cast: Cast) -> None:
    tasks = make_tasks(3, cast.carol, [cast.noc])
    changed, *others = tasks
    make_task(cast.carol, cast.field)  # which bob does not see
    api = Api(cast.bob)
    document = put_off(api, "claim", filter={"state": ["ready"]})
    assert document["counts"]["total"] == 3
    assert not Task.objects.filter(owner=cast.bob).exists()
    ACTIONS["set_priority"]([changed.pk], call=call_by(cast.carol), priority=1).one()
    later = make_task(cast.carol, cast.noc)
    assert bulk.work() == 1
    seen = api.get(path(document["id"])).json()
    assert (seen["status"], seen["counts"]["done"]) == ("done", 2)
    assert seen["counts"]["refused_by_reason"] == {"stale_task": 1}
    assert set(Task.objects.filter(owner=cast.bob)) == set(others)
    assert Task.objects.get(pk=later.pk).version == 1
    assert bulk.work() == 0


def test_authority_is_judged_when_it_is_carried_out(cast: Cast) -> None:
    make_tasks(2, cast.carol, [cast.noc])
    document = put_off(Api(cast.bob), "claim", filter={})
    deactivate(cast.bob)
    bulk.work()
    stored = BulkOperation.objects.get(pk=document["id"])
    assert (stored.status, stored.done_count) == ("done", 0)
    assert {one["code"] for one in stored.refused.values()} == {"task_not_found"}


@pytest.mark.parametrize(
    ("chosen", "pointer"),
    [
        ({"limit": "5"}, "/filter/limit"),
        ({"nonsense": "5"}, "/filter/nonsense"),
        ({"state": "odd"}, "/filter/state"),
        ({"state": {"a": 1}}, "/filter/state"),
        ({"view": [["mine"]]}, "/filter/view"),
        ("ready", "/filter"),
    ],
)
def test_a_filter_that_the_list_does_not_have_is_refused(
    cast: Cast, chosen: Any, pointer: str
) -> None:
    response = Api(cast.bob).post(bulk_path("claim"), {"filter": chosen})
    document = assert_problem(response, 400, "invalid_body")
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert not BulkOperation.objects.exists()


def test_ids_or_a_filter_not_both(cast: Cast) -> None:
    api = Api(cast.bob)
    assert_problem(api.post(bulk_path("claim"), {"ids": [], "filter": {}}), 400, "invalid_body")
    assert_problem(api.post(bulk_path("claim"), {}), 400, "invalid_body")


def test_more_ids_than_a_unit_go_to_the_worker(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    small_units(monkeypatch, 2)
    tasks = make_tasks(5, cast.carol, [cast.noc])
    wanted = [{"id": str(tasks[0].pk), "version": 7}, *ids(tasks[1:])]
    api = Api(cast.bob)
    document = put_off(api, "claim", ids=wanted)
    assert bulk.work() == 3
    items = api.get(path(document["id"], "items/")).json()["results"]
    assert [(one["id"], one["status"]) for one in items] == [
        (str(task.pk), "done" if number else "refused") for number, task in enumerate(tasks)
    ]
    assert items[0]["code"] == "stale_task"
    assert [one["version"] for one in items] == [1, 2, 2, 2, 2]


def test_task_data_is_not_kept_for_a_worker(cast: Cast) -> None:
    body = {"filter": {}, "output": {"secret": 1}}
    assert_problem(Api(cast.bob).post(bulk_path("complete"), body), 400, "invalid_argument")
    assert not BulkOperation.objects.exists()


# --- All or nothing -------------------------------------------------------------------------------


def test_an_atomic_call_changes_all_or_nothing(cast: Cast) -> None:
    free, taken = make_task(cast.carol, cast.noc), make_in(
        State.RESERVED, cast.carol, cast.noc, owner=cast.carol
    )  # fmt: skip
    body = {"ids": [str(free.pk), str(taken.pk)], "atomic": True}
    with nothing_changes():
        document = assert_problem(Api(cast.bob).post(bulk_path("claim"), body), 409, "not_all_done")
    assert [(one["id"], one["code"]) for one in document["refused"]] == [
        (str(taken.pk), "invalid_task_state")
    ]
    assert not BulkOperation.objects.exists()
    answer = Api(cast.bob).post(bulk_path("claim"), {**body, "ids": [str(free.pk)]}).json()
    assert answer["counts"]["done"] == 1


def test_an_atomic_call_that_fails_in_the_worker_says_so(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    document = put_off(api, "claim", filter={}, atomic=True)
    ACTIONS["set_priority"]([task.pk], call=call_by(cast.carol), priority=1).one()
    assert bulk.work() == 0
    seen = api.get(path(document["id"])).json()
    assert (seen["status"], seen["failure"]["code"]) == ("failed", "not_all_done")
    assert seen["counts"]["refused_by_reason"] == {"stale_task": 1}
    assert Task.objects.get(pk=task.pk).version == 2


# --- Foreseen -------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_changes_what_not_and_who_would_have_how_much(cast: Cast) -> None:
    mine = [make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob) for _ in range(3)]
    done = make_in(State.COMPLETED, cast.carol, cast.noc, owner=cast.bob)
    make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.frank)
    body = {"ids": ids([*mine[:2], done]), "to": {"user": "frank"}, "dry_run": True}
    with nothing_changes():
        answer = Api(cast.alice).post(bulk_path("assign"), body).json()
    assert answer["operation_id"] is None
    assert answer["counts"] == {
        "done": 2,
        "refused": 1,
        "refused_by_reason": {"invalid_task_state": 1},
    }
    assert [one["id"] for one in answer["done"]] == ids(mine[:2])
    assert answer["not_potential_owner"] == {"count": 2, "ids": ids(mine[:2])}
    assert answer["loads"] == [
        {"user": "frank", "open_now": 1, "open_then": 3},
        {"user": "bob", "open_now": 3, "open_then": 1},
    ]
    assert not BulkOperation.objects.exists()


def test_a_filter_can_be_foreseen_too(cast: Cast) -> None:
    make_tasks(3, cast.carol, [cast.noc])
    body = {"filter": {"state": "ready"}, "dry_run": True}
    with nothing_changes():
        answer = Api(cast.bob).post(bulk_path("claim"), body).json()
    assert answer["counts"]["done"] == 3
    assert answer["loads"] == [{"user": "bob", "open_now": 0, "open_then": 3}]


# --- The worker -----------------------------------------------------------------------------------


def test_a_cancelled_operation_stops_before_its_next_unit(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_units(monkeypatch, 2)
    tasks = make_tasks(5, cast.carol, [cast.noc])
    api = Api(cast.bob)
    document = put_off(api, "claim", ids=ids(tasks))
    asked = iter([False, True])
    assert bulk.work(stopping=lambda: next(asked)) == 1  # the worker ends after a unit
    running = api.get(path(document["id"])).json()
    assert (running["status"], running["counts"]["processed"]) == ("running", 2)
    assert_problem(api.post(path(document["id"], "undo/")), 409, "still_running")
    assert_problem(api.post(path(document["id"], "retry/")), 409, "still_running")
    cancelled = api.post(path(document["id"], "cancel/")).json()
    assert (cancelled["status"], cancelled["counts"]["processed"]) == ("cancelled", 2)
    assert bulk.work() == 0
    assert Task.objects.filter(owner=cast.bob).count() == 2
    statuses = [one["status"] for one in api.get(path(document["id"], "items/")).json()["results"]]
    assert statuses == ["done"] * 2 + ["pending"] * 3
    assert_problem(api.post(path(document["id"], "cancel/")), 409, "already_finished")
    assert api.post(path(document["id"], "undo/")).json()["counts"]["done"] == 2


def test_what_a_dead_worker_left_is_taken_up_by_the_next(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task once, whether its unit was done before the worker died or not."""
    small_units(monkeypatch, 2)
    tasks = make_tasks(5, cast.carol, [cast.noc])
    document = put_off(Api(cast.bob), "claim", ids=ids(tasks))

    def dies(stored: BulkOperation) -> int:
        if stored.processed:
            raise SystemExit("killed")
        return take_further(stored)

    take_further = bulk._take_further
    monkeypatch.setattr(bulk, "_take_further", dies)
    with pytest.raises(SystemExit):
        bulk.work()
    monkeypatch.undo()
    small_units(monkeypatch, 2)
    assert BulkOperation.objects.get(pk=document["id"]).status == "running"
    assert bulk.work() == 2
    assert Task.objects.filter(owner=cast.bob, version=2).count() == 5
    assert AuditEvent.objects.filter(operation_id=document["id"]).count() == 5


def test_of_two_workers_one_works(committed_cast: Cast) -> None:
    cast = committed_cast
    make_tasks(2, cast.carol, [cast.noc])
    put_off(Api(cast.bob), "claim", filter={})
    found: list[int] = []
    with alone(bulk.WORK_LOCK) as still_alone:
        assert still_alone is not None
        other = threading.Thread(target=lambda: found.append(_in_a_thread(bulk.work)))
        other.start()
        other.join()
    assert found == [0]
    assert bulk.work() == 1


def _in_a_thread(act: Callable[[], int]) -> int:
    from django.db import connection

    try:
        return act()
    finally:
        connection.close()


def test_the_refused_are_tried_again_as_a_new_operation(cast: Cast) -> None:
    free = make_task(cast.carol, cast.noc)
    held = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.carol)
    api = Api(cast.bob)
    first = api.post(bulk_path("claim"), {"ids": ids([free, held])}).json()
    ACTIONS["release"]([held.pk], call=call_by(cast.carol)).one()
    again = api.post(path(first["operation_id"], "retry/")).json()
    assert again["operation_id"] != first["operation_id"]
    assert [one["id"] for one in again["done"]] == [str(held.pk)]
    assert Task.objects.filter(owner=cast.bob).count() == 2


# --- The resource ---------------------------------------------------------------------------------


def test_an_operation_is_read_by_its_actor_and_who_administers_all(cast: Cast) -> None:
    tasks = make_tasks(2, cast.carol, [cast.noc])
    done = Api(cast.bob).post(bulk_path("claim"), {"ids": ids(tasks)}).json()["operation_id"]
    for reader, sees in (
        ("bob", 1),
        ("dave", 1),
        ("root", 1),
        ("alice", 0),
        ("svc_integration", 0),
    ):
        api = Api(getattr(cast, reader))
        listed = api.get(OPERATIONS).json()["results"]
        assert [one["id"] for one in listed] == [done] * sees, reader
        status = 200 if sees else 404
        assert api.get(path(done)).status_code == status
        assert api.get(path(done, "items/")).status_code == status
    missing = UUID("01900000-0000-7000-8000-000000000000")
    hidden, absent = Api(cast.alice).get(path(done)), Api(cast.alice).get(path(missing))
    assert hidden.content.replace(done.encode(), b"") == absent.content.replace(
        str(missing).encode(), b""
    )
    for part in ("undo/", "cancel/", "retry/"):
        assert Api(cast.alice).post(path(done, part)).status_code == 404
    assert Api(cast.bob).get(path("nonsense")).status_code == 400


def test_items_come_in_pages(cast: Cast) -> None:
    tasks = make_tasks(5, cast.carol, [cast.noc])
    ACTIONS["claim"]([tasks[1].pk], call=call_by(cast.carol)).one()
    api = Api(cast.bob)
    done = api.post(bulk_path("claim"), {"ids": ids(tasks)}).json()["operation_id"]
    seen, address = [], path(done, "items/?limit=2")
    while address:
        page = api.get(address).json()
        assert len(page["results"]) <= 2
        seen += page["results"]
        address = page["next"]
    assert [one["id"] for one in seen] == ids(tasks)
    refused = api.get(path(done, "items/?status=refused")).json()["results"]
    assert [one["id"] for one in refused] == [str(tasks[1].pk)]
    for bad in ("status=odd", "cursor=x", "limit=0", "colour=red"):
        assert api.get(path(done, f"items/?{bad}")).status_code == 400


def test_every_bulk_call_is_recorded_whichever_face_it_came_through(cast: Cast) -> None:
    """The dialects and the admin call the same actions; what each records is read here."""
    tasks = make_tasks(1, cast.carol, [cast.noc])
    for channel in ("native", "htm", "itential", "admin"):
        for act in ("claim", "release"):
            ACTIONS[act]([tasks[0].pk], call=call_by(cast.bob, channel, bulk=True))
    listed = Api(cast.bob).get(OPERATIONS).json()["results"]
    assert [one["channel"] for one in listed] == [
        name for name in ("admin", "itential", "htm", "native") for _ in range(2)
    ]


# --- Create ---------------------------------------------------------------------------------------


def test_many_tasks_are_made_in_one_call_that_is_recorded(cast: Cast) -> None:
    api = Api(cast.carol)
    body = {"tasks": [{"name": "one"}, {"name": "two", "priority": 1}], "reason": "new site"}
    response = api.post(bulk_path("create"), body)
    assert response.status_code == 201, response.content
    answer = response.json()
    made = [Task.objects.get(pk=one["id"]) for one in answer["done"]]
    assert [(task.name, task.priority, task.version) for task in made] == [
        ("one", 5, 1),
        ("two", 1, 1),
    ]
    events = AuditEvent.objects.filter(operation_id=answer["operation_id"])
    assert {(event.event, event.reason) for event in events} == {("created", "new site")}
    recorded = api.get(response["Location"]).json()
    assert (recorded["operation"], recorded["counts"]["done"]) == ("create", 2)
    items = api.get(path(recorded["id"], "items/")).json()["results"]
    assert [(one["id"], one["version"]) for one in items] == [(str(one.pk), 1) for one in made]
    undone = api.post(path(recorded["id"], "undo/"))
    assert_problem(undone, 409, "irreversible")


def test_making_many_looks_up_each_job_once_and_each_is_made_once(cast: Cast) -> None:
    api, job = Api(cast.carol), JobFactory()
    body = {"name": "x", "source": "import", "job": job.pk}
    counts = []
    for number, some in enumerate((2, 20)):
        tasks = [{**body, "external_id": f"{number}-{one}"} for one in range(some)]
        with CaptureQueriesContext(connection) as queries:
            assert api.post(bulk_path("create"), {"tasks": tasks}).status_code == 201
        counts.append(len(queries))
    assert counts[0] == counts[1]
    again = api.post(TASKS, {**body, "external_id": "0-1"})
    assert (again.status_code, again.json()["external_id"]) == (200, "0-1")
    assert Task.objects.count() == 22


def test_of_many_tasks_all_are_made_or_none(cast: Cast) -> None:
    api = Api(cast.carol)
    parts: list[tuple[dict[str, Any], str]] = [
        ({"name": ""}, "/tasks/1/name"),
        ({"name": "x", "waiting": True}, "/tasks/1/waiting"),
        ({"name": "x", "parent": "01900000-0000-7000-8000-000000000000"}, "/tasks/1/parent"),
    ]
    with nothing_changes():
        for wrong, pointer in parts:
            response = api.post(bulk_path("create"), {"tasks": [{"name": "one"}, wrong]})
            document = assert_problem(response, 400, "invalid_body")
            assert [error["pointer"] for error in document["errors"]] == [pointer]
        pair = {"source": "s", "external_id": "e"}
        twice = {"tasks": [{"name": "one", **pair}, {"name": "two", **pair}]}
        assert_problem(api.post(bulk_path("create"), twice), 409, "external_id_taken")
        for body in ({"tasks": [{"name": "one"}]}, {"tasks": 5}):
            denied = Api(cast.bob).post(bulk_path("create"), body)
            assert_problem(denied, 403, "not_permitted")
    assert not BulkOperation.objects.exists()


# --- Undo -----------------------------------------------------------------------------------------


def test_an_operation_is_undone_and_the_undo_undone(cast: Cast) -> None:
    tasks = [make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob) for _ in range(2)]
    api = Api(cast.alice)
    body = {"ids": ids(tasks), "to": {"user": "frank"}}
    moved = api.post(bulk_path("assign"), body).json()["operation_id"]
    ACTIONS["complete"]([tasks[0].pk], call=call_by(cast.frank)).one()
    with nothing_changes():
        seen = api.post(path(moved, "undo/"), {"dry_run": True}).json()
    answer = api.post(path(moved, "undo/"), {"reason": "wrong person"}).json()
    assert seen["counts"] == answer["counts"]
    assert [one["id"] for one in answer["done"]] == [str(tasks[1].pk)]
    assert [one["code"] for one in answer["refused"]] == ["nothing_to_undo"]
    assert Task.objects.get(pk=tasks[1].pk).owner == cast.bob
    again = api.post(path(answer["operation_id"], "undo/")).json()
    assert again["counts"]["done"] == 1
    assert Task.objects.get(pk=tasks[1].pk).owner == cast.frank
    recorded = api.get(path(answer["operation_id"])).json()
    assert (recorded["operation"], recorded["arguments"]) == ("undo", {"operation": moved})
    assert recorded["reason"] == "wrong person"


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_cannot_be_undone_is_409_before_anything_else(cast: Cast, dry_run: bool) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    body = {"ids": [str(task.pk)], "text": "hello"}
    done = api.post(bulk_path("comment"), body).json()["operation_id"]
    with nothing_changes():
        assert_problem(api.post(path(done, "undo/"), {"dry_run": dry_run}), 409, "irreversible")


def test_a_large_undo_is_put_off(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = make_tasks(3, cast.carol, [cast.noc])
    api = Api(cast.bob)
    done = api.post(bulk_path("claim"), {"ids": ids(tasks)}).json()["operation_id"]
    small_units(monkeypatch, 2)
    response = api.post(path(done, "undo/"))
    assert response.status_code == 202
    assert bulk.work() == 2
    assert Task.objects.filter(state="ready", owner=None).count() == 3


def test_all_that_an_account_did_in_a_time_is_undone_by_who_administers_it(cast: Cast) -> None:
    since = timezone.now().isoformat()
    tasks = make_tasks(2, cast.carol, [cast.noc])
    elsewhere = make_task(cast.dave, cast.field, cast.bob)
    mine = [*ids(tasks), str(elsewhere.pk)]
    Api(cast.bob).post(bulk_path("claim"), {"ids": mine})
    body = {"actor": "bob", "from": since, "until": timezone.now().isoformat()}
    address = f"{OPERATIONS}undo/"
    with nothing_changes():
        seen = Api(cast.alice).post(address, {**body, "dry_run": True}).json()
        assert Api(cast.frank).post(address, body).json()["counts"]["done"] == 0
    answer = Api(cast.alice).post(address, body).json()
    assert seen["counts"] == answer["counts"]
    assert {one["id"] for one in answer["done"]} == set(ids(tasks))
    assert Task.objects.get(pk=elsewhere.pk).owner == cast.bob
    recorded = Api(cast.alice).get(path(answer["operation_id"])).json()["arguments"]
    assert recorded == {name: value.replace("+00:00", "Z") for name, value in body.items()}
    assert_problem(Api(cast.alice).post(address, {"actor": "bob"}), 400, "invalid_body")


def test_undo_needs_its_permission(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    done = Api(cast.bob).post(bulk_path("claim"), {"ids": [str(task.pk)]}).json()["operation_id"]
    cast.bob.roles.clear()
    with nothing_changes():
        answer = Api(cast.bob).post(path(done, "undo/")).json()
    assert [one["code"] for one in answer["refused"]] == ["not_authorized"]


def test_making_tasks_is_not_repeated_since_nothing_is_kept_of_them(cast: Cast) -> None:
    api = Api(cast.carol)
    made = api.post(f"{TASKS}bulk/create/", {"tasks": [{"name": "A"}]})
    before = everything()
    answer = api.post(f"{made['Location']}retry/", {})
    assert_problem(answer, 400, "invalid_argument")
    assert everything() == before


def test_a_file_is_not_kept_for_later(cast: Cast) -> None:
    make_task(cast.carol, cast.noc)
    before = everything()
    body = {"name": "a.txt", "content": "QQ==", "filter": {"state": "ready"}}
    document = assert_problem(
        Api(cast.bob).post(bulk_path("attach"), body), 400, "invalid_argument"
    )
    assert document["errors"][0]["pointer"] == "/content"
    assert everything() == before
