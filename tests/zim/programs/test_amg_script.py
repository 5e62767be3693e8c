"""The call pattern of segment-anything's `scripts/amg.py`: whole-image masks as PNG files with a table, or as RLE."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
from zim.modeling.zim import Zim
from zim.rle import decode_mask, from_dict

KEYS = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}
SETTINGS: dict[str, Any] = {
    "points_per_side": 3,
    "points_per_batch": 4,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
    "crop_n_layers": 1,
    "crop_n_points_downscale_factor": 2,
    "min_mask_region_area": 20,
}


def run_program(photo: np.ndarray, output_mode: str) -> list[dict[str, Any]]:
    """Build by a hard-coded name, move to the GPU, generate."""
    from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

    sam = sam_model_registry["vit_h"](checkpoint="sam_vit_h_4b8939.pth")
    _ = sam.to(device="cuda")
    return SamAutomaticMaskGenerator(sam, output_mode=output_mode, **SETTINGS).generate(photo)


@pytest.fixture(scope="module")
def expected(tiny_zim: Zim, photo: np.ndarray) -> list[dict[str, Any]]:
    records = ZimAutomaticMaskGenerator(tiny_zim, **SETTINGS).generate(photo)
    assert len(records) >= 3
    return records


@pytest.mark.usefixtures("program")
def test_masks_go_into_png_files_and_a_table(
    photo: np.ndarray, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    masks = run_program(photo, "binary_mask")
    rows = []
    for number, record in enumerate(masks):
        assert record["segmentation"].dtype == np.bool_
        cv2.imwrite(str(tmp_path / f"{number}.png"), record["segmentation"].astype(np.uint8) * 255)
        numbers = [*record["bbox"], *record["point_coords"][0], record["predicted_iou"], record["stability_score"]]
        rows.append([number, record["area"], *numbers, *record["crop_box"]])
    with (tmp_path / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    with (tmp_path / "metadata.csv").open(newline="") as stream:
        table = list(csv.reader(stream))
    assert len(table) == len(expected)
    for row, record in zip(table, expected, strict=True):
        stored = cv2.imread(str(tmp_path / f"{row[0]}.png"), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(stored > 127, record["segmentation"])
        assert int(row[1]) == record["segmentation"].sum()
        assert [float(value) for value in row[2:6]] == [float(value) for value in record["bbox"]]


@pytest.mark.usefixtures("program")
def test_coco_encodings_go_into_json_and_come_back(photo: np.ndarray, expected: list[dict[str, Any]]) -> None:
    masks = json.loads(json.dumps(run_program(photo, "coco_rle")))
    assert all(set(record) == KEYS for record in masks)
    assert [record["area"] for record in masks] == [record["area"] for record in expected]
    for record, wanted in zip(masks, expected, strict=True):
        assert isinstance(record["segmentation"]["counts"], str)
        assert np.array_equal(decode_mask(from_dict(record["segmentation"])), wanted["segmentation"])


@pytest.mark.usefixtures("program")
def test_the_generators_predictor_answers_as_sams(tiny_zim: Zim, photo: np.ndarray, direct: Any) -> None:
    from segment_anything import SamAutomaticMaskGenerator

    predictor = SamAutomaticMaskGenerator(tiny_zim).predictor
    predictor.set_image(photo)
    box = np.array([20, 10, 110, 70])
    masks = predictor.predict(box=box)[0]
    assert masks.dtype == np.bool_
    assert np.array_equal(masks, direct.predict(box=box)[0])


@pytest.mark.usefixtures("program")
def test_hq_sams_single_answer_a_point(tiny_zim: Zim, photo: np.ndarray) -> None:
    """HQ-SAM's generator takes `multimask_output`; then every mask is token 0 of its point."""
    from segment_anything_hq import SamAutomaticMaskGenerator, SamPredictor

    loose = {name: SETTINGS[name] for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh")}
    generator = SamAutomaticMaskGenerator(model=tiny_zim, points_per_side=2, **loose)
    records = generator.generate(photo, multimask_output=False)
    assert 1 <= len(records) <= 4
    predictor = SamPredictor(tiny_zim)
    predictor.set_image(photo)
    with torch.no_grad():
        for record in records:
            answer = predictor.predict(np.array(record["point_coords"]), np.ones(1), multimask_output=False)[0][0]
            assert (answer != record["segmentation"]).mean() < 1e-3
