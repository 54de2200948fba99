"""The numbers of the first page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse

from accounts.models import User
from tasks import reading

from . import bulk
from .filters import VIEWS

MOST = 1000
"""Counted no further, so that the page is as quick with a million tasks."""

RECENT = 5


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with its name and the list behind it."""

    label: str
    number: str
    url: str
    note: str = ""
    urgent: bool = False


def context(user: User) -> dict[str, Any]:
    """What the first page shows to an account that may read tasks."""
    visible = reading.visible(user)
    late = _count(VIEWS["overdue"].choose(visible, user))
    return {
        "tiles": [
            Tile(
                "Unassigned", _count(visible.available_to(user)), _url("available"), "free to claim"
            ),
            Tile("Mine", _count(visible.held_by(user)), _url("mine"), "that you hold"),
            Tile("On hold", _count(visible.filter(on_hold=True)), _url("on_hold"), "waiting"),
            Tile("Overdue", late, _url("overdue"), "past their due date", urgent=late != "0"),
        ],
        "recent": [
            (bulk.label(each), each, bulk.standing(each))
            for each in bulk.recent_of(user).order_by("-created_at")[:RECENT]
        ],
    }


def _count(tasks: QuerySet[Any]) -> str:
    found = tasks.order_by()[: MOST + 1].count()
    return f"{MOST:,}+" if found > MOST else f"{found:,}"


def _url(view: str) -> str:
    return f"{reverse('admin:tasks_task_changelist')}?{urlencode({'view': view})}"
