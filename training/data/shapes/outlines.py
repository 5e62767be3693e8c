"""Hard things: polygons, closed curves, stars, and figures made of limbs."""

from collections.abc import Callable

import cv2
import numpy as np

from .marks import Fill, Placement, Roi, Shape, rasterise

_PROBE = 192


def circle(centre: tuple[float, float], radius: float, *, aspect: float = 1.0, count: int = 32) -> np.ndarray:
    """An ellipse as (count, 2) points; `aspect` is height over width."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * aspect * np.sin(angle)], axis=1)


def limb(start: np.ndarray, end: np.ndarray, radius_start: float, radius_end: float) -> np.ndarray:
    """The convex hull of two discs, (P, 2): one segment of an arm, a leg or a neck."""
    discs = np.concatenate(
        [circle(tuple(start), radius_start, count=20), circle(tuple(end), radius_end, count=20)]
    )
    return cv2.convexHull(discs.astype(np.float32))[:, 0].astype(np.float64)


def smooth_curve(
    rng: np.random.Generator, *, roughness: float = 0.3, lobes: int = 7, count: int = 96
) -> np.ndarray:
    """A random closed curve around the origin, radius about 1: (count, 2)."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = np.ones(count)
    for k in range(1, lobes + 1):
        amplitude = roughness * rng.normal() / k
        radius += amplitude * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.25, 1.8)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) / radius.max()


def _polygon(rng: np.random.Generator) -> np.ndarray:
    corners = int(rng.integers(3, 9))
    angle = (
        np.sort(rng.uniform(0, 2 * np.pi, corners))
        if rng.random() < 0.5
        else (np.linspace(0, 2 * np.pi, corners, endpoint=False))
    )
    radius = rng.uniform(0.6, 1.0, corners)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _star(rng: np.random.Generator) -> np.ndarray:
    spikes = int(rng.integers(4, 13))
    angle = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False)
    radius = np.where(np.arange(2 * spikes) % 2 == 0, 1.0, rng.uniform(0.25, 0.75))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _rounded_box(rng: np.random.Generator) -> np.ndarray:
    half = np.array([1.0, rng.uniform(0.25, 1.0)])
    power = rng.uniform(2.5, 9)
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    x = np.sign(cosine) * np.abs(cosine) ** (2 / power)
    y = np.sign(sine) * np.abs(sine) ** (2 / power)
    return np.stack([x, y], axis=1) * half


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    return circle((0, 0), 1.0, aspect=rng.uniform(0.35, 1.0), count=64)


def _curve(rng: np.random.Generator) -> np.ndarray:
    return smooth_curve(rng, roughness=rng.uniform(0.1, 0.5))


_SIMPLE: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (
    _polygon,
    _star,
    _rounded_box,
    _ellipse,
    _curve,
    _curve,
)


def simple(rng: np.random.Generator, scale_px: float) -> Shape:
    """A polygon, star, rounded box, ellipse or smooth curve, sometimes with a hole or a patch on it."""
    contour = _SIMPLE[int(rng.integers(len(_SIMPLE)))](rng)
    marks = [Fill(contours=(contour,))]
    if rng.random() < 0.15:
        marks.append(
            Fill(contours=(smooth_curve(rng) * rng.uniform(0.15, 0.4) + rng.uniform(-0.2, 0.2, 2),), level=0)
        )
    return Shape(kind="solid", fine=False, marks=tuple(marks))


def cluster(rng: np.random.Generator, scale_px: float) -> Shape:
    """Several overlapping solids that move as one thing (a vehicle, a pile, a toy)."""
    contours = []
    for _ in range(int(rng.integers(2, 6))):
        contour = _SIMPLE[int(rng.integers(len(_SIMPLE)))](rng) * rng.uniform(0.25, 0.7)
        contours.append(contour + rng.uniform(-0.5, 0.5, 2))
    return Shape(kind="cluster", fine=False, marks=(Fill(contours=tuple(contours)),))


def patch(rng: np.random.Generator, scale_px: float) -> Shape:
    """A clipped part with a texture of its own: a spot, a stripe across, or a half of the parent."""
    choice = rng.random()
    offset = rng.uniform(-0.45, 0.45, 2)
    if choice < 0.5:
        contour = smooth_curve(rng) * rng.uniform(0.25, 0.6) + offset
    else:
        half = rng.uniform(0.1, 0.35) if choice < 0.8 else 1.0
        angle = rng.uniform(0, np.pi)
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        start = offset @ across
        stop = start + (2 * half if choice < 0.8 else 3.0)
        contour = np.stack(
            [
                -3 * along + start * across,
                3 * along + start * across,
                3 * along + stop * across,
                -3 * along + stop * across,
            ]
        )
    return Shape(kind="patch", fine=False, marks=(Fill(contours=(contour,)),))


