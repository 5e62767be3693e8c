"""Matte anything, as a person uses it; results against the adapter called directly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.matte_anything import KernelTrimap, Matte, MatteAnything
from demos.common.photos import example_path
from demos.common.serving import Services
from demos.matte_anything import TITLE, build
from zim.cutout import trimap_to_uint8
from zim.image_io import read_image, to_uint8
from zim.prompts import Prompt

pytest.importorskip("pymatting")
CAT_BOX = (10, 10, 400, 290)
CAT_FACE = (235, 150)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


def adapter(services: Services, prompts: list[Prompt], **settings: Any) -> Matte:
    """What the adapter says of the cat."""
    matting = MatteAnything(services.pool.predictor("zim_tiny"), **settings)
    (matte,) = matting(read_image(example_path("cat")), prompts)
    return matte


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path))


def same_matte(alpha: Path | str, expected: Matte) -> bool:
    """Whether a file holds that alpha, within one grey level: another thread may round another way."""
    return bool(np.abs(pixels(alpha).astype(int) - to_uint8(expected.alpha)).max() <= 1)


def same_cutout(cutout: Path | str, expected: Matte) -> bool:
    """Whether a file holds that cut-out: the same colours, within two levels, wherever something is to be seen."""
    found, wanted = pixels(cutout), expected.cutout()
    apart = np.abs(found.astype(int) - wanted)
    return found.shape == wanted.shape and bool(apart[..., 3].max() <= 1 and apart[wanted[..., 3] > 25].max() <= 2)


def same_trimap(trimap: Path | str, expected: Matte) -> bool:
    """Whether a file holds that trimap but for a two-hundredth of its pixels: it begins with a threshold, and an alpha
    that another thread rounds another way moves the edge of what is grown from it (a slider one off moves far more)."""
    found, wanted = pixels(trimap), trimap_to_uint8(expected.trimap)
    return found.shape == wanted.shape and bool((found != wanted).mean() < 0.005)


def press_matte(page: Any, stage: Any) -> str:
    """Press Matte, wait for the answer, and return the line about it."""
    stage.after(lambda: page.click("#matting-go"))
    return str(page.locator("#matting-status textarea, #matting-status input").input_value())


def dragged_box(stage: Any) -> None:
    stage.tool("box")
    stage.drag(CAT_BOX[:2], (200, 200), CAT_BOX[2:])


def test_box_closed_form_views_backgrounds_and_downloads(
    address: str, services: Services, new_page: Any, stage_of: Any, downloaded: Any, tmp_path: Path
) -> None:
    page = new_page(address)
    stage = stage_of(page, "matting")
    stage.example("cat")
    dragged_box(stage)
    page.get_by_label("sam+pymatting", exact=True).check()
    page.get_by_text("Trimap", exact=True).first.click()
    sliders = {"erode": 6, "dilate": 8, "iterations": 2}
    for name, value in sliders.items():
        field = page.locator(f"#matting-{name} input[type=number]")
        field.fill(str(value))
        field.press("Tab")
        page.wait_for_function(
            "([id, value]) => document.querySelector(`#matting-${id} input[type=range]`).value === value",
            arg=[name, str(value)],
        )
    said = press_matte(page, stage)
    assert "sam+pymatting with zim_tiny" in said and stage.message in said

    expected = adapter(
        services,
        [Prompt(box=np.array(CAT_BOX, np.float32))],
        mode="sam+pymatting",
        trimap=KernelTrimap(erode=6, dilate=8, iterations=2),
    )
    trimap = trimap_to_uint8(expected.trimap)
    assert same_trimap(downloaded(page, "#matting-trimap"), expected)
    assert same_matte(downloaded(page, "#matting-alpha"), expected)
    assert same_cutout(downloaded(page, "#matting-cutout"), expected)
    composite = pixels(downloaded(page, "#matting-composite")).astype(int)
    assert np.abs(composite - expected.composite("checkerboard")).max() <= 1

    stage.view("picture:trimap")
    left, top, scale = stage.shown()
    origin = stage.canvas.bounding_box()
    for x, y in ((235, 250), (5, 5), (300, 30), (120, 120)):  # where the photo lies on the canvas
        seen = stage.pixels()[round(top - origin["y"] + y * scale), round(left - origin["x"] + x * scale)]
        assert abs(int(seen[0]) - int(trimap[y, x])) < 40 or trimap[y - 3 : y + 4, x - 3 : x + 4].std() > 0

    stage.view("picture:final cut-out")
    before = stage.pixels()
    green = tmp_path / "sea.png"
    Image.new("RGB", (900, 200), (10, 120, 140)).save(green)
    with page.expect_file_chooser() as chooser:
        page.click("#matting-picture")
    stage.after(lambda: chooser.value.set_files(str(green)))
    assert np.abs(stage.pixels().astype(int) - before).max() > 60
    assert page.get_by_label("Picture", exact=True).is_checked()
    composite = pixels(downloaded(page, "#matting-composite")).astype(int)
    sea = np.full((300, 451, 3), (10, 120, 140), np.uint8)
    assert np.abs(composite - expected.composite(sea)).max() <= 1


def test_two_objects_stale_results_and_what_is_told(
    address: str, services: Services, new_page: Any, stage_of: Any, downloaded: Any, tmp_path: Path
) -> None:
    page = new_page(address)
    stage = stage_of(page, "matting")
    stage.after(lambda: page.click("#matting-go"))
    assert "Choose an example or upload a photo first." in stage.message
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    stage.example("cat")
    stage.click(*CAT_FACE)
    with page.expect_file_chooser() as chooser:
        page.click("#matting-picture")
    stage.after(lambda: chooser.value.set_files(str(broken)))
    assert "broken.jpg is none or is damaged" in stage.message
    stage.after(lambda: page.click("#matting-add"))
    stage.click(30, 250)
    press_matte(page, stage)
    prompts = [
        Prompt(point_coords=np.array([place], np.float32), point_labels=np.array([1], np.int32))
        for place in (CAT_FACE, (30, 250))
    ]
    expected = adapter(services, prompts, mode="zim")
    assert same_matte(downloaded(page, "#matting-alpha"), expected)
    views = stage.root.locator(".stage-view option").all_inner_texts()
    assert {"trimap", "final alpha", "final cut-out"} <= set(views)

    stage.view("matte")
    stage.canvas.scroll_into_view_if_needed()
    stage.click(60, 40)
    assert "trimap" not in stage.root.locator(".stage-view option").all_inner_texts()
    page.click("#matting-alpha")
    page.get_by_text("press Matte again").wait_for()
    stage.after(lambda: page.click("#matting-undo"))
    assert "trimap" in stage.root.locator(".stage-view option").all_inner_texts()


def test_stop_ends_a_long_refinement(address: str, new_page: Any, stage_of: Any) -> None:
    page = new_page(address)
    stage = stage_of(page, "matting")
    stage.example("astronaut")
    stage.click(220, 120)
    page.get_by_label("zim+pymatting", exact=True).check()
    before = stage.revision
    page.click("#matting-go")
    page.locator("#matting-status").get_by_text("unknown pixels").wait_for()
    page.click("#matting-stop")
    stage.settled(before)
    assert stage.message == "Stopped; nothing has changed."


def test_the_api_answers_as_the_adapter(address: str, services: Services) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False)
    cat = handle_file(str(example_path("cat")))
    alpha, cutout, trimap = client.predict(cat, {"box": list(CAT_BOX)}, "zim", api_name="/matte_anything")
    expected = adapter(services, [Prompt(box=np.array(CAT_BOX, np.float32))], mode="zim")
    assert same_matte(alpha, expected)
    assert same_cutout(cutout, expected)
    assert (pixels(trimap) != trimap_to_uint8(expected.trimap)).mean() < 1e-3
    for prompts, mode, line in (
        ({"box": list(CAT_BOX)}, "zim+vitmatte", "start the app with --vitmatte"),
        ({"box": list(CAT_BOX)}, "magic", "mode: expected one of"),
        ({"box": [0, 0, "nan", 5]}, "zim", "box: expected a finite number"),
        ({"points": [[1, 1, 1]] * 10_000}, "zim", "points: expected at most 64"),
        ([1, 2], "zim", "prompts: expected a JSON object"),
    ):
        with pytest.raises(AppError, match=line.replace("+", r"\+")):
            client.predict(cat, prompts, mode, api_name="/matte_anything")
