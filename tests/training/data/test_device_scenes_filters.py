"""Filters whose strength differs by row: OpenCV and scipy are the oracles."""

import cv2
import numpy as np
import torch
from scipy import ndimage

from training.data.device_scenes_filters import (
    both_ways,
    depth_of,
    dilate,
    erode,
    gaussian_matrix,
    motion_blur,
    reduction_matrix,
)


def disc(side: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (np.hypot(columns - x, rows - y) <= radius).astype(np.float32)


def test_gaussian_is_opencvs_away_from_the_border() -> None:
    planes = np.random.default_rng(0).random((3, 48, 48)).astype(np.float32)
    sigmas = [0.0, 1.0, 2.5]
    found = both_ways(gaussian_matrix(torch.tensor(sigmas), 48), torch.from_numpy(planes)).numpy()
    np.testing.assert_allclose(found[0], planes[0], atol=1e-6)
    for row in (1, 2):
        wanted = cv2.GaussianBlur(planes[row], (33, 33), sigmas[row])
        np.testing.assert_allclose(found[row, 12:-12, 12:-12], wanted[12:-12, 12:-12], atol=2e-4)
    flat = both_ways(gaussian_matrix(torch.tensor([3.0]), 48), torch.ones(1, 48, 48))
    torch.testing.assert_close(flat, torch.ones(1, 48, 48))  # nothing is lost at the border


def test_reduction_is_opencvs() -> None:
    planes = np.random.default_rng(1).random((3, 48, 48)).astype(np.float32)
    found = both_ways(reduction_matrix(torch.tensor([1.0, 4.0, 6.0]), 48), torch.from_numpy(planes)).numpy()
    np.testing.assert_allclose(found[0], planes[0], atol=1e-6)
    for row, factor in ((1, 4), (2, 6)):
        small = cv2.resize(planes[row], (48 // factor,) * 2, interpolation=cv2.INTER_AREA)
        wanted = cv2.resize(small, (48, 48), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)


def test_morphology_moves_a_disc_by_its_radius() -> None:
    radii = [0.0, 1.0, 3.0, 5.0]
    planes = torch.from_numpy(np.stack([disc(64, 30, 33, 14)] * 4))
    for function, sign in ((dilate, 1), (erode, -1)):
        found = function(planes, torch.tensor(radii), 6).numpy() > 0.5
        for mask, radius in zip(found, radii, strict=True):
            inner, outer = (disc(64, 30, 33, 14 + sign * radius + slack) > 0.5 for slack in (-1, 1))
            assert (mask >= inner).all() and (mask <= outer).all()
    whole = torch.ones(1, 16, 16)
    torch.testing.assert_close(erode(whole, torch.tensor([3.0]), 3), whole)  # the border is not an outline


def test_depth_is_the_distance_to_the_outside() -> None:
    masks = np.stack([disc(64, 30, 30, 20), disc(64, 30, 30, 20) - disc(64, 40, 30, 5)])
    found = depth_of(torch.from_numpy(masks), 32).numpy()
    for depth, mask in zip(found, masks, strict=True):
        exact = ndimage.distance_transform_edt(mask)
        assert not depth[mask == 0].any() and np.abs(depth - exact)[mask > 0].max() <= 1 + 0.12 * exact.max()


def test_motion_spreads_along_its_line() -> None:
    """A point becomes a line of the same mass and centre; its variance is that of a uniform one."""
    planes = torch.zeros(2, 1, 64, 64)
    planes[:, 0, 31, 33] = 1.0
    angle, length = torch.tensor([0.0, 1.1]), torch.tensor([12.0, 20.0])
    found = motion_blur(planes, length, angle)[:, 0].numpy()
    rows, columns = np.mgrid[:64, :64]
    for plane, turn, extent in zip(found, angle.tolist(), length.tolist(), strict=True):
        assert abs(plane.sum() - 1) < 1e-3
        x, y = (plane * columns).sum() - 33, (plane * rows).sum() - 31
        assert abs(x) < 0.05 and abs(y) < 0.05
        along = (columns - 33) * np.cos(turn) + (rows - 31) * np.sin(turn)
        across = (rows - 31) * np.cos(turn) - (columns - 33) * np.sin(turn)
        assert abs((plane * along**2).sum() / (extent**2 / 12) - 1) < 0.2 and (plane * across**2).sum() < 1.5
