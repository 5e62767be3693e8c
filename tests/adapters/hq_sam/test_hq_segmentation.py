"""Folders of photographs: boxes from everywhere, what is finished stays, a killed run goes on, one clear error."""

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
from PIL import Image

from adapters.hq_sam.__main__ import main
from adapters.hq_sam.box_files import jobs_from_box, jobs_from_file, jobs_from_masks
from adapters.hq_sam.segmentation import SegmentationJob, is_finished, segment_folder
from zim.errors import ConfigError, DataError
from zim.image_io import read_gray, save_png


class BoxFiller:
    """Answers with the box itself, alpha 0.8; counts its images."""

    def __init__(self) -> None:
        self.images = 0
        self.fail_at: int | None = None

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.images += 1
        if self.images == self.fail_at:
            raise KeyboardInterrupt
        self.size = image.shape[:2]

    def predict(self, *args: Any, box: np.ndarray, hq_token_only: bool = False, **kwargs: Any) -> Any:
        x1, y1, x2, y2 = np.asarray(box).astype(int)
        logits = np.full((1, *self.size), -30.0, np.float32)
        logits[0, y1:y2, x1:x2] = 30 if hq_token_only else np.log(4)  # sigmoid 0.8
        return logits, np.ones(1, np.float32), np.zeros((1, 256, 256), np.float32)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    for index in range(20):
        save_png(folder / f"p{index:02d}.png", np.full((30, 40 + index, 3), index, np.uint8))
    return sorted(folder.iterdir())


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_picture_a_box(photos: list[Path], tmp_path: Path) -> None:
    jobs = jobs_from_box(photos[:2], [[2, 3, 12, 13], [20, 5, 30, 25]])
    summary = segment_folder(BoxFiller(), jobs, tmp_path / "out", kind="alpha")
    assert summary == (2, 0, ())
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        "p00_0.png", "p00_1.png", "p01_0.png", "p01_1.png"
    ]
    alpha = read_gray(tmp_path / "out" / "p01_1.png")
    assert alpha.shape == (30, 41) and alpha[5:25, 20:30].min() == alpha.max() == round(0.8 * 255)
    assert (alpha > 0).sum() == 200
    segment_folder(BoxFiller(), jobs, tmp_path / "masks")
    assert set(np.unique(read_gray(tmp_path / "masks" / "p00_0.png"))) == {0, 255}


def test_what_is_finished_is_not_done_again(photos: list[Path], tmp_path: Path) -> None:
    jobs = jobs_from_box(photos, [[2, 3, 12, 13]])
    first = BoxFiller()
    first.fail_at = 8
    with pytest.raises(KeyboardInterrupt):
        segment_folder(first, jobs, tmp_path / "out")
    second = BoxFiller()
    assert segment_folder(second, jobs, tmp_path / "out") == (13, 7, ())
    assert second.images == 13
    segment_folder(BoxFiller(), jobs, tmp_path / "clean")
    assert pictures(tmp_path / "out") == pictures(tmp_path / "clean")
    (tmp_path / "out" / "p03_0.png").unlink()
    assert segment_folder(BoxFiller(), jobs, tmp_path / "out") == (1, 19, ())
    other = jobs_from_box(photos[:1], [[1, 1, 5, 5]])
    assert not is_finished(other[0], tmp_path / "out")  # another box is another job


def test_other_settings_need_another_folder(photos: list[Path], tmp_path: Path) -> None:
    jobs = jobs_from_box(photos[:1], [[2, 3, 12, 13]])
    segment_folder(BoxFiller(), jobs, tmp_path / "out")
    with pytest.raises(ConfigError, match="give another folder"):
        segment_folder(BoxFiller(), jobs, tmp_path / "out", kind="alpha")
    alone = segment_folder(BoxFiller(), jobs, tmp_path / "alone", kind="alpha", hq_token_only=True)
    assert alone.done == 1 and read_gray(tmp_path / "alone" / "p00_0.png").max() == 255


def test_a_broken_photograph_does_not_stop_the_others(photos: list[Path], tmp_path: Path) -> None:
    photos[1].write_bytes(b"no picture")
    seen: list[Path] = []
    jobs = jobs_from_box(photos[:3], [[2, 3, 12, 13]])
    summary = segment_folder(BoxFiller(), jobs, tmp_path / "out", on_done=lambda job: seen.append(job.photo))
    assert summary.done == 2 and [failure.photo for failure in summary.failures] == [photos[1]]
    assert "cannot be decoded" in summary.failures[0].message
    assert seen == photos[:3]


def test_names_that_meet_are_refused(tmp_path: Path) -> None:
    jobs = [SegmentationJob(photo=Path(name), boxes=((0, 0, 1, 1),)) for name in ("a/x.png", "b/x.jpg")]
    with pytest.raises(ConfigError, match=r"expected different names, got a/x.png and b/x.jpg"):
        segment_folder(BoxFiller(), jobs, tmp_path)


