"""Documents in Itential's own shape become tasks, and come back as they were."""

from __future__ import annotations

import copy
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from accounts.models import AccountEvent, Group, User
from tasks import actions, events, reading
from tasks.actions import Call
from tasks.api.itential.documents import task_document
from tasks.errors import InvalidArgument
from tasks.imports import Report, documents_of, import_documents, secret_pointers
from tasks.lifecycle import State
from tasks.models import AuditEvent, Channel, Job, OutboxEvent, Task
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.core.record import assert_copies_right, nothing_changes
from tests.factories import call_by

FIXTURE = Path(settings.BASE_DIR) / "fixtures" / "itential_tasks.json"
FIRST_ID = "cb532bea-ff0b-a827-7ef8-af92b431be7f"
ID = "0195f8b2-6c1e-4d7a-9a53-2f1d0c7b8e41"
NOC = "124836f8cdd2f489ce0ee376"
HEIDI = "98d85a6a0d183ecec64b6b71"
COMMAND = Call(None, Channel.COMMAND, request_id="test")


def load(value: Any) -> Report:
    """Import what a JSON value holds."""
    return import_documents(documents_of(value), call=COMMAND)


def document(**members: Any) -> dict[str, Any]:
    """A document of a task that waits for the team noc."""
    return {
        "_id": ID,
        "name": "Replace router",
        "type": "manual",
        "status": "running",
        "last_updated": "2026-03-04T05:06:07.089Z",
        "groups": [{"_id": NOC, "name": "noc"}],
        "metrics": {"start_time": "2026-03-04T05:00:00.000Z", "user": "", "owner": ""},
        **members,
    }


def metrics(**members: Any) -> dict[str, Any]:
    return {**document()["metrics"], **members}


def imported(**members: Any) -> Task:
    """The task that one document becomes."""
    (task,) = load([document(**members)]).tasks
    return Task.objects.get(pk=task.pk)


def shown(task: Task, who: User) -> dict[str, Any]:
    """What a GET gives somebody."""
    return task_document(reading.read(Task.objects.get(pk=task.pk), who))


def groups_of(task: Task) -> list[str]:
    users, groups = reading.people_of([task])[task.pk][TaskRole.POTENTIAL_OWNER]
    assert not users
    return [group.name for group in groups]


# --- There and back ------------------------------------------------------------------------------


def normal(given: dict[str, Any]) -> dict[str, Any]:
    """A document as we write it: references by id, groups in no order, the id in lower case."""
    found = copy.deepcopy(given)
    found["_id"] = found["_id"].lower()
    found["groups"] = sorted(g["_id"] if isinstance(g, dict) else g for g in found["groups"])
    return found


def test_every_document_of_the_fixture_comes_back_as_it_was(cast: Cast) -> None:
    value = json.loads(FIXTURE.read_text(encoding="utf-8"))
    report = load(value)
    assert len(report.tasks) == len(value["tasks"])
    for given in value["tasks"]:
        task = Task.objects.get(pk=given["_id"])
        assert normal(shown(task, cast.dave)) == normal(given)
        event = AuditEvent.objects.get(task_id=task.pk)
        assert (event.event, event.version, event.actor) == ("imported", 1, "system")
        assert event.channel == Channel.COMMAND
        assert OutboxEvent.objects.filter(event=event).count() == 1
        assert_copies_right(task)
    assert list(events.verify()) == []
    assert "only-for-the-demo" not in json.dumps(list(AuditEvent.objects.values("after")))


def test_the_seed_waits_for_the_local_group_noc(cast: Cast) -> None:
    load(json.loads(FIXTURE.read_text(encoding="utf-8")))
    first = Task.objects.get(pk=FIRST_ID)
    assert (first.state, first.kind, first.owner) == (State.READY, "manual", None)
    assert groups_of(first) == ["noc"]
    assert Group.objects.get(name="noc").legacy_id == NOC
    claimed = actions.claim([first.pk], call=call_by(cast.alice)).one()
    assert claimed.owner == cast.alice


