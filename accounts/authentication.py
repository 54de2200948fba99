"""Who is asking: log-ins with bounded guessing, Basic credentials, tokens, and the DRF classes."""

from __future__ import annotations

import base64
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from axes.helpers import get_cool_off
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.db import connection, transaction
from django.db.models import Max, Q
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled
from rest_framework.request import Request

from . import audit, grants, sql
from .clients import client_address, client_network
from .models import Group, Token, User, scope_of
from .scopes import UNLIMITED, Scope

MAX_NAME = User._meta.get_field("username").max_length or 0

# --- Passwords ----------------------------------------------------------------------------------


class LockedOut(Throttled):
    """Too many wrong passwords for this account from this network; `seconds` until the next try."""

    default_detail = "Too many wrong passwords for this account from your network."

    def __init__(self, seconds: int) -> None:
        super().__init__(wait=seconds)
        self.seconds = seconds


@sensitive_variables("password")
def verify(
    request: HttpRequest | Request, username: str, password: str, *, channel: str = ""
) -> User | None:
    """The active account with this name and password, or None; every failure counts, on all faces.

    Raises LockedOut, before any hashing, when this network has failed too often for the name.
    """
    if not (0 < len(username) <= MAX_NAME and _storable(username) and _storable(password)):
        return None  # no account has such a name or password
    attempt = _attempt(request, channel)
    username = User.normalize_username(username)
    user = authenticate(attempt, username=username, password=password)
    if user is None and getattr(attempt, "axes_locked_out", False):
        if getattr(attempt, "axes_failures_since_start", None) is None:
            raise LockedOut(_seconds_left(username, client_network(attempt)))
        # This failure was the last one allowed; only the tries after it are refused unseen.
        audit.record("login_locked_out", f"user {username}", actor="", request=attempt)
    return user if isinstance(user, User) else None


@sensitive_variables("password")
def log_in(
    request: HttpRequest | Request, username: str, password: str, *, channel: str = ""
) -> User | None:
    """As `verify`, and a success is recorded as a log-in; for faces that keep no Django session.

    With a session call `verify` and Django's `login()`, which records it itself.
    """
    user = verify(request, username, password, channel=channel)
    if user is not None:
        with transaction.atomic():
            user_logged_in.send(sender=User, request=_attempt(request, channel), user=user)
    return user


def _attempt(request: HttpRequest | Request, channel: str) -> HttpRequest:
    """A bare request with what counting and audit need.

    The counter stores what it is shown: query strings hold tokens, bodies passwords and megabytes.
    It also marks the request, which would make its middleware answer in place of the face.
    """
    attempt = HttpRequest()
    attempt.method = "POST"
    attempt.META["REMOTE_ADDR"] = client_address(request)
    attempt.channel = channel or getattr(request, "channel", "")  # type: ignore[attr-defined]
    return attempt


