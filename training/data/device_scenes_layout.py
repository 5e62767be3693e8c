"""Where sprites go: layouts of many scenes, drawn on the host, so that the device never has to be asked."""

from dataclasses import dataclass

import numpy as np

from .scenes import SceneConfig
from .sprites import CUTOUTS, FAMILIES, LEVELS, SpriteLibrary

_HARD = FAMILIES.index("hard")


@dataclass(frozen=True, kw_only=True)
class DeviceSceneConfig:
    """How scenes are put together; probabilities and ranges that the two generators share are those of `scene`.

    sprites: fewest and most in a scene. photo_share: of cut-outs among the sprites of a scene, given that the library
    has some. size_spread: how far a sprite's side is from the one that it was drawn for (log-normal).
    """

    scene: SceneConfig = SceneConfig()
    sprites: tuple[int, int] = (1, 5)
    photo_share: float = 0.08
    size_spread: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Layout:
    """R sprites in I pictures, ordered by picture and from back to front.

    picture, order, sprite: (R,) int64. centre: (R, 2), xy, and side: (R,), as fractions of the picture.
    matrix: (R, 2, 2) from the sprite's frame, of side 1, to the picture, without the side.
    level: (R,) reduction of the sprite to draw from.
    sigma, length: (R,) blur as fractions of the picture, 0 for none; angle: (R,) of the motion.
    camouflage: (R,) how much of the mean colour is the background's. gain: (R, 3) and contrast (R,) of colours.
    shadow: (I,) strength, 0 for none; shadow_offset: (I, 2) and shadow_sigma (I,) as fractions of the picture.
    """

    picture: np.ndarray
    order: np.ndarray
    sprite: np.ndarray
    centre: np.ndarray
    side: np.ndarray
    matrix: np.ndarray
    level: np.ndarray
    sigma: np.ndarray
    length: np.ndarray
    angle: np.ndarray
    camouflage: np.ndarray
    gain: np.ndarray
    contrast: np.ndarray
    shadow: np.ndarray
    shadow_offset: np.ndarray
    shadow_sigma: np.ndarray

    @property
    def pictures(self) -> int:
        """I."""
        return len(self.shadow)


def draw_layout(
    rng: np.random.Generator,
    library: SpriteLibrary,
    pasted: np.ndarray,
    side_px: int,
    config: DeviceSceneConfig = DeviceSceneConfig(),
) -> Layout:
    """Layouts of I scenes of `side_px` pixels; where `pasted` (I,) is true, a single cut-out instead."""
    low, high = config.sprites
    count = np.where(pasted, 1, rng.integers(low, high + 1, len(pasted)))
    picture = np.repeat(np.arange(len(pasted)), count)
    order = np.arange(len(picture)) - np.repeat(np.cumsum(count) - count, count)
    rows = len(picture)
    subject = _subjects(rng, count, pasted, config)[picture] == order
    sprite = _choose(rng, library, pasted[picture], order, count[picture], subject, config)
    bust, upright = library.bust[sprite], library.upright[sprite]
    fraction = library.nominal[sprite] * np.exp(rng.normal(0, config.size_spread, rows))
    largest = config.scene.scale[1]
    fraction = np.where(subject, rng.uniform(0.55 * largest, largest, rows), fraction)
    paste = np.exp(rng.uniform(np.log(0.25), 0.0, rows))
    fraction = np.clip(np.where(pasted[picture], paste, fraction), config.scene.scale[0], 1.0)
    sigma, length = _blurs(rng, rows, fraction, side_px, config)
    cutout = np.isin(library.family[sprite], CUTOUTS)
    sharp = pasted[picture] | cutout
    lights = rng.random(len(pasted)) < config.scene.shadow_probability
    angle = rng.uniform(0, 2 * np.pi, len(pasted))
    reach = rng.uniform(0.01, 0.06, len(pasted))
    hidden = rng.random(rows) < config.scene.camouflage_probability
    return Layout(
        picture=picture,
        order=order,
        sprite=sprite,
        centre=_centres(rng, fraction, subject, bust, pasted[picture]),
        side=fraction,
        matrix=_matrices(rng, upright, cutout),
        level=np.clip(np.round(np.log2(library.side / (fraction * side_px)) - 0.1), 0, LEVELS - 1).astype(np.int64),
        sigma=np.where(sharp, 0, sigma),
        length=np.where(sharp, 0, length),
        angle=rng.uniform(0, 2 * np.pi, rows),
        camouflage=np.where(hidden & ~sharp, rng.uniform(0.6, 1.0, rows), 0.0),
        gain=np.exp(rng.normal(0, 0.2, (rows, 1)) + rng.normal(0, 0.08, (rows, 3))),
        contrast=np.exp(rng.normal(0, 0.15, rows)),
        shadow=np.where(lights & ~pasted, rng.uniform(0.2, 0.7, len(pasted)), 0.0),
        shadow_offset=np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None],
        shadow_sigma=0.6 * reach,
    )


