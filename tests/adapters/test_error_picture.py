"""Where a matte is wrong: colours and sizes against cases that one can work out by hand."""

import numpy as np
import pytest

from adapters.answers import answers_from
from adapters.error_picture import TOO_LITTLE, TOO_MUCH, error_picture
from zim.errors import PromptError


def test_right_is_black_too_much_orange_too_little_blue() -> None:
    truth = np.array([[0, 0, 1, 0.5]], np.float32)
    alpha = np.array([[0, 1, 0, 0.75]], np.float32)
    seen = error_picture(alpha, truth)
    assert seen.tolist() == [[[0, 0, 0], list(TOO_MUCH), list(TOO_LITTLE), [64, 38, 0]]]


def test_opposite_errors_do_not_cancel_when_the_picture_is_shrunk() -> None:
    truth = np.tile(np.array([[0, 1]], np.float32), (8, 8))
    small = error_picture(1 - truth, truth, long_side=4)
    assert small.shape == (2, 4, 3)
    assert np.abs(small.reshape(-1, 3) - (np.array(TOO_MUCH) + TOO_LITTLE) / 2).max() <= 0.51


def test_other_shapes_are_told() -> None:
    with pytest.raises(PromptError, match=r"two of one shape .* \(2, 3\) and \(3, 2\)"):
        error_picture(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))


def test_an_alpha_as_the_rows_of_a_sam() -> None:
    alpha = np.array([[0.2, 0.5, 0.7]], np.float32)
    binary, soft = answers_from(alpha, ["x (binary)", "x (sigmoid)"])
    assert binary.alpha.tolist() == [[0, 0, 1]]
    assert soft.row == "x (sigmoid)" and soft.alpha is alpha
