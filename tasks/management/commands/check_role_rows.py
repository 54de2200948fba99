"""Look whether the copied columns of all role rows are what their tasks say."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from tasks.work_items import differing_rows


class Command(BaseCommand):
    """Lists the role rows whose copies differ from the task; exits with 1 if there are any."""

    help = "Lists role rows whose copied columns (open, ready, priority, due) differ from the task."

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare all rows with their tasks."""
        count = 0
        for row in differing_rows():
            count += 1
            wrong = ", ".join(
                f"{name} is {copy} instead of {wanted}"
                for name, (copy, wanted) in row.differences.items()
            )
            self.stdout.write(f"{row.task_id} {row.role} {row.holder}: {wrong}")
        self.stdout.write(f"Role rows that differ from their task: {count:,}.")
        if count:
            sys.exit(1)
