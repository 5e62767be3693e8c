import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from zim.errors import ConfigError, ImageError, PromptError
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.prompts import Prompt

BOX = np.array([20.0, 10.0, 110.0, 70.0])


def ramps(_: Any, given: Any, answer: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Instead of the decoder's answer: x (first map) and y (second) of each pixel centre."""
    batch, side = len(answer[0]), 64
    centres = (torch.arange(side) + 0.5) * (128 / side)
    maps = torch.stack([centres.expand(side, side), centres[:, None].expand(side, side)])
    return maps.expand(batch, -1, -1, -1), torch.zeros(batch, 2)


@pytest.fixture
def seen(tiny_zim: Zim) -> Iterator[list[dict[str, Any]]]:
    """What the prompt encoder is given, call by call."""
    calls: list[dict[str, Any]] = []
    hook = tiny_zim.prompt_encoder.register_forward_pre_hook(
        lambda _, args, prompts: calls.append(prompts), with_kwargs=True
    )
    yield calls
    hook.remove()


def test_the_answer_lands_on_the_right_pixels(tiny_zim: Zim, predictor: ZimPredictor) -> None:
    """Interpolation keeps a ramp linear: at original pixel x it is (x + 0.5) * 0.8, off the border."""
    hook = tiny_zim.mask_decoder.register_forward_hook(ramps)
    logits = predictor.predict(box=BOX, return_logits=True)[0]
    hook.remove()
    x = (np.arange(160) + 0.5) * 0.8
    y = (np.arange(90) + 0.5) * 0.8
    np.testing.assert_allclose(logits[0][:, 3:-3], np.broadcast_to(x[3:-3], (90, 154)), atol=1e-3)
    np.testing.assert_allclose(logits[1][3:-3], np.broadcast_to(y[3:-3, None], (84, 160)), atol=1e-3)


def test_prompts_reach_the_encoder_in_the_input_frame(predictor: ZimPredictor, seen: list[dict[str, Any]]) -> None:
    """160 x 90 becomes 128 x 72: coordinates shrink by 0.8."""
    predictor.predict(point_coords=[[40, 30], [100, 60]], point_labels=[True, False], box=BOX)
    torch.testing.assert_close(seen[0]["points"][0], torch.tensor([[[32.0, 24.0], [80.0, 48.0]]]))
    assert seen[0]["points"][1].tolist() == [[1, 0]]
    torch.testing.assert_close(seen[0]["boxes"], torch.tensor([[16.0, 8.0, 88.0, 56.0]]))


def test_prompts_that_stick_out_are_cut_to_the_image(predictor: ZimPredictor, seen: list[dict[str, Any]]) -> None:
    predictor.predict(
        point_coords=[[-30, 30], [500, 500], [-7, -7]], point_labels=[1, 0, -1], box=[-50, 45, 1000, 1000]
    )
    expected = torch.tensor([[[0.0, 24.0], [128.0, 72.0], [-5.6, -5.6]]])  # padding points stay as they are
    torch.testing.assert_close(seen[0]["points"][0], expected)
    torch.testing.assert_close(seen[0]["boxes"], torch.tensor([[0.0, 36.0, 128.0, 72.0]]))


@pytest.mark.parametrize("box", [[160, 10, 200, 20], [10, 90, 20, 95], [-20, 10, -1, 20], [5, -9, 20, -1]])
def test_a_box_that_misses_the_image_is_refused(predictor: ZimPredictor, box: list[int]) -> None:
    with pytest.raises(PromptError, match="box: expected a box that touches the 160 x 90 frame, got"):
        predictor.predict(box=box)


def test_predict_torch_checks_in_the_input_frame(predictor: ZimPredictor) -> None:
    with pytest.raises(PromptError, match="boxes: expected a box that touches the 128 x 72 frame, got .130"):
        predictor.predict_torch(None, None, torch.tensor([[10.0, 10, 20, 20], [130, 10, 150, 20]]))


@pytest.mark.parametrize("chunk_size", [1, 2, 16])
def test_a_batch_is_its_rows(predictor: ZimPredictor, chunk_size: int) -> None:
    boxes = torch.tensor([[10.0, 10, 40, 40], [20, 5, 100, 60], [0, 0, 127, 71]])
    coords = torch.tensor([[[20.0, 20]], [[60, 30]], [[90, 50]]])
    labels = torch.tensor([[1], [0], [1]])
    together = predictor.predict_torch(coords, labels, boxes, return_logits=True, chunk_size=chunk_size)
    for row in range(3):
        part = slice(row, row + 1)
        alone = predictor.predict_torch(coords[part], labels[part], boxes[part], return_logits=True)
        for whole, single in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[part], single, atol=1e-4, rtol=1e-4)


