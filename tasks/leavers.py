"""What becomes of tasks when people leave: their open work, and work that nobody can do."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from accounts.leaving import OpenWork
from accounts.models import User

from . import people
from .actions import ACTIONS, UNIT, Call, Outcome
from .lifecycle import TRANSFERS
from .models import Channel, Task
from .querysets import TaskQuerySet
from .roles import GRANTED, TaskRole


def held(user: User) -> int:
    """How many tasks an account holds."""
    return tasks_held(user).count()


def tasks_held(user: User) -> TaskQuerySet:
    """The tasks an account holds, active or not."""
    found: TaskQuerySet = Task.objects.held_by(user)
    return found


def settle(
    user: User,
    choice: str,
    *,
    to: User | None = None,
    actor: str = "",
    channel: str = Channel.COMMAND,
    request_id: str = "",
) -> str:
    """As `accounts.leaving.Keeper` has it.

    Handing over gives `to` all that the account holds of open tasks: tasks, and task roles of its
    own. Whatever is chosen, where no active administrator is left the originator becomes one.
    """

    def call() -> Call:
        return Call(
            None,
            Channel(channel),
            request_id=request_id,
            reason=f"{user.username} has left",
            on_behalf_of=actor,
            bulk=True,
        )

    said = []
    if choice == OpenWork.RELEASE:
        released = _in_bulk("release", tasks_held(user), call())
        said.append(_told("released", released))
    if choice == OpenWork.TRANSFER:
        if to is None:
            raise ValueError("somebody has to be named who receives the work")
        named = {"to": people.user(to.username), "from_": people.user(user.username)}
        for role in (TaskRole.OWNER, *(role for role in GRANTED if role in TRANSFERS)):
            if role is TaskRole.OWNER:
                tasks = tasks_held(user)
            else:
                tasks = Task.objects.given_to("user", user.pk, role, open_only=True)
            moved = _in_bulk("transfer", tasks, call(), role=role.value, **named)
            if role is TaskRole.OWNER or moved.done or moved.refused:
                said.append(_told(f"handed over to {to.username} as {role.label}", moved))
    for originator, tasks in _without_administrator(user):
        granted = _in_bulk(
            "grant",
            tasks,
            call(),
            role=TaskRole.ADMINISTRATOR.value,
            to=people.user(originator.username),
        )
        said.append(_told(f"administered by their originator {originator.username}", granted))
    return " ".join(said) or "Nothing was changed."


def _in_bulk(operation: str, tasks: TaskQuerySet, call: Call, **arguments: object) -> Outcome:
    ids = list(tasks.order_by("pk").values_list("pk", flat=True))
    return ACTIONS[operation](ids, call=call, **arguments) if ids else Outcome(call.operation_id)


def _told(what: str, outcome: Outcome) -> str:
    number = len(outcome.done)
    sentence = f"{number:,} task{'' if number == 1 else 's'} {what}."
    for error in outcome.refused.values():
        return f"{sentence} {len(outcome.refused):,} could not be: {error.text}"
    return sentence


def _without_administrator(leaver: User) -> Iterable[tuple[User, TaskQuerySet]]:
    """Open tasks whose administrators have all left, by their originators that have not."""
    orphans: TaskQuerySet = Task.objects.given_to(
        "user", leaver.pk, TaskRole.ADMINISTRATOR, open_only=True
    ).without_administrator()
    originators = User.objects.filter(
        is_active=True, pk__in=orphans.order_by().values("originator")
    )
    for originator in originators.order_by("pk"):
        yield originator, orphans.filter(originator=originator)


def report() -> tuple[int, int]:
    """Record which tasks have become unclaimable since the last time, and which no longer are.

    The system's own act, an event for each; answers with both numbers. A task that changes
    meanwhile is looked at again the next time.
    """
    unclaimable: TaskQuerySet = Task.objects.unclaimable()
    lost = unclaimable.filter(unclaimable_since=None)
    found = Task.objects.filter(unclaimable_since__isnull=False).exclude(
        pk__in=unclaimable.values("pk")
    )
    return _marked("mark_unclaimable", lost), _marked("mark_claimable", found)


def _marked(operation: str, tasks: TaskQuerySet) -> int:
    versions: dict[UUID, int] = dict(tasks.order_by("pk").values_list("pk", "version")[:UNIT])
    call = Call(None, Channel.WORKER, versions=versions)
    return len(ACTIONS[operation](list(versions), call=call).done) if versions else 0
