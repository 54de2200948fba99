"""The filters of the list of tasks, each declared once: for lists, counts, bulk calls and docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal, cast

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django_filters import filters
from django_filters.filterset import FilterSet
from rest_framework.exceptions import ValidationError as Invalid

from accounts.models import User, by_object_id
from tasks.lifecycle import Kind, State
from tasks.models import PRIORITIES, Job, Task
from tasks.querysets import TaskQuerySet
from tasks.roles import GRANTED, TaskRole

from .base import MOST_TERMS, parameter_error
from .serializers.fields import Moment

NO_OWNER: Final = "none"
"""The value of the filter `owner` for tasks that nobody holds."""

ME: Final = "me"
"""The value of the filter `holder` for the account that asks."""

LONGEST: Final = 255
"""Characters of a text that is looked for."""

_HOLDER: Final = re.compile(r"me|(user|group):(.+)", re.DOTALL)
_JOB: Final = re.compile(r"[0-9]{1,18}|[0-9a-f]{24}")
_BOUNDS: Final = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
_TIMES: Final = ("due_at", "created_at", "updated_at")

# --- What a value may look like -------------------------------------------------------------------


class _Text(forms.CharField):
    """A text as it was sent, spaces included."""

    def __init__(self, *, pattern: str = r".+", **options: Any) -> None:
        super().__init__(**{**options, "strip": False, "max_length": LONGEST})
        self.pattern = re.compile(pattern, re.DOTALL)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if text and not self.pattern.fullmatch(text):
            raise forms.ValidationError("invalid")
        return text


class _Flag(forms.Field):
    """The words true and false."""

    def to_python(self, value: Any) -> bool | None:
        if value not in (None, "", "true", "false"):
            raise forms.ValidationError("invalid")
        return None if not value else value == "true"


class _Time(forms.Field):
    """A point in time as everywhere in this API."""

    def to_python(self, value: Any) -> datetime | None:
        if not value:
            return None
        try:
            return cast(datetime, Moment().to_internal_value(value))
        except Invalid:
            raise forms.ValidationError("invalid") from None


# --- Filters --------------------------------------------------------------------------------------


class AnyOf(filters.MultipleChoiceFilter):  # type: ignore[misc]
    """One of some words; given more than once, any of those."""

    def __init__(self, words: Any, **options: Any) -> None:
        found = [str(word) for word in words]
        options.setdefault("help_text", f"One of {', '.join(found)}.")
        super().__init__(choices=[(word, word) for word in found], distinct=False, **options)

    def filter(self, tasks: TaskQuerySet, value: Any) -> TaskQuerySet:
        """The tasks that have one of the values."""
        return tasks.filter(**{f"{self.field_name}__in": sorted(value)}) if value else tasks


class Among(filters.ChoiceFilter):  # type: ignore[misc]
    """One of some words."""

    def __init__(self, words: Any, **options: Any) -> None:
        found = [str(word) for word in words]
        options.setdefault("help_text", f"One of {', '.join(found)}.")
        super().__init__(
            choices=[(word, word) for word in found], empty_label=None, null_label=None, **options
        )


class Text(filters.CharFilter):  # type: ignore[misc]
    """A text that is compared as a whole."""

    field_class = _Text


class Flag(filters.BooleanFilter):  # type: ignore[misc]
    """True or false."""

    field_class = _Flag

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"help_text": "true or false.", **options})


class Time(filters.IsoDateTimeFilter):  # type: ignore[misc]
    """A bound of a column that holds a time."""

    field_class = _Time

    def __init__(self, name: str, lookup: str) -> None:
        words = "An RFC 3339 date and time with an offset, as 2030-01-31T12:00:00Z."
        super().__init__(field_name=name, lookup_expr=lookup, help_text=words)


def _priorities() -> range:
    return range(PRIORITIES[0], PRIORITIES[1] + 1)


class TaskFilters(FilterSet):  # type: ignore[misc]
    """The filters of tasks. One that is not given lets all through; several have to agree.

    `errors` says what is wrong with the values and looks nothing up; `through` applies them.
    """

    state = AnyOf(State)
    kind = AnyOf(Kind)
    priority = AnyOf(_priorities())
    priority__gte = Among(_priorities(), field_name="priority", lookup_expr="gte")
    priority__lte = Among(_priorities(), field_name="priority", lookup_expr="lte")
    on_hold = Flag()
    owner = Text(
        method="_of_owner", help_text=f"A user name, or {NO_OWNER} for tasks that nobody holds."
    )
    role = Among(TaskRole, method="_with_holder")
    holder = Text(
        method="_in_role",
        pattern=_HOLDER.pattern,
        help_text=(
            "Who has the task role of the parameter role: me (with my groups), user:NAME or "
            "group:NAME."
        ),
    )
    job = Text(
        method="_of_job",
        pattern=_JOB.pattern,
        help_text="The id of a job: its number, or the 24 hexadecimal digits.",
    )
    source = Text(help_text="The source of the external id, as a whole.")
    external_id = Text(help_text="The external id, as a whole.")
    q = Text(
        method="_with_words",
        help_text=(
            "Words in the name, description, source, external id or short id: all of them; "
            'or, -not and "some words" as in web searches.'
        ),
    )
    due_at__isnull = Flag(field_name="due_at", lookup_expr="isnull")
    due_at__gte = Time("due_at", "gte")
    due_at__gt = Time("due_at", "gt")
    due_at__lte = Time("due_at", "lte")
    due_at__lt = Time("due_at", "lt")
    created_at__gte = Time("created_at", "gte")
    created_at__gt = Time("created_at", "gt")
    created_at__lte = Time("created_at", "lte")
    created_at__lt = Time("created_at", "lt")
    updated_at__gte = Time("updated_at", "gte")
    updated_at__gt = Time("updated_at", "gt")
    updated_at__lte = Time("updated_at", "lte")
    updated_at__lt = Time("updated_at", "lt")

    user: User
    """Who asks; set before the filters are applied."""

    @classmethod
    def read(cls, given: QueryDict, wrong: list[dict[str, str]]) -> TaskFilters:
        """The filters of query parameters; what is wrong with them goes into `wrong`."""
        found = cls(given, Task.objects.none())
        names = [name for name in cls.base_filters if name in found.errors]
        names += [name for name in cls.base_filters if "" in given.getlist(name)]
        for name in dict.fromkeys(names):
            detail = cls.base_filters[name].extra["help_text"]
            wrong.append(parameter_error(name, "invalid", detail))
        if not names:
            wrong += found._contradictions()
        asked = [name for name in given if name in cls.base_filters]
        if sum(len(given.getlist(name)) for name in asked) > MOST_TERMS:
            detail = f"A list takes {MOST_TERMS} values of filters."
            wrong.append(parameter_error(asked[-1], "too_many", detail))
        return found

    def _contradictions(self) -> Iterator[dict[str, str]]:
        """What cannot be meant together."""
        given = self.form.cleaned_data
        if bool(given["role"]) != bool(given["holder"]):
            name = "role" if given["role"] else "holder"
            yield parameter_error(name, "contradiction", "role and holder go together.")
        single = given["role"] and given["role"] not in GRANTED
        if single and given["holder"].startswith("group:"):
            yield parameter_error("holder", "contradiction", "No group can have this role.")
        for column in ("priority", *_TIMES):
            bounds = {
                bound: int(value) if column == "priority" else value
                for bound in _BOUNDS
                if (value := given.get(f"{column}__{bound}")) not in (None, "")
            }
            least = [value for bound, value in bounds.items() if bound.startswith("g")]
            most = [value for bound, value in bounds.items() if bound.startswith("l")]
            if least and most and max(least) > min(most):
                for bound in bounds:
                    detail = "Nothing lies between these bounds."
                    yield parameter_error(f"{column}__{bound}", "contradiction", detail)
            if column == "due_at" and bounds and given["due_at__isnull"]:
                detail = "What has no due date has none within bounds."
                yield parameter_error("due_at__isnull", "contradiction", detail)

    # --- What was asked for ---

    def through(self, tasks: TaskQuerySet, user: User) -> TaskQuerySet:
        """Those of `tasks` that all the filters let through, for the account that asks."""
        self.user = user
        found: TaskQuerySet = self.filter_queryset(tasks)
        return found

    @property
    def states(self) -> frozenset[State]:
        """The states asked for; none for all."""
        return frozenset(map(State, self.form.cleaned_data["state"]))

    @property
    def unowned(self) -> bool:
        """Whether only tasks are asked for that nobody holds."""
        return bool(self.form.cleaned_data["owner"] == NO_OWNER)

    @property
    def created(self) -> tuple[tuple[str, datetime], ...]:
        """The bounds of when the tasks were made: operators and times."""
        given = self.form.cleaned_data
        bounds = ((sign, given[f"created_at__{bound}"]) for bound, sign in _BOUNDS.items())
        return tuple((sign, time) for sign, time in bounds if time)

    @property
    def by_holder(self) -> bool:
        """Whether a role is asked for whose holders stand in rows of their own."""
        return self.form.cleaned_data["role"] in GRANTED

    @property
    def others(self) -> bool:
        """Whether there is a filter that none of `states`, `unowned` and `created` tells of."""
        told = {"state", *(["owner"] if self.unowned else [])}
        told |= {f"created_at__{bound}" for bound in _BOUNDS}
        return any(
            value not in (None, "", [])
            for name, value in self.form.cleaned_data.items()
            if name not in told
        )

    def candidates(self, user: User) -> Iterator[QuerySet[Any, Any]]:
        """Ids of tasks that an index finds, among which are all that the filters let through."""
        self.user = user
        given = self.form.cleaned_data
        role, tasks = given["role"], Task.objects.all()
        if role in GRANTED:
            yield self._rows(TaskRole(role), given["holder"])
        indexed = ["job", "source", "external_id", "q"]
        indexed += [] if self.unowned else ["owner"]
        indexed += ["holder"] if role and role not in GRANTED else []
        if any(given[name] for name in indexed):
            for name in indexed:
                tasks = self.filters[name].filter(tasks, given[name])
            yield tasks.values_list("pk", flat=True)

    # --- How each is applied ---

    def _of_owner(self, tasks: TaskQuerySet, _: str, name: str) -> TaskQuerySet:
        if name == NO_OWNER:
            return tasks.filter(owner=None)
        return tasks.filter(owner__username=name)

    def _with_holder(self, tasks: TaskQuerySet, *_: str) -> TaskQuerySet:
        return tasks  # the holder's filter asks for both

    def _in_role(self, tasks: TaskQuerySet, _: str, holder: str) -> TaskQuerySet:
        role = TaskRole(self.form.cleaned_data["role"])
        if role in GRANTED:
            return tasks.filter(pk__in=self._rows(role, holder))
        if holder == ME:
            return tasks.filter(**{role: self.user})
        return tasks.filter(**{f"{role}__username": holder.partition(":")[2]})

    def _rows(self, role: TaskRole, holder: str) -> QuerySet[Any, Any]:
        if holder == ME:
            return Task.objects.all().rows_for(role, self.user)
        kind, _, name = holder.partition(":")
        return Task.objects.all().rows_of(role, cast(Literal["user", "group"], kind), name)

    def _of_job(self, tasks: TaskQuerySet, _: str, job: str) -> TaskQuerySet:
        if len(job) < 24:
            return tasks.filter(job=int(job))
        return tasks.filter(job__in=Job.objects.filter(by_object_id(job)))

    def _with_words(self, tasks: TaskQuerySet, _: str, text: str) -> TaskQuerySet:
        return tasks.with_words(text)


FILTERS: Final = frozenset(TaskFilters.base_filters)
"""The names of all of them."""

REPEATABLE: Final = frozenset(
    name for name, one in TaskFilters.base_filters.items() if isinstance(one, AnyOf)
)
"""Those that may be given more than once."""
