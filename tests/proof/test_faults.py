"""Three faults are planted in the started server, and the checker finds each of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from taskmanager.postgres import Cluster, program
from tests.conftest import Cast

from .history import READ, Call, check
from .live import Evidence, evidence, object_ids, serving, stored, the_database, tokens
from .load import ADMINISTRATORS, CLIENTS, calls, dice, new_seed, play

Tally = Callable[[str, int], None]
FAULTY = "tests.proof.faulty:application"


@contextmanager
def faulty(fault: str, database: str = "", **more: str) -> Iterator[int]:
    """A server with a fault, on the test database unless another is named; yields its port."""
    database = database or connection.settings_dict["NAME"]
    with serving(database, application=FAULTY, workers=1, PROOF_FAULT=fault, **more) as port:
        yield port


def sixteen(port: int, number: int) -> list[Call]:
    """So many calls of sixteen clients."""
    return play(port, tokens(*CLIENTS), object_ids(), new_seed(), calls(number))


def finds(found: list[str], *words: str) -> bool:
    """Whether one violation has all these words."""
    return any(all(word in violation for word in words) for violation in found)


# --- An unlocked claim ----------------------------------------------------------------------------


CONSTRAINT = "audit_once_a_version"


@contextmanager
def no_second_line() -> Iterator[None]:
    """The audit takes a version twice, so that nothing but the lock keeps two claims apart."""
    with connection.cursor() as cursor:
        cursor.execute(f"alter table tasks_auditevent drop constraint {CONSTRAINT}")
        try:
            yield
        finally:
            cursor.execute("set session_replication_role = replica")
            cursor.execute("truncate tasks_auditevent cascade")
            cursor.execute("set session_replication_role = default")
            cursor.execute(
                f"alter table tasks_auditevent add constraint {CONSTRAINT} "
                "unique (task_id, version)"
            )


def test_an_unlocked_claim_is_found(committed_cast: Cast, tally: Tally) -> None:
    with faulty("unlocked_claim") as port:
        history = sixteen(port, 200)
        found = check(history, *stored(), administrators=ADMINISTRATORS)
        # The database itself stops two claims of one version; that the caller sees.
        assert finds(found, "claim", "the server failed the caller (status 500)"), found
        assert not finds(found, "was answered to 2 writes"), found
        with no_second_line():
            history += sixteen(port, 300)
            found = check(history, *stored(), administrators=ADMINISTRATORS)
    assert finds(found, "was answered to 2 writes", "claim"), found
    assert finds(found, "claimed by", "not legal in state reserved"), found
    assert finds(found, "does not have each version once"), found
    tally("planted faults found", 1)


# --- Audit outside the transaction ----------------------------------------------------------------


def test_an_audit_outside_the_transaction_is_found(committed_cast: Cast, tally: Tally) -> None:
    with faulty("audit_apart") as port:
        history = sixteen(port, 300)
    found = check(history, *stored(), administrators=ADMINISTRATORS, broken=True)
    assert finds(found, "its audit ends at") or finds(found, "each version once"), found
    assert finds(found, "sum of versions"), found
    tally("planted faults found", 1)


# --- Commits that are not on disk -----------------------------------------------------------------


class Site:
    """A durable cluster of its own with a copy of the test database, and what clients need."""

    def __init__(self, folder: Path) -> None:
        self.settings = {"DATA_DIR": str(folder), "PG_DATA_NAME": "pg", "PG_DURABLE": "1"}
        self.cluster = Cluster(folder / "pg", durable=True)
        self.tokens, self.ids = tokens(*CLIENTS), object_ids()
        dump = subprocess.run(
            [program("pg_dump"), *_options(the_database())], stdout=subprocess.PIPE, check=True
        )
        subprocess.run(
            [program("psql"), "-qX", "-v", "ON_ERROR_STOP=1", *_options(self.database())],
            input=dump.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        # Were it not for these, what has not been waited for would be on disk a moment later.
        with psycopg.connect(**self.database(), autocommit=True) as session:  # type: ignore[arg-type]
            session.execute("alter system set wal_writer_delay = '10s'")
            session.execute("alter system set wal_writer_flush_after = '1GB'")
            session.execute("select pg_reload_conf()")

    def database(self) -> dict[str, str]:
        """Where the database is; its server is started if need be."""
        return {name: str(value) for name, value in self.cluster.ensure()._asdict().items()}

    def kill(self) -> None:
        """Kill -9 of every process of the server: the postmaster and all that it has started."""
        postmaster = self.cluster.status().pid
        assert postmaster is not None
        os.kill(postmaster, signal.SIGSTOP)  # it starts nothing more
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def play_and_kill(self, port: int) -> tuple[list[Call], Evidence]:
        """Let the clients play, kill the database under them; what they heard, and what is left."""
        seed = new_seed()
        enough = calls(dice(seed).randint(80, 160))

        def until(history: list[Call]) -> None:
            enough(history)
            self.kill()

        history = play(port, self.tokens, self.ids, seed, until)
        return history, evidence(**self.database())


def _options(database: dict[str, str]) -> list[str]:
    options = {"host": "-h", "port": "-p", "user": "-U", "dbname": "-d"}
    return [text for name, value in database.items() for text in (options[name], value)]


@pytest.fixture
def site(committed_cast: Cast) -> Iterator[Site]:
    """A site; nothing of it outlives the test."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    found = Site(folder)
    yield found
    found.cluster.stop()
    shutil.rmtree(folder)


def acknowledged(history: list[Call]) -> int:
    """How many writes the callers were told of."""
    return sum(
        answer.done and call.operation != READ for call in history for answer in call.answers
    )


def test_what_was_acknowledged_survives_a_kill_of_postgres_only_where_commits_are_waited_for(
    site: Site, long: bool, tally: Tally
) -> None:
    kills = 20 if long else 1
    history: list[Call] = []
    with serving("taskmanager", workers=1, **site.settings) as port:
        for _ in range(kills):
            played, left = site.play_and_kill(port)
            assert acknowledged(played) > len(CLIENTS)
            history += played
            found = check(history, *left, administrators=ADMINISTRATORS, broken=True)
            assert found == []
    tally("kills of PostgreSQL", kills)
    tally("acknowledged writes that survived a kill", acknowledged(history))

    with faulty("commit_unwaited", "taskmanager", **site.settings) as port:
        played, left = site.play_and_kill(port)
    history += played
    found = check(history, *left, administrators=ADMINISTRATORS, broken=True)
    assert finds(found, "lost, it was told version"), found
    tally("planted faults found", 1)
