"""The system roles: the file against a copy typed by hand, and loading that respects the site."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from accounts import roles
from accounts.models import AccountEvent, Role

NAMES = ["admin", "engineering", "operations", "apiwrite", "apiread", "viewer", "retryUser"]

# Typed by hand, row by row, from the rule book: permissions, and a letter for each role.
TABLE = [
    ("accounts.view_group accounts.view_user tasks.view_job tasks.view_task", "YYY-YY-"),
    (
        "tasks.claim_task tasks.start_task tasks.stop_task tasks.release_task tasks.assign_task "
        "tasks.delegate_task tasks.forward_task tasks.transfer_task tasks.suspend_task "
        "tasks.resume_task tasks.save_task tasks.complete_task tasks.finish_task tasks.fail_task "
        "tasks.skip_task tasks.comment_task tasks.attach_task tasks.undo_task",
        "YYYY---",
    ),
    (
        "tasks.add_task tasks.activate_task tasks.nominate_task tasks.change_task "
        "tasks.set_priority_task tasks.grant_task tasks.exit_task tasks.raise_error_task "
        "tasks.add_job tasks.change_job tasks.delete_job",
        "YY-Y---",
    ),
    ("tasks.reopen_task tasks.delete_task", "Y------"),
    ("tasks.retry_task", "------Y"),
    ("tasks.administrator", "Y--Y---"),
    ("tasks.reader", "Y---YY-"),
    (
        "accounts.add_user accounts.change_user accounts.delete_user accounts.add_group "
        "accounts.change_group accounts.delete_group accounts.view_role accounts.add_role "
        "accounts.change_role accounts.delete_role accounts.grant_any_role "
        "accounts.view_token accounts.add_token accounts.change_token accounts.delete_token "
        "accounts.view_accountevent",
        "Y------",
    ),
    ("tasks.release_others_task", "YYYY---"),
]
LIMITS = [None, 50_000, 10_000, None, 0, 0, 0]


def test_the_file_is_the_table() -> None:
    granted: dict[str, set[str]] = {name: set() for name in NAMES}
    for permissions, marks in TABLE:
        for name, mark in zip(NAMES, marks, strict=True):
            if mark == "Y":
                granted[name] |= set(permissions.split())
    found = {role.name: set(role.permissions) for role in roles.system_roles()}
    assert found == granted
    assert {role.name: role.bulk_limit for role in roles.system_roles()} == dict(
        zip(NAMES, LIMITS, strict=True)
    )


def test_every_permission_of_the_file_is_defined_by_a_model() -> None:
    assert roles.check_role_file(None) == []


def test_the_check_names_what_no_model_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [roles.SystemRole("admin", "", None, ("tasks.view_task", "tasks.fly_task"))]
    monkeypatch.setattr(roles, "system_roles", lambda: wanted)
    assert [warning.msg for warning in roles.check_role_file(None)] == [
        "fixtures/roles.json grants tasks.fly_task to admin, but no model defines it."
    ]


@pytest.mark.django_db
class TestLoading:
    def stored(self, name: str) -> set[str]:
        return {
            f"{permission.content_type.app_label}.{permission.codename}"
            for permission in Role.objects.get(name=name).permissions.select_related("content_type")
        }

    def test_all_are_there_with_all_they_grant(self) -> None:
        for role in roles.system_roles():
            assert self.stored(role.name) == set(role.permissions)
        assert set(Role.objects.values_list("provenance", flat=True)) == {"OperationsManager"}

    def test_loading_again_changes_nothing_and_says_nothing(self) -> None:
        before = AccountEvent.objects.count()
        roles.load_system_roles()
        assert AccountEvent.objects.count() == before

    def test_what_a_site_took_away_or_added_stays(self) -> None:
        role = Role.objects.get(name="viewer")
        taken = Permission.objects.get(codename="view_job")
        added = Permission.objects.get(codename="claim_task")
        role.permissions.remove(taken)
        role.permissions.add(added)
        Role.objects.filter(pk=role.pk).update(bulk_limit=7, description="Ours")
        roles.load_system_roles()
        role.refresh_from_db()
        assert (role.bulk_limit, role.description) == (7, "Ours")
        assert "tasks.claim_task" in self.stored("viewer")
        assert "tasks.view_job" not in self.stored("viewer")

    def test_a_permission_that_a_release_brings_is_granted_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = [roles.SystemRole("viewer", "", 0, ("tasks.view_task", "tasks.fly_task"))]
        monkeypatch.setattr(roles, "system_roles", lambda: wanted)
        roles.load_system_roles()
        assert "tasks.fly_task" not in self.stored("viewer")
        fly = Permission.objects.create(
            codename="fly_task",
            name="Can fly",
            content_type=Permission.objects.get(codename="view_task").content_type,
        )
        roles.load_system_roles()
        assert "tasks.fly_task" in self.stored("viewer")
        event = AccountEvent.objects.first()
        assert event is not None
        assert (event.event, event.subject) == ("role_changed", "role viewer")
        assert event.after == {"permissions": ["tasks.fly_task"]}
        Role.objects.get(name="viewer").permissions.remove(fly)
        roles.load_system_roles()
        assert "tasks.fly_task" not in self.stored("viewer")

    def test_a_missing_role_comes_back(self) -> None:
        Role.objects.get(name="viewer").delete()
        roles.load_system_roles()
        assert "tasks.view_task" in self.stored("viewer")
