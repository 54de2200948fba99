"""What this face shows: the task document, accounts and groups as Itential writes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.db.models import Q
from django.utils import timezone

from accounts.models import Group, Role, User
from tasks.errors import NotPermitted
from tasks.imports import NOBODY, STATES, iso, secret_pointers
from tasks.lifecycle import ENDED, Kind, State, permission_for
from tasks.masking import MASK, masked
from tasks.models import Job, Task
from tasks.reading import VIEW, Reading
from tasks.roles import TaskRole

STATUS = {
    State.CREATED: "incomplete",
    State.READY: "running",
    State.RESERVED: "running",
    State.IN_PROGRESS: "running",
    State.COMPLETED: "complete",
    State.FAILED: "failure",
    State.ERROR: "error",
    State.EXITED: "canceled",
    State.OBSOLETE: "canceled",
    State.EXPIRED: "canceled",
}
"""The status of a task that is not on hold: whether somebody holds it makes no difference."""

TARGETS = frozenset({"job", "child-job-output", "accounts.metrics.owner"})
"""What a single task can be asked to expand (spec, 2.5). Jobs here have no child jobs."""

METHODS = {
    "getTask": (VIEW, "/operations-manager/tasks/:id"),
    "claimTask": (permission_for("claim"), "/operations-manager/tasks/:taskId/claim"),
    "assignTask": (permission_for("assign"), "/operations-manager/tasks/:taskId/assign"),
    "releaseTask": (permission_for("release"), "/operations-manager/tasks/:taskId/release"),
    "finishManualTask": (
        permission_for("finish"),
        "/operations-manager/jobs/:jobId/tasks/:taskId/finish",
    ),
    "retryTask": (
        permission_for("retry"),
        "/operations-manager/jobs/:jobId/tasks/:taskId/retry",
    ),
    "getJob": (VIEW, "/operations-manager/jobs/:id"),
}
"""Each method of this face with the permission that it takes and its route."""

_DEFAULTS = {"location": "Application", "view": None, "app": "HumanTasks"}
"""What a task that was made here says of where it runs."""

_MERGED = frozenset({"status", "variables", "job", "metrics"})
"""Imported members that stand within members made here."""

_SETTLED = frozenset({"end_time", "finish_state", "run_time", "user", "owner"})
"""Imported metrics that tell how the task ended, or that it has not."""

_OF_JOBS = frozenset(
    (
        "font_size type created last_updated createdVersion lastUpdatedVersion canvasVersion "
        "encodingVersion migrationVersion preAutomationTime sla status tags ancestors namespace "
        "created_by last_updated_by parent groups watchers metrics uuid"
    ).split()
)
"""Imported members of a job that tell nothing of its other tasks, which may be hidden."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def task_document(reading: Reading, dereference: Collection[str] = ()) -> dict[str, Any]:
    """The task as spec 1.6 has it; members of an imported document come back as they were.

    `dereference` are those of TARGETS to expand, for `reading`'s account.
    """
    task = reading.task
    imported = task.imported
    document: dict[str, Any] = {
        "_id": str(task.pk),
        **_DEFAULTS,
        "status": _status(task),
        "name": task.name,
        "variables": _variables(reading),
        "last_updated": iso(task.updated_at),
        "encodingVersion": 1,
        "incomingRefs": [],
        "groups": _groups(reading),
        "type": task.kind,
        "metrics": _metrics(task),
        **{name: value for name, value in imported.items() if name not in _MERGED},
    }
    if task.job is not None:
        document["job"] = _job(task, task.job, whole="job" in dereference)
    if task.owner is not None and "accounts.metrics.owner" in dereference:
        document["metrics"]["owner"] = account(task.owner)
    return document


def _status(task: Task) -> str:
    if task.on_hold:
        return "paused"
    if task.state == State.CREATED:
        start_time = task.imported.get("metrics", {}).get("start_time")
        if start_time and datetime.fromisoformat(start_time) > timezone.now():
            return "scheduled"
    return STATUS[State(task.state)]


def _variables(reading: Reading) -> dict[str, Any]:
    kept = dict(reading.task.imported.get("variables", {}))
    decorators = kept.pop("decorators", [])
    theirs = [pointer for item in decorators for pointer in secret_pointers(item["pointer"])]
    ours = [pointer for pointer in reading.task.secret_pointers if pointer not in theirs]
    if reading.masks:
        for item in decorators:
            whole = item["pointer"] == ""
            kept = dict.fromkeys(kept, MASK) if whole else masked(kept, [item["pointer"]])
    variables = {
        **kept,
        "incoming": _as_object(reading.input),
        "outgoing": _as_object(reading.output),
        "decorators": [
            *decorators,
            *({"type": "encryption", "pointer": _pointer(pointer)} for pointer in ours),
        ],
    }
    if reading.fault is not None:
        variables["error"] = reading.fault
    return variables


