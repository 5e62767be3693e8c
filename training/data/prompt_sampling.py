"""Prompts for training: boxes and points drawn from a matte the way people would give them.

Scribbles are drawn in `scribbles.py`, correction clicks in `training/corrections.py`.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from zim.errors import ConfigError, DataError

PromptKind = Literal["box", "point", "points", "box+points", "scribble"]

BOX_THRESHOLD = 0.3
INSIDE_THRESHOLD = 0.5
OUTSIDE_THRESHOLD = 0.1
_KINDS: tuple[PromptKind, ...] = ("box", "point", "points", "box+points")
_WORK_SIDE = 128
_CANDIDATES = 48


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """How often which prompt is drawn, and how sloppy it is.

    probabilities: of "box", "point", "points" and "box+points"; they sum to 1.
    exact_box_probability: that a box is not jittered.
    box_jitter: largest shift of a box edge, as a fraction of that side of the box.
    outward_bias: probability that an edge moves outwards rather than inwards; inward moves are half as long.
    points: fewest and most points of "points"; "box+points" takes from 1 to half of the most.
    negative_fraction: largest fraction of those points that is negative.
    near_negative_probability: that a negative point lies close to the outline rather than anywhere outside.
    interior_bias: 0 draws the first point uniformly over the inside; the higher, the closer to the middle.
    """

    probabilities: tuple[float, float, float, float] = (0.5, 0.2, 0.2, 0.1)
    exact_box_probability: float = 0.3
    box_jitter: float = 0.1
    outward_bias: float = 0.75
    points: tuple[int, int] = (2, 9)
    negative_fraction: float = 0.5
    near_negative_probability: float = 0.6
    interior_bias: float = 2.0

    def __post_init__(self) -> None:
        if (
            len(self.probabilities) != 4
            or min(self.probabilities) < 0
            or abs(sum(self.probabilities) - 1) > 1e-6
        ):
            raise ConfigError(f"probabilities: expected four numbers >= 0, sum 1, got {self.probabilities}")
        if not 2 <= self.points[0] <= self.points[1]:
            raise ConfigError(f"points: expected 2 <= fewest <= most, got {self.points}")
        for name in (
            "exact_box_probability",
            "outward_bias",
            "negative_fraction",
            "near_negative_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected a number in [0, 1], got {getattr(self, name)}")
        if not (np.isfinite(self.box_jitter) and self.box_jitter >= 0):
            raise ConfigError(f"box_jitter: expected a number >= 0, got {self.box_jitter}")


@dataclass(frozen=True, kw_only=True)
class SampledPrompt:
    """One prompt in pixels of the alpha's frame.

    box: (4,) float32 x1, y1, x2, y2 (the pixels x1..x2 inclusive) or None.
    points: (N, 2) float32 xy, N may be 0. labels: (N,) int32, 1 foreground, 0 background.
    """

    kind: PromptKind
    box: np.ndarray | None
    points: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Reduced:
    """The alpha at working resolution: at most `_WORK_SIDE` on the long side.

    depth: (h, w) float32, distance to the outside of alpha > 0.5, in working pixels.
    gap: (h, w) float32, distance to alpha >= 0.1.
    step: (2,) full-frame pixels per working pixel, xy.
    """

    depth: np.ndarray
    gap: np.ndarray
    step: np.ndarray


def sample_prompt(
    alpha: np.ndarray, rng: np.random.Generator, config: PromptConfig = PromptConfig()
) -> SampledPrompt:
    """Draw one prompt for a matte.

    alpha: (H, W) float in [0, 1].
    Positive points lie on alpha > 0.5 (the most opaque pixel where there is none), negatives on alpha < 0.1.

    Raises:
        DataError: alpha is not (H, W), or nothing in it exceeds 0.3.
    """
    if alpha.ndim != 2:
        raise DataError(f"alpha: expected shape (H, W), got {alpha.shape}")
    exact = _exact_box(alpha)
    kind = _KINDS[int(rng.choice(4, p=np.asarray(config.probabilities)))]
    box = _jitter_box(exact, alpha.shape, rng, config) if kind in ("box", "box+points") else None
    if kind == "box":
        return SampledPrompt(
            kind=kind, box=box, points=np.zeros((0, 2), np.float32), labels=np.zeros(0, np.int32)
        )
    if kind == "point":
        count, negatives = 1, 0
    else:
        low, high = config.points if kind == "points" else (1, max(1, config.points[1] // 2))
        count = int(rng.integers(low, high + 1))
        negatives = min(int(rng.uniform(0, config.negative_fraction) * count + rng.random()), count - 1)
    reduced = _reduce(alpha)
    positive = _positives(alpha, reduced, exact, count - negatives, rng, config)
    negative = _negatives(alpha, reduced, negatives, rng, config)
    labels = np.concatenate([np.ones(len(positive), np.int32), np.zeros(len(negative), np.int32)])
    points = np.concatenate([positive, negative]).astype(np.float32)
    return SampledPrompt(kind=kind, box=box, points=points, labels=labels)


def _exact_box(alpha: np.ndarray) -> np.ndarray:
    """The box of alpha > 0.3, (4,) float32."""
    mask = alpha > BOX_THRESHOLD
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        highest = float(alpha.max(initial=0))
        raise DataError(f"alpha: expected something above {BOX_THRESHOLD}, got a maximum of {highest:.3f}")
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)


def _jitter_box(
    box: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator, config: PromptConfig
) -> np.ndarray:
    """Move the edges, mostly outwards; clip to the image and keep at least one pixel. (4,) float32."""
    if rng.random() < config.exact_box_probability:
        return box.copy()
    sides = np.tile(box[2:] - box[:2] + 1, 2)
    amount = sides * config.box_jitter * rng.random(4) * rng.random()
    outwards = rng.random(4) < config.outward_bias
    moved = box + np.where(outwards, amount, -0.5 * amount) * np.array([-1, -1, 1, 1])
    limit = np.array([shape[1] - 1, shape[0] - 1] * 2, np.float32)
    moved = np.clip(np.round(moved * 4) / 4, 0, limit)
    moved[2:] = np.minimum(np.maximum(moved[2:], moved[:2] + 1), limit[2:])
    moved[:2] = np.maximum(np.minimum(moved[:2], moved[2:] - 1), 0)
    return moved.astype(np.float32)


def _reduce(alpha: np.ndarray) -> _Reduced:
    height, width = alpha.shape
    factor = max(1.0, max(height, width) / _WORK_SIDE)
    small_width, small_height = max(1, round(width / factor)), max(1, round(height / factor))
    small = cv2.resize(
        alpha.astype(np.float32, copy=False), (small_width, small_height), interpolation=cv2.INTER_AREA
    )
    inside = np.pad((small > INSIDE_THRESHOLD).astype(np.uint8), 1)
    outside = (small < OUTSIDE_THRESHOLD).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    gap = cv2.distanceTransform(outside, cv2.DIST_L2, 3) if not outside.all() else outside.astype(np.float32)
    return _Reduced(depth, gap, np.array([width / small_width, height / small_height]))


def _positives(
    alpha: np.ndarray,
    reduced: _Reduced,
    box: np.ndarray,
    count: int,
    rng: np.random.Generator,
    config: PromptConfig,
) -> np.ndarray:
    """`count` points on alpha > 0.5, the first towards the interior, the next far from it. (N, 2) xy."""
    bias = config.interior_bias if rng.random() < 0.8 else 0.0
    weights = np.where(reduced.depth > 0, reduced.depth**bias, 0.0).ravel()
    candidates = _draw(weights, reduced, alpha, rng, _CANDIDATES if count > 1 else 6)
    candidates = candidates[alpha[candidates[:, 1], candidates[:, 0]] > INSIDE_THRESHOLD]
    if len(candidates) == 0:
        candidates = _search_inside(alpha, box, rng)
    return _spread(candidates, count, rng)


def _search_inside(alpha: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Candidates at full resolution, for what the reduced one loses: (N, 2) int xy, N >= 1."""
    x1, y1, x2, y2 = box.astype(int)
    piece = alpha[y1 : y2 + 1, x1 : x2 + 1]
    rows, columns = np.nonzero(piece > INSIDE_THRESHOLD)
    if len(rows) == 0:
        rows, columns = (np.array([k]) for k in np.unravel_index(int(piece.argmax()), piece.shape))
    chosen = rng.integers(0, len(rows), min(len(rows), _CANDIDATES))
    return np.stack([columns[chosen] + x1, rows[chosen] + y1], axis=1)


