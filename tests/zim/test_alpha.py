from typing import Any

import numpy as np
import pytest

from zim.alpha import predict_alpha
from zim.errors import PromptError
from zim.predictor import ZimPredictor
from zim.protocol import Predictor

BOX = np.array([20.0, 10.0, 110.0, 70.0])


class Scripted:
    """Answers with three constant maps and remembers how it was asked."""

    def __init__(self, logits: Any = (-2.0, 0.0, 3.0), scores: Any = (0.1, 0.9, 0.4), dtype: Any = np.float32) -> None:
        self.logits, self.scores, self.dtype = logits, scores, dtype
        self.asked: list[dict[str, Any]] = []

    def set_image(self, image: Any, image_format: str = "RGB") -> None:
        del image, image_format

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(kwargs)
        count = 3 if kwargs["multimask_output"] else 1
        maps = np.array(self.logits[:count], dtype=self.dtype)[:, None, None] * np.ones((1, 4, 5), dtype=self.dtype)
        return maps, np.array(self.scores[:count]), np.zeros((count, 256, 256), dtype=np.float32)


def test_alpha_is_the_sigmoid_of_one_answers_logits() -> None:
    scripted = Scripted()
    assert isinstance(scripted, Predictor)
    alpha = predict_alpha(scripted, box=BOX)
    assert (alpha.shape, alpha.dtype) == ((4, 5), np.float32)
    np.testing.assert_allclose(alpha, 0.119202922, atol=1e-7)  # sigmoid(-2)
    assert scripted.asked[0].pop("box") is BOX
    assert scripted.asked == [{"multimask_output": False, "return_logits": True}]


def test_of_three_answers_the_best_is_taken() -> None:
    np.testing.assert_allclose(predict_alpha(Scripted(), box=BOX, multimask_output=True), 0.5)


def test_alpha_of_both_outputs_is_the_same(predictor: ZimPredictor) -> None:
    strict = ZimPredictor(predictor.model, output="mask")
    strict.features = predictor.features
    expected = predictor.predict(box=BOX, multimask_output=False)[0][0]
    np.testing.assert_allclose(predict_alpha(strict, box=BOX), expected, atol=1e-7)
    np.testing.assert_allclose(predict_alpha(predictor, box=BOX), expected, atol=1e-7)


def test_extreme_logits_do_not_overflow() -> None:
    alpha = predict_alpha(Scripted(logits=(-1e4, 1e4, 0), scores=(0, 1, 0)), box=BOX, multimask_output=True)
    assert (alpha == 1).all()


def test_a_predictor_that_ignores_return_logits_is_found_out() -> None:
    with pytest.raises(
        TypeError, match=r"expected float logits \(C, H, W\) .* got bool of shape \(1, 4, 5\) from Scripted"
    ):
        predict_alpha(Scripted(dtype=bool), box=BOX)


def test_return_logits_is_not_a_choice(predictor: ZimPredictor) -> None:
    with pytest.raises(PromptError, match="return_logits: predict_alpha always asks for logits"):
        predict_alpha(predictor, box=BOX, return_logits=False)
