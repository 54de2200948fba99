"""The record of what happens to accounts, groups, roles, tokens and log-ins; it holds no secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.http import HttpRequest

from .clients import client_address
from .models import AccountEvent, Group, Membership, Role, User

Subject = User | Group | Role

_FIELDS: dict[type[Subject], tuple[str, ...]] = {
    User: (
        "username",
        "first_name",
        "last_name",
        "email",
        "is_active",
        "is_superuser",
        "is_placeholder",
        "provenance",
        "time_zone",
        "language",
        "legacy_id",
        "password",
    ),
    Group: ("name", "description", "provenance", "is_active", "legacy_id"),
    Role: ("name", "description", "provenance", "bulk_limit", "legacy_id"),
}


def record(
    event: str,
    subject: str,
    *,
    actor: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    channel: str = "",
    request: HttpRequest | None = None,
) -> AccountEvent:
    """Append one event; call it in the transaction of what it tells of.

    `subject` is a kind and a name ("user alice"), `actor` an account name or "" for the system.
    `request` gives the client's address and, if `channel` is not given, the channel.
    """
    return AccountEvent.objects.create(
        event=event,
        subject=subject[:300],
        actor=actor,
        channel=channel or getattr(request, "channel", ""),
        address=client_address(request) if request is not None else "",
        before=before,
        after=after,
    )


def named(subject: Subject) -> str:
    """The subject as events name it: its kind and its name."""
    return f"{subject._meta.model_name} {subject}"


@contextmanager
def changing(
    subject: Subject, *, actor: str, channel: str = "", request: HttpRequest | None = None
) -> Iterator[None]:
    """One transaction around a change of `subject`, new or stored, and the event that tells of it.

    Fields and relations are compared as stored before and after; without a difference there is no
    event. The event is `<kind>_created` or `<kind>_changed`.
    """
    with transaction.atomic():
        before = snapshot(subject)
        yield
        record_change(subject, before, actor=actor, channel=channel, request=request)


def record_change(
    subject: Subject,
    before: dict[str, Any],
    *,
    actor: str,
    channel: str = "",
    request: HttpRequest | None = None,
) -> None:
    """Append the event for what became of `subject` since its snapshot `before` ({}: it is new)."""
    old, new = difference(before, snapshot(subject))
    if old or new:
        record(
            f"{subject._meta.model_name}_{'changed' if before else 'created'}",
            named(subject),
            actor=actor,
            before=old if before else None,
            after=new,
            channel=channel,
            request=request,
        )


def snapshot(subject: Subject) -> dict[str, Any]:
    """What is stored of `subject` now: fields, roles, members; {} when it is not stored."""
    kind = subject.__class__  # a request's account is wrapped, its type() is another
    stored: dict[str, Any] | None = (
        kind._default_manager.filter(pk=subject.pk).values(*_FIELDS[kind]).first()
    )
    if stored is None:
        return {}
    if isinstance(subject, Role):
        stored["permissions"] = [
            f"{app}.{codename}"
            for app, codename in subject.permissions.order_by().values_list(
                "content_type__app_label", "codename"
            )
        ]
        return stored
    stored["roles"] = list(subject.roles.order_by().values_list("name", flat=True))
    memberships = Membership.objects.filter(
        **{"user" if isinstance(subject, User) else "group": subject}
    )
    if isinstance(subject, User):
        stored["groups"] = _marked(memberships.values_list("group__name", "lead"))
    else:
        stored["members"] = _marked(memberships.values_list("user__username", "lead"))
        stored["parents"] = list(subject.parents.order_by().values_list("name", flat=True))
        stored["children"] = list(subject.children.order_by().values_list("name", flat=True))
    return stored


def difference(
    before: dict[str, Any], after: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What changed, old and new; of lists and mappings the entries that differ; no password."""
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for key in after:
        was, is_now = before.get(key), after[key]
        if was == is_now or (key not in before and not is_now and is_now is not False):
            continue
        if key == "password":
            was, is_now = "(hidden)", "(hidden)"
        elif isinstance(is_now, list):
            was, is_now = sorted({*(was or ())} - {*is_now}), sorted({*is_now} - {*(was or ())})
            if not was and not is_now:
                continue
        elif isinstance(is_now, dict):
            was, is_now = _lacking(was or {}, is_now), _lacking(is_now, was or {})
        old[key], new[key] = was, is_now
    return old, new


def _marked(pairs: Any) -> dict[str, str]:
    return {name: "lead" if lead else "member" for name, lead in pairs}


def _lacking(these: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    return {name: mark for name, mark in these.items() if others.get(name) != mark}


def logged_in(sender: Any, request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    """Receive Django's signal of a log-in that succeeded."""
    record("login", named(user), actor=user.username, request=request)


def logged_out(sender: Any, request: HttpRequest | None, user: User | None, **kwargs: Any) -> None:
    """Receive Django's signal of a log-out; one without a session is nothing to record."""
    if user is not None:
        record("logout", named(user), actor=user.username, request=request)


def login_failed(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Receive Django's signal of a log-in that failed.

    What was refused unseen during a lock-out is not recorded: whoever goes on knocking would fill
    the record, and the lock-out itself stands in it. A name that is no account's is left out:
    people type passwords into the wrong field.
    """
    if getattr(request, "axes_locked_out", False):
        return
    name = str(credentials.get("username", ""))
    user = User.objects.filter(username=name).first()
    record("login_failed", named(user) if user else "user (unknown)", actor="", request=request)
