"""A method of an address, how it is asked, and whether an answer of it is a success."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.proof.wire import Answer, Sent, send, undone

from .world import World


class UnknownRoute(Exception):
    """A route of the URL configuration that the tables here do not know."""


class NoGoodRequest(Exception):
    """Nothing that was tried on a route succeeds, so nothing bad could be told from good."""


Maker = Callable[[World], Iterable[tuple[str, Sent]]]
"""Requests that may succeed, each with the name of its caller, in the order to try them."""


@dataclass(frozen=True)
class Route:
    """One method of one address.

    `view` names the code behind it, alike for routes that share it. `on_task`, `many`: the
    address names one task, or the body several, in its member `many`. `takes_body`: a body is
    read. `methods`: all methods of the address. `redirects`: whatever is sent is led elsewhere.
    `nothing`: there is nothing at this address.
    """

    pattern: str
    method: str
    face: str
    view: str
    maker: Maker
    variant: str = ""
    on_task: bool = False
    many: str = ""
    takes_body: bool = True
    methods: frozenset[str] = frozenset()
    redirects: bool = False
    nothing: bool = False
    guesses: bool = False
    """Whether it takes a password, so that a wrong one is counted."""

    @property
    def name(self) -> str:
        """How test reports call it."""
        return " ".join(filter(None, (self.method, self.pattern, self.variant)))

    def good(self, world: World) -> tuple[str, Sent]:
        """The caller and a request that succeeds. Raises NoGoodRequest."""
        tried = []
        remembered = _worked.get(self.name)
        for number, (who, sent) in enumerate(self.maker(world)):
            if remembered is not None and number != remembered:
                continue
            with undone():
                answer = send(sent)
            if self.succeeded(answer):
                _worked[self.name] = number
                return who, sent
            tried.append(f"{who}: {sent} -> {answer.status} {answer.content[:300]!r}")
        raise NoGoodRequest(
            f"{self.name}: give it a good request in its table\n" + "\n".join(tried)
        )

    def succeeded(self, answer: Answer) -> bool:
        """Whether the good request was answered as it should be."""
        if self.nothing:
            return answer.status in (403, 404)
        if self.redirects:
            return answer.status == 302
        if self.face == "admin":
            led = answer.status == 302 and "/login/" not in answer.headers["location"]
            return led or (answer.status == 200 and b'class="errornote"' not in answer.content)
        if self.many == "ids" and answer.status == 200:
            return bool(answer.json()["done"])
        if self.many and answer.status == 200:
            return answer.content == b""
        return 200 <= answer.status < 300


_worked: dict[str, int] = {}
"""Which of a route's requests succeeded, so that the others are tried once only."""


def simple(path: str) -> Maker:
    """A GET of a fixed address by nobody."""
    return lambda world: [("nobody", Sent("GET", path))]
