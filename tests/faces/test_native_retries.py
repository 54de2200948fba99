"""Retries under an Idempotency-Key: one effect, one answer, as often as it is asked for."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User
from tasks import retries
from tasks.actions import ACTIONS
from tasks.lifecycle import State
from tasks.models import AuditEvent, BulkOperation, Comment, IdempotencyKey, OutboxEvent, Task
from tests.conftest import Cast
from tests.core.test_races import Racer, paused_before_commit
from tests.factories import call_by, make_in, make_task, make_tasks

from .native_client import MISSING, TASKS, Api, assert_problem, bulk_path, everything, task_path

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


def keyed(api: Api, path: str, body: Any = None, key: str = "k-1", **headers: str) -> Any:
    """A POST under a key."""
    return api.post(path, body, **{HEADER: key, **headers})


def assert_again(first: Any, again: Any) -> None:
    """The same answer once more, marked as such."""
    assert REPLAYED not in first
    assert again[REPLAYED] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("Content-Type", "ETag", "Location"):
        assert again.get(name) == first.get(name)
    assert again["Cache-Control"] == "no-store"


# --- One effect -----------------------------------------------------------------------------------


def test_a_comment_is_made_once(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    bob = Api(cast.bob)
    first = keyed(bob, task_path(task.pk, "comment"), {"text": "so"})
    assert (first.status_code, first["ETag"]) == (200, '"2"')
    before = everything()
    for _ in range(2):
        assert_again(first, keyed(bob, task_path(task.pk, "comment"), {"text": "so"}))
    assert everything() == before
    assert Comment.objects.count() == 1
    other = keyed(bob, task_path(task.pk, "comment"), {"text": "so"}, key="k-2")
    assert (other.status_code, other["ETag"], REPLAYED in other) == (200, '"3"', False)


def test_a_task_is_created_once(cast: Cast) -> None:
    carol = Api(cast.carol)
    first = keyed(carol, TASKS, {"name": "Replace router"})
    assert first.status_code == 201
    assert_again(first, keyed(carol, TASKS, {"name": "Replace router"}))
    assert Task.objects.count() == AuditEvent.objects.count() == OutboxEvent.objects.count() == 1


def test_a_bulk_call_takes_effect_once(cast: Cast) -> None:
    tasks = make_tasks(3, cast.carol, [cast.noc])
    hidden = make_task(cast.carol, cast.carol)
    body = {"ids": [str(task.pk) for task in [*tasks, hidden]]}
    bob = Api(cast.bob)
    first = keyed(bob, bulk_path("claim"), body)
    assert (len(first.json()["done"]), len(first.json()["refused"])) == (3, 1)
    before = everything()
    assert_again(first, keyed(bob, bulk_path("claim"), body))
    assert everything() == before
    assert BulkOperation.objects.count() == 1


def test_every_way_to_change_something_takes_effect_once(cast: Cast) -> None:
    """Claiming the next task, making many, what a worker does, and what is done to that."""
    tasks = make_tasks(4, cast.carol, [cast.noc])
    ids = [str(task.pk) for task in tasks[:2]]
    bob = Api(cast.bob)
    moved = bob.post(bulk_path("claim"), {"ids": ids}).json()["operation_id"]
    refused = bob.post(bulk_path("start"), {"ids": [str(tasks[2].pk), str(MISSING)]}).json()
    waiting = bob.post(bulk_path("claim"), {"filter": {"state": "ready"}}).json()["id"]
    operations = "/api/v1/bulk-operations"
    calls: list[tuple[Api, str, Any, int]] = [
        (bob, f"{TASKS}claim-next/", {}, 200),
        (Api(cast.carol), bulk_path("create"), {"tasks": [{"name": "Ring"}] * 2}, 201),
        (bob, bulk_path("claim"), {"filter": {"owner": "none"}}, 202),
        (bob, f"{operations}/{waiting}/cancel/", None, 200),
        (bob, f"{operations}/{refused['operation_id']}/retry/", None, 200),
        (bob, f"{operations}/{moved}/undo/", None, 200),
        (bob, f"{operations}/undo/", _acts_of(cast.bob), 200),
    ]
    for number, (api, path, body, status) in enumerate(calls):
        first = keyed(api, path, body, key=f"k-{number}")
        assert first.status_code == status, (path, first.content)
        before = everything()
        assert_again(first, keyed(api, path, body, key=f"k-{number}"))
        assert everything() == before, path
    assert Task.objects.count() == 6
    assert BulkOperation.objects.filter(operation="undo").count() == 2


def _acts_of(user: User) -> dict[str, str]:
    now = timezone.now()
    since, until = now - timedelta(hours=1), now + timedelta(hours=1)
    return {"actor": user.username, "from": since.isoformat(), "until": until.isoformat()}


def test_nothing_is_kept_of_a_call_that_found_nothing_or_only_looked(cast: Cast) -> None:
    bob = Api(cast.bob)
    assert keyed(bob, f"{TASKS}claim-next/").status_code == 204
    task = make_task(cast.carol, cast.noc)
    body = {"ids": [str(task.pk)], "dry_run": True}
    assert keyed(bob, bulk_path("claim"), body, key="k-2").json()["dry_run"] is True
    assert not IdempotencyKey.objects.exists()
    assert keyed(bob, f"{TASKS}claim-next/").json()["id"] == str(task.pk)
    assert IdempotencyKey.objects.count() == 1


def test_no_key_where_a_secret_is_the_answer(cast: Cast) -> None:
    for path in ("/api/v1/tokens/", "/api/oauth/token/"):
        assert_problem(keyed(Api(cast.bob), path, {"name": "sync"}), 400, "invalid_header")
    assert Api(cast.bob).post("/api/v1/tokens/", {"name": "sync"}).status_code == 201


def test_the_answer_is_that_of_then(cast: Cast) -> None:
    """Whatever has become of the task meanwhile, it was answered so."""
    task = make_task(cast.carol, cast.noc)
    bob = Api(cast.bob)
    first = keyed(bob, task_path(task.pk, "claim"))
    ACTIONS["release"]([task.pk], call=call_by(cast.bob)).one()
    assert_again(first, keyed(bob, task_path(task.pk, "claim")))
    assert Task.objects.get().state == State.READY
    ACTIONS["exit"]([task.pk], call=call_by(cast.dave)).one()
    ACTIONS["remove"]([task.pk], call=call_by(cast.dave)).one()
    assert_again(first, keyed(bob, task_path(task.pk, "claim")))


def test_a_removal_under_a_key_is_answered_again(cast: Cast) -> None:
    task = make_in(State.COMPLETED, cast.carol, cast.noc)
    dave = Api(cast.dave)
    first = dave.send("DELETE", task_path(task.pk), **{HEADER: "k"})
    assert first.status_code == 204
    assert_again(first, dave.send("DELETE", task_path(task.pk), **{HEADER: "k"}))


def test_a_form_with_a_file_is_taken_once(cast: Cast, settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    task = make_task(cast.carol, cast.noc)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="plan.txt"\r\n\r\na plan'
        b"\r\n--b--\r\n"
    )
    bob = Api(cast.bob)

    def send() -> Any:
        kind = "multipart/form-data; boundary=b"
        return bob.send("POST", task_path(task.pk, "attach"), body, kind, **{HEADER: "k"})

    first = send()
    assert first.status_code == 200, first.content
    assert_again(first, send())
    assert [len(list(each.iterdir())) for each in tmp_path.iterdir() if each.is_dir()] in ([], [1])
    assert task.attachments.count() == 1


# --- Another request, another account, another day ------------------------------------------------


def test_a_key_stands_for_one_request(cast: Cast) -> None:
    task, other = make_tasks(2, cast.carol, [cast.noc])
    bob = Api(cast.bob)
    keyed(bob, task_path(task.pk, "comment"), {"text": "so"})
    before = everything()
    for path, body in (
        (task_path(task.pk, "comment"), {"text": "otherwise"}),
        (task_path(other.pk, "comment"), {"text": "so"}),
        (task_path(task.pk, "claim"), None),
        (TASKS, {"text": "so"}),
    ):
        assert_problem(keyed(bob, path, body), 422, "idempotency_key_reused")
    assert everything() == before


def test_keys_are_of_one_account(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    first = keyed(Api(cast.bob), task_path(task.pk, "comment"), {"text": "so"})
    again = keyed(Api(cast.alice), task_path(task.pk, "comment"), {"text": "so"})
    assert (first["ETag"], again["ETag"]) == ('"2"', '"3"')
    other_token = keyed(Api(cast.bob), task_path(task.pk, "comment"), {"text": "so"})
    assert_again(first, other_token)


def test_after_a_day_a_key_is_new(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    bob = Api(cast.bob)
    keyed(bob, task_path(task.pk, "comment"), {"text": "so"})
    old = timezone.now() - timedelta(hours=24, seconds=1)
    IdempotencyKey.objects.update(at=old)
    answer = keyed(bob, task_path(task.pk, "comment"), {"text": "otherwise"})
    assert (answer.status_code, answer["ETag"]) == (200, '"3"')
    assert IdempotencyKey.objects.get().at > old
    assert retries.forget_old() == 0
    IdempotencyKey.objects.update(at=old)
    assert retries.forget_old() == 1
    assert not IdempotencyKey.objects.exists()


# --- What is not kept -----------------------------------------------------------------------------


def test_a_refusal_is_not_kept(cast: Cast) -> None:
    task = make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.alice)
    bob = Api(cast.bob)
    assert_problem(keyed(bob, task_path(task.pk, "claim")), 409, "invalid_task_state")
    assert_problem(keyed(bob, task_path(task.pk, "comment"), {}), 400, "invalid_body")
    assert not IdempotencyKey.objects.exists()
    ACTIONS["release"]([task.pk], call=call_by(cast.alice)).one()
    answer = keyed(bob, task_path(task.pk, "claim"))
    assert (answer.status_code, REPLAYED in answer) == (200, False)


def test_without_credentials_nothing_is_answered_again(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    bob = Api(cast.bob)
    keyed(bob, task_path(task.pk, "claim"))
    assert_problem(keyed(Api(), task_path(task.pk, "claim")), 401, "not_authenticated")
    cast.bob.is_active = False
    cast.bob.save()
    assert keyed(bob, task_path(task.pk, "claim")).status_code == 401


def test_a_secret_is_answered_once_and_not_kept(cast: Cast) -> None:
    task = make_task(
        cast.carol,
        cast.noc,
        input={"password": "hunter2", "host": "r1"},
        secret_pointers=["/input/password"],
    )
    bob = Api(cast.bob)
    first = keyed(bob, task_path(task.pk, "claim"))
    assert first.json()["input"] == {"password": "hunter2", "host": "r1"}
    again = keyed(bob, task_path(task.pk, "claim"))
    assert again.json() == {**first.json(), "input": {"password": "******", "host": "r1"}}
    assert b"hunter2" not in bytes(IdempotencyKey.objects.get().body)


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "tab\tbed"])
def test_a_key_that_is_none_is_refused_before_anything_else(cast: Cast, key: str) -> None:
    task = make_task(cast.carol, cast.noc)
    for api in (Api(), Api(cast.bob)):
        answer = keyed(api, task_path(task.pk, "claim"), key=key)
        assert_problem(answer, 400, "invalid_header")
    assert Task.objects.get().version == 1


def test_a_key_on_a_read_does_nothing(cast: Cast) -> None:
    task = make_task(cast.carol, cast.noc)
    assert Api(cast.bob).get(task_path(task.pk), **{HEADER: "k"}).status_code == 200
    assert not IdempotencyKey.objects.exists()


# --- At the same time, and when things go wrong ---------------------------------------------------


def test_a_call_that_still_runs_is_not_made_twice(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = committed_cast
    task, other = make_tasks(2, cast.carol, [cast.noc])
    bob, again = Api(cast.bob), Api(cast.bob)
    written, commit = paused_before_commit(monkeypatch, task.pk)
    racer = Racer(lambda: keyed(bob, task_path(task.pk, "comment"), {"text": "so"}))
    racer.start()
    assert written.wait(20)
    busy = keyed(again, task_path(task.pk, "comment"), {"text": "so"})
    assert_problem(busy, 409, "idempotency_key_in_use")
    free = keyed(again, task_path(other.pk, "claim"), key="another")
    assert free.status_code == 200, "other keys are not waited for"
    commit.set()
    first = racer.result()
    assert first.status_code == 200
    assert_again(first, keyed(again, task_path(task.pk, "comment"), {"text": "so"}))
    assert Comment.objects.count() == 1


def test_many_retries_at_once_have_one_effect(committed_cast: Cast) -> None:
    task = make_task(committed_cast.carol, committed_cast.noc)
    clients = [Api(committed_cast.bob) for _ in range(8)]
    start = threading.Barrier(8)

    def insist(api: Api) -> Any:
        while True:
            answer = keyed(api, task_path(task.pk, "comment"), {"text": "so"})
            if answer.status_code != 409:
                return answer
            assert answer.json()["code"] == "idempotency_key_in_use"

    racers = [Racer(lambda api=api: insist(api), start) for api in clients]
    for racer in racers:
        racer.start()
    answers = [racer.result() for racer in racers]
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (200, answers[0].content)
    }
    assert sum(REPLAYED not in answer for answer in answers) == 1
    assert Comment.objects.count() == 1


def test_an_answer_lost_after_the_commit_is_given_to_the_retry(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between commit and answer: all that the retry needs is committed."""
    task = make_task(committed_cast.carol, committed_cast.noc)
    bob = Api(committed_cast.bob)
    keep = retries.Once.keep

    def lose(self: Any, done: Any) -> None:
        from django.db import transaction

        keep(self, done)
        transaction.on_commit(lambda: (_ for _ in ()).throw(OperationalError("gone")))

    monkeypatch.setattr(retries.Once, "keep", lose)
    lost = keyed(bob, task_path(task.pk, "comment"), {"text": "so"})
    assert lost.status_code >= 500
    monkeypatch.undo()
    again = keyed(bob, task_path(task.pk, "comment"), {"text": "so"})
    assert (again.status_code, again["ETag"], again[REPLAYED]) == (200, '"2"', "true")
    assert json.loads(again.content)["version"] == 2
    assert Comment.objects.count() == 1


def test_what_is_rolled_back_keeps_no_answer(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(committed_cast.carol, committed_cast.noc)
    bob = Api(committed_cast.bob)
    monkeypatch.setattr(retries, "_KEEP", "select 1/0 where %(key)s = %(key)s")
    assert keyed(bob, task_path(task.pk, "comment"), {"text": "so"}).status_code == 500
    assert (Comment.objects.count(), Task.objects.get().version) == (0, 1)
    monkeypatch.undo()
    answer = keyed(bob, task_path(task.pk, "comment"), {"text": "so"})
    assert (answer.status_code, answer["ETag"], REPLAYED in answer) == (200, '"2"', False)
