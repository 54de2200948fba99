"""The native API in a browser: pages that work under the content policy, with forms to act."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.files.base import ContentFile
from django.test import Client

from accounts.models import User
from tasks.lifecycle import State
from tests.conftest import Cast
from tests.factories import make_in, make_task, make_tasks

from .native_client import MISSING, TASKS, assert_problem, bulk_path, task_path

HTML = {"Accept": "text/html", "X-Request-ID": "test-request"}


def browser(user: User | None = None) -> Client:
    """A browser, logged in or not."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    if user is not None:
        client.force_login(user, "accounts.backends.RoleBackend")
    return client


def page(response: Any, status: int = 200) -> str:
    """The page that a response is."""
    assert (response.status_code, response["Content-Type"]) == (status, "text/html; charset=utf-8")
    found: str = response.content.decode()
    return found


def forms(text: str) -> dict[str, Any]:
    """The body that each form starts from, by the path it goes to."""
    found = re.findall(r'<form class="body".*?action="([^"]*)".*?<textarea[^>]*>(.*?)<', text, re.S)
    return {
        action.removeprefix("http://testserver"): json.loads(unescape(body))
        for action, body in found
    }


def test_every_page_keeps_to_the_content_policy_and_to_files_of_ours(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, name="<b>bold</b>")
    client = browser(cast.bob)
    for path, status in (
        ("/api/v1/", 200),
        (TASKS, 200),
        (task_path(task.pk), 200),
        (task_path(task.pk, "claim"), 405),
        (bulk_path("claim"), 405),
        (task_path(MISSING), 404),
    ):
        response = client.get(path, headers=HTML)
        text = page(response, status)
        assert "unsafe" not in response["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<b>bold", text)
        for script in re.findall(r"<script([^>]*)>", text):
            assert "src=" in script or 'type="application/json"' in script
        assets = re.findall(r'(?:src|href)="(/static/[^"]*|[^"]*\.(?:js|css))"', text)
        assert len(assets) == 5
        for asset in assets:
            assert finders.find(asset.removeprefix("/static/")), asset
        assert '<html lang="en">' in text
        assert 'name="viewport"' in text


def test_a_visitor_is_shown_where_to_log_in(cast: Cast) -> None:
    text = page(browser().get(f"{TASKS}?state=ready&limit=5", headers=HTML), 401)
    assert 'href="/admin/login/?next=%2Fapi%2Fv1%2Ftasks%2F%3Fstate%3Dready%26limit%3D5"' in text
    assert "<textarea" not in text
    page(browser().get("/api/v1/", headers={**HTML, "Authorization": "Token wrong"}), 401)


