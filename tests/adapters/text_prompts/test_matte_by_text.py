"""`zim matte --text` from end to end: real files, recorded detections or a real detector, the shipped zim_tiny."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.fine_objects import fine_scene
from zim.cli import app
from zim.image_io import read_alpha, save_png


def zim(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def record(path: Path, found: dict[str, list[dict[str, Any]]]) -> str:
    images = [{"file": name, "detections": detections} for name, detections in found.items()]
    path.write_text(json.dumps({"format": "zim-text-detections", "version": 1, "images": images}))
    return f"recorded:{path}"


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A picture with two objects side by side whose alphas are known, and what finds them."""
    left, right = fine_scene("plain", seed=2, side=160), fine_scene("plain", seed=5, side=160)
    folder = tmp_path_factory.mktemp("pair")
    save_png(folder / "pair.png", np.hstack([left.image, right.image]))
    boxes = [[float(value) for value in left.box], [float(value) for value in right.box + [160, 0, 160, 0]]]
    detections = [
        {"box": boxes[1], "score": 0.6, "label": "thing"},
        {"box": boxes[0], "score": 0.9, "label": "thing"},
    ]
    detector = record(folder / "boxes.json", {"pair.png": detections})
    empty = np.zeros_like(left.alpha)
    alphas = [np.hstack([left.alpha, empty]), np.hstack([empty, right.alpha])]
    return {"photo": folder / "pair.png", "boxes": boxes, "detector": detector, "alphas": alphas}


def test_every_detection_is_matted_as_its_box_would_be(pair: dict[str, Any], tmp_path: Path) -> None:
    """The surest is number 0; each file is that of the same box by hand, and near the object's true alpha."""
    result = zim("matte", pair["photo"], "--text", "Thing.", "--detector", pair["detector"], "-o", tmp_path / "text")
    assert result.exit_code == 0, result.output
    assert files(tmp_path / "text") == ["pair_0_alpha.png", "pair_1_alpha.png"]
    by_hand = [argument for box in pair["boxes"] for argument in ("--box", *box)]
    assert zim("matte", pair["photo"], *by_hand, "-o", tmp_path / "box").exit_code == 0
    for index, truth in enumerate(pair["alphas"]):
        alpha = read_alpha(tmp_path / "text" / f"pair_{index}_alpha.png")
        np.testing.assert_array_equal(alpha, read_alpha(tmp_path / "box" / f"pair_{index}_alpha.png"))
        error, nothing = np.abs(alpha - truth).mean(), truth.mean()
        assert error < 0.5 * nothing, (error, nothing)


def test_united_they_are_the_highest_alpha_of_each_pixel(pair: dict[str, Any], tmp_path: Path) -> None:
    arguments = ["matte", pair["photo"], "--text", "thing", "--detector", pair["detector"]]
    assert zim(*arguments, "-o", tmp_path / "each").exit_code == 0
    result = zim(*arguments, "--unite", "-o", tmp_path / "all.png")
    assert result.exit_code == 0, result.output
    each = [read_alpha(tmp_path / "each" / f"pair_{index}_alpha.png") for index in (0, 1)]
    np.testing.assert_array_equal(read_alpha(tmp_path / "all.png"), np.maximum(*each))
    assert np.abs(each[0] - each[1]).max() > 0.9


def test_a_real_detector_from_a_folder(grounding_dino_folder: Path, photo: Path, tmp_path: Path) -> None:
    """Random weights find random boxes: as many files as `python -m adapters.text_prompts` has lines."""
    from adapters.text_prompts.grounding_dino import GroundingDinoDetector
    from zim.image_io import read_image

    found = GroundingDinoDetector(str(grounding_dino_folder), device="cpu").detect(
        read_image(photo), "the red cat", box_threshold=0.9
    )
    assert 1 < len(found.labels) < 10
    options = ["--text", "the red cat", "--box-threshold", 0.9, "--detector", grounding_dino_folder, "--device", "cpu"]
    result = zim("matte", photo, *options, "--output-kind", "mask", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(files(tmp_path / "out")) == len(found.labels)


def _folder_of(count: int, folder: Path) -> str:
    """Small photos with one object each, and a record that knows nothing of number 1."""
    found: dict[str, list[dict[str, Any]]] = {}
    for index in range(count):
        scene = fine_scene("plain", seed=index, side=64)
        save_png(folder / "photos" / f"{index:02}.png", scene.image)
        box = [float(value) for value in scene.box]
        found[f"photos/{index:02}.png"] = [] if index == 1 else [{"box": box, "score": 0.8, "label": "thing"}]
    return record(folder / "boxes.json", found)


@pytest.mark.slow
def test_a_folder_that_was_killed_ends_as_one_clean_run(tmp_path: Path) -> None:
    detector = _folder_of(20, tmp_path)
    photos = str(tmp_path / "photos")
    command = [sys.executable, "-m", "zim", "matte", photos, "--text", "thing", "--detector", detector]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed, clean = tmp_path / "killed", tmp_path / "clean"
    process = subprocess.Popen([*command, "-o", str(killed)], env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (killed.is_dir() and len(list(killed.glob("[0-9]*.png"))) >= 5):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 5 <= len(list(killed.glob("[0-9]*.png"))) < 19
    for folder in (killed, clean):
        again = [*command, "-o", str(folder)]
        done = subprocess.run(again, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1  # number 1
        assert "01.png: --text: found no 'thing' above --box-threshold 0.25" in done.stderr
        assert "1 of 20 photos failed" in done.stderr
    assert sorted(file.name for file in killed.glob("[0-9]*")) == files(clean)
    assert len(files(clean)) == 19
    for name in files(clean):
        assert (killed / name).read_bytes() == (clean / name).read_bytes()