def test_members_without_a_column_come_back_unchanged(cast: Cast) -> None:
    given = document(
        location="Broker",
        view="/some/view",
        app="Elsewhere",
        encodingVersion=2,
        incomingRefs=[{"a": 1}],
        canvasName={"x": [1, 2.5, None]},
        variables={
            "incoming": {"a": 1},
            "outgoing": {},
            "decorators": [{"type": "encryption", "pointer": "/incoming/a", "more": 1}],
            "error": "it broke",
            "extra": [1],
        },
        job={
            "_id": "a847e45e1b05bbbed49d45c7",
            "task": "3a1f",
            "name": "A job",
            "description": None,
            "ancestors": None,
            "iteration": 4,
        },
        metrics=metrics(server_id="ab" * 32, run_time=1.5, finish_state="success", note={"n": 1}),
    )
    load(given)
    task = Task.objects.get(pk=ID)
    back = shown(task, cast.alice)
    assert back["job"].pop("ancestors") is None
    given["job"].pop("ancestors")
    assert back == {**given, "groups": [NOC]}


def test_references_that_were_whole_objects_come_back_as_ids(cast: Cast) -> None:
    person = {"_id": HEIDI, "username": "heidi", "firstname": "Heidi", "provenance": "Local AAA"}
    task = imported(
        status="complete",
        metrics=metrics(user=person, owner=person, end_time=1772605269310),
    )
    back = shown(task, cast.alice)
    assert back["metrics"]["user"] == back["metrics"]["owner"] == HEIDI
    assert back["groups"] == [NOC]


def test_times_may_be_text_or_numbers(cast: Cast) -> None:
    task = imported(
        status="complete",
        last_updated=1772605269310,
        metrics=metrics(start_time=1772605200000.0, end_time="2026-03-04T07:21:09.310+01:00"),
    )
    assert task.updated_at == task.ended_at == datetime(2026, 3, 4, 6, 21, 9, 310000, UTC)
    back = shown(task, cast.alice)
    assert back["last_updated"] == "2026-03-04T06:21:09.310Z"
    assert back["metrics"]["start_time"] == "2026-03-04T06:20:00.000Z"
    assert back["metrics"]["end_time"] == 1772605269310


@pytest.mark.parametrize("form", ["array", "document", "answer", "list answer", "object"])
def test_the_forms_a_file_may_have(cast: Cast, form: str) -> None:
    one = document()
    value = {
        "array": [one],
        "document": one,
        "answer": {"message": "Successfully retrieved item", "data": one, "metadata": {}},
        "list answer": {"message": "", "data": [one], "metadata": {"total": 1}},
        "object": {"tasks": [one]},
    }[form]
    assert [str(task.pk) for task in load(value).tasks] == [ID]


# --- State, owner, kind --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("incomplete", State.CREATED),
        ("scheduled", State.CREATED),
        ("running", State.READY),
        ("paused", State.READY),
        ("complete", State.COMPLETED),
        ("failure", State.FAILED),
        ("error", State.ERROR),
        ("canceled", State.EXITED),
    ],
)
def test_each_status_has_its_state(cast: Cast, status: str, state: State) -> None:
    task = imported(status=status)
    assert task.state == state
    assert task.on_hold == (status == "paused")
    assert (task.version, task.owner) == (1, None)
    if status != "scheduled":
        assert shown(task, cast.alice)["status"] == status


def test_a_start_that_lies_ahead_is_scheduled(cast: Cast) -> None:
    ahead = imported(status="scheduled", metrics=metrics(start_time="2999-01-01T00:00:00.000Z"))
    back = shown(ahead, cast.alice)
    assert back["status"] == "scheduled"
    assert back["metrics"]["start_time"] == "2999-01-01T00:00:00.000Z"


@pytest.mark.parametrize("status", ["running", "paused"])
def test_a_task_with_an_owner_is_held_by_him(cast: Cast, status: str) -> None:
    owner = {"_id": HEIDI, "username": "bob"}
    claimed = "2026-03-04T05:03:00.000Z"
    task = imported(status=status, metrics=metrics(owner=owner, claim_time=claimed))
    assert (task.state, task.owner) == (State.RESERVED, cast.bob)
    back = shown(task, cast.alice)
    assert back["status"] == status
    assert back["metrics"]["owner"] == HEIDI
    assert back["metrics"]["claim_time"] == claimed
    released = actions.release([task.pk], call=call_by(cast.alice)).one()
    assert shown(released, cast.alice)["metrics"] == metrics()


def test_a_claim_time_without_an_owner_is_dropped(cast: Cast) -> None:
    task = imported(metrics=metrics(claim_time="2026-03-04T05:03:00.000Z"))
    assert task.claimed_at is None
    assert "claim_time" not in shown(task, cast.alice)["metrics"]


