"""One contract, two predictors: every check runs on ZIM in strict mode and on the real `SamPredictor` alike."""

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
import torch

from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
from zim.compat.segment_anything import import_segment_anything
from zim.compat.strict import SamPredictor
from zim.compat.strict_generator import SamAutomaticMaskGenerator
from zim.evaluation.sam_baseline import build_sam_tiny
from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor

library = import_segment_anything()

SAM_TEST = dataclasses.replace(ZIM_TEST, architecture="sam", prompt_attention="none", pixel_decoder="sam")
SIZE, RESIZED, SIDE = (90, 160), (72, 128), 128

BOX = np.array([20.0, 10.0, 110.0, 70.0])
POINTS = np.array([[40.0, 30.0], [120.0, 60.0]])
LABELS = np.array([1, 0])
MAP = np.linspace(-3, 3, 1024, dtype=np.float32).reshape(1, 32, 32)

PROMPTS: dict[str, dict[str, Any]] = {
    "one point": {"point_coords": POINTS[:1], "point_labels": LABELS[:1]},
    "points of integers": {"point_coords": POINTS.astype(int), "point_labels": LABELS},
    "box": {"box": BOX},
    "box with a row axis": {"box": BOX[None].astype(np.int32)},
    "points and box": {"point_coords": POINTS, "point_labels": LABELS, "box": BOX},
    "point and mask input": {"point_coords": POINTS[:1], "point_labels": LABELS[:1], "mask_input": MAP},
}


