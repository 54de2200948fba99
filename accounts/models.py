"""Accounts, groups that nest, roles that grant permissions, tokens, and the audit of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar
from zoneinfo import available_timezones

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_backends
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import Group as DjangoGroup
from django.contrib.auth.models import GroupManager, Permission, PermissionsMixin
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from .grants import grants_of
from .scopes import UNLIMITED, Scope

EVERYBODY = "everybody"
"""The built-in group that holds every active account."""

DEMO = "Demo"
"""The provenance of the demo's accounts, whose passwords anybody knows: no log-in elsewhere."""

LEGACY_ID = r"^(?!0{8})[0-9a-f]{24}$"
legacy_id_validator = RegexValidator(
    LEGACY_ID, "24 lower-case hexadecimal digits that do not begin with 00000000."
)


def legacy_id_check(name: str) -> models.CheckConstraint:
    """The validator's rule for the database; a missing imported id passes."""
    return models.CheckConstraint(condition=Q(legacy_id__regex=LEGACY_ID), name=name)


def validate_time_zone(value: str) -> None:
    """Accept a name of the time zone database; raises ValidationError for any other text."""
    if value not in available_timezones():
        raise ValidationError("%(value)s is not the name of a time zone.", params={"value": value})


class LegacyIdentity(models.Model):
    """Something that Itential knows by 24 hexadecimal digits (specs, section 0: ObjectId)."""

    legacy_id = models.CharField(
        "imported id",
        max_length=24,
        null=True,
        blank=True,
        unique=True,
        validators=[legacy_id_validator],
        help_text="The id it had where it was imported from; nothing for what was made here.",
    )

    class Meta:
        abstract = True

    @property
    def object_id(self) -> str:
        """The 24-digit id: the imported one, else one made from the integer key.

        Imported ids begin with a time stamp and so never with eight zeros; the database checks it,
        which keeps the two kinds apart.
        """
        return self.legacy_id or f"{self.pk:024x}"


def by_object_id(value: str) -> Q:
    """The condition that finds by the id that `object_id` shows; a malformed one finds none."""
    if value.startswith("0" * 8):
        try:
            return Q(pk=int(value, 16))
        except ValueError:
            return Q(pk__in=())
    return Q(legacy_id=value)


class Role(LegacyIdentity):
    """A named set of permissions: what an account may do at all (the first of the two gates)."""

    name = models.CharField(max_length=100)
    provenance = models.CharField(
        max_length=100,
        default="Custom",
        help_text="OperationsManager for the seven system roles, Custom for those made here.",
    )
    description = models.CharField(max_length=500, blank=True)
    permissions = models.ManyToManyField(Permission, blank=True)
    bulk_limit = models.PositiveIntegerField(
        null=True,
        blank=True,
        default=0,
        help_text="Most tasks in one bulk call; empty means no limit.",
    )
    # Without it a permission that a site takes away would come back with the next release.
    offered = models.JSONField(
        default=list,
        editable=False,
        help_text="Permissions that some release has already given to this system role.",
    )

    class Meta:
        ordering: ClassVar = ["name"]
        permissions: ClassVar = [
            ("grant_any_role", "Can give roles that hold more than one's own"),
        ]
        constraints: ClassVar = [
            legacy_id_check("role_legacy_id"),
            models.UniqueConstraint(fields=["provenance", "name"], name="role_name_in_provenance"),
        ]

    def __str__(self) -> str:
        return self.name


