"""P11 to P13: whatever is killed amid bulk calls, nothing acknowledged is lost, no unit is half."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from django.db import connection

from accounts.authentication import issue
from accounts.models import Token, User
from tasks.actions import ACTIONS, UNIT, Call, carry_out
from tasks.api.htm.ids import parse, tkiid
from tasks.models import AuditEvent, BulkOperation, Channel, Task
from tasks.uuid7 import uuid7
from tests.conftest import Cast, assemble
from tests.factories import call_by, make_tasks

from .books import balance
from .site import KILLS, Site, eventually, new_site

Tally = Callable[[str, int], None]
Versions = dict[UUID, int | None]
"""What an answer says was changed, with the versions where it tells them."""

SECOND = UNIT // 20
"""How many of the tasks of a large call make its second unit."""


@dataclass
class Sent:
    """One call and what was answered; `done` is None where it was not acknowledged."""

    request_id: str
    who: str
    path: str
    ids: Sequence[UUID]
    done: Versions | None = None


@dataclass
class Step:
    """One call that a caller makes again and again until it is acknowledged."""

    method: str
    path: str
    ids: Sequence[UUID]
    body: Mapping[str, Any] | None
    read: Callable[[httpx.Response, Sequence[UUID]], Versions]


def _read_native(response: httpx.Response, ids: Sequence[UUID]) -> Versions:
    return {UUID(one["id"]): one["version"] for one in response.json()["done"]}


def _read_single(response: httpx.Response, ids: Sequence[UUID]) -> Versions:
    return {ids[0]: response.json()["version"]}


def _read_htm(response: httpx.Response, ids: Sequence[UUID]) -> Versions:
    """All but those reported, whose versions this dialect does not tell."""
    report = response.json()["failedOperations"] if response.content else []
    failed = {parse(line["tkiid"]) for line in report}
    return {pk: None for pk in ids if pk not in failed}


def bulk(operation: str, ids: Sequence[UUID], **body: Any) -> Step:
    """A bulk call of the native API."""
    texts = [str(pk) for pk in ids]
    path = f"/api/v1/tasks/bulk/{operation}/"
    return Step("POST", path, ids, {"ids": texts, "reason": "proof", **body}, _read_native)


def single(operation: str, pk: UUID) -> Step:
    """A call of the native API about one task."""
    body = {"reason": "proof"}
    return Step("POST", f"/api/v1/tasks/{pk}/{operation}/", [pk], body, _read_single)


def hand_over(ids: Sequence[UUID], giver: str, receiver: str) -> Step:
    """A bulk transfer of IBM's dialect."""
    path = f"/rest/bpm/htm/v1/task/role/owner?action=transfer&fromUser={giver}&toUser={receiver}"
    return Step("PUT", path, ids, {"taskIDs": [tkiid(pk) for pk in ids]}, _read_htm)


class Caller(threading.Thread):
    """Makes its steps one after the other, for ever, while it is not paused."""

    def __init__(self, site: Site, who: str, token: str, steps: Sequence[Step]) -> None:
        super().__init__(daemon=True)
        self.site, self.who, self.steps = site, who, steps
        self.headers = {"Authorization": f"Token {token}"}
        self.sent: list[Sent] = []
        self.acknowledged = 0
        self.failed: BaseException | None = None
        self.going, self.idle, self.over = threading.Event(), threading.Event(), False
        self.calling = threading.Event()

    def run(self) -> None:
        """Call until `over`; an answer that nobody may get ends it with `failed`."""
        try:
            with httpx.Client(base_url=self.site.url, timeout=90) as client:
                number = 0
                while not self.over:
                    self.idle.set()
                    self.going.wait()
                    self.idle.clear()
                    if not self.over and self._make(self.steps[number % len(self.steps)], client):
                        number += 1
        except BaseException as error:
            self.failed = error
        finally:
            self.idle.set()

    def _make(self, step: Step, client: httpx.Client) -> bool:
        sent = Sent(f"proof-{uuid4()}", self.who, step.path, step.ids)
        self.sent.append(sent)
        headers = {**self.headers, "X-Request-ID": sent.request_id}
        self.calling.set()
        try:
            response = client.request(step.method, step.path, json=step.body, headers=headers)
        except httpx.TransportError:
            time.sleep(0.1)
            return False
        finally:
            self.calling.clear()
        if response.status_code == 503:
            time.sleep(0.1)
            return False
        if response.status_code == 409:  # a call that nobody acknowledged had been carried out
            sent.done = {}
            return True
        assert response.status_code == 200, (response.status_code, response.text[:500])
        sent.done = step.read(response, step.ids)
        self.acknowledged += 1
        return True


