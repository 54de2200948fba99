"""The world that requests are sent to: people with their credentials, tasks in every state."""

from __future__ import annotations

import functools
from typing import Any

from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from accounts.authentication import issue
from accounts.models import AccountEvent, Role, Token, User
from tasks import actions
from tasks.lifecycle import State
from tasks.models import Attachment, BulkOperation, Channel, Job, Task
from tests.conftest import Cast
from tests.factories import call_by, make_in

CSRF = "c" * 32
"""A CSRF secret, which is a valid token too."""

SCENES: dict[str, dict[str, Any]] = {
    "ready": {"state": State.READY},
    "reserved": {"state": State.RESERVED},
    "in progress": {"state": State.IN_PROGRESS, "output": {"sum": 1}},
    "created": {"state": State.CREATED},
    "on hold": {"state": State.RESERVED, "on_hold": True},
    "completed": {"state": State.COMPLETED},
    "failed": {"state": State.FAILED, "fault": {"why": "x"}, "fault_name": "broken"},
    "error": {"state": State.ERROR},
}
"""Tasks to act on, in the order in which they are tried; held ones are bob's."""

JOB_TASKS = {"1a2b": State.RESERVED, "3c": State.FAILED}
"""The tasks of the job: the state of each by its id in the job."""

CALLERS = ("bob", "dave", "root")
"""Who acts, in the order in which they are tried."""


class World:
    """The cast, their credentials, and tasks in every state, made when they are needed."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self._tasks: dict[str, Task] = {}
        self._tokens: dict[str, str] = {}
        self._cookies: dict[str, str] = {}

    def task(self, scene: str) -> Task:
        """The task of a scene."""
        if scene not in self._tasks:
            fields = dict(SCENES[scene])
            if fields["state"] in (State.RESERVED, State.IN_PROGRESS):
                fields["owner"] = self.cast.bob
            elif fields["state"] in (State.COMPLETED, State.FAILED, State.ERROR):
                fields |= {"owner": self.cast.bob, "ended_at": timezone.now()}
            self._tasks[scene] = make_in(
                fields.pop("state"),
                self.cast.dave,
                self.cast.noc,
                source="proof",
                external_id=scene,
                skippable=True,
                name=f"Replace the {scene} router",
                **fields,
            )
        return self._tasks[scene]

    @functools.cached_property
    def hidden(self) -> Task:
        """A task that only carol and those who see all see."""
        carol = self.cast.carol
        return make_in(State.READY, carol, carol, name="Secret", job=self.job, short_id="ff")

    @functools.cached_property
    def job(self) -> Job:
        """A job with the tasks of `JOB_TASKS`."""
        job = Job.objects.create(name="Upgrade")
        for short_id, state in JOB_TASKS.items():
            make_in(
                state,
                self.cast.dave,
                self.cast.noc,
                owner=self.cast.bob,
                job=job,
                short_id=short_id,
            )
        return job

    @functools.cached_property
    def file(self) -> Attachment:
        """A file that the ready task carries."""
        task = self.task("ready")
        plan = {"name": "plan.txt", "content": ContentFile(b"a plan")}
        actions.attach([task.pk], call=call_by(self.cast.bob), **plan).one()
        return Attachment.objects.get(task=task)

    @functools.cached_property
    def drafts(self) -> dict[tuple[str, str], BulkOperation]:
        """Drafts of root's by operation and scene, made by `draft`."""
        return {}

    def draft(self, operation: str, scene: str) -> BulkOperation:
        """A draft of root's about the task of a scene."""
        if (operation, scene) not in self.drafts:
            self.drafts[operation, scene] = BulkOperation.objects.create(
                operation=operation,
                actor=self.cast.root,
                channel=Channel.ADMIN,
                request_id="setup",
                status=BulkOperation.Status.DRAFT,
                ids=[self.task(scene).pk],
                versions=[],
            )
        return self.drafts[operation, scene]

    @functools.cached_property
    def planned(self) -> BulkOperation:
        """A plan of root's that waits to be confirmed."""
        call = call_by(self.cast.root, Channel.ADMIN)
        return actions.plan("release", [self.task("reserved").pk], call=call)[0]

    @functools.cached_property
    def carried_out(self) -> BulkOperation:
        """An operation of root's that is done."""
        call = call_by(self.cast.root, Channel.ADMIN)
        plan, _ = actions.plan("comment", [self.task("reserved").pk], call=call, text="so")
        actions.carry_out(plan, call=call)
        plan.refresh_from_db()
        return plan

    @functools.cached_property
    def reversible(self) -> BulkOperation:
        """An operation of root's that is done and can be undone."""
        call = call_by(self.cast.root, Channel.ADMIN, bulk=True)
        task = make_in(State.READY, self.cast.carol, self.cast.noc)
        done = actions.ACTIONS["set_priority"]([task.pk], call=call, priority=1)
        return BulkOperation.objects.get(pk=done.operation_id)

    @functools.cached_property
    def claimed(self) -> BulkOperation:
        """An operation of bob's that is done."""
        call = call_by(self.cast.bob, Channel.NATIVE, bulk=True)
        task = make_in(State.READY, self.cast.carol, self.cast.noc)
        return BulkOperation.objects.get(
            pk=actions.ACTIONS["claim"]([task.pk], call=call).operation_id
        )

    @functools.cached_property
    def put_off(self) -> BulkOperation:
        """An operation of bob's that waits for a worker."""
        call = call_by(self.cast.bob, Channel.NATIVE, bulk=True)
        task = make_in(State.READY, self.cast.carol, self.cast.noc)
        return actions.put_off("claim", {task.pk: 1}, call=call)

    @functools.cached_property
    def role(self) -> Role:
        """A role of one's own."""
        return Role.objects.create(name="helpdesk")

    @functools.cached_property
    def token(self) -> Token:
        """A token of alice's."""
        return issue(self.cast.alice, Token.Kind.API, "for a script", actor="setup")[0]

    @functools.cached_property
    def client_secret(self) -> str:
        """What a client of alice's is known by."""
        return issue(self.cast.alice, Token.Kind.CLIENT, "engine", actor="setup")[1]

    @functools.cached_property
    def event(self) -> AccountEvent:
        """What was recorded when that token was issued."""
        return AccountEvent.objects.get(subject="user alice") if self.token else None

    def user(self, name: str) -> User:
        """A member of the cast."""
        found: User = getattr(self.cast, name.replace("-", "_"))
        return found

    def bearer(self, name: str) -> dict[str, str]:
        """The header with a token of a member of the cast."""
        if name not in self._tokens:
            _, self._tokens[name] = issue(self.user(name), Token.Kind.API, actor="setup")
        return {"Authorization": f"Token {self._tokens[name]}"}

    def session(self, name: str) -> dict[str, str]:
        """The header with a log-in through the admin, and a CSRF cookie."""
        if name not in self._cookies:
            client = Client()
            client.force_login(self.user(name), "accounts.backends.RoleBackend")
            self._cookies[name] = client.cookies["sessionid"].value
        return {"Cookie": f"sessionid={self._cookies[name]}; csrftoken={CSRF}"}

    def itential_session(self, name: str) -> dict[str, str]:
        """The header with the cookie of an Itential log-in."""
        _, secret = issue(self.user(name), Token.Kind.ITENTIAL, actor="setup")
        return {"Cookie": f"token={secret}"}
