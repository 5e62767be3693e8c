"""Mattes of photos and folders: `python -m adapters.matte_anything photos/ --text "cat. dog" -o out/`.

Photos that are finished are skipped, so a run that broke off can be started again. Exit codes: 0 all written, 1
something failed, 2 wrong usage.
"""

import argparse
import dataclasses
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from zim import load_predictor
from zim.compositing import Background
from zim.errors import ConfigError, DataError, ImageError, PromptError, ZimError
from zim.image_io import read_image
from zim.matte_files import PromptOptions, background_from_text, check_prompts, find_photos

from .detections import DEFAULT_THRESHOLDS, TextDetector
from .files import is_finished, plan_photos, settings_of, write_mattes
from .matting import MatteAnything
from .modes import MODES, mode_of
from .prompt_files import PhotoPrompts, read_prompts
from .refiners import Refiner
from .transparency import TRANSPARENT
from .trimap import KernelTrimap, MatteTrimap, TrimapRule
from .vitmatte import load_vitmatte

VITMATTE_VARIABLE = "ZIM_VITMATTE"
FAILED, MISUSED, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        prompts = _prompts_by_photo(options)
        plan = plan_photos(list(prompts), options.out)
        shared = _shared_settings(options)
        settings = {photo: settings_of(photo, shared, prompts[photo].as_json()) for photo in plan}
        waiting = [
            photo for photo in plan if not is_finished(plan[photo], settings[photo], overwrite=options.overwrite)
        ]
        background = None if options.background is None else background_from_text(options.background)
        trimap = _trimap(options)
    except (ConfigError, PromptError, ImageError, DataError, OSError) as error:
        return _complain(error, MISUSED)
    if len(waiting) < len(plan):
        print(f"{len(plan) - len(waiting)} of {len(plan)} photos are finished already", file=sys.stderr)
    if not waiting:
        return 0
    try:
        matting = _built(options, trimap, any(prompts[photo].text for photo in waiting))
        failures = 0
        for photo in tqdm(waiting, unit="photo", disable=True if len(waiting) == 1 else None):
            job = _Job(photo, plan[photo], prompts[photo], settings[photo])
            failures += not _matte_photo(job, matting, background, options)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except Exception as error:  # a factory of somebody else may raise anything
        if options.debug:
            raise
        return _complain(error, FAILED)
    if failures and len(plan) > 1:
        _complain(f"{failures} of {len(plan)} photos failed", FAILED)
    return FAILED if failures else 0


class _Job(NamedTuple):
    """A photo, its folder, what to matte in it, and what is recorded about that."""

    photo: Path
    target: Path
    prompts: PhotoPrompts
    settings: dict[str, Any]


def _matte_photo(job: _Job, matting: MatteAnything, background: Background | None, options: argparse.Namespace) -> bool:
    """Whether the photo's folder was written; a failure is told in one line."""
    photo, target, prompts, settings = job
    try:
        image = read_image(photo)
        mattes = matting(
            image,
            prompts.within((image.shape[0], image.shape[1])),
            text=prompts.text,
            thresholds=tuple(options.thresholds),
            transparent=options.transparent,
            apart=options.apart,
        )
        write_mattes(target, mattes, settings, background, apart=options.apart)
    # RuntimeError is how torch says that memory ran out.
    except (ZimError, OSError, RuntimeError, MemoryError) as error:
        if options.debug:
            raise
        _complain(error if str(photo) in str(error) else f"{photo}: {error}", FAILED)
        return False
    tqdm.write(str(target))
    return True


def _complain(error: BaseException | str, code: int) -> int:
    tqdm.write(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    return code


def _prompts_by_photo(options: argparse.Namespace) -> dict[Path, PhotoPrompts]:
    """Each photo with the prompts that the file names for it, or else those of the command line.

    Raises:
        ZimError: no photo, a photo without prompts, prompts without a photo, or a prompt that cannot be meant.
    """
    photos = find_photos(options.images)
    given = PhotoPrompts(
        drawn=PromptOptions(
            boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in options.box),
            points=tuple((x, y, label) for x, y, label in options.point),
        ),
        text=options.text,
        whole_frame=options.whole_frame,
    )
    named = {} if options.prompts is None else read_prompts(options.prompts)
    strangers = sorted(named.keys() - {photo.name for photo in photos})
    if strangers:
        raise PromptError(f"--prompts: expected names of the photos, got {', '.join(strangers[:3])}")
    chosen = {photo: named.get(photo.name, given) for photo in photos}
    for photo, prompts in chosen.items():
        if prompts.is_empty:
            raise PromptError(
                f"prompt: expected --box, --point, --text, --whole-frame or --prompts for {photo}, got none"
            )
        if prompts.drawn.boxes or (prompts.drawn.points and not (prompts.text or prompts.whole_frame)):
            check_prompts(dataclasses.replace(prompts.drawn, points=() if prompts.text else prompts.drawn.points))
    return chosen


