"""The whole-image generator: known discs, the stock generator on the same weights, and bounds on memory."""

import dataclasses
import inspect
import json
from typing import Any

import numpy as np
import pytest
import torch

import zim
from zim import automatic_mask_generator as module
from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
from zim.compat.segment_anything import import_segment_anything
from zim.errors import ConfigError, ImageError
from zim.evaluation.sam_baseline import SamBaselinePredictor, build_sam_tiny
from zim.modeling.config import ZIM_QUALITY_SCALE, ZIM_STABILITY_SCALE, ZIM_TEST
from zim.modeling.zim import Zim
from zim.point_asking import Calibration, ask_points, stability_score
from zim.predictor import ZimPredictor
from zim.rle import decode_mask, from_dict

SAM_KEYS = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}
SAM_TEST = dataclasses.replace(ZIM_TEST, architecture="sam", prompt_attention="none", pixel_decoder="sam")

DISCS = ((30, 25, 12.5), (75, 60, 20.5), (120, 30, 15.5))  # x, y, radius
HW = (90, 160)


class Discs:
    """Answers a point with the disc that contains it: logits = slope * (radius - distance to its centre).

    Works on crops, too: the image carries its own coordinates in its red and green channels. The second answer
    is the same disc of lower quality, the third is everything, of a quality that no filter lets through.
    """

    slope = 10.0

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.images.append(image)

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert return_logits and point_labels.tolist() == [1]
        image = self.images[-1].astype(np.float32)
        x, y = image[..., 0], image[..., 1]
        left, top = image[0, 0, 0], image[0, 0, 1]
        (px, py), answers = point_coords[0], np.full((3, *x.shape), -9, np.float32)
        for cx, cy, radius in DISCS:
            if np.hypot(px + left - cx, py + top - cy) < radius:
                answers[:2] = self.slope * (radius - np.hypot(x - cx, y - cy))
        answers[2] = 9
        count = 3 if multimask_output else 1
        return answers[:count], np.array([0.9, 0.89, 0.5], np.float32)[:count], np.zeros((count, 256, 256), np.float32)


def coordinates() -> np.ndarray:
    y, x = np.mgrid[: HW[0], : HW[1]]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


