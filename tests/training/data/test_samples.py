"""Geometry oracle: coordinates painted into image and labels stay together through every cut, flip and warp."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from training.data import samples
from training.data.samples import Sample, Target, jitter_colours, pasted_sample, photo_sample, scene_sample
from training.data.scenes import Scene, SceneObject
from training.data.segments import LabelledPhoto, RegionMix

DRAWS = 40


@pytest.fixture
def plain_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the colour jitter off."""
    monkeypatch.setattr(samples, "jitter_colours", lambda image, rng: image)


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1).astype(np.float32)


def image_of(alpha: np.ndarray) -> np.ndarray:
    """Red is the alpha itself, green 200 everywhere: what the image must show after any geometry."""
    return np.stack([alpha * 255, np.full_like(alpha, 200), alpha * 0], axis=-1).round().astype(np.uint8)


def scene_of(size: int) -> Scene:
    alpha = disc(size, size, 0.6 * size, 0.4 * size, 0.22 * size)
    return Scene(image=image_of(alpha), objects=(SceneObject(alpha=alpha, kind="solid", fine=False),))


def photo_of(height: int, width: int) -> LabelledPhoto:
    label = (disc(height, width, 0.6 * width, 0.4 * height, 0.2 * min(height, width)) > 0.5).astype(np.int32)
    only = RegionMix(whole=1, single=0, component=0, union=0)
    return LabelledPhoto(image=image_of(label.astype(np.float32)), labels=label[None], mix=only)


def drawn(make: Callable[[np.random.Generator], Sample | None]) -> list[Sample]:
    found = [make(np.random.default_rng(seed)) for seed in range(DRAWS)]
    return [sample for sample in found if sample is not None]


def check_alignment(sample: Sample, side: int) -> None:
    height, width = sample.input_hw
    assert sample.image.shape == (side, side, 3) and max(height, width) == side
    assert not sample.image[height:].any() and not sample.image[:, width:].any()
    assert bool((sample.image[:height, :width, 1] == 200).all())  # the padding begins exactly there
    (target,) = sample.targets
    np.testing.assert_allclose(sample.image[..., 0] / 255, target.alpha, atol=1.5 / 255)
    assert not target.alpha[height:].any() and not target.alpha[:, width:].any()


