"""Procedural scenes with exact alpha: layered objects, each with the alpha that is really visible."""

import sys
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .scene_layers import Blur, Layer, Painter, cast_shadow, lay_over, paint
from .scene_photos import PhotoPool
from .scene_textures import background
from .shapes.catalog import BUSTS, UPRIGHT, draw_shape
from .shapes.marks import Placement, Shape
from .shapes.outlines import patch

__all__ = ["GENERATOR_VERSION", "PhotoPool", "Scene", "SceneConfig", "SceneObject", "generate_scene"]

GENERATOR_VERSION = 1
"""Raised whenever the same seed gives another scene than before."""


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """How scenes are made up. Probabilities are per scene or per object as named.

    objects: fewest and most objects. scale: smallest and largest object side, as a fraction of the image.
    fine_probability: that an object is of the fine family (hair, fur, leaves, nets, ...).
    subject_probability: that a scene has one large object near its middle and in front, as photographs have.
    min_visible_area: an object with less visible alpha (mean over the image) is left out of `Scene.objects`.
    noise_sigma, jpeg_quality: ranges for the final image-level effects, which leave alpha as it is.
    """

    objects: tuple[int, int] = (3, 6)
    scale: tuple[float, float] = (0.08, 0.95)
    fine_probability: float = 0.6
    subject_probability: float = 0.45
    defocus_probability: float = 0.08
    motion_probability: float = 0.06
    patch_probability: float = 0.35
    photo_background_probability: float = 0.9
    photo_texture_probability: float = 0.75
    camouflage_probability: float = 0.15
    shadow_probability: float = 0.35
    soften_probability: float = 0.2
    noise_probability: float = 0.5
    noise_sigma: tuple[float, float] = (0.5, 7.0)
    jpeg_probability: float = 0.35
    jpeg_quality: tuple[int, int] = (45, 95)
    min_visible_area: float = 0.001


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One labelled thing.

    alpha: (H, W) float32 in [0, 1], visible: its coverage times what everything on top lets through.
    kind: what it is ("hair", "fur", "leaf", "solid", ...). fine: whether its alpha has fine structure.
    parent: index in `Scene.objects` of the object that it is a part of, which includes it; None if whole.
    """

    alpha: np.ndarray
    kind: str
    fine: bool
    parent: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """image: (H, W, 3) uint8 RGB. objects: back to front, each followed by its parts."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]


def generate_scene(
    seed: int, *, size: int = 512, photos: PhotoPool | None = None, config: SceneConfig = SceneConfig()
) -> Scene:
    """Make the scene of a seed: the same arguments always give the same pixels.

    size: side of the square image in pixels. photos: where textures are cut from; None: procedural.
    """
    if size < 32:
        raise ValueError(f"size: expected at least 32 pixels, got {size}")
    rng = np.random.default_rng(seed)
    image = background(rng, size, pool=photos, photo_probability=config.photo_background_probability)
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle)])
    painter = Painter(
        pool=photos,
        photo_probability=config.photo_texture_probability,
        light=light,
        relief=rng.uniform(0.0, 0.9),
    )
    shadows = rng.random() < config.shadow_probability
    objects: list[SceneObject] = []
    count = int(rng.integers(config.objects[0], config.objects[1] + 1))
    subject = count - 1 - int(rng.integers(2)) if rng.random() < config.subject_probability else None
    certain_fine = subject if subject is not None else int(rng.integers(count))
    for k in range(count):
        fine = k == certain_fine or rng.random() < config.fine_probability
        layer = _make_layer(rng, image, painter, config, fine=fine, subject=k == subject)
        if layer is None:
            continue
        if shadows:
            reach = size * rng.uniform(0.01, 0.06)
            offset = (round(-light[0] * reach), round(-light[1] * reach))
            cast_shadow(image, layer, offset=offset, sigma=reach * 0.6, strength=rng.uniform(0.2, 0.7))
        added = lay_over(image, layer, [item.alpha for item in objects])
        labels = [(layer.kind, layer.fine), *((part.kind, part.fine) for part in layer.parts)]
        first = len(objects)
        for number, (alpha, (kind, fine)) in enumerate(zip(added, labels, strict=True)):
            objects.append(SceneObject(alpha=alpha, kind=kind, fine=fine, parent=first if number else None))
    image, objects = _develop(rng, image, objects, config)
    return Scene(image=image, objects=_drop_hidden(objects, config.min_visible_area))