@pytest.fixture(scope="module")
def tiny_sam() -> Any:
    """The real `Sam` at 128 px with random weights, spread so that prompts show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = build_sam_tiny(SAM_TEST)
        with torch.no_grad():
            for parameter in sam.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return sam


@pytest.fixture(scope="module", params=["zim", "sam"])
def model(request: pytest.FixtureRequest, tiny_zim: Zim, tiny_sam: Any) -> Any:
    return tiny_zim if request.param == "zim" else tiny_sam


def predictor_around(model: Any) -> Any:
    return ZimPredictor(model, output="mask") if isinstance(model, Zim) else library.SamPredictor(model)


@pytest.fixture
def either(model: Any, photo: np.ndarray) -> Any:
    """One of the two, with the landscape photo."""
    made = predictor_around(model)
    made.set_image(photo)
    return made


# Numpy in, numpy out.


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kind", PROMPTS)
def test_predict_gives_bool_masks_where_the_logits_are_positive(either: Any, kind: str, multimask: bool) -> None:
    count = 3 if multimask else 1
    masks, scores, low_res = either.predict(**PROMPTS[kind], multimask_output=multimask)
    logits = either.predict(**PROMPTS[kind], multimask_output=multimask, return_logits=True)[0]
    assert all(isinstance(part, np.ndarray) for part in (masks, scores, low_res, logits))
    assert (masks.dtype, scores.dtype, low_res.dtype, logits.dtype) == (bool, *[np.float32] * 3)
    assert (masks.shape, scores.shape, low_res.shape) == ((count, *SIZE), (count,), (count, 32, 32))
    assert np.array_equal(masks, logits > either.model.mask_threshold)
    assert logits.std() > 0


def test_predict_by_position_is_predict_by_name(either: Any) -> None:
    by_name = either.predict(
        point_coords=POINTS,
        point_labels=LABELS,
        box=BOX,
        mask_input=MAP,
        multimask_output=False,
        return_logits=True,
    )
    for got, expected in zip(either.predict(POINTS, LABELS, BOX, MAP, False, True), by_name, strict=True):
        assert np.array_equal(got, expected)


def test_three_masks_are_the_default(either: Any) -> None:
    assert np.array_equal(either.predict(box=BOX)[0], either.predict(box=BOX, multimask_output=True)[0])


def test_the_answers_may_be_written_to(either: Any) -> None:
    for part in either.predict(box=BOX, return_logits=True):
        part[part < 0] = 0
        assert part.min() >= 0


def test_the_prompt_is_left_as_it_was(either: Any) -> None:
    points, labels, box, mask_input = POINTS.copy(), LABELS.copy(), BOX.copy(), MAP.copy()
    either.predict(points, labels, box, mask_input)
    for after, before in ((points, POINTS), (labels, LABELS), (box, BOX), (mask_input, MAP)):
        assert np.array_equal(after, before)


def test_every_part_of_a_prompt_counts(either: Any) -> None:
    whole = {"point_coords": POINTS, "point_labels": LABELS, "box": BOX, "mask_input": MAP}
    logits = either.predict(**whole, return_logits=True)[0]
    others = {"point_coords": POINTS + 15, "point_labels": 1 - LABELS, "box": BOX + 9, "mask_input": -MAP}
    for name, other in others.items():
        changed = either.predict(**whole | {name: other}, return_logits=True)[0]
        assert np.abs(changed - logits).max() > 1e-3, name


def test_low_res_logits_can_be_fed_back(either: Any) -> None:
    low_res = either.predict(box=BOX, multimask_output=False)[2]
    refined = either.predict(POINTS[:1], LABELS[:1], mask_input=low_res, return_logits=True)[0]
    plain = either.predict(POINTS[:1], LABELS[:1], return_logits=True)[0]
    assert np.abs(refined - plain).max() > 1e-3


def test_the_same_question_gets_the_same_answer(either: Any) -> None:
    first, _, again = (
        either.predict(box=BOX, return_logits=True)[0],
        either.predict(box=BOX / 2)[0],
        either.predict(box=BOX, return_logits=True)[0],
    )
    assert np.array_equal(first, again)


# Tensors in, tensors out.

BATCHES: dict[str, dict[str, Any]] = {
    "boxes": {"boxes": torch.tensor([[16.0, 8.0, 88.0, 56.0], [4.0, 4.0, 60.0, 40.0], [30.0, 10.0, 120.0, 70.0]])},
    "points": {
        "point_coords": torch.tensor([[[32.0, 24.0]], [[96.0, 48.0]], [[10.0, 60.0]]]),
        "point_labels": torch.ones(3, 1, dtype=torch.int),
    },
    "points and boxes": {
        "point_coords": torch.tensor([[[32.0, 24.0], [90.0, 60.0]]]).repeat(3, 1, 1),
        "point_labels": torch.tensor([[1, 0]]).repeat(3, 1),
        "boxes": torch.tensor([[16.0, 8.0, 88.0, 56.0], [4.0, 4.0, 60.0, 40.0], [30.0, 10.0, 120.0, 70.0]]),
    },
    "boxes and mask inputs": {
        "boxes": torch.tensor([[16.0, 8.0, 88.0, 56.0], [4.0, 4.0, 60.0, 40.0], [30.0, 10.0, 120.0, 70.0]]),
        "mask_input": torch.from_numpy(MAP)[None].repeat(3, 1, 1, 1),
    },
}


def arguments(batch: dict[str, Any]) -> dict[str, Any]:
    return {"point_coords": None, "point_labels": None} | batch


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kind", BATCHES)
def test_predict_torch_answers_each_row(either: Any, kind: str, multimask: bool) -> None:
    count, batch = (3 if multimask else 1), arguments(BATCHES[kind])
    masks, scores, low_res = either.predict_torch(**batch, multimask_output=multimask)
    logits = either.predict_torch(**batch, multimask_output=multimask, return_logits=True)[0]
    assert (masks.dtype, scores.dtype, low_res.dtype, logits.dtype) == (torch.bool, *[torch.float32] * 3)
    assert masks.shape == (3, count, *SIZE) and scores.shape == (3, count) and low_res.shape == (3, count, 32, 32)
    assert torch.equal(masks, logits > 0)
    assert not any(part.requires_grad for part in (masks, scores, low_res, logits))
    for row in range(3):
        alone = {name: value if value is None else value[row : row + 1] for name, value in batch.items()}
        single = either.predict_torch(**alone, multimask_output=multimask, return_logits=True)[0]
        torch.testing.assert_close(single[0], logits[row], atol=1e-3, rtol=1e-3)


def test_predict_torch_by_position(either: Any) -> None:
    batch = BATCHES["points and boxes"]
    by_name = either.predict_torch(**batch, multimask_output=False, return_logits=True)[0]
    coords, labels, boxes = batch["point_coords"], batch["point_labels"], batch["boxes"]
    assert torch.equal(either.predict_torch(coords, labels, boxes, None, False, True)[0], by_name)


def test_predict_torch_takes_the_input_frame(either: Any) -> None:
    """A box moved there by the transform gets the answer that `predict` gives in the original frame."""
    boxes = either.transform.apply_boxes_torch(torch.from_numpy(BOX)[None], either.original_size)
    answer = either.predict_torch(None, None, boxes, return_logits=True)[0]
    np.testing.assert_allclose(answer[0].numpy(), either.predict(box=BOX, return_logits=True)[0], atol=1e-3)


# Images and state.


def test_sizes_of_the_image(either: Any) -> None:
    assert tuple(either.original_size) == SIZE and tuple(either.input_size) == RESIZED
    assert either.is_image_set is True


def test_the_embedding(either: Any) -> None:
    embedding = either.get_image_embedding()
    assert isinstance(embedding, torch.Tensor) and embedding.shape == (1, 256, 8, 8)
    assert either.features.shape == embedding.shape and either.features.device == either.device


def test_reset_forgets_the_image(either: Any) -> None:
    either.reset_image()
    assert either.is_image_set is False and either.features is None
    assert [either.orig_h, either.orig_w, either.input_h, either.input_w] == [None] * 4


def test_another_image_replaces_the_first(either: Any, other_photo: np.ndarray, photo: np.ndarray) -> None:
    before = either.predict(box=BOX / 4, return_logits=True)[0]
    either.set_image(other_photo)
    assert either.predict(box=BOX / 4)[0].shape == (3, 120, 70)
    either.set_image(photo, "RGB")
    assert np.array_equal(either.predict(box=BOX / 4, return_logits=True)[0], before)


def test_bgr_is_rgb_the_other_way_round(either: Any, photo: np.ndarray) -> None:
    expected = either.get_image_embedding().clone()
    either.set_image(np.ascontiguousarray(photo[..., ::-1]), image_format="BGR")
    assert torch.equal(either.get_image_embedding(), expected)


def test_set_torch_image_is_set_image_after_the_transform(either: Any, photo: np.ndarray) -> None:
    expected = either.get_image_embedding().clone()
    resized = torch.as_tensor(either.transform.apply_image(photo)).permute(2, 0, 1)[None].contiguous()
    either.set_torch_image(resized, photo.shape[:2])
    assert torch.equal(either.get_image_embedding(), expected)
    assert tuple(either.original_size) == SIZE and tuple(either.input_size) == RESIZED


def test_features_go_out_and_back_in(either: Any, other_photo: np.ndarray) -> None:
    expected = either.predict(box=BOX, return_logits=True)[0]
    stored = {name: getattr(either, name) for name in ("features", "original_size", "input_size")}
    either.set_image(other_photo)
    either.reset_image()
    for name, value in stored.items():
        setattr(either, name, value)
    either.is_image_set = True
    assert np.array_equal(either.predict(box=BOX, return_logits=True)[0], expected)


@pytest.mark.parametrize("name", ["apply_coords", "apply_boxes"])
def test_the_transform_scales_numbers(either: Any, name: str) -> None:
    values = POINTS if name == "apply_coords" else BOX[None]
    scaled = getattr(either.transform, name)(values, SIZE)
    np.testing.assert_allclose(scaled, values * 0.8)  # 128 / 160
    in_torch = getattr(either.transform, f"{name}_torch")(torch.from_numpy(values), SIZE)
    assert in_torch.dtype == torch.float32
    np.testing.assert_allclose(in_torch.numpy(), values * 0.8, rtol=1e-6)


def test_the_transforms_sizes(either: Any, photo: np.ndarray) -> None:
    assert either.transform.target_length == SIDE
    assert either.transform.apply_image(photo).shape == (*RESIZED, 3)
    assert either.transform.apply_image(photo).dtype == np.uint8
    assert [either.transform.get_preprocess_shape(h, w, 10) for h, w in ((100, 33), (7, 20), (10, 10))] == [
        (10, 3),
        (4, 10),
        (10, 10),
    ]


# What cannot be answered.

WRONG = {
    "no labels": lambda p, image: p.predict(point_coords=POINTS),
    "another colour order": lambda p, image: p.set_image(image, image_format="GRB"),
    "a tensor of another size": lambda p, image: p.set_torch_image(torch.zeros(1, 3, 50, 60), (50, 60)),
    "a tensor without a batch axis": lambda p, image: p.set_torch_image(torch.zeros(3, 72, 128), SIZE),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_refused_and_the_predictor_lives_on(either: Any, photo: np.ndarray, kind: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        WRONG[kind](either, photo)
    either.set_image(photo)
    assert either.predict(box=BOX)[0].shape == (3, *SIZE)


@pytest.mark.parametrize("ask", ["predict", "predict_torch", "get_image_embedding"])
def test_asking_before_an_image_is_a_runtime_error(model: Any, ask: str) -> None:
    empty = predictor_around(model)
    questions = {"predict": {"box": BOX}, "predict_torch": arguments(BATCHES["boxes"]), "get_image_embedding": {}}
    with pytest.raises(RuntimeError, match=r"(?i)an image must be set with \.set_image"):
        getattr(empty, ask)(**questions[ask])


# The model.


def test_the_models_constants(model: Any) -> None:
    assert model.mask_threshold == 0.0 and model.image_format == "RGB"
    assert model.image_encoder.img_size == SIDE and model.device == torch.device("cpu")
    assert model.pixel_mean.shape == (3, 1, 1)


def test_moving_and_modes_return_the_model(model: Any) -> None:
    assert model.to(torch.device("cpu")) is model and model.to(device="cpu") is model and model.eval() is model


def test_preprocess_normalises_and_pads_right_and_below(model: Any) -> None:
    padded = model.preprocess(torch.full((1, 3, 72, 128), 255.0))
    assert padded.shape == (1, 3, SIDE, SIDE)
    np.testing.assert_allclose(padded[0, :, 0, 0].numpy(), [2.2489, 2.4286, 2.64], atol=1e-3)
    assert (padded[..., 72:, :] == 0).all()


def test_postprocess_cuts_the_padding_and_goes_to_the_original_frame(model: Any) -> None:
    ramp = torch.arange(32.0)[None, None, :, None].expand(1, 1, 32, 32)
    masks = model.postprocess_masks(ramp, RESIZED, SIZE)
    assert masks.shape == (1, 1, *SIZE)
    rows = masks[0, 0, :, 0]
    np.testing.assert_allclose(rows[10:80].numpy(), (np.arange(10, 80) + 0.5) * 0.8 / 4 - 0.5, atol=0.02)


def test_encoder_and_decoder_by_sams_keywords(model: Any, photo: np.ndarray) -> None:
    """What MedSAM's comparison does by hand gives what the predictor gives."""
    predictor = predictor_around(model)
    predictor.set_image(photo)
    boxes = predictor.transform.apply_boxes_torch(torch.from_numpy(BOX)[None], SIZE)
    with torch.no_grad():
        sparse, dense = model.prompt_encoder(points=None, boxes=boxes, masks=None)
        assert model.prompt_encoder.get_dense_pe().shape == (1, 256, 8, 8)
        assert sparse.shape == (1, 2, 256)
        logits, quality = model.mask_decoder(
            image_embeddings=predictor.features,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        masks = model.postprocess_masks(logits, RESIZED, SIZE)
    expected = predictor.predict(box=BOX, multimask_output=False, return_logits=True)
    np.testing.assert_allclose(masks[0].numpy(), expected[0], atol=1e-3)
    np.testing.assert_allclose(quality[0].numpy(), expected[1], atol=1e-4)


@pytest.mark.parametrize("multimask", [True, False])
def test_the_batch_interface(model: Any, photo: np.ndarray, other_photo: np.ndarray, multimask: bool) -> None:
    predictor, records, count = predictor_around(model), [], 3 if multimask else 1
    for image, box in ((photo, BOX), (other_photo, BOX / 2)):
        boxes = predictor.transform.apply_boxes_torch(torch.from_numpy(np.stack([box, box + 3])), image.shape[:2])
        tensor = torch.from_numpy(predictor.transform.apply_image(image)).permute(2, 0, 1)
        records.append({"image": tensor, "original_size": image.shape[:2], "boxes": boxes})
    answers = model(records, multimask_output=multimask)
    for image, record, answer in zip((photo, other_photo), records, answers, strict=True):
        assert {"masks", "iou_predictions", "low_res_logits"} <= set(answer)
        assert answer["masks"].dtype == torch.bool and answer["masks"].shape == (2, count, *image.shape[:2])
        assert answer["iou_predictions"].shape == (2, count)
        assert answer["low_res_logits"].shape == (2, count, 32, 32)
        predictor.set_image(image)
        _, scores, low_res = predictor.predict_torch(None, None, record["boxes"], multimask_output=multimask)
        torch.testing.assert_close(answer["iou_predictions"], scores, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(answer["low_res_logits"], low_res, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float16, 0.02), (torch.float64, 1e-3)])
