"""The filters of the list, and what else takes them: the count, the summary, calls on many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Membership, User
from tasks import lists, people, summaries
from tasks.actions import ACTIONS
from tasks.api.native import filters, listing
from tasks.lifecycle import State
from tasks.models import Job, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import JobFactory, call_by, make_in, make_task, make_tasks

from .native_client import TASKS, Api, assert_problem

NOW = datetime(2030, 6, 15, 12, tzinfo=UTC)
JOB_ID = "5f2e8a3b9c1d4e6f7a8b9c0d"


def names(response: Any) -> set[str]:
    """The names of the tasks that a list answers with."""
    assert response.status_code == 200, response.content
    return {task["name"] for task in response.json()["results"]}


@pytest.fixture(params=["few", "many"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to find tasks: sifting those an index finds, or walking past all one sees."""
    if request.param == "many":
        monkeypatch.setattr(lists, "FEW", -1)
    return str(request.param)


@pytest.fixture
def jobs(cast: Cast) -> tuple[Job, Job]:
    """A job made here and an imported one."""
    return JobFactory(), JobFactory(legacy_id=JOB_ID)


@pytest.fixture
def tasks(cast: Cast, jobs: tuple[Job, Job]) -> dict[str, Task]:
    """Tasks that the filters tell apart. Bob sees all but `hidden`, which is like `router`."""
    made = {}
    router: dict[str, Any] = {
        "name": "router",
        "description": "Swap the core router in Ghent",
        "priority": 2,
        "due_at": NOW,
        "source": "planner",
        "external_id": "CHG-17",
        "job": jobs[0],
        "short_id": "a1",
        "input": {"password": "hunter2", "colour": "mauve"},
        "secret_pointers": ["/input/password"],
    }
    stakes = {
        TaskRole.STAKEHOLDER: [people.user("alice")],
        TaskRole.READER: [people.group("field")],
    }
    made["router"] = make_task(cast.carol, cast.noc, people_of=stakes, **router)
    twin = router | {"name": "hidden", "source": "other", "short_id": "a2", "job": jobs[1]}
    made["hidden"] = make_task(cast.dave, cast.field, people_of=stakes, **twin)
    made["switch"] = make_task(
        cast.dave,
        cast.noc,
        name="switch",
        description="Restart it",
        priority=7,
        due_at=NOW + timedelta(days=2),
        source="planner",
        external_id="CHG-18",
        job=jobs[1],
    )
    made["plain"] = make_task(cast.carol, cast.bob, name="plain", priority=0)
    made["held"] = make_task(cast.carol, cast.noc, name="held")
    made["paused"] = make_task(cast.carol, cast.noc, name="paused")
    made["timer"] = make_task(cast.carol, cast.noc, name="timer", kind="manual", priority=10)
    ACTIONS["claim"]([made["held"].pk], call=call_by(cast.bob))
    ACTIONS["suspend"]([made["paused"].pk], call=call_by(cast.carol))
    for days, name in enumerate(made):
        at = NOW + timedelta(days=days)
        Task.objects.filter(pk=made[name].pk).update(created_at=at, updated_at=at)
        for rows in (made[name].user_roles, made[name].group_roles):
            rows.update(created=at)
    Task.objects.filter(pk=made["timer"].pk).update(kind="automatic")
    made["timer"].group_roles.update(ready=False)
    return made


OTHERS = {"switch", "plain", "held", "paused", "timer"}
ALL = {"router", *OTHERS}
FREE = {"router", "switch", "plain"}

