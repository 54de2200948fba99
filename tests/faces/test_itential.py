"""Itential's face: one task read, claimed, assigned and released, as its clients know it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import User
from tasks import actions, people
from tasks.api.itential.documents import STATUS, project
from tasks.api.itential.errors import STATUSES
from tasks.errors import reasons
from tasks.imports import STATES
from tasks.lifecycle import State
from tasks.models import AuditEvent, Channel, OutboxEvent, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.core.record import nothing_changes
from tests.faces.itential_client import OM, REQUEST_ID, act, assert_error, document, get, send
from tests.factories import JobFactory, call_by, make_task

CLAIMED = "Successfully claimed the task"
ASSIGNED = "Successfully assigned the task"
RELEASED = "Successfully released the task"
RETRIEVED = "Successfully retrieved item"
NOT_FOUND = "There is no such task."

MEMBERS = {
    "_id",
    "location",
    "view",
    "status",
    "app",
    "name",
    "variables",
    "last_updated",
    "encodingVersion",
    "incomingRefs",
    "groups",
    "type",
    "metrics",
}
"""The top-level members of a task without a job (spec, 1.6)."""


@pytest.fixture
def task(cast: Cast) -> Task:
    """A ready task of the team noc, version 1."""
    return make_task(cast.dave, cast.noc, name="Replace router", input={"site": "FRA2"})


def held(cast: Cast, holder: User, **more: Any) -> Task:
    """A task of the team that somebody holds, version 2."""
    made = make_task(cast.dave, cast.noc, **more)
    return actions.claim([made.pk], call=call_by(holder)).one()


def iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def only_event(task: Task, version: int) -> AuditEvent:
    """The event of one version; it has its outbox row."""
    event = AuditEvent.objects.get(task_id=task.pk, version=version)
    assert OutboxEvent.objects.filter(event=event).count() == 1
    return event


# --- The document --------------------------------------------------------------------------------


def test_a_ready_task_reads_exactly_as_the_specification_has_it(cast: Cast, task: Task) -> None:
    data = document(get(task, cast.alice), RETRIEVED)
    assert data == {
        "_id": str(task.pk),
        "location": "Application",
        "view": None,
        "status": "running",
        "app": "HumanTasks",
        "name": "Replace router",
        "variables": {"incoming": {"site": "FRA2"}, "outgoing": {}, "decorators": []},
        "last_updated": iso(task.updated_at),
        "encodingVersion": 1,
        "incomingRefs": [],
        "groups": [cast.noc.object_id],
        "type": "manual",
        "metrics": {"start_time": iso(task.created_at), "user": "", "owner": ""},
    }


def test_a_task_of_a_job_names_it(cast: Cast) -> None:
    job = JobFactory(
        name="Replace fra-edge-07", description="", legacy_id="65f1c2d4a8b9e07f3c5d1e92"
    )
    task = make_task(cast.dave, cast.noc, job=job, short_id="3a1f")
    data = document(get(task, cast.alice), RETRIEVED)
    assert set(data) == MEMBERS | {"job"}
    assert data["job"] == {
        "_id": "65f1c2d4a8b9e07f3c5d1e92",
        "task": "3a1f",
        "name": "Replace fra-edge-07",
        "description": None,
        "ancestors": ["65f1c2d4a8b9e07f3c5d1e92"],
    }


def test_times_are_text_or_numbers_each_where_it_belongs(cast: Cast) -> None:
    task = held(cast, cast.alice)
    ended = actions.complete([task.pk], call=call_by(cast.alice), output={"done": True}).one()
    assert ended.ended_at is not None
    assert ended.activated_at is not None
    data = document(get(task, cast.alice), RETRIEVED)
    assert data["status"] == "complete"
    assert data["variables"]["outgoing"] == {"done": True}
    assert data["last_updated"] == iso(ended.updated_at)
    milliseconds = timedelta(milliseconds=1)
    assert data["metrics"] == {
        "start_time": iso(ended.activated_at),
        "claim_time": iso(task.claimed_at or timezone.now()),
        "end_time": (ended.ended_at - datetime(1970, 1, 1, tzinfo=UTC)) // milliseconds,
        "run_time": (ended.ended_at - ended.activated_at) // milliseconds,
        "finish_state": "success",
        "user": cast.alice.object_id,
        "owner": cast.alice.object_id,
    }


@pytest.mark.parametrize("state", State)
def test_each_state_has_its_status(cast: Cast, task: Task, state: State) -> None:
    ended = state not in (State.CREATED, State.READY, State.RESERVED, State.IN_PROGRESS)
    owner = cast.bob if state in (State.RESERVED, State.IN_PROGRESS) else None
    Task.objects.filter(pk=task.pk).update(
        state=state, owner=owner, ended_at=timezone.now() if ended else None
    )
    data = document(get(task, cast.alice), RETRIEVED)
    assert data["status"] == STATUS[state]
    assert data["metrics"]["owner"] == (cast.bob.object_id if owner else "")


def test_a_task_on_hold_is_paused(cast: Cast, task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(on_hold=True)
    assert document(get(task, cast.alice), RETRIEVED)["status"] == "paused"


def test_statuses_and_states_fit_together() -> None:
    assert set(STATUS) == set(State)
    alike = {
        State.RESERVED: State.READY,
        State.IN_PROGRESS: State.READY,
        State.OBSOLETE: State.EXITED,
        State.EXPIRED: State.EXITED,
    }
    for state, status in STATUS.items():
        assert STATES[status] == alike.get(state, state)


def test_a_task_for_everybody_has_no_groups(cast: Cast) -> None:
    assert document(get(make_task(cast.dave), cast.alice), RETRIEVED)["groups"] == []


def test_data_that_is_no_object_is_put_into_one(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, input=["a", 1])
    Task.objects.filter(pk=task.pk).update(output="text", fault={"code": 7})
    variables = document(get(task, cast.alice), RETRIEVED)["variables"]
    assert variables["incoming"] == {"value": ["a", 1]}
    assert variables["outgoing"] == {"value": "text"}
    assert variables["error"] == {"code": 7}


def test_secrets_are_for_those_who_may_work_the_task(cast: Cast) -> None:
    task = make_task(
        cast.dave,
        cast.noc,
        input={"host": "r1", "password": "s3cret"},
        secret_pointers=["/input/password", "/output/token", "/fault/trace"],
    )
    Task.objects.filter(pk=task.pk).update(output={"token": "t0ken"}, fault={"trace": "tr4ce"})
    decorators = [
        {"type": "encryption", "pointer": pointer}
        for pointer in ("/incoming/password", "/outgoing/token", "/error/trace")
    ]
    shown = document(get(task, cast.alice), RETRIEVED)["variables"]
    assert shown == {
        "incoming": {"host": "r1", "password": "s3cret"},
        "outgoing": {"token": "t0ken"},
        "error": {"trace": "tr4ce"},
        "decorators": decorators,
    }
    hidden = document(get(task, cast.erin), RETRIEVED)["variables"]
    assert hidden == {
        "incoming": {"host": "r1", "password": "******"},
        "outgoing": {"token": "******"},
        "error": {"trace": "******"},
        "decorators": decorators,
    }


# --- Include, exclude, dereference ---------------------------------------------------------------


def test_include_gives_these_members_and_the_id(cast: Cast, task: Task) -> None:
    assert get(task, cast.alice, "?include=name,metrics.owner,nothing.at.all").json()["data"] == {
        "_id": str(task.pk),
        "name": "Replace router",
        "metrics": {"owner": ""},
    }
    without = get(task, cast.alice, "?include=name&exclude=_id").json()["data"]
    assert without == {"name": "Replace router"}


def test_exclude_takes_members_away(cast: Cast, task: Task) -> None:
    data = get(task, cast.alice, "?exclude=variables,metrics.owner,no.such").json()["data"]
    assert set(data) == MEMBERS - {"variables"}
    assert "owner" not in data["metrics"]
    assert "user" in data["metrics"]


def test_include_and_exclude_do_not_mix(cast: Cast, task: Task) -> None:
    for query in ("?include=name&exclude=view", "?include=name&exclude=_id,view"):
        for who in (cast.alice, cast.frank, None):
            message = "Parameter 'exclude' goes with 'include' only for '_id'."
            assert_error(get(task, who, query), 400, message)


def test_projection_walks_through_arrays() -> None:
    value = {"_id": "x", "a": [{"b": 1, "c": 2}, 3, [{"b": 4}]], "d": {"e": 5, "f": 6}}
    assert project(value, ["a.b", "d", "d.e"], []) == {
        "_id": "x",
        "a": [{"b": 1}, [{"b": 4}]],
        "d": {"e": 5, "f": 6},
    }
    assert project(value, [], ["a.b", "d.e", "_id"]) == {"a": [{"c": 2}, 3, [{}]], "d": {"f": 6}}
    assert project(value, [], []) == value


def test_the_owner_can_be_expanded(cast: Cast) -> None:
    task = held(cast, cast.alice)
    query = "?dereference=accounts.metrics.owner"
    assert get(task, cast.erin, query).json()["data"]["metrics"]["owner"] == {
        "_id": cast.alice.object_id,
        "provenance": "Local",
        "username": "alice",
        "firstname": "alice",
        "memberOf": [{"groupId": cast.noc.object_id, "aaaManaged": False}],
        "assignedRoles": [{"roleId": cast.alice.roles.get().object_id}],
        "inactive": False,
    }
    actions.release([task.pk], call=call_by(cast.alice)).one()
    assert get(task, cast.erin, query).json()["data"]["metrics"]["owner"] == ""


def test_who_may_not_look_people_up_cannot_expand_them(cast: Cast) -> None:
    task = held(cast, cast.alice)
    cast.erin.roles.get().permissions.remove(
        *cast.erin.roles.get().permissions.filter(codename="view_user")
    )
    response = get(task, cast.erin, "?dereference=accounts.metrics.owner")
    assert_error(response, 403, "You are not permitted to look up people.")
    assert_error(get(uuid4(), cast.erin, "?dereference=accounts.metrics.owner"), 404, NOT_FOUND)


def test_a_job_can_be_expanded_without_what_tells_of_other_tasks(cast: Cast) -> None:
    job = JobFactory(
        imported={
            "type": "automation",
            "status": "running",
            "tasks": {"1": {"variables": {"incoming": "of another task"}}},
            "variables": {"password": "s3cret"},
        }
    )
    task = make_task(cast.dave, cast.noc, job=job)
    response = get(task, cast.alice, "?dereference=job,child-job-output")
    assert response.json()["data"]["job"] == {
        "_id": job.object_id,
        "name": job.name,
        "description": None,
        "type": "automation",
        "status": "running",
        "ancestors": [job.object_id],
    }


def test_other_targets_are_refused_in_the_words_of_the_product(cast: Cast, task: Task) -> None:
    message = "Unsupported dereference target(s)"
    assert_error(get(task, cast.alice, "?dereference=job,tasks"), 400, message)


def test_unknown_parameters_are_ignored(cast: Cast, task: Task) -> None:
    assert get(task, cast.alice, "?regex[name]=x&format=xml&limit=-1").status_code == 200


# --- Claim, assign, release ----------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, {}])
def test_claim_makes_the_caller_the_owner(cast: Cast, task: Task, body: Any) -> None:
    data = document(act("claim", task, cast.alice, body), CLAIMED)
    now = Task.objects.get(pk=task.pk)
    assert (now.owner, now.state, now.version) == (cast.alice, State.RESERVED, 2)
    assert now.claimed_at is not None
    assert set(data) == MEMBERS
    assert data["status"] == "running"
    assert data["metrics"] == {
        "start_time": iso(task.created_at),
        "claim_time": iso(now.claimed_at),
        "user": "",
        "owner": cast.alice.object_id,
    }
    event = only_event(task, 2)
    assert (event.event, event.actor, event.channel) == ("claimed", "alice", Channel.ITENTIAL)
    assert (event.request_id, event.reason) == (REQUEST_ID, None)
    assert document(get(task, cast.alice), RETRIEVED) == data


def test_a_second_claim_by_the_holder_changes_nothing_and_succeeds(cast: Cast) -> None:
    task = held(cast, cast.alice)
    with nothing_changes():
        data = document(act("claim", task, cast.alice), CLAIMED)
    assert data["metrics"]["owner"] == cast.alice.object_id


def test_a_claimed_task_is_not_for_others(cast: Cast) -> None:
    task = held(cast, cast.alice)
    message = "A task in state reserved does not allow claim. It belongs to alice."
    with nothing_changes():
        assert_error(act("claim", task, cast.bob), 409, message, version=2)


def test_a_claim_that_was_overtaken_is_made_again(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the refusal and the look at the task a colleague frees it: it is claimed anew."""
    task = held(cast, cast.alice)
    real, tried = actions.claim, []

    def overtaken(*args: Any, **more: Any) -> Any:
        outcome = real(*args, **more)
        if not tried:
            actions.release([task.pk], call=call_by(cast.bob)).one()
        tried.append(outcome)
        return outcome

    monkeypatch.setitem(actions.ACTIONS, "claim", overtaken)
    data = document(act("claim", task, cast.alice), CLAIMED)
    assert data["metrics"]["owner"] == cast.alice.object_id
    assert len(tried) == 2
    assert Task.objects.get(pk=task.pk).version == 4


