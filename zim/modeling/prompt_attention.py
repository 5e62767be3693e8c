"""Prompt-aware masked attention: where the tokens may look (paper section 3.3, reference section 1).

A box is hard: cells outside it are closed. A point is soft: a 2-D Gaussian around it, the largest over the positive
points. Both together are their union (the larger). Negative points never open anything.
"""

import torch
from torch import Tensor

POSITIVE, BOX_FIRST_CORNER, BOX_SECOND_CORNER = 1, 2, 3


def boxes_from_corners(coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes that ride along as points with labels 2 and 3.

    Args:
        coords: (B, N, 2) float xy.
        labels: (B, N) int.

    Returns:
        (B, 4) xyxy, zero where a row has no box, and (B,) bool, which rows have one.
    """
    first, second = labels == BOX_FIRST_CORNER, labels == BOX_SECOND_CORNER
    corner1 = torch.where(first[..., None], coords, 0).sum(1)
    corner2 = torch.where(second[..., None], coords, 0).sum(1)
    boxes = torch.cat([torch.minimum(corner1, corner2), torch.maximum(corner1, corner2)], dim=-1)
    return boxes, first.any(1) & second.any(1)


def box_indicator(boxes: Tensor, grid_hw: tuple[int, int], stride: float) -> Tensor:
    """(B, 4) xyxy in the padded frame -> (B, h, w) in {0, 1}: cells int(x1/stride)..int(x2/stride), at least one."""
    height, width = grid_hw
    rows = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    cells = torch.div(boxes, stride, rounding_mode="floor")
    x1, x2 = cells[:, 0:1].clamp(0, width - 1), cells[:, 2:3].clamp(0, width - 1)
    y1, y2 = cells[:, 1:2].clamp(0, height - 1), cells[:, 3:4].clamp(0, height - 1)
    inside_x = (columns >= x1) & (columns <= x2)  # (B, w)
    inside_y = (rows >= y1) & (rows <= y2)  # (B, h)
    return (inside_y[:, :, None] & inside_x[:, None, :]).to(boxes.dtype)


def point_distances(coords: Tensor, grid_hw: tuple[int, int], stride: float) -> Tensor:
    """(B, N, 2) xy in the padded frame -> (B, N, h, w) squared distances to cell centres, in cells."""
    height, width = grid_hw
    y = torch.arange(height, device=coords.device, dtype=coords.dtype) + 0.5
    x = torch.arange(width, device=coords.device, dtype=coords.dtype) + 0.5
    at = coords / stride  # (B, N, 2), in cells
    return (y[:, None] - at[..., 1, None, None]) ** 2 + (x[None, :] - at[..., 0, None, None]) ** 2


def prompt_attention_bias(
    coords: Tensor, labels: Tensor, grid_hw: tuple[int, int], stride: float, sigma: float
) -> Tensor:
    """log(max(box indicator, Gaussians of the positive points)) over the embedding grid.

    Args:
        coords: (B, N, 2) float xy in the padded frame; box corners included as points.
        labels: (B, N) int: 1 positive, 0 negative, -1 padding, 2 and 3 the corners of a box.
        grid_hw: (h, w) of the image embedding.
        stride: pixels of the padded frame per cell.
        sigma: standard deviation of a point's Gaussian, in cells.

    Returns:
        (B, 1, h, w) float, 0 inside a box and at a point, exactly -inf outside a lone box; all zeros in rows that
        have neither a box nor a positive point.
    """
    positive = labels == POSITIVE
    boxes, has_box = boxes_from_corners(coords, labels)
    log_points = point_distances(coords, grid_hw, stride) / (-2.0 * sigma * sigma)  # (B, N, h, w)
    log_points = log_points.masked_fill(~positive[..., None, None], float("-inf")).amax(1)
    log_box = torch.log(box_indicator(boxes, grid_hw, stride) * has_box[:, None, None])  # 0 or -inf
    bias = torch.maximum(log_points, log_box)
    unguided = ~(has_box | positive.any(1))
    return bias.masked_fill(unguided[:, None, None], 0.0)[:, None]