CASES: list[tuple[str, set[str]]] = [
    ("", ALL),
    ("kind=automatic", {"timer"}),
    ("kind=manual&kind=automatic", ALL),
    ("priority=0&priority=7", {"plain", "switch"}),
    ("priority__gte=7", {"switch", "timer"}),
    ("priority__lte=2", {"router", "plain"}),
    ("priority__gte=2&priority__lte=2", {"router"}),
    ("on_hold=true", {"paused"}),
    ("on_hold=false", ALL - {"paused"}),
    ("owner=bob", {"held"}),
    ("owner=none", ALL - {"held"}),
    ("owner=none&priority=0", {"plain"}),
    ("role=potential_owner&holder=me", ALL),
    ("role=potential_owner&holder=user:bob", {"plain"}),
    ("role=potential_owner&holder=group:noc", ALL - {"plain"}),
    ("role=potential_owner&holder=group:field", set()),
    ("role=potential_owner&holder=group:nobody", set()),
    ("role=stakeholder&holder=user:alice", {"router"}),
    ("role=stakeholder&holder=me", set()),
    ("role=reader&holder=group:field", {"router"}),
    ("role=originator&holder=user:carol", ALL - {"switch"}),
    ("role=originator&holder=me", set()),
    ("role=owner&holder=me", {"held"}),
    ("role=owner&holder=user:bob", {"held"}),
    ("role=stakeholder&holder=user:alice&job={0}", {"router"}),
    ("role=stakeholder&holder=user:alice&job={1}", set()),
    ("job={0}", {"router"}),
    ("job={1}", {"switch"}),
    (f"job={JOB_ID}", {"switch"}),
    ("job={0:024x}", {"router"}),
    ("job=999999999999999999", set()),
    ("job=00000000ffffffffffffffff", set()),
    ("source=planner", {"router", "switch"}),
    ("source=other", set()),
    ("source=Planner", set()),
    ("external_id=CHG-17", {"router"}),
    ("source=planner&external_id=CHG-18", {"switch"}),
    ("source=other&external_id=CHG-17", set()),
    ("due_at__gte=2030-06-15T12:00:00Z", {"router", "switch"}),
    ("due_at__gt=2030-06-15T12:00:00Z", {"switch"}),
    ("due_at__lte=2030-06-15T12:00:00Z", {"router"}),
    ("due_at__lt=2030-06-15T14:00:00%2B02:00", set()),
    ("due_at__isnull=true", ALL - {"router", "switch"}),
    ("due_at__isnull=false", {"router", "switch"}),
    ("created_at__gte=2030-06-19T12:00:00Z", {"held", "paused", "timer"}),
    ("created_at__gt=2030-06-19T12:00:00Z", {"paused", "timer"}),
    ("created_at__lt=2030-06-17T12:00:00Z", {"router"}),
    ("created_at__gt=2030-06-15T12:00:00Z&created_at__lte=2030-06-17T12:00:00Z", {"switch"}),
    ("updated_at__gte=2030-06-21T12:00:00Z", {"timer"}),
    ("updated_at__lte=2030-06-15T12:00:00Z", {"router"}),
    ("q=router", {"router"}),
    ("q=GHENT core", {"router"}),
    ('q="core router"', {"router"}),
    ('q="router core"', set()),
    ("q=router or restart", {"router", "switch"}),
    ("q=planner -router", {"switch"}),
    ("q=CHG-17", {"router"}),
    ("q=a1", {"router"}),
    ("q=route", set()),
    ("q=hunter2", set()),
    ("q=mauve", set()),
    ("q=&!():*'\\", set()),
    ("q=planner&job={1}&priority__gte=5&kind=manual&owner=none&view=available", {"switch"}),
    ("state=ready&q=planner&role=originator&holder=user:dave", {"switch"}),
    ("view=available&priority=0", {"plain"}),
    ("view=available&q=router", {"router"}),
    ("view=mine&q=router", set()),
    ("view=mine&on_hold=false", {"held"}),
    ("view=team&kind=automatic", {"timer"}),
    ("view=team&job={0}&ordering=priority", {"router"}),
    ("view=on-hold", {"paused"}),
    ("view=on-hold&state=ready", {"paused"}),
    ("view=on-hold&priority=0", set()),
    ("view=overdue", set()),
    ("view=finished", set()),
]


def test_filters(cast: Cast, tasks: dict[str, Task], jobs: tuple[Job, Job], ways: str) -> None:
    api = Api(cast.bob)
    for number, (query, expected) in enumerate(CASES):
        query = query.format(jobs[0].pk, jobs[1].pk).replace("q=&", "q=%26")
        response = api.get(f"{TASKS}?{query}")
        assert names(response) == expected, query
        assert response.json()["count"] == len(expected), query
        if number % 3:
            continue
        query = query.partition("&ordering")[0]
        assert api.get(f"{TASKS}count/?{query}").json() == {"count": len(expected)}, query
        summary = api.get(f"{TASKS}summary/?{query}").json()
        assert (summary["summed"], summary["complete"]) == (len(expected), True), query


