"""Sixteen clients that play on few hot tasks through every REST face, by chance but from a seed."""

from __future__ import annotations

import itertools
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID, uuid4

from .calls import (
    Client,
    Request,
    htm,
    htm_bulk_transfer,
    htm_transfer,
    itential,
    itential_read,
    native,
    native_bulk,
    native_create,
    native_read,
)
from .history import Asked, Call

CLIENTS: Final = (
    *("alice", "alice", "alice", "bob", "bob", "bob", "bob", "carol", "carol", "carol", "carol"),
    *("dave", "dave", "svc-integration", "root", "erin"),
)
"""Whose account each of the sixteen uses; the same one several times, as one has several tabs."""

ADMINISTRATORS: Final = frozenset({"alice", "dave", "svc-integration", "root"})
"""Those of them who are administrators of the tasks played on; alice as lead of noc."""

CREATORS: Final = ("dave", "svc-integration")
READERS: Final = frozenset(CLIENTS) - {"svc-integration"}
RECEIVERS: Final = ("alice", "bob", "carol")
GROUPS: Final = ("noc", "field")
HOT: Final = 4
PATIENCE: Final = 300

Secrets = Mapping[str, str]
"""The token of each account."""


def dice(seed: object) -> random.Random:
    """A source of chance that a seed repeats."""
    return random.Random(str(seed))  # noqa: S311 (nothing here is secret)


def new_seed() -> str:
    """A seed nobody chose."""
    return secrets.token_hex(4)


def calls(number: int) -> Callable[[list[Call]], None]:
    """For `play`: until so many calls have been made."""

    def until(history: list[Call]) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(history) < number:
            assert time.monotonic() < deadline, f"only {len(history)} calls in {PATIENCE} s"
            time.sleep(0.01)

    return until


class Board:
    """The tasks played on, and what somebody last heard of each: often true, never sure."""

    def __init__(self) -> None:
        self.tasks: list[UUID] = []
        self.versions: dict[UUID, int] = {}
        self.owners: dict[UUID, str | None] = {}
        self._names = itertools.count(1)

    def new(self) -> Request:
        """A task to be made."""
        return native_create(f"Replace router {next(self._names)}", GROUPS)

    def note(self, call: Call) -> None:
        """Learn from a call; a task that ended, or is not there, is played on no more."""
        for answer in call.answers:
            if answer.version is not None:
                self.versions[answer.task] = answer.version
            if answer.done:
                self.owners[answer.task] = call.target or (
                    call.actor if call.operation == "claim" else None
                )
                if call.operation == "create":
                    self.tasks.append(answer.task)
            if (answer.done and call.operation in ("complete", "finish")) or (
                answer.code == "task_not_found"
            ):
                self.tasks = [task for task in self.tasks if task != answer.task]


