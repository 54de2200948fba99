"""What is measured: each case says which calls it makes, and puts back what they changed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

from .contenders import NAMES, BenchError, Contender, Reply, Request
from .world import World, demand

MOST_IDS = 10_000
"""Most ids that ours takes in one call; the limit takes all in one."""


class Case:
    """Calls of one kind. `unit` says what is compared: milliseconds a call, or a number a second.

    Without state of its own but what `requests` keeps for `put_back`.
    """

    key: str
    unit = "ms"
    """"ms": median time of a call; "calls/s" or "rows/s": how many in a second."""
    clients = 1
    calls, quick_calls = 60, 8
    rows = 1
    contenders: Sequence[str] = NAMES
    statuses: Sequence[int] = (200,)

    def __init__(self, world: World, ours: Contender) -> None:
        self.world, self.ours = world, ours

    def fits(self) -> bool:
        """Whether the database holds enough for it."""
        return True

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        """The calls to be measured, with everything in place for them."""
        raise NotImplementedError

    def put_back(self, contender: Contender, replies: Sequence[Reply]) -> None:
        """Undo what the calls did, through our own server."""

    def figures(self, contender: Contender, replies: Sequence[Reply]) -> dict[str, Any]:
        """Further figures of one round. Raises BenchError for an answer that is not right."""
        return {}

    def by_admin(self, verb: str, ids: Sequence[str], **body: Any) -> None:
        """An operation of ours on many tasks, which must do all of them."""
        for start in range(0, len(ids), MOST_IDS):
            part = ids[start : start + MOST_IDS]
            request = self.world.bulk(verb, part, self.world.admin, reason="bench", **body)
            answer = json.loads(demand(self.ours, request))
            if answer["refused"]:
                raise BenchError(f"{self.key}: {verb} was refused: {answer['refused'][0]}")


# --- One task at a time ---------------------------------------------------------------------------


class OneTask(Case):
    """An operation on one task, asked for on eight connections at a time by one account."""

    unit = "calls/s"
    clients = 8
    calls, quick_calls = 300, 24
    verb: str

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        self.ids = self.world.single[contender.name][:calls]
        who = self.world.client(0)
        if self.verb != "claim":
            self.by_admin("assign", self.ids, to={"user": who})
        return [self.world.call(self.verb, pk, who) for pk in self.ids]


class Claim(OneTask):
    """Taking a free task."""

    key = "claim_http"
    verb = "claim"

    def put_back(self, contender: Contender, replies: Sequence[Reply]) -> None:
        self.by_admin("release", self.ids[: len(replies)])


class Release(OneTask):
    """Giving one's own task back: the call by which the contenders are compared."""

    key = "release_http"
    verb = "release"

    def put_back(self, contender: Contender, replies: Sequence[Reply]) -> None:
        if rest := self.ids[len(replies) :]:
            self.by_admin("release", rest)


class Complete(OneTask):
    """Ending one's own task."""

    key = "complete_http"
    verb = "complete"

    def put_back(self, contender: Contender, replies: Sequence[Reply]) -> None:
        self.by_admin("reopen", self.ids[: len(replies)])
        if rest := self.ids[len(replies) :]:
            self.by_admin("release", rest)