def test_the_same_filters_find_the_hidden_task_for_those_who_see_it(
    cast: Cast, tasks: dict[str, Task], jobs: tuple[Job, Job], ways: str
) -> None:
    """Negative control of the cases above: `hidden` fits many of them."""
    api = Api(cast.dave)
    for query in (
        *("source=other", "q=ghent", "role=potential_owner&holder=group:field"),
        *("role=stakeholder&holder=user:alice", f"job={jobs[1].pk}", "external_id=CHG-17"),
        *("role=originator&holder=me", "due_at__lte=2030-06-15T12:00:00Z", "priority=2"),
        "created_at__lt=2030-06-17T12:00:00Z",
    ):
        assert "hidden" in names(api.get(f"{TASKS}?{query}")), query
        assert "plain" not in names(api.get(f"{TASKS}?{query}")), query


def test_nothing_of_hidden_tasks_shows(cast: Cast, jobs: tuple[Job, Job]) -> None:
    make_tasks(3, cast.carol, [cast.noc], job=jobs[0])
    api = Api(cast.bob)
    queries = (
        *("q=router&limit=2", "role=potential_owner&holder=group:field", "source=other"),
        *("role=originator&holder=user:dave", f"job={jobs[1].pk}", "external_id=1", "limit=1"),
        *("owner=carol", "view=finished", "view=on-hold", "priority=5&limit=2", "view=overdue"),
    )
    paths = [f"{TASKS}?{query}" for query in queries]
    paths += [f"{TASKS}{end}?{q.partition('&limit')[0]}" for q in queries[:-1] for end in ENDS]
    paths = [path.replace("?limit=1", "") for path in paths]
    before = [api.get(path).content for path in paths]
    hidden = make_tasks(4, cast.dave, [cast.field], job=jobs[1], due_at=NOW - timedelta(9999))
    made = make_task(cast.dave, cast.carol, source="other", external_id="1")
    ACTIONS["claim"]([made.pk], call=call_by(cast.carol))
    ACTIONS["suspend"]([hidden[0].pk], call=call_by(cast.dave))
    make_in(State.COMPLETED, cast.dave, cast.field, owner=cast.carol)
    assert [api.get(path).content for path in paths] == before
    other = Api(cast.dave)
    changed = [other.get(path).content for path in paths]  # negative control
    assert all(one != two for one, two in zip(before, changed, strict=True))


ENDS = ("count/", "summary/")


REFUSED = [
    ("kind=", "kind", "invalid"),
    ("kind=Manual", "kind", "invalid"),
    ("priority=11", "priority", "invalid"),
    ("priority=-1", "priority", "invalid"),
    ("priority=05", "priority", "invalid"),
    ("priority=1,2", "priority", "invalid"),
    ("priority__gte=", "priority__gte", "invalid"),
    ("priority__gte=x", "priority__gte", "invalid"),
    ("priority__gte=1e400", "priority__gte", "invalid"),
    ("priority__gt=1", "priority__gt", "unknown_parameter"),
    ("priority__gte=1&priority__gte=2", "priority__gte", "repeated_parameter"),
    ("priority__in=1", "priority__in", "unknown_parameter"),
    ("on_hold=1", "on_hold", "invalid"),
    ("on_hold=True", "on_hold", "invalid"),
    ("on_hold=", "on_hold", "invalid"),
    ("owner=" + "x" * 256, "owner", "invalid"),
    ("role=boss&holder=me", "role", "invalid"),
    ("role=reader", "role", "contradiction"),
    ("holder=me", "holder", "contradiction"),
    ("role=owner&holder=group:noc", "holder", "contradiction"),
    ("role=reader&holder=bob", "holder", "invalid"),
    ("role=reader&holder=user:", "holder", "invalid"),
    ("role=reader&holder=ME", "holder", "invalid"),
    ("job=x", "job", "invalid"),
    ("job=-1", "job", "invalid"),
    ("job=", "job", "invalid"),
    ("job=" + "9" * 19, "job", "invalid"),
    ("job=%D9%A5", "job", "invalid"),
    ("job=5F2E8A3B9C1D4E6F7A8B9C0D", "job", "invalid"),
    ("source=", "source", "invalid"),
    ("external_id=", "external_id", "invalid"),
    ("q=", "q", "invalid"),
    ("q=" + "x" * 256, "q", "invalid"),
    ("due_at__gte=tomorrow", "due_at__gte", "invalid"),
    ("due_at__gte=2030-01-01", "due_at__gte", "invalid"),
    ("due_at__gte=2030-01-01T00:00:00", "due_at__gte", "invalid"),
    ("due_at__gte=2030-13-01T00:00:00Z", "due_at__gte", "invalid"),
    ("due_at__gte=2030-01-01T00:00:00+02:00", "due_at__gte", "invalid"),  # "+" is a space
    ("due_at=2030-01-01T00:00:00Z", "due_at", "unknown_parameter"),
    ("due_at__isnull=0", "due_at__isnull", "invalid"),
    ("due_at__isnull=true&due_at__lt=2030-01-01T00:00:00Z", "due_at__isnull", "contradiction"),
]


