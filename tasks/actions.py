"""What can be done to tasks: the only writer of them, for one task and for many alike.

Every action takes task ids and a Call, locks the tasks in the order of their ids, sorts them into
allowed and refused by the rule book (`lifecycle`), writes once, and answers for each id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import wraps
from typing import Any, Protocol, cast
from uuid import UUID

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import EVERYBODY, Group, User

from . import errors, events, people, sql, work_items
from .lifecycle import (
    ENDED,
    GRANTS,
    HELD,
    OPERATIONS,
    REVOKES,
    TRANSFERS,
    Kind,
    Operation,
    State,
)
from .masking import masked_data
from .models import (
    NO_DUE_DATE,
    PRIORITIES,
    BulkOperation,
    Channel,
    Job,
    Task,
    canonical,
)
from .people import Reference
from .querysets import is_open, is_ready, roles_everywhere
from .roles import COLUMNS, GRANTED, TaskRole
from .schemas import check_schema, mismatches
from .uuid7 import uuid7
from .work_items import LockedTask

UNIT = 10_000
"""How many tasks one transaction takes; more are worked through in units of that many."""


@dataclass(frozen=True, slots=True)
class Call:
    """The circumstances of an act: who asks, through which face, why, and with what reservations.

    `actor` None is the system itself. `versions` are the versions the caller expects, by task id.
    `bulk` calls are recorded as a BulkOperation under `operation_id`, which all events of the call
    carry; `processed` counts the tasks of a stored one that earlier units have dealt with.
    A `dry_run` locks and writes nothing and answers what would happen.
    """

    actor: User | None
    channel: Channel
    request_id: str = ""
    reason: str | None = None
    versions: Mapping[UUID, int] = field(default_factory=dict)
    bulk: bool = False
    dry_run: bool = False
    operation_id: UUID = field(default_factory=uuid7)
    processed: int = 0
    on_behalf_of: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the operation was asked with, as the record of a bulk call keeps it."""

    @property
    def user_id(self) -> int | None:
        """The primary key of the actor."""
        return self.actor.pk if self.actor else None

    def may(self, permission: str) -> bool:
        """Gate 1: whether the actor's system roles grant a permission; the system may all."""
        return self.actor is None or self.actor.has_perm(permission)


@dataclass(slots=True)
class Outcome:
    """What came of a call: each id once, in `done` (its version now) or in `refused` (why).

    `tasks` holds the task as it was committed when the call was about a single one.
    """

    operation_id: UUID
    done: dict[UUID, int] = field(default_factory=dict)
    refused: dict[UUID, errors.TaskError] = field(default_factory=dict)
    tasks: dict[UUID, Task] = field(default_factory=dict)

    def one(self) -> Task:
        """The task of a call about one task. Raises the TaskError it was refused with."""
        for error in self.refused.values():
            raise error
        (task,) = self.tasks.values()
        return task


class Action(Protocol):
    """How every action is called: task ids, the circumstances, and the operation's arguments."""

    def __call__(self, ids: Sequence[UUID], *, call: Call, **arguments: Any) -> Outcome: ...


ACTIONS: dict[str, Action] = {}
"""Every action on existing tasks by the name of its operation."""


def _action(act: Callable[..., Outcome]) -> Action:
    """Register an action; answer each id once and work through many in units of UNIT.

    Nothing raises after the first unit: the tasks of a unit that fails are refused as not
    attempted. Raises TooManyTasks above the bulk limit of the actor's roles.
    """

    @wraps(act)
    def in_units(ids: Sequence[UUID], *, call: Call, **arguments: Any) -> Outcome:
        asked = list(dict.fromkeys(ids))
        limit = call.actor.bulk_limit if call.bulk and call.actor else None
        if limit is not None and call.processed + len(asked) > limit:
            raise errors.TooManyTasks(count=len(asked), limit=limit)
        call = replace(call, arguments=_as_json(arguments))
        if len(asked) <= UNIT:
            return act(asked, call=call, **arguments)
        if call.bulk and not call.dry_run:
            _store(act.__name__, asked, [0] * len(asked), call, BulkOperation.Status.RUNNING)
        whole = Outcome(call.operation_id)
        for start in range(0, len(asked), UNIT):
            unit = asked[start : start + UNIT]
            try:
                part = act(unit, call=replace(call, processed=call.processed + start), **arguments)
            except (errors.CallError, DatabaseError) as error:
                if start == 0:
                    BulkOperation.objects.filter(pk=call.operation_id, processed=0).delete()
                    raise
                why = error.text if isinstance(error, errors.CallError) else "the database is busy"
                whole.refused.update({pk: errors.NotAttempted(why=why) for pk in asked[start:]})
                break
            whole.done.update(part.done)
            whole.refused.update(part.refused)
        return whole

    ACTIONS[act.__name__] = cast(Action, in_units)
    return ACTIONS[act.__name__]


