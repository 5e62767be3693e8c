"""Eight people at once, through the browser and the API: each gets what they would get alone."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from demos.click_to_matte import TITLE, build
from demos.common.photos import example_path
from demos.common.serving import Services
from zim import predict_alpha
from zim.image_io import read_image

BOXES = [[0, 0, 402, 299], [100, 40, 380, 290], [20, 12, 362, 511], [60, 60, 300, 400]]
PHOTOS = ["cat", "cat", "astronaut", "astronaut"]
ROUNDS = 3


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


def alone(services: Services, photo: str, box: list[int]) -> np.ndarray:
    """What one person gets: the predictor itself, (H, W) uint8."""
    predictor = services.pool.predictor("zim_tiny")
    predictor.set_image(read_image(example_path(photo)))
    return (predict_alpha(predictor, box=np.array(box, np.float32)) * 255 + 0.5).astype(np.uint8)


def test_eight_api_users_interleave(address: str, services: Services) -> None:
    expected = [alone(services, photo, box) for photo, box in zip(PHOTOS, BOXES, strict=True)]
    wrong: list[str] = []

    def person(number: int) -> None:
        try:
            client = Client(address, verbose=False)
            for turn in range(ROUNDS):
                case = (number + turn) % len(BOXES)
                photo = handle_file(example_path(PHOTOS[case]))
                alpha, cut = client.predict(photo, {"box": BOXES[case]}, api_name="/click_to_matte")
                found = np.asarray(Image.open(alpha))
                if not np.array_equal(found, expected[case]):
                    wrong.append(f"person {number}, turn {turn}: {np.abs(found.astype(int) - expected[case]).max()}")
                if not np.array_equal(np.asarray(Image.open(cut))[..., 3], expected[case]):
                    wrong.append(f"person {number}, turn {turn}: cut-out")
        except Exception as error:
            wrong.append(f"person {number}: {error!r}")

    people = [threading.Thread(target=person, args=(number,)) for number in range(8)]
    for one in people:
        one.start()
    for one in people:
        one.join(240)
    assert not wrong


def test_browsers_and_api_interleave(
    address: str, services: Services, new_page: Any, stage_of: Any, downloaded: Any, tmp_path: Path
) -> None:
    pages = [new_page(address) for _ in range(3)]
    stages = [stage_of(page, "click") for page in pages]
    for i, stage in enumerate(stages):
        stage.example(PHOTOS[i + 1])
    client = Client(address, verbose=False)
    jobs = [
        client.submit(handle_file(example_path(PHOTOS[0])), {"box": BOXES[0]}, api_name="/click_to_matte")
        for _ in range(3)
    ]
    places = [(200, 150), (200, 260), (220, 120)]
    for stage, place in zip(stages, places, strict=True):
        stage.click(*place)
    for job in jobs:
        found = np.asarray(Image.open(job.result(timeout=120)[0]))
        assert np.array_equal(found, alone(services, PHOTOS[0], BOXES[0]))
    for i, (page, place) in enumerate(zip(pages, places, strict=True)):
        drawn = json.loads(downloaded(page, "#click-prompts").read_text())
        x, y, _ = drawn["objects"][0]["points"][0]
        assert abs(x - place[0]) <= 1 and abs(y - place[1]) <= 1
        predictor = services.pool.predictor("zim_tiny")
        predictor.set_image(read_image(example_path(PHOTOS[i + 1])))
        expected = predict_alpha(predictor, point_coords=np.array([[x, y]], np.float32), point_labels=np.array([1]))
        found = np.asarray(Image.open(downloaded(page, "#click-alpha")))
        assert np.array_equal(found, (expected * 255 + 0.5).astype(np.uint8))


def test_a_quick_hand_loses_no_click(address: str, new_page: Any, stage_of: Any, downloaded: Any) -> None:
    page = new_page(address)
    stage = stage_of(page, "click")
    stage.example("cat")
    before = int(stage.revision)
    left, top, scale = stage.shown()
    for i in range(6):
        page.mouse.click(left + (100 + 40 * i) * scale, top + 150 * scale)
    shown = "document.querySelector('#click-stage .stage').dataset"
    page.wait_for_function(f"before => Number({shown}.revision) >= before + 6", arg=before)
    points = json.loads(downloaded(page, "#click-prompts").read_text())["objects"][0]["points"]
    assert [round((x - 100) / 40) for x, _, _ in points] == list(range(6))