class Player(threading.Thread):
    """One client that makes one move after another until it is told to stop."""

    def __init__(
        self, client: Client, board: Board, stop: threading.Event, seed: str, ids: Mapping[str, str]
    ) -> None:
        super().__init__(daemon=True)
        self.client, self.board, self.stop, self.ids = client, board, stop, ids
        self.chance = dice(f"{seed} {client.number}")
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                if self.client.name in CREATORS and len(self.board.tasks) < HOT:
                    request: Request | None = self.board.new()
                else:
                    request = self.move() if self.board.tasks else None
                if request is None:
                    time.sleep(0.01)
                    continue
                call = self.client.make(request)
                self.board.note(call)
                if not call.known:
                    time.sleep(0.05)  # a server that is away is not to be flooded
        except Exception as error:
            self.failure = error
        finally:
            self.client.connection.close()

    # The moves

    def move(self) -> Request | None:
        """The next call; None where the account has no such move."""
        kinds: dict[Callable[[], Request | None], int] = {
            self.claim: 30,
            self.release: 26,
            self.cancel: 6,
            self.assign: 8,
            self.transfer: 8,
            self.bulk: 14,
            self.end: 2,
            self.grant: 2,
            self.look: 6,
        }
        (kind,) = self.chance.choices(list(kinds), list(kinds.values()))
        return kind()

    @property
    def task(self) -> UUID:
        return self.chance.choice(self.board.tasks or [uuid4()])

    def expected(self, task: UUID) -> int | None:
        """A version to insist on, in one call of four; now and then one that is long gone."""
        if task not in self.board.versions or self.chance.random() > 0.25:
            return None
        return max(1, self.board.versions[task] - self.chance.choice((0, 0, 0, 1)))

    def receiver(self, *but: str | None) -> str:
        return self.chance.choice([name for name in RECEIVERS if name not in but])

    def claim(self) -> Request:
        task = self.task
        return self.chance.choice((native, itential, htm))("claim", task, self.expected(task))

    def release(self) -> Request:
        task = self.task
        expected = self.expected(task)
        if self.chance.random() < 0.5:
            return native("release", task, expected, reason="a proof")
        return itential("release", task, expected)

    def cancel(self) -> Request:
        task = self.task
        if self.chance.random() < 0.3:
            return native("cancel_claim", task, self.expected(task))
        return htm("cancel_claim", task, self.expected(task))

    def assign(self) -> Request:
        task, target = self.task, self.receiver()
        expected = self.expected(task)
        if self.chance.random() < 0.5:
            return native("assign", task, expected, target=target, to={"user": target})
        return itential("assign", task, expected, target=target, target_id=self.ids[target])

    def parties(self, task: UUID) -> tuple[str, str | None]:
        """Who receives and who gives; nobody named is the caller, or the owner as far as known."""
        giver = self.board.owners.get(task) if self.chance.random() < 0.7 else None
        return self.receiver(giver, self.client.name), giver

    def transfer(self) -> Request:
        task = self.task
        target, giver = self.parties(task)
        if self.chance.random() < 0.5:
            return htm_transfer(task, target, giver, self.expected(task))
        body = {"from": {"user": giver}} if giver else {}
        return native(
            "transfer",
            task,
            self.expected(task),
            target=target,
            giver=giver,
            role="owner",
            to={"user": target},
            **body,
        )

    def bulk(self) -> Request:
        """Overlapping tasks in any order, some twice, and once in a while one that never was."""
        tasks = self.chance.choices(self.board.tasks or [uuid4()], k=self.chance.randint(2, 6))
        if self.chance.random() < 0.1:
            tasks.insert(self.chance.randrange(len(tasks)), uuid4())
        versions = {task: self.expected(task) for task in tasks}
        asked = [Asked(task, versions[task]) for task in tasks]
        target, giver = self.parties(tasks[0])
        kind = self.chance.choice(("claim", "release", "cancel_claim", "assign", "transfer", "htm"))
        if kind == "htm":
            return htm_bulk_transfer(tasks, target, giver)
        if kind == "release":
            return native_bulk(kind, asked, reason="a proof")
        if kind == "assign":
            return native_bulk(kind, asked, target=target, to={"user": target})
        if kind == "transfer":
            body = {"from": {"user": giver}} if giver else {}
            return native_bulk(
                kind, asked, target=target, giver=giver, role="owner", to={"user": target}, **body
            )
        return native_bulk(kind, asked)

    def end(self) -> Request:
        task = self.task
        if self.chance.random() < 0.7:
            return native("complete", task, self.expected(task))
        state = self.chance.choice(("success", "failure"))
        return native("finish", task, self.expected(task), finish_state=state)

    def grant(self) -> Request | None:
        """A change that moves nothing but the version."""
        if self.client.name not in CREATORS:
            return None
        if self.chance.random() < 0.5:
            return native("grant", self.task, role="reader", to={"user": "frank"})
        return native("revoke", self.task, role="reader", **{"from": {"user": "frank"}})

    def look(self) -> Request | None:
        if self.client.name not in READERS:
            return None
        return self.chance.choice((native_read, itential_read))(self.task)


def play(
    port: int,
    tokens: Secrets,
    ids: Mapping[str, str],
    seed: str,
    until: Callable[[list[Call]], None],
    names: Sequence[str] = CLIENTS,
) -> list[Call]:
    """Let the clients play until `until` returns, which is given the growing history."""
    history: list[Call] = []
    board, stop = Board(), threading.Event()
    players = [
        Player(Client(port, name, tokens[name], history, number), board, stop, seed, ids)
        for number, name in enumerate(names)
    ]
    for player in players:
        player.start()
    try:
        until(history)
    finally:
        stop.set()
        for player in players:
            player.join(60)
    assert not any(player.is_alive() for player in players), f"a client hangs (seed {seed})"
    for player in players:
        if player.failure is not None:
            raise AssertionError(f"a client could not go on (seed {seed})") from player.failure
    return history