def _storable(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold the text: no NUL, no lone surrogate."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _seconds_left(username: str, network: str) -> int:
    last: datetime | None = AccessAttempt.objects.filter(
        username=username, ip_address=network
    ).aggregate(last=Max("attempt_time"))["last"]
    cool_off: timedelta | None = get_cool_off()
    if last is None or cool_off is None:
        return 1
    return max(1, math.ceil((last + cool_off - timezone.now()).total_seconds()))


# --- Basic credentials, verified once -----------------------------------------------------------


class VerifiedCredentials:
    """Remembers for a while which name and password were right, so that not every call hashes.

    Only success is kept. The key is an HMAC with a key that dies with the process: no password and
    no digest of one to attack. The value is the stored hash: an entry counts only while the account
    still has that hash, which is read on every call, as is whether it is active.
    """

    LIFETIME = 300.0
    SIZE = 2048

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._lock = Lock()

    @sensitive_variables("password")
    def holds(self, user: User, password: str) -> bool:
        """Whether `password` was found right for the password hash that `user` has now."""
        key = self._key_of(user.username, password)
        with self._lock:
            stored, until = self._entries.get(key, ("", 0.0))
        return time.monotonic() < until and hmac.compare_digest(stored, user.password)

    @sensitive_variables("password")
    def add(self, user: User, password: str) -> None:
        """Remember a success; when full, the oldest one is forgotten."""
        key = self._key_of(user.username, password)
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (user.password, time.monotonic() + self.LIFETIME)
            while len(self._entries) > self.SIZE:
                self._entries.popitem(last=False)

    def _key_of(self, username: str, password: str) -> bytes:
        # No name holds a NUL, so the two cannot run into each other.
        return hmac.digest(self._key, f"{username}\0{password}".encode(), "sha256")


verified = VerifiedCredentials()


@sensitive_variables("password")
def verify_basic(
    request: HttpRequest | Request, username: str, password: str, *, channel: str = ""
) -> User | None:
    """The account for Basic credentials, or None; raises LockedOut as `verify` does.

    One query when they were verified before; else a log-in, counted and recorded.
    """
    if not (_storable(username) and _storable(password)):
        return None
    user = User.objects.filter(username=User.normalize_username(username), is_active=True).first()
    if user is not None and verified.holds(user, password):
        return user
    user = log_in(request, username, password, channel=channel)
    if user is not None:
        verified.add(user, password)
    return user


# --- Tokens -------------------------------------------------------------------------------------

API_PREFIX = "htm_"
"""So that scanners find a secret that leaked."""

_COLUMNS = [field.attname for field in User._meta.concrete_fields]

# One statement, by hand, with what the account may do: this runs before every call of an
# integration.
_FIND = f"""
    select t.operations, t.group_ids, {grants.COLUMNS},
        {", ".join(f"u.{name}" for name in _COLUMNS)}
    from accounts_token t join accounts_user u on u.id = t.user_id
    where t.digest = %(digest)s::bytea and t.kind = any(%(kinds)s::text[]) and u.is_active
      and (t.expires_at is null or t.expires_at > clock_timestamp())
      and (t.issued_by is null or exists (
          select from accounts_token c where c.id = t.issued_by
          and (c.expires_at is null or c.expires_at > clock_timestamp())))"""


def issue(
    user: User,
    kind: Token.Kind,
    name: str = "",
    lifetime: timedelta | datetime | None = None,
    *,
    scope: Scope = UNLIMITED,
    issued_by: Token | None = None,
    actor: str,
    channel: str = "",
    request: HttpRequest | None = None,
) -> tuple[Token, str]:
    """Make a token for `user`; returns it with its secret, which is kept nowhere.

    `lifetime` is how long it holds, or until when; without one it never expires. Without a scope
    it may do all that the account may. It ends with the client secret it is `issued_by`. Raises
    ValueError when the account is not active.
    """
    secret = _new_secret(kind)
    with transaction.atomic():
        # Locked, so that a deactivation ends this token too or is seen here.
        active = User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True)
        if not active:
            raise ValueError(f"{user} is not active")
        now = timezone.now()
        Token.objects.filter(user=user, expires_at__lte=now).delete()
        token = Token.objects.create(
            user=user,
            kind=kind,
            name=name,
            digest=_digest(secret),
            hint=secret[:4] if kind == Token.Kind.ITENTIAL else secret[:8],
            expires_at=now + lifetime if isinstance(lifetime, timedelta) else lifetime,
            operations=None if scope.operations is None else sorted(scope.operations),
            group_ids=None if scope.groups is None else sorted(scope.groups),
            issued_by=issued_by.pk if issued_by is not None else None,
        )
        audit.record(
            "token_issued",
            f"user {user}",
            actor=actor,
            after=_described(token),
            channel=channel,
            request=request,
        )
    return token, secret


def find(secret: str, kinds: Collection[Token.Kind]) -> User | None:
    """The active account that a valid token of one of these kinds stands for, or None.

    Its `scope` is the token's: every face that takes the token is bound by it.
    """
    if not _storable(secret):
        return None
    rows = sql.run(_FIND, {"digest": _digest(secret), "kinds": [str(kind) for kind in kinds]})
    if not rows:
        return None
    operations, group_ids, limits, permissions, *columns = rows[0]
    user: User = User.from_db(connection.alias, _COLUMNS, columns)
    user.scope = scope_of(operations, group_ids)
    grants.keep(user, limits, permissions)
    return user


class BeyondScope(Exception):
    """A client asks for more than its own secret may do."""


def exchange(
    client_id: str,
    secret: str,
    operations: Collection[str] | None = None,
    *,
    channel: str = "",
    request: HttpRequest | None = None,
) -> tuple[Token, str] | None:
    """A token of short life for a client (OAuth 2, client credentials), or None if it is unknown.

    `client_id` is the object id of the account, `secret` one of its client secrets, `operations`
    what the token is to be limited to besides what limits the secret. Raises BeyondScope.
    """
    if not _storable(secret):
        return None
    now = timezone.now()
    client = (
        Token.objects.select_related("user")
        .filter(digest=_digest(secret), kind=Token.Kind.CLIENT, user__is_active=True)
        .filter(Q(expires_at=None) | Q(expires_at__gt=now))
        .first()
    )
    if client is None or client.user.object_id != client_id:
        return None
    scope = client.scope
    if operations is not None:
        if not all(scope.covers(name) for name in operations):
            raise BeyondScope
        scope = Scope(frozenset(operations), scope.groups)
    try:
        return issue(
            client.user,
            Token.Kind.API,
            f"for client {client.hint}",
            timedelta(seconds=settings.OAUTH_TOKEN_SECONDS),
            scope=scope,
            issued_by=client,
            actor=client.user.username,
            channel=channel,
            request=request,
        )
    except ValueError:  # deactivated this very moment
        return None