def _as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.as_json() if isinstance(value, Reference) else value
        for name, value in arguments.items()
        if value is not None
    }


def _store(
    operation: str,
    ids: Sequence[UUID],
    versions: Sequence[int],
    call: Call,
    status: BulkOperation.Status,
) -> BulkOperation:
    """Keep a bulk call that is yet to be carried out; one that is stored already stays."""
    stored, _ = BulkOperation.objects.get_or_create(
        pk=call.operation_id,
        defaults={
            "operation": operation,
            "arguments": call.arguments,
            "reason": call.reason,
            "actor": call.actor,
            "channel": call.channel,
            "request_id": call.request_id,
            "status": status,
            "ids": list(ids),
            "versions": list(versions),
        },
    )
    return stored


# --- The frame -----------------------------------------------------------------------------------


class Run:
    """One unit of one operation under way: the tasks it may change and the change itself."""

    def __init__(self, operation: Operation, ids: Sequence[UUID], call: Call) -> None:
        self.operation = operation
        self.ids = ids
        self.call = call
        self.found: dict[UUID, LockedTask] = {}
        self.refused: dict[UUID, errors.TaskError] = {}
        self.receiver: User | Group | None = None
        self.giver: User | Group | None = None
        self._everywhere = roles_everywhere(call.actor) if call.actor else frozenset()
        self._held: dict[UUID, frozenset[TaskRole]] = {}
        self.outcome = Outcome(call.operation_id)
        self._columns: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self._parameters: dict[str, Any] = {}
        self._ctes: list[str] = []
        self._before: Callable[[LockedTask], dict[str, Any]] = lambda task: {}
        self._after: Callable[[LockedTask], dict[str, Any]] = lambda task: {}
        self._target: State | None = None

    @property
    def allowed(self) -> list[LockedTask]:
        """The tasks that nothing has been found against so far, in the order asked."""
        return [self.found[pk] for pk in self.ids if pk in self.found and pk not in self.refused]

    @property
    def at(self) -> datetime:
        """The time of the change: read from the database's clock once all locks were held."""
        return max((task.at for task in self.found.values()), default=timezone.now())

    def refuse(self, judge: Callable[[LockedTask], errors.TaskError | None]) -> None:
        """Ask `judge` of each allowed task and refuse those it finds a reason against."""
        for task in self.allowed:
            error = judge(task)
            if error is not None:
                error.version, error.holder = task.version, task.owner_name
                self.refused[task.id] = error

    def held(self, task: LockedTask) -> frozenset[TaskRole]:
        """What the actor is to a task; the system is its administrator."""
        if self.call.actor is None:
            return frozenset({TaskRole.ADMINISTRATOR})
        if task.id not in self._held:
            held = task.roles(self.call.user_id, task.permissions)
            self._held[task.id] = held | self._everywhere
        return self._held[task.id]

    def change(
        self,
        *,
        to: State | None = None,
        defaults: Mapping[str, Any] | None = None,
        before: Callable[[LockedTask], dict[str, Any]] = lambda task: {},
        after: Callable[[LockedTask], dict[str, Any]] = lambda task: {},
        **columns: Any,
    ) -> None:
        """State what changes: the same columns of every allowed task, and what the audit says.

        `to` overrides the state that the rule book leads to, where an operation has two outcomes.
        `defaults` are columns that are set only where they are null. `before` and `after` add to
        the state and owner, which the audit always names if changed.
        """
        self._target = to
        self._columns = columns
        self._defaults = dict(defaults or {})
        self._before, self._after = before, after

    def move(self, role: TaskRole) -> None:
        """State that the work items of a granted role change: from `giver`, to `receiver`."""
        self._parameters["role"] = work_items.permission_ids()[role]
        if self.giver is not None:
            self._ctes.append(work_items.removal(self.giver))
            self._parameters["giver"] = self.giver.pk
        if self.receiver is not None:
            self._ctes.append(work_items.addition(self.receiver))
            self._parameters |= {"receiver": self.receiver.pk, "no_due_date": NO_DUE_DATE}

    def state_after(self, task: LockedTask) -> str:
        """The state in which the change leaves a task."""
        rule = self.operation.rule_for(task.state)
        return self._target or (rule and rule.target) or task.state

    # What the frame does around the body of an action.

    def _sort_out(self, problem: errors.CallError | None) -> None:
        for pk in self.ids:
            if pk not in self.found:
                self.refused[pk] = errors.TaskNotFound()
        self.refuse(lambda task: self.operation.forbids(task, self.held(task), self.call))
        for error in self.refused.values():
            if isinstance(error, errors.TaskNotFound):  # it says nothing of what it hides
                error.version = error.holder = None
        if problem is not None and (self.call.bulk or self.allowed):
            raise problem

    def _judge(self) -> None:
        versions = self.call.versions
        self.refuse(
            lambda task: (
                errors.StaleTask(expected=versions[task.id])
                if versions.get(task.id, task.version) != task.version
                else None
            )
        )
        self.refuse(lambda task: self.operation.conflicts(task, self.held(task), self.call))

    def _demand_reasons(self) -> None:
        if not self.call.reason and self.call.channel.carries_reasons:
            self.refuse(
                lambda task: (
                    errors.ReasonRequired(operation=self.operation.words)
                    if self.operation.wants_reason(task, self.call)
                    else None
                )
            )

    def _owner_after(self, task: LockedTask) -> int | None:
        if "owner_id" in self._columns:
            return cast("int | None", self._columns["owner_id"])
        if task.owner_id is None:
            return self._defaults.get("owner_id")
        return task.owner_id

    def _entry(self, task: LockedTask) -> events.Entry:
        before, after = self._before(task), self._after(task)
        state, owner = self.state_after(task), self._owner_after(task)
        if state != task.state:
            before["state"], after["state"] = task.state, state
        if owner != task.owner_id:
            before["owner"] = task.owner_name
            after["owner"] = None if owner is None else self._name_of(owner)
        return events.Entry(
            task.id, task.version + 1, task.head, canonical(before), canonical(after)
        )

    def _name_of(self, user_id: int) -> str:
        for user in (self.receiver, self.call.actor):
            if isinstance(user, User) and user.pk == user_id:
                return user.username
        raise LookupError(f"account {user_id} is neither the actor nor the receiver")

    def _write(self) -> None:
        """Change and record, in one statement."""
        allowed = self.allowed
        self.outcome.refused = {pk: self.refused[pk] for pk in self.ids if pk in self.refused}
        if self.call.dry_run:
            self.outcome.done = {task.id: task.version for task in allowed}
            return
        self.outcome.done = {task.id: task.version + 1 for task in allowed}
        if not allowed and not self.call.bulk:
            return
        at = self.at
        states = [self.state_after(task) for task in allowed]
        holds = [self._columns.get("on_hold", task.on_hold) for task in allowed]
        copies = [
            (is_open(state), is_ready(state, task.kind, hold))
            for task, state, hold in zip(allowed, states, holds, strict=True)
        ]
        columns = dict(self._columns)
        if any((task.state in ENDED) != (self._ends(task)) for task in allowed):
            columns["ended_at"] = at if self._ends(allowed[0]) else None
        parameters = {
            **events.parameters(
                self.operation.event,
                self.call,
                at,
                self.call.reason,
                [self._entry(task) for task in allowed],
            ),
            **self._parameters,
            **{name: _prepared(name, value) for name, value in columns.items()},
            **{name: _prepared(name, value) for name, value in self._defaults.items()},
            "states": states,
            "opens": [copy[0] for copy in copies],
            "readies": [copy[1] for copy in copies],
        }
        ctes = [
            events.input_cte(
                {
                    **events.INPUT_COLUMNS,
                    "state": "%(states)s::text[]",
                    "open": "%(opens)s::bool[]",
                    "ready": "%(readies)s::bool[]",
                }
            ),
            _update(columns, self._defaults, whole=not self.call.bulk),
            *self._ctes,
            events.RECORD,
        ]
        if copies != [(is_open(t.state), is_ready(t.state, t.kind, t.on_hold)) for t in allowed]:
            ctes.append(work_items.SYNC)
        if self.call.bulk:
            self._write_bulk(ctes, parameters)
        else:
            rows = sql.run(f"with {', '.join(ctes)} select * from changed", parameters)
            self.outcome.tasks = {task.pk: task for task in map(_task_from, rows)}
            _demand(len(rows), len(allowed))

    def _write_bulk(self, ctes: list[str], parameters: dict[str, Any]) -> None:
        """The same statement with the record of the bulk call in it.

        Raises InvalidArgument, and so undoes everything, when a stored bulk operation has meanwhile
        been carried out by somebody else.
        """
        refused = self.outcome.refused
        parameters |= {
            "bulk_operation": self.operation.name,
            "bulk_arguments": json.dumps(dict(self.call.arguments)),
            "bulk_ids": list(self.ids),
            "bulk_versions": [
                0 if isinstance(refused.get(pk), errors.TaskNotFound) else self.found[pk].version
                for pk in self.ids
            ],
            "bulk_done": len(self.outcome.done),
            "bulk_before": self.call.processed,
            "bulk_refused": json.dumps(
                {
                    str(pk): {"code": error.code, "detail": error.text}
                    for pk, error in refused.items()
                }
            ),
        }
        ((changed, recorded),) = sql.run(
            f"with {', '.join([*ctes, _RECORD_BULK])} "
            "select (select count(*) from changed), (select count(*) from bulk)",
            parameters,
        )
        if not recorded:
            raise errors.InvalidArgument(field="operation", why="it has already been carried out")
        _demand(changed, len(self.outcome.done))

    def _ends(self, task: LockedTask) -> bool:
        return self.state_after(task) in ENDED


