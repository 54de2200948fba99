"""Every operation that the admin offers, from its button to the rows it leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.files.base import ContentFile

from accounts.models import Role, User
from tasks import actions
from tasks.admin.operations import BULK
from tasks.lifecycle import State
from tasks.models import AuditEvent, OutboxEvent, Task
from tests.conftest import Cast
from tests.factories import call_by, make_in, make_task

from .admin_pages import LIST, client_of, fill, forms_of, page_of, select, stored

Fields = Callable[[Cast], dict[str, Any]]

STORY: dict[str, tuple[State, str, dict[str, Any], Fields]] = {
    "claim": (State.READY, "claimed", {}, lambda cast: {}),
    "complete": (State.RESERVED, "completed", {}, lambda cast: {}),
    "release": (State.RESERVED, "released", {}, lambda cast: {"reason": "bob is ill"}),
    "transfer": (
        State.RESERVED,
        "owner_transferred",
        {},
        lambda cast: {"from_user": cast.bob.pk, "to_user": cast.alice.pk},
    ),
    "suspend": (State.READY, "suspended", {}, lambda cast: {"until": "2040-05-06T07:08"}),
    "resume": (State.READY, "resumed", {"on_hold": True}, lambda cast: {}),
    "start": (State.READY, "started", {}, lambda cast: {}),
    "stop": (State.IN_PROGRESS, "stopped", {}, lambda cast: {}),
    "assign": (State.READY, "assigned", {}, lambda cast: {"to_user": cast.bob.pk}),
    "delegate": (State.READY, "delegated", {}, lambda cast: {"to_user": cast.frank.pk}),
    "forward": (
        State.RESERVED,
        "forwarded",
        {},
        lambda cast: {"from_group": cast.noc.pk, "to_group": cast.field.pk},
    ),
    "suspend_and_release": (State.RESERVED, "suspended_and_released", {}, lambda cast: {}),
    "set_priority": (State.READY, "priority_set", {}, lambda cast: {"priority": 1}),
    "comment": (State.READY, "commented", {}, lambda cast: {"text": "The part is late."}),
    "activate": (State.CREATED, "activated", {}, lambda cast: {}),
    "skip": (State.READY, "skipped", {"skippable": True}, lambda cast: {"reason": "not needed"}),
    "exit": (State.READY, "exited", {}, lambda cast: {"reason": "the order was cancelled"}),
    "reopen": (State.COMPLETED, "reopened", {}, lambda cast: {}),
    "retry": (State.FAILED, "retried", {}, lambda cast: {}),
    "remove": (State.COMPLETED, "removed", {}, lambda cast: {}),
}
"""For each operation the task's state, the event it leaves, more of the task, what is filled in."""


@pytest.fixture
def boss(cast: Cast) -> User:
    """dave, who may retry as well."""
    cast.dave.roles.add(Role.objects.get(name="retryUser"))
    return User.objects.get(pk=cast.dave.pk)


def test_the_story_tells_of_every_operation() -> None:
    assert set(STORY) == set(BULK)


@pytest.mark.parametrize("name", STORY)
def test_an_operation_on_many_tasks(cast: Cast, boss: User, name: str) -> None:
    state, event, fields, answers = STORY[name]
    held = {"owner": cast.bob} if state in (State.RESERVED, State.IN_PROGRESS) else {}
    tasks = [make_in(state, cast.carol, cast.noc, **held, **fields) for _ in range(3)]
    client = client_of(boss)
    plan = fill(client, select(client, name, [task.pk for task in tasks]), **answers(cast))
    assert stored(plan).status == "planned"
    assert {task.version for task in Task.objects.all()} == {1}
    preview = client.get(plan["Location"]).content.decode()
    assert f"3 will be {BULK[name].past}" in preview
    result = fill(client, plan)
    assert stored(result).done_count == 3
    assert f"3 of 3 {BULK[name].past}" in client.get(result["Location"]).content.decode()
    events = AuditEvent.objects.filter(version=2)
    assert {(one.event, one.actor, one.channel) for one in events} == {(event, "dave", "admin")}
    assert {one.reason for one in events} == {answers(cast).get("reason")}
    assert len(events) == 3
    assert OutboxEvent.objects.count() == AuditEvent.objects.count() == 6
    assert Task.objects.exists() == (name != "remove")


