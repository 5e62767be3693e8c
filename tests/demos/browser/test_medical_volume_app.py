"""Medical volumes, as a person uses them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.medical_volume.answer_store import model_identity
from adapters.medical_volume.jobs import Model, run_volume
from adapters.medical_volume.prompt_text import PromptText
from adapters.medical_volume.scenes import volume_scene
from adapters.medical_volume.settings import Settings
from demos.common.serving import Services
from demos.medical_volume import SPECIALIST, TITLE, build

nibabel = pytest.importorskip("nibabel")
PHONE = {"width": 390, "height": 844}
ODD = np.array([[0, 0, -2.0, 20], [-1.0, 0, 0, 30], [0, 1.0, 0, -7], [0, 0, 0, 1]])
"""Stored as back, up, left."""


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


@pytest.fixture(scope="module")
def odd_volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up body with three organs, 40 x 40 x 16 voxels, in an order of axes and signs that is nobody's default."""
    scene = volume_scene("organs", seed=3, shape=(16, 40, 40), spacing=(2.0, 1.0, 1.0))
    stored = scene.volume.voxels.transpose(1, 2, 0)[::-1, :, ::-1]  # right, front, up -> back, up, left
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored), ODD)
    image.set_sform(ODD, 2)
    image.set_qform(ODD, 1)
    image.header.set_xyzt_units("mm")
    path = tmp_path_factory.mktemp("volumes") / "odd.nii.gz"
    image.to_filename(path)
    return path


def organ_box() -> tuple[list[float], list[int]]:
    """A box around the smallest organ where it is largest: (x1, y1, x2, y2) in shares of the picture, and in voxels of
    the file; from the scene's truth and the axes by hand, without the adapter's geometry."""
    truth = volume_scene("organs", seed=3, shape=(16, 40, 40), spacing=(2.0, 1.0, 1.0)).alphas["small"]
    solid = truth.transpose(1, 2, 0)[::-1, :, ::-1] > 0.5  # i to the back, j up, k to the left
    number = int(solid.sum((0, 1)).argmax())
    i, j = np.flatnonzero(solid[..., number].any(1)), np.flatnonzero(solid[..., number].any(0))
    low, high = (max(i[0] - 1, 0), max(j[0] - 1, 0)), (min(i[-1] + 1, 39), min(j[-1] + 1, 39))
    # on the screen: the back to the left, the top above
    shares = [(39 - high[0]) / 40, (39 - high[1]) / 40, (40 - low[0]) / 40, (40 - low[1]) / 40]
    return shares, [int(low[0]), int(low[1]), number, int(high[0]), int(high[1]), number]


def to_slice(page: Any, stage: Any, number: int) -> None:
    """Write a number beside the slider."""
    field = page.locator("#medical-slice input[type=number]")
    field.fill(str(number))
    stage.after(lambda: field.press("Enter"))


def drag_box(stage: Any, shares: list[float]) -> None:
    width, height = stage.photo_size()
    stage.tool("box")
    x1, y1, x2, y2 = np.multiply(shares, (width, height, width, height))
    stage.drag((x1, y1), ((x1 + x2) / 2, y2), (x2, y2))


