"""Two models side by side, as a person uses it; answers and figures against the predictors asked directly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.fine_objects import fine_scene
from demos.common.comparing import SCENE_SEED, SCENE_SIDE
from demos.common.photos import example_path
from demos.compare import TITLE, build
from zim import load_predictor, predict_alpha
from zim.evaluation.metrics import matte_errors

FACE = (235, 150)
METRICS = ("sad", "mse", "mae", "grad", "conn")


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


def asked(name: str, picture: np.ndarray, **prompts: Any) -> np.ndarray:
    predictor = load_predictor(name)
    predictor.set_image(picture)
    return predict_alpha(predictor, **prompts)


def bytes_of(alpha: np.ndarray) -> np.ndarray:
    return (alpha * 255 + 0.5).astype(np.uint8)


def test_example_click_both_alphas_and_table(address: str, new_page: Any, stage_of: Any, downloaded: Any) -> None:
    page = new_page(address)
    stage = stage_of(page, "compare")
    stage.example("cat")
    plain = stage.pixels()
    stage.click(*FACE)
    assert stage.root.locator(".stage-view").input_value() == "compare"
    assert np.abs(stage.pixels().astype(int) - plain).max() > 60
    page.locator("#compare-table").get_by_text("sam_tiny (sigmoid)").wait_for()
    picture = np.asarray(Image.open(example_path("cat")).convert("RGB"))
    table = json.loads(downloaded(page, "#compare-get-table").read_text())
    x, y, label = table["objects"][0]["points"][0]
    prompts = {"point_coords": np.array([[x, y]], np.float32), "point_labels": np.array([label])}
    assert (abs(x - FACE[0]), abs(y - FACE[1]), label) <= (1, 1, 1)
    assert table["models"] == ["zim_tiny", "sam_tiny"] and table["truth"] is False
    for side, name in (("left", "sam_tiny"), ("right", "zim_tiny")):
        file = downloaded(page, f"#compare-get-{side}")
        assert file.name == f"chelsea_{name}_alpha.png" or file.name == f"cat_{name}_alpha.png"
        assert np.abs(np.asarray(Image.open(file)).astype(int) - bytes_of(asked(name, picture, **prompts))).max() <= 1
        page.locator(f"#compare-{side}-alpha img").wait_for()
    assert page.locator("#compare-left-error img").count() == 0


def test_drawn_object_has_errors_and_other_models_can_be_chosen(
    address: str, new_page: Any, stage_of: Any, downloaded: Any
) -> None:
    page = new_page(address)
    stage = stage_of(page, "compare")
    stage.after(lambda: page.click("#compare-drawn-fur"))
    page.locator("#compare-table").get_by_text("Conn").first.wait_for()
    page.locator("#compare-right-error img").wait_for()
    scene = fine_scene("fur", seed=SCENE_SEED, side=SCENE_SIDE)
    alpha = asked("zim_tiny", scene.image, box=scene.box)
    table = json.loads(downloaded(page, "#compare-get-table").read_text())
    rows = {row["row"]: row for row in table["rows"]}
    assert list(rows) == ["zim_tiny", "sam_tiny (binary)", "sam_tiny (sigmoid)"]
    assert np.allclose([rows["zim_tiny"][key] for key in METRICS], matte_errors(alpha, scene.alpha), rtol=1e-3)
    masked = (asked("sam_tiny", scene.image, box=scene.box) > 0.5).astype(np.float32)
    wanted = matte_errors(masked, scene.alpha)
    assert np.allclose([rows["sam_tiny (binary)"][key] for key in METRICS], wanted, rtol=1e-3)
    assert rows["zim_tiny"]["seconds"]["prompt"] > 0

    before = stage.pixels()

    def choose() -> None:
        page.locator("#compare-left input").click()
        page.get_by_role("option", name="grabcut").click()

    stage.after(choose)
    page.locator("#compare-table").get_by_text("grabcut").wait_for()
    assert not np.array_equal(stage.pixels(), before)
    rows = {row["row"] for row in json.loads(downloaded(page, "#compare-get-table").read_text())["rows"]}
    assert rows == {"zim_tiny", "grabcut"}


def test_a_true_alpha_of_another_size_is_told_and_the_same_model_swaps_sides(
    address: str, new_page: Any, stage_of: Any, tmp_path: Path
) -> None:
    page = new_page(address)
    stage = stage_of(page, "compare")
    wrong, right = tmp_path / "wrong.png", tmp_path / "right.png"
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(wrong)
    Image.fromarray(np.full((300, 451), 255, np.uint8)).save(right)
    stage.example("cat")

    def upload(path: Path) -> None:
        with page.expect_file_chooser() as chooser:
            page.click("#compare-truth")
        chooser.value.set_files(str(path))

    stage.after(lambda: upload(wrong))
    assert "expected the photo's size 451 x 300, got 40 x 30 in wrong.png" in stage.message
    stage.after(lambda: upload(right))
    stage.click(*FACE)
    page.locator("#compare-table").get_by_text("SAD", exact=True).wait_for()

    def same() -> None:
        page.locator("#compare-left input").click()
        page.get_by_role("option", name="zim_tiny", exact=True).click()

    stage.after(same)
    page.wait_for_function("() => document.querySelector('#compare-right input').value === 'sam_tiny'")
    assert page.locator("#compare-left input").input_value() == "zim_tiny"


def test_api_gives_what_the_predictors_give(address: str, tmp_path: Path) -> None:
    client_of = pytest.importorskip("gradio_client")
    client = client_of.Client(address, verbose=False)
    scene = fine_scene("plant", seed=3, side=256)
    photo, truth = tmp_path / "plant.png", tmp_path / "truth.png"
    Image.fromarray(scene.image).save(photo)
    Image.fromarray(bytes_of(scene.alpha)).save(truth)
    box = [round(float(value)) for value in scene.box]
    call = {"api_name": "/compare"}
    file = client_of.handle_file
    first, second, table = client.predict(file(photo), {"box": box}, "hq_zim_tiny", "sam_tiny", file(truth), **call)
    alphas = {name: asked(name, scene.image, box=np.array(box, np.float32)) for name in ("hq_zim_tiny", "sam_tiny")}
    assert np.abs(np.asarray(Image.open(first)).astype(int) - bytes_of(alphas["hq_zim_tiny"])).max() <= 1
    assert np.abs(np.asarray(Image.open(second)).astype(int) - bytes_of(alphas["sam_tiny"])).max() <= 1
    wanted = matte_errors(alphas["hq_zim_tiny"], (bytes_of(scene.alpha) / 255).astype(np.float32))
    assert np.allclose([table["rows"][0][key] for key in METRICS], wanted, rtol=1e-3)
    apart = np.abs(alphas["hq_zim_tiny"] - alphas["sam_tiny"]).sum() / 1000
    assert np.isclose(table["difference"]["sad"], apart, rtol=1e-3)

    refused = {
        "expected one of zim_tiny, sam_tiny": ({"box": box}, "/etc/passwd", "sam_tiny", None),
        "two different ones": ({"box": box}, "sam_tiny", "sam_tiny", None),
        "expected a finite number": ({"box": [0, 0, "x", 9]}, "sam_tiny", "grabcut", None),
        "expected at most 64": ({"points": [[1, 1, 1]] * 10_000}, "sam_tiny", "grabcut", None),
    }
    for message, values in refused.items():
        with pytest.raises(Exception, match=message):
            client.predict(file(photo), *values, **call)
    _, _, table = client.predict(file(photo), {"points": [[128, 128, 1]]}, "zim_tiny", "grabcut", None, **call)
    assert table["truth"] is False and "sad" not in table["rows"][0]
