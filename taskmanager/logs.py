"""Logs: one line a record, with the request that it belongs to, and never a secret."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor

FORMATS: Final = ("json", "text")
REDACTED: Final = "[redacted]"
LONGEST_TEXT: Final = 2000
DEEPEST: Final = 4

_SECRET_NAME: Final = re.compile(
    r"passw|passphrase|secret|token|authorization|cookie|session|credential|csrf|api_?key"
    r"|private_?key|signature|digest|query|body",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"""
    (?P<before>
        \b(?:authorization|cookie)["']?\s*[:=]\s*["']?  (?=(?P<header>[^\n]+))
      | (?:token|passw(?:or)?d|secret|sessionid|api_?key)["']?\s*[:=]\s*["']?
      | \b(?:basic|bearer)\s+(?=[\w+/=.-]{8})
      | ://[^\s/@:]*:(?=[^\s/@]*@)
      | \b(?=htm_[\w-]{8})
    )
    (?(header)[^\n]+|[^\s&;,"'@]+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Secrets by what stands before them: headers, parameters, credentials in a URL, API tokens."""


def configuration(form: str, level: str) -> dict[str, Any]:
    """The LOGGING setting: every record to standard error, as JSON or as lines for people.

    `form` is "json" or "text"; raises ValueError for another.
    """
    if form not in FORMATS:
        raise ValueError(f"LOG_FORMAT is {' or '.join(FORMATS)}, not {form!r}.")
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=_name_of_type, ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    processors = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception_as_text,
        _complete_and_clean,
    ]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": processors,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    renderer,
                ],
            },
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        # Libraries say at lower levels what is nobody's business: whole addresses, for instance.
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            **{package: {"level": level} for package in ("accounts", "tasks", "taskmanager")},
            # Whatever the level: each seal of the audit has to be known outside the database too.
            "tasks.seals": {"level": "INFO"},
            "django": {"handlers": [], "level": "WARNING", "propagate": True},
            "django.request": {"level": "ERROR"},  # a refused call is no fault of the server
            "django.security": {"level": "CRITICAL"},  # nor is a refused host
        },
    }


def _exception_as_text(_: Any, __: str, event: EventDict) -> EventDict:
    """The trace of an exception in place of the exception itself."""
    found = event.pop("exc_info", None)
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["exception"] = trace_of(error)
    return event


def trace_of(error: BaseException) -> str:
    """Where an exception came from, with those that led to it, first cause first.

    No local variables; of each message the first line, since PostgreSQL's further ones quote rows.
    """
    parts: list[str] = []
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        said = str(current).partition("\n")[0]
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{frames}{type(current).__module__}.{type(current).__qualname__}: {said}")
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    return "\n\nwhich led to:\n\n".join(reversed(parts))


def _complete_and_clean(_: Any, __: str, event: EventDict) -> EventDict:
    """Every line with a request id, null outside of requests; no value that could be a secret.

    What is logged should hold none in the first place; this is the second line of defence.
    """
    # Django's own records carry the request itself, which, printed, would show its query string.
    request = event.pop("request", None)
    event.setdefault("request_id", getattr(request, "request_id", None))
    return {name: _clean(name, value) for name, value in event.items()}


@lru_cache(1000)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _clean(name: str, value: Any, depth: int = 0) -> Any:
    if _is_secret(name):
        return REDACTED
    if isinstance(value, str):
        text = _SECRET_TEXT.sub(rf"\g<before>{REDACTED}", value)
        return text if name == "exception" else text[:LONGEST_TEXT]
    if value is None or isinstance(value, (bool, int, float)) or name.startswith("_"):
        return value
    if depth < DEEPEST and isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner, depth + 1) for key, inner in value.items()}
    if depth < DEEPEST and isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", inner, depth + 1) for inner in value]
    return _name_of_type(value)


def _name_of_type(value: Any) -> str:
    return f"<{type(value).__name__}>"
