"""The feed of events and the history of a task: who is told what, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from accounts.models import GroupNesting, Membership, User
from tasks import events, feed
from tasks.actions import ACTIONS
from tasks.lifecycle import State
from tasks.models import AuditEvent, Channel, OutboxEvent, Task
from tasks.people import group, user
from tests.conftest import Cast
from tests.core.test_races import Racer, paused_before_commit
from tests.factories import GroupFactory, call_by, make_in, make_task, make_tasks

from .native_client import MISSING, REQUEST_ID, Api, assert_problem, task_path

EVENTS = "/api/v1/events/"


def told(api: Api, cursor: str | None = None, **more: Any) -> tuple[list[dict[str, Any]], str]:
    """The events after a cursor, read to the end, and the cursor after them."""
    found: list[dict[str, Any]] = []
    while True:
        given = {**more, **({} if cursor is None else {"cursor": cursor})}
        answer = api.get(EVENTS, given)
        assert answer.status_code == 200, answer.content
        document = answer.json()
        cursor = document["cursor"]
        found += document["results"]
        if not document["more"]:
            assert cursor is not None
            return found, cursor


def now(api: Api) -> str:
    """The cursor at the end of the feed."""
    document = api.get(EVENTS, {"from": "now"}).json()
    assert document["results"] == []
    return str(document["cursor"])


def names(found: Sequence[dict[str, Any]], task: Task) -> list[str]:
    """What happened to a task, in order."""
    return [each["event"] for each in found if each["task"]["id"] == str(task.pk)]


# --- What is told ---------------------------------------------------------------------------------


def test_an_event_says_what_happened(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    bob = Api(cast.bob)
    since = now(bob)
    bob.post(task_path(task.pk, "claim"))
    bob.post(task_path(task.pk, "release"), {"reason": "end of the shift"})
    found, _ = told(bob, since)
    rows = list(AuditEvent.objects.filter(task_id=task.pk).order_by("version"))[1:]
    assert [each["at"] for each in found] == [
        row.at.isoformat(timespec="microseconds").replace("+00:00", "Z") for row in rows
    ]
    assert len({each["id"] for each in found}) == 2
    for each in found:
        UUID(each.pop("id")), UUID(each.pop("operation_id")), each.pop("at")
    shared = {"actor": "bob", "on_behalf_of": None, "channel": "native", "request_id": REQUEST_ID}
    assert found == [
        {
            "event": "claimed",
            "task": {"id": str(task.pk), "version": 2},
            "before": {"state": "ready", "owner": None},
            "after": {"state": "reserved", "owner": "bob"},
            "reason": None,
            **shared,
        },
        {
            "event": "released",
            "task": {"id": str(task.pk), "version": 3},
            "before": {"state": "reserved", "owner": "bob"},
            "after": {"state": "ready", "owner": None},
            "reason": "end of the shift",
            **shared,
        },
    ]


def test_the_id_of_a_request_is_told_to_its_sender_alone(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    Api(cast.bob).post(task_path(task.pk, "claim"))
    assert [each["request_id"] for each in told(Api(cast.bob))[0]][-1] == REQUEST_ID
    assert [each["request_id"] for each in told(Api(cast.alice))[0]][-1] is None


def test_next_leads_on_and_keeps_the_filters(cast: Cast) -> None:
    tasks = make_tasks(5, cast.carol, [cast.noc])
    bob = Api(cast.bob)
    seen: list[str] = []
    address = f"{EVENTS}?limit=2&event=created"
    for _ in range(4):
        document = bob.get(address).json()
        seen += [each["task"]["id"] for each in document["results"]]
        address = document["next"].removeprefix("http://testserver")
        assert "limit=2" in address
        assert "event=created" in address
    assert seen == sorted(str(task.pk) for task in tasks)
    document = bob.get(f"{EVENTS}?from=now&limit=2").json()
    assert "from=" not in document["next"]
    assert document["cursor"] in document["next"]


def test_filters_choose_a_task_and_kinds_of_events(cast: Cast) -> None:
    one, other = make_tasks(2, cast.carol, [cast.noc])
    for task in (one, other):
        ACTIONS["claim"]([task.pk], call=call_by(cast.bob)).one()
    bob = Api(cast.bob)
    assert names(told(bob, task=one.pk)[0], one) == ["created", "claimed"]
    assert names(told(bob, task=one.pk)[0], other) == []
    found, _ = told(bob, event=["claimed", "released"])
    assert [each["event"] for each in found] == ["claimed", "claimed"]
    assert told(bob, task=one.pk, event="released")[0] == []
    assert told(bob, task=MISSING)[0] == []


def test_secrets_are_not_told(cast: Cast) -> None:
    task = make_task(
        cast.carol,
        cast.noc,
        input={"password": "hunter2", "host": "r1"},
        secret_pointers=["/input/password"],
    )
    for who in (cast.bob, cast.dave, cast.root):
        answer = Api(who).get(EVENTS, {"task": task.pk})
        assert answer.json()["results"][0]["after"]["input"]["host"] == "r1"
        assert b"hunter2" not in answer.content
        assert b"hunter2" not in Api(who).get(task_path(task.pk, "events")).content


def test_a_parent_is_told_to_those_who_see_it(cast: Cast) -> None:
    parent = make_task(cast.carol, cast.carol)
    task = make_task(cast.carol, cast.noc, parent=parent)
    for who, expected in (
        (cast.bob, None),
        (cast.carol, str(parent.pk)),
        (cast.dave, str(parent.pk)),
    ):
        (event,) = told(Api(who), task=task.pk)[0]
        assert event["after"].get("parent") == expected
        (event,) = Api(who).get(task_path(task.pk, "events")).json()["results"]
        assert event["after"].get("parent") == expected


# --- Who is told ----------------------------------------------------------------------------------


def test_an_outsider_is_told_nothing_and_cursors_say_nothing(cast: Cast) -> None:
    frank = Api(cast.frank)
    since = now(frank)
    quiet = frank.get(EVENTS, {"cursor": since}).json()
    for task in make_tasks(30, cast.carol, [cast.noc]):
        ACTIONS["claim"]([task.pk], call=call_by(cast.bob)).one()
    busy = frank.get(EVENTS, {"cursor": since}).json()
    assert (quiet["results"], busy["results"]) == ([], [])
    assert len(quiet["cursor"]) == len(busy["cursor"])
    again = frank.get(EVENTS, {"cursor": busy["cursor"]}).json()["cursor"]
    assert len({since, quiet["cursor"], busy["cursor"], again}) == 4, "the same place looks anew"
    assert told(frank)[0] == []


@pytest.mark.parametrize("who", ["dave", "erin", "svc_reader", "root"])
def test_who_reads_every_task_is_told_everything(cast: Cast, who: str) -> None:
    person = getattr(cast, who)
    task = make_in(State.COMPLETED, cast.carol, cast.carol)
    ACTIONS["remove"]([task.pk], call=call_by(cast.dave)).one()
    found, _ = told(Api(person))
    rows = OutboxEvent.objects.order_by("position").values_list("event__event", flat=True)
    assert [each["event"] for each in found] == list(rows)
    assert "removed" in names(found, task)


def test_without_the_permission_to_view_there_is_no_feed(cast: Cast) -> None:
    assert_problem(Api(cast.svc_integration).get(EVENTS), 403, "not_permitted")
    assert_problem(Api().get(EVENTS), 401, "not_authenticated")


def losses(cast: Cast) -> Iterator[tuple[str, Task, dict[str, Any], list[User]]]:
    """An operation, a task, its arguments, and who loses the task by it."""
    lead = cast.alice
    both = [lead, cast.bob]
    yield (
        "transfer",
        make_in(State.RESERVED, cast.carol, cast.field, owner=cast.bob),
        {"role": "owner", "from_": user("bob"), "to": user("carol")},
        [cast.bob],
    )
    yield (
        "assign",
        make_in(State.RESERVED, cast.carol, cast.field, owner=cast.bob),
        {"to": user("carol")},
        [cast.bob],
    )
    yield (
        "release",
        make_in(State.RESERVED, cast.carol, cast.field, owner=cast.bob),
        {},
        [cast.bob],
    )
    yield (
        "forward",
        make_task(cast.carol, cast.noc),
        {"from_": group("noc"), "to": group("field")},
        both,
    )
    yield (
        "transfer",
        make_task(cast.carol, cast.noc),
        {"role": "potential_owner", "from_": group("noc"), "to": group("field")},
        both,
    )
    yield (
        "revoke",
        make_task(cast.carol, cast.noc, cast.field),
        {"role": "potential_owner", "from_": group("noc")},
        both,
    )
    yield (
        "nominate",
        make_in(State.CREATED, cast.carol, cast.noc),
        {"people": [user("carol")]},
        both,
    )
    yield ("remove", make_in(State.COMPLETED, cast.carol, cast.noc), {}, both)


def test_who_loses_a_task_is_told_so_and_nothing_later(cast: Cast) -> None:
    for name, task, arguments, losers in losses(cast):
        seeing = [Api(one) for one in losers]
        frank = Api(cast.frank)
        since = [now(api) for api in seeing]
        outcome = ACTIONS[name]([task.pk], call=call_by(cast.dave), **arguments)
        assert outcome.done, (name, outcome.refused)
        event = AuditEvent.objects.get(task_id=task.pk, version=outcome.done[task.pk]).event
        if name != "remove":
            ACTIONS["comment"]([task.pk], call=call_by(cast.dave), text="later").one()
        for api, cursor, one in zip(seeing, since, losers, strict=True):
            assert api.get(task_path(task.pk)).status_code == 404, (name, one)
            assert names(told(api, cursor)[0], task) == [event], (name, one)
            assert names(told(api, task=task.pk)[0], task) == [event], (name, one)
        assert told(frank)[0] == [], name


def test_an_undo_is_told_to_those_whom_it_takes_from_and_gives_to(cast: Cast) -> None:
    Membership.objects.create(user=cast.frank, group=cast.field)
    task = make_task(cast.carol, cast.noc)
    arguments = {"role": "potential_owner", "to": group("field")}
    moved = call_by(cast.dave, bulk=True)
    ACTIONS["transfer"]([task.pk], call=moved, from_=group("noc"), **arguments)
    frank, bob = Api(cast.frank), Api(cast.bob)
    assert frank.get(task_path(task.pk)).status_code == 200
    since = now(frank), now(bob)
    undone = call_by(cast.dave, bulk=True)
    ACTIONS["undo"]([task.pk], call=undone, operation=str(moved.operation_id))
    for api, cursor in zip((frank, bob), since, strict=True):
        assert names(told(api, cursor)[0], task) == ["undone"]
    assert frank.get(task_path(task.pk)).status_code == 404
    row = OutboxEvent.objects.get(event__task_id=task.pk, event__event="undone")
    assert set(row.members or ()) == set(row.leads or ()) == {cast.noc.pk, cast.field.pk}
    assert row.users is None


def test_who_is_excluded_and_not_involved_is_told_nothing(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    for name, way in (("grant", "to"), ("revoke", "from_")):
        arguments = {"role": "excluded_owner", way: user("frank")}
        ACTIONS[name]([task.pk], call=call_by(cast.dave), **arguments).one()
    assert names(told(Api(cast.bob))[0], task) == [
        "created",
        "excluded_owner_granted",
        "excluded_owner_revoked",
    ]
    assert told(Api(cast.frank))[0] == []


def test_a_lead_without_membership_is_told_of_work_only(cast: Cast) -> None:
    """Alice leads the group above: her lead passes down, membership does not."""
    above = GroupFactory(name="operations")
    GroupNesting.objects.create(parent=above, child=cast.noc)
    Membership.objects.filter(user=cast.alice).delete()
    Membership.objects.create(user=cast.alice, group=above, lead=True)
    task = make_task(cast.carol, cast.field)
    roles = ("reader", "potential_owner")
    for role in roles:
        for name, way in (("grant", "to"), ("revoke", "from_")):
            arguments = {"role": role, way: group("noc")}
            ACTIONS[name]([task.pk], call=call_by(cast.dave), **arguments).one()
    everything = [f"{role}_{done}" for role in roles for done in ("granted", "revoked")]
    assert names(told(Api(cast.bob))[0], task) == everything
    assert names(told(Api(cast.alice))[0], task) == everything[2:]


def test_a_new_account_with_an_old_name_inherits_nothing(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.field, owner=cast.frank)
    arguments = {"role": "owner", "from_": user("frank"), "to": user("carol")}
    ACTIONS["transfer"]([task.pk], call=call_by(cast.dave), **arguments).one()
    assert names(told(Api(cast.frank))[0], task) == ["owner_transferred"]
    User.objects.filter(pk=cast.frank.pk).update(username="frank-who-left")
    namesake = User.objects.create_user("frank", password="a new one entirely")
    namesake.roles.set(cast.frank.roles.all())
    assert told(Api(namesake))[0] == []


# --- In which order -------------------------------------------------------------------------------


def test_an_event_that_commits_late_is_not_skipped(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier number commits after the later one was read."""
    cast = committed_cast
    early, late = make_tasks(2, cast.carol, [cast.noc])
    bob = Api(cast.bob)
    since = now(bob)
    written, commit = paused_before_commit(monkeypatch, early.pk)
    racer = Racer(lambda: ACTIONS["claim"]([early.pk], call=call_by(cast.bob)).one())
    racer.start()
    assert written.wait(20)
    ACTIONS["claim"]([late.pk], call=call_by(cast.bob)).one()
    first, cursor = told(bob, since)
    commit.set()
    assert racer.result().version == 2
    second, _ = told(bob, cursor)
    assert [each["task"]["id"] for each in first] == [str(late.pk)]
    assert [each["task"]["id"] for each in second] == [str(early.pk)]
    ids = dict(AuditEvent.objects.filter(event="claimed").values_list("task_id", "pk"))
    assert ids[early.pk] < ids[late.pk], "the later number was read first"


