"""The life cycle of tasks in plain Python: who may do what to which task, and what becomes of it.

Written by hand from the rule book; the lines of its tables are those that were typed by hand for
`tests.core.rule_book`. It shares nothing with the code under test, and knows no HTTP.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.core.book import BOOK, Line, Page, rows, states_in
from tests.core.rule_book import WITH_SUBTASKS

READY: Final = {"ready"}
HELD: Final = {"reserved", "in_progress"}
OPEN: Final = {"created"} | READY | HELD
WORKING: Final = {"potential_owner", "owner", "editor"}
COLUMNS: Final = ("owner", "originator", "starter")
SUBTASKS: Final = {row["operation"]: states_in(row["subtasks in"]) for row in rows(WITH_SUBTASKS)}
"""The states in which subtasks change along, by operation."""

# --- People ---------------------------------------------------------------------------------------

_WORK = (
    "claim start stop release assign delegate forward transfer suspend resume save complete "
    "finish fail skip comment attach"
)
_BUILD = "activate nominate change set_priority grant exit raise_error"
_PERMISSIONS: Final[dict[str, str]] = {
    "operations": f"view release_others {_WORK}",
    "engineering": f"view release_others add {_WORK} {_BUILD}",
    "admin": f"view release_others add {_WORK} {_BUILD} reopen delete",
    "apiwrite": f"release_others add {_WORK} {_BUILD}",
    "viewer": "view",
    "apiread": "view",
    "retryUser": "retry",
}
"""What the system roles grant, from the rule book; undo, jobs and accounts apart."""
_EVERYWHERE: Final = {
    "admin": {"administrator", "reader"},
    "apiwrite": {"administrator"},
    "apiread": {"reader"},
    "viewer": {"reader"},
}
"""The task roles that system roles give on every task."""


@dataclass(frozen=True)
class Person:
    """An account: its system roles, the groups it is a member of, and those it leads."""

    name: str
    system_roles: tuple[str, ...]
    groups: frozenset[str] = frozenset()
    leads: frozenset[str] = frozenset()

    def may(self, permission: str, operation: str = "") -> bool:
        """Gate 1: `permission` as the book writes it, like tasks.claim_task."""
        name = permission.removeprefix("tasks.").removesuffix("_task")
        return any(name in _PERMISSIONS[role].split() for role in self.system_roles)

    @property
    def everywhere(self) -> set[str]:
        """The task roles that it has on every task."""
        return set().union(*(_EVERYWHERE.get(role, set()) for role in self.system_roles))


def _person(name: str, *system_roles: str, groups: str = "", leads: str = "") -> Person:
    return Person(
        name, system_roles, frozenset(groups.split()) | {"everybody"}, frozenset(leads.split())
    )


PEOPLE: Final = {
    person.name: person
    for person in (
        _person("alice", "operations", groups="noc", leads="noc"),
        _person("bob", "operations", groups="noc"),
        _person("carol", "engineering", groups="field"),
        _person("dave", "admin"),
        _person("erin", "viewer"),
        _person("frank", "operations"),
        _person("rita", "operations", "retryUser", groups="noc"),
        _person("svc-integration", "apiwrite"),
        _person("svc-reader", "apiread"),
    )
}
EMPTY_GROUP: Final = "change-board"
GROUPS: Final = ("noc", "field", "everybody", EMPTY_GROUP)

Holder = tuple[str, str]
"""A user or group: ("user", name) or ("group", name)."""


# --- Tasks and acts -------------------------------------------------------------------------------


@dataclass
class Sheet:
    """All that the model knows of a task; times are texts, `strict` asks for an output schema."""

    id: str
    state: str
    originator: str
    version: int = 1
    on_hold: bool = False
    owner: str | None = None
    starter: str | None = None
    parent: str | None = None
    people: dict[str, set[Holder]] = field(default_factory=dict)
    priority: int = 5
    description: str = ""
    input: Any = field(default_factory=dict)
    output: Any = None
    fault: Any = None
    fault_name: str = ""
    strict: bool = False
    skippable: bool = False
    claim_while_on_hold: bool = False
    automatic_claim: bool = False
    expires_at: str | None = None
    wakeup_at: str | None = None
    comments: int = 0

    def holds(self, role: str, holder: Holder | None) -> bool:
        """Whether a user or group has a task role itself."""
        if role in COLUMNS:
            return holder == ("user", getattr(self, role))
        return holder in self.people.get(role, set())


@dataclass(frozen=True)
class Act:
    """What somebody asks for: an operation on tasks, each with the version expected, if any.

    `who` None is the clock. `explained` says whether a reason is given; the dialects carry none,
    and none is demanded `by_dialect`.
    """

    who: str | None
    operation: str
    tasks: Mapping[str, int | None]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    explained: bool = False
    bulk: bool = False
    by_dialect: bool = False


@dataclass
class Verdict:
    """What has to be answered: `problem` with the call itself, or each task done or refused.

    `along` are the subtasks that change too.
    """

    problem: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    along: list[str] = field(default_factory=list)


TARGET_EMPTY, INVALID = "target_empty", "invalid_argument"


class Model:
    """A handful of tasks by id, those that were removed with their last version."""

    def __init__(self) -> None:
        self.tasks: dict[str, Sheet] = {}
        self.gone: dict[str, int] = {}

    @property
    def versions(self) -> int:
        """The versions of all tasks, living and removed, added up."""
        return sum(task.version for task in self.tasks.values()) + sum(self.gone.values())

    def held(self, who: str | None, task: Sheet) -> set[str]:
        """The task roles of an account; the clock is administrator."""
        if who is None:
            return {"administrator"}
        person = PEOPLE[who]
        mine = {("user", who)} | {("group", group) for group in person.groups}
        found = {role for role, holders in task.people.items() if holders & mine}
        found |= {role for role in COLUMNS if getattr(task, role) == who}
        led = {("group", group) for group in person.leads}
        if task.people.get("potential_owner", set()) & led:
            found.add("administrator")
        return found | person.everywhere

    def sees(self, who: str, task: Sheet) -> bool:
        """Whether the task is there at all for an account."""
        return bool(self.held(who, task) - {"excluded_owner"})

    def reads(self, who: str) -> set[str]:
        """The tasks that an account may list and open."""
        if not PEOPLE[who].may("tasks.view_task"):
            return set()
        return {pk for pk, task in self.tasks.items() if self.sees(who, task)}

    def below(self, pk: str) -> Iterator[Sheet]:
        """The subtasks of a task, however deep."""
        for task in self.tasks.values():
            if task.parent == pk:
                yield task
                yield from self.below(task.id)

    # --- What is answered -------------------------------------------------------------------------

    def judge(self, act: Act) -> Verdict:
        """What has to come of an act, in the order in which everything is decided."""
        verdict = Verdict()
        page = page_of(act)

        def allowed() -> list[Sheet]:
            return [self.tasks[pk] for pk in act.tasks if pk not in verdict.refused]

        def refuse(reason: Callable[[Sheet], str]) -> None:
            verdict.refused |= {task.id: code for task in allowed() if (code := reason(task))}

        verdict.refused = {pk: "task_not_found" for pk in act.tasks if pk not in self.tasks}
        refuse(lambda task: self._forbids(page, act, task))
        permitted = act.who is None or PEOPLE[act.who].may(page.permission)
        if permitted and (act.bulk or allowed()):
            verdict.problem = _wrong_names(act)
        if allowed():
            verdict.problem = verdict.problem or _wrong_values(act)
        if verdict.problem:
            return verdict
        refuse(lambda task: _wrong_output(act, task))
        refuse(lambda task: "stale_task" if act.tasks[task.id] not in (None, task.version) else "")
        refuse(lambda task: self._conflicts(page, act, task))
        refuse(lambda task: self._beyond_the_table(page, act, task))
        refuse(lambda task: _wants_reason(page, act, task))
        chosen = [task.id for task in allowed()]
        for pk in chosen:
            for task in self.below(pk):
                if task.id not in (*chosen, *verdict.along) and _goes_along(act, task):
                    verdict.along.append(task.id)
        for pk in verdict.along:
            if verdict.refused.get(pk) != "task_not_found":
                verdict.refused.pop(pk, None)
        changed = {*chosen, *verdict.along}
        verdict.refused = {pk: verdict.refused[pk] for pk in act.tasks if pk in verdict.refused}
        verdict.done = [pk for pk in act.tasks if pk in changed and pk not in verdict.refused]
        return verdict

    def _forbids(self, page: Page, act: Act, task: Sheet) -> str:
        held = self.held(act.who, task)
        if not held - {"excluded_owner"}:
            return "task_not_found"
        if act.who is None:
            return ""
        if not PEOPLE[act.who].may(page.permission):
            return "not_authorized"
        if "excluded_owner" in held and page.excluded == "never":
            return "not_authorized"
        if _repeats(page, act, task):
            return ""
        usable = _usable(page, held)
        here = [line for line in page.lines if task.state in line.sources]
        if not any(_admits(line, usable, act.who) for line in here or page.lines):
            return "not_authorized"
        giver = act.arguments.get("from", ("user", act.who))
        own = giver == ("user", act.who) or giver[1] in PEOPLE[act.who].groups
        if page.own_part and not own and "administrator" not in held:
            return "not_authorized"
        return ""

    def _conflicts(self, page: Page, act: Act, task: Sheet) -> str:
        if _repeats(page, act, task):
            return "already_owner"
        here = [line for line in page.lines if task.state in line.sources]
        if not here:
            return "invalid_task_state"
        if page.ends_hold and not task.on_hold:
            return "not_suspended"
        waived = page.hold_flag and task.claim_while_on_hold
        usable = _usable(page, self.held(act.who, task))
        if task.on_hold and not waived and not usable & here[0].on_hold:
            return "task_suspended"
        if page.skippable_only and not task.skippable:
            return "not_skippable"
        return ""

    def _beyond_the_table(self, page: Page, act: Act, task: Sheet) -> str:
        """What depends on who gives and who receives, or on the subtasks."""
        to, role = act.arguments.get("to"), act.arguments.get("role", "")
        giver = act.arguments.get("from", ("user", act.who))
        if act.operation in ("assign", "delegate"):
            if task.state in HELD and to == ("user", task.owner):
                return "already_owner"
            return self._ineligible(page, act, task, to[1])
        if act.operation == "nominate":
            people = act.arguments["people"]
            if len(people) == 1 and people[0][0] == "user":
                return self._ineligible(page, act, task, people[0][1])
        if act.operation == "forward":
            return "" if task.holds("potential_owner", giver) else "no_such_work_item"
        if act.operation == "transfer":
            if not task.holds(role, giver):
                return "no_such_work_item"
            return self._ineligible(page, act, task, to[1]) if to[0] == "user" else ""
        if act.operation == "grant":
            if task.holds(role, to):
                return "already_granted"
            if role == "excluded_owner" and task.state in HELD and task.owner is not None:
                groups = PEOPLE[task.owner].groups
                if to == ("user", task.owner) or (to[0] == "group" and to[1] in groups):
                    return "target_not_eligible"
        if act.operation == "revoke":
            if not task.holds(role, giver):
                return "no_such_work_item"
            if role == "administrator" and len(task.people[role]) == 1:
                return "last_administrator"
        if act.operation == "remove" and any(
            child.state in OPEN - {"created"} for child in self.below(task.id)
        ):
            return "subtasks_open"
        return ""

    def _ineligible(self, page: Page, act: Act, task: Sheet, receiver: str) -> str:
        theirs = self.held(receiver, task)
        makes_owner = act.operation != "transfer" or act.arguments["role"] == "owner"
        if makes_owner and "excluded_owner" in theirs:
            return "target_not_eligible"
        usable = _usable(page, self.held(act.who, task))
        demands = [page.receivers[role] for role in usable if role in page.receivers]
        if any(demand is None or demand & theirs for demand in demands):
            return ""
        creator = PEOPLE[receiver].may("tasks.add_task")
        if act.operation == "transfer" and act.arguments["role"] == "originator" and creator:
            return ""
        return "target_not_eligible"

    # --- What becomes of it -----------------------------------------------------------------------

    def perform(self, act: Act, verdict: Verdict) -> None:
        """Change what an act has to change."""
        changed = dict.fromkeys([*verdict.done, *verdict.along])
        if act.operation == "remove":
            for pk in changed:
                self.gone[pk] = self.tasks.pop(pk).version + 1
            return
        for pk in changed:
            task = self.tasks[pk]
            targets = [line.target for line in page_of(act).lines if task.state in line.sources]
            effect = _EFFECTS.get(act.operation)
            other_end = effect(task, act) if effect else None
            task.state = other_end or next(filter(None, targets), task.state)
            task.version += 1

    def create(self, pk: str, who: str, given: Mapping[str, Any]) -> None:
        """Make a task as a creator asks for it."""
        people = copy.deepcopy(dict(given["people"]))
        people.setdefault("potential_owner", {("group", "everybody")})
        people.setdefault("administrator", {("user", who)})
        task = Sheet(pk, "created" if given["waiting"] else "ready", who, people=people)
        for name in ("parent", "strict", "skippable", "automatic_claim", "expires_at"):
            setattr(task, name, given[name])
        task.claim_while_on_hold = given["claim_while_on_hold"]
        self.tasks[pk] = task
        if given["waiting"]:
            return
        task.starter = who
        owners = sorted(people["potential_owner"])
        if task.automatic_claim and len(owners) == 1 and owners[0][0] == "user":
            (_, name) = owners[0]
            if "excluded_owner" not in self.held(name, task):
                task.state, task.owner = "reserved", name

    def create_problem(self, who: str, given: Mapping[str, Any]) -> str:
        """Why nothing is made; empty where all is well."""
        if not PEOPLE[who].may("tasks.add_task"):
            return "not_permitted"
        if given["parent"] is None:
            return ""
        parent = self.tasks.get(given["parent"])
        if parent is None or not self.sees(who, parent):
            return "invalid_body"
        return INVALID if parent.state not in OPEN or parent.on_hold else ""

    def sweep(self, at: str) -> tuple[list[str], list[str]]:
        """What time does until `at`: the tasks that expire, and those that wake up."""
        expiring = [
            task.id
            for task in self.tasks.values()
            if task.state in OPEN and task.expires_at and task.expires_at <= at
        ]
        waking = [
            task.id
            for task in self.tasks.values()
            if task.on_hold and task.id not in expiring and task.wakeup_at and task.wakeup_at <= at
        ]
        for operation, ids in (("expire", expiring), ("resume", waking)):
            act = Act(None, operation, dict.fromkeys(ids), bulk=True)
            self.perform(act, self.judge(act))
        return expiring, waking


# --- The smaller questions ------------------------------------------------------------------------


def page_of(act: Act) -> Page:
    """What the hand-typed book says of an act; of several properties, what it says of all."""
    if act.operation in ("transfer", "grant", "revoke"):
        return BOOK[act.operation][act.arguments["role"]]
    if act.operation != "update":
        return BOOK[""][act.operation]
    pages = [BOOK["update"][name] for name in act.arguments["values"]]
    lines = []
    for state in sorted(set().union(*(line.sources for page in pages for line in page.lines))):
        here = [line for page in pages for line in page.lines if state in line.sources]
        if len(here) == len(pages):
            by = set.intersection(*(line.roles for line in here))
            lines.append(Line({state}, None, by, by))
    return Page(pages[0].permission, pages[0].event, lines)


def _admits(line: Line, usable: set[str], who: str) -> bool:
    return bool(usable & line.roles) or any(
        role in usable and PEOPLE[who].may(permission)
        for role, permission in line.with_permission.items()
    )


def _usable(page: Page, held: set[str]) -> set[str]:
    if "excluded_owner" in held and page.excluded != "as others":
        return held - WORKING
    return held


def _repeats(page: Page, act: Act, task: Sheet) -> bool:
    return page.already_ours and task.state in HELD and task.owner == act.who


def _wants_reason(page: Page, act: Act, task: Sheet) -> str:
    wanted = page.reason == "yes" or (page.reason != "-" and task.owner != act.who)
    missing = wanted and not act.explained and not act.by_dialect and act.who is not None
    return "reason_required" if missing else ""


def _goes_along(act: Act, task: Sheet) -> bool:
    if task.state not in SUBTASKS.get(act.operation, set()):
        return False
    if act.operation == "resume":
        return task.on_hold
    return act.operation == "exit" or not task.on_hold


def _wrong_names(act: Act) -> str:
    """What is wrong with who gives and receives, whichever task it is about."""
    to, giver = act.arguments.get("to"), act.arguments.get("from")
    named: Iterable[Holder] = act.arguments.get("people", [to] if to else [])
    if any(holder == ("group", EMPTY_GROUP) for holder in named):
        return TARGET_EMPTY
    if act.operation in ("forward", "transfer") and to is not None:
        giver = giver or ("user", act.who)
        if giver == to or (act.operation == "transfer" and giver[0] != to[0]):
            return INVALID
    single = act.operation in ("assign", "delegate") or act.arguments.get("role") in COLUMNS
    return INVALID if single and to is not None and to[0] == "group" else ""


def _wrong_values(act: Act) -> str:
    values = {**act.arguments, **act.arguments.get("values", {})}
    past = (values.get("until") or "9") < "2020"
    return INVALID if values.get("priority", 5) > 10 or past else ""


def _wrong_output(act: Act, task: Sheet) -> str:
    checked = act.operation == "complete" or (
        act.operation == "finish" and act.arguments.get("finish_state") != "failure"
    )
    if not checked or not task.strict or _fails_with_fault(act, task):
        return ""
    output = act.arguments.get("output")
    output = task.output if output is None else output
    return "" if isinstance(output, dict) and "done" in output else "invalid_output"


def _fails_with_fault(act: Act, task: Sheet) -> bool:
    """IBM's complete without an output fails where a fault was saved before."""
    saved = task.fault is not None or task.fault_name != ""
    return act.by_dialect and act.arguments.get("output") is None and saved


