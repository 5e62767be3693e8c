"""What each part of ZIM brings, on equal budgets: `python -m training.ablation --axis AXIS --out DIR`.

    python -m training.ablation --axis attention_decoder --smoke --out try
    python -m training.ablation --axis attention_decoder mask_form image_to_token data --seeds 0,1 --budget cpu \\
        --cache cache --out runs/ablation

Every variant of an axis is trained with every seed on the same budget and the same scenes, and measured with a box and
with a click on held-out scenes. Axes share the runs that they have in common. DIR/AXIS.json, .md and .png are written
after every run, with what there is; an interrupted ablation goes on when the same command is given again.
"""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from zim.devices import resolve_device
from zim.errors import ConfigError, ZimError
from zim.evaluation.datasets import FolderDataset
from zim.evaluation.machine import use_threads
from zim.files import write_json_atomic, write_text_atomic

from ..data.scene_export import export_scenes
from .budgets import BUDGETS, Budget
from .report import Runs, about_run, draw, json_value, markdown_text
from .runs import Ingredients, run_variant
from .variants import AXES, Variant

HELDOUT_SEED = 500_000
"""First of the held-out scenes: below every scene that is trained on."""

OVERRIDES = ("steps", "side", "images", "prompts", "scenes", "scene_size", "heldout_count", "lr")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m training.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--axis", nargs="+", choices=list(AXES), required=True)
    made.add_argument("--out", type=Path, required=True, help="folder of the runs and of the reports")
    made.add_argument("--seeds", default="0,1", help="comma-separated")
    made.add_argument("--budget", choices=list(BUDGETS), default="cpu")
    made.add_argument("--smoke", action="store_const", const="smoke", dest="budget", help="the same as --budget smoke")
    made.add_argument("--steps", type=int, help="instead of the budget's, as the following")
    made.add_argument("--side", type=int, help="of the images, in pixels")
    made.add_argument("--images", type=int, help="a step")
    made.add_argument("--prompts", type=int, help="an image")
    made.add_argument("--scenes", type=int, help="that are trained on")
    made.add_argument("--scene-size", type=int, help="side that they are rendered at")
    made.add_argument("--heldout-count", type=int, help="scenes to measure on")
    made.add_argument("--lr", type=float)
    made.add_argument("--heldout", type=Path, help="measure on these exported scenes instead of rendering some")
    made.add_argument("--cache", type=Path, help="folder of rendered training scenes (default: in --out)")
    made.add_argument("--photos", type=Path, nargs="+", default=[], help="photographs for textures and backgrounds")
    made.add_argument("--segments", type=Path, nargs="+", default=[], help="labelled photographs (docs/training.md)")
    made.add_argument("--shards", nargs="+", default=[], help="converted labels, for variants with micro labels")
    made.add_argument("--mattes", nargs="+", default=[], help="exact mattes, for variants with whole objects only")
    made.add_argument("--init", type=Path, help="weights that the parts which all variants share start from")
    made.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto")
    made.add_argument("--threads", type=int, help="CPU threads")
    made.add_argument("--workers", type=int, default=0, help="data processes")
    return made


def budget_of(options: argparse.Namespace) -> Budget:
    """The named budget with what the command line changes.

    Raises:
        ConfigError: a number makes no sense.
    """
    names = {name: name.removesuffix("_count") for name in OVERRIDES}
    changes = {field: value for name, field in names.items() if (value := getattr(options, name)) is not None}
    return dataclasses.replace(BUDGETS[options.budget], **changes)


def seeds_of(text: str) -> list[int]:
    """`0,1,2` as numbers.

    Raises:
        ConfigError: not numbers >= 0, or one twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise ConfigError(f"--seeds: expected different numbers >= 0, separated by commas, got {text!r}")
    return [int(part) for part in parts]


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 after a one-line error; 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    try:
        use_threads(options.threads)
        cv2.setNumThreads(1)
        budget, seeds = budget_of(options), seeds_of(options.seeds)
        ingredients = ingredients_of(options, budget)
        about = about_run(
            budget_name=options.budget,
            budget={**dataclasses.asdict(budget), "model": budget.model.to_dict()},
            init="" if options.init is None else options.init.name,
            heldout=f"{len(FolderDataset(ingredients.heldout))} objects of {ingredients.heldout.name}",
            command="python -m training.ablation " + shlex.join(given),
        )
        run_all(options.axis, seeds, budget, ingredients, options.out, about)
    except KeyboardInterrupt:
        print("ablation: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except (ZimError, ValueError, OSError) as error:
        print(f"ablation: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def ingredients_of(options: argparse.Namespace, budget: Budget) -> Ingredients:
    """What all runs share; held-out scenes are rendered into `--out` unless `--heldout` gives some.

    Raises:
        ConfigError: no such device, or `--init` is no file.
        DataError: `--heldout` holds no scenes, or those in `--out` are others.
    """
    if options.init is not None and not options.init.is_file():
        raise ConfigError(f"--init: expected a checkpoint, found nothing at {options.init}")
    if options.workers < 0:
        raise ConfigError(f"--workers: expected at least 0, got {options.workers}")
    heldout = options.heldout
    if heldout is None:
        heldout = options.out / f"heldout_{budget.side}"
        export_scenes(heldout, count=budget.heldout, seed=HELDOUT_SEED, size=budget.side)
    return Ingredients(
        heldout=heldout,
        cache=options.cache or options.out / "scenes",
        photos=tuple(options.photos),
        segments=tuple(options.segments),
        shards=tuple(options.shards),
        mattes=tuple(options.mattes),
        init=options.init,
        device=resolve_device(options.device),
        workers=options.workers,
    )


def run_all(
    axes: Sequence[str],
    seeds: Sequence[int],
    budget: Budget,
    ingredients: Ingredients,
    out: Path,
    about: dict[str, Any],
) -> None:
    """Every variant of every axis with every seed, seed by seed; reports are written after each."""
    work = [(axis, variant, seed) for seed in seeds for axis in axes for variant in AXES[axis]]
    runs: dict[str, Runs] = {axis: {variant.name: {} for variant in AXES[axis]} for axis in axes}
    for number, (axis, variant, seed) in enumerate(work, start=1):
        print(f"{number} of {len(work)}: {axis}, {variant.name}, seed {seed}", flush=True)
        measured = run_variant(variant, seed, budget, ingredients, run_folder(out, variant, seed))
        runs[axis][variant.name][seed] = measured
        write_reports(axis, runs[axis], out, about)
    for axis in axes:
        print("\n" + markdown_text(axis, runs[axis], about))
        print(f"wrote {out / axis}.json, .md and .png")


def run_folder(out: Path, variant: Variant, seed: int) -> Path:
    """Where a run is kept: the same for equal variants of different axes."""
    return out / "runs" / f"{variant.slug}-seed{seed}"


def write_reports(axis: str, runs: Runs, out: Path, about: dict[str, Any]) -> None:
    """`out`/AXIS.json, .md and .png, each whole or not at all."""
    write_json_atomic(out / f"{axis}.json", json_value(axis, runs, about))
    write_text_atomic(out / f"{axis}.md", markdown_text(axis, runs, about))
    draw(axis, runs, out / f"{axis}.png")


if __name__ == "__main__":
    sys.exit(main())
