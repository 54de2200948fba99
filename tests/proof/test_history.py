"""Sixteen clients on few hot tasks: what they are told has one legal order (P1 to P7, P10, P13)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from accounts.models import Membership
from tests.conftest import Cast
from tests.factories import UserFactory

from .calls import Client, Request, htm, itential, native, native_create
from .history import Call, check
from .live import object_ids, stored, tokens
from .load import ADMINISTRATORS, CLIENTS, GROUPS, calls, new_seed, play

Tally = Callable[[str, int], None]


def assert_legal(history: list[Call], seed: str = "none") -> None:
    """The checker finds nothing against a history; if it does, the seed is shown."""
    found = check(history, *stored(), administrators=ADMINISTRATORS)
    shown = "\n".join(found[:20])
    assert not found, f"{len(found)} violations with seed {seed}:\n{shown}"


def test_sixteen_clients_on_four_hot_tasks_see_one_legal_order(
    committed_cast: Cast, port: int, long: bool, tally: Tally
) -> None:
    secrets, ids = tokens(*CLIENTS), object_ids()
    history: list[Call] = []
    for _ in range(20 if long else 1):
        seed = new_seed()
        history += play(port, secrets, ids, seed, calls(2000 if long else 800))
        assert_legal(history, seed)
    done = {call.operation for call in history if any(answer.done for answer in call.answers)}
    assert done >= {"create", "claim", "release", "cancel_claim", "assign", "transfer", "complete"}
    refused = {answer.code for call in history for answer in call.answers if not answer.done}
    assert refused >= {"invalid_task_state", "conflict", "stale_task", "not_authorized"}
    tally("calls of a history checked", len(history))
    tally("answers about a task checked", sum(len(call.answers) for call in history))


def test_of_sixteen_people_who_claim_at_once_exactly_one_wins(
    committed_cast: Cast, port: int, long: bool, tally: Tally
) -> None:
    people = [UserFactory(system_roles=["operations"]) for _ in range(16)]
    Membership.objects.bulk_create(
        [Membership(user=one, group=committed_cast.noc) for one in people]
    )
    history: list[Call] = []
    clients = [
        Client(port, name, secret, history, number)
        for number, (name, secret) in enumerate(tokens(*(p.username for p in people)).items())
    ]
    maker = Client(port, "dave", tokens("dave")["dave"], history)
    rounds = 100 if long else 8
    for _ in range(rounds):
        task = maker.make(native_create("Replace router 1", GROUPS)).answers[0].task
        faces: list[Callable[..., Request]] = [native, itential, htm]
        together = [faces[client.number % 3]("claim", task) for client in clients]
        answered = at_once(clients, together)
        winners = [call.actor for call in answered if call.answers[0].done]
        assert len(winners) == 1
        for call in answered:
            (answer,) = call.answers
            if not answer.done:
                assert (call.status, answer.version) == (409, 2)
                assert call.face != "native" or answer.owner == winners[0]
    for client in (*clients, maker):
        client.connection.close()
    assert_legal(history)
    tally("claims made at one moment", rounds * len(clients))


def test_a_claim_that_succeeds_leaves_the_task_with_the_caller_whatever_his_other_tabs_do(
    committed_cast: Cast, port: int, long: bool, tally: Tally
) -> None:
    history: list[Call] = []
    maker = Client(port, "dave", tokens("dave")["dave"], history)
    task = maker.make(native_create("Replace router 1", GROUPS)).answers[0].task
    secret = tokens("bob")["bob"]
    tabs = [Client(port, "bob", secret, history, number) for number in range(6)]
    rounds = 200 if long else 25
    for number in range(rounds):
        requests = [native("claim", task), native("release", task)] * 3
        at_once(tabs, requests if number % 2 else requests[::-1])
    for client in (*tabs, maker):
        client.connection.close()
    assert_legal(history)
    tally("claims and releases by several tabs of one account", rounds * len(tabs))


def at_once(clients: list[Client], requests: list[Request]) -> list[Call]:
    """The calls of all clients, begun at one moment."""
    start = threading.Barrier(len(clients))
    made: list[Call] = []

    def go(client: Client, request: Request) -> None:
        start.wait(30)
        made.append(client.make(request))

    threads = [
        threading.Thread(target=go, args=pair, daemon=True)
        for pair in zip(clients, requests, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == len(clients)
    return made