# --- What an operation does beside leading to the next state --------------------------------------

Effect = Callable[[Sheet, Act], "str | None"]
"""Changes a task; answers the state where the operation has more than one end."""


def _give_back(task: Sheet, act: Act) -> None:
    task.owner = None


def _take(task: Sheet, act: Act) -> None:
    task.owner = task.owner or act.who


def _activate(task: Sheet, act: Act) -> None:
    task.starter = act.who


def _nominate(task: Sheet, act: Act) -> str | None:
    people = act.arguments["people"]
    task.starter, task.people["potential_owner"] = act.who, set(people)
    if len(set(people)) > 1 or people[0][0] == "group":
        return "ready"
    task.owner = people[0][1]
    return None


def _cancel_claim(task: Sheet, act: Act) -> None:
    task.owner = task.output = task.fault = None
    task.fault_name = ""


def _assign(task: Sheet, act: Act) -> None:
    task.owner = act.arguments["to"][1]
    if act.operation == "delegate":
        task.people.setdefault("potential_owner", set()).add(act.arguments["to"])


def _move(task: Sheet, act: Act) -> None:
    role = act.arguments.get("role", "potential_owner")
    if role in COLUMNS:
        setattr(task, role, act.arguments["to"][1])
        return
    holders = task.people.setdefault(role, set())
    if act.operation != "grant":
        holders.discard(act.arguments.get("from", ("user", act.who)))
    if act.operation != "revoke":
        holders.add(act.arguments["to"])
    if not holders:
        del task.people[role]
    if act.operation == "forward":
        task.owner = None


