"""ZIMs from models of SAM's shape: the real `Sam` at 128 pixels, and small look-alikes of its relatives."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zim
from zim.checkpoints import load_into, read_checkpoint, save_checkpoint
from zim.compat.segment_anything import import_segment_anything
from zim.errors import CheckpointError, ConfigError
from zim.evaluation.sam_baseline import SamBaselinePredictor, build_sam_tiny
from zim.modeling.config import SAM_TINY, ZIM_TEST, TinyEncoderConfig, ZimConfig
from zim.modeling.image_encoder import ViTConfig
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor

BOX = np.array([20.0, 10.0, 110.0, 70.0])


def vit(side: int, **options: Any) -> nn.Module:
    numbers: dict[str, Any] = dict(
        img_size=side, embed_dim=32, depth=3, num_heads=2, window_size=4, global_attn_indexes=(1,), mlp_ratio=3
    )
    numbers |= dict(qkv_bias=True, use_rel_pos=True, norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6))
    return import_segment_anything().modeling.ImageEncoderViT(**numbers | options)


def make_sam(encoder: nn.Module, side: int, mlp_dim: int = 64, **options: Any) -> nn.Module:
    """The real `Sam` around an encoder; every weight random, so that a mix-up shows."""
    modeling = import_segment_anything().modeling
    sam = modeling.Sam(
        image_encoder=encoder,
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=256, image_embedding_size=(side // 16,) * 2, input_image_size=(side, side), mask_in_chans=16
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=mlp_dim, num_heads=8),
            transformer_dim=256,
        ),
        **options,
    )
    random = torch.Generator().manual_seed(side)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=random)
    return sam.eval()


class SmallConvEncoder(nn.Module):
    """An encoder that no configuration of this package describes, as MobileSAM's is."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.img_size = side
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.GELU())
        self.neck = nn.Conv2d(8, 256, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.layers(x))


def hq_sam() -> nn.Module:
    """HQ-SAM's shape: an encoder that answers (embedding, early features), more in the decoder, a frozen base."""

    encoder = vit(128)

    class EarlyFeatures(type(encoder)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            return super().forward(x), [x]

    encoder.__class__ = EarlyFeatures
    sam = make_sam(encoder, 128)
    sam.mask_decoder.hf_token = nn.Embedding(1, 256)
    sam.mask_decoder.hf_mlp = nn.Linear(256, 32)
    sam.mask_decoder.compress_vit_feat = nn.Sequential(nn.ConvTranspose2d(32, 256, 2, 2))
    sam.mask_decoder.embedding_encoder = nn.Sequential(nn.ConvTranspose2d(256, 64, 2, 2))
    sam.mask_decoder.embedding_maskfeature = nn.Sequential(nn.Conv2d(32, 64, 3, 1, 1))
    sam.mask_decoder.num_mask_tokens += 1
    for name, parameter in sam.named_parameters():
        parameter.requires_grad = "hf_" in name
    return sam


def tiny_sam() -> nn.Module:
    assert ZIM_TEST.tiny_encoder is not None
    config = ZimConfig(**{**vars(SAM_TINY), "img_size": 128, "tiny_encoder": ZIM_TEST.tiny_encoder})
    return build_sam_tiny(config)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "sam": lambda: make_sam(vit(128), 128),
    "sam at 64": lambda: make_sam(vit(64, window_size=3), 64),
    "hq": hq_sam,
    "mobile": lambda: make_sam(SmallConvEncoder(128), 128),
    "sam_tiny": tiny_sam,
}
REBUILT = ("sam", "sam at 64", "hq", "sam_tiny")


