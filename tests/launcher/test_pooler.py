"""Behind PgBouncer in transaction mode, with the settings that README documents."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from taskmanager.server import free_port
from tasks.models import Task
from tests.conftest import Cast
from tests.factories import make_task, make_tasks
from tests.proof.live import ROOT, Connection, Reply, environment, serving, tokens

PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
POOL = 4
"""Connections to PostgreSQL: fewer than those who ask, so that they have to share."""


@contextmanager
def pooling(folder: Path) -> Iterator[int]:
    """PgBouncer in front of the tests' database; yields its port."""
    params, port = connection.get_connection_params(), free_port()
    target = f"host={params['host']} port={params['port']} user={params['user']}"
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": POOL,
        "ignore_startup_parameters": "options",
    }
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    folder.chmod(0o755)
    path = folder / "pgbouncer.ini"
    path.write_text(f"[databases]\n* = {target}\n[pgbouncer]\n{lines}")
    command = [PROGRAM, str(path)]
    if os.geteuid() == 0:  # it refuses to run as root, and the socket is its owner's only
        command[1:1] = ["--user", pwd.getpwuid(Path(str(params["host"])).stat().st_uid).pw_name]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/")
    try:
        until(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _connect(port: int) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user="anybody",
        dbname=str(connection.settings_dict["NAME"]),
        autocommit=True,
        prepare_threshold=None,
    )


def _answers(port: int) -> bool:
    try:
        _connect(port).close()
    except psycopg.OperationalError:
        return False
    return True


def until(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is true; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@contextmanager
def working(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process beside the test."""
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)


def content(reply: Reply, status: int = 200) -> Any:
    """The body of an answer, which must have that status."""
    assert reply.status == status, reply.body
    return json.loads(reply.body)


@pytest.mark.skipif(not Path(PROGRAM).exists(), reason="PgBouncer is not installed")
def test_all_parts_work_behind_a_pooler(committed_cast: Cast, tmp_path: Path) -> None:
    cast, secrets = committed_cast, tokens("bob", "dave")
    task = make_task(cast.carol, cast.noc)
    many = [str(one.pk) for one in make_tasks(20, cast.carol, [cast.noc])]
    database, manage = str(connection.settings_dict["NAME"]), [sys.executable, "manage.py"]
    with pooling(tmp_path) as port:
        told = {
            "DATABASE_URL": f"postgres://anybody@127.0.0.1:{port}/{database}",
            "DB_PREPARE": "0",
        }
        env = environment(database, **told)
        with (
            working([*manage, "worker"], env),
            working([*manage, "migrate", "--check"], env) as migrate,
            serving(database, workers=1, **told) as web,
        ):
            callers = [Connection(web, f"Token {secrets['bob']}") for _ in range(2 * POOL)]
            dave, bob = Connection(web, f"Token {secrets['dave']}"), callers[0]

            cursor = content(bob.send("GET", "/api/v1/events/?from=now"))["cursor"]
            assert content(bob.send("POST", f"/api/v1/tasks/{task.pk}/claim/"))["owner"] == "bob"
            released = bob.send("POST", f"/api/v1/tasks/{task.pk}/release/", {"reason": "done"})
            assert content(released)["state"] == "ready"
            feed = content(bob.send("GET", f"/api/v1/events/?cursor={cursor}&wait=10"))
            assert [event["event"] for event in feed["results"]] == ["claimed", "released"]
            listed = content(bob.send("GET", "/api/v1/tasks/?view=available&limit=200"))
            assert len(listed["results"]) == 21

            held = many[: len(callers)]
            with ThreadPoolExecutor(len(callers)) as threads:  # more than the pool has connections
                claims = threads.map(
                    lambda caller, pk: caller.send("POST", f"/api/v1/tasks/{pk}/claim/"),
                    callers,
                    held,
                )
                assert {claim.status for claim in claims} == {200}
            body = {"ids": held, "reason": "end of the shift"}
            bulk = content(dave.send("POST", "/api/v1/tasks/bulk/release/", body))
            assert bulk["counts"]["done"] == len(held)

            # What a worker carries out, who holds a lock for it beside the work itself.
            chosen = {"filter": {"state": "ready"}, "priority": 1}
            put_off = dave.send("POST", "/api/v1/tasks/bulk/set-priority/", chosen)
            assert put_off.status == 202, put_off.body
            until(lambda: not Task.objects.exclude(priority=1).exists())

            # Nothing that one asks for leaves its settings to the next.
            until(lambda: content(bob.send("GET", "/readyz"))["checks"]["worker"] == "ok")
            shared = [_connect(port) for _ in range(3)]
            for session in shared:
                assert session.execute("show statement_timeout").fetchone() == ("0",)
                assert session.execute(
                    "select count(*) from pg_prepared_statements"
                ).fetchone() == (0,)
                session.close()
            assert migrate.wait(20) == 0
            for one in (dave, *callers):
                one.close()
