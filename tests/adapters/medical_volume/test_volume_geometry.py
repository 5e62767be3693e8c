"""Frames of volumes against hand-made affines, nibabel's own orientation code, and all 48 ways to store one volume."""

from typing import Any

import nibabel
import numpy as np
import pytest

from adapters.medical_volume.geometry import Geometry, axis_names, oblique_degrees
from zim.errors import DataError


@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -8, 20), (45, 0, 0), (40, 41, 43)])
def test_48_ways_are_one_volume(degrees: tuple[float, float, float], affine_of: Any, stored_ways: Any) -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    affine = affine_of((1.0, 2.0, 3.0), degrees)
    first = Geometry.of(array.shape, affine)
    canonical = first.to_canonical(array)
    spot = np.array([1.0, 3.0, 2.0])
    world = affine[:3, :3] @ spot + affine[:3, 3]
    ways = stored_ways(array, affine)
    assert len({(way.shape, way.tobytes()) for way, _ in ways}) == 48
    for way, way_affine in ways:
        geometry = Geometry.of(way.shape, way_affine)
        assert np.array_equal(geometry.to_canonical(way), canonical)
        assert np.array_equal(geometry.to_stored(geometry.to_canonical(way)), way)
        assert np.allclose(geometry.canonical_affine, first.canonical_affine, atol=1e-9)
        voxel = geometry.world_to_canonical(world)
        assert canonical[tuple(np.round(voxel).astype(int))] == array[1, 3, 2]
        back = geometry.canonical_to_stored(voxel)
        assert way[tuple(np.round(back).astype(int))] == array[1, 3, 2]
        assert np.allclose(geometry.stored_to_canonical(back), voxel, atol=1e-9)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, 20, -15), (5, -30, 8)])
def test_canonical_is_nibabels_closest_canonical(
    degrees: tuple[float, float, float], affine_of: Any, stored_ways: Any
) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6))
    for way, affine in stored_ways(array, affine_of((0.8, 0.8, 2.5), degrees))[::5]:
        closest = nibabel.as_closest_canonical(nibabel.Nifti1Image(way, affine))
        geometry = Geometry.of(way.shape, affine)
        assert np.array_equal(geometry.to_canonical(way), np.asarray(closest.dataobj))
        assert np.allclose(geometry.canonical_affine, closest.affine)
        assert axis_names(geometry) == "".join(nibabel.aff2axcodes(affine))


def test_figures_of_a_plain_grid(affine_of: Any) -> None:
    geometry = Geometry.of((10, 20, 30), np.diag([-2.0, 0.5, 3.0, 1.0]))
    assert geometry.spacing == (2.0, 0.5, 3.0) and geometry.voxel_ml == pytest.approx(0.003)
    assert axis_names(geometry) == "LAS" and oblique_degrees(geometry) == pytest.approx(0)
    assert geometry.stored_to_canonical([0, 0, 0]).tolist() == [9, 0, 0]
    assert oblique_degrees(Geometry.of((3, 3, 3), affine_of((1, 1, 1), (0, 0, 10)))) == pytest.approx(10)


def test_geometry_cannot_be_changed() -> None:
    geometry = Geometry.of((2, 3, 4), np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 2
    assert geometry == Geometry.of((2, 3, 4), np.eye(4)) and hash(geometry) == hash(Geometry.of((2, 3, 4), np.eye(4)))
    assert not geometry.same_grid(Geometry.of((2, 3, 4), np.diag([1.01, 1, 1, 1])))


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((2, 2, 2), np.diag([1.0, 0, 1, 1]), "can be inverted"),
        ((2, 2, 2), np.full((4, 4), np.nan), "finite 4 x 4 affine"),
        ((2, 0, 2), np.eye(4), "at least one voxel"),
        ((2, 2, 2), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "can be inverted"),
    ],
)
def test_impossible_grids(shape: tuple[int, int, int], affine: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Geometry.of(shape, affine)
