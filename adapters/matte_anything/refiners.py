"""What turns a trimap into an alpha."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

RefinerName = Literal["none", "pymatting", "vitmatte"]


class Refiner(Protocol):
    """Answers for the unknown pixels of a trimap; a function will do."""

    def __call__(
        self, image: NDArray[np.uint8], trimap: NDArray[np.float32], alpha: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB, (H, W) of 0, 0.5, 1, and the predictor's (H, W) alpha -> (H, W) float32 in [0, 1]."""
        ...


def keep_alpha(
    image: NDArray[np.uint8], trimap: NDArray[np.float32], alpha: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The refiner that leaves the predictor's alpha as it is."""
    return alpha
