"""The probes: alive without a database, ready only with one that can do the work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, InternalError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from psycopg import errors

from taskmanager import health
from tasks.api import database_in_trouble
from tasks.models import WorkerHeartbeat

CHECKS = {"database": "ok", "migrations": "ok", "writes": "ok", "worker": "never seen"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No answer of an earlier test."""
    readiness = health.Readiness()
    monkeypatch.setattr(health, "readiness", readiness)
    yield
    readiness._runner.shutdown()


def probe(path: str, method: str = "GET", **more: Any) -> Any:
    """One probe, whose host is an address that is none of ours."""
    return Client(headers={"host": "10.1.2.3:8000"}).generic(method, path, **more)


def test_alive_asks_no_database() -> None:
    """The test has not asked for the database either, so that any query would fail."""
    answer = probe("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", health.PATHS)
def test_a_probe_needs_no_host_and_gets_no_session(committed: None, path: str) -> None:
    answer = probe(path)
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Request-ID"]
    assert not answer.cookies
    # Every other path minds the host.
    assert probe("/api/v1/").status_code == 400


@pytest.mark.parametrize("path", health.PATHS)
def test_a_probe_reads_and_nothing_else(committed: None, path: str) -> None:
    head = probe(path, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = probe(path, method)
        assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD")


def test_ready_says_what_was_checked(committed: None) -> None:
    answer = probe("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": CHECKS})


def test_not_ready_while_a_migration_is_pending(committed: None) -> None:
    newest = ("tasks", max(name for app, name in health._newest_migrations() if app == "tasks"))
    with connection.cursor() as cursor:
        cursor.execute("delete from django_migrations where (app, name) = (%s, %s)", newest)
        try:
            answer = probe("/readyz")
        finally:
            cursor.execute(
                "insert into django_migrations (app, name, applied) values (%s, %s, now())", newest
            )
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert answer.json() == {"status": "unavailable", "checks": {**CHECKS, "migrations": "pending"}}


def test_not_ready_without_a_database(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {**connection.settings_dict, "HOST": "/nowhere", "EMBEDDED": None}
    monkeypatch.setitem(health.connections.settings, "default", nowhere)
    answer = probe("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == dict.fromkeys(CHECKS, "no answer")
    assert b"nowhere" not in answer.content


def test_a_check_that_hangs_is_not_waited_for_and_not_joined(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[float] = []

    def hanging(_: object) -> str:
        begun.append(time.monotonic())
        time.sleep(0.5)
        return health.OK

    monkeypatch.setattr(health, "WAIT_SECONDS", 0.1)
    monkeypatch.setitem(health.CHECKS, "database", hanging)
    with ThreadPoolExecutor(10) as many:
        answers = list(many.map(lambda _: probe("/readyz"), range(10)))
    assert {answer.status_code for answer in answers} == {503}
    assert len(begun) == 1


def test_the_worker_is_told_of_but_a_server_without_one_is_ready(committed: None) -> None:
    assert probe("/readyz").json()["checks"]["worker"] == "never seen"
    for seconds, said in ((0, "ok"), (90, "not seen for 90 s")):
        WorkerHeartbeat.objects.update_or_create(
            id=1, defaults={"at": timezone.now() - timedelta(seconds=seconds)}
        )
        health.readiness._begun = 0.0  # what was said a moment ago does not count
        answer = probe("/readyz")
        assert (answer.status_code, answer.json()["checks"]["worker"]) == (200, said)


def test_a_further_check_is_a_further_line(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(health.CHECKS, "mail", lambda _: "no answer for 90 s")
    answer = probe("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {**CHECKS, "mail": "no answer for 90 s"}


# --- What counts as trouble of the database -------------------------------------------------------


def caused(error: Exception, cause: Exception) -> Exception:
    """An error of Django's with the driver's behind it, as Django raises it."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (OperationalError("away"), True),
        (InterfaceError("the connection is closed"), True),
        (caused(InternalError("x"), errors.ReadOnlySqlTransaction("x")), True),
        (caused(InternalError("x"), errors.InFailedSqlTransaction("x")), False),
        (InternalError("x"), False),
        (ValueError("x"), False),
        (None, False),
    ],
)
def test_trouble_is_told_from_faults_of_ours(error: Exception | None, trouble: bool) -> None:
    assert database_in_trouble(error) is trouble
