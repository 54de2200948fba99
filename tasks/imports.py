"""Task documents in Itential's own shape, turned into tasks and whom and what they name.

Source: the Itential specification, 1.6 (task), 1.7 (job) and 4.3 (account, group).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import audit
from accounts.models import LEGACY_ID, Group, User

from . import actions, people
from .actions import Call, Draft
from .errors import InvalidArgument
from .lifecycle import ENDED, Kind, State
from .models import Job, Task
from .roles import TaskRole
from .uuid7 import uuid_of

STATES = {
    "incomplete": State.CREATED,
    "scheduled": State.CREATED,
    "running": State.READY,
    "paused": State.READY,
    "complete": State.COMPLETED,
    "failure": State.FAILED,
    "error": State.ERROR,
    "canceled": State.EXITED,
}
"""What a document's status means here; running and paused tasks may also be held by somebody."""

NOBODY = ""
SYSTEM = "Pronghorn"
"""How Itential writes the system itself where an account is expected."""

JOB_MEMBERS = frozenset(
    (
        "_id font_size type created last_updated createdVersion lastUpdatedVersion canvasVersion "
        "encodingVersion migrationVersion name description preAutomationTime sla decorators "
        "transitions status variables tags error warnings ancestors validationErrors namespace "
        "created_by last_updated_by tasks parent errorHandler groups watchers metrics output "
        "outputData errors uuid"
    ).split()
)
"""The members of a whole job document, which may stand where a task document refers to its job."""

_OBJECT_ID = re.compile(LEGACY_ID)
_SHORT_ID = re.compile(r"[0-9a-f]{1,4}")
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_LONGEST_NAME = 255


def secret_pointers(pointer: str) -> list[str]:
    """What a decorator's pointer, which starts at `variables`, marks secret in a task.

    One that leads to none of the usual members may be meant to start within one of them: it counts
    in both the input and the output, so that nothing leaks.
    """
    for theirs, ours in (("/incoming", "/input"), ("/outgoing", "/output"), ("/error", "/fault")):
        if pointer == theirs or pointer.startswith(f"{theirs}/"):
            return [ours + pointer.removeprefix(theirs)]
    whole = ["/fault"] if pointer == "" else []
    return [f"/input{pointer}", f"/output{pointer}", *whole]


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one import; accounts and groups only say who is meant by an id."""

    tasks: list[Any]
    jobs: list[Any] = field(default_factory=list)
    accounts: list[Any] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What an import did, in names for people; `already` are the ids of tasks found here before."""

    tasks: list[Task] = field(default_factory=list)
    already: list[UUID] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    matched: list[str] = field(default_factory=list)
    placeholder_accounts: list[str] = field(default_factory=list)
    placeholder_groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def documents_of(value: Any) -> Documents:
    """The documents in a JSON value.

    It may be an array of task documents, one task document, an answer of Operations Manager with
    either of these as its `data`, or an object with the arrays `tasks`, `jobs`, `accounts` and
    `groups`. Raises InvalidArgument for anything else.
    """
    if isinstance(value, dict) and {"message", "data"} <= set(value):
        value = value["data"]
    if isinstance(value, dict) and "_id" in value:
        value = [value]
    if isinstance(value, list):
        return Documents(tasks=value)
    known = {"tasks", "jobs", "accounts", "groups"}
    if not isinstance(value, dict) or not value or not set(value) <= known:
        _refuse(
            "file",
            "expected is an array of task documents, one task document, or an object with the "
            "arrays tasks, jobs, accounts and groups",
        )
    for name, documents in value.items():
        if not isinstance(documents, list):
            _refuse(name, "expected is an array of documents")
    return Documents(**{"tasks": [], **value})


def import_documents(documents: Documents, *, call: Call) -> Report:
    """Take over tasks with what they refer to, all or nothing; what is here already stays as it is.

    Raises InvalidArgument, which names the document and the member that is wrong.
    """
    running = _Import(documents, call)
    running.report.tasks = actions.import_(running.drafts(), call=call)
    return running.report


def _refuse(where: str, why: str) -> NoReturn:
    raise InvalidArgument(field=where, why=why)


T = TypeVar("T")


