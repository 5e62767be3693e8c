"""The one contract that adapters, benchmarks and the command line rely on."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Predictor(Protocol):
    """Anything that is shown one image and then answers prompts: SAM's two methods, numpy in and out."""

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Take (H, W, 3) uint8 in "RGB" or "BGR" order as the image that later prompts refer to."""
        ...

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Answer a prompt with (C, H, W) results, (C,) qualities and (C, 256, 256) low-resolution logits.

        With `return_logits=True` the results are float logits of the original frame, foreground above 0.
        """
        ...
