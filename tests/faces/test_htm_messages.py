"""IBM's face: messages, task roles, subtasks, history, and what may be done with a task."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse

from accounts.models import User
from tasks import actions, people
from tasks.api.htm import words
from tasks.api.htm.ids import tkiid
from tasks.lifecycle import GRANTS, OPERATIONS, ROWS, State
from tasks.models import AuditEvent, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.faces.htm_client import assert_empty, assert_error, error, held_by_bob, send, standing
from tests.factories import call_by, make_in, make_task, make_tasks


def get(who: User | None, task: Task, rest: str, **more: Any) -> HttpResponse:
    return send(f"/task/{tkiid(task.pk)}{rest}", who, method="GET", **more)


def put(who: User | None, task: Task, rest: str, body: Any = None, **more: Any) -> HttpResponse:
    return send(f"/task/{tkiid(task.pk)}{rest}", who, body, **more)


def read(who: User, task: Task, rest: str) -> Any:
    """A success: its JSON, with the version of the task."""
    response = get(who, task, rest)
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/json"
    assert response["ETag"] == f'"{now(task).version}"'
    return json.loads(response.content)


def now(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


# --- Messages ------------------------------------------------------------------------------------


def test_messages_are_read_as_they_are_with_secrets_masked_for_readers(cast: Cast) -> None:
    task = make_in(
        State.FAILED,
        cast.dave,
        cast.noc,
        input={"site": "ZRH", "pin": "1"},
        output=["a", 2.5, None],
        fault={"why": "x", "pin": "2"},
        fault_name="broken",
        secret_pointers=["/input/pin", "/fault/pin"],
    )
    assert read(cast.alice, task, "/input") == {"site": "ZRH", "pin": "1"}
    assert read(cast.erin, task, "/input") == {"site": "ZRH", "pin": "******"}
    assert read(cast.erin, task, "/output") == ["a", 2.5, None]
    assert read(cast.erin, task, "/fault") == {"why": "x", "pin": "******"}
    assert read(cast.alice, task, "/fault?faultName=broken")["pin"] == "2"
    refused = get(cast.alice, task, "/fault?faultName=other")
    assert_error(refused, 404, "CWTKA0017E")


def test_a_message_that_is_not_there(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    assert read(cast.bob, task, "/input") == {}
    for name in ("output", "fault"):
        response = get(cast.bob, task, f"/{name}")
        assert response.status_code == 404
        assert response["ETag"] == '"1"'
        assert json.loads(response.content) == error(
            "CWTKA0017E", f"The task has no {name} message."
        )


def test_a_fault_may_be_there_by_name_alone(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    actions.fail([task.pk], call=call_by(cast.bob), fault_name="noSpare")
    assert read(cast.bob, task, "/fault") is None


@pytest.mark.parametrize("rest", ["/input?new=true", "/output?new=true", "/fault?new=true"])
def test_an_empty_message_can_be_asked_for(cast: Cast, rest: str) -> None:
    task = make_task(cast.dave, cast.noc, input={"a": 1})
    assert read(cast.bob, task, rest) == {}
    assert read(cast.bob, task, f"{rest}&faultName=x") == {}
    for bad in ("T", "", "1", "TRUE"):
        response = get(cast.bob, task, rest.replace("true", bad))
        assert_error(response, 400, "CWTKA0158E")


def test_the_input_of_an_inactive_task_is_replaced(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, waiting=True, input={"a": 1})
    response = put(cast.dave, task, "/input", {"b": "x" * 100_000})
    assert_empty(response)
    assert response["ETag"] == '"2"'
    assert now(task).input == {"b": "x" * 100_000}
    actions.activate([task.pk], call=call_by(cast.dave))
    assert_error(put(cast.dave, task, "/input", {}), 409, "CWTKA0062E")


def test_an_output_replaces_a_fault_and_the_other_way_round(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    assert_empty(put(cast.bob, task, "/output", {"ok": 1}))
    assert (now(task).output, now(task).state) == ({"ok": 1}, State.RESERVED)
    response = put(cast.bob, task, "/fault?faultName=broken", {"why": 1})
    assert_empty(response)
    assert response["ETag"] == '"4"'
    after = now(task)
    assert (after.output, after.fault, after.fault_name) == (None, {"why": 1}, "broken")
    assert_empty(put(cast.bob, task, "/output", 0))
    after = now(task)
    assert (after.output, after.fault, after.fault_name) == (0, None, "")
    kept = AuditEvent.objects.filter(task_id=task.pk, version__gt=2).order_by("version")
    assert [event.event for event in kept] == ["output_saved", "fault_saved", "output_saved"]


@pytest.mark.parametrize("name", ["input", "output", "fault"])
def test_bad_messages(cast: Cast, name: str) -> None:
    task = make_task(cast.dave, cast.noc, waiting=True) if name == "input" else held_by_bob(cast)[0]
    rest = f"/{name}?faultName=broken"
    before = standing()
    for more, status, number in [
        ({}, 400, "CWTKA0013E"),
        ({"raw": b"null"}, 400, "CWTKA0013E"),
        ({"raw": b"{"}, 400, "CWTKA0016E"),
        ({"raw": b'{"a": "\\u0000"}'}, 400, "CWTKA0016E"),
        ({"raw": b"<a/>", "content_type": "application/xml"}, 415, "CWTKA0016E"),
    ]:
        assert_error(put(cast.dave, task, rest, **more), status, number)
        assert_error(put(cast.frank, task, rest, **more), 404, "CWTKA0024E")
        assert_error(put(cast.erin, task, rest, **more), 401, "CWTKA0068E")
        assert_error(put(None, task, rest, **more), 401, "CWTKA0012E")
    stale = put(cast.dave, task, rest, {}, headers={"If-Match": '"7"'})
    assert_error(stale, 412, "CWTKA0007E")
    assert standing() == before


def test_a_fault_needs_a_name(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    assert_error(put(cast.bob, task, "/fault", {}), 400, "CWTKA0122E")
    assert_error(put(cast.bob, task, "/fault?faultName=", {}), 400, "CWTKA0158E")
    assert_error(put(cast.bob, task, f"/fault?faultName={'x' * 256}", {}), 400, "CWTKA0158E")


# --- Task roles ----------------------------------------------------------------------------------


def test_who_holds_a_role(cast: Cast) -> None:
    task = make_task(
        cast.dave,
        cast.noc,
        people_of={
            TaskRole.READER: [people.user("carol"), people.user("bob"), people.group("field")],
            TaskRole.EDITOR: [people.user("frank")],
        },
    )

    def staff(role: str) -> Any:
        return read(cast.erin, task, f"/role/{role}")["staffResultSet"]

    assert staff("potentialOwner") == {"resultType": "RESULT_TYPE_GROUPIDS", "groupIDs": ["noc"]}
    assert staff("REASON_EDITOR") == {"resultType": "RESULT_TYPE_USERIDS", "userIDs": ["frank"]}
    assert staff("reader") == {
        "resultType": "RESULT_TYPE_USERIDS_AND_GROUPIDS",
        "userIDs": ["bob", "carol"],
        "groupIDs": ["field"],
    }
    assert staff("owner") == staff("stakeholder") == {"resultType": "RESULT_TYPE_NOBODY"}
    assert staff("originator") == {"resultType": "RESULT_TYPE_USERIDS", "userIDs": ["dave"]}
    actions.claim([task.pk], call=call_by(cast.bob))
    assert staff("owner") == {"resultType": "RESULT_TYPE_USERIDS", "userIDs": ["bob"]}
    everybodys = make_task(cast.dave)
    assert read(cast.bob, everybodys, "/role/potentialOwner") == {
        "staffResultSet": {"resultType": "RESULT_TYPE_EVERYBODY"}
    }
    for role in ("excludedOwner", "potentialInstanceCreator", "x"):
        assert_error(get(cast.bob, task, f"/role/{role}"), 400, "CWTKA0022E")


@pytest.mark.parametrize("role", ["editor", "REASON_EDITOR", "potentialOwner", "admin", "reader"])
def test_assign_creates_a_work_item(cast: Cast, role: str) -> None:
    task = make_task(cast.dave, cast.noc)
    path = f"/role/{role}?action=assign&newUser=carol"
    response = put(cast.dave, task, path)
    assert_empty(response)
    assert response["ETag"] == '"2"'
    held = json.loads(get(cast.dave, task, f"/role/{role}").content)["staffResultSet"]
    assert "carol" in held["userIDs"]
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert (event.event, event.channel) == (f"{words.ROLES[role]}_granted", "htm")
    again = put(cast.dave, task, path)
    assert_error(again, 409, "CWTKA0011E")
    assert again["ETag"] == '"2"'


@pytest.mark.parametrize("role", ["owner", "starter", "originator", "REASON_OWNER"])
def test_nobody_is_assigned_a_role_that_acts_make(cast: Cast, role: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    for who in (cast.dave, None):
        response = put(who, task, f"/role/{role}?action=assign&newUser=carol")
        assert_error(response, 400, "CWTKA0022E")
    assert standing() == before


def test_bad_ways_to_assign(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    before = standing()
    role = "/role/editor?action="
    assert_error(put(cast.dave, task, f"{role}assign"), 400, "CWTKA0122E")
    assert_error(put(cast.dave, task, f"{role}assign&newUser="), 400, "CWTKA0158E")
    assert_error(put(cast.dave, task, f"{role}grant&newUser=carol"), 400, "CWTKA0158E")
    assert_error(put(cast.dave, task, f"{role}assign&newUser=nobody"), 400, "CWTKA0084E")
    nobody = f"{role}assign&newUser=nobody"
    assert_error(put(cast.frank, task, nobody), 404, "CWTKA0024E")
    assert_error(put(cast.erin, task, nobody), 401, "CWTKA0068E")
    stale = put(cast.dave, task, f"{role}assign&newUser=carol", headers={"If-Match": '"7"'})
    assert_error(stale, 412, "CWTKA0007E")
    starter = put(cast.dave, task, "/role/potentialStarter?action=assign&newUser=carol")
    assert_error(starter, 409, "CWTKA0062E")
    path = "/task/role/editor?action=assign&newUser=carol"
    assert_error(send(path, cast.dave, {"taskIDs": []}), 400, "CWTKA0158E")
    assert standing() == before


# --- Subtasks ------------------------------------------------------------------------------------


def test_subtasks_are_those_that_one_sees(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = make_task(cast.dave, cast.noc)
    assert read(cast.bob, parent, "/subtasks") == {"identifier": "tkiid", "items": []}
    made = make_tasks(2, cast.dave, [cast.noc], parent=parent)
    seen = sorted(made, key=lambda task: task.pk)
    hidden = make_task(cast.dave, cast.carol, parent=parent)
    items = read(cast.bob, parent, "/subtasks")["items"]
    assert [item["tkiid"] for item in items] == [tkiid(task.pk) for task in seen]
    assert items[0] == json.loads(get(cast.bob, seen[0], "").content)
    assert tkiid(hidden.pk) in {
        item["tkiid"] for item in read(cast.dave, parent, "/subtasks")["items"]
    }
    monkeypatch.setattr("tasks.api.htm.views.MOST_LISTED", 1)
    assert_error(get(cast.bob, parent, "/subtasks"), 413, "CWTKA0005E")


# --- History -------------------------------------------------------------------------------------


def test_every_event_has_its_name_in_the_history() -> None:
    events = {operation.event for operation in OPERATIONS.values()}
    for rows in ROWS.values():
        events |= {operation.event for operation in rows.values()}
    items = {f"{role}{end}" for role in TaskRole for end in words.WORK_ITEM_EVENTS}
    assert events | {"created", "imported"} <= set(words.EVENTS) | items
    assert set(words.EVENTS) <= events | {"created", "imported"}
    assert {f"{role}_granted" for role in GRANTS} <= items


def test_the_history_of_a_task(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, waiting=True)
    ids, dave, bob = [task.pk], call_by(cast.dave), call_by(cast.bob)
    actions.update(ids, call=dave, values={"custom_properties": {"a": "b"}})
    actions.update(ids, call=dave, values={"input": {"a": 1}})
    actions.update(ids, call=dave, values={"name": "x", "input": {"a": 2}})
    actions.activate(ids, call=dave)
    actions.grant(ids, call=dave, role="reader", to=people.group("field"))
    actions.grant(ids, call=dave, role="excluded_owner", to=people.user("frank"))
    actions.revoke(ids, call=dave, role="reader", from_=people.group("field"))
    actions.grant(ids, call=dave, role="editor", to=people.group("everybody"))
    actions.start(ids, call=bob)
    actions.assign(ids, call=dave, to=people.user("alice"))
    actions.release(ids, call=dave)
    actions.assign(ids, call=dave, to=people.user("alice"))
    actions.transfer(
        ids, call=dave, role="owner", from_=people.user("alice"), to=people.user("bob")
    )
    actions.forward(ids, call=dave, from_=people.group("noc"), to=people.group("field"))
    actions.claim(ids, call=dave)
    actions.save_fault(ids, call=dave, fault={}, fault_name="x")
    actions.complete(ids, call=dave, fails_with_fault=True)
    history = read(cast.erin, task, "/history")
    assert history["tkiid"] == tkiid(task.pk)
    events = list(AuditEvent.objects.filter(task_id=task.pk).order_by("version"))
    assert len(history["items"]) == len(events) == 18
    assert [item["principal"] for item in history["items"]] == [event.actor for event in events]
    assert all(item.pop("eventTime").endswith("Z") for item in history["items"])
    for item in history["items"]:
        item.pop("principal")
    owner, potential = "REASON_OWNER", "REASON_POTENTIAL_OWNER"
    user, group = "WORK_ITEM_KIND_USER", "WORK_ITEM_KIND_GROUP"
    moved = "TaskWorkItemTransferred"
    assert history["items"] == [
        {"event": "TaskCreated"},
        {"event": "TaskCustomPropertySet"},
        {"event": "TaskInputMessageUpdated"},
        {"event": "TaskUpdated"},
        {"event": "TaskStarted"},
        {
            "event": "TaskWorkItemCreated",
            "assignmentReason": "REASON_READER",
            "idKind": group,
            "toID": "field",
        },
        {"event": "TaskUpdated"},
        {
            "event": "TaskWorkItemDeleted",
            "assignmentReason": "REASON_READER",
            "idKind": group,
            "fromID": "field",
        },
        {
            "event": "TaskWorkItemCreated",
            "assignmentReason": "REASON_EDITOR",
            "idKind": "WORK_ITEM_KIND_EVERYBODY",
            "toID": "everybody",
        },
        {"event": "TaskClaimed"},
        {
            "event": moved,
            "assignmentReason": owner,
            "idKind": user,
            "fromID": "bob",
            "toID": "alice",
        },
        {"event": "TaskClaimCancelled"},
        {
            "event": "TaskWorkItemCreated",
            "assignmentReason": owner,
            "idKind": user,
            "toID": "alice",
        },
        {
            "event": moved,
            "assignmentReason": owner,
            "idKind": user,
            "fromID": "alice",
            "toID": "bob",
        },
        {
            "event": moved,
            "assignmentReason": potential,
            "idKind": group,
            "fromID": "noc",
            "toID": "field",
        },
        {"event": "TaskClaimed"},
        {"event": "TaskFaultMessageUpdated"},
        {"event": "TaskFailed"},
    ]


def test_the_history_comes_in_one_set_of_names_and_never_cut(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = held_by_bob(cast)[0]
    assert len(read(cast.bob, task, "/history?newEventType=false")["items"]) == 2
    for value in ("true", "T", ""):
        response = get(cast.bob, task, f"/history?newEventType={value}")
        assert_error(response, 400, "CWTKA0158E")
    monkeypatch.setattr("tasks.api.htm.views.MOST_LISTED", 1)
    assert_error(get(cast.bob, task, "/history"), 413, "CWTKA0005E")


# --- What may be done ----------------------------------------------------------------------------


def ask(who: User | None, ids: str, names: str = "", **more: Any) -> HttpResponse:
    query = f"?taskIDs={ids}" + (f"&actions={names}" if names else "")
    return send(f"/task/actions{query}", who, method="GET", **more)


def may(who: User, task: Task) -> set[str]:
    (answer,) = json.loads(ask(who, tkiid(task.pk)).content)["tasks"]
    assert answer["tkiid"] == tkiid(task.pk)
    assert answer["actions"] == sorted(answer["actions"])
    return {name.removeprefix("ACTION_") for name in answer["actions"]}


READING = {name.removeprefix("ACTION_") for name in words.READING}


def test_what_may_be_done_in_ibm_s_words(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, waiting=True)
    assert may(cast.erin, task) == READING
    administers = {
        "CREATEWORKITEM",
        "DELETEWORKITEM",
        "SETCUSTOMPROPERTY",
        "TERMINATE",
        "TRANSFERWORKITEM",
        "UPDATE",
    }
    assert may(cast.dave, task) == READING | administers | {
        "DELETE",
        "SETINPUTMESSAGE",
        "STARTTASK",
    }
    actions.activate([task.pk], call=call_by(cast.dave))
    assert may(cast.bob, task) == READING | {"CLAIM", "SUSPEND"}
    assert may(cast.dave, task) == READING | administers | {"CLAIM", "SUSPEND"}
    actions.claim([task.pk], call=call_by(cast.bob))
    works = {"CANCELCLAIM", "COMPLETE", "SETFAULTMESSAGE", "SETOUTPUTMESSAGE", "SUSPEND"}
    works |= {"SUSPENDWITHCANCELCLAIM", "TRANSFERWORKITEM"}
    assert may(cast.bob, task) == READING | works
    actions.suspend([task.pk], call=call_by(cast.bob))
    assert may(cast.bob, task) == READING | {"RESUME", "TRANSFERWORKITEM"}
    actions.resume([task.pk], call=call_by(cast.bob))
    actions.complete([task.pk], call=call_by(cast.bob))
    assert may(cast.bob, task) == READING
    restored = {"RESTARTTASK", "DELETE"}
    assert restored <= may(cast.dave, task)


def test_what_is_said_to_be_permitted_is_done(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    for name, rest in [
        ("SUSPEND", "?action=suspend"),
        ("RESUME", "?action=resume"),
        ("CLAIM", "?action=claim"),
        ("SETOUTPUTMESSAGE", "/output"),
        ("SUSPENDWITHCANCELCLAIM", "?action=suspendAndCancelClaim&keepTaskData=true&duration=P1D"),
    ]:
        assert name in may(cast.bob, task)
        assert put(cast.bob, task, rest, {"a": 1}).status_code == 200


def test_actions_of_several_tasks_and_only_those_asked_about(cast: Cast) -> None:
    free, held = make_task(cast.dave, cast.noc), held_by_bob(cast)[0]
    ids = f"{tkiid(held.pk)},{tkiid(free.pk).upper()},{tkiid(held.pk)}"
    response = ask(cast.bob, ids, "ACTION_CLAIM,ACTION_CANCELCLAIM,ACTION_CALLTASK")
    assert json.loads(response.content) == {
        "identifier": "tkiid",
        "tasks": [
            {"tkiid": tkiid(held.pk), "actions": ["ACTION_CANCELCLAIM"]},
            {"tkiid": tkiid(free.pk).upper(), "actions": ["ACTION_CLAIM"]},
        ],
    }
    assert "ETag" not in response


def test_every_action_of_the_specification_may_be_asked_about() -> None:
    every = {*words.READING, *words.ACTIONS, *words.UPDATES, *words.OTHER_ACTIONS}
    assert len(every) == 37


def test_bad_questions(cast: Cast) -> None:
    task = tkiid(make_task(cast.dave, cast.noc).pk)
    for who in (cast.bob, None):
        assert_error(send("/task/actions", who, method="GET"), 400, "CWTKA0122E")
        assert_error(ask(who, ""), 400, "CWTKA0158E")
        assert_error(ask(who, f"{task},"), 400, "CWTKA0001E")
        assert_error(ask(who, f"{task},_PI:1.2.3.4"), 400, "CWTKA0002E")
        assert_error(ask(who, task, "ACTION_CLAIM,CLAIM"), 400, "CWTKA0158E")
    assert_error(ask(None, task), 401, "CWTKA0012E")
    xml = {"Accept": "application/xml"}
    assert_error(ask(cast.bob, task, headers=xml), 406, "CWTKA0156E")


def test_one_hidden_task_fails_the_question_as_a_missing_one_does(cast: Cast) -> None:
    seen, hidden = make_task(cast.dave, cast.noc), make_task(cast.dave, cast.carol)
    answers = [ask(cast.bob, f"{tkiid(seen.pk)},{tkiid(pk)}") for pk in (hidden.pk, uuid4())]
    assert_error(answers[0], 404, "CWTKA0024E")
    assert answers[0].content == answers[1].content
    assert dict(answers[0].items()) == dict(answers[1].items())


def test_who_may_not_view_asks_nothing(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    for pk in (task.pk, uuid4()):
        assert_error(ask(cast.svc_integration, tkiid(pk)), 401, "CWTKA0012E")


# --- Hidden is missing ---------------------------------------------------------------------------

READS = [
    "",
    "/input",
    "/input?new=true",
    "/output",
    "/fault?faultName=x",
    "/role/owner",
    "/role/reader",
    "/subtasks",
    "/history",
]


@pytest.mark.parametrize("rest", READS)
def test_a_hidden_task_reads_as_a_missing_one(cast: Cast, rest: str) -> None:
    hidden = make_task(cast.dave, cast.carol)
    answers = [get(cast.frank, task, rest) for task in (hidden, Task(pk=uuid4()))]
    assert_error(answers[0], 404, "CWTKA0024E")
    assert answers[0].content == answers[1].content
    assert dict(answers[0].items()) == dict(answers[1].items())


@pytest.mark.parametrize("rest", READS)
def test_reading_needs_credentials_and_the_right_to_view(cast: Cast, rest: str) -> None:
    task = make_task(cast.dave, cast.noc)
    refused = get(None, task, rest)
    assert_error(refused, 401, "CWTKA0012E")
    assert "WWW-Authenticate" in refused
    unseen = get(cast.svc_integration, task, rest)
    assert_error(unseen, 401, "CWTKA0068E")
    assert (unseen["ETag"], "WWW-Authenticate" in unseen) == ('"1"', False)
    assert_error(send(f"/task/x{rest}", method="GET"), 400, "CWTKA0001E")
