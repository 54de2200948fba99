"""The pages of this face, for people who look around in a browser."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

from rest_framework.exceptions import APIException
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request

MOST_SHOWN: Final = 256 * 1024
"""Characters of an answer that a page shows; searching more of them for links takes long."""


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
        if request.method == "POST":
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
        context["operations"] = [
            {
                "words": name.replace("_", " ").capitalize(),
                "url": f"{answer['url']}{name.replace('_', '-')}/",
                "body": _written(view.example_of(name)),
            }
            for name in answer.get("permitted_operations", ())
        ]
        return context


def _written(body: Any) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)
