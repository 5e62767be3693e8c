"""What code written for SAM relies on, against the real `segment_anything` where it has an answer."""

import copy
import inspect
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zim.compat.segment_anything import import_segment_anything
from zim.errors import ImageNotSetError, PromptError
from zim.features import PredictorFeatures
from zim.modeling.features import ImageFeatures
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor

sam = import_segment_anything()

BOX = np.array([20.0, 10.0, 110.0, 70.0])
POINTS = np.array([[40.0, 30.0], [120.0, 60.0]])
LABELS = np.array([1, 0])


def logits_of(predictor: Any, **prompts: Any) -> np.ndarray:
    return predictor.predict(**prompts, multimask_output=True, return_logits=True)[0]


# Row 1: SAM's parameters in SAM's order.


@pytest.mark.parametrize("name", ["set_image", "set_torch_image", "predict", "predict_torch"])
def test_parameters_are_those_of_sam_in_order(name: str) -> None:
    theirs = list(inspect.signature(getattr(sam.SamPredictor, name)).parameters.values())
    ours = list(inspect.signature(getattr(ZimPredictor, name)).parameters.values())
    shared, extras = ours[: len(theirs)], ours[len(theirs) :]
    assert [(p.name, p.kind, p.default) for p in shared] == [(p.name, p.kind, p.default) for p in theirs]
    assert all(extra.kind is inspect.Parameter.KEYWORD_ONLY for extra in extras)


def test_mask_input_is_the_fourth_position(predictor: ZimPredictor) -> None:
    low_res = predictor.predict(None, None, BOX, None, False)[2]
    with_mask = predictor.predict(POINTS, LABELS, BOX, low_res, False, True)[0]
    without = predictor.predict(POINTS, LABELS, BOX, None, False, True)[0]
    by_name = predictor.predict(
        point_coords=POINTS,
        point_labels=LABELS,
        box=BOX,
        mask_input=low_res,
        multimask_output=False,
        return_logits=True,
    )[0]
    assert np.array_equal(with_mask, by_name)
    assert np.abs(with_mask - without).max() > 0.1


def test_box_may_have_a_row_axis(predictor: ZimPredictor) -> None:
    assert np.array_equal(logits_of(predictor, box=BOX[None]), logits_of(predictor, box=BOX))


def test_more_boxes_name_the_ways_out(predictor: ZimPredictor) -> None:
    with pytest.raises(ValueError, match=r"box: expected one box .* got 2 boxes; use predict_many .*predict_torch"):
        predictor.predict(box=np.stack([BOX, BOX]))


# Rows 2 and 6: mask input, and low-resolution logits that can be fed back.


def test_low_res_logits_are_the_2x2_means_of_the_decoder_and_feed_back(predictor: ZimPredictor) -> None:
    native = stock(predictor.model, predictor).predict(box=BOX, multimask_output=True)[2]
    low_res = predictor.predict(box=BOX)[2]
    assert low_res.dtype == np.float32
    means = native.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(low_res, means, atol=1e-5)
    fed_back = logits_of(predictor, mask_input=low_res[:1])
    assert np.abs(fed_back - logits_of(predictor, mask_input=low_res[1:2])).max() > 0.1
    np.testing.assert_allclose(logits_of(predictor, mask_input=native[:1]), fed_back, atol=1e-3)


def test_mask_input_without_a_channel_axis(predictor: ZimPredictor) -> None:
    low_res = predictor.predict(box=BOX)[2]
    assert np.array_equal(logits_of(predictor, mask_input=low_res[0]), logits_of(predictor, mask_input=low_res[:1]))


# Row 3: bool in strict mode, logits with threshold 0 on request, alpha as their sigmoid.


