"""What the database holds by itself: constraints of tasks, and the copies in role rows."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from tasks.actions import ACTIONS
from tasks.lifecycle import ENDED, HELD, State
from tasks.models import AuditEvent, OutboxEvent, Task, TaskGroupRole, TaskUserRole
from tasks.roles import TaskRole
from tasks.work_items import differing_rows
from tests.conftest import Cast
from tests.factories import JobFactory, call_by, make_in, make_task, make_tasks

from .cases import CASES
from .record import assert_copies_right

REFUSED: dict[str, list[str]] = {
    "task_state_is_known": ["state = 'bored'", "state = ''"],
    "task_kind_is_known": ["kind = 'magic'", "kind = ''"],
    "task_owner_fits_state": [
        "owner_id = %(user)s",
        "owner_id = %(user)s, state = 'created'",
        "state = 'reserved'",
        "state = 'in_progress'",
    ],
    "task_held_is_manual": [
        "kind = 'automatic', state = 'reserved', owner_id = %(user)s",
        "kind = 'operation', state = 'in_progress', owner_id = %(user)s",
    ],
    "task_on_hold_is_active": [
        "on_hold = true, state = 'created'",
        "on_hold = true, state = 'completed', ended_at = now()",
        "on_hold = true, state = 'expired', ended_at = now()",
    ],
    "task_wakeup_needs_hold": ["wakeup_at = now()"],
    "task_end_has_time": ["ended_at = now()", *(f"state = '{state}'" for state in sorted(ENDED))],
    "task_priority_in_range": ["priority = -1", "priority = 11"],
    "task_version_from_1": ["version = 0"],
    "task_external_id_has_source": ["source = 'iap'", "external_id = '1'"],
    "task_short_id_has_job": ["short_id = '1'"],
    "task_not_its_own_parent": ["parent_id = id"],
    "task_external_id": ["source = 'taken', external_id = 'taken'"],
    "task_short_id_in_job": ["job_id = %(job)s, short_id = 'f'"],
}
"""What each constraint refuses of a ready task that is nobody's."""

ALLOWED = [
    "state = 'created'",
    "state = 'reserved', owner_id = %(user)s",
    "state = 'in_progress', owner_id = %(user)s, on_hold = true, wakeup_at = now()",
    "on_hold = true",
    "kind = 'automatic'",
    "priority = 0",
    "priority = 10",
    "source = 'iap', external_id = '1'",
    "source = 'taken', external_id = 'other'",
    "job_id = %(job)s",
    "job_id = %(job)s, short_id = 'e'",
    *(f"state = '{state}', ended_at = now()" for state in sorted(ENDED)),
    *(f"state = '{state}', ended_at = now(), owner_id = %(user)s" for state in sorted(ENDED)),
]
"""The other side of each: what must go through."""


