"""From what the user points at to alphas: points, boxes, scribbles, rough masks, words, or a matte at hand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zim import predict_alpha
from zim.errors import ConfigError, PromptError
from zim.foreground import check_image_and_alpha
from zim.prompts import Prompt
from zim.protocol import Predictor
from zim.text_detection import TextDetector

from .pieces import piece_with


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """What the user points at; everything named counts.

    prompts: one object each. phrases: words for a text detector ("dog. ball"), one object for each box that it finds.
    matte: (H, W) float in [0, 1], an alpha at hand, which needs no predictor. candidates: ask for the predictor's three
    answers to one prompt. connected: of a prompt of points alone, keep the parts that the points lie on.
    """

    prompts: tuple[Prompt, ...] = ()
    phrases: str | None = None
    box_threshold: float = 0.25
    text_threshold: float = 0.25
    matte: NDArray[np.floating] | None = None
    candidates: bool = False
    connected: bool = True

    def __post_init__(self) -> None:
        if not self.prompts and not self.phrases and self.matte is None:
            raise PromptError("selection: expected points, a box, a scribble, words or a matte, got none")
        if self.candidates and (len(self.prompts) != 1 or self.phrases or self.matte is not None):
            raise PromptError("candidates: expected exactly one prompt of points, box or mask, and no words or matte")


def select(
    image: NDArray[np.uint8],
    selection: Selection,
    *,
    predictor: Predictor | None = None,
    detector: TextDetector | None = None,
) -> list[NDArray[np.float32]]:
    """One alpha for each object that is pointed at; three for `candidates`.

    Args:
        image: (H, W, 3) uint8 RGB.
        selection: what is pointed at.
        predictor: for prompts and words; afterwards its image is `image`.
        detector: for words.

    Returns:
        (H, W) float32 in [0, 1] each, at least one.

    Raises:
        ConfigError: a predictor or detector is needed and not given.
        PromptError: the detector finds nothing, or a prompt does not fit the image.
        ImageError: the matte does not fit the image.
    """
    prompts = [_given(prompt) for prompt in selection.prompts]
    if selection.phrases:
        if detector is None:
            raise ConfigError("detector: expected a text detector for words, got None")
        thresholds = {"box_threshold": selection.box_threshold, "text_threshold": selection.text_threshold}
        boxes = np.asarray(detector.detect(image, selection.phrases, **thresholds).boxes, np.float32).reshape(-1, 4)
        if not len(boxes):
            raise PromptError(f"words: nothing that {selection.phrases!r} names was found in the picture")
        prompts += [{"box": box} for box in boxes]
    alphas = []
    if selection.matte is not None:
        check_image_and_alpha(image, selection.matte)
        alphas.append(np.asarray(selection.matte, np.float32))
    if prompts:
        if predictor is None:
            raise ConfigError("predictor: expected one for points, boxes and words, got None")
        predictor.set_image(image)
        if selection.candidates:
            found = _candidates(predictor, prompts[0])
            return [_connected(alpha, prompts[0]) if selection.connected else alpha for alpha in found]
        for prompt in prompts:
            alpha = predict_alpha(predictor, **prompt)
            alphas.append(_connected(alpha, prompt) if selection.connected else alpha)
    return alphas


def together(alphas: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One alpha of several objects: the largest at each pixel."""
    return np.maximum.reduce(alphas)


def _given(prompt: Prompt) -> dict[str, Any]:
    return {name: value for name, value in prompt.as_kwargs().items() if value is not None}


def _connected(alpha: NDArray[np.float32], prompt: dict[str, Any]) -> NDArray[np.float32]:
    """Only for points alone: boxes and masks say themselves how far the object goes."""
    if set(prompt) != {"point_coords", "point_labels"}:
        return alpha
    return piece_with(alpha, prompt["point_coords"][np.asarray(prompt["point_labels"]) == 1])


def _candidates(predictor: Predictor, prompt: dict[str, Any]) -> list[NDArray[np.float32]]:
    logits, _, _ = predictor.predict(**prompt, multimask_output=True, return_logits=True)
    return [torch.sigmoid(torch.from_numpy(np.array(answer, np.float32))).numpy() for answer in logits]