@pytest.mark.parametrize("status", ["running", "paused", "incomplete"])
@pytest.mark.parametrize("owner", [HEIDI, "Pronghorn"])
def test_only_manual_tasks_are_held(cast: Cast, status: str, owner: str) -> None:
    task = imported(type="automatic", status=status, metrics=metrics(owner=owner, retrying=True))
    assert task.owner is None
    assert task.state in (State.READY, State.CREATED)
    back = shown(task, cast.alice)
    assert (back["type"], back["status"]) == ("automatic", status)
    assert back["metrics"]["owner"] == owner
    assert back["metrics"]["retrying"] is True


def test_the_system_holds_no_manual_task(cast: Cast) -> None:
    task = imported(metrics=metrics(owner="Pronghorn", user="Pronghorn"))
    assert (task.state, task.owner) == (State.READY, None)
    assert shown(task, cast.alice)["metrics"] == metrics(user="Pronghorn")


def test_what_a_document_says_of_the_end_holds_until_the_task_ends_here(cast: Cast) -> None:
    task = imported(
        metrics=metrics(end_time=12379803.870733544, finish_state="error", run_time=-1, user=HEIDI)
    )
    open_ = shown(task, cast.alice)["metrics"]
    assert open_["end_time"] == 12379803.870733544
    assert (open_["finish_state"], open_["run_time"], open_["user"]) == ("error", -1, HEIDI)
    actions.claim([task.pk], call=call_by(cast.alice)).one()
    done = actions.complete([task.pk], call=call_by(cast.alice), output={}).one()
    ended = shown(done, cast.alice)["metrics"]
    assert ended["finish_state"] == "success"
    assert ended["user"] == ended["owner"] == cast.alice.object_id
    assert ended["run_time"] > 0
    assert ended["end_time"] > 1772605269310


# --- Jobs ----------------------------------------------------------------------------------------

JOB = {"_id": "a847e45e1b05bbbed49d45c7", "task": "3a1f", "name": "A job", "description": "why"}


def test_a_job_is_made_once_and_keeps_its_members(cast: Cast) -> None:
    other = document(_id="0195f8b2-7d40-47c2-8b1f-91a6e03c5d20", job={**JOB, "task": "b"})
    whole = {"_id": JOB["_id"], "name": "A job", "status": "running", "tasks": {"x": {}}}
    report = load({"jobs": [whole], "tasks": [document(job=JOB), other]})
    job = Job.objects.get()
    assert report.jobs == ["A job"]
    assert (job.legacy_id, job.name) == (JOB["_id"], "A job")
    assert job.imported == {"status": "running", "tasks": {"x": {}}}
    assert sorted(job.tasks.values_list("short_id", flat=True)) == ["3a1f", "b"]
    third = document(
        _id="0195f8b2-8e55-4f0b-a7c4-5b3ad28f6c19", job={**JOB, "task": "c", "name": "B"}
    )
    report = load([third])
    assert Job.objects.count() == 1
    (note,) = report.notes
    assert note.startswith("document 1 (0195f8b2-8e55-4f0b-a7c4-5b3ad28f6c19): job calls")


def test_a_dereferenced_job_shows_nothing_of_its_other_tasks(cast: Cast) -> None:
    task = imported(job={**JOB, "tasks": {"x": {"variables": "of another"}}, "status": "running"})
    assert set(shown(task, cast.alice)["job"]) == {
        "_id",
        "task",
        "name",
        "description",
        "ancestors",
    }
    assert Job.objects.get().imported["tasks"] == {"x": {"variables": "of another"}}


def test_a_task_without_a_short_id_gets_one(cast: Cast) -> None:
    reference = {name: value for name, value in JOB.items() if name != "task"}
    assert imported(job=reference).short_id == "1"


def test_a_task_without_groups_is_for_those_of_its_job(cast: Cast) -> None:
    whole = {"_id": JOB["_id"], "name": "A job", "groups": ["default", {"_id": NOC, "name": "noc"}]}
    (task,) = load({"jobs": [whole], "tasks": [document(groups=[], job=JOB)]}).tasks
    assert groups_of(task) == ["noc"]
    whole = {"_id": "65f1c2d4a8b9e07f3c5d1e92", "name": "Another", "groups": ["default"]}
    free = document(
        _id="0195f8b2-7d40-47c2-8b1f-91a6e03c5d20", groups=[], job={**JOB, "_id": whole["_id"]}
    )
    (task,) = load({"jobs": [whole], "tasks": [free]}).tasks
    assert groups_of(task) == ["everybody"]
    assert shown(task, cast.alice)["groups"] == []


# --- People and groups ---------------------------------------------------------------------------


