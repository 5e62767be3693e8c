"""Trimaps on analytic shapes, cut-outs and composites of known layers."""

import subprocess
import sys

import numpy as np
import pytest

from zim.compositing import background_image, cover
from zim.cutout import (
    checkerboard,
    composite,
    cutout,
    mask_from_alpha,
    trimap_from_alpha,
    trimap_from_uint8,
    trimap_to_uint8,
)
from zim.errors import ImageError

SIZE = 121
Y, X = np.mgrid[:SIZE, :SIZE]
DISTANCE = np.hypot(Y - 60, X - 60)


def _soft_disc(radius: float, width: float) -> np.ndarray:
    """alpha 1 inside radius - width / 2, 0 outside radius + width / 2, linear between."""
    return np.clip((radius - DISTANCE) / width + 0.5, 0, 1).astype(np.float32)


def test_trimap_of_a_soft_disc_has_the_analytic_radii() -> None:
    band = 4
    trimap = trimap_from_alpha(_soft_disc(35, 10), low=0.05, high=0.95, band=band)
    # alpha reaches 0.95 at radius 30.5 and 0.05 at 39.5; the band moves both by `band`, to within a pixel.
    assert (trimap[30.5 - band - 1 > DISTANCE] == 1).all()
    assert (trimap[39.5 + band + 1 < DISTANCE] == 0).all()
    assert (trimap[(30.5 - band + 1 < DISTANCE) & (39.5 + band - 1 > DISTANCE)] == 0.5).all()
    assert trimap.dtype == np.float32
    assert set(np.unique(trimap)) == {0.0, 0.5, 1.0}


def test_trimap_of_a_hard_edge_is_a_band_on_both_sides() -> None:
    alpha = np.zeros((20, 40), np.float32)
    alpha[:, 20:] = 1
    row = trimap_from_alpha(alpha, band=3)[10]
    np.testing.assert_array_equal(row, [0] * 17 + [0.5] * 6 + [1] * 17)


def test_default_band_grows_with_the_object() -> None:
    def width(radius: float) -> int:
        row = trimap_from_alpha((radius > DISTANCE).astype(np.float32))[60, 60:]
        return int((row == 0.5).sum())

    # 2% of sqrt(pi) * radius on both sides: one pixel at 10 and 28, two at 57.
    assert (width(10), width(28), width(57)) == (2, 2, 4)


def test_what_is_thinner_than_the_band_is_unknown() -> None:
    alpha = np.zeros((30, 30), np.float32)
    alpha[14:16] = 1
    trimap = trimap_from_alpha(alpha, band=2)
    assert not (trimap == 1).any()
    assert (trimap[14:16] == 0.5).all()


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_uniform_alpha_has_a_uniform_trimap(value: float, expected: float) -> None:
    trimap = trimap_from_alpha(np.full((9, 7), value, np.float32))
    np.testing.assert_array_equal(trimap, np.full((9, 7), expected, np.float32))


def test_trimap_commutes_with_flips() -> None:
    alpha = np.random.default_rng(0).random((40, 50)).astype(np.float32) ** 4
    np.testing.assert_array_equal(trimap_from_alpha(alpha[:, ::-1]), trimap_from_alpha(alpha)[:, ::-1])


def test_trimap_files_hold_0_128_255() -> None:
    trimap = np.array([[0, 0.5, 1]], np.float32)
    pixels = trimap_to_uint8(trimap)
    assert pixels.tolist() == [[0, 128, 255]]
    np.testing.assert_array_equal(trimap_from_uint8(pixels), trimap)
    np.testing.assert_array_equal(trimap_from_uint8(np.array([[1, 127, 254]], np.uint8)), [[0.5, 0.5, 0.5]])


def test_mask_is_logits_above_zero() -> None:
    logits = np.linspace(-4, 4, 33, dtype=np.float32)[None]
    np.testing.assert_array_equal(mask_from_alpha(1 / (1 + np.exp(-logits))), logits > 0)


