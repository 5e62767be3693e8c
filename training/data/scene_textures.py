"""Surfaces of objects and backgrounds: photo crops, procedural patterns, palettes, camouflage."""

import colorsys

import cv2
import numpy as np

from .scene_photos import PhotoPool
from .shapes.marks import Palette

# Hue range (turns), saturation range, value range.
_Band = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
_PALETTES: dict[Palette, tuple[_Band, ...]] = {
    "hair": (
        ((0.04, 0.1), (0.2, 0.7), (0.05, 0.4)),
        ((0.08, 0.13), (0.2, 0.6), (0.5, 0.9)),
        ((0.0, 1.0), (0.0, 0.1), (0.03, 0.95)),
        ((0.02, 0.07), (0.5, 0.85), (0.3, 0.75)),
        ((0.05, 0.1), (0.1, 0.4), (0.6, 1.0)),
    ),
    "skin": (((0.02, 0.08), (0.2, 0.6), (0.3, 0.98)),),
    "plant": (
        ((0.17, 0.4), (0.25, 0.9), (0.15, 0.85)),
        ((0.02, 0.15), (0.3, 0.9), (0.2, 0.9)),
        ((0.85, 1.0), (0.2, 0.8), (0.4, 0.95)),
    ),
    "feather": (
        ((0.0, 1.0), (0.0, 0.15), (0.1, 1.0)),
        ((0.0, 1.0), (0.3, 0.9), (0.2, 0.95)),
        ((0.05, 0.12), (0.2, 0.6), (0.2, 0.8)),
    ),
    "fibre": (((0.0, 1.0), (0.0, 0.15), (0.02, 0.95)), ((0.0, 1.0), (0.2, 0.9), (0.1, 0.95))),
}
_ANY_BAND: _Band = ((0.0, 1.0), (0.0, 0.9), (0.05, 1.0))


def random_colour(rng: np.random.Generator, palette: Palette = "any") -> np.ndarray:
    """A colour typical of the palette: (3,) float32 RGB in [0, 255]."""
    bands = _PALETTES.get(palette, (_ANY_BAND,))
    hue, saturation, value = bands[int(rng.integers(len(bands)))]
    rgb = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return 255 * np.array(rgb, np.float32)


def noise(
    rng: np.random.Generator, height: int, width: int, *, octaves: int = 4, coarsest: int = 3
) -> np.ndarray:
    """Multi-octave value noise, (height, width) float32, mean about 0.5, mostly within [0, 1]."""
    field = np.zeros((height, width), np.float32)
    total = 0.0
    for octave in range(octaves):
        cells = coarsest * 2**octave
        if cells > min(height, width):
            break
        weight = 0.6**octave
        grid = rng.random((cells + 1, cells + 1), np.float32)
        field += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += weight
    if total == 0:
        return np.full((height, width), 0.5, np.float32)
    return (field / total - 0.5) * 1.8 + 0.5


def procedural(rng: np.random.Generator, height: int, width: int, palette: Palette = "any") -> np.ndarray:
    """A surface without photographs: (height, width, 3) float32 in [0, 255]."""
    first, second = random_colour(rng, palette), random_colour(rng, palette)
    pattern = rng.choice(
        ["flat", "noise", "gradient", "stripes", "checks", "wood", "spots"],
        p=[0.2, 0.3, 0.15, 0.12, 0.08, 0.08, 0.07],
    )
    if palette != "any" and palette != "cloth":
        pattern = "noise"
        second = np.clip(first * rng.uniform(0.5, 1.5) + rng.normal(0, 8, 3), 0, 255).astype(np.float32)
    grain = noise(rng, height, width, octaves=5, coarsest=int(rng.integers(2, 8)))
    mix = _pattern(rng, str(pattern), grain)
    surface = first + mix[..., None] * (second - first)
    return np.clip(surface * (0.9 + 0.2 * grain[..., None]), 0, 255)


def _pattern(rng: np.random.Generator, pattern: str, grain: np.ndarray) -> np.ndarray:
    """How much of the second colour, (H, W) float32 in [0, 1]."""
    height, width = grain.shape
    if pattern == "flat":
        return np.zeros_like(grain)
    if pattern == "noise":
        return np.clip(grain, 0, 1)
    if pattern == "spots":
        return np.clip((grain - rng.uniform(0.4, 0.7)) * 12, 0, 1)
    angle = rng.uniform(0, np.pi)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    if pattern == "gradient":
        return np.clip(0.5 + 0.4 * along, 0, 1)
    frequency = np.float32(rng.uniform(5, 40))
    if pattern == "wood":
        return 0.5 + 0.5 * np.sin(frequency * (along + 0.5 * grain))
    sharp = np.float32(rng.uniform(1, 8))
    wave = np.sin(frequency * along)
    if pattern == "checks":
        wave = wave * np.sin(frequency * (np.float32(-np.sin(angle)) * x + np.float32(np.cos(angle)) * y))
    return np.clip(0.5 + sharp * wave, 0, 1)


def jitter_colours(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Random gain, gamma and cast per channel. (H, W, 3) uint8 -> uint8."""
    levels = np.linspace(0, 1, 256)
    gamma = np.exp(rng.normal(0, 0.35 * strength))
    gains = np.exp(rng.normal(-0.05, 0.2) * strength) * np.exp(rng.normal(0, 0.12 * strength, 3))
    table = np.clip(255 * gains[:, None] * levels**gamma, 0, 255).astype(np.uint8)  # (3, 256)
    table = table[rng.permutation(3)] if rng.random() < 0.1 * strength else table
    return cv2.LUT(image, np.ascontiguousarray(table.T[None]))


def photo_surface(
    rng: np.random.Generator, pool: PhotoPool, height: int, width: int, palette: Palette
) -> np.ndarray:
    """A photo crop as a surface; often tinted to the palette. (height, width, 3) float32 in [0, 255]."""
    crop = pool.sample_crop(rng, height, width)
    if palette in ("any", "cloth") or rng.random() < 0.35:
        return jitter_colours(rng, crop, 0.8).astype(np.float32)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = max(20.0, float(grey.mean()))
    contrast = rng.uniform(0.25, 0.8)
    relative = 1 - contrast + contrast * grey / mean
    return np.clip(relative[..., None] * random_colour(rng, palette), 0, 255)


def surface(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    palette: Palette,
    pool: PhotoPool | None,
    photo_probability: float,
) -> np.ndarray:
    """The surface of one object: (height, width, 3) float32 in [0, 255]."""
    if pool is not None and rng.random() < photo_probability:
        return photo_surface(rng, pool, height, width, palette)
    return procedural(rng, height, width, palette)


def background(
    rng: np.random.Generator, size: int, *, pool: PhotoPool | None, photo_probability: float
) -> np.ndarray:
    """What lies behind everything, out of focus now and then: (size, size, 3) float32 in [0, 255]."""
    if pool is not None and rng.random() < photo_probability:
        crop = jitter_colours(rng, pool.sample_crop(rng, size, size, whole=rng.random() < 0.6), 0.5)
        if rng.random() < 0.4:
            crop = cv2.GaussianBlur(crop, (0, 0), size * rng.uniform(0.002, 0.02))
        return crop.astype(np.float32)
    ground = procedural(rng, size, size)
    if rng.random() < 0.5:
        other = procedural(rng, size, size)
        split = np.clip((noise(rng, size, size, octaves=3) - 0.5) * rng.uniform(2, 20) + 0.5, 0, 1)
        ground = ground + split[..., None] * (other - ground)
    return ground
