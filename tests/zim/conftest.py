"""A small model with lively random weights, and a photo-like image, for the tests of the predictor."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import Zim, build_zim
from zim.predictor import ZimPredictor


def _lively_model(seed: int) -> Zim:
    """ZIM_TEST with weights spread so far that every prompt, token and feature shows in the logits."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_zim(ZIM_TEST)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
            for mlp in model.mask_decoder.output_hypernetworks_mlps:
                mlp.layers[-1].weight.mul_(4)
    return model.eval()


def blocks(seed: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 of random coloured 8-pixel blocks."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()


@pytest.fixture(scope="session")
def tiny_zim() -> Zim:
    """A model for reading only; tests that change one build their own."""
    return _lively_model(0)


@pytest.fixture(scope="session")
def make_zim() -> Callable[[int], Zim]:
    """`make_zim(seed)`: another such model; seed 0 is `tiny_zim` again."""
    return _lively_model


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """(90, 160, 3) uint8: landscape, so that the padded frame has padding below."""
    return blocks(1, 90, 160)


@pytest.fixture(scope="session")
def other_photo() -> np.ndarray:
    """(120, 70, 3) uint8: portrait."""
    return blocks(2, 120, 70)


@pytest.fixture
def predictor(tiny_zim: Zim, photo: np.ndarray) -> ZimPredictor:
    """A fresh alpha predictor that has the landscape photo."""
    made = ZimPredictor(tiny_zim)
    made.set_image(photo)
    return made
