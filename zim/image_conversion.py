"""Every image that a predictor takes, as (H, W, 3) uint8 RGB: a stated conversion or an error with advice.

| given | becomes |
|---|---|
| (H, W, 3) uint8 | itself; with "BGR" the channels are reversed |
| (H, W), (H, W, 1) grey | the grey in all three channels |
| (H, W, 4) RGBA or BGRA | the transparency is dropped, the colours stay |
| uint16 of any of these shapes | value / 257, rounded, so that 65535 becomes 255 |
| PIL image | EXIF orientation applied, then as Pillow converts its mode to RGB; 16-bit grey as above |
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from zim.errors import ImageError

IMAGE_FORMATS = ("RGB", "BGR")

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def to_rgb(image: Any, image_format: str = "RGB") -> NDArray[np.uint8]:
    """Convert an image to what the models take.

    Args:
        image: a numpy array or a PIL image, see the table above.
        image_format: "RGB" or "BGR", the order of an array's colours; a PIL image knows its own.

    Returns:
        (H, W, 3) uint8 RGB, contiguous; the array that was given where nothing had to change.

    Raises:
        ImageError: another type, dtype, shape or format, or an image without pixels.
    """
    if image_format not in IMAGE_FORMATS:
        raise ImageError(f'image_format: expected "RGB" or "BGR", got {image_format!r}')
    if isinstance(image, Image.Image):
        return _grey_or_colour(_pixels_of(image))
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image: expected a numpy array or a PIL image, got {type(image).__name__}{_advice(image)}")
    rgb = _grey_or_colour(_eight_bit(image))
    return np.ascontiguousarray(rgb[..., ::-1]) if image_format == "BGR" else rgb


def _advice(image: Any) -> str:
    if isinstance(image, str) or hasattr(image, "__fspath__"):
        return "; read a file with zim.image_io.read_image"
    if hasattr(image, "detach"):
        return "; a transformed tensor goes to set_torch_image"
    return ""


def _pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """A PIL image of any mode -> (H, W) or (H, W, 3) uint8."""
    if not image.width or not image.height:
        raise ImageError(f"image: expected at least one pixel, got a PIL image of {image.width} x {image.height}")
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise ImageError('image: expected integer pixels, got a PIL image of mode "F"; scale it to 0..255 first')
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")  # Pillow warns about the direct way
    if upright.mode not in _SIXTEEN_BIT_MODES:
        return np.array(upright.convert("RGB"))
    values = np.asarray(upright)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"image: expected 16-bit values, got a PIL image of {values.min()}..{values.max()}")
    return _eight_bit(values.astype(np.uint16))


def _eight_bit(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    advice = ""
    if np.issubdtype(image.dtype, np.floating):
        advice = "; if it is in [0, 1]: (image * 255).round().astype(np.uint8)"
    elif image.dtype == np.bool_:
        advice = "; a mask is not an image, or multiply by np.uint8(255)"
    raise ImageError(f"image: expected dtype uint8 or uint16, got {image.dtype}{advice}")


def _grey_or_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) -> (H, W, 3), contiguous."""
    if image.size == 0:
        raise ImageError(f"image: expected at least one pixel, got shape {image.shape}")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        turned = image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] > 4
        raise ImageError(
            f"image: expected shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {image.shape}"
            + ("; transpose(1, 2, 0) turns channels-first around" if turned else "")
        )
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image if image.shape[2] == 3 else image[..., :3])
