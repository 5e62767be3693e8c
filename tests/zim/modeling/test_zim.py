"""The whole model: SAM's transforms, the batch interface, ablation switches, and SAM's own code on top of it."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zim.compat.segment_anything import import_segment_anything
from zim.errors import ConfigError
from zim.modeling.config import SAM_TINY, ZIM_TEST, ZIM_TINY, ZimConfig
from zim.modeling.image_encoder import ViTConfig
from zim.modeling.zim import Zim, build_backbone, build_zim

library = import_segment_anything()
BOX = np.array([20.0, 10.0, 110.0, 70.0])


@pytest.fixture(scope="module")
def sam() -> Any:
    """The real `Sam`, with this model's frame size and nothing inside: only its transforms are used."""
    encoder = nn.Module()
    encoder.img_size = 128
    made = library.modeling.Sam(image_encoder=encoder, prompt_encoder=nn.Module(), mask_decoder=nn.Module())
    return made


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(128, 128), (72, 128), (128, 1), (5, 9)])
def test_preprocess_is_sams(tiny_zim: Zim, sam: Any, size: tuple[int, int]) -> None:
    pixels = (noise(3, *size).abs() * 100).clamp(max=255).round()
    assert torch.equal(tiny_zim.preprocess(pixels), sam.preprocess(pixels))
    assert torch.equal(tiny_zim.preprocess(pixels[None].byte()), sam.preprocess(pixels[None].byte()))


@pytest.mark.parametrize("low", [32, 64])
@pytest.mark.parametrize(
    ("input_size", "original_size"), [((72, 128), (90, 160)), ((128, 41), (500, 161)), ((1, 128), (1, 9))]
)
def test_postprocess_is_sams(
    tiny_zim: Zim, sam: Any, low: int, input_size: tuple[int, int], original_size: tuple[int, int]
) -> None:
    logits = 5 * noise(2, 3, low, low)
    received = tiny_zim.postprocess_masks(logits, input_size, original_size)
    assert received.shape == (2, 3, *original_size)
    assert (received - sam.postprocess_masks(logits, input_size, original_size)).abs().max() <= 1e-6


def test_constants_are_sams(tiny_zim: Zim, sam: Any) -> None:
    assert torch.equal(tiny_zim.pixel_mean, torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1))
    assert torch.equal(tiny_zim.pixel_std, torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1))
    assert (tiny_zim.mask_threshold, tiny_zim.image_format) == (sam.mask_threshold, sam.image_format)
    assert not {"pixel_mean", "pixel_std"} & set(tiny_zim.state_dict()), "SAM does not store them either"


def test_low_res_logits_are_two_by_two_means(tiny_zim: Zim) -> None:
    native = noise(2, 3, 64, 64)
    expected = native.numpy().reshape(2, 3, 32, 2, 32, 2).mean((3, 5))
    np.testing.assert_allclose(tiny_zim.low_res_logits(native).numpy(), expected, atol=1e-6)
    assert torch.equal(tiny_zim.low_res_logits(native[..., :32, :32]), native[..., :32, :32])


RECORDS: list[dict[str, Any]] = [
    {
        "image": (noise(3, 72, 128, seed=1).abs() * 100).clamp(max=255),
        "original_size": (90, 160),
        "boxes": torch.tensor([[16.0, 8.0, 88.0, 56.0], [0.0, 0.0, 40.0, 40.0]]),
    },
    {
        "image": (noise(3, 128, 60, seed=2).abs() * 100).clamp(max=255),
        "original_size": (64, 30),
        "point_coords": torch.tensor([[[10.0, 100.0], [50.0, 20.0]]]),
        "point_labels": torch.tensor([[1, 0]]),
        "mask_inputs": noise(1, 1, 32, 32, seed=3),
    },
    {"image": torch.zeros(3, 128, 128), "original_size": (128, 128), "mask_inputs": noise(2, 1, 64, 64, seed=4)},
]


