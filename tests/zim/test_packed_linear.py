"""Packed linear layers: the same numbers as PyTorch's, and only where the layers are PyTorch's."""

import pytest
import torch
from torch import Tensor, nn

from zim.evaluation.bench.roofline import count_work
from zim.modeling import packed_linear
from zim.modeling.image_encoder import ViTConfig, build_vit_encoder
from zim.modeling.packed_linear import PackedLinears, linears_for_inference, plain_linears, without_packing

TINY = ViTConfig(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), img_size=128, window_size=3, out_chans=8)


def packing() -> PackedLinears:
    linears = linears_for_inference()
    if not isinstance(linears, PackedLinears):
        pytest.skip("this PyTorch has no packed linear layers")
    return linears


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 3, 24), (1, 24)])
@torch.no_grad()
def test_the_same_numbers(gelu: bool, bias: bool, shape: tuple[int, ...]) -> None:
    layer = nn.Linear(24, 17, bias=bias)
    x = torch.randn(shape)
    linears = packing()
    for given in (x, x.transpose(0, -2).contiguous().transpose(0, -2)):
        torch.testing.assert_close(
            linears(layer, given, gelu=gelu), plain_linears(layer, given, gelu=gelu), atol=2e-6, rtol=1e-5
        )


@torch.no_grad()
def test_layers_that_are_not_as_made_run_as_they_are() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    x = torch.randn(3, 8)
    doubled, listened, half = Doubled(8, 4), nn.Linear(8, 4), nn.Linear(8, 4).half()
    heard: list[Tensor] = []
    listened.register_forward_hook(lambda _module, _given, result: heard.append(result))
    linears = packing()
    assert torch.equal(linears(doubled, x), doubled(x))
    linears(listened, x)
    assert len(heard) == 1
    assert linears(half, x.half()).dtype == torch.float16


@torch.no_grad()
def test_the_encoder_answers_alike_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    packing()
    torch.manual_seed(0)
    encoder, images = build_vit_encoder(TINY).eval(), torch.randn(2, 3, 128, 128)
    used: list[bool] = []
    product = packed_linear._product
    monkeypatch.setattr(packed_linear, "_product", lambda *given: used.append(True) or product(*given))
    packed = encoder(images)
    assert used
    used.clear()
    with without_packing():
        plain = encoder(images)
    assert not used
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-4)


def test_weights_that_change_are_seen() -> None:
    """Nothing packed outlives a block: training between two answers counts."""
    encoder, images = build_vit_encoder(TINY).eval(), torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        before = encoder(images)
        for weights in encoder.parameters():
            weights.mul_(0.5)
        assert not torch.allclose(before, encoder(images))
    encoder(images).sum().backward()
    assert all(weights.grad is not None for weights in encoder.parameters())


@torch.no_grad()
def test_operations_are_counted_whoever_does_them() -> None:
    layer, x = nn.Linear(64, 32), torch.randn(16, 64)
    linears = linears_for_inference
    assert count_work(lambda: linears()(layer, x)).flops == 2 * 16 * 64 * 32