def test_parameters_are_refused_by_name(cast: Cast) -> None:
    for api in (Api(cast.bob), Api()):
        for end in ("", *ENDS):
            for query, parameter, code in REFUSED:
                response = api.get(f"{TASKS}{end}?{query}")
                document = assert_problem(response, 400, "invalid_parameter")
                ((error),) = document["errors"]
                assert (error["parameter"], error["code"]) == (parameter, code), query
                assert error["detail"], query


def test_bounds_that_exclude_each_other_are_refused(cast: Cast) -> None:
    api = Api(cast.bob)
    for low, high in (
        ("priority__gte=10", "priority__lte=9"),
        ("created_at__gt=2030-01-02T00:00:00Z", "created_at__lte=2030-01-01T00:00:00Z"),
    ):
        document = assert_problem(api.get(f"{TASKS}?{low}&{high}"), 400, "invalid_parameter")
        found = {(one["parameter"], one["code"]) for one in document["errors"]}
        assert found == {(one.partition("=")[0], "contradiction") for one in (low, high)}


def test_filters_have_twenty_values_at_most(cast: Cast) -> None:
    api = Api(cast.bob)
    states = "&".join(f"state={state}" for state in State)
    some = "&".join(f"priority={number}" for number in range(20 - len(State)))
    assert api.get(f"{TASKS}?{states}&{some}").status_code == 200
    response = api.get(f"{TASKS}?{states}&{some}&q=one+more")
    ((error),) = assert_problem(response, 400, "invalid_parameter")["errors"]
    assert (error["parameter"], error["code"]) == ("q", "too_many")


def test_times_at_the_ends_of_the_calendar(cast: Cast) -> None:
    make_task(cast.carol, cast.noc, name="one")
    api = Api(cast.bob)
    for column in ("created_at", "due_at", "updated_at"):
        for moment, status in (
            ("0001-01-01T00:00:00Z", 200),
            ("9999-12-31T23:59:59.999999Z", 200),
            ("0001-01-01T00:00:00%2B14:00", 400),
            ("9999-12-31T23:59:59-14:00", 400),
        ):
            response = api.get(f"{TASKS}?{column}__gte={moment}")
            assert response.status_code == status, response.content


def test_what_only_lists_take_is_unknown_to_counts(cast: Cast) -> None:
    api = Api(cast.bob)
    for query in ("ordering=priority", "limit=5", "cursor=x", "fields=id"):
        for end in ENDS:
            response = api.get(f"{TASKS}{end}?{query}")
            document = assert_problem(response, 400, "invalid_parameter")
            assert document["errors"][0]["code"] == "unknown_parameter"


def test_every_filter_says_what_it_takes() -> None:
    for name, one in filters.TaskFilters.base_filters.items():
        assert one.extra.get("help_text"), name


# --- Pages ----------------------------------------------------------------------------------------


