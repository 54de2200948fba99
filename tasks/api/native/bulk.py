"""Operations on many tasks: at once, by a worker or only foreseen; and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from uuid import UUID

from django.http import Http404, QueryDict
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import ViewSet

from accounts.models import User
from tasks import actions, bulk, reading
from tasks.actions import ACTIONS, REFERENCES, UNIT, Call, Outcome
from tasks.lifecycle import permission_for
from tasks.lists import NEWEST
from tasks.models import BulkOperation
from tasks.people import tagged
from tasks.uuid7 import uuid_of

from .base import NativeView, Offer, check_parameters, parameter_error, refuse_parameters
from .errors import BadSyntax, entry
from .filters import FILTERS, REPEATABLE
from .listing import ORDERED, WINDOW, Listing, Window
from .pagination import page
from .serializers import Strict, UndoAccount, UndoOperation

ITEMS: Final = ("done", "refused", "pending")
"""The statuses of one task within an operation."""


def act(view: NativeView, name: str, values: dict[str, Any], call: Call) -> Response:
    """Do an operation to the tasks that a call names: at once, put off, or only foreseen.

    `values` are those of the body. Raises ValidationError and what the operation raises.
    """
    ids: dict[UUID, int | None] | None = values.pop("ids", None)
    chosen = values.pop("filter", None)
    foreseen = values.pop("dry_run", False)
    call = replace(call, bulk=True, dry_run=foreseen, atomic=values.pop("atomic", False))
    if chosen is not None:
        versions = _filtered(chosen, call, name)
    else:
        versions = {pk: version or 0 for pk, version in (ids or {}).items()}
    if not foreseen and (chosen is not None or len(versions) > UNIT):
        view.answer_with(lambda stored: accepted(stored, view.request))
        stored = actions.put_off(name, versions, call=call, **values)
        return view.answered or accepted(stored, view.request)
    call = replace(call, versions={pk: version for pk, version in versions.items() if version})
    view.answer_with(lambda outcome: Response(outcome_document(outcome, call)))
    outcome = ACTIONS[name](tuple(versions), call=call, **values)
    if view.answered is not None:
        return view.answered
    document = outcome_document(outcome, call)
    if foreseen and call.actor is not None:
        document |= _foreseen(name, values, outcome, call.actor)
    return Response(document)


def _filtered(chosen: Mapping[str, Any], call: Call, name: str) -> dict[UUID, int]:
    """The tasks that a filter lets through now, by version, as the caller sees them."""
    given = QueryDict(mutable=True)
    for key, value in chosen.items():
        some = value if isinstance(value, list) else [value]
        if key not in FILTERS | ORDERED or not all(isinstance(one, (str, int)) for one in some):
            raise _wrong(key, "unknown_parameter", "The list has no such filter.")
        given.setlist(key, [_word(one) for one in some])
    try:
        check_parameters(given, FILTERS | ORDERED, REPEATABLE)
        listing = Listing.read(given)
    except BadSyntax as error:
        first = error.errors[0]
        raise _wrong(first["parameter"], first["code"], first["detail"]) from None
    if call.actor is None or not call.may(permission_for(name), name):
        return {}
    tasks = listing.of(reading.visible(call.actor), call.actor)
    return dict(tasks.order_by("pk").values_list("pk", "version"))


def _word(value: str | int) -> str:
    """A value as it would stand in an address."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrong(name: str, code: str, detail: str) -> ValidationError:
    return ValidationError({"filter": {name: [ErrorDetail(detail, code)]}})


def outcome_document(outcome: Outcome, call: Call) -> dict[str, Any]:
    """What came of a call on many tasks, or would come of it."""
    return {
        **({"dry_run": True} if call.dry_run else {}),
        "operation_id": None if call.dry_run else outcome.operation_id,
        "counts": {
            "done": len(outcome.done),
            "refused": len(outcome.refused),
            "refused_by_reason": Counter(error.code for error in outcome.refused.values()),
        },
        "done": [
            {"id": str(pk), "version": version, **_kept(outcome.kept.get(pk))}
            for pk, version in outcome.done.items()
        ],
        "refused": [{"id": str(pk), **entry(error)} for pk, error in outcome.refused.items()],
    }


def _kept(kept: Any) -> dict[str, Any]:
    return {"kept": kept} if kept else {}


def _foreseen(
    name: str, arguments: Mapping[str, Any], outcome: Outcome, user: User
) -> dict[str, Any]:
    """Whom the work would go to, and how much each would have."""
    done = tuple(outcome.done)
    strangers = bulk.strangers(name, arguments, done, user)
    return {
        "not_potential_owner": {"count": len(strangers), "ids": [str(pk) for pk in strangers]},
        "loads": [
            {**tagged(load.who), "open_now": load.now, "open_then": load.then}
            for load in bulk.loads(name, arguments, done, user)
        ],
    }


