"""All apps in one page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from demos.common.browsing import PHONE
from demos.common.photos import example_path
from demos.gallery import APPS, TITLE, build, main, modules
from zim.errors import ConfigError


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


def test_every_app_is_a_file_and_a_tab(address: str, new_page: Any) -> None:
    page = new_page(address)
    files = {path.stem for path in (Path(__file__).parents[3] / "demos").glob("*.py")}
    assert files - set(APPS) == {"gallery", "quickstart", "latency", "screenshots"}
    for module in modules(APPS):
        page.get_by_role("tab", name=module.TITLE).first.wait_for(state="attached")


def test_apps_in_tabs_work_and_keep_their_state(address: str, new_page: Any, stage_of: Any) -> None:
    page = new_page(address)
    click = stage_of(page, "click")
    click.example("cat")
    click.click(235, 150)
    shown = click.pixels()
    page.get_by_role("tab", name="Compare two models").click()
    compare = stage_of(page, "compare")
    compare.canvas.wait_for(state="visible")
    compare.example("rocket")
    assert compare.photo_size() == (640, 427)
    page.get_by_role("tab", name="Click to matte").click()
    click.canvas.wait_for(state="visible")
    page.wait_for_timeout(300)
    assert click.photo_size() == (451, 300)
    assert np.array_equal(click.pixels(), shown)


def test_all_endpoints_answer_in_one_server(address: str) -> None:
    client = Client(address, verbose=False)
    named = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    assert set(named) == {f"/{name}" for name in APPS}
    alpha, _ = client.predict(handle_file(example_path("cat")), {"points": [[235, 150, 1]]}, api_name="/click_to_matte")
    assert np.asarray(Image.open(alpha)).shape == (300, 451)


def test_nothing_is_wider_than_a_phone(address: str, new_page: Any) -> None:
    page = new_page(address, PHONE)
    page.locator("#click-stage canvas").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_unknown_apps_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="expected names of click_to_matte"):
        modules(["nonsense"])
    assert main(["--apps", "nonsense"]) == 1
    assert "got 'nonsense'" in capsys.readouterr().err
