"""Measures against spheres and boxes that can be worked out by hand, and against every pair of surface voxels."""

import numpy as np
import pytest

from adapters.medical_volume.metrics import (
    METRIC_NAMES,
    dice,
    score_volume,
    slices_beyond,
    surface_dice,
    surface_distances,
)
from adapters.medical_volume.protocols import PROTOCOLS, largest_pieces, protocol_prompts
from zim.errors import ConfigError, DataError


def sphere(radius: float, spacing: tuple[float, float, float], side_mm: float = 32) -> np.ndarray:
    axes = [(np.arange(round(side_mm / step)) + 0.5) * step - side_mm / 2 for step in spacing]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(x**2 + y**2 + z**2) <= radius


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (1.0, 0.5, 2.0)])
def test_spheres_within_each_other(spacing: tuple[float, float, float]) -> None:
    inner, outer = sphere(9, spacing), sphere(12, spacing)
    found = score_volume(inner, outer, spacing)
    assert found["dice"] == pytest.approx(2 * 9**3 / (9**3 + 12**3), abs=0.015)
    assert found["volume_error"] == pytest.approx(1 - (9 / 12) ** 3, abs=0.015)
    assert found["hd95"] == pytest.approx(3, abs=max(spacing) / 2)
    assert found["nsd_1mm"] < 0.02 and found["nsd_2mm"] < 0.2
    near = surface_distances(inner, outer, spacing)
    assert surface_dice(near, 3 + max(spacing)) == 1
    assert found["mae"] == pytest.approx(1 - (9 / 12) ** 3, abs=0.015)  # every voxel between them is wrong by 1


def test_a_box_that_moved() -> None:
    """A box of 20 voxels a side, moved by 3 along x; what is near is counted on paper."""
    one, other = np.zeros((40, 30, 30), bool), np.zeros((40, 30, 30), bool)
    one[5:25, 5:25, 5:25] = True
    other[8:28, 5:25, 5:25] = True
    surface, ring = 20 * 76 + 2 * 18**2, 18**2 - 16**2
    found = score_volume(one, other, (1.0, 1.0, 1.0))
    assert found["dice"] == pytest.approx(17 / 20)
    assert found["nsd_1mm"] == pytest.approx((18 * 76 + ring) / surface)
    assert found["hd95"] == pytest.approx(3)
    wide = score_volume(one, other, (0.3, 1.0, 1.0))
    assert wide["nsd_1mm"] == 1 and wide["hd95"] == pytest.approx(0.9)


def test_every_pair_of_surface_voxels() -> None:
    rng = np.random.default_rng(0)
    spacing = (0.7, 1.1, 2.3)
    one, other = (rng.random((9, 10, 8)) > 0.6 for _ in range(2))

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inside = np.ones_like(mask)
        for axis in range(3):
            for step in (-1, 1):
                inside &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
        return np.argwhere(mask & ~inside) * spacing

    first, second = surface(one), surface(other)
    pairs = np.linalg.norm(first[:, None] - second[None], axis=2)
    near = surface_distances(one, other, spacing)
    assert np.allclose(np.sort(near[0]), np.sort(pairs.min(1))) and np.allclose(np.sort(near[1]), np.sort(pairs.min(0)))
    expected = (np.sum(pairs.min(1) <= 1) + np.sum(pairs.min(0) <= 1)) / (len(first) + len(second))
    found = score_volume(one, other, spacing)
    assert found["nsd_1mm"] == pytest.approx(expected)
    assert found["hd95"] == pytest.approx(max(np.percentile(pairs.min(a), 95) for a in (0, 1)))
    assert set(found) == set(METRIC_NAMES)