def _demand(changed: int, locked: int) -> None:
    if changed != locked:
        raise RuntimeError(f"{changed} of {locked} locked tasks were changed")


_RECORD_BULK = """
    bulk as (
        insert into tasks_bulkoperation as b (id, operation, arguments, reason, actor_id, channel,
            request_id, status, ids, versions, processed, done_count, refused, created_at,
            finished_at)
        values (%(operation_id)s::uuid, %(bulk_operation)s, %(bulk_arguments)s::jsonb,
            %(reason)s::text, %(actor_id)s::bigint, %(channel)s, %(request_id)s, 'done',
            %(bulk_ids)s::uuid[], %(bulk_versions)s::int[], cardinality(%(bulk_ids)s::uuid[]),
            %(bulk_done)s::int, %(bulk_refused)s::jsonb, %(at)s::timestamptz,
            %(at)s::timestamptz)
        on conflict (id) do update set
            versions = b.versions[1:b.processed] || excluded.versions
                || b.versions[b.processed + excluded.processed + 1:],
            processed = b.processed + excluded.processed,
            done_count = b.done_count + excluded.done_count,
            refused = b.refused || excluded.refused,
            status = case when b.processed + excluded.processed >= cardinality(b.ids)
                then 'done' else 'running' end,
            finished_at = case when b.processed + excluded.processed >= cardinality(b.ids)
                then excluded.finished_at end
        where b.status <> 'done' and b.processed = %(bulk_before)s::int
        returning 1)"""
