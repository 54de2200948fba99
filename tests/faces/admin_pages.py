"""How tests use the admin: as a browser would, by the fields of the forms on its pages."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.test import Client
from django.urls import reverse

from accounts.models import User
from tasks.models import BulkOperation, Task

LIST = "/admin/tasks/task/"


class _Forms(HTMLParser):
    """Collects the forms of a page: their attributes and the fields they would post."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self.select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append({"attrs": given, "fields": {}, "options": {}})
        if not self.forms:
            return
        fields = self.forms[-1]["fields"]
        name = given.get("name")
        if tag == "input" and name:
            box = given.get("type") in ("checkbox", "radio")
            if given.get("type") != "submit" and (not box or "checked" in given):
                fields.setdefault(name, []).append(given.get("value") or "")
            elif box:
                self.forms[-1]["options"].setdefault(name, []).append(given.get("value") or "on")
        elif tag == "textarea" and name:
            fields.setdefault(name, []).append("")
        elif tag == "select" and name:
            self.select = name
            self.forms[-1]["options"].setdefault(name, [])
        elif tag == "option" and self.select:
            self.forms[-1]["options"][self.select].append(given.get("value") or "")
            if "selected" in given:
                fields.setdefault(self.select, []).append(given.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self.select = None


def forms_of(response: Any) -> list[dict[str, Any]]:
    """The POST forms of a page, but for that of logging out."""
    parser = _Forms()
    parser.feed(response.content.decode())
    return [
        form
        for form in parser.forms
        if form["attrs"].get("method") == "post" and form["attrs"].get("id") != "logout-form"
    ]


def client_of(user: User, **options: Any) -> Client:
    """A browser in which the account is logged in."""
    client = Client(**options)
    client.force_login(user, "accounts.backends.RoleBackend")
    return client


def page_of(task: Task) -> str:
    """The address of a task's page."""
    return reverse("admin:tasks_task_change", args=[task.pk])


def select(client: Client, action: str, ids: list[Any], query: str = "", **more: Any) -> Any:
    """Select tasks in the list and choose an operation, through the list's own form."""
    (form,) = forms_of(client.get(LIST + query))
    assert action in form["options"]["action"]
    data = {**form["fields"], "action": action, "_selected_action": [str(i) for i in ids], **more}
    return client.post(LIST + query, {**data, "index": "0"})


def fill(client: Client, response: Any, **values: Any) -> Any:
    """Fill in the only form of the page that `response` leads to, and send it."""
    url = response["Location"]
    page = client.get(url)
    assert page.status_code == 200
    (form,) = forms_of(page)
    unknown = set(values) - set(form["fields"]) - set(form["options"])
    assert not unknown, f"the form has no field {unknown}"
    return client.post(url, {**form["fields"], **values})


def stored(response: Any) -> BulkOperation:
    """The operation that an answer leads to."""
    pk = response["Location"].split("?")[0].rstrip("/").rsplit("/", 1)[1]
    return BulkOperation.objects.get(pk=pk)
