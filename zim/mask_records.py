"""One mask of the automatic generator: compact while it is compared with others, SAM's dictionary in the end."""

from dataclasses import dataclass
from typing import Any, Literal

from zim.crops import Box
from zim.packed_alpha import PackedAlpha
from zim.rle import RunLengths, decode_mask, to_coco, to_uncompressed

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
OUTPUT_MODES: tuple[OutputMode, ...] = ("binary_mask", "uncompressed_rle", "coco_rle")


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskCandidate:
    """A mask that passed the filters.

    `box` is xyxy around its pixels, x2 and y2 included; `crop_box` is xyxy with x2 and y2 excluded; `point` is the
    xy that was asked: all in the original frame, as `rle` and `alpha` are. `quality` is what the model predicts
    for it, `stability` the IoU of its masks at a high and a low threshold.
    """

    rle: RunLengths
    alpha: PackedAlpha
    box: Box
    quality: float
    stability: float
    point: tuple[float, float]
    crop_box: Box

    @property
    def packed_bytes(self) -> int:
        """Memory that mask and alpha take."""
        return self.rle.counts.nbytes + len(self.alpha.data)


def to_record(candidate: MaskCandidate, output_mode: OutputMode) -> dict[str, Any]:
    """SAM's record, with the alpha added.

    Returns:
        `segmentation`: (H, W) bool, or a dictionary with `size` and `counts`; `area` in pixels; `bbox` XYWH as
        SAM has it (W and H are one pixel short of the mask's extent); `predicted_iou`; `point_coords`
        [[x, y]]; `stability_score`; `crop_box` XYWH; `alpha` (h, w) uint8 around the mask; `alpha_box` XYWH of
        that crop, so that `frame[y : y + h, x : x + w] = alpha` puts it back.
    """
    segmentation: Any
    if output_mode == "binary_mask":
        segmentation = decode_mask(candidate.rle)
    else:
        segmentation = (to_coco if output_mode == "coco_rle" else to_uncompressed)(candidate.rle)
    return {
        "segmentation": segmentation,
        "area": candidate.rle.area,
        "bbox": _xywh(candidate.box),
        "predicted_iou": candidate.quality,
        "point_coords": [list(candidate.point)],
        "stability_score": candidate.stability,
        "crop_box": _xywh(candidate.crop_box),
        "alpha": candidate.alpha.unpack(),
        "alpha_box": candidate.alpha.xywh,
    }


def _xywh(box: Box) -> list[int]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
