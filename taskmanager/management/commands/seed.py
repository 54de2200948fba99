"""Fills an empty database with tasks by the million, to be measured: `manage.py seed`."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from accounts.models import User
from taskmanager import seed_data
from taskmanager.management.migrated import demand_migrated
from tasks.models import Task


class Command(BaseCommand):
    """People, groups, tasks, role rows, audit and outbox; a database with tasks is left alone."""

    help = (
        "Fills a migrated database that holds no task with 2,000 accounts, 200 groups and many "
        "tasks, as a large site has them. For measuring; the accounts have no passwords."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """How many tasks."""
        parser.add_argument("--tasks", type=int, default=1_000_000, metavar="N")

    def handle(self, *args: Any, **options: Any) -> None:
        """Seed. Raises CommandError where there are tasks already, or people of an earlier seed."""
        count: int = options["tasks"]
        if count < 1:
            raise CommandError("--tasks takes 1 or more.")
        if not connection.in_atomic_block:
            demand_migrated(self.stderr)
        if Task.objects.exists():
            raise CommandError("The database holds tasks already; seed an empty one.")
        if User.objects.filter(provenance=seed_data.PROVENANCE).exists():
            raise CommandError("The database was seeded before; seed an empty one.")
        started = time.monotonic()
        self._seed(count)
        seconds = time.monotonic() - started
        self.stdout.write(f"{_made()} Took {seconds:.0f} s.")

    def _seed(self, count: int) -> None:
        columns = TextColumn("  {task.description:32}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeElapsedColumn(), console=Console()) as progress:
            persons = progress.add_task("Writing accounts and groups", total=1)
            people = seed_data.write_people()
            progress.advance(persons)
            tasks = progress.add_task("Writing tasks", total=count)
            with seed_data.bare() as put_back:
                seed_data.write_tasks(count, people, lambda done: progress.advance(tasks, done))
                steps = progress.add_task("Building indexes and keys", total=len(put_back))
                for statement in put_back:
                    with connection.cursor() as cursor:
                        cursor.execute(statement)
                    progress.advance(steps)
            settling = progress.add_task("Vacuuming", total=1)
            seed_data.settle()
            progress.advance(settling)


def _made() -> str:
    """What the tables hold, in one line."""
    tables = ("accounts_user", "accounts_group", *seed_data.TABLES)
    counts = ", ".join(f"(select count(*) from {table})" for table in tables)  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"select {counts}")
        users, groups, tasks, to_users, to_groups, events, outbox = cursor.fetchone()
    return (
        f"{users:,} accounts, {groups:,} groups, {tasks:,} tasks, {to_users + to_groups:,} "
        f"role rows, {events:,} audit events, {outbox:,} outbox rows."
    )
