"""What an account's roles grant: one statement, asked at most once for each account object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from .models import User


@dataclass(frozen=True)
class Grants:
    """The permissions ("app.codename") and the bulk limit (None: no limit) of an account."""

    permissions: frozenset[str]
    bulk_limit: int | None


NOTHING = Grants(frozenset(), 0)

# Roles held directly and through the groups one is a member of; leading a group from above is
# no membership and brings no role.
_OF_ROLES = """
    select r.bulk_limit,
           array_agg(c.app_label || '.' || p.codename) filter (where p.id is not null)
    from accounts_role r
    left join accounts_role_permissions rp on rp.role_id = r.id
    left join auth_permission p on p.id = rp.permission_id
    left join django_content_type c on c.id = p.content_type_id
    where r.id in (
        select role_id from accounts_user_roles where user_id = %(user)s
        union
        select gr.role_id
        from accounts_effectivemembership e
        join accounts_group_roles gr on gr.group_id = e.group_id
        where e.user_id = %(user)s and not e.lead
    )
    group by r.id"""

_OF_SUPERUSERS = """
    select null, array_agg(c.app_label || '.' || p.codename)
    from auth_permission p
    join django_content_type c on c.id = p.content_type_id"""


def grants_of(user: User) -> Grants:
    """What `user` may do at all; nothing when inactive, everything for a superuser.

    A token it is used with may leave less of it (`Scope`).

    The answer is kept on the object, as Django keeps its own: a request reads its account once.
    """
    if not user.is_active:
        return NOTHING
    known: Grants | None = user.__dict__.get("_grants")
    if known is None:
        with connection.cursor() as cursor:
            if user.is_superuser:
                cursor.execute(_OF_SUPERUSERS)
            else:
                cursor.execute(_OF_ROLES, {"user": user.pk})
            rows: list[tuple[int | None, list[str] | None]] = cursor.fetchall()
        limits = [limit for limit, _ in rows]
        known = Grants(
            frozenset(name for _, names in rows for name in names or ()),
            None if None in limits else max((n for n in limits if n is not None), default=0),
        )
        known = replace(known, permissions=user.scope.narrowed(known.permissions))
        user.__dict__["_grants"] = known
    return known