def test_assign_makes_somebody_the_owner(cast: Cast, task: Task) -> None:
    response = act("assign", task, cast.alice, {"userId": cast.bob.object_id})
    data = document(response, ASSIGNED)
    now = Task.objects.get(pk=task.pk)
    assert (now.owner, now.state, now.version) == (cast.bob, State.RESERVED, 2)
    assert data["metrics"]["owner"] == cast.bob.object_id
    assert data["metrics"]["claim_time"] == iso(now.claimed_at or timezone.now())
    assert only_event(task, 2).event == "assigned"


def test_assign_takes_an_imported_id(cast: Cast, task: Task) -> None:
    User.objects.filter(pk=cast.bob.pk).update(legacy_id="05c0a84dd746004e0721859f")
    data = document(
        act("assign", task, cast.alice, {"userId": "05c0a84dd746004e0721859f"}), ASSIGNED
    )
    assert data["metrics"]["owner"] == "05c0a84dd746004e0721859f"


def test_assign_to_the_holder_is_a_conflict(cast: Cast) -> None:
    task = held(cast, cast.bob)
    with nothing_changes():
        response = act("assign", task, cast.alice, {"userId": cast.bob.object_id})
    assert_error(response, 409, "The task already belongs to bob.", version=2)


def test_assign_by_a_colleague_goes_to_potential_owners_only(cast: Cast, task: Task) -> None:
    with nothing_changes():
        response = act("assign", task, cast.bob, {"userId": cast.frank.object_id})
    message = "frank cannot receive this task: not a potential owner of it."
    assert_error(response, 409, message, version=1)


