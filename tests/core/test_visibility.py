"""Listed, readable, has_perm and the roles themselves say one thing, for any grants at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import sql
from accounts.models import Group, GroupNesting, Membership, Role, User
from accounts.scopes import Scope
from tasks import lists, reading, work_items
from tasks.errors import NotAuthorized, TaskNotFound
from tasks.lifecycle import ENDED, HELD, Kind, State
from tasks.models import Task
from tasks.querysets import TaskQuerySet, roles_everywhere
from tasks.roles import GRANTED, TaskRole
from tests.factories import GroupFactory, UserFactory

PEOPLE = ("ann", "ben", "cleo", "sue")
"""Sue is a superuser."""
GROUPS = ("one", "two", "three", "everybody")
TASKS = ("first", "second")
EVERYWHERE = {
    "viewer": {TaskRole.READER},
    "operations": set(),
    "apiwrite": {TaskRole.ADMINISTRATOR},
    "admin": {TaskRole.ADMINISTRATOR, TaskRole.READER},
}
"""The task roles that some system roles give on every task; apiwrite does not grant viewing."""


@dataclass(frozen=True)
class Grant:
    """A role on a task, held by a user or group by name."""

    task: str
    role: TaskRole
    holder: str


@dataclass(frozen=True)
class Sheet:
    """What a task is, as far as lists look at it; people by name."""

    state: State
    kind: Kind
    on_hold: bool
    owner: str | None
    originator: str | None
    starter: str | None


@dataclass(frozen=True)
class World:
    """Accounts, groups and tasks, and how they hang together."""

    active: frozenset[str]
    system_roles: dict[str, str | None]
    memberships: dict[tuple[str, str], bool]
    nestings: frozenset[tuple[str, str]]
    grants: frozenset[Grant]
    sheets: dict[str, Sheet] = field(default_factory=dict)
    scopes: dict[str, frozenset[str]] = field(default_factory=dict)
    """The groups that a person's token is limited to, for those who come with one."""

    # The rules, in plain Python and without the database.

    def groups_of(self, person: str) -> set[str]:
        """The groups a person is a member of in the end."""
        if person not in self.active:
            return set()
        reached = {
            group for (who, group) in self.memberships if who == person and group in self.active
        }
        while True:
            above = {p for c, p in self.nestings if c in reached and p in self.active} - reached
            if not above:
                return reached | {"everybody"}
            reached |= above

    def led_by(self, person: str) -> set[str]:
        """The groups a person leads in the end."""
        if person not in self.active:
            return set()
        reached = {
            group
            for (who, group), lead in self.memberships.items()
            if who == person and lead and group in self.active
        }
        while True:
            below = {c for c, p in self.nestings if p in reached and c in self.active} - reached
            if not below:
                return reached
            reached |= below

    def in_scope(self, person: str, task: str) -> bool:
        """Whether a task exists for the token that a person comes with."""
        return person not in self.scopes or any(
            Grant(task, TaskRole.POTENTIAL_OWNER, group) in self.grants
            for group in self.scopes[person]
        )

    def roles(self, person: str, task: str) -> set[TaskRole]:
        """Everything a person is to a task."""
        if person not in self.active or not self.in_scope(person, task):
            return set()
        sheet = self.sheets[task]
        held = {
            grant.role
            for grant in self.grants
            if grant.task == task
            and (grant.holder == person or grant.holder in self.groups_of(person))
        }
        if any(
            grant.task == task
            and grant.role is TaskRole.POTENTIAL_OWNER
            and grant.holder in self.led_by(person)
            for grant in self.grants
        ):
            held.add(TaskRole.ADMINISTRATOR)
        for role in (TaskRole.OWNER, TaskRole.ORIGINATOR, TaskRole.STARTER):
            if getattr(sheet, role) == person:
                held.add(role)
        if person == "sue":
            held.add(TaskRole.ADMINISTRATOR)
        else:
            held |= EVERYWHERE.get(self.system_roles[person] or "", set())
        return held

    def views(self, person: str) -> bool:
        """Whether a person may view tasks at all."""
        return person in self.active and (
            person == "sue" or self.system_roles[person] in ("viewer", "operations", "admin")
        )

    def available(self, person: str, task: str) -> bool:
        """Whether a task is in the worklist of a person."""
        sheet, held = self.sheets[task], self.roles(person, task)
        return (
            (sheet.state, sheet.kind, sheet.on_hold) == (State.READY, Kind.MANUAL, False)
            and TaskRole.POTENTIAL_OWNER in held
            and TaskRole.EXCLUDED_OWNER not in held
        )


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    """A task that the database would take."""
    state = draw(st.sampled_from([*[State.READY] * 10, *State]))
    kind = Kind.MANUAL if state in HELD else draw(st.sampled_from([*[Kind.MANUAL] * 5, *Kind]))
    somebody = st.sampled_from(PEOPLE)
    anybody = st.none() | somebody
    owners = somebody if state in HELD else anybody if state in ENDED else st.none()
    return Sheet(
        state=state,
        kind=kind,
        on_hold=state in HELD | {State.READY} and draw(st.booleans()),
        owner=draw(owners),
        originator=draw(anybody),
        starter=draw(anybody),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Few people and groups, so that their ways cross."""
    inactive = draw(st.sets(st.sampled_from([*PEOPLE, *GROUPS[:3]]), max_size=2))
    below_above = [(GROUPS[i], GROUPS[j]) for i in range(3) for j in range(i + 1, 3)]
    often = (TaskRole.POTENTIAL_OWNER, TaskRole.EXCLUDED_OWNER)
    grants = st.builds(
        Grant,
        task=st.sampled_from(TASKS),
        role=st.sampled_from([*often, *often, *often, *GRANTED]),
        holder=st.sampled_from([*PEOPLE, *GROUPS]),
    )
    return World(
        active=frozenset({*PEOPLE, *GROUPS} - inactive),
        system_roles={
            one: draw(st.none() | st.sampled_from(["operations", *EVERYWHERE])) for one in PEOPLE
        },
        memberships=draw(
            st.dictionaries(
                st.tuples(st.sampled_from(PEOPLE), st.sampled_from(GROUPS[:3])),
                st.booleans(),
                max_size=5,
            )
        ),
        nestings=frozenset(draw(st.sets(st.sampled_from(below_above), max_size=3))),
        grants=frozenset(draw(st.sets(grants, min_size=2, max_size=10))),
        sheets={name: draw(sheets()) for name in TASKS},
        scopes=draw(
            st.dictionaries(
                st.sampled_from(PEOPLE), st.frozensets(st.sampled_from(GROUPS)), max_size=1
            )
        ),
    )


def build(world: World) -> tuple[dict[str, User], dict[str, Task]]:
    """The world in the database, where people and groups stand already; fresh objects."""
    users = {one.username: one for one in User.objects.all()}
    groups = {one.name: one for one in Group.objects.all()}
    roles = {role.name: role for role in Role.objects.all()}
    User.objects.filter(username__in=set(PEOPLE) - world.active).update(is_active=False)
    Group.objects.filter(name__in=set(GROUPS) - world.active).update(is_active=False)
    through = User.roles.through
    through.objects.bulk_create(
        through(user=users[name], role=roles[role])
        for name, role in world.system_roles.items()
        if role
    )
    Membership.objects.bulk_create(
        Membership(user=users[who], group=groups[group], lead=lead)
        for (who, group), lead in world.memberships.items()
    )
    GroupNesting.objects.bulk_create(
        GroupNesting(child=groups[child], parent=groups[parent]) for child, parent in world.nestings
    )
    tasks = {
        name: Task(
            name=name,
            head=b"",
            state=sheet.state,
            kind=sheet.kind,
            on_hold=sheet.on_hold,
            ended_at=timezone.now() if sheet.state in ENDED else None,
            due_at=timezone.now() - timedelta(days=1) if name == TASKS[0] else None,
            **{
                role: users[person] if (person := getattr(sheet, role)) else None
                for role in ("owner", "originator", "starter")
            },
        )
        for name, sheet in world.sheets.items()
    }
    Task.objects.bulk_create(tasks.values())
    rows: dict[str, dict[TaskRole, tuple[list[User], list[Group]]]] = {name: {} for name in TASKS}
    for grant in world.grants:
        some_users, some_groups = rows[grant.task].setdefault(grant.role, ([], []))
        if grant.holder in users:
            some_users.append(users[grant.holder])
        else:
            some_groups.append(groups[grant.holder])
    write([(task, rows[name]) for name, task in tasks.items()])
    people = {one.username: one for one in User.objects.all()}
    for person, names_of_groups in world.scopes.items():
        people[person].scope = Scope(groups=frozenset(groups[one].pk for one in names_of_groups))
    return people, tasks


def write(people_of: Sequence[tuple[Task, work_items.People]]) -> None:
    """The role rows of tasks that stand already, as creation writes them."""
    sql.run(f"with {', '.join(work_items.INSERTED)} select", work_items.insertion(people_of))


def answer(user: User, task: Task) -> str:
    """What asking for one task comes to."""
    try:
        assert reading.find(task.pk, user) == task
    except (TaskNotFound, NotAuthorized) as error:
        return error.code
    return "found"


@pytest.fixture
def people(db: None) -> None:
    """The accounts and groups of every world."""
    for name in PEOPLE:
        UserFactory(username=name, is_superuser=name == "sue")
    for name in GROUPS[:3]:
        GroupFactory(name=name)


@pytest.mark.usefixtures("people")
def test_every_way_to_ask_says_the_same() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=45, deadline=None, suppress_health_check=list(HealthCheck))
    @given(world=worlds(), person=st.sampled_from(PEOPLE), name=st.sampled_from(TASKS))
    def holds(world: World, person: str, name: str) -> None:
        savepoint = transaction.savepoint()
        try:
            agree(world, person, name, seen)
        finally:
            transaction.savepoint_rollback(savepoint)

    holds()
    # Not by accident: both answers to each question have come up.
    assert seen["walked"]
    for question in ("visible", "available", "excluded", "in scope"):
        assert seen[f"{question} True"]
        assert seen[f"{question} False"]
    assert {"found", "task_not_found", "not_authorized"} <= seen.keys()


def agree(world: World, person: str, name: str, seen: Counter[str]) -> None:
    """Compare all ways to ask about everybody and everything in a world.

    Walks are for one account, and `has_perm`, which asks the database each time, for one task.
    """
    users, tasks = build(world)
    for who, user in users.items():
        expected = {task: world.roles(who, task) for task in TASKS}
        visible = {task for task in TASKS if expected[task] - {TaskRole.EXCLUDED_OWNER}}
        available = {task for task in TASKS if world.available(who, task)}
        assert {t: set(work_items.roles_of(user, tasks[t])) for t in TASKS} == expected
        assert set(names(Task.objects.visible_to(user))) == visible
        assert sorted(names(Task.objects.available_to(user))) == sorted(available)
        for task in TASKS:
            found = "found" if world.views(who) else "not_authorized"
            said = answer(user, tasks[task])
            assert said == (found if task in visible else "task_not_found")
            seen[said] += 1
            seen[f"visible {task in visible}"] += 1
            seen[f"in scope {world.in_scope(who, task)}"] += 1
            seen[f"available {task in available}"] += 1
            seen[f"excluded {TaskRole.EXCLUDED_OWNER in expected[task]}"] += 1
        held = {t for t in TASKS if world.sheets[t].owner == who and world.sheets[t].state in HELD}
        assert set(names(Task.objects.held_by(user))) == held
    further = name == TASKS[0]  # not in every world: they take their time
    for view, tasks_of_view in walked(users[person], views=further).items():
        compare(view, users[person], tasks_of_view, others=further)
        seen["walked"] += tasks_of_view.count()
    wanted = world.roles(person, name)
    asked = {role for role in TaskRole if users[person].has_perm(f"tasks.{role}", tasks[name])}
    assert asked == wanted
    assert users[person].get_all_permissions(tasks[name]) == {f"tasks.{r}" for r in wanted}


def walked(user: User, *, views: bool) -> dict[lists.View, TaskQuerySet]:
    """The lists that can be walked, and what `querysets` says they have.

    `views` are those of parts of what one sees.
    """
    everything = Task.objects.in_scope_of(user)
    if not user.is_active:  # who cannot ask
        return {}
    found = {
        lists.AVAILABLE: everything.available_to(user),
        lists.TEAM: everything.of_teams_of(user),
        lists.MINE: everything.held_by(user),
    }
    if not roles_everywhere(user):  # or a queryset does as well
        seen = everything.visible_to(user)
        found[lists.VISIBLE] = seen
    if views and lists.VISIBLE in found:
        found |= {
            lists.OVERDUE: seen.overdue(),
            lists.ON_HOLD: seen.on_hold(),
            lists.FINISHED: seen.finished(),
        }
    return found


def compare(view: lists.View, user: User, tasks: TaskQuerySet, *, others: bool) -> None:
    """Walk a list whole, page by page and with filters, and compare it with the queryset.

    And in `others` ways: with a test of each task, and by sifting all there are.
    """
    by_priority = view in (lists.AVAILABLE, lists.TEAM, lists.MINE)
    order = lists.ORDERS["priority" if by_priority else "-created_at"]
    expected = sorted(tasks, key=order.place, reverse=order.descending)
    walk = lists.Walk(view, user)
    assert [row.pk for row in walk.page(order, None, 10)] == [task.pk for task in expected]
    assert walk.count(10) == len(expected)
    if view in (lists.OVERDUE, lists.ON_HOLD, lists.FINISHED):
        return  # they are walked as what one sees
    for row, task in zip(walk.page(order, None, 1), expected, strict=False):
        onwards = lists.Place(order.place(row), False)
        assert [r.pk for r in walk.page(order, onwards, 10)] == [t.pk for t in expected[1:]]
        assert (row.name, row.state, row.owner_name) == (task.name, task.state, task.owner_name)
    for states in ({State.READY}, {State.READY, State.COMPLETED}):
        in_states = lists.Walk(view, user, frozenset(states), unowned=True)
        wanted = [t.pk for t in expected if t.state in states and t.owner_id is None]
        assert [row.pk for row in in_states.page(order, None, 10)] == wanted
        assert in_states.count(10) == len(wanted)
        if not others or len(states) > 1 or view in (lists.TEAM, lists.MINE):
            continue
        asked = Task.objects.filter(state__in=sorted(states), owner=None)
        among = lists.Walk(view, user, among=lists.test(asked))
        sifted = lists.Sifted([t.pk for t in Task.objects.all()], lists.test(tasks & asked))
        for way in (among, sifted):
            assert [row.pk for row in way.page(order, None, 10)] == wanted
            assert way.count(10) == len(wanted)


def names(tasks: object) -> list[str]:
    return list(tasks.values_list("name", flat=True))  # type: ignore[attr-defined]


@pytest.mark.usefixtures("people")
def test_the_property_notices_a_list_that_forgets_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: one way to ask that knows one role less is found out."""
    world = World(
        active=frozenset({*PEOPLE, *GROUPS}),
        system_roles=dict.fromkeys(PEOPLE),
        memberships={("ann", "two"): True},
        nestings=frozenset({("one", "two")}),
        grants=frozenset({Grant("first", TaskRole.POTENTIAL_OWNER, "one")}),
        sheets={t: Sheet(State.READY, Kind.MANUAL, False, None, None, None) for t in TASKS},
    )
    assert world.roles("ann", "first") == {TaskRole.ADMINISTRATOR}
    savepoint = transaction.savepoint()
    agree(world, "ann", "first", Counter())
    transaction.savepoint_rollback(savepoint)
    rows = type(Task.objects.all())._group_rows

    def forgetful(self: object, user: User, *roles: TaskRole, lead: bool = False, **more: object):
        return rows(self, user, *roles, **more)

    monkeypatch.setattr(type(Task.objects.all()), "_group_rows", forgetful)
    with pytest.raises(AssertionError):
        agree(world, "ann", "first", Counter())


@pytest.mark.usefixtures("people")
def test_nobody_holds_anything_on_another_kind_of_object() -> None:
    sue, ann = User.objects.get(username="sue"), User.objects.get(username="ann")
    for user in (sue, ann):
        assert not user.has_perm("tasks.administrator", ann)
        assert user.get_all_permissions(ann) == set()


@pytest.mark.usefixtures("people")
def test_a_task_that_is_gone_is_nobodys() -> None:
    sue = User.objects.get(username="sue")
    assert not sue.has_perm("tasks.administrator", Task(name="x"))
    with pytest.raises(TaskNotFound):
        reading.find(Task().pk, sue)


@pytest.mark.usefixtures("people")
def test_given_to_means_a_row_of_ones_own() -> None:
    ann, one = User.objects.get(username="ann"), Group.objects.get(name="one")
    Membership.objects.create(user=ann, group=one)
    now = timezone.now()
    mine, ours, ended = (
        Task.objects.create(name=name, head=b"", state=state, ended_at=at)
        for name, state, at in (
            ("mine", State.READY, None),
            ("ours", State.READY, None),
            ("ended", State.EXITED, now),
        )
    )
    role = TaskRole.POTENTIAL_OWNER
    rows = [(mine, ([ann], [])), (ours, ([], [one])), (ended, ([ann], [one]))]
    write([(task, {role: holders}) for task, holders in rows])
    assert set(names(Task.objects.given_to("user", ann.pk, role))) == {"mine", "ended"}
    assert set(names(Task.objects.given_to("group", one.pk, role))) == {"ours", "ended"}
    assert names(Task.objects.given_to("user", ann.pk, role, open_only=True)) == ["mine"]
    assert names(Task.objects.given_to("user", ann.pk, TaskRole.READER)) == []


# --- Secrets when reading -------------------------------------------------------------------------


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("roles", "sees"),
    [
        ([TaskRole.POTENTIAL_OWNER], True),
        ([TaskRole.EDITOR], True),
        ([TaskRole.ADMINISTRATOR], True),
        ([TaskRole.READER], False),
        ([TaskRole.STAKEHOLDER], False),
        ([TaskRole.ESCALATION_RECEIVER], False),
        ([TaskRole.POTENTIAL_OWNER, TaskRole.EXCLUDED_OWNER], False),
        ([TaskRole.EDITOR, TaskRole.EXCLUDED_OWNER], False),
    ],
)
def test_secrets_are_for_those_who_may_work_the_task(roles: list[TaskRole], sees: bool) -> None:
    ann = User.objects.get(username="ann")
    task = Task.objects.create(
        name="x", head=b"", input={"key": "hunter2"}, secret_pointers=["/input/key"]
    )
    write([(task, {role: ([ann], []) for role in roles})])
    read = reading.read(task, ann)
    assert read.input == {"key": "hunter2" if sees else "******"}
    (listed,) = reading.read_all([task])
    assert listed.input == {"key": "******"}
