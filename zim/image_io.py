"""Images in and out of files, with stated conversions and clear errors."""

import warnings
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from zim.errors import ImageError
from zim.files import write_bytes_atomic

ROWS_AT_ONCE = 512

UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,  # Pillow's AVIF decoder
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are no picture, or a broken one."""


def _open(path: str | Path) -> Image.Image:
    file = Path(path)
    if not file.is_file():
        raise ImageError(f"image file: expected an existing file, got {file}")
    try:
        with warnings.catch_warnings():
            # Pillow warns from 90 megapixels on, a photo that the models take; from 179 on it refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                opened.load()
                ImageOps.exif_transpose(opened, in_place=True)  # a copy would double the memory of large photos
                return opened
    except UNREADABLE as error:
        raise ImageError(f"image file: {file} cannot be decoded ({error})") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey modes to 8 bit by dividing by 257, float grey in [0, 1] times 255; everything else unchanged."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image).astype(np.float32)
        return Image.fromarray(np.clip(values / 257.0 + 0.5, 0, 255).astype(np.uint8))
    if image.mode == "F":
        return Image.fromarray(to_uint8(np.asarray(image)))
    return image


def _read(path: str | Path, mode: Literal["RGB", "L"]) -> np.ndarray:
    image = _eight_bit(_open(path))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    try:
        return _pixels(image if image.mode == mode else image.convert(mode))
    except ValueError as error:
        raise ImageError(f"image file: {path} has unsupported colours ({error})") from error


def _pixels(image: Image.Image) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8; in strips, since Pillow hands out copies and large photos are heavy."""
    width, height = image.size
    bands = len(image.getbands())
    pixels = np.empty((height, width) if bands == 1 else (height, width, bands), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a strip of a photo that is decoded already
        for top in range(0, height, ROWS_AT_ONCE):
            bottom = min(top + ROWS_AT_ONCE, height)
            pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def read_image(path: str | Path) -> np.ndarray:
    """Read any picture as (H, W, 3) uint8 RGB.

    EXIF orientation is applied; transparency is dropped (the colours stay); 16-bit grey is divided by 257, float
    grey in [0, 1] is multiplied by 255.

    Raises:
        ImageError: the file is missing, empty or not a picture, or its values are outside these ranges.
    """
    return _read(path, "RGB")


def read_gray(path: str | Path) -> np.ndarray:
    """Read a label, matte or scribble as (H, W) uint8, with the conversions of `read_image`.

    Raises:
        ImageError: as `read_image`.
    """
    return _read(path, "L")


def read_alpha(path: str | Path) -> np.ndarray:
    """Read a matte as (H, W) float32 in [0, 1]."""
    return read_gray(path).astype(np.float32) / 255.0


def to_uint8(array: np.ndarray) -> np.ndarray:
    """float in [0, 1] (or bool) to uint8 in [0, 255] by rounding; uint8 passes through.

    Raises:
        ImageError: another dtype, a NaN, or a float outside [0, 1].
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"array: expected uint8, bool or float, got {array.dtype}")
    if not np.isfinite(array).all() or array.min(initial=0.0) < 0 or array.max(initial=0.0) > 1:
        raise ImageError("array: expected finite float values in [0, 1]")
    scaled = array * 255.0
    scaled += 0.5
    return scaled.astype(np.uint8)


def save_png(path: str | Path, array: np.ndarray) -> None:
    """Write (H, W), (H, W, 3) RGB or (H, W, 4) RGBA as an 8-bit PNG, atomically.

    Args:
        path: target file; its folder is made.
        array: uint8, bool, or float in [0, 1].

    Raises:
        ImageError: unsupported shape, dtype or range.
    """
    pixels = to_uint8(np.asarray(array))
    if not pixels.size:
        raise ImageError(f"array: expected at least one pixel, got shape {pixels.shape}")
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA)
    elif pixels.ndim != 2:
        raise ImageError(f"array: expected shape (H, W), (H, W, 3) or (H, W, 4), got {pixels.shape}")
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise ImageError(f"array: could not be encoded as PNG, shape {pixels.shape}")
    write_bytes_atomic(path, encoded.tobytes())