def test_people_who_do_not_exist_become_inactive_placeholders(cast: Cast) -> None:
    person = {"_id": HEIDI, "username": "heidi", "firstname": "Heidi", "provenance": "Local AAA"}
    stranger = "05c0a84dd746004e0721859f"
    report = load(
        {
            "accounts": [person],
            "tasks": [document(status="complete", metrics=metrics(user=stranger, owner=HEIDI))],
        }
    )
    assert report.placeholder_accounts == ["heidi", f"itential-{stranger}"]
    for name, legacy_id in (("heidi", HEIDI), (f"itential-{stranger}", stranger)):
        user = User.objects.get(username=name)
        assert (user.is_active, user.is_placeholder, user.legacy_id) == (False, True, legacy_id)
        assert not user.has_usable_password()
        event = AccountEvent.objects.get(subject=f"user {name}")
        assert (event.event, event.channel) == ("user_created", "command")
    assert User.objects.get(username="heidi").first_name == "Heidi"
    assert Task.objects.get().owner == User.objects.get(username="heidi")


def test_a_user_name_that_cannot_be_one_here_is_not_taken(cast: Cast) -> None:
    imported(metrics=metrics(owner={"_id": HEIDI, "username": "no such name!"}))
    assert User.objects.get(legacy_id=HEIDI).username == f"itential-{HEIDI}"


def test_people_and_groups_known_by_name_get_the_imported_id(cast: Cast) -> None:
    person = {"_id": HEIDI, "username": "bob"}
    report = load({"accounts": [person], "tasks": [document()]})
    assert report.matched == [f"user bob ({HEIDI})", f"group noc ({NOC})"]
    assert not report.placeholder_accounts
    assert not report.placeholder_groups
    cast.bob.refresh_from_db()
    assert (cast.bob.legacy_id, cast.bob.is_active) == (HEIDI, True)
    assert AccountEvent.objects.get(subject="user bob").after == {"legacy_id": HEIDI}


def test_groups_that_do_not_exist_become_inactive_placeholders(cast: Cast) -> None:
    group = {"_id": NOC, "name": "core", "description": "Core team", "memberOf": [], "x": 1}
    task = imported(groups=[group, "d112c3225f741a23f7ad0757"])
    assert groups_of(task) == ["core", "itential-d112c3225f741a23f7ad0757"]
    core = Group.objects.get(name="core")
    assert (core.is_active, core.description, core.legacy_id) == (False, "Core team", NOC)
    assert core.imported == {"memberOf": [], "x": 1}
    assert not Task.objects.visible_to(cast.alice).exists()
    assert shown(task, cast.dave)["groups"] == [NOC, "d112c3225f741a23f7ad0757"]


def test_the_built_in_group_is_never_meant_by_its_name(cast: Cast) -> None:
    task = imported(groups=[{"_id": NOC, "name": "everybody"}])
    assert groups_of(task) == [f"itential-{NOC}"]


def test_a_name_that_has_another_id_here_is_refused(cast: Cast) -> None:
    Group.objects.filter(pk=cast.noc.pk).update(legacy_id="a" * 24)
    with pytest.raises(InvalidArgument, match=f"group noc: it is {'a' * 24} here, not {NOC}"):
        imported()


# --- Secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pointer", "ours"),
    [
        ("/incoming/a/b", ["/input/a/b"]),
        ("/incoming", ["/input"]),
        ("/outgoing/a~1b", ["/output/a~1b"]),
        ("/error/x", ["/fault/x"]),
        ("/password", ["/input/password", "/output/password"]),
        ("/incomings/a", ["/input/incomings/a", "/output/incomings/a"]),
        ("", ["/input", "/output", "/fault"]),
    ],
)
def test_pointers_of_decorators(pointer: str, ours: list[str]) -> None:
    assert secret_pointers(pointer) == ours


def test_secrets_are_masked_for_readers_wherever_they_stand(cast: Cast) -> None:
    decorators = [
        {"type": "encryption", "pointer": pointer}
        for pointer in ("/incoming/password", "/token", "/extra/key")
    ]
    task = imported(
        variables={
            "incoming": {"password": "s3cret", "token": "s3cret", "plain": 1},
            "outgoing": {"token": "s3cret"},
            "extra": {"key": "s3cret", "plain": 1},
            "decorators": decorators,
        }
    )
    assert shown(task, cast.erin)["variables"] == {
        "incoming": {"password": "******", "token": "******", "plain": 1},
        "outgoing": {"token": "******"},
        "extra": {"key": "******", "plain": 1},
        "decorators": decorators,
    }
    assert "******" not in json.dumps(shown(task, cast.alice))
    assert "s3cret" not in json.dumps(list(AuditEvent.objects.values("after")))


