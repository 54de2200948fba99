"""An account is deactivated on its page in the admin: what becomes of the work it holds."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tasks.leavers import held
from tasks.lifecycle import State
from tasks.models import AuditEvent, Channel
from tests.conftest import Cast
from tests.factories import make_in

from .admin_pages import forms_of


def submit(cast: Cast, **answers: str) -> str:
    """The page after dave has unticked that bob is active, and filled in more."""
    client = Client()
    client.force_login(cast.dave, "accounts.backends.RoleBackend")
    page = f"/admin/accounts/user/{cast.bob.pk}/change/"
    (form,) = [form for form in forms_of(client.get(page)) if "username" in form["fields"]]
    fields = {name: values for name, values in form["fields"].items() if name != "is_active"}
    return client.post(page, {**fields, **answers}, follow=True).content.decode()


@pytest.fixture
def cast_with_work(cast: Cast) -> Cast:
    make_in(State.RESERVED, cast.carol, cast.noc, owner=cast.bob)
    return cast


def is_active(user: User) -> bool:
    """Whether an account is active now."""
    return User.objects.get(pk=user.pk).is_active


def test_nobody_leaves_open_work_without_a_word_on_it(cast_with_work: Cast) -> None:
    cast = cast_with_work
    assert "The account holds 1 open tasks." in submit(cast)
    assert "Name somebody, or choose otherwise." in submit(cast, open_work="transfer")
    own = {"open_work": "transfer", "open_work_to": str(cast.bob.pk)}
    assert "This is the account that leaves." in submit(cast, **own)
    assert is_active(cast.bob)
    assert held(cast.bob) == 1


def test_the_work_is_released(cast_with_work: Cast) -> None:
    cast = cast_with_work
    assert "Bob is inactive now. 1 task released." in submit(cast, open_work="release")
    assert not is_active(cast.bob)
    assert held(cast.bob) == 0
    event = AuditEvent.objects.latest("pk")
    assert (event.event, event.actor, event.on_behalf_of) == ("released", "system", "dave")
    assert event.channel == Channel.ADMIN
    assert event.request_id


def test_the_work_is_handed_over(cast_with_work: Cast) -> None:
    cast = cast_with_work
    answers = {"open_work": "transfer", "open_work_to": str(cast.frank.pk)}
    assert "handed over to frank" in submit(cast, **answers)
    assert (held(cast.bob), held(cast.frank)) == (0, 1)


def test_who_holds_nothing_just_leaves(cast: Cast) -> None:
    assert "Bob is inactive now. Nothing was changed." in submit(cast)
    assert not is_active(cast.bob)
