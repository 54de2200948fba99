"""Claim-next through the native API: the first free task, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.models import AuditEvent, Task
from tests.conftest import Cast
from tests.factories import make_task

from .native_client import TASKS, Api, assert_problem, everything, task_path

NEXT = f"{TASKS}claim-next/"


def test_the_first_task_and_then_nothing(cast: Cast) -> None:
    later, first = (make_task(cast.carol, cast.noc, priority=number) for number in (4, 2))
    api = Api(cast.bob)
    for task in (first, later):
        response = api.post(NEXT)
        assert (response.status_code, response["ETag"]) == (200, '"2"')
        document = response.json()
        assert (document["id"], document["owner"]) == (str(task.pk), "bob")
        shown = api.get(task_path(task.pk)).json()
        del shown["permitted_operations"]
        assert document == shown
        event = AuditEvent.objects.get(task_id=task.pk, version=2)
        assert (event.event, event.channel, event.actor) == ("claimed", "native", "bob")
    before = everything()
    response = api.post(NEXT, {})
    assert (response.status_code, response.content) == (204, b"")
    assert everything() == before


def test_of_some_groups_only(cast: Cast) -> None:
    own = make_task(cast.carol, cast.bob, priority=0)
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    assert api.post(NEXT, {"groups": ["field"]}).status_code == 204
    assert api.post(NEXT, {"groups": ["field", "noc"]}).json()["id"] == str(task.pk)
    assert api.post(NEXT).json()["id"] == str(own.pk)


def test_who_may_not_claim_is_told_so_before_anything_else(cast: Cast) -> None:
    make_task(cast.carol, cast.erin)
    before = everything()
    for body in (None, {"groups": ["nobody"]}, {"nonsense": 1}):
        assert_problem(Api(cast.erin).post(NEXT, body), 403, "not_permitted")
    assert_problem(Api().post(NEXT), 401, "not_authenticated")
    assert everything() == before


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"groups": ["nobody"]}, "unknown_group"),
        ({"groups": []}, "invalid_body"),
        ({"groups": None}, "invalid_body"),
        ({"groups": "noc"}, "invalid_body"),
        ({"group": "noc"}, "invalid_body"),
        ({"reason": "because"}, "invalid_body"),
    ],
)
def test_a_bad_body_claims_nothing(cast: Cast, body: Any, code: str) -> None:
    make_task(cast.carol, cast.noc)
    before = everything()
    assert_problem(Api(cast.bob).post(NEXT, body), 400, code)
    assert everything() == before


def test_it_names_no_version(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    response = Api(cast.bob).post(NEXT, If_Match='"1"')
    assert_problem(response, 400, "invalid_header")
    assert Task.objects.get(pk=task.pk).version == 1


def test_a_browser_gets_a_form(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    api = Api(cast.bob)
    page = api.get(NEXT, Accept="text/html")
    assert page.status_code == 405
    assert "Claim next" in page.content.decode()
    assert f'action="{NEXT}"' in page.content.decode()
    page = api.post(NEXT, Accept="text/html")
    assert page.status_code == 200
    assert str(task.pk) in page.content.decode()
    # A browser would show nothing of a 204, so REST framework writes a page about it.
    page = api.post(NEXT, Accept="text/html")
    assert page.status_code == 200
    assert "204 No Content" in page.content.decode()