"""A CTE that records a bulk call, or takes a stored one further if nobody else has."""


def _column(name: str) -> tuple[str, str]:
    """A column of the task and its type; without a length, which a cast would silently cut to."""
    model_field = Task._meta.get_field(name)
    column_type = cast(str, model_field.db_type(connection)).split("(")[0]
    return cast(str, model_field.column), column_type


def _prepared(name: str, value: Any) -> Any:
    return Task._meta.get_field(name).get_db_prep_save(value, connection)


def _update(columns: Mapping[str, Any], defaults: Mapping[str, Any], *, whole: bool) -> str:
    """The CTE `changed`, which writes the tasks of `input` and answers with them."""
    assignments = ["version = i.version", "head = i.hash", "state = i.state", "updated_at = %(at)s"]
    for name in columns:
        column, column_type = _column(name)
        assignments.append(f"{column} = %({name})s::{column_type}")
    for name in defaults:
        column, column_type = _column(name)
        assignments.append(f"{column} = coalesce(t.{column}, %({name})s::{column_type})")
    answer = _TASK_COLUMNS if whole else ("id", "priority", "due_at")
    return f"""
    changed as (
        update tasks_task t set {", ".join(assignments)} from input i where t.id = i.id
        returning {", ".join(f"t.{column}" for column in answer)})"""


_TASK_FIELDS = Task._meta.concrete_fields
_TASK_COLUMNS = tuple(cast(str, f.column) for f in _TASK_FIELDS)


def _task_from(row: Sequence[Any]) -> Task:
    """The task that a row of all its columns stands for."""
    values = []
    for model_field, value in zip(_TASK_FIELDS, row, strict=True):
        for convert in model_field.get_db_converters(connection):
            value = convert(value, None, connection)
        values.append(value)
    return Task.from_db(connection.alias, [f.attname for f in _TASK_FIELDS], values)


@contextmanager
def _performing(
    operation: Operation,
    ids: Sequence[UUID],
    call: Call,
    *,
    to: Reference | None = None,
    from_: Reference | User | None = None,
    role: TaskRole | None = None,
    columns: Sequence[str] = (),
    valid: Callable[[LockedTask], errors.TaskError | None] = lambda task: None,
) -> Iterator[Run]:
    """One operation on some tasks, from lock to commit; the body says what changes.

    In the order of the promises: found, permitted, names and body of the call (`to`, `from_`,
    `valid`), expected version, state, what the body refuses, reason. `to` receives and `from_`
    gives `role`; `columns` are further columns of the tasks for the body to look at.

    Raises CallError for what is wrong with the call, once it is known that the caller may know;
    RuntimeError inside another transaction, since what is answered must be committed.
    """
    run = Run(operation, ids, call)
    problem: errors.CallError | None = None
    if call.may(operation.permission):  # names are looked up only for those who may use them
        try:
            run.giver = from_.find() if isinstance(from_, Reference) else from_
            run.receiver = to.receiver() if to else None
            _check_pair(run.giver, run.receiver, role)
        except errors.CallError as error:
            problem = error
    with nullcontext() if call.dry_run else transaction.atomic(durable=True):
        run.found = work_items.lock(
            ids,
            call.actor,
            columns=columns,
            role=role,
            giver=run.giver,
            receiver=run.receiver,
            locking=not call.dry_run,
        )
        run._sort_out(problem)
        run.refuse(valid)
        run._judge()
        yield run
        run._demand_reasons()
        run._write()


