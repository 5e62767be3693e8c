"""Detections in a file: what was saved comes back, for these pixels and no others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.text_prompts.recorded import RecordedDetector, Recording, pixels_sha256, save_recordings
from zim.errors import DataError
from zim.image_io import save_png
from zim.text_detection import Detections, TextDetector


def write(path: Path, *images: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"format": "zim-text-detections", "version": 1, "images": images}))
    return path


FOUND = [
    {"box": [1, 2, 30, 40], "score": 0.5, "label": "the cat"},
    {"box": [-5, 10, 20, 300], "score": 0.9, "label": "The  Cat."},
    {"box": [0, 0, 9, 9], "score": 0.8, "label": "remote"},
    {"box": [0, 0, 9, 8], "score": 0.25, "label": "remote"},
]


def test_a_file_written_by_hand_answers_by_phrase_and_score(photo: Path, portrait: np.ndarray, tmp_path: Path) -> None:
    detector = RecordedDetector(write(tmp_path / "boxes.json", {"file": "photo.png", "detections": FOUND}))
    assert isinstance(detector, TextDetector)
    found = detector.detect(portrait, "the cat")
    np.testing.assert_array_equal(found.boxes, [[0, 10, 20, 120], [1, 2, 30, 40]])  # the surest first, cut to 50 x 120
    np.testing.assert_allclose(found.scores, [0.9, 0.5])
    assert found.labels == ["the cat", "the cat"]
    assert detector.detect(portrait, "remote. the cat.").labels == ["the cat", "remote", "the cat"]
    assert len(detector.detect(portrait, "remote", box_threshold=0.2).labels) == 2
    nothing = detector.detect(portrait, "dog")
    assert (nothing.boxes.shape, nothing.scores.shape, nothing.labels) == ((0, 4), (0,), [])


def test_what_is_saved_comes_back_wherever_the_photo_is(photo: Path, portrait: np.ndarray, tmp_path: Path) -> None:
    found = Detections(
        np.array([[1.25, 2, 30.5, 40], [0, 0, 9, 9]], np.float32), np.array([0.75, 0.5], np.float32), ["cat", "dog"]
    )
    path = tmp_path / "deep" / "boxes.json"
    save_recordings(path, [Recording(photo, pixels_sha256(portrait), found)])
    assert json.loads(path.read_text())["images"][0]["file"] == "../photo.png"
    photo.unlink()
    again = RecordedDetector(path).detect(portrait, "cat. dog")
    np.testing.assert_array_equal(again.boxes, found.boxes)
    np.testing.assert_array_equal(again.scores, found.scores)
    assert again.labels == found.labels


def test_one_pixel_more_and_it_is_another_picture(photo: Path, portrait: np.ndarray, tmp_path: Path) -> None:
    detector = RecordedDetector(write(tmp_path / "boxes.json", {"file": "photo.png", "detections": FOUND}))
    other = portrait.copy()
    other[0, 0, 0] ^= 1
    with pytest.raises(DataError, match="no detections are recorded for this"):
        detector.detect(other, "the cat")
    with pytest.raises(DataError, match="no detections are recorded for this"):
        detector.detect(portrait.reshape(100, 60, 3), "the cat")  # the same bytes in another shape
    assert detector.detect(portrait, "the cat").labels


def test_a_photo_decoded_otherwise_is_found_by_its_file(portrait: np.ndarray, tmp_path: Path) -> None:
    """Another version of a JPEG library gives other pixels than those that were recorded."""
    entry = {"file": "photo.png", "sha256": "0" * 64, "detections": FOUND}
    save_png(tmp_path / "photo.png", portrait)
    assert RecordedDetector(write(tmp_path / "boxes.json", entry)).detect(portrait, "the cat").labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": "zim-text-detections", "version": 2, "images": []}',
        '{"format": "coco", "version": 1, "images": []}',
        '{"format": "zim-text-detections", "version": 1, "images": [{"detections": []}]}',
        '{"format": "zim-text-detections", "version": 1, "images": [{"file": "a"}]}',
        '{"format": "zim-text-detections", "version": 1, "images": {"file": "a"}}',
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(DataError, match='boxes.json: expected a JSON {"format": "zim-text-detections"'):
        RecordedDetector(tmp_path / "boxes.json")
    with pytest.raises(DataError, match="cannot read it"):
        RecordedDetector(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "item",
    [
        {"box": [0, 0, 9], "score": 0.9, "label": "cat"},
        {"box": [0, 0, 9, float("nan")], "score": 0.9, "label": "cat"},
        {"box": [0, 0, 9, "nine"], "score": 0.9, "label": "cat"},
        {"box": [0, 0, 9, 9], "score": "high", "label": "cat"},
        {"box": [0, 0, 9, 9], "score": 0.9},
        {"box": [0, 0, 9, 9], "score": 0.9, "label": ""},
        {"score": 0.9, "label": "cat"},
        "cat",
    ],
)
def test_a_detection_that_is_none_is_an_error_of_the_file(
    photo: Path, portrait: np.ndarray, tmp_path: Path, item: Any
) -> None:
    detector = RecordedDetector(write(tmp_path / "boxes.json", {"file": "photo.png", "detections": [item]}))
    with pytest.raises(DataError, match="boxes.json: expected detections with box, score and label"):
        detector.detect(portrait, "cat")
