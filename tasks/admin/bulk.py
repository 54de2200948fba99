"""Operations on many tasks through one page: choose, tell, look, confirm, read what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import F, Func, IntegerField, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import User
from accounts.pages import Exact, ReadOnly, actor_of
from tasks import actions, bulk
from tasks.actions import Call
from tasks.api.middleware import request_id_of
from tasks.errors import CallError, TooManyTasks
from tasks.lifecycle import HELD, OPERATIONS, Reason
from tasks.models import BulkOperation, Channel
from tasks.roles import TaskRole
from tasks.uuid7 import uuid_of

from . import words
from .operations import BULK, UNDO, BulkAction
from .preview import TYPED_ABOVE, chosen, foresee, not_put_back, recount, selection

Status = BulkOperation.Status

KEPT = timedelta(days=7)
"""How long what was chosen or planned and never confirmed is kept."""


def call_of(request: HttpRequest, **more: Any) -> Call:
    """The circumstances of an act through the admin."""
    request_id = request_id_of(request)
    return Call(actor_of(request), Channel.ADMIN, request_id=request_id, **more)


# --- Choosing ------------------------------------------------------------------------------------


def choose(request: HttpRequest, listed: Callable[[], QuerySet[Any]]) -> HttpResponse:
    """Keep what the list's form selected and go on to the operation's own page.

    `listed` gives the whole list as filtered, for "select all". Ids are kept as they were sent,
    those of hidden and missing tasks too: the page counts them as not there.
    """
    user = actor_of(request)
    across = request.POST.getlist("select_across") or ["0"]
    ids = [uuid_of(text) for text in request.POST.getlist(ACTION_CHECKBOX_NAME)]
    if across not in (["0"], ["1"]):
        raise BadRequest("select_across is 0 or 1.")
    if None in ids:
        raise BadRequest("What was selected are not ids of tasks.")
    name = request.POST.get("action", "")
    if name and name not in BULK:
        raise BadRequest("There is no such operation.")
    if not name or (across == ["0"] and not ids):
        messages.warning(request, "Select tasks and an operation first; nothing was changed.")
        return HttpResponseRedirect(request.get_full_path())
    if not BULK[name].offered_to(user):
        raise PermissionDenied
    if across == ["0"]:
        return begin(request, name, [pk for pk in ids if pk is not None])
    tasks = listed()
    pks = tasks.values_list("pk", flat=True)
    if user.bulk_limit is not None and len(pks[: user.bulk_limit + 1]) > user.bulk_limit:
        return _too_many(request, TooManyTasks(count=tasks.count(), limit=user.bulk_limit))
    return begin(request, name, list(pks))


def begin(request: HttpRequest, name: str, ids: Sequence[UUID]) -> HttpResponse:
    """Store the chosen tasks as a draft and go to its page; older leftovers are cleared away."""
    user = actor_of(request)
    ids = list(dict.fromkeys(ids))
    if user.bulk_limit is not None and len(ids) > user.bulk_limit:
        return _too_many(request, TooManyTasks(count=len(ids), limit=user.bulk_limit))
    BulkOperation.objects.filter(
        actor=user,
        status__in=(Status.DRAFT, Status.PLANNED),
        created_at__lt=timezone.now() - KEPT,
    ).delete()
    call = call_of(request)
    draft = BulkOperation.objects.create(
        operation=name,
        actor=user,
        channel=call.channel,
        request_id=call.request_id,
        status=Status.DRAFT,
        ids=ids,
        versions=[],
    )
    return HttpResponseRedirect(_url(draft))


def _url(stored: BulkOperation) -> str:
    return reverse("admin:tasks_bulkoperation_change", args=[stored.pk])


def _too_many(request: HttpRequest, error: TooManyTasks) -> HttpResponse:
    page: HttpResponse = admin.site.refuse(request, 413, error.text)  # type: ignore[attr-defined]
    return page


# --- The page of one operation -------------------------------------------------------------------


@admin.register(BulkOperation)
class BulkOperationAdmin(Exact, ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """One's own operations on many tasks; the page of each leads it from draft to result."""

    list_display = ("what", "started", "tasks", "changed", "refused_count", "standing")
    list_display_links = ("what",)
    list_per_page = 50
    list_max_show_all = 50
    ordering = ("-created_at", "-pk")
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None

    def get_urls(self) -> list[Any]:
        """The list, the page of one, and its undo; nothing else."""
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="tasks_bulkoperation_changelist"),
            path("<uuid:pk>/", view(self.page), name="tasks_bulkoperation_change"),
            path("<uuid:pk>/undo/", view(self.undo), name="tasks_bulkoperation_undo"),
        ]

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Everybody who may enter has a list, perhaps an empty one."""
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One's own."""
        return obj is None or obj.actor_id == actor_of(request).pk

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """No filters by address."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkOperation]:
        """One's own, without the ids, which may be very many."""
        return recent_of(actor_of(request))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, newest first."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        context = {"title": "Bulk operations", **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description="operation")
    def what(self, obj: BulkOperation) -> str:
        """The operation in words."""
        return label(obj)

    @admin.display(description="started")
    def started(self, obj: BulkOperation) -> SafeString | str:
        """When it was planned or done."""
        return words.moment(obj.created_at)

    @admin.display(description="tasks")
    def tasks(self, obj: Any) -> int:
        """How many it is about."""
        return int(obj.total)

    @admin.display(description="done")
    def changed(self, obj: BulkOperation) -> int:
        """How many it changed."""
        return obj.done_count

    @admin.display(description="refused")
    def refused_count(self, obj: Any) -> int:
        """How many it did not change."""
        return int(obj.processed - obj.done_count)

    @admin.display(description="status")
    def standing(self, obj: BulkOperation) -> SafeString:
        """Where it stands."""
        return standing(obj)

    def page(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """A draft's form, a plan's preview, or what came of it; POST takes it one step further."""
        stored = BulkOperation.objects.filter(pk=pk, actor=actor_of(request)).first()
        if stored is None:
            raise Http404
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        posted = request.method == "POST"
        if stored.status == Status.DRAFT:
            return self._tell(request, stored)
        if stored.status == Status.PLANNED:
            return self._confirm(request, stored) if posted else self._look(request, stored)
        return self._go_on(request, stored) if posted else self._read(request, stored)

    def undo(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Plan to put back what an operation of one's own did, and go on to the preview of that."""
        stored = BulkOperation.objects.filter(pk=pk, actor=actor_of(request)).first()
        if stored is None or stored.status in (Status.DRAFT, Status.PLANNED):
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not UNDO.offered_to(actor_of(request)):
            raise PermissionDenied
        try:
            bulk.demand_finished(stored)
            bulk.demand_reversible(stored)
            call, ids = call_of(request), bulk.changed_by(stored.pk)
            plan, _ = actions.plan("undo", ids, call=call, operation=str(stored.pk))
        except CallError as error:
            messages.error(request, error.text)
            return HttpResponseRedirect(_url(stored))
        return HttpResponseRedirect(_url(plan))

    def _tell(self, request: HttpRequest, draft: BulkOperation) -> HttpResponse:
        """The form of a draft; when it is filled in well, a plan is stored, and shown next."""
        user = actor_of(request)
        action = BULK[draft.operation]
        if not action.offered_to(user):
            raise PermissionDenied
        options: dict[str, Any] = {
            "site": self.admin_site,
            "user": user,
            "reason_required": _wants_reason(draft, user),
        }
        summary = selection(draft, user)
        if request.method == "POST":
            form = action.form(request.POST, **options)
            if form.is_valid():
                call = call_of(request, reason=form.cleaned_data["reason"] or None)
                try:
                    plan, _ = actions.plan(
                        draft.operation, draft.ids, call=call, **form.arguments()
                    )
                except TooManyTasks as error:
                    return _too_many(request, error)
                except CallError as error:
                    form.add_call_error(error)
                else:
                    return HttpResponseRedirect(f"{_url(plan)}?draft={draft.pk}")
        else:
            initial = self._initial(request, action)
            if (
                action.name == "transfer"
                and not initial
                and len(summary.owners) == 1
                and summary.owners[0][0] != user.pk
            ):
                initial = {"from_user": summary.owners[0][0]}
            form = action.form(initial=initial, **options)
        return self._render(
            request,
            draft,
            "form",
            form=form,
            selection=summary,
            media=self.media + form.media,
            status=400 if form.errors else 200,
        )

    def _initial(self, request: HttpRequest, action: BulkAction) -> dict[str, Any]:
        """What a plan said, for whoever comes back from its preview to change that."""
        pk = uuid_of(request.GET.get("plan", ""))
        mine = BulkOperation.objects.filter(actor=actor_of(request), operation=action.name)
        plan = mine.filter(pk=pk).first() if pk else None
        if plan is None:
            return {}
        return {**action.form.initial_of(plan.arguments), "reason": plan.reason}

    def _look(self, request: HttpRequest, plan: BulkOperation, error: str = "") -> HttpResponse:
        """The preview of a plan, as things stand now."""
        try:
            outcome = actions.carry_out(plan, call=replace(call_of(request), dry_run=True))
        except TooManyTasks as refusal:
            return _too_many(request, refusal)
        except CallError as refusal:
            return self._render(request, plan, "preview", error=refusal.text, status=400)
        return self._render(
            request,
            plan,
            "preview",
            preview=foresee(plan, outcome, actor_of(request)),
            error=error,
            status=400 if error else 200,
        )

    def _confirm(self, request: HttpRequest, plan: BulkOperation) -> HttpResponse:
        """Carry out the plan, if its number was typed where that is asked."""
        call = call_of(request)
        if len(plan.ids) > TYPED_ABOVE:
            try:
                count = len(actions.carry_out(plan, call=replace(call, dry_run=True)).done)
            except CallError:
                return self._look(request, plan)
            if count > TYPED_ABOVE and request.POST.get("number", "").strip() != str(count):
                return self._look(request, plan, f"Type {count} to confirm that many changes.")
        return self._carry_out(request, plan, call)

    def _go_on(self, request: HttpRequest, stored: BulkOperation) -> HttpResponse:
        """Take up an operation that was interrupted; one that is done stays as it is."""
        if stored.background or stored.status == Status.DONE:
            messages.info(request, "This has been carried out already; nothing was changed again.")
            return HttpResponseRedirect(_url(stored))
        return self._carry_out(request, stored, call_of(request))

    def _carry_out(self, request: HttpRequest, stored: BulkOperation, call: Call) -> HttpResponse:
        try:
            actions.carry_out(stored, call=call)
        except CallError as error:
            before = stored.processed
            stored.refresh_from_db()
            if stored.status == Status.PLANNED:
                return self._look(request, stored, error.text)
            if stored.processed == before:
                messages.error(request, error.text)
            else:
                messages.info(request, "This was carried out already; nothing was changed again.")
        return HttpResponseRedirect(_url(stored))

    def _read(self, request: HttpRequest, stored: BulkOperation) -> HttpResponse:
        """What came of it."""
        done, refused = recount(stored, actor_of(request))
        return self._render(
            request,
            stored,
            "result",
            done=done,
            refused=refused,
            kept=not_put_back(stored.kept, actor_of(request)),
            left=0 if stored.background else len(stored.ids) - stored.processed,
            undo=UNDO.offered_to(actor_of(request))
            and stored.done_count > 0
            and stored.status != Status.RUNNING
            and actions.irreversible(str(stored.pk)) is None,
        )

    def _render(
        self,
        request: HttpRequest,
        stored: BulkOperation,
        name: str,
        *,
        status: int = 200,
        **context: Any,
    ) -> TemplateResponse:
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": label(stored),
            "stored": stored,
            "action": _action(stored),
            "facts": facts(stored, actor_of(request)),
            "standing": standing(stored),
            "draft": uuid_of(request.GET.get("draft", "")),
            "media": self.media,
        }
        template = f"admin/tasks/bulkoperation/{name}.html"
        return TemplateResponse(request, template, {**shared, **context}, status=status)


def recent_of(user: User) -> QuerySet[BulkOperation]:
    """What an account has planned or carried out, without the ids, which may be very many."""
    found: QuerySet[BulkOperation] = (
        BulkOperation.objects.filter(actor=user)
        .exclude(status=Status.DRAFT)
        .defer("ids", "versions", "refused")
        .annotate(total=Func(F("ids"), function="cardinality", output_field=IntegerField()))
    )
    return found


def _action(stored: BulkOperation) -> BulkAction | None:
    return UNDO if stored.operation == UNDO.name else BULK.get(stored.operation)


def label(stored: BulkOperation) -> str:
    """The operation in words, whichever face it came through."""
    action = _action(stored)
    return action.label if action else stored.operation.replace("_", " ").capitalize()


def standing(stored: BulkOperation) -> SafeString:
    """Where an operation stands, as a chip."""
    text = {
        Status.DRAFT: "not planned yet",
        Status.PLANNED: "not confirmed",
        Status.RUNNING: "interrupted or running",
        Status.DONE: "carried out",
        Status.WAITING: "waiting for a worker",
        Status.CANCELLED: "cancelled",
        Status.FAILED: "failed",
    }[Status(stored.status)]
    return format_html('<span class="chip chip-bulk-{}">{}</span>', stored.status, text)


def facts(stored: BulkOperation, user: User) -> list[tuple[str, Any]]:
    """What an operation was told."""
    found: list[tuple[str, Any]] = []
    arguments = stored.arguments
    if "operation" in arguments:
        found.append(("What", _undone(arguments["operation"], user)))
    if "account" in arguments:
        found.append(("What", f"all that {arguments['account']} did"))
        found.append(("Since", words.moment(parse_datetime(arguments["since"]))))
    if arguments.get("role", TaskRole.OWNER) != TaskRole.OWNER:
        found.append(("Task role", words.role(arguments["role"])))
    if stored.operation in ("transfer", "forward") and stored.status != Status.DRAFT:
        found.append(("From", words.referred(arguments.get("from_"), user)))
    if "to" in arguments:
        found.append(("To", words.referred(arguments["to"], user)))
    if "until" in arguments:
        found.append(("Until", words.moment(parse_datetime(arguments["until"]))))
    if "priority" in arguments:
        found.append(("Priority", arguments["priority"]))
    if "text" in arguments:
        found.append(("Comment", arguments["text"]))
    if stored.reason:
        found.append(("Reason", stored.reason))
    if stored.status == Status.DONE:
        found.append(("Via", Channel(stored.channel).label))
        found.append(("When", words.moment(stored.finished_at)))
    return found


def _undone(pk: str, user: User) -> str:
    """The operation that is put back: its name and time, with a link where it is one's own."""
    undone = BulkOperation.objects.filter(pk=pk).first()
    if undone is None:
        return pk
    text = format_html("{}, {}", label(undone), words.moment(undone.created_at))
    return format_html('<a href="{}">{}</a>', _url(undone), text) if undone.actor == user else text


def _wants_reason(draft: BulkOperation, user: User) -> bool:
    """Whether some of the tasks want a reason: the list form of `Operation.wants_reason`."""
    operation = OPERATIONS.get(draft.operation)
    if operation is None or operation.reason is Reason.OPTIONAL:
        return False
    if operation.reason is Reason.ALWAYS:
        return True
    return chosen(draft, user).filter(state__in=HELD).exclude(owner=user).exists()