class Group(DjangoGroup, LegacyIdentity):
    """A group of accounts; a member of a nested group is a member of the groups above it too."""

    description = models.CharField(max_length=500, blank=True)
    provenance = models.CharField(max_length=100, default="Local")
    is_active = models.BooleanField(
        "active", default=True, help_text="An inactive group neither grants nor passes on."
    )
    is_builtin = models.BooleanField(default=False, editable=False)
    roles = models.ManyToManyField(Role, blank=True, related_name="groups")
    parents = models.ManyToManyField(
        "self",
        symmetrical=False,
        through="GroupNesting",
        through_fields=("child", "parent"),
        related_name="children",
        blank=True,
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    imported = models.JSONField(
        default=dict, blank=True, editable=False, help_text="Members of an imported document."
    )

    objects: ClassVar[models.Manager[Group]] = GroupManager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            legacy_id_check("group_legacy_id"),
            models.UniqueConstraint(
                fields=["is_builtin"], condition=Q(is_builtin=True), name="one_builtin_group"
            ),
            models.CheckConstraint(
                condition=Q(is_builtin=False) | Q(is_active=True), name="builtin_group_is_active"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class GroupNesting(models.Model):
    """One group lies within another."""

    child = models.ForeignKey(Group, models.CASCADE, related_name="nestings_above")
    parent = models.ForeignKey(Group, models.CASCADE, related_name="nestings_below")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["child", "parent"], name="nesting_once"),
            models.CheckConstraint(condition=~Q(child=models.F("parent")), name="nesting_not_self"),
        ]

    def __str__(self) -> str:
        return f"{self.child} in {self.parent}"

    def clean(self) -> None:
        """Say in words what the database would refuse: the built-in group, and going in circles."""
        if not (self.child_id and self.parent_id):
            return  # the form has said already what is missing
        if self.child.is_builtin or self.parent.is_builtin:
            raise ValidationError("The built-in group neither holds groups nor lies within one.")
        reached, above = set(), {self.parent_id}
        while above:
            if self.child_id in above:
                raise ValidationError(
                    "%(child)s cannot lie within %(parent)s, which lies within it.",
                    params={"child": self.child, "parent": self.parent},
                )
            reached |= above
            above = {
                *GroupNesting.objects.filter(child__in=above)
                .exclude(pk=self.pk)
                .values_list("parent_id", flat=True)
            } - reached