def person_limbs(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Contours of a standing, walking or waving figure by name: skin, top, bottom, shoes."""
    slim = rng.uniform(0.75, 1.25)
    neck, hip = np.array([0.0, -0.58]), np.array([rng.normal(0, 0.04), -0.02])
    head = neck + np.array([rng.normal(0, 0.03), -0.2])
    limbs: dict[str, list[np.ndarray]] = {"skin": [], "top": [], "bottom": [], "shoes": []}
    limbs["skin"] += [circle(tuple(head), 0.115, aspect=1.25), limb(head, neck, 0.06, 0.065)]
    shoulder_width, hip_width = 0.19 * slim, 0.14 * slim
    left, right = neck + np.array([-shoulder_width, 0.06]), neck + np.array([shoulder_width, 0.06])
    torso = np.concatenate(
        [
            circle(tuple(point), radius, count=16)
            for point, radius in (
                (left, 0.06),
                (right, 0.06),
                (hip + np.array([-hip_width, 0]), 0.06),
                (hip + np.array([hip_width, 0]), 0.06),
            )
        ]
    )
    limbs["top"].append(cv2.convexHull(torso.astype(np.float32))[:, 0].astype(np.float64))
    sleeve = "top" if rng.random() < 0.6 else "skin"
    for shoulder, side in ((left, -1), (right, 1)):
        upper = np.pi / 2 - side * rng.uniform(0.1, 1.4)
        lower = upper - side * rng.uniform(-1.2, 1.2)
        elbow = shoulder + 0.27 * np.array([np.cos(upper), np.sin(upper)])
        hand = elbow + 0.25 * np.array([np.cos(lower), np.sin(lower)])
        limbs["top"].append(limb(shoulder, elbow, 0.065 * slim, 0.05 * slim))
        limbs[sleeve].append(limb(elbow, hand, 0.048 * slim, 0.035))
        limbs["skin"].append(circle(tuple(hand), 0.045))
    skirt = rng.random() < 0.25
    for side in (-1, 1):
        start = hip + np.array([side * hip_width * 0.6, 0.02])
        upper = np.pi / 2 - side * rng.uniform(-0.1, 0.45)
        knee = start + 0.42 * np.array([np.cos(upper), np.sin(upper)])
        lower = upper + rng.uniform(-0.1, 0.4) * side
        foot = knee + 0.45 * np.array([np.cos(lower), np.sin(lower)])
        limbs["skin" if skirt else "bottom"] += [
            limb(start, knee, 0.095 * slim, 0.07),
            limb(knee, foot, 0.07, 0.045),
        ]
        limbs["shoes"].append(limb(foot, foot + np.array([side * 0.08, 0.03]), 0.05, 0.035))
    if skirt:
        flare = rng.uniform(0.18, 0.4)
        limbs["bottom"].append(
            np.array(
                [
                    hip + np.array([-hip_width - 0.05, -0.03]),
                    hip + np.array([hip_width + 0.05, -0.03]),
                    hip + np.array([flare, 0.4]),
                    hip + np.array([-flare, 0.4]),
                ]
            )
        )
    return limbs


def person(rng: np.random.Generator, scale_px: float) -> Shape:
    """A person-like figure with hard outlines; clothes are parts."""
    return person_shape(rng, kind="figure")


def person_shape(rng: np.random.Generator, *, kind: str, extra: tuple[Shape, ...] = ()) -> Shape:
    """A figure from `person_limbs`, with `extra` parts (hair) on top; fine when one of those is."""
    limbs = person_limbs(rng)
    everything = tuple(contour for group in limbs.values() for contour in group)
    parts = tuple(
        Shape(kind="clothing", fine=False, marks=(Fill(contours=tuple(limbs[name])),), palette="cloth")
        for name in ("bottom", "top", "shoes")
    )
    return Shape(
        kind=kind,
        fine=any(part.fine for part in extra),
        palette="skin",
        marks=(Fill(contours=everything),),
        parts=parts + extra,
    )


def animal_limbs(rng: np.random.Generator) -> list[np.ndarray]:
    """Contours of an animal from the side, head to the right: usually on four legs, sometimes a bird."""
    return _bird(rng) if rng.random() < 0.25 else _quadruped(rng)


def _bird(rng: np.random.Generator) -> list[np.ndarray]:
    chest, rump = np.array([0.2, 0.0]), np.array([-0.35, rng.uniform(0.0, 0.3)])
    size, skull = rng.uniform(0.22, 0.38), rng.uniform(0.13, 0.22)
    head = chest + np.array([rng.uniform(0.05, 0.3), -rng.uniform(0.3, 0.75)])
    tail = rump + np.array([-rng.uniform(0.3, 0.6), rng.uniform(-0.2, 0.3)])
    beak = head + np.array([skull + rng.uniform(0.08, 0.3), rng.uniform(-0.03, 0.12)])
    contours = [
        limb(rump, chest, size * rng.uniform(0.5, 0.8), size),
        limb(chest, head, size * 0.6, skull * 0.7),
        circle(tuple(head), skull),
        limb(head, beak, skull * 0.5, 0.012),
        limb(rump, tail, size * 0.4, rng.uniform(0.04, 0.16)),
    ]
    for x in (-0.1, 0.1):
        hip = np.array([x, size * 0.7])
        foot = hip + np.array([rng.uniform(-0.05, 0.08), rng.uniform(0.25, 0.6)])
        contours += [limb(hip, foot, 0.04, 0.018), limb(foot, foot + np.array([0.12, 0.01]), 0.02, 0.012)]
    if rng.random() < 0.35:
        tip = chest + np.array([-rng.uniform(0.3, 0.9), -rng.uniform(0.4, 0.9)])
        contours.append(
            np.stack(
                [
                    chest + np.array([0.1, 0.0]),
                    tip,
                    tip + np.array([-0.15, 0.12]),
                    rump + np.array([-0.05, 0.0]),
                ]
            )
        )
    return contours


def _quadruped(rng: np.random.Generator) -> list[np.ndarray]:
    size, leg = rng.uniform(0.2, 0.36), rng.uniform(0.25, 0.6)
    rear, front = np.array([-0.5, 0.0]), np.array([0.35, rng.uniform(-0.08, 0.05)])
    head = front + np.array([rng.uniform(0.2, 0.4), -rng.uniform(0.15, 0.55)])
    skull = rng.uniform(0.14, 0.22)
    muzzle = head + np.array([rng.uniform(0.12, 0.26), rng.uniform(0.02, 0.12)])
    contours = [
        limb(rear, front, size * rng.uniform(0.8, 1.1), size),
        limb(front, head, size * 0.75, skull * 0.8),
        circle(tuple(head), skull),
        limb(head, muzzle, skull * 0.7, skull * rng.uniform(0.3, 0.6)),
    ]
    for side in (-0.5, 0.35):
        base = head + np.array([side * skull, -skull * 0.7])
        tip = base + np.array([side * 0.4 * skull, -rng.uniform(0.4, 1.6) * skull])
        contours.append(limb(base, tip, skull * 0.35, skull * 0.06))
    for hip, spread in ((rear, -1), (rear, 1), (front, -1), (front, 1)):
        top = hip + np.array([spread * 0.09, size * 0.6])
        knee = top + np.array([rng.uniform(-0.12, 0.12), leg * 0.5])
        foot = knee + np.array([rng.uniform(-0.1, 0.1), leg * 0.5])
        contours += [limb(top, knee, 0.11, 0.06), limb(knee, foot, 0.06, 0.045)]
    tail = rear + np.array([-size * 0.8, -0.05])
    angle = rng.uniform(0.6, 1.5) * np.pi
    for _ in range(3):
        tip = tail + 0.17 * np.array([np.cos(angle), np.sin(angle)])
        contours.append(limb(tail, tip, 0.05, 0.04))
        tail, angle = tip, angle + rng.uniform(-0.5, 0.5)
    return contours


def animal(rng: np.random.Generator, scale_px: float) -> Shape:
    """An animal-like union of limbs with a hard outline."""
    return Shape(kind="animal", fine=False, marks=(Fill(contours=tuple(animal_limbs(rng))),))


def outline_of(contours: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The outer outline of a union of contours.

    Returns points (P, 2) and outward unit normals (P, 2), in the contours' own frame.
    """
    extent = max(float(np.abs(contour).max()) for contour in contours) * 1.15
    matrix = np.eye(2) * (_PROBE / 2 / extent)
    placement = Placement(matrix, np.full(2, _PROBE / 2))
    mask = rasterise([Fill(contours=contours)], placement, Roi(0, 0, _PROBE, _PROBE), supersample=1)
    found, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pixels = np.concatenate(found)[:, 0]  # (P, 2) xy
    smooth = cv2.GaussianBlur(mask, (0, 0), 2.5)
    gradient = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], axis=-1)
    normals = -gradient[pixels[:, 1], pixels[:, 0]].astype(np.float64)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    return (pixels + 0.5 - _PROBE / 2) / matrix[0, 0], normals
