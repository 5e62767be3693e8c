"""A predictor that knows the truth: what an adapter would give if the predictor were perfect."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ImageNotSetError, PromptError

_LOW_RES = 256
_EPSILON = 1e-6


class OraclePredictor:
    """Answers a prompt with the true alpha that fits it best.

    It is told the truths of an image by `expect` before or after `set_image`. A box picks the object whose own box
    overlaps most; points pick the object that holds most of the positive and fewest of the negative ones; a lone mask
    input picks the object that it covers best.

    reports_binary: answers alpha > 0.5 only, like a perfect SAM.
    """

    def __init__(self, *, reports_binary: bool = False) -> None:
        self.reports_binary = reports_binary
        self._truths: list[NDArray[np.float32]] = []
        self._size_hw: tuple[int, int] | None = None

    def expect(self, *alphas: NDArray[np.float32]) -> None:
        """The true alphas, each (H, W) in [0, 1], of the image that prompts refer to."""
        self._truths = [np.asarray(alpha, np.float32) for alpha in alphas]

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """(H, W, 3) uint8; only its size is looked at."""
        self._size_hw = (int(image.shape[0]), int(image.shape[1]))

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """As SAM's `predict`: the logits of the chosen truth, quality 1.

        Raises:
            ImageNotSetError: no image, or no truth of its size.
            PromptError: no prompt at all.
        """
        truths = [truth for truth in self._truths if truth.shape == self._size_hw]
        if not truths:
            raise ImageNotSetError(f"predictor: expected an image and its truths of one size, got {self._size_hw}")
        if point_coords is None and box is None and mask_input is None:
            raise PromptError("prompt: expected points, a box or a mask input, got none")
        scores = [_fit(truth, point_coords, point_labels, box, mask_input) for truth in truths]
        alpha = truths[int(np.argmax(scores))]
        if self.reports_binary:
            alpha = (alpha > 0.5).astype(np.float32)
        clipped = np.clip(alpha, _EPSILON, 1 - _EPSILON)
        logits = np.log(clipped / (1 - clipped))[None]
        low = cv2.resize(_padded(logits[0]), (_LOW_RES, _LOW_RES), interpolation=cv2.INTER_AREA)[None]
        copies = 3 if multimask_output else 1
        answer = logits if return_logits else logits > 0
        return np.repeat(answer, copies, 0), np.ones(copies, np.float32), np.repeat(low, copies, 0)


def _padded(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square, as SAM pads: below and to the right."""
    side = max(logits.shape)
    square = np.full((side, side), np.log(_EPSILON), np.float32)
    square[: logits.shape[0], : logits.shape[1]] = logits
    return square


def _fit(
    truth: NDArray[np.float32],
    points: NDArray[Any] | None,
    labels: NDArray[Any] | None,
    box: NDArray[Any] | None,
    mask_input: NDArray[Any] | None,
) -> float:
    """How well a prompt points at an object; any scale."""
    solid = truth > 0.5
    if not solid.any():
        return -1.0
    fit = 0.0
    if box is not None:
        rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
        fit += _box_iou(np.ravel(box), np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]))
    if points is not None and labels is not None and len(np.ravel(labels)):
        xy = np.floor(np.asarray(points, np.float64).reshape(-1, 2)).astype(int)
        inside = truth[xy[:, 1].clip(0, truth.shape[0] - 1), xy[:, 0].clip(0, truth.shape[1] - 1)]
        signs = np.select([np.ravel(labels) == 1, np.ravel(labels) == 0], [1.0, -1.0], 0.0)
        fit += float((inside * signs).sum()) / len(signs)
    if mask_input is not None and box is None and points is None:
        side = max(truth.shape)
        given = cv2.resize(np.asarray(mask_input, np.float32).reshape(-1, *np.shape(mask_input)[-2:])[0], (side, side))
        given_solid = given[: truth.shape[0], : truth.shape[1]] > 0
        fit += float((given_solid & solid).sum()) / max(1, int((given_solid | solid).sum()))
    return fit


def _box_iou(one: NDArray[Any], other: NDArray[Any]) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    union = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - common
    return common / union if union > 0 else 0.0
