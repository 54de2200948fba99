"""Take a picture of a page of the running demo: `-m tests.browser.screenshot USER PATH FILE`."""

from __future__ import annotations

import argparse

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    """Log in, open the page, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("user", help="one of the demo's cast, or - for nobody")
    parser.add_argument("path", help="for example /admin/tasks/task/")
    parser.add_argument("file")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--width", type=int, default=1360)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="as far down as the page goes")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            color_scheme="dark" if options.dark else "light",
        )
        if options.user != "-":
            page.goto(f"{options.url}/admin/login/")
            page.fill("input[name=username]", options.user)
            page.fill("input[name=password]", f"{options.user}-demo")
            page.click("[type=submit]")
            page.wait_for_load_state()
        page.goto(f"{options.url}{options.path}")
        page.screenshot(path=options.file, full_page=options.whole)
        browser.close()


if __name__ == "__main__":
    main()