def test_a_pointer_to_everything_masks_everything(cast: Cast) -> None:
    task = imported(
        variables={
            "incoming": {"a": "s3cret"},
            "error": "s3cret",
            "extra": "s3cret",
            "decorators": [{"type": "encryption", "pointer": ""}],
        }
    )
    assert "s3cret" not in json.dumps(shown(task, cast.erin))
    assert json.dumps(shown(task, cast.alice)).count("s3cret") == 3


# --- What is refused -----------------------------------------------------------------------------

WHERE = f"document 1 ({ID})"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_id": None}, "document 1: _id: it is missing"),
        ({"_id": 5}, "document 1: _id: expected is a text"),
        ({"_id": "a847e45e1b05bbbed49d45c7"}, "document 1: _id: expected is a UUID"),
        ({"name": None}, f"{WHERE}: name: it is missing"),
        ({"name": " "}, f"{WHERE}: name: expected are 1 to 255 characters"),
        ({"name": "x" * 256}, f"{WHERE}: name: expected are 1 to 255 characters"),
        ({"type": "human"}, f"{WHERE}: type: expected is one of manual, automatic, operation"),
        ({"type": None}, f"{WHERE}: type: it is missing"),
        ({"status": "done"}, f"{WHERE}: status: expected is one of incomplete, "),
        ({"last_updated": "yesterday"}, f"{WHERE}: last_updated: expected is a time in "),
        ({"last_updated": 1e300}, f"{WHERE}: last_updated: expected is a time in "),
        ({"last_updated": True}, f"{WHERE}: last_updated: expected is a time in "),
        ({"metrics": []}, f"{WHERE}: metrics: expected is an object"),
        ({"metrics": {"owner": "bob"}}, f"{WHERE}: metrics.owner: expected is an id of 24 "),
        ({"metrics": {"owner": 5}}, f"{WHERE}: metrics.owner: expected is an id of 24 "),
        (
            {"metrics": {"user": {"username": "x"}}},
            f"{WHERE}: metrics.user: _id: expected is an id",
        ),
        ({"metrics": {"start_time": {}}}, f"{WHERE}: metrics.start_time: expected is a time in "),
        ({"variables": "x"}, f"{WHERE}: variables: expected is an object"),
        ({"variables": {"incoming": []}}, f"{WHERE}: variables.incoming: expected is an object"),
        ({"variables": {"decorators": {}}}, f"{WHERE}: variables.decorators: expected is an array"),
        ({"variables": {"decorators": ["/a"]}}, f"{WHERE}: variables.decorators: each has a JSON"),
        (
            {"variables": {"decorators": [{"pointer": "a"}]}},
            f"{WHERE}: variables.decorators: each has a JSON pointer",
        ),
        ({"groups": "noc"}, f"{WHERE}: groups: expected is an array"),
        ({"groups": ["noc"]}, f"{WHERE}: groups: expected is an id of 24 "),
        ({"groups": ["0" * 24]}, f"{WHERE}: groups: expected is an id of 24 "),
        ({"job": "x"}, f"{WHERE}: job: expected is an object"),
        ({"job": {"name": "x"}}, f"{WHERE}: job._id: expected is an id of 24 "),
        ({"job": {"_id": NOC}}, f"{WHERE}: job.name: it is missing"),
        ({"job": {**JOB, "task": "3A"}}, f"{WHERE}: job.task: expected are 1 to 4 hexadecimal"),
        ({"job": {**JOB, "task": "12345"}}, f"{WHERE}: job.task: expected are 1 to 4 hexadecimal"),
    ],
)
def test_a_wrong_document_is_named_and_nothing_is_imported(
    committed_cast: Cast, change: dict[str, Any], message: str
) -> None:
    """Really committed, so that also the group that was already given its id would be seen."""
    before = (User.objects.count(), Group.objects.count(), Job.objects.count())
    with nothing_changes(), pytest.raises(InvalidArgument, match=re.escape(message)):
        load([document(**change)])
    assert (User.objects.count(), Group.objects.count(), Job.objects.count()) == before
    assert Group.objects.get(name="noc").legacy_id is None