def _shared_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What decides over the results of all photos.

    Raises:
        ConfigError: a mode with ViTMatte, and no weights for it.
    """
    names = ("model", "mode", "apart", "background", "transparent", "text_detector", "thresholds")
    trimap = ("low", "high", "band_share", "erode", "dilate", "iterations")
    chosen = {name: getattr(options, name) for name in (*names, *trimap)}
    needs_vitmatte = mode_of(options.mode).refiner == "vitmatte"
    if needs_vitmatte and not options.vitmatte:
        raise ConfigError(f"--vitmatte: expected a hub name or a folder (or {VITMATTE_VARIABLE}), got none")
    return {**chosen, "vitmatte": options.vitmatte if needs_vitmatte else None}


def _trimap(options: argparse.Namespace) -> TrimapRule:
    """The mode's trimap with the settings of the command line.

    Raises:
        ConfigError: an impossible one, or one of the other kind of trimap.
    """
    rule = mode_of(options.mode).trimap
    kinds: dict[type, tuple[str, ...]] = {
        MatteTrimap: ("low", "high", "band_share"),
        KernelTrimap: ("erode", "dilate", "iterations"),
    }
    for kind, names in kinds.items():
        set_names = [name for name in names if getattr(options, name) is not None]
        if set_names and not isinstance(rule, kind):
            raise ConfigError(f"--{set_names[0].replace('_', '-')}: has no meaning in mode {options.mode}")
    given = {name: getattr(options, name) for name in kinds[type(rule)] if getattr(options, name) is not None}
    return dataclasses.replace(rule, **given)


def _built(options: argparse.Namespace, trimap: TrimapRule, needs_detector: bool) -> MatteAnything:
    refiner: Refiner | None = None
    if mode_of(options.mode).refiner == "vitmatte":
        refiner = load_vitmatte(options.vitmatte, device=options.device)
    detector: TextDetector | None = None
    if needs_detector or options.transparent:
        from zim.text_detection import load_text_detector

        detector = load_text_detector(options.text_detector, options.device)
    predictor = load_predictor(options.model, device=options.device)
    return MatteAnything(predictor, mode=options.mode, trimap=trimap, refiner=refiner, detector=detector)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m adapters.matte_anything", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="photos, or folders of photos")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="a folder in it for each photo")
    asked = parser.add_argument_group("what to matte, the same in every photo that --prompts does not name")
    numbers: dict[str, Any] = {"type": _finite, "action": "append", "default": []}
    asked.add_argument("--box", nargs=4, metavar=("X1", "Y1", "X2", "Y2"), help="an object; repeatable", **numbers)
    asked.add_argument("--point", nargs=3, metavar=("X", "Y", "LABEL"), help="1 object, 0 background", **numbers)
    asked.add_argument("--text", help="objects by name: 'cat. dog'")
    asked.add_argument("--whole-frame", action="store_true", help="a box around the whole photo")
    asked.add_argument("--prompts", type=Path, metavar="FILE", help="JSON or CSV: prompts of each photo by file name")
    asked.add_argument("--apart", action="store_true", help="one matte for each object, not one of all")
    done = parser.add_argument_group("how")
    done.add_argument("--mode", choices=list(MODES), default="zim", help="trimap + refiner (default: zim, alpha as is)")
    done.add_argument("--model", default="zim_tiny", help="whatever zim.load_predictor answers")
    done.add_argument(
        "--vitmatte",
        default=os.environ.get(VITMATTE_VARIABLE),
        metavar="NAME",
        help=f"hub name or folder, such as hustvl/vitmatte-small-composition-1k (default: {VITMATTE_VARIABLE})",
    )
    done.add_argument("--text-detector", default="grounding_dino", metavar="NAME", help="see zim.text_detection")
    done.add_argument("--thresholds", nargs=2, type=_finite, default=list(DEFAULT_THRESHOLDS), metavar=("BOX", "TEXT"))
    done.add_argument(
        "--transparent",
        nargs="?",
        const=TRANSPARENT,
        metavar="CAPTIONS",
        help=f"nothing inside these is certain foreground (default captions: '{TRANSPARENT}')",
    )
    done.add_argument("--background", help="a colour, checkerboard or a picture: write composites too")
    done.add_argument("--low", type=_finite, help="zim trimap: highest alpha of known background (0.05)")
    done.add_argument("--high", type=_finite, help="zim trimap: lowest alpha of known foreground (0.95)")
    done.add_argument("--band-share", type=_finite, help="zim trimap: band around it, share of the object (0.08)")
    done.add_argument("--erode", type=int, help="sam trimap: kernel, 1 to 30 pixels (10)")
    done.add_argument("--dilate", type=int, help="sam trimap: kernel, 1 to 30 pixels (10)")
    done.add_argument("--iterations", type=int, help="sam trimap: times that both are applied (5)")
    done.add_argument("--device", default="auto")
    done.add_argument("--overwrite", action="store_true", help="do photos again that were done with other settings")
    done.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
