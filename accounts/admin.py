"""Admin pages for accounts, groups, roles, tokens and the record of what happened to them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group as DjangoGroup
from django.db import IntegrityError
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from . import audit, authentication, explanation
from .delegation import lacking
from .forms import GrantingForm, TokenForm, UserAddForm, UserForm
from .leaving import OpenWork, keeper
from .models import AccountEvent, Group, GroupNesting, Membership, Role, Token, User
from .pages import Exact, ReadOnly, actor_of
from .roles import SYSTEM, system_roles
from .widgets import Picking

CHANNEL = "admin"
MEMBERS_ON_PAGE = 100
"""A group with more members than these is edited from the accounts' pages."""
ROWS_IN_FORM = 200
"""A form may claim to have any number of rows; each costs milliseconds."""

# Django's own group page would edit permissions that nobody reads.
admin.site.unregister(DjangoGroup)


class AuditedAdmin(Exact, admin.ModelAdmin):  # type: ignore[type-arg]
    """Saves, with the change, the event that tells of it; lets nobody manage what exceeds them."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the account may change such objects, and this one does not exceed it."""
        return super().has_change_permission(request, obj) and (
            obj is None or not lacking(actor_of(request), obj)
        )

    def may_manage_any(self, request: HttpRequest) -> bool:
        """Whether the account manages such objects at all; others look them up by name only."""
        return super().has_change_permission(request)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """The form class, made for this request, with the actor it judges by."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.actor = request.user
        return form

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """The page; what only the database sees, for others changed it meanwhile, is a message."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError as error:
            reason = getattr(getattr(error.__cause__, "diag", None), "message_primary", str(error))
            messages.error(request, f"Nothing was saved: {reason}.")
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the object; what was stored before is kept for the event."""
        form.stored_before = audit.snapshot(obj)
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save relations too, then record all that differs as one event."""
        super().save_related(request, form, formsets, change)
        audit.record_change(
            form.instance,
            form.stored_before,
            actor=actor_of(request).username,
            channel=CHANNEL,
            request=request,
        )


class PickedAdmin(AuditedAdmin):
    """What other pages pick by typing and nobody deletes: accounts and groups."""

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        """Roles are few: tick them."""
        if db_field.name == "roles":
            kwargs["widget"] = forms.CheckboxSelectMultiple
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: they are deactivated."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search; pickers offer active ones only."""
        match = request.resolver_match
        if match is not None and match.url_name == "autocomplete":
            queryset = queryset.filter(is_active=True)
        return super().get_search_results(request, queryset, search_term)


class RelationInline(Picking, admin.TabularInline):  # type: ignore[type-arg]
    """Rows between accounts and groups; whoever may change the page's object may change them."""

    form = GrantingForm
    extra = 0
    max_num = ROWS_IN_FORM

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """The formset class, made for this request, with the actor its forms judge by."""
        kwargs["absolute_max"] = ROWS_IN_FORM
        formset: Any = super().get_formset(request, obj, **kwargs)
        formset.form.actor = request.user
        return formset

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Shown wherever the page lists the inline."""
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As for the object the page is about."""
        page = self.admin_site.get_model_admin(self.parent_model)
        return page.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As for changing."""
        return self.has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As for changing."""
        return self.has_change_permission(request, obj)


class GroupsOfUser(RelationInline):
    """The groups an account was put into."""

    model = Membership
    fk_name = "user"
    autocomplete_fields = ("group",)
    verbose_name_plural = "memberships"


class UsersOfGroup(RelationInline):
    """The accounts put into a group."""

    model = Membership
    fk_name = "group"
    autocomplete_fields = ("user",)
    verbose_name = "member"
    verbose_name_plural = "members"


class ParentsOfGroup(RelationInline):
    """The groups a group lies within: its members become theirs."""

    model = GroupNesting
    fk_name = "child"
    autocomplete_fields = ("parent",)
    verbose_name = "group it lies within"
    verbose_name_plural = "lies within (its members are members there too)"


class ChildrenOfGroup(RelationInline):
    """The groups within a group."""

    model = GroupNesting
    fk_name = "parent"
    autocomplete_fields = ("child",)
    verbose_name = "group within it"
    verbose_name_plural = "holds (leads of this group lead them too)"


