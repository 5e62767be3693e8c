"""One scene written in every camera format projects the same points to the same places."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapters.multiview_3d import colmap, llff, scannet, trajectory, transforms_json
from adapters.multiview_3d.camera import Camera, Lens, look_at
from adapters.multiview_3d.scene_files import open_scene
from adapters.multiview_3d.views import View
from zim.errors import DataError
from zim.image_io import save_png

PIXELS = 1e-6
CLOUD = np.random.default_rng(0).uniform(-0.8, 0.8, (200, 3))


def ring_of_views(count: int = 5) -> list[View]:
    """Cameras about the origin, rolled and tilted, so that no axis is special."""
    rng = np.random.default_rng(3)
    views = []
    for i in range(count):
        angle = 2 * np.pi * i / count
        position = np.array([3 * np.cos(angle), 3 * np.sin(angle), rng.uniform(-1, 2)])
        pose = look_at(position, rng.uniform(-0.2, 0.2, 3), rng.normal(size=3))
        camera = Camera(width=64, height=48, fx=61.25, fy=61.25, cx=32, cy=24, world_to_camera=pose)
        views.append(View(name=f"{i:04d}", camera=camera, image=Path(f"{i:04d}.png")))
    return views


def write_pictures(views: list[View], folder: Path) -> list[View]:
    placed = [replace(view, image=folder / f"{view.name}.png") for view in views]
    for view in placed:
        save_png(view.image, np.zeros((*view.hw, 3), np.uint8))  # type: ignore[arg-type]
    return placed


WRITERS: dict[str, Callable[[list[View], Path], object]] = {
    "colmap text": lambda views, root: colmap.write_colmap(write_pictures(views, root / "images"), root / "sparse/0"),
    "colmap binary": lambda views, root: colmap.write_colmap(
        write_pictures(views, root / "images"), root / "sparse/0", binary=True
    ),
    "transforms": lambda views, root: transforms_json.write_transforms(
        write_pictures(views, root / "images"), root / "transforms.json"
    ),
    "llff": lambda views, root: llff.write_llff(write_pictures(views, root / "images"), root / "poses_bounds.npy"),
    "scannet": lambda views, root: scannet.write_scannet(write_pictures(views, root / "color"), root),
    "trajectory log": lambda views, root: trajectory.write_trajectory(
        write_pictures(views, root / "image"), root / "trajectory.log"
    ),
    "trajectory json": lambda views, root: trajectory.write_trajectory(
        write_pictures(views, root / "image"), root / "trajectory.json"
    ),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_format_gives_the_same_projections(layout: str, tmp_path: Path) -> None:
    views = ring_of_views()
    WRITERS[layout](views, tmp_path)
    scene = open_scene(tmp_path)
    assert scene.layout == layout.split()[0] and list(scene.names) == [view.name for view in views]
    for before, after in zip(views, scene.views, strict=True):
        assert np.abs(before.camera.project(CLOUD)[0] - after.camera.project(CLOUD)[0]).max() <= PIXELS
        assert np.abs(before.camera.project(CLOUD)[1] - after.camera.project(CLOUD)[1]).max() <= 1e-9


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    "lens",
    [
        Lens(coefficients=(-0.12, 0.03, 0.001, -0.002)),
        Lens(coefficients=(-0.12, 0.03, 0.001, -0.002, 0.01, 0.02, -0.01, 0.004)),
        Lens(model="fisheye", coefficients=(0.03, -0.01, 0.002, 0.0005)),
    ],
)
def test_distortion_and_intrinsics_of_each_frame_survive(lens: Lens, binary: bool, tmp_path: Path) -> None:
    views = [
        replace(
            view,
            camera=replace(view.camera, fx=60.0 + i, fy=63.5 - i, cx=30.1 + i, cy=25.3, lens=lens),
        )
        for i, view in enumerate(ring_of_views())
    ]
    colmap.write_colmap(write_pictures(views, tmp_path / "a/images"), tmp_path / "a/sparse/0", binary=binary)
    transforms_json.write_transforms(write_pictures(views, tmp_path / "b/images"), tmp_path / "b/transforms.json")
    for folder in "ab":
        for before, after in zip(views, open_scene(tmp_path / folder).views, strict=True):
            assert np.abs(before.camera.project(CLOUD)[0] - after.camera.project(CLOUD)[0]).max() <= PIXELS


@pytest.mark.parametrize("model", ["opencv", "fisheye"])
def test_distortion_is_that_of_opencv(model: str) -> None:
    import cv2

    k = (-0.2, 0.05, 0.003, -0.002, 0.01) if model == "opencv" else (0.05, -0.02, 0.004, -0.001)
    camera = replace(ring_of_views()[0].camera, fy=58.0, cx=30.0, lens=Lens(model=model, coefficients=k))  # type: ignore[arg-type]
    rotation, _ = cv2.Rodrigues(camera.world_to_camera[:3, :3])
    given = (CLOUD[:, None], rotation, camera.world_to_camera[:3, 3:].copy(), camera.matrix, np.array(k))
    if model == "fisheye":
        expected = cv2.fisheye.projectPoints(given[0], given[1], given[2], given[3], given[4])[0]
    else:
        expected = cv2.projectPoints(*given)[0]
    xy, depth = camera.project(CLOUD)
    assert np.abs(xy - expected[:, 0]).max() < 1e-8
    assert np.abs(camera.unproject(xy, depth) - CLOUD).max() < 1e-9


def test_opengl_axes_by_hand() -> None:
    """A camera of OpenGL at the origin looks along -z: a point there is in front, one with y = 1 above the centre."""
    pose = np.eye(4).tolist()
    from adapters.multiview_3d.camera import from_opengl

    camera = Camera(width=100, height=100, fx=50, fy=50, cx=50, cy=50, world_to_camera=from_opengl(np.array(pose)))
    xy, depth = camera.project(np.array([[0.0, 0.0, -2.0], [0.0, 1.0, -2.0], [1.0, 0.0, -2.0], [0, 0, 2.0]]))
    assert np.allclose(xy[:3], [[50, 50], [50, 25], [75, 50]]) and np.allclose(depth, [2, 2, 2, -2])
    assert np.isnan(xy[3]).all()


def test_nerf_field_of_view(tmp_path: Path) -> None:
    """camera_angle_x is the whole horizontal angle: its rim meets the image's border."""
    save_png(tmp_path / "train/r_0.png", np.zeros((80, 80, 4), np.uint8))
    save_png(tmp_path / "train/r_1.png", np.zeros((80, 80, 4), np.uint8))
    frame = '{"file_path": "./train/r_%d", "transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}'
    text = f'{{"camera_angle_x": 1.0, "frames": [{frame % 0}, {frame % 1}, {frame % 7}]}}'
    (tmp_path / "transforms_train.json").write_text(text)
    scene = open_scene(tmp_path)
    xy, _ = scene.views[0].camera.project(np.array([[np.tan(0.5), 0.0, -1.0]]))
    assert np.allclose(xy, [[80, 40]])
    assert [each.name for each in scene.skipped] == ["r_7"] and "no picture" in scene.skipped[0].reason
    assert scene.views[0].read_image().min() == 255  # transparent lies on white