@pytest.mark.parametrize("side", [64, 96, 160])
def test_scene_and_its_matte_stay_aligned(plain_colours: None, side: int) -> None:
    found = drawn(lambda rng: scene_sample(scene_of(96), side=side, count=3, rng=rng))
    for sample in found:
        check_alignment(sample, side)
    shapes = {sample.input_hw for sample in found}
    assert len(found) == DRAWS and len(shapes) > 5 and any(h < w for h, w in shapes) and any(h > w for h, w in shapes)
    centres = {float(s.targets[0].alpha[:, : side // 2].sum()) > s.targets[0].alpha.sum() / 2 for s in found}
    assert centres == {True, False}  # some are mirrored


@pytest.mark.parametrize("hw", [(60, 96), (96, 60)])
def test_photo_and_its_label_stay_aligned(plain_colours: None, hw: tuple[int, int]) -> None:
    found = drawn(lambda rng: photo_sample(photo_of(*hw), side=64, count=1, rng=rng))
    for sample in found:
        check_alignment(sample, 64)
        target = sample.targets[0]
        np.testing.assert_array_equal(target.coarse, target.alpha > 0.5)
    assert len(found) == DRAWS


def test_trust_is_withheld_around_the_outline_only(plain_colours: None) -> None:
    sample = photo_sample(photo_of(96, 96), side=128, count=1, rng=np.random.default_rng(0))
    assert sample is not None
    target = sample.targets[0]
    solid = (target.alpha > 0.5).astype(np.uint8)
    to_outline = np.where(
        solid > 0, cv2.distanceTransform(solid, cv2.DIST_L2, 5), cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
    )
    reach = max(1, round(0.008 * float(np.sqrt(solid.sum()))))
    assert set(np.unique(target.weight)) == {0.0, 1.0}
    assert not target.weight[to_outline <= 1].any()
    assert bool(target.weight[to_outline > reach + 1].all())


def test_mattes_of_scenes_and_pasted_objects_are_trusted_everywhere(plain_colours: None) -> None:
    background = np.full((64, 64, 3), 50, np.uint8)
    found = drawn(lambda rng: pasted_sample(photo_of(96, 96), background, side=64, rng=rng))
    found += drawn(lambda rng: scene_sample(scene_of(64), side=64, count=1, rng=rng))
    assert found and all(bool((sample.targets[0].weight == 1).all()) for sample in found)


def test_pasted_object_is_a_composite(plain_colours: None) -> None:
    """Blue tells where the background is: alpha * object + (1 - alpha) * background, pixel by pixel."""
    background = np.zeros((80, 80, 3), np.uint8)
    background[..., 2] = np.random.default_rng(5).integers(100, 255, (80, 80))
    found = drawn(lambda rng: pasted_sample(photo_of(96, 120), background, side=80, rng=rng))
    assert len(found) > DRAWS // 2
    for sample in found:
        alpha = sample.targets[0].alpha
        assert sample.input_hw == (80, 80)
        np.testing.assert_array_equal(sample.image[alpha == 0], background[alpha == 0])
        assert not sample.image[alpha == 1][:, 2].any() and bool((sample.image[alpha == 1][:, 1] == 200).all())
        np.testing.assert_allclose(sample.image[..., 2], (1 - alpha) * background[..., 2], atol=0.6)
        assert int(sample.image[alpha > 0.98][:, 0].min()) > 200  # the object's own colour, not what was around it


def test_coarse_labels_of_mattes_are_binary_and_near_them(plain_colours: None) -> None:
    for sample in drawn(lambda rng: scene_sample(scene_of(96), side=96, count=1, rng=rng)):
        target = sample.targets[0]
        solid = target.alpha > 0.5
        assert set(np.unique(target.coarse)) <= {0.0, 1.0}
        assert (solid & (target.coarse > 0)).sum() / (solid | (target.coarse > 0)).sum() > 0.6


def test_objects_that_fill_or_miss_the_frame_are_no_targets() -> None:
    empty = SceneObject(alpha=np.zeros((64, 64), np.float32), kind="solid", fine=False)
    full = SceneObject(alpha=np.ones((64, 64), np.float32), kind="solid", fine=False)
    scene = Scene(image=np.zeros((64, 64, 3), np.uint8), objects=(empty, full))
    assert scene_sample(scene, side=64, count=2, rng=np.random.default_rng(0)) is None


def test_colour_jitter_keeps_type_and_place() -> None:
    """Colours move, edges do not: the brightest half stays the brightest half."""
    image = np.full((16, 32, 3), 60, np.uint8)
    image[:, 16:] = 160
    before = image.copy()
    changed = 0
    for seed in range(DRAWS):
        result = jitter_colours(image, np.random.default_rng(seed))
        assert result.shape == image.shape and result.dtype == np.uint8
        assert bool((result[:, 20:].mean((1, 2)) > result[:, :12].mean((1, 2))).all())
        changed += bool((result != image).any())
    assert changed > DRAWS // 2
    np.testing.assert_array_equal(image, before)


def test_no_more_targets_than_asked_for(plain_colours: None) -> None:
    alphas = [disc(64, 64, x, 32, 8) for x in (12, 32, 52)]
    objects = tuple(SceneObject(alpha=alpha, kind="solid", fine=False) for alpha in alphas)
    scene = Scene(image=np.zeros((64, 64, 3), np.uint8), objects=objects)
    sample = scene_sample(scene, side=64, count=2, rng=np.random.default_rng(1))
    assert sample is not None and len(sample.targets) == 2 and isinstance(sample.targets[0], Target)
