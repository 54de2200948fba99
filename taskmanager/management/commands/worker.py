"""Do the background work: `manage.py worker`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from taskmanager.management.migrated import demand_migrated
from tasks.background import run_worker


class Command(BaseCommand):
    """Runs in the foreground; Ctrl-C or SIGTERM ends it in order."""

    help = "Does the background work: wakes and expires tasks, seals the audit. serve starts one."

    def handle(self, *args: Any, **options: Any) -> None:
        """Work until told to stop. Raises CommandError while the database is not migrated."""
        demand_migrated(self.stderr)
        run_worker()
