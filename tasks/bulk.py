"""Operations on many tasks: who sees them, the worker that carries them out, previews."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django.db.models import Count, F, Func, IntegerField, Q, QuerySet
from django.utils import timezone

from accounts.models import Group, User
from accounts.scopes import Scope

from . import errors, retries, work_items
from .actions import Call, irreversible, recorded, take_further
from .locks import alone
from .models import AuditEvent, BulkOperation, Channel, Task
from .people import Reference
from .querysets import roles_everywhere
from .roles import COLUMNS, TaskRole

logger = logging.getLogger(__name__)

Status = BulkOperation.Status
UNFINISHED = (Status.WAITING, Status.RUNNING)


def seen_by(user: User) -> QuerySet[BulkOperation]:
    """The operations that an account may read: its own, and all where it administers all tasks.

    A token for some groups reads those of tokens that were for no others. Each has `total`, the
    number of its tasks. What was never confirmed is left out.
    """
    found: QuerySet[BulkOperation] = (
        BulkOperation.objects.exclude(status__in=(Status.DRAFT, Status.PLANNED))
        .select_related("actor")
        .annotate(total=Func(F("ids"), function="cardinality", output_field=IntegerField()))
    )
    everywhere = TaskRole.ADMINISTRATOR in roles_everywhere(user)
    if user.scope.groups is not None:
        found = found.filter(scope_group_ids__contained_by=sorted(user.scope.groups))
    if everywhere and user.has_perm("tasks.view_task"):
        return found
    return found.filter(actor=user)


def cancel(stored: BulkOperation, call: Call) -> BulkOperation:
    """Have no further unit of an operation carried out. Raises AlreadyFinished, KeyInUse.

    A unit under way at this moment is not carried out either, unless it is committed already.
    """
    unfinished = BulkOperation.objects.filter(pk=stored.pk, background=True, status__in=UNFINISHED)

    def now() -> BulkOperation:
        if not unfinished.update(status=Status.CANCELLED, finished_at=timezone.now()):
            raise errors.AlreadyFinished()
        stored.refresh_from_db()
        return stored

    return retries.effect(call.once, now)


def demand_finished(stored: BulkOperation) -> None:
    """Raise StillRunning for an operation that a worker has yet to finish."""
    if stored.background and stored.status in UNFINISHED:
        raise errors.StillRunning()


def demand_reversible(stored: BulkOperation) -> None:
    """Raise Irreversible where nothing of what an operation did can be put back."""
    lost = irreversible(str(stored.pk))
    if lost is not None:
        raise errors.Irreversible(operation=lost)


def changed_by(operation: UUID) -> list[UUID]:
    """The tasks that an operation changed, subtasks that went along included."""
    return _tasks_of(recorded(str(operation)))


def changed_in(account: str, since: Any, until: Any, call: Call) -> list[UUID]:
    """The tasks that an account changed in a time, as far as the caller sees them.

    Raises InvalidArgument for a time without beginning or end.
    """
    found = _tasks_of(recorded(None, account, since, until))
    actor = call.actor
    if actor is None or (actor.username == account and actor.scope.groups is None):
        return found
    visible = set(Task.objects.visible_to(actor).filter(pk__in=found).values_list("pk", flat=True))
    return [pk for pk in found if pk in visible]


def _tasks_of(events: QuerySet[AuditEvent]) -> list[UUID]:
    return list(events.order_by("task_id").values_list("task_id", flat=True).distinct())


# --- The worker's part ----------------------------------------------------------------------------

WORK_LOCK = 7090181471018971136
"""The advisory lock of whoever carries out operations: "bulk" in ASCII."""


def work(*, stopping: Callable[[], bool] = lambda: False) -> int:
    """Carry out the operations that wait, the oldest first; answers how many units were done.

    Of several workers at once one works. One that dies leaves its operation running, and its lock
    goes with it, so the next one takes it up where it stands.
    """
    waiting = BulkOperation.objects.filter(background=True, status__in=UNFINISHED)
    if not waiting.exists():
        return 0
    units = 0
    with alone(WORK_LOCK) as still_alone:
        while still_alone is not None and not stopping():
            still_alone()
            stored = waiting.select_related("actor").order_by("created_at", "pk").first()
            if stored is None:
                break
            units += _take_further(stored)
    return units


def _take_further(stored: BulkOperation) -> int:
    """One unit of an operation; where it cannot be carried out as a whole, it has failed."""
    mine = BulkOperation.objects.filter(pk=stored.pk, status__in=UNFINISHED)
    if not stored.ids:
        mine.update(status=Status.DONE, finished_at=timezone.now())
        return 0
    if stored.actor is not None and stored.scope_group_ids is not None:
        stored.actor.scope = Scope(groups=frozenset(stored.scope_group_ids))
    call = Call(stored.actor, Channel(stored.channel), request_id=stored.request_id)
    try:
        take_further(stored, call=call)
    except errors.CallError as error:
        failure: dict[str, Any] = {"code": error.code, "detail": error.text}
        refused = {}
        if isinstance(error, errors.NotAllDone):
            refused = {
                str(pk): {"code": one.code, "detail": one.text} for pk, one in error.refused.items()
            }
        # Where it was cancelled meanwhile, it stays so.
        mine.update(
            status=Status.FAILED, failure=failure, refused=refused or F("refused"),
            finished_at=timezone.now(),
        )  # fmt: skip
        return 0
    return 1


# --- Previews -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """How many open tasks somebody has in a role, now and afterwards, as far as the actor sees."""

    who: User | Group
    now: int
    then: int


def role_moved(name: str, arguments: Mapping[str, Any]) -> TaskRole | None:
    """The task role that an operation gives to its target; None where it gives none."""
    if name == "transfer":
        return TaskRole(arguments["role"])
    return {
        "assign": TaskRole.OWNER,
        "delegate": TaskRole.OWNER,
        "claim": TaskRole.OWNER,
        "forward": TaskRole.POTENTIAL_OWNER,
    }.get(name)


def loads(name: str, arguments: Mapping[str, Any], done: Sequence[UUID], user: User) -> list[Load]:
    """What the receiver and those who give away would hold, if the operation did these tasks."""
    role = role_moved(name, arguments)
    receiver = _target(arguments.get("to"), user)
    if role is None or receiver is None:
        return []
    open_tasks: QuerySet[Task] = Task.objects.visible_to(user).open()
    moving = open_tasks.filter(pk__in=done)
    has = _having(receiver, role)
    now, count = open_tasks.filter(has).count(), moving.count()
    merging = moving.filter(has).count()
    found = [Load(receiver, now, now + count - merging)]
    if role is TaskRole.OWNER:
        giving = moving.exclude(owner=None).exclude(has).order_by()
        counts = dict(giving.values_list("owner").annotate(Count("pk")))
        held = open_tasks.filter(owner__in=counts).order_by()
        before = dict(held.values_list("owner").annotate(Count("pk")))
        users = User.objects.filter(pk__in=counts).order_by("username")
        return [
            *found,
            *(Load(one, before[one.pk], before[one.pk] - counts[one.pk]) for one in users),
        ]
    giver = _target(arguments.get("from_"), user)
    if giver is not None:
        had = open_tasks.filter(_having(giver, role)).count()
        found.append(Load(giver, had, had - count))
    return found


def strangers(
    name: str, arguments: Mapping[str, Any], done: Sequence[UUID], user: User
) -> list[UUID]:
    """The tasks of which the one who is to own them is not a potential owner."""
    receiver = _target(arguments.get("to"), user)
    if role_moved(name, arguments) is not TaskRole.OWNER or not isinstance(receiver, User):
        return []
    if name == "delegate":  # which makes him one
        return []
    holding = work_items.holding(TaskRole.POTENTIAL_OWNER, ((pk, receiver.pk) for pk in done))
    return [pk for pk in done if (pk, receiver.pk) not in holding]


def _target(named: Any, user: User) -> User | Group | None:
    """Who is named, in a call or in the record of one; the actor where nobody is."""
    if named is None:
        return user
    try:
        return (named if isinstance(named, Reference) else Reference(**named)).find()
    except errors.CallError:
        return None


def _having(holder: User | Group, role: TaskRole) -> Q:
    """The tasks on which an account or group holds a role itself."""
    if role in COLUMNS:
        return Q(**{role.value: holder})
    kind: Literal["user", "group"] = "user" if isinstance(holder, User) else "group"
    given = Task.objects.given_to(kind, holder.pk, role, open_only=True)
    return Q(pk__in=given.values("pk"))
