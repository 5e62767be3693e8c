"""Crops: inside the photo, around the object, at the engine's size, back in place."""

import numpy as np
import pytest

from adapters.inpaint_anything.crop import crop_around, cut, paste, whole_picture
from adapters.inpaint_anything.engines.protocol import Geometry

SD = Geometry(native=512, largest=512, multiple=8, least=64)


def box_mask(hw: tuple[int, int], top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(hw, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_small_object_in_a_large_photo_is_painted_at_full_resolution() -> None:
    crop = crop_around(box_mask((3000, 4000), 100, 160, 3900, 3990), SD)
    assert crop.hw == (512, 512) == crop.painted_hw
    assert crop.right == 4000 and crop.top == 0  # moved inside, not cut


def test_a_large_object_is_painted_smaller() -> None:
    crop = crop_around(box_mask((3000, 4000), 1000, 2000, 1000, 1800), SD)
    assert crop.hw == (2000, 2000) and crop.painted_hw == (512, 512)  # half the longer side of 1000 all round
    assert (crop.top, crop.left) == (500, 400)


def test_a_small_photo_is_enlarged() -> None:
    assert crop_around(box_mask((30, 60), 5, 9, 5, 9), SD).painted_hw == (256, 512)
    assert whole_picture((9000, 3000), SD).painted_hw == (512, 171)
    assert whole_picture((9000, 3), SD).painted_hw == (512, 1)


def test_without_a_native_size_nothing_is_scaled() -> None:
    crop = crop_around(box_mask((300, 300), 100, 200, 100, 200), Geometry(), context=0.1)
    assert crop.hw == (164, 164) == crop.painted_hw  # at least 32 pixels of context


@pytest.mark.parametrize("hw", [(37, 53), (600, 900), (8100, 40)])
def test_what_is_cut_out_goes_back_to_its_place(hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    mask = box_mask(hw, 3, 20, 4, 30)
    crop = crop_around(mask, Geometry())
    photo, region = cut(image, mask, crop)
    np.testing.assert_array_equal(region, mask[crop.window])
    np.testing.assert_array_equal(paste(photo, image, crop), image)
    changed = paste(np.zeros_like(photo), image, crop)
    outside = np.ones(hw, bool)
    outside[crop.window] = False
    assert (changed[crop.window] == 0).all() and (changed[outside] == image[outside]).all()


def test_a_hair_stays_in_the_mask_when_it_shrinks() -> None:
    mask = box_mask((2000, 2000), 0, 2000, 777, 778)
    _, region = cut(np.zeros((2000, 2000, 3), np.uint8), mask, whole_picture((2000, 2000), SD))
    assert region.any(1).all() and region.sum() <= 2 * 512
