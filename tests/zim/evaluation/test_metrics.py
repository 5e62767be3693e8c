"""The MicroMat metrics against definitions written with scipy and scikit-image, and hand-computed cases."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from zim.evaluation.metrics import conn, error_maps, grad, mae, matte_errors, mse, sad, unknown_band


def soft_pair(seed: int = 0, shape: tuple[int, int] = (40, 53)) -> tuple[np.ndarray, np.ndarray]:
    """Two related, smooth alphas with plateaus at 0 and 1."""
    rng = np.random.default_rng(seed)
    base = ndimage.gaussian_filter(rng.standard_normal(shape), 4)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    truth = np.clip(0.5 + base * 8, 0, 1)
    prediction = np.clip(truth + noise * 1.5, 0, 1)
    return prediction.astype(np.float32), truth.astype(np.float32)


def sobel_oracle(alpha: np.ndarray) -> np.ndarray:
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float64)
    gx = ndimage.correlate(alpha.astype(np.float64), kernel, mode="constant")
    gy = ndimage.correlate(alpha.astype(np.float64), kernel.T, mode="constant")
    return np.sqrt(gx**2 + gy**2 + 1e-8)


def conn_oracle(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The published loop, step by step, with scikit-image's labels."""
    steps = np.arange(11, dtype=np.float32) / np.float32(10)
    level = np.full(truth.shape, -1.0)
    for i in range(1, 11):
        both = (prediction >= steps[i]) & (truth >= steps[i])
        labels = label(both, connectivity=1)
        omega = np.zeros_like(both)
        if labels.max() > 0:
            omega = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
        level[(level == -1) & ~omega] = steps[i - 1]
    level[level == -1] = 1
    phi = [1 - (a - level) * (a - level >= 0.15) for a in (prediction, truth)]
    return np.abs(phi[0] - phi[1])


@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_their_definitions(seed: int) -> None:
    prediction, truth = soft_pair(seed)
    difference = np.abs(prediction.astype(np.float64) - truth)
    assert sad(prediction, truth) == pytest.approx(difference.sum() / 1000)
    assert mse(prediction, truth) == pytest.approx((difference**2).mean() * 1000)
    assert mae(prediction, truth) == pytest.approx(difference.mean() * 1000)
    expected = np.abs(sobel_oracle(prediction) - sobel_oracle(truth)).mean() * 1000
    assert grad(prediction, truth) == pytest.approx(expected, rel=1e-5)
    assert conn(prediction, truth) == pytest.approx(conn_oracle(prediction, truth).sum() / 1000, rel=1e-5)


def test_region_restricts_sums_and_means_but_not_the_neighbourhood_of_gradients() -> None:
    prediction, truth = soft_pair(7)
    region = np.zeros(truth.shape, dtype=bool)
    region[10:20, 5:30] = True
    got = matte_errors(prediction, truth, region)
    difference = np.abs(prediction.astype(np.float64) - truth)[region]
    assert got.sad == pytest.approx(difference.sum() / 1000)
    assert got.mse == pytest.approx((difference**2).mean() * 1000)
    assert got.mae == pytest.approx(difference.mean() * 1000)
    whole = np.abs(sobel_oracle(prediction) - sobel_oracle(truth))
    assert got.grad == pytest.approx(whole[region].mean() * 1000, rel=1e-5)
    assert got.conn == pytest.approx(conn_oracle(prediction, truth)[region].sum() / 1000, rel=1e-5)
    singles = [metric(prediction, truth, region) for metric in (sad, mse, mae, grad, conn)]
    assert singles == pytest.approx(list(got))


def test_hand_computed_case() -> None:
    truth = np.zeros((10, 10), np.float32)
    truth[2:6, 3:8] = 1  # 20 pixels
    nothing = np.zeros_like(truth)
    got = matte_errors(nothing, truth)
    # connectivity: level 0 everywhere, so d = alpha and phi differs by 1 on the object
    assert (got.sad, got.mse, got.mae, got.conn) == pytest.approx((0.020, 200.0, 200.0, 0.020))


