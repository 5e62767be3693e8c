"""Slices to train on: `python -m adapters.medical_volume.export LABELLED_VOLUMES -o DIR [--leave-out NAME ...]`.

Writes `DIR/NAME_OF_DATA/image/ + alpha/` for `python -m training.train_zim --mattes`, or with `--layout labels`
`image/ + label/` for `--segments`. `--scenes N` adds synthetic volumes with exact alpha, of seeds that no comparison
uses.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from zim.errors import ConfigError, ZimError

from .datasets import LabelledVolume, labelled_volumes
from .scenes import KINDS, TRAINING_SEEDS, VolumeScene, volume_scenes
from .slice_export import MIN_VOXELS, export_labels, export_mattes
from .windowing import window_of

_SCENE_SLICES = 24
"""At most so many of a synthetic volume along an axis."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, 1 after an error (one line) or 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        written = _export(options)
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command writes the rest", file=sys.stderr)
        return 130
    for name, count in written.items():
        print(f"{options.out / name}: {count} pairs")
    return 0


def _export(options: argparse.Namespace) -> dict[str, int]:
    if not options.data and not options.scenes:
        raise ConfigError("export: expected a folder of labelled volumes or --scenes N, got neither")
    if options.every < 1 or options.scenes < 0 or options.pieces < 0:
        given = f"{options.every}, {options.scenes} and {options.pieces}"
        raise ConfigError(f"--every, --scenes, --pieces: expected at least 1, 0 and 0, got {given}")
    if options.pieces and options.layout == "labels":
        raise ConfigError("--pieces: belongs to --layout mattes; the trainer separates the pieces of labels itself")
    if not 1 <= options.min_voxels < math.inf:
        raise ConfigError(f"--min-voxels: expected a number of at least 1, got {options.min_voxels:g}")
    written: dict[str, int] = {}
    for root in options.data:
        found = labelled_volumes(root)
        unknown = set(options.leave_out) - {one.name for one in found}
        if unknown and len(options.data) == 1:
            raise ConfigError(f"--leave-out: {root} has no volume {sorted(unknown)[0]!r}")
        kept = [one for one in found if one.name not in options.leave_out]
        for one in tqdm(kept, desc=root.name, unit="volume"):
            written[root.name] = written.get(root.name, 0) + _volume(one, options, options.out / root.name)
    if options.scenes:
        made = volume_scenes(options.scenes, seed=TRAINING_SEEDS, kinds=tuple(options.scene_kinds))
        scenes = tqdm(made, total=options.scenes, desc="synthetic", unit="volume")
        counts = [_scene(scene, place, options, options.out / "synthetic") for place, scene in enumerate(scenes)]
        written["synthetic"] = sum(counts)
    return written


def _scene(scene: VolumeScene, place: int, options: argparse.Namespace, folder: Path) -> int:
    """Slices of a synthetic volume, of large ones not more than of small ones."""
    window = window_of("auto", scene.volume.voxels)
    return sum(
        export_mattes(
            scene.volume,
            scene.alphas,
            folder,
            name=f"{scene.kind}_{place:03d}",
            window=window,
            axes=(axis,),
            every=max(options.scenes_every, -(-count // _SCENE_SLICES)),
            pieces=options.pieces,
            min_voxels=options.min_voxels,
        )
        for axis, count in enumerate(scene.volume.voxels.shape)
    )


def _volume(one: LabelledVolume, options: argparse.Namespace, folder: Path) -> int:
    volume, parts = one.load()
    window = window_of(options.window, volume.voxels)
    if options.layout == "labels":
        ids = sum(number * (alpha > 0.5) for number, alpha in enumerate(parts.values(), start=1))
        return export_labels(
            volume,
            np.asarray(ids, np.uint16),
            folder,
            name=one.name,
            window=window,
            every=options.every,
            min_voxels=options.min_voxels,
        )
    if len(parts) > 1:
        parts = {"whole": np.clip(sum(parts.values()), 0, 1), **parts}
    return export_mattes(
        volume,
        parts,
        folder,
        name=one.name,
        window=window,
        every=options.every,
        pieces=options.pieces,
        min_voxels=options.min_voxels,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m adapters.medical_volume.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, nargs="*", help="folders of labelled volumes")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--layout", choices=("mattes", "labels"), default="mattes")
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="NAME", help="volumes to keep for measuring")
    parser.add_argument("--every", type=int, default=1, help="take every so many slices, along each axis")
    parser.add_argument("--scenes", type=int, default=0, metavar="N", help="synthetic volumes to add")
    parser.add_argument("--scene-kinds", nargs="+", choices=KINDS, default=KINDS, help="of the synthetic volumes")
    most = f"take every so many slices of these, along each axis, and at most {_SCENE_SLICES} (default: 3)"
    parser.add_argument("--scenes-every", type=int, default=3, metavar="N", help=most)
    parser.add_argument(
        "--pieces", type=int, default=0, metavar="N", help="of slices with several pieces, write N of them alone too"
    )
    least = "leave out slices with less of an object (default: %(default)g; less for thin things)"
    parser.add_argument("--min-voxels", type=float, default=MIN_VOXELS, metavar="N", help=least)
    parser.add_argument("--window", default="auto", help="as for segmentation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
