"""Photograph-like pictures of objects whose alpha is known exactly, for comparisons without data.

An object's strokes are drawn four times larger and averaged down, so alpha is the covered area of each pixel; the
picture is alpha * foreground + (1 - alpha) * background. The fine kinds (fur, plant, net, wires, feather) are thin all
over or at their edges; the plain ones are solid bodies with hard edges.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

Kind = Literal["fur", "plant", "net", "wires", "feather", "plain"]
FINE_KINDS: tuple[Kind, ...] = ("fur", "plant", "net", "wires", "feather")
KINDS: tuple[Kind, ...] = (*FINE_KINDS, "plain")

_SUPERSAMPLING = 4


class FineScene(NamedTuple):
    """One object on a background.

    kind: of the object. image, foreground, background: (S, S, 3) uint8 RGB; foreground is defined everywhere.
    alpha: (S, S) float32 in [0, 1].
    """

    kind: Kind
    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    foreground: NDArray[np.uint8]
    background: NDArray[np.uint8]

    @property
    def box(self) -> NDArray[np.float64]:
        """(4,) xyxy around alpha > 0.3."""
        rows, columns = np.flatnonzero((self.alpha > 0.3).any(1)), np.flatnonzero((self.alpha > 0.3).any(0))
        return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def fine_scenes(
    count: int, *, seed: int = 0, side: int = 512, kinds: tuple[Kind, ...] = FINE_KINDS
) -> Iterator[FineScene]:
    """`count` scenes, the kinds in turn; scene i depends on `seed`, i, `side` and `kinds` only."""
    for index in range(count):
        yield fine_scene(kinds[index % len(kinds)], seed=seed * 100_003 + index, side=side)


def fine_scene(kind: Kind, *, seed: int, side: int = 512) -> FineScene:
    """One scene of `side` x `side` pixels.

    Raises:
        ConfigError: an unknown kind, or a side below 64.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if side < 64:
        raise ConfigError(f"side: expected at least 64 pixels, got {side}")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    alpha = _alpha(kind, rng, side)
    background = texture(rng, side, contrast=60)
    hue = rng.uniform(-70, 70, 3)
    foreground = texture(
        rng, side, contrast=35, colour=np.clip(background.mean((0, 1)) + 70 * np.sign(hue) + hue / 2, 20, 235)
    )
    opacity = alpha[..., None]
    image = (opacity * foreground + (1 - opacity) * background + 0.5).astype(np.uint8)
    return FineScene(kind, image, alpha, foreground, background)


def texture(
    rng: np.random.Generator, side: int, *, contrast: float, colour: NDArray[np.floating] | None = None
) -> NDArray[np.uint8]:
    """(side, side, 3) uint8 of coloured noise over many scales, about a mean colour."""
    mean = rng.uniform(60, 195, 3) if colour is None else colour
    total = np.zeros((side, side, 3), np.float32)
    cells = 2
    while cells <= side // 2:
        noise = rng.normal(0, 1, (cells + 3, cells + 3, 3)).astype(np.float32)
        noise = 0.75 * noise.mean(2, keepdims=True) * np.sqrt(3) + 0.25 * noise  # mostly light and dark
        total += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) * cells**-0.6
        cells *= 2
    total *= contrast / max(float(total.std()), 1e-6) / 1.6
    return np.clip(total + mean, 0, 255).astype(np.uint8)


