"""The closure that triggers keep equals a plain model, whatever changes and whoever at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import EffectiveMembership, Group, GroupNesting, Membership, User

Row = tuple[str, str, bool]


def kept() -> set[Row]:
    """What the triggers keep, by names."""
    return set(EffectiveMembership.objects.values_list("user__username", "group__name", "lead"))


def expected() -> set[Row]:
    """What follows from accounts, groups, memberships and nestings."""
    people = [user.username for user in User.objects.filter(is_active=True)]
    groups = {group.name for group in Group.objects.filter(is_active=True)}
    nested = [
        (child, parent)
        for child, parent in GroupNesting.objects.values_list("child__name", "parent__name")
        if child in groups and parent in groups
    ]

    def closure(start: str, step: Callable[[str], list[str]]) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += step(name)
        return found

    rows = {(person, "everybody", False) for person in people}
    for person, group, lead in Membership.objects.values_list(
        "user__username", "group__name", "lead"
    ):
        if person in people and group in groups:
            above = closure(group, lambda name: [p for c, p in nested if c == name])
            rows |= {(person, name, False) for name in above}
            if lead:
                below = closure(group, lambda name: [c for c, p in nested if p == name])
                rows |= {(person, name, True) for name in below}
    return rows


@pytest.fixture
def world(db: None) -> tuple[list[User], list[Group]]:
    users = [User.objects.create(username=f"u{n}") for n in range(4)]
    return users, [Group.objects.create(name=f"g{n}") for n in range(5)]


def some(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, count - 1)


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("join"), some(4), some(5), st.booleans()),
        st.tuples(st.just("leave"), some(4), some(5)),
        st.tuples(st.just("nest"), some(5), some(5)),
        st.tuples(st.just("unnest"), some(5), some(5)),
        st.tuples(st.just("move"), some(5), some(5)),
        st.tuples(st.just("account"), some(4), st.booleans()),
        st.tuples(st.just("group"), some(5), st.booleans()),
        st.tuples(st.just("accounts"), st.booleans()),
        st.tuples(st.just("groups"), st.booleans()),
        st.tuples(st.just("delete account"), some(4)),
        st.tuples(st.just("delete group"), some(5)),
        st.tuples(st.just("empty"), some(5)),
    ),
    max_size=14,
)


def change(users: list[User], groups: list[Group], act: tuple[Any, ...]) -> None:
    """Do one change; what the constraints refuse changes nothing."""
    match act:
        case ("join", user, group, lead):
            Membership.objects.update_or_create(
                user=users[user], group=groups[group], defaults={"lead": lead}
            )
        case ("leave", user, group):
            Membership.objects.filter(user=users[user], group=groups[group]).delete()
        case ("nest", child, parent):
            GroupNesting.objects.create(child=groups[child], parent=groups[parent])
        case ("unnest", child, parent):
            GroupNesting.objects.filter(child=groups[child], parent=groups[parent]).delete()
        case ("move", old, new):
            GroupNesting.objects.filter(parent=groups[old]).update(parent=groups[new])
        case ("account", user, active):
            User.objects.filter(pk=users[user].pk).update(is_active=active)
        case ("group", group, active):
            Group.objects.filter(pk=groups[group].pk).update(is_active=active)
        case ("accounts", active):
            User.objects.update(is_active=active)
        case ("groups", active):
            Group.objects.filter(is_builtin=False).update(is_active=active)
        case ("delete account", user):
            User.objects.filter(pk=users[user].pk).delete()
        case ("delete group", group):
            Group.objects.filter(pk=groups[group].pk).delete()
        case ("empty", group):
            Membership.objects.filter(group=groups[group]).delete()


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(acts=CHANGES)
def test_whatever_changes_the_rows_are_those_of_the_plain_model(
    world: tuple[list[User], list[Group]], acts: list[tuple[Any, ...]]
) -> None:
    users, groups = world
    with rolled_back():
        for act in acts:
            try:
                with transaction.atomic():
                    change(users, groups, act)
                    connection.check_constraints()
            except IntegrityError:
                pass  # a cycle, a pair twice, or somebody deleted before: refused as a whole
            assert kept() == expected(), act


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def member(user: User, group: Group, *, lead: bool = False) -> Membership:
    return Membership.objects.create(user=user, group=group, lead=lead)


def test_membership_passes_up_and_lead_passes_down(
    world: tuple[list[User], list[Group]],
) -> None:
    (one, two, *_), (top, middle, bottom, *_) = world
    GroupNesting.objects.create(child=bottom, parent=middle)
    GroupNesting.objects.create(child=middle, parent=top)
    member(one, middle, lead=True)
    member(two, bottom)
    assert kept() - {row for row in kept() if row[1] == "everybody"} == {
        ("u0", "g1", False),
        ("u0", "g0", False),
        ("u0", "g1", True),
        ("u0", "g2", True),
        ("u1", "g2", False),
        ("u1", "g1", False),
        ("u1", "g0", False),
    }


def test_an_inactive_group_neither_grants_nor_passes_on(
    world: tuple[list[User], list[Group]],
) -> None:
    (one, *_), (top, middle, bottom, *_) = world
    GroupNesting.objects.create(child=bottom, parent=middle)
    GroupNesting.objects.create(child=middle, parent=top)
    member(one, bottom)
    Group.objects.filter(pk=middle.pk).update(is_active=False)
    assert ("u0", "g2", False) in kept()
    assert not {("u0", "g1", False), ("u0", "g0", False)} & kept()


def test_cycles_are_refused_with_a_clear_error(world: tuple[list[User], list[Group]]) -> None:
    _, (a, b, c, *_) = world
    GroupNesting.objects.create(child=a, parent=b)
    GroupNesting.objects.create(child=b, parent=c)
    with pytest.raises(IntegrityError, match="would lie within itself"), transaction.atomic():
        GroupNesting.objects.create(child=c, parent=a)
    with pytest.raises(IntegrityError, match="would lie within itself"), transaction.atomic():
        GroupNesting.objects.bulk_create(
            [GroupNesting(child=c, parent=world[1][3]), GroupNesting(child=world[1][3], parent=a)]
        )


def test_the_builtin_group_stays_as_it_is(world: tuple[list[User], list[Group]]) -> None:
    (one, *_), (a, *_) = world
    everybody = Group.objects.get(is_builtin=True)
    assert everybody.name == "everybody"
    refused: list[Callable[[], Any]] = [
        lambda: Group.objects.filter(pk=everybody.pk).update(name="nobody"),
        lambda: Group.objects.filter(pk=everybody.pk).update(is_builtin=False),
        lambda: Group.objects.filter(pk=everybody.pk).update(is_active=False),
        lambda: Group.objects.filter(pk=a.pk).update(is_builtin=True),
        lambda: Group.objects.create(name="second", is_builtin=True),
        lambda: everybody.delete(),
        lambda: member(one, everybody),
        lambda: GroupNesting.objects.create(child=everybody, parent=a),
        lambda: GroupNesting.objects.create(child=a, parent=everybody),
    ]
    for attempt in refused:
        with pytest.raises(IntegrityError), transaction.atomic():
            attempt()
    Group.objects.filter(pk=everybody.pk).update(description="All of us.")


@pytest.mark.parametrize("model", [User, Group])
@pytest.mark.parametrize(
    "wrong", ["00000000aaaaaaaaaaaaaaaa", "ABCDEF123456789012345678", "123", "g" * 24]
)
def test_the_database_checks_imported_ids(db: None, model: Any, wrong: str) -> None:
    name = {"username": "x"} if model is User else {"name": "x"}
    with pytest.raises(IntegrityError, match="legacy_id"), transaction.atomic():
        model.objects.create(**name, legacy_id=wrong)
    model.objects.create(**name, legacy_id="5f" * 12)


def advisory_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        )
        found: int = cursor.fetchone()[0]
    return found


def test_a_log_in_updates_the_account_without_the_lock(committed: None) -> None:
    user = User.objects.create(username="u")
    group = Group.objects.create(name="g")
    with transaction.atomic():
        user.last_login = timezone.now()
        user.save(update_fields=["last_login"])
        User.objects.filter(pk=user.pk).update(first_name="U")
        Group.objects.filter(pk=group.pk).update(description="changed")
        assert advisory_locks() == 0
        User.objects.filter(pk=user.pk).update(is_active=False)
        assert advisory_locks() == 1


def test_older_snapshots_may_not_change_memberships(committed: None) -> None:
    user = User.objects.create(username="u")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read")
        with pytest.raises(DatabaseError, match="read committed"):
            User.objects.filter(pk=user.pk).update(is_active=False)
        transaction.set_rollback(True)


def test_only_what_differs_is_written(world: tuple[list[User], list[Group]]) -> None:
    (one, two, *_), (a, *_) = world
    member(one, a)

    def xmin() -> dict[Row, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select u.username, e.group_id, e.lead, e.ctid::text "
                "from accounts_effectivemembership e join accounts_user u on u.id = e.user_id"
            )
            return {row[:3]: row[3] for row in cursor.fetchall()}

    before = xmin()
    member(two, a)
    after = xmin()
    assert before.items() <= after.items()


def in_threads(*acts: Callable[[], None]) -> list[BaseException]:
    """Run all at once, each on a connection of its own; the errors that came out."""
    start = threading.Barrier(len(acts))
    errors: list[BaseException] = []

    def run(act: Callable[[], None]) -> None:
        try:
            start.wait()
            act()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_simultaneous_changes_leave_the_right_rows(committed: None) -> None:
    users = [User.objects.create(username=f"u{n}") for n in range(6)]
    groups = [Group.objects.create(name=f"g{n}") for n in range(4)]
    for lower, upper in pairwise(groups):
        GroupNesting.objects.create(child=lower, parent=upper)

    def joining() -> None:
        for user in users:
            member(user, groups[0], lead=user.username == "u3")

    def switching() -> None:
        for n in range(12):
            Group.objects.filter(pk=groups[1].pk).update(is_active=n % 2 == 1)

    def leaving() -> None:
        for user in users[:3]:
            with transaction.atomic():
                User.objects.filter(pk=user.pk).update(is_active=False)

    def nesting() -> None:
        for _ in range(6):
            GroupNesting.objects.filter(child=groups[2]).delete()
            GroupNesting.objects.create(child=groups[2], parent=groups[3])

    assert in_threads(joining, switching, leaving, nesting) == []
    assert kept() == expected()


def test_deleting_beside_joining_makes_no_deadlock(committed: None) -> None:
    """The lock comes before the rows: the joiner's foreign keys are checked when it commits."""
    for _ in range(8):
        user = User.objects.create(username="leaver")
        groups = [Group.objects.create(name=f"g{n}") for n in range(3)]

        def joining(user: User = user, groups: list[Group] = groups) -> None:
            try:
                with transaction.atomic():
                    for group in groups:
                        member(user, group)
            except IntegrityError:
                pass  # the account was gone first

        def deleting(user: User = user) -> None:
            User.objects.filter(pk=user.pk).delete()

        errors = in_threads(joining, deleting)
        # Joined after the look-around of the deletion: the foreign key then keeps the account.
        assert all(isinstance(error, IntegrityError) for error in errors), errors
        assert kept() == expected()
        User.objects.all().delete()
        Group.objects.filter(is_builtin=False).delete()


