"""Any acts of anybody's in any order, over HTTP, are answered as a small model says (P5, P20)."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import hypothesis
import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts.models import Membership
from tasks import clock, events, work_items
from tasks.lifecycle import OPERATIONS
from tasks.models import AuditEvent, OutboxEvent, Task, Tombstone
from tests.conftest import Cast
from tests.factories import JobFactory, UserFactory

from .calls import TASKS, V1, tkiid
from .faces import HTM_ROLES
from .live import object_ids, tokens
from .load import new_seed
from .model import COLUMNS, GROUPS, PEOPLE, Act, Holder, Model, Sheet, Verdict
from .wire import Answer, Sent, one_connection, send, undone

Tally = Callable[[str, int], None]

MOST_TASKS: Final = 6
CHECK_EVERY: Final = 15
"""After how many steps the whole database is looked through."""

NOWHERE: Final = "01900000-0000-7000-8000-000000000000"
"""The id of no task."""

STATUSES: Final = {
    "task_not_found": 404,
    "not_authorized": 403,
    "not_permitted": 403,
    "stale_task": 412,
    "reason_required": 400,
    "invalid_output": 400,
    "invalid_body": 400,
    "invalid_argument": 400,
    "target_empty": 400,
}
"""The status of a refusal on the native face and Itential's; 409 for all others."""

NUMBERS: Final = {
    "task_not_found": "CWTKA0024E",
    "not_authorized": "CWTKA0068E",
    "invalid_task_state": "CWTKA0062E",
    "task_suspended": "CWTKA0072E",
    "not_suspended": "CWTKA0112E",
    "subtasks_open": "CWTKA0075E",
    "stale_task": "CWTKA0007E",
    "already_owner": "CWTKA0062E",
    "already_granted": "CWTKA0011E",
    "no_such_work_item": "CWTKA0099E",
    "target_not_eligible": "CWTKA0110E",
    "invalid_output": "CWTKA0114E",
    "invalid_argument": "CWTKA0123E",
    "target_empty": "CWTKA0084E",
}
"""The message id of a refusal in IBM's dialect."""

OF_THE_CALL: Final = {"not_permitted", "invalid_body", "invalid_argument", "target_empty"}
"""Refusals that are about no task in particular, so carry no version."""

SCHEMA: Final = {"type": "object", "required": ["done"]}
MOMENTS: Final = tuple(f"20{year}-01-01T00:00:00Z" for year in (40, 45, 50))
PAST: Final = "2001-01-01T00:00:00Z"


@dataclass
class World:
    """The cast's credentials, a job, and what was counted over all examples."""

    tokens: dict[str, str]
    object_ids: dict[str, str]
    job: Any
    steps: int = 0
    met: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How often an operation by a face had an outcome."""


# --- How an act is asked for on each face ---------------------------------------------------------


def named(holder: Holder) -> dict[str, str]:
    """A user or group as the native face has it."""
    return {holder[0]: holder[1]}


def listed(holders: Sequence[Holder] | set[Holder]) -> dict[str, list[str]]:
    """Users and groups as the native face has them."""
    return {
        f"{kind}s": sorted(name for one, name in holders if one == kind)
        for kind in ("user", "group")
    }


def native_body(act: Act) -> dict[str, Any]:
    """What an act says, in JSON."""
    body: dict[str, Any] = {"reason": "so it is wanted"} if act.explained else {}
    for name, value in act.arguments.items():
        if name in ("to", "from"):
            body[name] = named(value)
        elif name == "people":
            body[name] = listed(value)
        elif name == "values":
            body |= value
        else:
            body[name] = value
    return body


def native(act: Act) -> Sent:
    """An act on one task; updates and removals as what they are to the resource."""
    (pk,) = act.tasks
    body = native_body(act)
    if act.operation == "update":
        return Sent("PATCH", f"{TASKS}{pk}/", json=body)
    if act.operation == "remove" and not act.explained:
        return Sent("DELETE", f"{TASKS}{pk}/")
    return Sent("POST", f"{TASKS}{pk}/{act.operation.replace('_', '-')}/", json=body)


def native_bulk(act: Act) -> Sent:
    """An act on several tasks, each with the version expected of it."""
    ids = [{"id": pk, "version": version} if version else pk for pk, version in act.tasks.items()]
    body = {**native_body(act), "ids": ids}
    return Sent("POST", f"{TASKS}bulk/{act.operation.replace('_', '-')}/", json=body)


def itential(act: Act, world: World) -> Sent | None:
    """The same in Itential's words; None where it has none."""
    (pk,) = act.tasks
    arguments = act.arguments
    path, in_job = (
        f"/operations-manager/tasks/{pk}",
        f"/operations-manager/jobs/{world.job.object_id}",
    )
    if act.operation in ("claim", "release"):
        return Sent("POST", f"{path}/{act.operation}")
    if act.operation == "assign" and arguments["to"][0] == "user":
        body: dict[str, Any] = {"userId": world.object_ids[arguments["to"][1]]}
        return Sent("POST", f"{path}/assign", json=body)
    if act.operation == "finish" and arguments.get("output") is not None:
        state = arguments.get("finish_state", "success")
        body = {"taskData": {"finish_state": state, "variables": arguments["output"]}}
        return Sent("POST", f"{in_job}/tasks/{pk}/finish", json=body)
    if act.operation == "retry":
        body = {"variables": arguments["input"]} if "input" in arguments else {}
        return Sent("POST", f"{in_job}/tasks/{pk}/retry", json=body)
    return None