def _check_pair(
    giver: User | Group | None, receiver: User | Group | None, role: TaskRole | None
) -> None:
    """Raise InvalidArgument where giver and receiver do not go together or with the role."""
    if giver is not None and receiver is not None:
        if giver == receiver:
            raise errors.InvalidArgument(field="to", why="it is the same as from")
        if isinstance(giver, User) != isinstance(receiver, User):
            raise errors.InvalidArgument(
                field="to", why="users hand over to users, and groups to groups"
            )
    if isinstance(receiver, Group) and (role is None or role in COLUMNS):
        raise errors.InvalidArgument(field="to", why="only a user can be that")


def _refuse_ineligible(run: Run) -> None:
    """Refuse the tasks that the receiving user may not have (rule book: the target's role)."""
    receiver, operation = run.receiver, run.operation
    if not isinstance(receiver, User) or not operation.receivers:
        return
    everywhere = roles_everywhere(receiver)
    may = bool(operation.receiver_permission) and receiver.has_perm(operation.receiver_permission)

    def judge(task: LockedTask) -> errors.TaskError | None:
        theirs = task.roles(receiver.pk, task.extra["receiver_permissions"]) | everywhere
        why = operation.eligible(run.held(task), theirs, may)
        return errors.TargetNotEligible(target=receiver.username, why=why) if why else None

    run.refuse(judge)


# --- The actions ---------------------------------------------------------------------------------


