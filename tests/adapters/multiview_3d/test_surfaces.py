"""Depth, visibility, fusion and files against what is known of planes, spheres and boxes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from adapters.multiview_3d.camera import Camera, Lens, look_at
from adapters.multiview_3d.fusion import FusionConfig, fuse_rgbd, pinhole_frame
from adapters.multiview_3d.geometry_files import load_surface, save_surface
from adapters.multiview_3d.neighbours import carried, components, find_neighbours, smoothed
from adapters.multiview_3d.surface import Mesh, read_surface, surface_from_mesh, surface_from_points
from adapters.multiview_3d.view_maps import BEHIND_EDGE, edge_weights, sample, view_map
from adapters.multiview_3d.views import Scene, View
from zim.errors import DataError, ImageError, MissingDependencyError

pytest.importorskip("open3d", exc_type=ImportError)

UP = np.array([0.0, 0.0, 1.0])


def sphere(radius: float = 1.0, rings: int = 40) -> Mesh:
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    unit = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    row = 2 * rings + 1
    corners = [i * row + j for i in range(rings) for j in range(2 * rings)]
    faces = [f for a in corners for f in ((a, a + row, a + row + 1), (a, a + row + 1, a + 1))]
    return Mesh((radius * unit).astype(np.float32), np.array(faces, np.int32), np.full(unit.shape, 90, np.uint8))


def camera(side: int = 120, lens: Lens | None = None, position: tuple = (4.0, 0.0, 0.0)) -> Camera:
    pose = look_at(np.array(position), np.zeros(3), UP)
    return Camera(
        width=side, height=side, fx=side, fy=side, cx=side / 2, cy=side / 2, world_to_camera=pose, lens=lens or Lens()
    )


@pytest.mark.parametrize("lens", [Lens(), Lens(coefficients=(0.1, -0.05, 0.01, 0.005))])
def test_depth_of_a_sphere(lens: Lens) -> None:
    """z of the first hit of |o + t d| = 1, lens distortion included."""
    view = camera(lens=lens)
    depth = surface_from_mesh(sphere(rings=120), count=2000).depth(view)
    directions = view.directions(view.pixel_centres()) @ view.camera_to_world[:3, :3].T
    a, b = (directions**2).sum(1), directions @ view.centre
    inside = b * b - a * (view.centre @ view.centre - 1)
    exact = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, 0).reshape(depth.shape)
    sure = inside.reshape(depth.shape) > 0.05
    assert np.abs(depth - exact)[sure].max() < 2e-3
    assert not depth[inside.reshape(depth.shape) < -0.05].any()


def test_points_spread_evenly_and_only_the_near_half_is_seen() -> None:
    surface = surface_from_mesh(sphere(), count=20_000)
    assert np.abs(np.linalg.norm(surface.points, axis=1) - 1).max() < 0.01
    octants = np.bincount((surface.points > 0) @ [1, 2, 4], minlength=8)
    assert octants.min() > 0.9 * 2500 and octants.max() < 1.1 * 2500
    assert np.abs((surface.points * surface.normals).sum(1)).min() > 0.99
    seen = view_map(surface, camera())
    share = len(seen.points) / len(surface.points)
    assert share == pytest.approx((1 - 1 / 4) / 2, abs=0.03)  # a cap of height 1 - r / distance
    assert np.percentile(surface.points[seen.points, 0], 1) > 1 / 4 - 0.15
    shown = seen.pixels[60, 60]
    assert np.linalg.norm(surface.points[shown] - [1, 0, 0]) < 0.06
    assert ((seen.pixels >= 0) == (seen.depth > 0)).mean() > 0.995


def test_a_bare_cloud_hides_its_far_side_too() -> None:
    surface = surface_from_mesh(sphere(), count=20_000)
    cloud = surface_from_points(surface.points, surface.colours)
    assert cloud.spacing == pytest.approx(surface.spacing, rel=0.2)
    seen = view_map(cloud, camera())
    assert (surface.points[seen.points, 0] > 0.1).mean() > 0.99 and len(seen.points) > 4500


def test_votes_beside_a_depth_edge_weigh_less_behind_it_than_before_it() -> None:
    depth = np.full((80, 80), 3.0, np.float32)
    depth[:, :40] = 1.0
    weights = edge_weights(depth, 0.01)
    assert weights[40, 20] == weights[40, 60] == 1
    assert weights[40, 41] == np.float32(BEHIND_EDGE) < weights[40, 38] < 1
    ramp = np.linspace(1, 3, 80, dtype=np.float32)[None].repeat(80, 0)  # a slope is no edge
    assert (edge_weights(ramp, 0.01) > 0.4).all()


def test_sampling_is_bilinear_between_pixel_centres() -> None:
    rows, columns = np.mgrid[:20, :30].astype(np.float32)
    plane = 0.01 * (columns + 0.5) + 0.02 * (rows + 0.5)
    xy = np.random.default_rng(0).uniform(1, 18, (20_000, 2)).astype(np.float32)
    assert np.abs(sample(plane, xy) - xy @ [0.01, 0.02]).max() < 2e-3  # OpenCV counts in 1/32 pixels
    assert sample(plane, xy[:0]).shape == (0,)


def test_neighbours_smooth_and_part() -> None:
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(20), [0.0]), -1).reshape(-1, 3).astype(np.float32)
    both = np.concatenate([grid, grid + [100, 0, 0]]).astype(np.float32)
    parts = components(both, 1.5)
    assert len(set(parts[:400])) == len(set(parts[400:])) == 1 and parts[0] != parts[-1]
    near = find_neighbours(both, np.zeros_like(both), 1.0)
    values = np.repeat(np.array([1.0, 0.0], np.float32), 400)
    trust = np.ones(800, np.float32)
    values[210], trust[210] = 0, 0  # nobody saw it: its neighbours know
    assert np.allclose(smoothed(values, trust, near, 0.5), np.repeat([1, 0], 400), atol=1e-6)
    x = both[:, 0] / 10
    assert np.abs(carried(x, both, both[:50] + np.float32(0.2)) - x[:50]).max() < 0.1


def rgbd_scene(rendered: Callable) -> Scene:
    return rendered("solid").scene


def test_fused_frames_lie_on_the_true_surface(rendered: Callable) -> None:
    scene = rgbd_scene(rendered)
    surface, skipped = fuse_rgbd(scene, FusionConfig(voxel=0.02))
    assert not skipped and len(surface.points) > 5000
    import open3d

    distance = rendered("solid").surface.caster().compute_distance(open3d.core.Tensor(surface.points)).numpy()
    assert np.percentile(distance, 90) < 0.01
    error = np.abs(surface.depth(scene.views[1].camera) - scene.views[1].read_depth())
    assert np.median(error) < 0.01
    body = np.linalg.norm(surface.points - [0, 0, 0.36], axis=1) < 0.32
    truth = rendered("solid").surface
    assert np.abs(surface.colours[body].mean(0) - truth.colours[rendered("solid").labels == 1].mean(0)).max() < 45


def test_a_lens_is_taken_out_before_fusion(rendered: Callable) -> None:
    """What the distorted camera shows at a place, the straight one shows where the lens bends it from."""
    scene = rgbd_scene(rendered)
    bent = replace(scene.views[0].camera, lens=Lens(coefficients=(0.15, 0.0, 0.0, 0.0)))
    surface = rendered("solid").surface
    view = View(name="bent", camera=bent, image=scene.views[0].read_image(), depth=surface.depth(bent))
    straight = surface.depth(scene.views[0].camera)
    depth, _ = pinhole_frame(view)
    both = (depth > 0) & (straight > 0)
    assert both.mean() > 0.7 and np.median(np.abs(depth - straight)[both]) < 0.005


def test_frames_that_cannot_be_fused_are_reported(rendered: Callable, tmp_path: Path) -> None:
    views = list(rgbd_scene(rendered).views)
    views[1] = replace(views[1], depth=np.zeros(views[1].hw, np.float32))
    views[2] = replace(views[2], depth=np.ones((30, 80), np.float32))
    cv2.imwrite(str(tmp_path / "d.png"), (views[3].read_depth() * 500).astype(np.uint16))
    views[3] = replace(views[3], depth=tmp_path / "d.png", depth_scale=500.0)
    views[4] = replace(views[4], depth=tmp_path / "missing.png")
    surface, skipped = fuse_rgbd(Scene(views=tuple(views)), FusionConfig(voxel=0.03))
    assert [each.name for each in skipped] == ["0001", "0002", "0004"]
    assert ["zero" in skipped[0].reason, "80 x 30" in skipped[1].reason, "existing" in skipped[2].reason] == [True] * 3
    assert len(surface.points) > 1000
    with pytest.raises(DataError, match="no frame"):
        fuse_rgbd(Scene(views=tuple(replace(view, depth=None) for view in views)))


def test_wrong_sizes_are_named(rendered: Callable) -> None:
    view = rgbd_scene(rendered).views[0]
    with pytest.raises(ImageError, match="expected a picture of 160 x 160, got 20 x 10"):
        replace(view, image=np.zeros((10, 20, 3), np.uint8)).read_image()


def test_surfaces_from_files(tmp_path: Path) -> None:
    import open3d

    mesh = sphere()
    made = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(mesh.vertices.astype(float)), open3d.utility.Vector3iVector(mesh.triangles)
    )
    open3d.io.write_triangle_mesh(str(tmp_path / "mesh.ply"), made)
    open3d.io.write_point_cloud(
        str(tmp_path / "points.ply"),
        open3d.geometry.PointCloud(open3d.utility.Vector3dVector(mesh.vertices.astype(float))),
    )
    from_mesh, from_points = (read_surface(tmp_path / name, count=5000) for name in ("mesh.ply", "points.ply"))
    assert from_mesh.mesh is not None and from_points.mesh is None
    for surface in (from_mesh, from_points):
        assert np.abs(np.linalg.norm(surface.points, axis=1) - 1).max() < 0.01
    save_surface(tmp_path / "kept.npz", from_mesh)
    again = load_surface(tmp_path / "kept.npz")
    assert np.array_equal(again.points, from_mesh.points) and again.mesh is not None
    (tmp_path / "kept.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"kept.npz: expected a surface"):
        load_surface(tmp_path / "kept.npz")
    with pytest.raises(DataError, match="expected an existing file"):
        read_surface(tmp_path / "nothing.ply")


def test_without_open3d_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'zim-matting\[multiview\]'"):
        surface_from_mesh(sphere(), count=1000).depth(camera())
