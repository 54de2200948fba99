"""IBM's Human Task Manager face: transfer, claim and cancel, as its clients know them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client

from accounts import authentication
from accounts.models import Token
from tasks import actions, people
from tasks.api.htm.ids import tkiid
from tasks.api.htm.words import ROLES
from tasks.lifecycle import State
from tasks.models import AuditEvent, BulkOperation, Channel, OutboxEvent, Task
from tasks.roles import TaskRole
from tasks.work_items import people_of
from tests.conftest import Cast
from tests.faces.htm_client import (
    REQUEST_ID,
    V1,
    assert_empty,
    assert_error,
    basic,
    bulk,
    error,
    failed,
    held_by_bob,
    send,
    standing,
)
from tests.factories import call_by, make_task, make_tasks


def owner_of(task: Task) -> str | None:
    return Task.objects.get(pk=task.pk).owner_name


def single(who: Any, task: Task, query: str, role: str = "owner", **more: Any) -> Any:
    return send(f"/task/{tkiid(task.pk)}/role/{role}?action=transfer&{query}", who, **more)


# --- Bulk transfer -------------------------------------------------------------------------------


def test_a_bulk_transfer_that_succeeds_is_answered_by_an_empty_body(cast: Cast) -> None:
    tasks = held_by_bob(cast, 3)
    response = bulk(cast.dave, [task.pk for task in tasks], "fromUser=bob&toUser=alice")
    assert_empty(response)
    assert "ETag" not in response
    for task in tasks:
        now = Task.objects.get(pk=task.pk)
        assert (now.owner, now.state, now.version) == (cast.alice, State.RESERVED, 3)
    events = AuditEvent.objects.filter(event="owner_transferred")
    assert {event.task_id for event in events} == {task.pk for task in tasks}
    assert len({event.operation_id for event in events}) == 1
    for event in events:
        assert (event.actor, event.channel, event.request_id) == ("dave", "htm", REQUEST_ID)
        assert (event.before, event.after) == ({"owner": "bob"}, {"owner": "alice"})
        assert (event.version, event.reason) == (3, None)
        assert OutboxEvent.objects.filter(event=event).count() == 1
    record = BulkOperation.objects.get()
    assert record.pk == events[0].operation_id
    assert (record.operation, record.actor, record.channel) == ("transfer", cast.dave, Channel.HTM)
    assert (record.done_count, record.refused) == (3, {})


def test_only_the_failures_are_reported(cast: Cast) -> None:
    good, ended, excluded, free = held_by_bob(cast, 4)
    actions.complete([ended.pk], call=call_by(cast.bob))
    actions.grant(
        [excluded.pk],
        call=call_by(cast.dave),
        role=TaskRole.EXCLUDED_OWNER,
        to=people.user("alice"),
    )
    actions.release([free.pk], call=call_by(cast.bob))
    unknown = uuid4()
    ids = [excluded.pk, good.pk, unknown, ended.pk, free.pk]
    response = bulk(cast.dave, ids, "fromUser=bob&toUser=alice")
    assert json.loads(response.content) == {
        "failedOperations": [
            {
                "tkiid": tkiid(excluded.pk),
                "errorNumber": "CWTKA0110E",
                "errorMessage": "alice cannot receive this task: excluded from working on it.",
            },
            {
                "tkiid": tkiid(unknown),
                "errorNumber": "CWTKA0024E",
                "errorMessage": "There is no such task.",
            },
            {
                "tkiid": tkiid(ended.pk),
                "errorNumber": "CWTKA0062E",
                "errorMessage": "A task in state completed does not allow transfer.",
            },
            {
                "tkiid": tkiid(free.pk),
                "errorNumber": "CWTKA0062E",
                "errorMessage": "A task in state ready does not allow transfer.",
            },
        ]
    }
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert owner_of(good) == "alice"
    assert [owner_of(excluded), owner_of(ended), owner_of(free)] == ["bob", "bob", None]
    assert AuditEvent.objects.filter(channel="htm").count() == 1


def test_to_user_alone_moves_the_callers_own_work_item(cast: Cast) -> None:
    his, hers = held_by_bob(cast, 2)
    actions.transfer(
        [hers.pk],
        call=call_by(cast.dave),
        role="owner",
        from_=people.user("bob"),
        to=people.user("alice"),
    )
    response = bulk(cast.alice, [his.pk, hers.pk], "toUser=bob")
    assert failed(response) == [(tkiid(his.pk), "CWTKA0099E")]
    assert [owner_of(his), owner_of(hers)] == ["bob", "bob"]
    assert Task.objects.get(pk=his.pk).version == 2


def test_from_user_naming_the_caller_reads_as_to_user_alone(cast: Cast) -> None:
    one, other = held_by_bob(cast, 2)
    assert_empty(bulk(cast.bob, [one.pk], "toUser=alice"))
    assert_empty(bulk(cast.bob, [other.pk], "fromUser=bob&toUser=alice"))
    assert [owner_of(one), owner_of(other)] == ["alice", "alice"]
    first, second = BulkOperation.objects.order_by("pk")
    assert first.arguments == second.arguments
    assert "from_" not in first.arguments


def test_one_malformed_id_fails_the_whole_call(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    for bad, number in [
        ("_TKI:1.2.3", "CWTKA0001E"),
        ("", "CWTKA0001E"),
        (str(task.pk), "CWTKA0001E"),
        ("_TKT:801a011e.9d57c52.ab886df6.1fcc0000", "CWTKA0002E"),
        ("_PI:1.2.3.4", "CWTKA0002E"),
    ]:
        response = send(
            "/task/role/owner?action=transfer&fromUser=bob&toUser=alice",
            cast.dave,
            {"taskIDs": [tkiid(task.pk), bad]},
        )
        assert_error(response, 400, number)
    assert standing() == before
    assert not BulkOperation.objects.exists()


def test_a_wellformed_unknown_id_is_reported(cast: Cast) -> None:
    task, unknown = held_by_bob(cast)[0], uuid4()
    response = bulk(cast.dave, [unknown, task.pk], "fromUser=bob&toUser=alice")
    assert failed(response) == [(tkiid(unknown), "CWTKA0024E")]
    assert owner_of(task) == "alice"


@pytest.mark.parametrize("role", ["owner", "REASON_OWNER", "originator", "starter"])
def test_groups_cannot_be_owner_originator_or_starter(cast: Cast, role: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    query = "fromGroup=noc&toGroup=field"
    assert_error(bulk(cast.dave, [task.pk], query, role), 400, "CWTKA0123E")
    assert_error(single(cast.dave, task, query, role), 400, "CWTKA0123E")
    assert standing() == before


def test_an_inactive_giver_is_fine(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    cast.bob.is_active = False
    cast.bob.save()
    assert_empty(bulk(cast.dave, [task.pk], "fromUser=bob&toUser=alice"))
    assert owner_of(task) == "alice"


def test_an_inactive_receiver_is_an_unknown_user(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    cast.carol.is_active = False
    cast.carol.save()
    before = standing()
    for send_it in (
        lambda name: bulk(cast.dave, [task.pk], f"fromUser=bob&toUser={name}"),
        lambda name: single(cast.dave, task, f"fromUser=bob&toUser={name}"),
    ):
        inactive, unknown = send_it("carol"), send_it("nobody")
        assert_error(inactive, 400, "CWTKA0084E")
        assert inactive.content.replace(b"carol", b"nobody") == unknown.content
    assert standing() == before


@pytest.mark.parametrize("query", ["fromUser=bob&toUser=nobody", "fromUser=nobody&toUser=alice"])
def test_an_unknown_user_fails_the_whole_call(cast: Cast, query: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    response = bulk(cast.dave, [task.pk, uuid4()], query)
    assert response.status_code == 400
    assert json.loads(response.content) == error(
        "CWTKA0084E", "There is no active user or group nobody."
    )
    assert_error(single(cast.dave, task, query), 400, "CWTKA0084E")
    assert standing() == before


@pytest.mark.parametrize(
    "query", ["fromGroup=noc&toGroup=nothing", "fromGroup=noc&toGroup=change-board"]
)
def test_an_unknown_or_empty_group_fails_the_whole_call(cast: Cast, query: str) -> None:
    task = make_task(cast.dave, cast.noc)
    before = standing()
    assert_error(bulk(cast.dave, [task.pk], query, "potentialOwner"), 400, "CWTKA0084E")
    assert standing() == before


@pytest.mark.parametrize("query", ["fromUser=bob&toUser=bob", "toUser=dave"])
def test_nobody_hands_over_to_himself(cast: Cast, query: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    assert_error(bulk(cast.dave, [task.pk], query), 400, "CWTKA0123E")
    assert_error(single(cast.dave, task, query), 400, "CWTKA0123E")
    assert standing() == before


def test_no_group_hands_over_to_itself(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    response = bulk(cast.dave, [task.pk], "fromGroup=noc&toGroup=noc", "potentialOwner")
    assert_error(response, 400, "CWTKA0123E")


def test_a_caller_without_the_permission_gets_a_report(cast: Cast) -> None:
    task, unknown = held_by_bob(cast)[0], uuid4()
    before = standing()
    # She sees every task; names are not looked up for her.
    response = bulk(cast.erin, [task.pk, unknown], "fromUser=bob&toUser=nobody")
    assert failed(response) == [(tkiid(task.pk), "CWTKA0068E"), (tkiid(unknown), "CWTKA0024E")]
    assert standing() == before


def test_an_empty_list_does_nothing(cast: Cast) -> None:
    held_by_bob(cast)
    before = standing()
    assert_empty(bulk(cast.dave, [], "fromUser=bob&toUser=alice"))
    assert_empty(bulk(cast.erin, [], "fromUser=bob&toUser=alice"))
    assert standing() == before


def test_duplicates_are_answered_once_as_first_spelled(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    unknown = UUID("0000000a-0000-0000-0000-00000000000b")
    spellings = ["_TKI:a.0.0.B", "_TKI:A.0.0.b", tkiid(unknown)]
    ids = [spellings[0], tkiid(task.pk), *spellings[1:], tkiid(task.pk)]
    response = send(
        "/task/role/owner?action=transfer&fromUser=bob&toUser=alice", cast.dave, {"taskIDs": ids}
    )
    assert failed(response) == [(spellings[0], "CWTKA0024E")]
    assert Task.objects.get(pk=task.pk).version == 3
    assert len(BulkOperation.objects.get().ids) == 2


def test_ids_are_echoed_as_they_were_sent(cast: Cast) -> None:
    spellings = ["_TKI:801a011e.9D57C52.ab886df6.1fcc0000", "_TKI:00000001.0002.3.00000000"]
    response = send(
        "/task/role/owner?action=transfer&toUser=alice", cast.bob, {"taskIDs": spellings}
    )
    assert [line[0] for line in failed(response)] == spellings


def test_unknown_members_and_parameters_are_passed_over(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    response = send(
        "/task/role/owner?action=transfer&toUser=alice&format=xml&format=html&x=1",
        cast.bob,
        {"taskIDs": [tkiid(task.pk)], "more": {"taskIDs": None}},
    )
    assert_empty(response)
    assert owner_of(task) == "alice"


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"],
)
def test_no_content_type_means_json(cast: Cast, content_type: str) -> None:
    task = held_by_bob(cast)[0]
    raw = json.dumps({"taskIDs": [tkiid(task.pk)]}).encode()
    path = "/task/role/owner?action=transfer&toUser=alice"
    assert_empty(send(path, cast.bob, raw=raw, content_type=content_type))
    assert owner_of(task) == "alice"


def test_more_than_ten_thousand_are_worked_through_in_units(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = held_by_bob(cast, 5)
    monkeypatch.setattr("tasks.actions.units.UNIT", 2)
    ids = [task.pk for task in tasks]
    assert_empty(bulk(cast.dave, ids, "fromUser=bob&toUser=alice"))
    assert {owner_of(task) for task in tasks} == {"alice"}
    record = BulkOperation.objects.get()
    assert (record.done_count, record.status) == (5, BulkOperation.Status.DONE)


def test_order_of_the_tests_of_one_task(cast: Cast) -> None:
    """Found, permitted, state, work item, target: each task fails at its own, later ones too."""
    hidden = make_task(cast.dave, cast.carol)
    ended, other, excluded = held_by_bob(cast, 3)
    not_hers = make_task(cast.dave, cast.bob, people_of={TaskRole.READER: [people.user("alice")]})
    actions.claim([not_hers.pk], call=call_by(cast.bob))
    actions.complete([ended.pk], call=call_by(cast.bob))
    actions.transfer(
        [other.pk],
        call=call_by(cast.dave),
        role="owner",
        from_=people.user("bob"),
        to=people.user("dave"),
    )
    for task in (hidden, ended, other, excluded, not_hers):
        actions.grant(
            [task.pk],
            call=call_by(cast.dave),
            role=TaskRole.READER,
            to=people.user("erin"),
        )
    actions.grant(
        [excluded.pk],
        call=call_by(cast.dave),
        role=TaskRole.EXCLUDED_OWNER,
        to=people.user("frank"),
    )
    ids = [excluded.pk, other.pk, ended.pk, not_hers.pk, hidden.pk]
    # Alice leads noc, which makes her administrator of its tasks.
    response = bulk(cast.alice, ids, "fromUser=bob&toUser=frank")
    assert failed(response) == [
        (tkiid(excluded.pk), "CWTKA0110E"),
        (tkiid(other.pk), "CWTKA0099E"),
        (tkiid(ended.pk), "CWTKA0062E"),
        (tkiid(not_hers.pk), "CWTKA0068E"),
        (tkiid(hidden.pk), "CWTKA0024E"),
    ]


def test_owner_goes_to_potential_owners_unless_an_administrator_says_so(cast: Cast) -> None:
    one, other = held_by_bob(cast, 2)
    assert failed(bulk(cast.bob, [one.pk], "toUser=frank")) == [(tkiid(one.pk), "CWTKA0110E")]
    assert_empty(bulk(cast.alice, [other.pk], "fromUser=bob&toUser=frank"))
    assert [owner_of(one), owner_of(other)] == ["bob", "frank"]


def test_a_task_on_hold_can_be_transferred(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    Task.objects.filter(pk=task.pk).update(on_hold=True)
    assert_empty(bulk(cast.dave, [task.pk], "fromUser=bob&toUser=alice"))
    assert owner_of(task) == "alice"


@pytest.mark.parametrize(
    "role",
    [
        "potentialOwner",
        "editor",
        "reader",
        "administrator",
        "admin",
        "stakeholder",
        "escalationReceiver",
        "REASON_POTENTIAL_OWNER",
        "REASON_ADMINISTRATOR",
    ],
)
def test_a_granted_role_moves_between_users(cast: Cast, role: str) -> None:
    task_role = ROLES[role]
    task = make_task(cast.dave, people_of={task_role: [people.user("bob")]})
    assert_empty(bulk(cast.dave, [task.pk], "fromUser=bob&toUser=carol", role))
    users, _ = people_of([task])[task.pk][task_role]
    assert cast.carol in users
    assert cast.bob not in users
    event = AuditEvent.objects.get(channel="htm")
    assert event.event == f"{task_role}_transferred"
    assert event.before == {task_role: {"user": "bob"}}
    assert event.after == {task_role: {"user": "carol"}, "merged": False}


def test_a_granted_role_moves_between_groups(cast: Cast) -> None:
    one, other = make_tasks(2, cast.dave, [cast.noc])
    query = "fromGroup=noc&toGroup=field"
    assert_empty(bulk(cast.dave, [one.pk], query, "potentialOwner"))
    assert_empty(single(cast.dave, other, query, "potentialOwner"))
    for task in (one, other):
        assert people_of([task])[task.pk][TaskRole.POTENTIAL_OWNER] == ([], [cast.field])
    response = bulk(cast.dave, [one.pk], query, "potentialOwner")
    assert failed(response) == [(tkiid(one.pk), "CWTKA0099E")]


def test_a_potential_starter_moves_while_the_task_waits_to_start(cast: Cast) -> None:
    named = {TaskRole.POTENTIAL_STARTER: [people.user("bob")]}
    waiting = make_task(cast.dave, cast.noc, people_of=named, waiting=True)
    started = make_task(cast.dave, cast.noc, people_of=named)
    response = bulk(
        cast.dave, [waiting.pk, started.pk], "fromUser=bob&toUser=carol", "potentialStarter"
    )
    assert failed(response) == [(tkiid(started.pk), "CWTKA0062E")]


def test_the_originator_goes_to_those_who_may_create(cast: Cast) -> None:
    one, other = make_tasks(2, cast.dave, [cast.noc])
    assert_empty(bulk(cast.dave, [one.pk], "toUser=carol", "originator"))
    assert failed(bulk(cast.dave, [other.pk], "toUser=bob", "originator")) == [
        (tkiid(other.pk), "CWTKA0110E")
    ]
    assert Task.objects.get(pk=one.pk).originator == cast.carol
    assert Task.objects.get(pk=other.pk).originator == cast.dave


def test_the_starter_of_an_ended_task_moves(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    assert_error(single(cast.dave, task, "toUser=carol", "starter"), 409, "CWTKA0062E")
    actions.complete([task.pk], call=call_by(cast.bob))
    assert_empty(single(cast.dave, task, "toUser=carol", "starter"))
    assert Task.objects.get(pk=task.pk).starter == cast.carol


# --- Single transfer -----------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["owner", "REASON_OWNER"])
def test_a_single_transfer_is_answered_by_an_empty_body_and_the_version(
    cast: Cast, role: str
) -> None:
    task = held_by_bob(cast)[0]
    response = single(cast.dave, task, "fromUser=bob&toUser=alice", role)
    assert_empty(response)
    assert response["ETag"] == '"3"'
    assert owner_of(task) == "alice"
    event = AuditEvent.objects.get(task_id=task.pk, version=3)
    assert (event.event, event.channel, event.actor) == ("owner_transferred", "htm", "dave")
    assert not BulkOperation.objects.exists()


def test_a_single_transfer_needs_no_body_and_reads_none(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    response = single(
        cast.bob, task, "toUser=alice", raw=b"<nothing/>", content_type="application/xml"
    )
    assert_empty(response)


def test_a_single_transfer_by_the_owner_moves_his_own_work_item(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    assert_empty(single(cast.bob, task, "toUser=alice"))
    # As the lead she may transfer, but the work item that she does not hold she cannot give away.
    actions.transfer([task.pk], call=call_by(cast.alice), role="owner", to=people.user("bob"))
    response = single(cast.alice, task, "toUser=frank")
    assert json.loads(response.content) == error(
        "CWTKA0099E", "alice does not hold the role actual owner on this task."
    )
    assert (response.status_code, response["ETag"]) == (409, '"4"')


# --- Claim and cancel ----------------------------------------------------------------------------


def test_a_claim_is_answered_by_the_input_message(cast: Cast) -> None:
    message = {"router": "zürich-1", "ports": [1, 2.5, None, True], "secret": {"pin": "1234"}}
    task = make_task(
        cast.dave, cast.noc, input=message, secret_pointers=["/input/secret/pin"], output={"a": 1}
    )
    response = send(f"/task/{tkiid(task.pk)}?action=claim", cast.bob)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["ETag"] == '"2"'
    assert json.loads(response.content) == message
    now = Task.objects.get(pk=task.pk)
    assert (now.owner, now.state, now.version) == (cast.bob, State.RESERVED, 2)
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert (event.event, event.channel, event.request_id) == ("claimed", "htm", REQUEST_ID)
    assert OutboxEvent.objects.filter(event=event).exists()


def test_a_task_without_input_is_claimed_with_an_empty_object(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    assert send(f"/task/{tkiid(task.pk)}?action=claim", cast.bob).content == b"{}"


def test_a_claimed_task_cannot_be_claimed(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    again = send(f"/task/{tkiid(task.pk)}?action=claim", cast.bob)
    assert json.loads(again.content) == error("CWTKA0062E", "The task already belongs to bob.")
    assert (again.status_code, again["ETag"]) == (409, '"2"')
    other = send(f"/task/{tkiid(task.pk)}?action=claim", cast.alice)
    assert json.loads(other.content) == error(
        "CWTKA0062E", "A task in state reserved does not allow claim."
    )
    assert (other.status_code, other["ETag"]) == (409, '"2"')
    assert standing() == before


def test_cancel_gives_the_task_back_and_discards_output_and_fault(cast: Cast) -> None:
    task = held_by_bob(cast, input={"router": 1})[0]
    Task.objects.filter(pk=task.pk).update(
        output={"draft": 1}, fault={"why": "x"}, fault_name="broken"
    )
    response = send(f"/task/{tkiid(task.pk)}?action=cancel", cast.bob)
    assert_empty(response)
    assert response["ETag"] == '"3"'
    now = Task.objects.get(pk=task.pk)
    assert (now.state, now.owner, now.version) == (State.READY, None, 3)
    assert (now.output, now.fault, now.fault_name) == (None, None, "")
    assert now.input == {"router": 1}
    event = AuditEvent.objects.get(task_id=task.pk, version=3)
    assert (event.event, event.channel) == ("claim_cancelled", "htm")
    assert event.before["output"] == {"draft": 1}


def test_cancel_is_for_the_owner_and_administrators(cast: Cast) -> None:
    task = held_by_bob(cast)[0]
    actions.grant(
        [task.pk], call=call_by(cast.dave), role="potential_owner", to=people.user("frank")
    )
    refused = send(f"/task/{tkiid(task.pk)}?action=cancel", cast.frank)
    assert json.loads(refused.content) == error(
        "CWTKA0068E", "You are not permitted to cancel claim this task."
    )
    assert refused.status_code == 401
    assert_empty(send(f"/task/{tkiid(task.pk)}?action=cancel", cast.alice))
    again = send(f"/task/{tkiid(task.pk)}?action=cancel", cast.alice)
    assert_error(again, 409, "CWTKA0062E")
    assert again["ETag"] == '"4"'


def test_a_task_on_hold_is_neither_claimed_nor_cancelled(cast: Cast) -> None:
    free, held = make_task(cast.dave, cast.noc), held_by_bob(cast)[0]
    Task.objects.update(on_hold=True)
    before = standing()
    for task, action in ((free, "claim"), (held, "cancel")):
        response = send(f"/task/{tkiid(task.pk)}?action={action}", cast.bob)
        assert_error(response, 409, "CWTKA0072E")
    assert standing() == before


def test_a_task_for_an_engine_has_no_owner(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc, kind="automatic")
    response = send(f"/task/{tkiid(task.pk)}?action=claim", cast.bob)
    assert_error(response, 409, "CWTKA0064E")
    assert response["ETag"] == '"1"'


def test_an_expected_version_counts(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    path = f"/task/{tkiid(task.pk)}?action=claim"
    stale = send(path, cast.bob, headers={"If-Match": '"7"'})
    assert_error(stale, 412, "CWTKA0007E")
    assert stale["ETag"] == '"1"'
    for tag in ("1", 'W/"1"', '"1", "2"', '"x"', ""):
        assert_error(send(path, cast.bob, headers={"If-Match": tag}), 400, "CWTKA0083E")
    assert Task.objects.get(pk=task.pk).version == 1
    assert send(path, cast.bob, headers={"If-Match": '"1"'}).status_code == 200
    cancel = path.replace("claim", "cancel")
    assert_empty(send(cancel, cast.bob, headers={"If-Match": "*"}))
    move = f"/task/{tkiid(task.pk)}/role/potentialOwner?action=transfer&fromGroup=noc&toGroup=field"
    assert_error(send(move, cast.dave, headers={"If-Match": '"1"'}), 412, "CWTKA0007E")


def test_an_expected_version_cannot_be_that_of_many(cast: Cast) -> None:
    (task,) = held_by_bob(cast)
    path = "/task/role/owner?action=transfer&fromUser=bob&toUser=alice"
    before = standing()
    answer = send(path, cast.dave, {"taskIDs": [tkiid(task.pk)]}, headers={"If-Match": '"2"'})
    assert_error(answer, 400, "CWTKA0083E")
    assert standing() == before


# --- Parameters ----------------------------------------------------------------------------------


def test_every_spelling_of_a_role() -> None:
    assert {spelling: str(role) for spelling, role in ROLES.items()} == {
        "owner": "owner",
        "potentialOwner": "potential_owner",
        "editor": "editor",
        "reader": "reader",
        "administrator": "administrator",
        "admin": "administrator",
        "originator": "originator",
        "starter": "starter",
        "potentialStarter": "potential_starter",
        "escalationReceiver": "escalation_receiver",
        "stakeholder": "stakeholder",
        "REASON_OWNER": "owner",
        "REASON_POTENTIAL_OWNER": "potential_owner",
        "REASON_EDITOR": "editor",
        "REASON_READER": "reader",
        "REASON_ADMINISTRATOR": "administrator",
        "REASON_ORIGINATOR": "originator",
        "REASON_STARTER": "starter",
        "REASON_POTENTIAL_STARTER": "potential_starter",
        "REASON_ESCALATION_RECEIVER": "escalation_receiver",
    }


@pytest.mark.parametrize(
    "role",
    [
        "Owner",
        "OWNER",
        "reason_owner",
        "REASON_owner",
        "potential_owner",
        "potentialowner",
        "potentialInstanceCreator",
        "REASON_POTENTIAL_INSTANCE_CREATOR",
        "excludedOwner",
        "excluded_owner",
        "REASON_NONE",
        "1",
        "owner%20",
        "ówner",
    ],
)
def test_any_other_role_is_refused(cast: Cast, role: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    query = "fromUser=bob&toUser=alice"
    assert_error(bulk(cast.dave, [task.pk], query, role), 400, "CWTKA0022E")
    assert_error(single(cast.dave, task, query, role), 400, "CWTKA0022E")
    assert standing() == before


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("toUser=alice", "CWTKA0122E"),
        ("action=&toUser=alice", "CWTKA0158E"),
        ("action=Transfer&toUser=alice", "CWTKA0158E"),
        ("action=claim", "CWTKA0158E"),
        ("action=transfer&action=transfer&toUser=alice", "CWTKA0123E"),
        ("action=transfer", "CWTKA0122E"),
        ("action=transfer&touser=alice", "CWTKA0122E"),
        ("action=transfer&fromUser=bob", "CWTKA0123E"),
        ("action=transfer&toGroup=noc", "CWTKA0123E"),
        ("action=transfer&fromGroup=noc", "CWTKA0123E"),
        ("action=transfer&toUser=alice&toGroup=noc", "CWTKA0123E"),
        ("action=transfer&toUser=alice&fromGroup=noc", "CWTKA0123E"),
        ("action=transfer&fromUser=bob&toGroup=noc", "CWTKA0123E"),
        ("action=transfer&toUser=alice&fromUser=bob&fromGroup=noc&toGroup=noc", "CWTKA0123E"),
        ("action=transfer&toUser=alice&toUser=carol", "CWTKA0123E"),
        ("action=transfer&toUser=alice&toUser=alice", "CWTKA0123E"),
        ("action=transfer&toUser=alice&fromUser=bob&fromUser=bob", "CWTKA0123E"),
        ("action=transfer&toUser=", "CWTKA0158E"),
        ("action=transfer&toUser=alice&fromUser=", "CWTKA0158E"),
        ("action=transfer&toUser=alice&federationMode=false", "CWTKA0158E"),
        ("action=transfer&toUser=alice&federationMode=T", "CWTKA0158E"),
        ("action=transfer&toUser=alice&federationMode=", "CWTKA0158E"),
    ],
)
def test_illegal_parameters(cast: Cast, query: str, number: str) -> None:
    task = held_by_bob(cast)[0]
    before = standing()
    body = {"taskIDs": [tkiid(task.pk)]}
    assert_error(send(f"/task/role/editor?{query}", cast.dave, body), 400, number)
    assert_error(send(f"/task/{tkiid(task.pk)}/role/editor?{query}", cast.dave), 400, number)
    assert standing() == before


def test_illegal_parameters_of_a_task(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    path = f"/task/{tkiid(task.pk)}"
    assert_error(send(path, cast.bob), 400, "CWTKA0122E")
    for action in ("Claim", "transfer", "cancelClaim", "skip", ""):
        assert_error(send(f"{path}?action={action}", cast.bob), 400, "CWTKA0158E")
    assert_error(send(f"{path}?action=claim&action=claim", cast.bob), 400, "CWTKA0123E")
    message = json.loads(send(f"{path}?action=x", cast.bob).content)["errorMessage"]
    assert message == (
        "action cannot be x; it can be claim or cancel or start or complete or suspend or "
        "suspendAndCancelClaim or resume or terminate or update."
    )


def test_the_federated_mode_is_what_there_is(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    path = f"/task/{tkiid(task.pk)}?action=claim&federationMode=true"
    assert send(path, cast.bob).status_code == 200


# --- Ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "digits",
    ["199aaaa.12347abc.8bcd0123.b", "0199AAAA.12347ABC.8BCD0123.B", "199aaaa.12347abC.8bcd0123.0b"],
)
def test_an_id_in_any_spelling_of_its_digits(cast: Cast, digits: str) -> None:
    task = make_task(cast.dave, cast.noc, id=UUID("0199aaaa-1234-7abc-8bcd-01230000000b"))
    assert tkiid(task.pk) == "_TKI:199aaaa.12347abc.8bcd0123.b"
    assert send(f"/task/_TKI:{digits}?action=claim", cast.bob).status_code == 200
    assert owner_of(task) == "bob"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "role",
        "1.2.3.4",
        "TKI:1.2.3.4",
        "_tki:1.2.3.4",
        "_TKI:1.2.3.4.5",
        "_TKI:1.2..4",
        "_TKI:1.2.3.123456789",
        "_TKI:1.2.3.g",
        "_TKI:1.2.3.4%0A",
        "%20_TKI:1.2.3.4",
        "_TKI:",
        "_TKI:1.2.3.٤",
        "_TKI:-1.2.3.4",
        "0199aaaa-1234-7abc-8bcd-0123456789ab",
        "_:1.2.3.4",
    ],
)
def test_a_malformed_id(cast: Cast, text: str) -> None:
    assert_error(send(f"/task/{text}?action=claim", cast.bob), 400, "CWTKA0001E")
    path = f"/task/{text}/role/owner?action=transfer&toUser=alice"
    assert_error(send(path, cast.bob), 400, "CWTKA0001E")


@pytest.mark.parametrize("text", ["_TKT:1.2.3.4", "_PI:1.2.3.4", "_PT:x", "_ESI:1.2.3.4"])
def test_the_id_of_another_kind(cast: Cast, text: str) -> None:
    assert_error(send(f"/task/{text}?action=claim", cast.bob), 400, "CWTKA0002E")
    path = f"/task/{text}/role/owner?action=transfer&toUser=alice"
    assert_error(send(path, cast.bob), 400, "CWTKA0002E")


# --- Methods and credentials ---------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X-Method-Override", "X-HTTP-Method-Override"])
def test_a_post_can_stand_for_put(cast: Cast, header: str) -> None:
    task = make_task(cast.dave, cast.noc)
    path = f"/task/{tkiid(task.pk)}?action=claim"
    assert send(path, cast.bob, method="POST", headers={header: "PUT"}).status_code == 200
    body = {"taskIDs": [tkiid(task.pk)]}
    path = "/task/role/owner?action=transfer&toUser=alice"
    assert_empty(send(path, cast.bob, body, method="POST", headers={header: "put"}))
    assert owner_of(task) == "alice"


def test_other_overrides_are_refused(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    before = standing()
    path = f"/task/{tkiid(task.pk)}?action=claim"
    for method, headers in [
        ("POST", {"X-Method-Override": "GET"}),
        ("POST", {"X-Method-Override": ""}),
        ("POST", {"X-Method-Override": "PUT", "X-HTTP-Method-Override": "DELETE"}),
        ("PUT", {"X-Method-Override": "DELETE"}),
        ("GET", {"X-HTTP-Method-Override": "PUT"}),
    ]:
        assert_error(send(path, cast.bob, method=method, headers=headers), 400, "CWTKA0083E")
    unknown = send(path, cast.bob, method="POST", headers={"X-HTTP-Method": "PUT"})
    assert_error(unknown, 405, "CWTKA0008E")
    assert standing() == before


RESOURCES = {
    "": "GET, HEAD, PUT, DELETE",
    "/role/owner": "GET, HEAD, PUT",
    "/input": "GET, HEAD, PUT",
    "/output": "GET, HEAD, PUT",
    "/fault": "GET, HEAD, PUT",
    "/subtasks": "GET, HEAD",
    "/history": "GET, HEAD",
}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("resource", RESOURCES)
def test_an_unknown_method(cast: Cast, method: str, resource: str) -> None:
    if method in RESOURCES[resource]:
        return
    path = f"/task/{tkiid(make_task(cast.dave, cast.noc).pk)}{resource}?action=claim"
    for who in (cast.bob, None):
        response = send(path, who, method=method)
        assert_error(response, 405, "CWTKA0008E")
        assert response["Allow"] == RESOURCES[resource]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/task", "PUT"), ("/task/role/owner", "PUT"), ("/task/actions", "GET, HEAD")],
)
def test_an_unknown_method_on_many(cast: Cast, path: str, allowed: str) -> None:
    for method in ("POST", "DELETE", "PUT" if "GET" in allowed else "GET"):
        response = send(path, cast.bob, method=method)
        assert_error(response, 405, "CWTKA0008E")
        assert response["Allow"] == allowed


def test_head_is_answered_without_a_body(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    response = send(f"/task/{tkiid(task.pk)}", cast.bob, method="HEAD")
    assert (response.status_code, response.content, response["ETag"]) == (200, b"", '"1"')
    assert send("/task", cast.bob, method="HEAD")["Allow"] == "PUT"


@pytest.mark.parametrize(
    "path", ["", "/", "/task/", "/tasks", "/task/role/owner/", "/task/a/b/c/d", "/TASK/x"]
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_unknown_path(cast: Cast, path: str, method: str) -> None:
    for who in (cast.bob, None):
        assert_error(send(path, who, method=method), 404, "CWTKA0017E")


def test_an_unknown_version_of_the_interface(cast: Cast) -> None:
    assert_error(Client().get("/rest/bpm/htm/v2/task"), 404, "CWTKA0017E")
    assert_error(Client().get("/rest/bpm/htm/"), 404, "CWTKA0017E")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Basic Ym9i",
        basic("bob", "wrong"),
        basic("nobody"),
        basic("bob\0"),
        basic("bob", "\0"),
        "Basic //8=",
        "Bearer htm_unknown",
        "Token \x00",
        "Digest x",
    ],
)
def test_no_or_bad_credentials_are_challenged(cast: Cast, authorization: str | None) -> None:
    task = make_task(cast.dave, cast.noc)
    before = standing()
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in (
        f"/task/{tkiid(task.pk)}?action=claim",
        f"/task/{tkiid(uuid4())}?action=claim",
        "/task/role/owner?action=transfer&toUser=nobody",
    ):
        response = send(path, headers=headers)
        assert_error(response, 401, "CWTKA0012E")
        assert response["WWW-Authenticate"].startswith("Basic realm=")
    assert standing() == before


def test_an_inactive_account_is_challenged(cast: Cast) -> None:
    cast.bob.is_active = False
    cast.bob.save()
    response = send(f"/task/{tkiid(uuid4())}?action=claim", cast.bob)
    assert_error(response, 401, "CWTKA0012E")
    assert "WWW-Authenticate" in response


@pytest.mark.parametrize("scheme", ["Token", "Bearer"])
def test_an_api_token_is_accepted(cast: Cast, scheme: str) -> None:
    task = make_task(cast.dave, cast.noc)
    _, secret = authentication.issue(cast.bob, Token.Kind.API, actor="bob")
    headers = {"Authorization": f"{scheme} {secret}"}
    assert send(f"/task/{tkiid(task.pk)}?action=claim", headers=headers).status_code == 200
    assert owner_of(task) == "bob"


def test_an_itential_session_and_a_django_session_are_not(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    _, secret = authentication.issue(cast.bob, Token.Kind.ITENTIAL, actor="bob")
    path = f"/task/{tkiid(task.pk)}?action=claim"
    assert_error(send(path, headers={"Authorization": f"Bearer {secret}"}), 401, "CWTKA0012E")
    client = Client()
    client.force_login(cast.bob, "accounts.backends.RoleBackend")
    client.cookies["token"] = secret
    assert_error(client.put(f"{V1}{path}&token={secret}"), 401, "CWTKA0012E")
    assert owner_of(task) is None


def test_guessing_is_bounded(cast: Cast) -> None:
    path = f"/task/{tkiid(uuid4())}?action=claim"
    for _ in range(10):
        wrong = send(path, headers={"Authorization": basic("bob", "wrong")})
        assert_error(wrong, 401, "CWTKA0012E")
    response = send(path, cast.bob)
    assert_error(response, 429, "CWTKA0012E")
    assert 0 < int(response["Retry-After"]) <= 900
    assert "WWW-Authenticate" not in response


@pytest.mark.parametrize("who", ["erin", "svc_reader"])
def test_lack_of_rights_is_401_without_a_challenge(cast: Cast, who: str) -> None:
    free, held = make_task(cast.dave, cast.noc), held_by_bob(cast)[0]
    before = standing()
    caller = getattr(cast, who)
    for path, verb in [
        (f"/task/{tkiid(free.pk)}?action=claim", "claim"),
        (f"/task/{tkiid(held.pk)}?action=cancel", "cancel claim"),
        (f"/task/{tkiid(held.pk)}/role/owner?action=transfer&toUser=alice", "transfer"),
    ]:
        response = send(path, caller)
        assert response.status_code == 401
        assert json.loads(response.content) == error(
            "CWTKA0068E", f"You are not permitted to {verb} this task."
        )
        assert "WWW-Authenticate" not in response
        assert response["ETag"]
    assert standing() == before
