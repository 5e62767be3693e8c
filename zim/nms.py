"""Greedy non-maximum suppression with torchvision's semantics, without torchvision."""

import torch
from torch import Tensor

BLOCK = 512  # boxes settled together; memory is BLOCK x N pairs


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keep boxes in order of score, dropping each that overlaps a kept one by an IoU above the threshold.

    Args:
        boxes: (N, 4) xyxy with x1 <= x2 and y1 <= y2, any real dtype.
        scores: (N,) real; equal scores keep the order of the input.
        iou_threshold: drop when IoU > threshold; an IoU of exactly the threshold is kept, and so is
            0 / 0 (two boxes without area).

    Returns:
        (K,) int64 indices of the kept boxes, by descending score, on the device of `boxes`.

    Raises:
        ValueError: the shapes do not belong together.
    """
    return batched_nms(boxes, scores, torch.zeros(len(boxes), dtype=torch.int64), iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """As `nms`, where boxes suppress only boxes of the same group.

    Args:
        boxes: (N, 4) xyxy, any real dtype.
        scores: (N,) real.
        idxs: (N,) group of each box (a class, say).
        iou_threshold: drop when IoU > threshold.

    Returns:
        (K,) int64 indices of the kept boxes of all groups, by descending score, on the device of `boxes`.

    Raises:
        ValueError: the shapes do not belong together.
    """
    _check_shapes(boxes, scores, idxs)
    order = scores.to(boxes.device).sort(descending=True, stable=True).indices
    ranked = boxes[order]
    if ranked.dtype not in (torch.float32, torch.float64):
        ranked = ranked.float()
    groups = idxs.to(boxes.device)[order]

    alive = torch.ones(len(ranked), dtype=torch.bool, device=boxes.device)
    for start in range(0, len(ranked), BLOCK):
        candidates = torch.arange(start, min(start + BLOCK, len(ranked)), device=boxes.device)
        candidates = candidates[alive[candidates]]
        later = torch.arange(start, len(ranked), device=boxes.device)
        # torchvision compares a float IoU with a double threshold, and so do we.
        overlaps = box_iou(ranked[candidates], ranked[later]).double() > iou_threshold
        overlaps &= (groups[candidates, None] == groups[later]) & (candidates[:, None] < later)
        kept = _settle(overlaps[:, candidates - start])
        alive[candidates] = kept
        alive[later] &= ~overlaps[kept].any(dim=0)
    return order[alive]


def _settle(overlaps: Tensor) -> Tensor:
    """Greedy choice within one block: `overlaps[i, j]` says that i, if kept, drops the later j. -> (n,) bool.

    A box is kept when no kept box drops it. Each sweep settles at least one more box in order of score, and
    the sweeps end as soon as nothing changes, usually after a few.
    """
    kept = torch.ones(len(overlaps), dtype=torch.bool, device=overlaps.device)
    for _ in range(len(overlaps)):
        swept = ~(overlaps & kept[:, None]).any(dim=0)
        if torch.equal(swept, kept):
            break
        kept = swept
    return kept


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each pair: (N, 4) and (M, 4) float xyxy -> (N, M); NaN for 0 / 0."""
    top_left = torch.maximum(first[:, None, :2], second[None, :, :2])  # (N, M, 2)
    bottom_right = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)  # (N, M)
    return intersection / (box_area(first)[:, None] + box_area(second)[None, :] - intersection)


def box_area(boxes: Tensor) -> Tensor:
    """(N, 4) xyxy -> (N,) areas; small dtypes are widened so that nothing overflows."""
    if not boxes.is_floating_point():
        boxes = boxes.to(torch.int64)
    elif boxes.dtype != torch.float64:
        boxes = boxes.float()
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _check_shapes(boxes: Tensor, scores: Tensor, idxs: Tensor) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected shape (N, 4), received {tuple(boxes.shape)}")
    for name, values in (("scores", scores), ("idxs", idxs)):
        if tuple(values.shape) != (len(boxes),):
            raise ValueError(f"{name}: expected shape ({len(boxes)},), received {tuple(values.shape)}")