def test_joining_in_opposite_order_makes_no_deadlock(committed: None) -> None:
    for _ in range(8):
        one, two = (User.objects.create(username=name) for name in ("one", "two"))
        group = Group.objects.create(name="g")

        def joining(*people: User, group: Group = group) -> None:
            try:
                with transaction.atomic():
                    for person in people:
                        member(person, group)
            except IntegrityError:
                pass  # the other was first

        assert in_threads(lambda: joining(one, two), lambda: joining(two, one)) == []  # noqa: B023
        assert kept() == expected()
        User.objects.all().delete()
        Group.objects.filter(is_builtin=False).delete()


def test_deleting_an_account_or_group_leaves_no_row(world: tuple[list[User], list[Group]]) -> None:
    (one, two, *_), (a, b, *_) = world
    GroupNesting.objects.create(child=a, parent=b)
    member(one, a, lead=True)
    member(two, a)
    one.delete()
    assert not EffectiveMembership.objects.filter(user__username="u0").exists()
    a.delete()
    assert kept() == {(f"u{n}", "everybody", False) for n in (1, 2, 3)}
    connection.check_constraints()


def test_a_membership_change_is_one_statement_of_ours(
    world: tuple[list[User], list[Group]],
) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        Membership.objects.bulk_create(
            [Membership(user=user, group=world[1][0]) for user in world[0]]
        )
    assert len(queries) == 1
