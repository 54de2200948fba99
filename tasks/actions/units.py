"""Actions on many tasks: the registry, units of a bounded size, and stored bulk operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import wraps
from typing import Any, Protocol, cast
from uuid import UUID

from django.db import Error

from tasks import errors, metrics, retries
from tasks.calls import Call, Outcome
from tasks.lifecycle import permission_for, rows_of
from tasks.masking import MASK
from tasks.models import BulkOperation
from tasks.people import Reference
from tasks.querysets import scope_of

UNIT = 10_000
"""How many tasks one transaction takes; more are worked through in units of that many."""


class Action(Protocol):
    """How every action is called: task ids, the circumstances, and the operation's arguments."""

    def __call__(self, ids: Sequence[UUID], *, call: Call, **arguments: Any) -> Outcome: ...


ACTIONS: dict[str, Action] = {}
"""Every action on existing tasks by the name of its operation."""


def action(act: Callable[..., Outcome]) -> Action:
    """Register an action; answer each id once and work through many in units of UNIT.

    Nothing raises after the first unit: the tasks of a unit that fails are refused as not
    attempted. Raises TooManyTasks above the bulk limit of the actor's roles.
    """

    @wraps(act)
    def in_units(ids: Sequence[UUID], *, call: Call, **arguments: Any) -> Outcome:
        asked = list(dict.fromkeys(ids))
        if call.bulk:
            _demand_within_limit(act.__name__, call.processed + len(asked), call)
        if call.once is not None and len(asked) > UNIT:
            # What is kept under a key is kept in one transaction.
            raise errors.TooManyTasks(count=len(asked), limit=UNIT)
        call = replace(call, arguments=as_json(arguments))
        if call.atomic and call.processed + len(asked) > UNIT:
            raise errors.InvalidArgument(field="atomic", why=f"at most {UNIT:,} tasks")
        if len(asked) <= UNIT:
            return act(asked, call=call, **arguments)
        if call.bulk and not call.dry_run:
            store(act.__name__, asked, [], call, BulkOperation.Status.RUNNING)
        whole = Outcome(call.operation_id)
        for start in range(0, len(asked), UNIT):
            unit = asked[start : start + UNIT]
            try:
                part = act(unit, call=replace(call, processed=call.processed + start), **arguments)
            except (errors.CallError, Error) as error:
                if start == 0:
                    BulkOperation.objects.filter(
                        pk=call.operation_id, processed=0, status=BulkOperation.Status.RUNNING
                    ).delete()
                    raise
                # The answer to the commit may be what was lost, and the unit be done.
                recorded = _recorded(call, unit, call.processed + start)
                if recorded is None:
                    busy = not isinstance(error, errors.CallError)
                    why = "the database is busy" if busy else str(error)
                    whole.refused.update({pk: errors.NotAttempted(why=why) for pk in asked[start:]})
                    break
                part = recorded
            whole.done.update(part.done)
            whole.refused.update(part.refused)
            whole.kept.update(part.kept)
        return whole

    @wraps(act)
    def counted(ids: Sequence[UUID], *, call: Call, **arguments: Any) -> Outcome:
        try:
            outcome = in_units(ids, call=call, **arguments)
        except errors.CallError as error:
            metrics.count(act.__name__, {error.code: 1})
            raise
        if not call.dry_run:
            codes = Counter(error.code for error in outcome.refused.values())
            metrics.count(act.__name__, {metrics.DONE: len(outcome.done), **codes})
        return outcome

    ACTIONS[act.__name__] = cast(Action, counted)
    return ACTIONS[act.__name__]


def _demand_within_limit(name: str, count: int, call: Call) -> None:
    limited = rows_of(name)[0].limited and call.may(permission_for(name), name)
    limit = call.actor.bulk_limit if limited and call.actor else None
    if limit is not None and count > limit:
        raise errors.TooManyTasks(count=count, limit=limit)


def _recorded(call: Call, unit: Sequence[UUID], start: int) -> Outcome | None:
    """What came of a unit of a bulk call by its record; None where the unit was not carried out.

    `start` is its place among all tasks of the call. Raises what the database raises, since without
    the record nothing true can be said of the unit.
    """
    stored = BulkOperation.objects.filter(pk=call.operation_id, processed__gt=start).first()
    if stored is None:
        return None
    part = Outcome(call.operation_id)
    for pk, version in zip(unit, stored.versions[start:], strict=False):
        refused = stored.refused.get(str(pk))
        if refused is None:
            part.done[pk] = version + 1
            if str(pk) in stored.kept:
                part.kept[pk] = stored.kept[str(pk)]
        else:
            part.refused[pk] = errors.recorded(refused["code"], refused["detail"])
    return part


DATA = ("input", "output", "fault", "content")
"""Arguments that are task data, so may hold what a task marks secret: the record masks them."""

REFERENCES = ("to", "from_", "people")
"""The arguments that name accounts or groups."""