def test_alpha_mask_and_logits_are_one_answer(tiny_zim: Zim, photo: np.ndarray, predictor: ZimPredictor) -> None:
    strict = ZimPredictor(tiny_zim, output="mask")
    strict.set_image(photo)
    logits = logits_of(predictor, box=BOX)
    assert np.array_equal(logits_of(strict, box=BOX), logits)
    assert tiny_zim.mask_threshold == 0.0
    masks = strict.predict(box=BOX)[0]
    assert masks.dtype == np.bool_
    assert 0 < masks.mean() < 1
    assert np.array_equal(masks, logits > 0)
    assert (masks.astype(np.uint8) * 255).max() == 255
    alphas = predictor.predict(box=BOX)[0]
    assert alphas.dtype == np.float32
    assert np.array_equal(alphas, torch.sigmoid(torch.from_numpy(logits)).numpy())
    np.testing.assert_allclose(alphas, 1 / (1 + np.exp(-logits.astype(np.float64))), atol=1e-6)


def test_predict_torch_answers_in_the_same_kinds(predictor: ZimPredictor, tiny_zim: Zim) -> None:
    boxes = predictor.transform.apply_boxes_torch(torch.from_numpy(BOX)[None], predictor.original_size)
    logits = predictor.predict_torch(None, None, boxes, return_logits=True)[0]
    assert torch.equal(predictor.predict_torch(None, None, boxes)[0], torch.sigmoid(logits))
    strict = ZimPredictor(tiny_zim, output="mask")
    strict.features = predictor.features
    assert torch.equal(strict.predict_torch(None, None, boxes)[0], logits > 0)


# Row 4: three masks from tokens 1 to 3, one from token 0.


def test_three_masks_are_tokens_1_to_3_and_one_is_token_0(predictor: ZimPredictor) -> None:
    model = predictor.model
    boxes = torch.from_numpy(predictor.transform.apply_boxes(BOX, (90, 160))).float()
    with torch.no_grad():
        sparse, dense = model.prompt_encoder(points=None, boxes=boxes, masks=None)
        tokens, quality = model.mask_decoder.predict_masks(
            predictor.features, model.prompt_encoder.get_dense_pe(), sparse, dense
        )
        full = model.postprocess_masks(tokens, (72, 128), (90, 160))[0].numpy()
    three, scores, low_res = predictor.predict(box=BOX, return_logits=True)
    one, score, _ = predictor.predict(box=BOX, multimask_output=False, return_logits=True)
    assert three.shape == (3, 90, 160) and scores.shape == (3,) and low_res.shape == (3, 32, 32)
    np.testing.assert_allclose(three, full[1:], atol=1e-5)
    np.testing.assert_allclose(one, full[:1], atol=1e-5)
    np.testing.assert_allclose(np.concatenate([score, scores]), quality[0].numpy(), atol=1e-5)


# Row 5: points and box together, in tokens and in the attention bias.


def test_points_and_box_both_count(predictor: ZimPredictor) -> None:
    both = logits_of(predictor, point_coords=POINTS, point_labels=LABELS, box=BOX)
    other_box = logits_of(predictor, point_coords=POINTS, point_labels=LABELS, box=BOX + [10, 5, 20, 10])
    other_points = logits_of(predictor, point_coords=POINTS + 20, point_labels=LABELS, box=BOX)
    other_labels = logits_of(predictor, point_coords=POINTS, point_labels=1 - LABELS, box=BOX)
    for changed in (other_box, other_points, other_labels):
        assert np.abs(changed - both).max() > 0.05


def test_point_outside_the_box_opens_the_attention_bias(predictor: ZimPredictor) -> None:
    encoder = predictor.model.prompt_encoder
    box = torch.tensor([[0.0, 0.0, 31.0, 31.0]])
    point = torch.tensor([[[100.0, 60.0]]])
    with torch.no_grad():
        lone = encoder(points=None, boxes=box, masks=None)[1][:, 256]
        union = encoder(points=(point, torch.tensor([[1]])), boxes=box, masks=None)[1][:, 256]
        negative = encoder(points=(point, torch.tensor([[0]])), boxes=box, masks=None)[1][:, 256]
    assert torch.isneginf(lone[0, 3, 6])
    assert union[0, 3, 6] > -0.1  # the cell of the point: the Gaussian's top
    assert torch.equal(negative, lone)


