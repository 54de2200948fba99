"""A real server on a durable PostgreSQL of its own, and the ways to kill a part of it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections

from taskmanager.postgres import Cluster, embedded_database
from taskmanager.server import free_port
from tasks import querysets, work_items

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds for anything to come back; on an idle machine it takes one or two."""


def eventually(what: str, holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something holds; raises AssertionError when it never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"in {seconds:.0f} s not yet: {what}"
        time.sleep(0.02)


class Site:
    """`manage.py serve` with two workers, and its embedded PostgreSQL in `ground`."""

    def __init__(self, ground: Path) -> None:
        self.ground = ground
        self.cluster = Cluster(ground / "pg", durable=True)
        self.database = embedded_database(ground / "pg", durable=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    # --- Start and end ------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server; it may take a moment to answer."""
        environment = {name: v for name, v in os.environ.items() if name != "DATABASE_URL"} | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATA_DIR": str(self.ground),
            "PG_DATA_NAME": "pg",
            "PG_DURABLE": "1",
            "SECRET_KEY": settings.SECRET_KEY,
            "AUDIT_KEY": settings.AUDIT_KEY,
        }
        with (self.ground / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(self.port), "--workers", "2"],
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End server and PostgreSQL, and all that they have started."""
        if self.process is not None and self.process.poll() is None:
            family = self.family()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            _end(family)
        self.cluster.stop()
        shutil.rmtree(self.cluster.address().host, ignore_errors=True)  # a killed one leaves it

    def log(self) -> str:
        """The end of what the server has printed."""
        with contextlib.suppress(FileNotFoundError):
            return (self.ground / "server.log").read_text(errors="replace")[-3000:]
        return ""

    def wait(self) -> None:
        """Wait until a request that needs the database is answered.

        Raises AssertionError with what it answers instead.
        """
        deadline = time.monotonic() + PATIENCE
        while (answer := self._answer()) != "401":
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{answer} for {PATIENCE:.0f} s; workers {len(self.workers())}, "
                    f"PostgreSQL {self.cluster.status()}\n{self.log()}"
                )
            time.sleep(0.02)

    def _answer(self) -> str:
        headers = {"Authorization": "Token nobodys"}
        try:
            found = httpx.get(f"{self.url}/api/v1/tasks/", headers=headers, timeout=10)
        except httpx.TransportError as error:
            return repr(error)
        return f"{found.status_code}" if found.status_code == 401 else found.text

    # --- Who is there -------------------------------------------------------------------------

    def family(self) -> list[psutil.Process]:
        """All that the server has started, and what those have started."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def workers(self) -> list[psutil.Process]:
        """The processes that answer requests: those of Granian, whose master answers none."""
        found = []
        for one in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                granian = "granian" in " ".join(one.parent().cmdline())
                if granian and "tracker" not in " ".join(one.cmdline()):
                    found.append(one)
        return found

    def sessions(self) -> list[tuple[int, str]]:
        """The sessions that the server's workers have at PostgreSQL, and what each is doing."""
        try:
            with psycopg.connect(**self.cluster.address()._asdict()) as asking:
                found = asking.execute(
                    "select pid, coalesce(state, '') from pg_stat_activity "
                    "where backend_type = 'client backend' and pid <> pg_backend_pid()"
                ).fetchall()
        except psycopg.OperationalError:
            return []
        return [(pid, state) for pid, state in found]

    # --- Kills: each answers whether there was something to kill --------------------------------

    def kill_worker(self, chance: random.Random) -> bool:
        """SIGKILL of one worker; the server starts another."""
        workers = self.workers()
        return bool(workers) and _kill(chance.choice(workers).pid)

    def kill_server(self, _: random.Random | None = None) -> bool:
        """SIGKILL of the server itself, which is then started again as a supervisor would."""
        assert self.process is not None
        family = self.family()
        self.process.kill()
        self.process.wait()
        # A supervisor ends what the dead one has left before it starts anew.
        _end(family)
        self.start()
        return True

    def kill_session(self, chance: random.Random) -> bool:
        """SIGKILL of a process of PostgreSQL, which then ends all sessions and recovers."""
        pid = self._some_session(chance)
        return pid is not None and _kill(pid)

    def end_session(self, chance: random.Random) -> bool:
        """pg_terminate_backend of one session."""
        pid = self._some_session(chance)
        if pid is None:
            return False
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(**self.cluster.address()._asdict()) as asking,
        ):
            asking.execute("select pg_terminate_backend(%s)", [pid])
            return True
        return False

    def kill_postgres(self, _: random.Random | None = None) -> bool:
        """SIGKILL of PostgreSQL's first process; the next connection starts it again."""
        pid = self.cluster.status().pid
        return pid is not None and _kill(pid)

    def _some_session(self, chance: random.Random) -> int | None:
        """One that is at work, where there is one."""
        sessions = self.sessions()
        busy = [pid for pid, state in sessions if state != "idle"]
        pids = busy or [pid for pid, _ in sessions]
        return chance.choice(pids) if pids else None


KILLS = {
    "a worker killed": Site.kill_worker,
    "the server killed": Site.kill_server,
    "a session's process killed": Site.kill_session,
    "a session ended": Site.end_session,
    "PostgreSQL killed": Site.kill_postgres,
}


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _end(family: list[psutil.Process]) -> None:
    """End processes that have lost their parent, and wait until they are gone."""
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(family, timeout=PATIENCE)
    assert not [one for one in family if one.is_running()]


@contextmanager
def new_site() -> Iterator[Site]:
    """A migrated site whose database is Django's default one meanwhile; the server is not up yet.

    No part of it is left behind.
    """
    ground = Path(tempfile.mkdtemp())
    ground.chmod(0o755)  # PostgreSQL may run under another account
    site = Site(ground)
    ordinary = connections[DEFAULT_DB_ALIAS]
    ours = ordinary.copy()
    ours.settings_dict |= site.database
    connections[DEFAULT_DB_ALIAS] = ours
    try:
        _forget_ids()
        site.cluster.ensure()
        call_command("migrate", verbosity=0)
        yield site
    finally:
        ours.close()
        connections[DEFAULT_DB_ALIAS] = ordinary
        _forget_ids()
        site.stop()
        shutil.rmtree(ground)


def _forget_ids() -> None:
    """Drop what is remembered of one database's permissions."""
    for remembered in (querysets.permission_ids, work_items._role_of):
        remembered.cache_clear()
    ContentType.objects.clear_cache()