def test_a_task_has_a_form_for_each_operation_that_is_permitted(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    client = browser(cast.bob)
    text = page(client.get(task_path(task.pk), headers=HTML))
    shown = client.get(task_path(task.pk)).json()["permitted_operations"]
    assert {*forms(text), task_path(task.pk, "attach")} == {
        task_path(task.pk, name) for name in shown
    }
    assert f'action="http://testserver{task_path(task.pk, "attach")}" enctype="multipart' in text
    assert forms(text)[task_path(task.pk, "assign")] == {"to": {"user": ""}, "reason": ""}
    assert forms(page(browser(cast.erin).get(task_path(task.pk), headers=HTML))) == {}


def test_the_everyday_operations_come_first_and_the_rest_below_more(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    client = browser(cast.bob)

    def offered() -> tuple[list[str], list[str], list[str]]:
        text = page(client.get(task_path(task.pk), headers=HTML))
        text = text.partition('<section class="operations"')[2].partition("</section>")[0]
        everyday, _, more = text.partition('<details class="more">')
        more, _, refused = more.partition("<h3>Not now</h3>")
        words = r'(?:<summary>|class="refused"><span>)([^<]*)'
        return re.findall(words, everyday), re.findall(words, more), re.findall(words, refused)

    everyday, more, refused = offered()
    assert everyday == ["Claim", "Complete", "Release", "Hand over", "Put on hold"]
    assert "Comment" in more
    assert {"Resume", "Remove", "Expire"} <= set(refused)
    assert not set(more) & set(refused)
    text = page(client.get(task_path(task.pk), headers=HTML))
    assert "<span>Claim</span> The task already belongs to bob." in text
    client.post(task_path(task.pk, "suspend"), {}, "application/json", headers=csrf(text))
    assert offered()[0] == ["Claim", "Complete", "Release", "Hand over", "Resume"]


def test_a_page_leads_to_what_belongs_to_the_task_and_removing_it_says_so(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, waiting=True)
    client = browser(cast.dave)
    text = page(client.get(task_path(task.pk), headers=HTML))
    for part in ("comments", "attachments", "subtasks", "permitted-operations"):
        assert f'<a href="{part}/">' in text
        page(client.get(f"{task_path(task.pk)}{part}/", headers=HTML))
    path = task_path(task.pk, "remove")
    sent = client.post(path, {}, "application/json", headers=csrf(text))
    assert "204 No Content" in page(sent)


def csrf(text: str) -> dict[str, str]:
    """The headers of what a page sends."""
    token = text.partition('"csrfToken": "')[2].partition('"')[0]
    return {**HTML, "X-CSRFToken": token}


def test_the_bulk_page_for_files_has_a_form(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    client = browser(cast.bob)
    text = page(client.get(bulk_path("attach"), headers=HTML), 405)
    assert 'name="ids"' in text
    assert 'type="file" name="file"' in text
    token = csrf(text)["X-CSRFToken"]
    form = {
        "csrfmiddlewaretoken": token,
        "ids": json.dumps([str(task.pk)]),
        "reason": "",
        "file": ContentFile(b"x", "a.txt"),
    }
    assert "&quot;version&quot;: 2" in page(client.post(bulk_path("attach"), form, headers=HTML))


def test_a_form_acts_and_a_refused_body_is_offered_again(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    client = browser(cast.bob)
    text = page(client.get(task_path(task.pk), headers=HTML))
    token = json.loads(
        text.partition('id="drf_csrf">')[2].partition("</script>")[0],
    )["csrfToken"]
    headers = {**HTML, "X-CSRFToken": token}
    path = task_path(task.pk, "claim")
    sent = client.post(path, {"reason": 7}, "application/json", headers=headers)
    assert forms(page(sent, 400)) == {path: {"reason": 7}}
    sent = client.post(path, b"{", "application/json", headers=headers)
    assert forms(page(sent, 400)) == {path: {}}
    sent = client.post(path, {}, "application/json", headers=headers)
    assert "&quot;state&quot;: &quot;reserved&quot;" in page(sent)
    assert forms(page(client.get(bulk_path("grant"), headers=HTML), 405)) == {
        bulk_path("grant"): {
            "ids": [],
            "role": "potential_owner",
            "to": {"group": ""},
            "reason": "",
        }
    }


def test_pages_of_a_list_are_linked(cast: Cast) -> None:
    make_tasks(3, cast.carol, [cast.noc])
    client = browser(cast.bob)
    text = page(client.get(f"{TASKS}?limit=2", headers=HTML))
    older = unescape(re.findall(r'<a href="([^"]*)" rel="next"', text)[0])
    assert 'rel="prev"' not in text
    text = page(client.get(older, headers=HTML))
    assert 'rel="prev"' in text
    assert 'rel="next"' not in text


def test_a_very_long_answer_is_not_put_on_a_page(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, input={"configuration": "x" * 300_000})
    text = page(browser(cast.bob).get(task_path(task.pk), headers=HTML))
    assert len(text) < 20_000
    assert "format=json" in text
    assert forms(text)


@pytest.mark.parametrize("path", [f"{TASKS}?limit=0", task_path("x")])
def test_what_is_refused_before_anybody_is_asked_is_no_page(cast: Cast, path: str) -> None:
    assert browser(cast.bob).get(path, headers=HTML).status_code == 400
    response = browser().get(path, headers={**HTML, "Authorization": "Token wrong"})
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert_problem(response, 400, response.json()["code"])
