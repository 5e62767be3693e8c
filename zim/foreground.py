"""The colours of the object itself, where a matte says that a pixel shows object and background mixed.

A multi-level estimate after Germer et al., "Fast Multi-Level Foreground Estimation" (ICPR 2020): F and B
minimise

    sum_i |alpha_i F_i + (1 - alpha_i) B_i - I_i|^2
        + sum_ij (REGULARISATION + |alpha_i - alpha_j|) (|F_i - F_j|^2 + |B_i - B_j|^2)

over 4-neighbours ij, solved from one pixel up to full size. Only mixed pixels are unknowns: where alpha is 1,
F is the image. Each level runs red-black Gauss-Seidel, which touches the mixed pixels only and vectorises.

Above SOLVED_PIXELS the finest levels are not solved: F and B are interpolated from the finest one that was, and moved
by the least that makes alpha F + (1 - alpha) B the image, in strips of rows. Memory then stays near that of the
pictures.
"""

from typing import NamedTuple

import cv2
import numpy as np

from zim.errors import ImageError

REGULARISATION = 1e-5
SMALL_SIZE = 32
SMALL_ITERATIONS = 6
BIG_ITERATIONS = 4
# Half an 8-bit step from 0 and 1: what an 8-bit matte would call pure.
PURE = 1.0 / 510.0
# The largest level that is solved, in pixels.
SOLVED_PIXELS = 1 << 20
STRIP_ROWS = 128


class _Level(NamedTuple):
    """One level of the pyramid, flattened to P = height * width pixels."""

    height: int
    width: int
    image: np.ndarray  # (P, 3) float32
    alpha: np.ndarray  # (P,) float32


class _HalfSweep(NamedTuple):
    """The mixed pixels of one colour of the chequered order: M pixels with everything that stays constant."""

    pixels: np.ndarray  # (M,)
    neighbours: np.ndarray  # (4, M)
    weights: np.ndarray  # (4, M, 1)
    data_f: np.ndarray  # (M, 3) alpha * I
    data_b: np.ndarray  # (M, 3) (1 - alpha) * I
    inverse_ff: np.ndarray  # (M, 1) entries of the inverse of the pixel's 2x2 system
    inverse_fb: np.ndarray
    inverse_bb: np.ndarray


def check_image_and_alpha(image: np.ndarray, alpha: np.ndarray) -> None:
    """Accept (H, W, 3) uint8 or float in [0, 1] with a float (H, W) alpha in [0, 1], neither empty.

    Raises:
        ImageError: anything else.
    """
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"image: expected an array of shape (H, W, 3), got {describe(image)}")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ImageError(f"image: expected uint8, or float in [0, 1], got {image.dtype}")
    if image.dtype != np.uint8 and not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise ImageError("image: expected float values in [0, 1], got values outside")
    check_alpha(alpha)
    if alpha.shape != image.shape[:2]:
        raise ImageError(f"alpha: expected the image's size {image.shape[:2]}, got {alpha.shape}")


def check_alpha(alpha: np.ndarray) -> None:
    """Accept a float (H, W) array in [0, 1] that is not empty.

    Raises:
        ImageError: anything else.
    """
    if not isinstance(alpha, np.ndarray) or alpha.ndim != 2 or alpha.size == 0:
        raise ImageError(f"alpha: expected an array of shape (H, W), got {describe(alpha)}")
    if not np.issubdtype(alpha.dtype, np.floating):
        raise ImageError(f"alpha: expected float in [0, 1], got {alpha.dtype}")
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= 0 and high <= 1):
        raise ImageError(f"alpha: expected values in [0, 1], got {low:.9g} to {high:.9g}")


