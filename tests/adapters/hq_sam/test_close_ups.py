"""Three masks against `predict_alpha`, and close-ups of differences that were put there."""

import numpy as np
import pytest

import zim
from adapters.hq_sam.close_up import close_up, difference_map, difference_of
from adapters.hq_sam.three_masks import answers_to
from zim.errors import ConfigError, ImageError

POINT = {"point_coords": np.array([[40.0, 30.0]]), "point_labels": np.array([1])}


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore")
def test_answers_are_those_of_predict_alpha() -> None:
    predictor = zim.load_predictor("hq_zim_tiny")
    predictor.set_image(photo())
    three = answers_to(predictor, **POINT)
    assert three.alphas.shape == (3, 60, 90) and len(three.qualities) == 3
    best = zim.predict_alpha(predictor, multimask_output=True, **POINT)
    assert np.abs(three.alphas[three.best] - best).max() < 1e-5
    token = answers_to(predictor, multimask_output=False, hq_token_only=True, **POINT)
    alone = zim.predict_alpha(predictor, hq_token_only=True, **POINT)
    assert np.abs(token.alphas[0] - alone).max() < 1e-5
    base = zim.load_predictor("zim_tiny")
    base.set_image(photo())
    with pytest.raises(ConfigError, match="expected a predictor with an HQ head"):
        answers_to(base, hq_token_only=True, **POINT)


def test_the_window_holds_the_difference() -> None:
    image = np.full((300, 400, 3), 200, np.uint8)
    base = np.zeros((300, 400), np.float32)
    base[100:200, 100:300] = 1
    hq = base.copy()
    hq[195:205, 280:310] = 0.25
    seen = close_up(image, base, hq, side=200)
    left, top, width, height = seen.window
    assert left <= 280 and left + width >= 300 and top <= 195 and top + height >= 200
    assert {part.shape for part in seen[1:]} == {(200, 200, 3)}
    assert set(np.unique(seen.base)) == {64, 200}
    assert set(np.unique(seen.hq)) == {64, 200, 98}  # 0.25 * 200 + 0.75 * 64
    assert np.array_equal(seen.photo, np.full((200, 200, 3), 200))
    mean, changed = difference_of(base, hq)
    inside = 5 * 20  # rows and columns of the change that were object
    assert changed == pytest.approx(inside / (300 * 400))
    assert mean == pytest.approx((0.75 * inside + 0.25 * (300 - inside)) / (300 * 400))


def test_outlines_count_and_haze_in_the_background_only_where_there_are_none() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    base = np.zeros((300, 400), np.float32)
    base[100:200, 20:120] = 1
    hq = base.copy()
    hq[150:160, 115:125] = 0.3
    hq[100:200, 250:390] = 0.2  # much more in sum
    left, _, width, _ = close_up(image, base, hq).window
    assert left <= 115 and left + width >= 120
    left, _, width, _ = close_up(image, base * 0, hq * 0 + (hq == 0.2) * np.float32(0.2)).window
    assert left >= 245


def test_no_difference_is_black_and_sizes_have_to_fit() -> None:
    alpha = np.linspace(0, 1, 200, dtype=np.float32).reshape(10, 20)
    assert difference_map(alpha, alpha).max() < 8
    assert difference_map(alpha * 0, alpha * 0 + 1).min(axis=(0, 1)).max() > 200
    assert close_up(np.zeros((10, 20, 3), np.uint8), alpha, alpha).window[2] == 10
    with pytest.raises(ImageError, match="expected the base's size"):
        difference_of(alpha, alpha[:5])