def _suspend(task: Sheet, act: Act) -> None:
    task.on_hold, task.wakeup_at = True, act.arguments.get("until")
    if act.operation == "suspend_and_release":
        task.owner = None
        if not act.arguments.get("keep_data", True):
            task.output, task.fault, task.fault_name = None, None, ""


def _off_hold(task: Sheet, act: Act) -> None:
    task.on_hold, task.wakeup_at = False, None
    if act.operation == "raise_error":
        _save_fault(task, act)


def _save_output(task: Sheet, act: Act) -> None:
    task.output, task.fault, task.fault_name = act.arguments["output"], None, ""


def _save_fault(task: Sheet, act: Act) -> None:
    task.fault, task.fault_name = act.arguments.get("fault"), act.arguments.get("fault_name", "")
    if act.operation == "save_fault":
        task.output = None


def _complete(task: Sheet, act: Act) -> str | None:
    fails = _fails_with_fault(act, task) and act.operation == "complete"
    failure = act.arguments.get("finish_state") == "failure"
    _take(task, act)
    if not fails and not failure:
        task.fault, task.fault_name = None, ""
    if act.arguments.get("output") is not None:
        task.output = act.arguments["output"]
    return "failed" if fails or failure else None


def _fail(task: Sheet, act: Act) -> None:
    if act.arguments:
        _save_fault(task, act)


def _anew(task: Sheet, act: Act) -> None:
    task.owner = task.fault = task.expires_at = None
    task.fault_name = ""
    if act.arguments.get("input") is not None:
        task.input = act.arguments["input"]


def _update(task: Sheet, act: Act) -> None:
    for name, value in act.arguments.get("values", act.arguments).items():
        setattr(task, name, value)


def _comment(task: Sheet, act: Act) -> None:
    task.comments += 1


_EFFECTS: Final[dict[str, Effect]] = {
    "activate": _activate,
    "nominate": _nominate,
    "claim": _take,
    "start": _take,
    "release": _give_back,
    "cancel_claim": _cancel_claim,
    "assign": _assign,
    "delegate": _assign,
    "forward": _move,
    "transfer": _move,
    "grant": _move,
    "revoke": _move,
    "suspend": _suspend,
    "suspend_and_release": _suspend,
    "resume": _off_hold,
    "exit": _off_hold,
    "raise_error": _off_hold,
    "expire": _off_hold,
    "save_output": _save_output,
    "save_fault": _save_fault,
    "complete": _complete,
    "finish": _complete,
    "fail": _fail,
    "reopen": _anew,
    "retry": _anew,
    "update": _update,
    "set_priority": _update,
    "comment": _comment,
}
