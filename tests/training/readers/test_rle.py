"""Run-length encoding against hand-made cases, an encoder written from the definition, and pycocotools."""

from typing import Any

import numpy as np
import pytest

from training.readers.rle import MAX_PIXELS, parse_rle
from zim.errors import DataError


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([2, 3, 7], "001110000000"),
        ("237", "001110000000"),
        ([2, 3, 4, 1, 2], "001110000100"),
        ("234NN", "001110000100"),  # 1 - 3 and 2 - 4 are -2, in two's complement 11110: chr(48 + 30)
        (b"234NN", "001110000100"),
        ([0, 12], "111111111111"),
        ("0<", "111111111111"),
        ([12], "000000000000"),
        ("<", "000000000000"),
        ([3, 0, 2, 7], "000001111111"),  # an empty run
    ],
)
def test_hand_made_masks(counts: Any, expected: str) -> None:
    """Three rows and four columns, written out column by column."""
    mask = parse_rle({"size": [3, 4], "counts": counts}).decode()
    assert mask.shape == (3, 4) and mask.dtype == np.bool_
    assert "".join("01"[int(pixel)] for column in mask.T for pixel in column) == expected


def test_numbers_of_several_groups() -> None:
    """16 needs a second group, or its top bit would be a sign; 1000 is 01000, 11111 and a group for the sign."""
    assert parse_rle({"size": [4, 254], "counts": "`0Xo0"}).counts.tolist() == [16, 1000]
    assert parse_rle({"size": [4, 254], "counts": "`0Xo0"}).area == 1000


@pytest.mark.parametrize("compressed", [True, False])
def test_random_masks_come_back(rle_of: Any, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    for height, width, share in [
        (1, 1, 1.0),
        (1, 70, 0.5),
        (90, 1, 0.5),
        (33, 47, 0.5),
        (200, 300, 0.001),
        (64, 64, 0),
    ]:
        mask = rng.random((height, width)) < share
        rle = parse_rle(rle_of(mask, compressed))
        np.testing.assert_array_equal(rle.decode(), mask)
        assert rle.area == mask.sum()


def test_long_runs_and_large_differences(rle_of: Any) -> None:
    mask = np.zeros((150, 1000), bool)
    mask[70:73, 3] = mask[0, 700] = True
    mask[:, 750:990] = True
    np.testing.assert_array_equal(parse_rle(rle_of(mask)).decode(), mask)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"counts": [12]}, "'size' and 'counts'"),
        ([[1, 2, 3, 4]], "'size' and 'counts'"),
        ({"size": [3], "counts": [3]}, "two positive integers"),
        ({"size": [3, -4], "counts": [12]}, "two positive integers"),
        ({"size": [3.0, 4], "counts": [12]}, "two positive integers"),
        ({"size": [MAX_PIXELS, 2], "counts": [1]}, "at most"),
        ({"size": [3, 4], "counts": [5, 6]}, "runs of 12 pixels .4x3., got 11"),
        ({"size": [3, 4], "counts": [14, -2]}, "run lengths >= 0, got -2"),
        ({"size": [3, 4], "counts": ["12"]}, "text or a list of integers"),
        ({"size": [3, 4], "counts": [12.0]}, "text or a list of integers"),
        ({"size": [3, 4], "counts": [True]}, "text or a list of integers"),
        ({"size": [3, 4], "counts": None}, "text or a list of integers"),
        ({"size": [3, 4], "counts": [10**40]}, "text or a list of integers"),
        ({"size": [3, 4], "counts": ""}, "got 0"),
        ({"size": [3, 4], "counts": "23 "}, "characters from '0' to 'o'"),
        ({"size": [3, 4], "counts": "23é"}, "ASCII"),
        ({"size": [3, 4], "counts": "23X"}, "middle of a number"),
        ({"size": [3, 4], "counts": "o" * 30 + "0"}, "too long"),
        ({"size": [3, 4], "counts": "23@"}, "run lengths >= 0, got -16"),
    ],
)
def test_faults_are_named(segmentation: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"RLE: .*{message}"):
        parse_rle(segmentation)


def test_random_text_never_breaks_the_decoder() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = bytes(rng.integers(48, 112, int(rng.integers(0, 12))).tolist())
        try:
            assert parse_rle({"size": [5, 7], "counts": text}).counts.sum() == 35
        except DataError as error:
            assert "RLE" in str(error)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools' own
def test_against_pycocotools(rle_of: Any) -> None:
    mask_utils = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for height, width, share in [(1, 1, 1.0), (50, 31, 0.5), (300, 200, 0.003), (40, 40, 0.0)]:
        mask = rng.random((height, width)) < share
        theirs = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
        np.testing.assert_array_equal(parse_rle(theirs).decode(), mask)
        np.testing.assert_array_equal(mask_utils.decode(rle_of(mask)).astype(bool), mask)
