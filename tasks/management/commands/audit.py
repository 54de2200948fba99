"""Seal the audit, and look whether it is as it was written: `manage.py audit seal|verify`."""

from __future__ import annotations

import sys
import time
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from tasks.events import verify
from tasks.models import AuditEvent, AuditSeal, Task
from tasks.seals import SealFault, gone, is_kept, make_seal, verify_seals


class Command(BaseCommand):
    """Walks the hash chains and the seals, and exits with 1 if anything is not as it was."""

    help = (
        "verify: checks the hash chain of every task and all seals, and names the first bad event "
        "of each task. seal: makes a seal now; the worker makes one a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """`audit verify [--task ID] [--expect HASH]` or `audit seal`."""
        parser.add_argument("action", choices=["verify", "seal"])
        parser.add_argument("--task", type=UUID, metavar="ID", help="only the chain of this task")
        parser.add_argument(
            "--expect",
            type=bytes.fromhex,
            metavar="HASH",
            help="a seal's hash as the log has it: shows whether the newest seals were removed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is asked; raises CommandError for a task that neither is nor was."""
        if options["action"] == "seal":
            made = make_seal()
            self.stdout.write(f"seal {made.number}: {bytes(made.hash).hex()}")
            return
        started = time.monotonic()
        task, expected = options["task"], options["expect"]
        with transaction.atomic(durable=True):
            # One snapshot: what others commit meanwhile is neither missing nor too much.
            with connection.cursor() as cursor:
                cursor.execute("set transaction isolation level repeatable read, read only")
            events = AuditEvent.objects.filter(**({"task_id": task} if task else {}))
            count = events.count()
            chains = self._report_chains(task)
            seals = self._report_seals(chains) if task is None else 0
            if expected is not None and not is_kept(expected):
                seals += 1
                self.stdout.write(f"seal with hash {expected.hex()}: gone")
        if task is not None and not count and not chains:
            raise CommandError(f"There is no task {task}, and there never was.")
        seconds = time.monotonic() - started
        bad = [f"bad chains: {len(chains)}"] if chains else []
        bad += [f"bad seals: {seals}"] if seals else []
        verdict = ", ".join(bad) or "all as they were written"
        self.stdout.write(f"{count:,} events in {seconds:.1f} s, {verdict}.")
        if bad:
            sys.exit(1)

    def _report_chains(self, task: UUID | None) -> set[UUID]:
        """Print the first bad event of each chain, or of one; answers whose chains are bad."""
        faults = list(verify(None if task is None else [Task(pk=task)]))
        if task is not None and not faults:
            faults = gone(task)
        for fault in faults:
            self.stdout.write(f"{fault.task_id} version {fault.version}: {fault.why}")
        return {fault.task_id for fault in faults}

    def _report_seals(self, chains: set[UUID]) -> int:
        """Print what is wrong with the seals, and the newest; answers how many are bad.

        Chains that are gone are added to `chains`, and printed unless they are among them already.
        """
        bad = 0
        for fault in verify_seals():
            if isinstance(fault, SealFault):
                bad += 1
                self.stdout.write(f"seal {fault.number}: {fault.why}")
            elif fault.task_id not in chains:
                chains.add(fault.task_id)
                self.stdout.write(f"{fault.task_id} version {fault.version}: {fault.why}")
        newest = AuditSeal.objects.defer("task_ids", "versions").order_by("number").last()
        if newest is not None:
            self.stdout.write(
                f"The newest seal is {newest.number} of {newest.at:%Y-%m-%d %H:%M} UTC: "
                f"{bytes(newest.hash).hex()}"
            )
        return bad
