"""What belongs to a task on the native API: comments, subtasks, what is permitted or why not."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import people
from tasks.lifecycle import NAMES, OPERATIONS, ROWS, State
from tasks.models import AuditEvent
from tasks.roles import TaskRole
from tests.conftest import Cast
from tests.core.cases import CASES
from tests.factories import call_by, make_in, make_task, make_tasks

from .native_client import Api, assert_problem, everything, task_path

PARTS = ("comments", "attachments", "subtasks", "permitted-operations")


def answers(api: Api, pk: Any) -> dict[str, dict[str, Any]]:
    """What may be done to a task, by operation."""
    response = api.get(f"{task_path(pk)}permitted-operations/")
    assert response.status_code == 200, response.content
    document = response.json()
    assert (document["count"], document["next"], document["previous"]) == (
        len(document["results"]),
        None,
        None,
    )
    return {item["operation"]: item for item in document["results"]}


@pytest.mark.parametrize("part", PARTS)
def test_parts_keep_the_order_of_the_answers(cast: Cast, part: str) -> None:
    task = make_task(cast.carol, cast.noc)
    path = f"{task_path(task.pk)}{part}/"
    assert_problem(Api().get(f"{task_path('x')}{part}/"), 400, "invalid_id")
    assert_problem(Api().get(f"{path}?order=1"), 400, "invalid_parameter")
    assert_problem(Api().get(path), 401, "not_authenticated")
    assert_problem(Api(cast.frank).get(path), 404, "task_not_found")
    assert_problem(Api(cast.svc_integration).get(path), 403, "not_authorized")
    assert Api(cast.erin).get(path).status_code == 200
    page = Api(cast.bob).get(path, Accept="text/html")
    assert (page.status_code, page["Content-Type"]) == (200, "text/html; charset=utf-8")


# --- Comments and subtasks ------------------------------------------------------------------------


def test_comments_are_read_oldest_first(cast: Cast) -> None:
    task, other = make_task(cast.carol, cast.noc), make_task(cast.carol, cast.noc)
    for user, text in ((cast.bob, "first"), (cast.carol, " <b>second</b>\n")):
        shown = Api(user).post(task_path(task.pk, "comment"), {"text": text}).json()
    Api(cast.bob).post(task_path(other.pk, "comment"), {"text": "elsewhere"})
    assert shown["version"] == 3
    document = Api(cast.erin).get(f"{task_path(task.pk)}comments/").json()
    assert (document["count"], document["next"], document["previous"]) == (2, None, None)
    first, second = document["results"]
    assert (first["author"], first["text"]) == ("bob", "first")
    assert (second["author"], second["text"]) == ("carol", " <b>second</b>\n")
    event = AuditEvent.objects.get(task_id=task.pk, version=2)
    assert first["at"] == event.at.isoformat().replace("+00:00", "Z")
    assert set(first) == {"id", "author", "text", "at"}


def test_a_walk_over_comments_misses_and_repeats_nothing(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    for number in range(5):
        api.post(task_path(task.pk, "comment"), {"text": str(number)})
    seen, path, pages = [], f"{task_path(task.pk)}comments/?limit=2", []
    while path:
        document = api.get(path).json()
        pages.append([item["text"] for item in document["results"]])
        seen += pages[-1]
        if len(seen) == 4:  # written meanwhile, it comes last
            api.post(task_path(task.pk, "comment"), {"text": "5"})
        path, before = document["next"], document["previous"]
    assert pages == [["0", "1"], ["2", "3"], ["4", "5"]]
    back = api.get(before).json()
    assert [item["text"] for item in back["results"]] == ["2", "3"]
    assert [item["text"] for item in api.get(back["previous"]).json()["results"]] == ["0", "1"]


def test_windows_of_parts_are_checked(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    for part in PARTS[:3]:
        for query in ("limit=0", "limit=201", "limit=x", "cursor=x", "limit=1&limit=2"):
            response = Api().get(f"{task_path(task.pk)}{part}/?{query}")
            assert_problem(response, 400, "invalid_parameter")
    made_up = "PgAAAAAAAAAAAAD" + "_" * 21
    response = Api(cast.bob).get(f"{task_path(task.pk)}comments/?cursor={made_up}")
    assert response.status_code == 200, response.content


def test_subtasks_are_those_one_may_see(cast: Cast) -> None:
    above = make_task(cast.carol, cast.noc, cast.field)
    seen = make_tasks(2, cast.carol, [cast.noc], parent=above)
    make_task(cast.carol, cast.field, parent=above)
    below = make_task(cast.carol, cast.noc, parent=seen[0])
    path = f"{task_path(above.pk)}subtasks/"
    document = Api(cast.bob).get(path).json()
    assert document["count"] == 2
    # Made in one call, so at one time: the greater id stands first.
    newest_first = sorted((str(task.pk) for task in seen), reverse=True)
    assert [item["id"] for item in document["results"]] == newest_first
    assert document["results"][0]["parent"] == str(above.pk)
    assert Api(cast.carol).get(path).json()["count"] == 3
    assert Api(cast.bob).get(f"{task_path(below.pk)}subtasks/").json()["results"] == []


# --- What is permitted, or why not ----------------------------------------------------------------


def test_every_operation_is_told_in_the_order_of_the_book(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    found = answers(Api(cast.bob), task.pk)
    assert tuple(found) == NAMES
    assert set(NAMES) == {*OPERATIONS, *ROWS}
    assert len(NAMES) == len(set(NAMES))
    assert found["claim"] == {
        "operation": "claim",
        "permitted": True,
        "code": None,
        "detail": None,
        "reason_required": False,
        "url": f"http://testserver{task_path(task.pk, 'claim')}",
    }
    assert found["save_output"] == {
        "operation": "save_output",
        "permitted": False,
        "code": "not_authorized",
        "detail": "You are not permitted to save the output of this task.",
        "reason_required": False,
        "url": f"http://testserver{task_path(task.pk, 'save_output')}",
    }
    assert found["resume"]["code"] == "not_suspended"
    assert found["resume"]["detail"] == "The task is not on hold."
    assert found["exit"]["reason_required"] is True
    assert found["expire"] == {
        "operation": "expire",
        "permitted": False,
        "code": "not_authorized",
        "detail": "You are not permitted to expire this task.",
        "reason_required": False,
        "url": None,
    }


def test_reasons_are_wanted_of_those_who_release_for_others(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    for user, wanted in ((cast.bob, False), (cast.alice, True)):
        found = answers(Api(user), task.pk)["release"]
        assert (found["permitted"], found["reason_required"]) == (True, wanted)


def test_rows_are_told_one_by_one(cast: Cast) -> None:
    task = make_in(State.READY, cast.carol, cast.noc, people_of={TaskRole.EDITOR: [cast.bob]})
    found = answers(Api(cast.carol), task.pk)
    assert found["transfer"]["roles"] == [
        "originator",
        "potential_owner",
        "editor",
        "reader",
        "stakeholder",
        "administrator",
        "escalation_receiver",
    ]
    assert "potential_starter" not in found["grant"]["roles"]
    assert found["grant"]["roles"] == found["revoke"]["roles"]
    assert "input" not in found["update"]["properties"]
    assert {"name", "due_at", "output_schema"} <= set(found["update"]["properties"])
    hers = answers(Api(cast.svc_reader), task.pk)
    assert (hers["update"]["permitted"], hers["update"]["properties"]) == (False, [])


@pytest.mark.parametrize("state", State)
def test_the_document_of_the_task_says_the_same(cast: Cast, state: State) -> None:
    held = {"owner": cast.bob} if state in (State.RESERVED, State.IN_PROGRESS) else {}
    task = make_in(
        state,
        cast.carol,
        cast.noc,
        people_of={TaskRole.STAKEHOLDER: [cast.frank]},
        skippable=True,
        **held,
    )
    for user in (cast.alice, cast.bob, cast.carol, cast.dave, cast.erin, cast.frank):
        api = Api(user)
        found = answers(api, task.pk)
        listed = api.get(task_path(task.pk)).json()["permitted_operations"]
        assert [name for name, item in found.items() if item["permitted"]] == listed
        for item in found.values():
            assert (item["code"] is None) == (item["detail"] is None) == item["permitted"]
            rows = item.get("roles", item.get("properties"))
            assert rows is None or bool(rows) == item["permitted"]


def test_what_is_told_is_what_happens(cast: Cast) -> None:
    """Each case, asked beforehand, then tried by somebody who may and somebody who may not."""
    for case in CASES:
        if case.operation.system_only or case.by == "dave":
            continue
        task = case.task(cast)
        actor = case.actor(cast)
        assert actor is not None
        item = answers(Api(actor), task.pk)[case.name]
        assert item["permitted"], case
        outcome = case.act([task.pk], call=call_by(actor), **case.arguments(cast))
        assert outcome.done, case


def test_asking_changes_nothing_and_hides_an_excluded_account_nothing(cast: Cast) -> None:
    task = make_task(
        cast.carol, cast.noc, people_of={TaskRole.EXCLUDED_OWNER: [people.user("bob")]}
    )
    before = everything()
    found = answers(Api(cast.bob), task.pk)
    assert found["claim"]["code"] == "not_authorized"
    assert everything() == before
