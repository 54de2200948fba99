"""Counts of the tasks of a list by state, owner, group and age."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from accounts import sql

from .lifecycle import State
from .lists import Part
from .querysets import permission_ids
from .roles import TaskRole

SUMMED: Final = 50_000
"""So many tasks are summed up, the newest; a list with more is told to have more."""

MOST_NAMES: Final = 100
"""So many owners and groups are named, those with most tasks; the rest is summed up."""

AGES: Final = {"day": "1 day", "week": "7 days", "month": "30 days", "quarter": "90 days"}
"""Spans since tasks were made: what is within one is not in the one before."""

OLDER: Final = "older"


class Named(TypedDict):
    """How many tasks somebody has; nobody where the name is None."""

    name: str | None
    count: int


class Summary(TypedDict):
    """`summed` tasks by what they are; `complete` tells whether those are all of the list."""

    summed: int
    complete: bool
    by_state: dict[str, int]
    by_owner: list[Named]
    other_owners: int
    by_group: list[Named]
    other_groups: int
    by_age: dict[str, int]


def summary(tasks: Part) -> Summary:
    """The tasks of `k`, the last CTE of `tasks`, counted: one statement.

    `tasks` has up to SUMMED + 1, the newest first. Groups are those of the potential owners: a task
    of several counts for each, one of none for nobody.
    """
    ages = " ".join(
        f"when created_at > now() - interval '{span}' then '{age}'" for age, span in AGES.items()
    )
    statement = f"""
        with {tasks.text}, t as materialized (
            select t.id, t.state, t.owner_id, t.created_at
            from (select id from k limit {SUMMED}) k join tasks_task t on t.id = k.id)
        select 'more', null, greatest(count(*) - {SUMMED}, 0) from k
        union all select 'state', state, count(*) from t group by state
        union all select 'age', case {ages} else '{OLDER}' end, count(*) from t group by 2
        union all select 'owner', u.username, o.n
            from (select owner_id, count(*) as n from t group by owner_id) o
            left join accounts_user u on u.id = o.owner_id
        union all select 'group', g.name, r.n
            from (select r.group_id, count(*) as n from t
                left join tasks_taskgrouprole r on r.content_object_id = t.id
                    and r.permission_id = %(potential_owner)s::int
                group by r.group_id) r
            left join auth_group g on g.id = r.group_id"""
    params = {**tasks.params, "potential_owner": permission_ids()[TaskRole.POTENTIAL_OWNER]}
    found: dict[str, dict[Any, int]] = {kind: {} for kind in ("more", "state", "owner", "group")}
    found["age"] = dict.fromkeys((*AGES, OLDER), 0)
    for kind, name, number in sql.run(statement, params):
        found[kind][name] = number
    owners, other_owners = _most(found["owner"])
    groups, other_groups = _most(found["group"])
    return {
        "summed": sum(found["state"].values()),
        "complete": not found["more"][None],
        "by_state": {state: found["state"].get(state, 0) for state in State},
        "by_owner": owners,
        "other_owners": other_owners,
        "by_group": groups,
        "other_groups": other_groups,
        "by_age": found["age"],
    }


def _most(counts: dict[str | None, int]) -> tuple[list[Named], int]:
    """Those with most tasks, the first by name where equal; and how many tasks the others have."""
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0] or ""))
    named: list[Named] = [{"name": name, "count": number} for name, number in ranked[:MOST_NAMES]]
    return named, sum(number for _, number in ranked[MOST_NAMES:])
