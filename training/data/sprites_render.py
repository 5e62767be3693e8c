"""Rendering of single sprites: procedural objects, and labelled objects cut out of photographs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from zim.foreground import estimate_foreground

from .mattes import MatteShards, without_haze
from .scene_layers import Blur, Layer, Painter, paint
from .scene_photos import PhotoPool
from .scenes import SceneConfig
from .segments import SegmentPool
from .shapes.catalog import BUSTS, UPRIGHT, draw_shape
from .shapes.marks import Fill, Mark, Placement, Shape, marks_of, points_of
from .shapes.outlines import patch

Family = Literal["fine", "hard", "photo", "matte"]

RIM = 3
"""Empty pixels around a sprite in its frame."""

_TRIES = 30
_SMALLEST_REGION = 40
_SURROUNDINGS = 0.1
"""Around a matte's box, as a share of its longer side: what colours are separated from."""


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """One object in a square frame, its long side filling it.

    colour: (S, S, 3) uint8 straight. alpha: (S, S) uint8. part: (S, S) uint8, a labelled piece of it; zeros for none.
    nominal: the side that it was drawn for, as a fraction of the picture.
    """

    colour: np.ndarray
    alpha: np.ndarray
    part: np.ndarray
    family: Family
    upright: bool
    bust: bool
    kind: str
    nominal: float


def nominal_side(rng: np.random.Generator, config: SceneConfig = SceneConfig()) -> float:
    """The side of an object, as the scene generator draws it: a fraction of the picture."""
    low, high = config.scale
    if rng.random() < 0.25:  # about as many of the scenes' objects are large ones in the middle
        return float(rng.uniform(0.55 * high, high))
    return float(low * (high / low) ** (rng.random() ** 0.5))


def render_sprite(rng: np.random.Generator, *, size: int, fine: bool, photos: PhotoPool | None) -> Sprite:
    """A procedural object: what the generator would draw at a random side, enlarged to fill the frame.

    Raises:
        RuntimeError: 30 shapes in a row had nothing to show.
    """
    config = SceneConfig()
    for _ in range(_TRIES):
        nominal = nominal_side(rng, config)
        half = 0.5 * nominal * size
        shape = draw_shape(rng, half, fine=fine)
        if rng.random() < config.patch_probability:
            shape = _patched(shape, patch(rng, half))
        placement, enlarged = _fitted(rng, shape, size)
        shape = _widened(shape, enlarged / half)
        angle = rng.uniform(0, 2 * np.pi)
        painter = Painter(
            pool=photos,
            photo_probability=config.photo_texture_probability,
            light=np.array([np.cos(angle), np.sin(angle)]),
            relief=rng.uniform(0.0, 0.9),
        )
        layer = paint(rng, shape, placement, size, painter, Blur())
        if layer is not None and float((layer.coverage > 0.5).mean()) > 0.01:
            return _sprite(rng, layer, size, nominal)
    raise RuntimeError(f"sprites: {_TRIES} shapes in a row had nothing to show")


def _patched(shape: Shape, part: Shape) -> Shape:
    """A patch on a shape, under its hair where it has some, as in scenes."""
    under = sum(1 for item in shape.parts if item.clipped)
    part = replace(part, fine=shape.fine and not shape.parts)
    return replace(shape, parts=(*shape.parts[:under], part, *shape.parts[under:]))


def _fitted(rng: np.random.Generator, shape: Shape, size: int) -> tuple[Placement, float]:
    """The shape stretched a little, filling the frame; and pixels to a unit of its own frame."""
    stretch = np.exp(rng.normal(0, 0.12))
    affine = np.array([[stretch, rng.normal(0, 0.1)], [0.0, 1 / stretch]])
    points = np.concatenate([points_of(mark) for mark in marks_of(shape)]) @ affine.T
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (size - 2 * RIM - 4) / max(float((high - low).max()), 1e-3)
    return Placement(scale * affine, size / 2 - scale * (low + high) / 2), scale


