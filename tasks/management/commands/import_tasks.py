"""Take over tasks from files of task documents in Itential's own shape."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.actions import Call
from tasks.api.strict_json import BadJSON, Limits, loads
from tasks.errors import Refusal
from tasks.imports import Report, documents_of, import_documents
from tasks.models import Channel
from tasks.uuid7 import uuid7

LIMITS = Limits(
    free=frozenset(
        name + member
        for name in ("", "data.", "tasks.", "jobs.")
        for member in ("variables", "output", "outputData", "tasks")
    )
)
"""Texts within the data of tasks and jobs may have any length."""


class Command(BaseCommand):
    """All or nothing, and as often as one likes: tasks that are here already stay as they are."""

    help = (
        "Imports task documents from a JSON file: an array of them, a single one, or an object "
        "with the arrays tasks, jobs, accounts and groups. People and groups that do not exist "
        "here become inactive placeholders."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file."""
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        """Read, import, report; raises CommandError for a file that cannot be taken over."""
        path: Path = options["file"]
        call = Call(None, Channel.COMMAND, request_id=f"import_tasks-{uuid7().hex}")
        try:
            report = import_documents(
                documents_of(loads(path.read_bytes(), limits=LIMITS)), call=call
            )
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except BadJSON as error:
            where = f" (at {error.pointer})" if error.pointer else ""
            raise CommandError(f"{path}: {error.message}{where}") from error
        except Refusal as error:
            raise CommandError(f"{path}: nothing was imported. {error.text}") from error
        self._tell(report)

    def _tell(self, report: Report) -> None:
        for pk in report.already:
            self.stdout.write(f"There already, unchanged: {pk}")
        for title, names in (
            ("Jobs made", report.jobs),
            ("Known here by name, now with their imported id", report.matched),
            (
                "People who do not exist here, now inactive placeholder accounts",
                report.placeholder_accounts,
            ),
            ("Groups that do not exist here, now inactive", report.placeholder_groups),
        ):
            if names:
                self.stdout.write(f"{title}: {', '.join(names)}.")
        for note in report.notes:
            self.stdout.write(self.style.WARNING(note))
        self.stdout.write(
            self.style.SUCCESS(
                f"{len(report.tasks)} imported, {len(report.already)} there already."
            )
        )
