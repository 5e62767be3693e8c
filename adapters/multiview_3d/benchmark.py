"""ZIM against SAM in 3-D: rendered scenes with exact truth, or a captured scene with an alpha for each view.

Every predictor gets the same prompt, the box of the object in one view, and then talks to itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import DataError, ZimError
from zim.prompts import Prompt, box_from_alpha
from zim.protocol import Predictor

from ..answers import BINARY, rows_of
from ..comparison import Comparison, Failure, Measurement, Metric, Tile
from .evaluation import mean_scores, point_scores, view_scores
from .grid_field import GridField
from .labelled_scenes import LabelledScene, open_labelled
from .object_fields import ObjectField
from .point_field import PointField, VotingConfig
from .propagation import Propagation, PropagationConfig, segment_scene
from .radiance import RadianceGrid
from .radiance_training import RadianceConfig, fit_radiance
from .scenes import THIN_KINDS, Kind, RenderedScene, rendered_scene

METRICS = (
    Metric("iou", "view IoU", 3, True),
    Metric("boundary_iou", "boundary IoU", 3, True),
    Metric("accuracy", "accuracy", 3, True),
    Metric("mse", "MSE", 1),
    Metric("sad", "SAD", 2),
    Metric("iou_3d", "3-D IoU", 3, True),
    Metric("leakage", "leakage", 3),
    Metric("believed", "views believed", 2, True),
)
DEFAULT_KINDS: tuple[Kind, ...] = (*THIN_KINDS, "solid")
_VIEWS, _SIDE, _POINTS = 6, 224, 120_000
_PASSES = 2
_HARD = " (hard votes)"
_SHOWN_VIEWS = 2


class Binary:
    """SAM as it is mostly used: its logits above 0, and nothing in between."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """As the predictor's."""
        self._predictor.set_image(image, image_format)

    def predict(self, *arguments: Any, **prompts: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """As the predictor's, with logits of 30 and -30."""
        logits, qualities, low = self._predictor.predict(*arguments, **prompts)
        return np.where(logits > 0, 30, -30).astype(np.float32), qualities, low


class _Case(NamedTuple):
    """One scene to be measured on. truth: (V, H, W) alphas, or None for views without one."""

    name: str
    case: str
    propagate: Any
    truth: Sequence[NDArray[np.float32] | None]
    view: int
    points: Any
    hard: bool


def compare(
    predictors: Mapping[str, Predictor],
    *,
    data: Path | None,
    limit: int | None,
    progress: bool,
    seed: int = 0,
) -> Comparison:
    """Measure every predictor on the same scenes and prompts.

    Args:
        predictors: row name -> predictor.
        data: a captured scene whose pictures have alphas (NeRF's synthetic ones), or NVOS's or SPIn-NeRF's folders
            (`labelled_scenes`); None renders scenes with `seed`.
        limit: at most this many scenes.
        progress: show a bar.
        seed: of rendered scenes.

    Raises:
        DataError: the folder has no scene with a truth.
        MissingDependencyError: open3d is not installed (rendered scenes).
    """
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    tiles: list[list[Tile]] = []
    cases = list(_rendered_cases(limit, seed)) if data is None else list(_captured_cases(data, limit, progress))
    with tqdm(total=len(cases) * len(predictors), unit="scene", disable=not progress) as bar:
        for case in cases:
            for name, predictor in predictors.items():
                for row in rows_of(name, predictor):
                    asked = Binary(predictor) if row.endswith(BINARY) else predictor
                    for voting in ("soft", "hard") if case.hard and row == name else ("soft",):
                        label = row + (_HARD if voting == "hard" else "")
                        try:
                            result = case.propagate(asked, voting)
                        except ZimError as error:
                            failures.append(Failure(label, case.name, str(error)))
                            continue
                        measurements.append(Measurement(case.case, label, case.name, _figures(case, result)))
                        if voting == "soft":
                            tiles.append(_tiles(case, result, label))
                bar.update()
    where = "rendered scenes" if data is None else data.name
    return Comparison(
        title=f"One prompted view, {where}: the other views, and the object in 3-D",
        metrics=METRICS,
        measurements=measurements,
        tiles=tiles,
        notes=(
            "View figures are means over all views but the prompted one. MSE x 1000; SAD in 1000 pixels; boundary band "
            "0.5% of the diagonal. Leakage: background points taken, as a share of the object's points. Hard votes: "
            "every view's mask counted alike, nothing smoothed, nothing disbelieved (for predictors with one row).",
        ),
        failures=failures,
        settings={"passes": _PASSES, "views": _VIEWS, "side": _SIDE, "points": _POINTS, "seed": seed},
    )


def _rendered_cases(limit: int | None, seed: int) -> Iterator[_Case]:
    kinds = DEFAULT_KINDS[: limit or len(DEFAULT_KINDS)]
    for kind in kinds:
        rendered = rendered_scene(kind, seed=seed, views=_VIEWS, side=_SIDE, points=_POINTS)
        yield _Case(
            name=kind,
            case="thin structures" if kind in THIN_KINDS else "solids",
            propagate=_on_surface(rendered),
            truth=list(rendered.alphas[0]),
            view=0,
            points=lambda field, rendered=rendered: _point_figures(rendered, field),
            hard=True,
        )


def _on_surface(rendered: RenderedScene) -> Any:
    """(predictor, voting) -> a propagation on a rendered scene."""

    def run(predictor: Predictor, voting: str) -> Propagation:
        cameras = [view.camera for view in rendered.scene.views]
        config = VotingConfig(voting="hard" if voting == "hard" else "soft")
        field = PointField(rendered.surface, cameras, 1, config)
        prompt = Prompt(box=box_from_alpha(rendered.alphas[0, 0]))
        return segment_scene(
            rendered.scene, field, predictor, [prompt], view=0, config=PropagationConfig(passes=_PASSES)
        )

    return run


def _point_figures(rendered: RenderedScene, field: PointField) -> dict[str, float]:
    seen = np.zeros(len(rendered.labels), np.bool_)
    for index in range(len(rendered.scene.views)):
        seen[field.map_of(index).points] = True
    return point_scores(field.alpha[0] > 0.5, rendered.labels == 1, seen)


def _captured_cases(data: Path, limit: int | None, progress: bool) -> Iterator[_Case]:
    scenes = open_labelled(data)
    for labelled in scenes[: limit or len(scenes)]:
        grid = _fitted(labelled, progress)
        yield _Case(
            name=labelled.name,
            case=labelled.layout,
            propagate=_in_grid(labelled, grid),
            truth=labelled.truths,
            view=labelled.view,
            points=None,
            hard=False,
        )


def _fitted(labelled: LabelledScene, progress: bool) -> RadianceGrid:
    config = RadianceConfig()
    with tqdm(total=config.steps + config.coarse_steps, desc="fitting", unit="step", disable=not progress) as bar:
        return fit_radiance(labelled.scene, config, progress=lambda done, total, psnr: bar.update(done - bar.n))


def _in_grid(labelled: LabelledScene, grid: RadianceGrid) -> Any:
    """(predictor, voting) -> a propagation by inverse rendering."""

    def run(predictor: Predictor, voting: str) -> Propagation:
        field: ObjectField = GridField(grid, [view.camera for view in labelled.scene.views], 1)
        return segment_scene(
            labelled.scene,
            field,
            predictor,
            [labelled.prompt],
            view=labelled.view,
            config=PropagationConfig(passes=_PASSES),
        )

    return run


def _figures(case: _Case, result: Propagation) -> dict[str, float]:
    scores, believed = [], []
    for index, truth in enumerate(case.truth):
        if index == case.view:
            continue
        found = result.in_view(index)
        believed.append(found.status == "accepted")
        if truth is not None:
            scores.append(view_scores(found.alpha, truth))
    if not scores:
        raise DataError(f"{case.name}: no view but the prompted one has a true mask")
    figures = mean_scores(scores) | {"believed": float(np.mean(believed))}
    return figures | (case.points(result.field) if case.points else {})


def _tiles(case: _Case, result: Propagation, label: str) -> list[Tile]:
    tiles = []
    usable = [i for i, truth in enumerate(case.truth) if truth is not None and i != case.view]
    for index in usable[:: max(1, len(usable) // _SHOWN_VIEWS)][:_SHOWN_VIEWS]:
        truth = case.truth[index]
        name = result.scene.names[index]
        tiles.append(Tile(f"{case.name} {name}", result.scene.views[index].read_image()))
        if truth is not None:
            tiles.append(Tile("truth", truth))
        tiles.append(Tile(label, result.in_view(index).alpha))
    return tiles
