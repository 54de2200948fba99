"""House rules that a reader could break without noticing, read off the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tasks import lifecycle
from tasks.actions import ACTIONS
from tasks.models import Task
from tasks.roles import COLUMNS, GRANTED, TaskRole

ROOT = Path(settings.BASE_DIR)
PACKAGES = ("accounts", "tasks", "taskmanager")
GENERATED = "migrations/0001_initial.py"


def sources(*packages: str) -> dict[str, str]:
    """The text of every module of some packages by its path; migrations apart."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts
    }


def core_sources() -> dict[str, str]:
    """The modules of the core: `tasks` without its faces, commands and the import of documents."""
    outside = ("tasks/api/", "tasks/admin/", "tasks/management/", "tasks/imports.py")
    return {path: text for path, text in sources("tasks").items() if not path.startswith(outside)}


class OneText(ast.NodeTransformer):
    """Turns an f-string into one text, in which {name} stands for what is put in."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        parts = [
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        ]
        return ast.copy_location(ast.Constant("".join(map(str, parts))), node)


def found_in(text: str, check: Callable[[ast.AST], Iterator[str]]) -> list[str]:
    """What a check finds in a module, with the lines."""
    return [
        f"line {getattr(node, 'lineno', '?')}: {what}"
        for node in ast.walk(OneText().visit(ast.parse(text)))
        for what in check(node)
    ]


def breaches(
    check: Callable[[ast.AST], Iterator[str]], allowed: set[str], *packages: str
) -> dict[str, list[str]]:
    """What a check finds in modules other than the allowed ones, by module."""
    every = {
        path: found_in(text, check)
        for path, text in sources(*packages).items()
        if path not in allowed
    }
    return {path: found for path, found in every.items() if found}


# --- Who writes tasks -----------------------------------------------------------------------------

WRITING = {
    "create",
    "bulk_create",
    "get_or_create",
    "update_or_create",
    "update",
    "bulk_update",
    "delete",
    "save",
    "save_base",
    "_raw_delete",
}
TASKS = {"Task", "tasks", "owned_tasks", "originated_tasks", "started_tasks", "subtasks", "task"}
RECORDS = {"AuditEvent", "OutboxEvent"}
ROLE_ROWS = {"TaskUserRole", "TaskGroupRole", "user_roles", "group_roles"}


def names_in(node: ast.AST) -> set[str]:
    """Every name and attribute that an expression is made of, arguments of calls apart."""
    found: set[str] = set()
    while True:
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "get_object_or_404":
                found |= {arg.id for arg in node.args if isinstance(arg, ast.Name)}
            node = node.func
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript | ast.Await):
            node = node.value
        elif isinstance(node, ast.Name):
            return found | {node.id}
        else:
            return found


def writes(subjects: set[str]) -> Callable[[ast.AST], Iterator[str]]:
    """A check for calls that write through the ORM to what has one of these names."""

    def check(node: ast.AST) -> Iterator[str]:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in WRITING
            and names_in(node.func.value) & subjects
        ):
            yield ast.unparse(node.func)

    return check


def sql_on(*tables: str) -> Callable[[ast.AST], Iterator[str]]:
    """A check for texts that hold writing SQL on some tables."""
    pattern = re.compile(
        r"\b(insert\s+into|update|delete\s+from|truncate|merge\s+into|copy)\s+(only\s+|table\s+)*"
        rf"({'|'.join(tables)})(?![a-z_{{])",
        re.IGNORECASE,
    )

    def check(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (match.group() for match in pattern.finditer(node.value))

    return check


SEED = "taskmanager/seed_data.py"
"""Set-up, not an operation: it fills a database that holds no task, by COPY, for measuring.