def disc(x: int, y: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    return np.hypot(columns - x, rows - y) < radius


def by_column(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: record["bbox"][0])


def generate(**settings: Any) -> list[dict[str, Any]]:
    return ZimAutomaticMaskGenerator(Discs(), **{"points_per_side": 8, **settings}).generate(coordinates())


def test_each_disc_once_with_exact_records() -> None:
    records = by_column(generate())
    assert len(records) == len(DISCS)
    for record, (x, y, radius) in zip(records, DISCS, strict=True):
        expected = disc(x, y, radius)
        np.testing.assert_array_equal(record["segmentation"], expected)
        assert record["segmentation"].dtype == bool
        assert record["area"] == expected.sum()
        assert record["bbox"] == [x - int(radius), y - int(radius), int(2 * radius) - 1, int(2 * radius) - 1]
        assert record["predicted_iou"] == pytest.approx(0.9)
        assert record["crop_box"] == [0, 0, HW[1], HW[0]]
        ((px, py),) = record["point_coords"]
        assert expected[round(py - 0.01), round(px - 0.01)]
        # the thresholds +-1 move the edge by 1 / slope = a tenth of a pixel
        rows, columns = np.mgrid[: HW[0], : HW[1]]
        distance = np.hypot(columns - x, rows - y)
        ratio = (distance < radius - 0.1).sum() / (distance < radius + 0.1).sum()
        assert record["stability_score"] == pytest.approx(ratio)


def test_alpha_is_the_sigmoid_around_the_mask() -> None:
    for record, (x, y, radius) in zip(by_column(generate()), DISCS, strict=True):
        rows, columns = np.mgrid[: HW[0], : HW[1]]
        logits = np.clip(10.0 * (radius - np.hypot(columns - x, rows - y)), -50, 50)
        expected = 255 / (1 + np.exp(-logits))
        left, top, width, height = record["alpha_box"]
        assert record["alpha"].shape == (height, width) and record["alpha"].dtype == np.uint8
        frame = np.zeros(HW)
        frame[top : top + height, left : left + width] = record["alpha"]
        np.testing.assert_allclose(frame, expected, atol=0.51)
        assert record["alpha"].any(axis=0)[[0, -1]].all() and record["alpha"].any(axis=1)[[0, -1]].all()


def test_filters() -> None:
    assert generate(pred_iou_thresh=0.9) == []  # "above", and 0.9 in float32 is below the double
    assert generate(stability_score_offset=8.0) == []  # moves each edge by 0.8 pixels
    everything = generate(pred_iou_thresh=0.0, points_per_side=2)
    assert max(record["area"] for record in everything) == HW[0] * HW[1]
    assert len(generate(box_nms_thresh=1.0)) > len(DISCS)


def test_a_mask_is_kept_by_its_quality_not_by_its_order() -> None:
    records = generate(box_nms_thresh=0.7)
    assert [record["predicted_iou"] for record in records] == pytest.approx([0.9] * 3)


def test_masks_cut_by_a_crop_are_dropped_and_duplicates_of_crops_too() -> None:
    """The middle disc reaches over the edges of crops; the other two lie whole in one crop."""
    predictor = Discs()
    generator = ZimAutomaticMaskGenerator(predictor, points_per_side=8, crop_n_layers=1, crop_overlap_ratio=0.2)
    records = by_column(generator.generate(coordinates()))
    assert [image.shape[:2] for image in predictor.images] == [(90, 160), *[(54, 89)] * 4]
    for record, each in zip(records, DISCS, strict=True):
        np.testing.assert_array_equal(record["segmentation"], disc(*each))
        left, top, _, _ = record["alpha_box"]
        assert abs(left - (each[0] - each[2])) <= 2 and abs(top - (each[1] - each[2])) <= 2
    assert [record["crop_box"] for record in records][1] == [0, 0, 160, 90]
    whole = ZimAutomaticMaskGenerator(Discs(), points_per_side=8).generate(coordinates())
    assert len(records) == len(whole)


def test_output_modes_say_the_same_and_go_into_json() -> None:
    arrays = generate()
    for mode in ("uncompressed_rle", "coco_rle"):
        records = generate(output_mode=mode)
        for record, other in zip(records, arrays, strict=True):
            entry = json.loads(json.dumps(record["segmentation"]))
            np.testing.assert_array_equal(decode_mask(from_dict(entry)), other["segmentation"])
            assert isinstance(entry["counts"], str if mode == "coco_rle" else list)


def test_point_grids_are_asked_in_pixels() -> None:
    grid = np.array([[30 / 160, 25 / 90], [0.999, 0.999]])
    (record,) = generate(points_per_side=None, point_grids=[grid])
    assert record["point_coords"] == [[pytest.approx(30), pytest.approx(25)]]


def test_progress_counts_all_points() -> None:
    seen: list[tuple[int, int]] = []
    generator = ZimAutomaticMaskGenerator(Discs(), points_per_side=3, points_per_batch=4, crop_n_layers=1)
    generator.generate(coordinates(), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == [4, 8, 9, 13, 17, 18, 22, 26, 27, 31, 35, 36, 40, 44, 45]
    assert {total for _, total in seen} == {45}


class Speckled(Discs):
    """Each disc has a hole of 4 pixels and an island of 9 beside it."""

    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits, quality, low = super().predict(*args, **kwargs)
        for x, y, radius in DISCS:
            for answer in logits[:2]:
                if answer[y, x] > 0:
                    answer[y : y + 2, x : x + 2] = -9
                    answer[y - 1 : y + 2, x + int(radius) + 3 : x + int(radius) + 6] = 9
                    answer[y, x + int(radius) + 6] = -2  # its soft edge
        return logits, quality, low


def test_small_regions_are_cleaned_in_mask_and_alpha() -> None:
    for min_area, clean in ((10, True), (9, False)):
        generator = ZimAutomaticMaskGenerator(Speckled(), points_per_side=8, min_mask_region_area=min_area)
        records = by_column(generator.generate(coordinates()))
        assert len(records) == 3
        for record, (x, y, radius) in zip(records, DISCS, strict=True):
            expected = disc(x, y, radius)  # the hole of 4 is filled in both cases
            if not clean:
                expected[y - 1 : y + 2, x + int(radius) + 3 : x + int(radius) + 6] = True
            np.testing.assert_array_equal(record["segmentation"], expected)
            assert record["area"] == expected.sum()
            frame = np.zeros(HW, np.uint8)
            left, top, width, height = record["alpha_box"]
            frame[top : top + height, left : left + width] = record["alpha"]
            np.testing.assert_array_equal(frame > 127, expected)
            assert frame[y, x] == 255
            assert bool(frame[y, x + int(radius) + 6]) is not clean


@pytest.fixture(scope="module")
def sam(photo: np.ndarray) -> Any:
    """A real `Sam` of 128 pixels whose random answers differ from point to point and are small."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = build_sam_tiny(SAM_TEST)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
            for mlp in made.mask_decoder.output_hypernetworks_mlps:
                mlp.layers[-1].weight.mul_(4)
            for parameter in list(made.prompt_encoder.dense_prompt_map.parameters())[-2:]:
                parameter.mul_(200)
            made.mask_decoder.iou_prediction_head.layers[-1].bias += 5
    predictor = import_segment_anything().SamPredictor(made.eval())
    predictor.set_image(photo)
    coords = torch.rand(20, 1, 2) * torch.tensor([128, 72])
    logits, _, _ = predictor.predict_torch(coords, torch.ones(20, 1, dtype=torch.int), return_logits=True)
    made.mask_threshold = float(np.quantile(logits.numpy(), 0.9))
    return made


STOCK_OFFSET = 0.2


def middle_of(sam: Any, image: np.ndarray) -> dict[str, float]:
    """Thresholds of quality and stability that let about half of the answers through."""
    free = import_segment_anything().SamAutomaticMaskGenerator(
        sam,
        points_per_side=4,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.01,
        stability_score_offset=STOCK_OFFSET,
        box_nms_thresh=1.0,
    )
    records = free.generate(image)
    qualities = [record["predicted_iou"] for record in records]
    stabilities = [record["stability_score"] for record in records]
    assert min(stabilities) < 0.9 < max(stabilities)
    return {
        "stability_score_offset": STOCK_OFFSET,
        "pred_iou_thresh": float(np.median(qualities)),
        "stability_score_thresh": float(np.quantile(stabilities, 0.2)),
    }


STOCK_SETTINGS: list[dict[str, Any]] = [
    {},
    {"points_per_batch": 5},
    {"crop_n_layers": 1},
    {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "min_mask_region_area": 60},
    {"min_mask_region_area": 200, "box_nms_thresh": 0.5},
    {"crop_n_layers": 2, "crop_nms_thresh": 0.5, "crop_overlap_ratio": 0.5, "points_per_side": 3},
    {"point_grids": [np.random.default_rng(0).random((20, 2))], "points_per_side": None},
]


@pytest.mark.parametrize("settings", STOCK_SETTINGS)
def test_equals_the_stock_generator(sam: Any, photo: np.ndarray, settings: dict[str, Any]) -> None:
    """The same weights under segment_anything's generator: the same masks, boxes, points, scores and order."""
    common: dict[str, Any] = {"points_per_side": 5, **middle_of(sam, photo), **settings}
    expected = import_segment_anything().SamAutomaticMaskGenerator(sam, **common).generate(photo)
    _same_records(ZimAutomaticMaskGenerator(sam, **common).generate(photo), expected)


def test_points_one_by_one_equal_the_stock_generator(sam: Any, photo: np.ndarray) -> None:
    """A predictor that has `predict` and nothing else."""
    common: dict[str, Any] = {"points_per_side": 3, **middle_of(sam, photo), "crop_n_layers": 1}
    expected = import_segment_anything().SamAutomaticMaskGenerator(sam, **common).generate(photo)
    received = ZimAutomaticMaskGenerator(SamBaselinePredictor(sam), **common).generate(photo)
    _same_records(received, expected, scores_within=1e-4)


def _same_records(
    received: list[dict[str, Any]], expected: list[dict[str, Any]], scores_within: float = 1e-6
) -> None:
    assert len(received) == len(expected) > 2
    for ours, stock in zip(received, expected, strict=True):
        assert set(ours) - set(stock) == {"alpha", "alpha_box"} and set(stock) == SAM_KEYS
        np.testing.assert_array_equal(ours["segmentation"], stock["segmentation"])
        for key in ("area", "bbox", "point_coords", "crop_box"):
            assert ours[key] == stock[key], key
        for key in ("predicted_iou", "stability_score"):
            assert ours[key] == pytest.approx(stock[key], abs=scores_within), key


def test_drives_zim_as_stock_does(tiny_zim: Zim, photo: np.ndarray) -> None:
    """A ZIM under our generator and, through SAM's own predictor, under the stock one."""
    settings: dict[str, Any] = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.3}
    stock = import_segment_anything().SamAutomaticMaskGenerator(tiny_zim, **settings, stability_score_offset=0.1)
    scale = tiny_zim.config.stability_scale_in_use
    ours = ZimAutomaticMaskGenerator(tiny_zim, **settings, stability_score_offset=0.1 / scale)
    expected, received = stock.generate(photo), ours.generate(photo)
    assert len(received) == len(expected) > 0
    for one, other in zip(received, expected, strict=True):
        differing = (one["segmentation"] != other["segmentation"]).mean()
        assert differing < 0.002
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-5)


