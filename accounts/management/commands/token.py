"""Issue, list and revoke the tokens of an account."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.authentication import issue, revoke
from accounts.models import Token, User


class Command(BaseCommand):
    """`token create|list|revoke <user>`."""

    help = "Issues, lists and revokes API tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command each."""
        commands = parser.add_subparsers(dest="command", required=True)
        create = commands.add_parser("create", help="issue one and print its secret once")
        create.add_argument("user")
        create.add_argument("--name", default="", help="what it is for")
        create.add_argument("--client", action="store_true", help="an OAuth client secret")
        create.add_argument("--days", type=int, help="how long it holds; without, until revoked")
        listing = commands.add_parser("list", help="those of an account, newest first")
        listing.add_argument("user")
        ending = commands.add_parser("revoke", help="end one or all")
        ending.add_argument("user")
        which = ending.add_mutually_exclusive_group(required=True)
        which.add_argument("--id", type=int, help="the number `list` shows")
        which.add_argument("--all", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; raises CommandError for an unknown account, number or lifetime."""
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no account {options['user']}.")
        match options["command"]:
            case "create":
                kind = Token.Kind.CLIENT if options["client"] else Token.Kind.API
                self._create(user, kind, options["name"], options["days"])
            case "list":
                for token in user.tokens.all():
                    until = f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "revoked"
                    self.stdout.write(
                        f"{token.pk}  {token.hint}…  {token.kind}  until {until}  {token.name}"
                    )
            case "revoke":
                self._revoke(user, options["id"])

    def _create(self, user: User, kind: Token.Kind, name: str, days: int | None) -> None:
        if days is not None and not 0 < days <= 36_500:
            raise CommandError("--days is a number from 1 to 36500.")
        if len(name) > 100:
            raise CommandError("--name has 100 characters at most.")
        lifetime = timedelta(days=days) if days is not None else None
        try:
            _, secret = issue(user, kind, name, lifetime, actor="", channel="command")
        except ValueError as error:
            raise CommandError(f"{error}.") from error
        self.stdout.write(secret)

    def _revoke(self, user: User, number: int | None) -> None:
        tokens = user.tokens.all() if number is None else user.tokens.filter(pk=number)
        if number is not None and not tokens:
            raise CommandError(f"{user} has no token {number}.")
        for token in tokens:
            revoke(token, actor="", channel="command")
            self.stdout.write(f"Revoked {token.hint}….")
