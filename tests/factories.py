"""What tests are made of: accounts, groups, jobs, and tasks made by the core itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import factory
from django.utils import timezone

from accounts.models import Group, Role, User
from tasks import actions, people
from tasks.actions import Call, Draft
from tasks.lifecycle import ENDED, State
from tasks.models import Channel, Job, Task
from tasks.people import Reference
from tasks.roles import TaskRole


class UserFactory(factory.django.DjangoModelFactory):
    """An account whose password is its name and "-demo"."""

    class Meta:
        model = User
        django_get_or_create = ("username",)
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"person{n}")
    password = factory.django.Password(factory.LazyAttribute(lambda o: f"{o.username}-demo"))

    @classmethod
    def _create(cls, model_class: type[User], *args: Any, **kwargs: Any) -> User:
        kwargs.pop("password", None)
        return model_class.objects.create_user(password=f"{kwargs['username']}-demo", **kwargs)

    @factory.post_generation
    def system_roles(self, create: bool, names: Sequence[str] | None, **_: Any) -> None:
        """Give it system roles by name."""
        if names:
            self.roles.set(Role.objects.filter(provenance="OperationsManager", name__in=names))


class GroupFactory(factory.django.DjangoModelFactory):
    """A group."""

    class Meta:
        model = Group

    name = factory.Sequence(lambda n: f"group{n}")


class JobFactory(factory.django.DjangoModelFactory):
    """A job."""

    class Meta:
        model = Job

    name = factory.Sequence(lambda n: f"Replace router {n}")


def basic(name: str, password: str | None = None) -> str:
    """The Authorization header of a member of the cast."""
    pair = f"{name}:{f'{name}-demo' if password is None else password}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def call_by(user: User | None, channel: Channel = Channel.COMMAND, **more: Any) -> Call:
    """The circumstances of a call by `user`; a reason is given unless the test says otherwise."""
    more.setdefault("reason", "because a test says so")
    return Call(user, channel, request_id="test", **more)


def make_tasks(
    count: int,
    originator: User,
    potential_owners: Sequence[User | Group] = (),
    *,
    people_of: dict[TaskRole, Sequence[Reference]] | None = None,
    waiting: bool = False,
    **fields: Any,
) -> list[Task]:
    """Ready tasks made through the core, with the given potential owners and further people."""
    named: dict[TaskRole, Sequence[Reference]] = dict(people_of or {})
    if potential_owners:
        named[TaskRole.POTENTIAL_OWNER] = [reference(holder) for holder in potential_owners]
    drafts = [
        Draft(Task(**{"name": f"Replace router {number}", **fields}), named)
        for number in range(1, count + 1)
    ]
    maker = Call(originator, Channel.COMMAND, request_id="setup")
    return actions.create(drafts, call=maker, waiting=waiting)


def make_task(originator: User, *potential_owners: User | Group, **more: Any) -> Task:
    """One ready task; see `make_tasks`."""
    return make_tasks(1, originator, potential_owners, **more)[0]


def reference(holder: User | Group) -> Reference:
    """How a call names an account or group."""
    if isinstance(holder, User):
        return people.user(holder.username)
    return people.group(holder.name)


def make_in(
    state: State,
    originator: User,
    *potential_owners: User | Group,
    people_of: dict[TaskRole, Sequence[User | Group]] | None = None,
    **fields: Any,
) -> Task:
    """One task in any state, on hold or not, held or ended; brought in as an import would."""
    named = {role: [reference(one) for one in some] for role, some in (people_of or {}).items()}
    if potential_owners:
        named[TaskRole.POTENTIAL_OWNER] = [reference(holder) for holder in potential_owners]
    if state in ENDED:
        fields.setdefault("ended_at", timezone.now())
    fields = {"name": "Replace router", "state": state, "originator": originator, **fields}
    maker = Call(originator, Channel.COMMAND, request_id="setup")
    return actions.import_([Draft(Task(**fields), named)], call=maker)[0]
