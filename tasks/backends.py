"""Lets any Django code ask for task roles: `user.has_perm("tasks.reader", task)`."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from guardian.backends import ObjectPermissionBackend

from .models import Task
from .roles import TaskRole
from .work_items import roles_of


class TaskRoleBackend(ObjectPermissionBackend):
    """Guardian's backend with the core's answers: nested groups, leads and roles everywhere count.

    A superuser counts as administrator of every task and never holds another role by being one.
    """

    def has_perm(self, user_obj: Any, perm: str, obj: Model | None = None) -> bool:
        """Whether an account holds the task role `perm` (with or without "tasks.") on a task."""
        if not isinstance(obj, Task) or not user_obj.is_authenticated:
            return False
        return perm.removeprefix("tasks.") in roles_of(user_obj, obj)

    def get_all_permissions(self, user_obj: Any, obj: Model | None = None) -> set[str]:
        """All task roles of an account on a task, as permission names; empty without a task."""
        if not isinstance(obj, Task) or not user_obj.is_authenticated:
            return set()
        return {f"tasks.{TaskRole(role)}" for role in roles_of(user_obj, obj)}

    def get_group_permissions(self, user_obj: Any, obj: Model | None = None) -> set[str]:
        """Nothing: where a role comes from is not told apart here."""
        return set()
