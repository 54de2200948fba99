"""Real processes for the proofs: a PostgreSQL that nobody restarts, and the server on it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch
from uuid import UUID

import httpx
import psycopg

from taskmanager.postgres import Cluster
from taskmanager.server import Server, free_port, web_command
from tasks.api.htm.ids import tkiid
from tests.factories import basic

ROOT = Path(__file__).resolve().parents[2]
LOCK_TIMEOUT_MS = 1000
FACES = ("native", "itential", "htm", "admin")
MIB = 1024 * 1024

PREPARE = """
import django, json, sys
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from accounts import authentication
from accounts.models import Token
from tests.conftest import assemble
from tests.factories import make_tasks
from tasks import people
from tasks.roles import TaskRole
cast = assemble()
tasks = make_tasks(int(sys.argv[1]), cast.dave, [cast.noc])
_, secret = authentication.issue(cast.alice, Token.Kind.API, actor="test")
print(json.dumps({"tasks": [str(task.pk) for task in tasks], "token": secret}))
"""


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes mounted below `folder`; needs the right to mount."""
    place = folder / "disk"
    place.mkdir()
    options = f"size={size},mode=755,uid={os.geteuid()}"
    become = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*become, "mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run([*become, "umount", "--lazy", place], check=True)


@dataclass
class Troubled:
    """A server over HTTP, its database, and what the database held at first."""

    cluster: Cluster
    server: Server
    disk: Path
    tasks: list[str]
    token: str
    log: Path

    @property
    def url(self) -> str:
        """Where the server listens."""
        return self.server.url

    @contextmanager
    def database(self, **more: Any) -> Iterator[psycopg.Connection[Any]]:
        """A connection of a stranger's, past the server."""
        host, port, user, dbname = self.cluster.address()
        with psycopg.connect(
            host=host, port=port, user=user, dbname=dbname, autocommit=True, **more
        ) as connection:
            yield connection

    def counts(self) -> tuple[int, int, int]:
        """Sum of versions, audit events, outbox rows: equal, or something is half done."""
        with self.database() as connection:
            row = connection.execute(
                "select (select coalesce(sum(version), 0) from tasks_task)::int,"
                " (select count(*) from tasks_auditevent)::int,"
                " (select count(*) from tasks_outboxevent)::int"
            ).fetchone()
        assert row is not None
        return row

    def postmaster(self) -> int:
        """The process id of the database server."""
        return int((self.cluster.data / "postmaster.pid").read_text().splitlines()[0])


@contextmanager
def troubled(count: int = 40, disk_size: int = 400 * MIB) -> Iterator[Troubled]:
    """The server with the cast and `count` tasks, on a cluster of its own on a small disk.

    The server knows the database by DATABASE_URL and so leaves starting it to others.
    """
    ground = Path(tempfile.mkdtemp(prefix="proof-"))
    ground.chmod(0o755)
    try:
        with small_disk(ground, disk_size) as disk:
            cluster = Cluster(disk / "pg")
            try:
                with _serving(cluster, disk, ground, count) as served:
                    yield served
            finally:
                cluster.stop()
    finally:
        shutil.rmtree(ground)


@contextmanager
def _serving(cluster: Cluster, disk: Path, ground: Path, count: int) -> Iterator[Troubled]:
    host, _, user, dbname = cluster.ensure()
    environment = {
        "DATABASE_URL": f"postgres://{user}@/{dbname}?host={host}",
        "DATA_DIR": str(ground / "data"),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "LOCK_TIMEOUT_MS": str(LOCK_TIMEOUT_MS),
        "LOG_FORMAT": "json",
    }
    made = subprocess.run(
        [sys.executable, "-c", PREPARE, str(count)],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
    )
    facts = json.loads(made.stdout)
    port = free_port()
    web = web_command("127.0.0.1", port, workers=2, threads=4)
    server = Server(web, f"http://127.0.0.1:{port}", worker=False)
    before = signal.getsignal(signal.SIGTERM)
    try:
        # Only while it starts: what other tests start is not to inherit any of it.
        with (
            (ground / "log").open("wb") as log,
            _errors_to(log),
            patch.dict(os.environ, environment),
        ):
            server.start()
        server.demand_answers()
        yield Troubled(cluster, server, disk, facts["tasks"], facts["token"], ground / "log")
    finally:
        server.stop()
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _errors_to(file: IO[bytes]) -> Iterator[None]:
    """What child processes write to standard error goes to a file."""
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class Client:
    """The four faces as people use them; each act is a write, and every success is counted."""

    def __init__(self, served: Troubled) -> None:
        self.served = served
        self.native, self.itential, self.paged, *self.moved = served.tasks
        self.http = httpx.Client(base_url=served.url, timeout=30)
        self.token = {"Authorization": f"Token {served.token}"}
        page = self.http.get("/admin/login/")
        self.form = {"csrfmiddlewaretoken": self.http.cookies["csrftoken"]}
        entry = {**self.form, "username": "alice", "password": "alice-demo"}
        assert self.http.post("/admin/login/", data=entry).status_code == 302, page.text
        self.form = {"csrfmiddlewaretoken": self.http.cookies["csrftoken"]}
        body = {"ids": self.moved}
        claimed = self.http.post("/api/v1/tasks/bulk/claim/", json=body, headers=self.token)
        assert claimed.status_code == 200, claimed.text
        self.steps = dict.fromkeys(FACES, 0)
        self.versions = served.counts()[0]
        self.weight = {face: len(self.moved) if face == "htm" else 1 for face in FACES}

    def act(self, face: str) -> httpx.Response:
        """The next step of a face: claim and give back in turn, or there and back again."""
        answer: httpx.Response = getattr(self, f"_{face}")(self.steps[face] % 2)
        if answer.status_code < 400:
            self.steps[face] += 1
        return answer

    def _native(self, step: int) -> httpx.Response:
        verb, reason = [("claim", "mine"), ("release", secrets.token_hex(30_000))][step]
        path = f"/api/v1/tasks/{self.native}/{verb}/"
        return self.http.post(path, json={"reason": reason}, headers=self.token)

    def _itential(self, step: int) -> httpx.Response:
        route = f"/operations-manager/tasks/{self.itential}/{['claim', 'release'][step]}"
        return self.http.post(route, headers=self.token)

    def _htm(self, step: int) -> httpx.Response:
        source, target = [("alice", "bob"), ("bob", "alice")][step]
        return self.http.put(
            f"/rest/bpm/htm/v1/task/role/owner?action=transfer&fromUser={source}&toUser={target}",
            json={"taskIDs": [tkiid(UUID(pk)) for pk in self.moved]},
            headers={"Authorization": basic("dave")},
        )

    def _admin(self, step: int) -> httpx.Response:
        path = f"/admin/tasks/task/{self.paged}/do/{['claim', 'release'][step]}/"
        return self.http.post(path, data=self.form)

    def nothing_is_half_done(self) -> None:
        """What was answered with success happened, nothing else did, and all of it is recorded."""
        done = sum(steps * self.weight[face] for face, steps in self.steps.items())
        assert self.served.counts() == (self.versions + done,) * 3


def until(true: Callable[[], bool], seconds: float) -> float:
    """How long it took until something held; fails when it took longer than `seconds`."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - begun
