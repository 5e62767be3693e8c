"""Strands and how they taper, and things that are nothing else: tufts, grass and wires."""

import numpy as np

from .marks import Fill, Mark, Shape, Strokes
from .outlines import outline_of, smooth_curve


def grow(
    rng: np.random.Generator,
    roots: np.ndarray,
    angles: np.ndarray,
    lengths: np.ndarray,
    *,
    steps: int = 7,
    curl: float = 0.5,
    wave: float = 0.0,
    gravity: float = 0.0,
    clump: float = 0.0,
    clumps: int = 40,
) -> np.ndarray:
    """Grow strands from roots.

    roots: (K, 2). angles: (K,) radians of the first step. lengths: (K,).
    curl: spread of the total turn in radians. wave: amplitude of a sideways wave in radians.
    gravity: how strongly strands bend towards +y. clump: 0 to 1, how far tips lean to shared guides.
    Returns (K, steps + 1, 2).
    """
    count = len(roots)
    time = (np.arange(steps) + 0.5) / steps
    turn = angles[:, None] + rng.normal(0, curl, (count, 1)) * time
    if wave:
        phase = rng.uniform(0, 1, (count, 1)) * 0.5 + roots.sum(axis=1, keepdims=True)
        turn = turn + wave * np.sin(2 * np.pi * (rng.uniform(0.8, 2.2) * time + phase))
    direction = np.stack([np.cos(turn), np.sin(turn) + gravity * time * 1.6], axis=-1)
    direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-6)
    moves = direction * (lengths / steps)[:, None, None]
    lines = np.concatenate([roots[:, None], roots[:, None] + np.cumsum(moves, axis=1)], axis=1)  # (K, S+1, 2)
    if clump and count > 2:
        guides = rng.integers(0, count, min(clumps, count))
        nearest = ((roots[:, None] - roots[guides][None]) ** 2).sum(axis=-1).argmin(axis=1)
        pull = clump * (np.arange(steps + 1) / steps) ** 1.5
        lines = lines + pull[None, :, None] * (lines[guides][nearest] - lines)
    return lines


def tapered(lines: np.ndarray, width: float) -> list[Mark]:
    """Strands that thin out: tips first and faint, roots last, so that the stronger mark wins.

    lines: (K, P, 2) from root to tip. width: pixels at the root.
    """
    points = lines.shape[1]
    first, second = max(2, round(points * 0.4)), max(3, round(points * 0.75))
    pieces = ((second - 1, points, 0.4), (first - 1, second, 0.7), (0, first, 1.0))
    return [Strokes(lines=lines[:, a:b], width=width * factor) for a, b, factor in pieces if b - a >= 2]


def shimmer(
    rng: np.random.Generator, lines: np.ndarray, *, width: float, groups: int = 8, depth: float = 0.3
) -> list[Mark]:
    """Grooming: the strands again in random brightness, in interleaved groups."""
    bright = np.clip(0.5 + rng.normal(0, depth * 0.6, groups), 0.08, 0.95)
    order = rng.permutation(groups)
    return [Strokes(lines=lines[k::groups], width=width, level=float(bright[k])) for k in order]


def strand_count(rng: np.random.Generator, scale_px: float, density: float) -> int:
    """How many strands an object of that half-size gets; `density` is strands per pixel."""
    return int(np.clip(density * scale_px * rng.uniform(0.6, 1.4), 60, 1800))


def tuft(rng: np.random.Generator, scale_px: float) -> Shape:
    """A small body with long strands in all directions: a mane, a seed head, a pompom, a wig."""
    core = smooth_curve(rng, roughness=0.2) * rng.uniform(0.25, 0.55)
    points, normals = outline_of((core,))
    count = strand_count(rng, scale_px, 6.0)
    index = rng.integers(0, len(points), count)
    angles = np.arctan2(normals[index, 1], normals[index, 0]) + rng.normal(0, rng.uniform(0.1, 0.5), count)
    lengths = rng.uniform(0.3, 0.6) * rng.uniform(0.5, 1.4, count)
    roots = points[index] * rng.uniform(0.6, 1.0, (count, 1))
    lines = grow(
        rng,
        roots,
        angles,
        lengths,
        curl=rng.uniform(0.1, 1.5),
        wave=rng.uniform(0, 0.8),
        gravity=rng.uniform(-0.5, 1.8),
        clump=rng.uniform(0, 0.6),
    )
    width = rng.uniform(0.35, 1.3)
    thick = lines[:: max(1, count // 120), :4]
    marks = (
        *tapered(lines, width),
        *tapered(thick, max(1.0, 0.04 * scale_px)),
        Fill(contours=(core,)),
    )
    grooming = shimmer(rng, lines[::2], width=max(1.0, width * 1.3))
    return Shape(kind="tuft", fine=True, marks=marks, grooming=tuple(grooming), palette="hair")


def grass(rng: np.random.Generator, scale_px: float) -> Shape:
    """A tussock of blades."""
    count = int(np.clip(scale_px * rng.uniform(0.2, 0.9), 15, 220))
    roots = np.stack([rng.normal(0, rng.uniform(0.1, 0.45), count), rng.uniform(0.8, 1.0, count)], axis=1)
    angles = -np.pi / 2 + roots[:, 0] * rng.uniform(0.2, 0.9) + rng.normal(0, 0.15, count)
    lines = grow(
        rng,
        roots,
        angles,
        rng.uniform(0.5, 1.9, count),
        steps=11,
        curl=rng.uniform(0.2, 0.9),
        gravity=rng.uniform(0, 0.7),
    )
    width = max(0.7, scale_px * rng.uniform(0.008, 0.03))
    grooming = shimmer(rng, lines, width=max(1.0, width), depth=0.25)
    return Shape(
        kind="grass", fine=True, marks=tuple(tapered(lines, width)), grooming=tuple(grooming), palette="plant"
    )


def wires(rng: np.random.Generator, scale_px: float) -> Shape:
    """A few thin curved lines: cables, strings, antennae, a scribble."""
    count = int(rng.integers(1, 9))
    roots = rng.uniform(-0.9, 0.9, (count, 2))
    angles = rng.uniform(0, 2 * np.pi) + rng.normal(0, rng.uniform(0.05, 1.5), count)
    lengths = rng.uniform(1.0, 3.0, count)
    lines = grow(
        rng,
        roots,
        angles,
        lengths,
        steps=16,
        curl=rng.uniform(0, 3),
        wave=rng.uniform(0, 0.8),
        gravity=rng.uniform(-0.5, 0.8),
    )
    lines = lines - lines.reshape(-1, 2).mean(axis=0)
    lines = lines / max(1.0, float(np.abs(lines).max()))
    width = max(0.8, scale_px * rng.uniform(0.01, 0.05))
    return Shape(kind="wire", fine=True, marks=(Strokes(lines=lines, width=width),), palette="fibre")
