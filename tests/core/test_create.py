"""Creating and importing tasks: the defaults of people, automatic claims, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from datetime import timezone as zone
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Group, GroupNesting, Membership, User
from tasks import events
from tasks.actions import Draft, create, import_
from tasks.errors import CallError, InvalidArgument
from tasks.lifecycle import ENDED, HELD, Kind, State
from tasks.models import AuditEvent, Channel, Job, OutboxEvent, Task
from tasks.people import Reference, group, user
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import GroupFactory, JobFactory, call_by, make_in, make_task, make_tasks

from .record import assert_copies_right, deactivate, holders, nothing_changes, values_of

PO, AD, XO = TaskRole.POTENTIAL_OWNER, TaskRole.ADMINISTRATOR, TaskRole.EXCLUDED_OWNER


def new(by: User, people: Any = None, *, waiting: bool = False, **fields: Any) -> Task:
    """A task made in one call."""
    draft = Draft(Task(**{"name": "Replace router", **fields}), people or {})
    return create([draft], call=call_by(by), waiting=waiting)[0]


def refused(by: User, people: Any = None, **fields: Any) -> CallError:
    """The reason why a task is not made; asserts that nothing is."""
    with nothing_changes(), pytest.raises(CallError) as caught:
        new(by, people, **fields)
    return caught.value


# --- What a new task is ---------------------------------------------------------------------------


def test_a_new_task_is_ready_and_on_record(cast: Cast) -> None:
    made = new(cast.carol, {PO: [user("bob"), group("noc")]}, priority=0, input={"a": 1})
    stored = Task.objects.get(pk=made.pk)
    assert values_of(made) == values_of(stored)
    assert (stored.state, stored.version, stored.owner_id) == ("ready", 1, None)
    assert stored.originator_id == stored.starter_id == cast.carol.pk
    event = AuditEvent.objects.get(task_id=made.pk)
    assert (event.version, event.event, event.actor) == (1, "created", "carol")
    assert bytes(event.previous_hash) == events.GENESIS
    assert bytes(event.hash) == bytes(stored.head)
    assert stored.created_at == stored.activated_at == stored.updated_at == event.at
    assert event.before == {}
    assert event.after["state"] == "ready"
    assert event.after["priority"] == 0
    assert event.after["input"] == {"a": 1}
    assert event.after["originator"] == "carol"
    assert event.after["people"] == {
        "potential_owner": [{"user": "bob"}, {"group": "noc"}],
        "administrator": [{"user": "carol"}],
    }
    assert OutboxEvent.objects.get().event == event
    assert list(events.verify()) == []
    assert_copies_right(stored)


def test_a_waiting_task_is_created_and_nobodys(cast: Cast) -> None:
    task = new(cast.carol, {PO: [user("bob")]}, waiting=True, automatic_claim=True)
    stored = Task.objects.get(pk=task.pk)
    assert (stored.state, stored.starter_id, stored.activated_at) == ("created", None, None)
    assert stored.owner_id is None
    assert_copies_right(stored)


def test_without_potential_owners_everybody_may_work_on_it(cast: Cast) -> None:
    assert holders(new(cast.carol), PO) == [{"group": "everybody"}]
    assert holders(new(cast.carol, {PO: []}), PO) == [{"group": "everybody"}]
    assert holders(new(cast.carol, {PO: [user("bob")]}), PO) == [{"user": "bob"}]


def test_without_administrators_the_originator_is_one(cast: Cast) -> None:
    assert holders(new(cast.carol), AD) == [{"user": "carol"}]
    assert holders(new(cast.carol, {AD: [group("noc")]}), AD) == [{"group": "noc"}]


def test_people_named_twice_hold_one_row(cast: Cast) -> None:
    twice = [user("bob"), user("bob"), user(str(cast.bob.pk), by="pk"), group("noc"), group("noc")]
    assert holders(new(cast.carol, {PO: twice}), PO) == [{"user": "bob"}, {"group": "noc"}]


def test_secrets_are_masked_in_the_record(cast: Cast) -> None:
    task = new(
        cast.carol,
        input={"login": {"user": "me", "password": "hunter2"}},
        secret_pointers=["/input/login/password"],
    )
    event = AuditEvent.objects.get(task_id=task.pk)
    assert event.after["input"] == {"login": {"user": "me", "password": "******"}}
    assert Task.objects.get(pk=task.pk).input["login"]["password"] == "hunter2"


def test_many_are_made_in_one_call_with_one_operation(cast: Cast) -> None:
    tasks = make_tasks(50, cast.carol, [cast.noc])
    assert len({task.pk for task in tasks}) == 50
    assert AuditEvent.objects.values("operation_id").distinct().count() == 1
    assert AuditEvent.objects.count() == OutboxEvent.objects.count() == 50
    assert list(events.verify()) == []


# --- Automatic claim ------------------------------------------------------------------------------


def automatically(cast: Cast, people: dict[TaskRole, list[Reference]], **fields: Any) -> str | None:
    """Who owns a task that asks for automatic claim from the start."""
    task = new(cast.carol, people, automatic_claim=True, **fields)
    stored = Task.objects.get(pk=task.pk)
    event = AuditEvent.objects.get(task_id=task.pk)
    assert (stored.state == "reserved") == (stored.owner is not None)
    assert stored.claimed_at == (event.at if stored.owner else None)
    assert event.after.get("owner") == stored.owner_name
    assert_copies_right(stored)
    return stored.owner_name


def test_exactly_one_potential_owner_has_it_from_the_start(cast: Cast) -> None:
    assert automatically(cast, {PO: [user("bob")]}) == "bob"
    assert automatically(cast, {PO: [user("bob"), user("bob")]}) == "bob"


def test_several_a_group_or_nobody_named_have_not(cast: Cast) -> None:
    alone = GroupFactory(name="alone")
    Membership.objects.create(user=cast.frank, group=alone)
    assert automatically(cast, {PO: [user("bob"), user("alice")]}) is None
    assert automatically(cast, {PO: [group("alone")]}) is None
    assert automatically(cast, {PO: [user("bob"), group("noc")]}) is None
    assert automatically(cast, {}) is None


def test_only_those_who_ask_for_it_are_claimed(cast: Cast) -> None:
    assert new(cast.carol, {PO: [user("bob")]}).owner is None


def test_an_excluded_owner_does_not_get_it_automatically(cast: Cast) -> None:
    GroupNesting.objects.create(child=cast.noc, parent=cast.field)
    for excluded in (user("bob"), group("noc"), group("field"), group("everybody")):
        assert automatically(cast, {PO: [user("bob")], XO: [excluded]}) is None
    assert automatically(cast, {PO: [user("bob")], XO: [user("alice")]}) == "bob"


def test_tasks_of_engines_are_not_claimed(cast: Cast) -> None:
    assert automatically(cast, {PO: [user("bob")]}, kind=Kind.AUTOMATIC) is None


# --- Jobs -----------------------------------------------------------------------------------------


def test_tasks_of_a_job_are_numbered_within_it(cast: Cast) -> None:
    job, other = JobFactory(), JobFactory()
    new(cast.carol, job=job, short_id="2")
    ids = [task.short_id for task in make_tasks(10, cast.carol, job=job)]
    assert ids == ["1", "3", "4", "5", "6", "7", "8", "9", "a", "b"]
    assert new(cast.carol, job=other).short_id == "1"
    assert new(cast.carol).short_id is None


def test_a_short_id_is_taken_once_in_a_job(cast: Cast) -> None:
    job = JobFactory()
    new(cast.carol, job=job, short_id="ab")
    error = refused(cast.carol, job=job, short_id="ab")
    assert (error.code, error.params["field"]) == ("invalid_argument", "short_id")
    new(cast.carol, job=JobFactory(), short_id="ab")


def test_a_full_job_takes_no_more(cast: Cast) -> None:
    job: Job = JobFactory()
    columns = [column.column for column in Task._meta.concrete_fields]
    values = {"id": "gen_random_uuid()", "job_id": "%s", "short_id": "to_hex(n)"}
    with connection.cursor() as cursor:
        cursor.execute(
            f"insert into tasks_task ({', '.join(columns)}) "
            f"select {', '.join(values.get(column, column) for column in columns)} "
            "from tasks_task, generate_series(1, 65535) n where id = %s and n <> 2748",
            [job.pk, new(cast.carol).pk],
        )
    assert new(cast.carol, job=job).short_id == f"{2748:x}"
    with pytest.raises(CallError) as caught:
        new(cast.carol, job=job)
    assert caught.value.params["field"] == "job"


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alice", "erin", "svc_reader"])
def test_who_may_not_create_creates_nothing(cast: Cast, name: str) -> None:
    error = refused(getattr(cast, name), {PO: [user("zoe")]}, name="")
    assert error.code == "not_permitted"
    assert error.text == "You are not permitted to create tasks."


def test_an_inactive_account_creates_nothing(cast: Cast) -> None:
    assert refused(deactivate(cast.carol)).code == "not_permitted"


def test_an_external_id_is_taken_once_in_its_source(cast: Cast) -> None:
    new(cast.carol, source="iap", external_id="1")
    error = refused(cast.carol, source="iap", external_id="1")
    assert error.code == "external_id_taken"
    assert error.params == {"source": "iap", "external_id": "1"}
    new(cast.carol, source="other", external_id="1")


def test_of_many_the_external_id_that_is_taken_is_named(cast: Cast) -> None:
    new(cast.carol, source="iap", external_id="b, or (c)")
    drafts = [
        Draft(Task(name="x", source="iap", external_id=name)) for name in ("a", "b, or (c)", "d")
    ]
    with nothing_changes(), pytest.raises(CallError) as caught:
        create(drafts, call=call_by(cast.carol))
    assert caught.value.params == {"source": "iap", "external_id": "b, or (c)"}


def test_an_id_is_taken_once(cast: Cast) -> None:
    task = new(cast.carol)
    error = refused(cast.carol, pk=task.pk)
    assert (error.code, error.params["field"]) == ("invalid_argument", "id")


@pytest.mark.parametrize("priority", [-1, 11, 99])
def test_priorities_outside_the_scale_are_refused(cast: Cast, priority: int) -> None:
    error = refused(cast.carol, priority=priority)
    assert (error.code, error.params["field"]) == ("invalid_argument", "priority")


@pytest.mark.parametrize("priority", [0, 10])
def test_the_ends_of_the_scale_are_allowed(cast: Cast, priority: int) -> None:
    assert new(cast.carol, priority=priority).priority == priority


@pytest.mark.parametrize("name", ["", "   ", "\n"])
def test_a_task_has_a_name(cast: Cast, name: str) -> None:
    assert refused(cast.carol, name=name).params["field"] == "name"


def test_people_must_be_there_active_and_in_a_role_that_is_granted(cast: Cast) -> None:
    deactivate(cast.frank)
    codes = {
        "unknown_user": (PO, user("zoe")),
        "unknown_group": (PO, group("zoo")),
        "target_inactive": (AD, user("frank")),
        "target_empty": (XO, group("change-board")),
        "unknown_role": (TaskRole.OWNER, user("bob")),
    }
    for code, (role, reference) in codes.items():
        assert refused(cast.carol, {role: [reference]}).code == code


def test_one_bad_draft_makes_none(cast: Cast) -> None:
    drafts = [Draft(Task(name="x")), Draft(Task(name="y", priority=11))]
    with nothing_changes(), pytest.raises(InvalidArgument):
        create(drafts, call=call_by(cast.carol))


def test_what_only_the_database_refuses_is_raised_as_it_is(cast: Cast) -> None:
    with pytest.raises(IntegrityError) as caught:
        new(cast.carol, wakeup_at=timezone.now())
    assert "task_wakeup_needs_hold" in str(caught.value)
    assert caught.value.__cause__ is not caught.value


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\u202eb", "a\x00b", "\ufeff", " "])
def test_a_name_holds_nothing_that_nobody_sees(cast: Cast, name: str) -> None:
    with nothing_changes(), pytest.raises(InvalidArgument, match="name"):
        new(cast.carol, name=name)


@pytest.mark.parametrize("name", ["<b>Router</b>", "=1+1", "Straße 7 · 東京", "שלום"])
def test_a_name_may_hold_anything_else(cast: Cast, name: str) -> None:
    new(cast.carol, name=name)
    assert Task.objects.get().name == name


# --- Import ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(State))
def test_any_state_is_imported_with_one_event(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD | ENDED else None
    due = datetime(2030, 1, 1, tzinfo=UTC)
    task = make_in(state, cast.carol, cast.noc, owner=owner, due_at=due, imported={"x": 1})
    stored = Task.objects.get(pk=task.pk)
    event = AuditEvent.objects.get(task_id=task.pk)
    assert (stored.state, stored.version, stored.owner) == (state, 1, owner)
    assert (event.event, event.version, event.before) == ("imported", 1, {})
    assert event.after["state"] == state
    assert event.after.get("owner") == (owner.username if owner else None)
    assert event.after["due_at"] == due.isoformat()
    assert stored.imported == {"x": 1}
    assert list(events.verify()) == []
    assert_copies_right(stored)


def test_leavers_and_empty_groups_are_imported(cast: Cast) -> None:
    deactivate(cast.frank)
    task = make_in(State.READY, cast.carol, cast.frank, cast.change_board)
    assert holders(task, PO) == [{"user": "frank"}, {"group": "change-board"}]


@pytest.mark.parametrize("channel", [c for c in Channel if c != Channel.COMMAND])
def test_only_commands_import(cast: Cast, channel: Channel) -> None:
    with nothing_changes(), pytest.raises(CallError) as caught:
        import_([Draft(Task(name="x"))], call=call_by(cast.dave, channel))
    assert caught.value.code == "not_permitted"


def test_everybody_holds_active_accounts_only(cast: Cast) -> None:
    """The group that the default names follows accounts by itself."""
    task = make_task(cast.carol)
    everybody = Group.objects.get(name="everybody")
    assert cast.frank in [
        one for one in User.objects.all() if everybody.pk in one.effective_group_ids()
    ]
    assert Task.objects.available_to(cast.frank).filter(pk=task.pk).exists()
    deactivate(cast.frank)
    assert everybody.pk not in cast.frank.effective_group_ids()
    assert not Task.objects.available_to(cast.frank).exists()


# --- Round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 200])
def test_one_or_many_tasks_are_made_by_one_statement(committed_cast: Cast, count: int) -> None:
    cast = committed_cast
    make_tasks(1, cast.carol)  # what is looked up once a process is known from here on
    with CaptureQueriesContext(connection) as captured:
        make_tasks(count, cast.carol)
    sent = [" ".join(query["sql"].split()[:2]).lower() for query in captured]
    everybody = [text for text in sent if text.startswith("select ")]
    assert len(everybody) == 2, sent  # the clock, and the group everybody
    assert [text for text in sent if text not in everybody] == ["begin", "with input", "commit"]


def test_texts_and_times_are_stored_as_they_are_given(cast: Cast) -> None:
    """Whatever the array of a column is made of: quotes, braces, the word null, nothing."""
    at = datetime(2030, 2, 28, 23, 59, 59, 999_999, tzinfo=zone(timedelta(hours=5, minutes=30)))
    texts = ['a "b" \\ c', "{x,y}", "NULL", "null", " , ", "", "Überprüfung 🛠", "line\nbreak\t'"]
    data = [{"a": text, "b": [None, 1.5, 2**60, True]} for text in texts]
    drafts = [
        Draft(Task(name="n", description=text, input=value, due_at=at if number % 2 else None))
        for number, (text, value) in enumerate(zip(texts, data, strict=True))
    ]
    made = create(drafts, call=call_by(cast.carol))
    for number, (task, text, value) in enumerate(zip(made, texts, data, strict=True)):
        stored = Task.objects.get(pk=task.pk)
        assert (stored.description, stored.input) == (text, value)
        assert stored.due_at == (at if number % 2 else None)
        assert stored.output is None
        assert stored.custom_properties == {}
        assert_copies_right(stored)
    assert list(events.verify(made)) == []
