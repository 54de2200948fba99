"""Who may manage whom: nobody gives, takes over or wakes up beyond their own rights."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Permission
from django.db import connection

from .grants import grants_of
from .models import Group, Role, User

# Nesting counts whether groups are active or not: they can be activated by others later.
_CONVEYED = """
    with recursive above(id) as (
        select unnest(%(groups)s::bigint[])
        union
        select n.parent_id from above a join accounts_groupnesting n on n.child_id = a.id
    )
    select distinct c.app_label || '.' || p.codename
    from accounts_role_permissions rp
    join auth_permission p on p.id = rp.permission_id
    join django_content_type c on c.id = p.content_type_id
    where rp.role_id = any(%(roles)s)
       or rp.role_id in (
           select gr.role_id from accounts_group_roles gr join above a on a.id = gr.group_id
       )"""


def conveyed_by(subject: User | Group | Role) -> set[str]:
    """The permissions that an account, a membership or a role brings, once all is active."""
    roles: Iterable[int] = ()
    groups: Iterable[int] = ()
    if isinstance(subject, Role):
        roles = [subject.pk]
    elif isinstance(subject, Group):
        groups = [subject.pk]
    else:
        roles = subject.roles.order_by().values_list("pk", flat=True)
        groups = subject.memberships.values_list("group_id", flat=True)
    with connection.cursor() as cursor:
        cursor.execute(_CONVEYED, {"roles": list(roles), "groups": list(groups)})
        return {name for (name,) in cursor.fetchall()}


def lacking(actor: User, subject: User | Group | Role | Permission) -> set[str]:
    """What `subject` conveys and `actor` may not give; empty when it may be given and managed.

    That is what `actor` does not hold. Who runs the roles (`accounts.grant_any_role`) gives them
    all: the role admin sees every task and yet is no reader, and must be able to name readers.
    Only a superuser manages superusers, for whom "superuser" is named.
    """
    if actor.is_active and actor.is_superuser:
        return set()
    if actor.has_perm("accounts.grant_any_role"):
        return {"superuser"} if isinstance(subject, User) and subject.is_superuser else set()
    if isinstance(subject, Permission):
        conveyed = {f"{subject.content_type.app_label}.{subject.codename}"}
    else:
        conveyed = conveyed_by(subject)
        if isinstance(subject, User) and subject.is_superuser:
            conveyed.add("superuser")
    return conveyed - grants_of(actor).permissions
