"""What is left of a removed object, and how an object looks before another background: ZIM beside SAM.

`python -m adapters.benchmark inpaint_anything --predictors zim_tiny,sam_tiny`
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import DataError
from zim.protocol import Predictor

from ..answers import BINARY, Answer, answers_of
from ..comparison import Comparison, Curve, Failure, Measurement, Metric, Tile
from .engines.opencv import OpenCvEngine
from .engines.protocol import InpaintingEngine
from .inpainting import PaintSettings, remove, replace
from .masks import THRESHOLD, MaskSettings, distance_to
from .measures import composite_errors, psnr, ring_error, soft_error, ssim
from .scenes import KnownScene, known_scenes
from .stand_ins import TrueBackgroundEngine, lama_shaped_engine

COUNT = 10
DILATIONS = (0, 1, 2, 3, 5, 7, 10, 12, 15, 18, 20)
FEW_DILATIONS = (0, 2, 5, 10, 15, 20)
"""For engines that take their time."""

SHOWN = (0, 2, 5, 10, 20)
BUDGETS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
"""Painted pixels as multiples of the true object's, for the comparison at equal area."""

HALF = 0.5
AREA_CASE = "remove, oracle, equal painted area"
REPLACE_CASE = "replace"
REPLACEMENTS = {
    "": PaintSettings(refine=0, estimate_colours=False),
    " + colours": PaintSettings(refine=0),
    " + refined + colours": PaintSettings(),
}
"""Ways to replace: the photo's own colours are pasted; colours are estimated; the adapter's default."""

NOTES = (
    "Residue: mean |result - true background| in levels of 255 where 0 < alpha < 1, by pixels of dilation (px) of the "
    "mask alpha > threshold; auto: dilation chosen from alpha's softness. Surplus: needlessly painted pixels per pixel "
    "of the object at dilation 0. PSNR, SSIM and ring (error within 10 px around the object) are at auto.",
    "The oracle engine paints the true background, so it never punishes painting too much: an answer of everything has "
    "residue 0. Hence the comparison at equal painted area: each answer's surest pixels, as many as budget x the "
    "object's area. At threshold 0.5 SAM (sigmoid) and SAM (binary) have the same mask.",
    "Halo: mean |composite - true composite| in levels where 0 < alpha < 1. SAD / 1000, MSE and Grad x 1000. Colours: "
    "the object's own are estimated; refined: the guided filter on uncertain edges first. A binary answer is pasted.",
)
METRICS = (
    *(Metric(f"residue_{d}", f"residue {d} px", 2) for d in SHOWN),
    Metric("residue_auto", "residue auto", 2),
    Metric("residue_min", "residue min", 2),
    Metric("surplus", "surplus", 2),
    Metric("psnr", "PSNR", 2, True),
    Metric("ssim", "SSIM", 4, True),
    Metric("ring", "ring", 2),
    *(Metric(f"budget_{b:g}", f"residue {b:g}x", 2) for b in BUDGETS),
    Metric("halo", "halo", 2),
    Metric("sad", "SAD", 2),
    Metric("mse", "MSE", 2),
    Metric("grad", "Grad", 1),
)


class Sweep(NamedTuple):
    """case: name in the table. engine: None stands for the oracle of each scene. threshold: of the mask. dilations: in
    pixels."""

    case: str
    engine: InpaintingEngine | None
    threshold: float
    dilations: tuple[int, ...]


def sweeps() -> list[Sweep]:
    """What is measured of removal."""
    return [
        Sweep(f"remove, oracle, threshold {THRESHOLD:g}", None, THRESHOLD, DILATIONS),
        Sweep(f"remove, oracle, threshold {HALF:g}", None, HALF, DILATIONS),
        Sweep("remove, cv2", OpenCvEngine(), THRESHOLD, FEW_DILATIONS),
        Sweep("remove, lama-shaped", lama_shaped_engine(), THRESHOLD, FEW_DILATIONS),
    ]


