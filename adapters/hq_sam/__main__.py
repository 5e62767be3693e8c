"""`python -m adapters.hq_sam segment PHOTOS --boxes boxes.json --out DIR`, and `... evaluate DATA`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from zim import load_predictor
from zim.errors import ConfigError, DataError, ZimError
from zim.files import write_json_atomic
from zim.matte_files import find_photos

from ..comparison import json_table, text_table
from .benchmark import compare
from .box_files import jobs_from_box, jobs_from_file, jobs_from_masks
from .segmentation import SegmentationJob, segment_folder

PREDICTORS = "sam_tiny,hq_sam_tiny,zim_tiny,hq_zim_tiny"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, 1 after an error or when photographs failed, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _segment(options: argparse.Namespace) -> int:
    jobs = _jobs(options)
    predictor = load_predictor(options.predictor, device=options.device)
    with tqdm(total=len(jobs), desc="hq_sam", unit="photo", disable=None) as bar:
        summary = segment_folder(
            predictor,
            jobs,
            options.out,
            kind=options.kind,
            hq_token_only=options.hq_token_only,
            settings={"predictor": str(options.predictor)},
            on_done=lambda job: _advance(bar),
        )
    for failure in summary.failures:
        print(f"{failure.photo}: error: {failure.message}", file=sys.stderr)
    print(f"{summary.done} done, {summary.skipped} finished before, {len(summary.failures)} failed; in {options.out}")
    return 1 if summary.failures else 0


def _advance(bar: tqdm) -> None:
    bar.update()


def _jobs(options: argparse.Namespace) -> list[SegmentationJob]:
    given = [name for name in ("boxes", "masks", "box") if getattr(options, name)]
    if len(given) != 1:
        raise ConfigError(f"boxes: expected exactly one of --boxes, --masks and --box, got {len(given)} of them")
    if any(path.is_dir() and path.resolve() == options.out.resolve() for path in options.photos):
        raise ConfigError(f"--out: expected another folder than that of the photos, got {options.out}")
    photos = find_photos(options.photos)
    if options.boxes:
        return jobs_from_file(photos, options.boxes)
    return jobs_from_masks(photos, options.masks) if options.masks else jobs_from_box(photos, options.box)


def _evaluate(options: argparse.Namespace) -> int:
    names = [name.strip() for name in options.predictors.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"--predictors: expected distinct names, got {options.predictors!r}")
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit: expected at least 1, got {options.limit}")
    if not options.data.is_dir():
        raise DataError(f"{options.data}: expected a folder")
    predictors = {name: load_predictor(name, device=options.device) for name in names}
    comparison = compare(predictors, data=options.data, limit=options.limit, progress=True)
    print(text_table(comparison))
    if options.json:
        write_json_atomic(options.json, json_table(comparison))
        print(f"wrote {options.json}")
    return 1 if comparison.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m adapters.hq_sam", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    segment = commands.add_parser("segment", help="masks of photographs from boxes")
    segment.set_defaults(run=_segment)
    segment.add_argument("photos", nargs="+", type=Path, help="files, or folders of pictures")
    segment.add_argument("--out", type=Path, required=True, help="folder for NAME_0.png, NAME_1.png, ...")
    segment.add_argument("--boxes", type=Path, help='JSON: {"NAME.jpg": [[x1, y1, x2, y2], ...], ...}')
    segment.add_argument("--masks", type=Path, help="folder of rough masks of the same names: their boxes")
    segment.add_argument("--box", type=float, nargs=4, action="append", metavar=("X1", "Y1", "X2", "Y2"))
    segment.add_argument("--predictor", default="hq_zim_tiny", help="what load_predictor answers (hq_zim_tiny)")
    segment.add_argument("--kind", choices=("mask", "alpha"), default="mask")
    segment.add_argument("--hq-token-only", action="store_true", help="the HQ token's answer alone")
    segment.add_argument("--device", default="auto")
    evaluate = commands.add_parser("evaluate", help="mIoU and boundary IoU with ground-truth boxes")
    evaluate.set_defaults(run=_evaluate)
    evaluate.add_argument("data", type=Path, help="folder with any of the four sets, or image/ + mask/ folders")
    evaluate.add_argument("--predictors", default=PREDICTORS, help=f"comma-separated ({PREDICTORS})")
    evaluate.add_argument("--limit", type=int, help="at most this many photographs of a set")
    evaluate.add_argument("--json", type=Path, help="write every figure here")
    evaluate.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