@pytest.mark.parametrize(
    ("user_id", "message"),
    [
        ("05c0a84dd746004e0721859f", "There is no user 05c0a84dd746004e0721859f."),
        ("00000000ffffffffffffffff", "There is no user 00000000ffffffffffffffff."),
        ("0" * 24, f"There is no user {'0' * 24}."),
    ],
)
def test_assign_to_nobody_known(cast: Cast, task: Task, user_id: str, message: str) -> None:
    with nothing_changes():
        assert_error(act("assign", task, cast.alice, {"userId": user_id}), 400, message)
        for who, status in ((cast.frank, 404), (cast.erin, 403)):  # nobody else hears of names
            assert act("assign", task, who, {"userId": user_id}).status_code == status


def test_assign_to_somebody_inactive(cast: Cast, task: Task) -> None:
    User.objects.filter(pk=cast.bob.pk).update(is_active=False)
    with nothing_changes():
        response = act("assign", task, cast.alice, {"userId": cast.bob.object_id})
    assert_error(response, 400, "bob is inactive and cannot receive tasks.")


@pytest.mark.parametrize("body", [None, {}])
def test_release_takes_the_owner_and_the_claim_time_away(cast: Cast, body: Any) -> None:
    task = held(cast, cast.alice)
    data = document(act("release", task, cast.alice, body), RELEASED)
    now = Task.objects.get(pk=task.pk)
    assert (now.owner, now.state, now.claimed_at, now.version) == (None, State.READY, None, 3)
    assert now.activated_at is not None
    assert data["status"] == "running"
    assert data["metrics"] == {"start_time": iso(now.activated_at), "user": "", "owner": ""}
    event = only_event(task, 3)
    assert (event.event, event.actor, event.channel) == ("released", "alice", Channel.ITENTIAL)
    assert event.before == {"owner": "alice", "state": "reserved"}
    assert document(get(task, cast.alice), RETRIEVED) == data