def test_hq_token_only_needs_a_predictor_that_knows_it(photos: list[Path], tmp_path: Path) -> None:
    class Plain:
        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None: ...

        def predict(
            self, point_coords: Any = None, point_labels: Any = None, box: Any = None, mask_input: Any = None,
            multimask_output: bool = True, return_logits: bool = False,
        ) -> Any: ...

    with pytest.raises(ConfigError, match="expected a predictor with an HQ head, got Plain"):
        segment_folder(Plain(), jobs_from_box(photos, [[0, 0, 1, 1]]), tmp_path / "out", hq_token_only=True)
    assert not (tmp_path / "out").exists()


def test_boxes_of_a_file(photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"p00.png": [[1, 2, 3, 4], [5, 6, 7, 8]], "p01": [1, 2, 3, 4.5]}))
    jobs = jobs_from_file(photos[:2], path)
    assert jobs[0].boxes == ((1, 2, 3, 4), (5, 6, 7, 8)) and jobs[1].boxes == ((1, 2, 3, 4.5),)
    with pytest.raises(DataError, match="expected boxes for p02.png, found none"):
        jobs_from_file(photos[:3], path)
    for bad in ([], [[1, 2, 3]], [[5, 2, 3, 4]], "no", [[1, 2, 3, float("inf")]], [["1", 2, 3, 4]]):
        path.write_text(json.dumps({"p00": bad}))
        with pytest.raises(DataError, match="p00: expected"):
            jobs_from_file(photos[:1], path)
    path.write_text("{")
    with pytest.raises(DataError, match="cannot read it"):
        jobs_from_file(photos[:1], path)
    path.write_text("[]")
    with pytest.raises(DataError, match="expected an object of photographs"):
        jobs_from_file(photos[:1], path)


def test_boxes_of_masks(photos: list[Path], tmp_path: Path) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[4:9, 10:21] = 200
    save_png(tmp_path / "masks" / "p00.png", mask)
    assert jobs_from_masks(photos[:1], tmp_path / "masks")[0].boxes == ((10, 4, 20, 8),)
    save_png(tmp_path / "masks" / "p00.png", 0 * mask)
    with pytest.raises(DataError, match="p00.png: expected an object in the mask"):
        jobs_from_masks(photos[:1], tmp_path / "masks")
    with pytest.raises(DataError, match="found no mask of the same name"):
        jobs_from_masks(photos[:2][1:], tmp_path / "masks")
    with pytest.raises(DataError, match="expected a folder of masks, found nothing"):
        jobs_from_masks(photos, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="x1 <= x2"):
        jobs_from_box(photos, [[9, 0, 1, 1]])


def test_command_says_what_is_wrong_in_one_line(
    photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(photos[0].parent), str(tmp_path / "out")
    for arguments, told in (
        (["segment", folder, "--out", out], "expected exactly one of --boxes, --masks and --box, got 0"),
        (["segment", folder, "--out", folder, "--box", "0", "0", "5", "5"], "another folder than that of the photos"),
        (["segment", folder, "--out", out, "--boxes", str(tmp_path / "none.json")], "cannot read it"),
        (["segment", str(tmp_path / "none"), "--out", out, "--masks", out], "expected a folder of masks"),
        (["evaluate", str(tmp_path / "none")], "expected a folder"),
        (["evaluate", folder, "--predictors", "a,a"], "expected distinct names"),
        (["evaluate", folder, "--limit", "0"], "--limit: expected at least 1"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1 and "Traceback" not in error
    assert not Path(out).exists()


def test_command_evaluates_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:40, 15:50] = 255
    photo = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
    photo[mask > 0] += 150
    save_png(tmp_path / "own" / "image" / "a.png", photo)
    save_png(tmp_path / "own" / "mask" / "a.png", mask)
    out = tmp_path / "table.json"
    assert main(["evaluate", str(tmp_path / "own"), "--predictors", "grabcut", "--json", str(out)]) == 0
    assert "BIoU 0.005" in capsys.readouterr().out
    assert json.loads(out.read_text())["means"]["own"]["grabcut"]["iou"]["mean"] > 0.95


def test_a_killed_command_goes_on_to_the_same_end(photos: list[Path], tmp_path: Path) -> None:
    """GrabCut on 20 photographs in a process of its own, killed in the middle, run again; and one clean run."""
    rng = np.random.default_rng(0)
    for path in photos:
        noise = rng.integers(0, 80, (300, 360, 3), dtype=np.uint8)
        noise[90:210, 100:250] += 120
        Image.fromarray(noise).save(path)
    command = [sys.executable, "-m", "adapters.hq_sam", "segment", str(photos[0].parent), "--predictor", "grabcut"]
    command += ["--box", "90", "80", "260", "220", "--out"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, str(tmp_path / "cut")], **quiet)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "cut").glob("*.png"))) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("p*.json")}
    assert 3 <= len(before) < 20
    assert main([*command[3:], str(tmp_path / "cut")]) == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert main([*command[3:], str(tmp_path / "clean")]) == 0
    whole, clean = pictures(tmp_path / "cut"), pictures(tmp_path / "clean")
    assert {name: data for name, data in whole.items() if not name.startswith(".")} == clean
    assert len(clean) == 41
