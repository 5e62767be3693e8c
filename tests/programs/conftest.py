"""Programs written for SAM, replayed on a small ZIM with lively random weights."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from zim.compat import as_segment_anything
from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import Zim, build_zim
from zim.predictor import ZimPredictor


@pytest.fixture(scope="session")
def zim_model() -> Zim:
    """ZIM_TEST, its weights spread so far that every prompt shows in the masks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_zim(ZIM_TEST)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
            for mlp in model.mask_decoder.output_hypernetworks_mlps:
                mlp.layers[-1].weight.mul_(4)
    return model.eval()


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 of random coloured 8-pixel blocks."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """(90, 160, 3) uint8."""
    return picture(1, 90, 160)


@pytest.fixture(scope="session")
def other_photo() -> np.ndarray:
    """(120, 70, 3) uint8."""
    return picture(2, 120, 70)


@pytest.fixture
def program(zim_model: Zim) -> Iterator[None]:
    """What runs in the test is a program written for SAM."""
    with as_segment_anything(zim_model):
        yield


@pytest.fixture
def direct(zim_model: Zim, photo: np.ndarray) -> ZimPredictor:
    """The answers that the program must get: the same model asked directly, with the photo set."""
    predictor = ZimPredictor(zim_model, output="mask")
    predictor.set_image(photo)
    return predictor
