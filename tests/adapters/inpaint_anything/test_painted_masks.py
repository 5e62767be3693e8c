"""Masks for inpainting models against edges whose reach is known by construction."""

import numpy as np
import pytest

from adapters.inpaint_anything.masks import (
    MaskSettings,
    automatic_dilation,
    core_mask,
    default_feather,
    distance_to,
    grown,
    with_seam,
)
from zim.errors import ConfigError, ImageError


def ramp(width: float, size: int = 200) -> np.ndarray:
    """Alpha falls from 1 to 0 over `width` columns about the middle."""
    columns = np.arange(size, dtype=np.float64)
    line = np.clip((size / 2 + width / 2 - columns) / width, 0, 1)
    return np.repeat(line[None], 60, 0).astype(np.float32)


def gaussian_edge(sigma: float) -> np.ndarray:
    import math

    line = [0.5 * math.erfc((column - 100) / sigma / math.sqrt(2)) for column in range(200)]
    return np.repeat(np.array(line, np.float32)[None], 60, 0)


@pytest.mark.parametrize("width", [10, 20, 40, 80])
def test_a_ramp_is_covered_to_its_end(width: int) -> None:
    """Below the threshold a ramp goes on for threshold x width pixels; the tail factor doubles that."""
    alpha = ramp(width)
    assert automatic_dilation(alpha, 0.1) == pytest.approx(2 * 0.1 * width, abs=1.01)
    assert (core_mask(alpha, MaskSettings()) >= (alpha > 0)).all()


@pytest.mark.parametrize("sigma", [1.5, 3, 6, 12])
def test_a_blurred_edge_is_covered_to_its_faint_end(sigma: float) -> None:
    alpha = gaussian_edge(sigma)
    covered = core_mask(alpha, MaskSettings())
    assert alpha[~covered].max() < 0.025
    assert covered.sum() < (alpha > 1e-4).sum()  # and not without end


def test_a_softer_matte_is_dilated_further() -> None:
    reaches = [automatic_dilation(gaussian_edge(sigma)) for sigma in (1, 4, 8, 16)]
    assert reaches == sorted(reaches) and reaches[0] < reaches[-1]


def test_a_hard_mask_gets_a_share_of_its_scale() -> None:
    alpha = np.zeros((500, 500), np.float32)
    alpha[50:450, 50:450] = 1
    assert automatic_dilation(alpha) == 6  # 1.5% of 400
    small = np.zeros((500, 500), np.float32)
    small[50:70, 50:70] = 1
    assert automatic_dilation(small) == 3
    assert automatic_dilation(np.zeros((9, 9), np.float32)) == automatic_dilation(np.ones((9, 9), np.float32)) == 0


def test_the_kernel_dilates_by_a_square() -> None:
    alpha = np.zeros((40, 40), np.float32)
    alpha[20, 15] = 1
    expected = np.zeros((40, 40), bool)
    expected[18:23, 13:18] = True
    np.testing.assert_array_equal(core_mask(alpha, MaskSettings(kernel=5)), expected)


def test_grown_is_euclidean() -> None:
    mask = np.zeros((31, 31), bool)
    mask[15, 15] = True
    rows, columns = np.mgrid[:31, :31]
    np.testing.assert_array_equal(grown(mask, 5), np.hypot(rows - 15, columns - 15) <= 5)
    assert np.isinf(distance_to(np.zeros((4, 4), bool))).all() and not grown(np.zeros((4, 4), bool), 99).any()


def test_the_seam_fades_to_nothing() -> None:
    core = np.zeros((9, 40), bool)
    core[:, :20] = True
    region = with_seam(core, 4)
    line = region.weight[4]
    assert (line[:20] == 1).all() and (line[24:] == 0).all()
    assert (np.diff(line[19:25]) < 0).all()
    np.testing.assert_array_equal(region.mask, region.weight > 0)
    assert with_seam(core, 0).mask.sum() == core.sum()


def test_the_feather_grows_with_the_photo() -> None:
    assert default_feather((400, 1024)) == 3 and default_feather((4096, 10)) == 12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 1.0}, "threshold: expected a number in"),
        ({"threshold": float("nan")}, "threshold"),
        ({"dilation": -1}, "dilation: expected pixels"),
        ({"feather": float("inf")}, "feather: expected pixels"),
        ({"kernel": 0}, "kernel: expected a side"),
        ({"kernel": 3, "dilation": 3}, "expected one of them, got both"),
    ],
)
def test_impossible_settings(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MaskSettings(**values)


def test_logits_are_no_alpha() -> None:
    with pytest.raises(ImageError, match="values in"):
        core_mask(np.full((4, 4), 3.0, np.float32), MaskSettings())
