"""Bodies in fur: animals, close-up pets and balls of fur."""

from dataclasses import replace

import numpy as np

from .hair import face_grooming
from .marks import Fill, Shape, Strokes
from .outlines import animal_limbs, limb, outline_of, smooth_curve
from .strands import grow, shimmer, strand_count, tapered


def furred(
    rng: np.random.Generator, contours: tuple[np.ndarray, ...], scale_px: float, *, kind: str
) -> Shape:
    """A body with dense short strands along its outline."""
    points, normals = outline_of(contours)
    count = strand_count(rng, scale_px, 11.0)
    index = rng.integers(0, len(points), count)
    length = rng.uniform(0.04, 0.16) * (
        1 + 0.5 * np.sin(index / len(points) * 2 * np.pi * rng.integers(1, 5))
    )
    flow = rng.uniform(-np.pi, np.pi)
    outward = normals[index] + rng.uniform(0.2, 0.9) * np.array([np.cos(flow), np.sin(flow)])
    angles = np.arctan2(outward[:, 1], outward[:, 0]) + rng.normal(0, 0.25, count)
    lengths = length * np.where(
        rng.random(count) < 0.3, rng.uniform(0.9, 1.4, count), rng.uniform(0.25, 0.8, count)
    )
    roots = points[index] - normals[index] * (lengths * rng.uniform(0.1, 0.6, count))[:, None]
    lines = grow(rng, roots, angles, lengths * 1.4, steps=5, curl=0.5, clump=rng.uniform(0, 0.5), clumps=160)
    width = rng.uniform(0.4, 1.2)
    inside = int(np.clip(scale_px * 9, 60, 1500))
    bodies = rng.integers(0, len(contours), inside)
    centres = np.stack([contour.mean(axis=0) for contour in contours])[bodies]
    spread = np.stack([np.ptp(contour, axis=0) for contour in contours])[bodies] * 0.5
    coat = centres + rng.uniform(-1, 1, (inside, 2)) * spread
    coat_lines = grow(
        rng,
        coat,
        flow + rng.normal(0, 0.4, inside),
        float(np.mean(lengths)) * rng.uniform(0.8, 2, inside),
        steps=3,
        curl=0.6,
    )
    grooming = shimmer(rng, coat_lines, width=max(1.0, width * 1.2), depth=0.17) + shimmer(
        rng, lines[::2], width=max(1.0, width), depth=0.25
    )
    marks = (*tapered(lines, width), Fill(contours=contours))
    return Shape(kind=kind, fine=True, marks=marks, grooming=tuple(grooming), palette="hair")


def furry_animal(rng: np.random.Generator, scale_px: float) -> Shape:
    """A four-legged animal in its fur."""
    return furred(rng, tuple(animal_limbs(rng)), scale_px, kind="fur")


def furry_blob(rng: np.random.Generator, scale_px: float) -> Shape:
    """A ball of fur or a cushion."""
    body = smooth_curve(rng, roughness=0.15) * [1, rng.uniform(0.6, 1.0)]
    return furred(rng, (body,), scale_px, kind="fur")


def pet_portrait(rng: np.random.Generator, scale_px: float) -> Shape:
    """A furry head with ears, eyes, nose and whiskers, often with chest and shoulders below."""
    head, radius = np.array([0.0, -0.3]), rng.uniform(0.36, 0.5)
    contours = [smooth_curve(rng, roughness=0.08, count=64) * radius * [1.0, rng.uniform(0.85, 1.1)] + head]
    spread, reach = rng.uniform(0.5, 0.85) * radius, rng.uniform(0.25, 0.7) * radius
    for side in (-1, 1):
        base = head + np.array([side * spread, -0.65 * radius])
        droop = rng.uniform(0.3, 0.5) if rng.random() < 0.15 else 0.0
        contours.append(
            limb(
                base,
                base + np.array([side * (0.15 + droop) * radius, -reach + 2 * droop * radius]),
                0.38 * radius,
                0.08 * radius,
            )
        )
    if rng.random() < 0.75:
        lean = rng.normal(0, 0.2)
        contours.append(
            limb(
                head + np.array([0, 0.3 * radius]),
                np.array([lean, 1.2]),
                radius * 0.85,
                rng.uniform(0.4, 0.8),
            )
        )
    coat = furred(rng, tuple(contours), scale_px, kind="pet")
    sides = np.repeat([-1.0, 1.0], int(rng.integers(0, 7)))
    roots = head + radius * np.stack([sides * 0.25, np.full(len(sides), 0.45)], axis=1)
    angles = np.where(sides > 0, 0.0, np.pi) + rng.normal(0, 0.25, len(sides))
    whiskers = grow(rng, roots, angles, radius * rng.uniform(0.7, 1.3, len(sides)), curl=0.3)
    thin = Strokes(lines=whiskers, width=max(0.4, 0.006 * scale_px))
    bright = Strokes(lines=whiskers, width=1.0, level=0.95)
    return replace(
        coat, marks=(thin, *coat.marks), grooming=(*coat.grooming, *face_grooming(rng, head, radius), bright)
    )
