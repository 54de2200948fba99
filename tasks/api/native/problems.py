"""What each error code means, when it comes and what to do: as data, and as pages for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path

from tasks import errors
from tasks.api.middleware import refuse
from tasks.errors import Refusal

from .errors import STATUSES, title_of


@dataclass(frozen=True)
class Explained:
    """One code: its status, what it means and when it comes, and what to do about it."""

    status: int
    means: str
    remedy: str

    @property
    def status_name(self) -> str:
        """The status in words."""
        return SAID[self.status][0]


_LOOK_AGAIN: Final = "Read the task again, and decide anew: permitted_operations says what goes."
_NAME_ANOTHER: Final = "Name somebody else; GET /api/v1/users/ and /groups/ list who there is."
_ASK: Final = "Ask somebody who may, or have an administrator give you the role."
_MEND: Final = "Mend the request; sent again as it is, it will be refused again."
_LATER: Final = "Try again after the seconds that Retry-After says, with the same Idempotency-Key."

REFUSALS: Final[dict[type[Refusal], tuple[str, str]]] = {
    errors.TaskNotFound: (
        "There is no task with this id, or none that you may know of; the two look the same.",
        "Check the id. If somebody else sees the task, you hold no role on it.",
    ),
    errors.NotAuthorized: (
        "You see the task, but your roles on it, or those of your account, do not allow this.",
        "GET permitted-operations of the task says what you may do. " + _ASK,
    ),
    errors.InvalidTaskState: (
        "The rules do not allow this in the state that the task is in: somebody else may have been "
        "faster.",
        _LOOK_AGAIN,
    ),
    errors.TaskSuspended: ("The task is on hold.", "Resume it first, or wait until it wakes up."),
    errors.NotSuspended: ("There is nothing to resume: the task is not on hold.", _LOOK_AGAIN),
    errors.NotSkippable: (
        "The task does not say that it may be skipped.",
        "Complete it, or have an administrator of the task set skippable or end it by exit.",
    ),
    errors.SubtasksOpen: (
        "A task cannot be removed before its subtasks have ended.",
        "End the subtasks first; GET subtasks of the task lists those that you see.",
    ),
    errors.WrongKind: (
        "An engine works this task, not a person.",
        "Leave it to the engine; it can be completed by nobody else.",
    ),
    errors.StaleTask: (
        "If-Match, or the version given beside an id, does not name the version of the task now.",
        "Read the task, see what has changed, and send the call with the version it has now.",
    ),
    errors.AlreadyOwner: (
        "The task is held already, by the one who would get it.",
        "Nothing is left to do if that is as it should be; else read the task again.",
    ),
    errors.AlreadyGranted: ("Who would get the role has it already.", "Nothing is left to do."),
    errors.NoSuchWorkItem: (
        "Who would give the role away does not hold it on this task himself.",
        "GET roles of the task says who holds which; name the one who does in from.",
    ),
    errors.TargetNotEligible: (
        "The receiver may not have this task: excluded, or not a potential owner where you may "
        "give it to those alone.",
        _NAME_ANOTHER,
    ),
    errors.LastAdministrator: (
        "A task always has an administrator, and this would take the last one away.",
        "Grant the role to somebody else first.",
    ),
    errors.InvalidOutput: (
        "The task carries a schema for its output, and the output does not match it.",
        "errors points to each place that does not match; output_schema of the task has the rules.",
    ),
    errors.ReasonRequired: (
        "Doing this to a task of somebody else, or for good, takes a reason; all else is in order.",
        "Send reason in the body.",
    ),
    errors.NotAttempted: (
        "A later part of a large call was not reached. These tasks are as they were.",
        "Send the call again for those tasks.",
    ),
    errors.NothingToUndo: (
        "What the operation changed has been changed again since, so nothing can be put back.",
        "Read the events of the task; what they say was done can be done again by hand.",
    ),
    errors.TooLateToUndo: (
        "An undo is possible for some time only.",
        "Do by hand what should be done; the events of the task say what was changed.",
    ),
    errors.NotPermitted: (
        "The roles of your account, or the limits of your token, do not allow this call at all.",
        "GET /api/v1/me/ says what you may do. " + _ASK,
    ),
    errors.UnknownUser: ("There is no account of this name.", _NAME_ANOTHER),
    errors.UnknownGroup: (
        "There is no group of this name, or none that you know of.",
        _NAME_ANOTHER,
    ),
    errors.UnknownRole: (
        "There is no such task role, or none that can be given away here.",
        "GET roles of the task lists the task roles, and which can be granted.",
    ),
    errors.TargetInactive: ("Who would get the work is inactive.", _NAME_ANOTHER),
    errors.TargetEmpty: ("The group has no active member, so nobody would do it.", _NAME_ANOTHER),
    errors.InvalidArgument: (
        "A member of the body has a value that the operation cannot use; errors says which.",
        _MEND,
    ),
    errors.Irreversible: (
        "What this operation did cannot be put back: a comment was read, a task is gone.",
        "Make good by hand; the operation and its items say what was done.",
    ),
    errors.NotAllDone: (
        "The call was to be all or nothing (atomic), and some tasks would have been refused.",
        "refused says which and why. Leave those out, or send the call without atomic.",
    ),
    errors.StillRunning: (
        "A bulk operation can be undone or repeated only when it has ended.",
        "Wait until its status is done, or cancel it.",
    ),
    errors.AlreadyFinished: (
        "There is nothing left to cancel: the operation has ended.",
        "Undo it, if what it did should not stand.",
    ),
    errors.ExternalIdTaken: (
        "A task with this source and external_id exists, and it was made by another body.",
        "Take another external_id, or send the very body by which the task was made.",
    ),
    errors.FileTooLarge: ("A file is larger than what may be attached.", "Attach a smaller one."),
    errors.TooManyTasks: (
        "A call names more tasks than it may, or than your roles let you change at once.",
        "Send several calls. bulk_limit of GET /api/v1/me/ is the limit of your account.",
    ),
    errors.KeyReused: (
        "This Idempotency-Key was sent within the last 24 hours, with another request.",
        "Make a new key for each new call; a retry repeats method, address and body exactly.",
    ),
    errors.KeyInUse: (
        "The first request with this Idempotency-Key has not been answered yet.",
        "Wait a moment and send it again: you get the answer of the first.",
    ),
}
"""What the reasons of the core mean, and what to do: every class has its line."""

_OTHERS: Final[dict[int, dict[str, tuple[str, str]]]] = {
    400: {
        "invalid_parameter": (
            "A query parameter is unknown, given too often, or has a value it cannot have.",
            "errors names each parameter at fault and says what it takes.",
        ),
        "invalid_header": (
            "A header such as If-Match or Idempotency-Key is malformed, or has no place here.",
            "The detail says what is expected.",
        ),
        "invalid_id": ("The id in the address is not written as ids are.", _MEND),
        "invalid_body": (
            "The body is JSON, but some members are unknown, missing or of the wrong kind.",
            "errors points to each member at fault.",
        ),
        "not_an_object": (
            "The body is JSON, but not an object.",
            'Send an object, as in {"...": 1}.',
        ),
        "empty_body": ("The body is announced, but holds nothing but white space.", _MEND),
        "invalid_json": ("The body is not JSON.", "The detail says where reading stopped."),
        "invalid_utf8": ("The address or the body is not UTF-8.", _MEND),
        "byte_order_mark": ("The body begins with a byte order mark.", "Send it without."),
        "nul_character": ("There is a NUL character, which no text here may hold.", _MEND),
        "lone_surrogate": ("A text holds half of a surrogate pair, so it is no text.", _MEND),
        "duplicate_key": ("An object of the body has the same key twice.", _MEND),
        "too_many_keys": ("An object of the body has more than 2,000 keys.", _MEND),
        "too_deep": ("The body is nested more than 64 levels deep.", _MEND),
        "string_too_long": (
            "A text of the body has more than 64 KiB; task data alone may be longer.",
            _MEND,
        ),
        "not_a_number": ("NaN and Infinity are no JSON.", _MEND),
        "number_out_of_range": ("A number does not fit into 64 bits.", _MEND),
        "too_many_parts": ("A form has too many parts, or too long texts in them.", _MEND),
        "unreadable_body": ("The body broke off, or its parts cannot be told apart.", _MEND),
        "too_many_parameters": ("The address has more than 1,000 parameters.", _MEND),
        "method_override": ("A header tries to override the method.", "Send the method itself."),
        "ambiguous_length": ("Content-Length and Transfer-Encoding are both there.", _MEND),
        "invalid_content_length": ("The Content-Length is not a number.", _MEND),
        "bad_request": ("The request is malformed, or for a host that is not this one.", _MEND),
        "invalid_request": (
            "A parameter of a token request is given twice, or the client is named in two ways.",
            _MEND,
        ),
        "unsupported_grant_type": (
            "Tokens are given for client credentials alone.",
            "Send grant_type=client_credentials.",
        ),
        "invalid_scope": (
            "The scope has an unknown word, or more than the secret of the client covers.",
            "A scope is read, or names of operations.",
        ),
    },
    401: {
        "not_authenticated": (
            "The call says not who sends it.",
            "Send the header Authorization: Bearer with a token, or log in.",
        ),
        "authentication_failed": (
            "The token is unknown, expired or revoked, or the account is not active.",
            "Issue a new token, or have the account looked at.",
        ),
        "invalid_client": (
            "The client or its secret is not known.",
            "Check both; client_id is that of the account for which the secret was issued.",
        ),
    },
    403: {
        "csrf_failed": (
            "A write with the session of a browser came without the CSRF token.",
            "Send the header X-CSRFToken, or use a token in place of the session.",
        ),
    },
    404: {
        "not_found": (
            "There is nothing at this address, or nothing that you may know of.",
            "Check the address: each one ends with a slash, and links in answers lead right.",
        ),
    },
    405: {
        "method_not_allowed": (
            "The address is right, but the method is none of its own.",
            "The header Allow says which ones it has.",
        ),
    },
    406: {
        "not_acceptable": (
            "Accept asks for what cannot be had here.",
            "Accept application/json, or send no Accept at all.",
        ),
    },
    411: {
        "length_required": (
            "The body came without its length.",
            "Send Content-Length; bodies in chunks of unknown number are not read.",
        ),
    },
    413: {
        "body_too_large": ("The body is larger than this address takes.", "Send less at once."),
    },
    414: {"url_too_long": ("The address is longer than 8 KiB.", "Use fewer or shorter filters.")},
    415: {
        "unsupported_media_type": (
            "The body is of a type that is not read here.",
            "Send Content-Type: application/json.",
        ),
        "unsupported_charset": ("The body is in another charset than UTF-8.", "Send UTF-8."),
        "content_encoding": ("The body is compressed.", "Send it as it is."),
    },
    429: {
        "throttled": (
            "Too many calls in a minute, or too many wrong passwords.",
            "Wait for the seconds that Retry-After says.",
        ),
    },
    500: {
        "internal_error": (
            "A fault of the server. It was logged, and nothing was changed.",
            "Tell whoever runs the server, with the request_id.",
        ),
    },
    503: {
        "database_unavailable": ("The database does not answer, or is too busy.", _LATER),
        "unavailable": ("The server cannot answer now.", _LATER),
    },
}
"""What is wrong with a call before the core is asked: by status, what it means, what to do."""

PROBLEMS: Final[dict[str, Explained]] = {
    **{
        code: Explained(status, *words)
        for status, codes in _OTHERS.items()
        for code, words in codes.items()
    },
    **{kind.code: Explained(STATUSES[kind], *words) for kind, words in REFUSALS.items()},
}
"""Every code that a problem document of this face may carry."""

STATUS_OF: Final = {code: each.status for code, each in PROBLEMS.items()}

# --- Which of them may come where ----------------------------------------------------------------

OF_EVERY_CALL: Final = frozenset(
    "invalid_parameter invalid_header invalid_utf8 nul_character too_many_parameters bad_request "
    "method_override ambiguous_length invalid_content_length not_acceptable length_required "
    "body_too_large url_too_long unsupported_charset content_encoding throttled internal_error "
    "database_unavailable unavailable".split()
)
OF_LOG_INS: Final = frozenset({"not_authenticated", "authentication_failed"})
OF_WRITES: Final = frozenset({"unreadable_body", "unsupported_media_type"})
OF_BODIES: Final = frozenset(
    "invalid_body not_an_object empty_body invalid_json byte_order_mark lone_surrogate "
    "duplicate_key too_many_keys too_deep string_too_long not_a_number "
    "number_out_of_range".split()
)
OF_FORMS: Final = frozenset({"too_many_parts"})
OF_KEYS: Final = frozenset({errors.KeyReused.code, errors.KeyInUse.code})
OF_OAUTH: Final = frozenset(
    "invalid_request unsupported_grant_type invalid_scope invalid_client too_many_parts".split()
)

SAID: Final = {
    400: ("Malformed", "The call is malformed, or says what cannot be used."),
    401: ("Unknown caller", "It is not known who asks."),
    403: ("Not permitted", "Known, but not permitted."),
    404: ("Not found", "There is no such thing, or none that the account may know of."),
    405: ("Method not allowed", "The address has no such method."),
    406: ("Not acceptable", "There is no answer of the type that Accept asks for."),
    409: ("Conflict", "The task, or what else is acted on, does not allow it now."),
    411: ("Length required", "The length of the body has to be said."),
    412: ("Changed meanwhile", "The version is another one than If-Match names."),
    413: ("Too large", "Too much at once."),
    414: ("Address too long", "The address is too long."),
    415: ("Unsupported body", "The body is of a type or charset that is not read here."),
    422: ("Key reused", "The Idempotency-Key was used for another request."),
    429: ("Too many calls", "Too many calls."),
    500: ("Server fault", "A fault of the server, which was logged."),
    503: ("Not available", "The server cannot answer now; Retry-After says when to try again."),
}
"""What each status means: in two words, and in a sentence."""


# --- Pages ----------------------------------------------------------------------------------------


def read_only(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A view that answers GET and HEAD alone."""

    @wraps(view)
    def wrapped(request: HttpRequest, **place: str) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            return view(request, **place)
        answer = refuse(request, 405, "method_not_allowed", "This page can only be read.")
        answer["Allow"] = "GET, HEAD"
        return answer

    return wrapped


@read_only
def index(request: HttpRequest) -> HttpResponse:
    """The page that lists all codes by status."""
    by_status: dict[int, list[Any]] = {}
    for code, each in sorted(PROBLEMS.items(), key=lambda item: (item[1].status, item[0])):
        by_status.setdefault(each.status, []).append((code, each))
    groups = [(status, *SAID[status], rows) for status, rows in sorted(by_status.items())]
    return render(request, "problems/index.html", {"groups": groups})


@read_only
def problem(request: HttpRequest, code: str) -> HttpResponse:
    """The page about one code. Raises Http404 for one that there is not."""
    if code not in PROBLEMS:
        raise Http404
    each = PROBLEMS[code]
    wording = next((kind.message for kind in REFUSALS if kind.code == code), "")
    context = {
        "code": code,
        "title": title_of(code),
        "problem": each,
        "wording": re.sub(r"\{\w+\}", "…", wording).replace("….", "…"),
    }
    return render(request, "problems/problem.html", context)


app_name = "problems"
urlpatterns = [path("", index, name="index"), path("<str:code>/", problem, name="problem")]
