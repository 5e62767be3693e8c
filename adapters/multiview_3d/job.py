"""A whole run: cameras, geometry, propagation, files. Killed at any time, it goes on where it was."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import ConfigError, DataError, PromptError
from zim.files import write_json_atomic
from zim.prompts import Prompt
from zim.protocol import Predictor

from .automatic import MaskGenerator, MergingConfig, segment_everything, write_segmentation
from .exports import write_results
from .fusion import FusionConfig, fuse_rgbd
from .geometry_files import load_surface, save_surface
from .grid_field import GridField
from .object_fields import ObjectField
from .point_field import PointField, VotingConfig
from .pose_files import read_json
from .predictions import PredictionStore
from .propagation import Progress, PropagationConfig, segment_scene
from .radiance import RadianceGrid
from .radiance_training import RadianceConfig, fit_radiance
from .surface import DEFAULT_POINTS, Surface, read_surface
from .views import Scene, Skipped

Geometry = Literal["auto", "surface", "rgbd", "radiance"]
GEOMETRIES: tuple[Geometry, ...] = ("auto", "surface", "rgbd", "radiance")
_WORK = "work"


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Settings of a run.

    geometry: where the scene's surface comes from: a mesh or point cloud file, RGB-D fusion, or a density grid fitted
    to the pictures; "auto" takes the first that the scene allows. points: on a mesh. turntable_frames: 0 for none.
    preview: write preview.glb, the object for a viewer, see `exports.write_preview`.
    """

    geometry: Geometry = "auto"
    points: int = DEFAULT_POINTS
    fusion: FusionConfig = field(default_factory=FusionConfig)
    radiance: RadianceConfig = field(default_factory=RadianceConfig)
    voting: VotingConfig = field(default_factory=VotingConfig)
    propagation: PropagationConfig = field(default_factory=PropagationConfig)
    merging: MergingConfig = field(default_factory=MergingConfig)
    turntable_frames: int = 24
    preview: bool = False

    def __post_init__(self) -> None:
        if self.geometry not in GEOMETRIES:
            raise ConfigError(f"geometry: expected one of {', '.join(GEOMETRIES)}, got {self.geometry!r}")
        if self.points < 1000:
            raise ConfigError(f"points: expected at least 1000, got {self.points}")


class Place(NamedTuple):
    """folder: where results go. fresh: forget what an earlier run left there. progress: show bars."""

    folder: Path
    fresh: bool = False
    progress: bool = True


def run_prompted(
    scene: Scene,
    predictor: Callable[[], Predictor],
    prompts: list[Prompt],
    view: int,
    place: Place,
    config: JobConfig | None = None,
    *,
    model: str = "",
    steps: Progress | None = None,
) -> dict[str, Any]:
    """Segment what is prompted in one view and write everything.

    Args:
        scene: the views.
        predictor: makes the predictor, once the geometry stands.
        prompts: one for each object, in pixels of that view.
        view: its number.
        place: where to.
        config: defaults when None.
        model: the predictor's name, by which a resumed run knows its own answers.
        steps: called with the name of what is done, steps done and steps in all; what it raises ends the run.

    Returns:
        The report, see `exports.write_results`.

    Raises:
        PromptError, DataError, ConfigError: what cannot be done, in one line.
    """
    config = config or JobConfig()
    if not prompts:
        raise PromptError("prompt: expected a box, point or mask in one view, got none")
    work = _work_folder(place)
    kind = chosen_geometry(scene, config)
    identity = _identity(scene, config, kind) | {
        "model": model,
        "view": scene.names[view],
        "prompts": [_as_json(prompt) for prompt in prompts],
    }
    store = PredictionStore(work, identity)
    cameras = [each.camera for each in scene.views]
    made: ObjectField
    skipped: list[Skipped] = []
    if kind == "radiance":
        made = GridField(_radiance(scene, config, work, place.progress, steps), cameras, len(prompts))
    else:
        surface, skipped = _surface(scene, config, kind, work, place.progress, steps)
        made = PointField(surface, cameras, len(prompts), config.voting)
    with _reporting("pass 1", "view", place, steps) as shown:
        result = segment_scene(
            scene, made, predictor(), prompts, view=view, config=config.propagation, store=store, progress=shown
        )
    result.skipped = (*result.skipped, *skipped)
    surface, alphas = made.surface() if isinstance(made, GridField) else _point_result(made)
    with _reporting("writing", "mask", place, steps) as shown:
        report = write_results(
            result,
            surface,
            alphas,
            place.folder,
            turntable_frames=config.turntable_frames,
            on_view=partial(shown, "writing"),
            preview=config.preview,
        )
    report |= {"geometry": kind, "model": model}
    write_json_atomic(place.folder / "report.json", report)
    return report