def test_places_are_without_gaps_and_given_by_one_at_a_time(committed_cast: Cast) -> None:
    make_tasks(7, committed_cast.carol)
    second = connection.copy()
    second.set_autocommit(False)
    try:
        with second.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", [events.FEED_LOCK])
        before = events.give_positions()
        assert before == (0, 0), "somebody else is at it"
    finally:
        second.rollback()
        second.close()
    count = OutboxEvent.objects.count()
    assert events.give_positions() == (count, count)
    assert events.give_positions() == (0, count)
    make_tasks(3, committed_cast.carol)
    assert events.give_positions() == (3, count + 3)
    positions = OutboxEvent.objects.order_by("event").values_list("position", flat=True)
    assert list(positions) == list(range(1, count + 4))


def test_a_bulk_operation_of_many_is_read_in_parts(cast: Cast, monkeypatch: Any) -> None:
    monkeypatch.setattr(feed, "WINDOW", 7)
    monkeypatch.setattr(feed, "SPAN", 5)
    hidden = make_tasks(20, cast.carol, [cast.field])
    seen = make_tasks(9, cast.carol, [cast.noc])
    for ids in ([task.pk for task in hidden], [task.pk for task in seen]):
        ACTIONS["set_priority"](ids, call=call_by(cast.dave, bulk=True), priority=1)
    bob = Api(cast.bob)
    expected = {str(task.pk) for task in seen}
    for limit in (2, 200):
        found, _ = told(bob, limit=limit)
        assert len(found) == 2 * len(seen)
        assert {each["task"]["id"] for each in found} == expected
        found, _ = told(bob, limit=limit, event="created")
        assert [each["task"]["id"] for each in found] == sorted(expected)


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "A" * 32}, "cursor"),
        ({"cursor": "é" * 32}, "cursor"),
        ({"cursor": "A" * 31 + "="}, "cursor"),
        ({"from": "yesterday"}, "from"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"wait": "21"}, "wait"),
        ({"wait": "x"}, "wait"),
        ({"wait": "1.5"}, "wait"),
        ({"task": "x"}, "task"),
        ({"event": "burnt"}, "event"),
        ({"since": "now"}, "since"),
        ({"limit": ["1", "2"]}, "limit"),
    ],
)
def test_bad_parameters_are_named(db: None, given: dict[str, Any], parameter: str) -> None:
    document = assert_problem(Api().get(EVENTS, given), 400, "invalid_parameter")
    assert [error["parameter"] for error in document["errors"]] == [parameter]


