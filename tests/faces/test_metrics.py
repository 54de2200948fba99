"""/metrics: what is counted, of all processes together, and who is told."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from taskmanager import metrics
from tasks.actions import ACTIONS
from tasks.models import OutboxEvent, Task, WorkerHeartbeat
from tests.conftest import Cast
from tests.factories import call_by, make_task, make_tasks

from .native_client import MISSING, Api, task_path


def values(**headers: str) -> dict[str, float]:
    """All numbers that are told on loopback, by name and labels."""
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    lines = answer.content.decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def grown(before: dict[str, float], name: str) -> float:
    """By how much a number has grown since."""
    return values()[name] - before.get(name, 0)


# --- What is counted ------------------------------------------------------------------------------


def test_requests_are_counted_by_route_and_status(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    bob, before = Api(cast.bob), values()
    bob.get(task_path(task.pk))
    bob.get(task_path(MISSING))
    bob.get("/nowhere/at/all")
    bob.get("/api/nowhere/at/all")
    bob.send("BREW", task_path(task.pk))
    told = 'taskmanager_requests_total{method="%s",route="%s",status="%s"}'
    assert grown(before, told % ("GET", "native:task", 200)) == 1
    assert grown(before, told % ("GET", "native:task", 404)) == 1
    assert grown(before, told % ("GET", "none", 404)) == 1
    assert grown(before, told % ("other", "native:task", 405)) == 1
    assert grown(before, 'taskmanager_request_seconds_count{route="native:task"}') == 3
    for name in values():
        assert str(task.pk) not in name
        assert "nowhere" not in name


def test_operations_are_counted_by_outcome(cast: Cast) -> None:
    before = values()
    tasks = make_tasks(3, cast.carol, [cast.noc])
    ids = [task.pk for task in tasks]
    ACTIONS["claim"](ids[:1], call=call_by(cast.bob))
    ACTIONS["claim"]([*ids, MISSING], call=call_by(cast.alice, bulk=True))
    ACTIONS["claim"](ids, call=call_by(cast.dave, bulk=True, dry_run=True))
    told = 'taskmanager_operations_total{operation="%s",outcome="%s"}'
    assert grown(before, told % ("create", "done")) == 3
    assert grown(before, told % ("claim", "done")) == 3
    assert grown(before, told % ("claim", "invalid_task_state")) == 1
    assert grown(before, told % ("claim", "task_not_found")) == 1


def test_how_the_work_stands_is_told(cast: Cast) -> None:
    make_tasks(2, cast.carol, [cast.noc])
    (held,) = make_tasks(1, cast.carol, [cast.noc])
    ACTIONS["claim"]([held.pk], call=call_by(cast.bob)).one()
    an_hour_ago = timezone.now() - timedelta(hours=1)
    first = Task.objects.filter(state="ready").earliest("pk")
    Task.objects.filter(pk=first.pk).update(activated_at=an_hour_ago)
    Task.objects.filter(pk=first.pk).update(unclaimable_since=an_hour_ago)
    WorkerHeartbeat.objects.create(at=timezone.now() - timedelta(seconds=30))
    found = values()
    assert found["taskmanager_database_up"] == 1
    assert found['taskmanager_open_tasks{state="ready"}'] == 2
    assert found['taskmanager_open_tasks{state="reserved"}'] == 1
    assert found["taskmanager_outbox_pending_events"] == OutboxEvent.objects.count() == 4
    assert 3600 <= found["taskmanager_oldest_waiting_task_seconds"] < 3660
    assert found["taskmanager_unclaimable_tasks"] == 1
    assert 30 <= found["taskmanager_last_sweep_seconds"] < 60
    assert found["taskmanager_jobs_waiting"] == 0


def test_without_a_database_the_counts_are_told(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise OperationalError("the database is away")

    monkeypatch.setattr(metrics, "_standing", away)
    found = values()
    assert found["taskmanager_database_up"] == 0
    assert not [name for name in found if "unclaimable_tasks" in name]


# --- Who is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.8.8.8", {}, 200),
        ("::1", {}, 200),
        ("10.0.0.9", {}, 404),
        ("not an address", {}, 404),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.9"}, 404),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 404),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.9"}, 404),
        ("10.0.0.9", {"Authorization": "Bearer let me see"}, 200),
        ("10.0.0.9", {"Authorization": "Bearer let me see it"}, 404),
        ("10.0.0.9", {"Authorization": "Bearer "}, 404),
        ("10.0.0.9", {"Authorization": "let me see"}, 404),
        ("127.0.0.1", {"Host": "evil.example"}, 200),
    ],
)
def test_only_this_machine_and_who_has_the_token_are_told(
    db: None, settings: Any, address: str, headers: dict[str, str], status: int
) -> None:
    settings.METRICS_TOKEN = "let me see"
    answer = Client(headers=headers, REMOTE_ADDR=address).get("/metrics")
    assert answer.status_code == status
    assert (b"taskmanager_requests" in answer.content) == (status == 200)


def test_no_token_lets_nobody_in_and_a_trusted_proxy_is_believed(db: None, settings: Any) -> None:
    empty = Client(headers={"Authorization": "Bearer "}, REMOTE_ADDR="10.0.0.9")
    assert empty.get("/metrics").status_code == 404
    settings.TRUSTED_PROXIES = 1
    for hop, status in (("10.0.0.9", 404), ("127.0.0.1", 200)):
        by_proxy = Client(headers={"X-Forwarded-For": hop}, REMOTE_ADDR="127.0.0.1")
        assert by_proxy.get("/metrics").status_code == status


def test_it_is_only_read(db: None) -> None:
    answer = Client().post("/metrics")
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")


# --- Several processes ----------------------------------------------------------------------------


def test_any_process_tells_what_all_have_counted(
    db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setenv(metrics.FOLDER, "")
    (tmp_path / "metrics" / "8000").mkdir(parents=True)
    (tmp_path / "metrics" / "8000" / "counter_1.db").write_bytes(b"of a server that is gone")
    metrics.start_afresh(8000)
    folder = Path(os.environ[metrics.FOLDER])
    assert folder == tmp_path / "metrics" / "8000"
    assert list(folder.iterdir()) == []
    count = "from tasks.metrics import count; count('claim', {'done': 20})"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], check=True, cwd=settings.BASE_DIR)
    assert len(list(folder.iterdir())) == 2
    found = values()
    assert found['taskmanager_operations_total{operation="claim",outcome="done"}'] == 40
    assert found["taskmanager_database_up"] == 1