def htm(act: Act, world: World) -> Sent | None:
    """The same in IBM's words; None where it has none."""
    (pk,) = act.tasks
    path, arguments = f"{V1}/task/{tkiid(UUID(pk))}", act.arguments

    def put(rest: str = "", body: Any = None, **query: str) -> Sent:
        more = {} if body is None else {"json": body}
        return Sent("PUT", path + rest, tuple(query.items()), **more)

    until = arguments.get("until")
    deadline = {"deadline": until} if until else {}
    match act.operation:
        case "claim" | "resume":
            return put(action=act.operation)
        case "cancel_claim":
            return put(action="cancel")
        case "exit":
            return put(action="terminate")
        case "activate":
            return put(action="start", mode="async")
        case "suspend":
            return put(action="suspend", **deadline)
        case "suspend_and_release" if until:
            keep = str(arguments.get("keep_data", True)).lower()
            return put(action="suspendAndCancelClaim", keepTaskData=keep, deadline=until)
        case "complete":
            return put("", arguments.get("output"), action="complete")
        case "fail" if arguments.get("fault_name"):
            name = arguments["fault_name"]
            return put("", arguments.get("fault"), action="complete", faultName=name)
        case "update" if set(arguments["values"]) <= {"description", "priority"}:
            return put("", arguments["values"], action="update")
        case "save_output":
            return put("/output", arguments["output"])
        case "save_fault" if arguments.get("fault_name") and arguments.get("fault") is not None:
            return put("/fault", arguments["fault"], faultName=arguments["fault_name"])
        case "grant" if arguments["role"] in HTM_ROLES and arguments["to"][0] == "user":
            role = f"/role/{HTM_ROLES[arguments['role']]}"
            return put(role, action="assign", newUser=arguments["to"][1])
        case "transfer":
            return htm_transfer(put, arguments)
        case "remove":
            return Sent("DELETE", path)
    return None


def htm_transfer(put: Callable[..., Sent], arguments: Mapping[str, Any]) -> Sent | None:
    """A transfer, if giver and receiver are what IBM's parameters can say."""
    (kind, to), giver = arguments["to"], arguments.get("from")
    group = kind == "group"
    if (giver is None and group) or giver == (kind, to) or (giver and giver[0] != kind):
        return None
    if group and arguments["role"] in COLUMNS:
        return None
    move = {f"to{kind.capitalize()}": to}
    if giver:
        move[f"from{kind.capitalize()}"] = giver[1]
    return put(f"/role/{HTM_ROLES[arguments['role']]}", action="transfer", **move)


# --- What may be asked for ------------------------------------------------------------------------

ACTORS: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "rita", "svc-integration")
HOLDERS: Final = (
    *(("user", name) for name in ACTORS),
    *(("group", name) for name in GROUPS),
)
ROLES: Final = (
    "potential_owner",
    "excluded_owner",
    "editor",
    "reader",
    "stakeholder",
    "administrator",
    "potential_starter",
    "escalation_receiver",
)