@admin.register(User)
class UserAdmin(PickedAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    """Accounts; what one may do, and where each right comes from."""

    form = UserForm
    add_form = UserAddForm
    search_fields = ("username", "first_name", "last_name")
    ordering = ("username",)
    filter_horizontal = ()
    inlines = (GroupsOfUser,)
    readonly_fields = ("last_login", "date_joined", "object_id", "effective_groups", "may_do")

    NAMES = ("username", "first_name", "last_name", "is_active")
    list_display = NAMES
    list_filter = ("is_active",)
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (
            "Person",
            {"fields": ("first_name", "last_name", "email", "time_zone", "language")},
        ),
        (
            "Access",
            {
                "fields": ("is_active", "open_work", "open_work_to", "is_superuser", "roles"),
                "description": (
                    "Accounts are not deleted, since the record names them: deactivate one that "
                    "has left. That ends its sessions and tokens at once."
                ),
            },
        ),
        ("Groups in the end", {"fields": ("effective_groups",)}),
        ("What this account may do and why", {"fields": ("may_do",)}),
        (
            "Origin",
            {"fields": ("provenance", "legacy_id", "object_id", "date_joined", "last_login")},
        ),
    )

    def get_list_display(self, request: HttpRequest) -> Any:
        """Names for those who look up, access besides for those who manage."""
        if not self.may_manage_any(request):
            return self.NAMES
        return (*self.NAMES, "is_superuser", "role_names", "provenance", "last_login")

    def get_list_filter(self, request: HttpRequest) -> Any:
        """As the columns."""
        if not self.may_manage_any(request):
            return self.list_filter
        return ("is_active", "is_superuser", "roles", "is_placeholder", "provenance")

    def get_search_fields(self, request: HttpRequest) -> Any:
        """As the columns: a search may not tell what the page does not show."""
        if not self.may_manage_any(request):
            return self.search_fields
        return (*self.search_fields, "email")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Filters in the address tell no more than the page."""
        allowed = {*self.get_list_filter(request)}
        if self.may_manage_any(request):
            allowed.add("groups")
        return lookup.partition("__")[0] in allowed

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """All accounts, with the roles that the list names."""
        return super().get_queryset(request).prefetch_related("roles")

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """All of it for those who manage accounts and for one's own; else the names."""
        if obj is not None and not self._in_full(request, obj):
            return ((None, {"fields": self.NAMES}),)
        if obj is not None and not self.has_change_permission(request, obj):
            # Without the password's row, whose button would only lead to a refusal.
            return ((None, {"fields": ("username",)}), *self.fieldsets[1:])
        return super().get_fieldsets(request, obj)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        """No memberships on the page for a new account, nor for those who only look up."""
        return self.inlines if obj is not None and self._in_full(request, obj) else ()

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only a superuser makes superusers."""
        fields = super().get_readonly_fields(request, obj)
        return fields if actor_of(request).is_superuser else (*fields, "is_superuser")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """The form class; fields of its own are no columns, so the page must not ask for them."""
        fields = kwargs.get("fields") or flatten_fieldsets(self.get_fieldsets(request, obj))
        kwargs["fields"] = [name for name in fields if not name.startswith("open_work")]
        return super().get_form(request, obj, change=change, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the account, and remember what becomes of its work if it leaves."""
        super().save_model(request, obj, form, change)
        if change and form.deactivates:
            choice = form.cleaned_data["open_work"] or OpenWork.KEEP
            request.leaving = (obj, choice, form.cleaned_data["open_work_to"])  # type: ignore[attr-defined]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """The page; work is settled once the account is inactive, in transactions of its own."""
        response = super().changeform_view(request, object_id, form_url, extra_context)
        leaving = getattr(request, "leaving", None)
        if leaving is not None:
            user, choice, receiver = leaving
            said = keeper().settle(
                user,
                choice,
                to=receiver,
                actor=actor_of(request).username,
                channel=CHANNEL,
                request_id=getattr(request, "request_id", ""),
            )
            messages.info(request, f"{user} is inactive now. {said}")
        return response

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        """Django's page for a new password; that it changed is recorded."""
        user = self.get_object(request, unquote(id))
        if user is None or request.method != "POST":
            return super().user_change_password(request, id, form_url)
        with audit.changing(
            user, actor=actor_of(request).username, channel=CHANNEL, request=request
        ):
            return super().user_change_password(request, id, form_url)

    @admin.display(description="roles")
    def role_names(self, obj: User) -> str:
        """The roles held directly."""
        return ", ".join(role.name for role in obj.roles.all()) or "-"

    @admin.display(description="groups")
    def effective_groups(self, obj: User) -> SafeString:
        """The groups in the end, with lead marks."""
        return render_to_string(
            "admin/accounts/user/groups.html", {"groups": explanation.groups_of(obj)}
        )

    @admin.display(description="permissions")
    def may_do(self, obj: User) -> SafeString:
        """Each permission with all its reasons."""
        return render_to_string(
            "admin/accounts/user/may_do.html",
            {
                "user": obj,
                "permissions": explanation.permissions_of(obj),
                "limit": "no limit" if obj.bulk_limit is None else obj.bulk_limit,
            },
        )

    def _in_full(self, request: HttpRequest, obj: User) -> bool:
        return self.may_manage_any(request) or obj == request.user


