"""Bodies that show what is meant: those the views start from, with people and texts of the demo."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.serializers import Serializer

from tasks.api.native.serializers.inputs import Forward

_TEXTS: Final[dict[tuple[str, ...], Any]] = {
    ("to", "user"): "alice",
    ("from", "user"): "bob",
    ("to", "group"): "field",
    ("from", "group"): "noc",
    ("potential_owner", "groups"): ["noc"],
    ("people", "users"): ["alice", "bob"],
    ("actor",): "bob",
    ("reason",): "The shift is over.",
    ("text",): "The spare part has arrived.",
    ("description",): "The router on the roof.",
    ("fault_name",): "no_spare_part",
    ("name",): "plan.txt",
    ("content",): "QSBwbGFuLgo=",
    ("ids",): [],
}


def example_of(body: type[Serializer[Any]]) -> Any:
    """The example of a body; None where it has none, or takes nothing."""
    example = getattr(body, "example", None)
    if not example:
        return None
    if issubclass(body, Forward):  # who gives away a group's part has to name the group
        example = {**example, "from": {"group": ""}}
    return _filled(example, ())


def _filled(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, (*path, name)) for name, inner in value.items()}
    if value not in ("", []):
        return [_filled(one, path) for one in value] if isinstance(value, list) else value
    return _TEXTS.get(path[-2:], _TEXTS.get(path[-1:], value))
