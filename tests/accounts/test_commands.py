"""The commands that make the first account and manage tokens."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.authentication import exchange, find
from accounts.models import AccountEvent, Token, User

pytestmark = pytest.mark.django_db


def run(*args: Any) -> str:
    out = StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


def test_create_admin_with_a_made_password() -> None:
    output = run("create_admin", "--username", "boss", "--random")
    password = output.split()[-1]
    user = User.objects.get(username="boss")
    assert user.check_password(password)
    assert user.has_perm("accounts.change_user")
    assert not user.is_superuser
    event = AccountEvent.objects.get(event="user_created")
    assert (event.subject, event.channel) == ("user boss", "command")
    assert password not in str(event.after)


def test_create_admin_with_a_file_and_with_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse battery\nnot this\n")
    run("create_admin", "--username", "one", "--password-file", str(file))
    assert User.objects.get(username="one").check_password("correct horse battery")
    monkeypatch.setattr("builtins.input", lambda prompt: "two")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "correct horse battery")
    run("create_admin")
    assert User.objects.filter(username="two").exists()


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("boss", "short", "too short"),
        ("boss", "password1234", "too common"),
        ("not a name!", "correct horse battery", "valid"),
        ("taken", "correct horse battery", "already exists"),
    ],
)
def test_create_admin_refuses(tmp_path: Path, name: str, password: str, reason: str) -> None:
    User.objects.create(username="taken")
    file = tmp_path / "password"
    file.write_text(password)
    with pytest.raises(CommandError, match=reason):
        run("create_admin", "--username", name, "--password-file", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        run("create_admin", "--username", "x", "--password-file", str(tmp_path / "none"))


def test_tokens() -> None:
    user = User.objects.create(username="svc")
    secret = run("token", "create", "svc", "--name", "sync", "--days", "30").strip()
    assert find(secret, (Token.Kind.API,)) == user
    run("token", "create", "svc")
    listing = run("token", "list", "svc").splitlines()
    assert len(listing) == 2
    assert secret[:8] in listing[1]
    assert secret not in listing[1]
    run("token", "revoke", "svc", "--id", listing[1].split()[0])
    assert find(secret, (Token.Kind.API,)) is None
    run("token", "revoke", "svc", "--all")
    assert not Token.objects.exists()
    assert AccountEvent.objects.filter(event="token_revoked", channel="command").count() == 2
    secret = run("token", "create", "svc", "--client").strip()
    assert find(secret, (Token.Kind.API,)) is None
    assert exchange(user.object_id, secret) is not None


@pytest.mark.parametrize(
    "args",
    [
        ("create", "nobody"),
        ("create", "gone"),
        ("create", "svc", "--days", "0"),
        ("create", "svc", "--name", "x" * 101),
        ("revoke", "svc", "--id", "4711"),
    ],
)
def test_token_refuses(args: tuple[str, ...]) -> None:
    User.objects.create(username="svc")
    User.objects.create(username="gone", is_active=False)
    with pytest.raises(CommandError):
        run("token", *args)
