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

from accounts.authentication import issue
from accounts.models import Token, User
from tasks.api.native.serializers import INPUTS
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
        ("/api/v1/tokens/999999/", 404),
    ):
        response = client.get(path, headers=HTML)
        text = page(response, status)
        assert "unsafe" not in response["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<b>bold", text)
        for script in re.findall(r"<script([^>]*)>", text):
            assert "src=" in script or 'type="application/json"' in script
        assets = re.findall(r'(?:src|href)="(/static/[^"]*|[^"]*\.(?:js|css))"', text)
        assert len(assets) == 6
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
    for part in ("comments", "attachments", "subtasks", "roles", "events", "permitted-operations"):
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
    text = page(sent)
    assert "&quot;state&quot;: &quot;reserved&quot;" in text
    assert f'<h1>Claim: <a href="http://testserver{task_path(task.pk)}">' in text
    assert forms(page(client.get(bulk_path("grant"), headers=HTML), 405)) == {
        bulk_path("grant"): {
            "ids": [],
            "role": "potential_owner",
            "to": {"group": ""},
            "reason": "",
        }
    }


def test_the_front_page_explains(cast: Cast) -> None:
    text = page(browser(cast.bob).get("/api/v1/", headers=HTML))
    for name in browser(cast.bob).get("/api/v1/").json():
        assert f'<a href="http://testserver/api/v1/{name}/">{name}</a>' in text
    assert "curl -H &quot;Authorization" in text or 'curl -H "Authorization' in text
    visitor = page(browser().get("/api/v1/", headers=HTML), 401)
    assert '<a href="/admin/login/?next=/api/v1/">log-in</a>' in visitor


def test_an_address_that_only_takes_post_starts_with_its_own_example(cast: Cast) -> None:
    client = browser(cast.bob)
    found = {}
    for path in ("tasks/claim-next/", "tasks/bulk/create/", "bulk-operations/undo/"):
        text = page(client.get(f"/api/v1/{path}", headers=HTML), 405)
        assert text.index("<textarea") < text.index("405 Method Not Allowed")
        found |= forms(text)
    assert list(found) == [
        "/api/v1/tasks/claim-next/",
        "/api/v1/tasks/bulk/create/",
        "/api/v1/bulk-operations/undo/",
    ]
    assert [sorted(body) for body in found.values()] == [
        [],
        ["reason", "tasks"],
        ["actor", "dry_run", "from", "reason", "until"],
    ]


def test_pages_of_operations_speak_to_callers(cast: Cast) -> None:
    client = browser(cast.dave)
    for name in INPUTS:
        text = page(client.get(bulk_path(name), headers=HTML), 405)
        sentence = text.partition("</h1>")[2].partition('<p class="request">')[0]
        assert not re.search(r"Raises|\((IBM|Itential)|`|_", sentence), sentence


def test_a_list_shows_its_rows_in_short_and_leads_to_them(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc, name="Replace <b>it</b>")
    client = browser(cast.bob)
    link = f'<a href="http://testserver{task_path(task.pk)}"><bdi>'
    text = page(client.get(TASKS, headers=HTML))
    assert f"{link}Replace &lt;b&gt;it&lt;/b&gt;</bdi>" in text
    assert 'href="?view=available"' in text
    for name in ("claim-next", "bulk/create", "bulk/transfer"):
        assert f'<a href="{name}/">' in text
    assert f"{link}created</bdi>" in page(client.get("/api/v1/events/", headers=HTML))
    empty = page(client.get("/api/v1/bulk-operations/", headers=HTML))
    assert "<table>" not in empty


def test_a_bulk_operation_is_undone_from_its_page(cast: Cast) -> None:
    tasks = make_tasks(2, cast.carol, [cast.noc])
    client = browser(cast.alice)
    csrf_token = csrf(page(client.get(bulk_path("assign"), headers=HTML), 405))
    body = {"ids": [str(task.pk) for task in tasks], "to": {"user": "bob"}}
    sent = client.post(bulk_path("assign"), body, "application/json", headers=csrf_token)
    pk = json.loads(
        re.findall(r"&quot;operation_id&quot;: (.*?),", page(sent))[0].replace("&quot;", '"')
    )
    path = f"/api/v1/bulk-operations/{pk}/"

    text = page(client.get(path, headers=HTML))
    assert forms(text) == {f"{path}undo/": {"dry_run": True, "reason": ""}}
    assert client.get(path).json()["arguments"] == {"to": {"user": "bob"}}
    listed = page(client.get(f"{path}items/", headers=HTML))
    assert f'<a href="http://testserver{task_path(tasks[0].pk)}">' in listed
    sent = client.post(f"{path}undo/", {}, "application/json", headers=csrf_token)
    assert "&quot;done&quot;: 2" in page(sent)


def test_a_token_is_revoked_from_its_page(cast: Cast) -> None:
    issue(cast.bob, Token.Kind.API, "old one", actor="bob")
    client = browser(cast.bob)
    path = client.get("/api/v1/tokens/").json()["results"][0]["url"]
    text = page(client.get(path, headers=HTML))
    assert f'data-method="DELETE" action="{path}"' in text
    assert "204 No Content" in page(client.delete(path, headers=csrf(text)))
    assert not Token.objects.exists()


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
