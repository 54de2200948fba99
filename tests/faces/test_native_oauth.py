"""Programs exchange a client secret for a token of short life, as OAuth 2 has it."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from accounts.authentication import find, issue, revoke
from accounts.models import AccountEvent, Token
from accounts.scopes import Scope
from tests.conftest import Cast
from tests.factories import make_task

from .native_client import TASKS, Api, assert_problem, task_path

pytestmark = pytest.mark.django_db

ENDPOINT = "/api/oauth/token/"
FORM = "application/x-www-form-urlencoded"
GRANT = {"grant_type": "client_credentials"}


def ask(fields: dict[str, str] | str, **headers: str) -> Any:
    """A call of the endpoint."""
    body = fields if isinstance(fields, str) else urlencode(fields)
    headers = {"X-Request-ID": "test-request", **headers}
    client = Client(raise_request_exception=False)
    return client.post(ENDPOINT, body, FORM, headers=headers)


@pytest.fixture
def secret(cast: Cast) -> str:
    """A client secret of bob's."""
    return issue(cast.bob, Token.Kind.CLIENT, "engine", actor="test")[1]


def known(cast: Cast, secret: str) -> dict[str, str]:
    """A good request."""
    return {**GRANT, "client_id": cast.bob.object_id, "client_secret": secret}


def refused(answer: Any, status: int, code: str) -> None:
    """Check an error: a problem document, with what OAuth's clients look for."""
    document = answer.json()
    assert (answer.status_code, document["error"]) == (status, code), document
    assert document["error_description"] == document["detail"]
    assert answer["Cache-Control"] == "no-store"
    assert Token.objects.filter(kind="api").count() == 0


def test_a_token_for_a_secret_in_the_form_or_the_header(cast: Cast, secret: str) -> None:
    pair = base64.b64encode(f"{cast.bob.object_id}:{secret}".encode()).decode()
    for answer in (ask(known(cast, secret)), ask(GRANT, Authorization=f"Basic {pair}")):
        assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
        found = answer.json()
        assert found | {"access_token": ""} == {
            "access_token": "",
            "token_type": "Bearer",
            "expires_in": 3600,
        }
        api = Api(Authorization=f"Bearer {found['access_token']}")
        assert api.get("/api/v1/me/").json()["username"] == "bob"
    assert AccountEvent.objects.filter(event="token_issued", channel="native").count() == 2


def test_the_secret_itself_is_no_token(cast: Cast, secret: str) -> None:
    assert Api(Authorization=f"Bearer {secret}").get(TASKS).status_code == 401
    _, token = issue(cast.bob, Token.Kind.API, actor="test")
    Token.objects.filter(kind="api").update(kind="client")
    assert ask(known(cast, token)).status_code == 200


def test_the_limits_of_the_secret_and_of_the_call_hold(cast: Cast) -> None:
    scope = Scope(frozenset({"claim", "release"}), frozenset({cast.noc.pk}))
    _, secret = issue(cast.bob, Token.Kind.CLIENT, scope=scope, actor="test")
    task, other = make_task(cast.dave, cast.noc), make_task(cast.dave, cast.bob)
    refused(ask({**known(cast, secret), "scope": "claim complete"}), 400, "invalid_scope")
    for wrong in ("fly", "", " ", "read,claim"):
        refused(ask({**known(cast, secret), "scope": wrong}), 400, "invalid_scope")
    whole = ask(known(cast, secret)).json()
    assert whole["scope"] == "read claim release"
    part = ask({**known(cast, secret), "scope": "read claim"}).json()
    assert part["scope"] == "read claim"
    api = Api(Authorization=f"Bearer {part['access_token']}")
    assert api.get(task_path(other.pk)).status_code == 404
    assert api.post(task_path(task.pk, "claim")).status_code == 200
    assert_problem(api.post(task_path(task.pk, "release")), 403, "not_authorized")
    api = Api(Authorization=f"Bearer {whole['access_token']}")
    assert api.post(task_path(task.pk, "release")).status_code == 200
    reading = ask({**known(cast, secret), "scope": "read"}).json()
    assert reading["scope"] == "read"
    assert Token.objects.filter(operations=[]).count() == 1


def test_whoever_ends_the_secret_ends_its_tokens(cast: Cast, secret: str) -> None:
    kinds = (Token.Kind.API,)
    tokens = [ask(known(cast, secret)).json()["access_token"] for _ in range(2)]
    client = Token.objects.get(kind="client")
    assert all(find(token, kinds) for token in tokens)
    Token.objects.filter(pk=client.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert not any(find(token, kinds) for token in tokens)
    Token.objects.filter(pk=client.pk).update(expires_at=None)
    assert all(find(token, kinds) for token in tokens)
    revoke(client, actor="test")
    assert not any(find(token, kinds) for token in tokens)
    assert not Token.objects.exists()
    late, secret = issue(cast.bob, Token.Kind.API, issued_by=client, actor="test")
    assert late.issued_by == client.pk
    assert find(secret, kinds) is None, "issued while its secret was being revoked"


def test_an_account_that_leaves(cast: Cast, secret: str) -> None:
    token = ask(known(cast, secret)).json()["access_token"]
    cast.bob.is_active = False
    cast.bob.save()
    assert find(token, (Token.Kind.API,)) is None
    refused(ask(known(cast, secret)), 401, "invalid_client")


def test_what_is_refused(cast: Cast, secret: str) -> None:
    good = known(cast, secret)
    for wrong in (
        {"client_secret": secret + "x"},
        {"client_secret": ""},
        {"client_id": cast.alice.object_id},
        {"client_id": "bob"},
        {"client_secret": "\0"},
    ):
        answer = ask({**good, **wrong})
        refused(answer, 401, "invalid_client")
        assert answer["WWW-Authenticate"].startswith("Basic")
    for grant in ("password", "", "CLIENT_CREDENTIALS"):
        refused(ask({**good, "grant_type": grant}), 400, "unsupported_grant_type")
    refused(ask(urlencode(good) + "&grant_type=x"), 400, "invalid_request")
    refused(ask(good, Authorization="Basic eDp5"), 400, "invalid_request")
    refused(ask(GRANT, Authorization="Basic %%%"), 401, "invalid_client")
    refused(ask(GRANT), 401, "invalid_client")
    refused(ask({}), 415, "invalid_request")
    answer = Client().post(ENDPOINT, good, "application/json")
    refused(answer, 415, "invalid_request")
    assert Client().get(ENDPOINT).status_code == 405
    assert ask({**good, "unknown": "parameter"}).status_code == 200


def test_a_secret_is_made_like_any_token(cast: Cast) -> None:
    api = Api(cast.bob)
    made = api.post("/api/v1/tokens/", {"name": "engine", "kind": "client"}).json()
    assert (made["kind"], made["client_id"]) == ("client", cast.bob.object_id)
    fields = {**GRANT, "client_id": made["client_id"], "client_secret": made["secret"]}
    assert ask(fields).status_code == 200
    assert api.send("DELETE", made["url"]).status_code == 204
    assert ask(fields).status_code == 401
