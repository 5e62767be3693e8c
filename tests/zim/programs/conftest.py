"""Programs written for SAM, replayed on the small ZIM and the photos of the tests around them."""

from collections.abc import Iterator

import numpy as np
import pytest

from zim.compat import as_segment_anything
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor


@pytest.fixture
def program(tiny_zim: Zim) -> Iterator[None]:
    """What runs in the test is a program written for SAM."""
    with as_segment_anything(tiny_zim):
        yield


@pytest.fixture
def direct(tiny_zim: Zim, photo: np.ndarray) -> ZimPredictor:
    """The answers that the program must get: the same model asked directly, with the photo set."""
    predictor = ZimPredictor(tiny_zim, output="mask")
    predictor.set_image(photo)
    return predictor
