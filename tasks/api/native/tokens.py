"""Who one is, and the tokens by which programs act for an account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from django.db.models import Q, QuerySet
from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import authentication
from accounts.delegation import lacking
from accounts.grants import grants_of
from accounts.models import EffectiveMembership, Group, Role, Token, User
from accounts.scopes import Scope, work
from tasks import people, reading
from tasks.errors import InvalidArgument, NotPermitted, UnknownGroup
from tasks.models import Channel

from .base import NativeView, Offer
from .directory import Linked, Listed
from .pagination import NEWEST
from .serializers import Strict
from .serializers.fields import Flag, Moment, Names, Text

CLIENT: Final = Token.Kind.CLIENT.value

MANAGE: Final = "manage tokens"
"""What one is not permitted to do, in words."""


class Me(NativeView):
    """The account that asks."""

    name = "Me"
    description = "Who you are here, what you may do, and how many tasks you hold."
    example: ClassVar[dict[str, Any]] = {}

    def get(self, request: Request) -> Response:
        """Answer with the account, what it may do, and what the call's token leaves of it."""
        user = self.user
        granted = grants_of(user)
        of_groups = EffectiveMembership.objects.filter(user=user).order_by("group__name")
        groups: dict[int, dict[str, Any]] = {}
        for number, name, lead in of_groups.values_list("group_id", "group__name", "lead"):
            group = groups.setdefault(
                number, {"id": number, "name": name, "member": False, "lead": False}
            )
            group["lead" if lead else "member"] = True
        member_of = [number for number, group in groups.items() if group["member"]]
        roles = Role.objects.filter(Q(users=user) | Q(groups__in=member_of)).distinct()
        return Response(
            {
                "id": user.pk,
                "object_id": user.object_id,
                "username": user.username,
                "first_name": user.first_name,
                "last_name": user.last_name,
                "email": user.email,
                "time_zone": user.time_zone,
                "language": user.language,
                "is_superuser": user.is_superuser,
                "roles": [role.name for role in roles],
                "permissions": sorted(granted.permissions),
                "bulk_limit": granted.bulk_limit,
                "groups": list(groups.values()),
                "token": _limits(user.scope),
                "tasks": self._tasks(user),
            }
        )

    def _tasks(self, user: User) -> dict[str, int] | None:
        """How many open tasks the account holds; nothing for one that may not view tasks."""
        if not user.has_perm(reading.VIEW):
            return None
        held = reading.visible(user).held_by(user)
        return {"held": held.count(), "overdue": held.overdue().count()}


def _limits(scope: Scope) -> dict[str, Any]:
    """What a token is limited to, in names; null is no limit."""
    groups = None
    if scope.groups is not None:
        found = Group.objects.filter(pk__in=scope.groups).order_by("name")
        groups = list(found.values_list("name", flat=True))
    operations = None if scope.operations is None else sorted(scope.operations)
    return {"read_only": operations == [], "operations": operations, "groups": groups}


class TokenDocument(Linked):
    """A token; its secret is never shown again."""

    address = "token"

    hint = serializers.CharField()
    kind = serializers.CharField()
    name = serializers.CharField()
    user = serializers.CharField(source="user.username")
    created_at = Moment()
    expires_at = Moment(allow_null=True)

    def to_representation(self, instance: Token) -> dict[str, Any]:
        """The document, with what the token is limited to, and the id that goes with a client's."""
        client = {"client_id": instance.user.object_id if instance.kind == CLIENT else None}
        return {**super().to_representation(instance), **client, **_limits(instance.scope)}


class NewToken(Strict):
    """A token to be issued: what for, for how long, and what it is limited to."""

    kind = serializers.ChoiceField([Token.Kind.API.value, Token.Kind.CLIENT.value], required=False)
    name = Text(max_length=100)
    user = Text(required=False, allow_null=True, max_length=150)
    expires_at = Moment(required=False, allow_null=True)
    read_only = Flag(required=False)  # type: ignore[assignment]
    operations = Names(allow_null=True)
    groups = Names(allow_null=True)
    example: ClassVar = {
        "name": "What it is for",
        "kind": "api",
        "expires_at": None,
        "read_only": True,
        "operations": None,
        "groups": None,
    }

    def validate_operations(self, value: list[str] | None) -> list[str] | None:
        """Refuse what is no operation."""
        for name in value or ():
            if name not in work().PERMISSIONS:
                raise ValidationError(f"{name} is no operation.", "unknown_operation")
        return value

    def validate_groups(self, value: list[str] | None) -> list[str] | None:
        """Refuse a token for which there would be no task."""
        if value is not None and not value:
            raise ValidationError("Name groups, or null for all tasks.", "invalid")
        return value

    def validate_expires_at(self, value: Any) -> Any:
        """Refuse a time that has passed."""
        if value is not None and value <= timezone.now():
            raise ValidationError("It has to lie ahead.", "invalid")
        return value

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """Refuse a contradiction."""
        if values.get("read_only") and values.get("operations"):
            problem = ErrorDetail("A token for reading only has none.", "contradiction")
            raise ValidationError({"operations": [problem]})
        if values.pop("read_only", False):
            values["operations"] = []
        return values


