"""The oracle answers with the truth that the prompt points at."""

import numpy as np
import pytest

from adapters.oracle import OraclePredictor
from zim import predict_alpha
from zim.errors import ImageNotSetError, PromptError


def two_discs() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:60, :100]
    left, right = (np.clip(15.5 - np.hypot(columns - x, rows - 30), 0, 1) for x in (22, 75))
    return left.astype(np.float32), right.astype(np.float32)


@pytest.fixture
def oracle() -> OraclePredictor:
    made = OraclePredictor()
    made.set_image(np.zeros((60, 100, 3), np.uint8))
    made.expect(*two_discs())
    return made


@pytest.mark.parametrize(
    ("prompts", "right"),
    [
        ({"box": np.array([60, 10, 95, 50])}, True),
        ({"box": np.array([[5, 12, 40, 50]])}, False),
        ({"point_coords": np.array([[75, 30], [22, 30]]), "point_labels": np.array([1, 0])}, True),
        ({"point_coords": np.array([[75, 30], [22, 30]]), "point_labels": np.array([0, 1])}, False),
    ],
)
def test_the_object_that_is_meant(oracle: OraclePredictor, prompts: dict, right: bool) -> None:
    assert np.abs(predict_alpha(oracle, **prompts) - two_discs()[right]).max() < 1e-5


def test_low_resolution_logits_mean_the_same_object(oracle: OraclePredictor) -> None:
    _, _, low = oracle.predict(box=np.array([60, 10, 95, 50]), multimask_output=False)
    assert low.shape == (1, 256, 256)
    assert np.abs(predict_alpha(oracle, mask_input=low) - two_discs()[1]).max() < 1e-5


def test_a_binary_oracle_answers_half(oracle: OraclePredictor) -> None:
    oracle.reports_binary = True
    alpha = predict_alpha(oracle, box=np.array([60, 10, 95, 50]))
    assert np.array_equal(alpha > 0.5, two_discs()[1] > 0.5) and set(np.unique(alpha.round(4))) == {0, 1}


def test_what_cannot_be_answered(oracle: OraclePredictor) -> None:
    with pytest.raises(PromptError, match="expected points, a box or a mask input"):
        oracle.predict()
    oracle.set_image(np.zeros((61, 100, 3), np.uint8))
    with pytest.raises(ImageNotSetError, match="of one size"):
        oracle.predict(box=np.array([60, 10, 95, 50]))
