"""Scenes from strangers: what would read, write or fill more than it may is refused before it is read."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.multiview_3d.camera import Camera, look_at
from adapters.multiview_3d.colmap import write_colmap
from adapters.multiview_3d.contained import SceneLimits, open_contained
from adapters.multiview_3d.scenes import RenderedScene, ring_of_cameras, write_rendered
from adapters.multiview_3d.transforms_json import write_transforms
from adapters.multiview_3d.views import View
from zim.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four views of nothing, as transforms.json."""
    root = tmp_path / "scene"
    views = []
    for i, camera in enumerate(ring_of_cameras(4, side=32)):
        path = root / "images" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 40 * i, np.uint8)).save(path)
        views.append(View(name=str(i), camera=camera, image=path))
    write_transforms(views, root / "transforms.json")
    return root


def changed(folder: Path, **frame: Any) -> None:
    file = folder / "transforms.json"
    content = json.loads(file.read_text())
    content["frames"][0] |= frame
    file.write_text(json.dumps(content))


def test_a_plain_scene_is_read_as_ever(folder: Path) -> None:
    assert open_contained(folder).names == ("0", "1", "2", "3")


@pytest.mark.parametrize("name", ["/etc/hostname.png", "../outside.png", "images/../../outside.png", 5, "a\\b.png"])
@pytest.mark.parametrize("key", ["file_path", "depth_file_path"])
def test_files_outside_are_not_read(folder: Path, name: object, key: str) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder.parent / "outside.png")
    changed(folder, **{key: name})
    with pytest.raises(DataError, match="names of files inside the scene, got") as told:
        open_contained(folder)
    assert str(folder.parent) not in str(told.value)


def test_colmap_names_cannot_leave_either(tmp_path: Path) -> None:
    pose = look_at(np.array([1.0, 0, 0]), np.zeros(3), np.array([0.0, 0, 1]))
    camera = Camera(width=8, height=8, fx=8, fy=8, cx=4, cy=4, world_to_camera=pose)
    views = [View(name=name, camera=camera, image=np.zeros((8, 8, 3), np.uint8)) for name in ("a", "../../b")]
    write_colmap(views, tmp_path / "sparse" / "0")
    with pytest.raises(DataError, match=r"inside the scene, got '\.\./\.\./b"):
        open_contained(tmp_path)


def test_links_and_large_pictures_and_many_views(folder: Path) -> None:
    with pytest.raises(DataError, match="at most 3 views, got 4"):
        open_contained(folder, SceneLimits(views=3))
    with pytest.raises(DataError, match=r"images/0.png: expected at most 0.0009 megapixels, got 32 x 32"):
        open_contained(folder, SceneLimits(pixels=900))
    (folder / "link.png").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=r"link.png: expected no links"):
        open_contained(folder)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("ply\nformat binary_little_endian 1.0\nelement vertex 2000000000\nproperty int x\nend_header\n", "announces"),
        ("ply\nformat ascii 1.0\nelement vertex 999999\nproperty float x\nend_header\n1\n", "announces"),
        ("ply\nelement vertex -5\nend_header\n", "number of elements"),
        ("solid nothing", "a PLY file"),
    ],
)
def test_surfaces_that_announce_more_than_they_hold(folder: Path, header: str, message: str) -> None:
    (folder / "mesh.ply").write_text(header)
    with pytest.raises(DataError, match=f"mesh.ply: .*{message}"):
        open_contained(folder)


def test_arrays_that_are_cut_off_or_hold_objects(folder: Path) -> None:
    np.save(folder / "depth.npy", np.zeros((50, 50)))
    data = (folder / "depth.npy").read_bytes()
    (folder / "depth.npy").write_bytes(data[:500])
    with pytest.raises(DataError, match="depth.npy: expected an array of numbers"):
        open_contained(folder)
    np.save(folder / "depth.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="depth.npy: expected an array of numbers"):
        open_contained(folder)


@pytest.mark.parametrize("values", [{"depth_unit_scale_factor": 0}, {"depth_unit_scale_factor": "x"}, {"fl_x": [1]}])
def test_nonsense_is_one_line(folder: Path, values: dict[str, Any]) -> None:
    file = folder / "transforms.json"
    content = json.loads(file.read_text())
    for frame in content["frames"]:
        frame |= {key: value for key, value in values.items() if key == "fl_x"}
    file.write_text(json.dumps(content | values))
    with pytest.raises(DataError) as told:
        open_contained(folder)
    assert "\n" not in str(told.value)
    (folder / "transforms.json").unlink()
    (folder / "cameras.bin").write_bytes(struct.pack("<Q", 2**60))
    (folder / "images.bin").write_bytes(b"")
    with pytest.raises(DataError):
        open_contained(folder)


def test_rendered_scenes_can_be_written_and_read(rendered: Callable[..., RenderedScene], tmp_path: Path) -> None:
    made = rendered("solid")
    for depth in (False, True):
        folder = tmp_path / str(depth)
        write_rendered(made, folder, depth=depth)
        scene = open_contained(folder)
        assert scene.names == made.scene.names
        assert (scene.surface is None) == depth == scene.has_depth()
        for read, view in zip(scene.views, made.scene.views, strict=True):
            assert np.array_equal(read.read_image(), view.read_image())
            assert np.allclose(read.camera.world_to_camera, view.camera.world_to_camera)
            if depth:
                assert np.abs(read.read_depth() - view.read_depth()).max() < 1e-3
