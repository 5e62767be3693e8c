"""What propagation needs of a 3-D object representation, whatever it is made of."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Rendering(NamedTuple):
    """An object as far as it is known, seen from a view.

    alpha: (H, W) float32 in [0, 1]. known: (H, W) bool, where the surface has been voted on. depth: (H, W) float32
    along z, 0 for none.
    """

    alpha: NDArray[np.float32]
    known: NDArray[np.bool_]
    depth: NDArray[np.float32]


class ObjectField(Protocol):
    """Objects in 3-D: the first guess, votes of views, and how they look from a view.

    A pass collects votes; what is rendered during the first pass are the votes so far, later the last pass's result.
    """

    @property
    def objects(self) -> int:
        """How many objects."""
        ...

    def seed(self, view: int, alphas: NDArray[np.float32]) -> list[int]:
        """Take the prompted view's alphas, (K, H, W), as the first guess; how many elements each object got."""
        ...

    def render(self, view: int, obj: int) -> Rendering:
        """An object from a view."""
        ...

    def vote(self, view: int, obj: int, alpha: NDArray[np.float32], quality: float) -> None:
        """Take a view's alpha, (H, W), as that view's word about an object; quality: that of the prompted view is 1."""
        ...

    def end_pass(self) -> float:
        """Close a pass; the share of the objects' elements that changed sides."""
        ...
