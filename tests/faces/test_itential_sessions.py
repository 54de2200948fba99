"""Itential's log-in, log-out and whoami."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.test import Client, override_settings

from accounts.models import AccountEvent, Membership, Token, User
from tests.conftest import Cast
from tests.core.record import nothing_changes
from tests.faces.itential_client import act, assert_error, send
from tests.factories import GroupFactory, make_task

ALICE = {"username": "alice", "password": "alice-demo"}


@pytest.mark.parametrize("path", ["/login", "/login/"])
@pytest.mark.parametrize("body", [{"user": ALICE}, ALICE])
def test_a_log_in_answers_with_the_token_and_a_cookie(cast: Cast, path: str, body: Any) -> None:
    response = send("POST", path, None, body)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    secret = response.content.decode()
    assert len(base64.b64decode(secret)) == 32
    cookie = response.cookies["token"].OutputString()
    assert cookie == f"token={secret}; HttpOnly; Path=/; SameSite=Strict"
    token = Token.objects.get()
    assert (token.user, token.kind) == (cast.alice, Token.Kind.ITENTIAL)
    assert token.expires_at is not None
    events = AccountEvent.objects.filter(actor="alice").order_by("id")
    assert list(events.values_list("event", "channel")) == [
        ("login", "itential"),
        ("token_issued", "itential"),
    ]


@override_settings(HTTPS=True)
def test_the_cookie_is_secure_behind_tls(cast: Cast) -> None:
    assert send("POST", "/login", None, ALICE).cookies["token"]["secure"] is True


def test_the_token_is_taken_as_cookie_and_as_parameter(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    client = Client()
    secret = send("POST", "/login", None, ALICE, client=client).content.decode()
    assert send("GET", "/whoami", client=client).json()["username"] == "alice"
    assert send("GET", f"/whoami?token={secret}").json()["username"] == "alice"
    quoted = {"Cookie": f'token="{secret}"'}
    assert send("GET", "/whoami", headers=quoted).json()["username"] == "alice"
    assert act("claim", task, None, client=client).status_code == 200
    response = send("POST", f"/operations-manager/tasks/{task.pk}/release?token={secret}")
    assert response.status_code == 200


def test_another_site_cannot_make_use_of_the_cookie(cast: Cast) -> None:
    task = make_task(cast.dave, cast.noc)
    client = Client()
    send("POST", "/login", None, ALICE, client=client)
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        with nothing_changes():
            response = act("claim", task, None, client=client, headers=headers)
        assert_error(response, 403, "Refused: the request comes from another site.")


@pytest.mark.parametrize(
    "credentials",
    [
        {"username": "alice", "password": "wrong"},
        {"username": "nobody", "password": "alice-demo"},
        {"username": "", "password": ""},
        {"username": "a" * 1000, "password": "x"},
    ],
)
def test_wrong_credentials(cast: Cast, credentials: dict[str, str]) -> None:
    for body in (credentials, {"user": credentials}):
        response = send("POST", "/login", None, body)
        assert_error(response, 401, "Wrong user name or password.")
        assert not response.cookies
    assert not Token.objects.exists()


def test_an_inactive_account_cannot_log_in(cast: Cast) -> None:
    User.objects.filter(pk=cast.alice.pk).update(is_active=False)
    assert_error(send("POST", "/login", None, ALICE), 401, "Wrong user name or password.")


def test_an_account_deactivated_at_that_moment_gets_no_session(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise ValueError("alice is not active")

    monkeypatch.setattr("accounts.authentication.issue", fail)
    assert_error(send("POST", "/login", None, ALICE), 401, "Wrong user name or password.")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "username: a text is expected."),
        (b"[]", "body: an object is expected."),
        (b"null", "body: an object is expected."),
        (b"[", "This is not JSON: Expecting value (line 1, column 2)."),
        (b'{"username": "alice"}', "password: a text is expected."),
        (b'{"username": 1, "password": "x"}', "username: a text is expected."),
        (b'{"user": "alice"}', "user: an object is expected."),
        (b'{"user": {"username": "alice"}}', "user.password: a text is expected."),
        (
            b'{"user": {"username": "alice", "password": "x", "otp": 1}}',
            "user.otp: there is no such member.",
        ),
        (b'{"user": {}, "username": "x"}', "username: there is no such member."),
        (
            b'{"username": "alice", "password": "x", "remember": true}',
            "remember: there is no such member.",
        ),
        (b'{"username": "a\\u0000", "password": "x"}', "A text holds a NUL character."),
        (b'{"username": "a", "password": "\\udc00"}', "A text holds half of a surrogate pair."),
    ],
)
def test_bad_bodies_of_a_log_in(cast: Cast, raw: bytes, message: str) -> None:
    before = AccountEvent.objects.count()
    assert_error(send("POST", "/login", raw=raw), 400, message)
    assert AccountEvent.objects.count() == before


def test_a_log_in_is_json(cast: Cast) -> None:
    response = send(
        "POST",
        "/login",
        raw=b"username=alice&password=alice-demo",
        content_type="application/x-www-form-urlencoded",
    )
    message = 'Unsupported media type "application/x-www-form-urlencoded" in request.'
    assert_error(response, 415, message)


def test_a_log_in_is_not_hindered_by_an_old_cookie(cast: Cast) -> None:
    assert send("POST", "/login", None, ALICE, headers={"Cookie": "token=old"}).status_code == 200


def test_a_log_out_ends_this_session_and_no_other(cast: Cast) -> None:
    one, other = Client(), Client()
    for client in (one, other):
        send("POST", "/login", None, ALICE, client=client)
    secret = one.cookies["token"].value
    response = send("GET", "/logout", client=one)
    assert (response.status_code, response.content) == (200, b"You have successfully logged out.")
    assert response.cookies["token"]["max-age"] == 0
    assert_error(
        send("GET", f"/whoami?token={secret}"), 401, "The session is unknown or has ended."
    )
    assert send("GET", "/whoami", client=other).status_code == 200
    assert AccountEvent.objects.latest("id").event == "token_revoked"
    secret = other.cookies["token"].value
    assert send("GET", f"/logout?token={secret}").status_code == 200
    assert not Token.objects.exists()


def test_a_log_out_without_a_session_ends_nothing(cast: Cast) -> None:
    client = Client()
    send("POST", "/login", None, ALICE, client=client)
    # Basic credentials win over the cookie, and it is not they that are a session.
    assert send("GET", "/logout", cast.alice, client=client).status_code == 200
    assert Token.objects.count() == 1
    assert send("HEAD", "/logout", client=client).status_code == 405
    assert Token.objects.count() == 1


def test_whoami_tells_what_one_is_and_may(cast: Cast) -> None:
    upper = GroupFactory(name="operations-emea", provenance="Local AAA")
    upper.nestings_below.create(child=cast.noc)
    role = cast.alice.roles.get()
    response = send("GET", "/whoami", cast.alice)
    assert response.status_code == 200
    assert response.json() == {
        "id": cast.alice.object_id,
        "provenance": "Local",
        "username": "alice",
        "firstname": "alice",
        "groups": [
            {"id": cast.noc.object_id, "provenance": "Local", "name": "noc"},
            {"id": upper.object_id, "provenance": "Local AAA", "name": "operations-emea"},
        ],
        "roles": [role.object_id],
        "roleNames": ["operations"],
        "routes": [
            "/operations-manager/tasks/:id",
            "/operations-manager/tasks/:taskId/claim",
            "/operations-manager/tasks/:taskId/assign",
            "/operations-manager/tasks/:taskId/release",
            "/operations-manager/jobs/:jobId/tasks/:taskId/finish",
            "/operations-manager/jobs/:id",
        ],
        "methods": {
            "OperationsManager": [
                "getTask",
                "claimTask",
                "assignTask",
                "releaseTask",
                "finishManualTask",
                "getJob",
            ],
        },
    }


def test_whoami_by_role(cast: Cast) -> None:
    def methods(who: User) -> list[str]:
        found: list[str] = send("GET", "/whoami", who).json()["methods"]["OperationsManager"]
        return found

    assert methods(cast.erin) == methods(cast.svc_reader) == ["getTask", "getJob"]
    writing = ["claimTask", "assignTask", "releaseTask", "finishManualTask"]
    assert methods(cast.svc_integration) == writing
    assert len(methods(cast.root)) == 7
    cast.noc.roles.add(cast.erin.roles.get())
    Membership.objects.create(user=cast.frank, group=cast.noc)
    cast.frank.roles.clear()
    names = send("GET", "/whoami?roles=names", cast.frank).json()
    assert names["roles"] == names["roleNames"] == ["viewer"]


def test_whoami_refuses_other_kinds_of_roles(cast: Cast) -> None:
    message = "Parameter 'roles' is either names or ids."
    assert_error(send("GET", "/whoami?roles=all", cast.alice), 400, message)
