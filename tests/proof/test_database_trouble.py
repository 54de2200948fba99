"""A database that is away, silent, restarting, read-only, locked or full is a 503 that passes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
from psycopg import errors

from .troubled import FACES, LOCK_TIMEOUT_MS, Client, Troubled, until

WITHIN_SECONDS = 3.0
RECOVERED_SECONDS = 5.0
TRIES_UNTIL_FULL = 300

# --- What is expected -----------------------------------------------------------------------------


def is_unavailable(face: str, answer: httpx.Response) -> bool:
    """Whether an answer is 503, with Retry-After, in the shape of the face; 500 is never right."""
    if answer.status_code != 503:
        assert answer.status_code < 400, answer.text
        return False
    assert int(answer.headers["Retry-After"]) > 0
    kind = answer.headers["Content-Type"].partition(";")[0]
    if face == "admin":
        assert kind == "text/html"
        return True
    body = answer.json()
    match face:
        case "native":
            assert (kind, body["code"]) == ("application/problem+json", "database_unavailable")
        case "itential":
            assert set(body) == {"message", "data", "metadata"}
            assert body["data"] is None
        case "htm":
            assert set(body) == {"errorNumber", "errorMessage", "programmersDetails"}
    return True


def expect_trouble(client: Client, within: float = WITHIN_SECONDS, tries: int = 1) -> int:
    """Every face says 503 in time, `/healthz` 200 and `/readyz` 503; returns the calls made."""

    def tried(face: str) -> int:
        for made in range(1, tries + 1):
            begun = time.monotonic()
            answer = client.act(face)
            assert time.monotonic() - begun < within
            if is_unavailable(face, answer):
                return made
        return pytest.fail(f"{face} never said 503")

    with ThreadPoolExecutor(len(FACES)) as together:
        made = sum(together.map(tried, FACES))
    begun = time.monotonic()
    assert client.http.get("/healthz").status_code == 200
    assert time.monotonic() - begun < 1
    until(lambda: client.http.get("/readyz").status_code == 503, WITHIN_SECONDS)
    ready = client.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable"), ready.text
    assert int(ready.headers["Retry-After"]) > 0
    assert time.monotonic() - begun < 2 * WITHIN_SECONDS
    return made


def expect_recovery(client: Client) -> float:
    """Every face works again and `/readyz` says so, by itself; returns how long that took."""

    def works() -> bool:
        return not any(is_unavailable(face, client.act(face)) for face in FACES)

    def ready() -> bool:
        return client.http.get("/readyz").status_code == 200

    begun = time.monotonic()
    until(works, RECOVERED_SECONDS)
    until(ready, RECOVERED_SECONDS)
    client.nothing_is_half_done()
    return time.monotonic() - begun


# --- The troubles ---------------------------------------------------------------------------------


@contextmanager
def stopped(served: Troubled) -> Iterator[None]:
    """The database is shut down in order."""
    served.cluster.stop()
    yield
    served.cluster.ensure()


@contextmanager
def killed(served: Troubled) -> Iterator[None]:
    """The database is killed, and started again when it has been missed."""
    os.kill(served.postmaster(), signal.SIGKILL)
    yield
    served.cluster.ensure()


@contextmanager
def silent(served: Troubled) -> Iterator[None]:
    """Somebody takes connections at the database's address and says nothing."""
    served.cluster.stop()
    folder = Path(served.cluster.address().host)
    folder.mkdir(mode=0o755, exist_ok=True)
    path = folder / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen(100)
        path.chmod(0o777)
        yield
    path.unlink()
    folder.rmdir()
    served.cluster.ensure()


@contextmanager
def read_only(served: Troubled) -> Iterator[None]:
    """The database takes no writes, as a standby or one in maintenance."""
    with served.database() as database:
        database.execute("alter system set default_transaction_read_only = on")
        database.execute("select pg_reload_conf()")
        yield
        database.execute("set default_transaction_read_only = off")
        database.execute("alter system reset default_transaction_read_only")
        database.execute("select pg_reload_conf()")


@contextmanager
def locked(served: Troubled) -> Iterator[None]:
    """Somebody has locked the table of tasks, as a careless migration does."""
    with served.database() as database, database.transaction():
        database.execute("lock table tasks_task in access exclusive mode")
        yield


@contextmanager
def full(served: Troubled) -> Iterator[None]:
    """The disk of the database has no byte left."""
    ballast = served.disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with served.database() as database, pytest.raises(errors.DiskFull):
        database.execute("create table too_much as select g from generate_series(1, 100000) g")
    yield
    ballast.unlink()


Trouble = Callable[[Troubled], AbstractContextManager[None]]

TROUBLES: dict[str, tuple[Trouble, float, int]] = {
    "stopped": (stopped, WITHIN_SECONDS, 1),
    "killed": (killed, WITHIN_SECONDS, 1),
    "silent": (silent, WITHIN_SECONDS, 1),
    "read-only": (read_only, WITHIN_SECONDS, 1),
    "locked": (locked, LOCK_TIMEOUT_MS / 1000 + 1, 1),
    # What still finds room on a page that is there already is written; the rest is refused.
    "full": (full, WITHIN_SECONDS, TRIES_UNTIL_FULL),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_trouble_of_the_database_is_a_503_on_every_face_and_passes(
    served: Troubled,
    client: Client,
    name: str,
    long: bool,
    tally: Callable[[str, int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    trouble, within, tries = TROUBLES[name]
    for _ in range(5 if long else 1):
        expect_recovery(client)
        with trouble(served):
            made = expect_trouble(client, within, tries)
        took = expect_recovery(client)
        tally(f"calls while the database is {name}", made)
        with capsys.disabled():
            print(f"  {name}: {made} calls, recovered in {took:.2f} s")


def test_a_killed_database_that_starts_at_once_costs_503s_and_no_fault(
    served: Troubled, client: Client, long: bool, tally: Callable[[str, int], None]
) -> None:
    """The connections that the server kept are dead; it finds out without a 500."""
    for _ in range(10 if long else 2):
        os.kill(served.postmaster(), signal.SIGKILL)
        for face in FACES:
            is_unavailable(face, client.act(face))
        served.cluster.ensure()
        expect_recovery(client)
        tally("kills of the database", 1)
