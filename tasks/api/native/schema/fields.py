"""What the fields of this face accept, as JSON Schema: an extension of drf-spectacular each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from rest_framework import serializers

from tasks.actions.fields import LONGEST_FAULT_NAME
from tasks.api.native.serializers import creation, fields, inputs
from tasks.lifecycle import GRANTS, REVOKES, TRANSFERS, UPDATES
from tasks.models import PRIORITIES
from tasks.roles import GRANTED

Schema = dict[str, Any]

UUID_: Final[Schema] = {"type": "string", "format": "uuid"}
MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
VERSION: Final[Schema] = {"type": "integer", "minimum": 1}
WHOLE: Final[Schema] = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
NAMES: Final[Schema] = {"type": "array", "items": {"type": "string"}}

VALUE: Final[Schema] = {"type": ["object", "array", "string", "number", "boolean"]}
"""Any JSON value but null."""


def _field(target: type[Any], schema: Schema, *, subclasses: bool = True) -> None:
    """Say that the fields of a class accept what a schema describes."""

    def map_serializer_field(self: Any, auto_schema: Any, direction: str) -> Schema:
        return {**schema}

    type(
        f"{target.__name__}Schema",
        (OpenApiSerializerFieldExtension,),
        {
            "target_class": target,
            "match_subclasses": subclasses,
            "map_serializer_field": map_serializer_field,
        },
    )


_field(serializers.JSONField, VALUE, subclasses=False)
_field(serializers.SlugRelatedField, {"type": "string"})
_field(fields.Moment, MOMENT)
_field(fields.Whole, WHOLE)
_field(fields.TaskId, UUID_)
_field(fields.Document, {"type": "object", "additionalProperties": {}})
_field(
    inputs.Base64,
    {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    },
)
_field(inputs.Upload, {"type": "string", "format": "binary"})
_field(
    fields.Ids,
    {
        "type": "array",
        "maxItems": fields.MOST_IDS,
        "items": {
            "anyOf": [
                UUID_,
                {
                    "type": "object",
                    "properties": {
                        "id": UUID_,
                        "version": {
                            **VERSION,
                            "type": ["integer", "null"],
                            "maximum": WHOLE["maximum"],
                        },
                    },
                    "required": ["id"],
                    "additionalProperties": False,
                },
            ]
        },
    },
)


class _PeopleSchema(OpenApiSerializerFieldExtension):
    """Users and groups by task role."""

    target_class = creation.People

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        """An object with a member for each role that can be granted."""
        holders = auto_schema.resolve_serializer(fields.Holders, direction).ref
        return {
            "type": "object",
            "properties": {role.value: holders for role in sorted(GRANTED)},
            "additionalProperties": False,
        }


class _JobSchema(OpenApiSerializerFieldExtension):
    """A job by number, by id, or to be made."""

    target_class = creation.JobNamed

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        """One of the three."""
        new = auto_schema.resolve_serializer(creation.NewJob, direction).ref
        return {"anyOf": [WHOLE, {"type": "string", "pattern": "^[0-9a-f]{24}$"}, new]}


def _at_least_one(names: Iterable[str]) -> list[Schema]:
    return [{"required": [name]} for name in sorted(names)]


def _of_many(schema: Schema) -> Schema:
    """The body of a call on many tasks, which names them in one way; a form has one way only.

    What the core demands of a value it demands when there is a task, so that is not said here.
    """
    members = schema["properties"]
    if "file" in members:
        for name in ("filter", "dry_run", "atomic"):
            del members[name]
        members["ids"] = {**members["ids"], "minItems": 1}  # a form says nothing of an empty list
        return {**schema, "required": ["file", "ids"], "additionalProperties": False}
    members["filter"] = {"$ref": "#/components/schemas/Filter"}
    if "output_schema" in members:
        schema["anyOf"] = _at_least_one(UPDATES.keys() & members.keys())
    one_way = [{"required": ["ids"]}, {"required": ["filter"]}]
    return {**schema, "oneOf": one_way, "additionalProperties": False}


_PRIORITY: Final[Schema] = dict(zip(("minimum", "maximum"), PRIORITIES, strict=True))
_NARROWER: Final[dict[type[Any], dict[str, Schema]]] = {
    inputs.Transfer: {"role": {"enum": sorted(TRANSFERS)}},
    inputs.Grant: {"role": {"enum": sorted(GRANTS)}},
    inputs.Revoke: {"role": {"enum": sorted(REVOKES)}},
    inputs.Finish: {"finish_state": {"enum": ["success", "failure"]}},
    inputs.Fault: {"fault_name": {"maxLength": LONGEST_FAULT_NAME}},
    inputs.SetPriority: {"priority": _PRIORITY},
    inputs.Properties: {"priority": _PRIORITY},
}
"""What the core demands of a member beyond what its field does."""


class _StrictSchema(OpenApiSerializerExtension):
    """Bodies refuse members that they do not know."""

    target_class = fields.Strict
    match_subclasses = True

    def get_name(self, auto_schema: Any, direction: Any) -> str:
        """The name, told apart from that of what goes out."""
        return f"{type(self.target).__name__}Input"

    def map_serializer(self, auto_schema: Any, direction: Any) -> Schema:
        """The object, closed."""
        schema: Schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        named = schema.get("properties", {})
        for name, field in self.target.fields.items():
            if isinstance(field, serializers.ListField) and not field.allow_empty:
                named[name]["minItems"] = 1
        if "ids" in named:
            return _of_many(schema)
        for body, members in _NARROWER.items():
            if isinstance(self.target, body):
                for name, more in members.items():
                    schema["properties"][name] |= more
        if isinstance(self.target, fields.Person):
            schema |= {"minProperties": 1, "maxProperties": 1}
        if isinstance(self.target, inputs.Update):
            schema["anyOf"] = _at_least_one(UPDATES.keys() & named.keys())
        return {**schema, "additionalProperties": False}