def test_the_model_in_another_precision(
    make_zim: Any, photo: np.ndarray, precision: torch.dtype, tolerance: float
) -> None:
    """`model.half()`: predictor and batch interface answer as before, within the precision, prompts still float32."""
    single, other = (ZimPredictor(make_zim(0).to(dtype), output="mask") for dtype in (torch.float32, precision))
    answers = []
    for predictor in (single, other):
        predictor.set_image(photo)
        logits = predictor.predict(POINTS, LABELS, BOX, MAP, return_logits=True)[0]
        record = {
            "image": torch.from_numpy(predictor.transform.apply_image(photo)).permute(2, 0, 1),
            "original_size": SIZE,
            "boxes": predictor.transform.apply_boxes_torch(torch.from_numpy(BOX)[None], SIZE),
            "mask_inputs": torch.from_numpy(MAP)[None],
        }
        answers.append((logits, predictor.model([record], multimask_output=True)[0]["alphas"].float().numpy()))
    assert answers[1][0].dtype == np.float32
    for expected, got in zip(*answers, strict=True):
        assert np.abs(got - expected).mean() < tolerance * max(1.0, np.abs(expected).mean())


# Signatures, by inspection of the real library.


def shape_of(function: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", ["set_image", "set_torch_image", "predict", "predict_torch", "get_image_embedding"])
@pytest.mark.parametrize("ours", [ZimPredictor, SamPredictor])
def test_methods_begin_with_sams_parameters(ours: type, name: str) -> None:
    theirs = shape_of(getattr(library.SamPredictor, name))
    mine = shape_of(getattr(ours, name))
    assert mine[: len(theirs)] == theirs
    extras = {extra for extra, kind, _ in mine[len(theirs) :] if kind is not inspect.Parameter.KEYWORD_ONLY}
    assert extras <= ({"hq_token_only"} if ours is SamPredictor else set())


def test_the_strict_predictor_is_built_as_sams() -> None:
    assert shape_of(SamPredictor) == shape_of(library.SamPredictor)


@pytest.mark.parametrize("ours", [ZimAutomaticMaskGenerator, SamAutomaticMaskGenerator])
def test_the_generator_is_built_as_sams(ours: type) -> None:
    assert shape_of(ours) == shape_of(library.SamAutomaticMaskGenerator)
    theirs, mine = shape_of(library.SamAutomaticMaskGenerator.generate), shape_of(ours.generate)  # type: ignore[attr-defined]
    assert mine[: len(theirs)] == theirs


@pytest.mark.parametrize("part", ["preprocess", "postprocess_masks", "forward"])
def test_the_models_methods_have_sams_parameters(part: str) -> None:
    assert shape_of(getattr(Zim, part)) == shape_of(getattr(library.modeling.Sam, part))


@pytest.mark.parametrize("part", ["prompt_encoder", "mask_decoder"])
def test_the_parts_are_called_as_sams(tiny_zim: Zim, tiny_sam: Any, part: str) -> None:
    theirs = {name for name, _, _ in shape_of(getattr(tiny_sam, part).forward)}
    assert {name for name, _, _ in shape_of(getattr(tiny_zim, part).forward)} == theirs


def test_the_records_have_sams_keys(model: Any, photo: np.ndarray) -> None:
    loose: dict[str, Any] = {"points_per_side": 2, "pred_iou_thresh": -1e9, "stability_score_thresh": -1.0}
    theirs = library.SamAutomaticMaskGenerator(model, **loose).generate(photo)
    ours = SamAutomaticMaskGenerator(model, **loose).generate(photo)
    assert set(ours[0]) == set(theirs[0])
    for name, value in theirs[0].items():
        assert type(ours[0][name]) is type(value), name
    assert ours[0]["segmentation"].dtype == theirs[0]["segmentation"].dtype == np.bool_
    assert len(ours[0]["bbox"]) == len(ours[0]["crop_box"]) == 4 and len(ours[0]["point_coords"][0]) == 2