@admin.register(Group)
class GroupAdmin(PickedAdmin):
    """Groups: members, leads, nesting and roles."""

    form = GrantingForm
    search_fields = ("name", "description")
    ordering = ("name",)
    readonly_fields = ("object_id", "member_count")
    inlines = (UsersOfGroup, ParentsOfGroup, ChildrenOfGroup)

    NAMES = ("name", "description", "is_active")
    list_display = NAMES
    list_filter = ("is_active",)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Names for those who look up, access besides for those who manage."""
        if not self.may_manage_any(request):
            return self.NAMES
        return (*self.NAMES, "role_names", "member_count", "provenance")

    def get_list_filter(self, request: HttpRequest) -> Any:
        """As the columns."""
        if not self.may_manage_any(request):
            return self.list_filter
        return ("is_active", "roles", "provenance")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Filters in the address tell no more than the page."""
        return lookup.partition("__")[0] in {*self.get_list_filter(request)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        """All groups, with the roles and the number of members that the list names."""
        groups: QuerySet[Group] = super().get_queryset(request).prefetch_related("roles")
        return groups.annotate(member_total=Count("memberships"))

    def get_fieldsets(self, request: HttpRequest, obj: Group | None = None) -> Any:
        """All of it for those who manage groups; else the names."""
        if not self.may_manage_any(request):
            return ((None, {"fields": self.NAMES}),)
        shown = ("legacy_id", "object_id", "member_count") if obj is not None else ()
        return (
            (
                None,
                {
                    "fields": (*self.NAMES, "roles", "provenance", *shown),
                    "description": (
                        "Groups are not deleted, since tasks may be theirs: deactivate one that "
                        "is not needed any more."
                    ),
                },
            ),
        )

    def get_inlines(self, request: HttpRequest, obj: Group | None) -> Any:
        """Members and nesting; the built-in group has neither, a big one too many members."""
        if obj is None or obj.is_builtin or not self.may_manage_any(request):
            return ()
        big = obj.memberships.count() > MEMBERS_ON_PAGE
        return self.inlines[1:] if big else self.inlines

    def get_readonly_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        """The built-in group keeps its name and stays active."""
        fields = super().get_readonly_fields(request, obj)
        builtin = obj is not None and obj.is_builtin
        return (*fields, "name", "is_active", "provenance", "legacy_id") if builtin else fields

    @admin.display(description="roles")
    def role_names(self, obj: Group) -> str:
        """The roles its members hold through it."""
        return ", ".join(role.name for role in obj.roles.all()) or "-"

    @admin.display(description="members")
    def member_count(self, obj: Group) -> str:
        """How many were put into it; those of nested groups are not counted."""
        if obj.is_builtin:
            return "every active account"
        total: int = getattr(obj, "member_total", 0)
        if total > MEMBERS_ON_PAGE:
            return f"{total} (change them on the pages of the accounts)"
        return str(total)


@admin.register(Role)
class RoleAdmin(AuditedAdmin):
    """Roles and what they grant."""

    form = GrantingForm
    list_display = ("name", "provenance", "description", "bulk_limit")
    list_filter = ("provenance",)
    search_fields = ("name", "description")
    ordering = ("name",)
    filter_horizontal = ("permissions",)
    readonly_fields = ("object_id",)
    fields = (
        "name",
        "description",
        "provenance",
        "bulk_limit",
        "permissions",
        "legacy_id",
    )

    def get_fields(self, request: HttpRequest, obj: Role | None = None) -> Any:
        """With the id that Itential is shown, once there is one."""
        return self.fields if obj is None else (*self.fields, "object_id")

    def get_readonly_fields(self, request: HttpRequest, obj: Role | None = None) -> Any:
        """System roles keep the name by which releases know them."""
        fields = super().get_readonly_fields(request, obj)
        system = obj is not None and obj.provenance == SYSTEM
        return (*fields, "name", "provenance") if system else fields

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        """Offer the permissions of the apps that roles are about, not of Django's own tables."""
        if db_field.name == "permissions":
            apps = {name.partition(".")[0] for role in system_roles() for name in role.permissions}
            kwargs["queryset"] = db_field.remote_field.model.objects.filter(
                content_type__app_label__in=apps
            ).select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Own roles that do not exceed the actor; system roles would come back."""
        return super().has_delete_permission(request, obj) and (
            obj is None or (obj.provenance != SYSTEM and not lacking(actor_of(request), obj))
        )

    def delete_model(self, request: HttpRequest, obj: Role) -> None:
        """Delete one role and record what it was."""
        before = audit.snapshot(obj)
        name = audit.named(obj)
        super().delete_model(request, obj)
        audit.record(
            "role_deleted",
            name,
            actor=actor_of(request).username,
            before=before,
            channel=CHANNEL,
            request=request,
        )

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Role]) -> None:
        """Delete each selected role as one."""
        for role in queryset:
            self.delete_model(request, role)


@admin.register(Token)
class TokenAdmin(Exact, Picking, admin.ModelAdmin):  # type: ignore[type-arg]
    """Tokens: issued and revoked here, never changed; a secret is shown once."""

    form = TokenForm
    list_display = ("hint", "user", "kind", "name", "limits", "created_at", "expires_at")
    list_filter = ("kind",)
    list_select_related = ("user",)
    search_fields = ("user__username", "name", "hint")
    autocomplete_fields = ("user",)
    add_fields = ("user", "kind", "name", "lifetime", "access", "chosen", "groups")
    view_fields = ("hint", "user", "kind", "name", "limits", "created_at", "expires_at")

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> Any:
        """What to fill in for a new one, what is known of an old one."""
        return self.add_fields if obj is None else self.view_fields

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a token is revoked and another issued."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tokens of accounts that do not exceed the actor."""
        return super().has_delete_permission(request, obj) and (
            obj is None or not lacking(actor_of(request), obj.user)
        )

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """The form class, made for this request, with the actor it judges by."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.actor = request.user
        return form

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **more: Any
    ) -> Any:
        """The form with one button: whichever is pressed, the next page shows the secret."""
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **more)

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        """Issue the token; its secret goes to the page that answers and nowhere else."""
        token, secret = authentication.issue(
            obj.user,
            form.cleaned_data["kind"],
            obj.name,
            form.cleaned_data["lifetime"],
            scope=form.scope,
            actor=actor_of(request).username,
            channel=CHANNEL,
            request=request,
        )
        for field in token._meta.concrete_fields:
            setattr(obj, field.attname, getattr(token, field.attname))
        request.issued_secret = secret  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: Token, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret, in this answer only: a redirect would have to store it somewhere."""
        return TemplateResponse(
            request,
            "admin/accounts/token/issued.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": "Token issued",
                "token": obj,
                "secret": request.issued_secret,  # type: ignore[attr-defined]
            },
        )

    @admin.display(description="limited to")
    def limits(self, obj: Token) -> str:
        """The operations and groups that it is limited to."""
        limits = authentication.limits_of(obj)
        said = []
        if "operations" in limits:
            names = (name.replace("_", " ") for name in limits["operations"])
            said.append(", ".join(names) or "reading")
        if "groups" in limits:
            said.append("tasks of " + (", ".join(limits["groups"]) or "groups that are gone"))
        return "; ".join(said) or "-"

    def delete_model(self, request: HttpRequest, obj: Token) -> None:
        """Revoke one token."""
        authentication.revoke(
            obj, actor=actor_of(request).username, channel=CHANNEL, request=request
        )

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        """Revoke each selected token."""
        for token in queryset.select_related("user"):
            self.delete_model(request, token)


@admin.register(AccountEvent)
class AccountEventAdmin(Exact, ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """What happened, newest first; nothing here can be changed."""

    list_display = ("at", "event", "subject", "actor", "channel", "address")
    list_filter = ("event", "channel")
    search_fields = ("subject", "actor")
    ordering = ("-id",)
    show_full_result_count = False