def operation_document(stored: BulkOperation, request: Request) -> dict[str, Any]:
    """An operation without its tasks."""
    total = len(stored.ids)
    return {
        "id": str(stored.pk),
        "url": address(stored.pk, request),
        "operation": stored.operation,
        "arguments": _as_asked(stored.arguments),
        "reason": stored.reason,
        "actor": stored.actor.username if stored.actor else None,
        "channel": stored.channel,
        "request_id": stored.request_id,
        "status": stored.status,
        "created_at": stored.created_at,
        "finished_at": stored.finished_at,
        "counts": {
            "total": total,
            "processed": stored.processed,
            "done": stored.done_count,
            "refused": stored.processed - stored.done_count,
            "refused_by_reason": Counter(one["code"] for one in stored.refused.values()),
        },
        "failure": stored.failure,
        "items": address(stored.pk, request, "-items"),
    }


_ASKED: Final = {"from_": "from", "account": "actor", "since": "from"}
"""What a caller calls those arguments that the core calls otherwise."""


def _as_asked(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation as they would stand in a body."""

    def asked(name: str, value: Any) -> Any:
        if name in REFERENCES:
            return _holder(value)
        return value.replace("+00:00", "Z") if name in ("since", "until") else value

    named = {**kept, **kept.get("values", {})}
    return {
        _ASKED.get(name, name): asked(name, value)
        for name, value in named.items()
        if name != "values"
    }


def _holder(kept: Any) -> Any:
    """A user or group as a caller names them; `by` where that was not by name."""
    if isinstance(kept, list):
        return [_holder(one) for one in kept]
    by = {} if kept["by"] == "name" else {"by": kept["by"]}
    return {kept["kind"]: kept["value"], **by}


def address(pk: UUID, request: Request, part: str = "") -> str:
    """The address of an operation, or of what belongs to it."""
    return str(reverse(f"native:bulk-operation{part}", args=[pk], request=request))


def accepted(stored: BulkOperation, request: Request) -> Response:
    """The answer to a call that a worker carries out."""
    return Response(
        operation_document(stored, request),
        status=202,
        headers={"Location": address(stored.pk, request)},
    )


class BulkOperationViewSet(NativeView, ViewSet):
    """Operations on many tasks: one's own, and all for who administers all tasks."""

    pk: UUID
    window: Window
    start: int
    status: str | None
    repeatable: ClassVar[frozenset[str]] = frozenset()

    @property
    def parameters(self) -> frozenset[str]:
        """Those of the lists."""
        items = WINDOW | {"status"}
        return {"list": WINDOW, "items": items}.get(self.action, frozenset())

    @property
    def example(self) -> dict[str, Any]:
        """The body that the page of this route starts from."""
        action = self.action or self.action_map.get("post")  # none for a GET of such an address
        if action == "undo":
            return UndoOperation.example
        return UndoAccount.example if action == "undo_account" else {}

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the page of a list shows of each row."""
        if self.action == "items":
            return ("id", "status", "version", "detail")
        return ("operation", "status", "actor", "channel", "created_at")

    def links(self, answer: Mapping[str, Any]) -> Mapping[str, str]:
        """From the list to undoing what an account did; from an operation to its tasks."""
        if self.action == "list":
            return {"undo/": "Undo what an account did"}
        return {"items/": "Its tasks"} if "items" in answer else {}

    def offers(self, answer: Mapping[str, Any]) -> Sequence[Offer]:
        """What may be done about an operation."""
        if self.action != "retrieve" or "items" not in answer:
            return ()
        if answer["finished_at"] is None:
            return (Offer("Cancel", f"{answer['url']}cancel/", {}),)
        undo = Offer("Undo", f"{answer['url']}undo/", UndoOperation.example)
        again = Offer("Try the refused again", f"{answer['url']}retry/", {})
        return (undo, again) if answer["counts"]["refused"] else (undo,)

    def check_syntax(self, request: Request) -> None:
        """Raise BadSyntax for parameters and ids that make no sense."""
        super().check_syntax(request)
        if "If-Match" in request.headers:
            raise BadSyntax("invalid_header", "If-Match applies to a single task.")
        if "pk" in self.kwargs:
            pk = uuid_of(self.kwargs["pk"])
            if pk is None:
                raise BadSyntax("invalid_id", "The id of a bulk operation is a UUID.")
            self.pk = pk
        wrong: list[dict[str, str]] = []
        if self.action == "list":
            self.window = Window.read(request.query_params, wrong, NEWEST)
        elif self.action == "items":
            given = request.query_params.copy()
            self.start = _place(given.pop("cursor", ["0"])[0], wrong)
            self.window = Window.read(given, wrong, NEWEST)
            self.status = given.get("status")
            if self.status not in (None, *ITEMS):
                detail = f"One of {', '.join(ITEMS)}."
                wrong.append(parameter_error("status", "invalid", detail))
        refuse_parameters(wrong)

    def _find(self) -> BulkOperation:
        """The operation of the address. Raises Http404 where it is hidden or not there."""
        stored = bulk.seen_by(self.user).filter(pk=self.pk).first()
        if stored is None:
            raise Http404
        return stored

    def list(self, request: Request) -> Response:
        """Answer with a page of the operations, the newest first."""
        found = page(bulk.seen_by(self.user), self.window.cursor, self.window.limit, NEWEST)
        return Response(
            {
                **self.window.links(found, request),
                "results": [operation_document(stored, request) for stored in found.rows],
            }
        )

    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer with an operation: what was asked, how far it is, what came of it."""
        return Response(operation_document(self._find(), request))

    def items(self, request: Request, pk: str) -> Response:
        """Answer with a page of its tasks, in the order given, and what became of each."""
        stored = self._find()
        rows: list[dict[str, Any]] = []
        after = None
        for place in range(self.start, len(stored.ids)):
            item = _item(stored, place)
            if self.status in (None, item["status"]):
                if len(rows) == self.window.limit:
                    after = place
                    break
                rows.append(item)
        following = None
        if after is not None:
            query = request.query_params.copy()
            query["cursor"] = str(after)
            following = request.build_absolute_uri(f"?{query.urlencode()}")
        return Response({"next": following, "results": rows})

    def cancel(self, request: Request, pk: str) -> Response:
        """Have no further unit of it carried out."""
        stored = self._find()
        self.read_body(Strict)
        self.answer_with(lambda cancelled: Response(operation_document(cancelled, request)))
        cancelled = bulk.cancel(stored, self.call())
        return self.answered or Response(operation_document(cancelled, request))

    def retry(self, request: Request, pk: str) -> Response:
        """Do the same to the tasks that it refused: a new operation."""
        stored = self._find()
        self.read_body(Strict)
        bulk.demand_finished(stored)
        refused = [one for one in stored.ids if str(one) in stored.refused]
        call = self.call(bulk=True)
        self.answer_with(lambda came_of_it: self._came_of(came_of_it, call))
        came_of_it = actions.repeat(stored, refused, call=call)
        return self.answered or self._came_of(came_of_it, call)

    def undo(self, request: Request, pk: str) -> Response:
        """Put back what it did, wherever it still stands."""
        stored = self._find()
        values = self.read_body(UndoOperation)
        bulk.demand_finished(stored)
        bulk.demand_reversible(stored)
        return self._undo(bulk.changed_by(stored.pk), values, operation=str(stored.pk))

    def undo_account(self, request: Request) -> Response:
        """Put back what an account did in a time, on the tasks that the caller administers."""
        values = self.read_body(UndoAccount)
        account, since, until = values.pop("actor"), values.pop("from_"), values.pop("until")
        ids = bulk.changed_in(account, since, until, self.call())
        return self._undo(ids, values, account=account, since=since, until=until)

    def _undo(self, ids: Sequence[UUID], values: dict[str, Any], **arguments: Any) -> Response:
        foreseen = values.get("dry_run", False)
        call = self.call(bulk=True, dry_run=foreseen, reason=values.get("reason"))
        self.answer_with(lambda came_of_it: self._came_of(came_of_it, call))
        came_of_it: Outcome | BulkOperation
        if len(ids) > UNIT and not foreseen:
            came_of_it = actions.put_off("undo", dict.fromkeys(ids, 0), call=call, **arguments)
        else:
            came_of_it = ACTIONS["undo"](ids, call=call, **arguments)
        return self.answered or self._came_of(came_of_it, call)

    def _came_of(self, done: Outcome | BulkOperation, call: Call) -> Response:
        """The answer to a call that was carried out, or put off."""
        if isinstance(done, BulkOperation):
            return accepted(done, self.request)
        return Response(outcome_document(done, call))


def _place(text: str, wrong: list[dict[str, str]]) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    wrong.append(parameter_error("cursor", "invalid", "Not a cursor of this list."))
    return 0


def _item(stored: BulkOperation, place: int) -> dict[str, Any]:
    """One task of an operation; `version` is the one it was left at, where that is known."""
    pk = stored.ids[place]
    refused = stored.refused.get(str(pk))
    seen = stored.versions[place] if place < len(stored.versions) else 0
    if refused is not None:
        return {"id": str(pk), "status": "refused", "version": seen or None, **refused}
    if place >= stored.processed:
        return {"id": str(pk), "status": "pending", "version": None}
    kept = _kept(stored.kept.get(str(pk)))
    return {"id": str(pk), "status": "done", "version": seen + 1, **kept}
