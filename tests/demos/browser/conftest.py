"""Real apps on a real server in a real browser: Chromium of the system, driven by Playwright."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demos.common.browsing import DESKTOP, chromium, chromium_path
from demos.common.models import ModelPool
from demos.common.serving import Build, Services, blocks, launch

WAIT_MS = 60_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            item.add_marker(pytest.mark.filterwarnings("default"))  # of servers that are not ours


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests; each test has its own profile (`new_page`)."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    if chromium_path() is None:
        pytest.skip("no Chromium on this machine: make test-browser installs it, or set ZIM_CHROMIUM")
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def services() -> Services:
    """The shipped pair, loaded once."""
    pool = ModelPool()
    pool.warm("zim_tiny", "sam_tiny")
    return Services(pool=pool)


@pytest.fixture(scope="module")
def serve(services: Services) -> Iterator[Callable[..., str]]:
    """`serve(title, build, services=None)` -> address; servers of a module are stopped after it."""
    started: list[Any] = []

    def start(title: str, build: Build, with_services: Services | None = None) -> str:
        app = blocks(title, build, with_services or services)
        started.append(app)
        return launch(app, wait=False)

    yield start
    for app in started:
        app.close(verbose=False)


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """`new_page(address, viewport=DESKTOP)`: a person with a browser of their own; script errors fail the test."""
    contexts: list[Any] = []
    problems: list[str] = []

    def open_page(address: str, viewport: dict[str, int] | None = None) -> Any:
        context = browser.new_context(viewport=viewport or DESKTOP, accept_downloads=True)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.extend(_foreign(request.url)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        with closing(context):
            pass
    assert not problems, problems


def _foreign(url: str) -> list[str]:
    local = url.startswith(("http://127.0.0.1:", "http://localhost:", "ws://127.0.0.1:", "data:", "blob:"))
    return [] if local else [f"the page asked for {url}"]


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
        return self.root.get_attribute("data-revision") or "0"

    @property
    def message(self) -> str:
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


@pytest.fixture
def stage_of() -> Callable[[Any, str], StageDriver]:
    """`stage_of(page, app_name)` -> StageDriver."""
    return StageDriver


@pytest.fixture
def downloaded(tmp_path: Path) -> Callable[..., Path]:
    """`downloaded(page, selector)` clicks and returns the file under the name that was suggested."""

    def fetch(page: Any, selector: str) -> Path:
        with page.expect_download(timeout=WAIT_MS) as waiting:
            page.click(selector)
        target = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(target)
        return target

    return fetch
