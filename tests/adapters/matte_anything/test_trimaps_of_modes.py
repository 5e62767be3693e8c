"""Trimaps against distances worked out by hand, and boxes that one sees through."""

import numpy as np
import pytest

from adapters.matte_anything import MODES, ClosedFormRefiner, KernelTrimap, MatteTrimap
from adapters.matte_anything.modes import mode_of, refiner_of
from adapters.matte_anything.transparency import open_inside
from zim.errors import ConfigError


def square(soft: float = 1.0) -> np.ndarray:
    """A 100-pixel square at rows and columns 50..149 of 200, its left half at another alpha."""
    alpha = np.zeros((200, 200), np.float32)
    alpha[50:150, 50:150] = 1
    alpha[50:150, 50:100] = soft
    return alpha


def test_the_band_follows_the_object() -> None:
    trimap = MatteTrimap(band_share=0.1)(square())  # scale 100, band 10
    row = trimap[100]
    assert row[40] == 0.5 and row[39] == 0 and row[59] == 0.5 and row[60] == 1
    small = MatteTrimap(band_share=0.1)(square()[::2, ::2].copy())
    assert np.array_equal(np.flatnonzero(np.diff(small[50])), [19, 29, 69, 79])  # half the size, half the band


def test_a_matte_in_doubt_is_unknown() -> None:
    trimap = MatteTrimap(band_share=0.02)(square(soft=0.6))
    assert (trimap[60:140, 52:100] == 0.5).all() and (trimap[60:140, 104:146] == 1).all()


def test_a_thin_object_has_the_scale_of_its_extent() -> None:
    ring = square()
    ring[52:148, 52:148] = 0
    assert MatteTrimap().band(ring) == MatteTrimap().band(square()) == 8
    assert MatteTrimap().band(np.zeros((9, 9), np.float32)) == 1


def test_kernels_are_those_of_matte_anything() -> None:
    """A kernel of 3, 5 times, moves an edge by 5 pixels."""
    row = KernelTrimap(erode=3, dilate=3)(square())[100]
    assert np.array_equal(np.flatnonzero(np.diff(row)), [44, 54, 144, 154])
    default = np.diff(
        KernelTrimap()(square())[100]
    )  # 9 pixels per pass, 45 in all, the even kernel a little to one side
    lines = np.flatnonzero(default)
    assert lines[1] - lines[0] == 45 == lines[3] - lines[2] and abs(lines[:2].mean() - 49) <= 2.5


def test_the_picture_border_does_not_erode() -> None:
    alpha = np.zeros((60, 60), np.float32)
    alpha[:, :40] = 1
    assert (KernelTrimap(erode=3, dilate=3)(alpha)[:, :35] == 1).all()


def test_transparent_boxes() -> None:
    trimap = MatteTrimap(band_share=0.02)(square())
    opened = open_inside(trimap, [np.array([20, 60.2, 100, 80.5], np.float32)])
    changed = opened != trimap
    assert (trimap[changed] == 1).all() and (opened[changed] == 0.5).all()
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 79, 52, 99)
    assert np.array_equal(open_inside(trimap, [np.array([300, 300, 400, 400])]), trimap)


@pytest.mark.parametrize("make", [lambda: KernelTrimap(erode=31), lambda: KernelTrimap(iterations=0)])
def test_impossible_kernels(make) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()


def test_modes() -> None:
    assert list(MODES) == ["zim", "zim+vitmatte", "zim+pymatting", "sam+vitmatte", "sam+pymatting"]
    sam, zim = refiner_of(mode_of("sam+pymatting")), refiner_of(mode_of("zim+pymatting"))
    assert isinstance(sam, ClosedFormRefiner) and isinstance(zim, ClosedFormRefiner)
    assert sam.prior_weight == 0 < zim.prior_weight
    with pytest.raises(ConfigError, match="expected one of zim, zim"):
        mode_of("sam")
    with pytest.raises(ConfigError, match="load_vitmatte"):
        refiner_of(mode_of("sam+vitmatte"))
