"""The small layers against segment_anything's, every parameter random."""

import pytest
import torch
from torch import nn

from zim.compat.segment_anything import import_segment_anything
from zim.modeling.common import MLP, LayerNorm2d, MLPBlock, attend


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> float:
    """Largest difference after copying normal weights by name."""
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(noise(*parameter.shape))
        ours.load_state_dict(theirs.state_dict(), strict=True)
        return (ours(x) - theirs(x)).abs().max().item()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_over_channels(memory_format: torch.memory_format) -> None:
    x = noise(2, 24, 5, 7).to(memory_format=memory_format) * 3 + 1
    assert same(LayerNorm2d(24), import_segment_anything().modeling.common.LayerNorm2d(24), x) <= 1e-5


@pytest.mark.parametrize("act", [nn.GELU, nn.ReLU])
def test_mlp_block(act: type[nn.Module]) -> None:
    theirs = import_segment_anything().modeling.common.MLPBlock(12, 20, act)
    assert same(MLPBlock(12, 20, act), theirs, noise(2, 3, 12)) <= 1e-5


@pytest.mark.parametrize("layers", [1, 3])
def test_mlp(layers: int) -> None:
    theirs = import_segment_anything().modeling.mask_decoder.MLP(12, 16, 5, layers)
    assert same(MLP(12, 16, 5, layers), theirs, noise(4, 12)) <= 1e-4


@pytest.mark.parametrize("biased", [False, True])
def test_attention_under_autocast_is_float32_attention(biased: bool) -> None:
    """The formula in float64 as oracle; under autocast on a CPU only inputs and result are rounded to bfloat16."""
    query, key, value = (noise(3, 2, 4, n, 8)[i].bfloat16() for i, n in enumerate((5, 7, 7)))
    bias = noise(2, 1, 5, 7) if biased else None
    scores = query.double() @ key.double().mT / 8**0.5 + (0 if bias is None else bias.double())
    expected = torch.softmax(scores, dim=-1) @ value.double()
    floats = attend(query.float(), key.float(), value.float(), bias)
    torch.testing.assert_close(floats, expected.float(), rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(query, key, value, bias)
        outside = attend(query.float(), key.float(), value.float(), bias)
    assert found.dtype == torch.bfloat16 and outside.dtype == torch.float32
    torch.testing.assert_close(found, floats.bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(outside, floats, rtol=0, atol=0)
