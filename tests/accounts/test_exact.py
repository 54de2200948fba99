"""Addresses, selections and forms of the account pages that make no sense are refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import Group, Role

pytestmark = pytest.mark.django_db


@pytest.fixture
def client_of_root(cast: Any) -> Client:
    """A browser in which root is logged in."""
    client = Client()
    client.force_login(cast.root, "accounts.backends.RoleBackend")
    return client


@pytest.mark.parametrize(
    "query", ["p=x", "p=99", "o=x", "o=99", "e=1", "description=x", "id__gt=0"]
)
def test_a_list_that_cannot_be_is_refused(client_of_root: Client, query: str) -> None:
    assert client_of_root.get(f"/admin/accounts/role/?{query}").status_code == 400


@pytest.mark.parametrize("query", ["", "p=1", "o=1", "o=-2.1", "provenance=Local", "q=ops"])
def test_a_list_that_can_be_is_shown(client_of_root: Client, query: str) -> None:
    assert client_of_root.get(f"/admin/accounts/role/?{query}").status_code == 200


def test_a_column_that_is_no_filter_cannot_be_probed(client_of_root: Client) -> None:
    assert client_of_root.get("/admin/accounts/token/?digest=x").status_code == 400


def test_all_of_them_is_asked_for_in_one_way_only(client_of_root: Client) -> None:
    role = Role.objects.create(name="helpdesk")
    sent = {"action": "delete_selected", "post": "yes", "_selected_action": [role.pk]}
    for across in ("2", "true", "-1", ""):
        answer = client_of_root.post("/admin/accounts/role/", {**sent, "select_across": across})
        assert answer.status_code == 400
    assert Role.objects.filter(pk=role.pk).exists()


def test_an_object_that_is_not_there_is_not_found(client_of_root: Client) -> None:
    for act in ("change", "history"):
        assert client_of_root.get(f"/admin/accounts/group/x/{act}/").status_code == 404


@pytest.mark.parametrize("name", ["a\u202eb", "a\x1b[31mb", "\ufeffnoc"])
def test_names_hold_no_characters_that_nobody_sees(client_of_root: Client, name: str) -> None:
    form = {"name": name, "description": "", "provenance": "Local", "is_active": "on"}
    answer = client_of_root.post("/admin/accounts/group/add/", form)
    assert answer.status_code == 200
    assert b"characters that nobody sees" in answer.content
    assert not Group.objects.filter(name=name).exists()


def test_a_form_that_is_not_utf8_is_refused(client_of_root: Client) -> None:
    body = b"name=a%FFb&provenance=Local&is_active=on"
    kind = "application/x-www-form-urlencoded"
    answer = client_of_root.post("/admin/accounts/group/add/", body, content_type=kind)
    assert answer.status_code == 400
    assert b"Human tasks" in answer.content


def test_other_methods_are_answered_by_a_page(client_of_root: Client) -> None:
    answer = client_of_root.put("/admin/accounts/role/")
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, POST")
    assert b"Human tasks" in answer.content
