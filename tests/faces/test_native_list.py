"""The list of the native API: who sees which tasks, filters, pages without gaps or repeats."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Membership, User
from tasks import lists, people
from tasks.actions import ACTIONS
from tasks.api.native import filters, listing, pagination
from tasks.models import Task, TaskGroupRole, TaskUserRole
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
        ("view=available&state=ready", ["free"]),
        ("view=available&state=ready&state=reserved&owner=none", ["free"]),
        ("view=available&state=reserved", []),
        ("view=team&state=reserved", ["hers", "held"]),
        ("view=team&owner=none", ["barred", "waiting", "free"]),
        ("view=mine&owner=none", []),
        ("view=mine&owner=bob", ["held"]),
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


ORDERINGS = [
    (view, ordering) for view, found in listing.VIEWS.items() for ordering in found.orderings
]


@pytest.mark.parametrize(("view", "ordering"), [("", "created_at"), *ORDERINGS])
def test_every_ordering_is_walked_in_both_directions(cast: Cast, view: str, ordering: str) -> None:
    now = timezone.now()
    for number, (priority, days) in enumerate(
        [(5, None), (1, 2), (5, 1), (5, 2), (1, None), (5, 1)]
    ):
        due = None if days is None else now + timedelta(days=days)
        if view == "overdue":
            due = now - timedelta(days=days or 9)
        owners = [cast.noc, cast.bob, cast.field][: number % 3 + 1]
        made = make_task(cast.carol, *owners, priority=priority, due_at=due, name=str(number))
        if view in ("mine", "finished"):
            ACTIONS["claim"]([made.pk], call=call_by(cast.bob))
        if view == "finished":
            ACTIONS["complete"]([made.pk], call=call_by(cast.bob))
        if view == "on-hold":
            ACTIONS["suspend"]([made.pk], call=call_by(cast.carol))
        if view == "unclaimable":
            Task.objects.filter(pk=made.pk).update(unclaimable_since=now)
    if view == "mine":
        ACTIONS["comment"]([Task.objects.get(name="2").pk], call=call_by(cast.bob), text="Hm.")
    if view == "unclaimable":
        User.objects.filter(pk__in=[cast.bob.pk, cast.alice.pk]).update(is_active=False)
        TaskUserRole.objects.filter(user=cast.bob).delete()
        TaskGroupRole.objects.exclude(group=cast.noc).delete()
    api = Api(cast.dave if view == "unclaimable" else cast.bob)
    query = f"{TASKS}?ordering={ordering}" + (f"&view={view}" if view else "")
    order = lists.ORDERS[ordering]
    expected = [
        task.name for task in sorted(Task.objects.all(), key=order.place, reverse=order.descending)
    ]
    assert names(api.get(query)) == expected
    last = api.get(f"{query}&limit=4").json()["next"].removeprefix("http://testserver")
    assert walk(api, f"{query}&limit=4") == [expected[:4], expected[4:]]
    back = api.get(last).json()["previous"].removeprefix("http://testserver")
    assert names(api.get(back)) == expected[:4]


def test_the_worklist_is_in_order_of_priority_and_other_lists_are_newest_first(cast: Cast) -> None:
    for priority in (5, 1, 9):
        make_task(cast.carol, cast.noc, name=str(priority), priority=priority)
    api = Api(cast.bob)
    assert names(api.get(TASKS, {"view": "available"})) == ["1", "5", "9"]
    assert names(api.get(TASKS)) == names(api.get(TASKS, {"view": "team"})) == ["9", "1", "5"]


def test_a_cursor_belongs_to_its_ordering(cast: Cast) -> None:
    make_tasks(3, cast.carol, [cast.noc])
    api = Api(cast.bob)
    onwards = api.get(TASKS, {"view": "team", "limit": "1"}).json()["next"]
    path = onwards.removeprefix("http://testserver")
    assert api.get(path).status_code == 200
    assert_problem(api.get(f"{path}&ordering=priority"), 400, "invalid_parameter")


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
    cursor = pagination.Cursor.at(middle, lists.NEWEST).text
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
    monkeypatch.setattr(listing, "EXACT", 5)
    limited = {"limit": "3"}  # a list that fits on its page needs no counting
    for view in ({}, {"view": "team"}, {"view": "available"}, {"owner": filters.NO_OWNER}):
        answer = Api(cast.bob).get(TASKS, {**limited, **view}).json()
        assert (answer["count"], answer["count_estimate"]) == (None, 6), view
    answer = Api(cast.dave).get(TASKS, limited).json()
    assert answer["count"] is None
    assert answer["count_estimate"] >= 6
    assert Api(cast.bob).get(TASKS).json()["count"] == 6
    monkeypatch.setattr(listing, "EXACT", 6)
    answer = Api(cast.bob).get(TASKS, limited).json()
    assert answer["count"] == 6
    assert "count_estimate" not in answer


def test_a_task_of_several_groups_counts_once(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    for group in (cast.field, cast.change_board):
        Membership.objects.create(user=cast.bob, group=group)
    make_tasks(6, cast.carol, [cast.noc, cast.field, cast.change_board, cast.bob])
    api = Api(cast.bob)
    # Of 24 rows, those looked at first do not tell whether there are five tasks or fewer.
    for most, expected in ((3, (None, 4)), (4, (None, 5)), (5, (None, 6)), (6, (6, None))):
        monkeypatch.setattr(listing, "EXACT", most)
        for view in ("", "&view=team", "&view=available"):
            answer = api.get(f"{TASKS}?limit=3{view}").json()
            assert (answer["count"], answer.get("count_estimate")) == expected, (most, view)


def test_the_number_of_queries_does_not_depend_on_the_number_of_tasks(cast: Cast) -> None:
    above = make_task(cast.carol, cast.noc)
    jobs = [JobFactory() for _ in range(3)]
    api = Api(cast.bob)
    # Token with permissions, page and parents; then one to count a list that is longer than its
    # page, or one more to fetch what a queryset has found.
    expected = {"": 3, "view=team": 3, "owner=alice": 4, "limit=1": 4}
    counts: dict[str, set[int]] = defaultdict(set)
    for rounds in (1, 4, 8):
        for job in jobs:
            owners = [cast.noc, cast.field, cast.bob, cast.alice][: rounds % 5]
            made = make_tasks(rounds, cast.carol, owners or [cast.noc], job=job, parent=above)
            ACTIONS["claim"]([made[0].pk], call=call_by(cast.alice))
        for query in expected:
            with CaptureQueriesContext(connection) as captured:
                assert api.get(f"{TASKS}?{query}").status_code == 200
            counts[query].add(len(captured))
    assert counts == {query: {number} for query, number in expected.items()}


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
        ("ordering=", "ordering", "invalid"),
        ("ordering=name", "ordering", "invalid"),
        ("ordering=priority", "ordering", "invalid"),
        ("view=available&ordering=due_at", "ordering", "invalid"),
        ("ordering=created_at&ordering=-created_at", "ordering", "repeated_parameter"),
        ("cursor=", "cursor", "invalid"),
        ("cursor=x", "cursor", "invalid"),
        (f"cursor={MISSING}", "cursor", "invalid"),
        ("cursor=" + "A" * 36, "cursor", "invalid"),
        ("cursor=" + "_" * 36, "cursor", "invalid"),
        ("cursor=PgIA" + "_" * 32, "cursor", "invalid"),
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
