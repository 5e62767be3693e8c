"""All modes with all predictors: `python -m adapters.benchmark matte_anything`.

Each predictor is asked once per photo; its answer (SAM's also as a binary mask) goes through every mode. ViTMatte is
measured where the environment variable ZIM_VITMATTE names its weights, a hub name or a folder.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import MissingDependencyError
from zim.evaluation.metrics import ErrorMaps, error_maps, unknown_band
from zim.protocol import Predictor

from ..answers import answers_of
from ..comparison import Comparison, Failure, Measurement, Metric, Tile
from .modes import MODES, refiner_of
from .refiners import Refiner
from .scenes import LONG_SIDE, SCENE_SIDE, Sample, count_of, samples_of
from .vitmatte import load_vitmatte

VITMATTE_VARIABLE = "ZIM_VITMATTE"
METRICS = tuple(
    Metric(prefix + key, f"{title} {name}".strip(), digits)
    for prefix, title in (("", ""), ("band_", "band"))
    for key, name, digits in (
        ("sad", "SAD", 2),
        ("mse", "MSE", 1),
        ("mae", "MAE", 1),
        ("grad", "Grad", 1),
        ("conn", "Conn", 2),
    )
)
_TILE_LINES, _TILE_SIDE = 5, 192
_SHOWN = ("zim", "zim+pymatting", "sam+pymatting")


def compare(
    predictors: Mapping[str, Predictor],
    *,
    data: Path | None,
    limit: int | None,
    progress: bool,
    seed: int = 0,
) -> Comparison:
    """Errors of every predictor's answer in every mode, in the whole image and in the truth's unknown band.

    Args:
        predictors: row name -> predictor.
        data: a folder of `image/` + `alpha/` pairs; None generates scenes with `seed`.
        limit: at most this many samples.
        progress: show a bar.
        seed: of generated scenes.

    Raises:
        DataError: the folder has no usable samples.
        CheckpointError: ZIM_VITMATTE names no ViTMatte.
    """
    source = os.environ.get(VITMATTE_VARIABLE)
    vitmatte = load_vitmatte(source) if source else None
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    tiles: list[list[Tile]] = []
    samples = tqdm(samples_of(data, limit, seed=seed), total=count_of(data, limit), unit="photo", disable=not progress)
    for sample in samples:
        line = [_tile("photo", sample.image), _tile("truth", sample.alpha)]
        band = unknown_band(sample.alpha)
        for row, alpha in _alphas(sample, predictors, vitmatte, failures):
            values = _errors(error_maps(alpha, sample.alpha), band)
            measurements.append(Measurement(sample.case, row, sample.name, values))
            if row.endswith(tuple(f": {mode}" for mode in _SHOWN)) and "sigmoid" not in row:
                line.append(_tile(row, alpha))
        if len(tiles) < _TILE_LINES:
            tiles.append(line)
    origin = f"{SCENE_SIDE}-pixel scenes, seed {seed}" if data is None else f"{data.name}, long side {LONG_SIDE}"
    return Comparison(
        title=f"Matte-Anything: predictor: mode, {origin}, prompt: box",
        metrics=METRICS,
        measurements=measurements,
        tiles=tiles,
        notes=_notes(source),
        failures=failures,
        settings={"data": None if data is None else str(data), "limit": limit, "vitmatte": source},
    )


def _alphas(
    sample: Sample, predictors: Mapping[str, Predictor], vitmatte: Refiner | None, failures: list[Failure]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Row name and alpha of every answer in every mode."""
    for name, predictor in predictors.items():
        predictor.set_image(sample.image)
        for answer in answers_of(name, predictor, box=sample.box):
            for mode_name, mode in MODES.items():
                if mode.refiner == "vitmatte" and vitmatte is None:
                    continue
                row = f"{answer.row}: {mode_name}"
                try:
                    yield row, refiner_of(mode, vitmatte)(sample.image, mode.trimap(answer.alpha), answer.alpha)
                except MissingDependencyError as error:
                    failures.append(Failure(row, sample.name, str(error)))


def _errors(maps: ErrorMaps, band: NDArray[np.bool_]) -> dict[str, float]:
    values: dict[str, float] = dict(maps.errors()._asdict())
    if band.any():
        values |= {f"band_{key}": value for key, value in maps.errors(band)._asdict().items()}
    return values


def _notes(vitmatte: str | None) -> list[str]:
    notes = [
        "zim+... makes its trimap of the alpha's own doubt and closed-form matting still hears that alpha; sam+... "
        "makes it around the mask with Matte-Anything's kernels and keeps nothing else. SAD and Conn in 1000 pixels, "
        "MSE, MAE and Grad times 1000; band: 10 pixels around the truth's soft pixels."
    ]
    if vitmatte is None:
        notes.append(f"zim+vitmatte, sam+vitmatte: not measured, {VITMATTE_VARIABLE} names no weights.")
    return notes


def _tile(caption: str, image: NDArray[np.generic]) -> Tile:
    height, width = image.shape[:2]
    scale = _TILE_SIDE / max(height, width)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(np.asarray(image), size_wh, interpolation=cv2.INTER_AREA)
    return Tile(caption, np.asarray(small))