def test_scaled_pictures_scale_the_camera(tmp_path: Path) -> None:
    views = ring_of_views(3)
    colmap.write_colmap(views, tmp_path / "sparse")
    for view, size in zip(views, ((24, 32), (24, 32), (32, 32)), strict=True):
        save_png(tmp_path / "images" / f"{view.name}.png", np.zeros(size, np.uint8))
    scene = open_scene(tmp_path)
    half, _ = scene.views[0].camera.project(CLOUD)
    assert np.allclose(half * 2, views[0].camera.project(CLOUD)[0])
    assert [(each.name, "inconsistent sizes" in each.reason) for each in scene.skipped] == [("0002", True)]


def test_poses_that_are_not_rigid_are_left_out(tmp_path: Path) -> None:
    views = write_pictures(ring_of_views(4), tmp_path / "color")
    scannet.write_scannet(views, tmp_path)
    (tmp_path / "pose/0001.txt").write_text(" ".join(["-inf"] * 16))
    (tmp_path / "pose/0002.txt").write_text("2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1")
    scene = open_scene(tmp_path)
    assert [each.name for each in scene.skipped] == ["0001", "0002"]
    assert "finite" in scene.skipped[0].reason and "rigid" in scene.skipped[1].reason
    (tmp_path / "pose/0003.txt").unlink()
    with pytest.raises(DataError, match="at least two usable views, got 1; 0001"):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("sparse/cameras.txt", "1 PINHOLE 64 48 60 60 32\n", "expected a model of"),
        ("sparse/cameras.txt", "1 STRANGE 64 48 60 60 32 24\n", "expected a model of"),
        ("sparse/images.txt", "1 1 0 0 0 0 0\n\n", "expected IMAGE_ID"),
        ("transforms.json", "{", "expected JSON"),
        ("transforms.json", '{"frames": []}', "at least one frame"),
        ("trajectory.log", "0 0 1\n1 0 0\n", "3 \\+ 16 numbers"),
        ("poses_bounds.npy", "no array", "expected an array"),
    ],
)
def test_damaged_files_are_named(file: str, content: str, message: str, tmp_path: Path) -> None:
    write_pictures(ring_of_views(), tmp_path / "images")
    if file.startswith("sparse"):
        colmap.write_colmap(ring_of_views(), tmp_path / "sparse")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        open_scene(tmp_path)
    assert Path(file).name in str(caught.value)


def test_a_binary_model_that_is_cut_off(tmp_path: Path) -> None:
    WRITERS["colmap binary"](ring_of_views(), tmp_path)
    file = tmp_path / "sparse/0/images.bin"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="images.bin: cut off"):
        open_scene(tmp_path)


def test_quaternions_turn_back() -> None:
    from adapters.multiview_3d.camera import quaternion_from_rotation, rotation_from_quaternion

    rng = np.random.default_rng(1)
    for _ in range(50):
        wxyz = rng.normal(size=4)
        rotation = rotation_from_quaternion(wxyz)
        assert np.abs(rotation_from_quaternion(quaternion_from_rotation(rotation)) - rotation).max() < 1e-13


def test_views_by_number_and_name() -> None:
    from adapters.multiview_3d.views import Scene

    scene = Scene(views=tuple(replace(view, name=f"left/{view.name}") for view in ring_of_views()))
    assert [scene.index_of(key) for key in ("3", "0002", "0002.png", "left/0001")] == [3, 2, 2, 1]
    with pytest.raises(DataError, match="fits 0"):
        scene.index_of("nowhere")
    with pytest.raises(DataError, match="from 0 to 4, got 9"):
        scene.index_of("9")