def test_signature_and_defaults_are_those_of_sam() -> None:
    stock = inspect.signature(import_segment_anything().SamAutomaticMaskGenerator.__init__).parameters
    ours = inspect.signature(ZimAutomaticMaskGenerator.__init__).parameters
    assert [(name, each.default) for name, each in ours.items()] == [
        (name, each.default) for name, each in stock.items()
    ]
    assert zim.ZimAutomaticMaskGenerator is ZimAutomaticMaskGenerator


def test_scales_of_the_models(tiny_zim: Zim, sam: Any) -> None:
    assert ZimAutomaticMaskGenerator(sam).calibration == Calibration(1.0, 1.0)
    assert ZimAutomaticMaskGenerator(Discs()).calibration == Calibration(1.0, 1.0)
    generator = ZimAutomaticMaskGenerator(ZimPredictor(tiny_zim))
    assert generator.calibration == Calibration(ZIM_QUALITY_SCALE, ZIM_STABILITY_SCALE)


def test_scales_move_the_thresholds() -> None:
    generator = ZimAutomaticMaskGenerator(Discs(), points_per_side=8, pred_iou_thresh=0.99)
    assert generator.generate(coordinates()) == []
    generator.calibration = Calibration(quality_scale=0.9)
    assert len(generator.generate(coordinates())) == 3
    generator.calibration = Calibration(quality_scale=0.9, stability_scale=8.0)
    assert generator.generate(coordinates()) == []