@dataclass
class Crowd:
    """All callers, and what has been checked of what they were answered."""

    site: Site
    callers: list[Caller]
    counts: Counter[str] = field(default_factory=Counter)

    def go(self) -> None:
        """Let them call."""
        for caller in self.callers:
            caller.going.set()
            if not caller.is_alive():
                caller.start()

    def pause(self) -> None:
        """Wait until each has got its answer, and PostgreSQL has nothing more to do."""
        for caller in self.callers:
            caller.going.clear()
        eventually("all calls answered", lambda: all(c.idle.is_set() for c in self.callers))
        for caller in self.callers:
            if caller.failed is not None:
                raise caller.failed
        self.site.wait()
        eventually(
            "all sessions are idle",
            lambda: {state for _, state in self.site.sessions()} <= {"idle"},
        )

    def end(self) -> None:
        """Have all threads end."""
        for caller in self.callers:
            caller.over = True
            caller.going.set()
        for caller in self.callers:
            caller.join(100)

    def recover(self) -> None:
        """Wait until each caller has been answered again."""
        before = [caller.acknowledged for caller in self.callers]
        self.site.wait()
        eventually(
            f"every caller has been answered again, after\n{self.site.log()}",
            lambda: all(
                caller.acknowledged > count or caller.failed
                for caller, count in zip(self.callers, before, strict=True)
            ),
        )

    def faults(self) -> list[str]:
        """What in the database differs from what was answered; the callers are paused."""
        connection.close()  # it may have been killed as any other
        sent = [one for caller in self.callers for one in caller.sent]
        events: dict[str, dict[UUID, int]] = defaultdict(dict)
        operations: dict[str, set[UUID]] = defaultdict(set)
        found = AuditEvent.objects.filter(request_id__startswith="proof-")
        values = found.values_list("request_id", "task_id", "version", "operation_id")
        for request_id, task_id, version, operation_id in values.iterator(10_000):
            events[request_id][task_id] = version
            operations[request_id].add(operation_id)
        faults = [
            fault
            for one in sent
            for fault in self._faults_of(one, events[one.request_id], operations[one.request_id])
        ]
        self.counts["acknowledged calls checked"] = sum(one.done is not None for one in sent)
        self.counts["acknowledged changes checked"] = sum(len(one.done or ()) for one in sent)
        lost = [one for one in sent if one.done is None]
        self.counts["calls without an answer checked"] = len(lost)
        self.counts["calls without an answer that were carried out"] = sum(
            bool(events[one.request_id]) for one in lost
        )
        return faults

    def _faults_of(
        self, sent: Sent, events: dict[UUID, int], operations: set[UUID]
    ) -> Iterator[str]:
        what = f"{sent.request_id} of {sent.who}: {sent.path} about {len(sent.ids)} tasks"
        if len(operations) > 1:
            yield f"{what}: {len(operations)} operations"
        if sent.done is not None:
            if sent.path.endswith("/claim/") and len(sent.ids) == 1 and not events:
                # The holder's claim of what he has answers 200 as well, and changes nothing.
                events = _held(sent.who, sent.done)
            wrong = {
                pk
                for pk in sent.done.keys() | events.keys()
                if pk not in sent.done
                or pk not in events
                or sent.done[pk] not in (None, events[pk])
            }
            if wrong:
                yield f"{what}: answered {len(sent.done)} done, but not so are {sorted(wrong)[:3]}"
        elif len(sent.ids) > 1:
            record = BulkOperation.objects.filter(request_id=sent.request_id).first()
            processed = record.processed if record else 0
            if record is not None:
                # What was resumed since stands under another request, but the same operation.
                of_record = AuditEvent.objects.filter(operation_id=record.pk)
                events = dict(of_record.values_list("task_id", "version"))
            if processed not in {*range(0, len(sent.ids), UNIT), len(sent.ids)}:
                yield f"{what}: {processed} processed, which is half a unit"
            wanted = {
                pk
                for pk in sent.ids[:processed]
                if record is not None and str(pk) not in record.refused
            }
            if wanted != events.keys():
                yield f"{what}: not answered, {len(events)} of {len(wanted)} done"


