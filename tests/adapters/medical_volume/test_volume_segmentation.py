"""Following objects through volumes whose truth is known, with a perfect predictor and with one that sees grey only."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adapters.medical_volume.geometry import Geometry
from adapters.medical_volume.nifti import template_for
from adapters.medical_volume.prompts import BoxPrompt, PointPrompt
from adapters.medical_volume.scenes import VolumeScene, volume_scene
from adapters.medical_volume.segmentation import SegmentedObject, Segmenter, label_map
from adapters.medical_volume.settings import Settings
from adapters.medical_volume.slicing import view_of
from adapters.medical_volume.volume import Volume
from adapters.medical_volume.volume_oracle import VolumeOracle
from adapters.medical_volume.windowing import percentile_window
from zim.errors import PromptError

WHOLE = Settings(context=0)
"""The oracle knows whole slices."""


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


def oracle_segmenter(scene: VolumeScene, settings: Settings = WHOLE, axes: tuple[int, ...] = (0, 1, 2)) -> Segmenter:
    window = percentile_window(scene.volume.voxels)
    views = [view_of(scene.volume.geometry, axis) for axis in axes]
    oracle = VolumeOracle(scene.volume.voxels, list(scene.alphas.values()), views, window)
    return Segmenter(predictor=oracle, volume=scene.volume, settings=settings)


def slice_box(alpha: np.ndarray, index: int) -> BoxPrompt:
    xs, ys = np.nonzero(alpha[:, :, index] > 0.5)
    return BoxPrompt(corner=(xs.min(), ys.min(), index), opposite=(xs.max(), ys.max(), index))


def extent(alpha: np.ndarray) -> tuple[int, int]:
    shown = np.flatnonzero((alpha > 0.5).any((0, 1)))
    return int(shown[0]), int(shown[-1])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_from_the_middle_slice_to_both_ends(seed: int) -> None:
    scene = volume_scene("organs", seed=seed)
    segmenter = oracle_segmenter(scene, axes=(2,))
    for name, truth in scene.alphas.items():
        low, high = extent(truth)
        found = segmenter.segment(name, [slice_box(truth, (low + high) // 2)])
        first, last = extent(found.alpha)
        assert dice(found.alpha > 0.5, truth > 0.5) >= 0.98
        assert low - 2 <= first <= low + 2 and high - 2 <= last <= high + 2
        assert abs(found.alpha.sum() / truth.sum() - 1) < 0.03
        assert found.sources[(low + high) // 2] == "prompt" and min(found.sources) <= low + 1
        assert all(0 <= value <= 1 for value in found.confidences.values())


def test_a_point_and_a_background_point() -> None:
    scene = volume_scene("organs", seed=0)
    truth, other = scene.alphas["large"], scene.alphas["middle"]
    middle = sum(extent(truth)) // 2
    at = np.argwhere(truth[:, :, middle] > 0.99).mean(0).round()
    off = np.argwhere(other[:, :, sum(extent(other)) // 2] > 0.99).mean(0).round()
    prompts = [PointPrompt(at=(at[0], at[1], middle)), PointPrompt(at=(off[0], off[1], middle), label=0)]
    found = oracle_segmenter(scene, axes=(2,)).segment("large", prompts)
    assert dice(found.alpha > 0.5, truth > 0.5) > 0.98


def test_a_3d_box_bounds_the_slices() -> None:
    scene = volume_scene("organs", seed=1)
    truth = scene.alphas["large"]
    low, high = extent(truth)
    xs, ys, _ = np.nonzero(truth > 0.5)
    box = BoxPrompt(corner=(xs.max(), ys.max(), high - 2), opposite=(xs.min(), ys.min(), low + 3))
    for mode in ("follow", "every"):
        segmenter = oracle_segmenter(scene, replace(WHOLE, box3d=mode, consensus=False), axes=(2,))
        found = segmenter.segment("large", [box])
        assert extent(found.alpha) == (low + 3, high - 2)
        inside = truth[:, :, low + 3 : high - 1] > 0.5
        assert dice(found.alpha[:, :, low + 3 : high - 1] > 0.5, inside) > 0.99


@pytest.mark.parametrize("consensus", [False, True])
def test_around_a_3d_box_there_is_a_soft_rim_at_most(consensus: bool) -> None:
    """Whatever the predictor answers there: this one takes all it sees."""
    scene = volume_scene("organs", seed=1)
    low, high = np.array([20, 24, 8]), np.array([40, 39, 15])
    box = BoxPrompt(corner=tuple(low.tolist()), opposite=tuple(high.tolist()))
    predictor = _Everything()
    settings = Settings(consensus=consensus)
    segmenter = Segmenter(predictor=predictor, volume=scene.volume, settings=settings)
    alpha = segmenter.segment("all", [box]).alpha
    solid = np.argwhere(alpha > 0.5)
    assert (solid.min(0) >= low).all() and (solid.max(0) <= high).all()
    there = np.argwhere(alpha > 0)
    assert (there.min(0) >= low - 1).all() and (there.max(0) <= high + 1).all() and len(there) > len(solid)
    middle = segmenter.answer_slice([box], int(low[2] + high[2]) // 2)
    assert set(np.unique(np.round(middle, 4))) == {0, np.float32(0.5), 1}
    rows, columns = np.nonzero(middle > 0.5)
    assert (np.ptp(rows), np.ptp(columns)) in {(15, 20), (20, 15)}


class _Everything:
    """All of the picture, whatever is asked."""

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.shape = image.shape[:2]

    def predict(self, *args: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.full((1, *self.shape), 20.0), np.ones(1), np.zeros((1, 256, 256), np.float32)


def test_prompted_slices_meet_in_the_middle(grey_predictor: Any) -> None:
    volume, truth = slanted_tube()
    low, high = 4, 25
    prompts = [slice_box(truth, low), slice_box(truth, high)]
    found = Segmenter(predictor=grey_predictor, volume=volume, settings=WHOLE).segment("tube", prompts)
    assert dice(found.alpha > 0.5, truth > 0.5) > 0.95
    assert {found.sources[index] for index in range(low + 1, high)} == {"between"}
    assert found.sources[low] == found.sources[high] == "prompt"
    assert found.sources[low - 1] == "down" and found.sources[high + 1] == "up"


def test_three_axes_agree_on_the_truth() -> None:
    scene = volume_scene("organs", seed=2)
    truth = scene.alphas["large"]
    prompts = [slice_box(truth, sum(extent(truth)) // 2)]
    found = oracle_segmenter(scene, replace(WHOLE, consensus=True)).segment("large", prompts)
    assert dice(found.alpha > 0.5, truth > 0.5) > 0.98
    assert np.abs(found.alpha - truth).mean() < 0.01


def test_an_earlier_mask_is_refined_slice_by_slice() -> None:
    scene = volume_scene("organs", seed=0)
    truth = scene.alphas["large"]
    rough = np.roll(truth > 0.5, 2, axis=0)
    found = oracle_segmenter(scene, axes=(2,)).segment("large", previous=rough)
    assert dice(found.alpha > 0.5, truth > 0.5) > 0.97 > dice(rough, truth > 0.5)
    with pytest.raises(PromptError, match="above 0.5, got none"):
        oracle_segmenter(scene, axes=(2,)).segment("large", previous=np.zeros_like(rough))


def slanted_tube() -> tuple[Volume, np.ndarray]:
    x, y, z = np.mgrid[:40, :44, :30].astype(np.float32)
    truth = (np.hypot(x - 12 - z / 2, y - 20) < 6).astype(np.float32)
    voxels = (100 + 600 * truth + np.random.default_rng(0).normal(0, 5, truth.shape)).astype(np.float32)
    geometry = Geometry.of(truth.shape, np.eye(4))
    return Volume(voxels=voxels, geometry=geometry, template=template_for(geometry)), truth


@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -8, 20)])
def test_48_ways_to_store_a_volume_give_one_answer(
    grey_predictor: Any, degrees: tuple[float, float, float], affine_of: Any, stored_ways: Any
) -> None:
    plain, truth = slanted_tube()
    affine = affine_of((1.0, 1.3, 2.1), degrees)
    seed = np.array([22.0, 20.0, 20.0])
    corners = np.array([seed - (9, 9, 0), seed + (9, 9, 0)])
    answers = []
    for prompt_kind in ("point", "box"):
        for array, way in stored_ways(plain.voxels, affine):
            geometry = Geometry.of(array.shape, way)
            volume = Volume(voxels=geometry.to_canonical(array), geometry=geometry, template=template_for(geometry))
            if prompt_kind == "point":
                world = affine[:3, :3] @ seed + affine[:3, 3]
                prompts: list[Any] = [PointPrompt(at=tuple(world), coordinates="world")]
            else:
                stored = np.linalg.inv(way)[:3, :3] @ (affine[:3, :3] @ corners.T + affine[:3, 3:] - way[:3, 3:])
                prompts = [BoxPrompt(corner=tuple(stored[:, 0]), opposite=tuple(stored[:, 1]))]
            segmenter = Segmenter(predictor=grey_predictor, volume=volume, settings=Settings(stop_after=1))
            if len(answers) % 48 > 0 and len(answers) % 7:  # whole runs for one way in seven, inputs for all
                answers.append((volume.voxels, segmenter.view, geometry.canonical_affine, None))
                continue
            alpha = segmenter.segment("tube", prompts).alpha
            answers.append((volume.voxels, segmenter.view, geometry.canonical_affine, alpha))
    first = {True: answers[0], False: answers[48]}
    for place, (voxels, view, canonical, alpha) in enumerate(answers):
        expected = first[place < 48]
        assert np.array_equal(voxels, expected[0]) and np.allclose(canonical, expected[2], atol=1e-9)
        assert view.shape == expected[1].shape and view.axis == expected[1].axis
        if alpha is not None:
            assert np.abs(alpha - expected[3]).max() <= 1e-5 and (alpha > 0.5).sum() > 500
    assert dice(answers[48][3] > 0.5, truth > 0.5) > 0.9


def test_a_leak_is_no_part_of_the_object(grey_predictor: Any) -> None:
    """A thin rod that runs into a wall: the wall is another object."""
    x, y, z = np.mgrid[:40, :40, :30]
    rod = (np.hypot(x - 20, y - 20) < 4) & (z < 15)
    wall = (np.abs(x - 20) < 18) & (np.abs(y - 20) < 18) & (z >= 15)
    voxels = (100 + 500 * (rod | wall)).astype(np.float32)
    geometry = Geometry.of(voxels.shape, np.eye(4))
    volume = Volume(voxels=voxels, geometry=geometry, template=template_for(geometry))
    settings = replace(WHOLE, padding=2.0)
    found = Segmenter(predictor=grey_predictor, volume=volume, settings=settings).segment("rod", [slice_box(rod, 8)])
    assert found.ends == {"up": "growth", "down": "end"}
    assert extent(found.alpha) == (0, 14)


def test_other_values_are_another_object(grey_predictor: Any) -> None:
    """The object ends, and what the predictor answers behind it looks like the surroundings."""
    x, y, z = np.mgrid[:40, :40, :30]
    body = (np.hypot(x - 20, y - 20) < 8) & (z < 15)
    ghost = (np.hypot(x - 20, y - 20) < 8) & (z >= 15)
    voxels = (100 + 800 * body + 20 * ghost + np.random.default_rng(0).normal(0, 1, body.shape)).astype(np.float32)
    geometry = Geometry.of(voxels.shape, np.eye(4))
    volume = Volume(voxels=voxels, geometry=geometry, template=template_for(geometry))
    settings = replace(WHOLE, window="60,150")  # all above 105 is bright
    found = Segmenter(predictor=grey_predictor, volume=volume, settings=settings).segment("body", [slice_box(body, 8)])
    assert found.ends["up"] == "likeness" and extent(found.alpha)[1] == 14


@pytest.mark.parametrize(
    ("behind", "last"), [(500.0, 15), (1500.0, 15), (900.0, 29)], ids=["darker", "brighter", "same"]
)
def test_what_touches_the_end_is_left_after_a_slice_in_doubt(grey_predictor: Any, behind: float, last: int) -> None:
    """The last slice of an object is part surroundings, so one slice of other values is kept; a second one is not."""
    x, y, z = np.mgrid[:40, :40, :30]
    tube = np.hypot(x - 20, y - 20) < 8
    noise = np.random.default_rng(0).normal(0, 1, tube.shape)
    voxels = (100 + tube * np.where(z < 15, 800, behind - 100) + noise).astype(np.float32)
    found = _followed(grey_predictor, voxels, tube, start=8)
    assert extent(found.alpha) == (0, last)
    assert found.ends["up"] == ("end" if last == 29 else "likeness")


@pytest.mark.parametrize(("first", "last"), [(500.0, 15), (700.0, 29)], ids=["after doubt", "without doubt"])
def test_a_slice_in_doubt_makes_the_next_one_suspect(grey_predictor: Any, first: float, last: int) -> None:
    """Values three quarters of the way to the object's are the object, but not behind a slice in doubt."""
    x, y, z = np.mgrid[:40, :40, :30]
    tube = np.hypot(x - 20, y - 20) < 8
    noise = np.random.default_rng(0).normal(0, 1, tube.shape)
    tones = np.select([z < 15, z == 15], [900, first], 700)
    found = _followed(grey_predictor, (100 + tube * (tones - 100) + noise).astype(np.float32), tube, start=8)
    assert extent(found.alpha) == (0, last)