class _Members:
    """The members of one object, taken one by one; `left` is what nobody has taken."""

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            _refuse(where, "expected is an object")
        self.left: dict[str, Any] = dict(value)

    def at(self, name: str) -> str:
        """How a message names a member."""
        return f"{self.where}: {name}" if ":" not in self.where else f"{self.where}.{name}"

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise InvalidArgument for a member."""
        _refuse(self.at(name), why)

    def take(self, name: str, kind: type[T]) -> T | None:
        """A member of one type; None where it is missing or null."""
        value = self.left.pop(name, None)
        if value is None or isinstance(value, kind):
            return value
        self.refuse(name, f"expected is {_WORDS[kind]}")

    def demand(self, name: str, kind: type[T]) -> T:
        """A member that must be there."""
        value = self.take(name, kind)
        if value is None:
            self.refuse(name, "it is missing")
        return value

    def one_of(self, name: str, values: Mapping[str, T]) -> T:
        """What the text in a member, which must be there, stands for."""
        value = self.demand(name, str)
        if value not in values:
            self.refuse(name, f"expected is one of {', '.join(values)}")
        return values[value]

    def text(self, name: str) -> str:
        """A text that must be there, short enough for a column."""
        value = self.demand(name, str)
        if not value.strip() or len(value) > _LONGEST_NAME:
            self.refuse(name, f"expected are 1 to {_LONGEST_NAME} characters")
        return value

    def part(self, name: str) -> _Members:
        """An object; an empty one where it is missing."""
        return _Members(self.take(name, dict) or {}, self.at(name))

    def time(self, name: str) -> datetime | None:
        """A time, which Itential writes in ISO 8601 or as epoch milliseconds."""
        value = self.left.pop(name, None)
        if value is None:
            return None
        try:
            if isinstance(value, str):
                found = datetime.fromisoformat(value)
                if found.tzinfo is None:
                    found = found.replace(tzinfo=UTC)
                return found.astimezone(UTC)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return datetime.fromtimestamp(value / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            pass
        self.refuse(name, "expected is a time in ISO 8601 or epoch milliseconds")


_WORDS: dict[type, str] = {str: "a text", dict: "an object", list: "an array"}


def iso(at: datetime) -> str:
    """A time as Itential writes it: ISO 8601 in UTC, with milliseconds and Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Import:
    """One import under way: what the documents describe, and what has been found or made so far."""

    def __init__(self, documents: Documents, call: Call) -> None:
        self.documents = documents
        self.call = call
        self.report = Report()
        self.described: dict[type, dict[str, dict[str, Any]]] = {User: {}, Group: {}}
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.jobs: dict[str, Job] = {}
        self.short_ids: set[tuple[int, str]] = set()

    def drafts(self) -> Iterator[Draft]:
        """The new tasks; what they refer to is made on the way, so walk it in a transaction."""
        for number, document in enumerate(self.documents.accounts, 1):
            self._user(self._reference(User, document, f"account {number}"))
        for number, document in enumerate(self.documents.groups, 1):
            self._group(self._reference(Group, document, f"group {number}"))
        for number, document in enumerate(self.documents.jobs, 1):
            self._job(_Members(document, f"job {number}"))
        found: dict[UUID, _Members] = {}
        for number, document in enumerate(self.documents.tasks, 1):
            members = _Members(document, f"document {number}")
            pk = uuid_of(members.demand("_id", str))
            if pk is None:
                members.refuse("_id", "expected is a UUID")
            members.where += f" ({pk})"
            if pk in found:
                members.refuse("_id", f"it is that of {found[pk].where.partition(' (')[0]} too")
            found[pk] = members
            self._describe_all(document, members)
        here = set(Task.objects.filter(pk__in=found).values_list("pk", flat=True))
        self.report.already = [pk for pk in found if pk in here]
        for pk, members in found.items():
            if pk not in here:
                yield self._draft(pk, members)

    # --- Tasks

    def _draft(self, pk: UUID, members: _Members) -> Draft:
        name = members.text("name")
        kind = members.one_of("type", {kind.value: kind for kind in Kind})
        status = members.left.get("status")
        state = members.one_of("status", STATES)
        updated_at = members.time("last_updated")
        task = Task(
            pk=pk, name=name, kind=kind, state=state, on_hold=status == "paused", imported={}
        )
        kept = {
            "status": status,
            "variables": self._data(task, members.part("variables")),
            "job": self._belong(task, members.part("job")),
            "metrics": self._measure(task, members.part("metrics"), updated_at),
        }
        groups = self._groups_of(members.left.pop("groups", None), members.at("groups"))
        if not groups and task.job:
            groups = self._groups_of(task.job.imported.get("groups"), members.at("job.groups"))
        task.imported = {**members.left, **{name: value for name, value in kept.items() if value}}
        return Draft(task, {TaskRole.POTENTIAL_OWNER: groups})

    def _data(self, task: Task, variables: _Members) -> dict[str, Any]:
        """Set input, output, fault and secrets; returns what has no column."""
        task.input = variables.take("incoming", dict) or {}
        task.output = variables.take("outgoing", dict)
        task.fault = variables.left.pop("error", None)
        decorators = variables.take("decorators", list) or []
        for decorator in decorators:
            pointer = decorator.get("pointer") if isinstance(decorator, dict) else None
            if not isinstance(pointer, str) or not _POINTER.fullmatch(pointer):
                variables.refuse("decorators", "each has a JSON pointer to what is secret")
            task.secret_pointers += secret_pointers(pointer)
        task.secret_pointers = list(dict.fromkeys(task.secret_pointers))
        return {**variables.left, **({"decorators": decorators} if decorators else {})}

    def _measure(
        self, task: Task, metrics: _Members, updated_at: datetime | None
    ) -> dict[str, Any]:
        """Set times and owner, consistent with the state; returns what has no column."""
        started = metrics.time("start_time")
        claimed = metrics.time("claim_time")
        end_time = metrics.left.get("end_time")
        ended = metrics.time("end_time")
        owner, user = (self._person(metrics, name) for name in ("owner", "user"))
        kept = dict(metrics.left)
        if user is not None:
            kept["user"] = _written(user)
        now = timezone.now()
        task.created_at = started or updated_at or now
        task.updated_at = updated_at or now
        if task.state in ENDED:
            task.ended_at = ended or updated_at or now
        elif ended:
            kept["end_time"] = end_time
        if task.state != State.CREATED:
            task.activated_at = started
        elif started:
            kept["start_time"] = iso(started)
        state = State(task.state)
        by_hand = task.kind == Kind.MANUAL and state not in ENDED
        if isinstance(owner, User) and (state in ENDED or (state is State.READY and by_hand)):
            task.owner = owner
            if by_hand:
                task.state = State.RESERVED
        elif owner and not by_hand:
            kept["owner"] = _written(owner)
        if task.owner or not by_hand:
            task.claimed_at = claimed
        return kept

    # --- Jobs

    def _belong(self, task: Task, reference: _Members) -> dict[str, Any]:
        """Put a task into its job, if it has one; returns what has no column."""
        if not reference.left:
            return {}
        short_id = reference.take("task", str)
        if short_id is not None and not _SHORT_ID.fullmatch(short_id):
            reference.refuse("task", "expected are 1 to 4 hexadecimal digits")
        more = {name: value for name, value in reference.left.items() if name not in JOB_MEMBERS}
        ancestors = reference.left.get("ancestors")
        for name in more:
            del reference.left[name]
        job = task.job = self._job(reference)
        if short_id is not None:
            key = (job.pk, short_id)
            if key in self.short_ids or job.tasks.filter(short_id=short_id).exists():
                reference.refuse("task", f"{short_id} is taken in this job")
            self.short_ids.add(key)
            task.short_id = short_id
        if ancestors is not None and ancestors != job.imported.get("ancestors"):
            more["ancestors"] = ancestors
        return more

    def _job(self, members: _Members) -> Job:
        legacy_id = _object_id(members.left.pop("_id", None), members.at("_id"))
        job = self.jobs.get(legacy_id) or Job.objects.filter(legacy_id=legacy_id).first()
        if job is None:
            job = Job.objects.create(
                legacy_id=legacy_id,
                name=members.text("name"),
                description=members.take("description", str) or "",
                imported=members.left,
            )
            self.report.jobs.append(job.name)
        elif members.left.get("name", job.name) != job.name:
            self.report.notes.append(
                f"{members.where} calls job {legacy_id} by another name than {job.name}, "
                "which it keeps."
            )
        self.jobs[legacy_id] = job
        return job

    # --- People and groups

    def _describe_all(self, document: dict[str, Any], members: _Members) -> None:
        """Note the accounts and groups that a document describes where others only name an id."""
        groups, metrics = document.get("groups"), document.get("metrics")
        for group in groups if isinstance(groups, list) else ():
            if isinstance(group, dict):
                self._reference(Group, group, members.at("groups"))
        for name in ("owner", "user"):
            person = metrics.get(name) if isinstance(metrics, dict) else None
            if isinstance(person, dict):
                self._reference(User, person, members.at(f"metrics.{name}"))

    def _reference(self, model: type[User | Group], value: Any, where: str) -> str:
        """The id in a reference; where it is a whole object, what that says is noted."""
        if isinstance(value, dict):
            legacy_id = _object_id(value.get("_id"), f"{where}: _id")
            self.described[model].setdefault(legacy_id, value)
            return legacy_id
        return _object_id(value, where)

    def _person(self, metrics: _Members, name: str) -> User | str | None:
        """Whom a member of the metrics names: an account, the system, nobody; None if missing."""
        value = metrics.left.pop(name, None)
        if value is None:
            return None
        if value in (NOBODY, SYSTEM):
            return str(value)
        return self._user(self._reference(User, value, metrics.at(name)))

    def _groups_of(self, value: Any, where: str) -> list[people.Reference]:
        if value is None:
            return []
        if not isinstance(value, list):
            _refuse(where, "expected is an array")
        ids = [self._reference(Group, item, where) for item in value if item != "default"]
        return [people.group(self._group(pk).object_id, by="object_id") for pk in ids]

    def _user(self, legacy_id: str) -> User:
        """The account with an imported id, else the one of that name, else a placeholder."""
        if legacy_id in self.users:
            return self.users[legacy_id]
        described = self.described[User].get(legacy_id, {})
        username = _username(described.get("username"))
        user = User.objects.filter(legacy_id=legacy_id).first()
        if user is None and username:
            user = User.objects.filter(username=username).first()
            if user is not None:
                self._identify(user, legacy_id)
        if user is None:
            user = User(
                legacy_id=legacy_id,
                username=username or f"itential-{legacy_id}",
                first_name=_short(described.get("firstname"), 150),
                provenance=_short(described.get("provenance"), 100) or "Itential",
                is_active=False,
                is_placeholder=True,
            )
            user.set_unusable_password()
            self._save(user)
            self.report.placeholder_accounts.append(user.username)
        self.users[legacy_id] = user
        return user

    def _group(self, legacy_id: str) -> Group:
        """The group with an imported id, else the one of that name, else a placeholder.

        A placeholder is inactive: whoever should work its tasks is put into it, or they are handed
        over, by a person. The built-in group is never meant, since it would admit everybody.
        """
        if legacy_id in self.groups:
            return self.groups[legacy_id]
        described = self.described[Group].get(legacy_id, {})
        name = _short(described.get("name"), 150)
        group = Group.objects.filter(legacy_id=legacy_id).first()
        if group is None and name:
            group = Group.objects.filter(name=name).first()
            if group is not None and group.is_builtin:
                group, name = None, ""
            if group is not None:
                self._identify(group, legacy_id)
        if group is None:
            own = ("_id", "name", "description", "provenance")
            group = Group(
                legacy_id=legacy_id,
                name=name or f"itential-{legacy_id}",
                description=_short(described.get("description"), 500)
                or "Placeholder for a group that an import named.",
                provenance=_short(described.get("provenance"), 100) or "Itential",
                is_active=False,
                imported={key: value for key, value in described.items() if key not in own},
            )
            self._save(group)
            self.report.placeholder_groups.append(group.name)
        self.groups[legacy_id] = group
        return group

    def _identify(self, holder: User | Group, legacy_id: str) -> None:
        """Give somebody known by name the imported id."""
        named = audit.named(holder)
        if holder.legacy_id is not None:
            _refuse(named, f"it is {holder.legacy_id} here, not {legacy_id}")
        holder.legacy_id = legacy_id
        self._save(holder)
        self.report.matched.append(f"{named} ({legacy_id})")

    def _save(self, holder: User | Group) -> None:
        actor = self.call.actor.username if self.call.actor else ""
        with audit.changing(holder, actor=actor, channel=self.call.channel):
            holder.save()


def _object_id(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _OBJECT_ID.fullmatch(value):
        _refuse(where, "expected is an id of 24 hexadecimal digits that was not made here")
    return value


def _written(person: User | str) -> str:
    return person.object_id if isinstance(person, User) else person


def _short(value: Any, length: int) -> str:
    return value.strip()[:length] if isinstance(value, str) else ""


def _username(value: Any) -> str:
    """A user name that can be one here, else the empty text."""
    name = User.normalize_username(value) if isinstance(value, str) else ""
    try:
        User._meta.get_field("username").clean(name, None)
    except ValidationError:
        return ""
    return name
