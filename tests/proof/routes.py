"""Every route of every face, told by the URL configuration, with a request to each that succeeds.

What a face adds is found here by itself; what cannot be derived stands in the tables of its face,
and a route that is in none of them is an `UnknownRoute`, which fails the proofs.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.files.base import ContentFile
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from accounts.authentication import issue
from accounts.models import AccountEvent, Role, Token, User
from tasks import actions
from tasks.api.htm import verbs
from tasks.api.htm.ids import tkiid
from tasks.api.native import views as native
from tasks.lifecycle import State
from tasks.models import Attachment, BulkOperation, Channel, Job, Task
from tests.conftest import Cast
from tests.faces.admin_pages import forms_of
from tests.factories import basic, call_by, make_in

from .wire import NOTHING, Answer, Sent, send, undone

CSRF = "c" * 32
"""A CSRF secret, which is a valid token too."""

BODYLESS = ("GET", "HEAD")


class UnknownRoute(Exception):
    """A route of the URL configuration that the tables here do not know."""


class NoGoodRequest(Exception):
    """Nothing that was tried on a route succeeds, so nothing bad could be told from good."""


# --- The world that requests are sent to ---------------------------------------------------------

SCENES: dict[str, dict[str, Any]] = {
    "ready": {"state": State.READY},
    "reserved": {"state": State.RESERVED},
    "in progress": {"state": State.IN_PROGRESS},
    "created": {"state": State.CREATED},
    "on hold": {"state": State.RESERVED, "on_hold": True},
    "completed": {"state": State.COMPLETED},
    "failed": {"state": State.FAILED},
    "error": {"state": State.ERROR},
}
"""Tasks to act on, in the order in which they are tried; held ones are bob's."""

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
                name=f"Replace the {scene} router",
                **fields,
            )
        return self._tasks[scene]

    @functools.cached_property
    def hidden(self) -> Task:
        """A task that only carol and those who see all see."""
        return make_in(State.READY, self.cast.carol, self.cast.carol, name="Secret")

    @functools.cached_property
    def job(self) -> Job:
        """A job with one task, whose id in it is 1a2b."""
        job = Job.objects.create(name="Upgrade")
        make_in(
            State.RESERVED,
            self.cast.dave,
            self.cast.noc,
            owner=self.cast.bob,
            job=job,
            short_id="1a2b",
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
    def operation(self) -> BulkOperation:
        """A draft of root's about one task."""
        return BulkOperation.objects.create(
            operation="release",
            actor=self.cast.root,
            channel=Channel.ADMIN,
            request_id="setup",
            status=BulkOperation.Status.DRAFT,
            ids=[self.task("reserved").pk],
            versions=[],
        )

    @functools.cached_property
    def role(self) -> Role:
        """A role of one's own."""
        return Role.objects.create(name="helpdesk")

    @functools.cached_property
    def token(self) -> Token:
        """A token of alice's."""
        return issue(self.cast.alice, Token.Kind.API, "for a script", actor="setup")[0]

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


# --- Routes --------------------------------------------------------------------------------------

Maker = Callable[[World], Iterable[tuple[str, Sent]]]
"""Requests that may succeed, each with the name of its caller, in the order to try them."""


@dataclass(frozen=True)
class Route:
    """One method of one address.

    `view` names the code behind it, alike for routes that share it. `on_task`, `many`: the
    address names one task, or the body several. `takes_body`: a body is read. `redirects`:
    whatever is sent is led elsewhere. `nothing`: there is nothing at this address.
    """

    pattern: str
    method: str
    face: str
    view: str
    maker: Maker
    variant: str = ""
    on_task: bool = False
    many: str = ""
    takes_body: bool = True
    redirects: bool = False
    nothing: bool = False
    guesses: bool = False
    """Whether it takes a password, so that a wrong one is counted."""

    @property
    def name(self) -> str:
        """How test reports call it."""
        return " ".join(filter(None, (self.method, self.pattern, self.variant)))

    def good(self, world: World) -> tuple[str, Sent]:
        """The caller and a request that succeeds. Raises NoGoodRequest."""
        tried = []
        remembered = _worked.get(self.name)
        for number, (who, sent) in enumerate(self.maker(world)):
            if remembered is not None and number != remembered:
                continue
            with undone():
                answer = send(sent)
            if self.succeeded(answer):
                _worked[self.name] = number
                return who, sent
            tried.append(f"{who}: {sent} -> {answer.status} {answer.content[:300]!r}")
        raise NoGoodRequest(
            f"{self.name}: give it a good request in routes.py\n" + "\n".join(tried)
        )

    def succeeded(self, answer: Answer) -> bool:
        """Whether the good request was answered as it should be."""
        if self.nothing:
            return answer.status in (403, 404)
        if self.redirects:
            return answer.status == 302
        if self.face == "admin":
            led = answer.status == 302 and "/login/" not in answer.headers["location"]
            return led or (answer.status == 200 and b'class="errornote"' not in answer.content)
        if self.many == "ids" and answer.status == 200:
            return bool(answer.json()["done"])
        if self.many == "taskIDs" and answer.status == 200:
            return answer.content == b""
        return 200 <= answer.status < 300


_worked: dict[str, int] = {}
"""Which of a route's requests succeeded, so that the others are tried once only."""


def routes() -> list[Route]:
    """All routes. Raises UnknownRoute."""
    found: list[Route] = []
    for pattern, callback in _leaves(get_resolver().url_patterns):
        found += _routes_of(pattern, callback)
    return found


def _leaves(patterns: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for each in patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLPattern):
            yield path, each
        else:
            yield from _leaves(each.url_patterns, path)


def _routes_of(pattern: str, found: URLPattern) -> list[Route]:
    if pattern.startswith("api/"):
        return list(_native(pattern, found.callback))
    if pattern.startswith("rest/bpm/htm/"):
        return list(_htm(pattern, found.callback))
    if pattern.startswith("admin/") or pattern == "":
        return list(_admin(pattern, found))
    return list(_itential(pattern, found.callback))


def _simple(path: str) -> Maker:
    return lambda world: [("nobody", Sent("GET", path))]


# --- The native face -----------------------------------------------------------------------------

NATIVE_BODIES: dict[str, dict[str, Any]] = {}
"""Bodies of operations whose example, filled in by `filled`, is not enough."""

NATIVE_LISTS = {"api/v1/tasks/": "/api/v1/tasks/", "api/v1/": "/api/v1/"}


def filled(example: Any, path: tuple[str, ...] = ()) -> Any:
    """An example with names of the cast in the places of users and groups, and other texts."""
    if isinstance(example, dict):
        return {name: filled(value, (*path, name)) for name, value in example.items()}
    if example != "":
        return copy.deepcopy(example)
    known = {
        ("to", "user"): "alice",
        ("from", "user"): "bob",
        ("to", "group"): "field",
        ("from", "group"): "noc",
    }
    return known.get(path[-2:], "because a test says so")


def _native(pattern: str, callback: Any) -> Iterator[Route]:
    view = getattr(callback, "cls", None)
    if callback is native.nothing_here:
        yield Route(
            pattern,
            "POST",
            "native",
            "nothing",
            _simple("/api/nothing/"),
            nothing=True,
            takes_body=False,
        )
        return
    methods: dict[str, str] = getattr(callback, "actions", None) or {
        name: name for name in ("get", "post") if hasattr(view, name)
    }
    for method, action in methods.items():
        operation = callback.initkwargs.get("operation", "")
        shared = {"pattern": pattern, "method": method.upper(), "face": "native"}
        kind = f"{view.__name__}.{action}"
        if action == "operate":
            maker = _operating(pattern, operation, many=False)
            yield Route(**shared, view=kind, maker=maker, on_task=True)
        elif action == "operate_on_many":
            maker = _operating(pattern, operation, many=True)
            yield Route(**shared, view=kind, maker=maker, many="ids")
        elif action == "create":
            yield Route(**shared, view=kind, maker=_creating)
        elif method == "get" and "<str:pk>" in pattern and pattern.count("<") == 1:
            yield Route(
                **shared, view=kind, maker=_reading(pattern), on_task=True, takes_body=False
            )
        elif method == "get" and pattern in NATIVE_LISTS:
            path = NATIVE_LISTS[pattern]
            yield Route(**shared, view=kind, maker=_listing(path), takes_body=False)
        else:
            raise UnknownRoute(f"{method.upper()} {pattern} ({kind})")


def _operating(pattern: str, operation: str, *, many: bool) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        table = native.BULK_INPUTS if many else native.INPUTS
        body = filled(table[operation].example) | NATIVE_BODIES.get(operation, {})
        body.setdefault("reason", "because a test says so")
        for scene in SCENES:
            task = world.task(scene)
            ids = {"ids": [str(task.pk)]} if many else {}
            path = "/" + pattern.replace("<str:pk>", str(task.pk))
            for who in CALLERS:
                yield who, Sent("POST", path, headers=world.bearer(who), json=body | ids)

    return make


def _creating(world: World) -> Iterator[tuple[str, Sent]]:
    body = filled(native.NewTask.example)
    body["people"] = {"potential_owner": {"users": ["alice"], "groups": ["noc"]}}
    yield "carol", Sent("POST", "/api/v1/tasks/", headers=world.bearer("carol"), json=body)


def _reading(pattern: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        path = "/" + pattern.replace("<str:pk>", str(world.task("ready").pk))
        yield "bob", Sent("GET", path, headers=world.bearer("bob"))

    return make


def _listing(path: str) -> Maker:
    return lambda world: [("bob", Sent("GET", path, headers=world.bearer("bob")))]


# --- IBM's face ----------------------------------------------------------------------------------

V1 = "rest/bpm/htm/v1/"
MOVE = (("action", verbs.TRANSFER), ("fromUser", "bob"), ("toUser", "alice"))

HTM_ACTIONS: dict[str, tuple[tuple[tuple[str, str], ...], Any]] = {
    "update": ((), {"priority": 3}),
    "start": ((("mode", "async"),), NOTHING),
    "complete": ((), {"decision": "approve"}),
    "suspendAndCancelClaim": ((("keepTaskData", "true"), ("duration", "P1D")), NOTHING),
}
"""Further parameters, and the body, of actions on one task that need them."""


def _htm(pattern: str, callback: Any) -> Iterator[Route]:
    view = callback.cls.__name__
    if pattern == f"{V1}task/<str:tkiid>":
        for action in verbs.TASK:
            parameters, body = HTM_ACTIONS.get(action, ((), NOTHING))
            yield Route(
                pattern,
                "PUT",
                "htm",
                view,
                _acting("", (("action", action), *parameters), body),
                variant=action,
                on_task=True,
                takes_body=body is not NOTHING,
            )
    elif pattern == f"{V1}task/<str:tkiid>/role/<str:role>":
        yield Route(
            pattern,
            "PUT",
            "htm",
            view,
            _acting("/role/owner", MOVE, NOTHING),
            on_task=True,
            takes_body=False,
        )
    elif pattern == f"{V1}task/role/<str:role>":
        yield Route(pattern, "PUT", "htm", view, _moving_many, many="taskIDs")
    elif pattern == "rest/bpm/htm/":
        path = "/rest/bpm/htm/v1/nothing"
        yield Route(pattern, "PUT", "htm", "nothing", _simple(path), nothing=True, takes_body=False)
    else:
        raise UnknownRoute(f"{pattern} ({view})")


def _acting(rest: str, query: tuple[tuple[str, str], ...], body: Any) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        for scene in SCENES:
            for who in CALLERS:
                path = f"/{V1}task/{tkiid(world.task(scene).pk)}{rest}"
                headers = {"Authorization": basic(who)}
                yield who, Sent("PUT", path, query, headers, json=body)

    return make


def _moving_many(world: World) -> Iterator[tuple[str, Sent]]:
    body = {"taskIDs": [tkiid(world.task("reserved").pk)]}
    headers = {"Authorization": basic("dave")}
    yield "dave", Sent("PUT", f"/{V1}task/role/owner", MOVE, headers, json=body)


# --- Itential's face -----------------------------------------------------------------------------

OM = "operations-manager/"

ITENTIAL_BODIES: dict[str, Callable[[World], Any]] = {
    "claim": lambda world: NOTHING,
    "release": lambda world: NOTHING,
    "assign": lambda world: {"userId": world.cast.alice.object_id},
    "finish": lambda world: {"taskData": {"finish_state": "success", "variables": {}}},
    "retry": lambda world: {"variables": {}},
}
"""The body of each act on one task, by the end of its address."""


def _itential(pattern: str, callback: Any) -> Iterator[Route]:
    view = callback.cls.__name__
    path = pattern.replace("\\Z", "").replace("/?", "").removeprefix("^")
    act = path.rpartition("/")[2]
    alone = {"pattern": pattern, "face": "itential", "view": view, "takes_body": False}
    if path == "login":
        yield Route(
            pattern,
            "POST",
            "itential",
            view,
            lambda world: [("nobody", Sent("POST", "/login", json=_login("bob")))],
            guesses=True,
        )
    elif path == "logout":
        maker: Maker = lambda world: [  # noqa: E731
            ("bob", Sent("GET", "/logout", headers=world.itential_session("bob")))
        ]
        yield Route(**alone, method="GET", maker=maker)
    elif path == "whoami":
        yield Route(**alone, method="GET", maker=_as_bob("/whoami"))
    elif path == f"{OM}tasks/(?P<task_id>[^/]+)":
        yield Route(
            **alone,
            method="GET",
            on_task=True,
            maker=lambda world: _as_bob(f"/{OM}tasks/{world.task('ready').pk}")(world),
        )
    elif view == "UnknownRoute":
        yield Route(**alone, method="POST", maker=_simple(f"/{OM}nothing"), nothing=True)
    elif act in ITENTIAL_BODIES:
        yield Route(pattern, "POST", "itential", view, _doing(path, act), on_task="task_id" in path)
    else:
        raise UnknownRoute(f"{pattern} ({view})")


def _login(name: str) -> dict[str, Any]:
    return {"user": {"username": name, "password": f"{name}-demo"}}


def _as_bob(path: str) -> Maker:
    return lambda world: [("bob", Sent("GET", path, headers={"Authorization": basic("bob")}))]


def _doing(path: str, act: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        body = ITENTIAL_BODIES[act](world)
        for scene in SCENES:
            for who in CALLERS:
                filled_in = path
                if "job" in path:
                    filled_in = filled_in.replace("(?P<job_id>[^/]+)", world.job.object_id)
                    filled_in = filled_in.replace("(?P<task_id>[^/]+)", "1a2b")
                filled_in = filled_in.replace("(?P<task_id>[^/]+)", str(world.task(scene).pk))
                headers = {"Authorization": basic(who)}
                yield who, Sent("POST", f"/{filled_in}", headers=headers, json=body)

    return make


# --- The admin -----------------------------------------------------------------------------------

ADMIN_OBJECTS: dict[str, Callable[[World], Any]] = {
    "accounts_user": lambda world: world.cast.frank,
    "accounts_group": lambda world: world.cast.field,
    "accounts_role": lambda world: world.role,
    "accounts_token": lambda world: world.token,
    "accounts_accountevent": lambda world: world.event,
}
"""What the pages of one object are about."""

PICK = (("app_label", "accounts"), ("model_name", "membership"), ("field_name", "user"))
HOLDERS = (("app_label", "tasks"), ("model_name", "task"), ("field_name", "owner"))

ADMIN_GETS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "index": ("", ()),
    "password_change": ("password_change/", ()),
    "password_change_done": ("password_change/done/", ()),
    "autocomplete": ("autocomplete/", PICK),
    "jsi18n": ("jsi18n/", ()),
    "tasks_task_changelist": ("tasks/task/", ()),
    "tasks_task_holders": ("tasks/task/holders/", HOLDERS),
    "tasks_bulkoperation_changelist": ("tasks/bulkoperation/", ()),
    "app_list": ("tasks/", ()),
}
"""Pages about nothing in particular: the address and the parameters."""

PASSWORD = {"password1": "a-new-long-secret", "password2": "a-new-long-secret"}

ADMIN_FORMS: dict[str, dict[str, str]] = {
    "accounts_user_add": {"username": "newcomer", "usable_password": "true", **PASSWORD},
    "accounts_user_change": {"first_name": "Frank"},
    "auth_user_password_change": {"usable_password": "true", **PASSWORD},
    "accounts_group_add": {"name": "on-call"},
    "accounts_group_change": {"description": "On the road"},
    "accounts_role_add": {"name": "auditors"},
    "accounts_role_change": {"description": "Helps"},
    "accounts_role_delete": {},
    "accounts_token_add": {"user": "", "name": "for a script", "lifetime": "90"},
    "accounts_token_delete": {},
    "tasks_bulkoperation_change": {"reason": "because a test says so"},
}
"""Pages with a form to be sent, and what is filled in besides what stands there."""

ADMIN_LISTS = ("accounts_role_changelist", "accounts_token_changelist", "tasks_task_changelist")
"""Lists with operations on what is selected."""

NO_FORM = {
    f"accounts_{name}"
    for name in (
        "user_delete",
        "group_delete",
        "token_change",
        "accountevent_add",
        "accountevent_change",
        "accountevent_delete",
    )
}
"""Pages of Django's that nobody may open, or that have no form."""


def _admin(pattern: str, found: URLPattern) -> Iterator[Route]:
    name = found.name or ""
    shared: dict[str, Any] = {"pattern": pattern, "face": "admin", "view": name or "redirect"}
    address = _address_of(pattern, name)
    read = {**shared, "method": "GET", "takes_body": False}
    if pattern == "":
        yield Route(**read, maker=_simple("/"), redirects=True)
    elif pattern.endswith("(?P<url>.*)$"):
        yield Route(**read, maker=_page(lambda world: "nothing/", ()), nothing=True)
    elif not name:
        yield Route(**read, maker=_page(address, ()), redirects=True)
    elif name == "login":
        yield Route(**read, maker=_simple("/admin/login/"))
        yield Route(**shared, method="POST", maker=_logging_in, guesses=True)
    elif name == "logout":
        yield Route(**shared, method="POST", maker=_posting(address, ()), takes_body=False)
    elif name == "tasks_task_file":
        yield Route(**read, maker=_page(address, ()))
    elif name == "tasks_task_do":
        yield Route(**shared, method="POST", maker=_pushing, takes_body=False, on_task=True)
    elif name in NO_FORM:
        yield Route(**read, maker=_page(address, ()), nothing=not name.endswith("_change"))
    elif (
        name in ADMIN_GETS
        or name in ADMIN_FORMS
        or name.rpartition("_")[2]
        in (
            "changelist",
            "history",
            "change",
            "add",
            "delete",
        )
    ):
        _, query = ADMIN_GETS.get(name, ("", ()))
        yield Route(**read, maker=_page(address, query), on_task=name == "tasks_task_change")
    else:
        raise UnknownRoute(f"{pattern} ({name})")
    if name in ADMIN_FORMS:
        yield Route(**shared, method="POST", maker=_filling(address, ADMIN_FORMS[name]))
    elif name == "password_change":
        old = {"old_password": "root-demo", "new_password1": PASSWORD["password1"]}
        new = {"new_password2": PASSWORD["password1"]}
        yield Route(**shared, method="POST", maker=_filling(address, {**old, **new}))
    elif name in ADMIN_LISTS:
        yield Route(**shared, method="POST", maker=_selecting(address, name), variant="selection")


def _address_of(pattern: str, name: str) -> Callable[[World], str]:
    """The rest of the address below /admin/."""

    def address(world: World) -> str:
        if name in ADMIN_GETS:
            return ADMIN_GETS[name][0]
        rest = pattern.removeprefix("admin/")
        if "<uuid:pk>" in rest:
            return rest.replace("<uuid:pk>", str(world.operation.pk))
        if "tasks/task/<str:pk>" in rest:
            rest = rest.replace("<str:pk>", str(world.task("ready").pk))
            if "<int:number>" in rest:
                return rest.replace("<int:number>", str(world.file.pk))
            return rest.replace("<str:name>", "claim")
        if "<" in rest:
            model = "_".join(rest.split("/")[:2])
            key = str(ADMIN_OBJECTS[model](world).pk)
            return rest.replace("<path:object_id>", key).replace("<id>", key)
        return rest

    return address


def _page(address: Callable[[World], str], query: tuple[tuple[str, str], ...]) -> Maker:
    return lambda world: [
        ("root", Sent("GET", f"/admin/{address(world)}", query, world.session("root")))
    ]


def _posting(address: Callable[[World], str], form: tuple[tuple[str, str], ...]) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        sent = (("csrfmiddlewaretoken", CSRF), *form)
        path = f"/admin/{address(world)}"
        yield "root", Sent("POST", path, headers=world.session("root"), form=sent)

    return make


def _logging_in(world: World) -> Iterator[tuple[str, Sent]]:
    form = (
        ("csrfmiddlewaretoken", CSRF),
        ("username", "bob"),
        ("password", "bob-demo"),
        ("next", "/admin/"),
    )
    headers = {"Cookie": f"csrftoken={CSRF}"}
    yield "nobody", Sent("POST", "/admin/login/", headers=headers, form=form)


def _pushing(world: World) -> Iterator[tuple[str, Sent]]:
    for name in ("claim", "release", "transfer"):
        path = f"/admin/tasks/task/{world.task('ready').pk}/do/{name}/"
        form = (("csrfmiddlewaretoken", CSRF),)
        yield "root", Sent("POST", path, headers=world.session("root"), form=form)


def _filling(address: Callable[[World], str], answers: dict[str, str]) -> Maker:
    """The form of a page as a browser would send it, with some fields filled in."""

    def make(world: World) -> Iterator[tuple[str, Sent]]:
        path = f"/admin/{address(world)}"
        headers = world.session("root")  # made before, so that it stays
        with undone():
            page = send(Sent("GET", path, headers=headers))
        assert page.status == 200, (path, page.status)
        (form,) = forms_of(HttpResponse(page.content))
        fields = {**form["fields"], **{name: [value] for name, value in answers.items()}}
        if answers.get("user") == "":
            fields["user"] = [str(world.cast.alice.pk)]
        fields["csrfmiddlewaretoken"] = [CSRF]
        sent = tuple((name, value) for name, values in fields.items() for value in values)
        yield "root", Sent("POST", path, headers=headers, form=sent)

    return make


def _selecting(address: Callable[[World], str], name: str) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        chosen = {
            "accounts_role_changelist": ("delete_selected", world.role.pk),
            "accounts_token_changelist": ("delete_selected", world.token.pk),
            "tasks_task_changelist": ("release", world.task("reserved").pk),
        }
        action, pk = chosen[name]
        form = (("action", action), ("select_across", "0"), ("index", "0"))
        sent = (*form, ("_selected_action", str(pk)))
        yield from _posting(address, sent)(world)

    return make
