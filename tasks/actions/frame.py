"""The frame that every operation on existing tasks shares: lock, sort out, write and record."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import sql
from accounts.models import Group, User
from tasks import errors, events, work_items
from tasks.calls import Call, Outcome
from tasks.lifecycle import ENDED, Operation, State
from tasks.models import NO_DUE_DATE, canonical
from tasks.people import Reference, named
from tasks.querysets import (
    VISIBLE_THROUGH,
    is_open,
    is_ready,
    permission_ids,
    roles_everywhere,
    scope_of,
)
from tasks.roles import COLUMNS, TaskRole
from tasks.work_items import LockedTask, RoleRow

from .audience import concern
from .statement import (
    RECORD_BULK,
    demand,
    each_columns,
    each_parameters,
    prepared,
    remove,
    task_from,
    update,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Change(NamedTuple):
    """What an operation makes of a task: state and copied columns, and the words of the audit."""

    state: str
    open: bool
    ready: bool
    before: str
    after: str


class Run:
    """One unit of one operation under way: the tasks it may change and the change itself."""

    def __init__(self, operation: Operation, ids: Sequence[UUID], call: Call) -> None:
        self.operation = operation
        self.ids = ids
        self.call = call
        self.found: dict[UUID, LockedTask] = {}
        self.allowed: list[LockedTask] = []
        """The tasks that nothing has been found against so far, in the order asked."""
        self.refused: dict[UUID, errors.TaskError] = {}
        self.receiver: User | Group | None = None
        self.giver: User | Group | None = None
        self.role: TaskRole | None = None
        """The task role that is given or taken, where there is one."""
        self.emptied: Sequence[TaskRole] = ()
        """The task roles that all who hold them lose."""
        self._everywhere = roles_everywhere(call.actor) if call.actor else frozenset()
        self._held: dict[object, frozenset[TaskRole]] = {}
        self.outcome = Outcome(call.operation_id)
        self.has_written = False
        self._columns: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self._parameters: dict[str, Any] = {}
        self._ctes: list[str] = []
        self._leaving: dict[str, str] = {}
        self._removes = False
        self._before: Callable[[LockedTask], dict[str, Any]] = lambda task: {}
        self._after: Callable[[LockedTask], dict[str, Any]] = lambda task: {}
        self._target: State | Callable[[LockedTask], State] | None = None
        self.named: list[User | Group] = []
        self.initiated: Container[UUID] = ()
        self.moved: dict[UUID, list[RoleRow]] = {}
        """The role rows that go and come, where they differ from task to task."""
        self._each: Mapping[UUID, Mapping[str, Any]] = {}
        self._names: Mapping[int, str] = {}

    @property
    def along(self) -> list[LockedTask]:
        """The subtasks that change with an allowed task, since it is theirs or above it."""
        if not self.operation.subtasks_in:
            return []
        allowed = {task.id for task in self.allowed}
        return [
            task
            for task in self.found.values()
            if task.id not in allowed
            and self.operation.takes_along(task)
            and any(above.id in allowed for above in self.above(task))
        ]

    def above(self, task: LockedTask) -> Iterator[LockedTask]:
        """The parent of a task, its parent, and so on, as far as they are among those found."""
        while task.parent_id is not None and task.parent_id in self.found:
            task = self.found[task.parent_id]
            yield task

    @property
    def at(self) -> datetime:
        """The time of the change: read from the database's clock once all locks were held."""
        for task in self.found.values():
            return EPOCH + timedelta(microseconds=task.at)
        return timezone.now()

    def refuse(self, judge: Callable[[LockedTask], errors.TaskError | None]) -> None:
        """Refuse the allowed tasks that `judge` finds a reason against.

        It looks at nothing that alike tasks do not share, so what it lets pass is asked once.
        """
        passed: set[object] = set()

        def judge_kind(task: LockedTask) -> errors.TaskError | None:
            kind = self.kind(task)
            if kind in passed:
                return None
            error = judge(task)
            if error is None:
                passed.add(kind)
            return error

        self.refuse_each(judge_kind)

    def refuse_each(self, judge: Callable[[LockedTask], errors.TaskError | None]) -> None:
        """As `refuse`, where the reason may lie in a task's id, version or place in a tree."""
        allowed = []
        for task in self.allowed:
            error = judge(task)
            if error is None:
                allowed.append(task)
            else:
                error.version, error.holder = task.version, task.owner_name
                self.refused[task.id] = error
        self.allowed = allowed

    def kind(self, task: LockedTask) -> object:
        """What a task shares with those that are judged and changed as it is."""
        return task.id if self._each else (task.alike, task.id in self.initiated)

    def held(self, task: LockedTask) -> frozenset[TaskRole]:
        """What the actor is to a task; the system is its administrator."""
        if self.call.actor is None:
            return frozenset({TaskRole.ADMINISTRATOR})
        if not (self.call.actor.is_active and task.in_scope):
            return frozenset()
        kind = self.kind(task)
        if kind not in self._held:
            held = task.roles(self.call.user_id, task.permissions)
            if task.id in self.initiated:
                held |= {TaskRole.ADMINISTRATOR}
            self._held[kind] = held | self._everywhere
        return self._held[kind]

    def change(
        self,
        *,
        to: State | Callable[[LockedTask], State] | None = None,
        defaults: Mapping[str, Any] | None = None,
        before: Callable[[LockedTask], dict[str, Any]] = lambda task: {},
        after: Callable[[LockedTask], dict[str, Any]] = lambda task: {},
        **columns: Any,
    ) -> None:
        """State what changes: the same columns of every allowed task, and what the audit says.

        `to` overrides the state that the rule book leads to, where an operation has two outcomes;
        it may differ from task to task.
        `defaults` are columns that are set only where they are null. `before` and `after` add to
        state, owner and hold, which the audit always names if changed.
        """
        self._target = to
        self._columns = columns
        self._defaults = dict(defaults or {})
        self._before, self._after = before, after

    def change_each(
        self,
        values: Mapping[UUID, Mapping[str, Any]],
        *,
        names: Mapping[int, str],
        leaving: Sequence[RoleRow],
        arriving: Sequence[RoleRow],
    ) -> None:
        """State, after `change`, what differs from task to task: columns by task id, and role rows.

        A column that one task has and another has not stays as it is in the other. `names` are the
        user names of accounts that become owners.
        """
        self._each, self._names = values, names
        for row in (*leaving, *arriving):
            self.moved.setdefault(row.task_id, []).append(row)
        self._leaving, self._ctes = work_items.LEAVING, work_items.ARRIVING
        self._parameters |= work_items.row_parameters("leaving", leaving)
        self._parameters |= work_items.row_parameters("arriving", arriving)

    def move(self, role: TaskRole) -> None:
        """State that the work items of a granted role change: from `giver`, to `receiver`."""
        self._parameters["role"] = permission_ids()[role]
        if self.giver is not None:
            self._leaving = work_items.removal(self.giver)
            self._parameters["giver"] = self.giver.pk
        if self.receiver is not None:
            self._ctes.append(work_items.addition(self.receiver))
            self._parameters["receiver"] = self.receiver.pk

    def replace(self, role: TaskRole) -> None:
        """State that those in `named`, and nobody else, hold a granted role."""
        self.emptied = (role,)
        self._leaving = work_items.REPLACED
        self._ctes += work_items.ADDED
        self._parameters |= {
            "role": permission_ids()[role],
            "new_users": [one.pk for one in self.named if isinstance(one, User)],
            "new_groups": [one.pk for one in self.named if isinstance(one, Group)],
        }

    def add(self, table: str, **values: Any) -> None:
        """State that each task gets a row in a table of its own, with the same values."""
        names = ", ".join(values)
        self._ctes.append(f"""
    added_row as (
        insert into {table} (task_id, at, {names})
        select i.id, %(at)s::timestamptz, {", ".join(f"%(row_{name})s" for name in values)}
        from input i)""")
        self._parameters |= {f"row_{name}": value for name, value in values.items()}

    def remove(self) -> None:
        """State that the tasks go, and with them everything but their history."""
        self._removes = True
        self.emptied = VISIBLE_THROUGH

    def state_after(self, task: LockedTask) -> str:
        """The state in which the change leaves a task."""
        rule = self.operation.rule_for(task.state)
        target = self._target(task) if callable(self._target) else self._target
        return target or (rule and rule.target) or task.state

    # What the frame does around the body of an action.

    def _sort_out(self, problem: errors.CallError | None) -> None:
        for pk in self.ids:
            task = self.found.get(pk)
            if task is None:
                self.refused[pk] = errors.TaskNotFound()
            else:
                self.allowed.append(task)
        self.refuse(lambda task: self.operation.forbids(task, self.held(task), self.call))
        giver = self.giver
        if self.operation.own_part and giver is not None:
            own = _is_of(giver, self.call.actor)
            self.refuse(
                lambda task: self.operation.forbids_giving(
                    self.held(task), own=own, giver=named(giver)
                )
            )
        for error in self.refused.values():
            if isinstance(error, errors.TaskNotFound):  # it says nothing of what it hides
                error.version = error.holder = None
        if problem is not None and (self.call.bulk or self.allowed):
            raise problem

    def _judge(self) -> None:
        versions = self.call.versions
        if versions:
            self.refuse_each(
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

    @property
    def removes(self) -> bool:
        """Whether the tasks go."""
        return self._removes

    def _hold_after(self, task: LockedTask) -> bool:
        each = self._each.get(task.id, {})
        return bool(each.get("on_hold", self._columns.get("on_hold", task.on_hold)))

    def owner_after(self, task: LockedTask) -> int | None:
        """The primary key of the account that has the task after the change."""
        each = self._each.get(task.id, {})
        if "owner_id" in each:
            return cast("int | None", each["owner_id"])
        if "owner_id" in self._columns:
            return cast("int | None", self._columns["owner_id"])
        if task.owner_id is None:
            return self._defaults.get("owner_id")
        return task.owner_id

    def _change(self, task: LockedTask) -> Change:
        """What becomes of a task, and of all that are like it."""
        before, after = self._before(task), self._after(task)
        state, owner = self.state_after(task), self.owner_after(task)
        if state != task.state:
            before["state"], after["state"] = task.state, state
        if owner != task.owner_id:
            before["owner"] = task.owner_name
            after["owner"] = None if owner is None else self._name_of(owner)
        hold = self._hold_after(task)
        if hold != task.on_hold:
            before["on_hold"], after["on_hold"] = task.on_hold, hold
        return Change(
            str(state),
            is_open(state),
            is_ready(state, task.kind, hold),
            canonical(before),
            canonical(after),
        )

    def _name_of(self, user_id: int) -> str:
        if user_id in self._names:
            return self._names[user_id]
        for user in (self.receiver, self.call.actor):
            if isinstance(user, User) and user.pk == user_id:
                return user.username
        raise LookupError(f"account {user_id} is neither the actor nor the receiver")

    def _write(self) -> None:
        """Change and record, in one statement."""
        along = self.along
        self._answer_for(along)
        tasks = [*self.allowed, *along]
        if self.call.atomic and self.outcome.refused and not self.call.dry_run:
            raise errors.NotAllDone.of(self.outcome.refused)
        if self.call.dry_run or not self.ids or not (tasks or self.call.bulk):
            return
        self.has_written = True
        at = self.at
        kinds = {self.kind(task): task for task in tasks}
        change_of = {kind: self._change(task) for kind, task in kinds.items()}
        changes = [change_of[self.kind(task)] for task in tasks]
        columns = dict(self._columns)
        each = sorted({name for values in self._each.values() for name in values})
        ending = any((task.state in ENDED) != self._ends(task) for task in kinds.values())
        if ending and not self._each:
            columns["ended_at"] = at if self._ends(tasks[0]) else None
        copied = {"priority": "priority", "due_at": "due"}
        stale = {copy for column, copy in copied.items() if column in (*columns, *each)}
        for kind, task in kinds.items():
            copies = (is_open(task.state), is_ready(task.state, task.kind, task.on_hold))
            if copies != (change_of[kind].open, change_of[kind].ready):
                stale |= {"open", "ready"}
        concerned = concern(self, tasks)
        parameters = {
            **concerned.parameters,
            **events.parameters(
                self.operation.event,
                self.call,
                at,
                self.call.reason,
                [
                    events.Entry(task.id, task.version + 1, task.head, change.before, change.after)
                    for task, change in zip(tasks, changes, strict=True)
                ],
            ),
            **self._parameters,
            **{name: prepared(name, value) for name, value in columns.items()},
            **{name: prepared(name, value) for name, value in self._defaults.items()},
            **each_parameters(each, [self._each.get(task.id, {}) for task in tasks]),
            "states": [change.state for change in changes],
            "opens": [change.open for change in changes],
            "readies": [change.ready for change in changes],
            "no_due_date": NO_DUE_DATE,
        }
        ctes = [
            events.input_cte(
                {
                    **events.INPUT_COLUMNS,
                    "state": "%(states)s::text[]",
                    "open": "%(opens)s::bool[]",
                    "ready": "%(readies)s::bool[]",
                    **concerned.columns,
                    **each_columns(each),
                },
                len(tasks),
            ),
            remove(whole=not self.call.bulk)
            if self._removes
            else update(columns, self._defaults, each, whole=not self.call.bulk),
            *work_items.deletion(self._leaving),
            *self._ctes,
            events.concerned_cte(concerned.audience),
            events.RECORD,
        ]
        if stale and not self._removes:
            ctes.append(work_items.sync(sorted(stale), self._leaving, each=bool(each)))
        if self.call.bulk:
            self._write_bulk(ctes, parameters, len(tasks))
        else:
            rows = sql.run(f"with {', '.join(ctes)} select * from changed", parameters)
            self.outcome.tasks = {
                task.pk: task for task in map(task_from, rows) if task.pk in self.outcome.done
            }
            if self._removes:
                heads = dict(zip(parameters["task_ids"], parameters["hashes"], strict=True))
                for pk, gone in self.outcome.tasks.items():
                    # The row is as it was; its last version is that of its last event.
                    gone.version, gone.head, gone.updated_at = gone.version + 1, heads[pk], at
            demand(len(rows), len(tasks))

    def _answer_for(self, along: Sequence[LockedTask]) -> None:
        """The outcome of the call: each id asked for once, done or refused."""
        step = 0 if self.call.dry_run else 1
        done = {task.id: task.version + step for task in self.allowed}
        for task in along:
            # A subtask that was asked for and refused has changed with its parent; to those from
            # whom it is hidden it stays so.
            error = self.refused.get(task.id)
            if error is not None and not isinstance(error, errors.TaskNotFound):
                del self.refused[task.id]
                done[task.id] = task.version + step
        if along:
            done = {pk: done[pk] for pk in self.ids if pk in done}
        self.outcome.done = done
        self.outcome.refused = {pk: self.refused[pk] for pk in self.ids if pk in self.refused}

    def _write_bulk(self, ctes: list[str], parameters: dict[str, Any], changing: int) -> None:
        """The same statement with the record of the bulk call in it.

        Raises InvalidArgument, and so undoes everything, when a stored bulk operation has meanwhile
        been carried out by somebody else.
        """
        refused = self.outcome.refused
        hidden = {pk for pk, why in refused.items() if isinstance(why, errors.TaskNotFound)}
        parameters |= {
            "bulk_operation": self.operation.name,
            "bulk_arguments": json.dumps(dict(self.call.arguments)),
            "bulk_ids": list(self.ids),
            "bulk_versions": [0 if pk in hidden else self.found[pk].version for pk in self.ids],
            "bulk_done": len(self.outcome.done),
            "bulk_before": self.call.processed,
            "bulk_scope": scope_of(self.call.actor),
            "bulk_kept": json.dumps({str(pk): kept for pk, kept in self.outcome.kept.items()}),
            "bulk_refused": json.dumps(
                {
                    str(pk): {"code": error.code, "detail": error.text}
                    for pk, error in refused.items()
                }
            ),
        }
        ((changed, recorded),) = sql.run(
            f"with {', '.join([*ctes, RECORD_BULK])} "
            "select (select count(*) from changed), (select count(*) from bulk)",
            parameters,
        )
        if not recorded:
            raise errors.InvalidArgument(field="operation", why="it has already been carried out")
        demand(changed, changing)

    def _ends(self, task: LockedTask) -> bool:
        return self.state_after(task) in ENDED


@contextmanager
def performing(
    operation: Operation,
    ids: Sequence[UUID],
    call: Call,
    *,
    to: Reference | None = None,
    from_: Reference | User | None = None,
    role: TaskRole | None = None,
    named: Sequence[Reference] = (),
    across: bool = False,
    columns: Sequence[str] = (),
    initiated: Container[UUID] = (),
    valid: Callable[[LockedTask], errors.TaskError | None] = lambda task: None,
    choose: Callable[[], Sequence[UUID]] | None = None,
) -> Iterator[Run]:
    """One operation on some tasks, from lock to commit; the body says what changes.

    In this order: found, permitted, names and body of the call (`to`, `from_`,
    `valid`), expected version, state, what the body refuses, reason. `to` receives and `from_`
    gives `role`, from user to group only where it goes `across`; `named` are others to be found,
    who are to get work, and a user among them who is alone receives; `columns` are further columns
    of the tasks for the body to look at. Of the tasks in `initiated` the actor counts as
    administrator, since it is his own doing that is undone. `choose` says within the transaction
    which tasks it is to be, in place of `ids`.

    Raises CallError for what is wrong with the call, once it is known that the caller may know;
    RuntimeError inside another transaction, since what is answered must be committed.
    """
    run = Run(operation, ids, call)
    run.role = role
    run.initiated = initiated
    problem: errors.CallError | None = None
    may = call.may(operation.permission, operation.name)
    if may:  # names are looked up only for those who may use them
        try:
            run.giver = from_.find() if isinstance(from_, Reference) else from_
            run.receiver = to.receiver() if to else None
            run.named = list(dict.fromkeys(reference.receiver() for reference in named))
            if len(run.named) == 1 and isinstance(run.named[0], User):
                run.receiver = run.named[0]
            _check_pair(run, role, across)
        except errors.CallError as error:
            problem = error
    with nullcontext() if call.dry_run else transaction.atomic(durable=True):
        if call.once is not None and not call.dry_run:
            call.once.begin()
        if choose is not None:
            run.ids = choose()
        run.found = _locked(
            run,
            columns=columns,
            role=role,
            # Whoever may do nothing keeps nobody waiting.
            locking=not call.dry_run and may,
        )
        run._sort_out(problem)
        run.refuse(valid)
        run._judge()
        yield run
        run._demand_reasons()
        run._write()
        if call.once is not None and run.has_written:
            call.once.keep(run.outcome)


def _is_of(holder: User | Group, actor: User | None) -> bool:
    """Whether a holder is the actor, or a group that the actor is a member of."""
    if actor is None or isinstance(holder, User):
        return holder == actor
    return holder.pk in actor.effective_group_ids()


def _locked(
    run: Run, columns: Sequence[str], role: TaskRole | None, *, locking: bool
) -> dict[UUID, LockedTask]:
    """The tasks of a run, locked; with all their subtasks where the operation takes those along.

    A subtask may be made while its parent is waited for, since creation holds that lock. Then all
    locks are given back and taken anew, so that they are always taken in the order of ids.
    """

    def lock(ids: Sequence[UUID]) -> dict[UUID, LockedTask]:
        return work_items.lock(
            ids,
            run.call.actor,
            columns=columns,
            role=role,
            giver=run.giver,
            receiver=run.receiver,
            locking=locking,
        )

    if not run.operation.subtasks_in:
        return lock(run.ids)
    if not locking:
        return lock(sorted(work_items.family(run.ids)))
    while True:
        family = work_items.family(run.ids)
        before = transaction.savepoint()
        found = lock(sorted(family))
        if work_items.family(run.ids) == family:
            return found
        transaction.savepoint_rollback(before)


def _check_pair(run: Run, role: TaskRole | None, across: bool) -> None:
    """Raise InvalidArgument where giver and receiver do not go together or with the role."""
    giver, receiver = run.giver, run.receiver
    if giver is not None and receiver is not None:
        if giver == receiver:
            raise errors.InvalidArgument(field="to", why="it is the same as from")
        if isinstance(giver, User) != isinstance(receiver, User) and not across:
            raise errors.InvalidArgument(
                field="to", why="users hand over to users, and groups to groups"
            )
    if isinstance(receiver, Group) and (
        role is None or role in COLUMNS or run.operation.makes_owner
    ):
        raise errors.InvalidArgument(field="to", why="only a user can be that")


def refuse_ineligible(run: Run) -> None:
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
