"""Every operation through the native API, singly and in bulk; PATCH and DELETE of a task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.api.native.serializers import NewTask
from tasks.api.native.serializers.inputs import Properties, Update
from tasks.lifecycle import UPDATES, State
from tasks.models import AuditEvent, BulkOperation, Task, Tombstone
from tests.conftest import Cast
from tests.core.cases import CASES, Case
from tests.factories import make_in, make_task, make_tasks

from .native_client import (
    MISSING,
    Api,
    assert_problem,
    body_of,
    bulk_path,
    everything,
    task_path,
)

OPEN_TO_ACCOUNTS = [case for case in CASES if not case.operation.system_only]
REASON = {"reason": "because a test says so"}


def patch(api: Api, pk: Any, body: Any, **headers: str) -> Any:
    """PATCH of a task."""
    return api.send("PATCH", task_path(pk), json.dumps(body), "application/json", **headers)


@pytest.mark.parametrize("case", OPEN_TO_ACCOUNTS, ids=str)
def test_every_operation_answers_with_the_task_as_it_is_afterwards(cast: Cast, case: Case) -> None:
    task = case.task(cast)
    actor = case.actor(cast)
    api = Api(actor)
    response = api.post(task_path(task.pk, case.name), {**body_of(case, cast), **REASON})
    assert response["ETag"] == '"2"'
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert (event.event, event.channel) == (case.operation.event, "native")
    assert (event.actor, event.reason) == (actor and actor.username, REASON["reason"])
    if case.name == "remove":
        assert (response.status_code, response.content) == (204, b"")
        assert_problem(api.get(task_path(task.pk)), 404, "task_not_found")
        return
    assert response.status_code == 200, response.content
    assert response.json()["version"] == 2
    shown = api.get(task_path(task.pk)).json()
    del shown["permitted_operations"]
    assert response.json() == shown


@pytest.mark.parametrize("case", OPEN_TO_ACCOUNTS, ids=str)
def test_every_operation_does_its_work_on_many(cast: Cast, case: Case) -> None:
    tasks = [case.task(cast) for _ in range(3)]
    ids = [str(task.pk) for task in tasks]
    body = {"ids": [*ids, str(MISSING)], **body_of(case, cast), **REASON}
    response = Api(case.actor(cast)).post(bulk_path(case.name), body)
    assert response.status_code == 200, response.content
    answer = response.json()
    assert answer["done"] == [{"id": pk, "version": 2} for pk in ids]
    assert [item["code"] for item in answer["refused"]] == ["task_not_found"]
    events = AuditEvent.objects.filter(operation_id=answer["operation_id"])
    assert {(str(event.task_id), event.event) for event in events} == {
        (pk, case.operation.event) for pk in ids
    }
    assert BulkOperation.objects.get().operation == case.name


@pytest.mark.parametrize("name", ["activate", "start", "fail", "skip", "update", "comment"])
def test_new_operations_keep_the_order_of_the_answers(cast: Cast, name: str) -> None:
    case = next(case for case in OPEN_TO_ACCOUNTS if case.name == name)
    task = case.task(cast)
    body = body_of(case, cast)
    before = everything()
    path = task_path(task.pk, name)
    assert_problem(Api().post(task_path("x", name), b"{"), 400, "invalid_id")
    assert_problem(Api().post(path, b"{"), 401, "not_authenticated")
    assert_problem(Api(cast.frank).post(path, b"{"), 404, "task_not_found")
    assert_problem(Api(cast.erin).post(path, b"{"), 403, "not_authorized")
    assert_problem(Api(cast.carol).post(path, b"{", If_Match='"9"'), 400, "invalid_json")
    assert_problem(Api(cast.carol).post(path, body, If_Match='"9"'), 412, "stale_task")
    assert everything() == before


def test_skipping_and_cancelling_want_a_reason_last_of_all(cast: Cast) -> None:
    rigid, task = make_task(cast.carol, cast.noc), make_task(cast.carol, cast.noc, skippable=True)
    api = Api(cast.carol)
    before = everything()
    assert_problem(api.post(task_path(rigid.pk, "skip")), 409, "not_skippable")
    assert_problem(api.post(task_path(task.pk, "skip"), {"reason": ""}), 400, "reason_required")
    assert_problem(api.post(task_path(task.pk, "exit")), 400, "reason_required")
    refused = api.post(bulk_path("exit"), {"ids": [str(task.pk), str(rigid.pk)]}).json()["refused"]
    assert [item["code"] for item in refused] == ["reason_required"] * 2
    assert everything()[:5] == before[:5]


# --- Arguments -----------------------------------------------------------------------------------


def test_a_task_sleeps_until_a_time_or_for_good(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    until = {"until": "2040-01-01T01:00:00+01:00"}
    shown = api.post(task_path(task.pk, "suspend"), until).json()
    assert (shown["on_hold"], shown["wakeup_at"]) == (True, "2040-01-01T00:00:00Z")
    shown = api.post(task_path(task.pk, "resume")).json()
    assert (shown["on_hold"], shown["wakeup_at"]) == (False, None)
    shown = api.post(task_path(task.pk, "suspend"), {"until": None}).json()
    assert (shown["on_hold"], shown["wakeup_at"]) == (True, None)


@pytest.mark.parametrize(("body", "kept"), [({}, True), ({"keep_data": False}, False)])
def test_suspending_and_releasing_keeps_the_data_unless_told(
    cast: Cast, body: dict[str, Any], kept: bool
) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob, output={"half": True})
    response = Api(cast.bob).post(task_path(task.pk, "suspend_and_release"), body)
    shown = response.json()
    assert (shown["state"], shown["owner"], shown["on_hold"]) == ("ready", None, True)
    assert shown["output"] == ({"half": True} if kept else None)


@pytest.mark.parametrize(
    ("people", "state", "owner"),
    [
        ({"users": ["bob"]}, "reserved", "bob"),
        ({"users": ["bob", "alice"]}, "ready", None),
        ({"groups": ["field"]}, "ready", None),
        ({"users": ["bob"], "groups": ["field"]}, "ready", None),
    ],
)
def test_nominating_names_users_and_groups(
    cast: Cast, people: dict[str, list[str]], state: str, owner: str | None
) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    shown = Api(cast.carol).post(task_path(task.pk, "nominate"), {"people": people}).json()
    assert (shown["state"], shown["owner"]) == (state, owner)
    named = {"users": sorted(people.get("users", [])), "groups": people.get("groups", [])}
    assert shown["people"]["potential_owner"] == named


def test_forwarding_gives_ones_own_away_or_what_is_named(cast: Cast) -> None:
    own, named = make_tasks(2, cast.carol, [cast.bob, cast.noc])
    group = {"to": {"group": "field"}}
    shown = Api(cast.bob).post(task_path(own.pk, "forward"), group).json()
    assert shown["people"]["potential_owner"] == {"users": [], "groups": ["field", "noc"]}
    shown = (
        Api(cast.carol)
        .post(task_path(named.pk, "forward"), {**group, "from": {"group": "noc"}})
        .json()
    )
    assert shown["people"]["potential_owner"] == {"users": ["bob"], "groups": ["field"]}
    response = Api(cast.carol).post(task_path(named.pk, "forward"), {"to": {"user": "frank"}})
    assert_problem(response, 409, "no_such_work_item")


def test_a_retry_takes_new_input_or_the_old(cast: Cast) -> None:
    case = next(case for case in CASES if case.name == "retry")
    first, second = (case.task(cast, input={"router": 7}) for _ in range(2))
    api = Api(case.actor(cast))
    assert api.post(task_path(first.pk, "retry")).json()["input"] == {"router": 7}
    assert_problem(api.post(task_path(second.pk, "retry"), {"input": None}), 400, "invalid_body")
    body = {"input": {"router": 8}}
    assert api.post(task_path(second.pk, "retry"), body).json()["input"] == {"router": 8}


@pytest.mark.parametrize("fault", [{"code": 7}, ["x"], "text", 7, False, None])
def test_a_fault_is_any_json(cast: Cast, fault: Any) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    body = {"fault": fault, "fault_name": "broken"}
    shown = Api(cast.bob).post(task_path(task.pk, "fail"), body).json()
    assert (shown["state"], shown["fault"], shown["fault_name"]) == ("failed", fault, "broken")


def test_a_long_fault_is_data(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    fault = {"log": "x" * 100_000}
    shown = Api(cast.bob).post(task_path(task.pk, "save_fault"), {"fault": fault}).json()
    assert shown["fault"] == fault


# --- Update, PATCH and DELETE --------------------------------------------------------------------


def test_the_properties_are_those_of_the_rule_book() -> None:
    assert set(Properties().fields) == set(UPDATES)
    assert set(Update().fields) == {*UPDATES, "reason"}
    assert set(UPDATES) <= set(NewTask().fields)


def test_properties_are_updated_one_way_and_the_other(cast: Cast) -> None:
    api = Api(cast.carol)
    body = {
        "name": "Replace switch",
        "description": " in rack 7 ",
        "custom_properties": {"site": "B"},
        "due_at": "2040-01-01T01:00:00+01:00",
        "priority": 2,
        "expires_at": None,
        "skippable": True,
        "claim_while_on_hold": True,
        "automatic_claim": True,
        "input": {"router": 8},
        "output_schema": {"type": "object"},
        "reason": "as agreed",
    }
    answers = []
    for patched in (True, False):
        task = make_task(cast.carol, cast.noc, waiting=True)
        response = (
            patch(api, task.pk, body) if patched else api.post(task_path(task.pk, "update"), body)
        )
        assert response.status_code == 200, response.content
        assert response["ETag"] == '"2"'
        shown = response.json()
        assert (shown["due_at"], shown["description"]) == ("2040-01-01T00:00:00Z", " in rack 7 ")
        assert shown["flags"] == dict.fromkeys(shown["flags"], True)
        event = AuditEvent.objects.get(task_id=task.pk, version=2)
        answers.append((event.event, event.before, event.after, event.reason))
    assert answers[0] == answers[1]
    assert answers[0][3] == "as agreed"


def test_null_takes_a_date_away(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, due_at="2040-01-01T00:00:00Z")
    assert patch(Api(cast.carol), task.pk, {"due_at": None}).json()["due_at"] is None


def test_a_patch_keeps_the_order_of_the_answers(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    before = everything()
    bad = {"nonsense": 1, "state": "completed", "version": 7}
    carol = Api(cast.carol)
    assert_problem(patch(Api(), "x", bad), 400, "invalid_id")
    assert_problem(patch(Api(), task.pk, bad), 401, "not_authenticated")
    assert_problem(patch(Api(cast.frank), task.pk, bad), 404, "task_not_found")
    assert_problem(patch(Api(cast.bob), task.pk, bad), 403, "not_authorized")
    document = assert_problem(patch(carol, task.pk, bad, If_Match='"9"'), 400, "invalid_body")
    assert [(error["pointer"], error["code"]) for error in document["errors"]] == [
        ("/nonsense", "unknown_field"),
        ("/state", "read_only"),
        ("/version", "read_only"),
    ]
    good = {"input": {"router": 8}}  # can be updated before activation only
    assert_problem(patch(carol, task.pk, good, If_Match='"9"'), 412, "stale_task")
    assert_problem(patch(carol, task.pk, good), 409, "invalid_task_state")
    form = carol.send("PATCH", task_path(task.pk), b"{}", "application/merge-patch+json")
    assert_problem(form, 415, "unsupported_media_type")
    assert everything() == before


def test_a_task_is_deleted_and_its_history_stays(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    dave = Api(cast.dave)
    before = everything()
    assert_problem(Api().send("DELETE", task_path(task.pk)), 401, "not_authenticated")
    assert_problem(Api(cast.frank).send("DELETE", task_path(task.pk)), 404, "task_not_found")
    assert_problem(Api(cast.carol).send("DELETE", task_path(task.pk)), 403, "not_authorized")
    surplus = dave.send("DELETE", task_path(task.pk), b'{"reason": "x"}', "application/json")
    assert assert_problem(surplus, 400, "invalid_body")["errors"][0]["pointer"] == "/reason"
    stale = dave.send("DELETE", task_path(task.pk), If_Match='"2"')
    assert_problem(stale, 412, "stale_task")
    assert everything() == before
    response = dave.send("DELETE", task_path(task.pk), If_Match='"1"')
    assert (response.status_code, response.content) == (204, b"")
    assert not Task.objects.filter(pk=task.pk).exists()
    assert Tombstone.objects.get(pk=task.pk).version == 2
    assert AuditEvent.objects.get(task_id=task.pk, version=2).event == "removed"
    assert_problem(dave.send("DELETE", task_path(task.pk)), 404, "task_not_found")


def test_what_is_under_way_is_not_deleted(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    before = everything()
    response = Api(cast.dave).send("DELETE", task_path(task.pk))
    assert_problem(response, 409, "invalid_task_state")
    assert everything() == before
