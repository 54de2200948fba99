"""What the admin says in words: states, reasons, roles, times, and the events of the audit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.template.defaultfilters import date as format_date
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.models import Group, User
from tasks.errors import CallError, StaleTask, TaskError, TaskNotFound
from tasks.lifecycle import OPEN, State
from tasks.models import Task
from tasks.people import Reference, named
from tasks.roles import TaskRole

NOBODY = "nobody"
LONGEST = 300
"""Characters of one value that the timeline shows; more are cut, and it says so."""

_EVENTS = {
    "created": "created the task",
    "imported": "imported the task",
    "claimed": "claimed it",
    "released": "released it",
    "claim_cancelled": "gave it back and discarded its result",
    "assigned": "assigned it",
    "owner_transferred": "handed it over",
    "completed": "completed it",
    "activated": "activated it",
    "nominated": "nominated people for it",
    "started": "started it",
    "stopped": "stopped working on it",
    "delegated": "delegated it",
    "forwarded": "forwarded it",
    "suspended": "put it on hold",
    "suspended_and_released": "released it and put it on hold",
    "resumed": "took it off hold",
    "output_saved": "saved a result",
    "fault_saved": "saved a fault",
    "failed": "reported that it failed",
    "skipped": "skipped it",
    "exited": "cancelled it",
    "error_raised": "raised an error",
    "expired": "let it expire",
    "became_unclaimable": "found that nobody is left who could claim it",
    "became_claimable": "found that it needs nobody any more, or has somebody again",
    "reopened": "reopened it",
    "retried": "made it ready once more",
    "priority_set": "set its priority",
    "updated": "changed it",
    "commented": "commented",
    "attached": "attached a file",
    "finished": "finished it",
}
_BY_ROLE = {
    "_transferred": "handed over the role {role}",
    "_granted": "gave the role {role}",
    "_revoked": "took away the role {role}",
}
_OWN_WORDS = {
    TaskNotFound.code: "It is not there any more, or not for you.",
    StaleTask.code: "It was changed meanwhile.",
}


def state_chip(task: Task) -> SafeString:
    """The state as people see it, and that the task is on hold."""
    chips = [(task.state, State(task.state).label), *([("hold", "On hold")] * task.on_hold)]
    return format_html_join(" ", '<span class="chip chip-{}">{}</span>', chips)


def is_overdue(task: Task) -> bool:
    """Whether an open task should have been done by now."""
    return task.due_at is not None and task.state in OPEN and task.due_at < timezone.now()


def moment(at: datetime | None) -> SafeString | str:
    """A time in the reader's time zone, with the year where it is not this one."""
    if at is None:
        return "–"
    local = timezone.localtime(at)
    pattern = "j M, H:i" if local.year == timezone.localtime().year else "j M Y, H:i"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.isoformat(),
        format_date(local, "l j F Y, H:i:s T"),
        format_date(local, pattern),
    )


def due(task: Task) -> SafeString | str:
    """The due date, marked where it has passed."""
    if is_overdue(task):
        return format_html(
            '<span class="overdue">{} <span class="mark">overdue</span></span>', moment(task.due_at)
        )
    return moment(task.due_at)


def age(since: datetime) -> str:
    """How long ago, in its largest unit."""
    seconds = max(0, int((timezone.now() - since).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return "now"


def reason(code: str, detail: str) -> str:
    """Why a task was refused: alike for all tasks with the same reason, in words people know."""
    if code in _OWN_WORDS:
        return _OWN_WORDS[code]
    return re.sub(
        r"\bin state (\w+)",
        lambda found: f"that is “{State(found[1]).label}”" if found[1] in set(State) else found[0],
        detail,
    )


def reason_of(error: TaskError) -> str:
    """As `reason`, of an error at hand."""
    return reason(error.code, error.text)


def holder(found: User | Group) -> str:
    """An account or group as people tell them apart."""
    group = " (group)" if isinstance(found, Group) else ""
    return f"{named(found)}{group}{'' if found.is_active else ' (inactive)'}"


def referred(value: Mapping[str, str] | None, actor: User) -> str:
    """The holder that a stored reference means; without one the actor."""
    if value is None:
        return actor.username
    try:
        return holder(Reference(**value).find())  # type: ignore[arg-type]
    except CallError as error:
        return error.text


def role(value: str) -> str:
    """A task role in words; of an unknown one its name."""
    return TaskRole(value).label if value in set(TaskRole) else value


def event(name: str) -> str:
    """What somebody did, as it follows their name."""
    if name in _EVENTS:
        return _EVENTS[name]
    for suffix, words in _BY_ROLE.items():
        if name.endswith(suffix):
            return words.format(role=role(name.removesuffix(suffix)))
    return name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Change:
    """One value before and after."""

    what: str
    before: str
    after: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What an event changed, value by value."""
    return [
        Change(role(name).replace("_", " "), _value(name, before), _value(name, after))
        for name in dict.fromkeys([*before, *after])
        if name != "merged"
    ]


def _value(name: str, values: Mapping[str, Any]) -> str:
    value = values.get(name)
    if name == "state" and value in set(State):
        return State(value).label
    if isinstance(value, dict) and len(value) == 1 and set(value) <= {"user", "group"}:
        ((kind, who),) = value.items()
        return f"{who}{' (group)' if kind == 'group' else ''}"
    if value is None:
        return NOBODY if name in set(TaskRole) else "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