def test_one_mask_input_counts_for_every_row(predictor: ZimPredictor) -> None:
    boxes = torch.tensor([[10.0, 10, 40, 40], [20, 5, 100, 60]])
    mask_input = torch.linspace(-3, 3, 32 * 32).reshape(1, 1, 32, 32)
    shared = predictor.predict_torch(None, None, boxes[:, None], mask_input, return_logits=True)[0]
    each = predictor.predict_torch(None, None, boxes, mask_input.repeat(2, 1, 1, 1), return_logits=True)[0]
    torch.testing.assert_close(shared, each)


def test_many_prompts_answer_as_one_by_one(predictor: ZimPredictor) -> None:
    low_res = predictor.predict(box=BOX)[2]
    prompts = [
        Prompt(box=BOX),
        Prompt(point_coords=np.array([[30, 40]]), point_labels=np.array([1])),
        Prompt(box=BOX + 10),
        Prompt(mask_input=low_res[:1]),
        Prompt(point_coords=np.array([[30, 40], [90, 20]]), point_labels=np.array([1, 0]), box=BOX),
        Prompt(box=BOX[None] / 2),
    ]
    answers = predictor.predict_many(prompts, chunk_size=2)
    assert len(answers) == len(prompts)
    for prompt, answer in zip(prompts, answers, strict=True):
        alone = predictor.predict(**prompt.as_kwargs(), multimask_output=False)
        for part, single in zip(answer, alone, strict=True):
            np.testing.assert_allclose(part, single, atol=1e-4)
    assert predictor.predict_many([]) == []


def test_many_prompts_name_the_bad_one(predictor: ZimPredictor) -> None:
    with pytest.raises(PromptError, match=r"prompts\[1\]: box: expected x1 <= x2"):
        predictor.predict_many([Prompt(box=BOX), Prompt(box=BOX[[2, 1, 0, 3]])])
    with pytest.raises(PromptError, match=r"prompts\[0\]: prompt: expected a zim.prompts.Prompt, got dict"):
        predictor.predict_many([{"box": BOX}])


def test_a_batch_of_images_is_each_image(
    tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray, other_photo: np.ndarray
) -> None:
    before = predictor.features
    embedded = predictor.set_image_batch([photo, other_photo, photo[:, :50]], batch_size=2)
    assert predictor.features is before
    for image, features in zip([photo, other_photo, photo[:, :50]], embedded, strict=True):
        alone = ZimPredictor(tiny_zim)
        alone.set_image(image)
        assert (features.original_size, features.image_sha256) == (
            image.shape[:2],
            alone.features.image_sha256,
        )
        for together, single in zip(features, alone.features, strict=True):
            torch.testing.assert_close(together, single, atol=1e-4, rtol=1e-4)
        assert features.embedding.untyped_storage().nbytes() == features.embedding.nbytes  # saves one image, not all


def test_a_batch_of_images_names_the_bad_one(predictor: ZimPredictor, photo: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"images\[1\]: image: expected dtype uint8"):
        predictor.set_image_batch([photo, photo / 255])


