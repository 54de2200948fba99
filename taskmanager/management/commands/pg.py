"""Look after the embedded PostgreSQL: `manage.py pg status`, `stop`, `psql` and `log`."""

import argparse
import os
import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from taskmanager.postgres import Cluster, EmbeddedPostgresError, cluster_of, program


class Command(BaseCommand):
    """Works on the server of the default database; only psql starts it."""

    help = "Shows or stops the embedded PostgreSQL, or opens its shell or log."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """`pg <action>`, and what follows goes to psql or tail as it stands."""
        parser.add_argument("action", choices=["status", "stop", "psql", "log"])
        parser.add_argument(
            "arguments", nargs=argparse.REMAINDER, help="for psql, or for tail, which shows the log"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the action; raises CommandError when the database is not ours or the server fails."""
        arguments: list[str] = options["arguments"]
        if arguments and options["action"] in ("status", "stop"):
            raise CommandError(f"{options['action']} takes no further arguments.")
        try:
            cluster = cluster_of(connection.settings_dict)
            if cluster is None:
                raise CommandError(
                    "DATABASE_URL is set, so there is no embedded PostgreSQL: "
                    "that server is looked after elsewhere."
                )
            match options["action"]:
                case "status":
                    self.show(cluster)
                case "stop":
                    stopped = cluster.stop()
                    self.stdout.write("Stopped." if stopped else "PostgreSQL was not running.")
                case "psql":
                    open_psql(cluster, arguments)
                case "log":
                    if not cluster.log_path.exists():
                        raise CommandError("There is no log yet: PostgreSQL has not run here.")
                    become("tail", *(arguments or ["--lines=50"]), "--", str(cluster.log_path))
        except EmbeddedPostgresError as error:
            raise CommandError(str(error)) from error

    def show(self, cluster: Cluster) -> None:
        """Print state and places; exit with 3, as pg_ctl does, when the server does not run."""
        state, pid = cluster.status()
        host, port, user, dbname = cluster.address()
        self.stdout.write(f"State     {state}" + (f", process {pid}" if pid else ""))
        self.stdout.write(f"Data      {cluster.data}")
        self.stdout.write(f"Log       {cluster.log_path}")
        self.stdout.write(f"Connect   host={host} port={port} user={user} dbname={dbname}")
        if pid is None:
            sys.exit(3)


def open_psql(cluster: Cluster, arguments: list[str]) -> NoReturn:
    """Start the server if need be and become psql; its environment names the database.

    As options they would clash with the caller's own, which are to win.
    """
    host, port, user, dbname = cluster.ensure()
    os.environ.update(PGHOST=host, PGPORT=str(port), PGUSER=user, PGDATABASE=dbname)
    become(str(program("psql")), *arguments)


def become(*command: str) -> NoReturn:
    """Replace this process, so that the terminal and the exit code are the command's own."""
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606
