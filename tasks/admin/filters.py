"""Which tasks the list shows: saved views, filters, search, and pages with a bounded count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.sites import AdminSite
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from accounts.models import Group, Membership, User
from accounts.widgets import Picker
from tasks.lifecycle import ENDED, State
from tasks.models import PRIORITIES, Task
from tasks.querysets import TaskQuerySet
from tasks.roles import TaskRole
from tasks.uuid7 import uuid_of

from . import words

ON_HOLD = "on_hold"
MOST_WORDS = 10
LARGEST_KEY = 2**63 - 1


class View(NamedTuple):
    """A saved view: a link above the list, and which of the visible tasks it shows."""

    label: str
    choose: Callable[[TaskQuerySet, User], QuerySet[Task]]


VIEWS = {
    "mine": View("Mine", lambda tasks, user: tasks.held_by(user)),
    "available": View("Available", lambda tasks, user: tasks.available_to(user)),
    "team": View("Team", lambda tasks, user: tasks.of_teams_of(user)),
    "open": View("All open", lambda tasks, user: tasks.open()),
    "finished": View("Finished", lambda tasks, user: tasks.filter(state__in=ENDED)),
    ON_HOLD: View("On hold", lambda tasks, user: tasks.filter(on_hold=True)),
    "overdue": View("Overdue", lambda tasks, user: tasks.overdue()),
    "unclaimable": View("Unclaimable", lambda tasks, user: tasks.unclaimable()),
}

STATES = [*((state.value, state.label) for state in State), (ON_HOLD, "On hold")]


class ParameterFilter(admin.ListFilter):
    """A filter by one parameter of the address; the list's own form offers it, not a side bar."""

    parameter: ClassVar[str]

    def __init__(
        self,
        request: HttpRequest,
        params: dict[str, list[str]],
        model: type[Any],
        model_admin: admin.ModelAdmin[Any],
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.value = (params.pop(self.parameter, None) or [""])[-1]

    def has_output(self) -> bool:
        """Always: Django passes over a filter without output."""
        return True

    def choices(self, changelist: Any) -> Iterator[Any]:
        """None: the form offers them."""
        return iter(())

    def expected_parameters(self) -> list[str | None]:
        """The one parameter."""
        return [self.parameter]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        """The tasks that match. Raises IncorrectLookupParameters for a value of no meaning."""
        user = cast(User, request.user)
        return self.narrow(cast(TaskQuerySet, queryset), user) if self.value else None

    def narrow(self, tasks: TaskQuerySet, user: User) -> QuerySet[Task]:
        """The tasks that match `self.value`."""
        raise NotImplementedError

    def number(self, lowest: int, highest: int) -> int:
        """The value as a number within bounds."""
        text = self.value
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise IncorrectLookupParameters(self.parameter)
        if not lowest <= int(text) <= highest:
            raise IncorrectLookupParameters(self.parameter)
        return int(text)


class ViewFilter(ParameterFilter):
    """One of the saved views."""

    title = "view"
    parameter = "view"

    def narrow(self, tasks: TaskQuerySet, user: User) -> QuerySet[Task]:
        """The tasks of the view."""
        if self.value not in VIEWS:
            raise IncorrectLookupParameters(self.parameter)
        return VIEWS[self.value].choose(tasks, user)


class StateFilter(ParameterFilter):
    """By state, or what is on hold."""

    title = "state"
    parameter = "state"

    def narrow(self, tasks: TaskQuerySet, user: User) -> QuerySet[Task]:
        """The tasks in that state."""
        if self.value == ON_HOLD:
            return tasks.filter(on_hold=True)
        if self.value not in set(State):
            raise IncorrectLookupParameters(self.parameter)
        return tasks.filter(state=self.value)


class PriorityFilter(ParameterFilter):
    """By priority."""

    title = "priority"
    parameter = "priority"

    def narrow(self, tasks: TaskQuerySet, user: User) -> QuerySet[Task]:
        """The tasks of that priority."""
        return tasks.filter(priority=self.number(*PRIORITIES))


class OwnerFilter(ParameterFilter):
    """By the account that holds it, or held it last."""

    title = "owner"
    parameter = "owner"

    def narrow(self, tasks: TaskQuerySet, user: User) -> QuerySet[Task]:
        """The tasks of that owner."""
        return tasks.filter(owner=self.number(0, LARGEST_KEY))


class GroupFilter(ParameterFilter):
    """By a group that is potential owner itself."""

    title = "group"
    parameter = "group"

    def narrow(self, tasks: TaskQuerySet, user: User) -> QuerySet[Task]:
        """The tasks that were given to the group to work on."""
        group = self.number(0, LARGEST_KEY)
        given = Task.objects.given_to("group", group, TaskRole.POTENTIAL_OWNER)
        return tasks.filter(pk__in=given.values("pk"))


FILTERS = (ViewFilter, StateFilter, PriorityFilter, OwnerFilter, GroupFilter)


def search(tasks: QuerySet[Task], term: str) -> QuerySet[Task]:
    """The tasks whose id or external id is `term`, or whose name or job holds all its words."""
    term = term.strip()
    if not term:
        return tasks
    if "\0" in term:
        return tasks.none()
    matches = Q()
    for word in term.split()[:MOST_WORDS]:
        matches &= Q(name__icontains=word) | Q(job__name__icontains=word)
    matches |= Q(external_id=term)
    pk = uuid_of(term)
    if pk is not None:
        matches |= Q(pk=pk)
    return tasks.filter(matches)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages over no more rows than anybody leafs through, so that counting never gets dear."""

    BOUND = 20_000

    @cached_property
    def count(self) -> int:
        """How many rows the pages cover: all up to the bound."""
        return min(self._counted, self.BOUND)

    @property
    def capped(self) -> bool:
        """Whether there are more rows than the pages cover."""
        return self._counted > self.BOUND

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        # In an order, so that it walks an index up to the bound instead of reading the table.
        return int(rows.order_by("-created_at", "-pk")[: self.BOUND + 1].count())


class TargetSelect(Picker):
    """Picks an active account or group by typing."""


class HolderSelect(TargetSelect):
    """Picks an account or group by typing, those that are inactive too: leavers hold work."""

    url_name = "%s:tasks_task_holders"


class HolderField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """An account or group, shown with what there is to know of it."""

    def label_from_instance(self, obj: Any) -> str:
        """Its name, and whether it is inactive."""
        return words.holder(obj)


def user_field(site: AdminSite, *, active: bool, **options: Any) -> HolderField:
    """A field for an account, picked among the active ones or among all."""
    select = TargetSelect if active else HolderSelect
    widget = select(Task._meta.get_field("owner"), site)
    return HolderField(queryset=User.objects.all(), required=False, widget=widget, **options)


def group_field(site: AdminSite, *, active: bool, **options: Any) -> HolderField:
    """A field for a group, picked among the active ones or among all."""
    select = TargetSelect if active else HolderSelect
    widget = select(Membership._meta.get_field("group"), site)
    return HolderField(queryset=Group.objects.all(), required=False, widget=widget, **options)


class FilterForm(forms.Form):
    """The filters above the list: a plain GET form, so that every result has an address."""

    q = forms.CharField(
        label="Search",
        required=False,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Name, id or job"}),
    )
    state = forms.ChoiceField(label="State", required=False, choices=[("", "Any"), *STATES])
    priority = forms.ChoiceField(
        label="Priority",
        required=False,
        choices=[("", "Any"), *((str(n), str(n)) for n in range(PRIORITIES[0], PRIORITIES[1] + 1))],
    )
    view = forms.CharField(required=False, widget=forms.HiddenInput)
    o = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, site: AdminSite, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        # A name in the address must not tell more than the look-up would.
        if user.has_perm("accounts.view_user"):
            self.fields["owner"] = user_field(site, active=False, label="Owner")
        if user.has_perm("accounts.view_group"):
            self.fields["group"] = group_field(site, active=False, label="Group to work on it")

    @property
    def in_use(self) -> bool:
        """Whether anything narrows the list besides the view."""
        return any(self[name].value() for name in self.fields if name not in ("view", "o"))