def test_a_colleague_may_release(cast: Cast) -> None:
    task = held(cast, cast.alice)
    document(act("release", task, cast.bob), RELEASED)
    assert only_event(task, 3).actor == "bob"


def test_an_integration_that_may_not_read_gets_the_task_it_wrote_to(cast: Cast) -> None:
    task = held(cast, cast.alice)
    data = document(act("release", task, cast.svc_integration), RELEASED)
    assert set(data) == MEMBERS
    message = "You are not permitted to view this task."
    assert_error(get(task, cast.svc_integration), 403, message, version=3)
    again = document(act("claim", task, cast.svc_integration), CLAIMED)
    assert document(act("claim", task, cast.svc_integration), CLAIMED) == again


def test_release_of_a_free_task_is_a_conflict(cast: Cast, task: Task) -> None:
    with nothing_changes():
        response = act("release", task, cast.alice)
    assert_error(response, 409, "A task in state ready does not allow release.", version=1)


def test_other_conflicts(cast: Cast, task: Task) -> None:
    automatic = make_task(cast.dave, cast.noc, kind="automatic")
    Task.objects.filter(pk=task.pk).update(on_hold=True)
    with nothing_changes():
        message = "The task is on hold, which does not allow claim."
        assert_error(act("claim", task, cast.bob), 409, message, version=1)
        message = "A task of kind automatic does not allow claim; only manual tasks do."
        assert_error(act("claim", automatic, cast.bob), 409, message, version=1)


