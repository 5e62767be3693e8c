"""Prompts as values, and the ways to make one from a matte, a mask or a scribble."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import PromptError
from zim.far_points import depth_in, farthest_apart, thinned
from zim.transforms import ResizeLongestSide

SCRIBBLE_FOREGROUND, SCRIBBLE_BACKGROUND, SCRIBBLE_NOTHING = 255, 0, 128
SCRIBBLE_MIN_SPACING = 1 / 128
"""Points of a scribble are at least this share of the long side apart: half a cell of the 64 x 64 grid."""

MASK_INPUT_LOGIT = 10.0
"""Magnitude of the logits that stand for a sure 0 or 1 (sigmoid(10) = 0.99995)."""

_SCRIBBLE_CANDIDATES = 100_000


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Prompt:
    """One object's prompt, in pixels of the original frame; at least one field is set by the time it is used.

    `point_coords` (N, 2) xy with `point_labels` (N,) of 1 foreground, 0 background, -1 padding; `box` (4,)
    xyxy; `mask_input` (1, 256, 256) logits of the padded frame, as `predict` returns them.
    """

    point_coords: NDArray[np.float32] | None = None
    point_labels: NDArray[np.int32] | None = None
    box: NDArray[np.float32] | None = None
    mask_input: NDArray[np.float32] | None = None

    def as_kwargs(self) -> dict[str, Any]:
        """The keyword arguments of `predict`."""
        return {
            "point_coords": self.point_coords,
            "point_labels": self.point_labels,
            "box": self.box,
            "mask_input": self.mask_input,
        }


def box_from_alpha(alpha: NDArray[Any], threshold: float = 0.3) -> NDArray[np.float32]:
    """The tightest box around the pixels of a matte that are above a threshold.

    Args:
        alpha: (H, W) float in [0, 1], or bool.
        threshold: in [0, 1).

    Returns:
        (4,) float32 [x_min, y_min, x_max, y_max]; the last pixels are inside.

    Raises:
        PromptError: another shape, or no pixel above the threshold.
    """
    array = np.asarray(alpha)
    if array.ndim != 2:
        raise PromptError(f"alpha: expected shape (H, W), got {array.shape}")
    rows, columns = np.nonzero(array > threshold)
    if not len(rows):
        raise PromptError(f"alpha: expected a pixel above {threshold}, got none")
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], dtype=np.float32)


def points_from_scribble(
    scribble: NDArray[np.uint8], max_points: int = 32
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Points that stand for strokes: farthest-apart pixels of each colour, the same for the same scribble.

    Where both colours are drawn, each gets half of the points, and what one cannot use goes to the other.

    Args:
        scribble: (H, W) uint8, the size of the photo: 255 foreground, 0 background, 128 nothing.
        max_points: at least 2 where both colours are drawn.

    Returns:
        (N, 2) float32 xy and (N,) int32 labels, foreground first, N in 1..max_points.

    Raises:
        PromptError: another shape or dtype, other values, no stroke, or too few points for both colours.
    """
    array = np.asarray(scribble)
    if array.ndim != 2 or array.dtype != np.uint8:
        raise PromptError(f"scribble: expected (H, W) uint8, got {array.dtype} of shape {array.shape}")
    foreground, background = array == SCRIBBLE_FOREGROUND, array == SCRIBBLE_BACKGROUND
    if not (foreground | background | (array == SCRIBBLE_NOTHING)).all():
        raise PromptError(
            "scribble: expected the values 255 (foreground), 0 (background) and 128 (nothing), "
            f"got {np.unique(array)[:8].tolist()}"
        )
    drawn = [stroke for stroke in (foreground, background) if stroke.any()]
    if not drawn:
        raise PromptError("scribble: expected at least one foreground (255) or background (0) pixel, got none")
    if max_points < len(drawn):
        raise PromptError(f"max_points: expected at least {len(drawn)}, got {max_points}")
    candidates = [_farthest_points(stroke, max_points) for stroke in drawn]
    if len(candidates) == 2:
        first = min(len(candidates[0]), max(max_points // 2, max_points - len(candidates[1])))
        candidates = [candidates[0][:first], candidates[1][: max_points - first]]
    labels = [int(stroke is foreground) for stroke in drawn]
    counts = [len(points) for points in candidates]
    return np.concatenate(candidates), np.repeat(np.array(labels, dtype=np.int32), counts)


def _farthest_points(stroke: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
    """Farthest-point order over the pixels of a stroke, from its innermost pixel on -> (N, 2) float32 xy."""
    row, column = np.unravel_index(int(np.argmax(depth_in(stroke))), stroke.shape)
    first = np.array([column, row], dtype=np.float64)
    spacing = max(1.0, SCRIBBLE_MIN_SPACING * max(stroke.shape))
    return farthest_apart(thinned(stroke, _SCRIBBLE_CANDIDATES), first, count, spacing=spacing).astype(np.float32)


def mask_input_from_mask(mask: NDArray[Any], img_size: int = 1024) -> NDArray[np.float32]:
    """A mask or matte as the low-resolution logits that `mask_input` takes.

    The mask is resized as the image is, padded with background, averaged over 4 x 4 pixels, and turned into
    logits between -10 and 10.

    Args:
        mask: (H, W) bool, or float in [0, 1], the size of the photo.
        img_size: side of the model's padded frame.

    Returns:
        (1, img_size / 4, img_size / 4) float32 logits.

    Raises:
        PromptError: another shape, dtype or range.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or not array.size or not (array.dtype == bool or np.issubdtype(array.dtype, np.floating)):
        raise PromptError(f"mask: expected (H, W) bool or float in [0, 1], got {array.dtype} of shape {array.shape}")
    alpha = array.astype(np.float32)
    if not (np.isfinite(alpha).all() and alpha.min() >= 0 and alpha.max() <= 1):
        raise PromptError(f"mask: expected finite values in [0, 1], got [{alpha.min():g}, {alpha.max():g}]")
    height, width = ResizeLongestSide.get_preprocess_shape(alpha.shape[0], alpha.shape[1], img_size)
    shrinks = height * width < alpha.size
    resized = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    padded = np.zeros((img_size, img_size), dtype=np.float32)
    padded[:height, :width] = resized
    side = img_size // 4
    small = padded.reshape(side, 4, side, 4).mean(axis=(1, 3), dtype=np.float64)
    sure = 1.0 / (1.0 + np.exp(-MASK_INPUT_LOGIT))
    small = np.clip(small, 1.0 - sure, sure)
    return np.log(small / (1.0 - small)).astype(np.float32)[None]
