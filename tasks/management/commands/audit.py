"""Look whether the audit is as it was written: `manage.py audit verify`."""

from __future__ import annotations

import sys
import time
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from tasks.events import verify
from tasks.models import AuditEvent, Task


class Command(BaseCommand):
    """Walks the hash chains and names the first bad event of each; exits with 1 if there is one."""

    help = "Verifies the hash chains of the audit, and names the first bad event of each task."

    def add_arguments(self, parser: CommandParser) -> None:
        """`audit verify [--task ID]`."""
        parser.add_argument("action", choices=["verify"])
        parser.add_argument("--task", type=UUID, metavar="ID", help="only the chain of this task")

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify; raises CommandError for a task that neither is nor was."""
        started = time.monotonic()
        task: UUID | None = options["task"]
        only = None if task is None else [Task(pk=task)]
        events = (
            AuditEvent.objects.all() if task is None else AuditEvent.objects.filter(task_id=task)
        )
        bad = 0
        with transaction.atomic(durable=True):
            # One snapshot: what others commit meanwhile is neither missing nor too much.
            with connection.cursor() as cursor:
                cursor.execute("set transaction isolation level repeatable read, read only")
            count = events.count()
            for fault in verify(only):
                bad += 1
                self.stdout.write(f"{fault.task_id} version {fault.version}: {fault.why}")
            if not count and not bad and task is not None:
                raise CommandError(f"There is no task {task}, and there never was.")
        seconds = time.monotonic() - started
        verdict = f"bad chains: {bad}" if bad else "all as they were written"
        self.stdout.write(f"{count:,} events in {seconds:.1f} s, {verdict}.")
        if bad:
            sys.exit(1)