def estimate_foreground(image: np.ndarray, alpha: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Estimate the object's own colours.

    Args:
        image: (H, W, 3) RGB, uint8 or float in [0, 1].
        alpha: (H, W) float in [0, 1].
        out: where to put the colours, (H, W, 3) of the answer's dtype; None makes an array.

    Returns:
        (H, W, 3) colours, uint8 for a uint8 image and float32 in [0, 1] otherwise. Where alpha is 1 they are
        the image's; where alpha is 0 they continue the object's nearest colours smoothly.

    Raises:
        ImageError: shapes that do not fit, a wrong dtype or range.
    """
    check_image_and_alpha(image, alpha)
    top, bottom, left, right = _object_window(alpha)
    if out is None:
        out = np.empty(image.shape, np.uint8 if image.dtype == np.uint8 else np.float32)
    _solve(image[top:bottom, left:right], alpha[top:bottom, left:right], out[top:bottom, left:right])
    out[top:bottom, :left] = out[top:bottom, left : left + 1]
    out[top:bottom, right:] = out[top:bottom, right - 1 : right]
    out[:top] = out[top : top + 1]
    out[bottom:] = out[bottom - 1 : bottom]
    return out


def _object_window(alpha: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left, right (ends excluded) of the object with some background around it."""
    visible = alpha > PURE
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    height, width = alpha.shape
    if rows.size == 0:
        return 0, height, 0, width
    margin = 16 + max(rows[-1] - rows[0], columns[-1] - columns[0]) // 8
    return (
        int(max(rows[0] - margin, 0)),
        int(min(rows[-1] + 1 + margin, height)),
        int(max(columns[0] - margin, 0)),
        int(min(columns[-1] + 1 + margin, width)),
    )


def _solve(image: np.ndarray, alpha: np.ndarray, out: np.ndarray) -> None:
    """Foreground of an image, uint8 or float in [0, 1], into `out` (H, W, 3) uint8 or float32, coarse to fine."""
    foreground, background = _mean_colours(image, alpha)
    height, width = alpha.shape
    levels = max(int(np.ceil(np.log2(max(height, width)))), 1)
    for step in range(levels + 1):
        # Exact nearest sampling keeps the pairs (I, alpha) of real pixels, which averaging would not.
        size = (round(width ** (step / levels)), round(height ** (step / levels)))
        if size[0] * size[1] > SOLVED_PIXELS:
            _finish(image, alpha, foreground, background, out)
            return
        level = _Level(
            height=size[1],
            width=size[0],
            image=_as_float(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)).reshape(-1, 3),
            alpha=cv2.resize(alpha, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.float32).reshape(-1),
        )
        foreground = cv2.resize(foreground, size, interpolation=cv2.INTER_LINEAR).reshape(-1, 3)
        background = cv2.resize(background, size, interpolation=cv2.INTER_LINEAR).reshape(-1, 3)
        _relax(level, foreground, background, SMALL_ITERATIONS if max(size) <= SMALL_SIZE else BIG_ITERATIONS)
        foreground = foreground.reshape(size[1], size[0], 3)
        background = background.reshape(size[1], size[0], 3)
    out[...] = _as_image(foreground, image.dtype)


def _as_float(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1]."""
    return image.astype(np.float32) / 255.0 if image.dtype == np.uint8 else image.astype(np.float32)


def _as_image(colours: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Colours, cut to [0, 1], as uint8 where the image was, else float32."""
    colours = np.clip(colours, 0.0, 1.0)
    return (colours * 255.0 + 0.5).astype(np.uint8) if dtype == np.uint8 else colours


