"""The feed of a really started server: nothing skipped under load, waiting that hurts nobody."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks.models import AuditEvent
from tests.conftest import Cast
from tests.factories import make_tasks

from .live import Connection, serving, the_database, tokens

EVENTS = "/api/v1/events/"
WRITERS = 8


@pytest.fixture
def port(committed_cast: Cast) -> Iterator[int]:
    """A server of two processes without a worker, on the database of the tests."""
    with serving(the_database()["dbname"]) as port:
        yield port


def document(connection: Connection, query: str) -> dict[str, Any]:
    """The feed's answer to a query."""
    reply = connection.send("GET", f"{EVENTS}?{query}")
    assert reply.status == 200, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    return found


def test_a_poller_reads_every_event_once_while_many_write(
    committed_cast: Cast, port: int, long: bool, tally: Callable[[str, int], None]
) -> None:
    comments = 125 if long else 10
    tasks = make_tasks(60, committed_cast.carol, [committed_cast.noc])
    secrets = tokens("bob", "dave", "erin")
    done = threading.Event()

    def write(number: int) -> int:
        connection = Connection(port, f"Token {secrets['bob' if number % 2 else 'dave']}")
        for each in range(comments):
            pk = tasks[(number * 7 + each) % len(tasks)].pk
            body = {"text": f"{number} {each}"}
            reply = connection.send("POST", f"/api/v1/tasks/{pk}/comment/", body)
            assert reply.status == 200, reply.body
        connection.close()
        return comments

    def poll() -> list[dict[str, Any]]:
        connection = Connection(port, f"Token {secrets['erin']}")
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            last = done.is_set()
            page = document(connection, f"limit=37{cursor}")
            cursor = f"&cursor={page['cursor']}"
            found += page["results"]
            if last and not page["more"]:
                connection.close()
                return found

    with ThreadPoolExecutor(WRITERS + 2) as threads:
        pollers = [threads.submit(poll) for _ in range(2)]
        written = sum(threads.map(write, range(WRITERS)))
        done.set()
        read = [poller.result() for poller in pollers]
    assert written == WRITERS * comments
    stored = {
        (str(pk), version) for pk, version in AuditEvent.objects.values_list("task_id", "version")
    }
    for found in read:
        keys = [(each["task"]["id"], each["task"]["version"]) for each in found]
        assert len(keys) == len(stored) == written + len(tasks)
        assert set(keys) == stored
        for task in tasks:
            versions = [version for pk, version in keys if pk == str(task.pk)]
            assert versions == sorted(versions), "the events of a task come in their order"
    assert [each["id"] for each in read[0]] == [each["id"] for each in read[1]]
    tally("events read by a poller under 8 writers", len(read[0]))


def test_a_call_that_waits_is_answered_within_a_second_of_the_event(
    committed_cast: Cast, port: int
) -> None:
    (task,) = make_tasks(1, committed_cast.carol, [committed_cast.noc])
    (other,) = make_tasks(1, committed_cast.carol, [committed_cast.field])
    secrets = tokens("alice", "bob", "carol", "frank")
    waiting = {name: Connection(port, f"Token {secrets[name]}") for name in ("alice", "frank")}
    cursor = document(waiting["alice"], "from=now")["cursor"]
    with ThreadPoolExecutor(2) as threads:
        query = f"{EVENTS}?cursor={cursor}&wait="
        alice = threads.submit(waiting["alice"].send, "GET", f"{query}15")
        frank = threads.submit(waiting["frank"].send, "GET", f"{query}3")
        time.sleep(0.7)
        carol = Connection(port, f"Token {secrets['carol']}")
        assert carol.send("POST", f"/api/v1/tasks/{other.pk}/claim/").status == 200
        time.sleep(0.7)
        assert not alice.done(), "what she does not see wakes nobody"
        bob = Connection(port, f"Token {secrets['bob']}")
        claimed = bob.send("POST", f"/api/v1/tasks/{task.pk}/claim/")
        assert claimed.status == 200
        heard, nothing = alice.result(), frank.result()
    assert heard.end - claimed.end < 1.0
    (event,) = json.loads(heard.body)["results"]
    assert (event["event"], event["task"]["id"]) == ("claimed", str(task.pk))
    assert json.loads(nothing.body)["results"] == []
    assert 2.9 <= nothing.end - nothing.start < 4.5


def test_many_that_wait_leave_others_alone(
    committed_cast: Cast, port: int, long: bool, tally: Callable[[str, int], None]
) -> None:
    count = 100 if long else 20
    (task,) = make_tasks(1, committed_cast.carol, [committed_cast.noc])
    secrets = tokens("bob", "erin")
    detail = f"/api/v1/tasks/{task.pk}/"
    erin = Connection(port, f"Token {secrets['erin']}")
    cursor = document(erin, "from=now")["cursor"]

    def p95() -> float:
        """Seconds, of some reads of a task."""
        took = []
        for _ in range(count):
            reply = erin.send("GET", detail)
            assert reply.status == 200
            took.append(reply.end - reply.start)
        return statistics.quantiles(took, n=20)[-1]

    p95()
    alone = p95()
    with ThreadPoolExecutor(count) as threads:
        waiters = [Connection(port, f"Token {secrets['bob']}") for _ in range(count)]
        query = f"{EVENTS}?cursor={cursor}&wait=20"
        calls = [threads.submit(one.send, "GET", query) for one in waiters]
        time.sleep(2)
        among = p95()
        assert not any(call.done() for call in calls)
        bob = Connection(port, f"Token {secrets['bob']}")
        claimed = bob.send("POST", f"{detail}claim/")
        woken = p95()
        replies = [call.result() for call in calls]
    for one in waiters:
        one.close()
    late = sorted(reply.end - claimed.end for reply in replies)
    assert all(json.loads(reply.body)["results"] for reply in replies)
    tally("p95 in ms of a read, nobody waiting", round(alone * 1000))
    tally("p95 in ms of a read, many waiting", round(among * 1000))
    tally("p95 in ms of a read, many woken", round(woken * 1000))
    tally("ms until the last of many heard", round(late[-1] * 1000))
    assert among < max(3 * alone, 0.1)


def test_a_server_that_ends_keeps_nobody_waiting(committed_cast: Cast) -> None:
    secrets = tokens("bob")
    with ThreadPoolExecutor(1) as threads:
        with serving(the_database()["dbname"], workers=1) as port:
            bob = Connection(port, f"Token {secrets['bob']}")
            cursor = document(bob, "from=now")["cursor"]
            call = threads.submit(bob.send, "GET", f"{EVENTS}?cursor={cursor}&wait=20")
            time.sleep(1)
            assert not call.done()
            end = time.monotonic()
        reply = call.result()
    assert (reply.status, json.loads(reply.body)["results"]) == (200, [])
    assert reply.end - end < 3
