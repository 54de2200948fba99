"""The project as a Django app, which gives `manage.py` its own commands, and its admin site."""

from django.apps import AppConfig, apps
from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.utils.module_loading import autodiscover_modules


class TaskManagerConfig(AppConfig):
    """Has no models: commands, pages for errors, and checks of the settings."""

    name = "taskmanager"
    default = True

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401


class AdminConfig(SimpleAdminConfig):
    """Django's admin with our site, which lets in every account that may read tasks."""

    default = False
    default_site = "taskmanager.admin_site.TaskAdminSite"

    def ready(self) -> None:
        """Register the pages of every app; the queue of background jobs is nobody's work."""
        super().ready()
        autodiscover_modules("admin")
        admin.site.unregister(apps.get_model("procrastinate", "ProcrastinateJob"))