def _negatives(
    alpha: np.ndarray, reduced: _Reduced, count: int, rng: np.random.Generator, config: PromptConfig
) -> np.ndarray:
    """Up to `count` points on alpha < 0.1, near the outline or anywhere; fewer without room. (N, 2) xy."""
    if count == 0:
        return np.zeros((0, 2))
    reach = 2 + 0.15 * np.sqrt((reduced.depth > 0).sum())
    near = ((reduced.gap > 1) & (reduced.gap <= reach)).ravel() * 1.0
    anywhere = (reduced.gap > 1).ravel() * 1.0
    chosen = []
    nearby = config.near_negative_probability
    for weights, share in ((near, nearby), (anywhere, 1 - nearby)):
        wanted = round(_CANDIDATES * share)
        if wanted and weights.any():
            chosen.append(_draw(weights, reduced, alpha, rng, wanted))
    if not chosen:
        return np.zeros((0, 2))
    candidates = np.concatenate(chosen)
    candidates = candidates[alpha[candidates[:, 1], candidates[:, 0]] < OUTSIDE_THRESHOLD]
    picked = rng.permutation(len(candidates))[: 3 * count]  # a few, so that far ones do not always win
    return _spread(candidates[picked], count, rng)


def _draw(
    weights: np.ndarray, reduced: _Reduced, alpha: np.ndarray, rng: np.random.Generator, count: int
) -> np.ndarray:
    """Draw working pixels by weight, and a random place in each: (count or 0, 2) int xy, full frame."""
    cumulative = np.cumsum(weights)
    if cumulative[-1] <= 0:
        return np.zeros((0, 2), np.int64)
    index = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right").clip(
        max=len(weights) - 1
    )
    cells = np.stack([index % reduced.depth.shape[1], index // reduced.depth.shape[1]], axis=1)
    places = ((cells + rng.random((count, 2))) * reduced.step).astype(np.int64)
    return np.minimum(places, np.array([alpha.shape[1] - 1, alpha.shape[0] - 1]))


def _spread(candidates: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The first candidate, then one of the farthest from those taken, and again. (N <= count, 2) float."""
    if len(candidates) == 0 or count == 0:
        return np.zeros((0, 2))
    taken = [candidates[0]]
    distance = np.full(len(candidates), np.inf)
    while len(taken) < count:
        distance = np.minimum(distance, ((candidates - taken[-1]) ** 2).sum(axis=1))
        if distance.max() == 0:
            break
        top = np.argsort(distance)[-max(1, min(4, int((distance > 0).sum()))) :]
        taken.append(candidates[int(rng.choice(top))])
    return np.stack(taken).astype(np.float64)
