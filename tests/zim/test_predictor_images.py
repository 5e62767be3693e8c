"""Every kind of image that `set_image` takes, against the conversion that is stated for it."""

import io
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zim.errors import ImageError
from zim.image_conversion import to_rgb
from zim.image_io import read_image
from zim.predictor import ZimPredictor


def embedding_after(predictor: ZimPredictor, image: Any, image_format: str = "RGB") -> np.ndarray:
    predictor.set_image(image, image_format)
    return predictor.get_image_embedding().numpy()


def test_the_predictor_converts(predictor: ZimPredictor, photo: np.ndarray) -> None:
    plain = embedding_after(predictor, photo)
    assert np.array_equal(embedding_after(predictor, photo[..., ::-1], "BGR"), plain)
    assert np.abs(embedding_after(predictor, photo[..., ::-1]) - plain).max() > 1e-3
    assert np.array_equal(embedding_after(predictor, Image.fromarray(photo)), plain)
    assert np.array_equal(embedding_after(predictor, photo.astype(np.uint16) * 257), plain)
    grey = photo[..., 0]
    assert np.array_equal(embedding_after(predictor, grey), embedding_after(predictor, np.dstack([grey] * 3)))


def test_rgb_is_passed_through(photo: np.ndarray) -> None:
    assert to_rgb(photo) is photo


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_grey_fills_three_channels(shape: tuple[int, ...]) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(shape)
    rgb = to_rgb(grey, "BGR")
    assert rgb.shape == (4, 5, 3)
    assert all(np.array_equal(rgb[..., channel], grey.reshape(4, 5)) for channel in range(3))


def test_transparency_is_dropped_and_colours_stay(photo: np.ndarray) -> None:
    opacity = np.arange(90 * 160, dtype=np.uint64).reshape(90, 160, 1).astype(np.uint8)
    rgba = np.concatenate([photo, opacity], axis=2)
    bgra = np.concatenate([photo[..., ::-1], opacity], axis=2)
    assert np.array_equal(to_rgb(rgba), photo)
    assert np.array_equal(to_rgb(bgra, "BGR"), photo)
    assert np.array_equal(to_rgb(Image.fromarray(rgba)), photo)


def test_sixteen_bits_are_divided_by_257_and_rounded() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)
    assert np.array_equal(to_rgb(values)[..., 1], expected)
    assert np.array_equal(to_rgb(Image.fromarray(values))[..., 1], expected)
    assert expected.min() == 0 and expected.max() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16"])
def test_pil_modes_are_what_a_file_reader_makes_of_them(mode: str, photo: np.ndarray) -> None:
    source = Image.fromarray(photo)
    if mode in ("I", "I;16"):
        image = Image.fromarray(photo[..., 0].astype(np.uint16) * 257)
        image = image if mode == "I;16" else image.convert("I")
        assert image.mode == mode
        assert np.array_equal(to_rgb(image), np.dstack([photo[..., 0]] * 3))
    else:
        image = source.convert(mode)
        assert np.array_equal(to_rgb(image), np.asarray(image.convert("RGB")))


def test_exif_orientation_is_applied_as_by_the_file_reader(photo: np.ndarray, tmp_path: Any) -> None:
    image = Image.fromarray(photo)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    stream = io.BytesIO()
    image.save(stream, format="PNG", exif=exif)
    (tmp_path / "turned.png").write_bytes(stream.getvalue())
    rgb = to_rgb(Image.open(stream))
    assert np.array_equal(rgb, np.rot90(photo, -1))
    assert np.array_equal(rgb, read_image(tmp_path / "turned.png"))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3)), r"expected dtype uint8 or uint16, got float64; if it is in \[0, 1\]"),
        (np.zeros((4, 5, 3), dtype=bool), "got bool; a mask is not an image"),
        (np.zeros((4, 5, 3), dtype=np.int64), "got int64"),
        (np.zeros((3, 4, 5), dtype=np.uint8), r"got \(3, 4, 5\); transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 2), dtype=np.uint8), r"got \(4, 5, 2\)$"),
        (np.zeros((1, 4, 5, 3), dtype=np.uint8), r"got \(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3), dtype=np.uint8), r"at least one pixel, got shape \(0, 5, 3\)"),
        (Image.new("F", (4, 5)), 'mode "F"'),
        (Image.new("RGB", (0, 5)), "PIL image of 0 x 5"),
        (Image.new("I", (4, 5), 70_000), "expected 16-bit values, got a PIL image of 70000..70000"),
        ("photo.png", "got str; read a file with zim.image_io.read_image"),
        (None, "got NoneType"),
        ([[1, 2], [3, 4]], "got list"),
    ],
)
def test_anything_else_is_refused_with_advice(image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        to_rgb(image)


def test_a_tensor_is_sent_to_set_torch_image(predictor: ZimPredictor) -> None:
    with pytest.raises(ImageError, match="got Tensor; a transformed tensor goes to set_torch_image"):
        predictor.set_image(predictor.get_image_embedding())


def test_an_unknown_format_is_refused(photo: np.ndarray) -> None:
    with pytest.raises(ImageError, match='image_format: expected "RGB" or "BGR", got .rgb.'):
        to_rgb(photo, "rgb")


def test_a_palette_with_transparency_keeps_its_colours_silently(photo: np.ndarray) -> None:
    palette = Image.fromarray(photo).convert("P")
    expected = np.asarray(palette.convert("RGB"))
    palette.info["transparency"] = bytes(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(to_rgb(palette), expected)


def test_a_model_in_training_mode_is_put_back_to_evaluation(make_zim: Any, photo: np.ndarray) -> None:
    model = make_zim(0)
    predictor = ZimPredictor(model)
    expected = embedding_after(predictor, photo)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    assert np.array_equal(embedding_after(predictor, photo), expected)
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())
