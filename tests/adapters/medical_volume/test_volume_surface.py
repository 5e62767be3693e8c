"""Surfaces of soft objects against spheres and blocks whose area and volume are known."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.medical_volume.cropped import CroppedVolume
from adapters.medical_volume.geometry import Geometry
from adapters.medical_volume.surface_mesh import SurfaceMesh, surface_of, write_glb
from zim.errors import DataError

pytest.importorskip("skimage")
RADIUS = 11.0
MIDDLE = np.array([14.3, 15.1, 15.6])


def sphere(geometry: Geometry, centre: np.ndarray, radius: float) -> np.ndarray:
    """Shares of voxels inside a ball in the world, from 5 x 5 x 5 places in each."""
    steps = (np.arange(5) - 2) / 5
    total = np.zeros(geometry.canonical_shape)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.canonical_shape), indexing="ij"), -1)
    for offset in np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3):
        world = geometry.canonical_to_world(grid + offset)
        total += np.linalg.norm(world - centre, axis=-1) <= radius
    return (total / 125).astype(np.float32)


@pytest.fixture
def slanted(affine_of: Any) -> Geometry:
    return Geometry.of((34, 36, 22), affine_of((0.9, 0.8, 1.5), (4, -7, 12)))


@pytest.mark.parametrize(("most", "tolerance"), [(2_000_000, 0.015), (2_000, 0.1)])
def test_a_ball_has_its_area_volume_and_place(slanted: Geometry, most: int, tolerance: float) -> None:
    centre = slanted.canonical_to_world(MIDDLE * (1, 1, 0.7))
    mesh = surface_of(sphere(slanted, centre, RADIUS), slanted, most_voxels=most)
    assert mesh.volume_mm3 == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=tolerance)
    assert mesh.area_mm2 == pytest.approx(4 * np.pi * RADIUS**2, rel=2 * tolerance)
    assert np.abs(mesh.vertices.mean(0) - centre).max() < 0.3
    distances = np.linalg.norm(mesh.vertices - centre, axis=1)
    assert np.abs(distances - RADIUS).max() < (0.35 if most > 2_000 else 2.0)
    outwards = (mesh.vertices - centre) / distances[:, None]
    assert (mesh.normals() * outwards).sum(1).mean() > (0.98 if most > 2_000 else 0.9)


def test_the_surface_is_closed_also_at_the_volumes_edge(slanted: Geometry) -> None:
    alpha = np.zeros(slanted.canonical_shape, np.float32)
    alpha[:10, :7, -4:] = 1
    mesh = surface_of(alpha, slanted)
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    assert mesh.volume_mm3 == pytest.approx(10 * 7 * 4 * slanted.voxel_ml * 1000, rel=0.05)


def test_every_way_to_store_a_volume_has_the_same_surface(affine_of: Any, stored_ways: Any) -> None:
    affine = affine_of((1.0, 1.2, 2.0))
    array = np.zeros((8, 9, 7), np.float32)
    array[2:5, 3:8, 1:6] = np.random.default_rng(0).uniform(0, 1, (3, 5, 5))
    volumes = []
    for stored, turned in stored_ways(array, affine)[::7]:
        geometry = Geometry.of(stored.shape, turned)
        mesh = surface_of(geometry.to_canonical(stored), geometry)
        volumes.append((mesh.volume_mm3, mesh.area_mm2, *mesh.vertices.mean(0)))
    assert np.ptp(np.array(volumes), axis=0).max() < 1e-6


def test_a_glb_file_holds_the_surface_upright(tmp_path: Path, slanted: Geometry) -> None:
    centre = slanted.canonical_to_world(MIDDLE * (1, 1, 0.7))
    mesh = surface_of(sphere(slanted, centre, RADIUS), slanted)
    other = SurfaceMesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    write_glb(tmp_path / "two.glb", {"ball": mesh, "triangle": other})
    data = (tmp_path / "two.glb").read_bytes()
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    size = struct.unpack_from("<I", data, 12)[0]
    document, rest = json.loads(data[20 : 20 + size]), data[20 + size + 8 :]
    assert [one["name"] for one in document["nodes"]] == ["ball", "triangle"]
    view = document["bufferViews"][0]
    vertices = np.frombuffer(rest, "<f4", len(mesh.vertices) * 3, view["byteOffset"]).reshape(-1, 3)
    assert np.abs(vertices - mesh.vertices).max() < 1e-4
    matrix = np.reshape(document["nodes"][0]["matrix"], (4, 4)).T  # column by column
    assert np.allclose(matrix @ [0, 0, 1000, 1], [0, 1, 0, 1])  # up stays up, in metres
    assert np.allclose(matrix @ [0, 1000, 0, 1], [0, 0, -1, 1])  # the front looks away
    assert np.linalg.det(matrix[:3, :3]) > 0
    trimesh = pytest.importorskip("trimesh")
    seen = trimesh.load(tmp_path / "two.glb").geometry["ball"]
    assert abs(seen.volume) == pytest.approx(mesh.volume_mm3, rel=1e-4)


def test_nothing_has_no_surface(slanted: Geometry) -> None:
    with pytest.raises(DataError, match="expected a voxel with alpha above 0.5, got none"):
        surface_of(np.full(slanted.canonical_shape, 0.4, np.float32), slanted)
    with pytest.raises(DataError, match="expected at least one"):
        write_glb("nowhere.glb", {})


def test_a_cropped_volume_is_the_whole_again() -> None:
    array = np.zeros((7, 8, 9), np.float32)
    array[2:4, 1, 5:] = np.random.default_rng(0).uniform(0.1, 1, (2, 4))
    crop = CroppedVolume.of(array)
    assert crop.values.shape == (2, 1, 4)
    assert np.array_equal(crop.full(), array)
    assert not CroppedVolume.of(np.zeros((3, 4, 5))).full().any()
