"""A human-task server with a cast and 2,000 tasks from nothing: `manage.py demo`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taskmanager import demo_data, metrics
from taskmanager.server import Server, ServerError, address, free_port, web_command


class Command(BaseCommand):
    """Database, migrations, demo data, server; Ctrl-C ends the server, the data stays."""

    help = "Starts a demo server; with --once it also does the main job on it and checks the rows."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """What to serve, where, and whether to check it and stop."""
        parser.add_argument("--port", type=int, default=8000, help="the next free one is taken")
        parser.add_argument("--tasks", type=int, default=2000, metavar="N")
        parser.add_argument("--data", metavar="DIR", help="the demo's data folder")
        parser.add_argument(
            "--once",
            action="store_true",
            help="in a throw-away folder: do the main job over HTTP, check every row, and end",
        )

        parser.add_argument(
            "--no-worker", action="store_true", help="no background work: nothing wakes or expires"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the demo. Raises CommandError when it cannot, or when `--once` finds a fault."""
        if not settings.EMBEDDED:
            raise CommandError("The demo makes its own database: unset DATABASE_URL.")
        if options["tasks"] < demo_data.FEWEST:
            raise CommandError(f"--tasks takes {demo_data.FEWEST} or more.")
        if not settings.DEMO:
            self._again_in_demo_mode(options)
        console = Console()
        try:
            self._prepare(console, options["tasks"])
            connection.close()
            port = free_port(0 if options["once"] else options["port"])
            web = web_command("127.0.0.1", port, workers=2, threads=8)
            metrics.start_afresh(port)
            with Server(web, address("127.0.0.1", port), worker=not options["no_worker"]) as server:
                server.demand_answers()
                if options["once"]:
                    self._once(console, server.url)
                else:
                    self._stay(console, server)
        except ServerError as error:
            raise CommandError(str(error)) from error

    def _again_in_demo_mode(self, options: dict[str, Any]) -> None:
        """Start this command once more with settings that know the demo and its own folder.

        A throw-away folder is removed afterwards, its database stopped before.
        """
        throw_away = tempfile.mkdtemp(prefix="taskmanager-demo-") if options["once"] else None
        folder = throw_away or options["data"] or settings.DATA_DIR / "demo"
        environment = {
            "LOG_LEVEL": "WARNING",  # the table of addresses is to stay in sight
            **os.environ,
            "DEMO": "1",
            "DATA_DIR": str(Path(folder).resolve()),
        }
        if throw_away is None:
            os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606
        code = 1
        try:
            os.chmod(throw_away, 0o755)  # noqa: S103 (the database's account enters it too)
            code = os.spawnve(  # noqa: S606
                os.P_WAIT, sys.executable, [sys.executable, *sys.argv], environment
            )
        finally:
            stop = [sys.executable, sys.argv[0], "pg", "stop"]
            os.spawnve(os.P_WAIT, sys.executable, stop, environment)  # noqa: S606
            shutil.rmtree(throw_away, ignore_errors=True)
        sys.exit(code)

    def _prepare(self, console: Console, count: int) -> None:
        columns = TextColumn("  {task.description:32}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            start = progress.add_task("Starting PostgreSQL", total=1)
            connection.ensure_connection()
            progress.advance(start)

            executor = MigrationExecutor(connection)
            plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
            migrating = progress.add_task("Migrating the database", total=len(plan))
            if plan:
                call_command(
                    _Migrate(lambda: progress.advance(migrating)), interactive=False, verbosity=0
                )

            missing = 0 if demo_data.tasks_there() else count
            writing = progress.add_task("Writing demo tasks", total=missing)
            demo_data.write_cast()
            if missing:
                demo_data.write_tasks(count, lambda done: progress.advance(writing, done))

    def _stay(self, console: Console, server: Server) -> None:
        names = ", ".join(person.name for person in demo_data.CAST)
        for label, text in (
            ("Admin", f"{server.url}/admin/"),
            ("Native API", f"{server.url}/api/v1/"),
            ("Itential", f"{server.url}/operations-manager/tasks/<id>"),
            ("IBM HTM", f"{server.url}/rest/bpm/htm/v1/task/<id>"),
            ("Accounts", names),
            ("Passwords", "the name and -demo: alice has alice-demo (in demo mode only)"),
            ("Tasks", f"{demo_data.tasks_there():,}"),
            ("Stop", "Ctrl-C"),
        ):
            console.print(f"{label:10} {text}", highlight=False, markup=False, soft_wrap=True)
        connection.close()
        try:
            server.wait()
        except KeyboardInterrupt:
            console.print("Stopped.")

    def _once(self, console: Console, url: str) -> None:
        from taskmanager.walkthrough import Fault, Walkthrough

        try:
            Walkthrough(url, console).run()
        except Fault as fault:
            raise CommandError(f"The main job went wrong: {fault}") from fault
        console.print("All answers and all rows are right.")


class _Migrate(migrate.Command):
    """Django's `migrate`, which tells when each migration is done instead of printing it."""

    def __init__(self, advance: Callable[[], None]) -> None:
        super().__init__()
        self.advance = advance

    def migration_progress_callback(
        self, action: str, migration: Any = None, fake: bool = False
    ) -> None:
        """Called by Django before and after each migration."""
        if action == "apply_success":
            self.advance()
