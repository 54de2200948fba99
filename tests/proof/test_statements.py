"""P11, P13: whatever goes wrong at whatever statement, a change is there wholly or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext

from tasks import actions
from tasks.actions import ACTIONS, Draft, Outcome, carry_out, plan
from tasks.errors import CallError, TaskError
from tasks.models import AuditEvent, BulkOperation, Task, TaskGroupRole, TaskUserRole
from tasks.people import user
from tasks.roles import TaskRole
from tests.conftest import Cast, assemble, sweep
from tests.core.cases import CASES, Case
from tests.factories import call_by, make_tasks, reference

from .books import balance
from .relay import PORT, Harm, Relay

Tally = Callable[[str, int], None]

UNAVAILABLE = (OperationalError, InterfaceError)
"""What every face answers with 503."""


class Try(NamedTuple):
    """Tasks, and something to do to them; `do` may be called again."""

    ids: list[UUID]
    do: Callable[[], Any]


@dataclass(frozen=True)
class Act:
    """Something that changes tasks, in one transaction for each unit of them."""

    name: str
    prepare: Callable[[Cast], Try]
    units: int = 1


# --- What is done ---------------------------------------------------------------------------------


def _single(case: Case) -> Act:
    def prepare(cast: Cast) -> Try:
        pk, arguments, actor = case.task(cast).pk, case.arguments(cast), case.actor(cast)
        return Try([pk], lambda: case.act([pk], call=call_by(actor), **arguments).one())

    return Act(str(case), prepare)


def _bulk(case: Case) -> Act:
    def prepare(cast: Cast) -> Try:
        ids, arguments = [case.task(cast).pk for _ in range(2)], case.arguments(cast)
        actor = case.actor(cast)
        return Try(ids, lambda: case.act(ids, call=call_by(actor, bulk=True), **arguments))

    return Act(f"{case} in bulk", prepare)


def _drafts(cast: Cast) -> list[Draft]:
    people = {
        TaskRole.POTENTIAL_OWNER: [reference(cast.bob)],
        TaskRole.READER: [reference(cast.noc)],
    }
    return [Draft(Task(name=f"Replace router {n}", automatic_claim=True), people) for n in range(2)]


def _creating(cast: Cast) -> Try:
    drafts = _drafts(cast)
    return Try(
        [draft.task.pk for draft in drafts],
        lambda: actions.create(drafts, call=call_by(cast.carol)),
    )


def _importing(cast: Cast) -> Try:
    drafts = _drafts(cast)
    return Try(
        [draft.task.pk for draft in drafts],
        lambda: actions.import_(drafts, call=call_by(cast.carol)),
    )


def _held(cast: Cast, count: int) -> list[UUID]:
    ids = [task.pk for task in make_tasks(count, cast.carol, [cast.noc])]
    ACTIONS["claim"](ids, call=call_by(cast.bob))
    return ids


def _confirming(cast: Cast) -> Try:
    ids = _held(cast, 2)
    stored, _ = plan("release", ids, call=call_by(cast.carol))
    return Try(
        ids,
        lambda: carry_out(BulkOperation.objects.get(pk=stored.pk), call=call_by(cast.carol)),
    )


def _handing_over_many(cast: Cast) -> Try:
    ids = _held(cast, 4)
    names = {"role": "owner", "from_": user("bob"), "to": user("alice")}
    return Try(
        ids,
        lambda: ACTIONS["transfer"](ids, call=call_by(cast.carol, bulk=True), **names),
    )


SINGLE = [_single(case) for case in CASES]
BULK = [_bulk(case) for case in CASES]
OTHERS = [
    Act("create", _creating),
    Act("import", _importing),
    Act("carry out", _confirming),
]
IN_UNITS = Act("transfer in two units", _handing_over_many, units=2)


# --- What is there --------------------------------------------------------------------------------


def _seen(value: Any) -> Any:
    return "a time" if isinstance(value, datetime) else value


_OF_ONE_TASK_ONLY = ("id", "head", "name", "short_id")


def effects(ids: Sequence[UUID]) -> list[Any]:
    """All that is there of each task, as it can be compared with what is there of another."""
    columns = [f.attname for f in Task._meta.concrete_fields if f.attname not in _OF_ONE_TASK_ONLY]
    tasks = {
        row["id"]: [_seen(row[column]) for column in columns]
        for row in Task.objects.filter(pk__in=ids).values("id", *columns)
    }
    rows: dict[UUID, list[Any]] = {pk: [] for pk in ids}
    shared = ("open", "ready", "priority", "due", "permission_id")
    for table, holder in ((TaskUserRole, "user_id"), (TaskGroupRole, "group_id")):
        of_tasks = table._default_manager.filter(content_object__in=ids)
        for row in of_tasks.order_by(holder, "permission_id").values_list(
            "content_object_id", holder, *shared
        ):
            rows[row[0]].append((holder, *row[1:]))
    events: dict[UUID, list[Any]] = {pk: [] for pk in ids}
    for event in AuditEvent.objects.filter(task_id__in=ids).order_by("task_id", "version"):
        told = (event.version, event.event, event.actor, sorted(event.before), sorted(event.after))
        events[event.task_id].append(told)
    return [(tasks.get(pk), rows[pk], events[pk]) for pk in ids]


def records(ids: Sequence[UUID]) -> list[tuple[Any, ...]]:
    """The bulk records that name the tasks."""
    named = BulkOperation.objects.filter(ids__overlap=list(ids)).order_by("created_at")
    return list(named.values_list("operation", "status", "processed", "done_count"))


# --- Trying ---------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A way to PostgreSQL on which things can go wrong, beside the ordinary connection."""

    relay: Relay
    wrapper: BaseDatabaseWrapper

    @contextmanager
    def used(self) -> Iterator[None]:
        """What Django does meanwhile goes this way; all else is faster without."""
        ordinary = connections[DEFAULT_DB_ALIAS]
        connections[DEFAULT_DB_ALIAS] = self.wrapper
        try:
            yield
        finally:
            connections[DEFAULT_DB_ALIAS] = ordinary

    def renew(self) -> None:
        """A session that has prepared no statement yet."""
        self.wrapper.close()
        self.wrapper.ensure_connection()


