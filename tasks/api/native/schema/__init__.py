"""The OpenAPI document of this face, made by drf-spectacular from what views and tables declare."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import ResolvedComponent

from . import authentication
from .documents import DOCUMENTS, one_of
from .operations import CODE_GROUPS, TAGS, OperationSchema
from .parameters import ANSWER_HEADERS, FILTER, HEADERS

__all__ = ["Generator", "OperationSchema", "of_this_face"]

_authentication: Final = authentication  # imported, its extensions are known to drf-spectacular


def of_this_face(endpoints: list[Any]) -> list[Any]:
    """The routes that the document is about."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/")]


class Generator(SchemaGenerator):
    """Makes the document."""

    def coerce_path(self, path: str, method: str, view: Any) -> str:
        """An address with the names that its parameters have in the document."""
        return path.replace("{pk}", "{id}")

    def get_schema(self, request: Any = None, public: bool = False) -> dict[str, Any]:
        """The document."""
        kinds: list[tuple[str, dict[str, Any]]] = [
            (ResolvedComponent.SCHEMA, {**DOCUMENTS, "Filter": FILTER}),
            (
                ResolvedComponent.SCHEMA,
                {name: one_of(codes) for name, codes in CODE_GROUPS.items()},
            ),
            (ResolvedComponent.HEADER, ANSWER_HEADERS),
            (
                ResolvedComponent.PARAMETER,
                {name: {"in": "header", "name": name, **told} for name, told in HEADERS.items()},
            ),
        ]
        for kind, components in kinds:
            for name, schema in components.items():
                self.registry.register(ResolvedComponent(name, kind, schema, object=name))
        document: dict[str, Any] = super().get_schema(request, public)  # type: ignore[no-untyped-call]
        document["tags"] = [{"name": tag, "description": words} for tag, words in TAGS.items()]
        return document