@contextmanager
def _reporting(name: str, unit: str, place: Place, steps: Progress | None) -> Iterator[Progress]:
    """A bar that follows what it is called with, and hands it on."""
    with tqdm(desc=name, unit=unit, disable=not place.progress) as bar:

        def report(name: str, done: int, total: int) -> None:
            bar.set_description(name, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()
            if steps:
                steps(name, done, total)

        yield report


def run_automatic(
    scene: Scene, generator: Callable[[], MaskGenerator], place: Place, config: JobConfig | None = None
) -> dict[str, Any]:
    """Segment everything and write labels.

    Raises:
        DataError: the scene has no surface (a density grid has no points to merge on), or nothing was found.
    """
    config = config or JobConfig()
    kind = chosen_geometry(scene, config)
    if kind == "radiance":
        raise DataError("automatic: expected a scene with depth, a mesh or a point cloud")
    work = _work_folder(place)
    PredictionStore(work, _identity(scene, config, kind))
    surface, skipped = _surface(scene, config, kind, work, place.progress)
    with tqdm(desc="views", unit="view", total=len(scene.views), disable=not place.progress) as bar:
        found = segment_everything(
            scene, surface, generator(), config.merging, progress=lambda done, total: _advance(bar, done)
        )
    return write_segmentation(
        scene, surface, found._replace(skipped=(*found.skipped, *skipped)), place.folder
    )


def chosen_geometry(scene: Scene, config: JobConfig) -> str:
    """Where the surface comes from.

    Raises:
        DataError: what is asked for is not there.
    """
    if config.geometry == "auto":
        return "surface" if scene.surface else "rgbd" if scene.has_depth() else "radiance"
    if config.geometry == "surface" and scene.surface is None:
        raise DataError("geometry: expected a mesh or point cloud; name one with --surface")
    if config.geometry == "rgbd" and not scene.has_depth():
        raise DataError("geometry: expected depth for rgbd, no view has any")
    return config.geometry


def _surface(
    scene: Scene, config: JobConfig, kind: str, work: Path, progress: bool, steps: Progress | None = None
) -> tuple[Surface, list[Skipped]]:
    kept = work / "surface.npz"
    if kept.is_file():
        listed = read_json(work / "fusion.json") if (work / "fusion.json").is_file() else []
        return load_surface(kept), [Skipped(*each) for each in listed]
    skipped: list[Skipped] = []
    if kind == "surface" and scene.surface is not None:
        surface = read_surface(scene.surface, count=config.points)
    else:
        told = partial(steps, "fusing") if steps else None
        surface, skipped = fuse_rgbd(scene, config.fusion, progress=progress, on_view=told)
    write_json_atomic(work / "fusion.json", [list(each) for each in skipped])
    save_surface(kept, surface)
    return surface, skipped


def _radiance(
    scene: Scene, config: JobConfig, work: Path, progress: bool, steps: Progress | None = None
) -> RadianceGrid:
    kept = work / "radiance.safetensors"
    if kept.is_file():
        return RadianceGrid.load(kept)
    with tqdm(desc="fitting", unit="step", disable=not progress) as bar:

        def shown(done: int, total: int, psnr: float) -> None:
            bar.total = total
            bar.set_postfix(psnr=f"{psnr:.1f}", refresh=False)
            _advance(bar, done)
            if steps:
                steps("fitting", done, total)

        grid = fit_radiance(scene, config.radiance, progress=shown)
    grid.save(kept)
    return grid


def _point_result(made: ObjectField) -> tuple[Surface, NDArray[np.float32]]:
    if not isinstance(made, PointField):
        raise ConfigError(f"field: expected a PointField, got {type(made).__name__}")
    return made.surface, made.alpha


def _advance(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


def _work_folder(place: Place) -> Path:
    work = place.folder / _WORK
    if place.fresh and work.is_dir():
        shutil.rmtree(work)
    return work


def _identity(scene: Scene, config: JobConfig, kind: str) -> dict[str, Any]:
    settings = {name: value for name, value in asdict(config).items() if name not in ("turntable_frames", "preview")}
    return {
        "views": [
            [view.name, *view.hw, round(float(np.abs(view.camera.world_to_camera).sum()), 9)] for view in scene.views
        ],
        "geometry": kind,
        "surface": None if scene.surface is None else scene.surface.name,
        "settings": settings,
    }


def _as_json(prompt: Prompt) -> dict[str, Any]:
    given = {key: value for key, value in prompt.as_kwargs().items() if value is not None}
    return {
        key: round(float(np.abs(value).sum()), 3) if key == "mask_input" else np.asarray(value, float).tolist()
        for key, value in given.items()
    }