def _widened(shape: Shape, factor: float) -> Shape:
    """Strokes of the shape and its parts made wider: widths are pixels, and the shape has been enlarged."""

    def wider(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
        return tuple(m if isinstance(m, Fill) else replace(m, width=m.width * factor) for m in marks)

    parts = tuple(_widened(part, factor) for part in shape.parts)
    return replace(shape, marks=wider(shape.marks), grooming=wider(shape.grooming), parts=parts)


def _sprite(rng: np.random.Generator, layer: Layer, size: int, nominal: float) -> Sprite:
    roi = layer.roi
    window = np.s_[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    alpha, part = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    alpha[window] = layer.coverage
    premultiplied = np.zeros((size, size, 3), np.float32)
    premultiplied[window] = layer.colour
    pieces = [p for p in layer.parts if p.coverage.mean() > 0.02 * layer.coverage.mean()]
    if pieces:
        hair = [p for p in pieces if p.kind == "hair"]
        chosen = hair[0] if hair and rng.random() < 0.6 else pieces[int(rng.integers(len(pieces)))]
        part[window] = np.minimum(chosen.coverage, layer.coverage)
    rim = _rim(size, bottom=layer.kind not in BUSTS)
    return Sprite(
        colour=_extended(premultiplied, alpha),
        alpha=_bytes(alpha * rim),
        part=_bytes(part * rim),
        family="fine" if layer.fine else "hard",
        upright=layer.kind in UPRIGHT,
        bust=layer.kind in BUSTS,
        kind=layer.kind,
        nominal=nominal,
    )


def cut_sprite(rng: np.random.Generator, *, size: int, segments: SegmentPool) -> Sprite:
    """A whole labelled object of a photograph, its outline taken in by a pixel and feathered.

    Raises:
        DataError: no photograph has a whole object.
        RuntimeError: 30 draws in a row were too small.
    """
    for _ in range(_TRIES):
        photo = segments.draw(rng, whole_objects=True)
        region = photo.sample_region(rng)
        if region is None:
            continue
        box = cv2.boundingRect(region.astype(np.uint8))
        if max(box[2:]) < _SMALLEST_REGION:
            continue
        matrix = _into_frame(box, size)
        scale = float(matrix[0, 0])
        inner = cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
        soft = cv2.GaussianBlur(inner, (0, 0), max(0.4, 0.4 / scale))
        colours = photo.image
        if scale < 0.75:
            colours = cv2.GaussianBlur(colours, (0, 0), 0.4 / scale)
        alpha = cv2.warpAffine(soft, matrix, (size, size), flags=cv2.INTER_LINEAR)
        alpha = cv2.GaussianBlur(alpha, (0, 0), float(rng.uniform(0.5, 1.6) * max(1.0, 0.6 * scale)))
        colour = cv2.warpAffine(colours, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        if float((alpha > 0.5).mean()) < 0.02:
            continue
        return _cutout(rng, colour, alpha, "photo")
    raise RuntimeError(f"sprites: {_TRIES} regions in a row were too small")


def cut_matte(rng: np.random.Generator, *, size: int, mattes: MatteShards) -> Sprite:
    """An object with its converted matte, without haze, in its own colours (`zim.foreground`).

    Raises:
        DataError: a shard cannot be read.
        RuntimeError: 30 draws in a row were too small.
    """
    for _ in range(_TRIES):
        photo = mattes.draw(rng, 1)
        alpha = without_haze(photo.mattes[0])
        x, y, width, height = box = cv2.boundingRect((alpha > 0.05).astype(np.uint8))
        if max(width, height) < _SMALLEST_REGION or not 0.01 < float((alpha > 0.5).mean()) < 0.9:
            continue
        around = round(_SURROUNDINGS * max(width, height))
        top, left = max(0, y - around), max(0, x - around)
        window = slice(top, y + height + around), slice(left, x + width + around)
        colours = estimate_foreground(photo.image[window], alpha[window]).astype(np.float32)
        planes = np.dstack([colours * alpha[window][..., None], alpha[window]])
        matrix = _into_frame((x - left, y - top, box[2], box[3]), size)
        if matrix[0, 0] < 0.75:
            planes = cv2.GaussianBlur(planes, (0, 0), 0.4 / float(matrix[0, 0]))
        drawn = cv2.warpAffine(planes, matrix, (size, size), flags=cv2.INTER_LINEAR)
        if float((drawn[..., 3] > 0.5).mean()) < 0.02:
            continue
        straight = drawn[..., :3] / np.maximum(drawn[..., 3:], 1e-3)
        return _cutout(rng, straight, drawn[..., 3], "matte")
    raise RuntimeError(f"sprites: {_TRIES} mattes in a row were too small")


def _into_frame(box: Sequence[int], size: int) -> np.ndarray:
    """The matrix (2, 3) that brings a box (x, y, width, height) into the middle of a frame, its long side filling it.
    """
    x, y, width, height = box
    scale = (size - 2 * RIM - 6) / max(width, height)
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    matrix[:, 2] = size / 2 - scale * np.array([x + width / 2, y + height / 2]) + 0.5 * (scale - 1)
    return matrix


def _cutout(rng: np.random.Generator, colour: np.ndarray, alpha: np.ndarray, family: Family) -> Sprite:
    """A sprite of straight colours (S, S, 3) in 0..255 and an alpha (S, S) in [0, 1]."""
    size = len(alpha)
    return Sprite(
        colour=_extended(colour.astype(np.float32) * alpha[..., None], alpha),
        alpha=_bytes(alpha * _rim(size, bottom=True)),
        part=np.zeros((size, size), np.uint8),
        family=family,
        upright=True,
        bust=False,
        kind=family,
        nominal=float(np.exp(rng.uniform(np.log(0.25), 0.0))),
    )


def _extended(premultiplied: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Straight colour, carried on smoothly where alpha is next to nothing. (S, S, 3) uint8."""
    straight = premultiplied / np.maximum(alpha, 1e-3)[..., None]
    near = cv2.GaussianBlur(np.dstack([premultiplied, alpha]), (0, 0), 4.0)
    far = near + 1e-3 * np.append((premultiplied.sum((0, 1)) / max(float(alpha.sum()), 1e-3)), 1.0)
    filled = far[..., :3] / far[..., 3:]
    trust = np.clip(alpha / 0.05, 0, 1)[..., None]
    return np.clip(straight * trust + filled * (1 - trust) + 0.5, 0, 255).astype(np.uint8)


def _rim(size: int, *, bottom: bool) -> np.ndarray:
    """1 inside and 0 in the outermost pixels of a frame, (S, S) float32; `bottom` False leaves those below."""
    inside = np.ones((size, size), np.float32)
    inside[:RIM] = inside[:, :RIM] = inside[:, size - RIM :] = 0
    if bottom:
        inside[size - RIM :] = 0
    return inside


def _bytes(plane: np.ndarray) -> np.ndarray:
    return (np.clip(plane, 0, 1) * 255 + 0.5).astype(np.uint8)
