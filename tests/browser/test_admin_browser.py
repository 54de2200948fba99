"""The admin in a real browser: select, tell, look, confirm; no page keeps anybody out."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tasks import actions, people
from tasks.models import Task
from tests.conftest import Cast
from tests.factories import call_by, make_tasks

pytestmark = pytest.mark.browser


def log_in(page: Page, name: str) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(f"{name}-demo")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Work", level=1)).to_be_visible()


def pick(page: Page, field: str, name: str) -> None:
    """Choose by typing, as a person would."""
    # The span that a script puts in the place of the plain list, which is one too until then.
    box = page.get_by_role("combobox", name=field, exact=False).and_(page.locator("span"))
    box.first.click()
    page.locator(".select2-search__field").fill(name)
    page.get_by_role("option", name=name, exact=True).click()


def faults(page: Page) -> list[tuple[Any, ...]]:
    """What axe-core finds that keeps people out."""
    found = Axe().run(page).response["violations"]
    return [
        (page.url, each["id"], each["impact"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.fixture
def work(address: str, committed_cast: Cast) -> list[Task]:
    """Sixty tasks that bob holds, of which one is nothing for alice."""
    tasks = make_tasks(60, committed_cast.dave, [committed_cast.noc], input={"device": "core-1"})
    ids = [task.pk for task in tasks]
    actions.claim(ids, call=call_by(committed_cast.bob))
    dave = call_by(committed_cast.dave)
    actions.grant(ids[:1], call=dave, role="excluded_owner", to=people.user("alice"))
    return tasks


def test_hand_over_all_that_somebody_holds(page: Page, work: list[Task]) -> None:
    log_in(page, "alice")
    page.get_by_role("link", name="Tasks", exact=True).first.click()
    page.get_by_role("link", name="All open").click()
    pick(page, "Owner", "bob")
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("Select all objects on this page").check()
    page.get_by_role("button", name="Select all 60 tasks").click()
    expect(page.get_by_text("All 60 selected")).to_be_visible()
    page.locator("select[name=action]").select_option("Hand over")
    page.get_by_role("button", name="Go on").click()

    expect(page.get_by_role("heading", name="60 tasks chosen")).to_be_visible()
    pick(page, "To", "alice")
    page.get_by_label("Reason").fill("bob leaves")
    page.get_by_role("button", name="Show what would change").click()

    expect(page.get_by_role("heading", name="59 will be handed over")).to_be_visible()
    expect(page.get_by_role("heading", name="1 will not")).to_be_visible()
    assert Task.objects.filter(owner__username="bob").count() == 60
    page.get_by_role("button", name="Hand over 59 tasks").click()

    expect(page.get_by_role("heading", name="59 of 60 handed over")).to_be_visible()
    assert Task.objects.filter(owner__username="alice").count() == 59
    page.reload()
    page.go_back()
    page.get_by_role("button", name="Hand over 59 tasks").or_(
        page.get_by_role("heading", name="59 of 60 handed over")
    ).first.wait_for()
    assert set(Task.objects.filter(owner__username="alice").values_list("version", flat=True)) == {
        3
    }


def test_release_one_from_its_page(page: Page, work: list[Task]) -> None:
    log_in(page, "bob")
    page.goto(f"/admin/tasks/task/{work[5].pk}/change/")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_text("The task is released.")).to_be_visible()
    expect(page.get_by_role("button", name="Release")).to_be_disabled()
    page.get_by_role("button", name="Claim").click()
    expect(page.get_by_text("The task is yours.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_pages_keep_nobody_out(page: Page, work: list[Task], width: int, scheme: Any) -> None:
    page.set_viewport_size({"width": width, "height": 850})
    page.emulate_media(color_scheme=scheme)
    page.goto("/admin/")
    found = faults(page)
    log_in(page, "alice")
    found += faults(page)
    page.goto("/admin/tasks/task/")
    found += faults(page)
    page.goto(f"/admin/tasks/task/{work[3].pk}/change/")
    found += faults(page)
    page.get_by_role("button", name="Release").click()
    found += faults(page)
    page.get_by_label("Reason").fill("bob is ill")
    page.get_by_role("button", name="Show what would change").click()
    found += faults(page)
    page.get_by_role("button", name="Release 1 task").click()
    found += faults(page)
    page.goto(f"/admin/tasks/task/{work[3].pk}/change/")
    page.goto(f"/admin/tasks/task/{work[4].pk}/change/")
    page.get_by_role("button", name="Hand over").click()
    page.get_by_text("Another task role, or groups").click()
    found += faults(page)
    assert not found, "\n".join(map(str, found))
    # Nothing is wider than the screen.
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert page.evaluate(wide) is False
