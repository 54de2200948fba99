"""The human-task core and its faces."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """The app `tasks`."""

    name = "tasks"
    verbose_name = "Work"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401
