"""Schemathesis over the OpenAPI document: the application answers what the document says."""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from django.db import connection
from schemathesis.engine import events, from_schema
from schemathesis.transport.wsgi import WSGITransport

from accounts.models import Role, Token
from taskmanager.wsgi import application
from tasks.api.native.docs import described
from tasks.errors import reasons
from tasks.models import Task
from tests.conftest import Cast
from tests.proof.routes.world import CALLERS, SCENES, World

SEED = 20_260_101

MATTERS_OF_TASTE = {
    "cursor",
    "from",
    "ordering",
    "/filter/ordering",
    "/job",
    "/parent",
    "/source",
    "/external_id",
    "/expires_at",
}
"""What may be wrong though it is well formed: a place of no list, a time that has passed."""

MATTERS_OF_FACT = {kind.code for kind in reasons()} | {"not_found", "contradiction", "too_many"}
"""Codes that tell of tasks and people, or of several parameters together: no document can."""

BOUNDS = {"number_out_of_range", "too_deep", "too_many_keys", "string_too_long"}
"""Codes of what holds for any JSON that is sent, wherever it is free."""


def configuration(long: bool, *, coverage: bool) -> schemathesis.Config:
    """All checks; few or many cases."""
    return schemathesis.Config.from_dict(
        {
            "seed": SEED if not long else random.SystemRandom().randrange(2**32),
            **({"max-time": int(os.environ.get("FUZZ_SECONDS", "900"))} if long else {}),
            "generation": {
                "deterministic": not long,
                "max-examples": 100 if long else 2,
                "database": "none",
                # A text with a NUL or half a character cannot be told of in the document, and is
                # what tests.proof.test_bad_input sends everywhere.
                "allow-x00": False,
                "codec": "utf-8",
                "no-shrink": not long,
            },
            "phases": {
                "examples": {"enabled": long or not coverage},
                "coverage": {"enabled": coverage},
                "fuzzing": {"enabled": not coverage},
                "stateful": {"enabled": long and not coverage},
            },
        }
    )


class Home:
    """Puts what there is in the places of what was made up, so that more than 404 is met."""

    def __init__(self, cast: Cast) -> None:
        world = World(cast)
        self.random = random.Random(SEED)  # noqa: S311 (it makes up tests)
        self.tasks = [str(world.task(scene).pk) for scene in SCENES]
        self.tasks += [
            str(pk) for pk in Task.objects.filter(job=world.job).values_list("pk", flat=True)
        ]
        self.operations = [str(world.claimed.pk), str(world.put_off.pk), str(world.reversible.pk)]
        self.numbers = {
            "jobs": [world.job.pk],
            "users": [cast.alice.pk, cast.bob.pk],
            "groups": [cast.noc.pk, cast.field.pk],
            "roles": list(Role.objects.values_list("pk", flat=True)[:2]),
            "tokens": [world.token.pk],
            "tasks": [world.file.pk],
        }
        self.callers = [world.bearer(name)["Authorization"] for name in CALLERS]
        self.own = set(Token.objects.exclude(pk=world.token.pk).values_list("pk", flat=True))
        self.people = {"user": ["alice", "bob", "carol"], "group": ["noc", "field"]}

    def settle(self, case: Any) -> None:
        """Change a case that is about to be sent."""
        places = case.path_parameters or {}
        kind = case.operation.path.split("/")[3]
        if _is_uuid(places.get("id")) and self.random.random() < 0.9:
            known = self.operations if kind == "bulk-operations" else self.tasks
            places["id"] = self.random.choice(known)
        number = places.get("number")
        if number in self.own or (type(number) is int and self.random.random() < 0.9):
            places["number"] = self.random.choice(self.numbers[kind])
        if case.headers and _is_key(case.headers.get("Idempotency-Key")):
            case.headers["Idempotency-Key"] = f"key-{self.random.randrange(10**12)}"
        if case.meta is not None and case.meta.generation.mode.is_negative:
            return  # what is wrong has to stay wrong
        if isinstance(case.body, dict):
            case.body = self.with_people(case.body)
        if case.headers and "If-Match" in case.headers and self.random.random() < 0.5:
            del case.headers["If-Match"]
        for name in ("If-Match", "If-None-Match"):
            if case.headers and case.headers.get(name) == "0":  # the tool's idea of a tag
                case.headers[name] = '"3"'

    def with_people(self, value: Any) -> Any:
        """A body with people of the cast, and tasks that there are."""
        if isinstance(value, list):
            return [self.with_people(one) for one in value]
        if isinstance(value, float) and value.is_integer():
            return int(value)  # as JSON Schema sees it, 5.0 is an integer; as this face does, not
        if not isinstance(value, dict):
            return self.random.choice(self.tasks) if _is_uuid(value) else value
        return {
            name: self.random.choice(self.people[name])
            if name in self.people and isinstance(inner, str) and self.random.random() < 0.8
            else self.with_people(inner)
            for name, inner in value.items()
        }


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[!-~]{1,255}", value) is not None


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


