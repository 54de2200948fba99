"""Every class of bad input on every route: a clear refusal in the face's shape, nothing changed.

The short form tries some of every class on one route of each view and one class of each kind on
every route; the long form every class on every route, and all of it on one of each view.
"""

from __future__ import annotations

import random
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from django.db import connection

from tasks.api.htm.ids import tkiid
from tasks.events import give_positions
from tasks.models import Attachment
from tasks.uuid7 import uuid7
from tests.conftest import Cast
from tests.factories import basic

from . import bad
from .bad import CLASSES, EITHER, FINE, REFUSED, Class
from .routes import Route, World, routes
from .wire import NOTHING, REQUEST_ID, Answer, Sent, one_connection, send, undone

ROUTES = routes()
GROUPS = sorted({(route.face, route.method) for route in ROUTES})

Tally = Callable[[str, int], None]

FIRST, OTHERS = 2, 1
"""How many requests the short form sends to the first route of a view, of each class, and to its
others, of one class of each kind."""

LONG_ON_PAGES, LONG_ON_OTHERS = 8, 2
"""How many of each class the long form sends to the first route of a view of the admin, whose
pages take their time, and to the other routes of any view; to the first route of a view of an API
it sends all."""

MUTATIONS, LONG_MUTATIONS = 1, 10
"""How many mutations at random are sent to the first route of each view, or to every route."""


@pytest.fixture(autouse=True)
def kept_connection() -> Iterator[None]:
    """See `one_connection`."""
    with one_connection():
        yield


@pytest.fixture
def world(cast: Cast, settings: Any, tmp_path: Path) -> World:
    """The cast, their credentials and tasks, with a folder of their own for files."""
    settings.MEDIA_ROOT = str(tmp_path)
    return World(cast)


# --- What a refusal is like ----------------------------------------------------------------------


class Refused(AssertionError):
    """Says in what an answer is not the refusal that it should be."""


def demand(condition: bool, words: str) -> None:
    """Raise Refused unless the condition holds."""
    if not condition:
        raise Refused(words)


def texts_of(document: Any) -> Iterator[str]:
    """All texts within a JSON value."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for name, value in document.items():
            yield name
            yield from texts_of(value)
    elif isinstance(document, list):
        for value in document:
            yield from texts_of(value)


def unseen(text: str) -> bool:
    """Whether a text holds control characters or marks of direction."""
    return any(
        unicodedata.category(each) in ("Cc", "Cs")
        or unicodedata.bidirectional(each) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")
        for each in text
    )


def check_shape(face: str, answer: Answer) -> None:
    """The refusal has the shape of the face and echoes nothing that could do harm."""
    demand(400 <= answer.status < 500, f"status {answer.status}")
    demand(b"Traceback" not in answer.content, "a traceback")
    demand(answer.headers.get("x-request-id") == REQUEST_ID, "no request id")
    if face in ("admin", "probe"):
        demand(answer.media_type == "text/html", f"media type {answer.media_type!r}")
        demand(b"Human tasks" in answer.content, "not a page of ours")
        return
    document = answer.json()
    if face == "native":
        demand(answer.media_type == "application/problem+json", f"{answer.media_type}")
        members = {"type", "title", "status", "detail", "instance", "code", "errors", "request_id"}
        demand(members <= set(document), f"members {set(document)}")
        demand(document["status"] == answer.status, "another status in the body")
        demand(document["request_id"] == REQUEST_ID, "another request id in the body")
        demand(bool(document["detail"] and document["title"] and document["code"]), "no words")
    elif face == "itential":
        demand(answer.media_type == "application/json", f"{answer.media_type}")
        demand(set(document) == {"message", "data", "metadata"}, f"members {set(document)}")
        demand(document["data"] is None, "data")
        demand(bool(document["message"]), "no words")
    else:
        demand(answer.media_type == "application/json", f"{answer.media_type}")
        demand(
            set(document) == {"errorNumber", "errorMessage", "programmersDetails"},
            f"members {set(document)}",
        )
        demand(document["errorNumber"].startswith("CWTKA"), "no message id")
        demand(bool(document["errorMessage"]), "no words")
    demand(not any(map(unseen, texts_of(document))), f"echoes what nobody sees: {document}")
    demand(len(answer.content) < 32 * 1024, "a refusal of more than 32 KiB")


# --- Whether anything has changed ----------------------------------------------------------------

COUNTED = "relname not like 'axes%'"
"""Wrong passwords are counted, which is no change that a caller could ask for."""


def writes() -> int:
    """How many rows this transaction has written so far, taken back or not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) "
            f"from pg_stat_xact_user_tables where {COUNTED}"
        )
        return int(cursor.fetchone()[0])