def test_soft_volume_and_ends() -> None:
    truth = np.zeros((4, 4, 4), np.float32)
    truth[1:3, 1:3, 1:3] = 1
    soft = truth * 0.75
    found = score_volume(soft, truth, (1.0, 1.0, 1.0))
    assert found["volume_error"] == pytest.approx(0.25) and found["dice"] == 1 and found["mae"] == pytest.approx(0.25)
    nothing = score_volume(truth * 0, truth, (1.0, 1.0, 2.0))
    assert nothing["dice"] == nothing["nsd_2mm"] == 0 and nothing["volume_error"] == 1
    assert nothing["hd95"] == pytest.approx(np.sqrt(16 + 16 + 64))
    assert dice(truth > 2, truth > 2) == 1
    for alpha, wanted, message in (
        (truth[:3], truth, "truth's shape"),
        (truth * 2, truth, "values in"),
        (truth, truth * 0.4, "above 0.5, got none"),
    ):
        with pytest.raises(DataError, match=message):
            score_volume(alpha, wanted, (1.0, 1.0, 1.0))


def pieces() -> np.ndarray:
    solid = np.zeros((40, 60), bool)
    solid[5:15, 5:25] = True  # 200
    solid[20:30, 40:55] = True  # 150
    solid[35:38, 2:12] = True  # 30
    solid[1, 50] = True
    return solid


def test_prompts_of_the_protocols() -> None:
    solid = pieces()
    asked = {protocol: protocol_prompts(solid, protocol) for protocol in PROTOCOLS}
    assert [p.box.tolist() for p in asked["box"]] == [[5, 5, 25, 15]]
    assert [p.box.tolist() for p in asked["boxes"]] == [[5, 5, 25, 15], [40, 20, 55, 30], [2, 35, 12, 38]]
    assert [p.box.tolist() for p in asked["box_all"]] == [[2, 1, 55, 38]]
    grow = 20 / 1024 * 60
    assert np.allclose(asked["medsam_box"][0].box, [2 - grow, 0, 55 + grow, 38 + grow])
    (point,), (points,) = asked["point"], asked["points"]
    assert len(point.points) == 1 and len(points.points) == 3 and points.labels.tolist() == [1, 1, 1]
    assert np.array_equal(point.points[0], points.points[0]) and point.box is None
    for (x, y), piece in zip(points.points, largest_pieces(solid, 3), strict=True):
        assert piece[int(y), int(x)] and (x % 1, y % 1) == (0.5, 0.5)
    assert 9 <= point.points[0][1] <= 11  # 10 rows high: the deepest voxels are the two middle rows
    with pytest.raises(ConfigError, match="protocol: expected one of medsam_box"):
        protocol_prompts(solid, "scribble")


def test_boxes_reach_around_what_is_there() -> None:
    """Voxels that are partly full belong into the box of an object; labels have none; MedSAM's box is a label's."""
    truth = np.zeros((20, 30), np.float32)
    truth[5:9, 10:14] = 1
    truth[4, 10:14], truth[5:9, 14], truth[5:9, 9], truth[5:9, 15] = 0.4, 0.35, 0.2, 0.4
    assert [prompt.box.tolist() for prompt in protocol_prompts(truth, "box")] == [[10, 4, 15, 9]]
    assert protocol_prompts(truth > 0.5, "box")[0].box.tolist() == [10, 5, 14, 9]
    assert protocol_prompts(truth, "box_all")[0].box.tolist() == [10, 4, 15, 9]
    shift = 30 * 20 / 1024
    assert protocol_prompts(truth, "medsam_box")[0].box == pytest.approx([10 - shift, 5 - shift, 14 + shift, 9 + shift])


def test_slices_beyond_the_ends_of_an_object() -> None:
    truth = np.zeros((6, 6, 20), np.float32)
    truth[2:4, 2:4, 5:10] = 1
    answer = np.zeros_like(truth)
    assert slices_beyond(answer, truth, 2) == 0
    answer[2:4, 2:4, 6:8] = 1
    assert slices_beyond(answer, truth, 2) == 0
    answer[3, 3, 3:13] = 0.6
    assert slices_beyond(answer, truth, 2) == 3
    answer[3, 3, 1] = 0.51
    answer[3, 3, 19] = 0.5  # no part of the answer
    assert slices_beyond(answer, truth, 2) == 4
    assert slices_beyond(answer, truth, 0) == 0
