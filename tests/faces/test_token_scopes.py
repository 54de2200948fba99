"""What a limited token may do: less than its account, on every face that takes it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.authentication import find, issue
from accounts.models import AccountEvent, Token, User
from accounts.scopes import Scope
from tasks import bulk
from tasks.actions import ACTIONS
from tasks.api.htm.ids import tkiid
from tasks.lifecycle import OPERATIONS
from tasks.lifecycle.scopes import PERMISSIONS
from tasks.models import AuditEvent, BulkOperation, Task
from tasks.people import group, user
from tests.conftest import Cast
from tests.factories import call_by, make_task, make_tasks

from .admin_pages import client_of
from .native_client import MISSING, TASKS, Api, assert_problem, bulk_path, everything, task_path

pytestmark = pytest.mark.django_db

READING = Scope(operations=frozenset())


def api_of(user: User, scope: Scope) -> Api:
    """The native API with a limited token of an account."""
    api = Api()
    _, secret = issue(user, Token.Kind.API, scope=scope, actor="test")
    api.headers["Authorization"] = f"Token {secret}"
    return api


def of_groups(*groups: Any) -> Scope:
    """Limited to the tasks of groups."""
    return Scope(groups=frozenset(group.pk for group in groups))


def test_every_operation_of_an_account_can_be_named() -> None:
    mine = {name for name, operation in OPERATIONS.items() if not operation.system_only}
    assert mine < set(PERMISSIONS)
    assert {"create", "undo", "transfer", "grant", "revoke", "update"} < set(PERMISSIONS)
    assert PERMISSIONS["release"] == {"tasks.release_task", "tasks.release_others_task"}


@pytest.mark.parametrize("name", ["bob", "dave", "root"])
def test_reading_only(cast: Cast, name: str) -> None:
    task = make_task(cast.dave, cast.noc)
    api = api_of(getattr(cast, name), READING)
    before = everything()
    assert api.get(task_path(task.pk)).json()["permitted_operations"] == []
    assert api.get(TASKS).json()["count"] == 1
    assert_problem(api.post(task_path(task.pk, "claim")), 403, "not_authorized")
    assert_problem(api.post(TASKS, {"name": "x"}), 403, "not_permitted")
    refused = api.post(bulk_path("claim"), {"ids": [str(task.pk)]}).json()["refused"]
    assert [one["code"] for one in refused] == ["not_authorized"]
    assert everything()[:5] == before[:5]
    assert Api(getattr(cast, name)).post(task_path(task.pk, "claim")).status_code == 200


def test_operations_are_told_apart_even_where_they_share_a_permission(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    api = api_of(cast.bob, Scope(operations=frozenset({"claim", "save_output"})))
    allowed = api.get(task_path(task.pk)).json()["permitted_operations"]
    assert allowed == ["claim"]
    assert api.post(task_path(task.pk, "claim")).status_code == 200
    assert api.post(task_path(task.pk, "save_output"), {"output": {}}).status_code == 200
    assert_problem(
        api.post(task_path(task.pk, "save_fault"), {"fault_name": "x", "fault": {}}),
        403,
        "not_authorized",
    )
    assert_problem(api.post(task_path(task.pk, "release")), 403, "not_authorized")
    assert AuditEvent.objects.filter(task_id=task.pk).count() == 3


def test_no_name_is_looked_up_for_an_operation_that_is_not_covered(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    api = api_of(cast.dave, Scope(operations=frozenset({"grant"})))
    body = {"role": "reader", "to": {"user": "nobody-at-all"}}
    wrong = {"role": "reader", "from": {"user": "nobody-at-all"}}
    assert_problem(api.post(task_path(task.pk, "grant"), body), 400, "unknown_user")
    assert_problem(api.post(task_path(task.pk, "revoke"), wrong), 403, "not_authorized")
    answer = api.post(bulk_path("revoke"), {"ids": [str(task.pk)], **wrong})
    assert answer.status_code == 200
    assert [one["code"] for one in answer.json()["refused"]] == ["not_authorized"]


@pytest.mark.parametrize("name", ["alice", "dave", "root", "svc_reader"])
def test_outside_of_its_groups_nothing_exists(cast: Cast, name: str) -> None:
    user: User = getattr(cast, name)
    mine = make_task(cast.dave, cast.noc)
    other = make_task(cast.dave, cast.field, user)
    api = api_of(user, of_groups(cast.noc))
    listed = api.get(TASKS).json()
    assert ([one["id"] for one in listed["results"]], listed["count"]) == ([str(mine.pk)], 1)
    assert api.get(task_path(mine.pk)).status_code == 200
    hidden, missing = api.get(task_path(other.pk)), api.get(task_path(MISSING))
    assert hidden.status_code == 404
    assert hidden.content.replace(str(other.pk).encode(), b"ID") == missing.content.replace(
        str(MISSING).encode(), b"ID"
    )
    for operation in ("claim", "comment", "retry"):
        before = everything()
        answer = api.post(
            task_path(other.pk, operation), {"text": "x"} if operation == "comment" else None
        )
        assert_problem(answer, 404, "task_not_found")
        assert everything() == before
    ids = [str(other.pk), str(MISSING)]
    refused = api.post(bulk_path("claim"), {"ids": ids}).json()["refused"]
    assert {(one["code"], one["version"]) for one in refused} == {("task_not_found", None)}
    assert Api(user).get(task_path(other.pk)).status_code == 200


def test_outside_of_its_groups_nothing_is_done_or_told(cast: Cast) -> None:
    other = make_task(cast.dave, cast.field, cast.bob, priority=1)
    mine = make_task(cast.dave, cast.noc)
    api, whole = api_of(cast.bob, of_groups(cast.noc)), Api(cast.bob)
    assert whole.get("/api/v1/events/").json()["results"][0]["task"]["id"] == str(other.pk)
    told = api.get("/api/v1/events/").json()["results"]
    assert [each["task"]["id"] for each in told] == [str(mine.pk)]
    assert_problem(api.get(task_path(other.pk, "events")), 404, "task_not_found")
    # The other one would be first, by its priority.
    assert api.post(f"{TASKS}claim-next/").json()["id"] == str(mine.pk)
    assert api.post(f"{TASKS}claim-next/").status_code == 204
    assert whole.post(f"{TASKS}claim-next/").json()["id"] == str(other.pk)


def test_of_what_goes_out_of_its_groups_it_is_told_and_no_more(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    api = api_of(cast.bob, of_groups(cast.noc))
    arguments = {"role": "potential_owner", "from_": group("noc"), "to": group("field")}
    ACTIONS["transfer"]([task.pk], call=call_by(cast.dave), **arguments).one()
    ACTIONS["comment"]([task.pk], call=call_by(cast.dave), text="later").one()
    events = [each["event"] for each in api.get("/api/v1/events/").json()["results"]]
    assert events == ["potential_owner_transferred"]


def test_what_it_puts_off_is_done_within_its_limits(cast: Cast) -> None:
    mine, gone = make_tasks(2, cast.dave, [cast.noc])
    other = make_task(cast.dave, cast.field, cast.bob)
    api = api_of(cast.bob, Scope(frozenset({"claim"}), frozenset({cast.noc.pk})))
    refused = api.post(bulk_path("release"), {"filter": {}})
    assert (refused.status_code, refused.json()["counts"]["total"]) == (202, 0)
    stored = api.post(bulk_path("claim"), {"filter": {}}).json()
    assert stored["counts"]["total"] == 2
    # Bob would still be free to claim it: a group that the token is not for.
    for name, way in (("grant", {"to": user("bob")}), ("revoke", {"from_": group("noc")})):
        ACTIONS[name]([gone.pk], call=call_by(cast.dave), role="potential_owner", **way).one()
    BulkOperation.objects.filter(pk=stored["id"]).update(versions=[0, 0])
    bulk.work()
    done = api.get(f"/api/v1/bulk-operations/{stored['id']}/items/").json()["results"]
    assert {each["id"]: each["status"] for each in done} == {
        str(mine.pk): "done",
        str(gone.pk): "refused",
    }
    assert set(Task.objects.filter(owner=cast.bob)) == {mine}
    assert ACTIONS["claim"]([gone.pk], call=call_by(cast.bob)).one().owner == cast.bob
    # What the account did without the limit is not for this token.
    whole = Api(cast.bob).post(bulk_path("claim"), {"ids": [str(other.pk)]}).json()
    assert api.get(f"/api/v1/bulk-operations/{whole['operation_id']}/").status_code == 404
    assert Api(cast.bob).get(f"/api/v1/bulk-operations/{stored['id']}/").status_code == 200


def test_both_limits_together_and_what_becomes_of_a_group_that_goes(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    scope = Scope(frozenset({"claim"}), frozenset({cast.noc.pk}))
    api = api_of(cast.bob, scope)
    assert api.post(task_path(task.pk, "claim")).status_code == 200
    assert_problem(api.post(task_path(task.pk, "release")), 403, "not_authorized")
    token = Token.objects.get(operations=["claim"])
    Token.objects.filter(pk=token.pk).update(group_ids=[])
    assert_problem(api.get(task_path(task.pk)), 404, "task_not_found")
    assert api.get(TASKS).json()["count"] == 0


def test_a_task_can_be_made_for_its_groups_only(cast: Cast) -> None:
    api = api_of(cast.carol, of_groups(cast.field))
    for people in ({}, {"potential_owner": {"groups": ["noc"], "users": ["carol"]}}):
        before = everything()
        assert_problem(api.post(TASKS, {"name": "x", "people": people}), 403, "not_permitted")
        assert everything() == before
    body = {"name": "x", "people": {"potential_owner": {"groups": ["field"]}}}
    assert api.post(TASKS, body).status_code == 201


def test_the_dialects_are_bound_by_it_too(cast: Cast) -> None:
    mine, other = (
        make_tasks(1, cast.dave, [cast.noc])[0],
        make_task(cast.dave, cast.field, cast.bob),
    )
    _, secret = issue(cast.bob, Token.Kind.API, scope=of_groups(cast.noc), actor="test")
    _, reading = issue(cast.bob, Token.Kind.API, scope=READING, actor="test")
    client = Client(raise_request_exception=False)

    def status(method: str, path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return client.generic(method, path, headers=headers).status_code

    itential, htm = "/operations-manager/tasks/", "/rest/bpm/htm/v1/task/"
    assert status("GET", f"{itential}{other.pk}", secret) == 404
    assert status("POST", f"{itential}{other.pk}/claim", secret) == 404
    assert status("GET", f"{htm}{tkiid(other.pk)}", secret) == 404
    assert status("POST", f"{itential}{mine.pk}/claim", reading) == 403
    assert status("GET", f"{itential}{mine.pk}", reading) == 200
    assert status("PUT", f"{htm}{tkiid(mine.pk)}?action=claim", reading) == 401
    assert Task.objects.filter(owner=None).count() == 2
    assert status("POST", f"{itential}{mine.pk}/claim", secret) == 200


def test_has_perm_says_the_same(cast: Cast) -> None:
    task = make_task(cast.dave, cast.field)
    _, secret = issue(cast.root, Token.Kind.API, scope=of_groups(cast.noc), actor="test")
    root = find(secret, (Token.Kind.API,))
    assert root is not None
    assert not root.has_perm("tasks.administrator", task)
    assert cast.root.has_perm("tasks.administrator", task)
    assert root.has_perm("tasks.claim_task")
    assert root.has_perm("accounts.view_user")
    for permission in ("accounts.change_user", "accounts.add_token", "accounts.grant_any_role"):
        assert not root.has_perm(permission)
        assert cast.root.has_perm(permission)


def test_the_admin_issues_limited_tokens_and_shows_the_limits(cast: Cast) -> None:
    page = "/admin/accounts/token/add/"
    client = client_of(cast.dave)
    body = {"user": cast.bob.pk, "name": "sync", "lifetime": "30", "groups": [cast.noc.pk]}
    refused = client.post(page, {**body, "access": "some"})
    assert "Choose operations" in refused.text
    assert "Choose operations" in client.post(page, {**body, "chosen": ["claim"]}).text
    assert not Token.objects.exists()
    answer = client.post(page, {**body, "access": "some", "chosen": ["claim", "release"]})
    assert answer.status_code == 200
    token = Token.objects.get()
    assert (token.operations, token.group_ids) == (["claim", "release"], [cast.noc.pk])
    event = AccountEvent.objects.get(event="token_issued")
    assert event.after is not None
    assert (event.after["operations"], event.after["groups"]) == (["claim", "release"], ["noc"])
    assert "claim, release; tasks of noc" in client.get("/admin/accounts/token/").text
    shown = client.post(page, {**body, "groups": [], "kind": "client"})
    assert cast.bob.object_id in shown.text
    assert cast.bob.object_id not in answer.text
    assert Token.objects.get(kind="client").operations is None
    client.post(page, {**body, "groups": [], "access": "read"})
    assert Token.objects.get(operations=[]).group_ids is None
