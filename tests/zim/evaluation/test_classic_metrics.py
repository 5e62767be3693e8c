"""The alphamatting metrics against scipy with an explicit 2-D kernel, and against analytic cases."""

import numpy as np
import pytest
from scipy import ndimage

from zim.evaluation.classic_metrics import (
    classic_conn,
    classic_grad,
    classic_mse,
    classic_sad,
    gaussian_gradient_magnitude,
)
from zim.evaluation.metrics import conn


def kernel_2d(sigma: float = 1.4) -> np.ndarray:
    """The benchmark's own construction: Gaussian times derivative, 9 x 9, divided by its L2 norm."""

    def gauss(x: float) -> float:
        return float(np.exp(-(x**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)))

    size = range(-4, 5)
    kernel = np.array([[gauss(y) * (-x * gauss(x) / sigma**2) for x in size] for y in size])
    return kernel / np.sqrt((kernel**2).sum())


def magnitude_oracle(alpha: np.ndarray) -> np.ndarray:
    kernel = kernel_2d()
    gx = ndimage.convolve(alpha.astype(np.float64), kernel, mode="nearest")
    gy = ndimage.convolve(alpha.astype(np.float64), kernel.T, mode="nearest")
    return np.hypot(gx, gy)


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, 31, 44)).astype(np.float32)
    trimap = rng.choice([0, 0.5, 1], size=truth.shape)
    return prediction, truth, trimap


@pytest.mark.parametrize("seed", range(3))
def test_classic_metrics_equal_their_definitions(seed: int) -> None:
    prediction, truth, trimap = random_case(seed)
    unknown = trimap == 0.5
    difference = (prediction.astype(np.float64) - truth)[unknown]
    assert classic_sad(prediction, truth, trimap) == pytest.approx(np.abs(difference).sum() / 1000)
    assert classic_mse(prediction, truth, trimap) == pytest.approx((difference**2).mean())
    expected = ((magnitude_oracle(prediction) - magnitude_oracle(truth)) ** 2)[unknown].sum() / 1000
    assert classic_grad(prediction, truth, trimap) == pytest.approx(expected, rel=1e-4)
    assert classic_conn(prediction, truth, trimap) == pytest.approx(conn(prediction, truth, unknown))


def test_gradient_of_a_ramp_is_its_slope_times_the_first_moment() -> None:
    ramp = np.tile(np.linspace(0, 1, 41, dtype=np.float32), (30, 1))
    moment = abs((kernel_2d() * np.arange(-4, 5)).sum())
    assert gaussian_gradient_magnitude(ramp)[10:-10, 10:-10] == pytest.approx(moment / 40, rel=1e-4)


def test_flat_alphas_have_no_gradient_error_even_at_the_border() -> None:
    half = np.full((12, 12), 0.5, np.float32)
    assert classic_grad(half, np.ones_like(half), np.full(half.shape, 0.5)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("trimap", "message"),
    [
        (np.full((3, 4), 0.5), r"trimap: expected shape \(4, 4\), got \(3, 4\)"),
        (np.full((4, 4), 128), "trimap: expected only the values 0, 0.5 and 1"),
        (np.zeros((4, 4)), "trimap: expected at least one unknown pixel"),
    ],
)
def test_bad_trimaps_are_refused(trimap: np.ndarray, message: str) -> None:
    alpha = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match=message):
        classic_sad(alpha, alpha, trimap)