@pytest.mark.parametrize("multimask", [True, False])
def test_forward_is_the_parts_put_together(tiny_zim: Zim, multimask: bool) -> None:
    answers = tiny_zim(RECORDS, multimask_output=multimask)
    count = 3 if multimask else 1
    for record, answer in zip(RECORDS, answers, strict=True):
        points = (record["point_coords"], record["point_labels"]) if "point_coords" in record else None
        with torch.no_grad():
            height, width = record["image"].shape[-2:]
            padded = torch.zeros(1, 3, 128, 128)
            padded[..., :height, :width] = (record["image"] - tiny_zim.pixel_mean) / tiny_zim.pixel_std
            sparse, dense = tiny_zim.prompt_encoder(points, record.get("boxes"), record.get("mask_inputs"))
            native, quality = tiny_zim.mask_decoder.predict_masks(
                tiny_zim.image_encoder(padded), tiny_zim.prompt_encoder.get_dense_pe(), sparse, dense
            )
        kept = slice(1, 4) if multimask else slice(0, 1)
        logits = tiny_zim.postprocess_masks(native[:, kept], (height, width), record["original_size"])
        assert answer["alphas"].shape == (len(native), count, *record["original_size"])
        assert (answer["alphas"] - 1 / (1 + (-logits.double()).exp())).abs().max() <= 1e-4
        assert (answer["masks"] != (logits > 0)).float().mean() <= 1e-3
        assert (answer["iou_predictions"] - quality[:, kept]).abs().max() <= 1e-4
        means = native[:, kept].reshape(len(native), count, 32, 2, 32, 2).mean((3, 5))
        assert (answer["low_res_logits"] - means).abs().max() <= 1e-3
        assert answer["alphas"].dtype == torch.float32 and answer["masks"].dtype == torch.bool
        assert answer["masks"].float().mean() not in (0, 1)


def test_images_of_a_batch_do_not_mix(tiny_zim: Zim) -> None:
    together = tiny_zim(RECORDS, multimask_output=True)
    for record, answer in zip(RECORDS, together, strict=True):
        alone = tiny_zim([record], multimask_output=True)[0]
        assert (answer["low_res_logits"] - alone["low_res_logits"]).abs().max() <= 1e-3


@pytest.fixture(scope="module")
def ablated() -> dict[tuple[str, str], Tensor]:
    """Logits of every combination of the two novelties, from weights that agree wherever names and shapes do."""
    answers: dict[tuple[str, str], Tensor] = {}
    donor: dict[str, Tensor] = {}
    for attention, decoder in itertools.product(("none", "additive", "multiplicative"), ("hierarchical", "sam")):
        config = dataclasses.replace(ZIM_TEST, prompt_attention=attention, pixel_decoder=decoder)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_zim(config).eval()
        with torch.no_grad():
            for index, (name, parameter) in enumerate(model.named_parameters()):
                if name in donor and donor[name].shape == parameter.shape:
                    parameter.copy_(donor[name])
                else:
                    parameter.add_(noise(*parameter.shape, seed=index), alpha=0.2)
                    donor[name] = parameter.detach().clone()
        answers[attention, decoder] = model(RECORDS[:1], multimask_output=True)[0]["alphas"]
    return answers


def test_every_ablation_runs_and_answers_differently(ablated: dict[tuple[str, str], Tensor]) -> None:
    assert len(ablated) == 6
    for (left, a), (right, b) in itertools.combinations(ablated.items(), 2):
        assert a.shape == b.shape == (2, 3, 90, 160), "the answer's frame must not depend on the switches"
        assert torch.isfinite(a).all()
        assert (a - b).abs().max() > 1e-3, (left, right)


@pytest.mark.parametrize(("attention", "channels"), [("none", 256), ("additive", 257), ("multiplicative", 257)])
def test_attention_switch_decides_about_channel_257(attention: Any, channels: int) -> None:
    model = build_zim(dataclasses.replace(ZIM_TEST, prompt_attention=attention))
    dense = model.prompt_encoder(None, torch.tensor([[0.0, 0.0, 50.0, 50.0]]), None)[1]
    assert dense.shape == (1, channels, 8, 8)
    assert model.mask_decoder.transformer.multiplicative_bias == (attention == "multiplicative")


def small_vit(**changes: Any) -> ZimConfig:
    vit = ViTConfig(embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), img_size=64, window_size=3)
    values = {"img_size": 64, "vit": vit, "transformer_mlp_dim": 32, "pixel_widths": (8, 8, 4), **changes}
    return ZimConfig(**values)


