"""Tasks that are made once by their external id, and the jobs that new tasks name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from accounts.models import Role
from tasks.models import Job, Task
from tests.conftest import Cast
from tests.factories import JobFactory, make_task

from .native_client import TASKS, Api, assert_problem, everything, task_path

BODY = {
    "name": "Replace router 7",
    "source": "ticket",
    "external_id": "T-1",
    "input": {"a": 1, "b": [1, 2]},
    "people": {"potential_owner": {"groups": ["noc"]}},
}


@pytest.mark.django_db
def test_the_same_request_again_gives_the_same_task(cast: Cast) -> None:
    api = Api(cast.carol)
    first = api.post(TASKS, BODY)
    assert (first.status_code, first["ETag"]) == (201, '"1"')
    Api(cast.bob).post(task_path(first.json()["id"], "claim"))
    before = everything()
    again = api.post(TASKS, dict(reversed(BODY.items())))
    assert (again.status_code, again["ETag"]) == (200, '"2"')
    assert again["Location"] == first["Location"]
    assert (again.json()["id"], again.json()["owner"]) == (first.json()["id"], "bob")
    other = Api(cast.dave).post(TASKS, BODY)
    assert (other.status_code, other.json()["originator"]) == (200, "carol")
    assert everything() == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"input": {"a": 2, "b": [1, 2]}}, {"priority": 5}]
)
def test_another_request_is_refused(cast: Cast, change: dict[str, Any]) -> None:
    api = Api(cast.carol)
    api.post(TASKS, BODY)
    before = everything()
    assert_problem(api.post(TASKS, BODY | change), 409, "external_id_taken")
    assert everything() == before
    assert api.post(TASKS, BODY | change | {"source": "other"}).status_code == 201


@pytest.mark.django_db
def test_a_task_that_the_caller_does_not_see_is_refused_and_not_shown(cast: Cast) -> None:
    assert Api(cast.dave).post(TASKS, BODY).status_code == 201
    problem = assert_problem(Api(cast.carol).post(TASKS, BODY), 409, "external_id_taken")
    assert set(problem) == set(
        assert_problem(Api(cast.dave).post(TASKS, BODY | {"name": "x"}), 409, "external_id_taken")
    )
    make_task(cast.carol, source="import", external_id="T-2")
    body = {"name": "Replace router 1", "source": "import", "external_id": "T-2"}
    assert_problem(Api(cast.carol).post(TASKS, body), 409, "external_id_taken")


def test_of_requests_at_the_same_time_one_makes_it(committed_cast: Cast) -> None:
    apis = [Api(committed_cast.carol) for _ in range(4)]

    def ask(api: Api) -> int:
        try:
            return int(api.post(TASKS, BODY).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ask, apis)) == [200, 200, 200, 201]
    assert Task.objects.count() == 1


@pytest.mark.django_db
def test_a_job_by_its_number_its_id_or_made_with_the_task(cast: Cast) -> None:
    api = Api(cast.carol)
    imported, own = JobFactory(legacy_id="5f" * 12), JobFactory()
    for named, job in ((own.pk, own), (own.object_id, own), (imported.object_id, imported)):
        answer = api.post(TASKS, {"name": "x", "job": named})
        assert answer.status_code == 201, answer.content
        assert answer.json()["job"]["id"] == job.pk
        assert answer.json()["short_id"] is not None
    body = {"name": "x", "job": {"name": "Ring", "description": "North"}, "short_id": "a"}
    shown = api.post(TASKS, body).json()
    made = Job.objects.get(name="Ring")
    assert (shown["job"], shown["short_id"]) == ({"id": made.pk, "name": "Ring"}, "a")
    assert made.description == "North"
    assert api.get(f"/api/v1/jobs/{made.pk}/").status_code == 200


@pytest.mark.django_db
def test_a_job_that_is_refused_leaves_nothing(cast: Cast) -> None:
    hidden = JobFactory(name="secret")
    make_task(cast.dave, cast.noc, job=hidden)
    api, jobs, before = Api(cast.carol), Job.objects.count(), everything()
    for job in (hidden.pk, hidden.object_id, hidden.pk + 1, "5f" * 12, f"{2**64 - 1:024x}"):
        problem = assert_problem(api.post(TASKS, {"name": "x", "job": job}), 400, "invalid_body")
        (error,) = problem["errors"]
        assert (error["pointer"], error["code"]) == ("/job", "unknown_job")
    for job, pointer in (
        ({}, "/job/name"),
        ({"name": ""}, "/job/name"),
        ({"name": "x", "id": 1}, "/job/id"),
        ("5F" * 12, "/job"),
        (True, "/job"),
        ([1], "/job"),
    ):
        problem = assert_problem(api.post(TASKS, {"name": "x", "job": job}), 400, "invalid_body")
        assert problem["errors"][0]["pointer"] == pointer
    body = {"name": "x", "job": {"name": "Ring"}, "people": {"reader": {"users": ["nobody"]}}}
    assert_problem(api.post(TASKS, body), 400, "unknown_user")
    role = Role.objects.get(name="engineering")
    role.permissions.remove(role.permissions.get(codename="add_job"))
    assert_problem(api.post(TASKS, {"name": "x", "job": {"name": "Ring"}}), 403, "not_permitted")
    assert (Job.objects.count(), everything()) == (jobs, before)
