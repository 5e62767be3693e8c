"""HQ-SAM's surface on `ZimPredictor`: further arguments, any number of boxes, features put aside and back."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
import torch

from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
from zim.errors import ConfigError, ImageError, PromptError
from zim.hq_predictor import HqPredictor
from zim.modeling.config import ZIM_TEST, ZimConfig
from zim.modeling.hq_head import HqHeadConfig, build_hq_head
from zim.modeling.hq_model import HqModel
from zim.modeling.zim import build_zim
from zim.predictor import ZimPredictor
from zim.prompts import Prompt
from zim.protocol import Predictor

SAM_TEST = dataclasses.replace(ZIM_TEST, prompt_attention="none", pixel_decoder="sam")
CONFIGS = {"zim": ZIM_TEST, "sam": SAM_TEST}
BOX = np.array([20.0, 10.0, 110.0, 70.0])


def lively_hq(config: ZimConfig) -> HqModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HqModel(build_zim(config), build_hq_head(HqHeadConfig.for_base(config)))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module", params=CONFIGS)
def model(request: pytest.FixtureRequest) -> HqModel:
    """A small HQ model on ZIM, and one on SAM; for reading only."""
    return lively_hq(CONFIGS[request.param])


@pytest.fixture
def hq(model: HqModel, photo: np.ndarray) -> HqPredictor:
    made = HqPredictor(model)
    made.set_image(photo)
    return made


def test_it_is_a_predictor_that_says_whose_masks_it_gives(model: HqModel, hq: HqPredictor) -> None:
    assert isinstance(hq, Predictor)
    sam = model.head.config.architecture == "hq_sam"
    assert hq.reports_binary is sam
    answer = hq.predict(box=BOX)[0]
    assert answer.dtype == (np.bool_ if sam else np.float32)
    assert HqPredictor(model, output="alpha").output == "alpha"
    with pytest.raises(ConfigError, match="expected an HqModel"):
        HqPredictor(model.prompt_encoder)  # type: ignore[arg-type]


@pytest.mark.parametrize("three", [False, True])
def test_shapes_of_every_mode(hq: HqPredictor, photo: np.ndarray, three: bool) -> None:
    for token_only in (False, True):
        for compat in (False, True):
            masks, quality, low_res = hq.predict(
                box=BOX, multimask_output=three, hq_token_only=token_only, hq_compat=compat
            )
            count = 3 if three and not compat else 1
            assert masks.shape == (count, *photo.shape[:2])
            assert quality.shape == (count,) and low_res.shape == (count, 32, 32)


def test_modes_relate_as_they_should(hq: HqPredictor) -> None:
    ask = {"box": BOX, "return_logits": True}
    three, quality, _ = hq.predict(**ask)
    best, judged, _ = hq.predict(**ask, hq_compat=True)
    np.testing.assert_allclose(best[0], three[int(quality.argmax())], atol=1e-4)
    assert judged[0] == quality.max()
    one = hq.predict(**ask, multimask_output=False)[0]
    np.testing.assert_allclose(hq.predict(**ask, multimask_output=False, hq_compat=True)[0], one, atol=1e-4)
    head = hq.predict(**ask, multimask_output=False, hq_token_only=True)[0]
    copies = hq.predict(**ask, hq_token_only=True)[0]
    np.testing.assert_array_equal(copies, np.repeat(copies[:1], 3, axis=0))
    np.testing.assert_allclose(copies[:1], head, atol=1e-4)
    assert np.abs(one - head).max() > 0.01
    np.testing.assert_allclose(hq.predict(**ask)[0], three, atol=1e-4)  # asking otherwise has switched nothing


def test_the_first_six_arguments_are_sams(hq: HqPredictor) -> None:
    points, labels = np.array([[50.0, 40.0]]), np.array([1])
    positional = hq.predict(points, labels, BOX, None, False, True)
    named = hq.predict(
        point_coords=points, point_labels=labels, box=BOX, mask_input=None, multimask_output=False, return_logits=True
    )
    np.testing.assert_allclose(positional[0], named[0], atol=1e-4)
    with pytest.raises(TypeError):
        hq.predict(points, labels, BOX, None, False, True, True)  # type: ignore[misc]


def test_boxes_of_one_row(hq: HqPredictor) -> None:
    np.testing.assert_allclose(hq.predict(box=BOX)[2], hq.predict(box=BOX[None])[2], atol=1e-4)
    with pytest.raises(PromptError, match="predict_torch"):
        hq.predict(box=np.stack([BOX, BOX]))


def test_any_number_of_boxes_in_chunks(hq: HqPredictor) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform([0, 0, 60, 40], [50, 30, 120, 70], (40, 4))
    rows = hq.transform.apply_boxes_torch(torch.from_numpy(corners).float(), hq.original_size)
    for mode in ({}, {"hq_token_only": True}, {"hq_compat": True}):
        logits, quality, low_res = hq.predict_torch(None, None, rows, return_logits=True, chunk_size=7, **mode)
        count = 1 if "hq_compat" in mode else 3
        assert logits.shape[:2] == quality.shape == low_res.shape[:2] == (40, count)
        for row in (0, 13, 39):
            alone = hq.predict(box=corners[row], return_logits=True, **mode)[0]
            np.testing.assert_allclose(logits[row].numpy(), alone, atol=1e-4 * np.abs(alone).max())


def test_many_prompts(hq: HqPredictor) -> None:
    prompts = [Prompt(box=BOX), Prompt(point_coords=np.array([[60.0, 40.0]]), point_labels=np.array([1]))]
    answers = hq.predict_many(prompts, return_logits=True, hq_token_only=True)
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = hq.predict(
            **prompt.as_kwargs(), multimask_output=False, return_logits=True, hq_token_only=True
        )[0]
        np.testing.assert_allclose(answer[0], expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_low_res_can_be_fed_back(hq: HqPredictor) -> None:
    low_res = hq.predict(box=BOX, multimask_output=False)[2]
    again = hq.predict(box=BOX, mask_input=low_res, multimask_output=False, return_logits=True)[0]
    first = hq.predict(box=BOX, multimask_output=False, return_logits=True)[0]
    assert np.abs(again - first).max() > 1e-3


def test_features_hold_everything(hq: HqPredictor, photo: np.ndarray, other_photo: np.ndarray) -> None:
    """Put aside, written, read, put back: as HQ-SAM's programs do, `interm_features` included."""
    expected = hq.predict(box=BOX, return_logits=True)[0]
    buffer = io.BytesIO()
    torch.save(hq.features, buffer)
    interm = [kept.clone() for kept in hq.interm_features or []]
    hq.set_image(other_photo)
    hq.reset_image()
    assert hq.interm_features is None
    buffer.seek(0)
    hq.features = torch.load(buffer, weights_only=True)
    hq.interm_features = None
    np.testing.assert_allclose(hq.predict(box=BOX, return_logits=True)[0], expected, atol=1e-4)
    hq.interm_features = interm
    np.testing.assert_allclose(hq.predict(box=BOX, return_logits=True)[0], expected, atol=1e-4)


