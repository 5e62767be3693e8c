"""HQ heads beside the models that they stand on: overlap of masks and outlines from ground-truth boxes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import ZimError
from zim.evaluation.boundary import inner_boundary
from zim.evaluation.samples import evenly_spaced
from zim.protocol import Predictor

from ..comparison import Comparison, Failure, Measurement, Metric, Tile
from ..fine_objects import FINE_KINDS, fine_scenes
from .evaluation import NARROW, WIDE, HqResult, evaluate_one
from .hq_sets import sets_below

SCENES, SCENE_SIDE = 15, 512

METRICS = (
    Metric("iou", "mIoU", 3, True),
    Metric("boundary_iou", f"BIoU {WIDE:g}", 3, True),
    Metric("narrow_boundary_iou", f"BIoU {NARROW:g}", 3, True),
    Metric("mse", "MSE", 1),
)

SAME_MASKS = (
    "The overlaps are those of masks (alpha > 0.5), which are the same for SAM's binary and sigmoid answers; MSE is of "
    "the soft answers, times 1,000. Boxes are those of the truth above 0.5."
)

_SHOWN, _TILE_SIDE = 3, 220


class _Sample(NamedTuple):
    case: str
    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.float32]


def compare(
    predictors: Mapping[str, Predictor],
    *,
    data: Path | None = None,
    limit: int | None = None,
    progress: bool = False,
    seed: int = 0,
) -> Comparison:
    """See `adapters.benchmark.Compare`; the layouts of `data` are those of `hq_sets`, or any `image/ + mask/` folders.

    Raises:
        DataError: the folder has no usable samples.
    """
    count, samples = _generated(limit, seed) if data is None else _read(data, limit)
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    tiles: list[list[Tile]] = []
    shown = set(evenly_spaced(range(count), min(_SHOWN, count)))
    empty = 0
    for index, sample in enumerate(tqdm(samples, total=count, desc="hq_sam", unit="photo", disable=not progress)):
        if not (sample.truth > 0.5).any():
            empty += 1
            continue
        results: list[HqResult] = []
        for name, predictor in predictors.items():
            try:
                results += evaluate_one({name: predictor}, sample.name, sample.image, sample.truth)
            except ZimError as error:
                failures.append(Failure(name, sample.name, str(error)))
        measurements += [Measurement(sample.case, r.row, r.sample, r.scores._asdict()) for r in results]
        if index in shown:
            tiles.append(_tiles(sample, results))
    where = "generated fine objects" if data is None else str(data)
    return Comparison(
        title=f"HQ heads: masks from ground-truth boxes, {where}",
        metrics=METRICS,
        measurements=measurements,
        tiles=tiles,
        notes=(SAME_MASKS, *([f"Samples left out, nothing of them above 0.5: {empty}."] if empty else [])),
        failures=failures,
        settings={"data": str(data) if data else None, "samples": count, "seed": seed, "wide": WIDE, "narrow": NARROW},
    )


def _generated(limit: int | None, seed: int) -> tuple[int, Iterator[_Sample]]:
    count = SCENES if limit is None else limit
    scenes = fine_scenes(count, seed=seed, side=SCENE_SIDE, kinds=FINE_KINDS)
    return count, (_Sample("fine", f"{i:03d} {s.kind}", s.image, s.alpha) for i, s in enumerate(scenes))


def _read(data: Path, limit: int | None) -> tuple[int, Iterator[_Sample]]:
    sets = sets_below(data, limit=limit)
    pairs = [(title, sample) for title, samples in sets.items() for sample in samples]
    return len(pairs), (_Sample(title, sample.id, *sample.load()) for title, sample in pairs)


def _tiles(sample: _Sample, results: Sequence[HqResult]) -> list[Tile]:
    """The part of the true outline where the answers differ most, as masks."""
    answers = [result for result in results if not result.row.endswith("(sigmoid)")]
    height, width = sample.truth.shape
    side = min(_TILE_SIDE, height, width)
    truth = sample.truth > 0.5
    reach = max(1, round(WIDE * float(np.hypot(height, width))))
    outline = inner_boundary(truth, reach) | inner_boundary(~truth, reach)
    masks = np.stack([result.alpha > 0.5 for result in answers]) if answers else truth[None]
    contested = (masks.any(0) & ~masks.all(0) & outline) + 1e-4 * outline
    crowd = cv2.boxFilter(contested.astype(np.float32), -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    row, column = np.unravel_index(int(np.argmax(crowd)), crowd.shape)
    top, left = int(np.clip(row - side // 2, 0, height - side)), int(np.clip(column - side // 2, 0, width - side))

    def cut(picture: NDArray[Any]) -> NDArray[Any]:
        return picture[top : top + side, left : left + side]

    made = [Tile(sample.name, cut(sample.image)), Tile("truth", cut(sample.truth))]
    for result, mask in zip(answers, masks, strict=False):
        caption = f"{result.row} {result.scores.narrow_boundary_iou:.2f}"
        made.append(Tile(caption, cut(mask.astype(np.float32))))
    return made