def test_a_failing_set_image_leaves_the_image_before(
    tiny_zim: Zim, predictor: ZimPredictor, other_photo: np.ndarray
) -> None:
    before = predictor.predict(box=BOX)[0]
    with pytest.raises(ImageError):
        predictor.set_image(other_photo.astype(np.float32))

    def out_of_memory(*_: Any) -> None:
        raise RuntimeError("out of memory")

    hook = tiny_zim.image_encoder.register_forward_hook(out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        predictor.set_image(other_photo)
    hook.remove()
    assert np.array_equal(predictor.predict(box=BOX)[0], before)


def test_two_predictors_share_a_model_not_an_image(
    tiny_zim: Zim, predictor: ZimPredictor, other_photo: np.ndarray
) -> None:
    before = predictor.predict(box=BOX)[0]
    ZimPredictor(tiny_zim).set_image(other_photo)
    assert np.array_equal(predictor.predict(box=BOX)[0], before)


def test_half_precision_stays_near(tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray) -> None:
    from zim.modeling.zim import build_zim

    model = build_zim(tiny_zim.config)
    model.load_state_dict(tiny_zim.state_dict())
    half = ZimPredictor(model.to(torch.bfloat16))
    half.set_image(photo)
    alpha = half.predict(box=BOX, multimask_output=False)[0]
    assert alpha.dtype == np.float32
    assert np.abs(alpha - predictor.predict(box=BOX, multimask_output=False)[0]).mean() < 0.05


def test_features_follow_the_model(predictor: ZimPredictor) -> None:
    predictor.features = predictor.features.to(torch.float64)
    assert predictor.features.embedding.dtype == torch.float32
    assert predictor.predict(box=BOX)[0].shape == (3, 90, 160)


def test_features_of_another_input_size_are_refused(predictor: ZimPredictor) -> None:
    features = predictor.features
    smaller = type(features).of(
        features._replace(embedding=features.embedding[..., :4, :4]),
        original_size=(9, 9),
        input_size=(64, 64),
    )
    with pytest.raises(ImageError, match="features: expected an embedding of 8 x 8 cells, got .1, 256, 4, 4"):
        predictor.features = smaller


def test_a_size_put_in_changes_the_answer_frame(predictor: ZimPredictor) -> None:
    predictor.original_size = (180, 320)
    assert predictor.predict(box=BOX * 2)[0].shape == (3, 180, 320)
    with pytest.raises(ImageError, match="original_size: expected .H, W., two positive integers"):
        predictor.original_size = (0, 5)
    with pytest.raises(ImageError, match="orig_h: expected"):
        predictor.orig_h = -3
    predictor.is_image_set = False
    assert predictor.features is None and predictor.original_size is None


@pytest.mark.parametrize("hw", [(1, 1), (1, 3000), (10_000, 3), (128, 128), (127, 129)])
def test_images_of_any_size(tiny_zim: Zim, hw: tuple[int, int]) -> None:
    predictor = ZimPredictor(tiny_zim)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8))
    height, width = hw
    for prompt in (
        {"point_coords": [[width // 2, height // 2]], "point_labels": [1]},
        {"box": [0, 0, width - 1, height - 1]},
    ):
        alpha = predictor.predict(**prompt)[0]
        assert alpha.shape == (3, height, width)
        assert np.isfinite(alpha).all() and alpha.min() >= 0 and alpha.max() <= 1


def test_an_unknown_output_is_refused(tiny_zim: Zim) -> None:
    with pytest.raises(ConfigError, match='output: expected "alpha" or "mask", got .soft.'):
        ZimPredictor(tiny_zim, output="soft")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "size", "message"),
    [
        (
            torch.zeros(1, 3, 100, 60),
            (10, 6),
            "long side 128, got torch.float32 tensor of shape .1, 3, 100, 60",
        ),
        (torch.zeros(2, 3, 128, 60), (10, 6), r"expected a \(1, 3, H, W\)"),
        (np.zeros((1, 3, 128, 60)), (10, 6), "got float64 array"),
        (torch.zeros(1, 3, 128, 60), (10, 0), "original_image_size: expected .H, W."),
        (torch.zeros(1, 3, 128, 60), 5, "original_image_size: expected .H, W."),
    ],
)
def test_set_torch_image_refuses(predictor: ZimPredictor, image: Any, size: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        predictor.set_torch_image(image, size)


def test_from_pretrained_passes_everything_on(tiny_zim: Zim, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*args: Any, **kwargs: Any) -> Zim:
        asked.append(SimpleNamespace(args=args, kwargs=kwargs))
        return tiny_zim

    monkeypatch.setattr("zim.predictor.load_model", load)
    predictor = ZimPredictor.from_pretrained("some.safetensors", device="cpu", dtype=torch.float32, output="mask")
    assert (predictor.model, predictor.output) == (tiny_zim, "mask")
    assert asked[0].args == ("some.safetensors",)
    assert asked[0].kwargs == {"device": "cpu", "dtype": torch.float32}


def test_the_model_is_put_into_evaluation_mode() -> None:
    """Otherwise batch normalisation would learn from the user's photos."""
    from zim.modeling.config import ZIM_TEST
    from zim.modeling.zim import build_zim

    model = build_zim(ZIM_TEST).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ZimPredictor(model).set_image(np.full((20, 30, 3), 200, dtype=np.uint8))
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("least_quality", [-math.inf, None, math.inf], ids=["all", "some", "none"])
def test_promising_answers_are_those_of_predict_torch(predictor: ZimPredictor, least_quality: float | None) -> None:
    """Chosen by quality before they are resized; the logits and their places are the same."""
    generator = torch.Generator().manual_seed(0)
    coords = torch.rand(7, 1, 2, generator=generator) * 60
    labels = torch.ones(7, 1)
    logits, qualities, _ = predictor.predict_torch(coords, labels, return_logits=True)
    least = float(qualities.median()) if least_quality is None else least_quality
    found = predictor.predict_promising(coords, labels, least_quality=least, chunk_size=3)
    expected = [(row, column) for row in range(7) for column in range(3) if qualities[row, column] > least]
    assert [tuple(place) for place in found.places.tolist()] == expected
    assert len(expected) == {-math.inf: 21, None: 10, math.inf: 0}[least_quality]
    for index, place in enumerate(expected):
        whole = found.window(index, -math.inf)
        assert (whole.x, whole.y) == (0, 0) and whole.logits.shape == logits.shape[2:]
        assert (whole.logits - logits[place]).abs().max() < 1e-4
    assert torch.allclose(found.qualities, qualities, atol=1e-5)
