"""One photograph with its matte or its masks: where they lie, and how their pixels are read."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from zim.errors import DataError, ImageError, MissingDependencyError, ZimError
from zim.image_io import UNREADABLE, read_alpha, read_image
from zim.prompts import Prompt

from .masks import MaskSet
from .tar_index import TarMember

StoredImage = Path | TarMember | bytes
"""A file, a member of a tar file, or the bytes of an encoded picture."""


class ItemError(DataError):
    """One item of a data set cannot be read; `file` is the offending file, `reason` what is wrong with it."""

    def __init__(self, file: str | Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = str(file), reason

    def __reduce__(self) -> tuple[type["ItemError"], tuple[str, str]]:
        return type(self), (self.file, self.reason)  # errors travel between data processes


@contextmanager
def blaming(file: str | Path) -> Iterator[None]:
    """Turn what goes wrong inside into an `ItemError` of `file`; a missing library stays what it is."""
    try:
        yield
    except (ItemError, MissingDependencyError):
        raise
    except (ZimError, OSError) as error:
        raise ItemError(file, str(error).replace(f"{file}: ", "")) from error


def load_alpha(path: Path) -> NDArray[np.float32]:
    """The matte in an 8- or 16-bit picture: (H, W) float32 in [0, 1].

    Raises:
        ItemError: it cannot be read.
    """
    with blaming(path):
        return read_alpha(path)


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photograph of a data set.

    key: names the item within its reader, and stays the same from run to run.
    image: where the encoded photograph is.
    training_allowed: whether a model of this project may be trained on it.
    """

    key: str
    image: StoredImage
    training_allowed: bool = True

    @property
    def image_name(self) -> str:
        """The file, as messages and quarantine lists name it."""
        return f"image of {self.key}" if isinstance(self.image, bytes) else str(self.image)

    def load_image(self) -> NDArray[np.uint8]:
        """The photograph, (H, W, 3) uint8 RGB.

        Raises:
            ItemError: it cannot be decoded.
        """
        with blaming(self.image_name):
            if isinstance(self.image, Path):
                return read_image(self.image)
            return _decode(self.image if isinstance(self.image, bytes) else self.image.read())

    def size_hw(self) -> tuple[int, int]:
        """Height and width from the file's header, before any EXIF rotation; the pixels are not read.

        Raises:
            ItemError: there is no readable header.
        """
        image = self.image.read() if isinstance(self.image, TarMember) else self.image
        try:
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
                return opened.height, opened.width
        except UNREADABLE as error:
            raise ItemError(self.image_name, f"no readable picture ({error})") from error


@dataclass(frozen=True, kw_only=True)
class MatteRecord(Photo):
    """A photograph and the matte of one object.

    alpha: reads the matte, (H, W) float32 in [0, 1]. alpha_name: its file, for messages.
    tag: what kind it is: natural, synthetic, fine, coarse, binary, or nothing.
    prompt: the prompt stored with the data, in pixels of the photograph, where there is one.
    """

    alpha: Callable[[], NDArray[np.float32]]
    alpha_name: str
    tag: str = ""
    prompt: Prompt | None = None

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The photograph, (H, W, 3) uint8 RGB, and its matte, (H, W) float32 in [0, 1].

        Raises:
            ItemError: a file cannot be read, or the sizes differ.
        """
        image, alpha = self.load_image(), self.alpha()
        _same_size(self.alpha_name, alpha.shape, self.image_name, image.shape)
        return image, alpha


@dataclass(frozen=True, kw_only=True)
class SegmentRecord(Photo):
    """A photograph and its segmentation masks.

    masks: reads the label file; the masks in it are made one at a time. masks_name: that file, for messages.
    """

    masks: Callable[[], MaskSet]
    masks_name: str

    def load(self) -> tuple[NDArray[np.uint8], MaskSet]:
        """The photograph, (H, W, 3) uint8 RGB, and its masks, (H, W) bool each.

        Raises:
            ItemError: a file cannot be read, or the sizes differ.
        """
        image, masks = self.load_image(), self.masks()
        _same_size(self.masks_name, masks.size_hw, self.image_name, image.shape)
        return image, masks


def _decode(data: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB")).copy()
    except UNREADABLE as error:
        raise ImageError(f"{len(data)} bytes cannot be decoded ({error})") from error


def _same_size(name: str, size_hw: tuple[int, ...], image_name: str, image_shape: tuple[int, ...]) -> None:
    if tuple(size_hw) != tuple(image_shape[:2]):
        got, expected = (f"{size[1]}x{size[0]}" for size in (size_hw, image_shape))
        raise ItemError(name, f"expected the size of {image_name}, {expected}, got {got}")
