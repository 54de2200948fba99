"""New tasks: made by people and engines, or taken over from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, cast

from django.db import IntegrityError, connection, transaction

from accounts import sql
from accounts.models import EVERYBODY, Group, User
from tasks import errors, events, metrics, people, work_items
from tasks.calls import Call
from tasks.lifecycle import ENDED, Kind, State
from tasks.masking import masked_data
from tasks.models import BulkOperation, Channel, Job, Task, canonical
from tasks.people import Reference
from tasks.querysets import scope_of
from tasks.roles import GRANTED, TaskRole

from .fields import check_task
from .statement import NEW_COLUMNS, TASK_FIELDS, insert, new_values
from .units import UNIT


@dataclass(slots=True)
class Draft:
    """A task to be: its fields, unsaved, and the people named for each granted role."""

    task: Task
    people: Mapping[TaskRole, Sequence[Reference]] = field(default_factory=dict)


def demand_creator(call: Call) -> None:
    """Raise NotPermitted unless the actor may create tasks."""
    if not call.may("tasks.add_task", "create"):
        raise errors.NotPermitted(operation="create tasks")


def create(drafts: Sequence[Draft], *, call: Call, waiting: bool = False) -> list[Task]:
    """Make tasks, ready to be claimed or, if `waiting`, created and to be activated later.

    Everybody is potential owner where none is named, the originator administrator. A task that
    asks for automatic claim and has exactly one user as potential owner is his from the start. A
    job that is not stored yet is made with them. A bulk call makes all tasks or none, and is
    recorded.
    Raises NotPermitted, InvalidArgument, ExternalIdTaken, KeyInUse, and what
    `Reference.receiver` raises.
    """
    demand_creator(call)
    in_new_jobs = [d.task for d in drafts if d.task.job and d.task.job._state.adding]
    if in_new_jobs and not call.may("tasks.add_job"):
        raise errors.NotPermitted(operation="create jobs")
    found = _find_people(drafts, Reference.receiver)
    everybody = cache(_everybody)
    with transaction.atomic(durable=True):
        if call.once is not None:
            call.once.begin()
        for task in in_new_jobs:
            job = cast(Job, task.job)
            if job._state.adding:  # several tasks may share it
                job.save(force_insert=True)
            task.job = job
        _lock_parents(drafts)
        at = _clock()
        for draft, named in zip(drafts, found, strict=True):
            task = draft.task
            check_task(task)
            task.originator = call.actor
            task.created_at = task.updated_at = at
            task.state = State.CREATED
            _default_people(task, named, everybody)
            _demand_scope(call, named)
            if not waiting:
                task.state, task.starter, task.activated_at = State.READY, call.actor, at
                _claim_automatically(task, named, at)
        tasks = _insert(drafts, found, "created", call, at)
        if call.bulk:
            BulkOperation.objects.create(
                pk=call.operation_id,
                operation="create",
                reason=call.reason,
                actor=call.actor,
                channel=call.channel,
                request_id=call.request_id,
                ids=[task.pk for task in tasks],
                versions=[0] * len(tasks),  # those they had before
                processed=len(tasks),
                done_count=len(tasks),
                scope_group_ids=scope_of(call.actor),
                created_at=at,
                finished_at=at,
            )
        if call.once is not None:
            call.once.keep(tasks)
    metrics.count("create", {metrics.DONE: len(tasks)})
    return tasks


def import_(drafts: Iterable[Draft], *, call: Call) -> list[Task]:
    """Take over tasks from elsewhere in whatever state they are; for commands only.

    One event for each, with the whole state in "after". Raises as `create`. The drafts are walked
    within the transaction: a generator may make the accounts and jobs that they need on its way.
    """
    if call.channel != Channel.COMMAND:
        raise errors.NotPermitted(operation="import tasks")
    with transaction.atomic(durable=True):
        drafts = list(drafts)
        found = _find_people(drafts, Reference.find)
        everybody = cache(_everybody)
        for draft, named in zip(drafts, found, strict=True):
            check_task(draft.task)
            _default_people(draft.task, named, everybody)
        return _insert(drafts, found, "imported", call, _clock())


NamedPeople = dict[TaskRole, tuple[list[User], list[Group]]]


def _lock_parents(drafts: Sequence[Draft]) -> None:
    """Hold the parents as they are, so that none is ended or put on hold without its new subtask.

    Raises InvalidArgument for one that is gone, has ended or is on hold (IBM, Task, POST).
    """
    ids = {draft.task.parent_id for draft in drafts if draft.task.parent_id is not None}
    if not ids:
        return
    # The system's view: whether the caller may see a parent, the face has asked.
    found = work_items.lock(sorted(ids), None)
    if len(found) < len(ids):  # removed since the caller saw it
        raise errors.InvalidArgument(field="parent", why="there is no such task")
    for task in found.values():
        if task.state in ENDED:
            raise errors.InvalidArgument(field="parent", why="it has ended")
        if task.on_hold:
            raise errors.InvalidArgument(field="parent", why="it is on hold")


def _clock() -> datetime:
    ((now,),) = sql.run("select clock_timestamp()", {})
    return cast(datetime, now)


def _find_people(
    drafts: Sequence[Draft], find: Callable[[Reference], User | Group]
) -> list[NamedPeople]:
    """The people of each draft, each looked up once; leavers and empty groups may be imported."""
    known: dict[Reference, User | Group] = {}
    found: list[NamedPeople] = []
    for draft in drafts:
        named: NamedPeople = {}
        for role, references in draft.people.items():
            if role not in GRANTED:
                raise errors.UnknownRole(role=role)
            users, groups = named.setdefault(role, ([], []))
            for reference in references:
                if reference not in known:
                    known[reference] = find(reference)
                holder = known[reference]
                if isinstance(holder, User):
                    users.append(holder)
                else:
                    groups.append(holder)
        found.append(named)
    return found


def _everybody() -> Group:
    return Group.objects.get(name=EVERYBODY)


def _default_people(task: Task, named: NamedPeople, everybody: Callable[[], Group]) -> None:
    """The defaults of the rule book: nobody is named by mistake, and somebody is responsible."""
    if not any(named.get(TaskRole.POTENTIAL_OWNER, ())):
        named[TaskRole.POTENTIAL_OWNER] = ([], [everybody()])
    if not any(named.get(TaskRole.ADMINISTRATOR, ())) and task.originator:
        named[TaskRole.ADMINISTRATOR] = ([task.originator], [])


def _demand_scope(call: Call, named: NamedPeople) -> None:
    """Raise NotPermitted for a task that the token of the call would not even see."""
    groups = call.actor.scope.groups if call.actor else None
    _, potential_owners = named[TaskRole.POTENTIAL_OWNER]
    if groups is not None and groups.isdisjoint(group.pk for group in potential_owners):
        raise errors.NotPermitted(operation="create tasks for other groups with this token")


def _claim_automatically(task: Task, named: NamedPeople, at: datetime) -> None:
    users, groups = named[TaskRole.POTENTIAL_OWNER]
    if not task.automatic_claim or groups or len(set(users)) != 1 or task.kind != Kind.MANUAL:
        return
    excluded_users, excluded_groups = named.get(TaskRole.EXCLUDED_OWNER, ([], []))
    if users[0] in excluded_users or any(
        group.pk in users[0].effective_group_ids() for group in excluded_groups
    ):
        return
    task.state, task.owner, task.claimed_at = State.RESERVED, users[0], at


def _insert(
    drafts: Sequence[Draft], found: Sequence[NamedPeople], event: str, call: Call, at: datetime
) -> list[Task]:
    tasks = [draft.task for draft in drafts]
    _number_in_jobs(tasks)
    people_of = list(zip(tasks, found, strict=True))
    try:
        for start in range(0, len(people_of), UNIT):
            _write(people_of[start : start + UNIT], event, call, at)
    except IntegrityError as error:
        conflict = _conflict(error, tasks)
        if conflict is None:
            raise
        raise conflict from error
    return tasks


def _write(
    people_of: Sequence[tuple[Task, NamedPeople]], event: str, call: Call, at: datetime
) -> None:
    """Write new tasks with their people and record them, in one statement."""
    tasks = [task for task, _ in people_of]
    entries = [
        events.Entry(task.pk, 1, events.GENESIS, canonical({}), canonical(_whole(task, named)))
        for task, named in people_of
    ]
    parameters = events.parameters(event, call, at, call.reason, entries)
    ctes = [
        events.input_cte({**events.INPUT_COLUMNS, **NEW_COLUMNS}, len(tasks)),
        insert(),
        *work_items.INSERTED,
        events.concerned_cte(),
        events.RECORD,
    ]
    sql.run(
        f"with {', '.join(ctes)} select count(*) from created",
        {**parameters, **new_values(tasks), **work_items.insertion(people_of)},
    )
    for task, head in zip(tasks, parameters["hashes"], strict=True):
        task.version, task.head = 1, head
        task._state.adding, task._state.db = False, connection.alias


def _conflict(error: IntegrityError, tasks: Sequence[Task]) -> errors.CallError | None:
    """What a broken constraint means for the caller; None where it is no fault of his."""
    report = getattr(error.__cause__, "diag", None)
    constraint = getattr(report, "constraint_name", "")
    if constraint == "task_external_id":
        key = getattr(report, "message_detail", "") or ""
        task = next((t for t in tasks if f"=({t.source}, {t.external_id})" in key), tasks[0])
        return errors.ExternalIdTaken(external_id=task.external_id, source=task.source)
    if constraint == "task_short_id_in_job":
        return errors.InvalidArgument(field="short_id", why="it is taken in this job")
    if constraint == "audit_once_a_version":
        return errors.InvalidArgument(field="id", why="a task with this id has been removed")
    if constraint == "tasks_task_pkey":
        return errors.InvalidArgument(field="id", why="there is already a task with this id")
    return None


def _number_in_jobs(tasks: Sequence[Task]) -> None:
    """Give each task of a job that has none the next free short id; the job is locked for it."""
    without = [task for task in tasks if task.job_id is not None and task.short_id is None]
    for job_id in sorted({cast(int, task.job_id) for task in without}):
        Job.objects.select_for_update().get(pk=job_id)
        taken = set(Task.objects.filter(job=job_id).values_list("short_id", flat=True))
        taken |= {task.short_id for task in tasks if task.job_id == job_id}
        free = (f"{number:x}" for number in range(1, 0x10000) if f"{number:x}" not in taken)
        for task in without:
            if task.job_id == job_id:
                task.short_id = next(free, None)
                if task.short_id is None:
                    raise errors.InvalidArgument(field="job", why="it holds all it can")


_NOT_IN_AUDIT = {
    *("id", "version", "head", "request_digest"),
    *("input", "output", "fault", "imported", "updated_at"),
}


def _whole(task: Task, named: NamedPeople) -> dict[str, Any]:
    """The whole state of a new task as the audit keeps it; secrets are masked."""
    state: dict[str, Any] = {}
    for model_field in TASK_FIELDS:
        if model_field.name in _NOT_IN_AUDIT:
            continue
        value = getattr(task, model_field.name)
        if isinstance(value, User):
            value = value.username
        elif isinstance(value, (Job, Task)):
            value = str(value.pk)
        elif isinstance(value, datetime):
            value = value.isoformat()
        if value is not None and value is not False and value not in ("", [], {}):
            state[model_field.name] = value
    data = {name: getattr(task, name) for name in ("input", "output", "fault")}
    state |= masked_data(task.secret_pointers, **{k: v for k, v in data.items() if v})
    state["people"] = {
        role: [*map(people.tagged, users), *map(people.tagged, groups)]
        for role, (users, groups) in named.items()
    }
    return state