def _as_object(value: Any) -> dict[str, Any]:
    """Data that this dialect wants as an object; what is none becomes the value of one."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


def _pointer(pointer: str) -> str:
    """A pointer into our data as one into `variables`."""
    _, member, *rest = pointer.split("/")
    names = {"input": "incoming", "output": "outgoing", "fault": "error"}
    return "/".join(["", names.get(member, member), *rest])


def _groups(reading: Reading) -> list[str]:
    """The groups that may work on it; none is how Itential says that everybody may."""
    _, groups = reading.people.get(TaskRole.POTENTIAL_OWNER, ([], []))
    return [] if any(group.is_builtin for group in groups) else [g.object_id for g in groups]


def _metrics(task: Task) -> dict[str, Any]:
    kept = task.imported.get("metrics", {})
    ended = task.state in ENDED
    was_ended = STATES.get(task.imported.get("status", "")) in ENDED
    if ended != was_ended:  # what the document said of the end holds no longer
        kept = {name: value for name, value in kept.items() if name not in _SETTLED}
    metrics: dict[str, Any] = {"user": NOBODY, "owner": NOBODY}
    if task.kind != Kind.MANUAL:
        metrics["retrying"] = None
    if ended and not was_ended:
        metrics["finish_state"] = "success" if task.state == State.COMPLETED else _status(task)
        if task.ended_at:
            started = task.activated_at or task.created_at
            metrics["run_time"] = (task.ended_at - started) // _MILLISECOND
        if task.owner:
            metrics["user"] = task.owner.object_id
    metrics |= kept
    if task.activated_at:
        metrics["start_time"] = iso(task.activated_at)
    if task.claimed_at:
        metrics["claim_time"] = iso(task.claimed_at)
    if task.ended_at:
        metrics["end_time"] = _milliseconds(task.ended_at)
    if task.owner:
        metrics["owner"] = task.owner.object_id
    return metrics


def _job(task: Task, job: Job, *, whole: bool) -> dict[str, Any]:
    named = {"_id": job.object_id, "name": job.name, "description": job.description or None}
    ancestors = job.imported.get("ancestors", [job.object_id])
    if whole:
        more = {name: value for name, value in job.imported.items() if name in _OF_JOBS}
        return {**more, **named, "ancestors": ancestors}
    return {
        **named,
        "task": task.short_id,
        "ancestors": ancestors,
        **task.imported.get("job", {}),
    }


JOB_TARGETS = frozenset({"tasks", "accounts.createdBy"})
"""What a job can be asked to expand (spec, 2.5); who created a job is not kept here."""


def job_document(
    job: Job, readings: Sequence[Reading], dereference: Collection[str] = ()
) -> dict[str, Any]:
    """The job as spec 1.7 has it, as far as it is known here: by those of its tasks in `readings`.

    Status, times and progress are theirs, since a job has none of its own. Imported members that
    tell nothing of other tasks come back as they were. `dereference` are those of JOB_TARGETS to
    expand.
    """
    tasks = [reading.task for reading in readings]
    kept = {name: value for name, value in job.imported.items() if name in _OF_JOBS}
    ended = [task for task in tasks if task.state in ENDED]
    started = min((task.activated_at or task.created_at for task in tasks), default=job.created_at)
    metrics: dict[str, Any] = {
        "user": None,
        "owner": None,
        **kept.pop("metrics", {}),
        "start_time": _milliseconds(started),
        "progress": len(ended) / len(tasks) if tasks else 0,
    }
    metrics.pop("end_time", None)
    if tasks and len(ended) == len(tasks):
        metrics["end_time"] = max(_milliseconds(task.ended_at or started) for task in tasks)
    return {
        "type": "automation",
        "created": iso(job.created_at),
        "encodingVersion": 1,
        "ancestors": [job.object_id],
        "parent": None,
        "groups": ["default"],
        "watchers": [],
        "warnings": [],
        "validationErrors": [],
        **kept,
        "_id": job.object_id,
        "name": job.name,
        "description": job.description or None,
        "status": _job_status(tasks),
        "last_updated": iso(max((task.updated_at for task in tasks), default=job.created_at)),
        "variables": {"_id": job.object_id},
        "error": [_job_error(reading) for reading in readings if reading.task.state in FAILING],
        "metrics": metrics,
        "tasks": {
            reading.task.short_id or str(reading.task.pk): _job_task(reading, dereference)
            for reading in readings
        },
    }


FAILING = (State.FAILED, State.ERROR)
"""The states that a job is in error for, until somebody has tried again."""


def _job_status(tasks: Sequence[Task]) -> str:
    """The status of the job that these tasks make: one of the six a job may have."""
    states = {task.state for task in tasks}
    if not states.isdisjoint(FAILING):
        return "error"
    running = [task for task in tasks if task.state not in ENDED]
    if any(task.state != State.CREATED and not task.on_hold for task in running):
        return "running"
    if running:
        return "paused" if any(task.on_hold for task in running) else "incomplete"
    return "complete" if State.COMPLETED in states else "canceled"


def _job_error(reading: Reading) -> dict[str, Any]:
    task, fault = reading.task, reading.fault
    message = task.fault_name or "The task has failed." if fault is None else fault
    return {
        "task": task.short_id or str(task.pk),
        "message": message if isinstance(message, str) else _as_object(message),
        "timestamp": _milliseconds(task.ended_at or task.updated_at),
    }


def _job_task(reading: Reading, dereference: Collection[str]) -> dict[str, Any]:
    """A task as its job shows it: a node, whose iteration is the task itself."""
    task, document = reading.task, task_document(reading)
    metrics = document["metrics"]
    return {
        **{name: document[name] for name in _OF_NODES},
        "canvasName": task.name,
        "displayName": document["app"],
        "description": task.description or None,
        "locationType": None,
        "owner": metrics["owner"],
        "taskId": task.short_id or str(task.pk),
        "iterations": [document if "tasks" in dereference else str(task.pk)],
        "retrySettings": None,
        "scheduled": document["status"] == "scheduled",
        **{name: metrics[name] for name in _METRICS_OF_NODES if name in metrics},
    }


_OF_NODES = ("name", "location", "app", "type", "variables", "groups", "status")
_METRICS_OF_NODES = ("start_time", "end_time", "finish_state")


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MILLISECOND


def account(user: User) -> dict[str, Any]:
    """An account as it stands within another document (spec, 1.6)."""
    return {
        "_id": user.object_id,
        "provenance": user.provenance,
        "username": user.username,
        "firstname": user.get_short_name(),
        "memberOf": [
            {"groupId": membership.group.object_id, "aaaManaged": False}
            for membership in user.memberships.select_related("group").order_by("group__name")
        ],
        "assignedRoles": [{"roleId": role.object_id} for role in user.roles.all()],
        "inactive": not user.is_active,
    }


def may_expand(user: User, targets: Collection[str]) -> None:
    """Raise NotPermitted for a target that shows an account who may not look people up."""
    if "accounts.metrics.owner" in targets and not user.has_perm("accounts.view_user"):
        raise NotPermitted(operation="look up people")


def identity(user: User, *, role_names: bool = False) -> dict[str, Any]:
    """Who one is and what one may do here (spec, 5.2, /whoami); `roles` holds names or ids."""
    member_of = user.effective_group_ids()
    groups = Group.objects.filter(pk__in=member_of, is_builtin=False)
    roles = Role.objects.filter(Q(users=user) | Q(groups__in=member_of)).distinct()
    methods = [name for name, (permission, _) in METHODS.items() if user.has_perm(permission)]
    return {
        "id": user.object_id,
        "provenance": user.provenance,
        "username": user.username,
        "firstname": user.get_short_name(),
        "groups": [
            {"id": group.object_id, "provenance": group.provenance, "name": group.name}
            for group in groups
        ],
        "roles": [role.name if role_names else role.object_id for role in roles],
        "roleNames": [role.name for role in roles],
        "routes": [METHODS[name][1] for name in methods],
        "methods": {"OperationsManager": methods},
    }


# --- Projection (spec, 2.1) ---------------------------------------------------------------------

Tree = dict[str, Any]
"""Dotted paths by their steps; None stands for all that lies below."""


def project(
    document: dict[str, Any], include: Collection[str], exclude: Collection[str]
) -> dict[str, Any]:
    """The document with only the paths of `include`, or else without those of `exclude`.

    With `include` comes `_id`, unless it is excluded. Paths that lead nowhere are passed over.
    """
    if not include:
        return cast("dict[str, Any]", _without(document, _tree(exclude)))
    return cast("dict[str, Any]", _only(document, _tree({*include, "_id"} - {*exclude})))


def _tree(paths: Iterable[str]) -> Tree:
    tree: Tree = {}
    for path in sorted(paths):  # a path comes before those below it, which it makes needless
        *parents, last = path.split(".")
        node = tree
        for step in parents:
            below = node.setdefault(step, {})
            if below is None:
                break
            node = below
        else:
            node[last] = None
    return tree


def _only(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [_only(item, tree) for item in value if isinstance(item, (dict, list))]
    return {
        name: child if tree[name] is None else _only(child, tree[name])
        for name, child in value.items()
        if name in tree and (tree[name] is None or isinstance(child, (dict, list)))
    }


def _without(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [_without(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without(child, tree[name]) if name in tree else child
        for name, child in value.items()
        if tree.get(name, tree) is not None
    }