def test_pages_of_filtered_lists_follow_each_other_in_both_directions(
    cast: Cast, jobs: tuple[Job, Job], ways: str
) -> None:
    for number in range(5):
        make_task(
            cast.carol,
            *[cast.noc, cast.bob][: number % 2 + 1],
            name=f"router {number}",
            job=jobs[0],
            priority=number % 3,
            due_at=timezone.now() - timedelta(days=number % 2 + 1),
        )
        make_task(cast.carol, cast.noc, name=f"other {number}", priority=9)
        make_task(cast.dave, cast.field, name=f"hidden router {number}", job=jobs[0])
    for user in (cast.bob, cast.erin):
        api = Api(user)
        for query in (
            *("q=router -hidden", f"job={jobs[0].pk}&priority__lte=3"),
            *("priority__lte=3", "view=overdue&kind=manual", "view=overdue&ordering=-due_at"),
            *("view=team&q=router&ordering=priority", "view=available&ordering=-priority&q=router"),
        ):
            path = f"{TASKS}?{query}&fields=name"
            whole = pages_of(api, path)[0]
            if not (user == cast.erin and "view=" in query and "overdue" not in query):
                assert len(whole) >= 5, query
            pages = pages_of(api, f"{path}&limit=2")
            assert [name for page in pages for name in page] == whole, query
            if len(pages) > 1:
                last = following(api, f"{path}&limit=2", len(pages) - 1)
                back = pages_of(api, onwards(api.get(last), "previous"), "previous")
                assert back == pages[-2::-1], query


def onwards(response: Any, direction: str = "next") -> str:
    """Where a list goes on, as a path."""
    return (response.json()[direction] or "").removeprefix("http://testserver")


def following(api: Api, path: str, steps: int) -> str:
    """The path of a page so many pages on."""
    for _ in range(steps):
        path = onwards(api.get(path))
    return path


def pages_of(api: Api, path: str, direction: str = "next") -> list[list[str]]:
    """The names of the tasks on each page from a path on."""
    pages = []
    while path:
        response = api.get(path)
        assert response.status_code == 200, response.content
        pages.append([task["name"] for task in response.json()["results"]])
        path = onwards(response, direction)
    return pages


# --- Views ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["bob", "dave", "erin"])
def test_overdue_on_hold_and_finished(cast: Cast, who: str) -> None:
    late = [
        make_task(cast.carol, cast.noc, name=f"late{days}", due_at=timezone.now() - timedelta(days))
        for days in (1, 3, 2)
    ]
    make_task(cast.carol, cast.noc, name="early", due_at=timezone.now() + timedelta(days=1))
    make_task(cast.carol, cast.noc, name="never")
    make_in(
        State.COMPLETED, cast.carol, cast.noc, name="done", due_at=timezone.now(), owner=cast.bob
    )
    make_in(State.EXITED, cast.carol, cast.noc, name="off")
    ACTIONS["suspend"]([late[0].pk], call=call_by(cast.carol))
    api = Api(getattr(cast, who))

    def listed(query: str) -> list[str]:
        return [task["name"] for task in api.get(f"{TASKS}?{query}").json()["results"]]

    assert listed("view=overdue") == ["late3", "late2", "late1"]
    assert listed("view=overdue&ordering=-due_at") == ["late1", "late2", "late3"]
    assert listed("view=overdue&on_hold=true") == ["late1"]
    assert listed("view=on-hold") == ["late1"]
    assert listed("view=finished") == ["off", "done"]
    assert listed("view=finished&state=exited") == ["off"]
    assert listed("view=finished&state=ready") == []
    assert api.get(f"{TASKS}count/?view=overdue").json() == {"count": 3}


# --- Jobs -----------------------------------------------------------------------------------------


def test_the_link_of_a_job_leads_to_its_tasks(
    cast: Cast, tasks: dict[str, Task], jobs: tuple[Job, Job]
) -> None:
    api = Api(cast.bob)
    for job, expected in zip(jobs, ("router", "switch"), strict=True):
        link = api.get(f"/api/v1/jobs/{job.pk}/").json()["tasks"]
        assert names(api.get(link.removeprefix("http://testserver"))) == {expected}


# --- Fields ---------------------------------------------------------------------------------------


