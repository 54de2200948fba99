"""How often an account may call, and from whose pages: both by setting, on every face."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from accounts import throttles
from accounts.authentication import issue
from accounts.models import Token
from accounts.throttles import PerAccount
from tasks.api.htm.ids import tkiid
from tests.conftest import Cast
from tests.factories import make_task, make_tasks

from .native_client import TASKS, Api, assert_problem, bulk_path, task_path

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Nobody has called yet; what was counted does not reach another test."""
    PerAccount._buckets.clear()
    yield
    PerAccount._buckets.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in its only place."""
    now = [1000.0]
    monkeypatch.setattr(throttles.time, "monotonic", lambda: now[0])
    return now


# --- Throttles ------------------------------------------------------------------------------------


def test_without_a_limit_nothing_is_counted(cast: Cast) -> None:
    api = Api(cast.bob)
    assert all(api.get(TASKS).status_code == 200 for _ in range(20))
    assert not PerAccount._buckets


def test_reads_and_writes_are_counted_by_account(
    cast: Cast, settings: Any, clock: list[float]
) -> None:
    settings.THROTTLE_READ, settings.THROTTLE_WRITE = 3, 2
    tasks = make_tasks(3, cast.dave, [cast.noc])
    bob, alice = Api(cast.bob), Api(cast.alice)
    other_token = Api(cast.bob)
    for api in (bob, bob, other_token):
        assert api.get(TASKS).status_code == 200
    answer = other_token.get(TASKS)
    assert_problem(answer, 429, "throttled")
    assert answer["Retry-After"] == "20"
    assert alice.get(TASKS).status_code == 200, "another account, from the same address"
    ids = [str(task.pk) for task in tasks]
    assert bob.post(bulk_path("claim"), {"ids": ids}).status_code == 200, "many count as one"
    assert bob.post(task_path(ids[0], "release")).status_code == 200
    refused = bob.post(task_path(ids[1], "release"))
    assert_problem(refused, 429, "throttled")
    assert refused["Retry-After"] == "30"
    tasks[1].refresh_from_db()
    assert tasks[1].owner == cast.bob
    clock[0] += 30
    assert bob.post(task_path(ids[1], "release")).status_code == 200
    assert_problem(bob.post(task_path(ids[2], "release")), 429, "throttled")


def test_each_face_says_it_in_its_own_way(cast: Cast, settings: Any) -> None:
    task = make_task(cast.dave, cast.noc)
    settings.THROTTLE_READ = 1
    _, secret = issue(cast.bob, Token.Kind.API, actor="test")
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert client.get(f"/operations-manager/tasks/{task.pk}").status_code == 200
    itential = client.get(f"/operations-manager/tasks/{task.pk}")
    assert (itential.status_code, itential.json()["data"]) == (429, None)
    htm = client.get(f"/rest/bpm/htm/v1/task/{tkiid(task.pk)}")
    assert (htm.status_code, htm.json()["errorNumber"]) == (429, "CWTKA0012E")
    for answer in (itential, htm):
        assert 0 < int(answer["Retry-After"]) <= 60


def test_who_is_hidden_stays_hidden_and_nobody_is_counted_without_an_account(
    cast: Cast, settings: Any
) -> None:
    settings.THROTTLE_READ = settings.THROTTLE_WRITE = 1
    for _ in range(3):
        assert Api().get(TASKS).status_code == 401
        assert Client().post("/login", {"username": "bob"}, "application/json").status_code == 400
    assert not PerAccount._buckets


def test_those_at_rest_are_forgotten(
    cast: Cast, settings: Any, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.THROTTLE_READ = 5
    monkeypatch.setattr(throttles, "MOST_KEPT", 1)
    Api(cast.bob).get(TASKS)
    clock[0] += 61
    Api(cast.alice).get(TASKS)
    assert [pk for pk, _ in PerAccount._buckets] == [cast.alice.pk]


# --- Pages of other origins -----------------------------------------------------------------------

PAGE = "https://board.example.org"


def preflight(origin: str, path: str = TASKS) -> Any:
    """What a browser asks before it calls."""
    return Client().options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,if-match,idempotency-key",
        },
    )


def test_no_other_origin_may_call_unless_it_is_named(cast: Cast, settings: Any) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(PAGE)
    settings.CORS_ALLOWED_ORIGINS = [PAGE]
    answer = preflight(PAGE)
    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in answer["Access-Control-Allow-Methods"]
    allowed = {name.strip() for name in answer["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "if-match", "idempotency-key"} <= allowed
    assert "Access-Control-Allow-Credentials" not in answer
    for origin in (
        "https://evil.example.org",
        "null",
        f"{PAGE}.evil.org",
        "http://board.example.org",
    ):
        assert "Access-Control-Allow-Origin" not in preflight(origin)
    for path in ("/admin/", "/login", "/operations-manager/tasks/x"):
        assert "Access-Control-Allow-Origin" not in preflight(PAGE, path)


def test_what_such_a_page_may_read(cast: Cast, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = [PAGE]
    task = make_task(cast.dave, cast.noc)
    for answer in (
        Api(cast.bob).get(task_path(task.pk), Origin=PAGE),
        Api().get(task_path(task.pk), Origin=PAGE),
        Api(cast.bob).post(TASKS, b"x" * (11 * 2**20), Origin=PAGE),
    ):
        assert answer["Access-Control-Allow-Origin"] == PAGE
        exposed = {name.strip() for name in answer["Access-Control-Expose-Headers"].split(",")}
        assert {"ETag", "X-Request-ID", "Location"} <= exposed
    other = Api(cast.bob).get(task_path(task.pk), Origin="https://evil.example.org")
    assert "Access-Control-Allow-Origin" not in other
