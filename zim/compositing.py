"""An object put in front of something else: a colour, a checkerboard or another picture."""

import cv2
import numpy as np

from zim.errors import ImageError

Background = tuple[int, int, int] | str | np.ndarray

ROWS_AT_ONCE = 256
"""A copy of a large photo is not made where a few rows do."""

CHECKER_CELL = 16
CHECKER_GREYS = (204, 255)


def checkerboard(hw: tuple[int, int], cell: int = CHECKER_CELL) -> np.ndarray:
    """Draw the usual sign for transparency.

    Args:
        hw: height and width in pixels.
        cell: side of one square in pixels.

    Returns:
        (H, W, 3) uint8; the square at the top left is the darker grey.

    Raises:
        ImageError: a size or a cell below 1.
    """
    if min(hw) < 1 or cell < 1:
        raise ImageError(f"hw and cell: expected positive numbers, got {hw} and {cell}")
    rows, columns = np.arange(hw[0]) // cell, np.arange(hw[1]) // cell
    odd = (rows[:, None] + columns[None, :]) % 2
    grey = np.asarray(CHECKER_GREYS, dtype=np.uint8)[odd]
    return np.repeat(grey[..., None], 3, axis=2)


def cover(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Resize a picture, aspect kept, until it covers a frame, and crop the middle.

    Args:
        image: (h, w, 3) uint8.
        hw: height and width of the frame.

    Returns:
        (H, W, 3) uint8; the same pixels when the size is right already.
    """
    if image.shape[:2] == tuple(hw):
        return image.copy()
    height, width = image.shape[:2]
    scale = max(hw[0] / height, hw[1] / width)
    size = (max(round(width * scale), hw[1]), max(round(height * scale), hw[0]))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (size[1] - hw[0]) // 2, (size[0] - hw[1]) // 2
    return resized[top : top + hw[0], left : left + hw[1]].copy()


def background_image(background: Background, hw: tuple[int, int]) -> np.ndarray:
    """Turn what users call a background into pixels.

    Args:
        background: an (r, g, b) colour of 0..255, "checkerboard", or an (h, w, 3) uint8 picture, which is
            made to cover the frame.
        hw: height and width of the frame.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: none of the three.
    """
    if isinstance(background, np.ndarray) and background.ndim == 3:
        if background.shape[2] != 3 or background.dtype != np.uint8 or background.size == 0:
            raise ImageError(
                f"background: expected (h, w, 3) uint8, got {background.shape} {background.dtype}"
            )
        return cover(background, hw)
    if isinstance(background, str):
        if background != "checkerboard":
            raise ImageError(f'background: the only name is "checkerboard", got {background!r}')
        return checkerboard(hw)
    colour = np.asarray(background)
    if colour.shape != (3,) or colour.dtype.kind not in "iu" or colour.min() < 0 or colour.max() > 255:
        raise ImageError(f"background: expected three integers of 0..255, got {background!r}")
    return np.broadcast_to(colour.astype(np.uint8), (*hw, 3)).copy()


def blend(foreground: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """alpha * F + (1 - alpha) * B, rounded.

    Args:
        foreground: (H, W, 3) uint8.
        alpha: (H, W) float in [0, 1].
        background: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8.
    """
    mixed = np.empty(foreground.shape, np.uint8)
    for top in range(0, len(alpha), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        weight = alpha[rows].astype(np.float32)[..., None]
        mixed[rows] = weight * foreground[rows] + (1.0 - weight) * background[rows] + 0.5
    return mixed
