"""Photographs that must not count in a figure: given by name, or as pictures to be recognised.

A development set that models were chosen on is often made of a test set's own photographs, sometimes under other names.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, DataError, ImageError
from zim.evaluation.datasets import IMAGE_SUFFIXES
from zim.image_io import read_image

DEVELOPMENT = "development"
DEVELOPMENT_FILE = Path(__file__).with_name("development_photos.txt")
"""The photographs of AIM-500 and P3M-10k that this project has looked at while it was made."""

HASH_SIDE = 16
MAX_DISTANCE = 80
"""Photographs whose hashes differ in at most this many of 2 * 16 * 16 bits are the same, resized or stored again.

Of 24 photographs, copies at 0.3 to 1.7 times the size, as JPEG of quality 50, differed in at most 42 bits, and any two
of these and 150 others in at least 172."""


def look(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """A difference hash: is each cell of a 16 x 16 grid brighter than its right and its lower neighbour?

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (512,) bool, nearly the same for a resized, recompressed or slightly brightened copy.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE + 1), interpolation=cv2.INTER_AREA).astype(np.int16)
    right = small[:HASH_SIDE, :HASH_SIDE] > small[:HASH_SIDE, 1:]
    below = small[:HASH_SIDE, :HASH_SIDE] > small[1:, :HASH_SIDE]
    return np.concatenate([right.ravel(), below.ravel()])


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """names: stems or keys of items. looks: hashes of photographs by the file they are from."""

    names: frozenset[str] = frozenset()
    looks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Iterable[str]) -> "Exclusion":
        """Read what `--exclude` was given.

        Each is: a folder of pictures, which count by name and by look; a text file with a name a line (# starts a
        comment); "development", the list that comes with this project; or names, separated by commas.

        Raises:
            ConfigError: an empty name, or a path that is not there.
            DataError: a file or picture cannot be read, or a folder has no picture.
        """
        names: set[str] = set()
        looks: dict[str, NDArray[np.bool_]] = {}
        for text in given:
            path = DEVELOPMENT_FILE if text == DEVELOPMENT else Path(text)
            if text.strip() and path.is_dir():
                found = _photos(path)
                names |= {photo.stem for photo in found}
                looks |= {str(photo): _look_of(photo) for photo in found}
            elif text.strip() and path.is_file():
                names |= _listed(path)
            elif "/" in text and len(Path(text).parts) > 1 and path.suffix:
                raise ConfigError(f"--exclude: expected a folder, a file or names, found nothing at {text}")
            else:
                names |= _named(text)
        return cls(names=frozenset(names), looks=looks)

    @property
    def fingerprint(self) -> str:
        """Changes whenever something else is excluded; empty when nothing is."""
        if not self.names and not self.looks:
            return ""
        digest = hashlib.sha256("\n".join(sorted(self.names)).encode())
        for bits in sorted(np.packbits(bits).tobytes() for bits in self.looks.values()):
            digest.update(bits)
        return digest.hexdigest()

    def by_name(self, key: str, files: Sequence[str] = ()) -> str | None:
        """The excluded name that an item of this key, or of these files, has; None when it has none."""
        own = [key, *Path(key).parts, Path(key).stem, *(Path(file).stem for file in files)]
        return next((name for name in own if name in self.names), None)

    def by_look(self, image: NDArray[np.uint8]) -> str | None:
        """The excluded picture that a photograph, (H, W, 3) uint8, is a copy of; None when it is none."""
        if not self.looks:
            return None
        own = look(image)
        distances = {file: int(np.count_nonzero(own != bits)) for file, bits in self.looks.items()}
        nearest = min(distances, key=distances.__getitem__)
        return nearest if distances[nearest] <= MAX_DISTANCE else None


def _photos(folder: Path) -> list[Path]:
    """The photographs below a folder: mattes beside photographs are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
    jpegs = {path.with_suffix("") for path in files if path.suffix.lower() in (".jpg", ".jpeg")}
    mattes = {"alpha", "alphas", "matte", "mattes", "mask", "masks", "gt", "label", "trimap"}
    photos = [
        path
        for path in files
        if path.parent.name.lower() not in mattes
        and not path.name.startswith(".")
        and not (path.suffix.lower() == ".png" and path.with_suffix("") in jpegs)
    ]
    if not photos:
        raise DataError(f"--exclude: expected pictures in {folder}, found none")
    return photos


def _look_of(photo: Path) -> NDArray[np.bool_]:
    try:
        return look(read_image(photo))
    except (ImageError, OSError) as error:
        raise DataError(f"--exclude: {error}") from error


def _listed(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--exclude: expected a list of names in {path} ({error})") from error
    names = {line.partition("#")[0].strip() for line in lines} - {""}
    if not names:
        raise DataError(f"--exclude: expected a name a line in {path}, found none")
    return names


def _named(text: str) -> set[str]:
    names = {name.strip() for name in text.split(",")}
    if "" in names:
        raise ConfigError(f"--exclude: expected a folder, a file or names, got {text!r}")
    return names