def _mean_colours(image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1, 1, 3) mean colours of object and background, by their shares; the plain mean where one has none."""
    sums, total = np.zeros((2, 3)), np.zeros(2)
    plain = np.zeros(3)
    for start in range(0, len(alpha), STRIP_ROWS):
        colours = _as_float(image[start : start + STRIP_ROWS]).astype(np.float64)
        share = alpha[start : start + STRIP_ROWS].astype(np.float64)
        for i, weight in enumerate((share, 1.0 - share)):
            sums[i] += np.einsum("hwc,hw->c", colours, weight)
            total[i] += weight.sum()
        plain += colours.sum(axis=(0, 1))
    means = [sums[i] / total[i] if total[i] > 0 else plain / alpha.size for i in (0, 1)]
    return means[0].reshape(1, 1, 3).astype(np.float32), means[1].reshape(1, 1, 3).astype(np.float32)


def _finish(
    image: np.ndarray, alpha: np.ndarray, foreground: np.ndarray, background: np.ndarray, out: np.ndarray
) -> None:
    """From (h, w, 3) colours of a coarser level to full size, in strips: interpolated, then fitted to the image."""
    for start in range(0, len(alpha), STRIP_ROWS):
        rows = slice(start, min(start + STRIP_ROWS, len(alpha)))
        pixels, share = _as_float(image[rows]), alpha[rows].astype(np.float32)[..., None]
        front, back = (_rows_of(colours, rows, alpha.shape) for colours in (foreground, background))
        missing = pixels - share * front - (1.0 - share) * back
        front += share / (share**2 + (1.0 - share) ** 2) * missing
        out[rows] = _as_image(np.where(share >= 1.0 - PURE, pixels, front), image.dtype)


def _rows_of(colours: np.ndarray, rows: slice, hw: tuple[int, ...]) -> np.ndarray:
    """These rows of (h, w, 3) colours, enlarged linearly to (H, W, 3)."""
    height = len(colours)
    at = np.clip((np.arange(rows.start, rows.stop) + 0.5) * height / hw[0] - 0.5, 0, height - 1)
    above = np.floor(at).astype(int)
    below, share = np.minimum(above + 1, height - 1), (at - above).astype(np.float32)[:, None, None]
    mixed = colours[above] * (1.0 - share) + colours[below] * share
    return np.ascontiguousarray(cv2.resize(mixed, (hw[1], len(at)), interpolation=cv2.INTER_LINEAR))


def _relax(level: _Level, foreground: np.ndarray, background: np.ndarray, iterations: int) -> None:
    """Red-black Gauss-Seidel on the (P, 3) `foreground` and `background`, in place."""
    opaque, empty = level.alpha >= 1.0 - PURE, level.alpha <= PURE
    foreground[opaque] = level.image[opaque]
    background[empty] = level.image[empty]
    mixed = ~(opaque | empty)
    sweeps = [_half_sweep(level, mixed, parity) for parity in (0, 1)]
    for _ in range(iterations):
        for sweep in sweeps:
            right_f, right_b = sweep.data_f.copy(), sweep.data_b.copy()
            for weight, neighbour in zip(sweep.weights, sweep.neighbours, strict=True):
                right_f += weight * foreground[neighbour]
                right_b += weight * background[neighbour]
            solved_f = sweep.inverse_ff * right_f - sweep.inverse_fb * right_b
            solved_b = sweep.inverse_bb * right_b - sweep.inverse_fb * right_f
            foreground[sweep.pixels] = np.clip(solved_f, 0.0, 1.0)
            background[sweep.pixels] = np.clip(solved_b, 0.0, 1.0)


def _half_sweep(level: _Level, mixed: np.ndarray, parity: int) -> _HalfSweep:
    """Gather what one half sweep needs; a neighbour outside the picture is the pixel itself."""
    y, x = np.nonzero(mixed.reshape(level.height, level.width))
    chosen = ((y + x) & 1) == parity
    y, x = y[chosen], x[chosen]
    pixels = y * level.width + x
    neighbours = np.stack(
        [
            y * level.width + np.maximum(x - 1, 0),
            y * level.width + np.minimum(x + 1, level.width - 1),
            np.maximum(y - 1, 0) * level.width + x,
            np.minimum(y + 1, level.height - 1) * level.width + x,
        ]
    )
    alpha = level.alpha[pixels]
    weights = REGULARISATION + np.abs(alpha - level.alpha[neighbours])
    total = weights.sum(axis=0)
    ff, fb, bb = alpha**2 + total, alpha * (1.0 - alpha), (1.0 - alpha) ** 2 + total
    determinant = ff * bb - fb**2
    image = level.image[pixels]
    return _HalfSweep(
        pixels=pixels,
        neighbours=neighbours,
        weights=weights[..., None],
        data_f=alpha[:, None] * image,
        data_b=(1.0 - alpha)[:, None] * image,
        inverse_ff=(bb / determinant)[:, None],
        inverse_fb=(fb / determinant)[:, None],
        inverse_bb=(ff / determinant)[:, None],
    )


def describe(value: object) -> str:
    """Shape and dtype of an array, the type of anything else, for messages."""
    return (
        f"{value.dtype} array of shape {value.shape}"
        if isinstance(value, np.ndarray)
        else type(value).__name__
    )
