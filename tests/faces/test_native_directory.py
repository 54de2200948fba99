"""Jobs, accounts, groups, system roles and task roles as the native API shows them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import GroupNesting, User
from tasks.api.native import directory
from tasks.models import Job
from tests.conftest import Cast
from tests.factories import GroupFactory, JobFactory, UserFactory, make_in, make_task

from .native_client import MISSING, Api, assert_problem, task_path

pytestmark = pytest.mark.django_db

V1 = "/api/v1/"


def names(api: Api, path: str, member: str = "name", **parameters: Any) -> list[str]:
    """The names in a list, page by page."""
    found: list[str] = []
    url: str | None = f"{V1}{path}/"
    while url:
        answer = api.get(url, parameters or None)
        assert answer.status_code == 200, answer.content
        found += [row[member] for row in answer.json()["results"]]
        url, parameters = answer.json()["next"], {}
    return found


def test_the_front_page_leads_to_all_of_them(cast: Cast) -> None:
    api = Api(cast.dave)
    links = api.get(V1).json()
    assert {"tasks", "jobs", "users", "groups", "roles", "me", "tokens"} <= set(links)
    for link in links.values():
        assert api.get(link["url"]).status_code == 200
        page = api.get(link["url"], Accept="text/html")
        assert (page.status_code, page["Content-Type"][:9]) == (200, "text/html")


# --- Jobs -----------------------------------------------------------------------------------------


def test_a_job_is_there_for_those_who_see_a_task_of_it(cast: Cast) -> None:
    ours, theirs, empty = (JobFactory(name=name) for name in ("ours", "theirs", "empty"))
    make_task(cast.dave, cast.noc, job=ours)
    make_task(cast.dave, cast.field, job=theirs)
    assert names(Api(cast.bob), "jobs") == ["ours"]
    assert names(Api(cast.carol), "jobs") == ["theirs"]
    for all_seeing in (cast.dave, cast.erin, cast.root, cast.svc_reader):
        assert names(Api(all_seeing), "jobs") == ["empty", "theirs", "ours"]
    assert names(Api(cast.bob), "jobs", q="OU") == ["ours"]
    assert names(Api(cast.bob), "jobs", q="th") == []
    bob = Api(cast.bob)
    hidden, missing = (bob.get(f"{V1}jobs/{pk}/") for pk in (theirs.pk, 987654321))
    assert_problem(hidden, 404, "not_found")
    there = f"{theirs.pk}/".encode()
    assert hidden.content.replace(there, b"") == missing.content.replace(b"987654321/", b"")
    shown = bob.get(f"{V1}jobs/{ours.pk}/").json()
    assert shown == {
        "url": f"http://testserver{V1}jobs/{ours.pk}/",
        "id": ours.pk,
        "object_id": ours.object_id,
        "name": "ours",
        "description": "",
        "created_at": shown["created_at"],
        "tasks": f"http://testserver{V1}tasks/?job={ours.pk}",
    }
    assert_problem(bob.get(f"{V1}jobs/{empty.pk}/"), 404, "not_found")


def test_a_job_that_is_seen_by_those_who_may_not_read(cast: Cast) -> None:
    job = JobFactory()
    make_task(cast.dave, cast.noc, job=job)
    api = Api(cast.svc_integration)
    assert_problem(api.get(f"{V1}jobs/{job.pk}/"), 403, "not_permitted")
    assert_problem(api.get(f"{V1}jobs/{job.pk + 1}/"), 404, "not_found")
    assert_problem(api.get(f"{V1}jobs/"), 403, "not_permitted")


def test_more_jobs_than_are_counted(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make_task(cast.dave, cast.noc, job=JobFactory())
    bob, dave = Api(cast.bob), Api(cast.dave)
    assert bob.get(f"{V1}jobs/").json()["count"] == 3
    monkeypatch.setattr(directory, "MOST_ASKED_ABOUT", 1)
    answer = bob.get(f"{V1}jobs/", {"limit": 1}).json()
    assert (answer["count"], answer["count_estimate"]) == (None, 2)
    assert len(names(bob, "jobs", limit=1)) == 3
    assert dave.get(f"{V1}jobs/").json()["count"] == 3


# --- Accounts, groups, system roles ---------------------------------------------------------------


def test_accounts_are_names_to_some_and_more_to_those_who_manage(cast: Cast) -> None:
    UserFactory(username="barbara", first_name="Bob", email="zoe@example.org")
    everyone = {user.username for user in User.objects.all()}
    few = {"url", "id", "object_id", "username", "first_name", "last_name", "is_active"}
    for name in ("bob", "erin", "svc_reader", "dave"):
        api = Api(getattr(cast, name))
        assert set(names(api, "users", "username", limit=4)) == everyone
        assert set(names(api, "users", "username", q="BO")) == {"bob", "barbara"}
        assert names(api, "users", "username", q="zoe") == (["barbara"] if name == "dave" else [])
        shown = api.get(f"{V1}users/{cast.alice.pk}/").json()
        assert (set(shown) == few) == (name != "dave")
    assert shown["groups"] == [{"name": "noc", "lead": True}]
    assert (shown["roles"], shown["last_login"]) == (["operations"], None)
    assert "password" not in shown
    for path in ("users/", f"users/{cast.alice.pk}/", "users/987654321/", "groups/", "roles/"):
        assert_problem(Api(cast.svc_integration).get(V1 + path), 403, "not_permitted")


def test_groups_likewise(cast: Cast) -> None:
    north = GroupFactory(name="north")
    GroupNesting.objects.create(child=north, parent=cast.noc)
    assert names(Api(cast.bob), "groups", q="no") == ["north", "noc"]
    shown = Api(cast.bob).get(f"{V1}groups/{north.pk}/").json()
    assert set(shown) == {"url", "id", "object_id", "name", "description", "is_active"}
    managed = Api(cast.dave).get(f"{V1}groups/{north.pk}/").json()
    assert (managed["parents"], managed["children"], managed["roles"]) == (["noc"], [], [])
    assert_problem(Api(cast.bob).get(f"{V1}groups/987654321/"), 404, "not_found")


def test_system_roles_are_for_those_who_see_them_in_the_admin(cast: Cast) -> None:
    api = Api(cast.dave)
    listed = names(api, "roles", limit=3)
    assert sorted(listed) == sorted(
        ["admin", "engineering", "operations", "apiwrite", "apiread", "viewer", "retryUser"]
    )
    (role,) = api.get(f"{V1}roles/", {"q": "retry"}).json()["results"]
    assert (role["permissions"], role["bulk_limit"]) == (["tasks.retry_task"], 0)
    assert api.get(role["url"]).json() == role
    for name in ("bob", "erin", "carol", "svc_reader"):
        assert_problem(Api(getattr(cast, name)).get(f"{V1}roles/"), 403, "not_permitted")


@pytest.mark.parametrize("resource", ["jobs", "users", "groups", "roles", "tokens"])
def test_lists_refuse_what_makes_no_sense_and_ask_few_questions(cast: Cast, resource: str) -> None:
    api = Api(cast.dave)
    search = {"tokens": "user"}.get(resource, "q")
    wrong = {"nonsense": "1", search: "", "limit": "0", "cursor": "x", "offset": "1"}
    for name, value in {**wrong, search: "x" * 256}.items():
        problem = assert_problem(
            api.get(f"{V1}{resource}/", {name: value}), 400, "invalid_parameter"
        )
        assert problem["errors"][0]["parameter"] == name
    assert_problem(api.get(f"{V1}{resource}/1/", {"q": "x"}), 400, "invalid_parameter")
    for wrong_id in ("x", "-1", "1.0", "9" * 30, "٣"):
        assert_problem(api.get(f"{V1}{resource}/{wrong_id}/"), 400, "invalid_id")
    assert_problem(api.get(f"{V1}{resource}/987654321/"), 404, "not_found")
    assert_problem(Api().get(f"{V1}{resource}/"), 401, "not_authenticated")
    assert api.send("HEAD", f"{V1}{resource}/").status_code == 200
    assert api.send("OPTIONS", f"{V1}{resource}/").status_code == 200
    assert_problem(api.send("PUT", f"{V1}{resource}/"), 405, "method_not_allowed")
    counted = []
    for rows in (1, 5):
        for _ in range(rows):
            JobFactory(name="many")
            UserFactory(system_roles=["viewer"])
            GroupFactory()
        with CaptureQueriesContext(
            connection,
        ) as context:
            assert api.get(f"{V1}{resource}/").status_code == 200
        counted.append(len(context))
    assert counted[0] == counted[1] <= 8


# --- Task roles -----------------------------------------------------------------------------------


def test_who_holds_the_roles_of_a_task(cast: Cast) -> None:
    task = make_in("reserved", cast.dave, cast.noc, cast.bob, owner=cast.bob)
    api = Api(cast.bob)
    path = task_path(task.pk, "roles")
    answer = api.get(path)
    held = {one["role"]: one for one in answer.json()["results"]}
    assert (answer["ETag"], answer.json()["version"], len(held)) == ('"1"', 1, 11)
    assert (held["potential_owner"]["users"], held["potential_owner"]["groups"]) == (
        ["bob"],
        ["noc"],
    )
    assert held["owner"]["users"] == ["bob"]
    assert held["owner"]["grant"] is None
    assert held["editor"]["grant"].endswith(task_path(task.pk, "grant"))
    assert held["excluded_owner"]["users"] == []
    assert api.get(path, If_None_Match='"1"').status_code == 304
    assert api.get(path, If_None_Match='"2"').status_code == 200
    Api(cast.dave).post(
        task_path(task.pk, "grant"), {"role": "reader", "to": {"user": "frank"}, "reason": "x"}
    )
    shown = Api(cast.frank).get(path).json()
    assert shown["version"] == 2
    assert {one["role"]: one["users"] for one in shown["results"]}["reader"] == ["frank"]


def test_the_roles_of_a_task_that_is_not_for_everybody(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    for pk in (task.pk, MISSING):
        assert_problem(Api(cast.carol).get(task_path(pk, "roles")), 404, "task_not_found")
    assert_problem(
        Api(cast.svc_integration).get(task_path(task.pk, "roles")), 403, "not_authorized"
    )
    assert_problem(
        Api(cast.bob).get(task_path(task.pk, "roles"), {"x": "y"}), 400, "invalid_parameter"
    )
    assert Job.objects.count() == 0
