"""Calls that wait for an event, beside the threads: all of a process look together."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs
from wsgiref.types import WSGIEnvironment

from django.db import Error, close_old_connections

if TYPE_CHECKING:
    from accounts.models import User
    from tasks.feed import Part

TICK_SECONDS: Final = 0.5
"""How often those that wait look for news."""

MOST: Final = 256
"""How many calls of a process may wait at a time; further ones are answered at once.

Less than what Granian lets in at a time (512), so that others always get in.
"""

Receive = Callable[[], Awaitable[dict[str, Any]]]


def seconds_to_wait(environ: WSGIEnvironment) -> int:
    """What a request says in `wait`; 0 for anything but a number, which its view refuses."""
    (text,) = parse_qs(environ["QUERY_STRING"]).get("wait", ["0"])[:1]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0


class _Waiter:
    """One call that waits: whose it is, and what of the feed it wants."""

    def __init__(self, user: User, part: Part) -> None:
        self.user, self.part = user, part
        self.woken = asyncio.Event()


class Waiters:
    """The calls of a process that wait for an event.

    One thread with one connection looks for all of them, twice a second and only while somebody
    waits. It costs one short query while nothing happens; when something does, one look for each
    account that waits. Whoever has news, or would meet a database in trouble, is to ask again.
    """

    def __init__(self) -> None:
        self._waiting: set[_Waiter] = set()
        self._thread = ThreadPoolExecutor(1, "feed")
        self._looking: asyncio.Task[None] | None = None
        self._leaving = False
        self._heeds_the_end = False

    async def wait(self, user: User, part: Part, seconds: float, receive: Receive) -> bool:
        """Wait for news of that part of the feed: True if there may be some, False if not in time.

        False as well when the client or this process is leaving, or when too many wait already.
        """
        if seconds <= 0 or self._leaving or len(self._waiting) >= MOST:
            return False
        self._heed_the_end()
        waiter = _Waiter(user, part)
        self._waiting.add(waiter)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        ends = {asyncio.create_task(waiter.woken.wait()), asyncio.create_task(_left(receive))}
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(waiter)
            for end in ends:
                end.cancel()
        return waiter.woken.is_set() and not self._leaving

    def _heed_the_end(self) -> None:
        """Let nobody wait from SIGTERM on, so that a server that ends or is renewed does so soon.

        The event loop reads the signal from a pipe of its own, so Granian hears of it as before.
        """
        if self._heeds_the_end:
            return
        self._heeds_the_end = True
        loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

        def leave() -> None:
            self._leaving = True
            for waiter in self._waiting:
                waiter.woken.set()

        def heed(number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(leave)
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGTERM, heed)

    async def _look_on(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                await asyncio.sleep(TICK_SECONDS)
                waiting = [*self._waiting]
                for waiter in await loop.run_in_executor(self._thread, _with_news, waiting):
                    waiter.woken.set()
        finally:
            self._looking = None  # the next one that waits begins anew


async def _left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        """Its request has no body, which is told once."""


def _with_news(waiting: list[_Waiter]) -> list[_Waiter]:
    """Those of some that have news; all of them when the database cannot say."""
    from tasks import feed  # models cannot be imported before Django has been set up

    woken: list[_Waiter] = []
    close_old_connections()
    try:
        head = feed.end()
        answers: dict[tuple[int, Part], tuple[bool, Part]] = {}
        for waiter in waiting:
            if waiter.part.after >= head:
                continue
            question = waiter.user.pk, waiter.part
            if question not in answers:
                answers[question] = feed.news(waiter.user, waiter.part, head)
            news, waiter.part = answers[question]
            if news:
                woken.append(waiter)
    except Error:
        woken = waiting
    finally:
        with suppress(Error):
            close_old_connections()
    return woken