@_action
def claim(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Take ready tasks: the caller becomes their owner."""
    with _performing(OPERATIONS["claim"], ids, call) as run:
        run.change(owner_id=call.user_id, claimed_at=run.at)
    return run.outcome


@_action
def release(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Give held tasks back to their potential owners; drafts and comments stay."""
    with _performing(OPERATIONS["release"], ids, call) as run:
        run.change(owner_id=None, claimed_at=None)
    return run.outcome


_RESULT = ("output", "fault", "fault_name", "secret_pointers")


@_action
def cancel_claim(ids: Sequence[UUID], *, call: Call) -> Outcome:
    """Give held tasks back as IBM does: output and fault are discarded, the audit keeps them."""

    def snapshot(task: LockedTask) -> dict[str, Any]:
        data = masked_data(
            _stored_json(task, "secret_pointers"),
            output=_stored_json(task, "output"),
            fault=_stored_json(task, "fault"),
            fault_name=task.extra["fault_name"],
        )
        return {name: value for name, value in data.items() if value}

    with _performing(OPERATIONS["cancel_claim"], ids, call, columns=_RESULT) as run:
        run.change(
            owner_id=None,
            claimed_at=None,
            output=None,
            fault=None,
            fault_name="",
            before=snapshot,
            after=lambda task: dict.fromkeys(snapshot(task)),
        )
    return run.outcome


@_action
def assign(ids: Sequence[UUID], *, call: Call, to: Reference) -> Outcome:
    """Give tasks to one user, who becomes their owner."""
    with _performing(OPERATIONS["assign"], ids, call, to=to) as run:
        receiver = cast(User, run.receiver)
        run.refuse(
            lambda task: (
                errors.AlreadyOwner(owner=task.owner_name)
                if task.state in HELD and task.owner_id == receiver.pk
                else None
            )
        )
        _refuse_ineligible(run)
        if run.allowed:
            run.change(owner_id=receiver.pk, claimed_at=run.at)
    return run.outcome


@_action
def transfer(
    ids: Sequence[UUID],
    *,
    call: Call,
    role: str,
    to: Reference,
    from_: Reference | None = None,
) -> Outcome:
    """Move the work items of one task role from one holder to another (IBM HTM, Task Role, PUT).

    Without `from_` the caller gives away his own. Raises UnknownRole for a role that cannot be
    transferred.
    """
    task_role = _known(role, TRANSFERS)
    with _performing(
        TRANSFERS[task_role], ids, call, to=to, from_=from_ or call.actor, role=task_role
    ) as run:
        giver, receiver = run.giver, run.receiver
        if run.allowed and giver is not None and receiver is not None:
            in_column = task_role in COLUMNS

            def has_it(task: LockedTask) -> bool:
                if in_column:
                    return bool(getattr(task, f"{task_role}_id") == giver.pk)
                return bool(task.extra["giver_holds"])

            run.refuse(
                lambda task: (
                    None
                    if has_it(task)
                    else errors.NoSuchWorkItem(holder=people.named(giver), role=task_role.label)
                )
            )
            _refuse_ineligible(run)
            if task_role is TaskRole.OWNER:
                run.change(owner_id=receiver.pk, claimed_at=run.at)
            elif in_column:
                run.change(
                    before=lambda task: {task_role: people.named(giver)},
                    after=lambda task: {task_role: people.named(receiver)},
                    **{f"{task_role}_id": receiver.pk},
                )
            else:
                run.move(task_role)
                run.change(
                    before=lambda task: {task_role: people.tagged(giver)},
                    after=lambda task: {
                        task_role: people.tagged(receiver),
                        "merged": task.extra["receiver_holds"],
                    },
                )
    return run.outcome


@_action
def grant(ids: Sequence[UUID], *, call: Call, role: str, to: Reference) -> Outcome:
    """Give a user or group a task role. Raises UnknownRole for one that is not granted."""
    task_role = _known(role, GRANTS)
    with _performing(GRANTS[task_role], ids, call, to=to, role=task_role) as run:
        receiver = run.receiver

        def judge(task: LockedTask) -> errors.TaskError | None:
            assert receiver is not None  # it was found, or nothing is allowed
            if task.extra["receiver_holds"]:
                return errors.AlreadyGranted(holder=people.named(receiver), role=task_role.label)
            hit = (
                task.owner_id == receiver.pk
                if isinstance(receiver, User)
                else task.extra["owner_in_group"]
            )
            if task_role is TaskRole.EXCLUDED_OWNER and task.state in HELD and hit:
                return errors.TargetNotEligible(
                    target=people.named(receiver), why="the present owner would be excluded"
                )
            return None

        run.refuse(judge)
        if run.allowed and receiver is not None:
            run.move(task_role)
            run.change(after=lambda task: {task_role: people.tagged(receiver)})
    return run.outcome


@_action
def revoke(ids: Sequence[UUID], *, call: Call, role: str, from_: Reference) -> Outcome:
    """Take a task role from a user or group. Raises UnknownRole for one that is not granted."""
    task_role = _known(role, REVOKES)
    with _performing(REVOKES[task_role], ids, call, from_=from_, role=task_role) as run:
        giver = run.giver

        def judge(task: LockedTask) -> errors.TaskError | None:
            if not task.extra["giver_holds"]:
                holder = people.named(cast("User | Group", giver))
                return errors.NoSuchWorkItem(holder=holder, role=task_role.label)
            if task_role is TaskRole.ADMINISTRATOR and task.extra["rows_of_role"] == 1:
                return errors.LastAdministrator()
            return None

        run.refuse(judge)
        if run.allowed and giver is not None:
            run.move(task_role)
            run.change(before=lambda task: {task_role: people.tagged(giver)})
    return run.outcome


@_action
def complete(ids: Sequence[UUID], *, call: Call, output: Any = None) -> Outcome:
    """End held tasks well, with `output` or else the output saved before."""
    with _performing(
        OPERATIONS["complete"],
        ids,
        call,
        columns=_CHECKED,
        valid=lambda task: _check_output(task, output, call),
    ) as run:
        run.change(**_output(output), **_audit_of_output(output))
    return run.outcome


FINISH_STATES = {"success": State.COMPLETED, "failure": State.FAILED}


@_action
def finish(
    ids: Sequence[UUID], *, call: Call, finish_state: str = "success", output: Any = None
) -> Outcome:
    """End tasks in one step, claimed or not (Itential's finish): `success` or `failure`.

    Of a ready task the caller becomes the owner. Raises InvalidArgument for another finish state.
    """
    if finish_state not in FINISH_STATES:
        raise errors.InvalidArgument(field="finish_state", why="success or failure")
    succeeded = finish_state == "success"
    with _performing(
        OPERATIONS["finish"],
        ids,
        call,
        columns=_CHECKED,
        valid=lambda task: _check_output(task, output, call) if succeeded else None,
    ) as run:
        run.change(
            to=FINISH_STATES[finish_state],
            defaults={"owner_id": call.user_id, "claimed_at": run.at},
            **_output(output),
            **_audit_of_output(output),
        )
    return run.outcome


_CHECKED = ("output_schema", "output", "secret_pointers")

MOST_SHARED_OUTPUT = 64 * 1024
"""Bytes of output that one bulk call may write to each of its tasks."""


def _check_output(task: LockedTask, output: Any, call: Call) -> errors.TaskError | None:
    if output is not None and call.bulk and len(canonical(output)) > MOST_SHARED_OUTPUT:
        raise errors.InvalidArgument(field="output", why="at most 64 KiB in a bulk call")
    schema = _stored_json(task, "output_schema")
    if schema is None:
        return None
    value = _stored_json(task, "output") if output is None else output
    found = mismatches(schema, value)
    if not found:
        return None
    error = errors.InvalidOutput(detail=found[0]["detail"])
    error.params["errors"] = found
    return error


def _output(output: Any) -> dict[str, Any]:
    return {} if output is None else {"output": output}


def _audit_of_output(output: Any) -> dict[str, Any]:
    if output is None:
        return {}

    def shown(task: LockedTask, value: Any) -> dict[str, Any]:
        return masked_data(_stored_json(task, "secret_pointers"), output=value)

    return {
        "before": lambda task: shown(task, _stored_json(task, "output")),
        "after": lambda task: shown(task, output),
    }


def _stored_json(task: LockedTask, column: str) -> Any:
    """A JSON column of a locked task; the driver hands it over as text."""
    value = task.extra[column]
    return None if value is None else json.loads(value)


def _known(role: str, table: Mapping[TaskRole, Operation]) -> TaskRole:
    if role not in table:
        raise errors.UnknownRole(role=role)
    return TaskRole(role)


# --- New tasks -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Draft:
    """A task to be: its fields, unsaved, and the people named for each granted role."""

    task: Task
    people: Mapping[TaskRole, Sequence[Reference]] = field(default_factory=dict)


def create(drafts: Sequence[Draft], *, call: Call, waiting: bool = False) -> list[Task]:
    """Make tasks, ready to be claimed or, if `waiting`, created and to be activated later.

    Everybody is potential owner where none is named, the originator administrator. A task that
    asks for automatic claim and has exactly one user as potential owner is his from the start.
    Raises NotPermitted, InvalidArgument, ExternalIdTaken, and what `Reference.receiver` raises.
    """
    if not call.may("tasks.add_task"):
        raise errors.NotPermitted(operation="create tasks")
    found = _find_people(drafts)
    with transaction.atomic(durable=True):
        at = _clock()
        for draft, named in zip(drafts, found, strict=True):
            task = draft.task
            _check_fields(task)
            task.originator = call.actor
            task.created_at = task.updated_at = at
            task.state = State.CREATED
            _default_people(task, named)
            if not waiting:
                task.state, task.starter, task.activated_at = State.READY, call.actor, at
                _claim_automatically(task, named, at)
        return _insert(drafts, found, "created", call, at)


def import_(drafts: Sequence[Draft], *, call: Call) -> list[Task]:
    """Take over tasks from elsewhere in whatever state they are; for commands only.

    One event for each, with the whole state in "after". Raises as `create`.
    """
    if call.channel != Channel.COMMAND:
        raise errors.NotPermitted(operation="import tasks")
    found = _find_people(drafts)
    with transaction.atomic(durable=True):
        for draft, named in zip(drafts, found, strict=True):
            _check_fields(draft.task)
            _default_people(draft.task, named)
        return _insert(drafts, found, "imported", call, _clock())


NamedPeople = dict[TaskRole, tuple[list[User], list[Group]]]


def _clock() -> datetime:
    ((now,),) = sql.run("select clock_timestamp()", {})
    return cast(datetime, now)


def _find_people(drafts: Sequence[Draft]) -> list[NamedPeople]:
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
                    known[reference] = reference.receiver()
                holder = known[reference]
                if isinstance(holder, User):
                    users.append(holder)
                else:
                    groups.append(holder)
        found.append(named)
    return found


def _check_fields(task: Task) -> None:
    if not PRIORITIES[0] <= task.priority <= PRIORITIES[1]:
        raise errors.InvalidArgument(field="priority", why="0 (most urgent) to 10")
    if not task.name.strip():
        raise errors.InvalidArgument(field="name", why="it must not be empty")
    if task.output_schema is not None:
        check_schema(task.output_schema)


def _default_people(task: Task, named: NamedPeople) -> None:
    """The defaults of the rule book: nobody is named by mistake, and somebody is responsible."""
    if not any(named.get(TaskRole.POTENTIAL_OWNER, ())):
        named[TaskRole.POTENTIAL_OWNER] = ([], [Group.objects.get(name=EVERYBODY)])
    if not any(named.get(TaskRole.ADMINISTRATOR, ())) and task.originator:
        named[TaskRole.ADMINISTRATOR] = ([task.originator], [])


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
    parameters = events.parameters(
        event,
        call,
        at,
        call.reason,
        [
            events.Entry(task.pk, 1, events.GENESIS, canonical({}), canonical(_whole(task, named)))
            for task, named in zip(tasks, found, strict=True)
        ],
    )
    for task, head in zip(tasks, parameters["hashes"], strict=True):
        task.version, task.head = 1, head
    try:
        Task.objects.bulk_create(tasks, batch_size=2000)
    except IntegrityError as error:
        raise _conflict(error, tasks) from error
    work_items.insert(list(zip(tasks, found, strict=True)))
    record = f"with {events.input_cte(events.INPUT_COLUMNS)}, {events.RECORD} select 1"
    sql.run(record, parameters)
    return tasks


def _conflict(error: IntegrityError, tasks: Sequence[Task]) -> Exception:
    constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "")
    if constraint == "task_external_id":
        task = tasks[0]
        return errors.ExternalIdTaken(external_id=task.external_id, source=task.source)
    if constraint == "task_short_id_in_job":
        return errors.InvalidArgument(field="short_id", why="it is taken in this job")
    if constraint == "tasks_task_pkey":
        return errors.InvalidArgument(field="id", why="there is already a task with this id")
    return error


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