@pytest.mark.parametrize("decoder", ["hierarchical", "sam"])
def test_vit_models_run(decoder: Any) -> None:
    model = build_zim(small_vit(pixel_decoder=decoder)).eval()
    with torch.no_grad():
        features = model.image_encoder(noise(2, 3, 64, 64))
        assert torch.equal(features.embedding, model.image_encoder.backbone(noise(2, 3, 64, 64)))
    assert features.feat_s2.shape == (2, 4 if decoder == "hierarchical" else 0, 32, 32)
    assert model.prompt_encoder.dense_prompt_map is None, "SAM's weights know no prompt map"
    record = {"image": noise(3, 64, 40), "original_size": (128, 80), "boxes": torch.tensor([[1.0, 1.0, 30.0, 30.0]])}
    answer = model([record], multimask_output=True)[0]
    assert answer["alphas"].shape == (1, 3, 128, 80) and answer["low_res_logits"].shape == (1, 3, 16, 16)


def test_vit_of_another_input_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="config.vit.img_size: expected 128, the model's own"):
        build_backbone(small_vit(img_size=128))


def test_baseline_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="config.architecture: expected 'zim', got 'sam'"):
        build_zim(SAM_TINY)


def test_parameter_budget() -> None:
    count = sum(parameter.numel() for parameter in build_zim(ZIM_TINY).parameters())
    assert 4_000_000 < count <= 6_000_000


def by_hand(model: Zim, image: np.ndarray, box: np.ndarray) -> Tensor:
    """(1, 3, 90, 160) logits: prompt encoder and mask decoder called one after the other."""
    transform = library.SamPredictor(model).transform
    pixels = torch.from_numpy(transform.apply_image(image)).permute(2, 0, 1)[None]
    corners = torch.from_numpy(transform.apply_boxes(box, image.shape[:2])).float()
    with torch.no_grad():
        sparse, dense = model.prompt_encoder(points=None, boxes=corners, masks=None)
        native, _ = model.mask_decoder(
            image_embeddings=model.image_encoder(model.preprocess(pixels)),
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return model.postprocess_masks(native, tuple(pixels.shape[-2:]), image.shape[:2])


def test_stock_predictor_loses_nothing(tiny_zim: Zim, photo: np.ndarray) -> None:
    predictor = library.SamPredictor(tiny_zim)
    predictor.set_image(photo)
    logits, quality, low_res = predictor.predict(box=BOX, return_logits=True)
    assert np.abs(logits - by_hand(tiny_zim, photo, BOX)[0].numpy()).max() <= 1e-5
    assert quality.shape == (3,) and low_res.shape == (3, 64, 64)
    fed_back = predictor.predict(box=BOX, mask_input=low_res[:1], return_logits=True)[0]
    assert np.abs(fed_back - logits).max() > 1e-2
    masks = predictor.predict(box=BOX)[0]
    assert np.array_equal(masks, logits > 0)


def test_stock_mask_generator_finds_what_the_predictor_finds(tiny_zim: Zim, photo: np.ndarray) -> None:
    """With every filter open, each record is one of the three answers to its own point."""
    generator = library.SamAutomaticMaskGenerator(
        tiny_zim,
        points_per_side=2,
        pred_iou_thresh=-1e9,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )
    records = generator.generate(photo)
    assert records
    predictor = library.SamPredictor(tiny_zim)
    predictor.set_image(photo)
    for record in records:
        answers = predictor.predict(np.array(record["point_coords"]), np.array([1]))[0]
        difference = (answers != record["segmentation"]).mean((1, 2)).min()
        assert difference <= 0.01


@pytest.mark.parametrize("side", [32, 48, 64, 128])
@pytest.mark.parametrize(
    ("input_size", "original_size"),
    [((128, 96), (128, 96)), ((90, 128), (333, 480)), ((1, 128), (1, 3000)), ((128, 57), (200, 90))],
)
def test_postprocessing_is_sams_to_the_bit(
    side: int, input_size: tuple[int, int], original_size: tuple[int, int]
) -> None:
    """Resized without the padding, and once only where the photo needs no second resizing: the same bits."""
    masks = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))
    padded = torch.nn.functional.interpolate(masks, (128, 128), mode="bilinear", align_corners=False)
    cut = padded[..., : input_size[0], : input_size[1]]
    expected = torch.nn.functional.interpolate(cut, original_size, mode="bilinear", align_corners=False)
    received = build_zim(ZIM_TEST).postprocess_masks(masks, input_size, original_size)
    assert torch.equal(received, expected) and received.is_contiguous()
