"""Things with many holes: nets, lace, fences and spoked wheels."""

import numpy as np

from .marks import Fill, Mark, Shape, Strokes
from .outlines import circle, smooth_curve


def net(rng: np.random.Generator, scale_px: float) -> Shape:
    """A warped grid of cords, bounded by a frame or frayed."""
    cells = int(rng.integers(4, 16))
    ticks = np.linspace(-1, 1, cells + 1)
    fine = np.linspace(-1, 1, 25)
    across = [np.stack([np.full(25, tick), fine], axis=1) for tick in ticks]
    down = [np.stack([fine, np.full(25, tick)], axis=1) for tick in ticks]
    lines = np.stack(across + down)  # (2C+2, 25, 2)
    if rng.random() < 0.5:
        lines = lines @ (np.array([[1, 1], [-1, 1]]) / np.sqrt(2))
    amount, frequency = rng.uniform(0, 0.15), rng.uniform(1, 3)
    lines = lines + amount * np.sin(frequency * lines[..., ::-1] * 2 + rng.uniform(0, 6, 2))
    lines = lines * [1, rng.uniform(0.5, 1)]
    width = float(np.clip(scale_px / cells * rng.uniform(0.08, 0.4), 0.7, 14))
    marks: list[Mark] = [Strokes(lines=lines, width=width)]
    if rng.random() < 0.4:
        frame = lines[[0, cells, cells + 1, 2 * cells + 1]]
        marks.append(Strokes(lines=frame, width=width * 2.2))
    return Shape(kind="net", fine=True, marks=tuple(marks), palette="fibre")


def lace(rng: np.random.Generator, scale_px: float) -> Shape:
    """A solid piece pierced by rows of holes, its border scalloped."""
    body = smooth_curve(rng, roughness=0.15) if rng.random() < 0.5 else circle((0, 0), 1.0, count=72)
    scallops = int(rng.integers(10, 30))
    angle = np.linspace(0, 2 * np.pi, len(body), endpoint=False)
    body = body * (1 + 0.06 * np.abs(np.sin(scallops / 2 * angle)))[:, None]
    holes: list[np.ndarray] = []
    petals = int(rng.integers(6, 18))
    for ring in np.arange(0.15, 0.97, rng.uniform(0.1, 0.2)):
        number = max(4, round(petals * ring * 2))
        radius = min(0.075, 2.2 * ring / number) * rng.uniform(0.5, 0.95)
        for k in range(number):
            turn = 2 * np.pi * (k / number) + ring * 3
            holes.append(circle((ring * np.cos(turn), ring * np.sin(turn)), radius, count=10))
    return Shape(
        kind="lace",
        fine=True,
        palette="cloth",
        marks=(Fill(contours=(body,)), Fill(contours=tuple(holes), level=0.0)),
    )


def fence(rng: np.random.Generator, scale_px: float) -> Shape:
    """Parallel bars with cross-bars: a fence, a rack, a comb, a ladder."""
    bars = int(rng.integers(3, 16))
    x = np.linspace(-1, 1, bars)
    height = rng.uniform(0.5, 1.0) * (1 + 0.2 * rng.normal(0, 1, bars) * (rng.random() < 0.3))
    uprights = np.stack([np.stack([x, -height], axis=1), np.stack([x, height], axis=1)], axis=1)
    rails = [np.array([[-1.0, y], [1.0, y]]) for y in rng.uniform(-0.5, 0.5, int(rng.integers(1, 4)))]
    width = float(np.clip(scale_px / bars * rng.uniform(0.1, 0.6), 0.9, 30))
    return Shape(
        kind="net",
        fine=True,
        palette="fibre",
        marks=(
            Strokes(lines=uprights, width=width),
            Strokes(lines=rails, width=width * rng.uniform(0.5, 1.3)),
        ),
    )


def wheel(rng: np.random.Generator, scale_px: float) -> Shape:
    """A ring with spokes and a hub, or two of them joined by tubes (a bicycle)."""
    two = rng.random() < 0.4
    radius = 0.45 if two else 0.95
    centres = [np.array([-0.52, 0.3]), np.array([0.52, 0.3])] if two else [np.zeros(2)]
    spokes = int(rng.integers(5, 28))
    tube = max(1.0, scale_px * radius * rng.uniform(0.03, 0.12))
    marks: list[Mark] = []
    for centre in centres:
        turn = np.linspace(0, 2 * np.pi, spokes, endpoint=False) + rng.uniform(0, 1)
        rim = centre + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        lines = np.stack([np.broadcast_to(centre, rim.shape), rim], axis=1)
        marks.append(Strokes(lines=lines, width=max(0.6, tube * 0.25)))
        marks.append(
            Strokes(
                lines=circle((float(centre[0]), float(centre[1])), radius, count=72)[None],
                width=tube,
                closed=True,
            )
        )
        marks.append(Fill(contours=(circle((float(centre[0]), float(centre[1])), radius * 0.1),)))
    if two:
        seat, bar, pedal = np.array([-0.25, -0.4]), np.array([0.38, -0.45]), np.array([-0.02, 0.3])
        frame = [
            np.stack(line)
            for line in (
                (centres[0], seat),
                (centres[0], pedal),
                (pedal, seat),
                (pedal, bar),
                (seat, bar),
                (bar, centres[1]),
                (bar, bar + np.array([0.1, -0.15])),
                (seat, seat + np.array([-0.03, -0.15])),
                (seat + np.array([-0.15, -0.15]), seat + np.array([0.1, -0.15])),
            )
        ]
        marks.append(Strokes(lines=frame, width=tube * 1.1))
    return Shape(kind="spokes", fine=True, marks=tuple(marks), palette="fibre")
