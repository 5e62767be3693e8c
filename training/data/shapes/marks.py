"""Vector drawing: what a shape is made of, where it stands, and its coverage in pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

SUPERSAMPLE = 2
"""Coverage is drawn antialiased at this multiple of the final resolution, then averaged down."""

_SHIFT = 4
_SUBPIXEL = 1 << _SHIFT

Palette = Literal["any", "hair", "skin", "plant", "feather", "cloth", "fibre"]


@dataclass(frozen=True, kw_only=True)
class Fill:
    """Filled polygons, united.

    contours: each (P, 2) float, xy in the shape's unit frame (about [-1, 1]).
    level: coverage inside, 0 cuts a hole into what was drawn before.
    """

    contours: tuple[np.ndarray, ...]
    level: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Strokes:
    """Polylines of one width.

    lines: (K, P, 2) float or a sequence of (P, 2) float, xy in the unit frame.
    width: in pixels of the final image; below one pixel it becomes fractional coverage.
    level: coverage of a line that is at least one pixel wide.
    """

    lines: np.ndarray | Sequence[np.ndarray]
    width: float
    level: float = 1.0
    closed: bool = False


Mark = Fill | Strokes


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A thing to paint: marks for its coverage, grooming for the brightness inside, and parts on top.

    grooming: marks whose level is a brightness, 0.5 neutral; empty when the texture alone is enough.
    clipped: for a part only: True paints inside the parent's coverage, False may reach beyond it
        (hair over a head) and then adds to the parent's coverage.
    """

    kind: str
    fine: bool
    marks: tuple[Mark, ...]
    grooming: tuple[Mark, ...] = ()
    palette: Palette = "any"
    parts: tuple["Shape", ...] = ()
    clipped: bool = True


@dataclass(frozen=True)
class Placement:
    """Where the unit frame lands: pixels = points @ matrix.T + centre.

    matrix: (2, 2) float, scale included. centre: (2,) float xy. Pixel i covers [i, i + 1).
    """

    matrix: np.ndarray
    centre: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Map (..., 2) unit points to (..., 2) pixel positions."""
        return points @ self.matrix.T + self.centre


@dataclass(frozen=True)
class Roi:
    """A pixel rectangle [x, x + width) x [y, y + height); it may reach beyond the image."""

    x: int
    y: int
    width: int
    height: int


def points_of(mark: Mark) -> np.ndarray:
    """All points of a mark, (N, 2), unit frame."""
    parts = mark.contours if isinstance(mark, Fill) else mark.lines
    if isinstance(parts, np.ndarray):
        return parts.reshape(-1, 2)
    return np.concatenate(list(parts)) if len(parts) else np.zeros((0, 2))


def marks_of(shape: Shape) -> list[Mark]:
    """The marks that can add coverage: the shape's own and those of parts that reach beyond it."""
    marks = list(shape.marks)
    for part in shape.parts:
        if not part.clipped:
            marks += marks_of(part)
    return marks


def bounds(shape: Shape, placement: Placement, size: int, margin: int) -> Roi | None:
    """The rectangle that a placed shape can touch inside the image, grown by `margin` on every side.

    None when the shape lies outside the image altogether.
    """
    marks = marks_of(shape)
    points = placement.apply(np.concatenate([points_of(mark) for mark in marks]))
    pad = 2 + margin + max((mark.width for mark in marks if isinstance(mark, Strokes)), default=0.0)
    low = np.maximum(np.floor(points.min(axis=0) - pad), -margin).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + pad), size + margin).astype(int)
    if (high - low < 2).any() or (low >= size).any() or (high <= 0).any():
        return None
    return Roi(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


def rasterise(
    marks: Iterable[Mark],
    placement: Placement,
    roi: Roi,
    *,
    supersample: int = SUPERSAMPLE,
    ground: float = 0.0,
) -> np.ndarray:
    """Draw marks in order over a constant ground.

    Returns (H, W) float32 in [0, 1] on the rectangle `roi`.
    """
    canvas: np.ndarray = np.full(
        (roi.height * supersample, roi.width * supersample), round(255 * ground), np.uint8
    )
    origin = np.array([roi.x, roi.y], np.float64)
    for mark in marks:
        if isinstance(mark, Fill):
            for contour in mark.contours:
                points = _to_fixed(placement.apply(contour), origin, supersample)
                cv2.fillPoly(canvas, [points], round(255 * mark.level), cv2.LINE_AA, _SHIFT)
            continue
        if len(mark.lines) == 0:
            continue
        thickness, opacity = _pen(mark.width * supersample)
        level = mark.level if ground else mark.level * opacity
        if isinstance(mark.lines, np.ndarray):
            lines = list(_to_fixed(placement.apply(mark.lines), origin, supersample))
        else:
            lines = [_to_fixed(placement.apply(line), origin, supersample) for line in mark.lines]
        cv2.polylines(canvas, lines, mark.closed, round(255 * level), thickness, cv2.LINE_AA, _SHIFT)
    if supersample > 1:
        canvas = cv2.resize(canvas, (roi.width, roi.height), interpolation=cv2.INTER_AREA)
    return canvas.astype(np.float32) * np.float32(1 / 255)


def _pen(width: float) -> tuple[int, float]:
    """OpenCV's thickness and the opacity that together cover as much as a line of `width` canvas pixels.

    Its antialiased lines of thickness 1, 2, 4, t (even) cover about 1.35, 3.5, 5.8, t + 1.9 pixels.
    """
    if width <= 1.9:
        return 1, min(1.0, width / 1.35)
    if width <= 4.6:
        return 2, min(1.0, width / 3.5)
    return max(4, 2 * round((width - 1.9) / 2)), 1.0


def _to_fixed(points: np.ndarray, origin: np.ndarray, supersample: int) -> np.ndarray:
    """Pixel positions to OpenCV's fixed-point coordinates, whose integers are pixel centres."""
    return np.round(((points - origin) * supersample - 0.5) * _SUBPIXEL).astype(np.int32)
