"""The task list and the read-only page of a task, with buttons for what may be done to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.pages import Exact, ReadOnly, actor_of
from tasks import actions, reading
from tasks.errors import ReasonRequired, TaskError, TaskNotFound
from tasks.models import AuditEvent, Channel, Task
from tasks.roles import TaskRole
from tasks.uuid7 import uuid_of

from . import bulk, words
from .bulk import call_of
from .filters import FILTERS, VIEWS, BoundedPaginator, FilterForm, search
from .operations import BULK

EVENTS_SHOWN = 50
LONGEST_DATA = 100_000
"""Characters of input or output that the page shows."""

HEAVY = (
    "description",
    "input",
    "output",
    "fault",
    "custom_properties",
    "output_schema",
    "imported",
)
"""Columns that the list does not show and that may be large."""


class HoldersView(AutocompleteJsonView):
    """Looks up accounts and groups by name, inactive ones too and marked as such."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        """One result for the picker."""
        return {"id": str(getattr(obj, to_field_name)), "text": words.holder(obj)}


@admin.register(Task)
class TaskAdmin(Exact, ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Tasks: found here, read here, and changed by operations alone."""

    list_display = ("title", "state_chip", "priority", "owner_name", "job_name", "due", "age")
    list_display_links = None
    list_filter = FILTERS
    list_select_related = ("owner", "job")
    list_per_page = 50
    list_max_show_all = 50
    ordering = ("-created_at", "-id")
    paginator = BoundedPaginator
    search_fields = ("name", "external_id", "job__name")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ("priority", "due", "age")

    PARAMETERS: ClassVar = frozenset(each.parameter for each in FILTERS)

    # --- Permission: reading is for those who see the task, writing is for operations ---

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whoever may read tasks; asked of strangers too, by the log-in page."""
        return request.user.has_perm(reading.VIEW)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may read tasks, and sees this one."""
        return actor_of(request).has_perm(reading.VIEW) and (
            obj is None or self.get_queryset(request).filter(pk=obj.pk).exists()
        )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """The list's own filters; else anybody could probe every column, secret data included."""
        return lookup in self.PARAMETERS

    # --- The list ---

    def get_urls(self) -> list[Any]:
        """The list, the look-up of holders, the page of a task and its buttons; nothing else."""
        view = self.admin_site.admin_view
        holders = HoldersView.as_view(admin_site=self.admin_site)
        return [
            path("", view(self.changelist_view), name="tasks_task_changelist"),
            path("holders/", view(holders), name="tasks_task_holders"),
            path("<str:pk>/change/", view(self.page), name="tasks_task_change"),
            path("<str:pk>/do/<str:name>/", view(self.act), name="tasks_task_do"),
            path("<str:pk>/files/<int:number>/", view(self.file), name="tasks_task_file"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """The tasks that the account sees."""
        return reading.visible(actor_of(request)).defer(*HEAVY)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search; never with duplicates."""
        return search(queryset, search_term), False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The operations that the account may use on many tasks."""
        user = actor_of(request)
        return {
            action.name: (None, action.name, action.label)
            for action in BULK.values()
            if action.offered_to(user)
        }

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; its form begins an operation on many tasks."""
        if request.method == "POST":
            return bulk.choose(request, lambda: self.get_changelist_instance(request).queryset)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        form = FilterForm(request.GET, site=self.admin_site, user=actor_of(request))
        view = request.GET.get("view", "")
        context = {
            "title": "Tasks",
            "filters": form,
            "media": self.media + form.media,
            "view": view,
            "tabs": [
                ("", "All", reverse("admin:tasks_task_changelist")),
                *((name, each.label, self._list_url(view=name)) for name, each in VIEWS.items()),
            ],
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def _list_url(self, **parameters: str) -> str:
        return f"{reverse('admin:tasks_task_changelist')}?{urlencode(parameters)}"

    @admin.display(description="task")
    def title(self, obj: Task) -> SafeString:
        """The name as a link; names may be written in any direction."""
        return format_html(
            '<a href="{}"><bdi>{}</bdi></a>',
            reverse("admin:tasks_task_change", args=[obj.pk]),
            obj.name,
        )

    @admin.display(description="state")
    def state_chip(self, obj: Task) -> SafeString:
        """State and hold."""
        return words.state_chip(obj)

    @admin.display(description="owner", empty_value="–")
    def owner_name(self, obj: Task) -> str | None:
        """Who holds it."""
        return obj.owner_name

    @admin.display(description="job", empty_value="–")
    def job_name(self, obj: Task) -> SafeString | None:
        """The job it belongs to."""
        return format_html("<bdi>{}</bdi>", obj.job.name) if obj.job else None

    @admin.display(description="due", ordering="due_at")
    def due(self, obj: Task) -> SafeString | str:
        """When it should be done."""
        return words.due(obj)

    @admin.display(description="age", ordering="-created_at")
    def age(self, obj: Task) -> SafeString:
        """How long ago it was created."""
        return format_html(
            '<time datetime="{}">{}</time>', obj.created_at.isoformat(), words.age(obj.created_at)
        )

    # --- The page of a task ---

    def page(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Everything about a task that the account may know; 404 for hidden and missing alike."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        user = actor_of(request)
        task = self._find(request, pk)
        read = reading.read(task, user)
        events, older = _events(task, request.GET.get("before", ""))
        buttons = _buttons(task, request)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": task.name,
            "task": task,
            "chip": words.state_chip(task),
            "due": words.due(task),
            "facts": _facts(task),
            "data": [
                (label, *_shown(value))
                for label, value in (
                    ("Input", read.input),
                    ("Output", read.output),
                    ("Fault", read.fault),
                )
                if value
            ],
            "people": _people(task, read),
            "buttons": [button for button in buttons if button.everyday],
            "more": sorted(
                (button for button in buttons if not button.everyday),
                key=lambda button: bool(button.why_not),
            ),
            "comments": reading.comments(task).order_by("pk"),
            "attachments": reading.attachments(task).order_by("pk"),
            "subtasks": reading.subtasks(task, user).defer(*HEAVY).order_by("pk"),
            "events": events,
            "older": older,
            "is_part": "before" in request.GET,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/tasks/task/page.html", context)

    def act(self, request: HttpRequest, pk: str, name: str) -> HttpResponse:
        """A button: what asks nothing is done at once, the rest goes on to the bulk page."""
        action = BULK.get(name)
        if action is None:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        task = self._find(request, pk)
        if not action.at_once:
            if not action.offered_to(actor_of(request)):
                raise PermissionDenied
            return bulk.begin(request, name, [task.pk])
        try:
            actions.ACTIONS[name]([task.pk], call=call_of(request)).one()
        except ReasonRequired:
            return bulk.begin(request, name, [task.pk])
        except TaskNotFound:
            raise Http404 from None
        except TaskError as error:
            messages.error(request, words.reason_of(error))
        else:
            messages.success(request, action.at_once)
        return HttpResponseRedirect(reverse("admin:tasks_task_change", args=[task.pk]))

    def file(self, request: HttpRequest, pk: str, number: int) -> HttpResponseBase:
        """A file that a task carries, to be saved: a browser must not show it as a page of ours."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        attachment = reading.attachments(self._find(request, pk)).filter(pk=number).first()
        if attachment is None:
            raise Http404
        return FileResponse(
            attachment.file.open(),
            as_attachment=True,
            filename=attachment.name,
            content_type="application/octet-stream",
        )

    def _find(self, request: HttpRequest, text: str) -> Task:
        pk = uuid_of(text)
        if pk is None:
            raise Http404
        try:
            return reading.find(pk, actor_of(request))
        except TaskNotFound:
            raise Http404 from None


@dataclass(frozen=True, slots=True)
class Button:
    """An operation on the page of a task, and why it cannot be used now, if so."""

    name: str
    label: str
    url: str
    why_not: str
    everyday: bool


def _buttons(task: Task, request: HttpRequest) -> list[Button]:
    """The operations that the account's roles grant, with the reason where the task refuses."""
    user = actor_of(request)
    answers = actions.permitted(task, call_of(request))
    left_out = "suspend" if task.on_hold else "resume"
    return [
        Button(
            action.name,
            action.label,
            reverse("admin:tasks_task_do", args=[task.pk, action.name]),
            words.reason_of(error) if (error := answers[action.name]) else "",
            action.everyday,
        )
        for action in BULK.values()
        if action.offered_to(user) and action.name != left_out
    ]


def _facts(task: Task) -> list[tuple[str, Any]]:
    """What there is to know besides the strip at the top; what is empty is left out."""
    found = [
        ("Kind", task.kind),
        ("Created", words.moment(task.created_at)),
        ("Claimed", words.moment(task.claimed_at)),
        ("Ended", words.moment(task.ended_at)),
        ("Wakes up", words.moment(task.wakeup_at)),
        ("Expires", words.moment(task.expires_at)),
        ("Source", task.source),
        ("External id", task.external_id),
        ("Id in the job", task.short_id),
        ("Version", task.version),
        ("Id", str(task.pk)),
    ]
    return [(label, value) for label, value in found if value not in (None, "", "–")]


def _shown(value: Any) -> tuple[str, int]:
    """Data as text, and how many of its characters are not shown."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text[:LONGEST_DATA], max(0, len(text) - LONGEST_DATA)


def _people(task: Task, read: reading.Reading) -> list[tuple[str, str]]:
    """Who holds which role, the owner first."""
    columns = {
        TaskRole.OWNER: task.owner,
        TaskRole.ORIGINATOR: task.originator,
        TaskRole.STARTER: task.starter,
    }
    found = []
    for role in sorted(TaskRole, key=lambda role: role is not TaskRole.OWNER):
        users, groups = read.people.get(role, ([], []))
        names = [*map(words.holder, users), *map(words.holder, groups)]
        single = columns.get(role)
        if single is not None:
            names.append(words.holder(single))
        if names:
            found.append((role.label.capitalize(), ", ".join(names)))
    return found


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the timeline."""

    who: str
    did: str
    when: SafeString | str
    via: str
    reason: str | None
    version: int
    changes: list[words.Change]
    long: bool


def _events(task: Task, before: str) -> tuple[list[Event], int | None]:
    """The newest events, or those before a version; and from where there are more, if so."""
    rows = AuditEvent.objects.filter(task_id=task.pk).order_by("-version")
    if before:
        if not (before.isascii() and before.isdecimal() and len(before) < 10):
            raise BadRequest("There is no such version.")
        rows = rows.filter(version__lt=int(before))
    found = list(rows[: EVENTS_SHOWN + 1])
    shown = found[:EVENTS_SHOWN]
    events = []
    for row in shown:
        changes = words.changes(row.before, row.after)
        who = f"{row.actor} for {row.on_behalf_of}" if row.on_behalf_of else row.actor
        events.append(
            Event(
                who=who,
                did=words.event(row.event),
                when=words.moment(row.at),
                via=Channel(row.channel).label,
                reason=row.reason,
                version=row.version,
                changes=changes,
                long=len(changes) > 4,
            )
        )
    return events, shown[-1].version if len(found) > EVENTS_SHOWN else None
