"""Deactivate an account that has left, and say what becomes of its open work."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import audit
from accounts.leaving import OpenWork, keeper
from accounts.models import User


class Command(BaseCommand):
    """`deactivate <user> [--open-work release|keep|transfer] [--to <user>]`."""

    help = "Deactivates an account: its sessions and tokens end at once. Its name stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whom, and what becomes of the work."""
        parser.add_argument("user")
        parser.add_argument("--open-work", choices=OpenWork.values)
        parser.add_argument("--to", help="who gets the work, with --open-work transfer")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; raises CommandError while it is not clear what becomes of open work."""
        user, choice = self._account(options["user"]), options["open_work"]
        count = keeper().held(user)
        if count and choice is None:
            raise CommandError(
                f"{user} holds {count:,} open tasks: say --open-work release, transfer or keep."
            )
        if (choice == OpenWork.TRANSFER) != bool(options["to"]):
            raise CommandError("--to goes together with --open-work transfer.")
        receiver = self._account(options["to"]) if options["to"] else None
        if receiver is not None and (not receiver.is_active or receiver == user):
            raise CommandError(f"{receiver} cannot receive the work.")
        with audit.changing(user, actor="", channel="command"):
            user.is_active = False
            user.save(update_fields=["is_active"])
        self.stdout.write(f"{user} is inactive now.")
        self.stdout.write(keeper().settle(user, choice or OpenWork.KEEP, to=receiver))

    def _account(self, name: str) -> User:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account {name}.")
        return user
