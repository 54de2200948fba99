"""The seven system roles of fixtures/roles.json, loaded after migrations, not forced on a site."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.core.checks import CheckMessage, Warning
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Model

SYSTEM = "OperationsManager"
"""The provenance of the system roles, as Itential names it."""


@dataclass(frozen=True)
class SystemRole:
    """One role of the file; permissions read "app.codename", a bulk limit of None is no limit."""

    name: str
    description: str
    bulk_limit: int | None
    permissions: tuple[str, ...]


def system_roles() -> list[SystemRole]:
    """The roles of the file, in its order."""
    path = Path(settings.BASE_DIR) / "fixtures" / "roles.json"
    return [
        SystemRole(
            name=row["name"],
            description=row["description"],
            bulk_limit=row["bulk_limit"],
            permissions=tuple(row["permissions"]),
        )
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]


def load_after_last_app(
    sender: AppConfig, apps: Any = installed_apps, using: str = DEFAULT_DB_ALIAS, **kwargs: Any
) -> None:
    """Receive `post_migrate` of each app; load the roles with that of the last one."""
    with_models = [app for app in installed_apps.get_app_configs() if app.models_module]
    if sender.name != with_models[-1].name or using != DEFAULT_DB_ALIAS:
        return
    # Django's own receiver may come after this one, and makes permissions only then.
    create_permissions(sender, verbosity=0, using=using, apps=apps)
    load_system_roles(apps)


def load_system_roles(apps: Any = installed_apps) -> None:
    """Create system roles that are missing, and give every one what it was never given before.

    A permission is given once: when it first stands in the file and exists in the database. What
    a site has taken away, added or changed since then stays as the site wants it. Permissions
    that do not exist yet are passed over; `check_role_file` names those that never will.
    `apps` may be the state of a partly migrated database; then there may be nothing to load into.
    """
    try:
        roles = apps.get_model("accounts", "Role")._default_manager
        events = apps.get_model("accounts", "AccountEvent")._default_manager
        permissions = apps.get_model("auth", "Permission")._default_manager
    except LookupError:
        return
    ids = {
        f"{app}.{codename}": pk
        for pk, app, codename in permissions.values_list(
            "pk", "content_type__app_label", "codename"
        )
    }
    for wanted in system_roles():
        with transaction.atomic():
            role, created = roles.get_or_create(
                provenance=SYSTEM,
                name=wanted.name,
                defaults={"description": wanted.description, "bulk_limit": wanted.bulk_limit},
            )
            new = [n for n in wanted.permissions if n in ids and n not in role.offered]
            if not new:
                continue
            role.permissions.add(*(ids[name] for name in new))
            role.offered = [*role.offered, *new]
            role.save(update_fields=["offered"])
            events.create(
                event="role_created" if created else "role_changed",
                subject=f"role {wanted.name}",
                actor="",
                channel="release",
                after={"permissions": sorted(new)},
            )


def check_role_file(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn of permissions in the file that no model of an installed app defines."""
    defined = {
        f"{model._meta.app_label}.{codename}"
        for model in installed_apps.get_models()
        for codename in _codenames(model)
    }
    return [
        Warning(
            f"fixtures/roles.json grants {name} to {role.name}, but no model defines it.",
            id="accounts.W001",
        )
        for role in system_roles()
        for name in role.permissions
        if name not in defined
    ]


def _codenames(model: type[Model]) -> list[str]:
    options = model._meta
    return [
        *(f"{action}_{options.model_name}" for action in options.default_permissions),
        *(codename for codename, _ in options.permissions),
    ]
