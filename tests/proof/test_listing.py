"""Lists walked by cursor while others write show what was there throughout exactly once (P9)."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import UUID

from tests.conftest import Cast
from tests.factories import make_tasks

from .calls import TASKS, Client, native, native_create
from .history import CREATE, Call
from .live import Connection, tokens
from .load import GROUPS, dice, new_seed

Tally = Callable[[str, int], None]
WRITERS = ("alice", "bob", "dave")
MOST_NEW = 100


class Walker(threading.Thread):
    """Walks a list from its first page to the last, or back, again and again."""

    def __init__(self, port: int, secret: str, query: str, back: bool, stop: threading.Event):
        super().__init__(daemon=True)
        self.connection = Connection(port, f"Token {secret}")
        self.query, self.back, self.stop = query, back, stop
        self.walks: list[list[UUID]] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                forth, last = self.walk(f"{TASKS}?{self.query}", "next")
                self.walks.append(forth)
                if self.back:
                    # From the first task of the last page back to the newest there is by then.
                    there, first = self.walk(last, "previous")
                    assert first
                    self.walks.append(there)
        except Exception as error:
            self.failure = error
        finally:
            self.connection.close()

    def walk(self, url: str, onwards: str) -> tuple[list[UUID], str]:
        """The tasks from one page on, in the order met, and where the last page was."""
        seen: list[UUID] = []
        while True:
            reply = self.connection.send("GET", url)
            assert reply.status == 200, reply
            page = json.loads(reply.body)
            seen += [UUID(item["id"]) for item in page["results"]]
            if page[onwards] is None:
                return seen, url
            parts = urlsplit(page[onwards])
            url = f"{parts.path}?{parts.query}"


def test_a_walk_shows_every_task_that_matched_throughout_exactly_once(
    committed_cast: Cast, port: int, long: bool, tally: Tally
) -> None:
    cast, seed = committed_cast, new_seed()
    quiet = make_tasks(25, cast.dave, [cast.noc, cast.field])
    hot = make_tasks(10, cast.dave, [cast.noc, cast.field])
    quiet += make_tasks(10, cast.dave, [cast.noc, cast.field])
    secrets = tokens(*WRITERS)
    stop = threading.Event()
    failures: list[Exception] = []
    history: list[Call] = []

    def write(client: Client) -> None:
        chance = dice(f"{seed} {client.number}")
        try:
            while not stop.is_set():
                task = chance.choice(hot).pk
                if client.name == "dave":
                    made = sum(call.operation == CREATE for call in history)
                    if made < MOST_NEW:  # or the walks would never end
                        client.make(native_create("Replace router 1", GROUPS))
                    time.sleep(0.05)
                elif chance.random() < 0.5:
                    client.make(native("claim", task))
                else:
                    client.make(native("release", task, reason="a proof"))
        except Exception as error:
            failures.append(error)
        finally:
            client.connection.close()

    writers = [
        threading.Thread(
            target=write, args=(Client(port, name, secrets[name], history, number),), daemon=True
        )
        for number, name in enumerate(WRITERS)
    ]
    walkers = [
        Walker(port, secrets["bob"], query, back, stop)
        for query, back in (
            ("limit=7", True),
            ("limit=11&state=ready", False),
            ("limit=9&state=ready&view=available", True),
            ("limit=13&owner=none", False),
        )
    ]
    for thread in (*writers, *walkers):
        thread.start()
    deadline = time.monotonic() + (600 if long else 120)
    wanted = 40 if long else 2
    while min(len(walker.walks) for walker in walkers) < wanted:
        assert not failures, failures
        assert time.monotonic() < deadline, "the walks take too long"
        assert all(walker.is_alive() for walker in walkers), [w.failure for w in walkers]
        time.sleep(0.02)
    stop.set()
    for thread in (*writers, *walkers):
        thread.join(60)
    assert [walker.failure for walker in walkers] == [None] * len(walkers)
    assert not failures
    throughout = {task.pk for task in quiet}
    walks = [walk for walker in walkers for walk in walker.walks]
    for walker in walkers:
        for walk in walker.walks:
            twice = [pk for pk, times in Counter(walk).items() if times > 1]
            assert twice == [], f"{walker.query}, seed {seed}"
            assert throughout <= set(walk), f"{walker.query}, seed {seed}"
    assert {call.operation for call in history if any(a.done for a in call.answers)} == {
        "claim",
        "create",
        "release",
    }
    tally("walks through a list under writes", len(walks))
