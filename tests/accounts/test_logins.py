"""Log-ins on every face: bounded guessing, cached Basic, clean refusals, and what is recorded."""

from __future__ import annotations

import base64
import time
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.http import HttpRequest
from django.test import Client, RequestFactory
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts import authentication
from accounts.authentication import (
    BasicAuthentication,
    ItentialAuthentication,
    LockedOut,
    TokenAuthentication,
    VerifiedCredentials,
    issue,
    log_in,
    verify,
    verify_basic,
)
from accounts.forms import LoginForm
from accounts.models import AccountEvent, Token, User

pytestmark = pytest.mark.django_db

PASSWORD = "u-demo-password"


@pytest.fixture
def user() -> User:
    return User.objects.create_user("u", PASSWORD)


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "verified", VerifiedCredentials())


def request_from(address: str = "203.0.113.5", method: str = "POST", **meta: str) -> HttpRequest:
    request: HttpRequest = RequestFactory().generic(method, "/somewhere?token=in-the-address")
    request.META.update({"REMOTE_ADDR": address, **meta})
    return request


def basic(name: str, password: str) -> dict[str, str]:
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"HTTP_AUTHORIZATION": f"Basic {credentials}"}


def events() -> list[tuple[str, str]]:
    return list(
        AccountEvent.objects.filter(event__startswith="log")
        .order_by("id")
        .values_list("event", "subject")
    )


# --- Bounded guessing ---------------------------------------------------------------------------


def guess_by_log_in(request: HttpRequest) -> None:
    assert log_in(request, "u", "wrong") is None


def guess_by_basic(request: HttpRequest) -> None:
    request.META.update(basic("u", "wrong"))
    with pytest.raises(AuthenticationFailed):
        BasicAuthentication().authenticate(Request(request))


def guess_by_itential(request: HttpRequest) -> None:
    request.META.update(basic("u", "wrong"))
    with pytest.raises(AuthenticationFailed):
        ItentialAuthentication().authenticate(Request(request))


def guess_by_page(request: HttpRequest) -> None:
    assert not LoginForm(request, {"username": "u", "password": "wrong"}).is_valid()


FACES = [guess_by_log_in, guess_by_basic, guess_by_itential, guess_by_page]


def guess_ten_times(address: str = "203.0.113.5") -> None:
    for n in range(10):
        FACES[n % len(FACES)](request_from(f"{address.rpartition('.')[0]}.{n}"))


def test_ten_wrong_tries_over_all_faces_lock_the_name_for_the_network(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess_ten_times()
    monkeypatch.setattr(User, "check_password", lambda *args: pytest.fail("hashed while locked"))
    with pytest.raises(LockedOut) as refusal:
        verify(request_from("203.0.113.200"), "u", PASSWORD)
    assert 890 < refusal.value.seconds <= 900
    with pytest.raises(LockedOut):
        verify_basic(request_from(), "u", PASSWORD)
    with pytest.raises(LockedOut):
        BasicAuthentication().authenticate(Request(request_from(**basic("u", PASSWORD))))
    form = LoginForm(request_from(), {"username": "u", "password": PASSWORD})
    assert not form.is_valid()
    assert form.locked_out is not None
    assert "15 min" in str(form.errors)


def test_other_networks_and_other_accounts_go_on(user: User) -> None:
    other = User.objects.create_user("other", PASSWORD)
    guess_ten_times()
    assert verify(request_from("198.51.100.1"), "u", PASSWORD) == user
    assert verify(request_from(), "other", PASSWORD) == other


def test_the_lock_ends_by_itself_however_often_one_knocks(user: User) -> None:
    guess_ten_times()
    for _ in range(3):
        with pytest.raises(LockedOut):
            verify(request_from(), "u", "wrong")
    for attempt in AccessAttempt.objects.all():
        AccessAttempt.objects.filter(pk=attempt.pk).update(
            attempt_time=attempt.attempt_time - timedelta(minutes=15, seconds=1)
        )
    assert verify(request_from(), "u", PASSWORD) == user


def test_sessions_tokens_and_verified_credentials_go_on_while_locked(
    user: User, client: Client
) -> None:
    client.force_login(user, "accounts.backends.RoleBackend")
    _, secret = issue(user, Token.Kind.API, actor="")
    assert verify_basic(request_from(), "u", PASSWORD) == user
    guess_ten_times()
    assert verify_basic(request_from(), "u", PASSWORD) == user
    assert authentication.find(secret, (Token.Kind.API,)) == user
    assert client.session["_auth_user_id"] == str(user.pk)


def test_success_resets_the_count(user: User) -> None:
    for _ in range(9):
        guess_by_log_in(request_from())
    assert log_in(request_from(), "u", PASSWORD) == user
    for _ in range(9):
        guess_by_log_in(request_from())
    assert log_in(request_from(), "u", PASSWORD) == user


def test_the_counter_keeps_no_secret(user: User) -> None:
    guess_by_log_in(request_from())
    attempt = AccessAttempt.objects.get()
    assert (attempt.username, attempt.ip_address) == ("u", "203.0.113.0")
    assert (attempt.get_data, attempt.post_data) == ("", "")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", "x"),
        ("u\0", "x"),
        ("u", "x\0"),
        ("\ud800", "x"),
        ("u", "\udfff"),
        ("x" * 151, "x"),
        ("x" * 5000, "x"),
    ],
)
def test_impossible_names_and_passwords_are_wrong_and_no_more(
    user: User, name: str, password: str
) -> None:
    assert verify(request_from(), name, password) is None
    assert verify_basic(request_from(), name, password) is None
    assert not AccessAttempt.objects.exists()