def test_one_wrong_document_stops_all(committed_cast: Cast) -> None:
    good = document(job=JOB, metrics=metrics(user=HEIDI))
    bad = document(_id="0195f8b2-7d40-47c2-8b1f-91a6e03c5d20", status="?")
    with nothing_changes(), pytest.raises(InvalidArgument, match=r"document 2 \(0195f8b2-7d40"):
        load([good, bad])
    assert not Job.objects.exists()
    assert not User.objects.filter(is_placeholder=True).exists()


def test_ids_and_short_ids_are_there_once(cast: Cast) -> None:
    with pytest.raises(InvalidArgument, match=r"document 2 .*_id: it is that of document 1 too"):
        load([document(), document(_id=ID.upper())])
    other = document(_id="0195f8b2-7d40-47c2-8b1f-91a6e03c5d20", job=JOB)
    with pytest.raises(InvalidArgument, match=r"document 2 .*job\.task: 3a1f is taken in this job"):
        load([document(job=JOB), other])


@pytest.mark.parametrize("value", [None, 5, "x", {}, {"task": []}, {"tasks": {}}, {"tasks": None}])
def test_other_files_are_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="expected is an array"):
        documents_of(value)


def test_items_that_are_no_documents(cast: Cast) -> None:
    for name, word in (("tasks", "document"), ("jobs", "job")):
        with pytest.raises(InvalidArgument, match=f"{word} 2: expected is an object"):
            load({name: [document() if name == "tasks" else {**JOB}, 5]})
    with pytest.raises(InvalidArgument, match="group 1: _id: expected is an id"):
        load({"groups": [{}]})


# --- The command ---------------------------------------------------------------------------------


def run(path: Path) -> str:
    out = io.StringIO()
    call_command("import_tasks", str(path), stdout=out, no_color=True)
    return out.getvalue()


def test_the_command_says_what_it_did_and_does_it_once(cast: Cast) -> None:
    assert run(FIXTURE) == (
        "Jobs made: myCoolDocumentName, Replace edge router fra-edge-07, "
        "BGP policy for transit AS64511, Firmware of access switches, FRA2.\n"
        "Known here by name, now with their imported id: user carol (05c0a84dd746004e0721859f), "
        "group noc (124836f8cdd2f489ce0ee376), group field (d112c3225f741a23f7ad0757), "
        "group change-board (8af98caa2d007a269df7c857).\n"
        "People who do not exist here, now inactive placeholder accounts: heidi.\n"
        "8 imported, 0 there already.\n"
    )
    accounts = AccountEvent.objects.count()
    actions.claim([Task.objects.get(pk=FIRST_ID).pk], call=call_by(cast.alice)).one()
    with nothing_changes():
        said = run(FIXTURE)
    assert said.count("There already, unchanged: ") == 8
    assert f"There already, unchanged: {FIRST_ID}\n" in said
    assert said.endswith("0 imported, 8 there already.\n")
    assert AccountEvent.objects.count() == accounts
    assert (Job.objects.count(), Group.objects.filter(is_builtin=False).count()) == (4, 3)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[", "This is not JSON"),
        (b"", "The body is empty"),
        (b'[{"a": 1, "a": 2}]', "A key appears twice in an object. (at /0/a)"),
        (b'[{"name": "\\u0000"}]', "A text holds a NUL character. (at /0/name)"),
        (b'[{"name": NaN}]', "NaN is not a JSON number."),
        (b"5", "nothing was imported. file: expected is an array"),
        (b"[5]", "nothing was imported. document 1: expected is an object"),
    ],
)
def test_the_command_refuses_bad_files(
    cast: Cast, tmp_path: Path, raw: bytes, message: str
) -> None:
    path = tmp_path / "some tasks.json"
    path.write_bytes(raw)
    with nothing_changes(), pytest.raises(CommandError, match=re.escape(message)):
        run(path)


def test_the_command_needs_its_file(cast: Cast, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run(tmp_path / "missing.json")
    with pytest.raises(CommandError, match="cannot be read: Is a directory"):
        run(tmp_path)


def test_data_may_be_long_and_names_may_not(cast: Cast, tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    long = "interface xe-0/0/0\n" * 10_000
    path.write_text(json.dumps([document(variables={"incoming": {"config": long}})]))
    assert run(path).endswith("1 imported, 0 there already.\n")
    assert Task.objects.get().input == {"config": long}
    path.write_text(json.dumps([document(view=long)]))
    with pytest.raises(CommandError, match=r"longer than 65536 bytes\. \(at /0/view\)"):
        run(path)


def test_an_import_of_nothing_says_so(cast: Cast, tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.write_text("[]")
    with nothing_changes():
        assert run(path) == "0 imported, 0 there already.\n"
