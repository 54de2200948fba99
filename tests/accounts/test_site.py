"""Log-ins by the page: any active account, bounded guessing, one's own password recorded."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import AccountEvent, Role, User

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.accounts.site_urls")]

PASSWORD = "u-demo-password"


@pytest.fixture
def user() -> User:
    return User.objects.create_user("u", PASSWORD)


def test_any_active_account_logs_in_and_is_recorded(user: User) -> None:
    client = Client()
    answer = client.post("/admin/login/", {"username": "u", "password": PASSWORD})
    assert answer.status_code == 302
    event = AccountEvent.objects.get(event="login")
    assert (event.subject, event.channel, event.address) == ("user u", "admin", "127.0.0.1")


def test_an_inactive_account_does_not(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    answer = Client().post("/admin/login/", {"username": "u", "password": PASSWORD})
    assert answer.status_code == 200
    assert "correct username and password" in answer.text


@pytest.mark.urls("taskmanager.urls")
def test_the_eleventh_try_is_429_with_the_time_to_wait(user: User) -> None:
    client = Client()
    for _ in range(10):
        answer = client.post("/admin/login/", {"username": "u", "password": "wrong"})
        assert answer.status_code == 200
    answer = client.post("/admin/login/", {"username": "u", "password": PASSWORD})
    assert answer.status_code == 429
    assert 890 < int(answer["Retry-After"]) <= 900
    assert "Too many wrong passwords" in answer.text


@pytest.mark.urls("taskmanager.urls")
def test_ones_own_new_password_is_recorded_and_ends_other_sessions(user: User) -> None:
    user.roles.add(Role.objects.get(name="viewer"))
    here, there = Client(), Client()
    for client in (here, there):
        client.post("/admin/login/", {"username": "u", "password": PASSWORD})
    new = "a-long-enough-one"
    form = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    assert here.post("/admin/password_change/", form).status_code == 200
    assert not AccountEvent.objects.filter(event="user_changed").exists()
    answer = here.post("/admin/password_change/", {**form, "old_password": PASSWORD})
    assert answer.status_code == 302
    event = AccountEvent.objects.get(event="user_changed")
    assert (event.actor, event.after) == ("u", {"password": "(hidden)"})
    assert here.get("/admin/").status_code == 200
    assert there.get("/admin/").status_code == 302


def test_without_a_session_the_page_asks_for_one(db: None) -> None:
    assert Client().post("/admin/password_change/", {}).status_code == 302