def test_values_may_change_slowly(grey_predictor: Any) -> None:
    """As under a bias field: the far end is as dark as what would be another object right away."""
    x, y, z = np.mgrid[:40, :40, :60]
    tube = np.hypot(x - 20, y - 20) < 8
    noise = np.random.default_rng(0).normal(0, 1, tube.shape)
    voxels = (100 + tube * (900 - 10.0 * z) + noise).astype(np.float32)
    assert extent(_followed(grey_predictor, voxels, tube, start=4).alpha) == (0, 59)


@pytest.mark.parametrize(("beyond", "last"), [(1.0, 39), (0.8, 20)])
def test_an_object_grows_again_only_as_itself(grey_predictor: Any, beyond: float, last: int) -> None:
    """An hourglass is followed through its neck; what is a little like the surroundings beyond it is another thing."""
    x, y, z = np.mgrid[:40, :40, :40]
    inside = np.hypot(x - 20, y - 20) < np.where(z < 20, 12 - 0.45 * z, 3 + 0.5 * (z - 20))
    noise = np.random.default_rng(0).normal(0, 1, inside.shape)
    voxels = (100 + inside * np.where(z <= 20, 800, 800 * beyond) + noise).astype(np.float32)
    found = _followed(grey_predictor, voxels, inside, start=2)
    assert extent(found.alpha) == (0, last)
    assert found.ends["up"] == ("end" if beyond == 1 else "likeness")


