"""Painted layers: a shape with its coverage, colours, lighting and blur, and their exact over-compositing."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .scene_photos import PhotoPool
from .scene_textures import surface
from .shapes.marks import Placement, Roi, Shape, bounds, rasterise


@dataclass(kw_only=True)
class LayerPart:
    """A labelled piece of a layer: coverage (h, w) float32, at most the layer's own."""

    kind: str
    fine: bool
    coverage: np.ndarray


@dataclass(kw_only=True)
class Layer:
    """One object before it is laid into the scene.

    roi: its rectangle; it may reach beyond the image until `crop`.
    colour: (h, w, 3) float32 in [0, 255], premultiplied by coverage.
    coverage: (h, w) float32 in [0, 1], parts included.
    """

    kind: str
    fine: bool
    roi: Roi
    colour: np.ndarray
    coverage: np.ndarray
    parts: list[LayerPart]


@dataclass(frozen=True)
class Blur:
    """Defocus (`sigma` pixels) or linear motion (`length` pixels along `angle`), whichever is above zero."""

    sigma: float = 0.0
    length: float = 0.0
    angle: float = 0.0

    @property
    def margin(self) -> int:
        """How far it spreads, in pixels."""
        return math.ceil(3 * self.sigma + self.length)

    def apply(self, plane: np.ndarray) -> np.ndarray:
        """Blur (h, w) or (h, w, C <= 4) float32; linear, the same for every channel."""
        if self.sigma > 0:
            return cv2.GaussianBlur(plane, (0, 0), self.sigma)
        if self.length <= 0:
            return plane
        doublings = max(1, math.ceil(math.log2(self.length)))
        step = self.length / 2**doublings
        for k in range(doublings):  # the mean of 2**doublings copies, `step` pixels apart
            shift = step * 2**k
            move = np.array([[1, 0, shift * math.cos(self.angle)], [0, 1, shift * math.sin(self.angle)]])
            shifted = cv2.warpAffine(plane, move, (plane.shape[1], plane.shape[0]), flags=cv2.INTER_LINEAR)
            plane = 0.5 * (plane + shifted)
        return plane


@dataclass(frozen=True)
class Painter:
    """What the surfaces of one scene have in common.

    light: (2,) direction towards the light, xy. relief: strength of the shading at rims.
    camouflage: None or the (3,) mean colour that the object should come close to.
    """

    pool: PhotoPool | None
    photo_probability: float
    light: np.ndarray
    relief: float
    camouflage: np.ndarray | None = None


def paint(
    rng: np.random.Generator, shape: Shape, placement: Placement, size: int, painter: Painter, blur: Blur
) -> Layer | None:
    """Draw and colour a placed shape; None when nothing of it is inside the image."""
    roi = bounds(shape, placement, size, blur.margin)
    if roi is None:
        return None
    coverage = rasterise(shape.marks, placement, roi)
    if not coverage.any():
        return None
    colour = _dress(rng, shape, placement, roi, painter, coverage) * coverage[..., None]
    parts: list[LayerPart] = []
    for part in shape.parts:
        own = rasterise(part.marks, placement, roi)
        if not own.any():
            continue
        dress = _dress(rng, part, placement, roi, painter, own)
        weight = coverage * own if part.clipped else own
        keep = 1 - own
        colour *= keep[..., None]
        colour += weight[..., None] * dress
        if not part.clipped:
            coverage = own + coverage * keep
        for below in parts:
            below.coverage *= keep
        parts.append(LayerPart(kind=part.kind, fine=part.fine, coverage=weight))
    for piece in parts:
        piece.coverage = blur.apply(piece.coverage)
    layer = Layer(
        kind=shape.kind,
        fine=shape.fine,
        roi=roi,
        colour=blur.apply(colour),
        coverage=blur.apply(coverage),
        parts=parts,
    )
    return _crop(layer, size)


