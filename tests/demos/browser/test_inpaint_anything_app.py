"""Inpaint anything, as a person uses it; every result is compared with the adapter's own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from adapters.inpaint_anything.engines import load_engine
from adapters.inpaint_anything.engines.protocol import Geometry
from adapters.inpaint_anything.inpainting import PaintSettings, fill, remove_anything, replace_anything
from adapters.inpaint_anything.masks import MaskSettings
from adapters.inpaint_anything.selection import Selection, select
from demos.common.photos import example_path
from demos.inpaint_anything import TITLE, build
from zim import load_predictor
from zim.image_io import read_image
from zim.prompts import Prompt
from zim.protocol import Predictor

BOX = (60, 10, 400, 290)


class PaintsGreen:
    """An engine that follows words, in one colour."""

    name = "green"
    follows_text = True
    geometry = Geometry()

    def inpaint(self, image: np.ndarray, mask: np.ndarray, *, prompt: str = "", seed: int = 0) -> np.ndarray:
        return np.full(image.shape, (0, 200, 0) if prompt == "grass" else (200, 0, 0), np.uint8)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


@pytest.fixture(scope="module")
def address_with_words(serve: Callable[..., str]) -> str:
    return serve(TITLE, partial(build, engines={"cv2": load_engine("cv2"), "green": PaintsGreen()}))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor("zim_tiny")


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return read_image(example_path("cat"))


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    file = tmp_path / "sky.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)).save(file)
    return file


def boxed(box: tuple[float, ...] = BOX) -> Selection:
    return Selection(prompts=(Prompt(box=np.array(box, np.float32)),))


def drag_box(stage: Any) -> None:
    """Press, drag, and let go where the box has its corners."""
    stage.canvas.scroll_into_view_if_needed()
    stage.tool("box")
    stage.drag(BOX[:2], (200, 200), BOX[2:])


def test_remove_compare_and_download(
    address: str, new_page: Any, stage_of: Any, downloaded: Any, cat: np.ndarray, predictor: Predictor
) -> None:
    page = new_page(address)
    stage = stage_of(page, "inpaint")
    stage.example("cat")
    plain = stage.pixels()
    drag_box(stage)
    stage.after(lambda: page.click("#inpaint-remove"))
    assert "Removed." in stage.message
    assert stage.root.locator(".stage-view").input_value() == "picture:result"
    assert np.abs(stage.pixels().astype(int) - plain).max() > 60
    page.locator("#inpaint-slider img").first.wait_for()

    result = read_image(downloaded(page, "#inpaint-result"))
    mask = np.asarray(Image.open(downloaded(page, "#inpaint-mask")))
    expected = remove_anything(cat, predictor, boxed(), load_engine("cv2"))
    assert result.shape == (300, 451, 3)
    assert np.array_equal(mask > 0, expected.mask)
    assert np.array_equal(result, expected.image)
    assert np.array_equal(result[~expected.changed], cat[~expected.changed])

    page.click("#inpaint-settings button")
    page.get_by_label("Soft seam (px)").wait_for()
    page.get_by_label("Grow the mask by (px)").fill("12")
    stage.after(lambda: page.click("#inpaint-remove"))
    settings = PaintSettings(mask=MaskSettings(dilation=12))
    wider = remove_anything(cat, predictor, boxed(), load_engine("cv2"), settings=settings)
    assert wider.mask.sum() > expected.mask.sum()
    assert np.array_equal(read_image(downloaded(page, "#inpaint-result")), wider.image)
    page.get_by_label("Grow the mask by (px)").fill("much")
    stage.after(lambda: page.click("#inpaint-remove"))
    assert "dilation: expected pixels, or nothing for automatic, got 'much'" in stage.message

    stage.example("coffee")
    page.locator("#inpaint-slider").wait_for(state="hidden")


def test_replace_by_colour_and_by_picture(
    address: str, new_page: Any, stage_of: Any, downloaded: Any, cat: np.ndarray, predictor: Predictor, sky: Path
) -> None:
    page = new_page(address)
    stage = stage_of(page, "inpaint")
    stage.example("cat")
    drag_box(stage)
    page.get_by_role("tab", name="Replace background").click()
    stage.after(lambda: page.click("#inpaint-replace"))
    assert "The background is replaced." in stage.message
    expected = replace_anything(cat, predictor, boxed(), background=(0, 80, 200))
    assert np.array_equal(read_image(downloaded(page, "#inpaint-result")), expected.image)

    page.locator("#inpaint-colour button").first.click()
    page.locator("#inpaint-colour .color-gradient").click(position={"x": 5, "y": 145})
    stage.after(lambda: page.click("#inpaint-replace"))
    dark = read_image(downloaded(page, "#inpaint-result"))
    assert dark[:3, -3:].max() < 30

    page.get_by_label("A picture").check()
    stage.after(lambda: page.click("#inpaint-replace"))
    assert "background: expected a picture to be chosen first" in stage.message
    page.locator("#inpaint-picture input[type=file]").set_input_files(str(sky))
    page.locator("#inpaint-picture").get_by_text("sky").first.wait_for()
    stage.after(lambda: page.click("#inpaint-replace"))
    expected = replace_anything(cat, predictor, boxed(), background=read_image(sky))
    assert np.array_equal(read_image(downloaded(page, "#inpaint-result")), expected.image)


def test_words_paint_where_an_engine_follows_them(
    address_with_words: str, new_page: Any, stage_of: Any, downloaded: Any, cat: np.ndarray, predictor: Predictor
) -> None:
    page = new_page(address_with_words)
    stage = stage_of(page, "inpaint")
    stage.example("cat")
    drag_box(stage)
    page.get_by_role("tab", name="Fill").click()
    stage.after(lambda: page.click("#inpaint-fill"))
    assert "text: expected words for fill, got none" in stage.message
    page.get_by_label("Paint in its place").fill("grass")
    stage.after(lambda: page.click("#inpaint-fill"))
    alpha = select(cat, boxed(), predictor=predictor)[0]
    expected = fill(cat, alpha, PaintsGreen(), "grass")
    result = read_image(downloaded(page, "#inpaint-result"))
    assert np.array_equal(result, expected.image)
    assert (result[expected.mask] == (0, 200, 0)).all()

    page.get_by_role("tab", name="Replace background").click()
    page.get_by_label("Words").check()
    page.get_by_label("What is behind it").fill("grass")
    stage.after(lambda: page.click("#inpaint-replace"))
    behind = replace_anything(cat, predictor, boxed(), engine=PaintsGreen(), prompt="grass")
    assert np.array_equal(read_image(downloaded(page, "#inpaint-result")), behind.image)


def test_what_cannot_be_is_told(address: str, new_page: Any, stage_of: Any, tmp_path: Path) -> None:
    page = new_page(address)
    stage = stage_of(page, "inpaint")
    stage.after(lambda: page.click("#inpaint-remove"))
    assert "Choose an example or upload a photo first." in stage.message
    stage.example("cat")
    stage.after(lambda: page.click("#inpaint-remove"))
    assert "prompts: expected a point, a box or a stroke on the photo, got none" in stage.message
    page.click("#inpaint-result")
    page.get_by_text("There is no result yet").first.wait_for()
    page.get_by_role("tab", name="Fill").click()
    page.locator("#inpaint-fill-how").get_by_text("--diffusion sd15").wait_for()
    drag_box(stage)
    page.get_by_role("tab", name="Replace background").click()
    page.get_by_label("A picture").check()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.locator("#inpaint-picture input[type=file]").set_input_files(str(broken))
    page.locator("#inpaint-picture").get_by_text("broken").first.wait_for()
    stage.after(lambda: page.click("#inpaint-replace"))
    assert "is none or is damaged" in stage.message


def test_the_api_answers_as_the_adapter_does(
    address: str, cat: np.ndarray, predictor: Predictor, tmp_path: Path, sky: Path
) -> None:
    client = Client(address, verbose=False, download_files=tmp_path / "answers")
    photo = handle_file(example_path("cat"))

    def ask(*given: Any) -> tuple[np.ndarray, np.ndarray]:
        result, mask = client.predict(photo, *given, api_name="/inpaint_anything")
        return read_image(Path(result)), np.asarray(Image.open(mask)) > 0

    point = Prompt(point_coords=np.array([[235, 150]], np.float32), point_labels=np.array([1]))
    result, mask = ask({"points": [[235, 150, 1]]}, "remove", {"engine": "cv2", "shadows": True, "feather": 5}, None)
    settings = PaintSettings(mask=MaskSettings(shadows=True, feather=5))
    expected = remove_anything(cat, predictor, Selection(prompts=(point,)), load_engine("cv2"), settings=settings)
    assert np.array_equal(result, expected.image)
    assert np.array_equal(mask, expected.mask)
    result, mask = ask({"box": list(BOX)}, "replace", {"refine": False}, handle_file(sky))
    settings = PaintSettings(refine=0.0)
    expected = replace_anything(cat, predictor, boxed(), background=read_image(sky), settings=settings)
    assert np.array_equal(result, expected.image)
    for task, options, message in (
        ("fill", {"text": "grass"}, "needs a diffusion model"),
        ("erase", None, "task: expected one of remove, fill, replace"),
        ("remove", {"dilation": -3}, "dilation: expected pixels between 0"),
        ("remove", {"engine": "/etc"}, "engine: expected one of cv2"),
        ("replace", {"background": "/etc/passwd"}, "background: expected a colour"),
    ):
        with pytest.raises(Exception, match=message):
            ask({"box": list(BOX)}, task, options, None)
