"""A recorded history of calls, and the checker that finds one legal order in it or says why not.

The versions that a task went through are its order; the checker asks whether what the callers were
told, what the audit says, what the rows hold and what the clock showed all agree with it. The life
cycle here is written by hand from the rule book and shares nothing with the code under test.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

READ: Final = "read"
CREATE: Final = "create"
UNTOLD: Final = "?"
"""In place of a state or an owner that an answer does not name."""

UNVERSIONED: Final = frozenset({"htm bulk"})
"""The calls whose answers have no place for versions."""

CONFLICTS: Final = frozenset(
    {"invalid_task_state", "already_owner", "conflict", "stale_task", "no_such_work_item"}
)
"""The refusals that depend on how the task stands, so must say which version they speak of."""

NEVER: Final = math.inf
"""The end of a call that got no answer."""


# --- What was recorded ----------------------------------------------------------------------------


class Asked(NamedTuple):
    """A task that a call names, and the version that it expects of it, if any."""

    task: UUID
    expected: int | None = None


class Answer(NamedTuple):
    """What a call was told of one task: how it stands now if it was done, else why not."""

    task: UUID
    done: bool
    version: int | None = None
    state: str = UNTOLD
    owner: str | None = UNTOLD
    code: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who asked what of which tasks, when, and what came back.

    `id` went along as X-Request-ID, so the audit names it. `start` and `end` are readings of one
    monotonic clock; `end` is infinite and `status` None where no whole answer came. `target` is
    who was to become owner, `giver` who was to give up being it.
    """

    id: str
    client: int
    actor: str
    face: str
    operation: str
    asked: tuple[Asked, ...]
    start: float
    end: float
    status: int | None
    answers: tuple[Answer, ...] = ()
    target: str | None = None
    giver: str | None = None

    @property
    def known(self) -> bool:
        """Whether the caller knows what came of it."""
        return self.status is not None and self.status < 500


class Event(NamedTuple):
    """A row of the audit."""

    id: int
    task: UUID
    version: int
    event: str
    actor: str
    request_id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Row(NamedTuple):
    """A task as the database holds it when all is over."""

    task: UUID
    version: int
    state: str
    owner: str | None


# --- The life cycle -------------------------------------------------------------------------------


class Standing(NamedTuple):
    """What the model knows of a task at one version."""

    state: str
    owner: str | None


READY: Final = frozenset({"ready"})
HELD: Final = frozenset({"reserved", "in_progress"})
ACTIVE: Final = READY | HELD
OPEN: Final = ACTIVE | {"created"}
ENDED: Final = frozenset({"completed", "failed", "error", "exited", "obsolete", "expired"})
ANY: Final = OPEN | ENDED

SAME: Final = "the owner stays"
NOBODY: Final = "nobody"
ACTOR: Final = "the caller"
TARGET: Final = "the one named in the call"
FIRST: Final = "the caller if it was nobody's"


class Step(NamedTuple):
    """What one kind of event does: the operation behind it, from where to where, who owns then.

    No target means that the state stays. In the states of `holders_only` nobody does it but the
    owner and administrators.
    """

    operation: str
    sources: frozenset[str]
    target: frozenset[str] = frozenset()
    owner: str = SAME
    holders_only: frozenset[str] = frozenset()


BEGINNINGS: Final = {"created": CREATE, "imported": CREATE}
"""The events of version 1; they bring the whole standing along."""

STEPS: Final = {
    "claimed": Step("claim", READY, frozenset({"reserved"}), ACTOR),
    "released": Step("release", HELD, READY, NOBODY),
    "claim_cancelled": Step("cancel_claim", HELD, READY, NOBODY, HELD),
    "assigned": Step("assign", ACTIVE, frozenset({"reserved"}), TARGET, HELD),
    "owner_transferred": Step("transfer", HELD, owner=TARGET, holders_only=HELD),
    "completed": Step("complete", HELD, frozenset({"completed"}), SAME, HELD),
    "finished": Step("finish", ACTIVE, frozenset({"completed", "failed"}), FIRST, HELD),
    "reader_granted": Step("grant", ANY),
    "reader_revoked": Step("revoke", ANY),
}
"""Every event that may follow; a new operation needs a line here and nothing else."""