class Tokens(Listed):
    """Tokens: one's own, and those of others for those who manage tokens (as in the admin)."""

    order = NEWEST
    columns = ("hint", "name", "kind", "user", "expires_at", "operations")
    filters = frozenset({"user"})
    keeps_answers = False

    @property
    def example(self) -> dict[str, Any]:  # type: ignore[override]
        """The body that the page starts from."""
        return NewToken.example if "number" not in self.kwargs else {}

    def offers(self, answer: Mapping[str, Any]) -> Sequence[Offer]:
        """What may be done about a token."""
        if self.action != "retrieve" or "hint" not in answer:
            return ()
        return (Offer("Revoke", answer["url"], {}, "DELETE"),)

    def rows(self) -> QuerySet[Token]:
        """The tokens that the account may see."""
        tokens = Token.objects.select_related("user")
        if self.user.has_perm("accounts.view_token"):
            return tokens
        return tokens.filter(user=self.user)

    def filtered(self, rows: QuerySet[Token]) -> QuerySet[Token]:
        """One's own, if none are asked for by name."""
        return rows.filter(user__username=self.request.query_params.get("user", self.user.username))

    def document(self) -> type[TokenDocument]:
        """One for all."""
        return TokenDocument

    def create(self, request: Request) -> Response:
        """Issue a token; this answer is the only one that holds its secret."""
        self._demand_log_in()
        values = self.read_body(NewToken)
        user = self._receiver(values.get("user"))
        try:
            token, secret = authentication.issue(
                user,
                Token.Kind(values.get("kind", Token.Kind.API)),
                values["name"],
                values.get("expires_at"),
                scope=self._scope(values),
                actor=self.user.username,
                channel=Channel.NATIVE.value,
                request=request._request,
            )
        except ValueError:
            raise InvalidArgument(field="user", why="the account is not active") from None
        document = self.shown([token])[0]
        headers = {"Location": document["url"]}
        return Response({**document, "secret": secret}, status=201, headers=headers)

    def destroy(self, request: Request, number: str) -> Response:
        """Revoke a token: whatever starts from now on is refused."""
        token: Token = self.found()
        self._demand_log_in()
        if token.user != self.user:
            self.demand("accounts.delete_token", MANAGE)
            self._demand_no_less(token.user)
        authentication.revoke(
            token,
            actor=self.user.username,
            channel=Channel.NATIVE.value,
            request=request._request,
        )
        return Response(status=204)

    def _demand_log_in(self) -> None:
        """Raise NotPermitted for a call by a limited token, which could lift its own limits."""
        if self.user.scope.limited:
            raise NotPermitted(operation=f"{MANAGE} with a limited token")

    def _demand_no_less(self, user: User) -> None:
        """Raise NotPermitted for an account that may do more than the caller."""
        if lacking(self.user, user):
            raise NotPermitted(operation=f"{MANAGE} of that account")

    def _receiver(self, name: str | None) -> User:
        """Whom the token stands for. Raises NotPermitted, UnknownUser."""
        if name is None or name == self.user.username:
            return self.user
        self.demand("accounts.add_token", f"{MANAGE} of others")
        user = people.user(name).find()
        assert isinstance(user, User)  # noqa: S101  (a reference to a user finds one)
        self._demand_no_less(user)
        return user

    def _scope(self, values: dict[str, Any]) -> Scope:
        """The limits that are asked for. Raises UnknownGroup."""
        operations, names = values.get("operations"), values.get("groups")
        groups = None
        if names is not None:
            known = Group.objects.filter(name__in=names)
            if not self.user.has_perm("accounts.view_group"):  # then its own are all it knows of
                known = known.filter(pk__in=self.user.effective_group_ids())
            found = dict(known.values_list("name", "pk"))
            for name in names:
                if name not in found:
                    raise UnknownGroup(name=name)
            groups = frozenset(found.values())
        return Scope(None if operations is None else frozenset(operations), groups)


RESOURCES: Final = {
    "me": "Who you are here, what you may do, and how many tasks you hold.",
    "tokens": "The secrets by which programs act for you; each may be limited.",
}
"""What there is, by its part of the address."""

urlpatterns = [
    path("v1/me/", Me.as_view(), name="me"),
    path(
        "v1/tokens/",
        Tokens.as_view(
            {"get": "list", "post": "create"}, name="Tokens", description=RESOURCES["tokens"]
        ),
        name="tokens",
    ),
    path(
        "v1/tokens/<str:number>/",
        Tokens.as_view({"get": "retrieve", "delete": "destroy"}, name="Token", description=""),
        name="token",
    ),
]
