"""The command line: a scene's folder and a prompt in one view in, an object in 3-D out.

`__main__` gives the functions that load models, so that everything here runs with any predictor.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zim.errors import ConfigError, PromptError, ZimError
from zim.evaluation.machine import use_threads
from zim.matte_files import PromptOptions, build_prompts, check_prompts
from zim.protocol import Predictor

from .automatic import MaskGenerator, MergingConfig
from .fusion import FusionConfig
from .job import GEOMETRIES, JobConfig, Place, run_automatic, run_prompted
from .point_field import VotingConfig
from .propagation import PropagationConfig
from .radiance_training import RadianceConfig
from .scene_files import READERS, open_scene
from .self_prompts import SelfPromptConfig
from .surface import DEFAULT_POINTS
from .views import Scene

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


class Loaders(NamedTuple):
    """predictor: (name, device) -> a predictor. generator: (name, device) -> a mask generator."""

    predictor: Callable[[str, str], Predictor]
    generator: Callable[[str, str], MaskGenerator]


def main(arguments: Sequence[str] | None, loaders: Loaders) -> int:
    """Run the command line. Returns the exit code: 0 done, 1 failed, 2 misused, 130 interrupted; one line each."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else list(arguments))
    try:
        config = _config(options)
        prompts = _prompt_options(options)
        use_threads(options.threads)
        scene = open_scene(options.scene, options.layout, surface=options.surface)
        report = _run(options, scene, config, prompts, loaders)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except (ZimError, ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
        if options.debug:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISUSED if isinstance(error, ConfigError | PromptError) else FAILED
    _summarise(report, options.out)
    return DONE


def _run(
    options: argparse.Namespace, scene: Scene, config: JobConfig, prompts: PromptOptions | None, loaders: Loaders
) -> dict[str, Any]:
    place = Place(options.out, fresh=options.fresh, progress=not options.quiet)
    if prompts is None:
        return run_automatic(scene, lambda: loaders.generator(options.model, options.device), place, config)
    view = scene.index_of(options.view)
    height, width = scene.views[view].hw
    _check_inside(prompts, width, height)
    return run_prompted(
        scene,
        lambda: loaders.predictor(options.model, options.device),
        build_prompts(prompts, (height, width)),
        view,
        place,
        config,
        model=options.model,
    )


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(prog="python -m adapters.multiview_3d", description=__doc__)
    made.add_argument("scene", type=Path, help="folder with posed pictures, or a transforms.json")
    made.add_argument("-o", "--out", type=Path, required=True, help="results; a killed run goes on there")
    made.add_argument("--view", default="0", help="the prompted view: its number or name")
    made.add_argument(
        "--box", type=float, nargs=4, action="append", default=[], metavar=("X1", "Y1", "X2", "Y2"),
        help="pixels of that view; repeat for several objects",
    )  # fmt: skip
    made.add_argument(
        "--point", type=float, nargs=3, action="append", default=[], metavar=("X", "Y", "LABEL"),
        help="label 1 object, 0 background; belongs to the box that contains it",
    )  # fmt: skip
    made.add_argument("--scribble", type=Path, help="PNG of the view's size: 255 object, 0 background, 128 nothing")
    made.add_argument("--mask", type=Path, help="rough mask, PNG of the view's size")
    made.add_argument("--auto", action="store_true", help="no prompt: everything, merged from each view's masks")
    made.add_argument("--model", default="zim_tiny", help="name or checkpoint, as zim.load_predictor takes it")
    made.add_argument("--device", default="auto")
    made.add_argument("--threads", type=int, help="CPU threads")
    made.add_argument("--layout", choices=tuple(READERS), help="camera format; found out by itself")
    made.add_argument("--surface", type=Path, help="mesh or point cloud of the scene (PLY, OBJ, GLB)")
    made.add_argument("--geometry", choices=GEOMETRIES, default="auto")
    made.add_argument("--points", type=int, default=DEFAULT_POINTS, help="points on a mesh")
    made.add_argument("--voxel", type=float, help="side of a voxel of RGB-D fusion, world units")
    made.add_argument("--depth-max", type=float, default=20.0, help="farther depth is left out, world units")
    made.add_argument("--grid", type=int, default=96, help="voxels along an edge of the density grid (no depth)")
    made.add_argument("--grid-steps", type=int, default=700)
    made.add_argument("--half-side", type=float, help="half side of that grid, world units")
    made.add_argument("--passes", type=int, default=3, help="at most")
    made.add_argument("--gate", type=float, default=0.4, help="least IoU of an answer with the object so far")
    made.add_argument("--positives", type=int, default=3, help="points on the object in self-made prompts")
    made.add_argument("--negatives", type=int, default=0, help="points beside it")
    made.add_argument("--rule", choices=("farthest", "confidence"), default="farthest", help="how points are chosen")
    made.add_argument("--voting", choices=("soft", "hard"), default="soft")
    made.add_argument("--overlap", type=float, default=0.5, help="of masks that are merged by --auto")
    made.add_argument("--turntable", type=int, default=24, help="frames of turntable.gif; 0 for none")
    made.add_argument("--fresh", action="store_true", help="forget what an earlier run left in --out")
    made.add_argument("--quiet", action="store_true", help="no progress bars")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def _config(options: argparse.Namespace) -> JobConfig:
    if options.turntable < 0:
        raise ConfigError(f"--turntable: expected at least 0, got {options.turntable}")
    prompts = SelfPromptConfig(positives=options.positives, negatives=options.negatives, rule=options.rule)
    return JobConfig(
        geometry=options.geometry,
        points=options.points,
        fusion=FusionConfig(voxel=options.voxel, depth_max=options.depth_max),
        radiance=RadianceConfig(side=options.grid, steps=options.grid_steps, half_side=options.half_side),
        voting=VotingConfig(voting=options.voting),
        propagation=PropagationConfig(passes=options.passes, gate=options.gate, prompts=prompts),
        merging=MergingConfig(overlap=options.overlap),
        turntable_frames=options.turntable,
    )


def _prompt_options(options: argparse.Namespace) -> PromptOptions | None:
    """The prompt, or None for the automatic mode."""
    made = PromptOptions(
        boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in options.box),
        points=tuple((x, y, label) for x, y, label in options.point),
        scribble=options.scribble,
        mask=options.mask,
    )
    if not options.auto:
        check_prompts(made)
        return made
    if made.boxes or made.points or made.scribble or made.mask:
        raise PromptError("--auto: expected no --box, --point, --scribble or --mask beside it")
    return None


def _check_inside(prompts: PromptOptions, width: int, height: int) -> None:
    for x1, y1, x2, y2 in prompts.boxes:
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise PromptError(f"--box: {x1:g} {y1:g} {x2:g} {y2:g} lies outside the view of {width} x {height}")
    for x, y, _ in prompts.points:
        if not (0 <= x < width and 0 <= y < height):
            raise PromptError(f"--point: {x:g} {y:g} lies outside the view of {width} x {height}")


def _summarise(report: dict[str, Any], folder: Path) -> None:
    for each in report["skipped"]:
        print(f"left out: {each['name']}: {each['reason']}", file=sys.stderr)
    if "segments" in report:
        print(f"{len(report['segments'])} segments in {folder / 'labels.ply'}")
        return
    for number, described in enumerate(report["objects"], 1):
        statuses = [row["status"] for row in described["views"]]
        believed = sum(status in ("prompted", "accepted") for status in statuses)
        heard = f"believed in {believed} of {len(statuses)} views"
        print(f"object {number}: {described['points']} points, {heard}: {folder / described['folder']}")