def test_only_the_members_asked_for_are_answered(
    cast: Cast, tasks: dict[str, Task], ways: str
) -> None:
    for user in (cast.bob, cast.erin):
        for query in ("", "&view=team", "&source=planner"):
            api = Api(user)
            whole = api.get(f"{TASKS}?{query}").json()["results"]
            few = api.get(f"{TASKS}?fields=state,id,flags{query}").json()["results"]
            assert few == [{name: one[name] for name in ("id", "state", "flags")} for one in whole]
            large = api.get(f"{TASKS}?fields=input,people,job,parent{query}").json()["results"]
            assert large == [
                {name: one[name] for name in ("input", "people", "job", "parent") if name in one}
                for one in whole
            ]


def test_large_columns_are_not_read_unless_asked_for(cast: Cast, tasks: dict[str, Task]) -> None:
    api = Api(cast.bob)

    def read(query: str) -> str:
        with CaptureQueriesContext(connection) as captured:
            assert api.get(f"{TASKS}?{query}").status_code == 200
        return " ".join(query["sql"] for query in captured)

    def large(query: str) -> set[str]:
        sql = read(query)
        found = {name for name in lists.LARGE if f"t.{name}," in sql}
        return found | {lists.PEOPLE} if "jsonb_agg" in sql else found

    assert large("fields=id,name") == set()
    assert large("fields=output,people") == {"output", "people"}
    assert large("") == {*lists.LARGE, "people"}
    assert "search" not in read("")


def test_members_that_do_not_exist_are_refused(cast: Cast) -> None:
    api = Api(cast.bob)
    for value in ("", "id,", "id,nonsense", "head", "Id", "id name", "*"):
        document = assert_problem(api.get(TASKS, {"fields": value}), 400, "invalid_parameter")
        assert [error["parameter"] for error in document["errors"]] == ["fields"], value


# --- Count and summary ----------------------------------------------------------------------------