def test_a_cursor_of_elsewhere_or_with_from_is_refused(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    bob = Api(cast.bob)
    cursor = now(bob)
    assert_problem(bob.get(EVENTS, {"cursor": cursor, "from": "now"}), 400, "invalid_parameter")
    history = bob.get(task_path(task.pk, "events"), {"cursor": cursor})
    assert_problem(history, 400, "invalid_parameter")
    swapped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    assert_problem(bob.get(EVENTS, {"cursor": swapped}), 400, "invalid_parameter")


# --- The history of a task ------------------------------------------------------------------------


def test_the_history_of_a_task_is_told_oldest_first_in_pages(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    for name in ("claim", "release", "claim"):
        ACTIONS[name]([task.pk], call=call_by(cast.bob, Channel.HTM)).one()
    bob = Api(cast.bob)
    document = bob.get(task_path(task.pk, "events")).json()
    assert names(document["results"], task) == ["created", "claimed", "released", "claimed"]
    assert (document["count"], document["next"], document["previous"]) == (4, None, None)
    assert document["results"] == told(bob, task=task.pk)[0]
    first = bob.get(task_path(task.pk, "events"), {"limit": 3}).json()
    rest = bob.get(first["next"].removeprefix("http://testserver")).json()
    assert [*first["results"], *rest["results"]] == document["results"]
    assert rest["next"] is None


def test_the_history_of_a_hidden_task_is_not_there(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    hidden = Api(cast.frank).get(task_path(task.pk, "events"))
    missing = Api(cast.frank).get(task_path(MISSING, "events"))
    assert_problem(hidden, 404, "task_not_found")
    assert hidden.content.replace(str(task.pk).encode(), b"") == missing.content.replace(
        str(MISSING).encode(), b""
    )
    assert_problem(
        Api(cast.svc_integration).get(task_path(task.pk, "events")), 403, "not_authorized"
    )


def test_an_undo_can_be_asked_for_by_its_name(cast: Cast) -> None:
    assert Api(cast.bob).get(EVENTS, {"event": "undone"}).status_code == 200
