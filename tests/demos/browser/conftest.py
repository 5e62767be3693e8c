"""Real apps on a real server in a real browser: Chromium of the system, driven by Playwright."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from demos.common.browsing import DESKTOP, WAIT_MS, StageDriver, chromium, chromium_path
from demos.common.models import ModelPool
from demos.common.serving import Build, Services, blocks, launch


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


@pytest.fixture(autouse=True)
def as_many_threads_as_the_server() -> None:
    """numba changes how many threads torch uses in the thread that imports it, and with it the last bits of answers."""
    found: list[int] = []
    worker = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    worker.start()
    worker.join()
    torch.set_num_threads(found[0])


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