def test_a_count_beyond_the_bound_is_an_estimate(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tasks(6, cast.carol, [cast.noc])
    make_tasks(2, cast.dave, [cast.field])
    monkeypatch.setattr(listing, "EXACT", 5)
    assert Api(cast.bob).get(f"{TASKS}count/").json() == {"count": None, "count_estimate": 6}
    all_of_them = Api(cast.dave).get(f"{TASKS}count/").json()
    assert all_of_them["count"] is None
    assert all_of_them["count_estimate"] >= 6
    monkeypatch.setattr(listing, "EXACT", 8)
    assert Api(cast.bob).get(f"{TASKS}count/").json() == {"count": 6}
    assert Api(cast.dave).get(f"{TASKS}count/").json() == {"count": 8}


@pytest.mark.parametrize("who", ["bob", "erin"])
def test_a_summary_counts_by_state_owner_group_and_age(
    cast: Cast, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Membership.objects.create(user=cast.bob, group=cast.field)
    first, second, both, _ = (
        make_task(cast.carol, *some)
        for some in ([cast.noc], [cast.noc], [cast.noc, cast.field], [cast.bob])
    )
    old = timezone.now() - timedelta(days=8)
    Task.objects.filter(pk=second.pk).update(created_at=old)
    second.group_roles.update(created=old)
    ACTIONS["claim"]([first.pk, both.pk], call=call_by(cast.bob, bulk=True))
    ACTIONS["claim"]([second.pk], call=call_by(cast.alice))
    api = Api(getattr(cast, who))
    found = api.get(f"{TASKS}summary/").json()
    assert found == {
        "summed": 4,
        "complete": True,
        "by_state": dict.fromkeys(State, 0) | {"reserved": 3, "ready": 1},
        "by_owner": [
            {"name": "bob", "count": 2},
            {"name": None, "count": 1},
            {"name": "alice", "count": 1},
        ],
        "other_owners": 0,
        "by_group": [
            {"name": "noc", "count": 3},
            {"name": None, "count": 1},
            {"name": "field", "count": 1},
        ],
        "other_groups": 0,
        "by_age": {"day": 3, "week": 0, "month": 1, "quarter": 0, "older": 0},
    }
    found = api.get(f"{TASKS}summary/?state=reserved&owner=bob&view=team").json()
    if who == "bob":
        assert found["by_owner"] == [{"name": "bob", "count": 2}]
    monkeypatch.setattr(summaries, "MOST_NAMES", 1)
    monkeypatch.setattr(summaries, "SUMMED", 3)
    monkeypatch.setattr(listing, "SUMMED", 3)
    found = api.get(f"{TASKS}summary/").json()
    assert (found["summed"], found["complete"]) == (3, False)
    assert found["by_age"]["month"] == 0  # the newest are summed up
    assert len(found["by_owner"]) == len(found["by_group"]) == 1
    assert found["other_owners"] == 1


def test_browsers_get_pages(cast: Cast) -> None:
    make_task(cast.carol, cast.noc)
    for path in ("count/?state=ready", "summary/?state=ready", "?fields=name", "?q=router"):
        response = Api(cast.bob).get(f"{TASKS}{path}&format=api")
        assert (response.status_code, response["Content-Type"][:9]) == (200, "text/html")


def test_counts_are_for_those_who_may_view(cast: Cast) -> None:
    for end in ENDS:
        for user, status in ((cast.svc_integration, 403), (None, 401)):
            assert Api(user).get(TASKS + end).status_code == status


def test_the_number_of_queries_does_not_depend_on_the_number_of_tasks(
    cast: Cast, jobs: tuple[Job, Job]
) -> None:
    api = Api(cast.bob)
    # Token with its permissions, page; one more to find what an index knows.
    expected = {
        "?priority=5": 2,
        f"?job={jobs[0].pk}": 3,
        "?q=router": 3,
        "?role=potential_owner&holder=me": 3,
        "?view=on-hold": 2,
        "?fields=id": 2,
        "count/": 2,
        "count/?q=router": 3,
        "summary/": 2,
        "summary/?view=available": 2,
        f"summary/?job={jobs[0].pk}": 3,
    }
    for number in (1, 9):
        for tasks in ([cast.noc], [cast.field, cast.noc], [cast.bob]):
            made = make_tasks(number, cast.carol, tasks, job=jobs[0])
            ACTIONS["claim"]([made[0].pk], call=call_by(cast.bob))
        for path, queries in expected.items():
            with CaptureQueriesContext(connection) as captured:
                assert api.get(TASKS + path).status_code == 200
            assert len(captured) == queries, path


# --- Calls on many --------------------------------------------------------------------------------


def test_a_call_on_many_takes_the_same_filters(
    cast: Cast, tasks: dict[str, Task], jobs: tuple[Job, Job]
) -> None:
    api = Api(cast.bob)
    for chosen, expected in (
        ({"q": "router"}, {"router"}),
        ({"priority": [2, 7]}, {"router", "switch"}),
        ({"priority__gte": 7, "kind": "manual"}, {"switch"}),
        ({"on_hold": True}, {"paused"}),
        ({"job": jobs[1].pk}, {"switch"}),
        ({"role": "stakeholder", "holder": "user:alice"}, {"router"}),
        ({"role": "potential_owner", "holder": "me", "view": "available"}, FREE),
        ({"due_at__lt": "2030-06-16T00:00:00Z"}, {"router"}),
        ({"source": "other"}, set()),
    ):
        response = api.post(f"{TASKS}bulk/claim/", {"filter": chosen, "dry_run": True})
        assert response.status_code == 200, response.content
        answer = response.json()
        ids = {one["id"] for one in (*answer["done"], *answer["refused"])}
        assert ids == {str(tasks[name].pk) for name in expected}, chosen
    refused = api.post(f"{TASKS}bulk/claim/", {"filter": {"q": ""}, "dry_run": True})
    document = assert_problem(refused, 400, "invalid_body")
    assert document["errors"][0]["pointer"] == "/filter/q"


def test_nobody_else_is_asked_about_by_being_a_member(cast: Cast) -> None:
    """Whom a group has is not for everybody to know, so a user's filter knows own rows only."""
    make_task(cast.carol, cast.noc, name="of the group")
    assert User.objects.filter(username="alice", groups__name="noc").exists()
    query = {"role": "potential_owner", "holder": "user:alice"}
    assert names(Api(cast.bob).get(TASKS, query)) == set()
    assert names(Api(cast.alice).get(TASKS, query | {"holder": "me"})) == {"of the group"}