def fingerprint() -> dict[str, str]:
    """A digest of all rows of every table."""
    with connection.cursor() as cursor:
        cursor.execute(f"select relname from pg_stat_user_tables where {COUNTED} order by 1")
        tables = [name for (name,) in cursor.fetchall()]
        digests = ", ".join(
            f"(select md5(string_agg(t::text, ',' order by t::text)) from {table} t)"
            for table in tables
        )
        cursor.execute(f"select {digests}")
        return dict(zip(tables, cursor.fetchone(), strict=True))


def spread(some: list[Any], most: int | None, start: int) -> list[Any]:
    """Some or, of more than `most`, that many at even distances, not always the same."""
    if most is None or len(some) <= most:
        return some
    return [some[(start + number * len(some) // most) % len(some)] for number in range(most)]


class Trial:
    """Sends bad requests to one route and holds the answers against what has to come of them."""

    def __init__(self, world: World, route: Route) -> None:
        self.route = route
        self.who, self.good = route.good(world)
        self.before = fingerprint()
        self.sent = 0
        self.wrong: list[str] = []

    def of_class(self, each: Class, most: int | None = None) -> None:
        """Send all requests of a class, or the first ones."""
        if not each.applies(self.route, self.good):
            return
        found = [*each.bend(self.route, self.good)]
        for words, sent in spread(found, most, crc32(self.route.name.encode())):
            self.one(f"{each.name}: {words}", sent, each.outcome, each.statuses)

    def one(
        self, words: str, sent: Sent, outcome: str = REFUSED, statuses: frozenset[int] = frozenset()
    ) -> None:
        """Send one request; what is wrong with the answer is kept."""
        self.sent += 1
        answer = None
        try:
            with undone():
                written = writes()
                answer = send(sent)
                changed = writes() != written and fingerprint() != self.before
            self.judge(answer, changed, outcome, statuses)
        except Exception as error:
            shown = f"{answer.status} {answer.content[:300]!r}" if answer else "no answer"
            what = f"{self.route.name}: {words}: {type(error).__name__} {error}"
            self.wrong.append(f"{what}\n    {sent}\n    {shown}")

    def judge(self, answer: Answer, changed: bool, outcome: str, statuses: frozenset[int]) -> None:
        """Raise Refused unless the answer is what has to come of the request."""
        # A wrong password is counted and recorded, which is a change, but not to what there is.
        demand(not changed or self.route.guesses or outcome != REFUSED, "something has changed")
        if self.route.redirects and answer.status in (301, 302, 405):
            return
        if outcome == FINE:
            demand(self.route.succeeded(answer), f"status {answer.status}")
            return
        if outcome == EITHER and answer.status < 400:
            return
        demand(not changed or self.route.guesses, "something has changed")
        if self.route.face == "admin" and answer.status == 200 and not statuses:
            errors = b"errorlist" in answer.content or b"errornote" in answer.content
            demand(errors, "status 200 without an error of the form")
            return
        check_shape(self.route.face, answer)
        demand(not statuses or answer.status in statuses, f"status {answer.status}")


# --- The proofs ----------------------------------------------------------------------------------


def in_group(group: tuple[str, str]) -> list[Route]:
    """The routes of a face with one method."""
    return [route for route in ROUTES if (route.face, route.method) == group]


def test_every_route_is_known(tally: Tally) -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES) > 200
    assert {route.face for route in ROUTES} >= {"native", "htm", "itential", "admin"}
    tally("routes", len(ROUTES))


def most_of(route: Route, *, first: bool, long: bool) -> int | None:
    """How many requests of a class a route gets that is the first of its view or not."""
    if not long:
        return FIRST
    if not first:
        return LONG_ON_OTHERS
    return LONG_ON_PAGES if route.face == "admin" else None


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_bad_input_is_refused_and_changes_nothing(
    world: World, group: tuple[str, str], long: bool, tally: Tally
) -> None:
    seen: set[str] = set()
    wrong: list[str] = []
    sent = 0
    for number, route in enumerate(in_group(group)):
        trial = Trial(world, route)
        first = route.view not in seen
        if long or first:
            for each in CLASSES:
                trial.of_class(each, most_of(route, first=first, long=long))
        else:
            for kind in dict.fromkeys(each.kind for each in CLASSES):
                fitting = [
                    each
                    for each in CLASSES
                    if each.kind == kind and each.applies(route, trial.good)
                ]
                if fitting:
                    trial.of_class(fitting[number % len(fitting)], OTHERS)
        seen.add(route.view)
        wrong += trial.wrong
        sent += trial.sent
    tally("bad inputs", sent)
    assert not wrong, f"{len(wrong)} wrong of {sent}:\n" + "\n".join(wrong[:400])


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_mutations_at_random_are_never_an_accident(
    world: World, group: tuple[str, str], long: bool, tally: Tally
) -> None:
    wrong: list[str] = []
    sent = 0
    seen: set[str] = set()
    for route in in_group(group):
        if not route.takes_body or (route.view in seen and not long):
            continue
        seen.add(route.view)
        trial = Trial(world, route)
        chance = random.Random(route.name)  # noqa: S311 (to be repeatable)
        for number in range(LONG_MUTATIONS if long else MUTATIONS):
            body = mutated(trial.good.body, chance)
            bent = replace(
                trial.good,
                raw=body,
                json=NOTHING,
                form=None,
                content_type=trial.good.media_type or "application/json",
            )
            trial.one(f"mutation {number}", bent, EITHER)
        wrong += trial.wrong
        sent += trial.sent
    tally("bad inputs", sent)
    assert not wrong, f"{len(wrong)} wrong of {sent}:\n" + "\n".join(wrong[:100])


def mutated(body: bytes, chance: random.Random) -> bytes:
    """A body with some of its bytes changed, left out, doubled or moved."""
    found = bytearray(body or b"{}")
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        piece = bytes(found[at : at + chance.randint(1, 8)])
        act = chance.randrange(4)
        if act == 0:
            found[at : at + 1] = bytes([chance.randrange(256)])
        elif act == 1:
            del found[at : at + len(piece)]
        elif act == 2:
            found[at:at] = piece
        else:
            found[at:at] = chance.choice([b"\\u0000", b"\\ud800", b"NaN", b"1e400", b"[", b"%00"])
    return bytes(found)


# --- What comes before a bad body ----------------------------------------------------------------

WITHOUT_RIGHTS = {"native": 403, "itential": 403, "htm": 401}


def sent_by(world: World, route: Route, good: Sent, who: str | None, path: str) -> Answer:
    """The answer to a body that is no JSON, sent by somebody else and perhaps elsewhere."""
    headers: dict[str, str] = {}
    if who is not None:
        native = route.face == "native"
        headers = world.bearer(who) if native else {"Authorization": basic(who)}
    bent = replace(
        good, path=path, headers=headers, raw=b"[1", json=NOTHING, content_type="application/json"
    )
    with undone():
        return send(bent)


def test_nobody_hears_what_is_wrong_with_a_body_before_what_he_may(world: World) -> None:
    hidden_id = world.hidden.pk
    for name in ("erin", "frank"):
        world.bearer(name)
    for route in ROUTES:
        if not (route.on_task and route.takes_body and route.face in WITHOUT_RIGHTS):
            continue
        _, good = route.good(world)
        before = fingerprint()
        stranger = sent_by(world, route, good, None, good.path)
        assert stranger.status == 401, route.name
        reader = sent_by(world, route, good, "erin", good.path)
        assert reader.status == WITHOUT_RIGHTS[route.face], route.name
        for answer in (stranger, reader):
            check_shape(route.face, answer)
        spell = tkiid if route.face == "htm" else str
        spelled = [spell(pk) for pk in (hidden_id, uuid7())]
        hidden, missing = (
            sent_by(world, route, good, "frank", bad.with_id(good.path, text)) for text in spelled
        )
        assert hidden.status == 404, route.name
        assert (hidden.status, hidden.headers) == (missing.status, missing.headers), route.name
        texts = [
            answer.content.replace(text.encode(), b"")
            for answer, text in zip((hidden, missing), spelled, strict=True)
        ]
        assert texts[0] == texts[1], route.name
        assert fingerprint() == before


def test_an_empty_list_does_nothing_and_says_so(world: World) -> None:
    for route in ROUTES:
        if not route.many:
            continue
        _, good = route.good(world)
        if good.json is NOTHING:
            continue
        before = fingerprint()
        with undone():
            answer = send(replace(good, json={**good.json, route.many: []}))
            changed = {name for name, value in fingerprint().items() if before[name] != value}
        assert answer.status == 200, route.name
        assert changed <= {"tasks_bulkoperation"}, route.name
        if route.many == "ids":
            assert answer.json()["done"] == answer.json()["refused"] == []


def test_more_than_a_thousand_selections_work(world: World) -> None:
    for route in ROUTES:
        if route.variant != "selection":
            continue
        _, good = route.good(world)
        pk = dict(good.form or ())["_selected_action"]
        more = str(uuid7()) if "-" in pk else "999999999"
        form = (*(good.form or ()), *((("_selected_action", more),) * 1500))
        with undone():
            answer = send(replace(good, form=form))
        assert answer.status in (200, 302), route.name


def test_no_form_costs_more_for_the_rows_that_it_claims_to_have(world: World) -> None:
    for route in ROUTES:
        if route.method != "POST" or not route.view.startswith("accounts_"):
            continue
        _, good = route.good(world)
        counts = [name for name, _ in good.form or () if name.endswith("-TOTAL_FORMS")]
        if not counts:
            continue
        form = tuple(
            (name, "9" * 9 if name == counts[0] else value) for name, value in good.form or ()
        )
        began = time.process_time()
        with undone():
            answer = send(replace(good, form=form))
        assert answer.status == 200
        assert b"Please submit at most" in answer.content
        assert time.process_time() - began < 2, route.name


def test_no_file_is_kept_under_a_name_that_leads_astray(world: World) -> None:
    for route in ROUTES:
        if route.variant != "form":
            continue
        _, good = route.good(world)
        kept = 0
        for words, sent in bad.odd_names_of_files(route, good):
            with undone():
                answer = send(sent)
                names = list(Attachment.objects.values_list("name", flat=True))
            assert answer.status < 500, words
            kept += bool(names)
            for name in names:
                assert not unseen(name), words
                assert not {"/", "\\"} & set(name), words
                assert 0 < len(name) <= 255, words
        assert kept


def test_nothing_changes_by_asking_for_the_head_of_an_answer(world: World) -> None:
    for route in ROUTES:
        if route.method != "GET" or route.view == "Logout":
            continue
        _, good = route.good(world)
        give_positions()  # which the worker does, or else the first who reads the feed
        before = fingerprint()
        with undone():
            whole = send(good)
            assert fingerprint() == before, route.name
            head = send(replace(good, method="HEAD"))
            assert fingerprint() == before, route.name
        assert head.status == whole.status, route.name
        assert head.headers.get("etag") == whole.headers.get("etag"), route.name
        options = send(replace(good, method="OPTIONS"))
        assert options.status < 500, route.name
        assert fingerprint() == before, route.name
