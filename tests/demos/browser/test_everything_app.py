"""Everything, as a person uses it, on a picture of plain regions, which a predictor knows exactly."""

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from demos.common.models import ModelPool
from demos.common.serving import Services
from demos.everything import TITLE, build
from zim import ZimAutomaticMaskGenerator
from zim.image_io import read_image
from zim.mask_files import overlay
from zim.rle import to_coco

HW = (240, 320)


class RegionPredictor:
    """Answers the region of one colour that a point lies on, very surely. `seconds`: how long an answer takes."""

    seconds = 0.0

    def another(self) -> "RegionPredictor":
        made = type(self)()
        made.seconds = self.seconds
        return made

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.image = image

    def predict(self, point_coords: Any = None, **_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if point_coords is None:
            point_coords = np.zeros((1, 2))
        time.sleep(self.seconds)
        x, y = np.asarray(point_coords[0], int)
        same = (self.image == self.image[y, x]).all(axis=2)
        _, labels = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)
        logits = np.where(labels == labels[y, x], 20, -20)
        return logits[None].astype(np.float32), np.ones(1), np.zeros((1, 256, 256), np.float32)


def regions() -> dict[str, np.ndarray]:
    """A frame with a disc, and a plate with a square hole that a second square fills: name -> (H, W) bool."""
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    disc = np.hypot(columns - 80, rows - 120) < 60
    plate = (abs(columns - 230) <= 70) & (abs(rows - 120) <= 70)
    square = (abs(columns - 230) <= 30) & (abs(rows - 120) <= 30)
    return {"disc": disc, "plate": plate & ~square, "square": square, "rest": ~disc & ~plate}


COLOURS = {"disc": (200, 40, 40), "plate": (40, 160, 60), "square": (40, 60, 200), "rest": (120, 120, 120)}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.zeros((*HW, 3), np.uint8)
    for name, region in regions().items():
        pixels[region] = COLOURS[name]
    file = tmp_path_factory.mktemp("photo") / "plain regions.png"
    Image.fromarray(pixels).save(file)
    return file


def services_with(seconds: float) -> Services:
    predictor = RegionPredictor()
    predictor.seconds = seconds
    return Services(pool=ModelPool(predictors={"regions": predictor}), model="regions", baseline=None)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build, services_with(0.005))


@pytest.fixture(scope="module")
def slow_address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build, services_with(0.1))


def find(page: Any, stage: Any) -> None:
    stage.after(lambda: page.click("#everything-start"))


def test_found_listed_picked_and_downloaded(
    address: str, new_page: Any, stage_of: Any, downloaded: Any, picture: Path
) -> None:
    page = new_page(address)
    stage = stage_of(page, "everything")
    stage.upload(picture)
    plain = stage.pixels()
    find(page, stage)
    assert stage.message == "4 objects. Click on one to pick it."
    assert np.abs(stage.pixels().astype(int) - plain).max() > 60
    known = regions()
    lines = page.locator("#everything-table [role=row][data-index]")
    for region in known.values():
        lines.filter(has_text=str(int(region.sum()))).wait_for()

    stage.click(230, 120)
    size = f"{int(known['square'].sum())} px, box 200, 90, 61, 61,"
    assert size in stage.message
    cut = np.asarray(Image.open(downloaded(page, "#everything-cutout")))
    assert cut.shape == (*HW, 4)
    assert np.array_equal(cut[..., 3] > 128, known["square"])
    assert (cut[known["square"]][:, :3] == COLOURS["square"]).all()
    stage.canvas.scroll_into_view_if_needed()
    stage.click(165, 60)
    assert f"{int(known['plate'].sum())} px" in stage.message
    stage.after(lambda: page.click("#everything-undo"))
    assert size in stage.message
    number = int(stage.message.split()[1].rstrip(":"))
    stage.after(lambda: lines.nth(number % 4).locator("[role=gridcell]").nth(1).click())
    assert stage.message.startswith(f"Object {number % 4 + 1}:")

    with zipfile.ZipFile(downloaded(page, "#everything-zip")) as archive:
        names = set(archive.namelist())
        assert {"settings.json", "plain_regions/coco.json", "plain_regions/overlay.png"} <= names
        records = json.loads(archive.read("plain_regions/records.json"))
        assert len(records) == 4
        masks = []
        for index in range(4):
            with archive.open(f"plain_regions/{index}.png") as file:
                masks.append(np.asarray(Image.open(file)) > 0)
    for region in known.values():
        assert any(np.array_equal(mask, region) for mask in masks)
    assert [record["area"] for record in records] == [int(mask.sum()) for mask in masks]

    stage.example("coffee")
    lines.filter(has_text=str(int(known["disc"].sum()))).wait_for(state="detached")


def test_a_search_is_shown_and_stopped(slow_address: str, new_page: Any, stage_of: Any, picture: Path) -> None:
    page = new_page(slow_address)
    stage = stage_of(page, "everything")
    stage.upload(picture)
    before = stage.revision
    page.click("#everything-start")
    page.locator("#everything-status").get_by_text("points").first.wait_for()
    page.click("#everything-stop")
    page.wait_for_function("document.querySelector('#everything-stage .stage-message').innerText.includes('Stopped')")
    stage.settled(before)
    assert "of 64 points; nothing was changed." in stage.message
    stage.click(50, 50)
    assert 'Press "Find everything" first.' in stage.message


def test_what_cannot_be_is_told(address: str, new_page: Any, stage_of: Any, picture: Path) -> None:
    page = new_page(address)
    stage = stage_of(page, "everything")
    find(page, stage)
    assert "Choose an example or upload a photo first." in stage.message
    stage.upload(picture)
    stage.click(50, 50)
    assert 'Press "Find everything" first.' in stage.message
    page.click("#everything-settings button")
    field = page.locator("#everything-area input")
    field.wait_for(state="visible")
    page.wait_for_timeout(500)  # the opening settings write their values once more
    field.fill("-5")
    field.press("Tab")
    page.wait_for_timeout(300)
    find(page, stage)
    assert "min_mask_region_area: expected a whole number from 0 to 100000, got -5" in stage.message
    page.fill("#everything-area input", "0")
    find(page, stage)
    assert stage.message == "4 objects. Click on one to pick it."


def test_the_api_answers_as_the_generator_does(address: str, picture: Path, tmp_path: Path) -> None:
    client = Client(address, verbose=False, download_files=tmp_path)
    settings = {"points_per_side": 12, "min_mask_region_area": 50}
    records, overview, archive = client.predict(handle_file(picture), settings, api_name="/everything")

    generator = ZimAutomaticMaskGenerator(RegionPredictor(), points_per_side=12, min_mask_region_area=50)
    image = read_image(picture)
    expected = generator.candidates(image)
    found = json.loads(Path(records).read_text())
    assert [one["segmentation"] for one in found] == [to_coco(one.rle) for one in expected]
    assert sorted(one["area"] for one in found) == sorted(int(region.sum()) for region in regions().values())
    assert np.array_equal(read_image(Path(overview)), overlay(image, expected))
    assert zipfile.ZipFile(archive).testzip() is None
    with pytest.raises(Exception, match="points_per_side: expected one of 8, 12, 16, 32, got 4000"):
        client.predict(handle_file(picture), {"points_per_side": 4000}, api_name="/everything")
