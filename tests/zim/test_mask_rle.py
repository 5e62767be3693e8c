"""Run-length encoding against SAM's own functions and pycocotools, the reader that other tools use."""

import itertools
import json

import numpy as np
import pytest
import torch

from zim.compat.segment_anything import import_segment_anything
from zim.errors import DataError
from zim.rle import (
    RunLengths,
    decode_mask,
    encode_mask,
    encode_window,
    from_dict,
    to_coco,
    to_uncompressed,
)


def random_mask(rng: np.random.Generator) -> np.ndarray:
    """From empty to full, from noise to large blocks, any size from 1 x 1 on."""
    height, width = rng.integers(1, 40, 2)
    grain = int(rng.integers(1, 9))
    coarse = rng.random((height // grain + 1, width // grain + 1)) < rng.choice([0.0, 0.05, 0.5, 0.95, 1.0])
    return np.kron(coarse, np.ones((grain, grain), bool)).astype(bool)[:height, :width]


def test_every_mask_of_three_by_three() -> None:
    for bits in itertools.product([False, True], repeat=9):
        mask = np.array(bits).reshape(3, 3)
        rle = encode_mask(mask)
        expected = [len(list(run)) for _, run in itertools.groupby(mask.T.ravel().tolist())]
        assert rle.counts.tolist() == ([0] if bits[0] else []) + expected
        np.testing.assert_array_equal(decode_mask(rle), mask)


def test_equals_segment_anything() -> None:
    amg = import_segment_anything().utils.amg
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = random_mask(rng)
        rle = encode_mask(mask)
        assert to_uncompressed(rle) == amg.mask_to_rle_pytorch(torch.from_numpy(mask)[None])[0]
        np.testing.assert_array_equal(decode_mask(rle), amg.rle_to_mask(to_uncompressed(rle)))
        assert rle.area == mask.sum()


def test_a_window_is_the_mask_around_it() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        window = random_mask(rng)
        above, below, left, right = rng.integers(0, 4, 4)
        mask = np.pad(window, ((above, below), (left, right)))
        rle = encode_window(window, x=int(left), y=int(above), hw=mask.shape)
        assert rle.counts.tolist() == encode_mask(mask).counts.tolist()
        np.testing.assert_array_equal(decode_mask(rle), mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under numpy 2
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_masks_agree_with_pycocotools(count: int) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    rng = np.random.default_rng(2)
    for _ in range(count):
        mask = random_mask(rng)
        ours = to_coco(encode_mask(mask))
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert ours["counts"].encode() == theirs["counts"] and ours["size"] == theirs["size"]
        np.testing.assert_array_equal(decode_mask(from_dict(theirs)), mask)
        np.testing.assert_array_equal(coco.decode(ours).astype(bool), mask)


def test_large_runs_agree_with_pycocotools() -> None:
    """Runs of millions, and differences of both signs, take several characters."""
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    mask = np.zeros((3000, 4000), bool)
    mask[10:2990, 7:3000] = True
    mask[1000:1003, 1000:2000] = False
    mask[:, 3500:3999] = True
    ours = to_coco(encode_mask(mask))
    assert ours["counts"].encode() == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert from_dict(ours).counts.tolist() == encode_mask(mask).counts.tolist()


def test_known_string() -> None:
    """Written by hand: 5 bits a character from 48 on, 32 for "more", from the fourth run on differences."""
    rle = RunLengths((10, 10), np.array([6, 1, 40, 4, 5, 44]))
    # 6 -> "6"; 1 -> "1"; 40 = 8 + 1 * 32 -> "X1"; 4 - 1 -> "3"; 5 - 40 = -35 = 29 - 2 * 32 -> "mN"; 44 - 4 -> "X1"
    assert to_coco(rle) == {"size": [10, 10], "counts": "61X13mNX1"}
    assert from_dict(to_coco(rle)).counts.tolist() == rle.counts.tolist()


def test_both_forms_survive_json() -> None:
    mask = random_mask(np.random.default_rng(3))
    for form in (to_uncompressed, to_coco):
        again = from_dict(json.loads(json.dumps(form(encode_mask(mask)))))
        np.testing.assert_array_equal(decode_mask(again), mask)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"counts": [4]}, r"rle: expected a mapping with size \[H, W\] and counts"),
        ({"size": [2, 2, 2], "counts": [8]}, r"rle: expected a mapping with size"),
        ({"size": [2, 2], "counts": "é!"}, "RLE: expected 'counts' in ASCII"),
        ({"size": [2, 2], "counts": "X"}, "RLE: 'counts' end in the middle of a number"),  # says "more", and ends
        ({"size": [2, 2], "counts": "P" * 13 + "0"}, "RLE: a number in 'counts' is too long"),
        ({"size": [2, 2], "counts": [1, 2]}, "expected runs >= 0 that sum to 2 x 2, got a sum of 3"),
        ({"size": [2, 2], "counts": [6, -2]}, "expected runs >= 0 that sum to 2 x 2"),
    ],
)
def test_what_is_no_mask_is_refused(entry: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_mask(from_dict(entry))