def update(task: Task, cast: Cast, changes: str, job: int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        values = {"task": task.pk, "user": cast.bob.pk, "job": job}
        cursor.execute(f"update tasks_task set {changes} where id = %(task)s", values)


def test_the_list_below_names_every_constraint_of_a_task() -> None:
    declared = {constraint.name for constraint in Task._meta.constraints}
    assert declared == REFUSED.keys()


def test_constraints_refuse_what_no_task_may_be(cast: Cast, subtests: pytest.Subtests) -> None:
    task, job = make_task(cast.carol, cast.noc), JobFactory()
    make_task(cast.carol, source="taken", external_id="taken")
    make_task(cast.carol, job=job, short_id="f")
    for constraint, examples in REFUSED.items():
        for changes in examples:
            with subtests.test(changes):
                with pytest.raises(IntegrityError) as caught:
                    update(task, cast, changes, job.pk)
                name = caught.value.__cause__.diag.constraint_name  # type: ignore[union-attr]
                # An unknown state breaks those about states too, and the first is named.
                others = {"task_end_has_time"} if constraint == "task_state_is_known" else set()
                assert name in {constraint} | others
    assert Task.objects.get(pk=task.pk).version == 1


def test_constraints_allow_what_a_task_may_be(cast: Cast, subtests: pytest.Subtests) -> None:
    job = JobFactory()
    make_task(cast.carol, source="taken", external_id="taken")
    make_task(cast.carol, job=job, short_id="f")
    for changes in ALLOWED:
        with subtests.test(changes):
            task = make_task(cast.carol, cast.noc)
            savepoint = transaction.savepoint()
            update(task, cast, changes, job.pk)
            transaction.savepoint_rollback(savepoint)


@pytest.mark.parametrize("table", [TaskUserRole, TaskGroupRole])
def test_a_role_row_stands_once(cast: Cast, table: Any) -> None:
    make_task(cast.carol, cast.bob, cast.noc)
    row = table.objects.first()
    row.pk = None
    with pytest.raises(IntegrityError, match="role_once"), transaction.atomic():
        row.save()


def test_an_event_has_one_outbox_row(cast: Cast) -> None:
    make_task(cast.carol)
    event = AuditEvent.objects.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        OutboxEvent.objects.create(event=event)


def test_people_with_tasks_and_roles_are_not_removed(cast: Cast) -> None:
    make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    for table, column, pk in (
        ("accounts_user", "id", cast.bob.pk),
        ("accounts_user", "id", cast.carol.pk),
        ("accounts_group", "group_ptr_id", cast.noc.pk),
    ):
        with (
            pytest.raises(IntegrityError, match="foreign key"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            remove(cursor, table, column, pk)


def remove(cursor: Any, table: str, column: str, pk: int) -> None:
    """Delete an account or group and what of it is not about tasks."""
    for what in ("effectivemembership", "membership"):
        cursor.execute(f"delete from accounts_{what} where true")
    cursor.execute(f"delete from {table} where {column} = %s", [pk])
    cursor.execute("set constraints all immediate")


# --- The copies in role rows ----------------------------------------------------------------------


def test_every_operation_leaves_right_copies_in_all_rows(
    cast: Cast, subtests: pytest.Subtests
) -> None:
    """In user and group rows, of those it touches and of those it does not, on hold or not."""
    due = datetime(2030, 5, 6, 7, tzinfo=UTC)
    for case in CASES:
        states = {state for rule in case.operation.rules for state in rule.sources}
        for state in sorted(states & (HELD | {State.READY})) or [case.state]:
            with subtests.test(f"{case} from {state}"):
                task = case.task(
                    cast,
                    state,
                    priority=2,
                    due_at=due,
                    people_of={TaskRole.STAKEHOLDER: [cast.erin, cast.field]}
                    if case.role is not TaskRole.STAKEHOLDER
                    else {TaskRole.READER: [cast.erin, cast.field]},
                )
                call = call_by(case.actor(cast))
                case.act([task.pk], call=call, **case.arguments(cast)).one()
                assert_copies_right(*Task.objects.filter(pk=task.pk))
    assert list(differing_rows()) == []


def test_a_bulk_of_many_states_leaves_right_copies(cast: Cast) -> None:
    tasks = [
        make_in(state, cast.carol, cast.noc, owner=owner, priority=number)
        for number, (state, owner) in enumerate(
            [
                (State.READY, None),
                (State.RESERVED, cast.bob),
                (State.IN_PROGRESS, cast.alice),
                (State.COMPLETED, cast.bob),
            ]
        )
    ]
    ids = [task.pk for task in tasks]
    for name in ("release", "claim", "finish"):
        assert ACTIONS[name](ids, call=call_by(cast.dave, bulk=True)).done
        assert_copies_right(*Task.objects.all())
    assert list(differing_rows()) == []


def test_a_task_without_a_due_date_sorts_last(cast: Cast) -> None:
    make_task(cast.carol, cast.noc)
    soon = datetime(2030, 1, 1, tzinfo=UTC)
    make_task(cast.carol, cast.noc, due_at=soon)
    rows = TaskGroupRole.objects.filter(group=cast.noc).order_by("due")
    assert [row.due.year for row in rows] == [2030, 9999]


COPIES = {
    "open": (False, True),
    "ready": (False, True),
    "priority": (9, 5),
    "due": (datetime(2030, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)),
}


@pytest.mark.parametrize("column", COPIES)
@pytest.mark.parametrize("table", [TaskUserRole, TaskGroupRole])
def test_a_row_that_differs_is_listed(cast: Cast, table: Any, column: str) -> None:
    task, _ = make_tasks(2, cast.carol, [cast.bob, cast.noc])
    copy, wanted = COPIES[column]
    potential = {"content_object": task, "permission__codename": "potential_owner"}
    assert table.objects.filter(**potential).update(**{column: copy}) == 1
    (row,) = differing_rows()
    assert (row.task_id, row.role) == (task.pk, TaskRole.POTENTIAL_OWNER)
    assert row.holder == ("bob" if table is TaskUserRole else "noc")
    assert row.differences == {column: (copy, wanted)}


@pytest.mark.parametrize(
    ("changes", "columns"),
    [
        ("priority = 0", {"priority"}),
        ("due_at = '2031-01-01Z'", {"due"}),
        ("on_hold = true", {"ready"}),
        ("kind = 'automatic'", {"ready"}),
        ("state = 'created'", {"ready"}),
        ("state = 'exited', ended_at = now()", {"ready", "open"}),
    ],
)
def test_a_task_that_changed_alone_is_noticed(cast: Cast, changes: str, columns: set[str]) -> None:
    """Negative control of the copies: what does not go through the core shows."""
    task = make_task(cast.carol, cast.noc)
    update(task, cast, changes, 0)
    rows = list(differing_rows())
    assert len(rows) == 2  # the group's and the administrator's
    assert all(row.differences.keys() == columns for row in rows)
    with pytest.raises(AssertionError):
        assert_copies_right(Task.objects.get(pk=task.pk))


def check_role_rows() -> tuple[int, str]:
    """Exit code and output of the command."""
    out = StringIO()
    try:
        call_command("check_role_rows", stdout=out)
    except SystemExit as stopped:
        return int(stopped.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_the_command_lists_rows_that_differ(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    assert check_role_rows() == (0, "Role rows that differ from their task: 0.\n")
    TaskGroupRole.objects.update(priority=1, open=False)
    code, said = check_role_rows()
    assert code == 1
    assert said.splitlines() == [
        f"{task.pk} potential_owner noc: open is False instead of True, priority is 1 instead of 5",
        "Role rows that differ from their task: 1.",
    ]
