"""What holds for the project as a whole: README, settings, commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from taskmanager.checks import demo_is_never_real
from tasks.api.htm.errors import STATUSES
from tasks.checks import every_face_knows_every_error
from tasks.errors import LastAdministrator
from tasks.matrix import markdown

from .proof import counts

ROOT = Path(__file__).resolve().parent.parent


def test_the_readme_holds_the_rules_that_the_code_holds() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- matrix: begin -->", "<!-- matrix: end -->"
    assert readme.split(begin)[1].split(end)[0].strip() == markdown()


def test_the_readme_prints_what_the_permission_proof_counts() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- proved: begin -->", "<!-- proved: end -->"
    assert readme.split(begin)[1].split(end)[0].strip() == counts.markdown()


def test_demo_mode_beside_a_real_database_is_an_error(settings: Any) -> None:
    settings.DEMO, settings.EMBEDDED = True, False
    assert [error.id for error in demo_is_never_real()] == ["taskmanager.E001"]
    settings.EMBEDDED = True
    assert demo_is_never_real() == []


def test_a_face_that_forgets_a_reason_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert every_face_knows_every_error() == []
    monkeypatch.delitem(STATUSES, LastAdministrator)
    (error,) = every_face_knows_every_error()
    assert (error.id, error.msg.split()[0]) == ("tasks.E001", "tasks.api.htm.errors")


def test_the_demo_refuses_a_real_database(settings: Any) -> None:
    settings.EMBEDDED = False
    with pytest.raises(CommandError, match="DATABASE_URL"):
        call_command("demo")


def test_the_root_leads_to_the_admin(db: None) -> None:
    answer = Client().get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/nowhere", "text/html"),
        ("/logins", "text/html"),
        ("/api", "application/problem+json"),
        ("/rest/bpm/htm", "application/json"),
        ("/operations-manager", "application/json"),
    ],
)
def test_what_is_not_there_is_said_in_the_shape_of_the_face(db: None, path: str, kind: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith(kind)


@pytest.mark.parametrize("path", ["/api/v1/", "/rest/bpm/htm/v1/task", "/operations-manager/tasks"])
def test_a_host_that_is_not_ours_is_refused_in_the_shape_of_the_face(db: None, path: str) -> None:
    answer = Client(headers={"host": "evil.example"}).get(path)
    assert answer.status_code == 400
    assert "json" in answer["Content-Type"]