@pytest.fixture
def document(committed_cast: Cast) -> Any:
    """The document, as a schema that cases are made of."""
    return json.loads(described(basic=False))


COVERED = [
    "list_tasks",
    "create_task",
    "get_task",
    "transfer_role_on_task",
    "claim_tasks",
]
"""The operations whose values are tried at their limits each time; the long form tries all."""


def closed(document: Any) -> Any:
    """The document with all that goes out closed, so that an undeclared member is found."""
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        if not name.endswith("Input") and name != "Filter":
            _close(schema)
    return document


def _close(schema: Any) -> None:
    if isinstance(schema, dict):
        if "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
        for inner in schema.values():
            _close(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _close(inner)


@pytest.mark.parametrize("coverage", [False, True], ids=["made up", "at the limits"])
@pytest.mark.filterwarnings("ignore")
def test_answers_are_what_the_document_says(
    document: Any,
    committed_cast: Cast,
    long: bool,
    coverage: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tally: Callable[[str, int], None],
) -> None:
    home = Home(committed_cast)
    send = WSGITransport.send

    def without_sockets(self: Any, case: Any, **options: Any) -> Any:
        for name in ("max_redirects", "verify", "cert"):  # which it trips over in some checks
            options.pop(name, None)
        return send(self, case, **options)

    monkeypatch.setattr(WSGITransport, "send", without_sockets)
    schema = schemathesis.openapi.from_dict(
        closed(document), config=configuration(long, coverage=coverage)
    )
    if coverage and not long:
        schema = schema.include(operation_id=COVERED)
    opened: set[Any] = set()
    request.addfinalizer(lambda: [each.close() for each in opened])

    def app(environ: Any, start_response: Any) -> Any:
        answer = application(environ, start_response)
        if connection.connection is not None:
            opened.add(connection.connection)  # of a thread that the tool has started
        return answer

    schema.app = app
    schema.location = "/api/schema/"

    @schema.auth(refresh_interval=None)  # a caller by chance for each call
    class Caller:
        def get(self, case: Any, context: Any) -> str:
            return home.random.choice(home.callers)

        def set(self, case: Any, data: str, context: Any) -> None:
            case.headers = {**(case.headers or {}), "Authorization": data}

    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        home.settle(case)

    schemathesis.hook(before_call)
    request.addfinalizer(lambda: schemathesis.hooks.unregister(before_call))
    counts: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    found: dict[str, str] = {}
    for event in from_schema(schema).execute():
        if isinstance(event, (events.NonFatalError, events.FatalError)):
            found[repr(event)[:300]] = "an error of the tool"
        if isinstance(event, events.ScenarioFinished):
            for interaction in event.recorder.interactions.values():
                counts["calls"] += 1
                statuses[interaction.response.status_code if interaction.response else 0] += 1
            for pk, checks in event.recorder.checks.items():
                for check in checks:
                    counts[f"check {check.name}"] += 1
                    if check.failure_info is not None and not _matter_of_fact(event, pk, check):
                        what = f"{check.name}: {check.failure_info.failure.title}"
                        told = _told(event, pk, check)
                        found.setdefault(f"{event.recorder.label} {what}", told)
    for what, number in counts.items():
        tally(f"Schemathesis: {what}", number)
    for status, number in statuses.items():
        tally(f"Schemathesis: answers {status}", number)
    assert not found, f"{len(found)} findings\n\n" + "\n\n".join(
        f"{k}\n{v}" for k, v in found.items()
    )


def _matter_of_fact(event: Any, pk: str, check: Any) -> bool:
    """Whether valid data was refused for what no document can know, or taken for invalid."""
    response = event.recorder.interactions[pk].response
    if check.name == "negative_data_rejection":  # of forms it says at times what it takes back here
        return "Invalid component: positive test case" in check.failure_info.failure.message
    if check.name != "positive_data_acceptance" or response is None:
        return False
    problem = json.loads(response.content)
    return problem["code"] in MATTERS_OF_FACT | BOUNDS or (
        bool(problem["errors"])
        and all(
            error["code"] in MATTERS_OF_FACT
            or (error.get("parameter") or error["pointer"]) in MATTERS_OF_TASTE
            for error in problem["errors"]
        )
    )


def _told(event: Any, pk: str, check: Any) -> str:
    """What was sent, what is wrong with the answer, and the answer."""
    case, response = event.recorder.cases[pk].value, event.recorder.interactions[pk].response
    return "\n".join(
        (
            f"{case.method} {case.formatted_path} {case.query} {case.headers} {case.body!r:.300}",
            f"{check.failure_info.failure.message:.700}",
            f"{response.content[:500] if response else None!r}",
        )
    )
