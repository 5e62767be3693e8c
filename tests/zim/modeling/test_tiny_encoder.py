"""The tiny encoder's parts against OpenCV, scikit-image and explicit formulas, and what each branch can see."""

import math

import cv2
import numpy as np
import pytest
import torch
from skimage.transform import downscale_local_mean
from torch import Tensor

from zim.modeling.config import ZIM_TEST, TinyEncoderConfig
from zim.modeling.tiny_encoder import AttentionBlock, ResidualBlock, TinyImageEncoder, resize_map

assert ZIM_TEST.tiny_encoder is not None
CONFIG: TinyEncoderConfig = ZIM_TEST.tiny_encoder  # trunk at 64 px


@pytest.fixture(scope="module")
def encoder() -> TinyImageEncoder:
    """Random weights with lively batch-norm statistics, at 128 px."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = TinyImageEncoder(config=CONFIG, img_size=128, out_chans=32)
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return made.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_by_whole_factors_is_the_local_mean(factor: int) -> None:
    x = noise(2, 3, 12 * factor, 12 * factor)
    expected = np.stack([[downscale_local_mean(c, (factor, factor)) for c in image] for image in x.numpy()])
    np.testing.assert_allclose(resize_map(x, 12).numpy(), expected, atol=1e-6)


def test_shrinking_keeps_the_mean() -> None:
    """Also by factors that are not whole, where the windows share pixels evenly by symmetry."""
    assert resize_map(torch.full((1, 1, 50, 50), 2.5), 16).unique().tolist() == [2.5]


@pytest.mark.parametrize("size", [20, 24, 37])
def test_growing_is_bilinear_between_pixel_centres(size: int) -> None:
    x = noise(1, 2, 12, 12)
    expected = [cv2.resize(channel, (size, size), interpolation=cv2.INTER_LINEAR) for channel in x[0].numpy()]
    np.testing.assert_allclose(resize_map(x, size)[0].numpy(), np.stack(expected), atol=1e-5)


def test_the_same_size_is_left_alone() -> None:
    x = noise(1, 2, 9, 9)
    assert torch.equal(resize_map(x, 9), x)


def test_attention_block_is_global_attention_and_an_mlp() -> None:
    block = AttentionBlock(12, num_heads=3, mlp_ratio=2.0).eval()
    x = noise(2, 10, 12)
    with torch.no_grad():
        normed = torch.nn.functional.layer_norm(x, (12,), block.norm1.weight, block.norm1.bias)
        q, k, v = block.qkv(normed).split(12, dim=-1)
        heads = []
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            scores = torch.softmax(q[..., part] @ k[..., part].mT / math.sqrt(4), dim=-1)
            heads.append(scores @ v[..., part])
        seen = x + block.proj(torch.cat(heads, dim=-1))
        expected = seen + block.mlp(block.norm2(seen))
        assert (block(x) - expected).abs().max() <= 1e-5


def test_residual_block_with_a_silent_branch_is_a_relu() -> None:
    block = ResidualBlock(4).eval()
    torch.nn.init.zeros_(block.conv2[1].weight)
    x = noise(1, 4, 6, 6)
    with torch.no_grad():
        assert torch.equal(block(x), x.clamp(min=0))


@pytest.mark.parametrize("side", [64, 128, 256])
def test_maps_lie_at_their_strides(encoder: TinyImageEncoder, side: int) -> None:
    """Any input size; a stripe of the image shows up in the same relative place of every map."""
    x = torch.zeros(1, 3, side, side)
    with torch.no_grad():
        blank = encoder(x)
        x[..., : side // 4] += 5
        striped = encoder(x)
    assert striped.embedding.shape == (1, 32, side // 16, side // 16)
    for stride, width, before, after in zip((2, 4, 8), CONFIG.stem_widths, blank.maps, striped.maps, strict=True):
        assert after.shape == (1, width, side // stride, side // stride)
        change = (after - before).abs().mean((0, 1, 2))  # per column
        assert change[: side // stride // 4].mean() > 2 * change[side // stride // 2 :].mean()


def test_trunk_always_sees_its_own_size(encoder: TinyImageEncoder) -> None:
    seen: list[torch.Size] = []
    hook = encoder.trunk.stage4.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    with torch.no_grad():
        for side in (32, 64, 128, 320):
            assert encoder.trunk(noise(1, 3, side, side)).shape == (1, CONFIG.context_width, 16, 16)
    hook.remove()
    assert seen == [(1, 3, 64, 64)] * 4


def test_trunk_sees_the_same_of_an_image_at_any_size(encoder: TinyImageEncoder) -> None:
    """Pixels repeated four times are averaged back exactly, so context does not depend on the resolution."""
    small = noise(1, 3, 64, 64)
    large = small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    with torch.no_grad():
        assert (encoder.trunk(large) - encoder.trunk(small)).abs().max() <= 1e-4


def test_only_the_stem_sees_fine_detail(encoder: TinyImageEncoder) -> None:
    """A checkerboard of single pixels averages out before the trunk, but reaches maps and embedding."""
    image = noise(1, 3, 128, 128)
    checkers = torch.ones(128, 128)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    with torch.no_grad():
        plain, fine = encoder(image), encoder(image + checkers)
        assert (encoder.trunk(image + checkers) - encoder.trunk(image)).abs().max() <= 1e-4
    for before, after in zip((plain.embedding, *plain.maps), (fine.embedding, *fine.maps), strict=True):
        assert (after - before).abs().max() > 0.02


def test_context_is_global(encoder: TinyImageEncoder) -> None:
    """One corner changes the far corner of the embedding through the attention blocks."""
    image = noise(1, 3, 128, 128)
    other = image.clone()
    other[..., :32, :32] += 3
    with torch.no_grad():
        assert (encoder(other).embedding - encoder(image).embedding)[..., -1, -1].abs().max() > 1e-4


def test_stride_two_map_is_the_stems_alone(encoder: TinyImageEncoder) -> None:
    x = noise(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.equal(encoder(x).maps.s2, encoder.stem(x).s2)
        assert not torch.equal(encoder(x).maps.s4, encoder.stem(x).s4)


def test_a_batch_equals_single_images(encoder: TinyImageEncoder) -> None:
    x = noise(2, 3, 128, 128)
    with torch.no_grad():
        both = encoder(x)
        for index in range(2):
            one = encoder(x[index : index + 1])
            pairs = zip((both.embedding, *both.maps), (one.embedding, *one.maps), strict=True)
            assert all((a[index : index + 1] - b).abs().max() <= 1e-4 for a, b in pairs)


def test_every_parameter_matters(encoder: TinyImageEncoder) -> None:
    """No branch is built and forgotten: each parameter has a gradient that is not zero."""
    encoder.zero_grad()
    out = encoder(noise(1, 3, 128, 128))
    sum((tensor * noise(*tensor.shape, seed=7)).sum() for tensor in (out.embedding, *out.maps)).backward()
    silent = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    encoder.zero_grad()
    assert silent == []
