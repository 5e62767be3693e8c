"""Scenes with exact alpha: the compositing equation, repeatability, and shapes whose area is known."""

import numpy as np
import pytest

from adapters.fine_objects import FINE_KINDS, KINDS, fine_scene, fine_scenes
from zim.errors import ConfigError


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_their_layers(kind: str) -> None:
    scene = fine_scene(kind, seed=3, side=128)
    alpha = scene.alpha[..., None]
    mixed = alpha * scene.foreground + (1 - alpha) * scene.background
    assert np.abs(scene.image - mixed).max() <= 0.5 + 1e-3
    assert scene.alpha.min() == 0 and 0.9 < scene.alpha.max() <= 1
    x1, y1, x2, y2 = scene.box.astype(int)
    outside = scene.alpha.copy()
    outside[y1:y2, x1:x2] = 0
    assert outside.max() <= 0.3 < scene.alpha[y1:y2, x1:x2].max()


def test_scenes_depend_on_seed_and_number_only() -> None:
    first, second = ([s.image for s in fine_scenes(count, seed=5, side=64)] for count in (7, 3))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=False))
    assert [s.kind for s in fine_scenes(5, side=64)] == list(FINE_KINDS)
    assert not np.array_equal(first[0], next(fine_scenes(1, seed=6, side=64)).image)


def test_fine_objects_are_finer_than_plain_ones() -> None:
    """Length of the outline for its area: at least four times that of a plain body."""
    lengths = {}
    for kind in KINDS:
        alphas = [fine_scene(kind, seed=seed, side=256).alpha for seed in range(4)]
        lengths[kind] = np.mean([np.abs(np.diff(a, axis=1)).sum() / np.sqrt(a.sum()) for a in alphas])
    assert min(lengths[kind] for kind in FINE_KINDS) > 2 * lengths["plain"]
    assert lengths["net"] > 4 * lengths["plain"]


def test_covered_area_does_not_depend_on_the_resolution() -> None:
    areas = [fine_scene("wires", seed=1, side=side).alpha.mean() for side in (256, 512)]
    assert areas[0] == pytest.approx(areas[1], rel=0.12)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="kind: expected one of fur"):
        fine_scene("cloud", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="side: expected at least 64"):
        fine_scene("fur", seed=0, side=32)
