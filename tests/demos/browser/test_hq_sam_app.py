"""HQ heads, as a person looks at them; results against the predictors called directly."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demos.common.photos import example_path
from demos.common.serving import Services
from demos.hq_sam import TITLE, build
from zim import predict_alpha
from zim.image_io import read_image, to_uint8

CAT_FACE = (235, 150)
CAT_BOX = (10, 10, 400, 290)
POINT = {"point_coords": np.array([CAT_FACE], np.float32), "point_labels": np.array([1])}


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


def asked(services: Services, name: str, **prompts: Any) -> np.ndarray:
    """(300, 451) uint8: what a model says of the cat."""
    predictor = services.pool.predictor(name)
    predictor.set_image(read_image(example_path("cat")))
    return to_uint8(predict_alpha(predictor, **prompts)).astype(int)


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def labels(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#hq-which label").all_inner_texts()]


def test_click_compare_close_up_three_masks_and_downloads(
    address: str, services: Services, new_page: Any, stage_of: Any, downloaded: Any
) -> None:
    page = new_page(address)
    stage = stage_of(page, "hq")
    stage.example("cat")
    stage.click(*CAT_FACE)
    page.locator("#hq-panel-difference img").wait_for()
    line = page.locator("#hq-line").inner_text()
    hq, base = asked(services, "hq_zim_tiny", **POINT), asked(services, "zim_tiny", **POINT)
    stated = re.search(r"([\d.]+) % apart on average, and ([\d.]+) % of its pixels", line)
    assert stated is not None
    assert float(stated[1]) == pytest.approx(100 * np.abs(hq - base).mean() / 255, abs=0.3)
    assert float(stated[2]) == pytest.approx(100 * ((hq > 127) != (base > 127)).mean(), abs=0.3)
    assert np.abs(pixels(downloaded(page, "#hq-hq-alpha")) - hq).max() <= 1
    assert np.abs(pixels(downloaded(page, "#hq-base-alpha")) - base).max() <= 1
    mask = pixels(downloaded(page, "#hq-base-mask"))
    assert set(np.unique(mask)) == {0, 255}
    assert ((mask > 0) != (base > 127)).mean() < 1e-3

    stage.canvas.scroll_into_view_if_needed()
    stage.view("compare")
    compared = stage.pixels()
    stage.view("picture:difference")
    assert np.abs(stage.pixels().astype(int) - compared).max() > 60

    stage.after(lambda: page.get_by_label("Best of three").check())
    page.get_by_text(re.compile(r"^3 of 3, quality")).wait_for()
    told = [float(label.rsplit(" ", 1)[1]) for label in labels(page)[2:]]
    predictor = services.pool.predictor("hq_zim_tiny")
    predictor.set_image(read_image(example_path("cat")))
    _, qualities, _ = predictor.predict(**POINT, return_logits=True)
    assert told == pytest.approx([float(one) for one in qualities], abs=0.011)
    stage.after(lambda: page.locator("#hq-which label").nth(4).click())
    logits, *_ = predictor.predict(**POINT, return_logits=True)
    third = 255 / (1 + np.exp(-np.asarray(logits[2], float)))
    assert np.abs(pixels(downloaded(page, "#hq-hq-alpha")) - third).max() <= 1.5


def test_other_pair_token_and_masks(
    address: str, services: Services, new_page: Any, stage_of: Any, downloaded: Any
) -> None:
    page = new_page(address)
    stage = stage_of(page, "hq")
    stage.example("cat")
    stage.tool("box")
    stage.drag(CAT_BOX[:2], (200, 200), CAT_BOX[2:])
    stage.after(lambda: page.get_by_label("sam_tiny | hq_sam_tiny").check())
    stage.after(lambda: page.get_by_label("HQ token alone").check())
    box = np.array(CAT_BOX, np.float32)
    token = asked(services, "hq_sam_tiny", box=box, hq_token_only=True)
    assert np.abs(token - asked(services, "hq_sam_tiny", box=box)).max() > 3
    assert np.abs(pixels(downloaded(page, "#hq-hq-alpha")) - token).max() <= 1
    stage.canvas.scroll_into_view_if_needed()
    stage.after(lambda: page.get_by_label("Mask", exact=True).check())
    stage.view("alpha")
    grey = stage.pixels()[..., 0]
    assert np.isin(grey, (0, 255)).mean() > 0.97  # hard, but for the canvas's own smoothing
    assert np.abs(pixels(downloaded(page, "#hq-hq-alpha")) - token).max() <= 1  # soft whatever is shown
    stage.canvas.scroll_into_view_if_needed()
    stage.after(lambda: page.click("#hq-clear"))
    page.get_by_text("Prompt an object to see where the two differ most.").wait_for()
    page.click("#hq-hq-alpha")
    page.get_by_text("expected a point, a box or a stroke").wait_for()


def test_the_api_answers_as_the_predictor(address: str, services: Services) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False)
    cat = handle_file(str(example_path("cat")))
    given = {"box": list(CAT_BOX)}
    alpha, mask, qualities = client.predict(cat, given, api_name="/hq_sam")
    expected = asked(services, "hq_zim_tiny", box=np.array(CAT_BOX, np.float32))
    assert np.abs(pixels(alpha) - expected).max() <= 1
    assert ((pixels(mask) > 0) != (expected > 127)).mean() < 1e-3
    assert len(qualities) == 1 and len(qualities[0]) == 1
    _, _, three = client.predict(cat, given, "sam_tiny", False, "best", api_name="/hq_sam")
    assert len(three[0]) == 3
    for arguments, line in (
        (("vit_h", False, "one"), "model: expected one of hq_sam_tiny"),
        (("hq_zim_tiny", False, "7"), "which: expected one of one, best"),
    ):
        with pytest.raises(AppError, match=line):
            client.predict(cat, given, *arguments, api_name="/hq_sam")
    with pytest.raises(AppError, match="x: expected a finite number"):
        client.predict(cat, {"points": [["NaN", 2, 1]]}, api_name="/hq_sam")
