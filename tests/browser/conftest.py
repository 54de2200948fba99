"""A real browser and a real server for it, on the tests' database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.db import connections
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import Cast


@pytest.fixture(scope="module")
def browser(django_db_setup: None) -> Iterator[Browser]:
    """Chromium; where there is none the tests are skipped, but never in continuous integration.

    Playwright runs an event loop in the test's thread, which Django takes for asynchronous code.
    """
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = next((path for path in found if path), None)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Chromium is missing.")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
        # The connection of this loop, which nobody else could close.
        connections.close_all()


@pytest.fixture
def address(committed_cast: Cast) -> Iterator[str]:
    """Where the server listens; the cast is committed for it."""
    thread = LiveServerThread("127.0.0.1", StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error:
        raise thread.error
    yield f"http://127.0.0.1:{thread.port}"
    thread.terminate()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page of a fresh profile; whatever its console complains of fails the test."""
    context = browser.new_context(base_url=address, viewport={"width": 1360, "height": 850})
    found = context.new_page()
    complaints: list[str] = []

    def listen(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    found.on("console", listen)
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on(
        "request",
        lambda request: None if request.url.startswith(address) else complaints.append(request.url),
    )
    yield found
    context.close()
    assert complaints == []