def _held(who: str, versions: Versions) -> dict[UUID, int]:
    """The tasks that somebody held as of some versions, as the audit tells."""
    found = {}
    for pk, version in versions.items():
        events = AuditEvent.objects.filter(task_id=pk, version__lte=version).order_by("version")
        owners = [event.after["owner"] for event in events if "owner" in event.after]
        if len(events) == version and owners[-1:] == [who]:
            found[pk] = len(events)
    return found


def resume_all() -> int:
    """Carry out what was left running; answers how many such calls there were."""
    running = list(BulkOperation.objects.filter(status=BulkOperation.Status.RUNNING))
    for stored in running:
        carry_out(stored, call=Call(stored.actor, Channel.COMMAND, request_id="resumed"))
        stored.refresh_from_db()
        assert (stored.status, stored.processed) == ("done", len(stored.ids))
    return len(running)


# --- The site and who calls it --------------------------------------------------------------------


@dataclass
class Stage:
    """A running site with its people and their tasks; not all ids in `large` are of tasks."""

    site: Site
    cast: Cast
    tokens: dict[str, str]
    large: list[UUID]
    sets: list[list[UUID]]


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Stage]:
    """A site, the cast, tasks that bob holds for a large call, and others that are free."""
    long = request.config.getoption("--long")
    with django_db_blocker.unblock(), new_site() as site:
        site.start()
        cast = assemble()
        users = User.objects.filter(username__in=["alice", "bob", "carol", "dave"])
        tokens = {one.username: issue(one, Token.Kind.API, actor="test")[1] for one in users}
        # In the short form most of the first unit is not there: making so many takes its time.
        first, second, *sets = (
            [task.pk for task in make_tasks(count, cast.carol, [cast.noc])]
            for count in (UNIT if long else 2000, SECOND, *([5000, 3000, 2000] if long else [2000]))
        )
        ACTIONS["claim"]([*first, *second], call=call_by(cast.bob))
        large = [*first, *(uuid7() for _ in range(UNIT - len(first))), *second]
        site.wait()
        yield Stage(site, cast, tokens, large, sets)


def call_once(stage: Stage, step: Step, who: str) -> Caller:
    """A caller who makes one step, and no more."""
    caller = Caller(stage.site, who, stage.tokens[who], [step])
    caller.going.set()
    caller.start()
    eventually("the call is under way", caller.calling.is_set)
    caller.going.clear()
    return caller


def test_a_large_call_killed_in_its_second_unit_has_done_the_first_and_can_be_resumed(
    stage: Stage, long: bool, tally: Tally
) -> None:
    """Each task is changed exactly once in the end."""
    for what in ("a worker killed", *(("PostgreSQL killed",) if long else ())):
        assert any(_killed_in_second_unit(stage, what) for _ in range(3)), "never hit"
        tally(what, 1)
        tally("calls left halfway and resumed", 1)


