"""The system's Chromium and a hand for the stage: for pictures of the documentation, for measuring and for tests."""

import base64
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zim.errors import MissingDependencyError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = 60_000
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


class StageDriver:
    """Drives one app's stage by mouse and keyboard, and waits for its answers."""

    def __init__(self, page: Any, name: str) -> None:
        self.page = page
        self.name = name
        self.root = page.locator(f"#{name}-stage .stage")
        self.canvas = self.root.locator("canvas")
        self.canvas.wait_for()

    @property
    def revision(self) -> str:
        """Number of the answer that is shown."""
        return self.root.get_attribute("data-revision") or "0"

    @property
    def message(self) -> str:
        """The line below the picture."""
        return str(self.root.locator(".stage-message").inner_text())

    def settled(self, before: str) -> None:
        """Wait until an answer after revision `before` is shown."""
        self.page.wait_for_function(
            "([name, before]) => { const d = document.querySelector(`#${name}-stage .stage`).dataset;"
            " return d.revision && d.revision !== before && d.busy === 'false'; }",
            arg=[self.name, before],
            timeout=WAIT_MS,
        )

    def after(self, act: Callable[[], Any]) -> None:
        """Do something and wait for what comes of it."""
        before = self.revision
        act()
        self.settled(before)

    def example(self, name: str) -> None:
        """Choose an example."""
        self.after(lambda: self.page.click(f"#{self.name}-example-{name}"))

    def upload(self, path: Path | str) -> None:
        """Upload a photo through the file chooser."""

        def act() -> None:
            with self.page.expect_file_chooser() as chooser:
                self.page.click(f"#{self.name}-upload")
            chooser.value.set_files(str(path))

        self.after(act)

    def tool(self, name: str) -> None:
        """Choose a tool of the toolbar."""
        self.root.locator(f"[data-tool={name}]").click()

    def view(self, name: str) -> None:
        """Choose a view; those of cut-outs wait for their colours."""
        choose = lambda: self.root.locator(".stage-view").select_option(name)  # noqa: E731
        self.after(choose) if name in ("cutout", "compare") else choose()

    def shown(self) -> tuple[float, float, float]:
        """left, top, CSS pixels for a pixel of the photo, of an unzoomed photo in the window."""
        self.canvas.scroll_into_view_if_needed()
        box = self.canvas.bounding_box()
        width, height = self.photo_size()
        scale = min(box["width"] / width, box["height"] / height)
        return box["x"] + (box["width"] - width * scale) / 2, box["y"] + (box["height"] - height * scale) / 2, scale

    def photo_size(self) -> tuple[int, int]:
        """Width and height that the message after opening states: "NAME, W x H."."""
        size = self.root.evaluate("root => [root.dataset.width, root.dataset.height]")
        return int(size[0]), int(size[1])

    def click(self, x: float, y: float) -> None:
        """A real mouse click on a pixel of the photo, and the answer."""
        left, top, scale = self.shown()
        self.after(lambda: self.page.mouse.click(left + (x + 0.5) * scale, top + (y + 0.5) * scale))

    def drag(self, *places: tuple[float, float]) -> None:
        """Press at the first pixel of the photo, move over the others, release at the last, and wait."""
        left, top, scale = self.shown()
        at = [(left + x * scale, top + y * scale) for x, y in places]

        def act() -> None:
            self.page.mouse.move(*at[0])
            self.page.mouse.down()
            for place in at[1:]:
                self.page.mouse.move(*place, steps=4)
            self.page.mouse.up()

        self.after(act)

    def pixels(self) -> np.ndarray:
        """What the canvas shows, (H, W, 4) uint8."""
        url = self.canvas.evaluate("canvas => canvas.toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