def compare(
    predictors: Mapping[str, Predictor],
    *,
    data: Path | None = None,
    limit: int | None = None,
    progress: bool = False,
    seed: int = 0,
) -> Comparison:
    """Remove and replace objects of known alpha; see `adapters.benchmark.Compare`.

    Args:
        predictors: row name -> predictor.
        data: a folder of photographs as backgrounds; None generates textures.
        limit: scenes; None takes COUNT.
        progress: show a bar.
        seed: of the objects, and of the textures behind them.

    Raises:
        DataError: fewer than two photographs.
    """
    count = COUNT if limit is None else limit
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    tiles: list[list[Tile]] = []
    plan = sweeps()
    scenes = known_scenes(count, photos=data, seed=seed)
    bar = tqdm(scenes, total=count, unit="scene", disable=None if progress else True)
    for index, known in enumerate(bar):
        line: dict[str, Tile] = {}
        for name, predictor in predictors.items():
            predictor.set_image(known.scene.image)
            for answer in answers_of(name, predictor, box=known.scene.box):
                for measurement in _measured(known, answer, plan, failures):
                    measurements.append(measurement)
                if index < 3:
                    line |= _tiles(known, answer, plan)
        if line:
            tiles.append(_ordered(known, line))
    return Comparison(
        title=f"Removing and replacing {count} fine objects"
        + (" on photographs" if data else " on generated textures"),
        metrics=METRICS,
        measurements=_by_case(measurements, [sweep.case for sweep in plan]),
        tiles=tiles,
        curves=_curves(measurements, plan),
        notes=NOTES,
        failures=failures,
        settings={"count": count, "seed": seed, "dilations": list(DILATIONS), "threshold": THRESHOLD},
    )


def _measured(known: KnownScene, answer: Answer, plan: list[Sweep], failures: list[Failure]) -> Iterator[Measurement]:
    for sweep in plan:
        try:
            values = removal_figures(known, answer.alpha, sweep)
        except DataError as error:
            failures.append(Failure(answer.row, f"{known.name}, {sweep.case}", str(error)))
            continue
        yield Measurement(sweep.case, answer.row, known.name, values)
    yield Measurement(AREA_CASE, answer.row, known.name, budget_figures(known, answer))
    for suffix, settings in REPLACEMENTS.items():
        if suffix and answer.row.endswith(BINARY):
            continue  # nothing is soft, so nothing would change
        result = _replaced(known, answer.alpha, settings)
        values = {"halo": soft_error(result, known.replaced, known.scene.alpha)}
        row = answer.row + suffix
        yield Measurement(REPLACE_CASE, row, known.name, values | composite_errors(result, known.replaced))


def removal_figures(known: KnownScene, alpha: NDArray[np.float32], sweep: Sweep) -> dict[str, float]:
    """Residue at every dilation (`residue_D`), at the automatic one, the smallest; surplus, PSNR, SSIM, ring error.

    Raises:
        DataError: the engine has nothing to continue.
    """
    scene = known.scene
    painter = TrueBackgroundEngine(scene.background) if sweep.engine is None else sweep.engine
    threshold = sweep.threshold
    figures = {}
    for dilation in sweep.dilations:
        result = _removed(scene.image, alpha, painter, MaskSettings(threshold=threshold, dilation=dilation))
        figures[f"residue_{dilation}"] = soft_error(result, scene.background, scene.alpha)
    figures["residue_min"] = min(figures.values())
    result = _removed(scene.image, alpha, painter, MaskSettings(threshold=threshold))
    seen = scene.alpha > 0
    return figures | {
        "residue_auto": soft_error(result, scene.background, scene.alpha),
        "surplus": float(((alpha > threshold) & ~seen).sum() / max(1, seen.sum())),
        "psnr": psnr(result, scene.background),
        "ssim": ssim(result, scene.background),
        "ring": ring_error(result, scene.background, scene.alpha),
    }