Its events go through `tasks.events` like all others.
"""


def test_nothing_but_the_actions_writes_tasks() -> None:
    assert breaches(writes(TASKS), {"tasks/actions/creation.py"}, *PACKAGES) == {}
    assert breaches(sql_on("tasks_task"), {"tasks/actions/statement.py", SEED}, *PACKAGES) == {}


def test_nothing_but_the_events_writes_audit_and_outbox() -> None:
    assert breaches(writes(RECORDS), set(), *PACKAGES) == {}
    tables = ("tasks_auditevent", "tasks_outboxevent")
    assert breaches(sql_on(*tables), {"tasks/events.py"}, *PACKAGES) == {}


def test_nothing_but_the_seals_writes_seals() -> None:
    assert breaches(writes({"AuditSeal"}), set(), *PACKAGES) == {}
    assert breaches(sql_on("tasks_auditseal"), {"tasks/seals.py"}, *PACKAGES) == {}


def mentions(names: set[str]) -> Callable[[ast.AST], Iterator[str]]:
    """A check for names, attributes, imports and SQL that touch role rows."""

    def check(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Name) and node.id in names:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in names:
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.name in names)
            if (node.module or "").startswith("guardian.shortcuts"):
                yield "guardian.shortcuts"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\btasks_task(?:user|group|\{\w+\})role", node.value)

    return check


def test_only_work_items_touches_the_tables_of_task_roles() -> None:
    """The models define them; querysets, lists and summaries read them."""
    reading = ("tasks/models.py", "tasks/querysets.py", "tasks/lists.py", "tasks/summaries.py")
    allowed = {"tasks/work_items.py", SEED, *reading}
    assert breaches(mentions(ROLE_ROWS), allowed, *PACKAGES) == {}
    tables = ("tasks_taskuserrole", "tasks_taskgrouprole", r"tasks_task\{\w+\}role")
    for path in reading:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert found_in(text, writes(ROLE_ROWS)) == []
        assert found_in(text, sql_on(*tables)) == []


@pytest.mark.parametrize(
    "code",
    [
        "Task.objects.create(name='x')",
        "Task.objects.filter(pk=1).exclude(a=2).update(state='x')",
        "models.Task.objects.all().delete()",
        "Task(name='x').save()",
        "task.save(update_fields=['state'])",
        "job.tasks.update(state='x')",
        "user.owned_tasks.filter(a=1)[:3].delete()",
        "get_object_or_404(Task, pk=1).delete()",
        "self.task.save()",
    ],
)
def test_a_write_of_tasks_would_be_found(code: str) -> None:
    assert found_in(code, writes(TASKS))


@pytest.mark.parametrize(
    "code",
    [
        "cursor.execute('UPDATE tasks_task SET version = 1')",
        "cursor.execute(f'insert into  tasks_task ({columns})')",
        "x = 'delete from only tasks_task where true'",
        "x = f'update tasks_task{suffix}; truncate table tasks_task'",
    ],
)
def test_sql_that_writes_tasks_would_be_found(code: str) -> None:
    assert found_in(code, sql_on("tasks_task"))


def test_reading_is_not_taken_for_writing() -> None:
    for code in (
        "Task.objects.filter(pk=1).first()",
        "found.update(Task.objects.values_list('pk'))",
        "cursor.execute('select version from tasks_task for update')",
        "cursor.execute('update tasks_taskuserrole set open = true')",
        "cursor.execute(f'update tasks_task{kind}role set open = true')",
    ):
        assert found_in(code, writes(TASKS)) == []
        assert found_in(code, sql_on("tasks_task")) == []


@pytest.mark.parametrize(
    "code",
    [
        "TaskUserRole.objects.count()",
        "from tasks.models import TaskGroupRole",
        "task.user_roles.all()",
        "from guardian.shortcuts import assign_perm",
        "x = 'select * from tasks_taskgrouprole'",
        "x = f'select * from tasks_task{kind}role'",
    ],
)
def test_touching_role_rows_would_be_found(code: str) -> None:
    assert found_in(code, mentions(ROLE_ROWS))


# --- Who imports whom -----------------------------------------------------------------------------


def imports(path: str, text: str) -> set[str]:
    """The full names of the modules and members that a module imports."""
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def importing(prefixes: tuple[str, ...], modules: dict[str, str]) -> dict[str, list[str]]:
    """Which modules import something below one of the prefixes."""
    every = {
        path: sorted(
            name
            for name in imports(path, text)
            if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
        )
        for path, text in modules.items()
    }
    return {path: names for path, names in every.items() if names}


WEB = ("django.http", "django.shortcuts", "django.views", "django.urls", "rest_framework")


def test_the_core_knows_no_http() -> None:
    core = core_sources()
    assert "tasks/actions/frame.py" in core
    assert importing(WEB, core) == {}


def test_the_core_knows_no_face() -> None:
    faces = ("tasks.api", "tasks.admin", "tasks.management", "tasks.imports", "taskmanager")
    assert importing(faces, core_sources()) == {}


def test_one_module_knows_procrastinate() -> None:
    assert set(importing(("procrastinate",), sources(*PACKAGES))) == {"tasks/background.py"}


def test_accounts_know_nothing_of_tasks() -> None:
    assert importing(("tasks", "taskmanager"), sources("accounts")) == {}


@pytest.mark.parametrize("face", ["tasks.api.native", "tasks.api.itential", "tasks.api.htm"])
def test_no_face_knows_another(face: str) -> None:
    others = ("tasks.api.native", "tasks.api.itential", "tasks.api.htm", "tasks.admin")
    folder = face.replace(".", "/") + "/"
    mine = {path: text for path, text in sources("tasks").items() if path.startswith(folder)}
    assert importing(tuple(other for other in others if other != face), mine) == {}


def test_tasks_use_no_signals() -> None:
    assert importing(("django.db.models.signals", "django.dispatch"), sources("tasks")) == {}


@pytest.mark.parametrize(
    ("path", "code", "name"),
    [
        ("tasks/a.py", "import rest_framework", "rest_framework"),
        ("tasks/a.py", "from .api.native import views", "tasks.api.native.views"),
        ("tasks/a.py", "from . import admin", "tasks.admin"),
        ("tasks/api/htm/a.py", "from ..native.errors import x", "tasks.api.native.errors.x"),
        ("tasks/api/htm/__init__.py", "from ..native import x", "tasks.api.native.x"),
        ("accounts/a.py", "def f():\n    from tasks import models", "tasks.models"),
    ],
)
def test_imports_are_found_however_they_are_written(path: str, code: str, name: str) -> None:
    assert imports(path, code) == {name}


# --- What every module and operation has ----------------------------------------------------------


def test_every_module_says_what_it_is() -> None:
    folders = (*PACKAGES, "tests")
    silent = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.as_posix().endswith(GENERATED)
        and (text := path.read_text(encoding="utf-8")).strip()
        and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_every_operation_has_an_action_and_every_action_an_operation() -> None:
    assert set(ACTIONS) == {*lifecycle.OPERATIONS, *lifecycle.ROWS, lifecycle.UNDO.name}
    for name, operation in lifecycle.OPERATIONS.items():
        assert operation.name == name
    for name, rows in lifecycle.ROWS.items():
        assert {operation.name for operation in rows.values()} == {name}
        assert {operation.permission for operation in rows.values()} == {
            lifecycle.permission_for(name)
        }


def test_every_permission_of_the_rules_is_one_of_the_models() -> None:
    options = Task._meta
    known = {f"tasks.{action}_task" for action in options.default_permissions}
    known |= {f"tasks.{codename}" for codename, _ in options.permissions}
    asked: set[str] = set()
    for table in (lifecycle.OPERATIONS, *lifecycle.ROWS.values()):
        for operation in table.values():
            asked |= {operation.permission, operation.receiver_permission} - {""}
            for rule in operation.rules:
                asked |= set(rule.with_permission.values())
    assert "tasks.release_others_task" in asked
    assert asked <= known
    assert {f"tasks.{role}" for role in GRANTED} <= known


def test_every_task_role_is_a_column_or_granted() -> None:
    assert set(COLUMNS).isdisjoint(GRANTED)
    assert {*COLUMNS, *GRANTED} == set(TaskRole)
    for role in COLUMNS:
        assert Task._meta.get_field(role).is_relation
