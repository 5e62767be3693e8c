"""Boxes for words: what the adapter asks of a text detector."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

from .transparency import BOX_THRESHOLD, TEXT_THRESHOLD

DEFAULT_THRESHOLDS = (0.25, 0.25)


class TextDetector(Protocol):
    """Finds what phrases name; any object of this shape, such as those of `zim.load_text_detector`."""

    def detect(
        self, image: NDArray[np.uint8], phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Any:
        """An object with `boxes` (N, 4) xyxy in pixels, `scores` (N,) and `labels`, N strings."""
        ...


class Found(NamedTuple):
    """box: (x1, y1, x2, y2) in pixels. label: the phrase it was found for. score: in [0, 1]."""

    box: tuple[float, float, float, float]
    label: str
    score: float


def find_boxes(
    detector: TextDetector | None,
    image: NDArray[np.uint8],
    phrases: str,
    thresholds: tuple[float, float] = DEFAULT_THRESHOLDS,
) -> list[Found]:
    """Every detection, the surest first; there may be none.

    Args:
        detector: whom to ask.
        image: (H, W, 3) uint8 RGB.
        phrases: "cat. dog".
        thresholds: of boxes and of words.

    Raises:
        ConfigError: there is no detector.
    """
    if detector is None:
        raise ConfigError("text: expected a text detector, got none")
    found = detector.detect(image, phrases, box_threshold=thresholds[0], text_threshold=thresholds[1])
    pairs = zip(np.asarray(found.boxes, float).reshape(-1, 4), found.scores, found.labels, strict=True)
    listed = [Found((float(a), float(b), float(c), float(d)), str(lb), float(sc)) for (a, b, c, d), sc, lb in pairs]
    return sorted(listed, key=lambda one: -one.score)


def find_transparent(
    detector: TextDetector | None, image: NDArray[np.uint8], captions: str
) -> list[NDArray[np.float32]]:
    """The boxes, each (4,) xyxy, of what one sees through, with the thresholds for it.

    Raises:
        ConfigError: there is no detector.
    """
    found = find_boxes(detector, image, captions, (BOX_THRESHOLD, TEXT_THRESHOLD))
    return [np.array(one.box, np.float32) for one in found]