somebody = st.one_of(st.none(), st.sampled_from(ACTORS))
"""Who acts; None is somebody who may, if there is one."""
something = st.one_of(st.none(), st.integers(0, MOST_TASKS))
"""Which task it is done to; None is one that allows it, if there is one."""
holder = st.sampled_from(HOLDERS)
user = st.sampled_from(ACTORS).map(lambda name: ("user", name))
giver = st.one_of(st.just("a holder"), st.none(), holder)
"""Who gives; without a name the caller himself."""
output = st.sampled_from(({"done": True}, {"draft": 1}))
faults = st.sampled_from(({}, {"fault_name": "broken"}, {"fault": {"code": 7}, "fault_name": "x"}))
until = st.sampled_from((None, None, MOMENTS[0], MOMENTS[2], PAST))
properties = st.dictionaries(
    st.sampled_from(
        (
            "description",
            "priority",
            "expires_at",
            "skippable",
            "claim_while_on_hold",
            "automatic_claim",
            "input",
        )
    ),
    st.integers(0, 11),
    min_size=1,
    max_size=2,
)


def value_of(name: str, number: int) -> Any:
    """A value that a property can have; of a priority also one that it cannot."""
    if name in ("priority", "input"):
        return number
    if name == "description":
        return f"In rack {number}."
    return (None, *MOMENTS)[number % 4] if name == "expires_at" else number % 2 == 0


@dataclass(frozen=True)
class Manner:
    """How something is asked for: through which face, with a reason, with which If-Match."""

    face: str = "native"
    explained: bool = True
    expects: str = ""


manner = st.builds(
    Manner,
    st.sampled_from(("native", "native", "itential", "htm")),
    st.sampled_from((True, True, False)),
    st.sampled_from(("", "", "right", "stale")),
)

MOVES: Final[dict[str, st.SearchStrategy[dict[str, Any]]]] = {
    **{
        name: st.just({})
        for name in "activate claim start stop release cancel_claim resume skip exit reopen".split()
    },
    "nominate": st.fixed_dictionaries({"people": st.lists(holder, min_size=1, max_size=2)}),
    "assign": st.fixed_dictionaries({"to": st.one_of(user, holder)}),
    "delegate": st.fixed_dictionaries({"to": st.one_of(user, holder)}),
    "forward": st.fixed_dictionaries({"to": holder, "from": giver}),
    "transfer": st.fixed_dictionaries(
        {
            "role": st.sampled_from((*COLUMNS, *(set_ for set_ in ROLES if set_[:2] != "ex"))),
            "to": st.one_of(user, holder),
            "from": giver,
        }
    ),
    "grant": st.fixed_dictionaries({"role": st.sampled_from(ROLES), "to": holder}),
    "revoke": st.fixed_dictionaries(
        {"role": st.sampled_from(ROLES), "from": st.one_of(st.just("a holder"), holder)}
    ),
    "suspend": st.fixed_dictionaries({"until": until}),
    "suspend_and_release": st.fixed_dictionaries({"until": until, "keep_data": st.booleans()}),
    "save_output": st.fixed_dictionaries({"output": output}),
    "save_fault": faults,
    "complete": st.fixed_dictionaries({}, optional={"output": output}),
    "finish": st.fixed_dictionaries(
        {"finish_state": st.sampled_from(("success", "failure"))}, optional={"output": output}
    ),
    "fail": faults,
    "raise_error": faults,
    "retry": st.fixed_dictionaries({}, optional={"input": output}),
    "update": properties.map(
        lambda numbers: {"values": {name: value_of(name, n) for name, n in numbers.items()}}
    ),
    "set_priority": st.fixed_dictionaries({"priority": st.integers(0, 11)}),
    "comment": st.just({"text": "The spare part is late."}),
    "remove": st.just({}),
}
"""What each operation is called with."""


# --- The machine ----------------------------------------------------------------------------------


