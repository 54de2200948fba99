"""The admin: its pages, its forms, and each operation that it offers for tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpResponse
from django.urls import URLPattern

from tasks.admin.operations import BULK
from tests.faces.admin_pages import forms_of
from tests.proof.wire import Sent, send, undone

from .route import Maker, Route, UnknownRoute, simple
from .world import CSRF, World

OBJECTS: dict[str, Callable[[World], Any]] = {
    "accounts_user": lambda world: world.cast.frank,
    "accounts_group": lambda world: world.cast.field,
    "accounts_role": lambda world: world.role,
    "accounts_token": lambda world: world.token,
    "accounts_accountevent": lambda world: world.event,
}
"""What the pages of one object are about."""

PICK = (("app_label", "accounts"), ("model_name", "membership"), ("field_name", "user"))
HOLDERS = (("app_label", "tasks"), ("model_name", "task"), ("field_name", "owner"))

GETS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
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

OPERATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "claim": ("ready", {}),
    "complete": ("reserved", {}),
    "release": ("reserved", {}),
    "transfer": ("reserved", {"from_user": "bob", "to_user": "alice"}),
    "suspend": ("ready", {"until": "2090-01-31T12:00"}),
    "resume": ("on hold", {}),
    "start": ("ready", {}),
    "stop": ("in progress", {}),
    "assign": ("ready", {"to_user": "alice"}),
    "delegate": ("ready", {"to_user": "alice"}),
    "forward": ("ready", {"from_group": "noc", "to_group": "field"}),
    "suspend_and_release": ("reserved", {}),
    "set_priority": ("ready", {"priority": "3"}),
    "comment": ("ready", {"text": "Look here"}),
    "activate": ("created", {}),
    "skip": ("ready", {}),
    "exit": ("ready", {}),
    "reopen": ("completed", {}),
    "retry": ("failed", {}),
    "remove": ("completed", {}),
}
"""The task to try each operation on, and what its form asks besides the reason."""

STAGES: dict[str, Callable[[World], Any]] = {
    "draft": lambda world: world.draft("release", "reserved"),
    "plan": lambda world: world.planned,
    "result": lambda world: world.carried_out,
}
"""The page of an operation on many tasks, from its draft to its result."""

FORMS: dict[str, dict[str, str]] = {
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
}
"""Pages with a form to be sent, and what is filled in besides what stands there."""

LISTS = ("accounts_role_changelist", "accounts_token_changelist", "tasks_task_changelist")
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


OPERATION = "tasks_bulkoperation_change"


def routes_of(pattern: str, found: URLPattern) -> Iterator[Route]:
    """The routes of one pattern. Raises UnknownRoute."""
    name = found.name or ""
    shared: dict[str, Any] = {"pattern": pattern, "face": "admin", "view": name or "redirect"}
    read = {**shared, "method": "GET", "takes_body": False}
    write = {**shared, "method": "POST"}
    address = _address_of(pattern, name)
    if pattern == "":
        yield Route(**read, maker=simple("/"), redirects=True)
    elif pattern.endswith("(?P<url>.*)$"):
        yield Route(**read, maker=_page(lambda world: "nothing/"), nothing=True)
    elif not name:
        yield Route(**read, maker=_page(address), redirects=True)
    elif name == "login":
        yield Route(**read, maker=simple("/admin/login/"))
        yield Route(**write, maker=_logging_in, guesses=True)
    elif name == "logout":
        yield Route(**write, maker=_posting(address, ()), takes_body=False)
    elif name == "tasks_task_do":
        if set(OPERATIONS) != set(BULK):
            raise UnknownRoute(f"Operations: {set(OPERATIONS) ^ set(BULK)}")
        for operation in OPERATIONS:
            maker = _pushing(operation)
            yield Route(**write, maker=maker, variant=operation, takes_body=False, on_task=True)
    elif name == OPERATION:
        for stage, stored in STAGES.items():
            yield Route(**read, maker=_page(_stored(stored)), variant=stage)
        for operation, (scene, answers) in OPERATIONS.items():
            yield Route(**write, maker=_telling(operation, scene, answers), variant=operation)
        for stage in ("plan", "result"):
            maker = _posting(_stored(STAGES[stage]), ())
            yield Route(**write, maker=maker, variant=stage, takes_body=False)
    elif name == "tasks_bulkoperation_undo":
        address = _stored(lambda world: world.reversible)
        maker = _posting(lambda world: f"{address(world)}undo/", ())
        yield Route(**write, maker=maker, takes_body=False)
    elif name in NO_FORM:
        yield Route(**read, maker=_page(address), nothing=not name.endswith("_change"))
    elif name in (*GETS, *FORMS, "tasks_task_file") or name.endswith(PAGES):
        _, query = GETS.get(name, ("", ()))
        on_task = name in ("tasks_task_change", "tasks_task_file")
        yield Route(**read, maker=_page(address, query), on_task=on_task)
    else:
        raise UnknownRoute(f"{pattern} ({name})")
    if name in FORMS:
        yield Route(**write, maker=_filling(address, FORMS[name]))
    elif name == "password_change":
        old = {"old_password": "root-demo", "new_password1": PASSWORD["password1"]}
        new = {"new_password2": PASSWORD["password1"]}
        yield Route(**write, maker=_filling(address, {**old, **new}))
    elif name in LISTS:
        yield Route(**write, maker=_selecting(address, name), variant="selection")


PAGES = ("_changelist", "_history", "_change", "_add", "_delete")
"""How the names of the pages of Django's end."""


def _stored(of: Callable[[World], Any]) -> Callable[[World], str]:
    return lambda world: f"tasks/bulkoperation/{of(world).pk}/"


def _address_of(pattern: str, name: str) -> Callable[[World], str]:
    """The rest of the address below /admin/."""

    def address(world: World) -> str:
        if name in GETS:
            return GETS[name][0]
        rest = pattern.removeprefix("admin/")
        if "tasks/task/<str:pk>" in rest:
            rest = rest.replace("<str:pk>", str(world.task("ready").pk))
            return rest.replace("<int:number>", str(world.file.pk))
        if "<" in rest:
            model = "_".join(rest.split("/")[:2])
            key = str(OBJECTS[model](world).pk)
            return rest.replace("<path:object_id>", key).replace("<id>", key)
        return rest

    return address


def _page(address: Callable[[World], str], query: tuple[tuple[str, str], ...] = ()) -> Maker:
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


def _pushing(operation: str) -> Maker:
    scene, _ = OPERATIONS[operation]

    def address(world: World) -> str:
        return f"tasks/task/{world.task(scene).pk}/do/{operation}/"

    return _posting(address, ())


def _telling(operation: str, scene: str, answers: dict[str, str]) -> Maker:
    def make(world: World) -> Iterator[tuple[str, Sent]]:
        told = {
            name: str(world.user(value).pk) if name.endswith(("_user", "_group")) else value
            for name, value in answers.items()
        }
        address = _stored(lambda world: world.draft(operation, scene))
        reason = {"reason": "because a test says so"}
        yield from _filling(address, told | reason)(world)

    return make


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
