"""`python -m adapters.text_prompts`: lines, records and pictures, with recorded detections and with a real model."""

import json
from pathlib import Path

import numpy as np
import pytest

from adapters.text_prompts.__main__ import main
from adapters.text_prompts.picture import COLOURS, draw_detections
from adapters.text_prompts.recorded import RecordedDetector
from zim.image_io import read_image, save_png
from zim.text_detection import Detections


@pytest.fixture
def boxes(photo: Path, tmp_path: Path) -> Path:
    """A record of the photo: one sure cat, one less sure."""
    found = [
        {"box": [5, 20, 30, 60], "score": 0.5, "label": "cat"},
        {"box": [10, 70, 45, 110], "score": 0.9, "label": "cat"},
    ]
    file = tmp_path / "boxes.json"
    images = [{"file": "photo.png", "detections": found}]
    file.write_text(json.dumps({"format": "zim-text-detections", "version": 1, "images": images}))
    return file


def test_lines_record_and_picture(
    photo: Path, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], portrait: np.ndarray
) -> None:
    record, picture = tmp_path / "out" / "found.json", tmp_path / "out" / "found.png"
    arguments = [str(photo), "--text", "cat", "--detector", f"recorded:{boxes}", "-o", str(record), "-o", str(picture)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == [str(photo), "0", "cat", "0.900", "10.0 70.0 45.0 110.0"]
    assert lines[1].split("\t")[1:] == ["1", "cat", "0.500", "5.0 20.0 30.0 60.0"]
    assert lines[2:] == [f"wrote {record}", f"wrote {picture}"]
    again = RecordedDetector(record).detect(portrait, "cat")
    np.testing.assert_array_equal(again.boxes, [[10, 70, 45, 110], [5, 20, 30, 60]])
    drawn = read_image(picture)
    assert tuple(drawn[110, 25]) == COLOURS[0] and tuple(drawn[50, 5]) == COLOURS[1]
    np.testing.assert_array_equal(drawn[:5], portrait[:5])


def test_a_real_model_from_a_folder_can_be_recorded_and_replayed(
    photo: Path, grounding_dino_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "found.json"
    text = ["--text", "the cat. remote.", "--box-threshold", "0.85"]
    detector = ["--detector", str(grounding_dino_folder), "--device", "cpu"]
    assert main([str(photo), *text, *detector, "-o", str(record)]) == 0
    first = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("wrote")]
    assert len(first) > 3
    assert main([str(photo), *text, "--detector", f"recorded:{record}"]) == 0
    assert capsys.readouterr().out.splitlines() == first


def test_a_folder_goes_on_after_what_fails_and_says_so(
    photo: Path, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    save_png(folder / "a.png", np.zeros((20, 20, 3), np.uint8))  # not in the record
    (folder / "b.jpg").write_bytes(b"no picture")
    save_png(folder / "c.png", read_image(photo))
    record = tmp_path / "found.json"
    assert main([str(folder), "--text", "cat", "--detector", f"recorded:{boxes}", "-o", str(record)]) == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert ["a.png" in errors[0], "b.jpg" in errors[1], len(errors)] == [True, True, 2]
    assert [image["file"] for image in json.loads(record.read_text())["images"]] == ["photos/c.png"]


def test_nothing_found_is_said_and_is_exit_code_1(
    photo: Path, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photo), "--text", "dog", "--detector", f"recorded:{boxes}"]) == 1
    assert capsys.readouterr().out == f"{photo}\tnothing found\n"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--text", ""], "expected a phrase", 2),
        (["--text", "cat", "--box-threshold", "2"], "box_threshold: expected a number in [0, 1], got 2.0", 2),
        (["--text", "cat", "-o", "x.jpg"], "expected a name that ends in .json or .png", 2),
        (["--text", "cat", "--detector", "nobody"], "detector: expected NAME or NAME:SOURCE", 1),
        (["--text", "cat", "--detector", "recorded:nowhere.json"], "nowhere.json: expected a JSON", 1),
        (["--text", "cat", "--detector", "recorded"], "expected recorded:FILE", 1),
        (["--text", "cat", "--detector", "transformers"], "expected transformers:FOLDER", 1),
    ],
)
def test_errors_are_one_line(
    photo: Path, arguments: list[str], message: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photo), *arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_the_photo_is_never_overwritten(photo: Path, boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = photo.read_bytes()
    assert main([str(photo), "--text", "cat", "--detector", f"recorded:{boxes}", "-o", str(photo)]) == 2
    assert "expected another file than the photo" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_drawing_stays_in_the_picture_and_leaves_the_original_alone() -> None:
    image = np.zeros((1, 30, 3), np.uint8)
    found = Detections(np.array([[0, 0, 30, 1]], np.float32), np.array([0.9], np.float32), ["a very long label"])
    assert draw_detections(image, found).shape == image.shape
    assert not image.any()