def budget_figures(known: KnownScene, answer: Answer) -> dict[str, float]:
    """Residue when each answer paints its surest pixels, as many as the object has, times each of BUDGETS.

    A soft answer's order is its alpha; a binary one's is the distance from its mask.
    """
    scene = known.scene
    binary = bool(np.isin(answer.alpha, (0, 1)).all())
    surety = answer.alpha if not binary else -distance_to(answer.alpha > HALF)
    order = np.argsort(-surety.ravel(), kind="stable")
    size = int((scene.alpha > 0).sum())
    figures = {}
    for budget in BUDGETS:
        painted = np.zeros(surety.size, bool)
        painted[order[: round(budget * size)]] = True
        result = np.where(painted.reshape(surety.shape)[..., None], scene.background, scene.image)
        figures[f"budget_{budget:g}"] = soft_error(result, scene.background, scene.alpha)
    return figures


def _removed(
    image: NDArray[np.uint8], alpha: NDArray[np.float32], engine: InpaintingEngine, mask: MaskSettings
) -> NDArray[np.uint8]:
    """An empty answer removes nothing."""
    if not (alpha > mask.threshold).any():
        return image
    return remove(image, alpha, engine, settings=PaintSettings(mask=mask)).image


def _replaced(known: KnownScene, alpha: NDArray[np.float32], settings: PaintSettings) -> NDArray[np.uint8]:
    """An empty answer leaves nothing before the new background."""
    if not (alpha > settings.mask.threshold).any():
        return known.new_background
    return replace(known.scene.image, alpha, background=known.new_background, settings=settings).image


def _by_case(measurements: list[Measurement], cases: list[str]) -> list[Measurement]:
    order = [*cases[:2], AREA_CASE, *cases[2:], REPLACE_CASE]
    return sorted(measurements, key=lambda measurement: order.index(measurement.case))


def _curves(measurements: list[Measurement], plan: list[Sweep]) -> list[Curve]:
    curves = [
        Curve(
            title=sweep.case,
            x_title="dilation (px)",
            y_title="residue (levels)",
            x=tuple(float(d) for d in sweep.dilations),
            series=_series(measurements, sweep.case, [f"residue_{d}" for d in sweep.dilations]),
        )
        for sweep in plan
    ]
    area = Curve(
        title=AREA_CASE,
        x_title="painted pixels / object pixels",
        y_title="residue (levels)",
        x=BUDGETS,
        series=_series(measurements, AREA_CASE, [f"budget_{b:g}" for b in BUDGETS]),
    )
    return [*curves[:2], area, *curves[2:]]


def _series(measurements: list[Measurement], case: str, keys: list[str]) -> dict[str, tuple[float, ...]]:
    chosen = [m for m in measurements if m.case == case]
    rows = dict.fromkeys(m.row for m in chosen)
    return {row: tuple(float(np.mean([m.values[k] for m in chosen if m.row == row])) for k in keys) for row in rows}


def _tiles(known: KnownScene, answer: Answer, plan: list[Sweep]) -> dict[str, Tile]:
    """The answer, removal by OpenCV, and the object before the new background."""
    scene, row = known.scene, answer.row
    engine: Any = next(sweep.engine for sweep in plan if sweep.case == "remove, cv2")
    try:
        removed = _removed(scene.image, answer.alpha, engine, MaskSettings())
    except DataError:
        removed = scene.image
    replaced = _replaced(known, answer.alpha, PaintSettings())
    return {
        f"0 {row}": Tile(row, answer.alpha),
        f"1 {row}": Tile(f"removed (cv2): {row}", removed),
        f"2 {row}": Tile(f"replaced: {row}", replaced),
    }


def _ordered(known: KnownScene, line: dict[str, Tile]) -> list[Tile]:
    groups = [[tile for key, tile in line.items() if key[0] == digit] for digit in "012"]
    scene = known.scene
    return [
        Tile(known.name, scene.image),
        Tile("true alpha", scene.alpha),
        *groups[0],
        Tile("true background", scene.background),
        *groups[1],
        Tile("true replacement", known.replaced),
        *groups[2],
    ]
