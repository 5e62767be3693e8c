"""Non-maximum suppression against a naive transcription of the greedy definition."""

import numpy as np
import pytest
import torch

from zim.nms import BLOCK, batched_nms, box_area, nms


def naive(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, threshold: float) -> list[int]:
    """Greedy suppression, one pair at a time, in float32 as torchvision computes it."""
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])  # Python's sort is stable
    kept: list[int] = []
    for i in order:
        if all(groups[i] != groups[j] or not naive_iou(boxes[j], boxes[i]) > threshold for j in kept):
            kept.append(i)
    return kept


def naive_iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]))
    height = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]))
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else float("nan")


def random_boxes(count: int, seed: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-spread, spread, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 30, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("count", "spread"), [(1, 5.0), (60, 5.0), (200, 40.0)])
def test_equals_the_definition(count: int, spread: float, threshold: float) -> None:
    boxes = random_boxes(count, seed=count, spread=spread)
    scores = np.random.default_rng(1).integers(0, 20, count).astype(np.float32)  # with many ties
    groups = np.random.default_rng(2).integers(0, 3, count)
    tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
    assert nms(*tensors, threshold).tolist() == naive(boxes, scores, np.zeros(count), threshold)
    received = batched_nms(*tensors, torch.from_numpy(groups), threshold)
    assert received.tolist() == naive(boxes, scores, groups, threshold)
    assert received.dtype == torch.int64


def test_blocks_agree_with_the_definition() -> None:
    count = BLOCK + 150
    boxes = random_boxes(count, seed=5, spread=90.0)
    scores = np.random.default_rng(6).random(count).astype(np.float32)
    received = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.2)
    assert received.tolist() == naive(boxes, scores, np.zeros(count), 0.2)
    assert received.max() >= BLOCK


def test_a_suppressed_box_suppresses_nobody() -> None:
    # Each box overlaps its neighbour by a third, so every second one of the chain survives.
    left = torch.arange(0, 50, 5.0)
    boxes = torch.stack([left, torch.zeros(10), left + 10, torch.ones(10)], dim=1)
    scores = torch.arange(10, 0, -1.0)
    assert nms(boxes, scores, 0.3).tolist() == [0, 2, 4, 6, 8]


def test_iou_of_exactly_the_threshold_is_kept() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 5.0]])
    scores = torch.tensor([1, 2.0])
    assert nms(boxes, scores, 0.5).tolist() == [1, 0]
    assert nms(boxes, scores, 0.499).tolist() == [1]


def test_the_threshold_is_not_rounded_to_float32() -> None:
    # 3 / 5 in float32 lies above the double 0.6: torchvision's C++ compares in double and drops the box.
    boxes = torch.tensor([[0, 0, 5, 1], [0, 0, 3, 1.0]])
    assert nms(boxes, torch.tensor([2, 1.0]), 0.6).tolist() == [0]


def test_ties_keep_the_order_of_the_input() -> None:
    boxes = torch.tensor([[0, 0, 4, 4], [10, 10, 14, 14], [0, 0, 4, 4.0]])
    assert nms(boxes, torch.ones(3), 0.5).tolist() == [0, 1]


def test_boxes_without_area_do_not_suppress_each_other() -> None:
    assert nms(torch.zeros(3, 4), torch.tensor([1, 3, 2.0]), 0.5).tolist() == [1, 2, 0]


def test_no_boxes() -> None:
    kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


def test_integer_and_half_boxes_do_not_overflow() -> None:
    boxes = torch.tensor([[0, 0, 1000, 1000], [1, 1, 1000, 1000], [0, 0, 10, 10]])
    scores = torch.tensor([3, 2, 1])
    assert nms(boxes, scores, 0.5).tolist() == [0, 2]
    assert nms(boxes.half(), scores, 0.5).tolist() == [0, 2]
    assert box_area(boxes.to(torch.int16)).tolist() == [1_000_000, 998_001, 100]


@pytest.mark.parametrize(
    ("boxes", "scores", "idxs", "message"),
    [
        (
            torch.zeros(3, 5),
            torch.zeros(3),
            torch.zeros(3),
            r"boxes: expected shape \(N, 4\), received \(3, 5\)",
        ),
        (
            torch.zeros(3, 4),
            torch.zeros(2),
            torch.zeros(3),
            r"scores: expected shape \(3,\), received \(2,\)",
        ),
        (
            torch.zeros(3, 4),
            torch.zeros(3),
            torch.zeros(3, 1),
            r"idxs: expected shape \(3,\), received \(3, 1\)",
        ),
    ],
)
def test_shapes_are_checked(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        batched_nms(boxes, scores, idxs, 0.5)
