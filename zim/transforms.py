"""SAM's resizing between the original frame and the input frame, for images, points and boxes."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


class ResizeLongestSide:
    """Scales so that the long side becomes `target_length`; a drop-in for SAM's class of the same name.

    Differs from SAM in two places where SAM fails: a side never becomes 0 (SAM crashes on a 1 x 3000 image),
    and `apply_image_torch` reads the size from the last two axes (SAM reads batch and channels).
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """Resize an image as the model expects it (Pillow's antialiased bilinear filter).

        Args:
            image: (H, W, C) or (H, W) uint8.

        Returns:
            (H', W', C) or, for a single channel, (H', W') uint8: byte for byte what SAM returns.
        """
        height, width = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        single = image.ndim == 3 and image.shape[2] == 1
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if single else image))
        return np.array(picture.resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """Move points from the original to the input frame.

        Args:
            coords: (..., 2) xy in pixels of the original frame.
            original_size: (H, W) of the original frame.

        Returns:
            (..., 2) float64 xy in pixels of the input frame.
        """
        return np.asarray(coords).astype(float) * np.array(self._scale_xy(original_size))

    def apply_boxes(self, boxes: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """Move boxes (B, 4) or (4,) xyxy to the input frame -> (B, 4) float64."""
        return self.apply_coords(np.asarray(boxes).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Resize a batch on its own device; close to `apply_image`, not identical.

        Args:
            image: (B, C, H, W) float.

        Returns:
            (B, C, H', W'), same dtype.
        """
        size = self.get_preprocess_shape(image.shape[-2], image.shape[-1], self.target_length)
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """As `apply_coords` for a tensor (..., 2) -> float32 on the same device."""
        scaled = coords.to(torch.float32, copy=True)
        scale_x, scale_y = self._scale_xy(original_size)
        scaled[..., 0] = scaled[..., 0] * scale_x
        scaled[..., 1] = scaled[..., 1] * scale_y
        return scaled

    def apply_boxes_torch(self, boxes: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """As `apply_boxes` for a tensor (B, 4) or (4,) -> (B, 4) float32 on the same device."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """(H, W) after scaling the long side to `long_side_length`, rounded half up, each side at least 1."""
        scale = long_side_length * 1.0 / max(oldh, oldw)
        return max(1, int(oldh * scale + 0.5)), max(1, int(oldw * scale + 0.5))

    def _scale_xy(self, original_size: tuple[int, ...]) -> tuple[float, float]:
        old_h, old_w = original_size
        new_h, new_w = self.get_preprocess_shape(old_h, old_w, self.target_length)
        return new_w / old_w, new_h / old_h
