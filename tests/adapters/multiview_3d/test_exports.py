"""What is written opens elsewhere, with the alphas in it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.multiview_3d.exports import cropped_mesh, write_results
from adapters.multiview_3d.point_field import PointField
from adapters.multiview_3d.propagation import Propagation, segment_scene
from adapters.multiview_3d.scene_files import open_scene
from adapters.multiview_3d.turntable import turntable
from zim.errors import DataError
from zim.image_io import read_alpha, save_png
from zim.prompts import Prompt, box_from_alpha

pytest.importorskip("open3d", exc_type=ImportError)
trimesh = pytest.importorskip("trimesh")


@pytest.fixture(scope="module")
def finished(rendered: Callable, oracle: Callable) -> tuple:
    scene = rendered("solid")
    field = PointField(scene.surface, [view.camera for view in scene.scene.views])
    result = segment_scene(scene.scene, field, oracle(scene), [Prompt(box=box_from_alpha(scene.alphas[0, 0]))])
    return scene, field, result


@pytest.fixture(scope="module")
def folder(finished: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene, field, result = finished
    place = tmp_path_factory.mktemp("out")
    write_results(result, scene.surface, field.alpha, place, turntable_frames=4)
    return place


def test_points_open_in_open3d_and_trimesh(folder: Path, finished: tuple) -> None:
    import open3d

    _, field, _ = finished
    alpha = field.alpha[0][field.alpha[0] > 0.5]
    cloud = open3d.t.io.read_point_cloud(str(folder / "points.ply"))
    assert np.allclose(cloud.point["alpha"].numpy().ravel(), alpha)
    assert cloud.point["colors"].shape[0] == cloud.point["normals"].shape[0] == len(alpha)
    loaded = trimesh.load(folder / "points.ply")
    assert len(loaded.vertices) == len(alpha)
    raw = loaded.metadata["_ply_raw"]["vertex"]["data"]
    assert np.allclose(np.ravel(raw["alpha"]), alpha)


def test_meshes_open_in_open3d_and_trimesh(folder: Path) -> None:
    import open3d

    from_ply = open3d.t.io.read_triangle_mesh(str(folder / "mesh.ply"))
    assert len(from_ply.triangle.indices) > 500 and "colors" in from_ply.vertex
    vertices = open3d.t.io.read_point_cloud(str(folder / "mesh.ply"))  # open3d keeps extra values of points only
    alpha = vertices.point["alpha"].numpy().ravel()
    assert alpha.mean() > 0.9 and 0 <= alpha.min() and alpha.max() <= 1
    raw = trimesh.load(folder / "mesh.ply", process=False)
    assert np.allclose(np.ravel(raw.metadata["_ply_raw"]["vertex"]["data"]["alpha"]), alpha)
    scene = trimesh.load(folder / "mesh.glb", process=False)
    (shape,) = scene.geometry.values()
    assert np.allclose(np.ravel(shape.vertex_attributes["_ALPHA"]), alpha)
    rgba = np.asarray(shape.visual.vertex_attributes.get("color", getattr(shape.visual, "vertex_colors", None)))
    assert np.abs(rgba[:, 3] / 255 - alpha).max() < 0.01
    from_glb = open3d.io.read_triangle_mesh(str(folder / "mesh.glb"))
    assert len(from_glb.triangles) == len(from_ply.triangle.indices) and from_glb.has_vertex_colors()
    assert np.allclose(from_glb.get_max_bound(), from_ply.get_max_bound().numpy(), atol=1e-6)


def test_the_mesh_is_the_object(finished: tuple) -> None:
    """The crop of exact triangles has the object's area, and nothing of the room's."""
    scene, field, _ = finished
    mesh, alpha = cropped_mesh(scene.surface, field.alpha[0])
    assert np.abs(mesh.vertices - [0, 0, 0.36]).max() < 0.45 and len(alpha) == len(mesh.vertices)
    corners = mesh.vertices[mesh.triangles].astype(float)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    points = (field.alpha[0] > 0.5).sum() * scene.surface.spacing**2
    assert area == pytest.approx(points, rel=0.1)


def test_masks_are_where_nerfstudio_looks(folder: Path, finished: tuple) -> None:
    scene, _, result = finished
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    assert [frame["mask_path"] for frame in frames] == [f"masks/{name}.png" for name in scene.scene.names]
    for index, frame in enumerate(frames):
        written = read_alpha(folder / frame["mask_path"])
        assert np.abs(written - result.in_view(index).alpha).max() < 0.003
        save_png(folder / frame["file_path"], scene.scene.views[index].read_image())
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3))
    for before, after in zip(scene.scene.views, open_scene(folder / "transforms.json").views, strict=True):
        assert np.abs(before.camera.project(points)[0] - after.camera.project(points)[0]).max() < 1e-6


def test_the_report_says_what_happened(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    (described,) = report["objects"]
    statuses = [row["status"] for row in described["views"]]
    assert statuses[0] == "prompted" and set(statuses[1:]) == {"accepted"}
    assert described["points"] > 500 and report["skipped"] == [] and report["passes"] >= 2
    low, high = np.array(described["bounds"])
    assert np.allclose(low[:2], [-0.3, -0.22], atol=0.03) and np.allclose(high[:2], [0.3, 0.22], atol=0.03)


def test_the_turntable_shows_the_object_from_all_sides(folder: Path, finished: tuple) -> None:
    scene, field, _ = finished
    with Image.open(folder / "turntable.gif") as picture:
        assert picture.n_frames == 4 and picture.size == (256, 256)
    frames = turntable(scene.surface, field.alpha[0], np.array([0, 0, 1.0]), frames=4)
    for frame in frames:
        drawn = (np.abs(frame.astype(int) - 245).max(2) > 20).mean()
        assert 0.1 < drawn < 0.6
    widths = [(np.abs(frame.astype(int) - 245).max(2) > 20).any(0).sum() for frame in frames]
    assert widths[0] / widths[1] == pytest.approx(0.22 / 0.3, abs=0.12) or widths[1] / widths[0] == pytest.approx(
        0.22 / 0.3, abs=0.12
    )
    with pytest.raises(DataError, match="no points"):
        turntable(scene.surface, np.zeros_like(field.alpha[0]), np.array([0, 0, 1.0]))


def test_several_objects_have_a_folder_each(rendered: Callable, oracle: Callable, tmp_path: Path) -> None:
    import open3d

    scene = rendered("pair")
    field = PointField(scene.surface, [view.camera for view in scene.scene.views], 2)
    prompts = [Prompt(box=box_from_alpha(alphas[2])) for alphas in scene.alphas]
    result: Propagation = segment_scene(scene.scene, field, oracle(scene), prompts, view=2)
    write_results(result, scene.surface, field.alpha, tmp_path, turntable_frames=0)
    cloud = open3d.t.io.read_point_cloud(str(tmp_path / "labels.ply"))
    labels = cloud.point["label"].numpy().ravel()
    assert (labels == scene.labels).mean() > 0.99 and set(np.unique(labels)) == {0, 1, 2}
    for number in (1, 2):
        assert len(list((tmp_path / f"object_{number}" / "masks").glob("*.png"))) == 6
