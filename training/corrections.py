"""Correction clicks: where the first answer errs most, as SAM's training places them (Kirillov et al., appendix A)."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PADDING, BACKGROUND, FOREGROUND = -1, 0, 1


def correction_clicks(
    logits: Tensor, target: Tensor, valid: Tensor, chance: Tensor | None, *, stride: float
) -> tuple[Tensor, Tensor]:
    """One click a row in the largest connected region that the answer has wrong.

    Args:
        logits: (R, 1, m, m) of the first answer.
        target: (R, 1, m, m) in [0, 1]; above one half is the object.
        valid: (R, 1, m, m), above 0 where there is image.
        chance: (R,) in [0, 1): which pixel of the region, in reading order; None takes the innermost.
        stride: pixels of the padded frame per cell of these maps.

    Returns:
        (R, 1, 2) float32 xy in the padded frame and (R, 1) int64 labels: 1 where something is missing, 0 where there
        is too much, -1 (padding) for a row without an error.
    """
    predicted, wanted = logits[:, 0] > 0, target[:, 0] > 0.5
    inside = valid[:, 0] > 0
    wrong = torch.stack([predicted & ~wanted & inside, ~predicted & wanted & inside], dim=1)  # too much, missing
    maps = wrong.to(torch.uint8).cpu().numpy()
    draws = [None] * len(maps) if chance is None else chance.tolist()
    clicks = [_click(row, draw) for row, draw in zip(maps, draws, strict=True)]
    xy = torch.tensor([[(x + 0.5) * stride - 0.5, (y + 0.5) * stride - 0.5] for x, y, _ in clicks], dtype=torch.float32)
    labels = torch.tensor([label for _, _, label in clicks], dtype=torch.long)
    xy[labels == PADDING] = 0
    return xy[:, None].to(logits.device), labels[:, None].to(logits.device)


def _click(wrong: NDArray[np.uint8], chance: float | None) -> tuple[int, int, int]:
    """x, y and label of the click for (2, m, m) maps of too much and too little."""
    best, label = np.zeros(wrong.shape[1:], bool), PADDING
    for kind, errors in zip((BACKGROUND, FOREGROUND), wrong, strict=True):
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(errors, connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        if count > 1 and areas.max() > best.sum():
            best, label = pieces == 1 + int(areas.argmax()), kind
    if label == PADDING:
        return 0, 0, PADDING
    if chance is None:
        depth = cv2.distanceTransform(np.pad(best, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        place = int(depth.argmax())
    else:
        places = np.flatnonzero(best)
        place = int(places[int(chance * len(places))])
    y, x = divmod(place, wrong.shape[-1])
    return x, y, label


def with_clicks(coords: Tensor, labels: Tensor, clicks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(R, T, 2) points and (R, T) labels with one more column; tokens have no order, so it may stand behind a box."""
    return torch.cat([coords, clicks[0].to(coords.dtype)], dim=1), torch.cat([labels, clicks[1]], dim=1)
