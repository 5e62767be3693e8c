"""What is pointed at becomes alphas: one for each object, three candidates, or a matte at hand."""

import numpy as np
import pytest

from adapters.inpaint_anything.selection import Selection, select, together
from adapters.oracle import OraclePredictor
from zim.errors import ConfigError, ImageError, PromptError
from zim.prompts import Prompt
from zim.text_detection import Detections

HW = (80, 120)
IMAGE = np.zeros((*HW, 3), np.uint8)


def squares() -> tuple[np.ndarray, np.ndarray]:
    left, right = np.zeros(HW, np.float32), np.zeros(HW, np.float32)
    left[10:40, 5:35], right[30:70, 70:110] = 1, 0.9
    return left, right


@pytest.fixture
def oracle() -> OraclePredictor:
    predictor = OraclePredictor()
    predictor.expect(*squares())
    return predictor


class TwoBoxes:
    """Finds both squares, or nothing."""

    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Detections:
        boxes = [[5, 10, 35, 40], [70, 30, 110, 70]] if "square" in phrases and box_threshold < 0.9 else []
        found = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(found, np.ones(len(found), np.float32), ["square"] * len(found))


def test_one_alpha_for_each_prompt(oracle: OraclePredictor) -> None:
    prompts = (
        Prompt(box=np.array([68, 28, 112, 72], np.float32)),
        Prompt(point_coords=np.array([[20, 20]], np.float32), point_labels=np.array([1], np.int32)),
    )
    found = select(IMAGE, Selection(prompts=prompts), predictor=oracle)
    left, right = squares()
    np.testing.assert_allclose(found[0], right, atol=1e-5)
    np.testing.assert_allclose(found[1], left, atol=1e-5)
    np.testing.assert_allclose(together(found), left + right, atol=1e-5)


def test_words(oracle: OraclePredictor) -> None:
    selection = Selection(phrases="square")
    assert len(select(IMAGE, selection, predictor=oracle, detector=TwoBoxes())) == 2
    with pytest.raises(PromptError, match="nothing that 'circle' names"):
        select(IMAGE, Selection(phrases="circle"), predictor=oracle, detector=TwoBoxes())
    with pytest.raises(PromptError, match="nothing"):
        select(IMAGE, Selection(phrases="square", box_threshold=0.95), predictor=oracle, detector=TwoBoxes())
    with pytest.raises(ConfigError, match="expected a text detector"):
        select(IMAGE, selection, predictor=oracle)


def test_a_matte_needs_no_predictor() -> None:
    left, _ = squares()
    np.testing.assert_array_equal(select(IMAGE, Selection(matte=left))[0], left)
    with pytest.raises(ImageError):
        select(IMAGE, Selection(matte=left[1:]))


def test_candidates_are_the_three_answers(oracle: OraclePredictor) -> None:
    prompt = Prompt(box=np.array([5, 10, 35, 40], np.float32))
    assert len(select(IMAGE, Selection(prompts=(prompt,), candidates=True), predictor=oracle)) == 3
    with pytest.raises(PromptError, match="exactly one prompt"):
        Selection(prompts=(prompt, prompt), candidates=True)


def test_a_click_keeps_to_its_object() -> None:
    """A predictor that answers both squares to a click on one."""
    both = OraclePredictor()
    both.expect(np.maximum(*squares()))
    click = Prompt(point_coords=np.array([[90, 50]], np.float32), point_labels=np.array([1], np.int32))
    found = select(IMAGE, Selection(prompts=(click,)), predictor=both)[0]
    np.testing.assert_allclose(found, squares()[1], atol=1e-5)
    everything = select(IMAGE, Selection(prompts=(click,), connected=False), predictor=both)[0]
    np.testing.assert_allclose(everything, np.maximum(*squares()), atol=1e-5)


def test_nothing_pointed_at() -> None:
    with pytest.raises(PromptError, match="got none"):
        Selection()
    with pytest.raises(ConfigError, match="predictor: expected one"):
        select(IMAGE, Selection(prompts=(Prompt(box=np.array([0, 0, 5, 5], np.float32)),)))