class LifeCycle(RuleBasedStateMachine):
    """Acts over HTTP, and the model beside them; an example leaves nothing behind."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.model = Model()
        self.turn = 0
        self.sound = True
        self.last = ""
        self.around = ExitStack()
        self.around.enter_context(undone())

    def teardown(self) -> None:
        """Look through the database once more, unless the example has failed already."""
        try:
            if self.sound:
                check_tasks(self.world, self.model)
                check_database(self.model)
                check_accounts(self.world, self.model)
        finally:
            self.around.close()

    def send(self, who: str, sent: Sent, expected: int | None = None) -> Answer:
        """A request with somebody's token, and the version he expects."""
        headers = {"Authorization": f"Token {self.world.tokens[who]}"}
        if expected is not None:
            headers["If-Match"] = f'"{expected}"'
        return send(dataclasses.replace(sent, headers=headers))

    def count(self, face: str, operation: str, outcome: str) -> None:
        """One more step, with its outcome."""
        self.turn += 1
        self.world.steps += 1
        self.world.met[face, operation, outcome] += 1

    # Making tasks.

    @initialize()
    def first(self) -> None:
        """One task as most are, but that one of the team is excluded from it."""
        people = {"potential_owner": {("group", "noc")}, "excluded_owner": {("user", "rita")}}
        self.make("carol", {"people": people})

    @precondition(lambda self: len(self.model.tasks) < MOST_TASKS)
    @rule(
        who=st.sampled_from(("carol", "dave", "svc-integration", "bob")),
        people=st.dictionaries(
            st.sampled_from(ROLES), st.sets(st.sampled_from(HOLDERS[:-1]), min_size=1, max_size=2)
        ),
        flags=st.sets(
            st.sampled_from(
                ("waiting", "skippable", "automatic_claim", "claim_while_on_hold", "strict")
            )
        ),
        parent=st.one_of(st.none(), st.integers(0, MOST_TASKS)),
        expires_at=st.sampled_from((None, None, *MOMENTS)),
    )
    def create(
        self,
        who: str,
        people: dict[str, set[Holder]],
        flags: set[str],
        parent: int | None,
        expires_at: str | None,
    ) -> None:
        """A new task, a subtask if there is a parent."""
        ids = list(self.model.tasks)
        above = None if parent is None or not ids else ids[parent % len(ids)]
        given = dict.fromkeys(sorted(flags), True)
        self.make(who, {**given, "people": people, "parent": above, "expires_at": expires_at})

    def make(self, who: str, given: Mapping[str, Any]) -> None:
        """Ask for a task and hold the answer against the model."""
        self.sound = False
        flags = ("waiting", "skippable", "automatic_claim", "claim_while_on_hold", "strict")
        full = {**dict.fromkeys(flags, False), "parent": None, "expires_at": None, **given}
        body = {name: value for name, value in full.items() if name not in ("strict", "people")}
        body |= {"name": "Replace router", "job": self.world.job.pk}
        body["people"] = {role: listed(holders) for role, holders in full["people"].items()}
        if full["strict"]:
            body["output_schema"] = SCHEMA
        answer = self.send(who, Sent("POST", TASKS, json=body))
        problem = self.model.create_problem(who, full)
        self.count("native", "create", problem or "done")
        if problem:
            self.check_refusal(answer, problem, None)
        else:
            assert answer.status == 201, answer.content
            pk = answer.json()["id"]
            self.model.create(pk, who, full)
            self.check_document(answer, who, pk)
        self.sound = True

    # Acts on tasks.

    @rule(
        data=st.data(),
        operation=st.sampled_from(sorted(MOVES)),
        who=somebody,
        which=something,
        how=manner,
    )
    def act(
        self, data: st.DataObject, operation: str, who: str | None, which: int | None, how: Manner
    ) -> None:
        """Something is done to one task."""
        arguments = data.draw(MOVES[operation], label=operation)
        self.perform(self.choose(operation, arguments, who, which, how), how)

    @precondition(lambda self: self.model.tasks)
    @rule(pick=st.integers(0, 200), how=manner)
    def go_on(self, pick: int, how: Manner) -> None:
        """One of the acts that lead a task on, by somebody who may."""
        ways = [
            act
            for operation, arguments in LEADING.items()
            for act in self.able(operation, arguments, how)
        ]
        if ways:
            self.perform(ways[pick % len(ways)], how)

    @precondition(lambda self: self.model.tasks)
    @rule(pick=st.integers(0, 1000), how=manner)
    def try_in_vain(self, pick: int, how: Manner) -> None:
        """One of the same acts that the model refuses, on a task that is there."""
        ways = [
            act
            for operation, arguments in LEADING.items()
            for pk in self.model.tasks
            for who in ACTORS
            if self.model.judge(
                act := Act(who, operation, {pk: None}, arguments, explained=True)
            ).refused
        ]
        if ways:
            self.perform(ways[pick % len(ways)], how)

    def able(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        how: Manner,
        tasks: Sequence[str] | None = None,
        people: Sequence[str] = ACTORS,
    ) -> Iterator[Act]:
        """The acts that the model would let pass; "a holder" is every holder there is."""
        for pk in self.model.tasks if tasks is None else tasks:
            for given in self.with_holders(arguments, pk):
                for who in people:
                    act = Act(who, operation, {pk: None}, given, explained=True)
                    if self.model.judge(act).done:
                        yield dataclasses.replace(act, explained=how.explained)

    def with_holders(self, arguments: Mapping[str, Any], pk: str) -> list[dict[str, Any]]:
        """The arguments with each of those who could give what is asked for."""
        given = {name: value for name, value in arguments.items() if value is not None}
        if given.get("from") != "a holder":
            return [given]
        role, task = given.get("role", "potential_owner"), self.model.tasks.get(pk)
        if task is None:
            return [{**given, "from": ("user", "bob")}]
        if role in COLUMNS:
            holders = [("user", getattr(task, role) or "bob")]
        else:
            holders = sorted(task.people.get(role, set())) or [("user", "bob")]
        return [{**given, "from": one} for one in holders]

    def choose(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        who: str | None,
        which: int | None,
        how: Manner,
    ) -> Act:
        """The act that is meant: what is open is filled in so that it passes, if it can."""
        everything = [*self.model.tasks, *self.model.gone, NOWHERE]
        tasks = list(self.model.tasks) if which is None else [everything[which % len(everything)]]
        people = ACTORS if who is None else (who,)
        able = (
            list(self.able(operation, arguments, how, tasks, people))
            if None in (who, which)
            else []
        )
        if able:
            return able[self.turn % len(able)]
        pk = (tasks or [NOWHERE])[0]
        given = self.with_holders(arguments, pk)[0]
        return Act(people[self.turn % len(people)], operation, {pk: None}, given, how.explained)

    def perform(self, act: Act, how: Manner) -> None:
        """Do something to one task, and hold the answer against the model."""
        self.sound = False
        ((pk, _),) = act.tasks.items()
        task = self.model.tasks.get(pk)
        version = task.version if task else 1
        if how.expects:
            stale = version - 1 or version + 1
            act = dataclasses.replace(act, tasks={pk: version if how.expects == "right" else stale})
        spoken = {"itential": itential, "htm": htm}.get(how.face, lambda *_: None)(act, self.world)
        face = how.face if spoken else "native"
        if spoken:
            act = dataclasses.replace(act, by_dialect=True)
        hypothesis.note(f"{face}: {act}")
        verdict = self.model.judge(act)
        answer = self.send(act.who or "", spoken or native(act), act.tasks[pk])
        code = verdict.problem or verdict.refused.get(pk, "")
        again = code == "already_owner" and act.operation == "claim" and face != "htm"
        self.count(face, act.operation, "again" if again else code or "done")
        if not code:
            self.model.perform(act, verdict)
        assert answer.status < 500, answer.content
        if code and not again:
            shown = None if code in (*OF_THE_CALL, "task_not_found") else version
            self.check_refusal(answer, code, shown, face, task)
        else:
            now = version if again else version + 1
            assert answer.status == (204 if act.operation == "remove" and face == "native" else 200)
            assert answer.headers["etag"] == f'"{now}"', (answer.headers, now)
            if face == "native" and act.operation != "remove":
                self.check_document(answer, act.who or "", pk)
        self.sound = True

    @rule(
        data=st.data(),
        operation=st.sampled_from(sorted(set(MOVES) - {"remove", "comment"})),
        who=somebody,
        explained=st.sampled_from((True, True, False)),
    )
    def bulk(self, data: st.DataObject, operation: str, who: str | None, explained: bool) -> None:
        """Something is done to several tasks in one call."""
        arguments = data.draw(MOVES[operation], label=operation)
        everything = [*self.model.tasks, *self.model.gone, NOWHERE]
        chosen = data.draw(
            st.lists(st.sampled_from(everything), min_size=1, unique=True), label="tasks"
        )
        stale = data.draw(st.sampled_from((None, *chosen)), label="stale")
        how = Manner(explained=explained)
        whoever = self.choose(operation, arguments, who, None, how)
        tasks: dict[str, int | None] = dict.fromkeys(chosen)
        if stale in self.model.tasks:
            tasks[stale] = self.model.tasks[stale].version + 1
        self.perform_bulk(dataclasses.replace(whoever, tasks=tasks, bulk=True))

    def perform_bulk(self, act: Act) -> None:
        """Do something to several tasks, and hold the answer against the model."""
        self.sound = False
        hypothesis.note(f"bulk: {act}")
        verdict = self.model.judge(act)
        versions = {pk: task.version for pk, task in self.model.tasks.items()}
        answer = self.send(act.who or "", native_bulk(act))
        self.count("bulk", act.operation, verdict.problem or f"done {len(verdict.done)}")
        if verdict.problem:
            self.check_refusal(answer, verdict.problem, None)
        else:
            self.model.perform(act, verdict)
            self.check_bulk(answer, verdict, versions)
        self.sound = True

    @rule(at=st.sampled_from(("2041-01-01", "2046-01-01", "2051-01-01")))
    def let_time_pass(self, at: str) -> None:
        """The clock looks for what is due."""
        self.sound = False
        moment = f"{at}T00:00:00Z"
        expiring, waking = self.model.sweep(moment)
        self.count("clock", "sweep", f"{bool(expiring)} {bool(waking)}")
        swept = clock.sweep(datetime.fromisoformat(moment))
        assert swept == clock.Swept(len(waking), len(expiring), 0)
        self.sound = True

    # What is held against the model.

    def check_refusal(
        self,
        answer: Answer,
        code: str,
        version: int | None,
        face: str = "native",
        task: Sheet | None = None,
    ) -> None:
        """An answer refuses for the reason given, and says which version it speaks of."""
        status, document = STATUSES.get(code, 409), answer.json()
        if face == "htm":
            status = 401 if status == 403 else status
            assert (answer.status, document["errorNumber"]) == (status, ibm_number(code, document))
        else:
            assert answer.status == status, (answer.status, document, code)
        assert answer.headers.get("etag") == (None if version is None else f'"{version}"')
        if face == "native":
            assert document["code"] == code, (document, code)
            assert document.get("version") == version
            holder_ = task.owner if task and status in (409, 412) else None
            assert document.get("holder") == holder_

    def check_document(self, answer: Answer, who: str, pk: str) -> None:
        """An answer shows a task as the model has it."""
        task, document = self.model.tasks[pk], answer.json()
        assert shown(document) == self.document(task, who)
        assert answer.headers["etag"] == f'"{task.version}"'

    def document(self, task: Sheet, who: str) -> dict[str, Any]:
        """What the native face has to show of a task."""
        return document_of(self.model, task, who)

    def check_bulk(self, answer: Answer, verdict: Verdict, versions: Mapping[str, int]) -> None:
        """A bulk answer names each task once, in the order asked, done or refused."""
        assert answer.status == 200, answer.content
        document = answer.json()
        done = [(item["id"], item["version"]) for item in document["done"]]
        assert done == [(pk, versions[pk] + 1) for pk in verdict.done]
        refused = [(item["id"], item["code"], item["version"]) for item in document["refused"]]
        assert refused == [
            (pk, code, None if code == "task_not_found" else versions[pk])
            for pk, code in verdict.refused.items()
        ]

    @invariant()
    def every_task_is_as_the_model_has_it(self) -> None:
        """Not only the one that was acted on."""
        self.sound = False
        rows = Task.objects.values_list("pk", "version", "state", "on_hold", "owner__username")
        assert {str(pk): rest for pk, *rest in rows} == {
            pk: [task.version, task.state, task.on_hold, task.owner]
            for pk, task in self.model.tasks.items()
        }
        if self.turn % CHECK_EVERY == CHECK_EVERY - 1:
            check_tasks(self.world, self.model)
            check_database(self.model)
        self.sound = True


