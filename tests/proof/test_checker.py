"""The checker of histories finds each kind of violation in a small one made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from .history import NEVER, UNTOLD, Answer, Asked, Call, Event, Row, check

TASK, OTHER = UUID(int=1), UUID(int=2)


@dataclass
class Story:
    """A history, and the audit, rows and outbox that belong to it; calls follow one another."""

    calls: list[Call] = field(default_factory=list)
    audit: list[Event] = field(default_factory=list)
    rows: dict[UUID, Row] = field(default_factory=dict)
    outbox: list[int] = field(default_factory=list)

    def call(self, actor: str, operation: str, *answers: Answer, **more: Any) -> Call:
        """A call that got these answers, one second after the one before it."""
        number = len(self.calls) + 1
        asked = tuple(Asked(answer.task) for answer in answers)
        call = Call(
            **{
                "id": f"c{number}",
                "client": 1,
                "actor": actor,
                "face": "native",
                "operation": operation,
                "asked": asked,
                "start": float(number),
                "end": number + 0.5,
                "status": 200,
                "answers": answers,
                **more,
            }
        )
        self.calls.append(call)
        return call

    def write(
        self, actor: str, operation: str, event: str, state: str, owner: str | None, **more: Any
    ) -> Call:
        """A call that changed TASK, was told so, and is in the audit."""
        before = self.rows.get(TASK, Row(TASK, 0, "", None))
        row = self.rows[TASK] = Row(TASK, before.version + 1, state, owner)
        answer = Answer(TASK, True, row.version, state, owner)
        call = self.call(actor, operation, answer, **more)
        was, now = {}, {}
        for name in ("state", "owner"):
            if getattr(before, name) != getattr(row, name):
                was[name], now[name] = getattr(before, name), getattr(row, name)
        number = len(self.audit) + 1
        self.audit.append(Event(number, TASK, row.version, event, actor, call.id, was, now))
        self.outbox.append(number)
        return call

    def edit(self, number: int, **changes: Any) -> None:
        """Record the call of that number otherwise than it was."""
        self.calls[number - 1] = replace(self.calls[number - 1], **changes)

    def found(self, **more: Any) -> list[str]:
        """What the checker has against it."""
        options = {"administrators": ("dave",), **more}
        return check(self.calls, self.audit, [*self.rows.values()], self.outbox, **options)


@pytest.fixture
def story() -> Story:
    """Made by dave (1), claimed by bob (2), released by alice (3), claimed by carol (4)."""
    told = Story()
    told.write("dave", "create", "created", "ready", None)
    told.write("bob", "claim", "claimed", "reserved", "bob")
    told.write("alice", "release", "released", "ready", None)
    told.write("carol", "claim", "claimed", "reserved", "carol")
    return told


def only(found: list[str], *words: str) -> None:
    """There is a violation with all these words."""
    assert any(all(word in violation for word in words) for violation in found), found


def refusal(version: int | None, code: str, owner: str | None = UNTOLD) -> Answer:
    return Answer(TASK, False, version, owner=owner, code=code)


# --- What is legal --------------------------------------------------------------------------------


def test_a_legal_history_passes(story: Story) -> None:
    story.call("bob", "claim", refusal(4, "invalid_task_state", "carol"), status=409)
    story.call("carol", "claim", Answer(TASK, True, 4, "reserved", "carol"))
    story.call("bob", "claim", refusal(4, "stale_task"), asked=(Asked(TASK, 3),), status=412)
    story.call("bob", "complete", refusal(4, "not_authorized"), status=403)
    story.call("erin", "read", Answer(TASK, True, 4, "reserved", "carol"))
    story.call("bob", "claim", Answer(OTHER, False, code="task_not_found"), status=404)
    story.write("carol", "complete", "completed", "completed", "carol")
    assert story.found() == []


def test_calls_that_overlap_may_take_effect_in_either_order(story: Story) -> None:
    story.edit(2, start=2.0, end=9.0)
    story.edit(3, start=1.9, end=8.0)
    story.edit(4, start=1.8, end=7.0)
    assert story.found() == []


def test_an_act_whose_caller_heard_nothing_may_have_happened_or_not(story: Story) -> None:
    story.edit(4, status=None, end=NEVER, answers=())
    story.call("bob", "claim", status=503, asked=(Asked(TASK),), end=NEVER)
    assert story.found(broken=True) == []
    only(story.found(), "c4 by carol", "the server failed the caller (no answer)")
    only(story.found(), "c5 by bob", "the server failed the caller (status 503)")


def test_a_bulk_transfer_of_a_dialect_that_names_no_versions_passes(story: Story) -> None:
    story.write(
        "dave", "transfer", "owner_transferred", "reserved", "bob", face="htm bulk", target="bob"
    )
    story.edit(5, answers=(Answer(TASK, True),))
    assert story.found() == []
    story.edit(5, face="htm")
    only(story.found(), "it names no version")


# --- The answers ----------------------------------------------------------------------------------


def test_two_writes_with_one_version_are_found(story: Story) -> None:
    story.audit.append(Event(9, TASK, 4, "claimed", "bob", "c5", {}, {}))
    story.call("bob", "claim", Answer(TASK, True, 4, "reserved", "bob"))
    only(story.found(), "version 4 was answered to 2 writes", "by carol", "by bob")
    only(story.found(), "does not have each version once (see [4])")
    only(story.found(), "claimed by bob", "not legal in state reserved (owner carol)")


def test_an_acknowledged_write_that_is_not_in_the_audit_is_found(story: Story) -> None:
    del story.audit[3], story.outbox[3]
    story.rows[TASK] = Row(TASK, 3, "ready", None)
    only(story.found(), "c4 by carol: lost, it was told version 4 (reserved, owner carol)")


def test_a_claim_that_did_nothing_for_somebody_who_does_not_hold_the_task_is_found(
    story: Story,
) -> None:
    story.call("bob", "claim", Answer(TASK, True, 4, "reserved", "carol"))
    only(story.found(), "c5 by bob: lost")


def test_an_answer_with_another_version_than_it_made_is_found(story: Story) -> None:
    story.edit(3, answers=(Answer(TASK, True, 4, "ready", None),))
    only(story.found(), "c3 by alice", "told version 4", "made 3")


def test_a_version_that_never_was_is_found(story: Story) -> None:
    story.call("erin", "read", Answer(TASK, True, 7, "ready", None))
    only(story.found(), "c5 by erin", "version 7", "which never was")


def test_a_state_or_an_owner_that_is_not_of_the_version_is_found(story: Story) -> None:
    story.call("erin", "read", Answer(TASK, True, 4, "ready", "bob"))
    only(story.found(), "c5 by erin", "with state ready, which was reserved")
    only(story.found(), "c5 by erin", "with owner bob, which was carol")


def test_a_write_on_another_version_than_expected_is_found(story: Story) -> None:
    story.edit(4, asked=(Asked(TASK, 2),))
    only(story.found(), "c4 by carol: done on a version other than 2")


@pytest.mark.parametrize(
    ("actor", "operation", "version", "code"),
    [
        ("bob", "claim", 3, "invalid_task_state"),
        ("bob", "claim", 3, "conflict"),
        ("bob", "claim", 4, "already_owner"),
        ("bob", "claim", 4, "stale_task"),
        ("carol", "transfer", 4, "no_such_work_item"),
        ("carol", "complete", 4, "not_authorized"),
        ("dave", "complete", 4, "not_authorized"),
    ],
)
def test_a_refusal_that_the_state_does_not_explain_is_found(
    story: Story, actor: str, operation: str, version: int, code: str
) -> None:
    story.call(actor, operation, refusal(version, code), status=409)
    only(story.found(), f"c5 by {actor}: refused as {code} at version {version}")


def test_a_refusal_without_a_version_and_with_the_wrong_holder_is_found(story: Story) -> None:
    story.call("bob", "claim", refusal(None, "invalid_task_state"), status=409)
    story.call("bob", "claim", refusal(4, "invalid_task_state", "alice"), status=409)
    only(story.found(), "c5 by bob: it names no version")
    only(story.found(), "c6 by bob", "with owner alice, which was carol")


def test_a_task_that_is_there_and_was_not_found_is_found(story: Story) -> None:
    story.call("bob", "claim", refusal(None, "task_not_found"), status=404)
    only(story.found(), "c5 by bob", "was not found")


def test_a_bulk_answer_that_leaves_out_repeats_or_reorders_is_found(story: Story) -> None:
    first, second = (Answer(task, False, code="task_not_found") for task in (UUID(int=8), OTHER))
    asked = (Asked(first.task), Asked(second.task), Asked(first.task))
    story.call("bob", "claim", first, second, asked=asked)
    assert story.found() == []
    story.edit(5, answers=(second, first))
    only(story.found(), "c5 by bob: its answers are not in the order asked")
    for answers in ((first,), (first, second, second)):
        story.edit(5, answers=answers)
        only(story.found(), "c5 by bob: it does not answer for each task once")


# --- The audit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "event", "state", "owner", "words"),
    [
        ("bob", "claimed", "reserved", "bob", "not legal in state reserved (owner carol)"),
        ("bob", "completed", "completed", "carol", "only its holder carol may do that"),
        ("bob", "released", "ready", "carol", "it leaves the task to carol"),
        ("carol", "completed", "failed", "carol", "it leads to failed"),
        ("carol", "owner_transferred", "reserved", None, "it leaves the task to None"),
        ("carol", "created", "reserved", "carol", "a task begins once, at version 1"),
        ("carol", "sung", "reserved", "carol", "the model has no such event"),
    ],
)
def test_an_illegal_step_is_found(
    story: Story, actor: str, event: str, state: str, owner: str | None, words: str
) -> None:
    story.write(actor, "any", event, state, owner)
    only(story.found(), f"v5 {event} by {actor}", words)


def test_a_release_of_what_nobody_holds_is_found(story: Story) -> None:
    story.write("carol", "release", "released", "ready", None)
    assert story.found() == []
    story.write("carol", "release", "released", "ready", None)
    only(story.found(), "v6 released by carol", "not legal in state ready")


def test_a_before_value_that_was_not_so_is_found(story: Story) -> None:
    story.audit[3] = story.audit[3]._replace(before={"state": "reserved", "owner": "alice"})
    only(story.found(), "v4 claimed", "state was ready, not reserved")
    only(story.found(), "v4 claimed", "owner was None, not alice")


def test_a_hole_in_the_audit_is_found(story: Story) -> None:
    del story.audit[2]
    only(story.found(), "does not have each version once (see [4])")


def test_an_event_that_nobody_caused_is_found(story: Story) -> None:
    del story.calls[3]
    only(story.found(), "nobody made the call c4")


def test_an_event_of_another_actor_operation_or_receiver_is_found(story: Story) -> None:
    story.edit(4, actor="bob", operation="assign", target="bob")
    only(story.found(), "c4 by bob: the audit says it was carol")
    only(story.found(), "c4 by bob: the audit says claimed")
    only(story.found(), "c4 by bob: the task went to carol instead")


def test_a_refused_call_that_changed_something_is_found(story: Story) -> None:
    story.edit(4, status=409, answers=(refusal(3, "conflict"),))
    only(story.found(), "c4 by carol was refused, yet changed")


def test_a_call_that_changed_a_task_twice_is_found(story: Story) -> None:
    story.write("carol", "release", "released", "ready", None)
    story.audit[4] = story.audit[4]._replace(request_id="c4")
    only(story.found(), "c4 by carol changed", "2 times")


# --- The rows -------------------------------------------------------------------------------------


def test_a_row_that_is_not_as_the_audit_says_is_found(story: Story) -> None:
    story.rows[TASK] = Row(TASK, 4, "reserved", "bob")
    only(story.found(), "it is reserved, owner bob; the audit says")
    story.rows[TASK] = Row(TASK, 5, "reserved", "carol")
    only(story.found(), "it is at version 5, its audit ends at [4]")
    only(story.found(), "sum of versions 5, audit events 4, outbox rows 4")
    story.rows = {OTHER: Row(OTHER, 4, "ready", None)}
    only(story.found(), f"{TASK}: it is in the audit, but not in the table")
    only(story.found(), f"{OTHER}: it is at version 4, its audit ends at []")


@pytest.mark.parametrize("outbox", [[1, 2, 3], [1, 2, 3, 4, 4], [1, 2, 3, 5]])
def test_an_outbox_that_does_not_hold_each_event_once_is_found(
    story: Story, outbox: list[int]
) -> None:
    story.outbox = outbox
    only(story.found(), "the outbox does not hold each audit event once")


# --- The clock ------------------------------------------------------------------------------------


def test_a_write_with_a_lower_version_than_one_that_had_ended_is_found(story: Story) -> None:
    story.edit(2, start=20.0, end=21.0)
    only(story.found(), "c3 by alice is of version 3 and ended before", "c2 by bob began")


def test_a_look_at_what_was_over_before_it_began_is_found(story: Story) -> None:
    story.call("erin", "read", Answer(TASK, True, 2, "reserved", "bob"))
    only(story.found(), "c3 by alice is of version 3 and ended before", "c5 by erin began")


def test_a_look_at_what_had_not_begun_is_found(story: Story) -> None:
    story.call("erin", "read", Answer(TASK, True, 4, "reserved", "carol"), start=0.1, end=0.2)
    only(story.found(), "c5 by erin is of version 4 and ended before", "c4 by carol began")


def test_a_refusal_by_a_state_that_was_over_is_found(story: Story) -> None:
    story.call("alice", "claim", refusal(2, "invalid_task_state", "bob"), status=409)
    only(story.found(), "c3 by alice is of version 3 and ended before", "c5 by alice began")


def test_two_looks_that_each_could_be_but_not_both_are_found(story: Story) -> None:
    story.edit(3, end=20.0)
    story.edit(4, end=20.0)
    story.call("erin", "read", Answer(TASK, True, 3, "ready", None))
    story.call("frank", "read", Answer(TASK, True, 2, "reserved", "bob"))
    only(story.found(), "c5 by erin is of version 3 and ended before", "c6 by frank began")
