"""The native API: tasks read, made and acted upon, one or many, and every no in its order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError
from django.test import override_settings

from accounts.models import User
from tasks import actions, errors, people
from tasks.actions import ACTIONS
from tasks.api.native.errors import STATUSES
from tasks.api.native.serializers import INPUTS
from tasks.api.native.views import TaskViewSet
from tasks.models import AuditEvent, BulkOperation, Job, OutboxEvent, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import JobFactory, call_by, make_task, make_tasks

from .native_client import (
    MISSING,
    TASKS,
    Api,
    assert_problem,
    bulk_path,
    everything,
    problem,
    task_path,
)

WHOM: dict[str, Any] = {"to": {"user": "bob"}}
FAULT: dict[str, Any] = {"fault": 7, "fault_name": "broken"}
WHY: dict[str, Any] = {"reason": "too much"}

BODIES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("activate", "claim", "start", "stop", "cancel_claim", "resume")},
    **dict.fromkeys(("release", "skip", "exit", "reopen", "remove"), WHY),
    **dict.fromkeys(("assign", "delegate", "forward"), WHOM),
    **dict.fromkeys(("save_fault", "fail", "raise_error"), FAULT),
    "nominate": {"people": {"users": ["bob"]}},
    "transfer": {"role": "owner", "to": {"user": "bob"}, "from": {"user": "alice"}},
    "suspend": {"until": "2040-01-01T00:00:00Z"},
    "suspend_and_release": {"keep_data": False},
    "save_output": {"output": {"done": True}},
    "complete": {"output": {"done": True}},
    "finish": {"finish_state": "success"},
    "retry": {"input": {"router": 8}},
    "update": {"name": "Replace switch"},
    "set_priority": {"priority": 1},
    "comment": {"text": "Late."},
    "attach": {"name": "plan.txt", "content": "YSBwbGFu"},
    "grant": {"role": "reader", "to": {"user": "erin"}},
    "revoke": {"role": "potential_owner", "from": {"group": "noc"}},
}
"""A body that each operation accepts."""


BY_THE_CLOCK = {"expire", "mark_unclaimable", "mark_claimable"}


def held_by(user: User, task: Task) -> Task:
    """The task, claimed."""
    return ACTIONS["claim"]([task.pk], call=call_by(user)).one()


def test_every_operation_has_an_input_a_body_in_these_tests_and_two_routes(cast: Cast) -> None:
    api = Api(cast.dave)
    assert set(INPUTS) == set(ACTIONS) - BY_THE_CLOCK - {"undo"} == set(BODIES)
    for name in INPUTS:
        for path in (task_path(MISSING, name), bulk_path(name)):
            assert api.get(path)["Allow"] == "POST, OPTIONS"
    for path in (task_path(MISSING, "expire"), bulk_path("expire")):
        assert_problem(api.post(path, {}), 404, "not_found")


def test_every_reason_has_a_status() -> None:
    assert set(STATUSES) == set(errors.reasons())


# --- Reading -------------------------------------------------------------------------------------


def test_a_task_is_shown_whole(cast: Cast) -> None:
    job = JobFactory(name="Upgrade of site 7")
    above = make_task(cast.carol, cast.noc)
    due = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
    made = make_task(
        cast.carol,
        cast.noc,
        cast.bob,
        name="Replace router 7",
        description="Rack 4",
        due_at=due,
        input={"site": 7, "password": "secret"},
        secret_pointers=["/input/password"],
        custom_properties={"colour": "red"},
        output_schema={"type": "object"},
        source="ticket",
        external_id="T-1",
        job=job,
        parent=above,
        people_of={TaskRole.READER: [people.user("erin")]},
    )
    task = held_by(cast.alice, made)
    response = Api(cast.alice).get(task_path(task.pk))
    assert response.status_code == 200
    assert response["ETag"] == '"2"'
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    times = {
        name: getattr(task, name).isoformat().replace("+00:00", "Z")
        for name in ("created_at", "updated_at", "activated_at", "claimed_at")
    }
    assert response.json() == {
        "url": f"http://testserver{task_path(task.pk)}",
        "id": str(task.pk),
        "version": 2,
        "name": "Replace router 7",
        "description": "Rack 4",
        "kind": "manual",
        "state": "reserved",
        "state_label": "Assigned",
        "on_hold": False,
        "wakeup_at": None,
        "priority": 5,
        "due_at": "2030-01-31T12:00:00Z",
        "expires_at": None,
        "owner": "alice",
        "originator": "carol",
        "starter": "carol",
        "people": {
            "potential_owner": {"users": ["bob"], "groups": ["noc"]},
            "reader": {"users": ["erin"], "groups": []},
            "administrator": {"users": ["carol"], "groups": []},
        },
        "input": {"site": 7, "password": "secret"},
        "output": None,
        "fault": None,
        "fault_name": "",
        "custom_properties": {"colour": "red"},
        "output_schema": {"type": "object"},
        "source": "ticket",
        "external_id": "T-1",
        "job": {"id": job.pk, "name": "Upgrade of site 7"},
        "short_id": task.short_id,
        "parent": str(above.pk),
        "flags": {"claim_while_on_hold": False, "skippable": False, "automatic_claim": False},
        **times,
        "ended_at": None,
        "permitted_operations": [
            name for name, no in actions.permitted(task, call_by(cast.alice)).items() if no is None
        ],
    }
    seen_by_a_reader = Api(cast.erin).get(task_path(task.pk)).json()
    assert seen_by_a_reader["input"] == {"site": 7, "password": "******"}
    assert seen_by_a_reader["permitted_operations"] == []


def test_a_task_without_a_job_has_none_and_a_hidden_parent_is_not_named(cast: Cast) -> None:
    above = make_task(cast.carol, cast.field)
    task = make_task(cast.carol, cast.noc, parent=above)
    shown = Api(cast.bob).get(task_path(task.pk)).json()
    assert "job" not in shown
    assert shown["parent"] is None
    assert Api(cast.carol).get(task_path(task.pk)).json()["parent"] == str(above.pk)


def test_a_visible_task_is_forbidden_without_the_permission_to_view(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    response = Api(cast.svc_integration).get(task_path(task.pk))
    path = task_path(task.pk)
    assert response.status_code == 403
    detail = "You are not permitted to view this task."
    assert response.json() == problem(path, 403, "not_authorized", detail, version=1)
    listed = Api(cast.svc_integration).get(TASKS)
    assert listed.status_code == 403
    detail = "You are not permitted to view tasks."
    assert listed.json() == problem(TASKS, 403, "not_permitted", detail)


def test_a_known_version_is_not_sent_again(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    for known in ('"1"', 'W/"1"', '"7", "1"', "*"):
        response = api.get(task_path(task.pk), If_None_Match=known)
        assert (response.status_code, response.content, response["ETag"]) == (304, b"", '"1"')
    for other in ('"2"', '"1x"', '""', 'W/"01"'):
        assert api.get(task_path(task.pk), If_None_Match=other).status_code == 200
    hidden = Api(cast.frank).get(task_path(task.pk), If_None_Match="*")
    assert_problem(hidden, 404, "task_not_found")


def test_head_answers_as_get_without_a_body(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    for path in (TASKS, task_path(task.pk), "/api/v1/"):
        response = Api(cast.bob).send("HEAD", path)
        assert (response.status_code, response.content) == (200, b"")
    assert response["X-Request-ID"] == "test-request"


# --- Acting on one task --------------------------------------------------------------------------


def test_a_release_answers_with_the_task_and_leaves_one_event(cast: Cast) -> None:
    task = held_by(cast.bob, make_task(cast.carol, cast.noc))
    response = Api(cast.alice).post(task_path(task.pk, "release"), {"reason": "he is ill"})
    assert response.status_code == 200
    assert response["ETag"] == '"3"'
    shown = Api(cast.alice).get(task_path(task.pk)).json()
    shown.pop("permitted_operations")
    assert response.json() == shown
    assert (shown["state"], shown["owner"], shown["version"]) == ("ready", None, 3)
    assert shown["claimed_at"] is None
    event = AuditEvent.objects.get(task_id=task.pk, version=3)
    assert (event.event, event.actor, event.channel) == ("released", "alice", "native")
    assert (event.request_id, event.reason) == ("test-request", "he is ill")
    assert event.before == {"state": "reserved", "owner": "bob"}
    assert event.after == {"state": "ready", "owner": None}
    assert OutboxEvent.objects.filter(event=event).count() == 1
    assert not BulkOperation.objects.exists()


def test_transfer_names_roles_users_and_groups(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    body = {
        "role": "potential_owner",
        "to": {"group": "field"},
        "from": {"group": "noc"},
        "reason": "moved",
    }
    response = Api(cast.dave).post(task_path(task.pk, "transfer"), body)
    assert response.status_code == 200
    assert response.json()["people"]["potential_owner"] == {"users": [], "groups": ["field"]}


def test_a_claim_by_the_holder_answers_the_task_and_changes_nothing(cast: Cast) -> None:
    task = held_by(cast.bob, make_task(cast.carol, cast.noc))
    before = everything()
    response = Api(cast.bob).post(task_path(task.pk, "claim"))
    assert response.status_code == 200
    assert (response.json()["owner"], response.json()["version"]) == ("bob", 2)
    assert response["ETag"] == '"2"'
    assert everything() == before
    stale = Api(cast.bob).post(task_path(task.pk, "claim"), If_Match='"1"')
    assert_problem(stale, 412, "stale_task")
    assert everything() == before


def test_assigning_to_the_holder_is_a_conflict(cast: Cast) -> None:
    task = held_by(cast.bob, make_task(cast.carol, cast.noc))
    path = task_path(task.pk, "assign")
    response = Api(cast.bob).post(path, {"to": {"user": "bob"}})
    detail = "The task already belongs to bob."
    assert response.json() == problem(path, 409, "already_owner", detail, version=2, holder="bob")


def test_a_conflict_tells_version_and_holder(cast: Cast) -> None:
    task = held_by(cast.alice, make_task(cast.carol, cast.noc))
    before = everything()
    path = task_path(task.pk, "claim")
    response = Api(cast.bob).post(path)
    assert response.status_code == 409
    assert response["ETag"] == '"2"'
    detail = "A task in state reserved does not allow claim."
    assert response.json() == problem(
        path, 409, "invalid_task_state", detail, version=2, holder="alice"
    )
    assert everything() == before


def test_an_output_that_does_not_fit_is_told_by_pointer(cast: Cast) -> None:
    schema = {"type": "object", "properties": {"ports": {"type": "integer"}}}
    task = held_by(cast.bob, make_task(cast.carol, cast.noc, output_schema=schema))
    before = everything()
    response = Api(cast.bob).post(task_path(task.pk, "complete"), {"output": {"ports": "many"}})
    document = assert_problem(response, 400, "invalid_output")
    assert document["version"] == 2
    ((error),) = document["errors"]
    assert (error["pointer"], error["code"]) == ("/output/ports", "invalid_output")
    assert everything() == before


# --- If-Match ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", ['"2"', '"1", "2"', '"9", "x",  W/"2", "2"', "*", ' "2" '])
def test_if_match_lets_the_named_version_pass(cast: Cast, tags: str) -> None:
    task = held_by(cast.bob, make_task(cast.carol, cast.noc))
    response = Api(cast.bob).post(task_path(task.pk, "release"), If_Match=tags)
    assert (response.status_code, response["ETag"]) == (200, '"3"')


@pytest.mark.parametrize("tags", ['"1"', '"3", "1"', 'W/"2"', '"02"', '"x"', '""', '"2~"'])
def test_if_match_stops_any_other_version(cast: Cast, tags: str) -> None:
    task = held_by(cast.bob, make_task(cast.carol, cast.noc))
    before = everything()
    path = task_path(task.pk, "release")
    response = Api(cast.bob).post(path, If_Match=tags)
    assert response.status_code == 412
    assert response["ETag"] == '"2"'
    detail = "The task is at version 2, which If-Match does not name."
    assert response.json() == problem(path, 412, "stale_task", detail, version=2, holder="bob")
    assert everything() == before


@pytest.mark.parametrize("tags", ["2", "", '"2', '"2" "3"', "W/2", '*, "2"', ",", 'w/"2"'])
def test_a_malformed_if_match_is_refused(cast: Cast, tags: str) -> None:
    task = held_by(cast.bob, make_task(cast.carol, cast.noc))
    before = everything()
    response = Api(cast.bob).post(task_path(task.pk, "release"), If_Match=tags)
    assert_problem(response, 400, "invalid_header")
    assert everything() == before


def test_if_match_is_refused_where_it_means_nothing(cast: Cast) -> None:
    for path in (TASKS, bulk_path("claim")):
        response = Api(cast.carol).post(path, {"name": "x"}, If_Match='"1"')
        assert_problem(response, 400, "invalid_header")


# --- The order of the answers --------------------------------------------------------------------


def test_each_reason_comes_before_the_next(cast: Cast) -> None:
    """One call with everything wrong with it, mended step by step."""
    schema = {"type": "object"}
    task = make_task(cast.carol, cast.noc, output_schema=schema)
    before = everything()
    path = task_path(task.pk, "release")
    bad = {"nonsense": 1}

    def ask(api: Api, status: int, code: str, body: Any, where: str = path) -> None:
        assert_problem(api.post(where, body, If_Match='"7"'), status, code)
        assert everything() == before

    nobody, stranger, reader = Api(), Api(cast.frank), Api(cast.svc_reader)
    member, wrong_token = Api(cast.bob), Api(Authorization="Token htm_wrong")
    ask(nobody, 400, "invalid_id", bad, task_path("not-an-id", "release"))
    ask(nobody, 400, "invalid_parameter", bad, f"{path}?x=1")
    ask(nobody, 401, "not_authenticated", bad)
    ask(wrong_token, 401, "authentication_failed", bad)
    ask(stranger, 404, "task_not_found", bad)
    ask(stranger, 404, "task_not_found", b"{")
    ask(reader, 403, "not_authorized", bad)
    ask(reader, 403, "not_authorized", b"{")
    ask(member, 400, "invalid_body", bad)
    ask(member, 400, "invalid_json", b"{")
    ask(member, 412, "stale_task", {})
    assert_problem(member.post(path, {}), 409, "invalid_task_state")
    assert everything() == before

    held_by(cast.alice, task)
    before = everything()
    response = member.post(path, {})
    document = assert_problem(response, 400, "reason_required")
    assert document["version"] == 2
    for nothing in ({"reason": None}, {"reason": ""}):
        assert_problem(member.post(path, nothing), 400, "reason_required")
    assert everything() == before
    assert member.post(path, {"reason": "a colleague may"}).status_code == 200


def test_names_are_looked_up_only_for_those_who_may_act(cast: Cast) -> None:
    task = held_by(cast.alice, make_task(cast.carol, cast.noc))
    before = everything()
    path = task_path(task.pk, "transfer")
    for name in ("nobody-of-that-name", "bob"):
        body = {"role": "owner", "to": {"user": name}, "from": {"user": "alice"}}
        assert_problem(Api(cast.frank).post(path, body), 404, "task_not_found")
        assert_problem(Api(cast.erin).post(path, body), 403, "not_authorized")
        body["role"] = "no-such-role"
        assert_problem(Api(cast.frank).post(path, body), 404, "task_not_found")
        assert_problem(Api(cast.erin).post(path, body), 403, "not_authorized")
    unknown = {"role": "owner", "to": {"user": "ghost"}, "from": {"user": "alice"}}
    assert_problem(Api(cast.dave).post(path, unknown, If_Match='"9"'), 400, "unknown_user")
    assert_problem(Api(cast.dave).post(path, {**unknown, "role": "x"}), 400, "unknown_role")
    group = {**unknown, "to": {"group": "noc"}}
    document = assert_problem(Api(cast.dave).post(path, group), 400, "invalid_argument")
    assert document["errors"][0]["pointer"] == "/to"
    cast.carol.is_active = False
    cast.carol.save()
    inactive = {**unknown, "to": {"user": "carol"}}
    assert_problem(Api(cast.dave).post(path, inactive), 400, "target_inactive")
    empty = {"role": "potential_owner", "to": {"group": "change-board"}, "from": {"group": "noc"}}
    assert_problem(Api(cast.dave).post(path, empty), 400, "target_empty")
    assert AuditEvent.objects.count() == 2
    assert everything()[0] == before[0]


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("body", [None, b"[", {"surplus": 1}, "good"])
def test_a_hidden_task_is_as_a_missing_one(cast: Cast, name: str, body: Any) -> None:
    hidden = held_by(cast.alice, make_task(cast.carol, cast.noc))
    if body == "good":
        body = BODIES[name]
    before = everything()
    answers = []
    for pk in (hidden.pk, MISSING):
        for tags in ({}, {"If_Match": '"1"'}):
            response = Api(cast.frank).post(task_path(pk, name), body, **tags)
            assert_problem(response, 404, "task_not_found")
            headers = sorted(response.headers.items())
            text = response.content.decode().replace(str(pk), "ID")
            answers.append((text, headers))
    lengths = [(key, value) for key, value in answers[0][1] if key != "Content-Length"]
    for text, headers in answers:
        assert text == answers[0][0]
        assert [item for item in headers if item[0] != "Content-Length"] == lengths
    assert everything() == before


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_hidden_task_is_as_a_missing_one_to_every_method(cast: Cast, method: str) -> None:
    hidden = make_task(cast.carol, cast.noc)
    api = Api(cast.frank)
    one, other = (
        api.send(method, task_path(pk), b'{"surplus": 1}', "application/json")
        for pk in (hidden.pk, MISSING)
    )
    assert one.status_code == other.status_code
    assert one.content.replace(str(hidden.pk).encode(), b"ID") == other.content.replace(
        str(MISSING).encode(), b"ID"
    )
    assert sorted(one.headers.items()) == sorted(other.headers.items())
    if method in ("GET", "HEAD", "PATCH", "DELETE"):
        assert one.status_code == 404
    elif method != "OPTIONS":
        assert_problem(one, 405, "method_not_allowed")
        assert one["Allow"] == "GET, PATCH, DELETE, HEAD, OPTIONS"


def test_an_excluded_account_sees_nothing_else_it_is_told_no(cast: Cast) -> None:
    task = make_task(
        cast.carol, cast.field, people_of={TaskRole.EXCLUDED_OWNER: [people.user("bob")]}
    )
    assert_problem(Api(cast.bob).post(task_path(task.pk, "claim")), 404, "task_not_found")
    both = make_task(
        cast.carol, cast.noc, people_of={TaskRole.EXCLUDED_OWNER: [people.user("bob")]}
    )
    response = Api(cast.bob).post(task_path(both.pk, "claim"))
    document = assert_problem(response, 403, "not_authorized")
    assert document["version"] == 1
    assert "holder" not in document


# --- Acting on many ------------------------------------------------------------------------------


def test_many_are_answered_each_once_in_the_order_asked(cast: Cast) -> None:
    free, taken, stale, kept = make_tasks(4, cast.carol, [cast.noc])
    hidden = make_task(cast.carol, cast.field)
    held_by(cast.alice, taken)
    ids = [
        str(kept.pk).upper(),
        str(hidden.pk),
        {"id": str(stale.pk), "version": 7},
        str(taken.pk),
        str(MISSING),
        {"id": str(free.pk), "version": 1},
        str(kept.pk),
        str(free.pk),
    ]
    response = Api(cast.bob).post(bulk_path("claim"), {"ids": ids, "reason": "my round"})
    assert response.status_code == 200
    answer = response.json()
    operation_id = answer.pop("operation_id")
    gone = {"code": "task_not_found", "detail": "There is no such task.", "version": None}
    assert answer == {
        "counts": {
            "done": 2,
            "refused": 4,
            "refused_by_reason": {"task_not_found": 2, "stale_task": 1, "invalid_task_state": 1},
        },
        "done": [{"id": str(kept.pk), "version": 2}, {"id": str(free.pk), "version": 2}],
        "refused": [
            {"id": str(hidden.pk), **gone},
            {
                "id": str(stale.pk),
                "code": "stale_task",
                "detail": "The task has changed: version 7 was expected.",
                "version": 1,
            },
            {
                "id": str(taken.pk),
                "code": "invalid_task_state",
                "detail": "A task in state reserved does not allow claim.",
                "version": 2,
            },
            {"id": str(MISSING), **gone},
        ],
    }
    events = AuditEvent.objects.filter(operation_id=operation_id)
    assert {(event.task_id, event.version, event.reason) for event in events} == {
        (kept.pk, 2, "my round"),
        (free.pk, 2, "my round"),
    }
    assert OutboxEvent.objects.filter(event__in=events).count() == 2
    stored = BulkOperation.objects.get()
    assert str(stored.pk) == operation_id
    assert (stored.operation, stored.actor, stored.channel) == ("claim", cast.bob, "native")
    assert (stored.done_count, len(stored.ids), len(stored.refused)) == (2, 6, 4)
    assert Task.objects.get(pk=stale.pk).version == 1


def test_an_empty_list_does_nothing(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    response = Api(cast.bob).post(bulk_path("claim"), {"ids": []})
    assert response.status_code == 200
    assert (response.json()["done"], response.json()["refused"]) == ([], [])
    assert set(response.json()) == {"operation_id", "counts", "done", "refused"}
    assert AuditEvent.objects.count() == Task.objects.get(pk=task.pk).version == 1


def test_holding_it_already_is_refused_in_bulk(cast: Cast) -> None:
    task = held_by(cast.bob, make_task(cast.carol, cast.noc))
    answer = Api(cast.bob).post(bulk_path("claim"), {"ids": [str(task.pk)]}).json()
    assert [item["code"] for item in answer["refused"]] == ["already_owner"]


def test_without_the_permission_each_visible_item_is_refused_and_no_name_looked_up(
    cast: Cast,
) -> None:
    task = make_task(cast.carol, cast.noc)
    body = {"ids": [str(task.pk), str(MISSING)], "to": {"user": "ghost"}}
    answer = Api(cast.erin).post(bulk_path("assign"), body).json()
    assert [item["code"] for item in answer["refused"]] == ["not_authorized", "task_not_found"]
    response = Api(cast.dave).post(bulk_path("assign"), body)
    assert_problem(response, 400, "unknown_user")
    assert AuditEvent.objects.count() == 1


def test_too_many_ids_are_refused_as_a_whole(cast: Cast) -> None:
    body = {"ids": [str(MISSING)] * 100_001}
    before = everything()
    document = assert_problem(Api(cast.dave).post(bulk_path("claim"), body), 413, "too_many_tasks")
    assert document["detail"].startswith("100001 tasks are more than the 100000")
    assert everything() == before
    body = {"ids": [str(MISSING)] * 10_000}
    assert len(Api(cast.dave).post(bulk_path("claim"), body).json()["refused"]) == 1


@pytest.mark.parametrize(
    ("ids", "pointer", "code"),
    [
        ("x", "/ids", "not_a_list"),
        (None, "/ids", "null"),
        ({}, "/ids", "not_a_list"),
        ([1], "/ids/0", "invalid_id"),
        ([str(MISSING), None], "/ids/1", "invalid_id"),
        ([[str(MISSING)]], "/ids/0", "invalid_id"),
        ([str(MISSING).replace("-", "")], "/ids/0", "invalid_id"),
        (["{" + str(MISSING) + "}"], "/ids/0", "invalid_id"),
        (["urn:uuid:" + str(MISSING)], "/ids/0", "invalid_id"),
        ([str(MISSING) + "\n"], "/ids/0", "invalid_id"),
        ([str(MISSING).replace("0", "\u0660")], "/ids/0", "invalid_id"),
        ([{}], "/ids/0", "invalid_id"),
        ([{"id": str(MISSING), "etag": 1}], "/ids/0/etag", "unknown_field"),
        ([{"id": str(MISSING), "version": "1"}], "/ids/0/version", "invalid"),
        ([{"id": str(MISSING), "version": True}], "/ids/0/version", "invalid"),
        ([{"id": str(MISSING), "version": 0}], "/ids/0/version", "invalid"),
        (
            [{"id": str(MISSING), "version": 1}, {"id": str(MISSING), "version": 2}],
            "/ids/1/version",
            "contradiction",
        ),
    ],
)
def test_ids_that_are_none_are_told_by_pointer(
    cast: Cast, ids: Any, pointer: str, code: str
) -> None:
    before = everything()
    response = Api(cast.dave).post(bulk_path("claim"), {"ids": ids})
    document = assert_problem(response, 400, "invalid_body")
    ((error),) = document["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert everything() == before


def test_only_the_first_errors_are_told(cast: Cast) -> None:
    response = Api(cast.dave).post(bulk_path("claim"), {"ids": [1] * 10_000})
    assert len(assert_problem(response, 400, "invalid_body")["errors"]) == 20


def test_ids_are_required_in_bulk_and_unknown_singly(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    missing = Api(cast.bob).post(bulk_path("claim"), {})
    assert assert_problem(missing, 400, "invalid_body")["errors"][0] == {
        "pointer": "/ids",
        "code": "required",
        "detail": "Name the tasks by ids, or else by a filter.",
    }
    surplus = Api(cast.bob).post(task_path(task.pk, "claim"), {"ids": [str(task.pk)]})
    assert assert_problem(surplus, 400, "invalid_body")["errors"] == [
        {"pointer": "/ids", "code": "unknown_field", "detail": "There is no such field."}
    ]


# --- Making tasks --------------------------------------------------------------------------------


def test_a_task_is_made_as_asked(cast: Cast) -> None:
    job = JobFactory()
    above = make_task(cast.carol, cast.field)
    body = {
        "name": "Replace router 7",
        "description": " as it is ",
        "priority": 1,
        "due_at": "2030-01-31T13:00:00+01:00",
        "expires_at": "2031-01-31t12:00:00.5z",
        "input": {"site": 7},
        "output_schema": {"type": "object"},
        "custom_properties": {"colour": "red"},
        "source": "ticket",
        "external_id": "T-1",
        "job": job.pk,
        "short_id": "a1",
        "parent": str(above.pk).upper(),
        "claim_while_on_hold": True,
        "skippable": True,
        "automatic_claim": False,
        "people": {
            "potential_owner": {"users": ["bob"], "groups": ["noc", "field"]},
            "reader": {"users": ["erin"]},
            "administrator": {},
        },
    }
    response = Api(cast.carol).post(TASKS, body)
    assert response.status_code == 201, response.content
    shown = response.json()
    task = Task.objects.get(pk=shown["id"])
    assert response["Location"] == shown["url"] == f"http://testserver{task_path(task.pk)}"
    assert response["ETag"] == '"1"'
    assert (task.state, task.version, task.starter) == ("ready", 1, cast.carol)
    again = Api(cast.carol).get(task_path(task.pk)).json()
    again.pop("permitted_operations")
    assert again == shown
    assert {name: shown[name] for name in ("due_at", "expires_at", "description")} == {
        "due_at": "2030-01-31T12:00:00Z",
        "expires_at": "2031-01-31T12:00:00.500000Z",
        "description": " as it is ",
    }
    assert shown["people"] == {
        "potential_owner": {"users": ["bob"], "groups": ["field", "noc"]},
        "reader": {"users": ["erin"], "groups": []},
        "administrator": {"users": ["carol"], "groups": []},
    }
    assert (shown["job"]["id"], shown["short_id"], shown["parent"]) == (job.pk, "a1", str(above.pk))
    assert shown["flags"] == {
        "claim_while_on_hold": True,
        "skippable": True,
        "automatic_claim": False,
    }
    event = AuditEvent.objects.get(task_id=task.pk)
    assert (event.event, event.actor, event.channel) == ("created", "carol", "native")
    assert OutboxEvent.objects.filter(event=event).exists()


def test_a_name_is_enough(cast: Cast) -> None:
    shown = Api(cast.svc_integration).post(TASKS, {"name": "Look into it"}).json()
    assert (shown["state"], shown["originator"]) == ("ready", "svc-integration")
    assert shown["people"]["potential_owner"] == {"users": [], "groups": ["everybody"]}


def test_waiting_and_automatic_claim(cast: Cast) -> None:
    body = {"name": "Later", "waiting": True}
    assert Api(cast.carol).post(TASKS, body).json()["state"] == "created"
    body = {
        "name": "His",
        "automatic_claim": True,
        "people": {"potential_owner": {"users": ["bob"]}},
    }
    shown = Api(cast.carol).post(TASKS, body).json()
    assert (shown["state"], shown["owner"], shown["version"]) == ("reserved", "bob", 1)


def test_whoever_may_not_make_tasks_is_told_before_what_is_wrong(cast: Cast) -> None:
    before = everything()
    assert_problem(Api().post(TASKS, {"nonsense": 1}), 401, "not_authenticated")
    for body in ({"name": "x"}, {"nonsense": 1}, b"{", {"name": "x", "job": 99}, None):
        assert_problem(Api(cast.bob).post(TASKS, body), 403, "not_permitted")
    assert everything() == before


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("name", "", "blank"),
        ("name", "  ", "invalid_argument"),
        ("name", None, "null"),
        ("name", 7, "invalid"),
        ("name", "x" * 256, "max_length"),
        ("description", 7, "invalid"),
        ("description", None, "null"),
        ("priority", 11, "invalid_argument"),
        ("priority", -1, "invalid_argument"),
        ("priority", 2**62, "invalid_argument"),
        ("priority", "5", "invalid"),
        ("priority", 5.0, "invalid"),
        ("priority", True, "invalid"),
        ("priority", None, "null"),
        ("due_at", "2030-01-31", "invalid"),
        ("due_at", "2030-01-31T12:00:00", "invalid"),
        ("due_at", "2030-01-31T12:00Z", "invalid"),
        ("due_at", "2030-02-31T12:00:00Z", "invalid"),
        ("due_at", "2030-01-31T12:00:00+99:00", "invalid"),
        ("due_at", "0001-01-01T00:00:00+10:00", "overflow"),
        ("due_at", 1893456000, "invalid"),
        ("expires_at", "soon", "invalid"),
        ("input", None, "null"),
        ("output_schema", 7, "object"),
        ("output_schema", {"type": "nonsense"}, "invalid_argument"),
        ("output_schema", {"$ref": "http://elsewhere.example/schema"}, "invalid_argument"),
        ("custom_properties", [], "object"),
        ("custom_properties", None, "null"),
        ("job", 99, "unknown_job"),
        ("job", 2**63 - 1, "unknown_job"),
        ("job", -1, "unknown_job"),
        ("job", "1", "invalid"),
        ("parent", str(MISSING), "task_not_found"),
        ("parent", "x", "invalid_id"),
        ("parent", 7, "invalid_id"),
        ("skippable", "true", "invalid"),
        ("skippable", 1, "invalid"),
        ("skippable", None, "null"),
        ("waiting", 0, "invalid"),
        ("people", [], "object"),
        ("people", None, "null"),
        ("id", str(MISSING), "unknown_field"),
        ("state", "completed", "unknown_field"),
        ("owner", "bob", "unknown_field"),
        ("secret_pointers", [], "unknown_field"),
        ("version", 1, "unknown_field"),
    ],
)
def test_each_member_of_a_new_task_is_checked(
    cast: Cast, member: str, value: Any, code: str
) -> None:
    before = everything()
    response = Api(cast.carol).post(TASKS, {"name": "x", member: value})
    top = code if code == "invalid_argument" else "invalid_body"
    document = assert_problem(response, 400, top)
    ((error),) = document["errors"]
    assert (error["pointer"], error["code"]) == (f"/{member}", code)
    assert everything() == before


@pytest.mark.parametrize(
    ("people", "pointer", "code"),
    [
        ({"reader": None}, "/people/reader", "null"),
        ({"reader": []}, "/people/reader", "invalid"),
        ({"reader": {"user": []}}, "/people/reader/user", "unknown_field"),
        ({"reader": {"users": "bob"}}, "/people/reader/users", "not_a_list"),
        ({"reader": {"users": ["bob", 7]}}, "/people/reader/users/1", "invalid"),
        ({"reader": {"groups": ["x"] * 101}}, "/people/reader/groups", "max_length"),
    ],
)
def test_people_of_a_new_task_are_checked(cast: Cast, people: Any, pointer: str, code: str) -> None:
    response = Api(cast.carol).post(TASKS, {"name": "x", "people": people})
    ((error),) = assert_problem(response, 400, "invalid_body")["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert not Task.objects.exists()


def test_people_who_do_not_exist_and_roles_that_are_none(cast: Cast) -> None:
    for people_given, code in (
        ({"reader": {"users": ["ghost"]}}, "unknown_user"),
        ({"reader": {"groups": ["ghosts"]}}, "unknown_group"),
        ({"potential_owner": {"groups": ["change-board"]}}, "target_empty"),
        ({"owner": {"users": ["bob"]}}, "unknown_role"),
        ({"king": {}}, "unknown_role"),
    ):
        response = Api(cast.carol).post(TASKS, {"name": "x", "people": people_given})
        assert_problem(response, 400, code)
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"source": "ticket"}, "/external_id"),
        ({"external_id": "T-1"}, "/source"),
        ({"short_id": "a"}, "/job"),
        ({"source": "ticket", "external_id": None}, "/external_id"),
    ],
)
def test_halves_are_refused(cast: Cast, body: dict[str, Any], pointer: str) -> None:
    response = Api(cast.carol).post(TASKS, {"name": "x", **body})
    assert assert_problem(response, 400, "invalid_body")["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("short", ["", "A", "12345", "g", "a\n", "\u0661", 7])
def test_short_ids_are_checked(cast: Cast, short: Any) -> None:
    job: Job = JobFactory()
    response = Api(cast.carol).post(TASKS, {"name": "x", "job": job.pk, "short_id": short})
    assert_problem(response, 400, "invalid_body")


def test_a_hidden_parent_is_as_a_missing_one(cast: Cast) -> None:
    hidden = make_task(cast.dave, cast.noc)
    before = everything()
    answers = {
        Api(cast.carol).post(TASKS, {"name": "x", "parent": str(pk)}).content
        for pk in (hidden.pk, MISSING)
    }
    assert len(answers) == 1
    assert everything() == before


def test_external_and_short_ids_are_taken_once(cast: Cast) -> None:
    job: Job = JobFactory()
    body = {"name": "x", "source": "ticket", "external_id": "T-1"}
    assert Api(cast.carol).post(TASKS, body).status_code == 201
    body["name"] = "y"
    assert_problem(Api(cast.carol).post(TASKS, body), 409, "external_id_taken")
    body = {"name": "x", "job": job.pk, "short_id": "a"}
    assert Api(cast.carol).post(TASKS, body).status_code == 201
    document = assert_problem(Api(cast.carol).post(TASKS, body), 400, "invalid_argument")
    assert document["errors"][0]["pointer"] == "/short_id"
    assert Task.objects.count() == AuditEvent.objects.count() == 2


# --- Faults of the server ------------------------------------------------------------------------


def test_a_database_that_is_away_is_said_to_be(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("connection to 10.0.0.1 lost")

    monkeypatch.setattr("tasks.work_items.lock", away)
    monkeypatch.setattr("tasks.api.native.views.reading.find", away)
    for response in (
        api.post(task_path(task.pk, "claim")),
        api.post(bulk_path("claim"), {"ids": [str(task.pk)]}),
        api.get(task_path(task.pk)),
        api.get(task_path(task.pk), Accept="text/html"),
    ):
        assert_problem(response, 503, "database_unavailable")
        assert response["Retry-After"] == "5"
        assert b"10.0.0.1" not in response.content
    monkeypatch.setattr("accounts.authentication.find", away)
    for accept in ("*/*", "text/html"):
        assert_problem(api.get(TASKS, Accept=accept), 503, "database_unavailable")


def test_an_unexpected_fault_is_logged_and_not_shown(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(TaskViewSet, "list", broken)
    for accept in ("application/json", "text/html"):
        response = Api(cast.bob).get(TASKS, Accept=accept)
        document = assert_problem(response, 500, "internal_error")
        assert "swordfish" not in str(document)
    record = next(record for record in caplog.records if record.name.startswith("tasks.api.native"))
    assert "swordfish" in (record.exc_text or str(record.exc_info))


# --- Who asks ------------------------------------------------------------------------------------


def test_a_session_may_read_and_needs_the_token_to_write(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api()
    api.client.handler.enforce_csrf_checks = True
    api.client.force_login(cast.bob, "accounts.backends.RoleBackend")
    assert api.get(task_path(task.pk)).status_code == 200
    before = everything()
    assert_problem(api.post(task_path(task.pk, "claim")), 403, "csrf_failed")
    assert_problem(api.post(bulk_path("claim"), {"ids": []}), 403, "csrf_failed")
    assert_problem(api.post(TASKS, {"name": "x"}), 403, "csrf_failed")
    assert everything() == before
    page = api.get(TASKS, Accept="text/html").content.decode()
    token = page.partition('"csrfToken": "')[2].partition('"')[0]
    assert api.post(task_path(task.pk, "claim"), X_CSRFToken=token).status_code == 200


def test_a_session_changes_nothing_in_the_order_of_the_answers(cast: Cast) -> None:
    hidden = make_task(cast.carol, cast.field)
    seen = make_task(cast.carol, cast.noc)
    api = Api()
    api.client.handler.enforce_csrf_checks = True
    path = task_path(hidden.pk, "claim")
    assert_problem(api.post(path, b"{"), 401, "not_authenticated")
    api.client.force_login(cast.bob, "accounts.backends.RoleBackend")
    assert_problem(api.post(path, b"{"), 403, "csrf_failed")
    page = api.get(TASKS, Accept="text/html").content.decode()
    token = page.partition('"csrfToken": "')[2].partition('"')[0]
    assert_problem(api.post(path, b"{", X_CSRFToken=token), 404, "task_not_found")
    path = task_path(seen.pk, "claim")
    assert_problem(api.post(path, b"{", X_CSRFToken=token), 400, "invalid_json")


def test_a_form_is_never_taken_for_an_empty_body(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    before = everything()
    api = Api()
    api.client.handler.enforce_csrf_checks = True
    api.client.force_login(cast.bob, "accounts.backends.RoleBackend")
    page = api.get(TASKS, Accept="text/html").content.decode()
    token = page.partition('"csrfToken": "')[2].partition('"')[0]
    path = task_path(task.pk, "claim")
    form = f"csrfmiddlewaretoken={token}&reason=x".encode()
    kind = "application/x-www-form-urlencoded"
    assert_problem(api.send("POST", path, form, kind), 415, "unsupported_media_type")
    parts = (
        f'--B\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n{token}\r\n--B--'
    )
    kind = "multipart/form-data; boundary=B"
    response = api.send("POST", path, parts.encode(), kind)
    assert_problem(response, 415, "unsupported_media_type")
    for accept in ("*/*", "text/html"):
        response = api.send("POST", path, b"x", "multipart/form-data", Accept=accept)
        assert_problem(response, 400, "unreadable_body")
    assert everything() == before


def test_basic_credentials_count_only_where_a_site_wants_them(cast: Cast) -> None:
    import base64

    def basic(password: str) -> str:
        return "Basic " + base64.b64encode(f"bob:{password}".encode()).decode()

    right = Api(Authorization=basic("bob-demo"))
    response = right.get(TASKS)
    assert_problem(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Token"
    with override_settings(NATIVE_BASIC_AUTH=True):
        assert right.get(TASKS).status_code == 200
        wrong = Api(Authorization=basic("guess"))
        for _ in range(10):
            assert_problem(wrong.get(TASKS), 401, "authentication_failed")
        response = wrong.get(TASKS)
        assert_problem(response, 429, "throttled")
        assert 0 < int(response["Retry-After"]) <= 900


def test_bearer_is_understood_and_inactive_accounts_are_not_let_in(cast: Cast) -> None:
    api = Api(cast.bob)
    secret = api.headers["Authorization"].removeprefix("Token ")
    assert Api(Authorization=f"Bearer {secret}").get(TASKS).status_code == 200
    cast.bob.is_active = False
    cast.bob.save()
    assert_problem(api.get(TASKS), 401, "authentication_failed")