def test_configs_carry_the_scales_without_changing_older_ones() -> None:
    assert not {"quality_scale", "stability_scale"} & set(ZIM_TEST.to_dict())
    set_ = dataclasses.replace(ZIM_TEST, quality_scale=0.5, stability_scale=0.25)
    again = type(set_).from_dict(json.loads(json.dumps(set_.to_dict())))
    assert (again.quality_scale_in_use, again.stability_scale_in_use) == (0.5, 0.25)
    assert again == ZIM_TEST  # the same network
    assert (SAM_TEST.quality_scale_in_use, SAM_TEST.stability_scale_in_use) == (1.0, 1.0)
    with pytest.raises(ConfigError, match=r"config.stability_scale: expected a positive number or None, got -1"):
        dataclasses.replace(ZIM_TEST, stability_scale=-1)


def test_stability_of_a_ramp() -> None:
    """A ramp of 1 per column around 0 at column 50: IoU = (50 - k) / (50 + k) for integer offsets k + 0.5."""
    ramp = (50 - torch.arange(100.0) - 0.5).repeat(7, 1)
    assert stability_score(ramp, 0.0, 10.0) == pytest.approx(40 / 60)
    assert stability_score(ramp, 5.0, 10.0) == pytest.approx(35 / 55)
    assert stability_score(ramp - 200, 0.0, 1.0) == 0.0


def test_points_are_taken_in_turns_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many points a batch may have, the logits held at once stay below the bound."""
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 2 * 3 * HW[0] * HW[1])
    sizes: list[int] = []
    ask = ask_points

    def counted(predictor: Any, points: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(points))
        return ask(predictor, points, *args, **kwargs)

    monkeypatch.setattr(module, "ask_points", counted)
    assert len(generate(points_per_side=7)) == 3
    assert sizes == [2] * 24 + [1]


def test_early_removal_of_duplicates_changes_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = generate(points_per_batch=3)
    runs: list[int] = []
    distinct = ZimAutomaticMaskGenerator._distinct

    def counted(self: ZimAutomaticMaskGenerator, found: list[Any]) -> list[Any]:
        runs.append(len(found))
        return distinct(self, found)

    monkeypatch.setattr(module, "PACKED_LIMIT", 1)
    monkeypatch.setattr(ZimAutomaticMaskGenerator, "_distinct", counted)
    received = generate(points_per_batch=3)
    assert len(runs) > 1 and len(received) == 3
    for one, other in zip(received, expected, strict=True):
        assert one["point_coords"] == other["point_coords"]
        np.testing.assert_array_equal(one["segmentation"], other["segmentation"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points_per_side": None}, "exactly one of points_per_side and point_grids"),
        ({"point_grids": [np.zeros((1, 2))]}, "exactly one of points_per_side and point_grids"),
        ({"output_mode": "png"}, "output_mode: expected one of binary_mask, uncompressed_rle, coco_rle, got 'png'"),
        ({"points_per_batch": 0}, "points_per_batch: expected an integer >= 1, got 0"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh: expected a finite number, got nan"),
        ({"box_nms_thresh": None}, "box_nms_thresh: expected a finite number, got None"),
        ({"crop_n_layers": -1}, "crop_n_layers: expected an integer >= 0, got -1"),
        ({"points_per_side": 4, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2}, "at least one point"),
        ({"points_per_side": None, "point_grids": [np.zeros((1, 2))], "crop_n_layers": 1}, "each of 2 layers, got 1"),
        ({"points_per_side": None, "point_grids": [np.full((1, 2), 3)]}, r"point_grids\[0\]: expected \(N, 2\) xy"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ZimAutomaticMaskGenerator(Discs(), **settings)


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="model: expected a Zim, a Sam or a predictor, got str"):
        ZimAutomaticMaskGenerator("zim_tiny")
    with pytest.raises(ImageError, match="image: expected dtype uint8"):
        ZimAutomaticMaskGenerator(Discs()).generate(np.zeros((4, 4, 3)))