# --- What is recorded ---------------------------------------------------------------------------


def test_log_ins_are_recorded_and_counted_in_last_login(user: User) -> None:
    log_in(request_from(), "u", "wrong", channel="itential")
    log_in(request_from(), "u", PASSWORD, channel="itential")
    log_in(request_from(), "swordfish", "x", channel="itential")
    assert events() == [
        ("login_failed", "user u"),
        ("login", "user u"),
        ("login_failed", "user (unknown)"),
    ]
    success = AccountEvent.objects.get(event="login")
    assert (success.actor, success.channel, success.address) == ("u", "itential", "203.0.113.5")
    user.refresh_from_db()
    assert user.last_login is not None


def test_a_lock_out_is_recorded_once(user: User) -> None:
    guess_ten_times()
    for _ in range(5):
        with pytest.raises(LockedOut):
            verify(request_from(), "u", "wrong")
    assert [event for event, _ in events()] == ["login_failed"] * 10 + ["login_locked_out"]


def test_the_admin_records_log_in_and_log_out(cast: Any, client: Client) -> None:
    client.force_login(cast.dave, "accounts.backends.RoleBackend")
    client.post("/admin/logout/")
    assert events() == [("login", "user dave"), ("logout", "user dave")]


# --- Basic, verified once -----------------------------------------------------------------------


def test_verified_basic_is_one_query_without_hashing(
    user: User, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify_basic(request_from(), "u", PASSWORD) == user
    monkeypatch.setattr(User, "check_password", lambda *args: pytest.fail("hashed again"))
    with django_assert_num_queries(1):
        assert verify_basic(request_from(), "u", PASSWORD) == user
    assert [event for event, _ in events()] == ["login"]


def test_only_success_is_remembered(user: User) -> None:
    verify_basic(request_from(), "u", "wrong")
    assert not authentication.verified._entries
    verify_basic(request_from(), "u", PASSWORD)
    kept = repr(authentication.verified._entries)
    assert len(authentication.verified._entries) == 1
    assert PASSWORD not in kept


def test_a_new_password_or_deactivation_counts_at_once(user: User) -> None:
    verify_basic(request_from(), "u", PASSWORD)
    user.set_password("another-password")
    user.save()
    assert verify_basic(request_from(), "u", PASSWORD) is None
    assert verify_basic(request_from(), "u", "another-password") == user
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert verify_basic(request_from(), "u", "another-password") is None


def test_entries_end_and_their_number_is_bounded(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = VerifiedCredentials()
    cache.add(user, PASSWORD)
    assert cache.holds(user, PASSWORD)
    later = time.monotonic() + 301
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not cache.holds(user, PASSWORD)
    monkeypatch.setattr(VerifiedCredentials, "SIZE", 3)
    for n in range(5):
        cache.add(user, f"password {n}")
    assert len(cache._entries) == 3
    assert not cache.holds(user, "password 0")
    assert cache.holds(user, "password 4")


# --- DRF classes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(b"u\0:x").decode(),
        "Basic " + base64.b64encode(b"u:x\0").decode(),
        "Basic " + base64.b64encode(b"\xed\xa0\x80:x").decode(),
        "Basic \u00e9\u00e9",
        "Basic \udce9",
    ],
)
def test_unreadable_basic_credentials_are_refused_cleanly(user: User, header: str) -> None:
    request = Request(request_from(HTTP_AUTHORIZATION=header))
    with pytest.raises(AuthenticationFailed):
        BasicAuthentication().authenticate(request)


