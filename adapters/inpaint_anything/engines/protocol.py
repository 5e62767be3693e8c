"""What paints: one small protocol for OpenCV, LaMa and diffusion models."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ImageError


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes that an engine is good at, in pixels.

    native: pictures whose long side is smaller are enlarged to it; 1 takes any size. largest: pictures whose long side
    is larger are painted smaller. multiple, least: what both sides are padded to.
    """

    native: int = 1
    largest: int = 2048
    multiple: int = 1
    least: int = 1


@runtime_checkable
class InpaintingEngine(Protocol):
    """Something that paints the masked part of a picture.

    name: for messages and files. geometry: sizes that it is good at. follows_text: whether it paints what a text says,
    and so can paint a whole picture; engines that do not need something outside the mask to continue.
    """

    name: str
    geometry: Geometry
    follows_text: bool

    def inpaint(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], *, prompt: str = "", seed: int = 0
    ) -> NDArray[np.uint8]:
        """Paint.

        Args:
            image: (H, W, 3) uint8 RGB of any size.
            mask: (H, W) bool, what is painted; at least one pixel.
            prompt: what to paint; engines without text pay no heed to it.
            seed: the same seed paints the same picture on a CPU.

        Returns:
            (H, W, 3) uint8. Outside the mask it may differ from the image: whoever calls keeps the photo there.
        """
        ...


def check_picture(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    """Accept (H, W, 3) uint8 with an (H, W) bool mask.

    Raises:
        ImageError: anything else.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f"image: expected (H, W, 3) uint8, got {image.dtype} of shape {image.shape}")
    if mask.shape != image.shape[:2] or mask.dtype != np.bool_:
        raise ImageError(f"mask: expected bool of shape {image.shape[:2]}, got {mask.dtype} of shape {mask.shape}")


def padded(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], geometry: Geometry
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Image and mask with mirrored rows below and columns on the right, up to the sides that an engine takes."""
    missing = [max(-(-side // geometry.multiple) * geometry.multiple, geometry.least) - side for side in mask.shape]
    if not any(missing):
        return image, mask
    rims = 0, missing[0], 0, missing[1]
    wide = cv2.copyMakeBorder(np.ascontiguousarray(image), *rims, cv2.BORDER_REFLECT)
    wide_mask = cv2.copyMakeBorder(mask.astype(np.uint8), *rims, cv2.BORDER_REFLECT)
    return np.asarray(wide, np.uint8), wide_mask > 0
