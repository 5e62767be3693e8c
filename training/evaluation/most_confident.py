"""A predictor that asks for three masks and keeps the one it is most confident of: SAM's protocol for a vague click."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.protocol import Predictor


class MostConfident:
    """Any predictor; `multimask_output=False` answers with the best of three instead of the single mask."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.reports_binary = bool(getattr(predictor, "reports_binary", False))

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """(H, W, 3) uint8."""
        self._predictor.set_image(image, image_format)

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """SAM's triple: all masks, or with `multimask_output=False` (1, H, W), (1,) and (1, 256, 256)."""
        answer = self._predictor.predict(
            point_coords=point_coords,
            point_labels=point_labels,
            box=box,
            mask_input=mask_input,
            multimask_output=True,
            return_logits=return_logits,
        )
        if multimask_output:
            return answer
        best = int(np.argmax(answer[1]))
        masks, scores, low_res = (part[best : best + 1] for part in answer)
        return masks, scores, low_res
