"""Calls that take effect at most once: what was answered under a key is answered again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.utils import timezone

from accounts import sql

from . import errors
from .models import IdempotencyKey

T = TypeVar("T")

KEPT = timedelta(hours=24)
"""How long an answer is kept."""

REMOVED_AT_ONCE = 1_000
"""How many old keys are removed in one go."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer as it is kept: what was secret in it is masked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Once:
    """One call under a key of the account's; the same call under it finds what was answered.

    `digest` stands for the whole request. `answer` makes the answer of what the call has done; it
    is asked in the transaction of the effect, so that one is never committed without the other. A
    refused call has no effect, keeps nothing, and may be tried again under its key.
    """

    def __init__(self, user_id: int, key: str, digest: bytes) -> None:
        self._user_id, self._key, self._digest = user_id, key, digest
        self.answer: Callable[[Any], Answered] | None = None

    def earlier(self) -> Answered | None:
        """What was answered under this key. Raises KeyReused where that was another request."""
        found = IdempotencyKey.objects.filter(
            user=self._user_id, key=self._key, at__gt=timezone.now() - KEPT
        ).first()
        if found is None:
            return None
        if bytes(found.digest) != self._digest:
            raise errors.KeyReused
        return Answered(found.status, found.headers, bytes(found.body))

    def begin(self) -> None:
        """Be the only one under this key until the transaction ends. Raises KeyInUse."""
        ((alone,),) = sql.run(
            "select pg_try_advisory_xact_lock(hashtextextended(%(key)s, %(user)s::bigint))",
            {"key": self._key, "user": self._user_id},
        )
        if not alone:
            raise errors.KeyInUse

    def keep(self, done: Any) -> None:
        """Keep the answer to what was done, in its transaction.

        Raises KeyInUse, which undoes it, when another call has kept one a moment ago.
        """
        if self.answer is None:
            raise RuntimeError("nobody says how this call is answered")
        answered = self.answer(done)
        kept = sql.run(
            _KEEP,
            {
                "user": self._user_id,
                "key": self._key,
                "digest": self._digest,
                "status": answered.status,
                "headers": json.dumps(dict(answered.headers)),
                "body": answered.body,
                "kept": KEPT,
            },
        )
        if not kept:
            raise errors.KeyInUse


def effect(once: Once | None, act: Callable[[], T]) -> T:
    """Do something in one transaction, at most once under a key; what was done.

    Raises KeyInUse, and what it raises.
    """
    with transaction.atomic(durable=True):
        if once is not None:
            once.begin()
        done = act()
        if once is not None:
            once.keep(done)
    return done


_KEEP = """
    insert into tasks_idempotencykey as k (user_id, key, digest, status, headers, body, at)
    values (%(user)s::bigint, %(key)s, %(digest)s::bytea, %(status)s::smallint,
        %(headers)s::jsonb, %(body)s::bytea, clock_timestamp())
    on conflict (user_id, key) do update set digest = excluded.digest, status = excluded.status,
        headers = excluded.headers, body = excluded.body, at = excluded.at
    where k.at <= excluded.at - %(kept)s::interval
    returning 1"""


def forget_old() -> int:
    """Remove what has been kept long enough; how many keys went."""
    old = IdempotencyKey.objects.filter(at__lte=timezone.now() - KEPT).values("pk")
    removed, _ = IdempotencyKey.objects.filter(pk__in=old[:REMOVED_AT_ONCE]).delete()
    return removed
