"""Masks one at a time: ids, connected pieces, descriptions."""

from typing import Any

import numpy as np
import pytest

from training.readers.masks import LabelMasks, MaskInfo, RleMasks
from training.readers.rle import parse_rle
from zim.errors import DataError


def label_map() -> np.ndarray:
    """(1, 8, 10): id 1 in two pieces of 4 and 2 pixels, id 7 in one that touches itself at a corner."""
    label = np.zeros((1, 8, 10), np.uint16)
    label[0, 0:2, 0:2] = 1
    label[0, 5:7, 0] = 1
    label[0, 3, 4] = label[0, 4, 5] = 7
    return label


def test_one_mask_an_id() -> None:
    masks = LabelMasks(label_map())
    assert [(info.name, info.area) for info in masks.info] == [("1", 6), ("7", 2)]
    assert len(masks) == 2 and masks.size_hw == (8, 10)
    np.testing.assert_array_equal(masks[0], label_map()[0] == 1)
    np.testing.assert_array_equal(masks[-1], label_map()[0] == 7)
    assert [mask.sum() for mask in masks] == [6, 2] == [mask.sum() for mask in masks[:]]
    with pytest.raises(IndexError):
        masks[2]


def test_pieces_are_8_connected_and_small_ones_left_out() -> None:
    masks = LabelMasks(label_map(), pieces=True)
    assert [(info.name, info.area) for info in masks.info] == [("1", 4), ("1", 2), ("7", 2)]
    assert [mask.sum() for mask in masks] == [4, 2, 2]
    np.testing.assert_array_equal(masks[0] | masks[1], label_map()[0] == 1)
    assert not (masks[0] & masks[1]).any()
    assert [info.area for info in LabelMasks(label_map(), pieces=True, min_area=3).info] == [4]
    assert [info.area for info in LabelMasks(label_map(), min_area=3).info] == [6]


def test_names_choose_ids_zero_included() -> None:
    masks = LabelMasks(label_map(), names={0: "rest", 7: "cross", 5: "absent"})
    assert [(info.name, info.area) for info in masks.info] == [("rest", 72), ("cross", 2)]


def test_several_maps_of_one_photograph() -> None:
    second = np.full((1, 8, 10), 3, np.uint16)
    masks = LabelMasks(np.concatenate([label_map(), second]))
    assert [info.area for info in masks.info] == [6, 2, 80]
    assert masks[2].all()


def test_run_lengths_of_another_size_are_refused(rle_of: Any) -> None:
    rles = [parse_rle(rle_of(np.ones(shape, bool))) for shape in ((4, 5), (5, 4))]
    with pytest.raises(DataError, match=r"mask 1: expected size \(4, 5\) .*got \(5, 4\)"):
        RleMasks((4, 5), rles, [MaskInfo(name="", area=20)] * 2)
    with pytest.raises(DataError, match="one description a mask, got 0 for 1"):
        RleMasks((4, 5), rles[:1], [])
