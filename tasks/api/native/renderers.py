"""The pages of this face, for people who look around in a browser."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

from rest_framework.exceptions import APIException
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request

from .uploads import is_form

MOST_SHOWN: Final = 256 * 1024
"""Characters of an answer that a page shows; searching more of them for links takes long."""

EVERYDAY: Final = {
    "claim": "Claim",
    "complete": "Complete",
    "release": "Release",
    "transfer": "Hand over",
    "suspend": "Put on hold",
    "resume": "Resume",
}
"""The operations that people use every day, in the words they know them by."""

PARTS: Final = {
    "comments": "Comments",
    "attachments": "Attachments",
    "subtasks": "Subtasks",
    "roles": "Task roles",
    "permitted-operations": "Permitted operations",
}
"""What a page of a task leads to, by the end of its address."""


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

    def get_context(self, data: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What the template is filled with."""
        context: dict[str, Any] = super().get_context(data, *args, **kwargs)
        answer = data if isinstance(data, dict) else {}
        view = context["view"]
        context["pages"] = {name: answer.get(name) for name in ("previous", "next")}
        context["takes_file"] = getattr(view, "operation", "") == "attach"
        context["takes_ids"] = context["takes_file"] and "pk" not in view.kwargs
        context |= _offered(view, answer)
        return context


def _offered(view: Any, task: dict[str, Any]) -> dict[str, Any]:
    """What the page of a task offers: `everyday` operations, `more` of them, and `refused` ones.

    Of putting on hold and resuming the one that makes sense is shown.
    """
    found: dict[str, list[dict[str, Any]]] = {"everyday": [], "more": [], "refused": []}
    for answer in getattr(view, "answers", ()):
        name = answer.name
        offer = {
            "words": EVERYDAY.get(name) or name.replace("_", " ").capitalize(),
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
    return {**found, "parts": PARTS if getattr(view, "answers", ()) else {}}


def _written(body: Any) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)
