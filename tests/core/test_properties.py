"""What a task says and carries: properties one by one and together, comments, files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError

from accounts.models import Role, User
from tasks import events
from tasks.actions import ACTIONS
from tasks.errors import FileTooLarge, InvalidArgument
from tasks.lifecycle import HELD, OPEN, State
from tasks.models import Attachment, AuditEvent, Comment, Task, TaskGroupRole
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task, make_tasks

from .cases import NEW
from .record import assert_copies_right, done, nothing_changes, refusal_of

update, set_priority = ACTIONS["update"], ACTIONS["set_priority"]
comment, attach, remove = ACTIONS["comment"], ACTIONS["attach"], ACTIONS["remove"]

SOON = datetime(2040, 1, 1, tzinfo=UTC)


def shown(value: Any) -> Any:
    """A value as the audit writes it."""
    return value.isoformat() if isinstance(value, datetime) else value


# --- Update ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEW)
def test_a_property_is_changed_and_the_audit_has_both_values(cast: Cast, name: str) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    before = getattr(task, name)
    stored, event = done(update, task, call_by(cast.carol), values={name: NEW[name]})
    assert getattr(stored, name) == NEW[name]
    assert event.event == "updated"
    assert (event.before, event.after) == ({name: before}, {name: shown(NEW[name])})
    others = {one for one in NEW if one != name}
    assert {one: getattr(stored, one) for one in others} == {
        one: getattr(task, one) for one in others
    }


def test_all_at_once_are_one_change(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    stored, event = done(update, task, call_by(cast.carol), values=NEW)
    assert {name: getattr(stored, name) for name in NEW} == NEW
    assert event.after == {name: shown(value) for name, value in NEW.items()}


def test_the_audit_names_what_differs_and_no_more(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, priority=2)
    values = {"priority": 2, "name": "Replace switch"}
    _, event = done(update, task, call_by(cast.carol), values=values)
    assert event.after == {"name": "Replace switch"}


def test_a_value_is_taken_away(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, due_at=SOON)
    stored, event = done(update, task, call_by(cast.carol), values={"due_at": None})
    assert stored.due_at is None
    assert (event.before, event.after) == ({"due_at": SOON.isoformat()}, {"due_at": None})


@pytest.mark.parametrize(
    ("who", "may", "may_not"),
    [
        ("owner", "name", "expires_at"),
        ("editor", "due_at", "priority"),
        ("starter", "priority", "claim_while_on_hold"),
        ("originator", "expires_at", None),
    ],
)
def test_several_at_once_are_changed_all_or_none(
    cast: Cast, who: str, may: str, may_not: str | None
) -> None:
    gina = cast.frank
    gina.roles.set(Role.objects.filter(name="engineering"))
    gina = User.objects.get(pk=gina.pk)
    fields = {who: gina} if who != "editor" else {"people_of": {TaskRole.EDITOR: [gina]}}
    task = make_in(
        State.RESERVED,
        **{
            "originator": cast.carol,
            "owner": cast.bob,
            **fields,
            "people_of": {TaskRole.ADMINISTRATOR: [cast.carol], **fields.get("people_of", {})},
        },
    )
    both = {may: NEW[may], **({may_not: NEW[may_not]} if may_not else {"input": {}})}
    expected = "not_authorized" if may_not else "invalid_task_state"
    assert refusal_of(update, task, call_by(gina), values=both).code == expected
    done(update, task, call_by(gina), values={may: NEW[may]})


@pytest.mark.parametrize("state", sorted(State))
def test_one_property_that_the_state_fixes_fixes_all_of_the_call(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, owner=owner)
    values = {"name": "x", "due_at": SOON}
    if state in OPEN:
        done(update, task, call_by(cast.carol), values=values)
    else:
        error = refusal_of(update, task, call_by(cast.carol), values=values)
        assert error.code == "invalid_task_state"
        done(update, task, call_by(cast.carol), values={"name": "x"})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "values"),
        ({"state": "completed"}, "state"),
        ({"owner": 1, "name": "x"}, "owner"),
        ({"version": 7}, "version"),
        ({"secret_pointers": []}, "secret_pointers"),
        ({"on_hold": True}, "on_hold"),
        ({"name": ""}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": None}, "name"),
        ({"description": None}, "description"),
        ({"description": "x" * 65_537}, "description"),
        ({"priority": 11}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": None}, "priority"),
        ({"skippable": None}, "skippable"),
        ({"due_at": "tomorrow"}, "due_at"),
        ({"output_schema": {"type": "nonsense"}}, "output_schema"),
        ({"output_schema": {"$ref": "http://127.0.0.1/x"}}, "output_schema"),
    ],
)
def test_what_cannot_be_is_refused_by_name(cast: Cast, values: Any, field: str) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        update([task.pk], call=call_by(cast.carol), values=values)
    assert caught.value.params["field"] == field


def test_a_bulk_call_writes_no_large_data(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    for name in ("input", "custom_properties"):
        values = {name: {"x": "x" * 65_537}}
        with nothing_changes(), pytest.raises(InvalidArgument) as caught:
            update([task.pk], call=call_by(cast.carol, bulk=True), values=values)
        assert caught.value.params["field"] == name


@pytest.mark.parametrize("state", [State.READY, State.IN_PROGRESS, State.COMPLETED])
def test_priority_and_due_date_are_copied_to_the_role_rows(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, cast.frank, owner=owner)
    if state in OPEN:
        stored, _ = done(update, task, call_by(cast.carol), values={"priority": 1, "due_at": SOON})
        row = TaskGroupRole.objects.filter(content_object=stored).first()
        assert row is not None
        assert (row.priority, row.due) == (1, SOON)
        stored, _ = done(update, stored, call_by(cast.carol), values={"due_at": None})
        assert_copies_right(stored)
    other, _ = done(update, Task.objects.get(pk=task.pk), call_by(cast.carol), values={"name": "x"})
    assert_copies_right(other)


def test_the_worklist_goes_by_the_new_priority(cast: Cast) -> None:
    first, second = make_tasks(2, cast.carol, [cast.noc])
    done(set_priority, second, call_by(cast.carol), priority=0)
    rows = TaskGroupRole.objects.filter(group=cast.noc, ready=True).order_by("priority", "due")
    assert [row.content_object_id for row in rows] == [second.pk, first.pk]


def test_secrets_of_the_input_are_masked_in_the_audit_alone(cast: Cast) -> None:
    task = make_task(
        cast.carol,
        cast.noc,
        waiting=True,
        input={"key": "old hunter2", "router": 1},
        secret_pointers=["/input/key"],
    )
    new = {"key": "new hunter2", "router": 2}
    stored, event = done(update, task, call_by(cast.carol), values={"input": new})
    assert stored.input == new
    assert event.before == {"input": {"key": "******", "router": 1}}
    assert event.after == {"input": {"key": "******", "router": 2}}


def test_a_task_that_is_on_hold_is_updated_too(cast: Cast) -> None:
    task = make_in(State.READY, cast.carol, cast.noc, on_hold=True)
    stored, _ = done(update, task, call_by(cast.carol), values={"priority": 1})
    assert stored.on_hold


# --- Set priority ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(OPEN))
def test_the_priority_is_set(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, owner=owner, priority=7)
    stored, event = done(set_priority, task, call_by(cast.carol), priority=0)
    assert stored.priority == 0
    assert event.event == "priority_set"
    assert (event.before, event.after) == ({"priority": 7}, {"priority": 0})


@pytest.mark.parametrize("priority", [-1, 11, 10**9])
def test_there_is_no_other_priority(cast: Cast, priority: int) -> None:
    task = make_task(cast.carol, cast.noc)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        set_priority([task.pk], call=call_by(cast.carol), priority=priority)
    assert caught.value.params["field"] == "priority"
    error = refusal_of(set_priority, task, call_by(cast.bob), priority=priority)
    assert error.code == "not_authorized"


# --- Comments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(State))
def test_a_comment_is_kept_and_told(cast: Cast, state: State) -> None:
    owner = cast.bob if state in HELD else None
    task = make_in(state, cast.carol, cast.noc, owner=owner)
    stored, event = done(comment, task, call_by(cast.bob), text="The spare part is late. <b>")
    (kept,) = Comment.objects.all()
    assert (kept.task_id, kept.author, kept.text) == (
        task.pk,
        "bob",
        "The spare part is late. <b>",
    )
    assert kept.at == event.at
    assert (event.event, event.after) == ("commented", {"comment": kept.text})
    assert stored.state == state


def test_stakeholders_comment_and_readers_do_not(cast: Cast) -> None:
    people = {TaskRole.STAKEHOLDER: [cast.frank], TaskRole.READER: [cast.alice]}
    task = make_in(State.READY, cast.carol, cast.field, people_of=people)
    done(comment, task, call_by(cast.frank), text="x")
    assert refusal_of(comment, task, call_by(cast.alice), text="x").code == "not_authorized"


@pytest.mark.parametrize("text", ["", " \n", "x" * 65_537])
def test_a_comment_says_something_of_bounded_length(cast: Cast, text: str) -> None:
    task = make_task(cast.carol, cast.noc)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        comment([task.pk], call=call_by(cast.bob), text=text)
    assert caught.value.params["field"] == "text"


def test_one_comment_for_many_is_a_row_each(cast: Cast) -> None:
    tasks = make_tasks(3, cast.carol, [cast.noc])
    hidden = make_task(cast.carol, cast.field)
    ids = [task.pk for task in (*tasks, hidden)]
    comment(ids, call=call_by(cast.bob, bulk=True), text="x")
    assert set(Comment.objects.values_list("task", flat=True)) == set(ids[:3])


# --- Files ----------------------------------------------------------------------------------------

PLAN = b"Turn it off and on again."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """Where files are kept in these tests."""
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def plan() -> dict[str, Any]:
    return {"name": "plan.txt", "content": ContentFile(PLAN), "content_type": "text/plain"}


def test_a_file_is_kept_on_disk_and_its_facts_in_the_audit(cast: Cast, folder: Path) -> None:
    task = make_task(cast.carol, cast.noc)
    _, event = done(attach, task, call_by(cast.bob), **plan())
    (kept,) = Attachment.objects.all()
    assert (kept.task_id, kept.author, kept.at) == (task.pk, "bob", event.at)
    assert files(folder) == [kept.file.name]
    assert kept.file.read() == PLAN
    kept.file.close()
    assert event.event == "attached"
    assert event.after == {
        "attachment": {
            "name": "plan.txt",
            "content_type": "text/plain",
            "size": len(PLAN),
            "sha256": kept.sha256,
        }
    }


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "a\\b", ".."])
def test_the_name_of_the_sender_is_no_path(cast: Cast, folder: Path, name: str) -> None:
    task = make_task(cast.carol, cast.noc)
    with nothing_changes(), pytest.raises(InvalidArgument, match="path"):
        attach([task.pk], call=call_by(cast.bob), name=name, content=ContentFile(PLAN))
    assert files(folder) == []


def test_many_share_one_copy_and_it_goes_with_the_last(cast: Cast, folder: Path) -> None:
    tasks = make_tasks(3, cast.carol, [cast.noc], waiting=True)
    ids = [task.pk for task in tasks]
    assert len(attach(ids, call=call_by(cast.carol, bulk=True), **plan()).done) == 3
    assert Attachment.objects.count() == 3
    assert len(files(folder)) == 1
    remove(ids[:2], call=call_by(cast.dave, bulk=True))
    assert (Attachment.objects.count(), len(files(folder))) == (1, 1)
    remove(ids[2:], call=call_by(cast.dave, bulk=True))
    assert (Attachment.objects.count(), files(folder)) == (0, [])


def test_removal_deletes_the_files_of_subtasks_too_and_no_others(cast: Cast, folder: Path) -> None:
    parent = make_in(State.COMPLETED, cast.carol, cast.noc)
    child = make_in(State.CREATED, cast.carol, cast.noc, parent=parent)
    other = make_task(cast.carol, cast.noc)
    for task in (parent, child, other):
        attach([task.pk], call=call_by(cast.carol), **plan()).one()
    remove([parent.pk], call=call_by(cast.dave, dry_run=True))
    assert len(files(folder)) == 3
    remove([parent.pk], call=call_by(cast.dave)).one()
    assert files(folder) == [Attachment.objects.get().file.name]
    assert AuditEvent.objects.filter(event="attached").count() == 3


def test_no_file_is_written_for_nobody(cast: Cast, folder: Path) -> None:
    task = make_task(cast.carol, cast.noc)
    assert refusal_of(attach, task, call_by(cast.erin), **plan()).code == "not_authorized"
    assert refusal_of(attach, task, call_by(cast.frank), **plan()).code == "task_not_found"
    attach([task.pk], call=call_by(cast.bob, dry_run=True), **plan())
    assert files(folder) == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"content_type": "x" * 256}, "content_type"),
    ],
)
def test_a_file_has_a_name_and_a_bounded_type(
    cast: Cast, folder: Path, given: dict[str, Any], field: str
) -> None:
    task = make_task(cast.carol, cast.noc)
    with nothing_changes(), pytest.raises(InvalidArgument) as caught:
        attach([task.pk], call=call_by(cast.bob), **{**plan(), **given})
    assert caught.value.params["field"] == field
    assert files(folder) == []


def test_a_file_is_not_too_large(cast: Cast, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(cast.carol, cast.noc)
    monkeypatch.setattr("tasks.actions.properties.LARGEST_FILE", len(PLAN) - 1)
    with nothing_changes(), pytest.raises(FileTooLarge):
        attach([task.pk], call=call_by(cast.bob), **plan())
    assert files(folder) == []


def test_a_file_whose_rows_are_rolled_back_is_taken_back(
    committed_cast: Cast, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(committed_cast.carol, committed_cast.noc)
    monkeypatch.setattr(events, "RECORD", events.RECORD.replace("i.hash", "null"))
    with nothing_changes(), pytest.raises(DatabaseError):
        attach([task.pk], call=call_by(committed_cast.bob), **plan())
    assert files(folder) == []
    monkeypatch.undo()
    attach([task.pk], call=call_by(committed_cast.bob), **plan()).one()
    assert len(files(folder)) == 1


def test_a_file_that_was_read_before_is_kept_whole(cast: Cast, folder: Path) -> None:
    content = ContentFile(PLAN)
    content.read()
    task = make_task(cast.carol, cast.noc)
    attach([task.pk], call=call_by(cast.bob), name="plan.txt", content=content).one()
    kept = Attachment.objects.get()
    assert (folder / kept.file.name).read_bytes() == PLAN
    assert kept.size == len(PLAN)
    assert kept.sha256 == hashlib.sha256(PLAN).hexdigest()


def test_every_unit_of_a_large_call_keeps_the_whole_file(
    cast: Cast, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.actions.units.UNIT", 2)
    ids = [task.pk for task in make_tasks(3, cast.carol, [cast.noc])]
    attach(ids, call=call_by(cast.bob, bulk=True), **plan())
    assert len(files(folder)) == 2, "a copy for each unit"
    digests = set(Attachment.objects.values_list("sha256", flat=True))
    assert digests == {hashlib.sha256(PLAN).hexdigest()}
    assert [(folder / name).read_bytes() for name in files(folder)] == [PLAN, PLAN]


def test_comments_and_files_go_with_the_task_and_its_history_stays(
    cast: Cast, folder: Path
) -> None:
    task = make_in(State.COMPLETED, cast.carol, cast.noc)
    comment([task.pk], call=call_by(cast.bob), text="x").one()
    attach([task.pk], call=call_by(cast.bob), **plan()).one()
    remove([task.pk], call=call_by(cast.dave)).one()
    assert not Comment.objects.exists()
    assert AuditEvent.objects.filter(task_id=task.pk).count() == 4
    assert list(events.verify()) == []