@pytest.fixture(scope="module")
def adapters_own(odd_volume: Path, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the adapter's own command writes for that box."""
    predictor = services.pool.predictor(SPECIALIST)
    model = Model(predictor=predictor, identity=model_identity(predictor, SPECIALIST))
    box = tuple(float(value) for value in organ_box()[1])
    text = PromptText(label="object1", kind="box3d", values=box)
    out = tmp_path_factory.mktemp("own")
    run_volume(odd_volume, [text], out, model, settings=Settings(axis="sagittal"))
    return out


def same_volume(one: Path, other: Path, source: Path) -> np.ndarray:
    first, second, given = nibabel.load(one), nibabel.load(other), nibabel.load(source)
    assert np.array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
    assert np.array_equal(first.affine, given.affine)
    assert first.shape == given.shape
    assert [int(first.header[code]) for code in ("sform_code", "qform_code")] == [2, 1]
    assert first.header.get_zooms() == given.header.get_zooms()
    return np.asarray(first.dataobj)


def test_upload_box_follow_and_take_home(
    address: str,
    new_page: Any,
    stage_of: Any,
    downloaded: Any,
    odd_volume: Path,
    adapters_own: Path,
) -> None:
    page = new_page(address)
    stage = stage_of(page, "medical")
    stage.upload(odd_volume)
    assert "odd.nii.gz: 40 x 40 x 16 voxels of 1 x 1 x 2 mm" in stage.message
    assert page.locator("#medical-axis input[value=sagittal]").is_checked()
    shares, box = organ_box()
    to_slice(page, stage, box[2])
    plain = stage.pixels()
    drag_box(stage, shares)
    assert np.abs(stage.pixels().astype(int) - plain).max() > 60
    assert json.loads(downloaded(page, "#medical-prompts").read_text())["objects"][0]["boxes"] == [box]
    stage.after(lambda: page.click("#medical-follow"))
    assert f"Followed with {SPECIALIST}" in stage.message
    page.locator("#medical-surface canvas").wait_for()  # and nothing was asked for outside (new_page)
    assert "object1" in page.locator("#medical-status").inner_text()

    own = adapters_own
    labels = same_volume(downloaded(page, "#medical-labels"), own / "labels.nii.gz", odd_volume)
    alpha = same_volume(downloaded(page, "#medical-alpha"), own / "object1_alpha.nii.gz", odd_volume)
    assert labels.sum() > 50
    report = json.loads(downloaded(page, "#medical-report").read_text())
    own_report = json.loads((own / "report.json").read_text())
    assert report["labels"] == own_report["labels"]
    assert downloaded(page, "#medical-surface-file").read_bytes()[:4] == b"glTF"
    assert downloaded(page, "#medical-montage-file").read_bytes()[1:4] == b"PNG"

    other = int(np.flatnonzero((alpha > 0.5).any((0, 1)))[0])
    to_slice(page, stage, other)  # the outline is there on slices that were never prompted
    with_matte = stage.pixels()
    stage.view("photo")
    assert np.abs(stage.pixels().astype(int) - with_matte).max() > 60
    stage.view("picture:outlines")
    reddish = stage.pixels().astype(int)
    assert (reddish[..., 0] - reddish[..., 2] > 60).sum() > 20
    stage.after(lambda: page.locator("#medical-axis").get_by_text("axial").click())
    stage.view("matte")
    assert stage.photo_size() == (205, 256)  # 32 x 40 mm, true proportions


@pytest.mark.parametrize("flip", [False, True])
def test_a_click_is_the_voxel_under_it(
    address: str, new_page: Any, stage_of: Any, downloaded: Any, tmp_path: Path, flip: bool
) -> None:
    values = np.arange(20 * 24 * 10, dtype=np.float32).reshape(20, 24, 10)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    if flip:  # the same bodies, stored from right to left, from up to down, axes exchanged
        values = values[::-1, :, ::-1].transpose(2, 0, 1)
        affine = np.array([[0, -1.0, 0, 19], [0, 0, 1.0, 0], [-3.0, 0, 0, 27], [0, 0, 0, 1]])
    path = tmp_path / "numbers.nii"
    nibabel.Nifti1Image(np.ascontiguousarray(values), affine).to_filename(path)
    page = new_page(address)
    stage = stage_of(page, "medical")
    stage.upload(path)
    width, height = stage.photo_size()
    stage.tool("background")  # nothing is asked
    stage.click(int((7 + 0.5) / 20 * width), int((5 + 0.5) / 24 * height))
    number = int(page.locator("#medical-slice input[type=number]").input_value())
    i, j, k, label = json.loads(downloaded(page, "#medical-prompts").read_text())["objects"][0]["points"][0]
    assert label == 0
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    depth = 9 - number if flip else number
    assert values[i, j, k] == np.asarray(canonical.dataobj)[7, 24 - 1 - 5, depth]
    assert (i, j, k)[0 if flip else 2] == number
    world = (affine @ [i, j, k, 1])[:3]
    assert np.allclose(world, [7, 18, 3 * depth])


def test_example_3d_box_other_object_undo_and_stop(address: str, new_page: Any, stage_of: Any, downloaded: Any) -> None:
    page = new_page(address)
    stage = stage_of(page, "medical")
    stage.example("organs")
    assert stage.photo_size() == (256, 256)
    drag_box(stage, [0.08, 0.46, 0.5, 0.94])
    page.get_by_text("3-D box: let the box").click()
    page.locator("#medical-first input").fill("15")
    page.locator("#medical-last input").fill("17")
    stage.after(lambda: page.click("#medical-thick"))
    drawn = json.loads(downloaded(page, "#medical-prompts").read_text())["objects"][0]
    assert [drawn["boxes"][0][2], drawn["boxes"][0][5]] == [15, 17]
    stage.after(lambda: page.click("#medical-add"))
    stage.tool("foreground")
    stage.click(int(0.74 * 256), int(0.27 * 256))
    drawn = json.loads(downloaded(page, "#medical-prompts").read_text())
    assert [one["label"] for one in drawn["objects"]] == ["object1", "object2"]
    stage.after(lambda: page.click("#medical-undo"))
    assert len(json.loads(downloaded(page, "#medical-prompts").read_text())["objects"]) == 1

    before = stage.revision
    page.click("#medical-follow")
    page.locator("#medical-status").get_by_text("slices answered").wait_for()
    page.click("#medical-stop")
    stage.settled(before)
    assert "following again goes on from there" in stage.message
    stage.after(lambda: page.click("#medical-follow"))
    labels = np.asarray(nibabel.load(downloaded(page, "#medical-labels")).dataobj)
    assert np.flatnonzero(labels.any((0, 1))).tolist() == [15, 16, 17]


def test_what_is_no_volume_is_told_and_time_is_asked_for(
    address: str, new_page: Any, stage_of: Any, tmp_path: Path
) -> None:
    page = new_page(address, PHONE)
    stage = stage_of(page, "medical")
    huge = nibabel.Nifti1Header()
    huge.set_data_shape((600, 600, 600))
    (tmp_path / "huge.nii").write_bytes(huge.binaryblock + bytes(100))
    stage.upload(tmp_path / "huge.nii")
    assert "expected at most 512 x 512 x 400 voxels" in stage.message
    series = np.zeros((8, 9, 10, 3), np.int16)
    nibabel.Nifti1Image(series, np.eye(4)).to_filename(tmp_path / "series.nii.gz")
    stage.upload(tmp_path / "series.nii.gz")
    assert "has 3 time steps: choose one from 0 to 2" in stage.message
    page.locator("#medical-time input").fill("7")
    stage.after(lambda: page.click("#medical-open-step"))
    assert "expected a step from 0 to 2 of series.nii.gz, got 7" in stage.message
    page.locator("#medical-time input").fill("2")
    stage.after(lambda: page.click("#medical-open-step"))
    assert "series.nii.gz: 8 x 9 x 10 voxels" in stage.message
    stage.after(lambda: page.click("#medical-follow"))
    assert "expected a box or a click on the object on some slice" in stage.message
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    stage.example("vessels")
    assert stage.photo_size() == (256, 256)


def test_as_an_api(address: str, adapters_own: Path, odd_volume: Path) -> None:
    client_api = pytest.importorskip("gradio_client")
    client = client_api.Client(address, verbose=False)
    own, (_, box) = adapters_own, organ_box()
    given = {"objects": [{"label": "object1", "boxes": [box]}], "axis": "sagittal"}
    volume = client_api.handle_file(str(odd_volume))
    labels, alphas, report = client.predict(volume, given, SPECIALIST, api_name="/medical_volume")
    same_volume(Path(labels), own / "labels.nii.gz", odd_volume)
    same_volume(Path(alphas[0]), own / "object1_alpha.nii.gz", odd_volume)
    told = json.loads(Path(report).read_text())
    assert told["labels"] == json.loads((own / "report.json").read_text())["labels"]
    assert (told["input"], told["identity"]["model"]) == ("odd.nii.gz", SPECIALIST)
    wrong: list[tuple[Any, str, str]] = [
        (given, "os:system", "model: expected one of zim_tiny_medical, zim_tiny, sam_tiny"),
        ({"boxes": [[0, 0, 0, 99, 0, 0]], "axis": "nowhere"}, SPECIALIST, "axis: expected auto"),
        ({"points": [[0, 0, 99, 1]]}, SPECIALIST, "point: expected voxels inside the file's"),
        ("box", SPECIALIST, "prompts: expected a JSON object"),
    ]
    for prompts, model, message in wrong:
        with pytest.raises(Exception, match=message):
            client.predict(volume, prompts, model, api_name="/medical_volume")
