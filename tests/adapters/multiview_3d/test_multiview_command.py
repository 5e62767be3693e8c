"""The command line: from a folder to files, again after a kill, and what it says when it cannot."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from adapters.multiview_3d import command, transforms_json
from adapters.multiview_3d.scenes import RenderedScene
from zim.image_io import read_alpha, save_png
from zim.prompts import box_from_alpha

DEPTH_SCALE = 1000.0


@pytest.fixture(scope="module")
def stored(rendered: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple[RenderedScene, Path]:
    """The solid scene as an RGB-D recording on disk."""
    scene = rendered("solid")
    root = tmp_path_factory.mktemp("recording")
    views = []
    for view in scene.scene.views:
        image, depth = root / "images" / f"{view.name}.png", root / "depth" / f"{view.name}.png"
        save_png(image, view.read_image())
        depth.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(depth), (view.read_depth() * DEPTH_SCALE).astype(np.uint16))
        views.append(replace(view, image=image, depth=depth, depth_scale=DEPTH_SCALE))
    transforms_json.write_transforms(views, root / "transforms.json")
    return scene, root


class Asked:
    """Loaders that count what they are asked for, and may break off in the middle."""

    def __init__(self, oracle: object, stop_after: int | None = None) -> None:
        self.oracle, self.stop_after, self.loaded = oracle, stop_after, 0

    def predictor(self, name: str, device: str) -> "Asked":
        self.loaded += 1
        return self

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.oracle.set_image(image)  # type: ignore[attr-defined]

    def predict(self, *arguments: object, **prompts: object) -> tuple:
        if self.stop_after is not None and self.oracle.asked >= self.stop_after:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return self.oracle.predict(*arguments, **prompts)  # type: ignore[attr-defined]

    def loaders(self) -> command.Loaders:
        return command.Loaders(predictor=self.predictor, generator=lambda name, device: Regions(self.oracle))


class Regions:
    """A mask generator that knows the object and calls everything else one thing."""

    def __init__(self, oracle: object) -> None:
        self.oracle = oracle

    def generate(self, image: np.ndarray) -> list[dict]:
        index = self.oracle.views[image.tobytes()]  # type: ignore[attr-defined]
        solid = self.oracle.alphas[0, index] > 0.5  # type: ignore[attr-defined]
        return [{"segmentation": ~solid}, {"segmentation": solid}]


def box_arguments(scene: RenderedScene) -> list[str]:
    return ["--view", "0", "--box", *map(str, box_from_alpha(scene.alphas[0, 0]))]


def run(root: Path, out: Path, asked: Asked, *more: str) -> int:
    return command.main([str(root), "-o", str(out), "--quiet", "--voxel", "0.02", *more], asked.loaders())


def test_a_recording_becomes_an_object(stored: tuple, oracle: Callable, tmp_path: Path) -> None:
    scene, root = stored
    assert run(root, tmp_path, Asked(oracle(scene)), *box_arguments(scene), "--turntable", "2") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["geometry"] == "rgbd" and report["objects"][0]["points"] > 300
    low, high = np.array(report["objects"][0]["bounds"])
    assert np.allclose(low[:2], [-0.3, -0.22], atol=0.05) and np.allclose(high, [0.3, 0.22, 0.66], atol=0.05)
    for index, name in enumerate(scene.scene.names):
        mask = read_alpha(tmp_path / "masks" / f"{name}.png") > 0.5
        truth = scene.alphas[0, index] > 0.5
        assert (mask & truth).sum() / (mask | truth).sum() > 0.95
    assert {"points.ply", "mesh.ply", "mesh.glb", "turntable.gif"} <= {path.name for path in tmp_path.iterdir()}


def test_an_interrupted_run_goes_on(
    stored: tuple, oracle: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    scene, root = stored
    whole, parts = oracle(scene), oracle(scene)
    more = (*box_arguments(scene), "--turntable", "0")
    assert run(root, tmp_path / "parts", Asked(parts, stop_after=4), *more) == 130
    assert "goes on" in capsys.readouterr().err and not (tmp_path / "parts/report.json").exists()
    (tmp_path / "whole/work").mkdir(parents=True)
    for name in ("surface.npz", "fusion.json"):  # fused once: open3d's order of vertices differs from run to run
        shutil.copy(tmp_path / "parts/work" / name, tmp_path / "whole/work" / name)
    assert run(root, tmp_path / "whole", Asked(whole), *more) == 0
    again = oracle(scene)
    assert run(root, tmp_path / "parts", Asked(again), *more) == 0
    assert again.asked <= whole.asked - 3
    for name in ("points.ply", "mesh.glb", "masks/0003.png"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run(root, tmp_path / "parts", Asked(oracle(scene)), *more, "--passes", "1") == 2
    assert "other settings" in capsys.readouterr().err
    assert run(root, tmp_path / "parts", Asked(oracle(scene)), *more, "--passes", "1", "--fresh") == 0


def test_everything_at_once(stored: tuple, oracle: Callable, tmp_path: Path) -> None:
    scene, root = stored
    assert run(root, tmp_path, Asked(oracle(scene)), "--auto") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["segments"]) == 2
    for index, name in enumerate(scene.scene.names):
        ids = cv2.imread(str(tmp_path / "labels" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        truth = scene.alphas[0, index] > 0.5
        assert ((ids == 2) & truth).sum() / ((ids == 2) | truth).sum() > 0.9  # the smaller segment


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ((), 2, "expected --box, --point"),
        (("--box", "900", "10", "950", "40"), 2, "outside the view of 160 x 160"),
        (("--point", "5", "500", "1"), 2, "outside the view"),
        (("--auto", "--point", "5", "5", "1"), 2, "--auto: expected no"),
        (("--point", "5", "5", "1", "--view", "77"), 1, "from 0 to 5, got 77"),
        (("--point", "5", "5", "1", "--passes", "0"), 2, "passes: expected at least 1"),
        (("--point", "5", "5", "1", "--voxel", "-1"), 2, "voxel: expected a positive number"),
        (("--point", "5", "5", "1", "--layout", "colmap"), 1, "COLMAP"),
        (("--point", "5", "5", "1", "--geometry", "surface"), 1, "name one with --surface"),
        (("--point", "5", "5", "1", "--surface", "nowhere.ply"), 1, "nowhere.ply"),
    ],
)
def test_misuse_is_one_line(
    more: tuple, code: int, message: str, stored: tuple, oracle: Callable, tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    scene, root = stored
    assert run(root, tmp_path / "out", Asked(oracle(scene)), *more) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_folder_without_cameras(oracle: Callable, rendered: Callable, tmp_path: Path, capsys: object) -> None:
    asked = Asked(oracle(rendered("solid")))
    assert run(tmp_path, tmp_path / "out", asked, "--point", "1", "1", "1") == 1
    assert "found no cameras" in capsys.readouterr().err and asked.loaded == 0  # type: ignore[attr-defined]


def test_views_that_cannot_be_used_are_named(
    stored: tuple, oracle: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    scene, root = stored
    content = json.loads((root / "transforms.json").read_text())
    content["frames"][4]["file_path"] = "images/lost.png"
    content["frames"][5]["transform_matrix"][0][0] += 0.5
    for frame in content["frames"]:
        frame["file_path"], frame["depth_file_path"] = (
            str(root / frame["file_path"]), str(root / frame["depth_file_path"]),
        )  # fmt: skip
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    assert run(tmp_path, tmp_path / "out", Asked(oracle(scene)), *box_arguments(scene), "--turntable", "0") == 0
    error = capsys.readouterr().err
    assert "left out" in error and "lost" in error and "rigid" in error
    assert len(json.loads((tmp_path / "out/report.json").read_text())["skipped"]) == 2
