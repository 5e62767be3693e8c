"""Text prompts: a detector finds boxes for phrases, and each box is a prompt like one that was drawn by hand.

No detector is built here. Packages offer theirs by an entry point of the group `zim.text_detectors`, a function
`factory(source: str | None, device: str | torch.device) -> TextDetector`; the ones of this project are in
`adapters.text_prompts`.
"""

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from zim.checks import describe
from zim.errors import ConfigError, ImageError, MissingDependencyError, PromptError

GROUP = "zim.text_detectors"
DEFAULT_DETECTOR = "grounding_dino"
FOLDER_DETECTOR = "transformers"
"""The entry point that takes a folder or a hub name, and finds out itself what kind of model it is."""

HUB_NAME = r"[\w.-]+/[\w.-]+(@[\w./-]+)?"
"""OWNER/MODEL or OWNER/MODEL@REVISION."""

INSTALL_HINT = "pip install 'zim-matting[text]'"
ANSWERS = (
    "NAME or NAME:SOURCE (a folder, file or hub name of its own), a model folder, or a hub name OWNER/MODEL, "
    "where NAME is one of"
)

DetectorFactory = Callable[[str | None, str | torch.device], object]


class Detections(NamedTuple):
    """N objects found in one photo, the surest first; N may be 0.

    `boxes` (N, 4) float32 xyxy in pixels of the original frame, inside it, x1 < x2 and y1 < y2; `scores` (N,)
    float32 in [0, 1], descending; `labels` N strings, the phrase that each box was found for (see `split_phrases`).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: list[str]


@runtime_checkable
class TextDetector(Protocol):
    """Finds what phrases name."""

    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Detections:
        """Every object of `image` that one of the phrases names.

        Args:
            image: (H, W, 3) uint8 RGB.
            phrases: one phrase, or several with full stops between them: "cat. remote."
            box_threshold: an object needs a higher score than this.
            text_threshold: the best word of an object's phrase needs a higher score than this; detectors that
                score whole phrases pay no heed to it.

        Raises:
            ImageError: the image is none.
            PromptError: no phrase.
            ConfigError: a threshold outside [0, 1].
        """
        ...


def detector_names() -> list[str]:
    """The names of the installed detectors."""
    return sorted(_found())


def load_text_detector(name: str | Path = DEFAULT_DETECTOR, device: str | torch.device = "auto") -> TextDetector:
    """The detector of that name.

    Args:
        name: an entry point of the group `zim.text_detectors` ("grounding_dino", "owlv2"), which takes its own
            weights; "NAME:SOURCE", one with a source for its weights or answers ("owlv2:FOLDER",
            "grounding_dino:OWNER/MODEL", "recorded:boxes.json"); a model folder, or a hub name "OWNER/MODEL".
        device: "auto" takes CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: nothing answers to the name, or what does is no detector.
        MissingDependencyError: no detector, or an optional library of this one, is installed.
        CheckpointError: the weights are not there, or cannot be read.
    """
    text = str(name)
    found = _found()
    if not found:
        raise MissingDependencyError(
            f"text prompts need a detector, and none is installed (entry points {GROUP!r}): {INSTALL_HINT}"
        )
    key, _, source = text.partition(":")
    if key in found:
        if ":" in text and not source.strip():
            raise ConfigError(f"detector: expected a folder, file or hub name after {key!r}:, got nothing")
        return _built(found[key], source or None, device, text)
    looks_like_source = bool(text.strip()) and (Path(text).is_dir() or re.fullmatch(HUB_NAME, text))
    if FOLDER_DETECTOR in found and looks_like_source:
        return _built(found[FOLDER_DETECTOR], text, device, text)
    raise ConfigError(f"detector: expected {ANSWERS} {', '.join(sorted(found))}; got {text!r}")


def split_phrases(phrases: Any) -> list[str]:
    """The phrases of "cat. remote.": lower case, one space between words, no empty ones, no repetitions.

    Raises:
        PromptError: nothing that could be looked for.
    """
    if not isinstance(phrases, str):
        raise PromptError(f"text: expected one string, phrases separated by full stops, got {describe(phrases)}")
    parts = [" ".join(part.lower().split()) for part in phrases.split(".")]
    found = list(dict.fromkeys(part for part in parts if part))
    if not any(character.isalnum() for part in found for character in part):
        raise PromptError(f"text: expected a phrase such as 'the cat' or 'cat. remote.', got {phrases!r}")
    return found


def check_thresholds(*, box_threshold: Any, text_threshold: Any) -> None:
    """Both thresholds in [0, 1].

    Raises:
        ConfigError: one that is not.
    """
    for name, value in (("box_threshold", box_threshold), ("text_threshold", text_threshold)):
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not (number and 0 <= value <= 1):  # a NaN is refused too
            raise ConfigError(f"{name}: expected a number in [0, 1], got {value!r}")


def check_image(image: Any) -> tuple[int, int]:
    """Height and width of an (H, W, 3) uint8 RGB image.

    Raises:
        ImageError: it is something else.
    """
    good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not good or not image.size:
        raise ImageError(f"image: expected an (H, W, 3) uint8 RGB array, got {describe(image)}")
    return image.shape[0], image.shape[1]


def clean_detections(boxes: Any, scores: Any, labels: Any, hw: tuple[int, int]) -> Detections:
    """Detections in the form that is promised: cut to the frame, boxes without area gone, the surest first.

    Args:
        boxes: (N, 4) xyxy in pixels of a frame of height and width `hw`.
        scores: (N,) numbers in [0, 1].
        labels: N strings.
        hw: (H, W).

    Raises:
        PromptError: the three do not belong together, or a value is not finite.
    """
    try:
        box_array, score_array = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float32)
        names = [str(label) for label in labels]
    except (TypeError, ValueError) as error:
        raise PromptError(f"detections: expected boxes and scores of numbers, and labels ({error})") from error
    if not box_array.size:
        box_array = box_array.reshape(0, 4)
    count = len(names)
    if box_array.shape != (count, 4) or score_array.shape != (count,):
        raise PromptError(
            f"detections: expected N boxes (N, 4), N scores and N labels, got boxes of shape {box_array.shape}, "
            f"scores of shape {score_array.shape} and {count} labels"
        )
    if not (np.isfinite(box_array).all() and np.isfinite(score_array).all()):
        raise PromptError("detections: expected finite boxes and scores")
    height, width = hw
    box_array = np.clip(box_array, 0, [width, height, width, height]).astype(np.float32)
    order = np.argsort(-score_array, kind="stable")
    has_area = (box_array[:, 0] < box_array[:, 2]) & (box_array[:, 1] < box_array[:, 3])
    order = order[has_area[order]]
    return Detections(box_array[order], score_array[order], [names[index] for index in order])


def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _built(entry: EntryPoint, source: str | None, device: str | torch.device, text: str) -> TextDetector:
    """The detector of an entry point; a module that is not there is told like a library that is not there."""
    try:
        factory: DetectorFactory = entry.load()
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"the text detector {entry.name!r} ({entry.value}) cannot be imported ({error}): {INSTALL_HINT}"
        ) from error
    detector = factory(source, device)
    if not isinstance(detector, TextDetector) or isinstance(detector, type):
        raise ConfigError(f"detector: expected an object with detect from {text!r}, got {type(detector).__name__}")
    return detector
