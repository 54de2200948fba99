"""The application: connects the role loader, the log-in audit and the check of the role file."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.checks import register
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    """Accounts, groups, roles, tokens."""

    name = "accounts"
    verbose_name = "Access"

    def ready(self) -> None:
        """Connect what needs the models."""
        from . import audit, roles

        post_migrate.connect(roles.load_after_last_app, dispatch_uid="accounts.roles")
        user_logged_in.connect(audit.logged_in, dispatch_uid="accounts.audit")
        user_logged_out.connect(audit.logged_out, dispatch_uid="accounts.audit")
        user_login_failed.connect(audit.login_failed, dispatch_uid="accounts.audit")
        register(roles.check_role_file)
