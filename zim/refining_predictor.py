"""A predictor whose alphas are refined by a guided filter: wherever a predictor is named, by a factory.

    python -m zim.evaluation.benchmark --models zim_tiny,zim.refining_predictor:zim_tiny_refined ...
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import ImageNotSetError
from zim.image_conversion import to_rgb
from zim.loading import load_predictor
from zim.protocol import Predictor
from zim.refinement import refine_alpha

SMALLEST = 1e-4
"""Refined alphas become logits after they are cut to this and to one minus this."""


class RefiningPredictor:
    """Any predictor, its answers led by the photo's colours where they are uncertain (`refine_alpha`).

    Qualities and low-resolution logits stay those of the predictor.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._image: NDArray[np.uint8] | None = None

    def set_image(self, image: Any, image_format: str = "RGB") -> None:
        """See `Predictor`."""
        self._image = None  # an image that cannot be taken leaves none behind
        self.predictor.set_image(image, image_format)
        self._image = to_rgb(image, image_format)

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """See `Predictor`; alphas in [0, 1] float32, or their logits.

        Raises:
            ImageNotSetError: no image has been set.
        """
        if self._image is None:
            raise ImageNotSetError("set_image: expected before predict, no image is set")
        logits, qualities, low_res = self.predictor.predict(
            point_coords, point_labels, box, mask_input, multimask_output, return_logits=True
        )
        alphas = 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -60, 60)))
        refined = np.stack([refine_alpha(self._image, alpha.astype(np.float32)) for alpha in alphas])
        if not return_logits:
            return refined, qualities, low_res
        inside = np.clip(refined.astype(np.float64), SMALLEST, 1 - SMALLEST)
        return np.log(inside / (1 - inside)).astype(np.float32), qualities, low_res


def zim_tiny_refined() -> RefiningPredictor:
    """The shipped model with refined alphas."""
    return RefiningPredictor(load_predictor("zim_tiny"))
