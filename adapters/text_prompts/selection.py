"""From a detector's raw boxes to detections: thresholds were applied, duplicates go, the frame is respected."""

import torch
from torch import Tensor

from zim.errors import ConfigError
from zim.nms import nms
from zim.text_detection import Detections, clean_detections

NMS_THRESHOLD = 0.5
"""Of two boxes that overlap by more than this IoU the surer stays, whichever phrases they are for."""


def check_nms_threshold(value: float) -> float:
    """The threshold, if it is one.

    Raises:
        ConfigError: it is outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"nms_threshold: expected a number in [0, 1], got {value!r}")
    return value


def select(
    boxes: Tensor, scores: Tensor, labels: list[str], *, hw: tuple[int, int], nms_threshold: float
) -> Detections:
    """Cut boxes to the frame, then drop duplicates.

    Args:
        boxes: (N, 4) xyxy in pixels of the original frame, which they may leave.
        scores: (N,) in [0, 1].
        labels: N phrases.
        hw: height and width of the original frame.
        nms_threshold: IoU in [0, 1]; 1 keeps everything.
    """
    cut = clean_detections(boxes.cpu().numpy(), scores.cpu().numpy(), labels, hw)
    kept = nms(torch.from_numpy(cut.boxes), torch.from_numpy(cut.scores), nms_threshold).numpy()
    return Detections(cut.boxes[kept], cut.scores[kept], [cut.labels[index] for index in kept])


def corners(boxes: Tensor) -> Tensor:
    """(..., 4) boxes as centre x, centre y, width, height -> xyxy."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)