_NOT_IN_AUDIT = {"id", "version", "head", "input", "output", "fault", "imported", "updated_at"}


def _whole(task: Task, named: NamedPeople) -> dict[str, Any]:
    """The whole state of a new task as the audit keeps it; secrets are masked."""
    state: dict[str, Any] = {}
    for model_field in _TASK_FIELDS:
        if model_field.name in _NOT_IN_AUDIT:
            continue
        value = getattr(task, model_field.name)
        if isinstance(value, User):
            value = value.username
        elif isinstance(value, (Job, Task)):
            value = str(value.pk)
        elif isinstance(value, datetime):
            value = value.isoformat()
        if value not in (None, "", [], {}, False):
            state[model_field.name] = value
    data = {name: getattr(task, name) for name in ("input", "output", "fault")}
    state |= masked_data(task.secret_pointers, **{k: v for k, v in data.items() if v})
    state["people"] = {
        role: [people.tagged(holder) for holder in (*users, *groups)]
        for role, (users, groups) in named.items()
    }
    return state


# --- Asking beforehand ---------------------------------------------------------------------------


def permitted(task: Task, call: Call) -> dict[str, errors.TaskError | None]:
    """Every operation by name with the reason against it, or None where the actor may do it now.

    `transfer` counts as permitted when some task role may be transferred. For a task that the
    actor cannot see every answer is TaskNotFound.
    """
    run = Run(OPERATIONS["claim"], [task.pk], call)
    run.found = work_items.lock([task.pk], call.actor, locking=False)
    standing = run.found.get(task.pk)

    def ask(operation: Operation) -> errors.TaskError | None:
        if standing is None:
            return errors.TaskNotFound()
        return operation.refusal(standing, run.held(standing), call)

    answers = {name: ask(operation) for name, operation in OPERATIONS.items()}
    for name, table in (("transfer", TRANSFERS), ("grant", GRANTS), ("revoke", REVOKES)):
        found = [ask(operation) for operation in table.values()]
        answers[name] = next((None for error in found if error is None), found[0])
    return answers


