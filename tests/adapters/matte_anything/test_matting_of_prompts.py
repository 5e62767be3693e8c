"""The adapter around a predictor that knows the truth: which objects are matted, and with what trimap."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from adapters.matte_anything import TRANSPARENT, MatteAnything, MatteTrimap, TextDetector
from adapters.oracle import OraclePredictor
from zim.errors import ConfigError, PromptError
from zim.matte_files import PromptOptions
from zim.prompts import Prompt

LEFT, RIGHT = (6.0, 14.0, 38.0, 46.0), (59.0, 14.0, 91.0, 46.0)


class Boxes(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: list[str]


class RecordedDetector:
    """Answers each caption with boxes that were written down; notes how it was asked."""

    def __init__(self, **answers: list[tuple[float, ...]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, float, float]] = []

    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Any:
        self.asked.append((phrases, box_threshold, text_threshold))
        boxes = self.answers.get(phrases.split(".")[0], [])
        return Boxes(
            np.array(boxes, np.float32).reshape(-1, 4), np.linspace(0.9, 0.5, len(boxes)), [phrases] * len(boxes)
        )


def discs() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:60, :100]
    left, right = (np.clip((16 - np.hypot(columns - x, rows - 30)) / 4, 0, 1) for x in (22, 75))
    return left.astype(np.float32), right.astype(np.float32)


@pytest.fixture
def image() -> np.ndarray:
    left, right = discs()
    return np.stack([255 * left, 255 * right, 60 + 0 * left], -1).astype(np.uint8)


@pytest.fixture
def oracle() -> OraclePredictor:
    made = OraclePredictor()
    made.expect(*discs())
    return made


def test_objects_together_and_apart(image: np.ndarray, oracle: OraclePredictor) -> None:
    prompts = PromptOptions(boxes=(LEFT, RIGHT))
    (united,) = MatteAnything(oracle)(image, prompts)
    assert np.abs(united.alpha - np.maximum(*discs())).max() < 1e-5 and len(united.prompts) == 2
    first, second = MatteAnything(oracle)(image, prompts, apart=True)
    assert np.abs(first.alpha - discs()[0]).max() < 1e-5 and np.abs(second.alpha - discs()[1]).max() < 1e-5
    assert np.array_equal(first.trimap, MatteTrimap()(first.answer))


def test_points_and_ready_prompts(image: np.ndarray, oracle: OraclePredictor) -> None:
    (clicked,) = MatteAnything(oracle)(image, PromptOptions(points=((75, 30, 1), (22, 30, 0))))
    (ready,) = MatteAnything(oracle)(image, [Prompt(box=np.array(RIGHT, np.float32))])
    assert np.abs(clicked.alpha - discs()[1]).max() < 1e-5 and np.array_equal(clicked.alpha, ready.alpha)


def test_every_detection_is_used(image: np.ndarray, oracle: OraclePredictor) -> None:
    detector: TextDetector = RecordedDetector(disc=[RIGHT, LEFT])
    matting = MatteAnything(oracle, detector=detector)
    (united,) = matting(image, text="disc", thresholds=(0.4, 0.3))
    assert np.abs(united.alpha - np.maximum(*discs())).max() < 1e-5
    assert [found.score for found in united.found if found] == pytest.approx([0.9, 0.5])
    assert detector.asked == [("disc", 0.4, 0.3)]  # type: ignore[attr-defined]
    right, left = matting(image, text="disc", apart=True)
    assert np.abs(right.alpha - discs()[1]).max() < 1e-5 and left.found[0] and left.found[0].box == LEFT


def test_text_joins_what_was_drawn(image: np.ndarray, oracle: OraclePredictor) -> None:
    matting = MatteAnything(oracle, detector=RecordedDetector(disc=[RIGHT]))
    mattes = matting(image, PromptOptions(boxes=(LEFT,)), text="disc", apart=True)
    assert [matte.found[0] is None for matte in mattes] == [True, False]


def test_no_foreground_is_certain_inside_glass(image: np.ndarray, oracle: OraclePredictor) -> None:
    detector = RecordedDetector(glass=[(0.0, 0.0, 50.0, 60.0)])
    seen: list[np.ndarray] = []

    def refiner(image: np.ndarray, trimap: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        seen.append(trimap)
        return np.where(trimap == 0.5, 0.25, trimap).astype(np.float32)

    matting = MatteAnything(oracle, mode="zim+pymatting", refiner=refiner, detector=detector)
    (matte,) = matting(image, PromptOptions(boxes=(LEFT, RIGHT)), transparent=TRANSPARENT)
    plain = MatteTrimap()(matte.answer)
    assert detector.asked == [(TRANSPARENT, 0.5, 0.25)]
    assert (plain[:, :50] == 1).any() and not (seen[0][:, :50] == 1).any()
    assert np.array_equal(seen[0][:, 50:], plain[:, 50:]) and np.array_equal(seen[0] == 0, plain == 0)
    assert matte.alpha[30, 22] == 0.25 and matte.alpha[30, 75] == 1


def test_cutout_and_background_are_clean(image: np.ndarray, oracle: OraclePredictor) -> None:
    """The red disc before green: nothing of the old blue shines through."""
    (matte,) = MatteAnything(oracle)(image, PromptOptions(boxes=(LEFT,)))
    rgba = matte.cutout()
    assert rgba.shape == (60, 100, 4) and np.array_equal(rgba[..., 3], (matte.alpha * 255 + 0.5).astype(np.uint8))
    soft = (matte.alpha > 0.3) & (matte.alpha < 0.9)
    assert (rgba[soft][:, 0] > 180).all()
    composite = matte.composite((0, 255, 0))
    assert np.abs(composite[soft][:, 0] - 255 * matte.alpha[soft]).max() < 60
    assert (composite[matte.alpha == 0] == (0, 255, 0)).all()


def test_what_cannot_be_matted(image: np.ndarray, oracle: OraclePredictor) -> None:
    with pytest.raises(PromptError, match="found nothing for 'cat' above 0.25"):
        MatteAnything(oracle, detector=RecordedDetector())(image, text="cat")
    with pytest.raises(ConfigError, match="expected a text detector"):
        MatteAnything(oracle)(image, text="cat")
    with pytest.raises(PromptError, match="expected"):
        MatteAnything(oracle)(image)
    with pytest.raises(PromptError, match="expected at least one"):
        MatteAnything(oracle)(image, [])
    with pytest.raises(ConfigError, match="mode: expected one of"):
        MatteAnything(oracle, mode="best")
    with pytest.raises(ConfigError, match="load_vitmatte"):
        MatteAnything(oracle, mode="zim+vitmatte")
