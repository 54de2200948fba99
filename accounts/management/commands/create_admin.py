"""Make the first real account: one with the role admin."""

from __future__ import annotations

import getpass
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts import audit
from accounts.models import Role, User
from accounts.roles import SYSTEM


class Command(BaseCommand):
    """Asks for what is not given as an option."""

    help = "Makes an account with the role admin."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name, and where the password comes from."""
        parser.add_argument("--username", help="asked for if not given")
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--password-file", type=Path, help="its first line is the password")
        source.add_argument(
            "--random", action="store_true", help="make a password and print it once"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the account; raises CommandError for a bad name or password, or without roles."""
        role = Role.objects.filter(provenance=SYSTEM, name="admin").first()
        if role is None:
            raise CommandError("There is no role admin yet: run `manage.py migrate` first.")
        user = User(username=User.normalize_username(options["username"] or input("User name: ")))
        password = self._password(options)
        try:
            user.clean_fields(exclude=["password"])
            user.validate_unique()
            validate_password(password, user)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        user.set_password(password)
        with audit.changing(user, actor="", channel="command"):
            user.save()
            user.roles.add(role)
        self.stdout.write(f"Account {user} may now log in.")
        if options["random"]:
            self.stdout.write(f"Password, shown this once: {password}")

    def _password(self, options: dict[str, Any]) -> str:
        if options["random"]:
            return secrets.token_urlsafe(18)
        if path := options["password_file"]:
            try:
                text: str = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CommandError(f"{path} cannot be read: {error}") from error
            return text.partition("\n")[0].removesuffix("\r")
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise CommandError("The two passwords differ.")
        return password
