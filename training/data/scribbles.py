"""Scribbles for training: strokes drawn in and beside a matte, turned into points as the product turns them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.prompts import SCRIBBLE_BACKGROUND, SCRIBBLE_FOREGROUND, SCRIBBLE_NOTHING, points_from_scribble

from .prompt_sampling import INSIDE_THRESHOLD, OUTSIDE_THRESHOLD, SampledPrompt

SCRIBBLE_POINTS = 32
"""Most points of a scribble, the product's own limit."""

BACKGROUND_PROBABILITY = 0.5
"""How often a scribble says what does not belong to the object, too."""

_NODES = 12


def sample_scribble(alpha: NDArray[np.float32], rng: np.random.Generator) -> SampledPrompt:
    """Draw strokes for a matte, (H, W) float32 in [0, 1], and take their points.

    Foreground strokes lie on alpha > 0.5 (the most opaque pixel where there is none), background ones on alpha < 0.1.
    """
    points, labels = points_from_scribble(draw_scribble(alpha, rng), SCRIBBLE_POINTS)
    return SampledPrompt(kind="scribble", box=None, points=points, labels=labels)


def draw_scribble(alpha: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One or two strokes on the object of a matte (H, W), often one or two beside it: (H, W) of 255, 0 and 128."""
    inside = alpha > INSIDE_THRESHOLD
    if not inside.any():
        inside = alpha >= alpha.max()
    scribble = np.full(alpha.shape, SCRIBBLE_NOTHING, np.uint8)
    size = float(np.sqrt(inside.sum()))
    for _ in range(int(rng.integers(1, 3))):
        scribble[_stroke(inside, size, rng)] = SCRIBBLE_FOREGROUND
    outside = alpha < OUTSIDE_THRESHOLD
    if outside.any() and rng.random() < BACKGROUND_PROBABILITY:
        reach = 2 * round(0.25 * size) + 3
        near = outside & (cv2.dilate(inside.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0)
        for _ in range(int(rng.integers(1, 3))):
            chosen = near if near.any() and rng.random() < 0.6 else outside
            scribble[_stroke(chosen, size, rng)] = SCRIBBLE_BACKGROUND
    return scribble


def _stroke(region: NDArray[np.bool_], size: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A wavering line that starts in a region, about `size` pixels long, as far as it stays there: (H, W) bool."""
    flat = np.flatnonzero(region)
    start = np.array(np.divmod(int(flat[int(rng.integers(len(flat)))]), region.shape[1])[::-1])  # xy
    length = size * float(np.exp(rng.uniform(np.log(0.2), np.log(1.2))))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, _NODES))
    nodes = start + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * (length / _NODES)
    line = np.concatenate([start[None], nodes]).round().astype(np.int32)
    canvas = np.zeros(region.shape, np.uint8)
    cv2.polylines(canvas, [line[:, None]], False, 1, thickness=max(1, round(size * rng.uniform(0.01, 0.05))))
    canvas[start[1], start[0]] = 1
    return (canvas > 0) & region
