"""What an account's roles grant: one statement, asked at most once for each account object."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import sql

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
_ROLES = """
    select role_id from accounts_user_roles where user_id = u.id
    union
    select gr.role_id
    from accounts_effectivemembership e
    join accounts_group_roles gr on gr.group_id = e.group_id
    where e.user_id = u.id and not e.lead"""

COLUMNS = f"""
    array(select r.bulk_limit from accounts_role r where r.id in ({_ROLES})),
    case when u.is_superuser then array(select id from auth_permission)
        else array(select permission_id from accounts_role_permissions
            where role_id in ({_ROLES})) end"""
"""SQL: bulk limits and ids of permissions that the roles of the account `u` grant, for `keep`."""

_names: dict[int, str] = {}
"""Permissions by their ids; migrations make them, and none ever changes."""


def _name(permission: int) -> str:
    if permission not in _names:
        rows = sql.run(
            "select p.id, c.app_label || '.' || p.codename from auth_permission p "
            "join django_content_type c on c.id = p.content_type_id",
            {},
        )
        _names.update(rows)
    return _names[permission]


def keep(user: User, limits: Collection[int | None], permissions: Iterable[int]) -> Grants:
    """Keep what COLUMNS said on the account object; answers with what its scope leaves of it."""
    if user.is_superuser:
        limits = [None]
    limit = None if None in limits else max((n for n in limits if n is not None), default=0)
    found = Grants(user.scope.narrowed(frozenset(map(_name, permissions))), limit)
    user.__dict__["_grants"] = found
    return found


def grants_of(user: User) -> Grants:
    """What `user` may do at all; nothing when inactive, everything for a superuser.

    A token it is used with may leave less of it (`Scope`).

    The answer is kept on the object, as Django keeps its own: a request reads its account once.
    """
    if not user.is_active:
        return NOTHING
    known: Grants | None = user.__dict__.get("_grants")
    if known is None:
        rows = sql.run(
            f"select {COLUMNS} from accounts_user u where u.id = %(user)s::bigint",
            {"user": user.pk},
        )
        limits, permissions = rows[0] if rows else ((), ())
        known = keep(user, limits, permissions)
    return known
