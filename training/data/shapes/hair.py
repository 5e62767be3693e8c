"""Heads with hair: close-up portraits and whole persons."""

import cv2
import numpy as np

from .marks import Fill, Mark, Shape
from .outlines import circle, limb, person_shape
from .strands import grow, shimmer, strand_count, tapered


def hair_over(rng: np.random.Generator, head: np.ndarray, radius: float, scale_px: float) -> Shape:
    """Hair of a head at `head` (2,): long, short, curly or windblown; an overhanging part."""
    style = rng.choice(["long", "short", "afro", "wind", "wavy"], p=[0.3, 0.2, 0.12, 0.18, 0.2])
    count = strand_count(rng, scale_px * radius, 30.0)
    reach = {"long": 2.6, "short": 0.7, "afro": 0.9, "wind": 2.2, "wavy": 2.4}[str(style)] * rng.uniform(
        0.6, 1.25
    )
    # Scalp: angles around the top of the head, 0 = right, -pi/2 = up.
    around = rng.uniform(-np.pi * 1.08, np.pi * 0.08, count)
    depth = np.sqrt(rng.uniform(0.45, 1.0, count))
    roots = head + radius * depth[:, None] * np.stack([np.cos(around), 1.25 * np.sin(around)], axis=1)
    angles = np.arctan2(roots[:, 1] - head[1], roots[:, 0] - head[0]) + rng.normal(0, 0.2, count)
    settings: dict[str, dict[str, float]] = {
        "long": {"curl": 0.25, "gravity": 2.5, "clump": 0.4},
        "short": {"curl": 0.6, "gravity": 0.5, "clump": 0.35},
        "afro": {"curl": 2.5, "gravity": 0.0, "wave": 1.2},
        "wind": {"curl": 0.5, "gravity": 0.6, "clump": 0.3, "wave": 0.3},
        "wavy": {"curl": 0.4, "gravity": 2.2, "clump": 0.5, "wave": 0.8},
    }
    if style == "wind":
        blow = rng.choice([0.0, np.pi])
        angles = np.where(rng.random(count) < 0.8, blow + rng.normal(0, 0.5, count), angles)
    lengths = radius * reach * rng.uniform(0.55, 1.15, count)
    chosen = settings[str(style)]
    lines = grow(
        rng,
        roots,
        angles,
        lengths,
        curl=chosen["curl"],
        gravity=chosen["gravity"],
        wave=chosen.get("wave", 0.0),
        clump=chosen.get("clump", 0.0),
    )
    lines = _around_face(rng, lines, head, radius)
    cap_angle = np.linspace(-np.pi * 1.05, np.pi * 0.05, 24)
    cap = head + radius * 1.08 * np.stack([np.cos(cap_angle), 1.28 * np.sin(cap_angle)], axis=1)
    fringe = head + radius * np.stack([np.linspace(0.85, -0.85, 7), rng.uniform(-0.75, -0.35, 7)], axis=1)
    core_width = max(1.5, 0.13 * radius * scale_px)
    core = lines[:: max(1, count // 140), : rng.integers(5, 8)]  # thick locks that close the mass
    fly = grow(
        rng,
        roots[::6],
        angles[::6] + rng.normal(0, 0.5, len(roots[::6])),
        lengths[::6] * 1.15,
        curl=1.2,
        gravity=chosen["gravity"] * 0.6,
    )
    width = rng.uniform(0.35, 1.1)
    marks: list[Mark] = [*tapered(fly, width * 0.7), *tapered(lines, width)]
    marks += [*tapered(core, core_width), Fill(contours=(np.concatenate([cap, fringe]),))]
    grooming = shimmer(rng, lines[::2], width=max(1.0, width * 1.3), depth=0.3)
    return Shape(
        kind="hair", fine=True, marks=tuple(marks), grooming=tuple(grooming), palette="hair", clipped=False
    )


def _around_face(rng: np.random.Generator, lines: np.ndarray, head: np.ndarray, radius: float) -> np.ndarray:
    """Push strands sideways below the brow, so that most of a face stays free. (K, P, 2) -> (K, P, 2)."""
    offset = lines - head
    below = np.clip((offset[..., 1] / radius + 0.9) / 0.7, 0, 1)
    below = below * below * (3 - 2 * below)
    side = np.where(offset[:, :1, 0] + rng.normal(0, 0.15 * radius, (len(lines), 1)) < 0, -1.0, 1.0)
    room = radius * rng.uniform(0.6, 1.15, (len(lines), 1)) * below
    pushed = lines.copy()
    outside = np.maximum(offset[..., 0] * side, 0)
    pushed[..., 0] = head[0] + np.where(below > 0, side * np.sqrt(outside**2 + room**2), offset[..., 0])
    return pushed


def portrait(rng: np.random.Generator, scale_px: float) -> Shape:
    """Head, shoulders and hair, close up; clothing is a part."""
    head, radius = np.array([rng.normal(0, 0.06), -0.25]), rng.uniform(0.26, 0.36)
    neck = np.array([rng.normal(0, 0.04), 0.35])
    width = rng.uniform(0.5, 0.85)
    discs = [
        circle((x, y), 0.2, count=20)
        for x, y in ((-width, 0.75), (width, 0.75), (-width, 1.3), (width, 1.3), (0.0, 0.5))
    ]
    shoulders = cv2.convexHull(np.concatenate(discs).astype(np.float32))[:, 0].astype(np.float64)
    face = circle((float(head[0]), float(head[1])), radius, aspect=rng.uniform(1.2, 1.4), count=48)
    low = np.array([neck[0], rng.uniform(0.35, 0.75)])
    collar = limb(head, low, radius * 0.7, rng.uniform(0.08, 0.22))
    marks = (Fill(contours=(face, limb(head, neck, radius * 0.55, radius * 0.6), shoulders)),)
    clothing = Shape(
        kind="clothing",
        fine=False,
        palette="cloth",
        marks=(Fill(contours=(shoulders,)), Fill(contours=(collar,), level=0)),
    )
    parts: list[Shape] = [clothing]
    parts.append(hair_over(rng, head, radius, scale_px))
    return Shape(
        kind="portrait",
        fine=True,
        marks=marks,
        parts=tuple(parts),
        palette="skin",
        grooming=face_grooming(rng, head, radius),
    )


def face_grooming(rng: np.random.Generator, head: np.ndarray, radius: float) -> tuple[Mark, ...]:
    """Grooming for a face: eyes, brows, a shaded nose and a mouth, turned a little to the side."""
    turn = np.array([rng.normal(0, 0.15), rng.normal(0.05, 0.05)]) * radius
    dark = rng.uniform(0.02, 0.3)

    def spot(x: float, y: float, size: float, aspect: float, level: float) -> Fill:
        centre = head + turn + radius * np.array([x, y])
        return Fill(
            contours=(circle((float(centre[0]), float(centre[1])), radius * size, aspect=aspect),),
            level=level,
        )

    marks: list[Mark] = [
        spot(0, 0.3, 0.16, 1.2, 0.43),
        spot(0, 0.75, rng.uniform(0.2, 0.36), 0.3, rng.uniform(0.2, 0.4)),
    ]
    for side in (-0.4, 0.4):
        marks += [
            spot(side, 0.0, 0.17, 0.5, 0.75),
            spot(side, 0.0, 0.08, 1.0, dark),
            spot(side, -0.25, 0.22, 0.2, dark),
        ]
    return tuple(marks)


def haired_person(rng: np.random.Generator, scale_px: float) -> Shape:
    """A full figure with hair."""
    return person_shape(rng, kind="person", extra=(hair_over(rng, np.array([0.0, -0.79]), 0.12, scale_px),))
