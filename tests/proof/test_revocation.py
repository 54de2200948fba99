"""What is taken away is gone for every request that starts after the answer (P8)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from accounts import authentication
from accounts.models import Membership, Token, User
from tasks.models import Task
from tests.conftest import Cast
from tests.factories import GroupFactory, UserFactory, basic, make_task

from .calls import TASKS, V1, tkiid
from .live import Connection, Reply, tokens

Tally = Callable[[str, int], None]
HAMMERS = 4
ENOUGH = 40
"""How many requests are seen to be served before, and as many to be refused after."""


@dataclass
class Scene:
    """Somebody, how he comes in, and a task that he may work on and another one holds."""

    cast: Cast
    port: int
    person: User
    membership: Membership
    token: Token
    secret: str
    task: Task

    def send(self, method: str, path: str, authorization: str, body: object = None) -> Reply:
        """One call on a connection of its own."""
        connection = Connection(self.port, authorization)
        try:
            return connection.send(method, path, body)
        finally:
            connection.close()


Request = tuple[str, str]


class Case(NamedTuple):
    """How the person comes in, what he asks, what takes it away, and how he is refused then."""

    authorization: Callable[[Scene], str]
    requests: Callable[[Scene], list[Request]]
    take_away: Callable[[Scene], object]
    refused: frozenset[int]


def by_token(scene: Scene) -> str:
    return f"Token {scene.secret}"


def by_password(scene: Scene) -> str:
    return basic(scene.person.username)


def native(scene: Scene) -> list[Request]:
    path = f"{TASKS}{scene.task.pk}/"
    return [("GET", path), ("POST", f"{path}claim/")]


def itential(scene: Scene) -> list[Request]:
    path = f"/operations-manager/tasks/{scene.task.pk}"
    return [("GET", path), ("POST", f"{path}/claim")]


def htm(scene: Scene) -> list[Request]:
    return [("PUT", f"{V1}/task/{tkiid(scene.task.pk)}?action=claim")]


def revoke_the_token(scene: Scene) -> None:
    authentication.revoke(scene.token, actor="test")


def deactivate(scene: Scene) -> None:
    scene.person.is_active = False
    scene.person.save()


def change_the_password(scene: Scene) -> None:
    scene.person.set_password("another one")
    scene.person.save()


def take_the_system_role(scene: Scene) -> None:
    scene.person.roles.clear()


def end_the_membership(scene: Scene) -> None:
    scene.membership.delete()


def deactivate_the_group(scene: Scene) -> None:
    group = scene.membership.group
    group.is_active = False
    group.save()


def revoke_the_task_role(scene: Scene) -> None:
    body = {"role": "potential_owner", "from": {"group": scene.membership.group.name}}
    secret = tokens("dave")["dave"]
    reply = scene.send("POST", f"{TASKS}{scene.task.pk}/revoke/", f"Token {secret}", body)
    assert reply.status == 200, reply.body


def exclude(scene: Scene) -> None:
    body = {"role": "excluded_owner", "to": {"user": scene.person.username}}
    secret = tokens("dave")["dave"]
    reply = scene.send("POST", f"{TASKS}{scene.task.pk}/grant/", f"Token {secret}", body)
    assert reply.status == 200, reply.body


UNKNOWN, FORBIDDEN, HIDDEN = frozenset({401}), frozenset({403}), frozenset({404})
GUESSING = UNKNOWN | {429}
"""How a wrong password is refused: after ten of them unseen."""

CASES = {
    "token, native": Case(by_token, native, revoke_the_token, UNKNOWN),
    "account by token, Itential": Case(by_token, itential, deactivate, UNKNOWN),
    "account by password, HTM": Case(by_password, htm, deactivate, GUESSING),
    "password, HTM": Case(by_password, htm, change_the_password, GUESSING),
    "system role, native": Case(by_token, native, take_the_system_role, FORBIDDEN),
    "membership, Itential": Case(by_token, itential, end_the_membership, HIDDEN),
    "group, native": Case(by_token, native, deactivate_the_group, HIDDEN),
    "task role, native": Case(by_token, native, revoke_the_task_role, HIDDEN),
    "exclusion, claims only": Case(by_token, lambda scene: native(scene)[1:], exclude, FORBIDDEN),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_taken_away_is_gone_for_every_request_that_starts_afterwards(
    committed_cast: Cast, port: int, long: bool, tally: Tally, name: str
) -> None:
    dave = tokens("dave")["dave"]
    refused = 0
    for _ in range(15 if long else 1):
        person = UserFactory(system_roles=["operations"])
        membership = Membership.objects.create(user=person, group=GroupFactory())
        # The group keeps a member when the person leaves it.
        Membership.objects.create(user=committed_cast.carol, group=membership.group)
        task = make_task(committed_cast.dave, membership.group)
        token, secret = authentication.issue(person, Token.Kind.API, actor="test")
        scene = Scene(committed_cast, port, person, membership, token, secret, task)
        claimed = scene.send("POST", f"{TASKS}{task.pk}/claim/", f"Token {dave}")
        assert claimed.status == 200
        refused += hammer(CASES[name], scene)
    tally("requests refused after something was taken away", refused)


def hammer(case: Case, scene: Scene) -> int:
    """Ask from all sides while it is taken away; how many requests were refused afterwards."""
    replies: list[Reply] = []
    stop = threading.Event()
    authorization, requests = case.authorization(scene), case.requests(scene)

    def ask() -> None:
        connection = Connection(scene.port, authorization)
        while not stop.is_set():
            for method, path in requests:
                replies.append(connection.send(method, path))
        connection.close()

    def wait_for(number: int) -> None:
        deadline = time.monotonic() + 60
        while len(replies) < number:
            assert time.monotonic() < deadline, "the server is too slow"
            time.sleep(0.005)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(HAMMERS)]
    for thread in threads:
        thread.start()
    try:
        wait_for(ENOUGH)
        before = time.monotonic()
        case.take_away(scene)
        after = time.monotonic()
        wait_for(len(replies) + ENOUGH)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    served = {reply.status for reply in replies if reply.end < before}
    # The other one holds the task, so whoever may claim it hears that.
    assert served <= {200, 409}
    assert 409 in served
    late = [reply for reply in replies if reply.start > after]
    assert len(late) >= ENOUGH - HAMMERS
    wrong = [reply for reply in late if reply.status not in case.refused]
    assert not wrong, wrong[:3]
    return len(late)
