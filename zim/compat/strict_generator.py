"""SAM's automatic mask generator, answered by ZIM."""

import inspect
from typing import Any

from zim.automatic_mask_generator import Progress, ZimAutomaticMaskGenerator
from zim.compat.strict import SamPredictor
from zim.predictor import ZimPredictor

SAM_RECORD_KEYS = (
    "segmentation",
    "area",
    "bbox",
    "predicted_iou",
    "point_coords",
    "stability_score",
    "crop_box",
)


class SamAutomaticMaskGenerator(ZimAutomaticMaskGenerator):
    """`segment_anything.SamAutomaticMaskGenerator` on ZIM: SAM's record keys and no others."""

    __signature__ = inspect.signature(ZimAutomaticMaskGenerator)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.predictor, ZimPredictor):
            self.predictor = SamPredictor(self.predictor.model)

    def generate(
        self, image: Any, multimask_output: bool = True, *, progress: Progress | None = None
    ) -> list[dict[str, Any]]:
        """As `ZimAutomaticMaskGenerator.generate`, without the alphas, so that the records go into JSON."""
        records = super().generate(image, multimask_output, progress=progress)
        return [{key: record[key] for key in SAM_RECORD_KEYS} for record in records]
