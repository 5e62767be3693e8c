"""How well a soft volume fits the truth, in three dimensions and with real spacing.

Dice of alpha > 0.5. Surface Dice (NSD) and HD95 as MONAI defines them: the surface of a mask is its voxels that have a
face neighbour outside (beyond the volume counts as outside), distances are between voxel centres in mm, exact
(scipy.ndimage.distance_transform_edt). Soft volume error: |sum alpha - sum truth| / sum truth.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

from .cleaning import ndimage_module

METRIC_NAMES = ("dice", "nsd_1mm", "nsd_2mm", "hd95", "volume_error", "mae")

Spacing = tuple[float, float, float]
Mask = NDArray[np.bool_]


def score_volume(alpha: NDArray[np.floating], truth: NDArray[np.floating], spacing: Spacing) -> dict[str, float]:
    """Every number in METRIC_NAMES.

    `dice, nsd_1mm, nsd_2mm` in [0, 1]; `hd95` mm; `volume_error` a share of the true volume; `mae` the mean of
    |alpha - truth| over the voxels where either is above 0.02, the soft error that Dice does not see. An answer of
    nothing has Dice and NSD 0 and the length of the volume's diagonal as HD95.

    Args:
        alpha, truth: (X, Y, Z) in [0, 1]; the truth has a voxel above 0.5.
        spacing: mm.

    Raises:
        DataError: other shapes, values outside [0, 1], or an empty truth.
    """
    alpha, truth = np.asarray(alpha, np.float32), np.asarray(truth, np.float32)
    if alpha.shape != truth.shape or alpha.ndim != 3:
        raise DataError(f"alpha: expected the truth's shape {truth.shape}, got {alpha.shape}")
    for name, array in (("alpha", alpha), ("truth", truth)):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise DataError(f"{name}: expected finite values in [0, 1]")
    mask, solid = alpha > 0.5, truth > 0.5
    if not solid.any():
        raise DataError("truth: expected a voxel above 0.5, got none")
    near = surface_distances(mask, solid, spacing)
    either = (alpha > 0.02) | (truth > 0.02)
    total = float(truth.sum(dtype=np.float64))
    return {
        "dice": dice(mask, solid),
        "nsd_1mm": surface_dice(near, 1.0),
        "nsd_2mm": surface_dice(near, 2.0),
        "hd95": hausdorff_95(near, float(np.linalg.norm(np.multiply(truth.shape, spacing)))),
        "volume_error": abs(float(alpha.sum(dtype=np.float64)) - total) / total,
        "mae": float(np.abs(alpha - truth)[either].mean()),
    }


def slices_beyond(alpha: NDArray[np.floating], truth: NDArray[np.floating], axis: int) -> int:
    """How many slices across `axis` an answer (alpha > 0.5) goes on beyond the object's ends, at the worse one.

    0 for an answer that ends within the object, or of nothing. Both (X, Y, Z); the truth has a voxel above 0.5.
    """
    across = tuple(other for other in range(3) if other != axis)
    answered, there = (np.flatnonzero((array > 0.5).any(across)) for array in (alpha, truth))
    if not len(answered):
        return 0
    return int(max(0, there[0] - answered[0], answered[-1] - there[-1]))


def dice(one: Mask, other: Mask) -> float:
    """2 |A and B| / (|A| + |B|); 1 for two empty masks."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def surface_distances(one: Mask, other: Mask, spacing: Spacing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances in mm from each surface voxel of one mask to the nearest of the other, both ways.

    An empty mask has no surface: its array is empty, and the other's is infinite.
    """
    ndimage = ndimage_module()
    window = _around(one | other)
    surfaces = [_surface(mask, ndimage)[window] for mask in (one, other)]
    return _to(surfaces[0], surfaces[1], spacing, ndimage), _to(surfaces[1], surfaces[0], spacing, ndimage)


def surface_dice(distances: tuple[NDArray[np.float64], NDArray[np.float64]], tolerance_mm: float) -> float:
    """Share of both surfaces that lies within a tolerance of the other; 1 for two empty masks."""
    count = sum(len(part) for part in distances)
    return sum(int((part <= tolerance_mm).sum()) for part in distances) / count if count else 1.0


def hausdorff_95(distances: tuple[NDArray[np.float64], NDArray[np.float64]], worst: float) -> float:
    """The larger of the two directions' 95th percentiles, mm; `worst` where one mask is empty and the other is not."""
    if not any(len(part) for part in distances):
        return 0.0
    if not all(len(part) for part in distances):
        return worst
    return float(max(np.percentile(part, 95) for part in distances))


def _surface(mask: Mask, ndimage: Any) -> Mask:
    return np.asarray(mask & ~ndimage.binary_erosion(mask, border_value=0))


def _to(surface: Mask, target: Mask, spacing: Spacing, ndimage: Any) -> NDArray[np.float64]:
    count = int(np.count_nonzero(surface))
    if not count:
        return np.zeros(0)
    if not target.any():
        return np.full(count, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~target, sampling=spacing)[surface], np.float64)


def _around(mask: Mask) -> tuple[slice, ...]:
    """The smallest window that holds a mask: distances between surfaces inside it do not depend on what is outside."""
    if not mask.any():
        return (slice(None),) * mask.ndim
    window = []
    for axis in range(mask.ndim):
        shown = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        window.append(slice(int(shown[0]), int(shown[-1]) + 1))
    return tuple(window)
