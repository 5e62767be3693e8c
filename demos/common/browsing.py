"""The system's Chromium, for the pictures of the documentation and for measuring."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zim.errors import MissingDependencyError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def chromium_path() -> str | None:
    """The browser that ZIM_CHROMIUM names, or the system's; None where there is none."""
    named = os.environ.get("ZIM_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser, without a window.

    Raises:
        MissingDependencyError: Playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingDependencyError("a browser is driven by Playwright: pip install playwright") from error
    path = chromium_path()
    if path is None:
        raise MissingDependencyError("no Chromium found: install it with the system's packages, or set ZIM_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def open_app(browser: Any, address: str, viewport: dict[str, int] | None = None) -> Any:
    """A page with a profile of its own."""
    page = browser.new_context(viewport=viewport or DESKTOP, accept_downloads=True).new_page()
    page.goto(address)
    return page
