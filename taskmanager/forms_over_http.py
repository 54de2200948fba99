"""Fills in and submits the forms that pages really hold, as a browser without scripts does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx

Value = str | list[str]


class PageError(Exception):
    """A page lacks what was to be used on it, or did not come; the message says what."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form: where it goes, how, and what it would send if submitted as it stands."""

    identifier: str
    action: str
    method: str
    values: dict[str, Value] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def filled(self, answers: Mapping[str, Value]) -> Form:
        """The form with some of its fields filled in.

        Raises PageError for a field that the form does not have, as a person would.
        """
        for name in answers:
            if name not in self.names:
                raise PageError(f"The form {self.identifier!r} has no field {name!r}.")
        return replace(self, values={**self.values, **answers})


class _Forms(HTMLParser):
    """Collects the forms of a page with the values their fields have."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[dict[str, str], dict[str, Value], set[str]]] = []
        self._by_id: dict[str, int] = {}
        self._inside: int | None = None
        self._select: tuple[int, str] | None = None
        self._textarea: tuple[int, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of forms and fields."""
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = len(self.forms)
            if "id" in attributes:
                self._by_id[attributes["id"]] = self._inside
            self.forms.append((attributes, {}, set()))
            return
        at = self._by_id.get(attributes["form"]) if "form" in attributes else self._inside
        name = attributes.get("name", "")
        if tag == "option" and self._select:
            if "selected" in attributes:
                form, select = self._select
                self.forms[form][1][select] = attributes.get("value", "")
            return
        if at is None or not name:
            return
        self.forms[at][2].add(name)
        if tag == "input":
            self._input(at, name, attributes)
        elif tag == "select":
            self._select = (at, name)
        elif tag == "textarea":
            self._textarea = (at, name)
            self.forms[at][1][name] = ""

    def _input(self, at: int, name: str, attributes: dict[str, str]) -> None:
        kind = attributes.get("type", "text")
        if kind in ("submit", "button", "image", "reset", "file"):
            return
        if kind in ("checkbox", "radio") and "checked" not in attributes:
            return
        self.forms[at][1][name] = attributes.get("value", "on" if kind == "checkbox" else "")

    def handle_data(self, data: str) -> None:
        """The text of a text area is its value."""
        if self._textarea:
            at, name = self._textarea
            self.forms[at][1][name] = data.strip("\n")

    def handle_endtag(self, tag: str) -> None:
        """Leave a form, a selection or a text area."""
        if tag == "form":
            self._inside = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._textarea = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page that came with status 200."""

    url: str
    text: str

    def form(self, identifier: str) -> Form:
        """The form with this id. Raises PageError when the page has none."""
        parser = _Forms()
        parser.feed(self.text)
        for attributes, values, names in parser.forms:
            if attributes.get("id") == identifier:
                return Form(
                    identifier,
                    urljoin(self.url, attributes.get("action") or self.url),
                    attributes.get("method", "get").lower(),
                    values,
                    frozenset(names),
                )
        raise PageError(f"{self.url} has no form {identifier!r}.")


class Browser:
    """Keeps cookies, follows redirects, and posts nothing but the forms of pages it has seen."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=url, follow_redirects=True, timeout=60, transport=transport
        )

    def get(self, path: str) -> Page:
        """A page. Raises PageError unless it comes with status 200."""
        return self._page(self._client.get(path))

    def submit(self, form: Form) -> Page:
        """The page that answers to a form. Raises PageError unless it comes with status 200."""
        if form.method == "get":
            return self._page(self._client.get(form.action, params=form.values))
        origin = f"{urlsplit(form.action).scheme}://{urlsplit(form.action).netloc}"
        headers = {"Origin": origin, "Referer": form.action}
        return self._page(self._client.post(form.action, data=form.values, headers=headers))

    def log_in(self, username: str, password: str) -> None:
        """Log in to the admin. Raises PageError when it does not let the account in."""
        form = self.get("/admin/login/?next=/admin/").form("login-form")
        page = self.submit(form.filled({"username": username, "password": password}))
        if "/login/" in page.url:
            raise PageError(f"{username} could not log in.")

    @staticmethod
    def _page(answer: httpx.Response) -> Page:
        if answer.status_code != 200:
            raise PageError(f"{answer.url} answered {answer.status_code}: {answer.text[:500]}")
        return Page(str(answer.url), answer.text)
