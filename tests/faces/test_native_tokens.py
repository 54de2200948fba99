"""Who one is, and tokens: issued once, limited, revoked, by those who may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.authentication import issue
from accounts.models import AccountEvent, Role, Token
from tests.conftest import Cast
from tests.factories import make_in, make_task

from .native_client import TASKS, Api, assert_problem, task_path

pytestmark = pytest.mark.django_db

ME, TOKENS = "/api/v1/me/", "/api/v1/tokens/"


def api_with(secret: str) -> Api:
    """The API with a secret."""
    return Api(Authorization=f"Token {secret}")


def events() -> list[tuple[str, str, str, str]]:
    """What was recorded of tokens through this face."""
    return list(
        AccountEvent.objects.filter(channel="native", event__startswith="token")
        .order_by("id")
        .values_list("event", "subject", "actor", "channel")
    )


def test_who_one_is(cast: Cast) -> None:
    make_in("reserved", cast.dave, cast.noc, owner=cast.alice)
    make_in("reserved", cast.dave, cast.noc, owner=cast.alice, due_at=timezone.now() - timedelta(1))
    me = Api(cast.alice).get(ME).json()
    assert (me["username"], me["roles"], me["bulk_limit"]) == ("alice", ["operations"], 10_000)
    assert "tasks.claim_task" in me["permissions"]
    groups = {group["name"]: (group["member"], group["lead"]) for group in me["groups"]}
    assert groups == {"noc": (True, True), "everybody": (True, False)}
    assert me["token"] == {"read_only": False, "operations": None, "groups": None}
    assert me["tasks"] == {"held": 2, "overdue": 1}
    assert Api(cast.svc_integration).get(ME).json()["tasks"] is None
    assert_problem(Api().get(ME), 401, "not_authenticated")


def test_a_token_of_ones_own(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    make_task(cast.dave, cast.field, cast.bob)
    api = Api(cast.bob)
    body = {"name": "sync", "operations": ["claim"], "groups": ["noc"]}
    answer = api.post(TOKENS, {**body, "expires_at": "2100-01-01T00:00:00Z"})
    assert answer.status_code == 201, answer.content
    made = answer.json()
    secret = made.pop("secret")
    assert (answer["Location"], answer["Cache-Control"]) == (made["url"], "no-store")
    assert (made["user"], made["operations"], made["groups"]) == ("bob", ["claim"], ["noc"])
    assert made["expires_at"] == "2100-01-01T00:00:00Z"
    assert api.get(made["url"]).json() == made
    assert secret not in api.get(TOKENS).text
    assert made in api.get(TOKENS).json()["results"]
    limited = api_with(secret)
    assert limited.get(ME).json()["token"] == {
        "read_only": False,
        "operations": ["claim"],
        "groups": ["noc"],
    }
    assert limited.get(TASKS).json()["count"] == 1
    assert limited.post(task_path(task.pk, "claim")).status_code == 200
    for refused in (
        limited.post(TOKENS, {"name": "more"}),
        limited.post(TOKENS, {"nonsense": 1}),
        limited.send("DELETE", made["url"]),
    ):
        assert_problem(refused, 403, "not_permitted")
    assert api.send("DELETE", made["url"]).status_code == 204
    assert_problem(limited.get(ME), 401, "authentication_failed")
    assert_problem(api.send("DELETE", made["url"]), 404, "not_found")
    assert events() == [
        ("token_issued", "user bob", "bob", "native"),
        ("token_revoked", "user bob", "bob", "native"),
    ]


def test_reading_only_and_for_ever(cast: Cast) -> None:
    made = Api(cast.bob).post(TOKENS, {"name": "x", "read_only": True}).json()
    assert (made["read_only"], made["operations"], made["expires_at"]) == (True, [], None)
    token = Token.objects.get(pk=made["id"])
    assert (token.operations, token.group_ids) == ([], None)
    free = Api(cast.bob).post(TOKENS, {"name": "x"}).json()
    assert (free["read_only"], free["operations"], free["groups"]) == (False, None, None)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"operations": ["fly"]}, "/operations", "unknown_operation"),
        ({"operations": "claim"}, "/operations", "not_a_list"),
        ({"operations": ["claim"], "read_only": True}, "/operations", "contradiction"),
        ({"groups": []}, "/groups", "invalid"),
        ({"groups": ["noc"] * 101}, "/groups", "max_length"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "invalid"),
        ({"expires_at": 5}, "/expires_at", "invalid"),
        ({"name": "x" * 101}, "/name", "max_length"),
        ({"read_only": "yes"}, "/read_only", "invalid"),
        ({"secret": "x"}, "/secret", "unknown_field"),
        ({"name": ""}, "/name", "blank"),
        ({"kind": "itential"}, "/kind", "invalid_choice"),
    ],
)
def test_what_no_token_can_be(cast: Cast, body: Any, pointer: str, code: str) -> None:
    api, before = Api(cast.bob), Token.objects.count()
    problem = assert_problem(api.post(TOKENS, {"name": "x", **body}), 400, "invalid_body")
    assert (problem["errors"][0]["pointer"], problem["errors"][0]["code"]) == (pointer, code)
    assert Token.objects.count() == before


def test_groups_are_named_by_those_who_may_look_them_up(cast: Cast) -> None:
    assert_problem(
        Api(cast.bob).post(TOKENS, {"name": "x", "groups": ["nowhere"]}), 400, "unknown_group"
    )
    api = Api(cast.svc_integration)
    for name in ("noc", "nowhere"):
        problem = assert_problem(
            api.post(TOKENS, {"name": "x", "groups": [name]}), 400, "unknown_group"
        )
        assert problem["detail"] == f"There is no group {name}."
    assert api.post(TOKENS, {"name": "x", "groups": ["everybody"]}).status_code == 201


def test_tokens_of_others_are_for_those_who_manage_tokens(cast: Cast) -> None:
    token, secret = issue(cast.bob, Token.Kind.API, actor="test")
    url = f"{TOKENS}{token.pk}/"
    for name in ("alice", "erin", "svc_integration"):
        api = Api(getattr(cast, name))
        assert_problem(api.get(url), 404, "not_found")
        assert_problem(api.send("DELETE", url), 404, "not_found")
        assert api.get(TOKENS, {"user": "bob"}).json()["results"] == []
        for user in ("bob", "nobody-at-all"):
            assert_problem(api.post(TOKENS, {"name": "x", "user": user}), 403, "not_permitted")
    dave = Api(cast.dave)
    assert [one["id"] for one in dave.get(TOKENS, {"user": "bob"}).json()["results"]] == [token.pk]
    assert {one["user"] for one in dave.get(TOKENS).json()["results"]} == {"dave"}
    assert_problem(dave.post(TOKENS, {"name": "x", "user": "nobody-at-all"}), 400, "unknown_user")
    assert dave.post(TOKENS, {"name": "x", "user": "erin"}).json()["user"] == "erin"
    assert api_with(secret).get(ME).status_code == 200
    assert dave.send("DELETE", url).status_code == 204
    assert api_with(secret).get(ME).status_code == 401


def test_nobody_manages_those_who_may_do_more(cast: Cast) -> None:
    clerk = Role.objects.create(name="clerk")
    clerk.permissions.set(
        Role.objects.get(name="admin").permissions.filter(codename__endswith="_token")
    )
    cast.frank.roles.add(clerk)
    theirs, _ = issue(cast.carol, Token.Kind.API, actor="test")
    roots, _ = issue(cast.root, Token.Kind.API, actor="test")
    frank, dave = Api(cast.frank), Api(cast.dave)
    assert frank.get(f"{TOKENS}{theirs.pk}/").status_code == 200
    assert_problem(frank.send("DELETE", f"{TOKENS}{theirs.pk}/"), 403, "not_permitted")
    assert_problem(frank.post(TOKENS, {"name": "x", "user": "carol"}), 403, "not_permitted")
    assert frank.post(TOKENS, {"name": "x", "user": "bob"}).status_code == 201
    assert_problem(dave.send("DELETE", f"{TOKENS}{roots.pk}/"), 403, "not_permitted")
    assert_problem(dave.post(TOKENS, {"name": "x", "user": "root"}), 403, "not_permitted")


def test_an_inactive_account_gets_none(cast: Cast) -> None:
    cast.erin.is_active = False
    cast.erin.save()
    problem = assert_problem(
        Api(cast.dave).post(TOKENS, {"name": "x", "user": "erin"}), 400, "invalid_argument"
    )
    assert problem["errors"][0]["pointer"] == "/user"


def test_a_session_needs_the_csrf_token_and_nothing_changes_on_reading(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.bob, "accounts.backends.RoleBackend")
    assert client.get(ME).json()["username"] == "bob"
    answer = client.post(TOKENS, {"name": "x"}, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert not Token.objects.exists()
    client.cookies["csrftoken"] = "c" * 32
    headers = {"X-CSRFToken": "c" * 32}
    assert (
        client.post(TOKENS, {"name": "x"}, "application/json", headers=headers).status_code == 201
    )
    made = Token.objects.get()
    assert client.delete(f"{TOKENS}{made.pk}/").status_code == 403
    for method in ("get", "head", "options"):
        getattr(client, method)(f"{TOKENS}{made.pk}/")
    assert Token.objects.get() == made
    assert made.created_at < datetime.now(UTC)