def _alpha(kind: Kind, rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    canvas = np.zeros((side * _SUPERSAMPLING,) * 2, np.uint8)
    centre = rng.uniform(0.42, 0.58, 2)
    {"fur": _fur, "plant": _plant, "net": _net, "wires": _wires, "feather": _feather, "plain": _plain}[kind](
        canvas, rng, centre, rng.uniform(0.24, 0.36)
    )
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    blur = rng.uniform(0, 0.6) * side / 512
    if blur > 0.2:
        small = cv2.GaussianBlur(small, (0, 0), blur).astype(np.float32)
    return np.clip(small / np.float32(255), np.float32(0), np.float32(1))


def _stroke(canvas: NDArray[np.uint8], points: NDArray[np.floating], widths: NDArray[np.floating] | float) -> None:
    """A line through (N, 2) points in units of the side; widths likewise, one or N."""
    size = len(canvas)
    xy = np.rint(points * size * 16).astype(np.int64).clip(-(2**30), 2**30).astype(np.int32)
    thick = np.maximum(1, np.rint(np.broadcast_to(np.asarray(widths, float), len(points)) * size)).astype(int)
    for start, end, width in zip(xy[:-1], xy[1:], thick[1:], strict=True):
        cv2.line(canvas, start.tolist(), end.tolist(), 255, int(width), cv2.LINE_AA, shift=4)


def _blob(rng: np.random.Generator, centre: NDArray[np.floating], radius: float, wobble: float) -> NDArray[np.floating]:
    """(256, 2) outline of a rounded body."""
    angle = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    reach = np.full(256, radius)
    for wave in range(2, 6):
        reach += radius * wobble / wave * rng.normal() * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    aspect = rng.uniform(0.75, 1.3)
    return centre + np.stack([np.cos(angle) * aspect, np.sin(angle) / aspect], 1) * reach[:, None]


def _fill(canvas: NDArray[np.uint8], outline: NDArray[np.floating]) -> None:
    cv2.fillPoly(canvas, [np.rint(outline * len(canvas) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)


def _curve(
    start: NDArray[np.floating], angle: float, length: float, bend: float, steps: int = 9
) -> NDArray[np.floating]:
    """(steps, 2) points of an arc that sets out at `angle` and turns by `bend` radians."""
    turns = angle + bend * np.linspace(0, 1, steps - 1)
    return np.concatenate(
        [start[None], start + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0) * length / (steps - 1)]
    )


def _plain(canvas: NDArray[np.uint8], rng: np.random.Generator, centre: NDArray[np.floating], radius: float) -> None:
    _fill(canvas, _blob(rng, centre, radius, 0.25))


def _fur(canvas: NDArray[np.uint8], rng: np.random.Generator, centre: NDArray[np.floating], radius: float) -> None:
    outline = _blob(rng, centre, radius * 0.85, 0.2)
    _fill(canvas, outline)
    combed = rng.uniform(-0.8, 0.8)
    for place in rng.integers(0, 256, 900):
        outward = outline[place] - centre
        angle = np.arctan2(outward[1], outward[0]) + combed + rng.normal(0, 0.25)
        hair = _curve(outline[place] - outward * 0.06, angle, radius * rng.uniform(0.12, 0.5), rng.normal(0, 0.5))
        _stroke(canvas, hair, np.linspace(rng.uniform(0.0015, 0.004), 0.0006, len(hair)))


def _plant(canvas: NDArray[np.uint8], rng: np.random.Generator, centre: NDArray[np.floating], radius: float) -> None:
    foot = centre + np.array([0, radius])
    for _ in range(rng.integers(4, 8)):
        stem = _curve(foot, -np.pi / 2 + rng.normal(0, 0.4), radius * rng.uniform(1.3, 2.1), rng.normal(0, 0.6), 16)
        _stroke(canvas, stem, np.linspace(0.008, 0.0015, len(stem)))
        for place in range(3, 16):
            for sign in (-1, 1):
                direction = np.arctan2(*(stem[place] - stem[place - 1])[::-1]) + sign * rng.uniform(0.6, 1.1)
                rib = _curve(stem[place], direction, radius * rng.uniform(0.12, 0.32), rng.normal(0, 0.3))
                side = np.stack([-np.sin(direction), np.cos(direction)], -1) * radius * rng.uniform(0.02, 0.05)
                bulge = np.sin(np.linspace(0, np.pi, len(rib)))[:, None] * side
                _fill(canvas, np.concatenate([rib + bulge, (rib - bulge)[::-1]]))


def _net(canvas: NDArray[np.uint8], rng: np.random.Generator, centre: NDArray[np.floating], radius: float) -> None:
    outline = _blob(rng, centre, radius, 0.15)
    region = np.zeros_like(canvas)
    _fill(region, outline)
    lines = np.zeros_like(canvas)
    turn, gap, width = rng.uniform(0, np.pi), rng.uniform(0.022, 0.045), rng.uniform(0.003, 0.006)
    reach = np.linspace(-0.7, 0.7, 24)
    for angle in (turn, turn + rng.uniform(1.1, 1.9)):
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        sway, phase = rng.uniform(0, 0.012), rng.uniform(0, 6)
        for offset in np.arange(-0.7, 0.7, gap):
            wave = sway * np.sin(9 * reach + phase + 3 * offset)
            _stroke(lines, centre + reach[:, None] * along + (offset + wave)[:, None] * across, width)
    np.maximum(canvas, cv2.bitwise_and(lines, region), out=canvas)
    _stroke(canvas, np.concatenate([outline, outline[:1]]), rng.uniform(0.006, 0.012))


def _wires(canvas: NDArray[np.uint8], rng: np.random.Generator, centre: NDArray[np.floating], radius: float) -> None:
    """Two spoked wheels and a frame."""
    angle = np.linspace(0, 2 * np.pi, 97)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    hubs = [centre + np.array([sign * radius * 0.62, radius * 0.3]) for sign in (-1, 1)]
    wheel = radius * rng.uniform(0.42, 0.5)
    for hub in hubs:
        _stroke(canvas, hub + circle * wheel, rng.uniform(0.007, 0.012))
        for spoke in np.arange(0, 2 * np.pi, 2 * np.pi / rng.integers(14, 26)) + rng.uniform(0, 1):
            tip = hub + wheel * np.array([np.cos(spoke), np.sin(spoke)])
            _stroke(canvas, np.stack([hub, tip]), rng.uniform(0.0012, 0.0022))
    crank, saddle = centre + np.array([-0.05, 0.3]) * radius, centre + np.array([-0.25, -0.55]) * radius
    head = centre + np.array([0.45, -0.6]) * radius
    for tube in ([hubs[0], crank, head, saddle, crank], [hubs[0], saddle], [head, hubs[1]]):
        _stroke(canvas, np.stack(tube), rng.uniform(0.008, 0.014))
    _stroke(canvas, _curve(head, -np.pi / 2, radius * 0.35, rng.uniform(1, 3)), 0.007)


def _feather(canvas: NDArray[np.uint8], rng: np.random.Generator, centre: NDArray[np.floating], radius: float) -> None:
    direction = rng.uniform(0, 2 * np.pi)
    foot = centre - 1.25 * radius * np.array([np.cos(direction), np.sin(direction)])
    quill = _curve(foot, direction, 2.5 * radius, rng.normal(0, 0.4), 120)
    _stroke(canvas, quill, np.linspace(0.01, 0.002, len(quill)))
    for place in range(18, 119):
        along = np.arctan2(*(quill[place] - quill[place - 1])[::-1])
        length = radius * 0.55 * np.sin(np.pi * (place - 8) / 116) ** 0.7
        for sign in (-1, 1):
            if rng.random() < 0.06:
                continue  # gaps, as feathers have them
            barb = _curve(
                quill[place], along + sign * rng.normal(0.75, 0.05), length * rng.uniform(0.85, 1.1), -sign * 0.35
            )
            _stroke(canvas, barb, np.linspace(0.004, 0.0012, len(barb)))
