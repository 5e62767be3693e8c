"""SGA: the same region leaves label and matte, and nothing else happens."""

from collections.abc import Callable

import numpy as np
import pytest

from training.label_converter.sga import SgaConfig, draw_regions, spatial_generalization
from zim.errors import ConfigError

ALWAYS = SgaConfig(probability=1.0)


def _soft(label: np.ndarray) -> np.ndarray:
    return np.where(label, np.float32(0.9), np.float32(0.2))


def test_label_and_matte_lose_the_same_region(make_disc: Callable) -> None:
    label = make_disc((90, 120), (60, 45), 30)
    alpha = _soft(label)
    for seed in range(50):
        cut_label, cut_alpha = spatial_generalization(label, alpha, np.random.default_rng(seed), ALWAYS)
        gone = cut_alpha != alpha
        assert gone.any() and (cut_alpha[gone] == 0).all()
        np.testing.assert_array_equal(cut_label, label & ~gone)
        assert cut_label.sum() >= ALWAYS.min_kept * label.sum()
    np.testing.assert_array_equal(alpha, _soft(label))  # not changed in place


def test_a_straight_cut_takes_its_share_of_the_label(make_disc: Callable) -> None:
    config = SgaConfig(probability=1, regions=(1, 1), shapes=(1, 0, 0), share=(0.3, 0.3))
    label = make_disc((100, 100), (40, 55), 25)
    for seed in range(20):
        region = draw_regions(label, np.random.default_rng(seed), config)
        assert region is not None and (region & label).sum() / label.sum() == pytest.approx(0.3, abs=0.03)


def test_probability_is_kept(make_disc: Callable) -> None:
    label = make_disc((60, 60), (30, 30), 15)
    rng = np.random.default_rng(0)
    config = SgaConfig(probability=0.4)
    cut = sum(spatial_generalization(label, _soft(label), rng, config)[0] is not label for _ in range(500))
    assert 0.3 < cut / 500 < 0.5


def test_what_is_too_small_stays() -> None:
    label = np.zeros((20, 20), bool)
    label[4, 4] = True
    assert draw_regions(label, np.random.default_rng(0), ALWAYS) is None
    assert spatial_generalization(label, _soft(label), np.random.default_rng(0), ALWAYS)[0] is label


def test_impossible_numbers_are_named() -> None:
    with pytest.raises(ConfigError, match=r"share: expected 0.0 <= low <= high <= 1.0, got \(0.5, 0.2\)"):
        SgaConfig(share=(0.5, 0.2))
    with pytest.raises(ConfigError, match="probability"):
        SgaConfig(probability=1.5)
    with pytest.raises(ConfigError, match="shapes: expected three weights"):
        SgaConfig(shapes=(0, 0, 0))
