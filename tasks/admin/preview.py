"""What an operation on many tasks would do, and what it did, in numbers and names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Count, F, Func, QuerySet

from accounts.models import User
from tasks import bulk
from tasks.actions import Outcome
from tasks.lifecycle import HELD, State
from tasks.models import BulkOperation, Task

from . import words

SHOWN = 10
"""How many tasks are named of each kind."""

TYPED_ABOVE = 500
"""Above so many tasks the person types their number to confirm."""


@dataclass(frozen=True, slots=True)
class Line:
    """A task to be named: without a name it is not there, or not for this account."""

    pk: UUID
    name: str | None


@dataclass(slots=True)
class Batch:
    """Tasks of one fate: how many, and the first of them."""

    count: int
    first: list[Line]
    reason: str = ""

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.count - len(self.first)


@dataclass(frozen=True, slots=True)
class Load:
    """How many open tasks somebody has in a role, now and afterwards, as far as the actor sees."""

    who: str
    now: int
    then: int


@dataclass(slots=True)
class Preview:
    """What would happen."""

    done: Batch
    refused: list[Batch]
    kept: list[Batch] = field(default_factory=list)
    """What an undo leaves as it is of tasks that do change, by reason."""
    loads: list[Load] = field(default_factory=list)
    strangers: int = 0
    """On how many of the tasks the new owner is not a potential owner."""

    @property
    def refused_count(self) -> int:
        """How many would not change."""
        return sum(batch.count for batch in self.refused)

    @property
    def typed(self) -> bool:
        """Whether the number has to be typed."""
        return self.done.count > TYPED_ABOVE


def chosen(stored: BulkOperation, user: User) -> QuerySet[Task]:
    """The tasks of a stored operation that the account may see; the ids stay in the database."""
    ids = (
        BulkOperation.objects.filter(pk=stored.pk)
        .annotate(task=Func(F("ids"), function="unnest"))
        .values("task")
    )
    tasks: QuerySet[Task] = Task.objects.visible_to(user)
    return tasks.filter(pk__in=ids)


@dataclass(slots=True)
class Selection:
    """What was chosen: how many tasks, in which states, held by whom."""

    count: int
    states: list[tuple[str, int]]
    owners: list[tuple[int, str, int]]
    """Key, name and number of tasks of each holder, most tasks first."""


def selection(stored: BulkOperation, user: User) -> Selection:
    """The chosen tasks as the account sees them."""
    tasks = chosen(stored, user)
    states = tasks.order_by().values_list("state").annotate(n=Count("pk")).order_by("-n")
    owners = (
        tasks.filter(state__in=HELD)
        .order_by()
        .values_list("owner", "owner__username")
        .annotate(n=Count("pk"))
        .order_by("-n", "owner__username")
    )
    return Selection(
        count=len(stored.ids),
        states=[(State(state).label, number) for state, number in states],
        owners=list(owners),
    )


def foresee(stored: BulkOperation, outcome: Outcome, user: User) -> Preview:
    """What a dry run of a stored operation found, ready to be shown."""
    reasons = {pk: words.reason_of(error) for pk, error in outcome.refused.items()}
    done = list(outcome.done)
    batches = _batches(done, reasons, user)
    kept = {str(pk): some for pk, some in outcome.kept.items() if pk in outcome.done}
    preview = Preview(done=batches[0], refused=batches[1:], kept=not_put_back(kept, user))
    if stored.operation == "transfer":
        _foresee_transfer(preview, stored, done, user)
    return preview


def recount(stored: BulkOperation, user: User) -> tuple[Batch, list[Batch]]:
    """What a stored operation has done so far, and what it refused by reason."""
    dealt_with = stored.ids[: stored.processed]
    done = [pk for pk in dealt_with if str(pk) not in stored.refused]
    reasons = {
        pk: words.reason(refused["code"], refused["detail"])
        for pk in dealt_with
        if (refused := stored.refused.get(str(pk)))
    }
    batches = _batches(done, reasons, user)
    return batches[0], batches[1:]


def not_put_back(kept: Mapping[str, Sequence[Mapping[str, str]]], user: User) -> list[Batch]:
    """What an undo had to leave as it is in tasks that it changed, by reason."""
    reasons = {
        UUID(pk): "; ".join(f"{one['field'].replace('_', ' ')} {one['detail']}" for one in some)
        for pk, some in kept.items()
    }
    return _batches((), reasons, user)[1:] if reasons else []


def _batches(done: Sequence[UUID], reasons: Mapping[UUID, str], user: User) -> list[Batch]:
    """The tasks done, then those refused by reason, the most frequent first."""
    by_reason: dict[str, list[UUID]] = {}
    for pk, why in reasons.items():
        by_reason.setdefault(why, []).append(pk)
    sets: list[tuple[str, Sequence[UUID]]] = [("", done)]
    sets += sorted(by_reason.items(), key=lambda entry: -len(entry[1]))
    names = _names((pk for _, pks in sets for pk in pks[:SHOWN]), user)
    return [
        Batch(len(pks), [Line(pk, names.get(pk)) for pk in pks[:SHOWN]], why) for why, pks in sets
    ]


def _names(pks: Iterable[UUID], user: User) -> dict[UUID, str]:
    visible: QuerySet[Task] = Task.objects.visible_to(user)
    return dict(visible.filter(pk__in=list(pks)).values_list("pk", "name"))


def _foresee_transfer(
    preview: Preview, stored: BulkOperation, done: Sequence[UUID], user: User
) -> None:
    preview.loads = [
        Load(words.holder(load.who), load.now, load.then)
        for load in bulk.loads("transfer", stored.arguments, done, user)
    ]
    preview.strangers = len(bulk.strangers("transfer", stored.arguments, done, user))
