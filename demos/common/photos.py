"""Photos that come in: uploads, decoded with care, and the examples."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zim.errors import ImageError, MissingDependencyError
from zim.image_io import UNREADABLE, read_image

from .errors import LimitError
from .limits import MAX_PIXELS, MAX_UPLOAD_BYTES
from .memory import give_back

Image.core.set_block_size(64 << 20)
"""Pillow takes memory in such pieces; the usual ones (16 MB) are kept by the C library when a large photo is gone."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
WORKING_SIDE = 1600
"""Long side of the picture that is shown and asked; the files to download have the photo's own size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A photo on disk and the picture of it to work on.

    path: the file. name: for file names. hw: its size, EXIF orientation applied. working: (h, w, 3) uint8 RGB, at most
    WORKING_SIDE long. key: of the content.
    """

    path: Path
    name: str
    hw: tuple[int, int]
    working: NDArray[np.uint8]
    key: str

    @property
    def scale(self) -> float:
        """Working pixels for a pixel of the photo."""
        return max(self.working.shape[:2]) / max(self.hw)

    def full(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB in its own size, read again."""
        if self.working.shape[:2] == self.hw:
            return self.working
        give_back()
        return read_image(self.path)


def open_photo(path: str | Path | None, name: str | None = None) -> Photo:
    """An uploaded file as a photo.

    Raises:
        LimitError: more than 20 MB or 50 megapixels.
        ImageError: no file, or none of JPEG, PNG, WebP, BMP, TIFF, GIF, or a damaged one.
    """
    if not path:
        raise ImageError("photo: expected a picture file, got none")
    file = Path(path)
    shown = name or file.name
    check_picture(file, shown)
    pixels = read_image(file)
    height, width = pixels.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    digest = hashlib.sha256(pixels.tobytes())
    digest.update(f"{height}x{width}".encode())
    key = digest.hexdigest()[:16]
    return Photo(path=file, name=Path(shown).stem[:60] or "photo", hw=(height, width), working=pixels, key=key)


def check_picture(file: Path, shown: str) -> None:
    """Look at size and header only: what is too large is never decoded.

    Raises:
        LimitError, ImageError: as `open_photo`.
    """
    if not file.is_file():
        raise ImageError(f"photo: expected a picture file, got nothing at {shown}")
    size = file.stat().st_size
    if size > MAX_UPLOAD_BYTES:
        raise LimitError(f"photo: expected at most {MAX_UPLOAD_BYTES >> 20} MB, got {size / 2**20:.1f} MB in {shown}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as header:
                width, height = header.size
    except Image.DecompressionBombError as error:
        most = f"at most {MAX_PIXELS // 1_000_000} megapixels"
        raise LimitError(f"photo: expected {most}, and {shown} has far more") from error
    except UNREADABLE as error:
        kinds = "JPEG, PNG, WebP, BMP, TIFF or GIF"
        raise ImageError(f"photo: expected a {kinds} picture, and {shown} is none or is damaged") from error
    if width * height > MAX_PIXELS:
        found = f"{width} x {height} = {width * height / 1e6:.0f} megapixels"
        raise LimitError(f"photo: expected at most {MAX_PIXELS // 1_000_000} megapixels, got {found} in {shown}")


EXAMPLES = {"cat": "chelsea.png", "astronaut": "astronaut.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}
"""Photographs that come with scikit-image (public domain or CC0)."""


def example_path(name: str) -> Path:
    """The file of an example.

    Raises:
        ImageError: no example of that name.
        MissingDependencyError: scikit-image is not installed.
    """
    if name not in EXAMPLES:
        raise ImageError(f"example: expected one of {', '.join(EXAMPLES)}, got {name!r}")
    try:
        import skimage
    except ImportError as error:
        hint = "pip install 'zim-matting[demo]'"
        raise MissingDependencyError(f"the examples come with scikit-image: {hint}") from error
    return Path(skimage.__file__).parent / "data" / EXAMPLES[name]
