"""JSON Schemas of task output: compiled once, checked without ever fetching anything."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NoReturn

import jsonschema_rs

from .errors import InvalidArgument
from .models import canonical

MOST_ERRORS = 20
LONGEST_DETAIL = 300


def _refuse_reference(uri: str) -> NoReturn:
    raise ValueError(f"references are not followed: {uri}")


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    return jsonschema_rs.validator_for(
        schema,
        retriever=_refuse_reference,
        mask="the value",  # messages are stored and shown where secret values must not be
        pattern_options=jsonschema_rs.RegexOptions(),  # linear time, whatever the pattern
    )


def check_schema(schema: Any) -> None:
    """Raise InvalidArgument unless `schema` is a JSON Schema that can be used here."""
    try:
        _validator(canonical(schema))
    except jsonschema_rs.ValidationError as error:
        raise InvalidArgument(field="output_schema", why=_shortened(error.message)) from None


def _shortened(message: str) -> str:
    """A message without the rest of a large value or schema that it quotes."""
    return message if len(message) <= LONGEST_DETAIL else message[:LONGEST_DETAIL] + "…"


def mismatches(schema: Any, value: Any) -> list[dict[str, str]]:
    """Where `value` departs from `schema`: [{pointer, detail}], empty when it matches."""
    found = []
    for error in _validator(canonical(schema)).iter_errors(value):
        pointer = "".join(
            "/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.instance_path
        )
        found.append({"pointer": pointer, "detail": _shortened(error.message)})
        if len(found) == MOST_ERRORS:
            break
    return found