def _followed(predictor: Any, voxels: np.ndarray, truth: np.ndarray, *, start: int) -> SegmentedObject:
    geometry = Geometry.of(voxels.shape, np.eye(4))
    volume = Volume(voxels=voxels, geometry=geometry, template=template_for(geometry))
    settings = replace(WHOLE, window="60,150")  # all above 105 is bright
    return Segmenter(predictor=predictor, volume=volume, settings=settings).segment("tube", [slice_box(truth, start)])


def test_label_map_is_argmax_with_background() -> None:
    alphas = [np.array([0.6, 0.4, 0.2, 0.9, 0.5]), np.array([0.7, 0.3, 0.51, 0.1, 0.5])]
    ids = label_map([alpha.reshape(5, 1, 1).astype(np.float32) for alpha in alphas])
    background = 1 - np.maximum(*alphas)
    expected = [int(np.argmax([b, a, c])) for b, a, c in zip(background, *alphas, strict=True)]
    assert ids.ravel().tolist() == expected == [2, 0, 2, 1, 0] and ids.dtype == np.uint8
    many = label_map([np.zeros((1, 1, 1), np.float32)] * 299 + [np.ones((1, 1, 1), np.float32)])
    assert many.dtype == np.uint16 and many.item() == 300


def test_islands_and_holes() -> None:
    volume, truth = slanted_tube()
    alpha = truth.copy()
    alpha[2:4, 2:4, 2] = 0.8  # an island of 4 voxels with a soft rim
    alpha[4, 2:4, 2] = 0.3
    alpha[22, 20, 20] = 0.1  # a hole
    from adapters.medical_volume.cleaning import clean_alpha

    kept = clean_alpha(alpha, volume.geometry, Settings())
    assert np.array_equal(kept, alpha)
    cleaned = clean_alpha(alpha, volume.geometry, Settings(min_island=0.01, min_hole=0.01))
    assert np.array_equal(cleaned, truth)
    assert np.array_equal(clean_alpha(alpha, volume.geometry, Settings(largest_only=True, min_hole=0.01)), truth)
    only_large = clean_alpha(alpha, volume.geometry, Settings(min_island=0.003, min_hole=0.0005))
    assert np.array_equal(only_large, alpha)