def plan(
    name: str, ids: Sequence[UUID], *, call: Call, **arguments: Any
) -> tuple[BulkOperation, Outcome]:
    """Store a bulk act to be confirmed, with the versions as they are now, and what it would do."""
    asked = list(dict.fromkeys(ids))
    outcome = ACTIONS[name](asked, call=replace(call, bulk=True, dry_run=True), **arguments)
    versions = [
        outcome.done.get(pk) or (outcome.refused[pk].version if pk in outcome.refused else 0) or 0
        for pk in asked
    ]
    call = replace(call, arguments=_as_json(arguments))
    return _store(name, asked, versions, call, BulkOperation.Status.PLANNED), outcome


def carry_out(stored: BulkOperation, *, call: Call) -> Outcome:
    """Do what a stored bulk operation says, from where it stands; tasks changed since are refused.

    Raises InvalidArgument when it has been carried out already.
    """
    arguments = {
        name: Reference(**value) if isinstance(value, dict) and "kind" in value else value
        for name, value in stored.arguments.items()
    }
    rest = stored.ids[stored.processed :]
    return ACTIONS[stored.operation](
        rest,
        call=replace(
            call,
            bulk=True,
            operation_id=stored.pk,
            processed=stored.processed,
            reason=stored.reason,
            versions={
                pk: version
                for pk, version in zip(stored.ids, stored.versions, strict=True)
                if version
            },
        ),
        **arguments,
    )
