"""One photo with its alpha, and what every dataset reader and benchmark does with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError, ImageError
from zim.evaluation.validation import as_alpha
from zim.image_io import read_alpha, read_image
from zim.prompts import Prompt

Tag = Literal["fine", "coarse"]
SizeBucket = Literal["S", "M", "L"]
Item = TypeVar("Item")

_SMALL_FRACTION = 0.01
_MEDIUM_FRACTION = 0.10


@dataclass(frozen=True, kw_only=True)
class MattingSample:
    """One object of one photo; pixels are read by `load`.

    `prompt` is the prompt stored with the data, in pixels of the original frame, where there is one;
    `seg_path` points to the binary segmentation label where the data has one.
    """

    id: str
    image_path: Path
    alpha_path: Path
    tag: Tag | None = None
    prompt: Prompt | None = None
    seg_path: Path | None = None

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Read the photo, (H, W, 3) uint8 RGB, and its alpha, (H, W) float32 in [0, 1].

        Raises:
            DataError: a file cannot be read, or the two sizes differ; names the file.
        """
        try:
            image, alpha = read_image(self.image_path), read_alpha(self.alpha_path)
        except (ImageError, OSError) as error:
            raise DataError(f"sample {self.id}: {error}") from error
        if image.shape[:2] != alpha.shape:
            raise DataError(
                f"{self.alpha_path}: expected the size of {self.image_path.name} "
                f"({image.shape[1]}x{image.shape[0]}), got {alpha.shape[1]}x{alpha.shape[0]}"
            )
        return image, alpha


def size_bucket(alpha: NDArray[np.float32]) -> SizeBucket:
    """S, M or L: the share of pixels with alpha > 0.3 is below 1%, below 10%, or more."""
    share = float(np.mean(as_alpha(alpha) > 0.3))
    if share < _SMALL_FRACTION:
        return "S"
    return "M" if share < _MEDIUM_FRACTION else "L"


def evenly_spaced(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` of the items, spread evenly and always the same ones.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise ValueError(f"limit: expected a number >= 1, got {limit}")
    return [items[(i * len(items)) // limit] for i in range(limit)]


def downsize(
    image: NDArray[np.uint8], alpha: NDArray[np.float32], long_side: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Shrink a photo and its alpha together (area interpolation) to `long_side`; smaller ones stay as they
    are.

    Raises:
        ValueError: `long_side` is below 1.
    """
    if long_side is None:
        return image, alpha
    if long_side < 1:
        raise ValueError(f"long_side: expected a number of pixels >= 1, got {long_side}")
    height, width = alpha.shape
    scale = long_side / max(height, width)
    if scale >= 1:
        return image, alpha
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small_image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small_alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small_image, np.uint8), np.clip(np.asarray(small_alpha, np.float32), 0, 1)


def checked_root(root: str | Path) -> Path:
    """The root as a path; DataError unless it is a folder."""
    path = Path(root)
    if not path.is_dir():
        raise DataError(
            f"{path}: expected a dataset folder, found {'a file' if path.exists() else 'nothing'}"
        )
    return path


def tag_of(path: Path) -> Tag | None:
    """The innermost `fine` or `coarse` among a path's parts."""
    for part in reversed(path.parts):
        if part.lower() == "fine":
            return "fine"
        if part.lower() == "coarse":
            return "coarse"
    return None
