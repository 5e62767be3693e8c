"""Pictures in and out of files: what Pillow and OpenCV read back, orientation, 16 bit, and files that are broken."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from zim.errors import ImageError
from zim.image_io import read_alpha, read_gray, read_image, save_png, to_uint8

ORIENTATION = 0x0112


def picture(height: int = 6, width: int = 9, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(channels).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_is_what_pillow_reads(tmp_path: Path, channels: int) -> None:
    array = picture(channels=channels)
    save_png(tmp_path / "deep" / "a.png", array)
    with Image.open(tmp_path / "deep" / "a.png") as opened:
        assert opened.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert np.array_equal(np.asarray(opened), array)


def test_rgb_and_grey_round_trips(tmp_path: Path) -> None:
    save_png(tmp_path / "rgb.png", picture())
    save_png(tmp_path / "grey.png", picture(channels=1))
    assert np.array_equal(read_image(tmp_path / "rgb.png"), picture())
    assert np.array_equal(read_gray(tmp_path / "grey.png"), picture(channels=1))
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.dstack([picture(channels=1)] * 3))


def test_alpha_round_trip_is_exact_in_255ths(tmp_path: Path) -> None:
    alpha = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(16, 16)
    save_png(tmp_path / "a.png", alpha)
    assert np.array_equal(read_gray(tmp_path / "a.png"), np.arange(256, dtype=np.uint8).reshape(16, 16))
    read = read_alpha(tmp_path / "a.png")
    assert read.dtype == np.float32 and np.array_equal(read, alpha)


def test_floats_are_rounded_to_the_nearest() -> None:
    values = np.linspace(0, 1, 9973, dtype=np.float64)
    assert np.abs(to_uint8(values) - values * 255).max() <= 0.5 + 1e-9
    assert to_uint8(np.array([[True, False]])).tolist() == [[255, 0]]
    assert to_uint8(np.ones((2, 2), np.float16)).tolist() == [[255, 255], [255, 255]]


def test_transparency_is_dropped_and_colours_stay(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", picture(channels=4))
    assert np.array_equal(read_image(tmp_path / "a.png"), picture(channels=4)[..., :3])


@pytest.mark.parametrize("transparency", [3, bytes([0, 80, 255])])
def test_transparent_palettes_keep_their_colours(tmp_path: Path, transparency: int | bytes) -> None:
    palette = Image.fromarray(picture()).quantize(8)
    palette.save(tmp_path / "a.png", transparency=transparency)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(palette.convert("RGB")))


UPRIGHT = {  # how a stored array is shown, by EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = picture()
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    expected = UPRIGHT[orientation](stored)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)
    assert read_gray(tmp_path / "a.png").shape == expected.shape[:2]


def test_sixteen_bit_grey_is_divided_by_257(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    values.flat[:4] = 0, 65535, 257 * 100, 128
    for name in ("a.png", "a.tiff", "a.pgm"):
        assert cv2.imwrite(str(tmp_path / name), values)
        expected = np.floor(values / 257 + 0.5)
        assert np.array_equal(read_gray(tmp_path / name), expected), name
        assert np.array_equal(read_image(tmp_path / name)[..., 1], expected), name


def test_sixteen_bit_colours_come_within_one_step(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    assert cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    assert np.abs(read_image(tmp_path / "a.png") - values / 257).max() <= 1


def test_float_mattes_are_not_cut_off(tmp_path: Path) -> None:
    alpha = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    Image.fromarray(alpha).save(tmp_path / "a.tiff")
    assert np.array_equal(read_gray(tmp_path / "a.tiff"), np.rint(alpha * 255))
    Image.fromarray(alpha * 300).save(tmp_path / "b.tiff")
    with pytest.raises(ImageError, match=r"expected finite float values in \[0, 1\]"):
        read_gray(tmp_path / "b.tiff")


def test_what_is_read_may_be_written_to(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", picture())
    for array in (read_image(tmp_path / "a.png"), read_gray(tmp_path / "a.png")):
        array[:] = 0
        assert array.flags.c_contiguous


@pytest.mark.parametrize("reader", [read_image, read_gray, read_alpha])
@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"])
def test_what_is_no_picture_is_an_image_error(tmp_path: Path, reader: object, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"image file: .*a\.png cannot be decoded"):
        reader(path)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_truncated_pictures_are_an_image_error(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture(60, 90)).save(stream, kind)
    (tmp_path / "a").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(tmp_path / "a")


def test_unknown_decoder_errors_are_an_image_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's AVIF decoder raises RuntimeError for broken files."""
    save_png(tmp_path / "a.png", picture())

    def broken(self: Image.Image) -> None:
        raise RuntimeError("Failed to decode frame 0")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", broken)
    with pytest.raises(ImageError, match="Failed to decode frame 0"):
        read_image(tmp_path / "a.png")


def test_unsupported_colours_are_an_image_error(tmp_path: Path) -> None:
    Image.fromarray(picture()).convert("LAB").save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match="unsupported colours"):
        read_gray(tmp_path / "a.tiff")


@pytest.mark.parametrize("path", ["missing.png", "."])
def test_missing_files_and_folders_are_an_image_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(ImageError, match="image file: expected an existing file, got"):
        read_image(tmp_path / path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4), np.int32), "array: expected uint8, bool or float, got int32"),
        (np.zeros((4, 4), np.uint16), "got uint16"),
        (np.full((4, 4), 1.01), r"array: expected finite float values in \[0, 1\]"),
        (np.full((4, 4), -0.01), r"array: expected finite float values in \[0, 1\]"),
        (np.full((4, 4), np.nan), r"array: expected finite float values in \[0, 1\]"),
        (np.zeros((4, 4, 2), np.uint8), r"array: expected shape .* got \(4, 4, 2\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "array: expected shape"),
        (np.zeros(4, np.uint8), r"array: expected shape .* got \(4,\)"),
        (np.zeros((0, 4), np.uint8), r"array: expected at least one pixel, got shape \(0, 4\)"),
    ],
)
def test_what_cannot_be_written_keeps_the_old_file(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "a.png"
    save_png(path, picture())
    before = path.read_bytes()
    with pytest.raises(ImageError, match=message):
        save_png(path, array)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_written_arrays_are_left_alone_and_may_be_views(tmp_path: Path) -> None:
    array = picture()
    view = array[::-1, ::2]
    save_png(tmp_path / "a.png", view)
    assert np.array_equal(array, picture()) and np.array_equal(read_image(tmp_path / "a.png"), view)


def test_a_photo_of_a_hundred_megapixels_is_read_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = picture()
    save_png(tmp_path / "a.png", array)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)  # 54 pixels: above the warning, below the refusal
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_image(tmp_path / "a.png"), array)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(tmp_path / "a.png")
