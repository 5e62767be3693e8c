"""What turns a trimap into an alpha."""

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

RefinerName = Literal["none", "pymatting", "vitmatte"]
OnProgress = Callable[[float], None]
"""Called now and then with the share of the work that is done; what it raises (no ValueError) ends the work."""


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


def watched(refiner: Refiner, on_progress: OnProgress) -> Refiner:
    """The same refiner, telling how far it is, if it is one that can: those with a method `watched` of their own."""
    own = getattr(refiner, "watched", None)
    return own(on_progress) if callable(own) else refiner
