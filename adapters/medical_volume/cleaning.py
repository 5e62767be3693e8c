"""Small islands and holes of a soft object, in three dimensions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import MissingDependencyError

from .geometry import Geometry
from .settings import Settings

_SOLID = 0.5


def clean_alpha(alpha: NDArray[np.float32], geometry: Geometry, settings: Settings) -> NDArray[np.float32]:
    """An alpha without small islands and holes; soft rims go with their islands.

    Pieces hang together by faces, edges and corners, holes by faces. Filled holes are 1.

    Args:
        alpha: (X, Y, Z) in [0, 1].
        geometry: for the volume of a voxel.
        settings: `min_island`, `min_hole` (ml) and `largest_only`.

    Raises:
        MissingDependencyError: there is something to do, and scipy is not installed.
    """
    if not (settings.min_island or settings.min_hole or settings.largest_only) or not (alpha > _SOLID).any():
        return alpha
    cleaned = alpha.copy()
    _clean(cleaned[_around(alpha > 0)], geometry, settings, ndimage_module())
    return cleaned


def _clean(alpha: NDArray[np.float32], geometry: Geometry, settings: Settings, ndimage: Any) -> None:
    """`clean_alpha` in place, on a window with a rim of nothing where the volume has one."""
    if settings.min_hole:
        outside, count = ndimage.label(alpha <= _SOLID)
        sizes = np.bincount(outside.ravel(), minlength=count + 1)
        small = sizes * geometry.voxel_ml < settings.min_hole
        small[0] = False
        small[np.unique(np.concatenate([face.ravel() for face in _faces(outside)]))] = False
        alpha[small[outside]] = 1
    if settings.min_island or settings.largest_only:
        alpha[_on_lost_pieces(alpha, alpha > _SOLID, geometry, settings, ndimage)] = 0


def _around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The window that holds a mask, one voxel larger where there is room."""
    window = []
    for axis in range(mask.ndim):
        shown = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        window.append(slice(max(0, int(shown[0]) - 1), int(shown[-1]) + 2))
    return tuple(window)


def _on_lost_pieces(
    alpha: NDArray[np.float32], solid: NDArray[np.bool_], geometry: Geometry, settings: Settings, ndimage: Any
) -> NDArray[np.bool_]:
    """Voxels of pieces that go, each soft voxel going with the piece that it hangs together with."""
    everywhere = np.ones((3, 3, 3), bool)
    pieces, count = ndimage.label(solid, structure=everywhere)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = sizes * geometry.voxel_ml >= settings.min_island
    if settings.largest_only or not kept[1:].any():
        kept = np.arange(count + 1) == int(np.argmax(sizes))
    kept[0] = False
    support, _ = ndimage.label(alpha > 0, structure=everywhere)
    with_kept = np.zeros(int(support.max()) + 1, bool)
    with_kept[support[kept[pieces] & solid]] = True
    lost = (solid & ~kept[pieces]) | ((alpha > 0) & ~with_kept[support])
    if (solid & ~kept[pieces]).any():
        near = ndimage.binary_dilation(solid & ~kept[pieces], everywhere, iterations=2)
        safe = ndimage.binary_dilation(kept[pieces] & solid, everywhere, iterations=2)
        lost |= near & ~safe & ~(kept[pieces] & solid)
    return np.asarray(lost)


def _faces(array: NDArray[Any]) -> list[NDArray[Any]]:
    """The six faces of a block: what touches them is open to the outside."""
    return [np.take(array, place, axis) for axis in range(3) for place in (0, -1)]


def ndimage_module() -> Any:
    """scipy.ndimage.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingDependencyError(
            "components and distances in 3-D need scipy; install it with: pip install 'zim-matting[medical]'"
        ) from error
    return ndimage