def _killed_in_second_unit(stage: Stage, what: str) -> bool:
    """Kill amid the second unit and check what is left; False where the kill missed the call."""
    giver, receiver = "bob", "alice"
    if Task.objects.filter(pk=stage.large[0], owner=stage.cast.alice).exists():
        giver, receiver = receiver, giver
    versions = Task.objects.filter(pk__in=stage.large).values_list("pk", "version")
    before = dict(versions)
    held = connection.copy()  # a task of the second unit, so that it cannot end too soon
    held.set_autocommit(False)
    held.cursor().execute("select from tasks_task where id = %s for update", [stage.large[-1]])
    caller = call_once(stage, hand_over(stage.large, giver, receiver), "dave")
    try:
        running = BulkOperation.objects.filter(status="running", processed=UNIT)
        eventually("the first unit is done", running.exists)
        if what == "a worker killed":
            for worker in stage.site.workers():  # which of them has the call is not known
                worker.kill()
        else:
            stage.site.kill_postgres()
    finally:
        caller.over = True
        held.close()
    eventually("the caller has noticed", caller.idle.is_set)
    stage.site.wait()
    connection.close()
    stored = BulkOperation.objects.get(request_id=caller.sent[0].request_id)
    if stored.status == BulkOperation.Status.DONE:  # by a process that had only just been started
        assert balance(connection) == []
        return False
    assert (stored.status, stored.processed) == ("running", UNIT)
    assert stored.done_count == len(before) - SECOND
    second = Task.objects.filter(pk__in=stage.large[UNIT:])
    first = Task.objects.filter(pk__in=stage.large[:UNIT])
    assert set(first.values_list("owner__username", flat=True)) == {receiver}
    assert set(second.values_list("owner__username", flat=True)) == {giver}
    assert balance(connection) == []

    assert resume_all() == 1

    stored.refresh_from_db()
    assert (stored.status, stored.processed) == ("done", UNIT + SECOND)
    assert stored.done_count == len(before)
    assert set((first | second).values_list("owner__username", flat=True)) == {receiver}
    assert dict(versions.all()) == {pk: version + 1 for pk, version in before.items()}
    assert balance(connection) == []
    return True


def test_kills_at_random_moments_lose_nothing_acknowledged_and_leave_no_unit_half_done(
    stage: Stage, long: bool, tally: Tally
) -> None:
    """With bulk and single calls under way; the seed repeats the kills and their moments."""
    seed = int(os.environ.get("PROOF_SEED") or time.time())
    print(f"PROOF_SEED={seed}")  # shown when the test fails
    chance = random.Random(seed)  # noqa: S311 (the same again for the same seed is meant)
    crowd = Crowd(stage.site, _callers(stage, chance, long))
    kinds = [*KILLS] * (10 if long else 1)
    chance.shuffle(kinds)
    crowd.go()
    try:
        crowd.recover()
        for number, kind in enumerate(kinds, 1):
            _amid_a_call(crowd, chance)
            if KILLS[kind](stage.site, chance):
                tally(kind, 1)
            if number % len(KILLS) == 0:
                crowd.recover()
                crowd.pause()
                where = f"PROOF_SEED={seed}, after kill {number}\n{stage.site.log()}"
                assert crowd.faults() == [], where
                tally("calls left halfway and resumed", resume_all())
                assert balance(connection) == [], where
                crowd.go()
            else:
                stage.site.wait()
    finally:
        crowd.end()
    for what, count in crowd.counts.items():
        tally(what, count)


def _amid_a_call(crowd: Crowd, chance: random.Random) -> None:
    """Wait for a moment at which some bulk call has been under way for a while."""
    caller = chance.choice([one for one in crowd.callers if len(one.steps[0].ids) > 1])
    caller.calling.wait(60)
    time.sleep(chance.uniform(0, 0.5))


def _callers(stage: Stage, chance: random.Random, long: bool) -> list[Caller]:
    """One hands over, in two units if `long`; some act on thousands, two on single tasks."""
    site, tokens = stage.site, stage.tokens
    handed = stage.large if long else stage.large[:2000]
    there, back = hand_over(handed, "bob", "alice"), hand_over(handed, "alice", "bob")
    callers = [Caller(site, "dave", tokens["dave"], [there, back])]
    owner = {"role": "owner", "from": {"user": "dave"}, "to": {"user": "alice"}}
    for ids in stage.sets:
        steps = [bulk("claim", ids), bulk("transfer", ids, **owner), bulk("release", ids)]
        callers.append(Caller(site, "dave", tokens["dave"], steps))
    for who, ids in (("alice", stage.sets[-1][:50]), ("bob", stage.sets[0][-50:])):
        chosen = chance.sample(ids, 20)
        singles = [single(name, pk) for pk in chosen for name in ("claim", "release")]
        callers.append(Caller(site, who, tokens[who], singles))
    return callers
