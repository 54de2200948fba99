"""Fields that take a value for what it is, and bodies that refuse what they do not know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, ClassVar, Final
from uuid import UUID

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from tasks import people
from tasks.api.native.errors import MOST_ERRORS
from tasks.errors import TooManyTasks
from tasks.people import Reference
from tasks.uuid7 import uuid_of

MOST_IDS: Final = 100_000
"""How many ids one call may name."""

MOST_NAMES: Final = 100
"""How many users, and how many groups, may be named at once."""

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Text(serializers.CharField):
    """A text; kept as it was sent, spaces included."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        """The text; a number is none."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """An integer; a text of digits is none, nor is true."""

    def to_internal_value(self, data: Any) -> int:
        """The number."""
        if type(data) is not int:
            self.fail("invalid")
        return data


class Flag(serializers.BooleanField):
    """True or false, not something like it."""

    def to_internal_value(self, data: Any) -> bool:
        """The flag."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Moment(serializers.DateTimeField):
    """A point in time as RFC 3339 writes it: with seconds and an offset."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": "This is no RFC 3339 date and time with an offset, as 2030-01-31T12:00:00Z."
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(default_timezone=UTC, **options)

    def to_internal_value(self, value: Any) -> Any:
        """The point in time."""
        if not isinstance(value, str) or not _RFC3339.fullmatch(value):
            self.fail("invalid")
        return super().to_internal_value(value.upper())

    def to_representation(self, value: Any) -> str:
        """The time in UTC."""
        text: str = value.astimezone(UTC).isoformat()
        return text.replace("+00:00", "Z")


class Document(serializers.JSONField):
    """A JSON object with any members."""

    default_error_messages: ClassVar[dict[str, Any]] = {"object": "This has to be an object."}

    def to_internal_value(self, data: Any) -> Any:
        """The object."""
        if not isinstance(data, dict):
            self.fail("object")
        return data


class TaskId(serializers.Field[UUID, str, str, Any]):
    """The id of a task."""

    default_error_messages: ClassVar[dict[str, Any]] = {"invalid_id": "This is not a UUID."}

    def to_internal_value(self, data: Any) -> UUID:
        """The id."""
        found = uuid_of(data)
        if found is None:
            self.fail("invalid_id")
        return found

    def to_representation(self, value: UUID) -> str:
        """The id in lower case."""
        return str(value)


class Ids(serializers.Field[dict[UUID, int | None], Any, Any, Any]):
    """Tasks by id, each once in the order asked, with the version expected where one is given.

    A task is written as its id, or as {"id": ..., "version": ...}.
    """

    default_error_messages: ClassVar[dict[str, Any]] = {"not_a_list": "This has to be a list."}

    def to_internal_value(self, data: Any) -> dict[UUID, int | None]:
        """The versions by id. Raises TooManyTasks besides ValidationError."""
        if not isinstance(data, list):
            self.fail("not_a_list")
        if len(data) > MOST_IDS:
            raise TooManyTasks(count=len(data), limit=MOST_IDS)
        found: dict[UUID, int | None] = {}
        wrong: dict[int, Any] = {}
        for position, item in enumerate(data):
            problem = self._take(item, found)
            if problem:
                wrong[position] = problem
                if len(wrong) == MOST_ERRORS:
                    break
        if wrong:
            raise ValidationError(wrong)  # type: ignore[arg-type]
        return found

    def _take(self, item: Any, found: dict[UUID, int | None]) -> Any:
        """Put one item into `found`; what is wrong with it, if anything."""
        version = None
        if isinstance(item, dict):
            unknown = item.keys() - {"id", "version"}
            if unknown:
                return {name: [UNKNOWN_FIELD] for name in sorted(unknown)}
            version, item = item.get("version"), item.get("id")
            if version is not None and (type(version) is not int or version < 1):
                return {"version": [ErrorDetail("This is no version.", "invalid")]}
        pk = uuid_of(item)
        if pk is None:
            return [ErrorDetail("This is not the id of a task.", "invalid_id")]
        known = found.setdefault(pk, version)
        if known is None:
            found[pk] = version
        elif version not in (None, known):
            return {"version": [ErrorDetail("The same task is named twice.", "contradiction")]}
        return None

    def to_representation(self, value: Any) -> Any:
        """Not answered with."""
        raise NotImplementedError


class Names(serializers.ListField):
    """Names of users or groups."""

    child = Text(max_length=150)

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "max_length": MOST_NAMES, **options})


# --- Bodies --------------------------------------------------------------------------------------

UNKNOWN_FIELD: Final = ErrorDetail("There is no such field.", "unknown_field")
READ_ONLY: Final = ErrorDetail("This cannot be changed here.", "read_only")


class Strict(serializers.Serializer[Any]):
    """Input that refuses unknown fields by name.

    A field that is named like a keyword of Python ends with an underscore in the class only.
    """

    example: ClassVar[dict[str, Any]] = {}
    """A body that shows what is meant; browsers get it to start from."""
    only_shown: ClassVar[frozenset[str]] = frozenset()
    """Unknown fields that clients know from the document they read."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """The fields by the names they have in a body."""
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}

    def to_internal_value(self, data: Any) -> Any:
        """The values; raises ValidationError with all that is wrong."""
        wrong: dict[str, Any] = {}
        if isinstance(data, Mapping):
            wrong = {
                name: [READ_ONLY if name in self.only_shown else UNKNOWN_FIELD]
                for name in data
                if name not in self.fields
            }
        try:
            found = super().to_internal_value(data)
        except ValidationError as error:
            wrong |= error.detail  # type: ignore[arg-type]
        if wrong:
            raise ValidationError(wrong)
        return found


class Person(Strict):
    """A user or a group by name: {"user": ...} or {"group": ...}."""

    user = Text(required=False, max_length=150)
    group = Text(required=False, max_length=150)

    def to_internal_value(self, data: Any) -> Reference:
        """The reference, not looked up yet."""
        named = super().to_internal_value(data)
        if len(named) != 1:
            raise ValidationError("Name either a user or a group.", "one_of_two")
        return people.user(named["user"]) if "user" in named else people.group(named["group"])


class Holders(Strict):
    """Users and groups by name: {"users": [...], "groups": [...]}."""

    users = Names()
    groups = Names()

    def to_internal_value(self, data: Any) -> Sequence[Reference]:
        """The references, users first, not looked up yet."""
        named = super().to_internal_value(data)
        users = map(people.user, named.get("users", ()))
        return [*users, *map(people.group, named.get("groups", ()))]
