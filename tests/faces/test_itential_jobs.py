"""Itential's face: a job, and its tasks finished or tried again."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from accounts.models import Role, User
from tasks import actions
from tasks.lifecycle import State
from tasks.models import AuditEvent, Channel, Job, Task
from tests.conftest import Cast
from tests.core.record import nothing_changes
from tests.faces.itential_client import OM, assert_error, get, send
from tests.factories import JobFactory, call_by, make_in, make_task

FINISHED = "Successfully finished the task"
RETRIED = "Successfully retried the task"
NOT_FOUND = "There is no such task."
NO_JOB = "There is no such job."
SUCCESS = {"taskData": {"finish_state": "success", "variables": {"decision": "approve"}}}


@pytest.fixture
def job(cast: Cast) -> Job:
    """A job."""
    made: Job = JobFactory(name="Replace fra-edge-07", legacy_id="65f1c2d4a8b9e07f3c5d1e92")
    return made


@pytest.fixture
def task(cast: Cast, job: Job) -> Task:
    """Its ready task of the team noc, version 1."""
    return make_task(cast.dave, cast.noc, name="Approve", job=job, short_id="3a1f")


@pytest.fixture
def retrier(cast: Cast) -> User:
    """A member of the team who may also try again."""
    cast.bob.roles.add(Role.objects.get(name="retryUser"))
    return cast.bob


def act(
    name: str, task: Task | str, who: User | None, body: Any = None, job_id: str = "", **more: Any
) -> Any:
    """Finish or retry a task by its id within the job, or by the id given."""
    job_id = job_id or "65f1c2d4a8b9e07f3c5d1e92"
    task_id = task.short_id if isinstance(task, Task) else task
    return send("POST", f"{OM}/jobs/{job_id}/tasks/{task_id}/{name}", who, body, **more)


def get_job(job: Job | str, who: User | None, query: str = "", **more: Any) -> Any:
    job_id = job.object_id if isinstance(job, Job) else job
    return send("GET", f"{OM}/jobs/{job_id}{query}", who, **more)


def data_of(response: Any, message: str, version: int | None = None) -> dict[str, Any]:
    """The data of a success, which carries the version of the task that was changed."""
    assert response.status_code == 200, response.content
    body = response.json()
    assert set(body) == {"message", "data", "metadata"}
    assert (body["message"], body["metadata"]) == (message, {})
    assert response.get("ETag") == (None if version is None else f'"{version}"')
    data: dict[str, Any] = body["data"]
    return data


# --- Finish --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["short id", "iteration id"])
def test_finish_completes_an_unclaimed_task_in_one_step(cast: Cast, task: Task, by: str) -> None:
    named = "3a1f" if by == "short id" else str(task.pk).upper()
    job = data_of(act("finish", named, cast.bob, SUCCESS), FINISHED, 2)
    now = Task.objects.get(pk=task.pk)
    assert (now.state, now.owner, now.output) == (
        State.COMPLETED,
        cast.bob,
        {"decision": "approve"},
    )
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert (event.event, event.channel, event.reason) == ("finished", Channel.ITENTIAL, None)
    assert (job["_id"], job["status"]) == ("65f1c2d4a8b9e07f3c5d1e92", "complete")
    node = job["tasks"]["3a1f"]
    assert (node["status"], node["finish_state"]) == ("complete", "success")
    assert node["iterations"] == [str(task.pk)]
    assert isinstance(node["end_time"], int)
    iteration = get(task, cast.bob).json()["data"]
    assert iteration["metrics"]["user"] == cast.bob.object_id
    assert iteration["variables"]["outgoing"] == {"decision": "approve"}


def test_finish_with_failure(cast: Cast, task: Task) -> None:
    body = {"taskData": {"finish_state": "failure", "variables": {}}}
    job = data_of(act("finish", task, cast.bob, body), FINISHED, 2)
    assert Task.objects.get(pk=task.pk).state == State.FAILED
    assert job["status"] == "error"
    assert job["error"][0]["task"] == "3a1f"


def test_an_integration_sees_of_the_job_what_it_has_finished(
    cast: Cast, job: Job, task: Task
) -> None:
    make_task(cast.dave, cast.noc, job=job, short_id="b")
    data = data_of(act("finish", task, cast.svc_integration, SUCCESS), FINISHED, 2)
    assert set(data["tasks"]) == {"3a1f"}
    assert_error(get_job(job, cast.svc_integration), 403, "You are not permitted to view tasks.")


def test_finish_takes_long_texts(cast: Cast, task: Task) -> None:
    variables = {"configuration": "x" * 200_000}
    body = {"taskData": {"finish_state": "success", "variables": variables}}
    data_of(act("finish", task, cast.bob, body), FINISHED, 2)
    assert Task.objects.get(pk=task.pk).output == variables


BAD_FINISHES = [
    (None, "taskData: it is missing."),
    ({}, "taskData: it is missing."),
    ([], "body: an object is expected."),
    ({"taskData": None}, "taskData: an object is expected."),
    ({"taskData": {}}, "taskData.finish_state: it is missing."),
    ({"taskData": {"finish_state": "success"}}, "taskData.variables: it is missing."),
    (
        {"taskData": {"finish_state": 1, "variables": {}}},
        "taskData.finish_state: a text is expected.",
    ),
    (
        {"taskData": {"finish_state": "success", "variables": []}},
        "taskData.variables: an object is expected.",
    ),
    (
        {"taskData": {"finish_state": "success", "variables": {}, "more": 1}},
        "taskData.more: there is no such member.",
    ),
    ({**SUCCESS, "finish_state": "success"}, "finish_state: there is no such member."),
    (
        {"taskData": {"finish_state": "done", "variables": {}}},
        "finish_state: success or failure",
    ),
]


@pytest.mark.parametrize(("body", "message"), BAD_FINISHES)
def test_bad_bodies_of_finish(cast: Cast, task: Task, body: Any, message: str) -> None:
    with nothing_changes():
        assert_error(act("finish", task, cast.bob, body), 400, message)
        # Whoever may not do it hears that first.
        assert_error(act("finish", task, cast.frank, body), 404, NOT_FOUND)
        refused = "You are not permitted to finish this task."
        assert_error(act("finish", task, cast.erin, body), 403, refused, version=1)
        assert act("finish", task, None, body).status_code == 401


def test_conflicts_of_finish(cast: Cast, job: Job, task: Task) -> None:
    data_of(act("finish", task, cast.bob, SUCCESS), FINISHED, 2)
    with nothing_changes():
        message = "A task in state completed does not allow finish. It belongs to bob."
        assert_error(act("finish", task, cast.alice, SUCCESS), 409, message, version=2)
    schema = {"type": "object", "required": ["ok"]}
    strict = make_task(cast.dave, cast.noc, job=job, short_id="b", output_schema=schema)
    with nothing_changes():
        assert act("finish", strict, cast.bob, SUCCESS).status_code == 400


def test_a_body_over_the_limit(cast: Cast, task: Task) -> None:
    with nothing_changes():
        enormous = act("finish", task, cast.bob, raw=b"x" * (10 * 1024 * 1024 + 1))
        assert enormous.status_code == 413
        odd = act("finish", task, cast.bob, raw=b'{"taskData": "' + b"x" * 70_000 + b'"}')
        assert_error(odd, 400, "A text is longer than 65536 bytes.")


# --- Retry ---------------------------------------------------------------------------------------


@pytest.fixture
def failed(cast: Cast, job: Job) -> Task:
    """A task of the job that ended in error, version 1."""
    return make_in(
        State.ERROR, cast.dave, cast.noc, job=job, short_id="c", input={"a": 1}, fault={"why": "x"}
    )


@pytest.mark.parametrize(
    ("body", "input"), [(None, {"a": 1}), ({}, {"a": 1}), ({"variables": {"b": 2}}, {"b": 2})]
)
def test_retry_makes_a_failed_task_ready_again(
    retrier: User, failed: Task, body: Any, input: Any
) -> None:
    data = data_of(act("retry", failed, retrier, body), RETRIED, 2)
    assert (data["_id"], data["status"]) == (str(failed.pk), "running")
    assert data["variables"]["incoming"] == input
    now = Task.objects.get(pk=failed.pk)
    assert (now.state, now.input, now.fault) == (State.READY, input, None)
    event = AuditEvent.objects.get(task_id=failed.pk, version=2)
    assert (event.event, event.channel) == ("retried", Channel.ITENTIAL)


def test_retry_is_for_retry_users_alone(cast: Cast, failed: Task) -> None:
    with nothing_changes():
        for who in (cast.dave, cast.alice, cast.svc_integration, cast.erin):
            message = "You are not permitted to retry this task."
            assert_error(act("retry", failed, who), 403, message, version=1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"variables": None}, "variables: an object is expected."),
        ({"variables": [1]}, "variables: an object is expected."),
        ({"input": {}}, "input: there is no such member."),
        ("x", "body: an object is expected."),
    ],
)
def test_bad_bodies_of_retry(
    cast: Cast, retrier: User, failed: Task, body: Any, message: str
) -> None:
    with nothing_changes():
        assert_error(act("retry", failed, retrier, body), 400, message)
        assert_error(act("retry", failed, cast.frank, body), 404, NOT_FOUND)
        assert act("retry", failed, cast.dave, body).status_code == 403


def test_only_a_failed_task_is_tried_again(retrier: User, task: Task) -> None:
    with nothing_changes():
        message = "A task in state ready does not allow retry."
        assert_error(act("retry", task, retrier), 409, message, version=1)


# --- Which task ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["finish", "retry"])
@pytest.mark.parametrize(
    ("job_id", "task_id", "message"),
    [
        ("1", "3a1f", "The job id does not have 24 hexadecimal digits."),
        (
            "65F1C2D4A8B9E07F3C5D1E92",
            "3a1f",
            "The job id does not have 24 hexadecimal digits.",
        ),
        ("65f1c2d4a8b9e07f3c5d1e92%0A", "1", "The job id does not have 24 hexadecimal digits."),
        ("", "3A1F", "The task id is neither one within a job nor a UUID."),
        ("", "12345", "The task id is neither one within a job nor a UUID."),
        ("", "workflow", "The task id is neither one within a job nor a UUID."),
        ("", "3a1f%0A", "The task id is neither one within a job nor a UUID."),
    ],
)
def test_ids_of_a_wrong_spelling_come_before_everything(
    cast: Cast, name: str, job_id: str, task_id: str, message: str
) -> None:
    for who in (cast.alice, None):
        assert_error(act(name, task_id, who, raw=b"[", job_id=job_id), 400, message)


@pytest.mark.parametrize("name", ["finish", "retry"])
def test_hidden_and_missing_look_the_same(
    cast: Cast, job: Job, task: Task, retrier: User, name: str
) -> None:
    hidden = make_task(cast.dave, cast.carol, job=job, short_id="d")
    other: Job = JobFactory(legacy_id="65f1c2d4a8b9e07f3c5d1e93")
    make_task(cast.dave, cast.carol, job=other, short_id="1")
    nowhere = "65f1c2d4a8b9e07f3c5d1e99"
    with nothing_changes():
        answers = [
            act(name, task_id, retrier, body, job_id, headers={"If-Match": '"9"'})
            for body in (None, {"foo": 1}, SUCCESS)
            for task_id, job_id in [
                ("ff", ""),
                (str(uuid4()), ""),
                ("workflow_start", ""),
                ("error_handler", ""),
                ("d", ""),
                (str(hidden.pk), ""),
                ("3a1f", other.object_id),
                (str(task.pk), other.object_id),
                ("1", other.object_id),
                ("3a1f", nowhere),
                ("3a1f", f"{0:024x}"),
                ("3a1f", f"00000000{'f' * 16}"),
            ]
        ]
    assert_error(answers[0], 404, NOT_FOUND)
    for answer in answers[1:]:
        assert answer.content == answers[0].content
        assert answer.headers == answers[0].headers


@pytest.mark.parametrize("name", ["finish", "retry"])
def test_an_expected_version_counts(retrier: User, task: Task, failed: Task, name: str) -> None:
    it, body = (task, SUCCESS) if name == "finish" else (failed, None)
    with nothing_changes():
        stale = act(name, it, retrier, body, headers={"If-Match": '"7"'})
        message = "The task has changed: version 7 was expected."
        assert_error(stale, 412, message, version=1)
        assert act(name, it, retrier, body, headers={"If-Match": "7"}).status_code == 400
    assert act(name, it, retrier, body, headers={"If-Match": '"1"'}).status_code == 200


def test_a_task_without_an_id_in_its_job_is_named_by_its_own(cast: Cast, job: Job) -> None:
    task = make_task(cast.dave, cast.noc, job=job)
    Task.objects.filter(pk=task.pk).update(short_id=None)
    data = data_of(act("finish", str(task.pk), cast.bob, SUCCESS), FINISHED, 2)
    assert set(data["tasks"]) == {str(task.pk)}


# --- The job -------------------------------------------------------------------------------------


def test_a_job_reads_exactly_as_documented(cast: Cast, job: Job, task: Task) -> None:
    iteration = get(task, cast.alice).json()["data"]
    data = data_of(get_job(job, cast.alice), "Successfully retrieved item")
    start = data["metrics"].pop("start_time")
    assert isinstance(start, int)
    assert data == {
        "_id": "65f1c2d4a8b9e07f3c5d1e92",
        "name": "Replace fra-edge-07",
        "description": None,
        "type": "automation",
        "status": "running",
        "created": data["created"],
        "last_updated": iteration["last_updated"],
        "encodingVersion": 1,
        "ancestors": ["65f1c2d4a8b9e07f3c5d1e92"],
        "parent": None,
        "groups": ["default"],
        "watchers": [],
        "error": [],
        "warnings": [],
        "validationErrors": [],
        "variables": {"_id": "65f1c2d4a8b9e07f3c5d1e92"},
        "metrics": {"user": None, "owner": None, "progress": 0},
        "tasks": {
            "3a1f": {
                "name": "Approve",
                "canvasName": "Approve",
                "displayName": "HumanTasks",
                "description": None,
                "location": "Application",
                "locationType": None,
                "app": "HumanTasks",
                "type": "manual",
                "variables": {"incoming": {}, "outgoing": {}, "decorators": []},
                "groups": [cast.noc.object_id],
                "status": "running",
                "owner": "",
                "taskId": "3a1f",
                "iterations": [str(task.pk)],
                "retrySettings": None,
                "scheduled": False,
                "start_time": iteration["metrics"]["start_time"],
            }
        },
    }
    whole = get_job(job, cast.alice, "?dereference=tasks,accounts.createdBy").json()["data"]
    assert whole["tasks"]["3a1f"]["iterations"] == [iteration]


def test_a_job_can_be_asked_for_in_parts(cast: Cast, job: Job, task: Task) -> None:
    data = get_job(job, cast.alice, "?include=name,metrics.progress").json()["data"]
    assert data == {"_id": job.object_id, "name": job.name, "metrics": {"progress": 0}}
    assert "tasks" not in get_job(job, cast.alice, "?exclude=tasks").json()["data"]
    for query, message in [
        (
            "?include=name&exclude=tasks",
            "Parameter 'exclude' goes with 'include' only for '_id'.",
        ),
        ("?dereference=job", "Unsupported dereference target(s)"),
    ]:
        for who in (cast.alice, cast.frank, None):
            assert_error(get_job(job, who, query), 400, message)


def test_a_job_shows_the_tasks_that_one_sees_and_is_what_they_make_it(
    cast: Cast, job: Job, task: Task
) -> None:
    make_in(State.ERROR, cast.carol, cast.carol, job=job, short_id="e", fault_name="broken")
    seen = get_job(job, cast.alice).json()["data"]
    assert (set(seen["tasks"]), seen["status"], seen["error"]) == ({"3a1f"}, "running", [])
    whole = get_job(job, cast.dave).json()["data"]
    assert (set(whole["tasks"]), whole["status"]) == ({"3a1f", "e"}, "error")
    assert whole["error"][0]["message"] == "broken"
    assert whole["metrics"]["progress"] == 0.5


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([State.READY, State.COMPLETED], "running"),
        ([State.CREATED], "incomplete"),
        ([State.COMPLETED, State.EXITED], "complete"),
        ([State.EXITED, State.OBSOLETE], "canceled"),
        ([State.FAILED, State.READY], "error"),
    ],
)
def test_the_status_of_a_job(cast: Cast, job: Job, states: list[State], status: str) -> None:
    for number, state in enumerate(states):
        make_in(state, cast.dave, cast.noc, job=job, short_id=f"{number}")
    assert get_job(job, cast.alice).json()["data"]["status"] == status


def test_a_job_whose_tasks_are_all_on_hold_is_paused(cast: Cast, job: Job, task: Task) -> None:
    actions.suspend([task.pk], call=call_by(cast.bob))
    assert get_job(job, cast.alice).json()["data"]["status"] == "paused"


def test_a_job_shows_no_secret(cast: Cast, job: Job) -> None:
    task = make_in(
        State.ERROR,
        cast.dave,
        cast.noc,
        job=job,
        short_id="b",
        input={"pin": "s3cret"},
        fault={"pin": "s3cret"},
        secret_pointers=["/input/pin", "/fault/pin"],
    )
    assert b"s3cret" in get(task, cast.alice).content
    for query in ("", "?dereference=tasks"):
        assert b"s3cret" not in get_job(job, cast.alice, query).content


def test_imported_members_come_back_but_for_what_the_tasks_tell(cast: Cast) -> None:
    job: Job = JobFactory(
        imported={
            "type": "resource:action",
            "created": "2024-01-01T00:00:00.000Z",
            "status": "incomplete",
            "ancestors": ["65f1c2d4a8b9e07f3c5d1e90"],
            "groups": ["65f1c2d4a8b9e07f3c5d1e91"],
            "metrics": {"user": "Pronghorn", "end_time": 1, "progress": 0.1},
            "tasks": {"1": {"variables": "of another task"}},
            "variables": {"password": "s3cret"},
        }
    )
    make_task(cast.dave, cast.noc, job=job, short_id="b")
    data = get_job(job, cast.alice).json()["data"]
    assert (data["type"], data["status"]) == ("resource:action", "running")
    assert data["created"] == "2024-01-01T00:00:00.000Z"
    assert data["ancestors"] == ["65f1c2d4a8b9e07f3c5d1e90"]
    assert data["groups"] == ["65f1c2d4a8b9e07f3c5d1e91"]
    assert data["variables"] == {"_id": job.object_id}
    assert set(data["tasks"]) == {"b"}
    assert data["metrics"]["user"] == "Pronghorn"
    assert "end_time" not in data["metrics"]


def test_a_job_of_which_one_sees_nothing_is_missing(cast: Cast, job: Job, task: Task) -> None:
    empty: Job = JobFactory()
    answers = [
        get_job(one, cast.frank) for one in ("65f1c2d4a8b9e07f3c5d1e99", job, empty, f"{0:024x}")
    ]
    assert_error(answers[0], 404, NO_JOB)
    for answer in answers[1:]:
        assert answer.content == answers[0].content
        assert answer.headers == answers[0].headers
    assert get_job(job, None).status_code == 401
    for bad in ("1", "65F1C2D4A8B9E07F3C5D1E92", "3a1f"):
        message = "The job id does not have 24 hexadecimal digits."
        assert_error(get_job(bad, None), 400, message)


def test_a_job_is_never_cut(
    cast: Cast, job: Job, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_task(cast.dave, cast.noc, job=job, short_id="b")
    monkeypatch.setattr("tasks.api.itential.jobs.MOST_LISTED", 1)
    assert get_job(job, cast.alice).status_code == 413


@pytest.mark.parametrize("name", ["pause", "resume", "cancel", "start", "watch"])
def test_what_is_not_spoken_of_jobs_is_refused(cast: Cast, job: Job, name: str) -> None:
    with nothing_changes():
        response = send("POST", f"{OM}/jobs/{name}", cast.dave, {"jobIds": [job.object_id]})
        assert_error(response, 405, 'Method "POST" not allowed.')
    rest = f"{OM}/jobs/{job.object_id}/tasks/1"
    assert_error(send("POST", f"{rest}/continue", cast.dave), 404, "There is no such route.")
    assert send("GET", f"{rest}/finish", cast.dave).status_code == 405
