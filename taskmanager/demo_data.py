"""Believable tasks of a network-operations team, and the cast who works on them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from accounts.models import DEMO, Group, Membership, Role, User
from tasks import actions, people
from tasks.actions import Call, Draft
from tasks.lifecycle import ACTIVE, ENDED, HELD, Kind, State
from tasks.models import Channel, Job, Task
from tasks.people import Reference
from tasks.roles import TaskRole

FEWEST = 200
BATCH = 500


class Person(NamedTuple):
    """One of the cast: system roles, groups, and whether they lead them."""

    name: str
    first: str
    last: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    lead: bool = False
    superuser: bool = False


GROUPS = {
    "noc": "Network operations centre: watches, changes and repairs the network.",
    "field": "Field engineers: hands at the sites.",
    "change-board": "Approves changes to the live network.",
}

CAST = (
    Person("alice", "Alice", "Okafor", ("operations",), ("noc",), lead=True),
    Person("bob", "Bob", "Lindqvist", ("operations",), ("noc",)),
    Person("carol", "Carol", "Ferreira", ("engineering",), ("field",)),
    Person("dave", "Dave", "Nakamura", ("admin",)),
    Person("erin", "Erin", "Walsh", ("viewer",)),
    Person("frank", "Frank", "Moreau", ("operations",)),
    Person("svc-integration", "Workflow", "engine", ("apiwrite",)),
    Person("svc-reader", "Reporting", "job", ("apiread",)),
    Person("root", "Root", "", superuser=True),
)


def password_of(name: str) -> str:
    """The demo password of an account: refused everywhere but in demo mode."""
    return f"{name}-demo"


def write_cast() -> None:
    """Make the accounts and groups of the cast; nothing is changed where they are already there."""
    with transaction.atomic():
        groups = {
            name: Group.objects.get_or_create(
                name=name, defaults={"description": description, "provenance": DEMO}
            )[0]
            for name, description in GROUPS.items()
        }
        for person in CAST:
            if User.objects.filter(username=person.name).exists():
                continue
            user = User.objects.create_user(
                person.name,
                password_of(person.name),
                first_name=person.first,
                last_name=person.last,
                email=f"{person.name}@example.org",
                provenance=DEMO,
                is_superuser=person.superuser,
            )
            user.roles.set(Role.objects.filter(name__in=person.roles))
            for name in person.groups:
                Membership.objects.create(user=user, group=groups[name], lead=person.lead)


class Step(NamedTuple):
    """One task of a job: its name, who may work on it, and what kind it is."""

    name: str
    group: str
    kind: Kind = Kind.MANUAL
    fields: tuple[str, ...] = ()


SITES = (
    "fra01 fra02 ams01 ams03 lon02 lon04 par01 mad01 mil02 vie01 waw01 sto01 hel02 osl01 cph01"
).split()
DEVICES = "core-rtr edge-rtr agg-sw access-sw fw olt pe-rtr dist-sw".split()

JOBS: tuple[tuple[str, str, tuple[Step, ...]], ...] = (
    (
        "Replace {device}-{number} at {site}",
        "The device has reached its end of support; the replacement is in the store.",
        (
            Step("Approve the change window", "change-board", fields=("approved", "window")),
            Step("Drain traffic from {device}-{number}", "noc", fields=("drained",)),
            Step("Back up the configuration of {device}-{number}", "noc", Kind.AUTOMATIC),
            Step("Swap the hardware at {site}", "field", fields=("serial_number",)),
            Step("Verify all links of {device}-{number}", "noc", fields=("links_up",)),
        ),
    ),
    (
        "Upgrade firmware of {device}-{number} at {site}",
        "A security fix of the vendor is to be on all devices by the end of the quarter.",
        (
            Step("Review the release notes for {device}-{number}", "noc"),
            Step("Approve the maintenance", "change-board", fields=("approved",)),
            Step("Copy the image to {device}-{number}", "noc", Kind.AUTOMATIC),
            Step("Watch the reboot of {device}-{number}", "noc", fields=("uptime_ok",)),
        ),
    ),
    (
        "Access request {number}: {site} equipment room",
        "A contractor needs to get in; the badge is valid for one day.",
        (
            Step("Check the identity for request {number}", "noc", fields=("document",)),
            Step("Approve access to {site}", "change-board", fields=("approved",)),
            Step("Escort the contractor at {site}", "field"),
        ),
    ),
    (
        "Firewall rule change {number} on fw-{site}",
        "An application team asks for a new flow between two zones.",
        (
            Step("Assess the risk of rule change {number}", "noc", fields=("risk",)),
            Step("Approve rule change {number}", "change-board", fields=("approved",)),
            Step("Apply rule change {number}", "noc", Kind.OPERATION),
            Step("Confirm the flow with the requester", "noc", fields=("confirmed",)),
        ),
    ),
    (
        "Link down: {device}-{number} at {site}",
        "Monitoring reports loss of signal on an uplink.",
        (
            Step("Triage the alarm of {device}-{number}", "noc", fields=("cause",)),
            Step("Clean and measure the fibre at {site}", "field", fields=("loss_db",)),
            Step("Close the incident with the carrier", "noc", fields=("ticket",)),
        ),
    ),
    (
        "Turn up circuit CID-{number} at {site}",
        "A new customer circuit is ready on the carrier's side.",
        (
            Step("Patch CID-{number} at {site}", "field", fields=("port",)),
            Step("Configure the customer VLAN", "noc", Kind.AUTOMATIC),
            Step("Hand CID-{number} over to the customer", "noc", fields=("accepted",)),
        ),
    ),
)


class Plan(NamedTuple):
    """How many of the manual tasks are to stand where, besides those that come as they come."""

    held_by_bob: int
    free_for_noc: int


def tasks_there() -> int:
    """How many tasks the database holds."""
    return Task.objects.count()


def write_tasks(count: int, done: Callable[[int], None]) -> None:
    """Import `count` tasks (at least FEWEST); `done` is told of each batch.

    Bob, who is about to leave, holds 600 of 2,000; `noc` finds at least 100 free to be claimed;
    every state occurs. The same tasks every time but for their identifiers.
    """
    chance = random.Random(2000)  # noqa: S311 (a story, not a secret)
    drafts = list(_drafts(count, chance))
    _take_states(drafts, Plan(count * 3 // 10, max(100, count // 10)), chance)
    call = Call(None, Channel.COMMAND, request_id="demo", reason="demo data")
    for start in range(0, count, BATCH):
        batch = drafts[start : start + BATCH]
        actions.import_(batch, call=call)
        done(len(batch))


def _drafts(count: int, chance: random.Random) -> Iterator[Draft]:
    now = timezone.now()
    users = {user.username: user for user in User.objects.filter(provenance=DEMO)}
    made = 0
    while made < count:
        title, description, steps = chance.choice(JOBS)
        words = {
            "device": chance.choice(DEVICES),
            "number": chance.randint(1000, 9899),
            "site": chance.choice(SITES),
        }
        created = now - timedelta(minutes=chance.randint(180, 60 * 24 * 60))
        job = Job.objects.create(
            name=title.format(**words), description=description, created_at=created
        )
        requester = chance.choice(("alice", "bob", "carol", "frank"))
        for step in steps[: count - made]:
            task = _task(step, words, job, created, chance)
            task.originator = task.starter = users["svc-integration"]
            yield Draft(task, _people(step, requester))
            made += 1


def _task(
    step: Step, words: dict[str, Any], job: Job, created: datetime, chance: random.Random
) -> Task:
    due = created + timedelta(days=chance.choice((3, 7, 14, 30, 70)))
    properties = {name: {"type": "string", "minLength": 1} for name in step.fields}
    return Task(
        name=step.name.format(**words),
        description=job.description,
        kind=step.kind,
        priority=chance.choices((1, 3, 5, 5, 5, 7, 9), k=1)[0],
        due_at=due if chance.random() < 0.8 else None,
        job=job,
        created_at=created,
        updated_at=created,
        activated_at=created,
        input={
            "device": f"{words['device']}-{words['number']}",
            "site": words["site"],
            "ticket": f"CHG{words['number']:07d}",
        },
        output_schema={"type": "object", "properties": properties, "required": list(properties)}
        if properties
        else None,
        skippable=chance.random() < 0.2,
    )


def _people(step: Step, requester: str) -> dict[TaskRole, list[Reference]]:
    named: dict[TaskRole, list[Reference]] = {
        TaskRole.POTENTIAL_OWNER: [people.group(step.group)],
        TaskRole.ADMINISTRATOR: [people.user("svc-integration")],
        TaskRole.STAKEHOLDER: [people.user(requester)],
    }
    if step.group == "change-board":
        # Four eyes: whoever asks for a change does not approve it.
        named[TaskRole.EXCLUDED_OWNER] = [people.user(requester)]
        named[TaskRole.POTENTIAL_OWNER] += [people.user("alice"), people.user("bob")]
    return named


_BY_ENGINES = (State.READY, *[State.COMPLETED] * 5, State.ERROR)

_ELSEWHERE = (
    *[State.COMPLETED] * 8,
    *[State.READY] * 4,
    *[State.RESERVED] * 2,
    State.IN_PROGRESS,
    State.CREATED,
    State.FAILED,
    State.ERROR,
    State.EXITED,
    State.OBSOLETE,
    State.EXPIRED,
)


def _take_states(drafts: list[Draft], plan: Plan, chance: random.Random) -> None:
    """Give every task its state and holder: first what the plan asks for, then by chance."""
    users = {user.username: user for user in User.objects.filter(provenance=DEMO)}
    held, free = 0, 0
    order = list(drafts)
    chance.shuffle(order)
    for position, draft in enumerate(order):
        task = draft.task
        groups = {reference.value for reference in draft.people[TaskRole.POTENTIAL_OWNER]}
        excluded = {r.value for r in draft.people.get(TaskRole.EXCLUDED_OWNER, ())}
        if task.kind != Kind.MANUAL:
            _stand(task, chance.choice(_BY_ENGINES), None, chance)
        elif held < plan.held_by_bob and "bob" not in excluded and groups & {"noc", "bob"}:
            _stand(task, State.RESERVED, users["bob"], chance)
            held += 1
        elif free < plan.free_for_noc and "noc" in groups:
            _stand(task, State.READY, None, chance)
            free += 1
        else:
            able = [name for name in _workers(groups) if name not in {"bob", *excluded}]
            state = _ELSEWHERE[position % len(_ELSEWHERE)]
            _stand(task, state, users[chance.choice(able)] if able else None, chance)
            if task.state in ACTIVE and chance.random() < 0.1:
                task.on_hold = True
                if chance.random() < 0.5:
                    task.wakeup_at = timezone.now() + timedelta(days=chance.randint(1, 5))


def _workers(groups: set[str]) -> list[str]:
    return [p.name for p in CAST if p.name in groups or set(p.groups) & groups]


def _stand(task: Task, state: State, owner: User | None, chance: random.Random) -> None:
    """Put a task into a state, with the holder and the times that go with it."""
    if state in HELD and owner is None:
        state = State.READY
    task.state = state
    later = task.created_at + timedelta(minutes=90)
    if state in HELD or (state in ENDED and task.kind == Kind.MANUAL):
        task.owner = owner
        task.claimed_at = later if owner else None
    if state is State.CREATED:
        task.activated_at, task.starter = None, None
    if state not in ENDED and task.due_at is not None:
        # Most open work is still in time, whenever it came.
        task.due_at = timezone.now() + timedelta(hours=chance.randint(-60, 500))
    if state in ENDED:
        task.ended_at = task.updated_at = later + timedelta(minutes=45)
    if state is State.COMPLETED and task.output_schema:
        task.output = dict.fromkeys(task.output_schema["required"], "yes")
    if state is State.FAILED:
        task.fault_name, task.fault = "rejected", {"why": "the window was withdrawn"}
