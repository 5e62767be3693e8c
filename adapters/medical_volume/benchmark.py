"""Compare predictors on volumes: `python -m adapters.benchmark medical_volume [--data FOLDER]`.

Without data, synthetic volumes with exact alpha: thin structures and large solid bodies slice by slice, organs followed
from one slice and in a 3-D box. With data (see `datasets.labelled_volumes`), every prompt mode on all of an image's
labels as one object.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import DataError, ZimError
from zim.evaluation.samples import evenly_spaced
from zim.protocol import Predictor

from ..answers import BINARY, rows_of
from ..comparison import Comparison, Failure, Measurement, Metric, Tile
from .asking import MemoryAnswers, SliceAsker
from .datasets import labelled_volumes
from .metrics import score_volume, slices_beyond
from .prompts import BoxPrompt, PlanePrompt
from .protocols import PROTOCOLS, SOLID, protocol_prompts
from .scenes import THIN_KINDS, volume_scene
from .segmentation import Segmenter
from .settings import Settings
from .slicing import SliceView, default_axis, view_of
from .volume import Volume
from .windowing import percentile_window

BEYOND = "beyond"
"""Key of `slices_beyond`, which only modes that follow the object have."""

METRICS = (
    Metric("dice", "Dice", 3, True),
    Metric("nsd_1mm", "NSD 1 mm", 3, True),
    Metric("nsd_2mm", "NSD 2 mm", 3, True),
    Metric("hd95", "HD95 mm", 1),
    Metric("volume_error", "soft volume error", 3),
    Metric("mae", "soft MAE", 3),
    Metric(BEYOND, "slices beyond", 1),
)

FOLLOWED = ("middle", "box3d", "box3d_3axes")
"""Prompt modes that follow the object: the box of its largest slice; its 3-D box, along one axis and along three."""

BOXES, OTHERS = ("box3d", "box3d_3axes"), ("middle", *PROTOCOLS)
SCENE_SHAPE, SCENE_SPACING = (64, 64, 20), (1.0, 1.0, 2.0)
BODIES_SHAPE, BODIES_SPACING = (160, 160, 16), (1.0, 1.0, 3.0)
VOLUMES = 8
PROTOCOL_VOLUMES = 3
"""All prompt modes are measured on the first so many volumes, 3-D boxes on all."""


class Case(NamedTuple):
    """One object of one volume, and how it is asked for. truth: (X, Y, Z) in [0, 1], canonical frame."""

    data: str
    sample: str
    volume: Volume
    truth: NDArray[np.float32]
    modes: tuple[str, ...]


def compare(
    predictors: Mapping[str, Predictor],
    *,
    data: Path | None = None,
    limit: int | None = None,
    progress: bool = False,
    seed: int = 0,
) -> Comparison:
    """See `adapters.benchmark.Compare`; `seed` is that of the first generated scene, the others follow it."""
    cases = list(_synthetic(limit, seed)) if data is None else None
    source: Iterator[Case] = iter(cases) if cases is not None else _labelled(data, limit)
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    tiles: list[list[Tile]] = []
    settings = Settings()
    for case in tqdm(source, disable=not progress, unit="volume", total=None if cases is None else len(cases)):
        line = _first_tiles(case)
        for name, predictor in predictors.items():
            try:
                answers = _answers(predictor, case, settings)
            except ZimError as error:
                failures.append(Failure(name, case.sample, str(error)))
                continue
            for mode, alpha in answers.items():
                for row, soft in _rows(name, predictor, alpha):
                    values = score_volume(soft, case.truth, case.volume.geometry.spacing)
                    if mode in FOLLOWED:
                        values[BEYOND] = float(slices_beyond(soft, case.truth, _view(case).axis))
                    measurements.append(Measurement(f"{case.data}: {mode}", row, case.sample, values))
            line.append(Tile(f"{name}, {case.modes[0]}", _shown_plane(case, answers[case.modes[0]])))
        if len(tiles) < 6:
            tiles.append(line)
    return Comparison(
        title="Medical volumes: synthetic, exact alpha" if data is None else f"Medical volumes: {data.name}",
        metrics=METRICS,
        measurements=measurements,
        tiles=tiles,
        failures=failures,
        notes=(*_NOTES, *_furthest(measurements)),
        settings=asdict(settings),
    )


_NOTES = (
    "Prompts are made from the truth. middle: box of the largest slice, followed both ways; box3d: box of the object, "
    "followed from its middle slice; box3d_3axes: the mean of that along three axes. The others ask every slice that "
    "shows the object: medsam_box is MedSAM's box, point, points, box, boxes, box_all are the five modes of "
    "arXiv 2304.10517, with one mask a prompt.",
    "NSD and HD95 between surface voxels (scipy, MONAI's definition); soft volume error is a share of the true volume; "
    "soft MAE counts voxels where truth or answer is above 0.02. slices beyond: how far a followed object was followed "
    "beyond its ends.",
)


def _furthest(measurements: list[Measurement]) -> Iterator[str]:
    """A mean hides the one object that was followed into its neighbour."""
    cells: dict[tuple[str, str], list[float]] = {}
    for one in measurements:
        if BEYOND in one.values:
            cells.setdefault((one.case, one.row), []).append(one.values[BEYOND])
    for (case, row), found in cells.items():
        yield f"{case}, {row}: at most {max(found):.0f} slices beyond the object's ends, {len(found)} objects."


def _synthetic(limit: int | None, first: int = 0) -> Iterator[Case]:
    """Thin structures and bodies asked on every slice, organs followed; one scene of each kind, or `limit`."""
    for seed in range(first, first + (limit or 1)):
        for kind in THIN_KINDS:
            scene = volume_scene(kind, seed=seed, shape=SCENE_SHAPE, spacing=SCENE_SPACING)
            yield Case(kind, f"{kind} {seed}", scene.volume, scene.alphas[kind], ("boxes", "medsam_box"))
        scene = volume_scene("organs", seed=seed, shape=SCENE_SHAPE, spacing=SCENE_SPACING)
        for name, alpha in scene.alphas.items():
            yield Case("organ", f"organ {seed} {name}", scene.volume, alpha, ("middle", "box3d"))
        scene = volume_scene("bodies", seed=seed, shape=BODIES_SHAPE, spacing=BODIES_SPACING)
        for name, alpha in scene.alphas.items():
            if (alpha > SOLID).any():
                yield Case("body", f"{name} {seed}", scene.volume, alpha, ("boxes", "medsam_box"))


def _labelled(data: Path | None, limit: int | None) -> Iterator[Case]:
    if data is None:
        raise DataError("--data: expected a folder of labelled volumes")
    for place, found in enumerate(evenly_spaced(labelled_volumes(data), limit or VOLUMES)):
        volume, truths = found.load(whole=True)
        modes = (*BOXES, *OTHERS) if place < PROTOCOL_VOLUMES else BOXES
        for name, truth in truths.items():
            if (truth > SOLID).any():
                yield Case(data.name, f"{found.name} {name}", volume, truth, modes)


def _answers(predictor: Predictor, case: Case, settings: Settings) -> dict[str, NDArray[np.float32]]:
    """Mode -> the soft volume that a predictor answers; modes that ask every slice share its embedding."""
    view = _view(case)
    alphas, answers = {}, MemoryAnswers()
    for mode in case.modes:
        if mode in FOLLOWED:
            chosen = replace(settings, consensus=mode == "box3d_3axes")
            segmenter = Segmenter(predictor=predictor, volume=case.volume, settings=chosen, answers=answers)
            alphas[mode] = segmenter.segment("object", [true_box(case, view, whole=mode != "middle")]).alpha
        else:
            alphas[mode] = np.zeros_like(case.truth)
    asker = SliceAsker(
        predictor=predictor, voxels=case.volume.voxels, view=view, window=percentile_window(case.volume.voxels)
    )
    for index in range(view.count):
        truth = np.ascontiguousarray(view.plane(case.truth, index))
        if not (truth > 0.5).any():
            continue
        known: dict[str, NDArray[np.float32]] = {}
        for mode in (mode for mode in case.modes if mode not in FOLLOWED):
            found = [_once(asker, index, prompt, known) for prompt in protocol_prompts(truth, mode)]
            view.plane(alphas[mode], index)[...] = np.max(found, axis=0)
    return alphas


def _once(
    asker: SliceAsker, index: int, prompt: PlanePrompt, known: dict[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """An answer on a slice, asked for once: with one piece, three of the modes have the same box."""
    key = repr((None if prompt.box is None else prompt.box.tolist(), prompt.points.tolist()))
    if key not in known:
        known[key] = asker(index, prompt)
    return known[key]


def true_box(case: Case, view: SliceView, *, whole: bool) -> BoxPrompt:
    """The box of the true object, in voxels of the file: of all of it, or of its largest slice."""
    solid = case.truth > 0.5
    if not whole:
        areas = solid.sum(tuple(axis for axis in range(3) if axis != view.axis))
        keep = np.zeros_like(solid)
        view.plane(keep, int(np.argmax(areas)))[...] = True
        solid = solid & keep
    voxels = np.argwhere(solid)
    corners = case.volume.geometry.canonical_to_stored(np.stack([voxels.min(0), voxels.max(0)]))
    (a, b, c), (d, e, f) = corners.tolist()
    return BoxPrompt(corner=(a, b, c), opposite=(d, e, f))


def _rows(name: str, predictor: Predictor, alpha: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Soft answers, and the binary ones of SAM beside them: the next slice's prompt is the same for both."""
    for row in rows_of(name, predictor):
        yield row, (alpha > 0.5).astype(np.float32) if row.endswith(BINARY) else alpha


def _view(case: Case) -> SliceView:
    return view_of(case.volume.geometry, default_axis(case.volume.geometry))


def _shown_plane(case: Case, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest slice of the truth, of an alpha, as a picture."""
    view = _view(case)
    areas = (case.truth > 0.5).sum(tuple(axis for axis in range(3) if axis != view.axis))
    return np.clip(view.frame().to_picture(np.ascontiguousarray(view.plane(alpha, int(np.argmax(areas))))), 0, 1)


def _first_tiles(case: Case) -> list[Tile]:
    view = _view(case)
    areas = (case.truth > 0.5).sum(tuple(axis for axis in range(3) if axis != view.axis))
    picture = view.picture(case.volume.voxels, int(np.argmax(areas)), percentile_window(case.volume.voxels))
    return [Tile(case.sample, picture), Tile("truth", _shown_plane(case, case.truth))]
