"""The HQ head beside its base: what it adds, what it leaves alone. (SAM's head as a whole has transformers' SAM-HQ as
oracle, in tests/adapters/hq_sam.)"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zim.errors import ConfigError
from zim.modeling.config import SAM_TINY, ZIM_TEST, ZIM_TINY, ZIM_VIT_B, ZimConfig
from zim.modeling.hq_head import EarlyMapFusion, HqHeadConfig, build_hq_head
from zim.modeling.hq_model import HqModel, apart, base_features, joined
from zim.modeling.image_encoder import ViTConfig
from zim.modeling.zim import Zim, build_zim

SAM_OFF = {"prompt_attention": "none", "pixel_decoder": "sam"}
SAM_TEST = dataclasses.replace(ZIM_TEST, **SAM_OFF)
VIT_TEST = ZimConfig(
    img_size=128,
    vit=ViTConfig(embed_dim=16, depth=3, num_heads=2, global_attn_indexes=(1, 2), img_size=128, window_size=3),
    transformer_mlp_dim=32,
    **SAM_OFF,
)
CONFIGS = {"zim": ZIM_TEST, "sam": SAM_TEST, "sam_vit": VIT_TEST}


def lively(config: ZimConfig, seed: int = 0) -> Zim:
    """A base whose prompts and features show in the logits."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_zim(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def lively_hq(config: ZimConfig, seed: int = 0) -> HqModel:
    """Base and head, the head's weights random everywhere."""
    base = lively(config, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        head = build_hq_head(HqHeadConfig.for_base(config))
        with torch.no_grad():
            for parameter in head.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    return HqModel(base, head).eval()


def image(seed: int = 0, count: int = 1) -> Tensor:
    return torch.randn(count, 3, 128, 128, generator=torch.Generator().manual_seed(seed))


def boxes(count: int) -> Tensor:
    starts = torch.arange(count)[:, None] * 3.0
    return torch.cat([10 + starts, 12 + starts, 80 + starts, 90 + starts], dim=1)


def ask(model: Zim, features: Tensor | object, rows: Tensor, **arguments: bool) -> tuple[Tensor, Tensor]:
    sparse, dense = model.prompt_encoder(points=None, boxes=rows, masks=None)
    asked = {"multimask_output": False, **arguments}
    with torch.no_grad():
        return model.mask_decoder(features, model.prompt_encoder.get_dense_pe(), sparse, dense, **asked)


def assert_near(got: Tensor, expected: Tensor) -> None:
    """Equal but for rounding, which grows with the logits."""
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", CONFIGS)
def test_base_stays_what_it_is_beside_a_head(name: str) -> None:
    """Its modules are the very same objects with the same weights to the bit, before, beside and after a head."""
    model = lively(CONFIGS[name])
    with torch.no_grad():
        before = ask(model, model.image_encoder(image()), boxes(2), multimask_output=True)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    head = build_hq_head(HqHeadConfig.for_base(CONFIGS[name]))
    hq = HqModel(model, head).eval()
    with torch.no_grad():
        features = hq.image_encoder(image())
        ask(hq, features, boxes(2), multimask_output=True, hq_token_only=True)
        after = ask(model, model.image_encoder(image()), boxes(2), multimask_output=True)
    for one, other in zip(before, after, strict=True):
        assert_near(one, other)  # a CPU rounds by where in memory tensors lie
    assert hq.mask_decoder.base is model.mask_decoder and hq.prompt_encoder is model.prompt_encoder
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", CONFIGS)
def test_base_features_are_the_encoders_own(name: str) -> None:
    model = lively(CONFIGS[name])
    with torch.no_grad():
        expected, (own, _) = model.image_encoder(image()), base_features(model.image_encoder, image())
    for one, other in zip(own, expected, strict=True):
        assert one.shape == other.shape
        if one.numel():
            assert_near(one, other)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_fresh_head_says_nothing(name: str) -> None:
    """Its last layer is zero: the sum is the base's answer in the presence of one more token."""
    hq = HqModel(lively(CONFIGS[name]), build_hq_head(HqHeadConfig.for_base(CONFIGS[name]))).eval()
    with torch.no_grad():
        features = hq.image_encoder(image())
    assert ask(hq, features, boxes(1), hq_token_only=True)[0].abs().max() == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_answers_are_sums_of_base_and_head(name: str) -> None:
    hq = lively_hq(CONFIGS[name])
    with torch.no_grad():
        features = hq.image_encoder(image())
        sparse, dense = hq.prompt_encoder(points=None, boxes=boxes(2), masks=None)
        all_five, quality = hq.mask_decoder.predict_masks(features, hq.prompt_encoder.get_dense_pe(), sparse, dense)
    side = 64 if name == "zim" else 32
    assert all_five.shape == (2, 5, side, side) and quality.shape == (2, 4)
    head = all_five[:, 4:]
    assert head.abs().max() > 0.01
    for three in (False, True):
        base = all_five[:, 1:4] if three else all_five[:, :1]
        assert_near(ask(hq, features, boxes(2), multimask_output=three)[0], base + head)
        alone = ask(hq, features, boxes(2), multimask_output=three, hq_token_only=True)[0]
        assert_near(alone, head.expand_as(base))
    best = quality[:, 1:].argmax(1)
    one, judged = ask(hq, features, boxes(2), multimask_output=True, hq_compat=True)
    assert one.shape == (2, 1, side, side)
    for row in range(2):
        assert_near(one[row, 0], all_five[row, 1 + best[row]] + head[row, 0])
        assert_near(judged[row, 0], quality[row, 1:].max())


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_tokens_weights_on_the_fused_map(name: str) -> None:
    """By hand: a dot product of every pixel's fused features with the MLP of the token."""
    head = lively_hq(CONFIGS[name]).head
    width = head.config.width
    generator = torch.Generator().manual_seed(0)
    hidden, upscaled, own = (
        torch.randn(*shape, generator=generator)
        for shape in ((2, head.config.embed_dim), (2, width, 8, 8), (1, width, 8, 8))
    )
    with torch.no_grad():
        got = head.logits(hidden, upscaled, own)
        x = hidden
        for layer in head.hf_mlp.layers[:-1]:
            x = layer(x).clamp(min=0)
        weights = head.hf_mlp.layers[-1](x)
        fused = head.embedding_maskfeature(upscaled) + own
        expected = torch.zeros(2, 1, 8, 8)
        for row in range(2):
            for channel in range(width):
                expected[row, 0] += weights[row, channel] * fused[row, channel]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_of_several_images_are_answered_by_their_own(name: str) -> None:
    hq = lively_hq(CONFIGS[name])
    with torch.no_grad():
        both = hq.image_encoder(image(count=2))
        together = ask(hq, both, boxes(4))[0]
        for index in (0, 1):
            alone = ask(hq, both.select(index), boxes(4)[2 * index : 2 * index + 2])[0]
            assert_near(together[2 * index : 2 * index + 2], alone)


def test_features_are_joined_and_taken_apart() -> None:
    for name, config in CONFIGS.items():
        model = lively(config)
        head_config = HqHeadConfig.for_base(config)
        with torch.no_grad():
            features, _ = base_features(model.image_encoder, image())
        stride = 2 if name == "zim" else 4
        fine = torch.randn(1, head_config.width, 128 // stride, 128 // stride)
        own, again = apart(joined(features, fine, head_config), head_config)
        assert torch.equal(again, fine) and torch.equal(own.feat_s2, features.feat_s2)
        assert torch.equal(own.embedding, features.embedding) and torch.equal(own.feat_s8, features.feat_s8)


def test_early_maps_are_fused_at_the_finer_resolution() -> None:
    """Constant maps stay constant away from the border, and a change of the finer map is seen where it is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fusion = EarlyMapFusion((3, 5), 4).eval()
    fine, coarse = torch.ones(1, 3, 16, 16), torch.ones(1, 5, 8, 8)
    with torch.no_grad():
        flat = fusion(fine, coarse)[..., 3:-3, 3:-3]
        assert (flat - flat[..., :1, :1]).abs().max() < 1e-6
        fine[..., 8, 8] = 5
        changed = (fusion(fine, coarse) - fusion(torch.ones_like(fine), coarse)).abs().amax((0, 1)) > 1e-7
    rows, columns = torch.nonzero(changed).unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 10, 6, 10)  # two 3x3 convolutions


@pytest.mark.parametrize(("base", "limit"), [(ZIM_TINY, 160_000), (SAM_TINY, 275_000)])
def test_heads_of_the_shipped_pair_are_small(base: ZimConfig, limit: int) -> None:
    head = build_hq_head(HqHeadConfig.for_base(base))
    assert sum(parameter.numel() for parameter in head.parameters()) < limit


def test_published_shapes_for_vit_b() -> None:
    """Names and shapes as in the state dict of SAM-HQ's public code, ViT-B."""
    config = HqHeadConfig.for_base(dataclasses.replace(ZIM_VIT_B, **SAM_OFF))
    shapes = {name: tuple(value.shape) for name, value in build_hq_head(config).state_dict().items()}
    assert shapes["hf_token.weight"] == (1, 256)
    assert shapes["hf_mlp.layers.2.weight"] == (32, 256)
    assert shapes["compress_vit_feat.0.weight"] == (768, 256, 2, 2)
    assert shapes["compress_vit_feat.1.weight"] == (256,)
    assert shapes["compress_vit_feat.3.weight"] == (256, 32, 2, 2)
    assert shapes["embedding_encoder.0.weight"] == (256, 64, 2, 2)
    assert shapes["embedding_encoder.3.weight"] == (64, 32, 2, 2)
    assert shapes["embedding_maskfeature.0.weight"] == (64, 32, 3, 3)
    assert shapes["embedding_maskfeature.3.weight"] == (32, 64, 3, 3)
    assert len(shapes) == 1 + 6 + 3 * 6


def test_configurations_come_back_and_contradictions_are_refused() -> None:
    for config in (ZIM_TINY, SAM_TINY, VIT_TEST):
        made = HqHeadConfig.for_base(config)
        assert HqHeadConfig.from_dict({**made.to_dict(), "early_widths": list(made.early_widths)}) == made
    made = HqHeadConfig.for_base(ZIM_TINY)
    with pytest.raises(ConfigError, match="hq_sam or hq_zim, got 'hq'"):
        dataclasses.replace(made, architecture="hq")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="positive integers"):
        dataclasses.replace(made, width=0)
    with pytest.raises(ConfigError, match="early_widths: unexpected number"):
        dataclasses.replace(made, early_widths=(16,))
    with pytest.raises(ConfigError, match="head: "):
        HqHeadConfig.from_dict({"architecture": "hq_sam"})
    with pytest.raises(ConfigError, match="head: expected .*hq_zim.* got .*hq_sam"):
        HqModel(lively(ZIM_TEST), build_hq_head(HqHeadConfig.for_base(SAM_TEST)))


def test_gradients_reach_the_whole_head_and_not_the_base() -> None:
    for config in CONFIGS.values():
        hq = lively_hq(config)
        for parameter in hq.parameters():
            parameter.requires_grad_(False)
        for parameter in hq.head.parameters():
            parameter.requires_grad_(True)
        sparse, dense = hq.prompt_encoder(points=None, boxes=boxes(1), masks=None)
        pe = hq.prompt_encoder.get_dense_pe()
        logits, _ = hq.mask_decoder(hq.image_encoder(image()), pe, sparse, dense, multimask_output=False)
        F.softplus(logits).mean().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in hq.head.parameters())
        others = [p for name, p in hq.named_parameters() if ".head." not in name]
        assert others and all(p.grad is None for p in others)