@pytest.mark.parametrize("name", [name for name, action in BULK.items() if action.at_once])
def test_a_button_that_asks_nothing_acts_at_once(cast: Cast, boss: User, name: str) -> None:
    state, event, fields, _ = STORY[name]
    owner = {"owner": boss} if state in (State.RESERVED, State.IN_PROGRESS) else {}
    task = make_in(state, cast.carol, cast.noc, **owner, **fields)
    client = client_of(boss)
    forms = forms_of(client.get(page_of(task)))
    (form,) = [form for form in forms if form["attrs"]["action"].endswith(f"/do/{name}/")]
    answer = client.post(form["attrs"]["action"], form["fields"], follow=True)
    assert BULK[name].at_once in answer.content.decode()
    assert AuditEvent.objects.get(task_id=task.pk, version=2).event == event


@pytest.mark.parametrize("name", ["skip", "exit"])
def test_a_reason_is_demanded_before_anything_is_planned(cast: Cast, boss: User, name: str) -> None:
    task = make_task(cast.carol, cast.noc, skippable=True)
    client = client_of(boss)
    answer = fill(client, select(client, name, [task.pk]))
    assert answer.status_code == 400
    assert b"Say why" in answer.content
    assert not AuditEvent.objects.filter(version=2).exists()


def test_hold_lasts_until_the_time_in_the_zone_of_the_account(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    cast.alice.time_zone = "Asia/Tokyo"
    cast.alice.save()
    client = client_of(cast.alice)
    plan = fill(client, select(client, "suspend", [task.pk]), until="2040-05-06T07:08")
    assert "07:08" in client.get(plan["Location"]).content.decode()
    fill(client, plan)
    task.refresh_from_db()
    assert (task.on_hold, task.wakeup_at) == (True, datetime(2040, 5, 5, 22, 8, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("suspend", {"until": "2001-01-01T00:00"}),
        ("suspend", {"until": "tomorrow"}),
        ("set_priority", {"priority": "11"}),
        ("comment", {"text": " "}),
        ("assign", {"to_user": ""}),
        ("forward", {}),
    ],
)
def test_what_cannot_be_is_said_on_the_form(
    cast: Cast, boss: User, name: str, wrong: dict[str, str]
) -> None:
    task = make_task(cast.carol, cast.noc)
    client = client_of(boss)
    answer = fill(client, select(client, name, [task.pk]), **wrong)
    assert answer.status_code == 400
    assert b"errorlist" in answer.content
    task.refresh_from_db()
    assert task.version == 1


# --- What a task carries --------------------------------------------------------------------------


def test_comments_subtasks_and_files_stand_on_the_page(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    make_task(cast.carol, cast.noc, name="Order the part", parent=task)
    make_task(cast.carol, cast.field, name="Secret errand", parent=task)
    call = call_by(cast.bob)
    actions.comment([task.pk], call=call, text="The part <b>is</b> late.")
    page = ContentFile(b"<script>alert(1)</script>")
    actions.attach([task.pk], call=call, name="plan.html", content=page, content_type="text/html")
    client = client_of(cast.bob)
    text = client.get(page_of(task)).content.decode()
    assert "The part &lt;b&gt;is&lt;/b&gt; late." in text
    assert "Order the part" in text
    assert "Secret errand" not in text
    assert "plan.html" in text
    number = task.attachments.get().pk
    answer = client.get(f"{LIST}{task.pk}/files/{number}/")
    assert b"".join(answer.streaming_content) == b"<script>alert(1)</script>"
    assert answer["Content-Disposition"] == 'attachment; filename="plan.html"'
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert client_of(cast.frank).get(f"{LIST}{task.pk}/files/{number}/").status_code == 404
    assert client.get(f"{LIST}{task.pk}/files/{number + 1}/").status_code == 404


def test_unclaimable_tasks_have_a_view(cast: Cast) -> None:
    lost = make_task(cast.carol, cast.frank, name="Nobody's")
    make_task(cast.carol, cast.noc, name="Somebody's")
    cast.frank.is_active = False
    cast.frank.save()
    found = client_of(cast.dave).get(f"{LIST}?view=unclaimable").context["cl"].result_list
    assert list(found) == [lost]
