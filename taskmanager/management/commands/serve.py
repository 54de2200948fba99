"""Serve the application: `manage.py serve`."""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from taskmanager.server import command


class Command(BaseCommand):
    """Granian in the place of this process; Ctrl-C or SIGTERM ends it in order."""

    help = "Serves the application. Put a proxy with TLS in front for anything but a try."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to listen and with how many processes and threads."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--workers", type=int, default=2)
        parser.add_argument("--threads", type=int, default=4, help="for each worker")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check that the database is migrated, then become the server.

        Raises CommandError when it is not.
        """
        try:
            executor = MigrationExecutor(connection)
            behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
        except OperationalError as error:
            # Served all the same: every face says 503 until the database is back.
            self.stderr.write(f"The database cannot be reached now: {error}")
            behind = []
        if behind:
            raise CommandError("The database is not up to date: run `./run migrate` first.")
        connection.close()
        host, port = options["host"], options["port"]
        database = "the embedded PostgreSQL" if settings.EMBEDDED else "DATABASE_URL"
        self.stdout.write(f"Serving http://{host}:{port} on {database}; Ctrl-C stops.")
        self.stdout.flush()
        line = command(host, port, options["workers"], options["threads"])
        os.execvp(line[0], line)  # noqa: S606 (so that signals reach the server itself)
