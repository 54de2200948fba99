"""What an account may do and why, in words, for the page that shows it."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

from django.contrib.auth.models import Permission

from .models import EffectiveMembership, Group, GroupNesting, User


@dataclass(frozen=True)
class Granted:
    """One permission and every way in which the account comes by it."""

    name: str
    codename: str
    reasons: list[str]


@dataclass(frozen=True)
class Belonging:
    """One group the account has to do with in the end: member, lead or both, and through what."""

    group: str
    is_member: bool
    is_lead: bool
    through: str


def permissions_of(user: User) -> list[Granted]:
    """Every permission that `user` holds, by app and codename; none when inactive."""
    if not user.is_active:
        return []
    reasons: dict[int, list[str]] = defaultdict(list)
    everything = Permission.objects.select_related("content_type").order_by(
        "content_type__app_label", "codename"
    )
    if user.is_superuser:
        for permission in everything:
            reasons[permission.pk].append("superuser")
    for role in user.roles.prefetch_related("permissions"):
        for permission in role.permissions.all():
            reasons[permission.pk].append(f"role {role}")
    paths = _paths(user)
    groups = Group.objects.filter(pk__in=paths).prefetch_related("roles__permissions")
    for group in groups:
        for role in group.roles.all():
            for permission in role.permissions.all():
                reasons[permission.pk].append(f"role {role} via {paths[group.pk]}")
    return [
        Granted(
            permission.name,
            f"{permission.content_type.app_label}.{permission.codename}",
            reasons[permission.pk],
        )
        for permission in everything
        if permission.pk in reasons
    ]


def groups_of(user: User) -> list[Belonging]:
    """The groups of `user` in the end, by name, nested ones and those led from above included."""
    paths = _paths(user)
    marks: dict[tuple[str, int], set[bool]] = defaultdict(set)
    for name, pk, lead in EffectiveMembership.objects.filter(user=user).values_list(
        "group__name", "group_id", "lead"
    ):
        marks[name, pk].add(lead)
    return [
        Belonging(name, False in held, True in held, paths.get(pk, "leading a group above it"))
        for (name, pk), held in sorted(marks.items())
    ]


def _paths(user: User) -> dict[int, str]:
    """For each group `user` is a member of in the end, the shortest way there in words."""
    member_of = EffectiveMembership.objects.filter(user=user, lead=False)
    names = dict(member_of.values_list("group_id", "group__name"))
    above: dict[int, list[int]] = defaultdict(list)
    for child, parent in GroupNesting.objects.filter(child__in=names, parent__in=names).values_list(
        "child_id", "parent_id"
    ):
        above[child].append(parent)
    # Reached breadth first, so the first way found is a shortest one.
    direct = user.memberships.filter(group__in=names).values_list("group_id", flat=True)
    builtin = Group.objects.filter(is_builtin=True, pk__in=names).values_list("pk", flat=True)
    paths = {pk: f"group {names[pk]}" for pk in (*direct, *builtin)}
    waiting = deque(paths)
    while waiting:
        child = waiting.popleft()
        for parent in above[child]:
            if parent not in paths:
                paths[parent] = f"{paths[child]} nested in {names[parent]}"
                waiting.append(parent)
    return paths