class UserManager(BaseUserManager["User"]):
    """Makes accounts; superusers only where a person asks for one by name."""

    def create_user(self, username: str, password: str | None = None, **fields: Any) -> User:
        """A new account; without a password it cannot log in by one."""
        user = self.model(username=self.model.normalize_username(username), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> User:
        """A new account that may do everything (Django's `createsuperuser` calls this)."""
        return self.create_user(username, password, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin, LegacyIdentity):
    """A person or an integration that can be given work."""

    username = models.CharField(
        max_length=150, unique=True, validators=[UnicodeUsernameValidator()]
    )
    first_name = models.CharField(max_length=150, blank=True)
    last_name = models.CharField(max_length=150, blank=True)
    email = models.EmailField(blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="An inactive account holds nothing and cannot log in."
    )
    is_placeholder = models.BooleanField(
        default=False, editable=False, help_text="Stands for somebody an import named."
    )
    provenance = models.CharField(max_length=100, default="Local")
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    language = models.CharField(max_length=16, default="en")
    date_joined = models.DateTimeField(default=timezone.now, editable=False)
    session_generation = models.PositiveIntegerField(
        default=0,
        editable=False,
        help_text="Kept by a trigger: rises when the account goes inactive.",
    )
    roles = models.ManyToManyField(Role, blank=True, related_name="users")
    # Ours replace Django's: membership carries a flag, and no permission hangs on one account.
    groups = models.ManyToManyField(  # type: ignore[assignment]
        Group, through="Membership", related_name="user_set", blank=True
    )
    user_permissions = None  # type: ignore[assignment]

    scope: Scope = UNLIMITED
    """The limits of the token that a call came with, on the object that stands for its caller."""

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar = ["email"]

    class Meta:
        ordering: ClassVar = ["username"]
        constraints: ClassVar = [
            legacy_id_check("user_legacy_id"),
            models.CheckConstraint(
                condition=Q(is_placeholder=False) | Q(is_active=False),
                name="placeholder_is_inactive",
            ),
        ]

    def __str__(self) -> str:
        return self.username

    def effective_group_ids(self) -> set[int]:
        """The groups that the account is a member of in the end."""
        return set(
            EffectiveMembership.objects.filter(user=self, lead=False).values_list(
                "group_id", flat=True
            )
        )

    def get_full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.username

    def get_short_name(self) -> str:
        return self.first_name or self.username

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Whether a backend grants `perm`, everywhere or on `obj`.

        An inactive account holds nothing. A superuser holds every permission, but none on an
        object by itself: there permissions are task roles, `excluded_owner` among them. What a
        token is limited to holds for superusers too.
        """
        if not self.is_active:
            return False
        if self.is_superuser and obj is None and not self.scope.limited:
            return True
        for backend in get_backends():
            if hasattr(backend, "has_perm"):
                try:
                    if backend.has_perm(self, perm, obj):
                        return True
                except PermissionDenied:
                    return False
        return False

    async def ahas_perm(self, perm: str, obj: Any = None) -> bool:
        """As `has_perm`; the inherited one would let superusers pass on any object."""
        return await sync_to_async(self.has_perm)(perm, obj)

    @property
    def bulk_limit(self) -> int | None:
        """Most tasks in one bulk call: the largest of one's roles; None is no limit."""
        return grants_of(self).bulk_limit

    def get_session_auth_hash(self) -> str:
        """What a session must match; a new password and deactivation change it."""
        return self._session_hash()

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """The same for each retired secret key."""
        for secret in settings.SECRET_KEY_FALLBACKS:
            yield self._session_hash(secret)

    def _session_hash(self, secret: str | bytes | None = None) -> str:
        return salted_hmac(
            "accounts.session",
            f"{self.session_generation}:{self.password}",
            secret=secret,
            algorithm="sha256",
        ).hexdigest()


class Membership(models.Model):
    """An account belongs to a group; a lead also administers the tasks that group may work on."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    group = models.ForeignKey(Group, models.CASCADE, related_name="memberships")
    lead = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "group"], name="membership_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.group}"

    def clean(self) -> None:
        """Say in words what the database would refuse."""
        if self.group_id and self.group.is_builtin:
            raise ValidationError("The built-in group holds every active account by itself.")


class EffectiveMembership(models.Model):
    """Who belongs to which group in the end: the closure that triggers keep and queries join.

    A row with `lead` false says that the account is a member of the group, directly or through a
    nested one; a row with `lead` true, that it leads the group, directly or from a group above.
    The two are independent: leading passes down to nested groups without making a member of them.
    """

    pk = models.CompositePrimaryKey("user_id", "group_id", "lead")
    # Both are led by an index of their own: the primary key and the one below.
    user = models.ForeignKey(User, models.DO_NOTHING, related_name="+", db_index=False)
    group = models.ForeignKey(Group, models.DO_NOTHING, related_name="+", db_index=False)
    lead = models.BooleanField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["group", "lead", "user"], name="effective_group")]

    def __str__(self) -> str:
        return f"{self.user_id} {'leads' if self.lead else 'in'} {self.group_id}"


class Token(models.Model):
    """A secret that stands for an account; only its digest is kept."""

    class Kind(models.TextChoices):
        API = "api", "API token"
        ITENTIAL = "itential", "Itential session"
        CLIENT = "client", "OAuth client secret"

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    name = models.CharField(max_length=100, blank=True, help_text="What it is for.")
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    hint = models.CharField(max_length=16, editable=False, help_text="Its first characters.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    operations = ArrayField(
        models.CharField(max_length=32),
        null=True,
        blank=True,
        help_text="The only operations it may call, besides reading; nothing is no limit.",
    )
    # Keys, not a relation: with the last of its groups gone a token must not become unlimited.
    group_ids = ArrayField(
        models.BigIntegerField(),
        null=True,
        blank=True,
        help_text="The groups whose tasks alone exist for it; nothing is no limit.",
    )

    # A key only: that its row is gone is what ends this token, whoever comes first.
    issued_by = models.BigIntegerField(
        null=True, editable=False, help_text="The client secret that it was issued for."
    )

    class Meta:
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(
                fields=["issued_by"],
                condition=Q(issued_by__isnull=False),
                name="token_issued_by",
            )
        ]

    def __str__(self) -> str:
        return f"{self.hint}… of {self.user}"

    @property
    def scope(self) -> Scope:
        """What it is limited to."""
        return scope_of(self.operations, self.group_ids)


def scope_of(operations: Sequence[str] | None, group_ids: Sequence[int] | None) -> Scope:
    """The scope that the two columns of a token stand for."""
    return Scope(
        None if operations is None else frozenset(operations),
        None if group_ids is None else frozenset(group_ids),
    )


class AccountEvent(models.Model):
    """One thing that happened to an account, group, role, token or log-in; it stays as it is."""

    at = models.DateTimeField(default=timezone.now)
    event = models.CharField(max_length=64)
    subject = models.CharField(max_length=300)
    actor = models.CharField(max_length=150, blank=True)
    channel = models.CharField(max_length=16, blank=True)
    address = models.CharField(max_length=64, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.event} {self.subject}"
