"""The interface to text detectors: names, phrases, thresholds and the form of what is found."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from zim import text_detection
from zim.errors import ConfigError, ImageError, MissingDependencyError, PromptError
from zim.text_detection import (
    Detections,
    TextDetector,
    check_image,
    check_thresholds,
    clean_detections,
    load_text_detector,
    split_phrases,
)


class Known:
    """A detector that remembers what it was made of."""

    def __init__(self, source: str | None, device: str) -> None:
        self.made_of = (source, device)

    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Detections:
        return clean_detections([], [], [], (1, 1))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Entry points: two detectors, one of folders, one that is none, one whose module is not there."""
    module = ModuleType("known_detectors")
    module.known = Known  # type: ignore[attr-defined]
    module.nothing = lambda source, device: object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "known_detectors", module)
    values = {
        "known": "known_detectors:known",
        "transformers": "known_detectors:known",
        "none": "known_detectors:nothing",
        "absent": "module_that_is_not_there:factory",
        "unnamed": "known_detectors:factory",
    }
    points = [EntryPoint(name, value, "zim.text_detectors") for name, value in values.items()]
    monkeypatch.setattr(text_detection, "entry_points", lambda group: points if group == "zim.text_detectors" else [])
    return values


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("known", None),
        ("known:boxes.json", "boxes.json"),
        ("known:C:/boxes.json", "C:/boxes.json"),
        ("somebody/model", "somebody/model"),
        ("somebody/model.v-2_1", "somebody/model.v-2_1"),
        ("somebody/model@refs/pr/3", "somebody/model@refs/pr/3"),
    ],
)
def test_a_name_goes_to_its_entry_point(installed: dict[str, str], name: str, source: str | None) -> None:
    detector = load_text_detector(name, "cpu")
    assert isinstance(detector, Known) and isinstance(detector, TextDetector)
    assert detector.made_of == (source, "cpu")


def test_a_folder_goes_to_the_one_for_folders(
    installed: dict[str, str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_text_detector(tmp_path).made_of == (str(tmp_path), "auto")  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "known").mkdir()
    assert load_text_detector("known").made_of == (None, "auto")  # type: ignore[attr-defined]  # a name comes first


@pytest.mark.parametrize("name", ["", "nobody", "nobody:file", "a/b/c", "photo.json", "/nowhere/model"])
def test_what_nobody_answers_to_is_refused_with_the_names(installed: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigError, match="where NAME is one of absent, known, none, transformers, unnamed; got"):
        load_text_detector(name)


def test_factories_that_fail_are_told_apart(installed: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="expected an object with detect from 'none', got object"):
        load_text_detector("none")
    with pytest.raises(ConfigError, match="got nothing"):
        load_text_detector("known:")
    for name in ("absent", "unnamed"):
        with pytest.raises(MissingDependencyError, match=rf"'{name}' .*pip install 'zim-matting\[text\]'"):
            load_text_detector(name)


def test_without_detectors_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_detection, "entry_points", lambda group: [])
    with pytest.raises(MissingDependencyError, match=r"none is installed .*pip install 'zim-matting\[text\]'"):
        load_text_detector()


def test_phrases() -> None:
    assert split_phrases("The  Cat") == ["the cat"]
    assert split_phrases(" cat .remote..\n cat. ") == ["cat", "remote"]
    assert split_phrases("猫") == ["猫"]
    for nothing in ("", " . ", "?!", None, ["cat"], 3):
        with pytest.raises(PromptError, match="text: expected"):
            split_phrases(nothing)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_thresholds_outside_their_range_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="^box_threshold: expected a number in"):
        check_thresholds(box_threshold=value, text_threshold=0.5)
    with pytest.raises(ConfigError, match="^text_threshold: expected a number in"):
        check_thresholds(box_threshold=0, text_threshold=value)
    check_thresholds(box_threshold=1, text_threshold=np.float32(0.5))


def test_images_are_checked() -> None:
    assert check_image(np.zeros((4, 6, 3), np.uint8)) == (4, 6)
    for wrong in (np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((0, 6, 3), np.uint8), "a.png"):
        with pytest.raises(ImageError, match=r"image: expected an \(H, W, 3\) uint8 RGB array, got"):
            check_image(wrong)


def test_detections_are_cut_sorted_and_without_empty_boxes() -> None:
    boxes = [[-3, 2, 10, 50], [5, 5, 5, 9], [1, 1, 4, 4], [25, 0, 40, 9], [8, 9, 2, 3], [2, 2, 4, 4]]
    found = clean_detections(boxes, [0.3, 0.9, 0.5, 0.8, 0.7, 0.5], list("abcdef"), (30, 20))
    np.testing.assert_array_equal(found.boxes, [[1, 1, 4, 4], [2, 2, 4, 4], [0, 2, 10, 30]])
    np.testing.assert_array_equal(found.scores, np.float32([0.5, 0.5, 0.3]))
    assert found.labels == ["c", "f", "a"]
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    empty = clean_detections([], [], [], (30, 20))
    assert (empty.boxes.shape, empty.scores.shape, empty.labels) == ((0, 4), (0,), [])


@pytest.mark.parametrize(
    ("boxes", "scores", "labels"),
    [
        ([[0, 0, 1, 1]], [0.5, 0.6], ["a"]),
        ([[0, 0, 1, 1]], [0.5], []),
        ([[0, 0, 1]], [0.5], ["a"]),
        ([0, 0, 1, 1], [0.5], ["a"]),
        ([[0, 0, 1, np.inf]], [0.5], ["a"]),
        ([[0, 0, 1, 1]], [np.nan], ["a"]),
        ([], [0.5], ["a"]),
        ([[0, 0, 1, 1], [0, 0]], [0.5, 0.5], ["a", "b"]),
        ([[0, 0, 1, "x"]], [0.5], ["a"]),
        ([[0, 0, 1, 1]], [[0.5]], ["a"]),
        ([[0, 0, 1, 1]], [0.5], None),
    ],
)
def test_detections_that_do_not_belong_together_are_refused(boxes: Any, scores: Any, labels: Any) -> None:
    with pytest.raises(PromptError, match="detections: expected"):
        clean_detections(boxes, scores, labels, (30, 20))
