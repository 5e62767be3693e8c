"""`ZimAutomaticMaskGenerator`: every object of an image without prompts, by asking at a grid of points.

Written once over the predictor protocol: a ZIM, a SAM, or any object with `set_image` and `predict` can be asked.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zim.checks import check_positive_int
from zim.crops import Crop, crops_of, is_near_crop_edge, point_grids
from zim.errors import ConfigError
from zim.image_conversion import to_rgb
from zim.logit_windows import Promising
from zim.mask_records import OUTPUT_MODES, MaskCandidate, OutputMode, to_record
from zim.nms import nms
from zim.packed_alpha import pack_logits
from zim.point_asking import ask_points, calibration_of, predictor_of, stability_score
from zim.region_cleanup import box_of, clean
from zim.rle import encode_window

LOGITS_AT_ONCE = 2**25  # float32 logits of the original frame held at a time: 128 MiB
POINTS_AT_ONCE = 32  # with three answers each of 512 x 512 cells, at most 96 MiB
MASKS_PER_POINT = 3
NOTHING = np.full((1, 1), -np.inf, dtype=np.float32)
PACKED_LIMIT = 2**30
"""Bytes of compressed masks from which on duplicates of a crop are dropped before all its points are answered."""

Progress = Callable[[int, int], None]


class ZimAutomaticMaskGenerator:
    """Masks and alphas of everything in an image; SAM's arguments, filters and records.

    The predicted quality has to be above `pred_iou_thresh` times the model's quality scale, and the stability
    is the IoU of the masks at thresholds of plus and minus `stability_score_offset` times the model's stability
    scale; both scales are part of its configuration and 1 for SAM. A soft model's edges are gentle, so the same
    offset in its logits would move them much farther.
    """

    def __init__(
        self,
        model: Any,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[NDArray[Any]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
    ) -> None:
        """Choose where to ask and what to keep.

        Args:
            model: a `Zim`, a `Sam`, or a predictor (which loses the image that it has).
            points_per_side: the grid has this many points squared; None when `point_grids` is given.
            points_per_batch: points answered at once; fewer are taken where the photo is so large that their
                logits would not fit in memory.
            pred_iou_thresh: masks of at most this predicted quality are dropped (0: none are).
            stability_score_thresh: masks less stable than this are dropped (0: none are).
            stability_score_offset: how far the threshold is moved up and down to measure the stability.
            box_nms_thresh: of masks whose boxes overlap by a larger IoU, the one of highest quality stays.
            crop_n_layers: ask again in crops of the image; layer n has (2 ** n) ** 2 of them.
            crop_nms_thresh: as `box_nms_thresh`, between crops; masks of smaller crops win.
            crop_overlap_ratio: overlap of the crops of layer 1, as a share of the short side.
            crop_n_points_downscale_factor: in layer n the points per side are divided by this ** n.
            point_grids: for each layer (N, 2) xy in [0, 1], instead of `points_per_side`.
            min_mask_region_area: holes and islands of fewer pixels are filled and removed; masks that had any
                lose against their duplicates.
            output_mode: what `segmentation` is: "binary_mask", "uncompressed_rle" or "coco_rle". Masks of a
                large photo take much memory as arrays.

        Raises:
            ConfigError: a value that cannot be meant.
        """
        if (points_per_side is None) == (point_grids is None):
            raise ConfigError(
                "points_per_side: expected exactly one of points_per_side and point_grids, "
                f"got {points_per_side!r} and {'no' if point_grids is None else len(point_grids)} grids"
            )
        if output_mode not in OUTPUT_MODES:
            raise ConfigError(f"output_mode: expected one of {', '.join(OUTPUT_MODES)}, got {output_mode!r}")
        self.points_per_batch = check_positive_int(points_per_batch, "points_per_batch")
        self.crop_n_layers = _check_count(crop_n_layers, "crop_n_layers")
        factor = check_positive_int(crop_n_points_downscale_factor, "crop_n_points_downscale_factor")
        self.crop_n_points_downscale_factor = factor
        for name, value in (
            ("pred_iou_thresh", pred_iou_thresh),
            ("stability_score_thresh", stability_score_thresh),
            ("stability_score_offset", stability_score_offset),
            ("box_nms_thresh", box_nms_thresh),
            ("crop_nms_thresh", crop_nms_thresh),
            ("crop_overlap_ratio", crop_overlap_ratio),
            ("min_mask_region_area", min_mask_region_area),
        ):
            _check_finite(value, name)
        self.point_grids = _grids(points_per_side, point_grids, self.crop_n_layers, factor)
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.predictor = predictor_of(model)
        self.calibration = calibration_of(self.predictor)

    @torch.no_grad()
    def generate(
        self, image: Any, multimask_output: bool = True, *, progress: Progress | None = None
    ) -> list[dict[str, Any]]:
        """Masks of an image, best first (with crops: those of the smallest crops first).

        Args:
            image: (H, W, 3) uint8 RGB, or what `zim.image_conversion` states.
            multimask_output: consider three answers a point, or one.
            progress: called with the number of points answered so far and of all.

        Returns:
            For each mask a dictionary, see `zim.mask_records.to_record`: SAM's `segmentation, area, bbox,
            predicted_iou, point_coords, stability_score, crop_box`, and `alpha` with `alpha_box`.

        Raises:
            ImageError: an image that cannot be taken.
        """
        candidates = self.candidates(image, multimask_output, progress=progress)
        return [to_record(candidate, self.output_mode) for candidate in candidates]

    @torch.no_grad()
    def candidates(
        self, image: Any, multimask_output: bool = True, *, progress: Progress | None = None
    ) -> list[MaskCandidate]:
        """As `generate`, with masks and alphas still compressed."""
        rgb = to_rgb(image)
        hw = (rgb.shape[0], rgb.shape[1])
        crops = crops_of(hw, self.crop_n_layers, self.crop_overlap_ratio)
        count = _Counter(sum(len(self.point_grids[crop.layer]) for crop in crops), progress)
        found = [
            candidate
            for crop in crops
            for candidate in self._in_crop(rgb, crop, MASKS_PER_POINT if multimask_output else 1, count)
        ]
        if len(crops) > 1:
            found = _without_duplicates(found, [1 / _area(each.crop_box) for each in found], self.crop_nms_thresh)
        if self.min_mask_region_area > 0:
            cleaned = [clean(candidate, self.min_mask_region_area) for candidate in found]
            scores = [float(not changed) for _, changed in cleaned]
            threshold = max(self.box_nms_thresh, self.crop_nms_thresh)
            found = _without_duplicates([candidate for candidate, _ in cleaned], scores, threshold)
        return found

    def _in_crop(
        self, image: NDArray[np.uint8], crop: Crop, masks_per_point: int, count: "_Counter"
    ) -> list[MaskCandidate]:
        """Ask at every point of one crop; duplicates within it are gone."""
        x1, y1, x2, y2 = crop.box
        height, width = crop.hw
        self.predictor.set_image(np.ascontiguousarray(image[y1:y2, x1:x2]))
        points = self.point_grids[crop.layer] * np.array([[width, height]])
        fitting = POINTS_AT_ONCE
        if not hasattr(self.predictor, "predict_promising"):  # it answers with logits of the original frame
            fitting = max(1, LOGITS_AT_ONCE // (masks_per_point * height * width))
        step = min(self.points_per_batch, fitting)
        found: list[MaskCandidate] = []
        limit = PACKED_LIMIT
        for start in range(0, len(points), step):
            batch = points[start : start + step]
            found += self._passing(
                ask_points(
                    self.predictor,
                    batch,
                    crop.hw,
                    multimask_output=masks_per_point > 1,
                    least_quality=self._least_quality,
                ),
                batch,
                crop,
                (image.shape[0], image.shape[1]),
            )
            count.add(len(batch))
            if sum(candidate.packed_bytes for candidate in found) > limit:
                found = self._distinct(found)
                limit = max(limit, 2 * sum(candidate.packed_bytes for candidate in found))
        if hasattr(self.predictor, "reset_image"):
            self.predictor.reset_image()
        return self._distinct(found)

    def _distinct(self, found: list[MaskCandidate]) -> list[MaskCandidate]:
        """Of masks of one crop with much the same box the best, best first."""
        return _without_duplicates(found, [each.quality for each in found], self.box_nms_thresh)

    @property
    def _least_quality(self) -> float:
        """What the model has to predict for an answer to count; without a threshold everything counts."""
        return self.pred_iou_thresh * self.calibration.quality_scale if self.pred_iou_thresh > 0 else -math.inf

    def _passing(
        self, answers: Promising, points: NDArray[np.float64], crop: Crop, hw: tuple[int, int]
    ) -> Iterator[MaskCandidate]:
        """The masks among the answers to (B, 2) points that pass the other filters."""
        threshold = float(getattr(getattr(self.predictor, "model", None), "mask_threshold", 0.0))
        offset = self.stability_score_offset * self.calibration.stability_scale
        x, y = crop.box[:2]
        for index, (row, column) in enumerate(answers.places.tolist()):
            quality = float(answers.qualities[row, column])
            window = answers.window(index, threshold - abs(offset))
            stability = stability_score(window.logits, threshold, offset)
            if self.stability_score_thresh > 0 and not stability >= self.stability_score_thresh:
                continue
            answer = window.logits.float().cpu().numpy()
            mask = answer > threshold
            inside = box_of(mask)
            left, top = window.x + x, window.y + y
            if inside is None:  # as in SAM, the box of an empty mask is the crop's first pixel
                answer, mask, inside, left, top = NOTHING, NOTHING > 0, (0, 0, 0, 0), x, y
            x1, y1, x2, y2 = inside
            box = (x1 + left, y1 + top, x2 + left, y2 + top)
            if is_near_crop_edge(box, crop.box, hw):
                continue
            yield MaskCandidate(
                rle=encode_window(mask[y1 : y2 + 1, x1 : x2 + 1], x=box[0], y=box[1], hw=hw),
                alpha=pack_logits(answer, (x1, y1, x2, y2), (left, top)),
                box=box,
                quality=quality,
                stability=stability,
                point=(float(points[row, 0]) + x, float(points[row, 1]) + y),
                crop_box=crop.box,
            )


class _Counter:
    """Counts points and tells who wants to know."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total = total
        self.done = 0
        self._progress = progress

    def add(self, points: int) -> None:
        """So many more are answered."""
        self.done += points
        if self._progress is not None:
            self._progress(self.done, self.total)


def _without_duplicates(candidates: list[MaskCandidate], scores: list[float], threshold: float) -> list[MaskCandidate]:
    boxes = torch.tensor([candidate.box for candidate in candidates], dtype=torch.float32).reshape(-1, 4)
    kept = nms(boxes, torch.tensor(scores, dtype=torch.float32), threshold)
    return [candidates[index] for index in kept.tolist()]


def _area(box: Sequence[int]) -> int:
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1)


def _check_finite(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise ConfigError(f"{name}: expected a finite number, got {value!r}")


def _check_count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ConfigError(f"{name}: expected an integer >= 0, got {value!r}")
    return int(value)


def _grids(
    points_per_side: int | None, given: Sequence[NDArray[Any]] | None, layers: int, factor: int
) -> list[NDArray[np.float64]]:
    """A grid for each layer; `given` ones are checked."""
    if given is None:
        per_side = check_positive_int(points_per_side, "points_per_side")
        if per_side < factor**layers:
            raise ConfigError(
                "crop_n_points_downscale_factor: expected at least one point per side in every layer, got "
                f"{per_side} points divided by {factor} ** {layers}"
            )
        return point_grids(per_side, layers, factor)
    grids = [np.asarray(grid, dtype=np.float64) for grid in given]
    if len(grids) <= layers:
        raise ConfigError(f"point_grids: expected a grid for each of {layers + 1} layers, got {len(grids)}")
    for index, grid in enumerate(grids):
        if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid) or grid.min() < 0 or grid.max() > 1:
            raise ConfigError(f"point_grids[{index}]: expected (N, 2) xy in [0, 1], got shape {grid.shape}")
    return grids