def _subjects(
    rng: np.random.Generator, count: np.ndarray, pasted: np.ndarray, config: DeviceSceneConfig
) -> np.ndarray:
    """Which sprite of each picture is the large one near the middle, -1 for none: (I,)."""
    has = (rng.random(len(count)) < config.scene.subject_probability) & ~pasted
    return np.where(has, np.maximum(count - 1 - rng.integers(0, 2, len(count)), 0), -1)


def _choose(
    rng: np.random.Generator,
    library: SpriteLibrary,
    pasted: np.ndarray,
    order: np.ndarray,
    count: np.ndarray,
    subject: np.ndarray,
    config: DeviceSceneConfig,
) -> np.ndarray:
    """Sprites by family, (R,): one fine one at least in a scene, the subject among those drawn large."""
    family = np.where(rng.random(len(order)) < config.scene.fine_probability, 0, _HARD)
    family = np.where(subject | (order == count // 2), 0, family)
    photo = np.isin(library.family, CUTOUTS)
    if photo.any():
        cutouts = rng.choice(library.family[photo], len(order))
        family = np.where(pasted | (rng.random(len(order)) < config.photo_share), cutouts, family)
    chosen = np.zeros(len(order), np.int64)
    for kind in range(len(FAMILIES)):
        for large in (False, True):
            wanted = np.flatnonzero((family == kind) & (subject == large))
            there = np.flatnonzero((library.family == kind) & ((library.nominal >= 0.5) | (not large)))
            for fallback in (library.family == kind, ~photo, photo | True):
                there = there if len(there) else np.flatnonzero(fallback)
            chosen[wanted] = rng.choice(there, len(wanted))
    return chosen


def _blurs(
    rng: np.random.Generator, rows: int, fraction: np.ndarray, side_px: int, config: DeviceSceneConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Seldom defocus or motion, stronger on large objects: sigma and length (R,), fractions of the picture."""
    choice, scene = rng.random(rows), config.scene
    size = np.minimum(fraction / 2, 0.3)
    defocus = choice < scene.defocus_probability
    motion = ~defocus & (choice < scene.defocus_probability + scene.motion_probability)
    sigma = size * rng.uniform(0.03, 0.15, rows) + 0.8 / side_px
    length = size * rng.uniform(0.1, 0.5, rows) + 3 / side_px
    return np.where(defocus, sigma, 0.0), np.where(motion, length, 0.0)


def _matrices(rng: np.random.Generator, upright: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Rotation and mirroring, (R, 2, 2); upright things mostly stand upright."""
    rows = len(upright)
    leaning = np.where(photo, rng.normal(0, 0.2, rows) * (rng.random(rows) < 0.5), rng.normal(0, 0.2, rows))
    free = ~upright | (~photo & (rng.random(rows) < 0.15))
    turn = np.where(free, rng.uniform(0, 2 * np.pi, rows), leaning)
    cosine, sine = np.cos(turn), np.sin(turn)
    mirror = np.where(rng.random(rows) < 0.5, -1.0, 1.0)
    return np.stack([np.stack([cosine * mirror, -sine], axis=1), np.stack([sine * mirror, cosine], axis=1)], axis=1)


def _centres(
    rng: np.random.Generator, fraction: np.ndarray, subject: np.ndarray, bust: np.ndarray, pasted: np.ndarray
) -> np.ndarray:
    """Places, (R, 2): subjects near the middle, busts cut by the lower border, the others anywhere."""
    rows, half = len(fraction), fraction / 2
    middle = rng.uniform(0.35, 0.65, (rows, 2))
    middle[:, 1] = np.where(bust, 1 - half * rng.uniform(0.5, 1.1, rows), middle[:, 1])
    outside = np.where(rng.random(rows) < 0.4, 0.35 * half, -0.6 * half)
    outside = np.where(pasted, -0.7 * half, outside)
    low, high = -outside, 1 + outside
    anywhere = low[:, None] + rng.random((rows, 2)) * (high - low)[:, None]
    anywhere = np.where((high > low)[:, None], anywhere, 0.5)
    return np.where(subject[:, None], middle, anywhere)
