"""The list of the native API: who sees which tasks, filters, pages without gaps or repeats."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks import people
from tasks.actions import ACTIONS
from tasks.api.native import pagination
from tasks.models import Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import JobFactory, call_by, make_task, make_tasks

from .native_client import MISSING, TASKS, Api, assert_problem, task_path


def names(response: Any) -> list[str]:
    """The names of the tasks that a list answers with."""
    assert response.status_code == 200, response.content
    return [task["name"] for task in response.json()["results"]]


@pytest.fixture
def tasks(cast: Cast) -> dict[str, Task]:
    """One task of each kind that the filters tell apart, oldest first."""
    made = {}
    for name, group in (("free", cast.noc), ("held", cast.noc), ("hers", cast.noc)):
        made[name] = make_task(cast.carol, group, name=name)
    made["done"] = make_task(cast.carol, cast.noc, name="done")
    made["waiting"] = make_task(cast.carol, cast.noc, name="waiting", waiting=True)
    made["theirs"] = make_task(cast.dave, cast.field, name="theirs")
    made["hidden"] = make_task(cast.dave, cast.dave, name="hidden")
    barred = {TaskRole.EXCLUDED_OWNER: [people.user("bob")]}
    made["barred"] = make_task(cast.carol, cast.noc, name="barred", people_of=barred)
    ACTIONS["claim"]([made["held"].pk, made["done"].pk], call=call_by(cast.bob, bulk=True))
    ACTIONS["claim"]([made["hers"].pk], call=call_by(cast.alice))
    ACTIONS["complete"]([made["done"].pk], call=call_by(cast.bob))
    return made


def test_a_list_shows_what_the_account_sees_newest_first(
    cast: Cast, tasks: dict[str, Task]
) -> None:
    response = Api(cast.bob).get(TASKS)
    assert names(response) == ["barred", "waiting", "done", "hers", "held", "free"]
    answer = response.json()
    assert set(answer) == {"count", "next", "previous", "results"}
    assert (answer["count"], answer["next"], answer["previous"]) == (6, None, None)
    assert names(Api(cast.frank).get(TASKS)) == []
    assert names(Api(cast.carol).get(TASKS)) == [
        "barred",
        "theirs",
        "waiting",
        "done",
        "hers",
        "held",
        "free",
    ]
    assert len(names(Api(cast.svc_reader).get(TASKS))) == len(tasks)
    assert len(names(Api(cast.root).get(TASKS))) == len(tasks)


@pytest.mark.parametrize("who", ["alice", "bob", "carol", "dave", "erin", "frank", "root"])
def test_listed_is_readable_and_the_other_way_round(
    cast: Cast, tasks: dict[str, Task], who: str
) -> None:
    api = Api(getattr(cast, who))
    listed = set(names(api.get(TASKS)))
    readable = {
        name for name, task in tasks.items() if api.get(task_path(task.pk)).status_code == 200
    }
    assert listed == readable


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=completed", ["done"]),
        ("state=ready&state=created", ["barred", "waiting", "free"]),
        ("state=expired", []),
        ("owner=bob", ["done", "held"]),
        ("owner=bob&state=reserved", ["held"]),
        ("owner=none", ["barred", "waiting", "free"]),
        ("owner=nobody-of-that-name", []),
        ("owner=BOB", []),
        ("view=mine", ["held"]),
        ("view=available", ["free"]),
        ("view=team", ["barred", "waiting", "hers", "held", "free"]),
        ("view=team&owner=alice", ["hers"]),
        ("view=mine&state=completed", []),
    ],
)
def test_filters(cast: Cast, tasks: dict[str, Task], query: str, expected: list[str]) -> None:
    response = Api(cast.bob).get(f"{TASKS}?{query}")
    assert names(response) == expected
    assert response.json()["count"] == len(expected)


def test_a_list_shows_the_documents_with_secrets_masked_for_everybody(cast: Cast) -> None:
    make_task(
        cast.carol,
        cast.bob,
        job=JobFactory(name="Site 7"),
        input={"password": "secret"},
        secret_pointers=["/input/password"],
    )
    api = Api(cast.bob)
    (listed,) = api.get(TASKS).json()["results"]
    alone = api.get(listed["url"].removeprefix("http://testserver")).json()
    alone.pop("permitted_operations")
    assert alone["input"] == {"password": "secret"}
    assert listed == {**alone, "input": {"password": "******"}}


# --- Pages ---------------------------------------------------------------------------------------


def walk(api: Api, path: str, direction: str = "next") -> list[list[str]]:
    """The pages from `path` on, as names."""
    pages = []
    while path:
        response = api.get(path)
        pages.append(names(response))
        path = (response.json()[direction] or "").removeprefix("http://testserver")
    return pages


def test_pages_follow_each_other_in_both_directions(cast: Cast) -> None:
    make_tasks(7, cast.carol, [cast.noc])
    api = Api(cast.bob)
    everything = names(api.get(TASKS))
    pages = walk(api, f"{TASKS}?limit=3&state=ready")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [name for page in pages for name in page] == everything
    last = api.get(f"{TASKS}?limit=3")
    for _ in range(2):
        last = api.get(last.json()["next"].removeprefix("http://testserver"))
    assert last.json()["next"] is None
    back = walk(api, last.json()["previous"].removeprefix("http://testserver"), "previous")
    assert back == [everything[3:6], everything[:3]]
    assert api.get(f"{TASKS}?limit=3").json()["previous"] is None
    assert last.json()["count"] == 7


def test_a_page_that_ends_with_the_list_has_no_next_one(cast: Cast) -> None:
    make_tasks(4, cast.carol, [cast.noc])
    assert [len(page) for page in walk(Api(cast.bob), f"{TASKS}?limit=2")] == [2, 2]
    assert [len(page) for page in walk(Api(cast.bob), f"{TASKS}?limit=4")] == [4]


def test_a_walk_shows_each_task_once_while_others_come_go_and_change(cast: Cast) -> None:
    first = make_tasks(9, cast.carol, [cast.noc])  # all made at the same time
    api = Api(cast.bob)
    seen: list[str] = []
    path = f"{TASKS}?limit=2"
    while path:
        answer = api.get(path).json()
        seen += [task["id"] for task in answer["results"]]
        make_task(cast.carol, cast.noc)
        ACTIONS["claim"]([first[len(seen) % 9].pk], call=call_by(cast.bob))
        path = (answer["next"] or "").removeprefix("http://testserver")
    assert sorted(seen) == sorted(str(task.pk) for task in first)
    assert len(seen) == len(set(seen))


def test_a_cursor_outlives_the_task_it_was_made_of(cast: Cast) -> None:
    oldest, middle, _ = [make_task(cast.carol, cast.noc) for _ in range(3)]
    cursor = pagination.Cursor.at(middle).text
    body = {"role": "potential_owner", "from": {"group": "noc"}}
    assert Api(cast.carol).post(task_path(middle.pk, "revoke"), body).status_code == 200
    answer = Api(cast.bob).get(TASKS, {"cursor": cursor}).json()
    assert [task["id"] for task in answer["results"]] == [str(oldest.pk)]
    assert answer["count"] == 2


def test_beyond_the_exact_count_there_is_an_estimate(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tasks(6, cast.carol, [cast.noc])
    make_tasks(5, cast.carol, [cast.carol])
    monkeypatch.setattr(pagination, "EXACT", 5)
    answer = Api(cast.bob).get(TASKS).json()
    assert (answer["count"], answer["count_estimate"]) == (None, 6)
    monkeypatch.setattr(pagination, "COUNTED", 5)
    answer = Api(cast.bob).get(TASKS).json()
    assert (answer["count"], answer["count_estimate"]) == (None, 5)
    answer = Api(cast.dave).get(TASKS).json()
    assert answer["count"] is None
    assert answer["count_estimate"] >= 6
    monkeypatch.setattr(pagination, "EXACT", 6)
    answer = Api(cast.bob).get(TASKS).json()
    assert answer["count"] == 6
    assert "count_estimate" not in answer


def test_the_number_of_queries_does_not_depend_on_the_number_of_tasks(cast: Cast) -> None:
    above = make_task(cast.carol, cast.noc)
    jobs = [JobFactory() for _ in range(3)]
    api = Api(cast.bob)
    counts = set()
    for rounds in (1, 4, 8):
        for job in jobs:
            owners = [cast.noc, cast.field, cast.bob, cast.alice][: rounds % 5]
            made = make_tasks(rounds, cast.carol, owners or [cast.noc], job=job, parent=above)
            ACTIONS["claim"]([made[0].pk], call=call_by(cast.alice))
        for query in ({}, {"view": "team"}, {"owner": "alice"}, {"limit": "3"}):
            with CaptureQueriesContext(connection) as captured:
                assert api.get(TASKS, query).status_code == 200
            counts.add(len(captured))
    assert len(counts) == 1, counts
    assert counts.pop() <= 9


# --- Parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("page=2", "page", "unknown_parameter"),
        ("State=ready", "State", "unknown_parameter"),
        ("state[]=ready", "state[]", "unknown_parameter"),
        ("=1", "", "unknown_parameter"),
        ("limit=5&limit=6", "limit", "repeated_parameter"),
        ("owner=bob&owner=bob", "owner", "repeated_parameter"),
        ("view=mine&view=team", "view", "repeated_parameter"),
        ("format=json&format=json", "format", "repeated_parameter"),
        ("&".join(["state=ready"] * 21), "state", "repeated_parameter"),
        ("state=", "state", "invalid"),
        ("state=READY", "state", "invalid"),
        ("state=ready&state=nonsense", "state", "invalid"),
        ("state=ready,created", "state", "invalid"),
        ("owner=", "owner", "invalid"),
        ("view=", "view", "invalid"),
        ("view=everything", "view", "invalid"),
        ("format=xml", "format", "invalid"),
        ("limit=", "limit", "invalid"),
        ("limit=0", "limit", "invalid"),
        ("limit=201", "limit", "invalid"),
        ("limit=-1", "limit", "invalid"),
        ("limit=1e2", "limit", "invalid"),
        ("limit=+5", "limit", "invalid"),
        ("limit=%D9%A5", "limit", "invalid"),
        ("limit=" + "9" * 5000, "limit", "invalid"),
        ("cursor=", "cursor", "invalid"),
        ("cursor=x", "cursor", "invalid"),
        (f"cursor={MISSING}", "cursor", "invalid"),
        ("cursor=" + "A" * 34, "cursor", "invalid"),
        ("cursor=" + "_" * 34, "cursor", "invalid"),
        ("cursor=Pv" + "_" * 32, "cursor", "invalid"),
        ("cursor=%D9%A5", "cursor", "invalid"),
    ],
)
def test_parameters_are_refused_by_name(cast: Cast, query: str, parameter: str, code: str) -> None:
    for api in (Api(cast.bob), Api()):
        document = assert_problem(api.get(f"{TASKS}?{query}"), 400, "invalid_parameter")
        ((error),) = document["errors"]
        assert (error["parameter"], error["code"]) == (parameter, code)


def test_all_wrong_parameters_are_named(cast: Cast) -> None:
    document = assert_problem(
        Api(cast.bob).get(f"{TASKS}?limit=0&view=x&owner="), 400, "invalid_parameter"
    )
    assert [error["parameter"] for error in document["errors"]] == ["owner", "view", "limit"]
    assert document["detail"] == "These parameters cannot be used: owner, view, limit."


def test_the_largest_limit_is_taken(cast: Cast) -> None:
    make_tasks(3, cast.carol, [cast.noc])
    assert len(names(Api(cast.bob).get(TASKS, {"limit": "200"}))) == 3
    assert len(names(Api(cast.bob).get(TASKS, {"limit": "001"}))) == 1


def test_nothing_of_hidden_tasks_shows_in_a_list(cast: Cast) -> None:
    make_tasks(3, cast.carol, [cast.noc])
    api = Api(cast.bob)
    queries = ("", "?owner=carol", "?owner=none", "?state=ready&limit=2", "?view=team")
    before = [api.get(TASKS + query).content for query in queries]
    for task in make_tasks(3, cast.dave, [cast.carol]):
        ACTIONS["claim"]([task.pk], call=call_by(cast.carol))
    make_tasks(2, cast.dave, [cast.field])
    assert [api.get(TASKS + query).content for query in queries] == before