class ClaimRace(Case):
    """32 clients all try to claim the same few tasks."""

    key = "claim_race"
    unit = "calls/s"
    clients = 32
    calls, quick_calls = 320, 64
    statuses = (200, 409)

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        self.ids = self.world.single[contender.name][: max(1, calls // self.clients)]
        return [
            self.world.call("claim", pk, self.world.client(number))
            for pk in self.ids
            for number in range(self.clients)
        ][:calls]

    def figures(self, contender: Contender, replies: Sequence[Reply]) -> dict[str, Any]:
        wins = [
            sum(reply.status == 200 for reply in replies[start : start + self.clients])
            for start in range(0, len(replies), self.clients)
        ]
        if set(wins) != {1}:
            raise BenchError(f"{contender.name}: a claim race had {wins} winners")
        return {"winners_max": max(wins)}

    def put_back(self, contender: Contender, replies: Sequence[Reply]) -> None:
        self.by_admin("release", self.ids[: -(-len(replies) // self.clients)])


class ClaimNext(Case):
    """Taking whatever comes next, by two, eight or 32 clients at a time."""

    unit = "calls/s"
    calls, quick_calls = 320, 64
    contenders = ("ours", "limit")

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        return [
            Request(
                "POST", "/api/v1/tasks/claim-next/", self.world.tokens[self.world.client(number)]
            )
            for number in range(calls)
        ]

    def figures(self, contender: Contender, replies: Sequence[Reply]) -> dict[str, Any]:
        taken = [json.loads(reply.body)["id"] for reply in replies]
        if len(set(taken)) != len(taken):
            raise BenchError(f"{contender.name}: claim-next gave one task to two")
        return {}

    def put_back(self, contender: Contender, replies: Sequence[Reply]) -> None:
        self.by_admin("release", [json.loads(reply.body)["id"] for reply in replies])


class ClaimNext2(ClaimNext):
    """Two clients."""

    key = "claim_next_2"
    clients = 2


class ClaimNext8(ClaimNext):
    """Eight clients."""

    key = "claim_next_8"
    clients = 8


class ClaimNext32(ClaimNext):
    """32 clients."""

    key = "claim_next_32"
    clients = 32


class CreateOne(Case):
    """Making a task with four role rows; the tasks stay."""

    key = "create_one"
    unit = "calls/s"
    clients = 8
    calls, quick_calls = 100, 24
    statuses = (201,)

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        people = {
            "potential_owner": {
                "groups": ["seed-team-001", "seed-team-002"],
                "users": [self.world.client(0)],
            },
            "administrator": {"groups": ["seed-administrators-1"]},
        }
        body = json.dumps({"name": "Made by the bench", "people": people}).encode()
        token = self.world.tokens[self.world.admin]
        return [Request("POST", "/api/v1/tasks/", token, body)] * calls


# --- Many tasks at a time -------------------------------------------------------------------------


class ManyTasks(Case):
    """An operation on many tasks, of which two in a hundred are refused and have to be named.

    The usual way works through a sample, one after the other: its rows a second are the same for
    any number. Only up to 1,000, so as not to take all day.
    """

    unit = "rows/s"
    calls = quick_calls = 1
    verb: str
    sample = 25

    def fits(self) -> bool:
        return all(len(self.world.many[name]) >= self.rows * 1.02 for name in self.contenders)

    def arguments(self) -> dict[str, Any]:
        """What the call says besides the ids."""
        return {"reason": "bench"}

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        count = min(self.sample, self.rows) if contender.name == "plain" else self.rows
        refused = max(1, count // 100)
        pool = self.world.many[contender.name]
        self.ids, free = pool[: count - 2 * refused], pool[count : count + refused]
        self.by_admin("assign", self.ids, to={"user": self.world.client(0)})
        ids = [*self.ids, *free, *(str(uuid.uuid4()) for _ in range(refused))]
        self.count, self.done = count, len(self.ids)
        step = MOST_IDS if contender.name == "ours" else count
        return [
            self.world.bulk(
                self.verb, ids[start : start + step], self.world.admin, **self.arguments()
            )
            for start in range(0, count, step)
        ]

    def figures(self, contender: Contender, replies: Sequence[Reply]) -> dict[str, Any]:
        answers = [json.loads(reply.body) for reply in replies]
        done = sum(len(answer["done"]) for answer in answers)
        refused = sum(len(answer["refused"]) for answer in answers)
        if (done, done + refused) != (self.done, self.count):
            raise BenchError(f"{contender.name} {self.key}: {done} done, {refused} refused")
        return {"measured_rows": self.count}

    def put_back(self, contender: Contender, replies: Sequence[Reply]) -> None:
        if self.verb == "complete":
            self.by_admin("reopen", self.ids)
        elif self.verb == "transfer":
            self.by_admin("release", self.ids)


class _Transfer(ManyTasks):
    verb = "transfer"

    def arguments(self) -> dict[str, Any]:
        return {
            "role": "owner",
            "from": {"user": self.world.client(0)},
            "to": {"user": self.world.client(1)},
            "reason": "bench",
        }


class _Release(ManyTasks):
    verb = "release"


class _Complete(ManyTasks):
    verb = "complete"


def _sizes(base: type[ManyTasks]) -> list[type[ManyTasks]]:
    """The case for 1,000, 10,000 and 100,000 tasks."""
    return [
        type(
            f"{base.__name__}{name}",
            (base,),
            {
                "__doc__": f"{base.verb} of {rows:,} tasks.",
                "key": f"bulk_{base.verb}_{name}",
                "rows": rows,
                "contenders": NAMES if rows == 1000 else ("ours", "limit"),
            },
        )
        for name, rows in (("1k", 1000), ("10k", 10_000), ("100k", 100_000))
    ]


# --- Reading --------------------------------------------------------------------------------------


class Read(Case):
    """A page, asked for by one client again and again."""

    def path(self, contender: Contender) -> str:
        """Which page."""
        raise NotImplementedError

    def who(self) -> str:
        """Who asks."""
        return self.world.admin

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        return [self.world.get(self.path(contender), self.who())] * calls


class Worklist(Read):
    """A page of 50 of what one may claim: for a person who sees little, much, a great deal."""

    number = 0
    page = 1
    calls, quick_calls = 40, 4
    _paths: ClassVar[dict[tuple[str, str], str]] = {}

    def who(self) -> str:
        return self.world.people[self.number]

    def path(self, contender: Contender) -> str:
        first = "/api/v1/tasks/?view=available&ordering=priority&limit=50"
        if self.page == 1:
            return first
        if contender.name == "plain":
            return f"{first}&page={self.page}"
        found = self._paths.get((self.key, contender.name))
        return found or self._walk(contender, first)

    def _walk(self, contender: Contender, first: str) -> str:
        """The address of the page, found by following the list, four pages at a step."""
        rows, cursor = (self.page - 1) * 50, ""
        while rows > 0:
            step = first.replace("limit=50", f"limit={min(rows, 200)}") + cursor
            answer = json.loads(demand(contender, self.world.get(step, self.who())))
            if not answer["next"]:
                raise BenchError(f"{self.key}: {contender.name} has no page {self.page}")
            cursor = f"&cursor={_cursor_of(answer['next'])}"
            rows -= 200
        self._paths[self.key, contender.name] = f"{first}{cursor}"
        return self._paths[self.key, contender.name]


def _cursor_of(following: str) -> str:
    """The cursor in the address of ours, or that of the limit, ready for an address."""
    cursor = parse_qs(urlsplit(following).query).get("cursor", [following])[0]
    return quote(cursor, safe="")


def _worklists() -> list[type[Worklist]]:
    made = []
    for number, (person, smallest) in enumerate(
        (("rare", 0), ("normal", 500_000), ("big", 80_000))
    ):
        made.append(_worklist(number, person, 1, 0))
        if smallest:
            made.append(_worklist(number, person, 200, smallest))
    return made


def _worklist(number: int, person: str, page: int, smallest: int) -> type[Worklist]:
    def fits(self: Worklist) -> bool:
        return self.world.total >= smallest

    return type(
        f"Worklist{person}{page}",
        (Worklist,),
        {
            "__doc__": f"Page {page} for the {person} person.",
            "key": f"worklist_{person}_page_{page}",
            "number": number,
            "page": page,
            "fits": fits,
        },
    )


class Counts(Read):
    """How much one may claim, for a person who may claim much: told with a page of one."""

    key = "counts"
    calls, quick_calls = 40, 4

    def who(self) -> str:
        return self.world.people[2]

    def path(self, contender: Contender) -> str:
        return "/api/v1/tasks/?view=available&limit=1"


class List100(Read):
    """100 full tasks, the newest first, for somebody who sees all."""

    key = "list_100"
    calls, quick_calls = 30, 3

    def path(self, contender: Contender) -> str:
        return "/api/v1/tasks/?limit=100"


class Detail(Read):
    """One full task, for one of its potential owners."""

    key = "detail"

    def who(self) -> str:
        return self.world.client(0)

    def path(self, contender: Contender) -> str:
        return f"/api/v1/tasks/{self.world.single[contender.name][0]}/"


class AdminPage(Read):
    """A page of the admin; the others have none."""

    contenders = ("ours",)
    calls, quick_calls = 20, 4

    def requests(self, contender: Contender, calls: int) -> list[Request]:
        return [Request("GET", self.path(contender), "", cookie=self.world.cookie)] * calls


class AdminList(AdminPage):
    """The admin's list of tasks."""

    key = "admin_list"

    def path(self, contender: Contender) -> str:
        return "/admin/tasks/task/"


class AdminTask(AdminPage):
    """The admin's page of one task."""

    key = "admin_task"

    def path(self, contender: Contender) -> str:
        return f"/admin/tasks/task/{self.world.single['ours'][0]}/change/"


CASES: list[type[Case]] = [
    Release,
    Claim,
    Complete,
    ClaimRace,
    ClaimNext2,
    ClaimNext8,
    ClaimNext32,
    CreateOne,
    *_worklists(),
    Counts,
    List100,
    Detail,
    AdminList,
    AdminTask,
    *_sizes(_Transfer),
    *_sizes(_Release),
    *_sizes(_Complete),
]
"""In the order in which they are run."""