def _make_layer(
    rng: np.random.Generator,
    image: np.ndarray,
    painter: Painter,
    config: SceneConfig,
    *,
    fine: bool,
    subject: bool,
) -> Layer | None:
    """Choose, place, blur and paint one object."""
    size = image.shape[0]
    low, high = config.scale
    fraction = rng.uniform(0.55 * high, high) if subject else low * (high / low) ** (rng.random() ** 0.5)
    half = 0.5 * fraction * size
    shape = draw_shape(rng, half, fine=fine)
    if rng.random() < config.patch_probability:
        shape = _with_patch(shape, patch(rng, half))
    blur = _choose_blur(rng, shape, half, size, config)
    if blur.margin:
        shape = replace(shape, fine=True, kind="defocus" if blur.sigma else "motion")
    placement = _place(rng, shape, half, size, central=subject)
    if rng.random() < config.camouflage_probability:
        x, y = np.clip(placement.centre, 0, size - 1).astype(int)
        reach = max(4, int(half))
        around = image[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
        painter = replace(painter, camouflage=around.mean(axis=(0, 1)))
    return paint(rng, shape, placement, size, painter, blur)


def _with_patch(shape: Shape, part: Shape) -> Shape:
    """Put a patch on a shape, under its hair where it has some; a patch on something fine is fine itself."""
    under = sum(1 for item in shape.parts if item.clipped)
    part = replace(part, fine=shape.fine and not shape.parts)
    return replace(shape, parts=(*shape.parts[:under], part, *shape.parts[under:]))


def _choose_blur(rng: np.random.Generator, shape: Shape, half: float, size: int, config: SceneConfig) -> Blur:
    """Seldom defocus or motion, stronger on large objects."""
    choice = rng.random()
    if choice < config.defocus_probability:
        return Blur(sigma=min(half, size * 0.3) * rng.uniform(0.03, 0.15) + 0.8)
    if choice < config.defocus_probability + config.motion_probability:
        return Blur(length=min(half, size * 0.3) * rng.uniform(0.1, 0.5) + 3, angle=rng.uniform(0, 2 * np.pi))
    return Blur()


def _place(rng: np.random.Generator, shape: Shape, half: float, size: int, *, central: bool) -> Placement:
    """A random place and affine; upright things mostly stand upright."""
    turn = rng.normal(0, 0.2) if shape.kind in UPRIGHT and rng.random() < 0.85 else rng.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    stretch = np.exp(rng.normal(0, 0.12))
    affine = np.array([[stretch, rng.normal(0, 0.1)], [0.0, 1 / stretch]])
    if rng.random() < 0.5:
        affine = affine @ np.diag([-1.0, 1.0])
    if central:
        centre = size * rng.uniform(0.35, 0.65, 2)
        if shape.kind in BUSTS:
            centre[1] = size - half * rng.uniform(0.5, 1.1)
        return Placement(half * rotation @ affine, centre)
    outside = 0.35 * half if rng.random() < 0.4 else -0.6 * half
    low, high = -outside, size + outside
    centre = rng.uniform(low, high, 2) if high > low else np.full(2, size / 2)
    return Placement(half * rotation @ affine, centre)


def _develop(
    rng: np.random.Generator, image: np.ndarray, objects: list[SceneObject], config: SceneConfig
) -> tuple[np.ndarray, list[SceneObject]]:
    """Image-level effects: exposure and light fall-off, softening (of the alphas too), noise, JPEG.

    image: (H, W, 3) float32 in [0, 255]. Returns it as uint8, and the objects.
    """
    size = image.shape[0]
    if rng.random() < config.soften_probability:
        sigma = rng.uniform(0.4, 0.9) * size / 512 + 0.1
        image = cv2.GaussianBlur(image, (0, 0), sigma)
        objects = [replace(item, alpha=cv2.GaussianBlur(item.alpha, (0, 0), sigma)) for item in objects]
    brightest = max(float(image[::8, ::8].max()), 1.0)
    exposure = min(
        np.exp(rng.normal(-0.05, 0.2)), 290 / brightest
    )  # hardly any clipping, so that alpha stays exact
    gain = exposure * np.exp(rng.normal(0, 0.05, 3))
    if rng.random() < 0.4:
        slope = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
        ramp = np.linspace(-1, 1, size, dtype=np.float32)
        image *= (1 + slope[0] * ramp[None] + slope[1] * ramp[:, None])[..., None]
    image *= gain.astype(np.float32)
    if rng.random() < config.noise_probability:
        sigma = rng.uniform(*config.noise_sigma)
        image += np.float32(sigma) * rng.standard_normal(image.shape, np.float32)
    result = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < config.jpeg_probability:
        quality = int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
        result = _through_jpeg(result, quality)
    return np.ascontiguousarray(result), objects


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode and decode. (H, W, 3) uint8 RGB -> the same with the codec's traces."""
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise RuntimeError("OpenCV could not decode the JPEG that it has just encoded")
    return decoded


def _drop_hidden(objects: list[SceneObject], min_area: float) -> tuple[SceneObject, ...]:
    """Leave out what is nearly invisible, and parts whose parent is left out; renumber the parents."""
    kept: list[SceneObject] = []
    new_index: dict[int, int] = {}
    for index, item in enumerate(objects):
        orphan = item.parent is not None and item.parent not in new_index
        if orphan or float(item.alpha.mean()) < min_area:
            continue
        new_index[index] = len(kept)
        kept.append(item if item.parent is None else replace(item, parent=new_index[item.parent]))
    return tuple(kept)


if __name__ == "__main__":
    from .scene_export import main

    sys.exit(main())