def test_negative_points_never_raise_the_attention_bias(predictor: ZimPredictor) -> None:
    encoder = predictor.model.prompt_encoder
    coords = torch.from_numpy(POINTS).float()[None]

    def bias(labels: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return encoder(points=(coords, torch.tensor([labels])), boxes=None, masks=None)[1][:, 256]

    assert torch.equal(bias([1, 0]), bias([1, -1]))
    assert bias([1, 1])[0, 3, 7] > bias([1, 0])[0, 3, 7]
    assert torch.equal(bias([0, 0]), torch.zeros_like(bias([0, 0])))


# Row 7: features that can be taken out, moved, stored and put back.


def through_pickle(features: PredictorFeatures) -> PredictorFeatures:
    return pickle.loads(pickle.dumps(features))


def through_torch_save(features: PredictorFeatures) -> PredictorFeatures:
    stream = io.BytesIO()
    torch.save(features, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def through_a_move(features: PredictorFeatures) -> PredictorFeatures:
    return features.to(torch.float64).cpu().to(torch.float32)


@pytest.mark.parametrize(
    "journey", [lambda features: features, copy.deepcopy, through_pickle, through_torch_save, through_a_move]
)
@pytest.mark.parametrize("meanwhile", ["reset", "another image"])
def test_features_bring_their_image_back(
    predictor: ZimPredictor, other_photo: np.ndarray, journey: Any, meanwhile: str
) -> None:
    expected = logits_of(predictor, box=BOX)
    stored = journey(predictor.features)
    if meanwhile == "reset":
        predictor.reset_image()
    else:
        predictor.set_image(other_photo)
        assert logits_of(predictor, box=BOX / 4).shape == (3, 120, 70)
    predictor.features = stored
    assert np.array_equal(logits_of(predictor, box=BOX), expected)
    assert (predictor.original_size, predictor.input_size) == ((90, 160), (72, 128))


def test_features_look_like_the_embedding(predictor: ZimPredictor) -> None:
    assert predictor.features.shape == (1, 256, 8, 8)
    assert predictor.features.device == predictor.device == torch.device("cpu")
    assert torch.equal(predictor.get_image_embedding(), predictor.features.embedding)


def test_the_restore_order_of_inpaint_anything(predictor: ZimPredictor, other_photo: np.ndarray) -> None:
    """Its app reads `orig_h ...` (None in SAM), resets, then sets flag, features, Nones."""
    expected = logits_of(predictor, point_coords=POINTS, point_labels=LABELS)
    features = predictor.features
    predictor.reset_image()
    predictor.set_image(other_photo)
    predictor.reset_image()
    predictor.is_image_set = True
    predictor.features = features
    for name in ("orig_h", "orig_w", "input_h", "input_w"):
        setattr(predictor, name, None)
    assert np.array_equal(logits_of(predictor, point_coords=POINTS, point_labels=LABELS), expected)
    predictor.reset_image()
    assert not predictor.is_image_set


def test_the_restore_order_of_tomosam(predictor: ZimPredictor, other_photo: np.ndarray) -> None:
    """It pickles features and both sizes, and puts them back with another image in between."""
    expected = logits_of(predictor, box=BOX)
    stored = pickle.dumps((predictor.features, predictor.original_size, predictor.input_size))
    predictor.set_image(other_photo)
    features, predictor.original_size, predictor.input_size = pickle.loads(stored)
    predictor.features = features
    predictor.is_image_set = True
    assert np.array_equal(logits_of(predictor, box=BOX), expected)


@pytest.mark.parametrize("features_first", [True, False])
def test_encoder_output_with_sizes_in_any_order(predictor: ZimPredictor, features_first: bool) -> None:
    expected = logits_of(predictor, box=BOX)
    plain = ImageFeatures(*predictor.features)
    predictor.reset_image()
    if features_first:
        predictor.features = plain
        with pytest.raises(ImageNotSetError, match="assign original_size and input_size"):
            predictor.predict(box=BOX)
    predictor.orig_w, predictor.input_h, predictor.orig_h, predictor.input_w = 160, 72, 90, 128
    if not features_first:
        predictor.features = plain
    assert predictor.is_image_set
    assert np.array_equal(logits_of(predictor, box=BOX), expected)


def test_a_bare_tensor_is_refused_with_the_reason(predictor: ZimPredictor) -> None:
    before = predictor.features
    with pytest.raises(TypeError, match="bare tensor of shape .1, 256, 8, 8.; ZIM decodes from features at strides"):
        predictor.features = predictor.get_image_embedding()
    assert predictor.features is before


# Row 8: SAM's public members; SAM's own code carries the model.


def stock(model: Zim, like: ZimPredictor | None = None, image: np.ndarray | None = None) -> Any:
    """The real SamPredictor around a ZIM model, with the image of `like` or one of its own."""
    predictor = sam.SamPredictor(model)
    if image is not None:
        predictor.set_image(image)
    elif like is not None:
        predictor.features, predictor.is_image_set = like.features, True
        predictor.original_size, predictor.input_size = like.original_size, like.input_size
    return predictor


def test_every_public_member_of_sam_is_there(predictor: ZimPredictor) -> None:
    theirs = {name for name in dir(sam.SamPredictor) if not name.startswith("_")} | {
        "model",
        "transform",
        "features",
    }
    assert theirs <= set(dir(predictor))
    model_members = (
        "device",
        "image_encoder",
        "prompt_encoder",
        "mask_decoder",
        "preprocess",
        "postprocess_masks",
    )
    assert all(hasattr(predictor.model, name) for name in model_members)
    assert (predictor.model.image_format, predictor.model.image_encoder.img_size) == ("RGB", 128)


@pytest.mark.parametrize(
    "prompts",
    [
        {"box": BOX},
        {"point_coords": POINTS, "point_labels": LABELS},
        {"point_coords": POINTS, "point_labels": LABELS, "box": BOX},
        {
            "point_coords": POINTS[:1],
            "point_labels": LABELS[:1],
            "mask_input": np.linspace(-3, 3, 1024).reshape(1, 32, 32),
        },
    ],
)
@pytest.mark.parametrize("multimask", [True, False])
def test_stock_sam_predictor_gives_the_same_logits(
    predictor: ZimPredictor, photo: np.ndarray, prompts: dict[str, Any], multimask: bool
) -> None:
    theirs = stock(predictor.model, image=photo).predict(**prompts, multimask_output=multimask, return_logits=True)
    ours = predictor.predict(**prompts, multimask_output=multimask, return_logits=True)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)


def test_stock_mask_generator_runs_on_the_model(tiny_zim: Zim, photo: np.ndarray) -> None:
    generator = sam.SamAutomaticMaskGenerator(
        tiny_zim, points_per_side=3, pred_iou_thresh=-1e9, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    records = generator.generate(photo)
    assert records
    for record in records:
        assert record["segmentation"].shape == (90, 160)
        assert record["area"] == record["segmentation"].sum()


def test_set_torch_image_is_set_image_after_the_transform(predictor: ZimPredictor, photo: np.ndarray) -> None:
    resized = torch.from_numpy(predictor.transform.apply_image(photo)).permute(2, 0, 1)[None]
    other = ZimPredictor(predictor.model)
    other.set_torch_image(resized, photo.shape[:2])
    assert np.array_equal(logits_of(other, box=BOX), logits_of(predictor, box=BOX))


# Row 11: the transform.


def test_transform_is_that_of_sam(predictor: ZimPredictor, photo: np.ndarray) -> None:
    theirs, ours = sam.SamPredictor(predictor.model).transform, predictor.transform
    assert ours.target_length == theirs.target_length == 128
    assert np.array_equal(ours.apply_image(photo), theirs.apply_image(photo))
    assert np.array_equal(ours.apply_coords(POINTS, (90, 160)), theirs.apply_coords(POINTS, (90, 160)))
    assert np.array_equal(ours.apply_boxes(BOX[None], (90, 160)), theirs.apply_boxes(BOX[None], (90, 160)))


# Row 12: no prompt, or a mask input alone.


def test_no_prompt_is_an_error_that_says_what_is_one(predictor: ZimPredictor) -> None:
    with pytest.raises(PromptError, match="expected at least one of point_coords, box .* mask_input, got none"):
        predictor.predict()
    with pytest.raises(PromptError, match="got none"):
        predictor.predict_torch(None, None)


def test_mask_input_alone_is_a_prompt(predictor: ZimPredictor) -> None:
    logits = logits_of(predictor, mask_input=np.zeros((1, 32, 32), dtype=np.float32))
    assert np.isfinite(logits).all() and logits.std() > 0


@pytest.mark.parametrize("ask", [lambda p: p.predict(box=BOX), lambda p: p.get_image_embedding()])
def test_asking_before_an_image_is_a_runtime_error(tiny_zim: Zim, ask: Any) -> None:
    with pytest.raises(RuntimeError, match="an image must be set with .set_image"):
        ask(ZimPredictor(tiny_zim))


# Row 13: the batch interface.


def test_forward_gives_what_the_predictor_gives(
    tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray, other_photo: np.ndarray
) -> None:
    transform = predictor.transform
    records = []
    for image, box in ((photo, BOX), (other_photo, BOX / 2)):
        size = image.shape[:2]
        records.append(
            {
                "image": torch.from_numpy(transform.apply_image(image)).permute(2, 0, 1),
                "original_size": size,
                "boxes": transform.apply_boxes_torch(torch.from_numpy(np.stack([box, box + 3])), size),
            }
        )
    answers = tiny_zim(records, multimask_output=True)
    for image, record, answer in zip((photo, other_photo), records, answers, strict=True):
        predictor.set_image(image)
        logits, quality, low_res = predictor.predict_torch(None, None, record["boxes"], return_logits=True)
        assert (answer["masks"] != (logits > 0)).float().mean() < 1e-3
        torch.testing.assert_close(answer["iou_predictions"], quality, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(answer["low_res_logits"], low_res, atol=1e-3, rtol=1e-3)


def test_forward_takes_none_for_a_prompt_that_is_not_there(
    tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray
) -> None:
    size = photo.shape[:2]
    record = {
        "image": torch.from_numpy(predictor.transform.apply_image(photo)).permute(2, 0, 1),
        "original_size": size,
        "boxes": predictor.transform.apply_boxes_torch(torch.from_numpy(BOX)[None], size),
    }
    nothing = {"point_coords": None, "point_labels": None, "mask_inputs": None}
    (expected,), (answer,) = tiny_zim([record], False), tiny_zim([record | nothing], False)
    assert torch.equal(answer["low_res_logits"], expected["low_res_logits"])


def test_logits_of_the_original_frame_are_resized_logits(predictor: ZimPredictor) -> None:
    """Resize first, sigmoid last: bilinear interpolation of the decoder's logits, padding cut off."""
    native = torch.from_numpy(stock(predictor.model, predictor).predict(box=BOX)[2])[None]
    padded = F.interpolate(native, (128, 128), mode="bilinear", align_corners=False)[..., :72, :]
    by_hand = F.interpolate(padded, (90, 160), mode="bilinear", align_corners=False)[0].numpy()
    np.testing.assert_allclose(logits_of(predictor, box=BOX), by_hand, atol=1e-5)
