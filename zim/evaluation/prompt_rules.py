"""The prompt that a benchmark gives to every model: derived from the truth, or stored with the data.

Everything here is deterministic, so that two runs ask the same question.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zim.errors import PromptError
from zim.evaluation.validation import as_alpha
from zim.far_points import depth_in, farthest_apart, thinned
from zim.prompts import Prompt, box_from_alpha

FOREGROUND_ABOVE = 0.5
BACKGROUND_BELOW = 0.05
_MAX_CANDIDATES = 4096
_POINT_MARGIN = 0.25  # of the object's largest inner radius; keeps clicks off the outline
_NEGATIVE_REACH = 0.25  # of the box's sides: negatives lie in the object's surroundings


@dataclass(frozen=True)
class PromptRule:
    """How a prompt is made from a truth.

    - `box`: the box of alpha > 0.3, or the stored box;
    - `point`: one positive at the interior maximum of alpha > 0.5, or all stored points;
    - `points:N`: N points, from three on a third of them negative, or the first N stored points.
    """

    kind: Literal["box", "point", "points"]
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "PromptRule":
        """Read `box`, `point` or `points:N`.

        Raises:
            ValueError: the text is none of these.
        """
        if text == "box":
            return cls("box")
        if text == "point":
            return cls("point")
        name, _, number = text.partition(":")
        if name == "points" and number.isascii() and number.isdigit() and int(number) >= 1:
            return cls("points", int(number))
        raise ValueError(f"prompt rule: expected box, point or points:N with N >= 1, got {text!r}")

    def __str__(self) -> str:
        return f"points:{self.count}" if self.kind == "points" else self.kind

    def prompt(self, alpha: NDArray[np.float32], stored: Prompt | None = None) -> Prompt:
        """The prompt for a truth `alpha`, (H, W) in [0, 1]; a `stored` prompt of that frame wins over the
        rule.

        Raises:
            PromptError: the truth has nothing to point at, or the stored prompt lacks what the rule asks for.
        """
        if stored is not None:
            return self._from_stored(stored)
        if self.kind == "box":
            try:
                return Prompt(box=box_from_alpha(alpha))
            except ValueError as error:
                raise PromptError(f"alpha: expected pixels above 0.3 for a box prompt ({error})") from error
        if self.kind == "point":
            x, y, _ = interior_point(alpha)
            return Prompt(point_coords=np.array([[x, y]], np.float32), point_labels=np.array([1], np.int32))
        return spread_points(alpha, self.count)

    def _from_stored(self, stored: Prompt) -> Prompt:
        if self.kind == "box":
            if stored.box is None:
                raise PromptError("stored prompt: expected a box, it has only points")
            return Prompt(box=stored.box)
        if stored.point_coords is None or stored.point_labels is None:
            raise PromptError("stored prompt: expected points, it has only a box")
        count = self.count if self.kind == "points" else len(stored.point_labels)
        return Prompt(point_coords=stored.point_coords[:count], point_labels=stored.point_labels[:count])


def scale_prompt(prompt: Prompt, scale_xy: tuple[float, float]) -> Prompt:
    """The same points and box in a frame resized by `scale_xy`; a mask input is dropped."""
    scale = np.array(scale_xy, np.float32)
    return Prompt(
        point_coords=None if prompt.point_coords is None else prompt.point_coords * scale,
        point_labels=prompt.point_labels,
        box=None if prompt.box is None else prompt.box * np.tile(scale, 2),
    )


def interior_point(alpha: NDArray[np.float32]) -> tuple[int, int, float]:
    """The pixel deepest inside alpha > 0.5: (x, y, distance to the nearest pixel outside).

    Pixels beyond the image count as outside, so that an object cut by the border is not clicked at the
    border.

    Raises:
        PromptError: no pixel exceeds 0.5.
    """
    depth = depth_in(as_alpha(alpha) > FOREGROUND_ABOVE)
    y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
    if depth[y, x] <= 0:
        raise PromptError("alpha: expected pixels above 0.5 for a point prompt, found none")
    return int(x), int(y), float(depth[y, x])


def spread_points(alpha: NDArray[np.float32], count: int) -> Prompt:
    """`count` points far apart: the interior point first, more inside alpha > 0.5 a little off its outline,
    and from three points on a third of them (rounded down) negative, in the surroundings of the object where
    alpha < 0.05.

    Without any background near by the negatives become positives.

    Raises:
        PromptError: no pixel exceeds 0.5.
    """
    truth = as_alpha(alpha)
    x, y, radius = interior_point(truth)
    inside = depth_in(truth > FOREGROUND_ABOVE) > _POINT_MARGIN * radius
    outside = _surroundings(truth) & (truth < BACKGROUND_BELOW)
    negatives = _farthest_apart(outside, count // 3 if count >= 3 else 0, start=None)
    positives = _farthest_apart(inside, count - len(negatives), start=(x, y))
    labels = [1] * len(positives) + [0] * len(negatives)
    return Prompt(
        point_coords=np.array(positives + negatives, np.float32).reshape(-1, 2),
        point_labels=np.array(labels, np.int32),
    )


def _surroundings(alpha: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The object's box, grown on each side by a share of its size."""
    x1, y1, x2, y2 = box_from_alpha(alpha)
    grow_x, grow_y = (x2 - x1 + 1) * _NEGATIVE_REACH, (y2 - y1 + 1) * _NEGATIVE_REACH
    zone = np.zeros(alpha.shape, dtype=bool)
    zone[max(0, int(y1 - grow_y)) : int(y2 + grow_y) + 2, max(0, int(x1 - grow_x)) : int(x2 + grow_x) + 2] = (
        True
    )
    return zone


def _farthest_apart(
    mask: NDArray[np.bool_], count: int, *, start: tuple[int, int] | None
) -> list[tuple[int, int]]:
    """Up to `count` (x, y) pixels of a mask, each as far as possible from those before it.

    `start` is the first one; without it, the pixel farthest from the mask's complement is.
    """
    if count < 1 or not mask.any():
        return []
    if start is None:
        y, x = np.unravel_index(int(np.argmax(depth_in(mask))), mask.shape)
        start = (int(x), int(y))
    points = farthest_apart(thinned(mask, _MAX_CANDIDATES), np.array(start, dtype=np.float64), count)
    return [(int(x), int(y)) for x, y in points]