LEADING: Final[dict[str, dict[str, Any]]] = {
    **{name: {} for name in "activate claim start stop release complete finish skip".split()},
    **{name: {} for name in "suspend resume raise_error reopen retry".split()},
    "nominate": {"people": [("user", "bob")]},
    "assign": {"to": ("user", "bob")},
    "fail": {"fault_name": "broken"},
    "save_output": {"output": {"done": True}},
}
"""The acts by which a task goes on."""


def ibm_number(code: str, document: Mapping[str, Any]) -> str:
    """The message id of a refusal; a bad value may have one of its property's own."""
    if code == "invalid_argument":
        assert document["errorNumber"] in ("CWTKA0123E", "CWTKA0136E", "CWTKA0158E")
        return str(document["errorNumber"])
    return NUMBERS[code]


SHOWN: Final = (
    *("version", "state", "on_hold", "wakeup_at", "priority", "expires_at", "owner", "starter"),
    *("originator", "people", "input", "output", "fault", "fault_name", "description", "parent"),
    *("flags", "output_schema"),
)


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a task's document that the model knows."""
    return {name: document[name] for name in SHOWN}


def document_of(model: Model, task: Sheet, who: str) -> dict[str, Any]:
    """What the native face has to show of a task."""
    found = {name: getattr(task, name) for name in SHOWN if hasattr(task, name)}
    above = model.tasks.get(task.parent or "")
    return {
        **found,
        "people": {role: listed(holders) for role, holders in task.people.items()},
        "parent": task.parent if above and model.sees(who, above) else None,
        "output_schema": SCHEMA if task.strict else None,
        "flags": {
            name: getattr(task, name)
            for name in ("claim_while_on_hold", "skippable", "automatic_claim")
        },
    }