def _dress(
    rng: np.random.Generator,
    shape: Shape,
    placement: Placement,
    roi: Roi,
    painter: Painter,
    coverage: np.ndarray,
) -> np.ndarray:
    """The lit surface of a shape over its rectangle: (h, w, 3) float32 in [0, 255]."""
    colours = surface(
        rng,
        roi.height,
        roi.width,
        palette=shape.palette,
        pool=painter.pool,
        photo_probability=painter.photo_probability,
    )
    if painter.camouflage is not None:
        colours = colours + rng.uniform(0.6, 1.0) * (painter.camouflage - colours.mean(axis=(0, 1)))
    brightness = _relief(coverage, painter)
    if shape.grooming:
        strands = rasterise(shape.grooming, placement, roi, supersample=1, ground=0.5)
        brightness = brightness * (0.35 + 1.3 * strands)
    colours = colours * brightness[..., None]
    if shape.palette == "hair" and shape.grooming:
        colours += np.clip(strands - 0.6, 0, 1)[..., None] * 90  # bright strands show on black hair too
    return np.clip(colours, 0, 255, out=colours)


def _relief(coverage: np.ndarray, painter: Painter) -> np.ndarray:
    """Directional shading of a bulging surface, (h, w) float32 around 1; a quarter of the size is enough."""
    height, width = coverage.shape
    small = cv2.resize(coverage, (max(2, width // 4), max(2, height // 4)), interpolation=cv2.INTER_AREA)
    sigma = 0.08 * max(small.shape) + 0.5
    bulge = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    slope_x = cv2.Sobel(bulge, cv2.CV_32F, 1, 0, scale=sigma / 4)
    slope_y = cv2.Sobel(bulge, cv2.CV_32F, 0, 1, scale=sigma / 4)
    shade = 1 - painter.relief * (
        slope_x * np.float32(painter.light[0]) + slope_y * np.float32(painter.light[1])
    )
    return cv2.resize(np.clip(shade, 0.3, 1.7), (width, height), interpolation=cv2.INTER_LINEAR)


def _crop(layer: Layer, size: int) -> Layer | None:
    """Cut a layer to the image."""
    roi = layer.roi
    left, top = max(0, -roi.x), max(0, -roi.y)
    right, bottom = min(roi.width, size - roi.x), min(roi.height, size - roi.y)
    if right <= left or bottom <= top:
        return None
    window = np.s_[top:bottom, left:right]
    parts = [
        LayerPart(kind=part.kind, fine=part.fine, coverage=part.coverage[window]) for part in layer.parts
    ]
    return Layer(
        kind=layer.kind,
        fine=layer.fine,
        colour=layer.colour[window],
        coverage=layer.coverage[window],
        parts=parts,
        roi=Roi(roi.x + left, roi.y + top, right - left, bottom - top),
    )


def cast_shadow(
    image: np.ndarray, layer: Layer, *, offset: tuple[int, int], sigma: float, strength: float
) -> None:
    """Darken `image` (H, W, 3) in place where the layer's shifted, blurred coverage falls."""
    size_y, size_x = image.shape[:2]
    quarter = np.zeros((max(2, size_y // 4), max(2, size_x // 4)), np.float32)
    roi = layer.roi
    small = cv2.resize(
        layer.coverage, (max(1, roi.width // 4), max(1, roi.height // 4)), interpolation=cv2.INTER_AREA
    )
    y, x = (roi.y + offset[1]) // 4, (roi.x + offset[0]) // 4
    y0, x0 = max(0, y), max(0, x)
    y1, x1 = min(quarter.shape[0], y + small.shape[0]), min(quarter.shape[1], x + small.shape[1])
    if y1 <= y0 or x1 <= x0:
        return
    quarter[y0:y1, x0:x1] = small[y0 - y : y1 - y, x0 - x : x1 - x]
    quarter = cv2.GaussianBlur(quarter, (0, 0), max(0.5, sigma / 4))
    shadow = cv2.resize(quarter, (size_x, size_y), interpolation=cv2.INTER_LINEAR)
    image *= (1 - strength * shadow)[..., None]


def lay_over(image: np.ndarray, layer: Layer, alphas: list[np.ndarray]) -> list[np.ndarray]:
    """Composite a layer over `image` and hide what lies below.

    image: (H, W, 3) float32, changed in place: image * (1 - coverage) + colour.
    alphas: visible alphas (H, W) of everything below, changed in place: multiplied by 1 - coverage.
    Returns the layer's own visible alpha, then those of its parts.
    """
    roi = layer.roi
    window = np.s_[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    keep = 1 - layer.coverage
    image[window] *= keep[..., None]
    image[window] += layer.colour
    for alpha in alphas:
        alpha[window] *= keep
    added = []
    for coverage in (layer.coverage, *(part.coverage for part in layer.parts)):
        alpha = np.zeros(image.shape[:2], np.float32)
        alpha[window] = coverage
        added.append(alpha)
    return added
