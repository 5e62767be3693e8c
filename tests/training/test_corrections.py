"""Correction clicks fall on the largest error, with the label that mends it."""

import pytest
import torch

from training.corrections import correction_clicks

STRIDE = 4.0


def square(side: int, *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """(1, 1, side, side) of 0 and 1: ones in the boxes x1, y1, x2, y2 (exclusive)."""
    found = torch.zeros(1, 1, side, side)
    for x1, y1, x2, y2 in boxes:
        found[..., y1:y2, x1:x2] = 1
    return found


def logits_of(mask: torch.Tensor) -> torch.Tensor:
    return mask * 8 - 4


def click(predicted: torch.Tensor, wanted: torch.Tensor, valid: torch.Tensor, chance: float | None = None):  # type: ignore[no-untyped-def]
    drawn = None if chance is None else torch.tensor([chance])
    xy, labels = correction_clicks(logits_of(predicted), wanted, valid, drawn, stride=STRIDE)
    assert xy.shape == (1, 1, 2) and labels.shape == (1, 1) and labels.dtype == torch.int64
    cell = ((xy[0, 0] + 0.5) / STRIDE - 0.5).tolist()
    return cell, int(labels)


EVERYWHERE = torch.ones(1, 1, 16, 16)


def test_missing_part_gets_a_positive_click_in_its_middle() -> None:
    wanted = square(16, (2, 2, 14, 14))
    cell, label = click(square(16, (7, 2, 14, 14)), wanted, EVERYWHERE)  # columns 2..6 are missing
    assert label == 1 and cell[0] == 4 and 4 <= cell[1] <= 11


def test_larger_of_two_errors_is_mended_first() -> None:
    wanted = square(16, (0, 0, 3, 3))
    cell, label = click(square(16, (8, 8, 15, 15)), wanted, EVERYWHERE)  # 9 missing, 49 too much
    assert (cell, label) == ([11, 11], 0)


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.99])
def test_chance_chooses_within_the_region(chance: float) -> None:
    (x, y), label = click(square(16), square(16, (3, 5, 9, 12), (12, 0, 16, 2)), EVERYWHERE, chance)
    assert label == 1 and 3 <= x < 9 and 5 <= y < 12
    place = int(chance * 42)
    assert (x, y) == (3 + place % 6, 5 + place // 6)


def test_padding_is_no_error_and_without_one_there_is_no_click() -> None:
    wanted = square(16, (2, 2, 6, 6))
    valid = square(16, (0, 0, 16, 8))
    predicted = square(16, (2, 2, 6, 6), (0, 9, 16, 16))
    assert click(predicted, wanted, valid) == ([-0.375, -0.375], -1)  # a padding point at 0, 0


def test_rows_are_answered_by_themselves() -> None:
    wanted = torch.cat([square(16, (2, 2, 6, 6)), square(16), square(16, (8, 8, 16, 16))])
    predicted = torch.cat([square(16), square(16, (1, 1, 3, 3)), square(16, (8, 8, 16, 16))])
    valid = EVERYWHERE.expand(3, -1, -1, -1)
    _, labels = correction_clicks(logits_of(predicted), wanted, valid, None, stride=STRIDE)
    assert labels[:, 0].tolist() == [1, 0, -1]