def get(world: World, who: str, path: str, *query: tuple[str, str]) -> Answer:
    """A look with somebody's token."""
    return send(Sent("GET", path, query, {"Authorization": f"Token {world.tokens[who]}"}))


def check_tasks(world: World, model: Model) -> None:
    """The list of an administrator shows all tasks as the model has them, and no others."""
    answer = get(world, "dave", TASKS, ("limit", "200"))
    found = {one["id"]: shown(one) for one in answer.json()["results"]}
    assert found == {pk: document_of(model, task, "dave") for pk, task in model.tasks.items()}


def check_database(model: Model) -> None:
    """What has to hold over all rows."""
    versions = sum(
        table.objects.aggregate(sum=Sum("version"))["sum"] or 0  # type: ignore[attr-defined]
        for table in (Task, Tombstone)
    )
    assert versions == model.versions == AuditEvent.objects.count() == OutboxEvent.objects.count()
    assert list(events.verify()) == []
    assert list(work_items.differing_rows()) == []


def check_accounts(world: World, model: Model) -> None:
    """Each account's list holds exactly the tasks that it can open, and those of the model."""
    for who, person in PEOPLE.items():
        answer = get(world, who, TASKS, ("limit", "200"))
        if not person.may("tasks.view_task"):
            assert (answer.status, answer.json()["code"]) == (403, "not_permitted")
            listed_ = set()
        else:
            listed_ = {one["id"] for one in answer.json()["results"]}
        assert listed_ == model.reads(who)
        tasks = (*model.tasks, *model.gone)
        opened = {pk: get(world, who, f"{TASKS}{pk}/").status for pk in tasks}
        assert opened == {
            pk: 200 if pk in listed_ else 403 if sees(model, who, pk) else 404 for pk in tasks
        }