@pytest.mark.parametrize("header", ["Token", "Bearer ", "Token htm_x", "Token \0", "Bearer \udce9"])
def test_unknown_tokens_are_refused_cleanly(db: None, header: str) -> None:
    request = Request(request_from(HTTP_AUTHORIZATION=header))
    with pytest.raises(AuthenticationFailed):
        TokenAuthentication().authenticate(request)


@pytest.mark.parametrize("header", ["", "Digest x", "Nonsense"])
def test_other_schemes_are_left_to_other_classes(db: None, header: str) -> None:
    request = Request(request_from(HTTP_AUTHORIZATION=header))
    for way in (TokenAuthentication(), BasicAuthentication(), ItentialAuthentication()):
        # The address of the request carries a query parameter that only Itential's face knows.
        if not isinstance(way, ItentialAuthentication):
            assert way.authenticate(request) is None


def test_tokens_in_both_spellings(user: User) -> None:
    _, secret = issue(user, Token.Kind.API, actor="")
    for scheme in ("Token", "Bearer", "token", "BEARER"):
        request = Request(request_from(HTTP_AUTHORIZATION=f"{scheme} {secret}"))
        assert TokenAuthentication().authenticate(request) == (user, "token")
        assert ItentialAuthentication().authenticate(request) == (user, "token")
    assert TokenAuthentication().authenticate_header(request) == "Token"
    assert BasicAuthentication().authenticate_header(request).startswith("Basic realm=")


def itential_request(method: str, secret: str, *, cookie: bool, **meta: str) -> Request:
    request = getattr(RequestFactory(), method.lower())(
        "/whoami", {} if cookie or method != "GET" else {"token": secret}
    )
    if cookie:
        request.COOKIES["token"] = secret
    request.META.update(meta)
    return Request(request)


def test_itential_sessions_by_cookie_and_parameter(user: User) -> None:
    _, session = issue(user, Token.Kind.ITENTIAL, actor="")
    _, api = issue(user, Token.Kind.API, actor="")
    way = ItentialAuthentication()
    assert way.authenticate(itential_request("GET", session, cookie=True)) == (user, "cookie")
    assert way.authenticate(itential_request("GET", session, cookie=False)) == (user, "parameter")
    for cookie in (True, False):
        with pytest.raises(AuthenticationFailed):
            way.authenticate(itential_request("GET", api, cookie=cookie))
    with pytest.raises(AuthenticationFailed):
        TokenAuthentication().authenticate(
            Request(request_from(HTTP_AUTHORIZATION=f"Token {session}"))
        )


@pytest.mark.parametrize(
    ("meta", "refused"),
    [
        ({}, False),
        ({"HTTP_ORIGIN": "http://testserver"}, False),
        ({"HTTP_SEC_FETCH_SITE": "same-origin"}, False),
        ({"HTTP_SEC_FETCH_SITE": "none"}, False),
        ({"HTTP_ORIGIN": "http://elsewhere.example"}, True),
        ({"HTTP_ORIGIN": "https://testserver"}, True),
        ({"HTTP_ORIGIN": "null"}, True),
        ({"HTTP_ORIGIN": "http://["}, True),
        ({"HTTP_SEC_FETCH_SITE": "cross-site"}, True),
        ({"HTTP_SEC_FETCH_SITE": "same-site"}, True),
    ],
)
def test_another_site_cannot_use_the_cookie_to_change_anything(
    user: User, meta: dict[str, str], refused: bool
) -> None:
    _, session = issue(user, Token.Kind.ITENTIAL, actor="")
    way = ItentialAuthentication()
    request = itential_request("POST", session, cookie=True, **meta)
    if refused:
        with pytest.raises(PermissionDenied):
            way.authenticate(request)
    else:
        assert way.authenticate(request) == (user, "cookie")
    assert way.authenticate(itential_request("GET", session, cookie=True, **meta)) is not None
