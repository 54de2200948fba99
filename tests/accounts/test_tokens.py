"""Tokens: kept as digests, ended by expiry, revocation and deactivation; sessions end likewise."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.authentication import find, find_token, issue, revoke
from accounts.models import AccountEvent, Token, User

pytestmark = pytest.mark.django_db

API, ITENTIAL = Token.Kind.API, Token.Kind.ITENTIAL


@pytest.fixture
def user() -> User:
    return User.objects.create_user("u", "u-demo-password")


def test_a_secret_is_random_has_its_form_and_is_kept_nowhere(user: User) -> None:
    token, secret = issue(user, API, "sync", actor="dave", channel="admin")
    assert len(secret) == len("htm_") + 43
    assert secret.startswith(token.hint)
    _, session = issue(user, ITENTIAL, actor="u")
    assert len(base64.b64decode(session)) == 32
    with connection.cursor() as cursor:
        cursor.execute("select t::text, e::text from accounts_token t, accounts_accountevent e")
        for row in cursor.fetchall():
            assert secret not in "".join(row)
            assert session not in "".join(row)


def test_finding_is_one_query_for_the_kinds_asked(
    user: User, django_assert_num_queries: Any
) -> None:
    _, secret = issue(user, API, actor="")
    with django_assert_num_queries(1):
        assert find(secret, (API,)) == user
    assert find(secret, (ITENTIAL, API)) == user
    assert find(secret, (ITENTIAL,)) is None
    assert find(secret + "x", (API,)) is None
    for rubbish in ("", "\0", "\ud800", "x" * 100_000):
        assert find(rubbish, (API, ITENTIAL)) is None
        assert find_token(rubbish, API) is None


def test_a_token_ends_by_the_clock(user: User) -> None:
    token, secret = issue(user, API, lifetime=timedelta(minutes=5), actor="")
    assert find(secret, (API,)) == user
    Token.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert find(secret, (API,)) is None
    issue(user, API, actor="")
    assert not Token.objects.filter(pk=token.pk).exists(), "the next one clears it away"


def test_revoking_ends_it_and_is_recorded_once(user: User) -> None:
    token, secret = issue(user, API, "sync", actor="dave", channel="command")
    revoke(token, actor="dave", channel="command")
    revoke(token, actor="dave", channel="command")
    assert find(secret, (API,)) is None
    assert list(
        AccountEvent.objects.filter(event__startswith="token")
        .order_by("id")
        .values_list("event", "subject", "actor", "channel")
    ) == [
        ("token_issued", "user u", "dave", "command"),
        ("token_revoked", "user u", "dave", "command"),
    ]
    issued = AccountEvent.objects.get(event="token_issued")
    assert issued.after == {
        "token": token.hint,
        "kind": "api",
        "name": "sync",
        "expires_at": None,
    }


def test_a_revocation_that_fails_records_nothing(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, secret = issue(user, API, actor="")
    monkeypatch.setattr("accounts.audit.record", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        revoke(token, actor="")
    assert find(secret, (API,)) == user


def test_an_inactive_account_gets_no_token(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    with pytest.raises(ValueError, match="not active"):
        issue(user, API, actor="")


@pytest.mark.parametrize("by_queryset", [True, False])
def test_deactivation_ends_tokens_and_sessions_for_good(user: User, by_queryset: bool) -> None:
    client = Client()
    client.force_login(user, "accounts.backends.RoleBackend")
    secrets = [issue(user, kind, actor="") for kind in (API, ITENTIAL)]
    read_before = User.objects.get(pk=user.pk)

    def switch(active: bool) -> None:
        if by_queryset:
            User.objects.filter(pk=user.pk).update(is_active=active)
        else:
            # An object from before the deactivation must not bring the old sessions back.
            read_before.is_active = active
            read_before.save()

    def session_lives() -> bool:
        from django.contrib.auth import get_user

        request: Any = type("Request", (), {"session": client.session})()
        return bool(get_user(request).is_authenticated)

    assert session_lives()
    switch(False)
    assert not session_lives()
    assert [find(secret, (API, ITENTIAL)) for _, secret in secrets] == [None, None]
    switch(True)
    assert not session_lives()
    assert [find(secret, (API, ITENTIAL)) for _, secret in secrets] == [None, None]


def test_a_new_password_ends_sessions_but_no_api_token(user: User, cast: Any) -> None:
    _, api = issue(user, API, actor="")
    _, session = issue(user, ITENTIAL, actor="")
    _, of_other = issue(cast.bob, ITENTIAL, actor="")
    before = user.get_session_auth_hash()
    user.set_password("another-password")
    user.save()
    assert user.get_session_auth_hash() != before
    assert find(api, (API,)) == user
    assert find(session, (ITENTIAL,)) is None
    assert find(of_other, (ITENTIAL,)) == cast.bob


@pytest.mark.parametrize("act", ["update", "delete", "truncate"])
def test_account_events_are_append_only(user: User, act: str) -> None:
    issue(user, API, actor="")
    statement = {
        "update": "update accounts_accountevent set actor = 'x'",
        "delete": "delete from accounts_accountevent",
        "truncate": "truncate accounts_accountevent",
    }[act]
    with (
        pytest.raises(IntegrityError, match="neither changed nor removed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