def sees(model: Model, who: str, pk: str) -> bool:
    """Whether a task is there for an account."""
    return pk in model.tasks and model.sees(who, model.tasks[pk])


# --- The proofs -----------------------------------------------------------------------------------


@pytest.fixture
def world(cast: Cast) -> Iterator[World]:
    """The cast, with one more who may try again what failed."""
    rita = UserFactory(username="rita", system_roles=["operations", "retryUser"])
    Membership.objects.create(user=rita, group=cast.noc)
    with one_connection():
        yield World(tokens(*PEOPLE), object_ids(), JobFactory())


def run(world: World, examples: int, steps: int, *, seed: int | None = None, **more: Any) -> None:
    """Let the machine run; without a seed it does the same every time."""

    def machine() -> LifeCycle:
        return LifeCycle(world)

    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=seed is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    factory = machine if seed is None else hypothesis.seed(seed)(machine)
    run_state_machine_as_test(factory, settings=settings)


LONG_SECONDS: Final = 200.0
"""How long the long form goes on beginning new rounds."""


def test_whatever_is_done_in_whatever_order_is_answered_as_the_model_says(
    world: World, long: bool, tally: Tally
) -> None:
    if long:
        end = time.monotonic() + LONG_SECONDS
        while time.monotonic() < end:
            seed = new_seed()
            try:
                run(world, 10, 50, seed=int(seed, 16))
            except BaseException as error:
                error.add_note(f"with seed {seed}")
                raise
    else:
        run(world, 5, 40)
    tally("life-cycle steps checked", world.steps)


def test_the_machine_finds_that_an_excluded_owner_may_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dataclasses.replace(OPERATIONS["start"], is_work=False, open_to_excluded=True)
    monkeypatch.setitem(OPERATIONS, "start", wrong)
    with pytest.raises(AssertionError) as found:
        run(world, 40, 30, phases=[Phase.generate])
    assert "operation='start'" in str(found.value.__notes__)