def find_token(secret: str, kind: Token.Kind) -> Token | None:
    """The token with this secret, expired or not; for a session that is to end."""
    if not _storable(secret):
        return None
    return Token.objects.select_related("user").filter(digest=_digest(secret), kind=kind).first()


def revoke(
    token: Token, *, actor: str, channel: str = "", request: HttpRequest | None = None
) -> None:
    """End a token, and those issued for it: what starts after this is refused.

    Ending one twice is no error and no event.
    """
    with transaction.atomic():
        described = _described(token)
        deleted, _ = Token.objects.filter(pk=token.pk).delete()
        Token.objects.filter(issued_by=token.pk).delete()
        if deleted:
            audit.record(
                "token_revoked",
                f"user {token.user}",
                actor=actor,
                before=described,
                channel=channel,
                request=request,
            )


def _new_secret(kind: Token.Kind) -> str:
    if kind != Token.Kind.ITENTIAL:
        return API_PREFIX + secrets.token_urlsafe(32)
    # As Itential's own look: base64 of 32 hexadecimal digits.
    return base64.b64encode(secrets.token_hex(16).encode()).decode()


def _digest(secret: str) -> bytes:
    # Random secrets of 128 bits and more cannot be guessed from a plain digest.
    return sha256(secret.encode()).digest()


def _described(token: Token) -> dict[str, Any]:
    return {
        "token": token.hint,
        "kind": token.kind,
        "name": token.name,
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        **limits_of(token),
    }


def limits_of(token: Token) -> dict[str, list[str]]:
    """What a token is limited to, in names; empty for one without limits."""
    limits = {}
    if token.operations is not None:
        limits["operations"] = token.operations
    if token.group_ids is not None:
        groups = Group.objects.filter(pk__in=token.group_ids).order_by("name")
        limits["groups"] = list(groups.values_list("name", flat=True))
    return limits


# --- Django REST framework ----------------------------------------------------------------------

Identity = tuple[User, str]
"""What DRF expects: the account, and by what it was recognised."""


def authorization(request: Request) -> tuple[str, str]:
    """Scheme (lower case) and credentials of the Authorization header; two empty texts without."""
    scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    return scheme.lower(), credentials.strip()


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token htm_...` or `Bearer htm_...`."""

    def authenticate(self, request: Request) -> Identity | None:
        """The token's account, or None without such a header; AuthenticationFailed if not valid."""
        scheme, secret = authorization(request)
        if scheme not in ("token", "bearer"):
            return None
        user = find(secret, (Token.Kind.API,))
        if user is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        return user, "token"

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return "Token"


class BasicAuthentication(BaseAuthentication):
    """`Authorization: Basic`, as UTF-8; log-ins are recorded under the subclass's `channel`."""

    realm = "human tasks"
    channel = "api"

    def authenticate(self, request: Request) -> Identity | None:
        """The account, or None without such a header; AuthenticationFailed, LockedOut."""
        scheme, credentials = authorization(request)
        if scheme != "basic":
            return None
        try:
            text = base64.b64decode(credentials, validate=True).decode()
        except ValueError:
            raise AuthenticationFailed("The Basic credentials cannot be read.") from None
        username, colon, password = text.partition(":")
        user = verify_basic(request, username, password, channel=self.channel) if colon else None
        if user is None:
            raise AuthenticationFailed("Wrong user name or password.")
        return user, "basic"

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return f'Basic realm="{self.realm}", charset="UTF-8"'


class ItentialAuthentication(BasicAuthentication):
    """All that Itential's clients send: API token, Basic, or the log-in's cookie or parameter.

    The header wins; of cookie and query parameter the cookie. What is presented must be valid.
    """

    realm = "Operations Manager"
    channel = "itential"
    cookie = "token"
    parameter = "token"

    def authenticate(self, request: Request) -> Identity | None:
        """The account, or None without credentials.

        Raises AuthenticationFailed, LockedOut, and PermissionDenied for another site's request.
        """
        by_header = TokenAuthentication().authenticate(request) or super().authenticate(request)
        if by_header is not None:
            return by_header
        if self.cookie in request.COOKIES:
            secret, source = request.COOKIES[self.cookie], "cookie"
            # The browser adds a cookie by itself, so another site's page must not make use of it.
            if request.method not in ("GET", "HEAD", "OPTIONS") and _from_elsewhere(request):
                raise PermissionDenied("Refused: the request comes from another site.")
        elif self.parameter in request.query_params:
            secret, source = request.query_params[self.parameter], "parameter"
        else:
            return None
        user = find(secret, (Token.Kind.ITENTIAL,))
        if user is None:
            raise AuthenticationFailed("The session is unknown or has ended.")
        return user, source


def _from_elsewhere(request: Request) -> bool:
    """Whether the browser says that another site caused the request; other clients say nothing."""
    if request.META.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none"):
        return True
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or origin in settings.CSRF_TRUSTED_ORIGINS:
        return False
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return True
    return origin != f"{request.scheme}://{request.get_host()}" or not host
