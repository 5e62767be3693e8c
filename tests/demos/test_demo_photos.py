"""Uploads: what is too large or no picture is refused before it is decoded."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demos.common import photos
from demos.common.errors import LimitError
from demos.common.photos import EXAMPLES, WORKING_SIDE, example_path, open_photo
from zim.errors import ImageError


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b""))


def test_a_large_photo_is_worked_on_smaller_and_saved_whole(tmp_path: Path) -> None:
    pixels = np.repeat(np.arange(4000, dtype=np.uint32)[None] * 255 // 4000, 100, axis=0).astype(np.uint8)
    Image.fromarray(np.dstack([pixels] * 3)).save(tmp_path / "wide.png")
    photo = open_photo(tmp_path / "wide.png")
    assert photo.hw == (100, 4000)
    assert photo.working.shape == (40, WORKING_SIDE, 3)
    assert photo.scale == pytest.approx(WORKING_SIDE / 4000)
    assert np.array_equal(photo.full()[..., 0], pixels)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    exif = image.getexif()
    exif[274] = 6  # turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    photo = open_photo(tmp_path / "turned.png")
    assert photo.hw == (4, 5)
    assert np.array_equal(photo.working, np.rot90(np.asarray(image), -1))


def test_the_same_pixels_in_another_size_are_another_photo(tmp_path: Path) -> None:
    flat = Image.new("RGB", (3200, 1600), (9, 9, 9))
    flat.save(tmp_path / "a.png")
    flat.resize((6400, 3200)).save(tmp_path / "b.png")
    assert open_photo(tmp_path / "a.png").key != open_photo(tmp_path / "b.png").key


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("empty.png", b"", "is none or is damaged"),
        ("text.jpg", b"not a picture at all", "is none or is damaged"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is none or is damaged"),
        ("print.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "is none or is damaged"),
        ("bomb.png", png_header(30_000, 30_000), "at most 50 megapixels"),
        ("large.png", png_header(10_000, 9_000), "90 megapixels in large.png"),
        ("cut.png", png_header(64, 64), "cannot be decoded"),
        ("heavy.png", b"\0" * (20 * 1024 * 1024 + 1), "at most 20 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_what_is_no_photo_is_refused(tmp_path: Path, name: str, data: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((ImageError, LimitError), match=match):
        open_photo(tmp_path / name)


def test_too_large_pictures_are_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.png").write_bytes(png_header(10_000, 9_000))
    monkeypatch.setattr(photos, "read_image", lambda path: pytest.fail("it was decoded"))
    with pytest.raises(LimitError):
        open_photo(tmp_path / "large.png")


def test_no_file_is_told() -> None:
    with pytest.raises(ImageError, match="expected a picture file, got none"):
        open_photo(None)
    with pytest.raises(ImageError, match="got nothing at gone.png"):
        open_photo("/nowhere/gone.png")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_photos(name: str) -> None:
    assert min(open_photo(example_path(name)).hw) >= 300


def test_other_examples_are_refused() -> None:
    with pytest.raises(ImageError, match="expected one of cat"):
        example_path("../../etc/passwd")
