"""`zim auto` with a predictor whose answers are known: the files, going on after a break, and misuse."""

import csv
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import zim.loading
from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
from zim.cli import app
from zim.cli_auto import GENERATOR_SETTINGS, auto
from zim.errors import CheckpointError
from zim.image_io import read_alpha, read_gray, read_image, save_png
from zim.rle import decode_mask, from_dict

HW = (40, 60)
BLOCKS = ((5, 5, 21, 17), (30, 10, 51, 31))  # xyxy, x2 and y2 excluded


class Blocks:
    """A point in a block gives that block, its last column half transparent (logit 0.5, alpha 0.62)."""

    def __init__(self) -> None:
        self.photos = 0
        self.failing = False

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        assert image.shape[:2] == HW
        self.photos += 1
        if self.failing:
            raise RuntimeError("out of memory")

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits = np.full((3, *HW), -20, np.float32)
        x, y = point_coords[0]
        for left, top, right, bottom in BLOCKS:
            if left <= x < right and top <= y < bottom:
                logits[:, top:bottom, left:right] = 20
                logits[:, top:bottom, right - 1] = 0.5
        return logits, np.array([0.95, 0.9, 0.9], np.float32), np.zeros((3, 256, 256), np.float32)


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> Blocks:
    fake = Blocks()
    monkeypatch.setattr(zim.loading, "load_predictor", lambda name, device="auto": fake)
    return fake


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for index, name in enumerate(("first.png", "second.jpg")):
        folder.mkdir(exist_ok=True)
        values = np.random.default_rng(index).integers(0, 256, (*HW, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / name)
    return folder


SETTINGS = ("--points-per-side", 8, "--stability-score-offset", 0.1)


def _auto(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["auto", *map(str, arguments)])


def _block(index: int) -> np.ndarray:
    left, top, right, bottom = BLOCKS[index]
    mask = np.zeros(HW, bool)
    mask[top:bottom, left:right] = True
    return mask


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_files_of_a_photo(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = _auto(photos / "first.png", "-o", out, *SETTINGS)
    assert result.exit_code == 0, result.output
    assert str(out / "first") in result.output
    assert _files(out) == [
        *("first/0.png", "first/1.png", "first/alphas/0.png", "first/alphas/1.png"),
        *("first/coco.json", "first/metadata.csv", "first/overlay.png", "settings.json"),
    ]
    rows = list(csv.DictReader((out / "first" / "metadata.csv").read_text().splitlines()))
    annotations = json.loads((out / "first" / "coco.json").read_text())["annotations"]
    assert len(rows) == len(annotations) == 2
    for index, (row, annotation) in enumerate(zip(rows, annotations, strict=True)):
        left, top, right, bottom = BLOCKS[index]
        np.testing.assert_array_equal(read_gray(out / "first" / f"{index}.png"), _block(index) * np.uint8(255))
        alpha = read_alpha(out / "first" / annotation["alpha_file"])
        expected = _block(index).astype(float)
        expected[top:bottom, right - 1] = 1 / (1 + np.exp(-0.5))
        np.testing.assert_allclose(alpha, expected, atol=0.51 / 255)
        np.testing.assert_array_equal(decode_mask(from_dict(annotation["segmentation"])), _block(index))
        assert annotation["bbox"] == [left, top, right - left, bottom - top]
        assert int(row["area"]) == annotation["area"] == (right - left) * (bottom - top)
        assert [int(row[f"bbox_{name}"]) for name in ("x0", "y0", "w", "h")] == [
            *(left, top, right - left - 1, bottom - top - 1)
        ]
        assert left <= float(row["point_input_x"]) < right and top <= float(row["point_input_y"]) < bottom
        assert float(row["predicted_iou"]) == pytest.approx(0.95)
        assert [row[f"crop_box_{name}"] for name in ("x0", "y0", "w", "h")] == ["0", "0", "60", "40"]


def test_csv_has_the_columns_of_sams_script(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    _auto(photos / "first.png", "-o", tmp_path / "out", *SETTINGS)
    header = (tmp_path / "out" / "first" / "metadata.csv").read_text().splitlines()[0]
    assert header == (
        "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,"
        "stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
    )


def test_coco_file_is_read_by_pycocotools(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    _auto(photos / "first.png", "-o", tmp_path / "out", *SETTINGS)
    content = json.loads((tmp_path / "out" / "first" / "coco.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "first.png", "width": 60, "height": 40}]
    for annotation in content["annotations"]:
        assert coco.area(annotation["segmentation"]) == annotation["area"]
        assert coco.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]


def test_overlay_colours_the_objects_and_nothing_else(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    _auto(photos / "first.png", "-o", tmp_path / "out", *SETTINGS)
    photo, painted = read_image(photos / "first.png"), read_image(tmp_path / "out" / "first" / "overlay.png")
    covered = _block(0) | _block(1)
    np.testing.assert_array_equal(painted[~covered], photo[~covered])
    change = painted.astype(float) - 0.4 * photo
    first = change[_block(0)][[0, 20, 40]]
    assert np.ptp(first, axis=0).max() <= 1  # the same colour on every pixel: 0.6 of it
    assert np.abs(first[0] - change[15, 35]).max() > 50


def test_sams_json(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _auto(photos, "--output", out, "--convert-to-rle", *SETTINGS).exit_code == 0
    assert _files(out) == ["first.json", "second.json", "settings.json"]
    records = json.loads((out / "first.json").read_text())
    for index, record in enumerate(records):
        assert list(record) == [
            *("segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box")
        ]
        np.testing.assert_array_equal(decode_mask(from_dict(record["segmentation"])), _block(index))


def test_finished_photos_are_skipped(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _auto(photos / "first.png", "-o", out, *SETTINGS).exit_code == 0
    mark = out / "first" / "0.png"
    before = mark.stat().st_mtime_ns
    result = _auto(photos, "-o", out, *SETTINGS)
    assert result.exit_code == 0 and "1 of 2 photos are finished already" in result.output
    assert predictor.photos == 2 and mark.stat().st_mtime_ns == before
    assert _auto(photos, "-o", out, *SETTINGS, "--points-per-batch", 5).exit_code == 0
    assert predictor.photos == 2
    assert _auto(photos, "-o", out, *SETTINGS, "--overwrite").exit_code == 0
    assert predictor.photos == 4 and mark.stat().st_mtime_ns > before


def test_a_broken_off_photo_leaves_nothing_that_counts(
    photos: Path, predictor: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("zim.mask_files.overlay", lambda image, candidates: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(app, ["auto", str(photos / "first.png"), "-o", str(out)], catch_exceptions=False)
    assert _files(out) == ["settings.json"]
    monkeypatch.undo()
    (out / ".first.partial" / "alphas").mkdir(parents=True)  # what a killed run leaves
    monkeypatch.setattr(zim.loading, "load_predictor", lambda name, device="auto": predictor)
    assert _auto(photos / "first.png", "-o", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["first", "settings.json"]


def test_one_failing_photo_does_not_stop_the_others(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    (photos / "a_broken.png").write_bytes(b"no picture")
    result = _auto(photos, "-o", tmp_path / "out", *SETTINGS)
    assert result.exit_code == 1
    assert "a_broken.png cannot be decoded" in result.output and "1 of 3 photos failed" in result.output
    assert (tmp_path / "out" / "first").is_dir() and (tmp_path / "out" / "second").is_dir()
    predictor.failing = True
    result = _auto(photos / "first.png", "-o", tmp_path / "other")
    assert result.exit_code == 1 and "first.png: out of memory" in result.output


def test_other_settings_do_not_mix(photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _auto(photos / "first.png", "-o", out, *SETTINGS).exit_code == 0
    result = _auto(photos, "-o", out, *SETTINGS, "--box-nms-thresh", 0.5)
    assert result.exit_code == 2
    assert "begun with other settings (box_nms_thresh 0.7, now 0.5)" in result.output
    assert not (out / "second").exists()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("twins", "expected photos of different names"),
        ("foreign folder", "exists and is no result of this command"),
        ("file", "--out: expected a folder, got the file"),
        ("empty folder", "expected pictures in the folder"),
        ("settings", "cannot read"),
        ("impossible layers", "crop_n_points_downscale_factor: expected at least one point"),
    ],
)
def test_misuse(case: str, message: str, photos: Path, predictor: Blocks, tmp_path: Path) -> None:
    out, inputs, extra = tmp_path / "out", [photos], []
    if case == "twins":
        save_png(photos / "second.png", np.zeros((*HW, 3), np.uint8))
    elif case == "foreign folder":
        (out / "second").mkdir(parents=True)
    elif case == "file":
        out = photos / "first.png"
    elif case == "empty folder":
        inputs = [tmp_path / "none"]
        inputs[0].mkdir()
    elif case == "settings":
        out.mkdir()
        (out / "settings.json").write_text("[1]")
    else:
        extra = ["--points-per-side", 2, "--crop-n-layers", 2, "--crop-n-points-downscale-factor", 2]
    result = _auto(*inputs, "-o", out, *extra)
    assert result.exit_code == 2 and message in result.output, result.output
    assert "Traceback" not in result.output and predictor.photos == 0


def test_a_model_that_cannot_be_loaded_settles_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, device: str = "auto") -> Any:
        raise CheckpointError("damaged")

    monkeypatch.setattr(zim.loading, "load_predictor", fail)
    result = _auto(photos, "-o", tmp_path / "out")
    assert result.exit_code == 1 and "zim: error: damaged" in result.output
    assert not (tmp_path / "out").exists()


def test_options_are_those_of_the_generator() -> None:
    """Every setting of the constructor that a command line can carry, with its default."""
    ours = inspect.signature(auto).parameters
    constructor = inspect.signature(ZimAutomaticMaskGenerator.__init__).parameters
    expected = set(constructor) - {"self", "model", "point_grids", "output_mode"}
    assert set(GENERATOR_SETTINGS) == expected
    assert {name: ours[name].default for name in expected} == {name: constructor[name].default for name in expected}