@pytest.mark.parametrize(
    ("settings", "box3d", "spacing", "expected"),
    [
        (Settings(), True, (1.0, 1.0, 1.5), True),
        (Settings(), True, (1.0, 1.0, 5.0), False),
        (Settings(), False, (1.0, 1.0, 1.0), False),
        (Settings(box3d="every"), True, (1.0, 1.0, 1.0), False),
        (Settings(consensus=False), True, (1.0, 1.0, 1.0), False),
        (Settings(consensus=True), False, (1.0, 1.0, 5.0), True),
    ],
)
def test_three_axes_where_it_pays(
    settings: Settings, box3d: bool, spacing: tuple[float, ...], expected: bool
) -> None:
    assert settings.over_three_axes(box3d=box3d, spacing=spacing) is expected


def test_a_3d_box_is_followed_along_three_axes() -> None:
    """The same as asking for it; soft where the axes disagree."""
    scene = volume_scene("organs", seed=1)
    truth = scene.alphas["large"]
    low, high = np.argwhere(truth > 0.5).min(0), np.argwhere(truth > 0.5).max(0)
    box = BoxPrompt(corner=tuple(low), opposite=tuple(high))
    by_default, asked, one_axis = (
        oracle_segmenter(scene, replace(WHOLE, consensus=choice)).segment("large", [box]).alpha
        for choice in (None, True, False)
    )
    assert np.array_equal(by_default, asked)
    assert dice(by_default > 0.5, truth > 0.5) > 0.98
    assert not np.array_equal(by_default, one_axis)
