"""A pool of photographs to cut textures and backgrounds from."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from zim.errors import DataError

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
LABEL_FOLDERS = frozenset({"label", "labels", "alpha", "groundtruth", "depth"})
"""Folders (lower case) whose images are labels, not photographs."""

_MAX_ENLARGEMENT = 2.5


class PhotoPool:
    """Photographs found under folders, loaded when first wanted.

    photos: one folder, one file, or a sequence of both; folders are searched recursively in sorted order.
    max_side: a larger photo is reduced to this long side, in pixels.
    cache: how many decoded photos stay in memory (0.5 to 0.8 MB each).
    skip_folders: names of folders (any case) below the given ones that hold labels, not photographs.

    Raises:
        DataError: nothing usable was found, or (later) a photo cannot be read.
    """

    def __init__(
        self,
        photos: str | Path | Sequence[str | Path],
        *,
        max_side: int = 640,
        cache: int = 512,
        skip_folders: frozenset[str] = LABEL_FOLDERS,
    ) -> None:
        roots = [photos] if isinstance(photos, (str, Path)) else list(photos)
        skip = frozenset(name.lower() for name in skip_folders)
        self.paths: tuple[Path, ...] = tuple(
            path for root in roots for path in _find_photos(Path(root), skip)
        )
        if not self.paths:
            listed = ", ".join(str(root) for root in roots) or "an empty list"
            raise DataError(
                f"photos: expected a {'/'.join(sorted(PHOTO_SUFFIXES))} file under {listed}, found none"
            )
        self._max_side = max_side
        self._capacity = max(1, cache)
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> np.ndarray:
        """Photo `index` as (H, W, 3) uint8 RGB, long side at most `max_side`."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        photo = _read_photo(self.paths[index], self._max_side)
        self._cache[index] = photo
        if len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return photo

    def sample_crop(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        *,
        index: int | None = None,
        whole: bool = False,
    ) -> np.ndarray:
        """Cut a random piece of a random photo and resize it.

        index: take this photo instead of a random one. whole: nearly all of the photo (a background).
        Returns (height, width, 3) uint8 RGB; randomly flipped left to right.
        """
        chosen = int(rng.integers(len(self.paths))) if index is None else index
        photo = self.load(chosen)
        photo_height, photo_width = photo.shape[:2]
        largest = min(photo_height / height, photo_width / width)  # photo pixels per output pixel
        smallest = min(largest, 1 / _MAX_ENLARGEMENT)
        fraction = rng.uniform(0.7, 1.0) if whole else rng.random()
        scale = max(largest * fraction, smallest) if whole else smallest * (largest / smallest) ** fraction
        crop_height, crop_width = max(1, int(height * scale)), max(1, int(width * scale))
        top = int(rng.integers(photo_height - crop_height + 1))
        left = int(rng.integers(photo_width - crop_width + 1))
        crop = photo[top : top + crop_height, left : left + crop_width]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(crop), (width, height), interpolation=method)


def _find_photos(root: Path, skip: frozenset[str]) -> list[Path]:
    if root.is_file():
        return (
            [root] if root.suffix.lower() in PHOTO_SUFFIXES and root.parent.name.lower() not in skip else []
        )
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in PHOTO_SUFFIXES
        and path.is_file()
        and not skip.intersection(name.lower() for name in (root.name, *path.relative_to(root).parts[:-1]))
    )


def _read_photo(path: Path, max_side: int) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"photos: expected a readable image, could not decode {path}")
    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
