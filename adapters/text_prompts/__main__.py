"""Show what a text detector finds: `python -m adapters.text_prompts IMAGE... --text "cat. remote." [-o OUT]`.

Prints one line for each box. A `.json` for `-o` records them for `recorded:FILE`, a `.png` shows them in the photo.
Exit codes: 0 something was found in every photo, 1 not so, 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from zim.errors import ConfigError, ZimError
from zim.image_io import read_image, save_png
from zim.matte_files import find_photos
from zim.text_detection import (
    DEFAULT_DETECTOR,
    TextDetector,
    check_thresholds,
    load_text_detector,
    split_phrases,
)

from .picture import draw_detections
from .recorded import Recording, pixels_sha256, save_recordings


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        split_phrases(options.text)
        check_thresholds(box_threshold=options.box_threshold, text_threshold=options.text_threshold)
        photos = find_photos(options.images)
        _check_outputs(options.out, photos)
    except ZimError as error:
        return _complain(error, 2)
    try:
        detector = load_text_detector(options.detector, options.device)
        recordings, failed = _detect_all(photos, detector, options)
        for path in options.out:
            if path.suffix.lower() == ".json":
                save_recordings(path, recordings)
            elif recordings:
                save_png(path, draw_detections(read_image(photos[0]), recordings[0].detections))
            else:
                continue
            print(f"wrote {path}")
    except (ZimError, OSError, RuntimeError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted, nothing was written", 130)
    return 1 if failed or not all(recording.detections.labels for recording in recordings) else 0


def _detect_all(
    photos: Sequence[Path], detector: TextDetector, options: argparse.Namespace
) -> tuple[list[Recording], int]:
    """What was found in each photo, and how many photos failed."""
    recordings, failed = [], 0
    for photo in tqdm(photos, unit="photo", disable=True if len(photos) == 1 else None):
        try:
            image = read_image(photo)
            found = detector.detect(
                image, options.text, box_threshold=options.box_threshold, text_threshold=options.text_threshold
            )
        except (ZimError, RuntimeError) as error:
            _complain(error if str(photo) in str(error) else f"{photo}: {error}", 1)
            failed += 1
            continue
        recordings.append(Recording(photo, pixels_sha256(image), found))
        for index, (box, score, label) in enumerate(zip(*found, strict=True)):
            x1, y1, x2, y2 = box
            tqdm.write(f"{photo}\t{index}\t{label}\t{score:.3f}\t{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}")
        if not found.labels:
            tqdm.write(f"{photo}\tnothing found")
    return recordings, failed


def _check_outputs(paths: Sequence[Path], photos: Sequence[Path]) -> None:
    for path in paths:
        if path.suffix.lower() not in (".json", ".png") or path.is_dir():
            raise ConfigError(f"--out: expected a name that ends in .json or .png, got {str(path)!r}")
        if path.suffix.lower() == ".png" and len(photos) > 1:
            raise ConfigError(f"--out: expected .json for several photos, got {path}")
        if path.resolve() in {photo.resolve() for photo in photos}:
            raise ConfigError(f"--out: expected another file than the photo, got {path}")


def _complain(error: BaseException | str, code: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m adapters.text_prompts", description="Boxes of what a text names in photos."
    )
    made.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="photos, or folders of photos")
    made.add_argument("--text", required=True, help='what to look for: "the cat", or several: "cat. remote."')
    made.add_argument(
        "--detector",
        default=DEFAULT_DETECTOR,
        help="grounding_dino, owlv2, each with :FOLDER or :OWNER/MODEL; a model folder; recorded:FILE",
    )
    made.add_argument("--box-threshold", type=float, default=0.25)
    made.add_argument("--text-threshold", type=float, default=0.25)
    made.add_argument("--device", default="auto")
    made.add_argument(
        "-o", "--out", metavar="OUT", type=Path, action="append", default=[], help="NAME.json or NAME.png; repeatable"
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
