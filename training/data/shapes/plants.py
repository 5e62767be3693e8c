"""Leaves, branches and feathers."""

import numpy as np

from .marks import Fill, Mark, Shape, Strokes
from .strands import grow, shimmer, tapered


def leaf_contour(
    base: np.ndarray, angle: float, length: float, width: float, *, teeth: float = 0.0
) -> np.ndarray:
    """A leaf blade from base to tip: (P, 2); `teeth` is the relative depth of its serration."""
    time = np.linspace(0, 1, 13)
    profile = np.sin(np.pi * time**0.8) * width
    profile = profile * (1 - teeth * (np.arange(13) % 2))
    upper = np.stack([time * length, profile], axis=1)
    lower = np.stack([time[::-1] * length, -profile[::-1]], axis=1)
    outline = np.concatenate([upper, lower])
    cosine, sine = np.cos(angle), np.sin(angle)
    return outline @ np.array([[cosine, sine], [-sine, cosine]]) + base


def branch(rng: np.random.Generator, scale_px: float) -> Shape:
    """A recursive twig, with or without leaves."""
    segments: list[list[np.ndarray]] = [[], [], [], []]
    blades: list[np.ndarray] = []
    leafy, spread = rng.random() < 0.75, rng.uniform(0.4, 0.9)
    leaf_length, leaf_width, teeth = rng.uniform(0.12, 0.3), rng.uniform(0.15, 0.4), rng.choice([0.0, 0.3])

    def sprout(base: np.ndarray, angle: float, length: float, depth: int) -> None:
        bend = rng.normal(0, 0.25)
        middle = base + 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        tip = middle + 0.5 * length * np.array([np.cos(angle + bend), np.sin(angle + bend)])
        segments[depth].append(np.stack([base, middle, tip]))
        if depth == 3 or (depth == 2 and leafy):
            if leafy:
                for point, side in ((middle, 1), (middle, -1), (tip, 0)):
                    turn = angle + bend + side * rng.uniform(0.5, 1.1)
                    size = leaf_length * rng.uniform(0.6, 1.2)
                    blades.append(leaf_contour(point, turn, size, size * leaf_width, teeth=float(teeth)))
            return
        for side in (-1, 1) if rng.random() < 0.85 else (-1, 0, 1):
            sprout(
                middle if rng.random() < 0.4 else tip,
                angle + bend + side * spread * rng.uniform(0.5, 1.2),
                length * rng.uniform(0.55, 0.8),
                depth + 1,
            )
        if rng.random() < 0.7:
            sprout(tip, angle + bend, length * 0.75, depth + 1)

    sprout(np.array([0.0, 1.0]), -np.pi / 2 + rng.normal(0, 0.2), rng.uniform(0.6, 0.9), 0)
    trunk = max(1.2, scale_px * rng.uniform(0.02, 0.07))
    wood: list[Mark] = [
        Strokes(lines=lines, width=max(0.6, trunk * 0.55**depth))
        for depth, lines in enumerate(segments)
        if lines
    ]
    grooming: list[Mark] = []
    if blades:
        veins = [np.stack([blade[0], blade[12]]) for blade in blades]
        grooming = [
            Fill(contours=tuple(blades[k::4]), level=float(rng.uniform(0.3, 0.7)))
            for k in range(4)
            if blades[k::4]
        ]
        grooming.append(Strokes(lines=veins, width=max(1.0, 0.01 * scale_px), level=0.35))
    leaves = (Fill(contours=tuple(blades)),) if blades else ()
    return Shape(kind="branch", fine=True, marks=(*wood, *leaves), grooming=tuple(grooming), palette="plant")


def fern(rng: np.random.Generator, scale_px: float) -> Shape:
    """One compound leaf: a stem with blades on both sides."""
    stem = grow(rng, np.array([[0.0, 1.0]]), np.array([-np.pi / 2]), np.array([1.9]), steps=22, curl=0.6)[0]
    blades = []
    slope, width = rng.uniform(0.7, 1.4), rng.uniform(0.1, 0.3)
    for i in range(4, 22):
        heading = np.arctan2(*(stem[i] - stem[i - 1])[::-1])
        length = 0.75 * np.sin(np.pi * (i / 23) ** 0.8) * rng.uniform(0.85, 1.1)
        for side in (-1, 1):
            blades.append(leaf_contour(stem[i], heading + side * slope, length, length * width * 0.5))
    grooming = [Fill(contours=tuple(blades[k::5]), level=float(rng.uniform(0.35, 0.65))) for k in range(5)]
    marks = (Fill(contours=tuple(blades)), Strokes(lines=stem[None], width=max(1.0, 0.02 * scale_px)))
    return Shape(kind="leaf", fine=True, marks=marks, grooming=tuple(grooming), palette="plant")


