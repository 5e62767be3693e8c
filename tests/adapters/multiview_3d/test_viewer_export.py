"""What is written for viewers, and what a run tells while it goes on."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adapters.multiview_3d.exports import write_preview
from adapters.multiview_3d.job import JobConfig, Place, run_prompted
from adapters.multiview_3d.propagation import PropagationConfig
from adapters.multiview_3d.scenes import RenderedScene
from adapters.multiview_3d.surface import Surface
from zim.errors import DataError
from zim.prompts import Prompt, box_from_alpha


def read_glb(path: Path) -> tuple[dict, np.ndarray, np.ndarray]:
    """Content, (V, 3) positions, (T, 3) triangles."""
    data = path.read_bytes()
    magic, version, size, length, kind = struct.unpack("<IIIII", data[:20])
    assert (magic, version, size, kind) == (0x46546C67, 2, len(data), 0x4E4F534A)
    content = json.loads(data[20 : 20 + length])
    body = data[28 + length :]

    def array(number: int, dtype: str, width: int) -> np.ndarray:
        view = content["bufferViews"][content["accessors"][number]["bufferView"]]
        part = body[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        return np.frombuffer(part, dtype).reshape(-1, width)

    return content, array(0, "<f4", 3), array(3, "<u4", 3)


def test_points_become_upright_squares_about_the_origin(tmp_path: Path) -> None:
    points = np.array([[5, 5, 0], [5, 5, 4], [9, 9, 9]], np.float32)
    normals = np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]], np.float32)
    surface = Surface(points=points, normals=normals, colours=np.full((3, 3), 200, np.uint8), spacing=0.5)
    write_preview(tmp_path / "p.glb", surface, np.array([1, 0.9, 0.2], np.float32), np.array([0.0, 0, 1]))
    content, vertices, triangles = read_glb(tmp_path / "p.glb")
    assert "alphaMode" not in content["materials"][0]
    assert content["extensionsUsed"] == ["KHR_materials_unlit"]
    assert vertices.shape == (8, 3) and len(triangles) == 4
    assert np.allclose(sorted(set(vertices[:, 1].round(4))), [-2, 2])  # the scene's z is the viewer's y
    assert np.allclose(vertices.min(axis=0) + vertices.max(axis=0), 0, atol=1e-5)
    corners = vertices[triangles]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    assert np.allclose(areas, 0.6**2 / 2)
    with pytest.raises(DataError, match="the object has no points"):
        write_preview(tmp_path / "p.glb", surface, np.zeros(3, np.float32), np.array([0.0, 0, 1]))


@pytest.mark.parametrize("mesh", [True, False])
def test_a_run_tells_its_steps_and_can_be_ended_by_them(
    rendered: Callable[..., RenderedScene], oracle: Callable, tmp_path: Path, mesh: bool
) -> None:
    made = rendered("solid")
    config = JobConfig(turntable_frames=0, preview=mesh, propagation=PropagationConfig(passes=1))
    prompts = [Prompt(box=box_from_alpha(made.alphas[0, 0], 0.5))]
    told: list[tuple[str, int, int]] = []
    run_prompted(
        made.scene, lambda: oracle(made), prompts, 0, Place(tmp_path, progress=False), config,
        steps=lambda *step: told.append(step),
    )  # fmt: skip
    assert [name for name, done, _ in told if done == 1] == ["fusing", "pass 1", "writing"]
    assert all(total == 6 for _, _, total in told) and len(told) == 18
    assert (tmp_path / "preview.glb").is_file() == mesh
    if mesh:
        _, vertices, _ = read_glb(tmp_path / "preview.glb")
        assert np.abs(np.ptp(vertices[:, 1]) - 0.66) < 0.05  # the body is 0.66 high

    def stop(name: str, done: int, total: int) -> None:
        if done == 2:
            raise TimeoutError(name)

    for ended in ("fusing", "pass 1"):
        with pytest.raises(TimeoutError, match=ended):
            run_prompted(
                made.scene, lambda: oracle(made), prompts, 0,
                Place(tmp_path if ended == "pass 1" else tmp_path / "other", progress=False), config, steps=stop,
            )  # fmt: skip