def as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the record of a bulk call keeps them; those that were not given are left out."""

    def plain(name: str, value: Any) -> Any:
        if name in DATA:
            return MASK
        if isinstance(value, Reference):
            return value.as_json()
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, Mapping):
            return {key: plain(key, inner) for key, inner in value.items()}
        if name in REFERENCES:
            return [reference.as_json() for reference in value]
        return value

    return {name: plain(name, value) for name, value in arguments.items() if value is not None}


def _referred(value: Any) -> Reference | list[Reference]:
    """What `as_json` made of a reference, or of several, as it was."""
    if isinstance(value, list):
        return [Reference(**one) for one in value]
    return Reference(**value)


def store(
    operation: str,
    ids: Sequence[UUID],
    versions: Sequence[int],
    call: Call,
    status: BulkOperation.Status,
    *,
    background: bool = False,
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
            "background": background,
            "scope_group_ids": scope_of(call.actor),
        },
    )
    return stored


def put_off(
    name: str, versions: Mapping[UUID, int], /, *, call: Call, **arguments: Any
) -> BulkOperation:
    """Store a bulk act for a worker; `versions` has its tasks, with 0 where any version will do.

    Raises TooManyTasks above the bulk limit of the actor's roles, and InvalidArgument where it
    cannot be kept for later.
    """
    _demand_nothing_secret(arguments)
    _demand_within_limit(name, len(versions), call)
    if call.atomic and len(versions) > UNIT:
        raise errors.InvalidArgument(field="atomic", why=f"at most {UNIT:,} tasks")
    call = replace(call, arguments=as_json(arguments) | ({"atomic": True} if call.atomic else {}))
    return retries.effect(
        call.once,
        lambda: store(
            name,
            list(versions),
            list(versions.values()),
            call,
            BulkOperation.Status.WAITING,
            background=True,
        ),
    )


def take_further(stored: BulkOperation, *, call: Call) -> Outcome:
    """Carry out the next unit of a bulk act that was put off. Raises CallError."""
    done = stored.processed
    unit = stored.ids[done : done + UNIT]
    versions = zip(unit, stored.versions[done : done + UNIT], strict=True)
    arguments = dict(stored.arguments)
    atomic = arguments.pop("atomic", False)
    return ACTIONS[stored.operation](
        unit,
        call=replace(
            call,
            bulk=True,
            operation_id=stored.pk,
            processed=done,
            reason=stored.reason,
            atomic=atomic,
            versions={pk: version for pk, version in versions if version},
        ),
        **_arguments(arguments),
    )


def repeat(stored: BulkOperation, ids: Sequence[UUID], *, call: Call) -> Outcome | BulkOperation:
    """Do what a stored operation says to some tasks anew: at once, or put off where many.

    Raises what the operation raises, and InvalidArgument where its data was not kept.
    """
    if stored.operation not in ACTIONS:  # tasks were made, and nothing is kept of what they said
        raise errors.InvalidArgument(field="operation", why="task data is not kept for later")
    _demand_nothing_secret(stored.arguments)
    arguments = _arguments({k: v for k, v in stored.arguments.items() if k != "atomic"})
    call = replace(call, bulk=True, reason=stored.reason)
    if len(ids) > UNIT:
        return put_off(stored.operation, dict.fromkeys(ids, 0), call=call, **arguments)
    return ACTIONS[stored.operation](ids, call=call, **arguments)


def _arguments(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What `as_json` made of arguments as they were."""
    return {name: _referred(value) if name in REFERENCES else value for name, value in kept.items()}


def plan(
    name: str, ids: Sequence[UUID], /, *, call: Call, **arguments: Any
) -> tuple[BulkOperation, Outcome]:
    """Store a bulk act to be confirmed, with the versions as they are now, and what it would do."""
    _demand_nothing_secret(arguments)
    asked = list(dict.fromkeys(ids))
    outcome = ACTIONS[name](asked, call=replace(call, bulk=True, dry_run=True), **arguments)
    versions = [
        outcome.done.get(pk) or (outcome.refused[pk].version if pk in outcome.refused else 0) or 0
        for pk in asked
    ]
    call = replace(call, arguments=as_json(arguments))
    return store(name, asked, versions, call, BulkOperation.Status.PLANNED), outcome


def _demand_nothing_secret(arguments: Mapping[str, Any]) -> None:
    """Raise InvalidArgument where task data is among the arguments, since no record keeps it."""
    values = arguments.get("values") or {}
    for name in DATA:
        if arguments.get(name) is not None or name in values:
            raise errors.InvalidArgument(field=name, why="task data is not kept for later")


def carry_out(stored: BulkOperation, *, call: Call) -> Outcome:
    """Do what a stored bulk operation says, from where it stands; tasks changed since are refused.

    Raises InvalidArgument when it has been carried out already, or never planned.
    """
    if stored.status == BulkOperation.Status.DRAFT:
        raise errors.InvalidArgument(field="operation", why="it has not been planned")
    if stored.status == BulkOperation.Status.DONE:
        raise errors.InvalidArgument(field="operation", why="it has already been carried out")
    _demand_nothing_secret(stored.arguments)
    arguments = _arguments(stored.arguments)
    rest = stored.ids[stored.processed :]
    return ACTIONS[stored.operation](
        rest,
        call=replace(
            call,
            bulk=True,
            operation_id=stored.pk,
            processed=stored.processed,
            reason=stored.reason,
            # A call that was never planned has versions only of what it has dealt with.
            versions=dict(zip(stored.ids, stored.versions, strict=False)),
        ),
        **arguments,
    )
