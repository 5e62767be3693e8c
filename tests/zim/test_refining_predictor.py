"""The wrapper against `refine_alpha` on what the predictor itself answers."""

import numpy as np
import pytest

from zim.alpha import predict_alpha
from zim.errors import ImageNotSetError
from zim.loading import load_predictor
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.protocol import Predictor
from zim.refinement import refine_alpha
from zim.refining_predictor import RefiningPredictor

BOX = np.array([20.0, 10.0, 110.0, 70.0])


def test_answers_are_the_predictors_refined(tiny_zim: Zim, photo: np.ndarray) -> None:
    plain, refining = ZimPredictor(tiny_zim), RefiningPredictor(ZimPredictor(tiny_zim))
    assert isinstance(refining, Predictor)
    plain.set_image(photo)
    refining.set_image(np.ascontiguousarray(photo[..., ::-1]), image_format="BGR")
    alphas, qualities, low_res = plain.predict(box=BOX)
    found = refining.predict(box=BOX)
    assert found[0].shape == alphas.shape and found[0].dtype == np.float32
    for refined, alpha in zip(found[0], alphas, strict=True):
        np.testing.assert_allclose(refined, refine_alpha(photo, alpha), atol=1e-5)
    np.testing.assert_array_equal(found[1], qualities)
    np.testing.assert_array_equal(found[2], low_res)
    one = predict_alpha(refining, box=BOX)
    np.testing.assert_allclose(one, refine_alpha(photo, predict_alpha(plain, box=BOX)), atol=2e-4)


def test_without_an_image_it_says_so(tiny_zim: Zim) -> None:
    with pytest.raises(ImageNotSetError, match="expected before predict"):
        RefiningPredictor(ZimPredictor(tiny_zim)).predict(box=BOX)


def test_the_factory_is_a_name_for_load_predictor() -> None:
    loaded = load_predictor("zim.refining_predictor:zim_tiny_refined", device="cpu")
    assert isinstance(loaded, RefiningPredictor) and isinstance(loaded.predictor, ZimPredictor)
