"""Click to matte, as a person uses it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demos.click_to_matte import TITLE, build

CAT_FACE = (235, 150)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


def test_example_click_matte_undo_redo_and_downloads(
    address: str, new_page: Any, stage_of: Any, downloaded: Any
) -> None:
    page = new_page(address)
    stage = stage_of(page, "click")
    stage.example("cat")
    plain = stage.pixels()
    stage.click(*CAT_FACE)
    matted = stage.pixels()
    assert np.abs(matted.astype(int) - plain).max() > 60
    stage.after(lambda: page.click("#click-undo"))
    assert np.array_equal(stage.pixels(), plain)
    stage.after(lambda: page.click("#click-redo"))
    assert np.array_equal(stage.pixels(), matted)

    cut = np.asarray(Image.open(downloaded(page, "#click-cutout")))
    alpha = np.asarray(Image.open(downloaded(page, "#click-alpha")))
    assert cut.shape == (300, 451, 4)
    assert np.array_equal(cut[..., 3], alpha)
    assert alpha[150, 235] > 128
    drawn = json.loads(downloaded(page, "#click-prompts").read_text())
    assert drawn["size"] == [451, 300]
    assert drawn["objects"][0]["points"] == [[235, 150, 1]]


@pytest.mark.parametrize(("width", "height"), [(300, 451), (6000, 1500), (640, 480)])
def test_a_click_lands_on_the_intended_pixel(
    address: str, new_page: Any, stage_of: Any, downloaded: Any, tmp_path: Path, width: int, height: int
) -> None:
    picture = tmp_path / "picture.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height)).save(picture)
    page = new_page(address)
    stage = stage_of(page, "click")
    stage.upload(picture)
    left, top, scale = stage.shown()
    for share in (0.17, 0.5, 0.83):
        # A mouse knows whole CSS pixels: what it points at is the middle of such a pixel's pixels.
        at = round(left + share * width * scale), round(top + share * height * scale)
        intended = (at[0] - left) / scale, (at[1] - top) / scale
        stage.after(lambda at=at: page.mouse.click(*at))
        x, y, label = json.loads(downloaded(page, "#click-prompts").read_text())["objects"][0]["points"][-1]
        assert abs(x + 0.5 - intended[0]) <= 1, (x, intended)
        assert abs(y + 0.5 - intended[1]) <= 1, (y, intended)
        assert label == 1


def test_box_brush_and_background_clicks(address: str, new_page: Any, stage_of: Any, downloaded: Any) -> None:
    page = new_page(address)
    stage = stage_of(page, "click")
    stage.example("cat")
    stage.tool("box")
    stage.drag((10, 10), (200, 200), (400, 290))
    stage.tool("background")
    stage.click(430, 20)
    stage.tool("brush")
    stage.drag((200, 150), (240, 170), (280, 150))
    drawn = json.loads(downloaded(page, "#click-prompts").read_text())["objects"][0]
    assert np.abs(np.subtract(drawn["box"], [10, 10, 400, 290])).max() <= 1
    assert drawn["points"] == [[430, 20, 0]]
    assert drawn["strokes"][0]["label"] == 1
    assert len(drawn["strokes"][0]["points"]) >= 3


def test_keyboard_alone_places_a_point(address: str, new_page: Any, stage_of: Any, downloaded: Any) -> None:
    page = new_page(address)
    stage = stage_of(page, "click")
    stage.example("cat")
    stage.canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    stage.after(lambda: page.keyboard.press("Enter"))
    point = json.loads(downloaded(page, "#click-prompts").read_text())["objects"][0]["points"][0]
    assert point[2] == 1
    assert abs(point[0] - 225) <= 20
    stage.canvas.focus()
    stage.after(lambda: page.keyboard.press("Control+z"))
    assert "Click on the object" in stage.message


def test_two_objects_and_views(address: str, new_page: Any, stage_of: Any) -> None:
    page = new_page(address)
    stage = stage_of(page, "click")
    stage.example("cat")
    stage.click(*CAT_FACE)
    stage.after(lambda: page.click("#click-add"))
    stage.click(30, 250)
    page.locator("#click-objects").get_by_text("Object 1").wait_for()
    seen = {}
    for view in ("matte", "alpha", "cutout", "compare"):
        stage.view(view)
        seen[view] = stage.pixels()
    for view, picture in seen.items():
        for other, rival in seen.items():
            assert view == other or np.abs(picture.astype(int) - rival).max() > 60
    grey = seen["alpha"][..., :3]
    assert (grey.max(axis=2) - grey.min(axis=2) < 40).mean() > 0.98


def test_two_people_do_not_meet(address: str, new_page: Any, stage_of: Any) -> None:
    one, other = new_page(address), new_page(address)
    first, second = stage_of(one, "click"), stage_of(other, "click")
    first.example("cat")
    second.example("rocket")
    first.click(*CAT_FACE)
    assert second.photo_size() == (640, 427)
    assert first.photo_size() == (451, 300)


def test_what_is_no_photo_is_told(address: str, new_page: Any, stage_of: Any, tmp_path: Path) -> None:
    page = new_page(address)
    stage = stage_of(page, "click")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    stage.upload(broken)
    assert "broken.png is none or is damaged" in stage.message
    stage.example("cat")
    assert stage.photo_size() == (451, 300)