def test_gradient_of_a_ramp_and_of_the_border() -> None:
    ramp = np.tile(np.linspace(0, 1, 11, dtype=np.float32), (9, 1))
    magnitude = error_maps(ramp, np.zeros_like(ramp)).gradient
    assert magnitude[1:-1, 1:-1] == pytest.approx(
        8 * 0.1, abs=1e-3
    )  # unnormalised Sobel of slope 0.1, less the epsilon
    full = error_maps(np.ones_like(ramp), np.zeros_like(ramp)).gradient
    assert full[4, 5] == pytest.approx(0, abs=1e-3)
    assert full[4, 0] == pytest.approx(4, abs=1e-3)  # zero padding: the image border is an edge


def test_connectivity_punishes_a_detached_island_and_forgives_small_offsets() -> None:
    truth = np.zeros((20, 20), np.float32)
    truth[2:12, 2:12] = 1
    island = truth.copy()
    island[15:18, 15:18] = 1
    assert conn(island, truth) == pytest.approx(9 / 1000)
    assert conn(np.where(truth > 0, np.float32(0.9), 0).astype(np.float32), truth) == 0
    diagonal = np.zeros((4, 4), np.float32)  # two pixels that touch at a corner are two components
    diagonal[0, 0] = diagonal[1, 1] = 1
    assert conn(diagonal, diagonal) == 0


def test_errors_do_not_change_under_flips() -> None:
    prediction, truth = soft_pair(3)
    flipped = matte_errors(prediction[::-1, ::-1], truth[::-1, ::-1])
    assert list(flipped) == pytest.approx(list(matte_errors(prediction, truth)), rel=1e-5)


def test_perfect_prediction_has_no_error() -> None:
    _, truth = soft_pair(1)
    assert list(matte_errors(truth, truth)) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((4, 5), np.float32), r"prediction: expected the truth's shape \(4, 4\), got \(4, 5\)"),
        (np.full((4, 4), np.nan, np.float32), "prediction: expected finite values, got NaN"),
        (np.full((4, 4), 1.5, np.float32), r"prediction: expected values in \[0, 1\], got \[1.5, 1.5\]"),
        (np.full((4, 4), -0.1), r"prediction: expected values in \[0, 1\]"),
        (np.zeros((4, 4), np.uint8), "prediction: expected floating values"),
        (
            np.zeros((1, 4, 4), np.float32),
            r"prediction: expected a non-empty \(H, W\) array, got shape \(1, 4, 4\)",
        ),
    ],
)
def test_bad_arrays_are_refused(prediction: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        matte_errors(prediction, np.zeros((4, 4), np.float32))


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (np.zeros((4, 4), dtype=bool), "region: expected at least one pixel"),
        (np.ones((3, 4), dtype=bool), r"region: expected shape \(4, 4\)"),
        (np.ones((4, 4)), "region: expected a boolean array"),
    ],
)
def test_bad_regions_are_refused(region: np.ndarray, message: str) -> None:
    alpha = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match=message):
        sad(alpha, alpha, region)


def disc_dilation(core: np.ndarray, radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return ndimage.binary_dilation(core, structure=x * x + y * y <= radius * radius)


@pytest.mark.parametrize("radius", [0, 1, 3, 10])
def test_band_is_the_soft_region_dilated_by_a_disc(radius: int) -> None:
    alpha = np.zeros((60, 70), np.float32)
    alpha[:, 40:] = 1
    alpha[20:30, 38:41] = (0.02, 0.5, 0.98)  # only the middle one is strictly inside
    alpha[50, 5] = 0.03
    core = (alpha > 0.02) & (alpha < 0.98)
    assert np.array_equal(unknown_band(alpha, radius), disc_dilation(core, radius))


def test_band_of_a_binary_truth_is_its_dilated_edge() -> None:
    alpha = np.zeros((50, 50), np.float32)
    alpha[20:30, 20:30] = 1
    solid = alpha > 0.5
    edge = (ndimage.binary_dilation(solid) & ~solid) | (solid & ~ndimage.binary_erosion(solid))
    assert np.array_equal(unknown_band(alpha, 4), disc_dilation(edge, 4))


def test_band_of_a_truth_without_edges_is_empty() -> None:
    assert not unknown_band(np.ones((9, 9), np.float32)).any()
    with pytest.raises(ValueError, match="radius"):
        unknown_band(np.ones((9, 9), np.float32), -1)
