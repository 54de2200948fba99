"""The account pages: who sees what, who may give what, what is recorded, secrets shown once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.authentication import find, issue
from accounts.models import AccountEvent, Group, GroupNesting, Membership, Role, Token, User

pytestmark = pytest.mark.django_db

BACKEND = "accounts.backends.RoleBackend"


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user, BACKEND)
    return client


@pytest.fixture
def helpdesk(cast: Any) -> User:
    """May manage accounts, groups, roles and tokens, not give any role, and holds little else."""
    role = Role.objects.create(name="helpdesk")
    permissions = Role.objects.get(name="admin").permissions
    of_accounts = permissions.filter(content_type__app_label="accounts")
    role.permissions.set(of_accounts.exclude(codename="grant_any_role"))
    role.permissions.add(permissions.get(codename="view_task"))
    user = User.objects.create_user("helpdesk", "helpdesk-demo")
    user.roles.add(role)
    return user


def page_of(subject: Any, act: str = "change") -> str:
    return f"/admin/accounts/{subject._meta.model_name}/{subject.pk}/{act}/"


def user_form(user: User, **changes: Any) -> dict[str, Any]:
    """What the page of an account posts."""
    memberships = list(user.memberships.all())
    form: dict[str, Any] = {
        "username": user.username,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": user.email,
        "time_zone": user.time_zone,
        "language": user.language,
        "provenance": user.provenance,
        "legacy_id": user.legacy_id or "",
        "roles": [role.pk for role in user.roles.all()],
        **({"is_active": "on"} if user.is_active else {}),
        **({"is_superuser": "on"} if user.is_superuser else {}),
        "memberships-TOTAL_FORMS": len(memberships),
        "memberships-INITIAL_FORMS": len(memberships),
    }
    for n, membership in enumerate(memberships):
        form |= {
            f"memberships-{n}-id": membership.pk,
            f"memberships-{n}-user": user.pk,
            f"memberships-{n}-group": membership.group_id,
            **({f"memberships-{n}-lead": "on"} if membership.lead else {}),
        }
    form |= changes
    return {key: value for key, value in form.items() if value is not None}


def group_form(group: Group, **changes: Any) -> dict[str, Any]:
    form: dict[str, Any] = {
        "name": group.name,
        "description": group.description,
        "provenance": group.provenance,
        "legacy_id": "",
        "roles": [role.pk for role in group.roles.all()],
        **({"is_active": "on"} if group.is_active else {}),
    }
    for prefix in ("memberships", "nestings_above", "nestings_below"):
        form |= {f"{prefix}-TOTAL_FORMS": 0, f"{prefix}-INITIAL_FORMS": 0}
    return form | changes


def last_event() -> AccountEvent:
    event = AccountEvent.objects.first()
    assert event is not None
    return event


def role(name: str) -> Role:
    return Role.objects.get(name=name)


# --- Who sees what ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["user", "group", "role", "token", "accountevent"])
def test_all_pages_open_for_an_admin(cast: Any, model: str) -> None:
    issue(cast.bob, Token.Kind.API, actor="")
    client = client_of(cast.dave)
    listing = client.get(f"/admin/accounts/{model}/")
    assert listing.status_code == 200
    subject = {
        "user": User,
        "group": Group,
        "role": Role,
        "token": Token,
        "accountevent": AccountEvent,
    }[model].objects.first()
    page = client.get(page_of(subject))
    assert page.status_code == 200
    assert b"<script>" not in page.content
    assert b"style=" not in page.content
    if model != "accountevent":
        assert client.get(f"/admin/accounts/{model}/add/").status_code == 200
    assert client.get(f"/admin/accounts/{model}/?q=a%00b").status_code == 400


def test_django_own_group_page_is_gone(cast: Any) -> None:
    assert client_of(cast.root).get("/admin/auth/group/").status_code == 404


def test_those_who_look_up_see_names_only(cast: Any) -> None:
    cast.bob.email = "bob@secret.example"
    cast.bob.save()
    client = client_of(cast.erin)
    for address in (page_of(cast.bob), "/admin/accounts/user/"):
        page = client.get(address)
        assert page.status_code == 200
        assert "bob" in page.text
        for hidden in ("secret.example", "role operations", ">noc<", "Last login", "uperuser"):
            assert hidden not in page.text
    for question in ("email__startswith=bob", "password__startswith=md5", "roles__name=admin"):
        assert client.get(f"/admin/accounts/user/?{question}").status_code in (302, 400)
    assert (
        "bob" not in client.get("/admin/accounts/user/?q=secret.example").text.split("search")[-1]
    )
    noc = client.get(page_of(cast.noc))
    assert noc.status_code == 200
    assert "alice" not in noc.text
    for model in ("role", "token", "accountevent"):
        assert client.get(f"/admin/accounts/{model}/").status_code == 403
    assert client.post(page_of(cast.bob), user_form(cast.bob)).status_code == 403


def test_a_page_says_what_an_account_may_do_and_why(cast: Any) -> None:
    outer = Group.objects.create(name="region")
    outer.roles.add(role("viewer"))
    GroupNesting.objects.create(child=cast.noc, parent=outer)
    page = client_of(cast.dave).get(page_of(cast.alice)).text
    assert "role operations<" in page
    assert "role viewer via group noc nested in region" in page
    assert "tasks.release_task" in page
    assert "10000" in page
    own = client_of(cast.alice).get(page_of(cast.alice)).text
    assert cast.alice.password.rpartition("$")[2] not in own
    assert "Reset password" not in own
    assert "role viewer via group noc nested in region" in own
    assert "superuser" in client_of(cast.root).get(page_of(cast.root)).text
    User.objects.filter(pk=cast.alice.pk).update(is_active=False)
    assert "the account is not active" in client_of(cast.dave).get(page_of(cast.alice)).text


def test_pickers_offer_active_ones_to_all_who_read(cast: Any) -> None:
    User.objects.filter(pk=cast.bob.pk).update(is_active=False)
    ask = {"app_label": "accounts", "model_name": "membership", "field_name": "user"}
    client = client_of(cast.erin)
    assert [
        row["text"] for row in client.get("/admin/autocomplete/", ask).json()["results"][:2]
    ] == ["alice", "carol"]
    found = client.get("/admin/autocomplete/", {**ask, "term": "bob"}).json()
    assert found["results"] == []
    groups = client.get("/admin/autocomplete/", {**ask, "field_name": "group", "term": "noc"})
    assert [row["text"] for row in groups.json()["results"]] == ["noc"]
    assert client.get("/admin/autocomplete/", {**ask, "term": "a\0"}).status_code == 400


# --- Changes and their record -------------------------------------------------------------------


def test_a_change_is_one_event_with_the_difference(cast: Any) -> None:
    client = client_of(cast.dave)
    answer = client.post(
        page_of(cast.bob),
        user_form(
            cast.bob,
            first_name="Bob",
            roles=[role("operations").pk, role("viewer").pk],
            **{"memberships-0-lead": "on"},
        ),
    )
    assert answer.status_code == 302, answer.context["errors"]
    event = last_event()
    assert (event.event, event.subject) == ("user_changed", "user bob")
    assert (event.actor, event.channel, event.address) == ("dave", "admin", "127.0.0.1")
    assert event.before == {"first_name": "", "roles": [], "groups": {"noc": "member"}}
    assert event.after == {"first_name": "Bob", "roles": ["viewer"], "groups": {"noc": "lead"}}


def test_saving_without_a_change_records_nothing(cast: Any) -> None:
    client = client_of(cast.dave)
    before = AccountEvent.objects.count()
    assert client.post(page_of(cast.bob), user_form(cast.bob)).status_code == 302
    assert client.post(page_of(cast.change_board), group_form(cast.change_board)).status_code == 302
    assert AccountEvent.objects.count() == before


def test_making_an_account(cast: Any) -> None:
    answer = client_of(cast.dave).post(
        "/admin/accounts/user/add/",
        {
            "username": "gina",
            "usable_password": "true",
            "password1": "a-long-enough-one",
            "password2": "a-long-enough-one",
        },
    )
    assert answer.status_code == 302
    event = last_event()
    assert (event.event, event.subject, event.before) == ("user_created", "user gina", None)
    assert "a-long-enough-one" not in json.dumps(event.after)
    assert event.after is not None
    assert event.after["password"] == "(hidden)"
    assert User.objects.get(username="gina").check_password("a-long-enough-one")


def test_a_new_password_is_recorded_without_it(cast: Any) -> None:
    answer = client_of(cast.dave).post(
        page_of(cast.bob, "password"),
        {
            "usable_password": "true",
            "password1": "a-long-enough-one",
            "password2": "a-long-enough-one",
            "set-password": "",
        },
    )
    assert answer.status_code == 302
    event = last_event()
    assert (event.event, event.subject) == ("user_changed", "user bob")
    assert (event.before, event.after) == ({"password": "(hidden)"}, {"password": "(hidden)"})
    cast.bob.refresh_from_db()
    assert cast.bob.check_password("a-long-enough-one")


def test_deactivating_ends_sessions_and_tokens(cast: Any) -> None:
    bob = client_of(cast.bob)
    _, secret = issue(cast.bob, Token.Kind.API, actor="")
    assert bob.get("/admin/accounts/user/").status_code == 200
    client_of(cast.dave).post(page_of(cast.bob), user_form(cast.bob, is_active=None))
    assert bob.get("/admin/accounts/user/").status_code == 302
    assert find(secret, (Token.Kind.API,)) is None
    assert last_event().after == {"is_active": False}


def test_a_group_with_members_nesting_and_roles(cast: Any) -> None:
    answer = client_of(cast.dave).post(
        page_of(cast.change_board),
        group_form(
            cast.change_board,
            roles=[role("viewer").pk],
            **{
                "memberships-TOTAL_FORMS": 1,
                "memberships-0-user": cast.frank.pk,
                "memberships-0-lead": "on",
                "nestings_above-TOTAL_FORMS": 1,
                "nestings_above-0-parent": cast.noc.pk,
            },
        ),
    )
    assert answer.status_code == 302, answer.context["errors"]
    event = last_event()
    assert (event.event, event.subject) == ("group_changed", "group change-board")
    assert event.after == {
        "roles": ["viewer"],
        "members": {"frank": "lead"},
        "parents": ["noc"],
    }


def test_groups_in_circles_are_refused_in_words(cast: Any) -> None:
    GroupNesting.objects.create(child=cast.noc, parent=cast.field)
    answer = client_of(cast.dave).post(
        page_of(cast.field),
        group_form(
            cast.field,
            **{
                "memberships-TOTAL_FORMS": 0,
                "nestings_above-TOTAL_FORMS": 1,
                "nestings_above-0-parent": cast.noc.pk,
            },
        ),
    )
    assert answer.status_code == 200
    assert "cannot lie within" in answer.text


def test_what_only_the_database_sees_is_a_message(cast: Any) -> None:
    """Two nestings in one form make the circle together."""
    third = Group.objects.create(name="third")
    GroupNesting.objects.create(child=cast.noc, parent=third)
    answer = client_of(cast.dave).post(
        page_of(cast.field),
        group_form(
            cast.field,
            **{
                "nestings_above-TOTAL_FORMS": 1,
                "nestings_above-0-parent": cast.noc.pk,
                "nestings_below-TOTAL_FORMS": 1,
                "nestings_below-0-child": third.pk,
            },
        ),
        follow=True,
    )
    assert "would lie within itself" in answer.text
    assert not GroupNesting.objects.filter(child=cast.field).exists()


def test_the_builtin_group_takes_roles_only(cast: Any) -> None:
    everybody = Group.objects.get(is_builtin=True)
    client = client_of(cast.dave)
    page = client.get(page_of(everybody))
    assert "every active account" in page.text
    answer = client.post(
        page_of(everybody),
        {"name": "nobody", "description": everybody.description, "roles": [role("viewer").pk]},
    )
    assert answer.status_code == 302
    everybody.refresh_from_db()
    assert everybody.name == "everybody"
    assert last_event().after == {"roles": ["viewer"]}


def test_a_big_group_is_edited_from_the_accounts(
    cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.admin.MEMBERS_ON_PAGE", 1)
    page = client_of(cast.dave).get(page_of(cast.noc))
    assert "2 (change them on the pages of the accounts)" in page.text
    assert "memberships-TOTAL_FORMS" not in page.text


def test_accounts_and_groups_are_not_deleted_here(cast: Any) -> None:
    client = client_of(cast.root)
    for subject in (cast.bob, cast.noc):
        assert client.post(page_of(subject, "delete"), {"post": "yes"}).status_code == 403


def test_roles_are_recorded_too(cast: Any) -> None:
    client = client_of(cast.dave)
    claim = role("admin").permissions.get(codename="claim_task")
    form = {"name": "clerk", "provenance": "Custom", "bulk_limit": "5", "permissions": [claim.pk]}
    assert client.post("/admin/accounts/role/add/", form).status_code == 302
    event = last_event()
    assert (event.event, event.subject) == ("role_created", "role clerk")
    assert event.after is not None
    assert event.after["permissions"] == ["tasks.claim_task"]
    clerk = role("clerk")
    client.post(page_of(clerk), {**form, "permissions": []})
    assert last_event().before == {"permissions": ["tasks.claim_task"]}
    assert client.post(page_of(clerk, "delete"), {"post": "yes"}).status_code == 302
    assert last_event().event == "role_deleted"
    assert client.post(page_of(role("viewer"), "delete"), {"post": "yes"}).status_code == 403


# --- Nobody gives more than they hold -----------------------------------------------------------


def test_only_a_superuser_makes_superusers(cast: Any) -> None:
    client_of(cast.dave).post(page_of(cast.bob), user_form(cast.bob, is_superuser="on"))
    cast.bob.refresh_from_db()
    assert not cast.bob.is_superuser
    client_of(cast.root).post(page_of(cast.bob), user_form(cast.bob, is_superuser="on"))
    cast.bob.refresh_from_db()
    assert cast.bob.is_superuser


def test_a_superuser_is_changed_by_superusers_only(cast: Any) -> None:
    client = client_of(cast.dave)
    before = cast.root.password
    passwords = {"password1": "a-long-enough-one", "password2": "a-long-enough-one"}
    for act, form in (
        ("change", user_form(cast.root, is_active=None)),
        ("password", {**passwords, "usable_password": "true"}),
    ):
        assert client.post(page_of(cast.root, act), form).status_code == 403
    assert client.get(page_of(cast.root, "password")).status_code == 403
    cast.root.refresh_from_db()
    assert cast.root.is_active
    assert cast.root.password == before


def test_whoever_exceeds_one_is_out_of_reach(cast: Any, helpdesk: User) -> None:
    client = client_of(helpdesk)
    form = {"password1": "a-long-enough-one", "password2": "a-long-enough-one"}
    assert client.post(page_of(cast.bob, "password"), form).status_code == 403
    User.objects.filter(pk=cast.bob.pk).update(is_active=False)
    assert client.post(page_of(cast.bob), user_form(cast.bob)).status_code == 403
    answer = client.post(
        "/admin/accounts/token/add/", {"user": cast.dave.pk, "name": "x", "lifetime": "30"}
    )
    assert "brings what you do not hold yourself" in answer.text
    assert not Token.objects.exists()


def test_roles_that_exceed_one_cannot_be_given(cast: Any, helpdesk: User) -> None:
    client = client_of(helpdesk)
    plain = User.objects.create_user("plain", "plain-demo-password")
    answer = client.post(page_of(plain), user_form(plain, roles=[role("operations").pk]))
    assert "brings what you do not hold yourself" in answer.text
    cast.noc.roles.add(role("operations"))
    inner = Group.objects.create(name="inner")
    for form in (
        user_form(plain, **{"memberships-TOTAL_FORMS": 1, "memberships-0-group": cast.noc.pk}),
    ):
        assert "brings what you do not hold" in client.post(page_of(plain), form).text
    nested = group_form(
        inner, **{"nestings_above-TOTAL_FORMS": 1, "nestings_above-0-parent": cast.noc.pk}
    )
    assert "brings what you do not hold" in client.post(page_of(inner), nested).text
    granted = group_form(inner, roles=[role("viewer").pk])
    assert "brings what you do not hold" in client.post(page_of(inner), granted).text
    assert client.post(page_of(cast.noc), group_form(cast.noc)).status_code == 403
    assert client.post(page_of(role("viewer")), {"bulk_limit": "9"}).status_code == 403
    claim = role("admin").permissions.get(codename="claim_task")
    fields = {"name": "sly", "provenance": "Custom", "permissions": [claim.pk]}
    assert "brings what you do not hold" in client.post("/admin/accounts/role/add/", fields).text
    assert not Role.objects.filter(name="sly").exists()
    assert not Membership.objects.filter(user=plain).exists()


def test_what_does_not_exceed_one_can_be_given(cast: Any, helpdesk: User) -> None:
    client = client_of(helpdesk)
    plain = User.objects.create_user("plain", "plain-demo-password")
    form = user_form(
        plain,
        roles=[role("helpdesk").pk],
        **{"memberships-TOTAL_FORMS": 1, "memberships-0-group": cast.noc.pk},
    )
    assert client.post(page_of(plain), form).status_code == 302
    assert Membership.objects.filter(user=plain, group=cast.noc).exists()


# --- Tokens -------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_revoked(cast: Any) -> None:
    client = client_of(cast.dave)
    answer = client.post(
        "/admin/accounts/token/add/", {"user": cast.bob.pk, "name": "sync", "lifetime": ""}
    )
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    secret = answer.text.partition("<pre>")[2].partition("</pre>")[0]
    assert find(secret, (Token.Kind.API,)) == cast.bob
    assert last_event().event == "token_issued"
    token = Token.objects.get()
    assert secret not in client.get(page_of(token)).text
    assert client.post(page_of(token), {"name": "other"}).status_code == 403
    assert client.post(page_of(token, "delete"), {"post": "yes"}).status_code == 302
    assert find(secret, (Token.Kind.API,)) is None
    assert (last_event().event, last_event().actor) == ("token_revoked", "dave")


def test_tokens_are_revoked_in_bulk_too(cast: Any) -> None:
    tokens = [issue(cast.bob, Token.Kind.API, actor="")[0].pk for _ in range(3)]
    client_of(cast.dave).post(
        "/admin/accounts/token/",
        {"action": "delete_selected", "_selected_action": tokens, "post": "yes"},
    )
    assert not Token.objects.exists()
    assert AccountEvent.objects.filter(event="token_revoked").count() == 3


def test_events_are_read_only(cast: Any) -> None:
    client = client_of(cast.root)
    event = last_event()
    assert client.get("/admin/accounts/accountevent/add/").status_code == 403
    assert client.post(page_of(event), {"actor": "x"}).status_code == 403
    assert client.post(page_of(event, "delete"), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("key", ["x", "٣", "-1", "1e3", "9" * 30])
def test_a_picked_key_that_cannot_be_one_is_an_error_of_the_form(cast: Any, key: str) -> None:
    answer = client_of(cast.dave).post("/admin/accounts/token/add/", {"user": key, "name": "n"})
    assert answer.status_code == 200
    assert "user" in answer.context["adminform"].form.errors
    assert not Token.objects.exists()
