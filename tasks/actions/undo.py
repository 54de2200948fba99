"""Undo: what recorded acts did is put back, wherever it still stands as they left it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.models import EffectiveMembership, Group, User
from tasks import errors, work_items
from tasks.calls import Call, Outcome
from tasks.lifecycle import (
    ACTIVE,
    ENDED,
    HELD,
    UNDO,
    UNDO_BY_ADMINISTRATOR,
    UNDO_BY_INITIATOR,
    UPDATES,
    State,
    irreversible_events,
)
from tasks.masking import has_secret
from tasks.models import AuditEvent
from tasks.roles import GRANTED, TaskRole
from tasks.work_items import LockedTask, RoleRow

from .frame import Run, performing
from .units import action
from .work import stored

_DATA = ("input", "output", "fault", "custom_properties", "output_schema")
_TIMES = ("claimed_at", "activated_at", "ended_at")
_FIELDS = (*UPDATES, "output", "fault", "fault_name")
"""Columns that the audit has before and after; owner, state, hold and people come besides."""

_ACTIVATING = frozenset(("activated", "nominated", "claim_cancelled", "reopened", "retried"))
"""Events that set the time at which a task became ready."""

Holder = tuple[str, str]
"""("user", name) or ("group", name)."""


class Effect(NamedTuple):
    """What one event did to a task, as the audit has it: values and role rows, before and after."""

    event: str
    version: int
    at: datetime
    actor_id: int | None
    values: dict[str, tuple[Any, Any]]
    rows: dict[TaskRole, tuple[list[Holder], list[Holder]]]
    """The holders that lost the role, and those that came to it."""


@dataclass
class Restored:
    """What an undo makes of one task: new values, role rows, and what it has to leave."""

    columns: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    leaving: set[RoleRow] = field(default_factory=set)
    arriving: set[RoleRow] = field(default_factory=set)
    state: str | None = None
    kept: list[dict[str, str]] = field(default_factory=list)

    def keep(self, name: str, code: str, detail: str) -> None:
        """Say that something is left as it is."""
        self.kept.append({"field": name, "code": code, "detail": detail})

    @property
    def changes(self) -> bool:
        """Whether anything is put back."""
        return bool(self.columns or self.leaving or self.arriving or self.state)


@action
def undo(
    ids: Sequence[UUID],
    *,
    call: Call,
    operation: str | None = None,
    account: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
) -> Outcome:
    """Put back what an operation did to tasks, or what an account did to them in a time.

    Name either `operation`, by its id, or `account`, `since` and `until`. What others have changed
    since stays, and is told in `kept`; a task of which nothing can be put back is refused.

    Raises InvalidArgument where neither is named, and Irreversible where nothing of what was done
    is of a kind that can be undone.
    """
    effects = _effects(ids, recorded(operation, account, since, until))
    kinds = {effect.event for some in effects.values() for effect in some}
    lost = irreversible_events()
    if kinds and kinds <= set(lost):
        raise errors.Irreversible(operation=", ".join(sorted({lost[kind] for kind in kinds})))
    now = timezone.now()
    own = {
        pk
        for pk, some in effects.items()
        if call.user_id is not None
        and all(one.actor_id == call.user_id and one.at > now - UNDO_BY_INITIATOR for one in some)
    }
    touched = {name for some in effects.values() for one in some for name in one.values}
    columns = [name for name in _FIELDS if name in touched]
    with performing(
        UNDO,
        ids,
        call,
        columns=(*dict.fromkeys((*columns, "secret_pointers", "wakeup_at", *_TIMES)),),
        initiated=own,
    ) as run:
        oldest = now - UNDO_BY_ADMINISTRATOR
        run.refuse_each(
            lambda task: (
                errors.TooLateToUndo(days=UNDO_BY_ADMINISTRATOR.days)
                if any(one.at < oldest for one in effects.get(task.id, ()))
                else None
            )
        )
        _put_back(run, effects)
    return run.outcome


def irreversible(operation: str) -> str | None:
    """What a recorded operation did, in words, where it cannot be undone; else None."""
    events = recorded(operation).values_list("event", flat=True).distinct()
    lost = irreversible_events()
    found = {lost.get(event) for event in events}
    return None if not found or None in found else ", ".join(sorted(cast("set[str]", found)))


def recorded(
    operation: str | None = None,
    account: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
) -> QuerySet[AuditEvent]:
    """The events of one operation, or of what an account did in a time.

    Raises InvalidArgument where neither is named, or the time has no beginning or end.
    """
    if operation is not None:
        return AuditEvent.objects.filter(operation_id=operation)
    if account is None:
        raise errors.InvalidArgument(field="operation", why="nothing is named that could be undone")
    start, end = _moment(since), _moment(until)
    if start is None or end is None:
        raise errors.InvalidArgument(field="until", why="a beginning and an end are needed")
    return AuditEvent.objects.filter(actor=account, at__gte=start, at__lte=end)


def _moment(value: Any) -> datetime | None:
    return parse_datetime(value) if isinstance(value, str) else cast("datetime | None", value)


# --- What was done --------------------------------------------------------------------------------


def _effects(ids: Sequence[UUID], events: QuerySet[AuditEvent]) -> dict[UUID, list[Effect]]:
    """What was done to each task, the newest first."""
    found: dict[UUID, list[Effect]] = {}
    rows = events.filter(task_id__in=list(ids)).order_by("task_id", "-version")
    for pk, event, version, at, actor_id, before, after in rows.values_list(
        "task_id", "event", "version", "at", "actor_id", "before", "after"
    ):
        # They are JSON, though kept as text.
        had, has = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        effect = Effect(event, version, at, actor_id, _values(had, has), _moves(had, has))
        found.setdefault(pk, []).append(effect)
    return found


_VALUES = {*_FIELDS, "state", "owner", "on_hold", "wakeup_at", "starter", "originator"}


def _values(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (before.get(name), after.get(name)) for name in (*before, *after) if name in _VALUES
    }


def _moves(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[TaskRole, tuple[list[Holder], list[Holder]]]:
    """The role rows that went and came; a holder on both sides, or merged, had it all the time."""
    found = {}
    for role in GRANTED:
        if role in before or role in after:
            had, has = _holders(before.get(role)), _holders(after.get(role))
            came = [] if after.get("merged") else [one for one in has if one not in had]
            found[role] = ([one for one in had if one not in has], came)
    return found


def _holders(tags: Any) -> list[Holder]:
    """What the audit has of holders, one or several."""
    several = tags if isinstance(tags, list) else [tags] if tags else []
    return [next(iter(tag.items())) for tag in several]


# --- What is known of those concerned -------------------------------------------------------------


class _People:
    """The accounts and groups that the acts name, looked up once for all tasks."""

    def __init__(self, run: Run, effects: Mapping[UUID, Sequence[Effect]]) -> None:
        tasks = run.allowed
        some = [one for task in tasks for one in effects.get(task.id, ())]
        names: dict[str, set[str]] = {"user": set(), "group": set()}
        for one in some:
            for name in ("owner", "starter", "originator"):
                names["user"] |= {who for who in one.values.get(name, ()) if who}
            for went, came in one.rows.values():
                for kind, who in (*went, *came):
                    names[kind].add(who)
        holding = {task.owner_id for task in tasks if task.owner_id is not None}
        users = User.objects.filter(username__in=names["user"]) | User.objects.filter(
            pk__in=holding
        )
        self.users = {user.pk: user for user in users.distinct()}
        self.found: dict[Holder, User | Group] = {
            ("user", user.username): user for user in self.users.values()
        }
        for group in Group.objects.filter(name__in=names["group"]):
            self.found["group", group.name] = group
        self.names = {_key(one): holder for holder, one in self.found.items()}
        roles = {role for one in some for role in one.rows}
        self.rows: dict[tuple[UUID, TaskRole], set[tuple[str, int]]] = {}
        if roles:
            for row in work_items.rows_of([task.id for task in tasks], roles):
                holders = self.rows.setdefault((row.task_id, row.role), set())
                holders.add((row.kind, row.holder_id))
        candidates = {
            (task.id, user.pk)
            for task in tasks
            for user in self._candidates(task, effects.get(task.id, ()))
        }
        self.excluded: set[tuple[UUID, int]] = set()
        if candidates:
            self.excluded = work_items.holding(TaskRole.EXCLUDED_OWNER, candidates)
        groups = [
            excluding.pk
            for effect in some
            for holder in effect.rows.get(TaskRole.EXCLUDED_OWNER, ((), ()))[0]
            if isinstance(excluding := self.found.get(holder), Group)
        ]
        members = EffectiveMembership.objects.filter(group__in=groups, lead=False)
        self.members = set(members.values_list("group_id", "user_id")) if groups else set()

    def _candidates(self, task: LockedTask, effects: Iterable[Effect]) -> Iterable[User]:
        """Who might hold the task afterwards."""
        for effect in effects:
            if "owner" in effect.values or "state" in effect.values:
                owner = effect.values.get("owner", (None, None))[0]
                if ("user", owner) in self.found:
                    yield cast(User, self.found["user", owner])
        if task.owner_id in self.users:
            yield self.users[task.owner_id]

    def of(self, holder: Holder, at: datetime) -> User | Group | None:
        """Who is meant; not somebody who came to the name after the event."""
        found = self.found.get(holder)
        if isinstance(found, User) and found.date_joined > at:
            return None
        return found

    def unfit(self, task: LockedTask, user: User | None) -> str:
        """Why somebody cannot hold the task, in words; empty where he can."""
        if user is None:
            return "is no longer there"
        if not user.is_active:
            return "is inactive"
        return "is excluded from it" if (task.id, user.pk) in self.excluded else ""


def _put_back(run: Run, effects: Mapping[UUID, Sequence[Effect]]) -> None:
    """Find out what can be put back of each task, refuse the others, and state the change."""
    if not run.allowed:
        return
    people = _People(run, effects)
    times = _times_before(effects, [task.id for task in run.allowed])
    restored = {
        task.id: _restored(task, effects.get(task.id, ()), people, times) for task in run.allowed
    }

    def judge(task: LockedTask) -> errors.TaskError | None:
        found = restored[task.id]
        if found.changes:
            return None
        why = "; ".join(f"{one['field']} {one['detail']}" for one in found.kept)
        return errors.NothingToUndo(why=why or "it stands as it did before")

    run.refuse_each(judge)
    allowed = [task.id for task in run.allowed]
    run.outcome.kept = {pk: restored[pk].kept for pk in allowed if restored[pk].kept}
    run.change(
        to=lambda task: State(restored[task.id].state or task.state),
        before=lambda task: restored[task.id].before,
        after=lambda task: restored[task.id].after,
    )
    run.change_each(
        {pk: restored[pk].columns for pk in allowed},
        names={user.pk: user.username for user in people.users.values()},
        leaving=[row for pk in allowed for row in restored[pk].leaving],
        arriving=[row for pk in allowed for row in restored[pk].arriving],
    )


def _restored(
    task: LockedTask, effects: Sequence[Effect], people: _People, times: _Times
) -> Restored:
    found = Restored()
    lost = irreversible_events()
    for event in dict.fromkeys(one.event for one in effects if one.event in lost):
        found.keep(event, "irreversible", f"cannot be undone: {lost[event]}")
    effects = [one for one in effects if one.event not in lost]
    _restore_standing(found, task, effects, people, times)
    _restore_fields(found, task, effects)
    _restore_columns(found, task, effects, people)
    _restore_rows(found, task, effects, people)
    return found


# --- State, owner and hold ------------------------------------------------------------------------


class _Standing(NamedTuple):
    """State, owner and hold of a task, which have to fit together."""

    state: str
    owner: str | None
    owner_id: int | None
    on_hold: bool
    wakeup_at: datetime | None

    @property
    def fits(self) -> bool:
        """Whether the database would have it so."""
        if self.state in HELD:
            owned = self.owner_id is not None
        else:
            owned = self.state in ENDED or self.owner_id is None
        return owned and (self.state in ACTIVE or not self.on_hold)


def _restore_standing(
    found: Restored,
    task: LockedTask,
    effects: Sequence[Effect],
    people: _People,
    times: _Times,
) -> None:
    now = _Standing(
        task.state, task.owner_name, task.owner_id, task.on_hold, task.extra["wakeup_at"]
    )
    then, since = now, None
    for effect in effects:
        if {"on_hold", "wakeup_at"} & set(effect.values):
            earlier = _hold_before(found, then, effect)
            if earlier is None:
                break
            then = earlier
    reheld = then
    for effect in effects:
        if {"state", "owner"} & set(effect.values):
            step = _state_before(found, task, then, effect, people)
            if step is None:
                break
            then, since = step, effect
    if not then.fits:  # others have put it on hold, or ended it
        what = "hold" if reheld != now else "state"
        found.keep(what, "changed_since", "does not go with what others have changed since")
        then, since = (now, None) if not reheld.fits else (reheld, None)
    if then.state != now.state:
        found.state = then.state
    if then.owner_id != now.owner_id:
        found.columns["owner_id"] = then.owner_id
    if then.on_hold != now.on_hold:
        found.columns["on_hold"] = then.on_hold
    if then.wakeup_at != now.wakeup_at:
        _note(found, "wakeup_at", now.wakeup_at, then.wakeup_at)
    if since is not None and (then.state, then.owner_id) != (now.state, now.owner_id):
        _restore_times(found, task, then, since, times)


def _hold_before(found: Restored, then: _Standing, effect: Effect) -> _Standing | None:
    before, after = effect.values.get("on_hold", (then.on_hold, then.on_hold))
    woke, wakes = (_moment(value) for value in effect.values.get("wakeup_at", (None, None)))
    if then.on_hold != after or (after and then.wakeup_at != wakes):
        found.keep("on_hold", "changed_since", "was changed since")
        return None
    return then._replace(on_hold=before, wakeup_at=woke if before else None)


def _state_before(
    found: Restored, task: LockedTask, then: _Standing, effect: Effect, people: _People
) -> _Standing | None:
    """State and owner as they were before an act; None where they have to stay."""
    old_state, new_state = effect.values.get("state", (then.state, then.state))
    old_owner, new_owner = effect.values.get("owner", (then.owner, then.owner))
    if "owner" in effect.values and then.owner != new_owner:
        found.keep("owner", "changed_since", f"is {then.owner or 'nobody'} by now")
        return None
    if then.state != new_state:
        label = State(then.state).label
        if then.state in ENDED or "owner" not in effect.values:
            found.keep("state", "changed_since", f"is {label} by now")
            return None
        if (then.state in HELD) != (old_owner is not None):
            found.keep("owner", "changed_since", f"cannot change while the task is {label}")
            return None
        if then.state != old_state:
            found.keep("state", "changed_since", f"is {label} by now")
        old_state = then.state
    elif "state" not in effect.values and then.state in ENDED:
        found.keep("owner", "changed_since", "has ended the task by now")
        return None
    owner_id = then.owner_id
    if "owner" in effect.values:
        owner = people.of(("user", old_owner), effect.at) if old_owner else None
        owner_id = owner.pk if owner else None
    else:
        owner = people.users.get(owner_id) if owner_id is not None else None
    if old_state in HELD:
        why = people.unfit(task, cast("User | None", owner))
        if why:
            code = "owner_" + {"is inactive": "inactive", "is excluded from it": "excluded"}.get(
                why, "gone"
            )
            name = old_owner if "owner" in effect.values else then.owner
            found.keep("owner", code, f"{name} {why}, so nobody has the task")
            return then._replace(state=State.READY, owner=None, owner_id=None)
    return then._replace(
        state=old_state, owner=old_owner if owner_id is not None else None, owner_id=owner_id
    )


_Times = Mapping[tuple[UUID, int], Mapping[str, datetime | None]]


def _times_before(effects: Mapping[UUID, Sequence[Effect]], ids: Sequence[UUID]) -> _Times:
    """When each task was claimed, activated and ended, as it was before each of the acts.

    No act writes down what these times were; they are the times of the events that made them.
    """
    acts = {
        pk: [one.version for one in effects.get(pk, ()) if {"state", "owner"} & set(one.values)]
        for pk in ids
    }
    found: dict[tuple[UUID, int], dict[str, datetime | None]] = {}
    running: dict[str, datetime | None] = {}
    current: UUID | None = None
    events = AuditEvent.objects.filter(task_id__in=[pk for pk, some in acts.items() if some])
    rows = events.order_by("task_id", "version").values_list(
        "task_id", "version", "event", "at", "after"
    )
    for pk, version, event, at, text in rows.iterator(10_000):
        after = cast("dict[str, Any]", text)
        if pk != current:
            current, running = pk, dict.fromkeys(_TIMES)
        if version in acts[pk]:
            found[pk, version] = dict(running)
        if event in ("created", "imported"):  # whose record is whole
            running = {name: _moment(after.get(name)) for name in _TIMES}
            continue
        if "owner" in after:
            running["claimed_at"] = at if after["owner"] else None
        if event in _ACTIVATING:
            running["activated_at"] = at
        if "state" in after:
            running["ended_at"] = at if after["state"] in ENDED else None
        for name in _TIMES:
            if name in after:
                running[name] = _moment(after[name])
    return found


def _restore_times(
    found: Restored, task: LockedTask, then: _Standing, since: Effect, times: _Times
) -> None:
    before = dict(times[task.id, since.version])
    if then.owner_id is None:
        before["claimed_at"] = None
    elif then.owner_id == task.owner_id:
        before["claimed_at"] = task.extra["claimed_at"]
    if then.state == State.READY and before["activated_at"] is None:
        before["activated_at"] = task.extra["activated_at"]
    if then.state not in ENDED:
        before["ended_at"] = None
    elif before["ended_at"] is None:
        before["ended_at"] = task.extra["ended_at"] or since.at
    for name in _TIMES:
        if before[name] != task.extra[name]:
            _note(found, name, task.extra[name], before[name])


def _note(found: Restored, name: str, now: Any, then: Any) -> None:
    """A column with its audit entry."""
    found.columns[name] = then
    found.before[name], found.after[name] = _plain(now), _plain(then)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


# --- Properties, data, starter and originator -----------------------------------------------------


def _restore_fields(found: Restored, task: LockedTask, effects: Sequence[Effect]) -> None:
    pointers = stored(task, "secret_pointers")
    for name in _FIELDS:
        acts = [effect.values[name] for effect in effects if name in effect.values]
        if not acts:
            continue
        now = then = stored(task, name) if name in _DATA else task.extra[name]
        for before, after in acts:
            if any(has_secret(pointers, **{name: value}) for value in (before, after)):
                found.keep(name, "secret", "holds a secret, which the record does not keep")
                break
            if then != _typed(name, after):
                found.keep(name, "changed_since", "was changed since")
                break
            then = _typed(name, before)
        if then != now:
            _note(found, name, now, then)


def _typed(name: str, value: Any) -> Any:
    if value is None:
        return "" if name == "fault_name" else None
    return _moment(value) if name in ("due_at", "expires_at") else value


def _restore_columns(
    found: Restored, task: LockedTask, effects: Sequence[Effect], people: _People
) -> None:
    """Starter and originator, who are in columns of the task."""
    for name in ("starter", "originator"):
        now: int | None = getattr(task, f"{name}_id")
        then = now
        shown: list[str | None] = []
        for effect in effects:
            if name not in effect.values:
                continue
            before, after = effect.values[name]
            holder = people.found.get(("user", after))
            if (holder.pk if holder else None) != then:
                found.keep(name, "changed_since", "was changed since")
                break
            old = people.of(("user", before), effect.at) if before else None
            if before and old is None:
                found.keep(name, "holder_gone", f"cannot be {before}, who is no longer there")
                break
            then = old.pk if old else None
            shown += [after, before]
        if then != now:
            found.columns[f"{name}_id"] = then
            found.before[name], found.after[name] = shown[0], shown[-1]


# --- Role rows ------------------------------------------------------------------------------------


def _restore_rows(
    found: Restored, task: LockedTask, effects: Sequence[Effect], people: _People
) -> None:
    for role in dict.fromkeys(role for effect in effects for role in effect.rows):
        now = people.rows.get((task.id, role), set())
        then = set(now)
        for effect in effects:
            if role in effect.rows:
                earlier = _rows_before(found, task, role, then, effect, people)
                if earlier is None:
                    break
                then = earlier
        if role is TaskRole.ADMINISTRATOR and now and not then:
            found.keep(role, "last_administrator", "would have no holder left")
            continue
        gone, back = now - then, then - now
        found.leaving |= {RoleRow(task.id, role, kind, pk) for kind, pk in gone}
        found.arriving |= {RoleRow(task.id, role, kind, pk) for kind, pk in back}
        if gone:
            found.before[role] = [dict([people.names[one]]) for one in sorted(gone)]
        if back:
            found.after[role] = [dict([people.names[one]]) for one in sorted(back)]


def _key(holder: Model) -> tuple[str, int]:
    return ("user" if isinstance(holder, User) else "group", cast(int, holder.pk))


def _rows_before(
    found: Restored,
    task: LockedTask,
    role: TaskRole,
    then: set[tuple[str, int]],
    effect: Effect,
    people: _People,
) -> set[tuple[str, int]] | None:
    """Who held a role before an act; None where those who hold it now have to keep it."""
    went, came = effect.rows[role]
    arrived = {_key(one) for holder in came if (one := people.found.get(holder))}
    if came and not arrived & then:
        found.keep(role, "changed_since", "has passed on since")
        return None
    owner_id = found.columns.get("owner_id", task.owner_id)
    back = set()
    for holder in went:
        one = people.of(holder, effect.at)
        if one is None or not one.is_active:
            why = "is inactive" if one else "is no longer there"
            found.keep(role, "holder_inactive" if one else "holder_gone", f"{holder[1]} {why}")
        elif role is TaskRole.EXCLUDED_OWNER and (
            _key(one) == ("user", owner_id) or (one.pk, owner_id) in people.members
        ):
            found.keep(role, "target_not_eligible", f"{holder[1]} would exclude the owner")
        else:
            back.add(_key(one))
    if went and not back:
        return None
    return (then - arrived) | back
