"""Serve the application: `manage.py serve`."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from taskmanager import metrics
from taskmanager.management.migrated import demand_migrated
from taskmanager.server import Server, ServerError, address, demand_free, web_command


class Command(BaseCommand):
    """Watches over Granian and the worker; Ctrl-C or SIGTERM ends both in order."""

    help = "Serves the application. Put a proxy with TLS in front for anything but a try."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to listen and with how many processes and threads."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--workers", type=int, default=2, help="processes that answer")
        parser.add_argument("--threads", type=int, default=8, help="for each of them")
        parser.add_argument(
            "--no-worker",
            action="store_true",
            help="no background work beside it: `worker` runs elsewhere",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until told to stop, then exit with the code of the web server.

        Raises CommandError while the database is not migrated, and when it cannot start.
        """
        demand_migrated(self.stderr)
        host, port = options["host"], options["port"]
        database = "the embedded PostgreSQL" if settings.EMBEDDED else "DATABASE_URL"
        url = address(host, port)
        self.stdout.write(f"Serving {url} on {database}; Ctrl-C stops.")
        self.stdout.flush()
        web = web_command(host, port, options["workers"], options["threads"])
        metrics.start_afresh(port)
        server = Server(web, url, worker=not options["no_worker"])
        try:
            demand_free(host, port)
            with server:
                server.demand_answers()
                server.wait()
        except ServerError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:  # SIGTERM too; both have ended in order by now
            pass
        sys.exit(server.web.code)