def test_task_ids_are_read_in_any_case_and_answered_in_lower_case(cast: Cast, task: Task) -> None:
    data = document(act("claim", str(task.pk).upper(), cast.alice), CLAIMED)
    assert data["_id"] == str(task.pk)
    assert document(get(str(task.pk).upper(), cast.alice), RETRIEVED)["_id"] == str(task.pk)


# --- Who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["claim", "assign", "release"])
def test_readers_write_nothing(cast: Cast, name: str) -> None:
    task = held(cast, cast.alice)
    body = {"userId": cast.bob.object_id} if name == "assign" else None
    message = f"You are not permitted to {name} this task."
    with nothing_changes():
        for who in (cast.erin, cast.svc_reader):
            assert_error(act(name, task, who, body), 403, message, version=2)


def test_an_excluded_owner_never_becomes_owner(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, people_of={TaskRole.EXCLUDED_OWNER: [people.user("bob")]})
    with nothing_changes():
        message = "You are not permitted to claim this task."
        assert_error(act("claim", task, cast.bob), 403, message, version=1)
        message = "bob cannot receive this task: excluded from working on it."
        response = act("assign", task, cast.dave, {"userId": cast.bob.object_id})
        assert_error(response, 409, message, version=1)


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("GET", "?dereference=job&include=name", None),
        ("POST", "/claim", None),
        ("POST", "/claim", {"foo": 1}),
        ("POST", "/claim", [1]),
        ("POST", "/assign", {"userId": "05c0a84dd746004e0721859f"}),
        ("POST", "/assign", {"userId": "nonsense"}),
        ("POST", "/assign", None),
        ("POST", "/release", {}),
        ("POST", "/release", "x"),
    ],
)
def test_hidden_and_missing_look_the_same(cast: Cast, method: str, suffix: str, body: Any) -> None:
    hidden = make_task(cast.dave, cast.noc)
    taken = held(cast, cast.alice)
    xo = make_task(
        cast.dave, cast.field, people_of={TaskRole.EXCLUDED_OWNER: [people.user("frank")]}
    )
    with nothing_changes():
        answers = [
            send(method, f"{OM}/tasks/{pk}{suffix}", cast.frank, body)
            for pk in (uuid4(), hidden.pk, taken.pk, xo.pk)
        ]
    assert_error(answers[0], 404, NOT_FOUND)
    for answer in answers[1:]:
        assert answer.content == answers[0].content
        assert answer.headers == answers[0].headers


def test_every_reason_has_a_status() -> None:
    assert set(STATUSES) == set(reasons())
    assert all(400 <= status < 600 for status in STATUSES.values())


def test_an_expected_version_counts(cast: Cast, task: Task) -> None:
    for name, body in (
        ("claim", None),
        ("release", None),
        ("assign", {"userId": cast.bob.object_id}),
    ):
        with nothing_changes():
            stale = act(name, task, cast.alice, body, headers={"If-Match": '"7"'})
        assert_error(stale, 412, "The task has changed: version 7 was expected.", version=1)
        for tag in ("1", 'W/"1"', '"1", "2"', "junk", ""):
            with nothing_changes():
                response = act(name, task, cast.alice, body, headers={"If-Match": tag})
            assert response.status_code == 400
    document(act("claim", task, cast.alice, headers={"If-Match": '"1"'}), CLAIMED)
    document(act("release", task, cast.alice, headers={"If-Match": "*"}), RELEASED)


def test_a_hidden_task_has_no_version_to_compare(cast: Cast, task: Task) -> None:
    answer = act("release", task, cast.frank, headers={"If-Match": '"7"'})
    assert_error(answer, 404, NOT_FOUND)


@pytest.mark.parametrize("content_type", ["*/*", "application/*", "text/plain"])
def test_what_is_not_said_to_be_json_is_not_read_as_json(
    cast: Cast, task: Task, content_type: str
) -> None:
    with nothing_changes():
        answer = act("claim", task, cast.alice, raw=b"{}", content_type=content_type)
    assert answer.status_code == 415
