"""Print the rule book as it stands in the code: `manage.py matrix`."""

from typing import Any

from django.core.management.base import BaseCommand

from tasks.matrix import markdown


class Command(BaseCommand):
    """Markdown tables; the README holds them between two markers."""

    help = "Prints who may do what, as Markdown."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it."""
        self.stdout.write(markdown())
