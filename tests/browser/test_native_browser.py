"""The native API in a real browser: its pages keep nobody out, and their forms work."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tasks.models import Task
from tests.conftest import Cast
from tests.factories import make_tasks

from .test_admin_browser import faults, log_in

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("width", "scheme"), [(1360, "light"), (390, "dark")])
def test_find_a_task_and_do_it(page: Page, committed_cast: Cast, width: int, scheme: Any) -> None:
    task = make_tasks(1, committed_cast.dave, [committed_cast.noc])[0]
    page.set_viewport_size({"width": width, "height": 850})
    page.emulate_media(color_scheme=scheme)
    log_in(page, "bob")

    def look() -> None:
        assert not faults(page)
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert page.evaluate(wide) is False

    page.goto("/api/v1/")
    look()
    page.get_by_role("link", name="what you could claim now").click()
    look()
    page.get_by_role("region", name="In short").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(task.name)
    page.get_by_text("More", exact=True).click()
    look()
    page.locator("summary", has_text="Claim").click()
    page.get_by_role("button", name="Claim", exact=True).click()
    expect(page.get_by_role("heading", name="200 OK")).to_be_visible()
    look()
    page.get_by_role("heading", level=1).get_by_role("link").click()
    page.locator("summary", has_text="Complete").click()
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Complete")
    assert Task.objects.get().state == "completed"