@pytest.fixture(autouse=True)
def reproducible() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_reused_parts_answer_as_in_the_source(name: str) -> None:
    """Same embedding within rounding (linear layers are oneDNN's), same tokens and positions to the last bit."""
    sam = MODELS[name]()
    model = zim.from_sam(sam)
    side = sam.image_encoder.img_size
    images = torch.randn(2, 3, side, side)
    expected = sam.image_encoder(images)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(model.image_encoder(images).embedding, expected, atol=2e-6, rtol=1e-5)
    points, boxes = torch.rand(2, 3, 2) * side, torch.tensor([[3.0, 4, 30, 40], [10, 5, 60, 50]])
    labels = torch.tensor([[1, 0, 1], [1, -1, 0]])
    for asked in (
        {"points": (points, labels), "boxes": None, "masks": None},
        {"points": None, "boxes": boxes, "masks": None},
        {"points": (points, labels), "boxes": boxes, "masks": torch.randn(2, 1, side // 4, side // 4)},
    ):
        (sparse, dense), (ours, ours_dense) = sam.prompt_encoder(**asked), model.prompt_encoder(**asked)
        assert torch.equal(ours, sparse)
        torch.testing.assert_close(ours_dense[:, :256], dense[:, :256], atol=2e-6, rtol=0)
    assert torch.equal(model.prompt_encoder.get_dense_pe(), sam.prompt_encoder.get_dense_pe())


@torch.no_grad()
def test_the_transformer_and_the_quality_head_answer_as_in_the_source() -> None:
    """Without prompt attention, which SAM has not, tokens and qualities are SAM's within rounding."""
    sam = MODELS["sam"]()
    model = zim.from_sam(sam)
    image, tokens = torch.randn(1, 256, 8, 8), torch.randn(1, 7, 256)
    positions = sam.prompt_encoder.get_dense_pe()
    expected = sam.mask_decoder.transformer(image, positions, tokens)
    for ours, theirs in zip(model.mask_decoder.transformer(image, positions, tokens), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.mask_decoder.iou_prediction_head(tokens), sam.mask_decoder.iou_prediction_head(tokens))
    assert torch.equal(model.mask_decoder.mask_tokens.weight, sam.mask_decoder.mask_tokens.weight)


@pytest.mark.parametrize("name", MODELS)
def test_the_result_answers_and_learns_and_leaves_its_source_alone(name: str, photo: np.ndarray) -> None:
    sam = MODELS[name]()
    before = copy.deepcopy(sam.state_dict())
    model = zim.from_sam(sam)
    assert not model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in sam.parameters()}
    predictor = ZimPredictor(model)
    predictor.set_image(photo)
    alpha = predictor.predict(box=BOX, multimask_output=False)[0]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    record = {"boxes": torch.tensor([[10.0, 8, 50, 40]])}
    side = model.image_encoder.img_size
    features = model.image_encoder(torch.randn(1, 3, side, side))
    sparse, dense = model.prompt_encoder(points=None, boxes=record["boxes"], masks=None)
    logits, quality = model.mask_decoder(features, model.prompt_encoder.get_dense_pe(), sparse, dense, False)
    (logits.square().mean() + quality.square().mean()).backward()
    for part in (model.image_encoder.backbone, model.mask_decoder.transformer, model.mask_decoder.pixel_decoder):
        assert sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0
    optimizer.step()
    predictor.set_image(photo)
    assert np.abs(predictor.predict(box=BOX, multimask_output=False)[0] - alpha).max() > 1e-4
    assert all(torch.equal(value, before[key]) for key, value in sam.state_dict().items())


@pytest.mark.parametrize("name", REBUILT)
def test_what_this_package_can_rebuild_is_saved_and_loaded(name: str, photo: np.ndarray, tmp_path: Path) -> None:
    model = zim.from_sam(MODELS[name]())
    save_checkpoint(tmp_path / "zim.safetensors", model.state_dict(), config=model.config.to_dict())
    loaded = zim.load_model(tmp_path / "zim.safetensors", device="cpu")
    assert loaded.config == model.config and type(loaded.image_encoder.backbone).__module__.startswith("zim.")
    answers = []
    for each in (model, loaded):
        predictor = ZimPredictor(each)
        predictor.set_image(photo)
        answers.append((predictor.get_image_embedding(), predictor.predict(box=BOX, return_logits=True)[0]))
    torch.testing.assert_close(answers[0][0], answers[1][0], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(answers[0][1], answers[1][1], atol=1e-3, rtol=1e-3)


def test_the_configuration_is_read_off_the_model() -> None:
    expected = ViTConfig(
        img_size=64, embed_dim=32, depth=3, num_heads=2, window_size=3, global_attn_indexes=(1,), mlp_ratio=3.0
    )
    config = zim.from_sam(MODELS["sam at 64"]()).config
    assert config == ZimConfig(img_size=64, vit=expected, transformer_mlp_dim=64, pixel_widths=(96, 48, 32))
    tiny = zim.from_sam(tiny_sam()).config
    assert isinstance(tiny.tiny_encoder, TinyEncoderConfig)
    assert (tiny.architecture, tiny.pixel_decoder, tiny.dense_prompt_map) == ("zim", "hierarchical", True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (MODELS["mobile"], "its image encoder, .*SmallConvEncoder, belongs to another library"),
        (lambda: make_sam(vit(64, norm_layer=nn.LayerNorm), 64), "its image encoder, .*ImageEncoderViT, belongs"),
        (lambda: make_sam(vit(64, act_layer=nn.ReLU), 64), "its image encoder, .*ImageEncoderViT, belongs"),
        (lambda: make_sam(vit(64), 64, pixel_mean=[0, 0, 0]), "it normalises pixels in another way than SAM"),
    ],
)
def test_what_it_cannot_rebuild_says_so_and_how_to_keep_it(
    make: Callable[[], nn.Module], reason: str, photo: np.ndarray, tmp_path: Path
) -> None:
    sam = make()
    model = zim.from_sam(sam)
    with pytest.raises(ConfigError, match=f"cannot be rebuilt from a checkpoint alone: {reason}.*load_into"):
        model.config.to_dict()
    save_checkpoint(tmp_path / "zim.safetensors", model.state_dict(), config={})
    with pytest.raises(CheckpointError, match="expected the config of a ZIM model, got one that fails"):
        zim.load_model(tmp_path / "zim.safetensors", device="cpu")
    again = zim.from_sam(sam)
    load_into(again, read_checkpoint(tmp_path / "zim.safetensors").state_dict)
    one, two = ZimPredictor(model), ZimPredictor(again)
    for each in (one, two):
        each.set_image(photo)
    assert np.array_equal(one.predict(box=BOX)[0], two.predict(box=BOX)[0])


def test_pixels_are_normalised_as_in_the_source(photo: np.ndarray) -> None:
    sam = make_sam(vit(64), 64, pixel_mean=[1, 2, 3], pixel_std=[50, 60, 70])
    model = zim.from_sam(sam)
    pixels = torch.from_numpy(photo[:40, :64].copy()).permute(2, 0, 1)[None].float()
    assert torch.equal(model.preprocess(pixels), sam.preprocess(pixels))


def test_device_and_floating_type_are_the_sources() -> None:
    model = zim.from_sam(make_sam(SmallConvEncoder(64), 64).to(torch.bfloat16))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_the_result_can_be_copied_and_pickled(photo: np.ndarray) -> None:
    model = zim.from_sam(make_sam(SmallConvEncoder(128), 128))
    answers = []
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        predictor = ZimPredictor(each)
        predictor.set_image(photo)
        answers.append(predictor.predict(box=BOX)[0])
    assert all(np.array_equal(answer, answers[0]) for answer in answers[1:])


class Odd(SmallConvEncoder):
    """Answers with something that is no embedding of the right size."""

    def forward(self, x: Tensor) -> Any:
        return {"embedding": super().forward(x)} if self.training else super().forward(x)[:, :, :-1]


def test_an_encoder_that_answers_otherwise_is_named(photo: np.ndarray) -> None:
    predictor = ZimPredictor(zim.from_sam(make_sam(Odd(128), 128)))
    with pytest.raises(ConfigError, match=r"Odd to answer with .* \(B, 256, 8, 8\), .* got .*\(1, 256, 7, 8\)"):
        predictor.set_image(photo)
    with pytest.raises(ConfigError, match="got dict"):
        predictor.model.train().image_encoder(torch.zeros(1, 3, 128, 128))


def _without(path: str) -> nn.Module:
    sam = make_sam(SmallConvEncoder(64), 64)
    owner, _, name = path.rpartition(".")
    delattr(sam.get_submodule(owner), name)
    return sam


def _with(path: str, value: Any) -> nn.Module:
    sam = make_sam(SmallConvEncoder(64), 64)
    owner, _, name = path.rpartition(".")
    setattr(sam.get_submodule(owner), name, value)
    return sam


def _more_heads() -> nn.Module:
    modeling = import_segment_anything().modeling
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=64, num_heads=4)
    return _with("mask_decoder.transformer", transformer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(2, 2), r"got .*Linear without image_encoder, prompt_encoder, mask_decoder, pixel_mean"),
        (lambda: _without("mask_decoder.iou_token"), r"got .*Sam without mask_decoder.iou_token$"),
        (lambda: _without("image_encoder.img_size"), r"without image_encoder.img_size$"),
        (lambda: SamBaselinePredictor(tiny_sam()), r"got .*SamBaselinePredictor without .*; give its .model"),
        (lambda: {"model": 1}, r"expected a model of SAM's shape or the path of its checkpoint, got builtins.dict"),
        (lambda: _with("image_encoder.img_size", 1000), "img_size: expected a positive multiple of 16, got 1000"),
        (lambda: _with("image_encoder.img_size", (64, 64)), r"img_size: expected .* got \(64, 64\)"),
        (lambda: _with("image_encoder.img_size", 128), r"image_embedding_size: expected \(8, 8\), .* got \(4, 4\)"),
        (lambda: _with("image_format", "BGR"), 'image_format: expected "RGB", got .BGR.'),
        (_more_heads, r"transformer: expected 2 layers of 8 heads, got 2 of \[4\]"),
        (lambda: _with("mask_decoder.mask_tokens", nn.Embedding(3, 256)), "not of SAM's shape: .*mask_tokens.weight"),
        (lambda: _with("mask_decoder.extra", nn.Linear(2, 2)), "unexpected keys: mask_decoder.extra.weight"),
    ],
)
def test_other_shapes_are_refused_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        zim.from_sam(make())


def test_a_zim_and_a_key_beside_a_model_are_refused(tiny_zim: Zim) -> None:
    with pytest.raises(ConfigError, match="got one that is a ZIM already"):
        zim.from_sam(tiny_zim)
    with pytest.raises(ConfigError, match="key: expected none beside a model object, .* got 'vit_b'"):
        zim.from_sam(tiny_sam(), "vit_b")


def test_hq_sams_checkpoint_is_taken_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zim import registry

    sam = hq_sam()
    torch.save(sam.state_dict(), tmp_path / "sam_hq.pth")
    monkeypatch.setitem(registry.MODEL_CONFIGS, "vit_b", zim.from_sam(sam).config)
    model = zim.from_sam(str(tmp_path / "sam_hq.pth"), "vit_b")
    assert torch.equal(model.mask_decoder.mask_tokens.weight, sam.mask_decoder.mask_tokens.weight)
    assert type(zim.from_sam(tmp_path / "sam_hq.pth")) is Zim