_STEP_OF: Final = {step.operation: step for step in STEPS.values()}
_EVENTS_OF: Final = {
    operation: {event for event, step in STEPS.items() if step.operation == operation}
    for operation in _STEP_OF
} | {CREATE: set(BEGINNINGS)}


# --- The checker ----------------------------------------------------------------------------------


def check(
    history: Sequence[Call],
    audit: Sequence[Event],
    rows: Sequence[Row],
    outbox: Collection[int],
    *,
    administrators: Collection[str] = (),
    broken: bool = False,
) -> list[str]:
    """Everything that no legal order explains, in words; nothing when all is well.

    `outbox` holds the audit ids that have an outbox row, as often as they have one.
    `administrators` may do to every task what else its holder alone may. `broken` says that
    servers were killed under way: then lost connections and 5xx are nobody's fault.
    """
    return [*_Checker(history, audit, rows, outbox, frozenset(administrators), broken).violations()]


@dataclass(slots=True)
class _Checker:
    history: Sequence[Call]
    audit: Sequence[Event]
    rows: Sequence[Row]
    outbox: Collection[int]
    administrators: frozenset[str]
    broken: bool
    standings: dict[tuple[UUID, int], Standing] = field(default_factory=dict)
    written: dict[tuple[UUID, str], list[Event]] = field(default_factory=dict)

    def violations(self) -> Iterator[str]:
        for event in self.audit:
            self.written.setdefault((event.task, event.request_id), []).append(event)
        yield from self._calls()
        yield from self._chains()
        yield from self._totals()
        yield from self._causes()
        yield from self._answers()
        yield from self._order()

    # What a call was answered, taken by itself

    def _calls(self) -> Iterator[str]:
        for call in self.history:
            if not call.known:
                if not self.broken:
                    what = "no answer" if call.status is None else f"status {call.status}"
                    yield f"{_named(call)}: the server failed the caller ({what})"
                continue
            if call.operation == CREATE:
                continue
            asked = list(dict.fromkeys(task for task, _ in call.asked))
            told = Counter(answer.task for answer in call.answers)
            if told != Counter(asked):
                yield f"{_named(call)}: it does not answer for each task once"
            for done in (True, False):
                part = [answer.task for answer in call.answers if answer.done is done]
                if part != [task for task in asked if task in set(part)]:
                    yield f"{_named(call)}: its answers are not in the order asked"
            for answer in call.answers if call.face not in UNVERSIONED else ():
                if answer.version is None and (answer.done or answer.code in CONFLICTS):
                    yield f"{_named(call)}: it names no version of {answer.task}"

    # The audit and the rows, taken by themselves

    def _chains(self) -> Iterator[str]:
        chains: dict[UUID, list[Event]] = defaultdict(list)
        for event in self.audit:
            chains[event.task].append(event)
        final = {row.task: row for row in self.rows}
        for task in sorted(chains.keys() | final.keys()):
            chain = sorted(chains[task], key=lambda event: (event.version, event.id))
            versions = [event.version for event in chain]
            if versions != [*range(1, len(versions) + 1)]:
                odd = sorted(Counter(versions) - Counter(range(1, len(versions) + 1)))
                yield f"{task}: the audit does not have each version once (see {odd})"
            standing = None
            for event in chain:
                standing = yield from self._replay(event, standing)
                self.standings.setdefault((task, event.version), standing)
            row = final.get(task)
            if row is None:
                yield f"{task}: it is in the audit, but not in the table"
            elif row.version != (versions[-1] if versions else 0):
                yield f"{task}: it is at version {row.version}, its audit ends at {versions[-1:]}"
            elif standing != Standing(row.state, row.owner):
                yield f"{task}: it is {row.state}, owner {row.owner}; the audit says {standing}"

    def _replay(self, event: Event, standing: Standing | None) -> Iterator[str]:  # type: ignore[return]
        """The standing after an event; what the event claims is followed, legal or not."""
        where = f"{event.task} v{event.version} {event.event} by {event.actor}"
        if event.event in BEGINNINGS or standing is None:
            if (event.event in BEGINNINGS) != (event.version == 1):
                yield f"{where}: a task begins once, at version 1"
            return Standing(event.after.get("state", UNTOLD), event.after.get("owner"))
        after = Standing(
            event.after.get("state", standing.state), event.after.get("owner", standing.owner)
        )
        step = STEPS.get(event.event)
        if step is None:
            yield f"{where}: the model has no such event"
            return after
        if standing.state not in step.sources:
            yield f"{where}: not legal in state {standing.state} (owner {standing.owner})"
        if (
            standing.state in step.holders_only
            and event.actor != standing.owner
            and event.actor not in self.administrators
        ):
            yield f"{where}: only its holder {standing.owner} may do that"
        if after.state not in (step.target or {standing.state}):
            yield f"{where}: it leads to {after.state}"
        owner = {
            SAME: standing.owner,
            NOBODY: None,
            ACTOR: event.actor,
            TARGET: after.owner,
            FIRST: standing.owner or event.actor,
        }[step.owner]
        if after.owner != owner or (step.owner == TARGET and owner is None):
            yield f"{where}: it leaves the task to {after.owner}"
        for name in ("state", "owner"):
            if event.before.get(name, getattr(standing, name)) != getattr(standing, name):
                yield f"{where}: {name} was {getattr(standing, name)}, not {event.before[name]}"
        return after

    def _totals(self) -> Iterator[str]:
        sums = sum(row.version for row in self.rows), len(self.audit), len(self.outbox)
        if len(set(sums)) > 1:
            yield "sum of versions {}, audit events {}, outbox rows {}".format(*sums)
        if Counter(self.outbox) != Counter(event.id for event in self.audit):
            yield "the outbox does not hold each audit event once"

    # The audit held against the calls

    def _causes(self) -> Iterator[str]:
        calls = {call.id: call for call in self.history}
        for (task, request), events in self.written.items():
            call = calls.get(request)
            if call is None:
                yield f"{task}: nobody made the call {request}, which the audit names"
                continue
            if len(events) > 1:
                yield f"{_named(call)} changed {task} {len(events)} times"
            for event in events:
                if event.actor != call.actor:
                    yield f"{_named(call)}: the audit says it was {event.actor}"
                if event.event not in _EVENTS_OF.get(call.operation, ()):
                    yield f"{_named(call)}: the audit says {event.event}"
                if call.target and event.after.get("owner", call.target) != call.target:
                    yield f"{_named(call)}: the task went to {event.after['owner']} instead"
            if call.known and task not in {answer.task for answer in call.answers if answer.done}:
                yield f"{_named(call)} was refused, yet changed {task}"

    # The answers held against the audit

    def _answers(self) -> Iterator[str]:
        answered: dict[tuple[UUID, int], list[Call]] = defaultdict(list)
        for call in self.history:
            expected = dict(call.asked)
            for answer in call.answers if call.known else ():
                if not answer.done:
                    yield from self._refusal(call, answer, expected.get(answer.task))
                    continue
                events = self.written.get((answer.task, call.id), [])
                if call.operation != READ and not self._repeats(call, answer):
                    if not events:
                        yield f"{_named(call)}: lost, {_told(answer)} but the audit has no such act"
                        continue
                    if answer.version is not None:
                        answered[answer.task, answer.version].append(call)
                        if answer.version != events[0].version:
                            yield f"{_named(call)}: {_told(answer)}, made {events[0].version}"
                    wanted = expected.get(answer.task)
                    if wanted is not None and events[0].version != wanted + 1:
                        yield f"{_named(call)}: done on a version other than {wanted}"
                yield from self._view(call, answer)
        for (task, version), several in answered.items():
            if len(several) > 1:
                who = ", ".join(_named(call) for call in several)
                yield f"{task}: version {version} was answered to {len(several)} writes: {who}"

    def _repeats(self, call: Call, answer: Answer) -> bool:
        """Whether it is a claim by somebody who had the task already, which changes nothing."""
        if call.operation != "claim" or (answer.task, call.id) in self.written:
            return False
        standing = self.standings.get((answer.task, answer.version or 0))
        return standing is not None and standing.state in HELD and standing.owner == call.actor

    def _view(self, call: Call, answer: Answer) -> Iterator[str]:
        """Whether the state and the owner in an answer are those of the version in it."""
        if answer.version is None:
            return
        standing = self.standings.get((answer.task, answer.version))
        if standing is None:
            yield f"{_named(call)}: {_told(answer)}, which never was"
            return
        for name in ("state", "owner"):
            said, was = getattr(answer, name), getattr(standing, name)
            if said not in (UNTOLD, was):
                yield f"{_named(call)}: {_told(answer)} with {name} {said}, which was {was}"

    def _refusal(self, call: Call, answer: Answer, expected: int | None) -> Iterator[str]:
        if answer.code == "task_not_found":
            if (answer.task, 1) in self.standings:
                yield f"{_named(call)}: {answer.task} was not found"
            return
        yield from self._view(call, answer)
        standing = self.standings.get((answer.task, answer.version or 0))
        if standing is not None and not self._explains(standing, call, answer, expected):
            yield (
                f"{_named(call)}: refused as {answer.code} at version {answer.version}, "
                f"when it was {standing.state} (owner {standing.owner})"
            )

    def _explains(
        self, standing: Standing, call: Call, answer: Answer, expected: int | None
    ) -> bool:
        """Whether a task that stands so is refused with that code."""
        step = _STEP_OF.get(call.operation)
        wrong_state = step is not None and standing.state not in step.sources
        has_it = call.actor if call.operation == "claim" else call.target
        held_already = standing.state in HELD and standing.owner == has_it
        match answer.code:
            case "invalid_task_state":
                return wrong_state
            case "already_owner":
                return held_already
            case "conflict":  # what a dialect says of both
                return wrong_state or held_already
            case "stale_task":
                return expected not in (None, answer.version)
            case "no_such_work_item":
                return call.operation != "transfer" or standing.owner != (call.giver or call.actor)
            case "not_authorized":
                return call.actor != standing.owner and call.actor not in self.administrators
        return True

    # The clock

    def _order(self) -> Iterator[str]:
        """Whether calls that did not overlap are ordered as they happened.

        The write that made version v stands at 2v, whoever saw v at 2v + 1; two calls that saw the
        same version are in no order. A legal order exists if and only if no call ended before one
        began that stands before it.
        """
        places: dict[UUID, list[tuple[int, Call]]] = defaultdict(list)
        for call in self.history:
            # A call without an answer still began before what the audit says it did.
            for task, _ in () if call.known else call.asked:
                for event in self.written.get((task, call.id), []):
                    places[task].append((2 * event.version, call))
            for answer in call.answers if call.known else ():
                events = self.written.get((answer.task, call.id))
                if answer.done and events:
                    places[answer.task].append((2 * events[0].version, call))
                elif answer.version is not None:
                    places[answer.task].append((2 * answer.version + 1, call))
        for task, calls in places.items():
            calls.sort(key=lambda one: (one[0], one[1].start))
            latest: Call | None = None
            group: list[Call] = []
            at = 0
            for place, call in calls:
                if place != at:
                    latest = max(filter(None, [latest, *group]), key=_start, default=None)
                    at, group = place, []
                group.append(call)
                if latest is not None and call.end < latest.start:
                    yield (
                        f"{task}: {_named(call)} is of {_version(place)} and ended before "
                        f"{_named(latest)} began, which comes first by version"
                    )


def _start(call: Call) -> float:
    return call.start


def _named(call: Call) -> str:
    return f"{call.face} {call.operation} {call.id} by {call.actor}"


def _told(answer: Answer) -> str:
    how = "" if answer.state == UNTOLD else f" ({answer.state}, owner {answer.owner})"
    return f"it was told version {answer.version}{how} of {answer.task}"


def _version(place: int) -> str:
    return f"version {place // 2}"
