"""The split fusion convolutions against whole ones, what is computed how often, and the budgets."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zim.compat.segment_anything import import_segment_anything
from zim.modeling.common import LayerNorm2d
from zim.modeling.config import ZIM_TEST, ZIM_TINY, ZIM_VIT_B, ZimConfig
from zim.modeling.detail_stem import DetailMaps, DetailStem
from zim.modeling.pixel_decoder import FusionImageHalves, HierarchicalPixelDecoder, SamUpscaling
from zim.modeling.zim import Zim

DIM, MAP_WIDTHS, WIDTHS = 32, (6, 10, 12), (16, 12, 8)


def randomise(*modules: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for module in modules:
        for parameter in module.parameters():
            parameter.data.normal_(0, 0.3, generator=generator)


def parts() -> tuple[HierarchicalPixelDecoder, FusionImageHalves, Tensor, DetailMaps]:
    """Decoder, halves, an embedding of stride 16 of a 96-px frame and maps at strides 2, 4, 8."""
    decoder, halves = HierarchicalPixelDecoder(DIM, WIDTHS), FusionImageHalves(MAP_WIDTHS, WIDTHS)
    randomise(decoder, halves)
    generator = torch.Generator().manual_seed(1)
    sides = (48, 24, 12)
    maps = [torch.randn(2, c, s, s, generator=generator) for c, s in zip(MAP_WIDTHS, sides, strict=True)]
    return decoder.eval(), halves.eval(), torch.randn(2, DIM, 6, 6, generator=generator), DetailMaps(*maps)


def whole(own: nn.Conv2d, image_half: nn.Conv2d) -> nn.Conv2d:
    """One convolution over the concatenated channels, embedding first."""
    fused = nn.Conv2d(own.in_channels + image_half.in_channels, own.out_channels, 3, padding=1)
    fused.weight.data = torch.cat([own.weight, image_half.weight], dim=1)
    assert image_half.bias is not None and own.bias is None
    fused.bias.data = image_half.bias.data
    return fused


def explicit(decoder: HierarchicalPixelDecoder, halves: FusionImageHalves, x: Tensor, maps: DetailMaps) -> Tensor:
    """Upsample, reduce, concatenate, convolve, normalise, GELU; at every level in the order of the paper."""
    levels: list[tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d, Tensor, LayerNorm2d | None]] = [
        (decoder.reduce8, decoder.fuse8, halves.half8, maps.s8, decoder.norm8),
        (decoder.reduce4, decoder.fuse4, halves.half4, maps.s4, decoder.norm4),
        (decoder.reduce2, decoder.fuse2, halves.half2, maps.s2, None),
    ]
    for reduce, fuse, half, image, norm in levels:
        grown = F.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=False)
        x = whole(fuse, half)(torch.cat([reduce(grown), image], dim=1))
        if norm is not None:
            mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
            x = (x - mean) / (variance + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        x = F.gelu(x)
    return x


def test_two_halves_are_one_convolution_over_concatenated_channels() -> None:
    decoder, halves, embedding, maps = parts()
    with torch.no_grad():
        received, expected = decoder(embedding, *halves(maps)), explicit(decoder, halves, embedding, maps)
    assert received.shape == (2, 8, 48, 48) and expected.std() > 0.1
    assert (received - expected).abs().max() <= 1e-5


def test_halves_take_each_map_to_its_own_level() -> None:
    """Order matters: maps come as strides 2, 4, 8, widths as 8, 4, 2."""
    _, halves, _, maps = parts()
    with torch.no_grad():
        s2, s4, s8 = halves(maps)
    assert [tuple(x.shape[1:]) for x in (s2, s4, s8)] == [(8, 48, 48), (12, 24, 24), (16, 12, 12)]
    weight, bias = halves.half4.weight, halves.half4.bias
    assert torch.allclose(s4, F.conv2d(maps.s4, weight, bias, padding=1), atol=1e-6)


def test_features_of_one_image_serve_many_prompts() -> None:
    decoder, halves, embedding, maps = parts()
    with torch.no_grad():
        features = halves(DetailMaps(*(map_[:1] for map_ in maps)))
        shared = decoder(embedding, *features)
        repeated = decoder(embedding, *(feature.expand(2, -1, -1, -1) for feature in features))
    assert (shared - repeated).abs().max() <= 1e-6


def count_calls(module: nn.Module, calls: list[str], name: str) -> None:
    module.register_forward_hook(lambda *_: calls.append(name))


def test_image_half_is_computed_once_per_image(make_zim: Callable[[int], Zim]) -> None:
    model = make_zim(3)
    calls: list[str] = []
    halves = model.image_encoder.halves
    for name in ("half2", "half4", "half8"):
        count_calls(getattr(halves, name), calls, name)
    count_calls(model.image_encoder.backbone, calls, "backbone")
    count_calls(model.mask_decoder.pixel_decoder, calls, "decoder")
    boxes = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) * 100
    with torch.no_grad():
        features = model.image_encoder(torch.randn(1, 3, 128, 128))
        for count in (1, 4, 5):
            sparse, dense = model.prompt_encoder(None, boxes[:count], None)
            model.mask_decoder(features, model.prompt_encoder.get_dense_pe(), sparse, dense, True)
    assert sorted(calls) == ["backbone", "decoder", "decoder", "decoder", "half2", "half4", "half8"]


def test_stem_convolves_with_stride_two_three_times() -> None:
    stem = DetailStem((4, 6, 8)).eval()
    randomise(stem)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        maps = stem(x)
        for layers, map_ in zip((stem.down2, stem.down4, stem.down8), maps, strict=True):
            conv, norm = layers[0], layers[1]
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            x = F.conv2d(x, conv.weight * scale[:, None, None, None], stride=2, padding=1)
            x = (x + (norm.bias - norm.running_mean * scale)[:, None, None]).clamp(min=0)
            assert (map_ - x).abs().max() <= 1e-5
    assert [tuple(map_.shape[1:]) for map_ in maps] == [(4, 16, 16), (6, 8, 8), (8, 4, 4)]


def test_sam_upscaling_is_sams() -> None:
    modeling = import_segment_anything().modeling
    transformer = modeling.TwoWayTransformer(depth=1, embedding_dim=DIM, num_heads=4, mlp_dim=8)
    theirs = modeling.MaskDecoder(transformer_dim=DIM, transformer=transformer).output_upscaling
    randomise(theirs)
    ours = SamUpscaling(DIM)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, DIM, 5, 7, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert (ours(x) - theirs(x)).abs().max() <= 1e-5
    assert ours.out_width == ours(x).shape[1] == DIM // 8


def test_tiny_pixel_decoder_stays_within_four_gigaflop_a_prompt() -> None:
    """Operations count 2 per multiply-add; torch's own counter and the sum over the layers agree."""
    decoder = HierarchicalPixelDecoder(ZIM_TINY.embed_dim, ZIM_TINY.pixel_widths)
    w8, w4, w2 = ZIM_TINY.pixel_widths
    maps = [torch.zeros(1, width, side, side) for width, side in ((w2, 512), (w4, 256), (w8, 128))]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(torch.zeros(1, ZIM_TINY.embed_dim, 64, 64), *maps)
    flops = counter.get_total_flops()
    by_hand = sum(
        2 * (side // 2) ** 2 * before * width + 2 * side**2 * 9 * width * width
        for before, width, side in ((ZIM_TINY.embed_dim, w8, 128), (w8, w4, 256), (w4, w2, 512))
    )
    assert flops == by_hand
    assert flops <= 4e9


@pytest.mark.parametrize("config", [ZIM_TEST, ZIM_TINY, ZIM_VIT_B])
def test_decoder_answers_at_stride_two(config: ZimConfig) -> None:
    decoder = HierarchicalPixelDecoder(config.embed_dim, config.pixel_widths).to("meta")
    w8, w4, w2 = config.pixel_widths
    side = config.img_size
    maps = [
        torch.empty(1, width, side // stride, side // stride, device="meta")
        for width, stride in ((w2, 2), (w4, 4), (w8, 8))
    ]
    out = decoder(torch.empty(3, config.embed_dim, side // 16, side // 16, device="meta"), *maps)
    assert out.shape == (3, decoder.out_width, side // 2, side // 2)