@pytest.fixture
def line(committed: None) -> Iterator[Line]:
    """A line to the database of the tests."""
    connection.ensure_connection()
    relay = Relay(connection.connection.info)
    wrapper = connections[DEFAULT_DB_ALIAS].copy()
    wrapper.settings_dict |= {"HOST": relay.folder, "PORT": str(PORT)}
    wrapper.settings_dict.pop("EMBEDDED", None)
    yield Line(relay, wrapper)
    wrapper.close()
    relay.close()


def _units(found: Sequence[Any], units: int) -> list[list[Any]]:
    size = len(found) // units
    return [list(found[start : start + size]) for start in range(0, len(found), size)]


class Trial:
    """One act that is done well once, and then with every harm at every statement."""

    def __init__(self, act: Act, cast: Cast, line: Line) -> None:
        self.act, self.cast, self.line = act, cast, line
        self.faults: list[str] = []
        self.untrue: list[str] = []
        self.failed = 0
        act.prepare(cast).do()  # what is looked up once in a process is known from here on
        ids, do = act.prepare(cast)
        self.untouched, self.records_before = effects(ids), records(ids)
        line.renew()
        line.relay.arm()
        with line.used():
            do()
        self.statements = list(line.relay.sent)
        self.wanted, self.wanted_records = effects(ids), records(ids)
        commits = [n for n, text in enumerate(self.statements) if text.upper() == "COMMIT"]
        self.commits = commits[-act.units :]
        self.problem("done well", *balance(connection))

    def problem(self, when: str, *found: Any) -> None:
        """Take down what was found wrong, if anything was."""
        if found:
            self.faults.append(f"{self.act.name}, {when}: {found}")

    def every_statement(self, *, long: bool) -> None:
        """Every harm at every statement, at the preparing of statements too.

        In the short form one at each statement, in turn, and all of them at the commits.
        """
        for position, text in enumerate(self.statements):
            if long or not text.startswith("prepare "):
                each = long or position in self.commits
                for harm in Harm if each else [list(Harm)[position % len(Harm)]]:
                    self.harm(position, harm)
        self.problem("at the end", *balance(connection))

    def harm(self, position: int, harm: Harm) -> None:
        """One harm at one statement: what it left behind, and whether the next call works."""
        when = f"statement {position} ({self.statements[position][:60]}) {harm}"
        ids, do = self.act.prepare(self.cast)
        self.line.renew()
        self.line.relay.arm(position, harm)
        raised = answered = None
        with self.line.used():
            try:
                answered = do()
            except UNAVAILABLE as error:
                raised = error
            except Exception as error:
                self.problem(when, "it raises", error)
            close_old_connections()  # as at the end of every request
        self.failed += 1
        there, whole = self._there(position, harm), effects(ids)
        parts = zip(
            there,
            _units(whole, self.act.units),
            _units(self.untouched, self.act.units),
            _units(self.wanted, self.act.units),
            strict=True,
        )
        for unit, (is_there, found, untouched, changed) in enumerate(parts):
            if found != (changed if is_there else untouched):
                self.problem(when, f"unit {unit} should be {'there' if is_there else 'untouched'}")
        if isinstance(answered, Outcome):
            told = [pk in answered.done for pk in ids]
            changed = [there[n * self.act.units // len(ids)] for n in range(len(ids))]
            if told != changed:
                self.untrue.append(f"{when}: it answers done {told}, changed were {changed}")
        if self.act.units == 1:
            if raised is None:
                self.problem(when, "nothing was raised", answered)
            wanted = self.wanted_records if there[0] else self.records_before
            if records(ids) != wanted:
                self.problem(when, "bulk records", records(ids))
        self.problem(when, *balance(connection))
        self._again(ids, do, when, done=all(there))

    def _there(self, position: int, harm: Harm) -> list[bool]:
        """Which units have to be there: those that PostgreSQL has committed."""
        return [
            position > commit or (harm is Harm.LOST and position == commit)
            for commit in self.commits
        ]

    def _again(self, ids: list[UUID], do: Callable[[], Any], when: str, *, done: bool) -> None:
        """The caller tries again, or a call that was left halfway is resumed."""
        running = BulkOperation.objects.filter(ids__overlap=ids, status="running").first()
        try:
            with self.line.used():
                if running is not None:
                    carry_out(running, call=call_by(self.cast.carol))
                else:
                    do()
        except (TaskError, CallError) as error:
            if not done:
                self.problem(when, "then refused", error)
        except Exception as error:
            self.problem(when, "then it raises", error)
        else:
            if not done and effects(ids) != self.wanted:
                self.problem(when, "then not wholly done", effects(ids))


def _shape(statements: Sequence[str]) -> tuple[str, ...]:
    """What kind of list of statements it is: the parts that each of the large ones is made of."""
    parts = (re.findall(r"(\w+) as (?:materialized )?\(", text) for text in statements)
    return tuple(" ".join(found) for found in parts if found)


def _one_of_each_kind(acts: Sequence[Act]) -> list[Act]:
    """The first act of each kind of statement list, found by doing each once."""
    sweep()
    cast = assemble()
    found: dict[tuple[str, ...], Act] = {}
    for act in acts:
        do = act.prepare(cast).do
        with CaptureQueriesContext(connection) as captured:
            do()
        found.setdefault(_shape([query["sql"] for query in captured]), act)
    return list(found.values())


def try_all(acts: Sequence[Act], line: Line, long: bool, tally: Tally) -> list[str]:
    """The faults of all acts; in the short form one act of each kind of statement list."""
    faults: list[str] = []
    for act in acts if long else _one_of_each_kind(acts):
        sweep()
        trial = Trial(act, assemble(), line)
        trial.every_statement(long=long)
        faults += trial.faults
        tally("statements that failed, or lost their answer or their session", trial.failed)
        tally("operations tried at each of their statements", 1)
    return faults


def test_an_operation_on_one_task_is_there_wholly_or_not_at_all(
    line: Line, long: bool, tally: Tally
) -> None:
    # In the short form one is enough: those in bulk differ in that they write a record as well.
    assert try_all(SINGLE if long else SINGLE[:1], line, long, tally) == []


def test_a_bulk_operation_is_there_wholly_or_not_at_all(
    line: Line, long: bool, tally: Tally
) -> None:
    assert try_all(BULK, line, long, tally) == []


def test_new_tasks_and_confirmed_plans_are_there_wholly_or_not_at_all(
    line: Line, long: bool, tally: Tally
) -> None:
    assert try_all(OTHERS, line, long, tally) == []


@pytest.fixture
def unit_of_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.actions.units.UNIT", 2)


@pytest.mark.usefixtures("unit_of_2")
def test_each_unit_of_a_large_call_is_there_wholly_or_not_at_all_and_the_rest_can_be_resumed(
    line: Line, long: bool, tally: Tally
) -> None:
    assert try_all([IN_UNITS], line, long, tally) == []


@pytest.mark.usefixtures("unit_of_2")
def test_a_large_call_never_calls_undone_what_is_done(line: Line) -> None:
    trial = Trial(IN_UNITS, assemble(), line)
    trial.harm(trial.commits[-1], Harm.LOST)
    assert trial.untrue == []