def test_interm_features_count_for_the_head_alone(hq: HqPredictor) -> None:
    ask: dict[str, Any] = {"box": BOX, "multimask_output": False, "return_logits": True}
    both, head = hq.predict(**ask)[0], hq.predict(**ask, hq_token_only=True)[0]
    kept = hq.features
    assert hq.interm_features is not None
    hq.interm_features = [torch.zeros_like(hq.interm_features[0])]
    other_both, other_head = hq.predict(**ask)[0], hq.predict(**ask, hq_token_only=True)[0]
    assert np.abs(head - other_head).max() > 1e-3
    np.testing.assert_allclose(both - head, other_both - other_head, atol=1e-3)  # the base's part stays
    hq.features = kept  # what was put aside has not changed
    np.testing.assert_allclose(hq.predict(**ask)[0], both, atol=1e-4)


def test_wrong_interm_features_are_refused(hq: HqPredictor) -> None:
    with pytest.raises(ImageError, match="interm_features: expected one tensor"):
        hq.interm_features = [torch.zeros(1, 3, 2, 2)]
    hq.reset_image()
    with pytest.raises(ImageError, match="there is no image"):
        hq.interm_features = [torch.zeros(1)]


def test_the_bases_own_predictor_is_not_touched(photo: np.ndarray) -> None:
    """The same base alone, before and after it served an HQ predictor."""
    base = build_zim(ZIM_TEST).eval()
    answers = []
    for _ in range(2):
        alone = ZimPredictor(base)
        alone.set_image(photo)
        answers.append(alone.predict(box=BOX, return_logits=True)[0])
        hq = HqPredictor(HqModel(base, build_hq_head(HqHeadConfig.for_base(base.config))))
        hq.set_image(photo)
        hq.predict(box=BOX, hq_token_only=True)
    np.testing.assert_allclose(*answers, atol=1e-5)  # a CPU rounds by where in memory tensors lie


def test_the_mask_generator_takes_the_model(model: HqModel, photo: np.ndarray) -> None:
    settings = {"points_per_side": 2, "pred_iou_thresh": -1e9, "stability_score_thresh": -1.0}
    by_model = ZimAutomaticMaskGenerator(model, **settings).generate(photo)
    by_predictor = ZimAutomaticMaskGenerator(HqPredictor(model, output="alpha"), **settings).generate(photo)
    assert by_model and len(by_model) == len(by_predictor)
    assert sum(r["area"] for r in by_model) == pytest.approx(sum(r["area"] for r in by_predictor), rel=1e-3)
