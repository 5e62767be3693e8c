"""Segment medical volumes from prompts: `python -m adapters.medical_volume VOLUME --box X1 Y1 X2 Y2 --slice K -o DIR`.

Coordinates are voxel indices of the file's array, as nibabel shows them, or world millimetres (RAS+) with --world.
--slice and --label close the prompts before them; given once, they hold for all:

  --box 20 30 60 70 --slice 12 --label liver  --point 40 50 1 --slice 20 --label spleen
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from zim import load_predictor
from zim.errors import ConfigError, PromptError, ZimError
from zim.evaluation.machine import use_threads

from .answer_store import EmbeddingCache, model_identity
from .jobs import Model, Reading, run_folder, run_volume, settings_with
from .prompt_text import DEFAULT_LABEL, PromptText, read_prompt_table
from .settings import Settings

FAILED, INTERRUPTED = 1, 130
WORDS = ("box", "box3d", "point", "slice", "label")


class _InOrder(argparse.Action):
    """Keeps prompt options in the order in which they are written."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        words = getattr(namespace, "words", None) or []
        namespace.words = [*words, (self.dest, values)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, 1 after an error (one line) or 130 after Ctrl-C; misuse exits with 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        use_threads(options.threads)
        return _run(options)
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except MemoryError:
        print(f"error: {options.volume}: does not fit into memory", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def prompts_of(words: Sequence[tuple[str, Any]], *, world: bool) -> list[PromptText]:
    """Prompts of the options in the order in which they were given.

    Raises:
        PromptError: a prompt without a slice, or options that close nothing.
    """
    only_slice = [value for name, value in words if name == "slice"]
    only_label = [value for name, value in words if name == "label"]
    found: list[dict[str, Any]] = []
    slice_from = label_from = 0
    for name, value in words:
        if name == "slice" and len(only_slice) > 1:
            if slice_from == len(found):
                raise PromptError(
                    f"--slice {value}: expected a prompt before it; several --slice each close the prompts before them"
                )
            for prompt in found[slice_from:]:
                prompt["slice"] = value
            slice_from = len(found)
        elif name == "label" and len(only_label) > 1:
            if label_from == len(found):
                raise PromptError(
                    f"--label {value}: expected a prompt before it; several --label each close the prompts before them"
                )
            for prompt in found[label_from:]:
                prompt["label"] = value
            label_from = len(found)
        elif name in ("box", "box3d", "point"):
            found.append({"kind": name, "values": tuple(float(number) for number in value)})
    if len(only_label) > 1 and label_from < len(found):
        raise PromptError("--label: expected one after the last prompt too")
    label = only_label[0] if len(only_label) == 1 else DEFAULT_LABEL
    index = only_slice[0] if len(only_slice) == 1 else None
    texts = []
    for prompt in found:
        flat = prompt["kind"] == "box" or len(prompt["values"]) == 3
        texts.append(
            PromptText(
                kind=prompt["kind"],
                values=prompt["values"],
                label=prompt.get("label", label),
                slice=prompt.get("slice", index) if flat else None,
                coordinates="world" if world else "voxel",
            )
        )
    return texts


def _run(options: argparse.Namespace) -> int:
    texts = prompts_of(options.words or [], world=options.world)
    settings = settings_with(
        Settings(),
        window=options.window,
        axis=options.axis,
        context=options.context,
        box3d=options.box3d_mode,
        consensus=options.consensus,
        points=options.interior_points,
        feed_mask=options.feed_mask or None,
        stop_after=options.stop_after,
        min_island=options.min_island,
        min_hole=options.min_hole,
        largest_only=options.largest_only or None,
    )
    reading = Reading(time_index=options.time, series=options.series, nan_as_zero=options.nan_as_zero)
    if options.prompts is not None and (texts or options.mask):
        raise ConfigError("--prompts: expected no other prompts beside it")
    if options.prompts is None and not texts and options.mask is None:
        raise PromptError("prompt: expected --box, --box3d, --point, --mask or --prompts, got none")
    table = read_prompt_table(options.prompts) if options.prompts is not None else None
    if not options.volume.exists():
        raise ConfigError(f"{options.volume}: expected a volume or a folder, found nothing")
    predictor = load_predictor(options.model, device=options.device)
    identity = model_identity(predictor, options.model)
    cache = None if options.cache is None else EmbeddingCache(options.cache, identity, limit_gb=options.cache_limit)
    model = Model(predictor=predictor, identity=identity, cache=cache)
    with tqdm(desc="slices", unit="slice", disable=options.quiet) as bar:
        if table is not None and options.volume.is_dir():
            return _folder(options, table, model, settings, reading, bar)
        if table is not None:
            names = {options.volume.name, options.volume.name.split(".")[0], ""}
            texts = [text for name in table if name in names for text in table[name]]
        done = run_volume(
            options.volume,
            texts,
            options.out,
            model,
            settings=settings,
            reading=reading,
            previous=options.mask,
            asked=bar.update,
        )
    print(f"{'wrote' if done else 'already done:'} {options.out}")
    return 0


def _folder(
    options: argparse.Namespace, table: Any, model: Model, settings: Settings, reading: Reading, bar: Any
) -> int:
    failed = 0
    for name, outcome in run_folder(
        options.volume, table, options.out, model, settings=settings, reading=reading, asked=bar.update
    ):
        if outcome in ("done", "already done"):
            tqdm.write(f"{name}: {outcome}")
        else:
            failed += 1
            tqdm.write(f"error: {name}: {outcome}", file=sys.stderr)
    return FAILED if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m adapters.medical_volume",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("volume", type=Path, help=".nii, .nii.gz, .nrrd, .mha, a DICOM folder; with --prompts also a folder of these")
    add("-o", "--out", type=Path, required=True, help="folder of the results")
    add("--box", nargs=4, type=float, action=_InOrder, metavar=("X1", "Y1", "X2", "Y2"), help="on --slice")
    add("--box3d", nargs=6, type=float, action=_InOrder, metavar=("X1", "Y1", "Z1", "X2", "Y2", "Z2"))
    add("--point", nargs="+", type=float, action=_InOrder, metavar="N", help="X Y LABEL on --slice, or X Y Z LABEL")
    add("--slice", type=int, action=_InOrder, metavar="K", help="number along the slice axis of the file")
    add("--label", action=_InOrder, metavar="NAME", help="name of the object")
    add("--world", action="store_true", help="coordinates are world mm (RAS+)")
    add("--mask", type=Path, help="earlier mask or alpha on the same grid, to be refined")
    add("--prompts", type=Path, help="CSV: volume,label,kind,values,slice,coordinates")
    add("--model", default="zim_tiny_medical", help="zim_tiny_medical (fine-tuned), zim_tiny, or a file of weights")
    add("--device", default="auto")
    add("--threads", type=int)
    add("--window", help="auto, soft_tissue, lung, bone, brain, liver, LOWER,UPPER or LOWER%%,UPPER%%")
    add("--axis", help="of the slices: auto, axial, coronal, sagittal, i, j, k")
    add("--context", type=float, help="show the prompt's box grown to this multiple; 0: whole slices")
    add("--box3d-mode", choices=("follow", "every"), help="follow from the middle slice, or ask every slice")
    consensus = "average passes across all three axes (default: for 3-D boxes in volumes of nearly cubic voxels)"
    add("--consensus", action=argparse.BooleanOptionalAction, help=consensus)
    add("--interior-points", type=int, help="points handed from slice to slice")
    add("--feed-mask", action="store_true", help="hand the alpha from slice to slice too")
    add("--stop-after", type=int, help="empty slices that end a direction")
    add("--min-island", type=float, metavar="ML", help="remove smaller pieces")
    add("--min-hole", type=float, metavar="ML", help="fill smaller holes")
    add("--largest-only", action="store_true", help="keep the largest piece of each label")
    add("--time", type=int, metavar="N", help="which volume of a 4-D file")
    add("--series", metavar="UID", help="which series of a DICOM folder")
    add("--nan-as-zero", action="store_true")
    add("--cache", type=Path, metavar="DIR", help="keep image embeddings here (zim_tiny: 30 MB a slice)")
    add("--cache-limit", type=float, default=20.0, metavar="GB")
    add("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(words=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
