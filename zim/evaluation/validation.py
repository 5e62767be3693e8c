"""Checks of the arrays that enter a metric: done once, at the public boundary."""

import numpy as np
from numpy.typing import NDArray


def as_alpha(alpha: NDArray, name: str = "alpha") -> NDArray[np.float32]:
    """Check one alpha and return it as contiguous float32.

    Raises:
        ValueError: not an (H, W) array with pixels, of floating or boolean type, finite and in [0, 1].
            Integers are refused because 0..255 and 0..1 cannot be told apart safely.
    """
    array = np.asarray(alpha)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name}: expected a non-empty (H, W) array, got shape {array.shape}")
    if array.dtype != bool and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name}: expected floating values in [0, 1] or booleans, got dtype {array.dtype}")
    array = np.ascontiguousarray(array, dtype=np.float32)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
    if low < 0 or high > 1:
        raise ValueError(f"{name}: expected values in [0, 1], got [{low:g}, {high:g}]")
    return array


def as_alpha_pair(prediction: NDArray, truth: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Check a prediction and its truth and return both as float32 of one shape."""
    p, t = as_alpha(prediction, "prediction"), as_alpha(truth, "truth")
    if p.shape != t.shape:
        raise ValueError(f"prediction: expected the truth's shape {t.shape}, got {p.shape}")
    return p, t


def as_region(region: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Check a boolean region of `shape` that selects at least one pixel; None passes through."""
    if region is None:
        return None
    array = np.asarray(region)
    if array.dtype != bool:
        raise ValueError(f"region: expected a boolean array, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"region: expected shape {shape}, got {array.shape}")
    if not array.any():
        raise ValueError("region: expected at least one pixel, got an empty region")
    return array


def as_mask_pair(prediction: NDArray, truth: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Check two boolean masks of one (H, W) shape."""
    p, t = np.asarray(prediction), np.asarray(truth)
    for name, mask in (("prediction", p), ("truth", t)):
        if mask.ndim != 2 or mask.size == 0:
            raise ValueError(f"{name}: expected a non-empty (H, W) mask, got shape {mask.shape}")
        if mask.dtype != bool:
            raise ValueError(f"{name}: expected a boolean mask, got dtype {mask.dtype}")
    if p.shape != t.shape:
        raise ValueError(f"prediction: expected the truth's shape {t.shape}, got {p.shape}")
    return p, t


def unknown_of_trimap(trimap: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The unknown region of a trimap with the values 0 (background), 0.5 (unknown) and 1 (foreground).

    Raises:
        ValueError: another shape, other values, or no unknown pixel.
    """
    array = np.asarray(trimap)
    if array.shape != shape:
        raise ValueError(f"trimap: expected shape {shape}, got {array.shape}")
    if not np.isin(array, (0, 0.5, 1)).all():
        raise ValueError(
            f"trimap: expected only the values 0, 0.5 and 1, got {np.unique(array)[:5].tolist()} ..."
        )
    unknown = array == 0.5
    if not unknown.any():
        raise ValueError("trimap: expected at least one unknown pixel (0.5), got none")
    return unknown
