"""One fixed cast of people for all tests, and real commits for those that need them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from django.contrib.auth.hashers import make_password
from django.db import DEFAULT_DB_ALIAS, connection
from django.test.utils import setup_databases, teardown_databases

from accounts.models import Group, Membership, Role, User

from .factories import GroupFactory

TALLY = "tally: "


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: the proofs run as long as `./run prove` has them run, not as the suite does."""
    parser.addoption("--long", action="store_true", help="the long form of the proofs")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form of a proof is asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Count something that was tried: `tally("kills of a session", 12)`; the sums are printed."""

    def count(what: str, number: int) -> None:
        record_property(f"{TALLY}{what}", number)

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted, summed over all tests and processes."""
    sums: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, number in getattr(report, "user_properties", ()):
                if name.startswith(TALLY) and getattr(report, "when", "") == "call":
                    sums[name.removeprefix(TALLY)] += number
    if sums:
        terminalreporter.section("what was tried")
        for what, number in sorted(sums.items()):
            terminalreporter.write_line(f"{number:>10,}  {what}")


@dataclass(frozen=True)
class Cast:
    """The people of the demo; who holds which role and sits in which group never changes."""

    alice: User
    bob: User
    carol: User
    dave: User
    erin: User
    frank: User
    svc_integration: User
    svc_reader: User
    root: User
    noc: Group
    field: Group
    change_board: Group


SYSTEM_ROLES = {
    "alice": "operations",
    "bob": "operations",
    "carol": "engineering",
    "dave": "admin",
    "erin": "viewer",
    "frank": "operations",
    "svc-integration": "apiwrite",
    "svc-reader": "apiread",
}


def assemble() -> Cast:
    """Write the cast to the database, in few statements, since almost every test needs it."""
    groups = {name: GroupFactory(name=name) for name in ("noc", "field", "change-board")}
    users = {
        user.username: user
        for user in User.objects.bulk_create(
            User(username=name, password=make_password(f"{name}-demo"), is_superuser=name == "root")
            for name in (*SYSTEM_ROLES, "root")
        )
    }
    roles = {role.name: role for role in Role.objects.filter(provenance="OperationsManager")}
    through = User.roles.through
    through.objects.bulk_create(
        through(user=users[name], role=roles[role]) for name, role in SYSTEM_ROLES.items()
    )
    Membership.objects.bulk_create(
        [
            Membership(user=users["alice"], group=groups["noc"], lead=True),
            Membership(user=users["bob"], group=groups["noc"]),
            Membership(user=users["carol"], group=groups["field"]),
        ]
    )
    people = {name.replace("-", "_"): one for name, one in {**users, **groups}.items()}
    return Cast(**people)


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_blocker: pytest.FixtureRequest,
    django_db_keepdb: bool,
    django_db_createdb: bool,
    django_db_modify_db_settings: None,
) -> Iterator[None]:
    """The test database, also when only tests that commit are run.

    pytest-django makes it for tests that ask for `db` alone; the others would meet the real one.
    """
    verbosity = request.config.option.verbose
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        made = setup_databases(
            verbosity=verbosity,
            interactive=False,
            aliases={DEFAULT_DB_ALIAS},
            serialized_aliases=set(),
            keepdb=django_db_keepdb and not django_db_createdb,
        )
    yield
    if not django_db_keepdb:
        with django_db_blocker.unblock():  # type: ignore[attr-defined]
            teardown_databases(made, verbosity=verbosity)


@pytest.fixture
def cast(db: None) -> Cast:
    """The cast, in a transaction that is rolled back after the test."""
    return assemble()


def sweep() -> None:
    """Remove all accounts, groups and tasks that were committed; roles and permissions stay."""
    with connection.cursor() as cursor:
        # As a replica, so that neither the append-only triggers nor foreign keys stand in the way.
        cursor.execute("set session_replication_role = replica")
        cursor.execute(
            "truncate tasks_task, tasks_job, tasks_auditevent, tasks_outboxevent, accounts_user, "
            "accounts_accountevent, tasks_bulkoperation, tasks_tombstone, axes_accessattempt, "
            "django_session, tasks_idempotencykey, tasks_auditseal, tasks_workerheartbeat cascade"
        )
        for table, key in (
            ("accounts_groupnesting", "child_id"),
            ("accounts_group_roles", "group_id"),
            ("accounts_group", "group_ptr_id"),
            ("auth_group", "id"),
        ):
            cursor.execute(
                f"delete from {table} where {key} not in "
                "(select group_ptr_id from accounts_group where is_builtin)"
            )
        cursor.execute("set session_replication_role = default")


@pytest.fixture
def committed(
    django_db_setup: None,
    django_db_blocker: pytest.FixtureRequest,
    request: pytest.FixtureRequest,
) -> Iterator[None]:
    """A database in which the test and its threads really commit; swept clean afterwards.

    Unlike Django's flush it leaves permissions and roles alone, which is also much faster.
    """
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        try:
            yield
        finally:
            sweep()


@pytest.fixture
def committed_cast(committed: None) -> Cast:
    """The cast, committed."""
    return assemble()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed one: it would promise what nobody has seen."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("Tests were skipped, which counts as a failure in CI.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
