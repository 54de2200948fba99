"""What probes ask: does the process live (`/healthz`), can it do its work (`/readyz`)?"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Final

from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase

from tasks.api import RETRY_SECONDS, sqlstate_of
from tasks.api.middleware import GetResponse

ALIVE: Final = "/healthz"
READY: Final = "/readyz"
PATHS: Final = (ALIVE, READY)

OK: Final = "ok"
WAIT_SECONDS: Final = 2.0
"""How long a probe waits for the checks; what has not come by then has failed."""
KEPT_SECONDS: Final = 1.0
"""How long an answer stands, so that many probes cost no more than one."""
STATEMENT_MS: Final = 1500
WORDS: Final = {"55P03": "locked", "53100": "no space left", "25006": "read-only"}
"""What is said of a check that the database refused, by SQLSTATE."""

Check = Callable[[BaseDatabaseWrapper], str]
"""A check on a connection of its own: "ok", or what is wrong in a few words without names."""


class HealthMiddleware:
    """Answers both paths before anything else can fail: no host check, no session, no log-in.

    Probes come by address, so any Host header will do; the answers hold nothing worth hiding.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The answer to a probe; any other request is passed on."""
        if request.path_info not in PATHS:
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        answer = JsonResponse({"status": OK}) if request.path_info == ALIVE else _ready()
        answer["Cache-Control"] = "no-store"
        return answer


def _ready() -> HttpResponse:
    checks = readiness.checks()
    if all(said == OK for name, said in checks.items() if name not in FOR_INFORMATION):
        return JsonResponse({"status": OK, "checks": checks})
    answer = JsonResponse({"status": "unavailable", "checks": checks}, status=503)
    answer["Retry-After"] = str(RETRY_SECONDS)
    return answer


# --- The checks -----------------------------------------------------------------------------------


def _database(connection: BaseDatabaseWrapper) -> str:
    """New connections are taken and answered."""
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return OK


def _migrations(connection: BaseDatabaseWrapper) -> str:
    """The schema is as new as the code."""
    with connection.cursor() as cursor:
        cursor.execute("select app, name from django_migrations")
        applied = set(cursor.fetchall())
    return OK if _newest_migrations() <= applied else "pending"


@cache
def _newest_migrations() -> frozenset[tuple[str, str]]:
    """The last migration of each app, which stands for those before it."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _writes(connection: BaseDatabaseWrapper) -> str:
    """Tasks can be written: the database is not read-only, the table not locked, the disk not full.

    Takes the lock that every write takes and spills some hundred KiB to a temporary file; both go
    with the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('transaction_read_only')")
        if cursor.fetchone() == ("on",):
            return WORDS["25006"]
        cursor.execute(
            "lock table tasks_task in row exclusive mode; set local work_mem = '64kB'; "
            "select count(*) from generate_series(1, 20000)"
        )
    return OK


def _worker(connection: BaseDatabaseWrapper) -> str:
    """A worker sweeps through the tasks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select extract(epoch from clock_timestamp() - at)::int from tasks_workerheartbeat"
        )
        row = cursor.fetchone()
    if row is None:
        return "never seen"
    return OK if row[0] <= WORKER_SECONDS else f"not seen for {row[0]} s"


WORKER_SECONDS: Final = 60
"""How long ago a worker may have swept last."""

CHECKS: Final[dict[str, Check]] = {
    "database": _database,
    "migrations": _migrations,
    "writes": _writes,
    "worker": _worker,
}
"""What is said of the server. A further check is a further line here."""

FOR_INFORMATION: Final = frozenset({"worker"})
"""Checks that do not count: without a worker the web server can still do all of its own work."""


class Readiness:
    """Runs the checks, one run at a time, and waits no longer for it than a probe may."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._runner = ThreadPoolExecutor(1, "readiness")
        self._run: Future[dict[str, str]] | None = None
        self._begun = 0.0

    def checks(self) -> dict[str, str]:
        """What each check says now, or said a moment ago."""
        with self._lock:
            now = time.monotonic()
            # A run that hangs is not joined by others: the next one starts when it has ended.
            if self._run is None or (self._run.done() and now - self._begun > KEPT_SECONDS):
                self._run, self._begun = self._runner.submit(_run_checks), now
            run, wait = self._run, max(0.0, self._begun + WAIT_SECONDS - now)
        try:
            return run.result(wait)
        except TimeoutError:
            return dict.fromkeys(CHECKS, "no answer")


readiness = Readiness()


def _run_checks() -> dict[str, str]:
    """Every check on a fresh connection, since that is what is to be known of the database."""
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    said: dict[str, str] = {}
    try:
        connection.set_autocommit(False)
        for name, check in CHECKS.items():
            said[name] = _said(check, connection)
    except Error:
        return dict.fromkeys(CHECKS, "no answer")
    finally:
        connection.close()
    return said


def _said(check: Check, connection: BaseDatabaseWrapper) -> str:
    """What a check says in a transaction of its own; behind a pooler no setting lasts longer."""
    try:
        with connection.cursor() as cursor:
            for limit in ("statement_timeout", "lock_timeout"):
                cursor.execute(f"set local {limit} = {STATEMENT_MS}")
        return check(connection)
    except Error as error:
        return WORDS.get(sqlstate_of(error), "failed")
    finally:
        connection.rollback()
