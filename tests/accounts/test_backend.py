"""What roles grant: directly, through groups, to superusers, and to nobody who is inactive."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group as DjangoGroup
from django.contrib.auth.models import Permission
from django.test import RequestFactory

from accounts.backends import RoleBackend
from accounts.models import DEMO, Group, GroupNesting, Membership, Role, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("u", "u-demo-password")


def role(name: str) -> Role:
    return Role.objects.get(name=name)


def again(user: User) -> User:
    """As the next request reads it."""
    return User.objects.get(pk=user.pk)


def test_roles_held_directly_grant(user: User) -> None:
    assert not user.has_perm("tasks.release_task")
    user.roles.add(role("operations"))
    user = again(user)
    assert user.has_perm("tasks.release_task")
    assert not user.has_perm("tasks.add_task")
    assert user.has_perms(["tasks.view_task", "tasks.claim_task"])
    assert user.has_module_perms("tasks")
    assert not user.has_module_perms("axes")


def test_roles_come_through_groups_that_nest(user: User) -> None:
    inner, outer = Group.objects.create(name="inner"), Group.objects.create(name="outer")
    GroupNesting.objects.create(child=inner, parent=outer)
    outer.roles.add(role("viewer"))
    Membership.objects.create(user=user, group=inner)
    assert again(user).has_perm("tasks.reader")
    Group.objects.filter(pk=outer.pk).update(is_active=False)
    assert not again(user).has_perm("tasks.reader")


def test_leading_a_group_from_above_brings_no_role(user: User) -> None:
    inner, outer = Group.objects.create(name="inner"), Group.objects.create(name="outer")
    GroupNesting.objects.create(child=inner, parent=outer)
    inner.roles.add(role("viewer"))
    Membership.objects.create(user=user, group=outer, lead=True)
    assert not again(user).has_perm("tasks.reader")


def test_everything_is_one_query_and_then_none(user: User, django_assert_num_queries: Any) -> None:
    user.roles.add(role("operations"), role("viewer"))
    user = again(user)
    with django_assert_num_queries(1):
        assert user.has_perm("tasks.release_task")
        assert user.bulk_limit == 10_000
        assert "tasks.reader" in user.get_all_permissions()
        assert user.has_module_perms("accounts")


def test_an_inactive_account_holds_nothing(user: User) -> None:
    user.roles.add(role("admin"))
    User.objects.filter(pk=user.pk).update(is_active=False, is_superuser=True)
    user = again(user)
    assert not user.has_perm("tasks.view_task")
    assert user.get_all_permissions() == set()
    assert not user.has_module_perms("tasks")
    assert user.bulk_limit == 0
    assert RoleBackend().get_user(user.pk) is None


def test_a_superuser_holds_everything_but_no_role_on_an_object(user: User) -> None:
    user.is_superuser = True
    user.save()
    user = again(user)
    assert user.has_perm("tasks.anything")
    assert user.has_module_perms("anything")
    assert not RoleBackend().has_perm(user, "tasks.excluded_owner", object())
    assert user.bulk_limit is None
    assert "tasks.view_task" in user.get_all_permissions()


def test_model_permissions_say_nothing_of_an_object(user: User) -> None:
    user.roles.add(role("viewer"))
    assert not RoleBackend().has_perm(again(user), "tasks.reader", object())
    assert RoleBackend().get_all_permissions(again(user), object()) == set()


def test_the_largest_bulk_limit_counts(user: User) -> None:
    assert user.bulk_limit == 0
    user.roles.add(role("operations"), role("engineering"))
    assert again(user).bulk_limit == 50_000
    user.roles.add(role("apiwrite"))
    assert again(user).bulk_limit is None


def test_permissions_on_djangos_own_group_are_not_read(user: User) -> None:
    group = Group.objects.create(name="g")
    DjangoGroup.objects.get(pk=group.pk).permissions.add(
        Permission.objects.get(codename="retry_task")
    )
    Membership.objects.create(user=user, group=group)
    assert not again(user).has_perm("tasks.retry_task")


def test_passwords(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, request = RoleBackend(), RequestFactory().post("/")
    assert backend.authenticate(request, "u", "u-demo-password") == user
    assert backend.authenticate(request, "u", "wrong") is None
    assert backend.authenticate(request, None, None) is None
    hashed: list[str] = []
    monkeypatch.setattr("accounts.backends.make_password", hashed.append)
    assert backend.authenticate(request, "nobody", "secret") is None
    assert hashed == ["secret"], "an unknown name takes as long as a known one"
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert authenticate(request, username="u", password="u-demo-password") is None


def test_a_demo_account_can_log_in_in_demo_mode_only(cast: Any, settings: Any) -> None:
    """Its password is known to everybody who has read the documentation."""
    User.objects.filter(pk=cast.bob.pk).update(provenance=DEMO)
    assert settings.DEMO is False
    assert RoleBackend().authenticate(None, "bob", "bob-demo") is None
    assert RoleBackend().authenticate(None, "alice", "alice-demo") == cast.alice
    settings.DEMO = True
    assert RoleBackend().authenticate(None, "bob", "bob-demo") == cast.bob
