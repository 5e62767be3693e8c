"""Time of `set_image` and of one box prompt: `python -m zim.evaluation.speed --model zim_tiny`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.alpha import predict_alpha
from zim.errors import ConfigError, ZimError
from zim.evaluation.loader import LoadPredictor, default_loader
from zim.evaluation.machine import describe_machine, machine_line, now, timed, use_threads
from zim.evaluation.model_errors import blaming_model
from zim.image_io import read_image
from zim.protocol import Predictor

LONG_SIDE = 1024
_SYNTHETIC_HW = (768, 1024)


def measure_speed(predictor: Predictor, image: NDArray[np.uint8], *, repeats: int = 5) -> dict[str, Any]:
    """Median seconds of `set_image` and of one box prompt (the middle half of the photo), after one warm-up
    of each.

    Args:
        predictor: Anything with SAM's surface.
        image: (H, W, 3) uint8 RGB.
        repeats: How often each is timed.

    Raises:
        ValueError: `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats: expected a number >= 1, got {repeats}")
    height, width = image.shape[:2]
    box = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4], np.float32)
    predictor.set_image(image)
    predict_alpha(predictor, box=box)
    set_image = [timed(lambda: predictor.set_image(image))[1] for _ in range(repeats)]
    prompt = [timed(lambda: predict_alpha(predictor, box=box))[1] for _ in range(repeats)]
    return {
        "set_image_seconds": median(set_image),
        "prompt_seconds": median(prompt),
        "repeats": repeats,
        "image_hw": [height, width],
    }


def synthetic_photo(
    height: int = _SYNTHETIC_HW[0], width: int = _SYNTHETIC_HW[1], *, seed: int = 0
) -> NDArray[np.uint8]:
    """Coloured noise with the spectrum of a photograph and an ellipse on it: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    photo = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 9):
        noise = rng.standard_normal((2**octave, 2**octave, 3)).astype(np.float32)
        photo += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / octave
    photo = 110 + 35 * photo
    ellipse = np.zeros((height, width), np.uint8)
    cv2.ellipse(ellipse, (width // 2, height // 2), (width // 5, height // 5), 20, 0, 360, 1, thickness=-1)
    photo[ellipse > 0] += (50, 10, -30)
    return np.clip(photo, 0, 255).astype(np.uint8)


def main(arguments: Sequence[str] | None = None, *, load: LoadPredictor | None = None) -> int:
    """The command line; `load(name, device=...)` makes the predictor (default: `zim.load_predictor`)."""
    options = _parser().parse_args(arguments)
    try:
        use_threads(options.threads)
        image = timing_photo(options.image)
        if options.repeats < 1:
            raise ConfigError(f"--repeats: expected a number >= 1, got {options.repeats}")
        with blaming_model(options.model, "to load"):
            predictor = (load or default_loader())(options.model, device=options.device)
        with blaming_model(options.model, "to be timed"):
            measured = measure_speed(predictor, image, repeats=options.repeats)
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    machine = describe_machine()
    if options.json:
        print(json.dumps({"model": options.model, "date": now(), **measured, "machine": machine}, indent=2))
        return 0
    height, width = measured["image_hw"]
    print(machine_line(machine))
    print(f"{options.model}, {width}x{height} pixels, median of {options.repeats}:")
    print(f"  set_image  {measured['set_image_seconds']:.3f} s")
    print(f"  one prompt {measured['prompt_seconds']:.3f} s")
    return 0


def timing_photo(path: str | Path | None) -> NDArray[np.uint8]:
    """A photo with a long side of 1024 pixels, or, without a path, the synthetic one: (H, W, 3) uint8 RGB."""
    if path is None:
        return synthetic_photo()
    image = read_image(path)
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zim.evaluation.speed", description=__doc__)
    parser.add_argument("--model", required=True, help="name or path that zim.load_predictor answers")
    parser.add_argument(
        "--image", help="a photo, resized to a long side of 1024; a synthetic one when left out"
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
