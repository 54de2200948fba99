"""The pages of this face, for people who look around in a browser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from rest_framework.exceptions import APIException
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.reverse import reverse

from tasks.uuid7 import uuid_of

from .uploads import is_form

MOST_SHOWN: Final = 256 * 1024
"""Characters of an answer that a page shows; searching more of them for links takes long."""

WIDEST: Final = 80
"""Characters of a value that a table shows."""

EVERYDAY: Final = {
    "claim": "Claim",
    "complete": "Complete",
    "release": "Release",
    "transfer": "Hand over",
    "suspend": "Put on hold",
    "resume": "Resume",
}
"""The operations that people use every day, in the words they know them by."""


def spoken(name: str) -> str:
    """What people call an operation."""
    return EVERYDAY.get(name) or name.replace("_", " ").capitalize()


class Pages(BrowsableAPIRenderer):
    """An answer as a page, with links, and a form for each operation that is permitted."""

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        """None: bodies are JSON, so the forms are those of `get_raw_data_form`."""
        return None

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        """The body to start from, as text; None where the method is not offered."""
        example = view.example
        if method != "POST" or "POST" not in view.allowed_methods or request.user is None:
            return None
        if request.method == "POST" and not is_form(request):
            with suppress(APIException):
                example = request.data or example  # what was sent, to be mended
        return _written(example)

    def get_content(self, *args: Any, **kwargs: Any) -> str:
        """The answer as text; a very long one is not shown."""
        content: str = super().get_content(*args, **kwargs)
        if len(content) > MOST_SHOWN:
            return "This answer is too long for a page; ask for it as JSON (format=json)."
        return content

    def get_breadcrumbs(self, request: Request) -> list[tuple[str, str]]:
        """The pages above this one; `tasks/bulk/` is none."""
        crumbs: list[tuple[str, str]] = super().get_breadcrumbs(request)
        return [crumb for crumb in crumbs[:-1] if not crumb[1].endswith("/tasks/bulk/")]

    def get_context(self, data: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What the template is filled with."""
        context: dict[str, Any] = super().get_context(data, *args, **kwargs)
        answer = data if isinstance(data, dict) else {}
        view, request = context["view"], context["request"]
        succeeded = context["response"].status_code < 400
        context["pages"] = {name: answer.get(name) for name in ("previous", "next")}
        context["takes_file"] = getattr(view, "operation", "") == "attach"
        context["takes_ids"] = context["takes_file"] and "pk" not in view.kwargs
        context["only_sends"] = context["response"].status_code == 405
        context["problem"] = "" if succeeded else answer.get("type", "")
        context["subject"] = _subject(answer) if succeeded else ""
        context["links"] = view.links(answer) if succeeded else {}
        context["table"] = _table(view.columns, answer, request)
        context["offers"] = [
            {"words": words, "url": url, "body": _written(body), "method": method}
            for words, url, body, method in (view.offers(answer) if succeeded else ())
        ]
        resources = getattr(view, "resources", {})
        context["resources"] = {
            reverse(f"native:{name}", request=request): (name, words)
            for name, words in resources.items()
        }
        context["here"] = here = request.build_absolute_uri(request.path)
        context["subject_url"] = answer.get("url") if answer.get("url") != here else None
        context |= _offered(view, answer)
        return context


def _subject(answer: Mapping[str, Any]) -> str:
    """What a document is about, in its own words."""
    if "id" not in answer:
        return ""
    names = (answer.get(name) for name in ("name", "username", "operation", "hint"))
    return next((name for name in names if name), "")


def _table(
    columns: Sequence[str], answer: Mapping[str, Any], request: Request
) -> dict[str, Any] | None:
    """The rows of a list in short, each with the address it leads to; None where there are none."""
    rows = answer.get("results")
    if not rows:
        return None
    shown = [column for column in columns if any(column in row for row in rows)]
    if not shown:
        return None
    return {
        "heads": [column.removesuffix("_label").replace("_", " ") for column in shown],
        "rows": [
            {
                "url": _address(row, request),
                "cells": [
                    {"text": _cell(column, row.get(column)), "is_time": _is_time(column)}
                    for column in shown
                ],
            }
            for row in rows
        ],
    }


def _address(row: Mapping[str, Any], request: Request) -> str | None:
    """Where a row leads to: itself, or the task it is about."""
    if "url" in row:
        return row["url"]  # type: ignore[no-any-return]  # or None, for what has no address
    task = row.get("task", row).get("id")
    if not isinstance(task, str) or uuid_of(task) is None:
        return None
    return str(reverse("native:task", args=[task], request=request))


def _is_time(column: str) -> bool:
    return column == "at" or column.endswith("_at")


def _cell(column: str, value: Any) -> str:
    """A value in short; times to the minute."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = str(value)
    if _is_time(column):
        return text[:16].replace("T", " ")
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _offered(view: Any, task: dict[str, Any]) -> dict[str, Any]:
    """What the page of a task offers: `everyday` operations, `more` of them, and `refused` ones.

    Of putting on hold and resuming the one that makes sense is shown.
    """
    found: dict[str, list[dict[str, Any]]] = {"everyday": [], "more": [], "refused": []}
    for answer in getattr(view, "answers", ()):
        name = answer.name
        offer = {
            "words": spoken(name),
            "url": f"{task['url']}{name.replace('_', '-')}/",
            "refusal": answer.error and answer.error.text,
        }
        if answer.error is None:
            offer |= {"body": _written(view.example_of(name)), "is_file": name == "attach"}
        if name in EVERYDAY and name != ("suspend" if task["on_hold"] else "resume"):
            found["everyday"].append(offer)
        else:
            found["more" if answer.error is None else "refused"].append(offer)
    order = list(EVERYDAY.values())
    found["everyday"].sort(key=lambda offer: order.index(offer["words"]))
    return {**found, "of_many": getattr(view, "of_many", {})}


def _written(body: Any) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)
