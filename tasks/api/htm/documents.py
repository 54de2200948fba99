"""What this face shows: the task, who holds a role, what may be done, what has happened."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from accounts.models import EVERYBODY, Group, User
from tasks import actions
from tasks.actions import Call
from tasks.lifecycle import Kind, State
from tasks.models import AuditEvent, Task
from tasks.reading import Reading
from tasks.roles import COLUMNS, TaskRole

from . import words
from .ids import tkiid
from .times import written

KEY = "tkiid"
"""The member by which the items of a list are told apart, its `identifier` (section 1.2)."""


def task_document(task: Task) -> dict[str, Any]:
    """The task as section 2 has it; a member without a value is left out.

    Whether it is on hold stands there in both spellings, since IBM's is not known (section 6).
    """
    times = {
        "activationTime": task.activated_at,
        "completionTime": task.ended_at,
        "dueTime": task.due_at,
        "expirationTime": task.expires_at,
        "lastModificationTime": task.updated_at,
        "resumptionTime": task.wakeup_at,
        "startTime": task.claimed_at,
    }
    people = {role: getattr(task, role) for role in COLUMNS}
    return {
        KEY: tkiid(task.pk),
        "assignmentType": "ASSIGNMENT_TYPE_SINGLE",
        "customProperties": task.custom_properties,
        "description": task.description,
        "displayName": task.name,
        "isSuspended": task.on_hold,
        "kind": words.KINDS[Kind(task.kind)],
        "name": task.name,
        "positionInHierarchy": (
            "HIERARCHY_POSITION_TOP_TASK"
            if task.parent_id is None
            else "HIERARCHY_POSITION_SUB_TASK"
        ),
        "priority": task.priority,
        "state": words.STATES[State(task.state)],
        "supportsAutomaticClaim": task.automatic_claim,
        "supportsClaimIfSuspended": task.claim_while_on_hold,
        "suspended": task.on_hold,
        **({} if task.parent_id is None else {"parentContextID": tkiid(task.parent_id)}),
        **{str(role): user.username for role, user in people.items() if user is not None},
        **{name: written(at) for name, at in times.items() if at is not None},
    }


def task_list(tasks: Iterable[Task]) -> dict[str, Any]:
    """A list of tasks (section 1.2)."""
    return {"identifier": KEY, "items": [task_document(task) for task in tasks]}


def staff(reading: Reading, role: TaskRole) -> dict[str, Any]:
    """Who holds a task role (section 1.8); where everybody does, nobody is named besides."""
    users: list[User]
    groups: list[Group]
    if role in COLUMNS:
        holder = getattr(reading.task, role)
        users, groups = [holder] if holder else [], []
    else:
        users, groups = reading.people.get(role, ([], []))
    if any(group.is_builtin for group in groups):
        return {"staffResultSet": {"resultType": "RESULT_TYPE_EVERYBODY"}}
    kinds = [name for name, some in (("USERIDS", users), ("GROUPIDS", groups)) if some]
    result: dict[str, Any] = {"resultType": f"RESULT_TYPE_{'_AND_'.join(kinds) or 'NOBODY'}"}
    if users:
        result["userIDs"] = [user.username for user in users]
    if groups:
        result["groupIDs"] = [group.name for group in groups]
    return {"staffResultSet": result}


def permitted(task: Task, call: Call, asked: Collection[str]) -> list[str]:
    """The actions among those asked about that a reader of the task may do now (section 1.11)."""
    answers = {answer.name: answer for answer in actions.answers(task, call)}
    properties = answers["update"].permitted_rows
    found = {*words.READING}
    found |= {name for name, operation in words.ACTIONS.items() if not answers[operation].error}
    found |= {name for name, row in words.UPDATES.items() if row in properties}
    return sorted(found & set(asked))


# --- History (section 1.13) ---------------------------------------------------------------------


def history(task: Task, events: Iterable[AuditEvent]) -> dict[str, Any]:
    """What has happened to a task."""
    return {KEY: tkiid(task.pk), "items": [_item(event) for event in events]}


def _item(event: AuditEvent) -> dict[str, Any]:
    role = _role(event)
    item = {
        "event": _name(event, role),
        "eventTime": written(event.at),
        "principal": event.actor,
    }
    if item["event"].startswith("TaskWorkItem") and role is not None:
        if role in words.REASONS:
            item["assignmentReason"] = words.REASONS[role]
        for member, values in (("fromID", event.before), ("toID", event.after)):
            kind, name = _holder(values.get(role))
            if name:
                item |= {"idKind": f"WORK_ITEM_KIND_{kind}", member: name}
    return item


def _role(event: AuditEvent) -> TaskRole | None:
    """The task role that changed hands, for an event that is about one."""
    if event.event in ("assigned", "delegated"):
        return TaskRole.OWNER
    if event.event == "forwarded":
        return TaskRole.POTENTIAL_OWNER
    names = {f"{role}{end}": role for role in TaskRole for end in words.WORK_ITEM_EVENTS}
    return names.get(event.event)


def _name(event: AuditEvent, role: TaskRole | None) -> str:
    before, after = event.before, event.after
    if role is TaskRole.EXCLUDED_OWNER:
        return "TaskUpdated"  # IBM has no such role, and to be excluded is no work item
    if event.event in ("assigned", "delegated") and before.get("owner"):
        return "TaskWorkItemTransferred"
    if role is not None and event.event not in words.EVENTS:
        return words.WORK_ITEM_EVENTS[event.event.removeprefix(role)]
    if after.get("state") == State.FAILED:
        return "TaskFailed"
    if event.event == "started" and "owner" in after:
        return "TaskClaimed"
    if event.event == "updated" and set(after) == {"custom_properties"}:
        return "TaskCustomPropertySet"
    if event.event == "updated" and set(after) == {"input"}:
        return "TaskInputMessageUpdated"
    return words.EVENTS[event.event]


def _holder(value: Any) -> tuple[str, str]:
    """Kind and name of a holder as the audit writes one: a name, or {"user" or "group": name}."""
    if not isinstance(value, dict):
        return "USER", value or ""
    ((kind, name),) = value.items()
    return ("EVERYBODY" if kind == "group" and name == EVERYBODY else kind.upper()), name