def _layers() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Photo, alpha, foreground, background of a disc that fades from red to yellow on a bluish ramp."""
    alpha = _soft_disc(35, 16)
    foreground = np.dstack([np.full_like(X, 230), 20 + X, np.full_like(X, 30)]).astype(np.uint8)
    background = np.dstack([np.full_like(X, 20), 60 + Y // 2, 255 - X]).astype(np.uint8)
    weight = alpha[..., None]
    photo = (weight * foreground + (1 - weight) * background + 0.5).astype(np.uint8)
    return photo, alpha, foreground, background


def test_cutout_recovers_the_foreground_layer() -> None:
    photo, alpha, foreground, _ = _layers()
    result = cutout(photo, alpha)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[..., 3], (alpha * 255 + 0.5).astype(np.uint8))
    difference = np.abs(result[..., :3].astype(int) - foreground)
    assert difference[alpha > 0.05].mean() < 2.0
    assert np.abs(photo.astype(int) - foreground)[(alpha > 0.05) & (alpha < 0.95)].mean() > 20
    np.testing.assert_array_equal(cutout(photo, alpha, estimate_colours=False)[..., :3], photo)


def test_nothing_of_the_old_background_stays_under_alpha_zero() -> None:
    photo, alpha, foreground, background = _layers()
    hidden = cutout(photo, alpha)[alpha == 0][:, :3].astype(int)
    to_object = np.abs(hidden - foreground[alpha == 0]).mean()
    assert to_object < 0.3 * np.abs(hidden - background[alpha == 0]).mean()


def test_cutout_on_its_own_background_is_the_photo_again() -> None:
    photo, alpha, _, background = _layers()
    for again in (composite(photo, background, alpha), composite(cutout(photo, alpha), background)):
        assert np.abs(again.astype(int) - photo).mean() < 0.5
        assert np.abs(again.astype(int) - photo).max() <= 12


def test_new_background_leaves_no_halo() -> None:
    photo, alpha, foreground, _ = _layers()
    truth = alpha[..., None] * foreground + (1 - alpha[..., None]) * np.array([0, 255, 0])
    edge = (alpha > 0.05) & (alpha < 0.95)
    ours = np.abs(composite(photo, (0, 255, 0), alpha) - truth)[edge].mean()
    naive = np.abs(composite(cutout(photo, alpha, estimate_colours=False), (0, 255, 0)) - truth)[edge].mean()
    assert ours < 0.1 * naive


def test_opaque_and_empty_composites() -> None:
    photo = _layers()[0]
    ones, zeros = np.ones(photo.shape[:2], np.float32), np.zeros(photo.shape[:2], np.float32)
    np.testing.assert_array_equal(composite(photo, "checkerboard", ones), photo)
    np.testing.assert_array_equal(composite(photo, (9, 8, 7), zeros), np.full_like(photo, (9, 8, 7)))


def test_checkerboard_alternates() -> None:
    board = checkerboard((32, 48), cell=8)
    assert board.shape == (32, 48, 3)
    np.testing.assert_array_equal(board[:, 8:], board[:, :-8][:, ::-1][:, ::-1] ^ (204 ^ 255))
    assert board[0, 0, 0] == 204


def test_cover_keeps_the_aspect_and_the_middle() -> None:
    # A wide picture, left half black, right half white: covering a square crops both sides equally.
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 20:] = 255
    square = cover(wide, (30, 30))
    assert square.shape == (30, 30, 3)
    assert (square[:, :12] == 0).all()
    assert (square[:, 18:] == 255).all()
    np.testing.assert_array_equal(cover(wide, (10, 40)), wide)
    assert cover(np.zeros((1000, 3, 3), np.uint8), (7, 5)).shape == (7, 5, 3)


@pytest.mark.parametrize(
    "background", ["chequers", (0, 0), (0, 0, 256), (0.1, 0.2, 0.3), np.zeros((4, 4, 4), np.uint8), None]
)
def test_unknown_background_is_named(background: object) -> None:
    with pytest.raises(ImageError, match="background: "):
        background_image(background, (4, 4))  # type: ignore[arg-type]


def test_wrong_input_is_named() -> None:
    photo, alpha, *_ = _layers()
    with pytest.raises(ImageError, match=r"RGBA where alpha is not given, got uint8 array of shape"):
        composite(photo, (0, 0, 0))
    with pytest.raises(ImageError, match=r"image: expected .*\(H, W, 3\), got .* \(121, 121, 4\)"):
        composite(cutout(photo, alpha), (0, 0, 0), alpha)
    with pytest.raises(ImageError, match="image: expected uint8, got float32"):
        cutout((photo / 255).astype(np.float32), alpha)
    with pytest.raises(ImageError, match="low < high"):
        trimap_from_alpha(alpha, low=0.9, high=0.1)
    with pytest.raises(ImageError, match="band: expected"):
        trimap_from_alpha(alpha, band=-1)
    with pytest.raises(ImageError, match="trimap: expected"):
        trimap_to_uint8(np.full((2, 2), 0.3))
    with pytest.raises(ImageError, match="pixels: expected"):
        trimap_from_uint8(np.zeros((2, 2), np.float32))


USE = "assert call(image, alpha).shape == (3, 4, 4); assert trimap_from_alpha(alpha).shape == (3, 4)"


@pytest.mark.parametrize(
    "imports",
    [
        "import zim; call = zim.cutout; from zim.cutout import trimap_from_alpha; call = zim.cutout",
        "from zim.cutout import trimap_from_alpha; import zim; call = zim.cutout",
        "from zim.cutout import trimap_from_alpha; from zim import cutout as call",
        "from zim import cutout as call; from zim.cutout import trimap_from_alpha",
        "import zim.cutout; call = zim.cutout; trimap_from_alpha = zim.cutout.trimap_from_alpha",
        "import zim.cutout as module; call = module.cutout; trimap_from_alpha = module.trimap_from_alpha",
    ],
)
def test_function_and_module_share_a_name_in_any_order(imports: str) -> None:
    setup = "import numpy as np; image = np.zeros((3, 4, 3), np.uint8); alpha = np.ones((3, 4), np.float32)"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([setup, imports, USE])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