def leaves(rng: np.random.Generator, scale_px: float) -> Shape:
    """A rosette of big leaves, sometimes with slits or holes."""
    count = int(rng.integers(1, 9))
    start = rng.uniform(0, 2 * np.pi)
    teeth = float(rng.choice([0.0, 0.0, 0.25]))
    turns = start + np.arange(count) * 2.4 + rng.normal(0, 0.2, count)
    width = rng.uniform(0.12, 0.38)
    blades = [
        leaf_contour(np.zeros(2), float(turn), rng.uniform(0.7, 1.0), width, teeth=teeth) for turn in turns
    ]
    marks: list[Mark] = [Fill(contours=tuple(blades))]
    if rng.random() < 0.3:
        holes = [
            0.06 * rng.uniform(0.3, 1) * np.stack([np.cos(a), np.sin(a)], axis=1) + rng.uniform(-0.6, 0.6, 2)
            for a in [np.linspace(0, 2 * np.pi, 12)] * int(rng.integers(3, 20))
        ]
        marks.append(Fill(contours=tuple(holes), level=0.0))
    veins = [np.stack([blade[0], blade[12]]) for blade in blades]
    grooming: list[Mark] = [Fill(contours=(blade,), level=float(rng.uniform(0.3, 0.7))) for blade in blades]
    grooming.append(Strokes(lines=veins, width=max(1.0, 0.015 * scale_px), level=0.7))
    return Shape(kind="leaf", fine=True, marks=tuple(marks), grooming=tuple(grooming), palette="plant")


def feather(rng: np.random.Generator, scale_px: float) -> Shape:
    """A feather: a bent shaft with hundreds of barbs and a few splits."""
    shaft = grow(rng, np.array([[0.0, 1.0]]), np.array([-np.pi / 2]), np.array([2.0]), steps=24, curl=0.5)[0]
    count = int(np.clip(scale_px * 6.0, 120, 1100))
    position = rng.uniform(3, 23.9, count)
    gaps = rng.uniform(6, 23, int(rng.integers(0, 6)))
    open_at = rng.uniform(0.1, 0.5)
    lower = position.astype(int)
    roots = shaft[lower] + (position - lower)[:, None] * (shaft[np.minimum(lower + 1, 24)] - shaft[lower])
    heading = np.arctan2(*(shaft[np.minimum(lower + 1, 24)] - shaft[np.maximum(lower - 1, 0)]).T[::-1])
    side = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    slope = rng.uniform(0.5, 1.0)
    nearest_gap = (
        (position[:, None] - gaps)[np.arange(count), np.abs(position[:, None] - gaps).argmin(axis=1)]
        if len(gaps)
        else np.full(count, 9.0)
    )
    parted = 0.5 * np.sign(nearest_gap) * np.clip(1 - np.abs(nearest_gap) / (1 + open_at), 0, 1) * (side > 0)
    angles = heading + side * (slope - parted) + rng.normal(0, 0.04, count)
    width_at = np.sin(np.pi * np.clip(position / 25, 0, 1) ** 0.7) ** 0.6
    downy = position < rng.uniform(4, 8)
    breadth = rng.uniform(0.25, 0.65)
    lengths = (
        breadth * rng.uniform(0.88, 1.0, count) * width_at * np.where(side < 0, 1.0, rng.uniform(0.5, 1.0))
    )
    lines = grow(rng, roots, angles + downy * rng.normal(0, 0.5, count), lengths, steps=6, curl=0.06)
    lines = np.where(downy[:, None, None], lines + rng.normal(0, 0.012, lines.shape), lines)
    barb = max(0.6, 5.0 * scale_px / count)
    marks = (*tapered(lines, barb), Strokes(lines=shaft[None], width=max(1.0, 0.02 * scale_px)))
    return Shape(
        kind="feather",
        fine=True,
        marks=marks,
        palette="feather",
        grooming=tuple(shimmer(rng, lines, width=max(1.0, barb), depth=0.2)),
    )


def bush(rng: np.random.Generator, scale_px: float) -> Shape:
    """A crown of small leaves with see-through gaps, on a stem."""
    count = int(np.clip(scale_px * 1.2, 40, 260))
    radius = np.sqrt(rng.random(count)) * 0.8
    turn = rng.uniform(0, 2 * np.pi, count)
    centre = np.stack([radius * np.cos(turn), radius * np.sin(turn) * 0.8 - 0.2], axis=1)
    size = rng.uniform(0.08, 0.22)
    blades = [
        leaf_contour(centre[i], float(rng.uniform(0, 2 * np.pi)), size * rng.uniform(0.6, 1.2), size * 0.3)
        for i in range(count)
    ]
    stems = [np.stack([np.array([0.0, 1.0]), centre[i] * 0.4, centre[i]]) for i in range(0, count, 6)]
    grooming = [Fill(contours=tuple(blades[k::6]), level=float(rng.uniform(0.25, 0.75))) for k in range(6)]
    marks = (Strokes(lines=stems, width=max(0.7, 0.012 * scale_px)), Fill(contours=tuple(blades)))
    return Shape(kind="branch", fine=True, marks=marks, grooming=tuple(grooming), palette="plant")
