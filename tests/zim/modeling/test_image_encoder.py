"""The ViT encoder against SAM's own, every parameter random and non-zero, and against explicit formulas."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from zim.compat.segment_anything import import_segment_anything
from zim.errors import ConfigError, ImageError
from zim.modeling.image_encoder import (
    VIT_B,
    VIT_H,
    VIT_L,
    ImageEncoderViT,
    ViTConfig,
    build_vit_encoder,
    window_partition,
    window_unpartition,
)

# Grid 4 x 4 with windows of 3: every windowed block pads.
SMALL = ViTConfig(
    embed_dim=32, depth=4, num_heads=2, global_attn_indexes=(1, 3), img_size=64, window_size=3, out_chans=16
)


def sam_encoder(config: ViTConfig) -> nn.Module:
    library = import_segment_anything()
    return library.modeling.ImageEncoderViT(
        img_size=config.img_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        out_chans=config.out_chans,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=config.window_size,
        global_attn_indexes=config.global_attn_indexes,
    )


def randomise(module: nn.Module, seed: int, std: float = 0.5) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, std, generator=generator)


def pair(config: ViTConfig, std: float = 0.5) -> tuple[ImageEncoderViT, nn.Module]:
    theirs = sam_encoder(config).eval()
    randomise(theirs, seed=1, std=std)
    ours = build_vit_encoder(config).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def images(config: ViTConfig, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, config.img_size, config.img_size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        ViTConfig(
            embed_dim=24,
            depth=2,
            num_heads=3,
            global_attn_indexes=(),
            img_size=96,
            window_size=2,
            out_chans=8,
        ),
        ViTConfig(embed_dim=16, depth=2, num_heads=1, global_attn_indexes=(0, 1), img_size=80, out_chans=8),
        ViTConfig(embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(), img_size=32, out_chans=8),
    ],
    ids=["mixed-padded", "windows-exact", "global-only", "window-beyond-grid"],
)
def test_equals_sam(config: ViTConfig) -> None:
    ours, theirs = pair(config)
    x = images(config)
    with torch.inference_mode():
        expected, received = theirs(x), ours(x)
    assert expected.std() > 0.1
    assert (expected - received).abs().max() <= 1e-4
    assert (expected - ours(x)).abs().max() <= 1e-4  # with gradients, another way of working


def test_parity_would_notice_wrong_relative_positions() -> None:
    ours, theirs = pair(SMALL)
    with torch.no_grad():
        for block in ours.blocks:
            block.attn.rel_pos_h.data = block.attn.rel_pos_h.flip(0)
        assert (theirs(images(SMALL)) - ours(images(SMALL))).abs().max() > 1e-2


@pytest.mark.parametrize(("name", "config"), [("vit_b", VIT_B), ("vit_l", VIT_L), ("vit_h", VIT_H)])
def test_presets_have_sams_names_and_shapes(name: str, config: ViTConfig) -> None:
    library = import_segment_anything()
    with torch.device("meta"):
        theirs = library.sam_model_registry[name]().image_encoder.state_dict()
        ours = build_vit_encoder(config).state_dict()
    assert {key: tuple(value.shape) for key, value in ours.items()} == {
        key: tuple(value.shape) for key, value in theirs.items()
    }


def test_windows_are_slices_of_the_padded_grid() -> None:
    x = torch.arange(1, 2 * 4 * 5 * 2 + 1.0).reshape(2, 4, 5, 2)
    windows = window_partition(x, 3)
    assert windows.shape == (8, 3, 3, 2)
    assert torch.equal(windows[0], x[0, :3, :3])
    assert torch.equal(windows[5, :, :2], x[1, :3, 3:5])
    assert not windows[5, :, 2].any()
    assert torch.equal(windows[6, :1], x[1, 3:, :3])
    assert torch.equal(window_unpartition(windows, (4, 5)), x)
    filled = window_partition(x, 3, torch.tensor([-1.0, -2.0]))
    assert torch.equal(window_unpartition(filled, (4, 5)), x)
    assert torch.equal(filled[windows == 0].view(-1, 2), torch.tensor([[-1.0, -2.0]]).expand(2 * 16, 2))


def test_every_parameter_receives_a_gradient() -> None:
    encoder = build_vit_encoder(SMALL)
    randomise(encoder, seed=2, std=0.1)
    encoder(images(SMALL)).square().mean().backward()
    silent = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_fresh_encoder_has_positions_but_no_relative_positions() -> None:
    encoder = build_vit_encoder(SMALL)
    assert 0.01 < encoder.pos_embed.std() < 0.03
    assert not any(block.attn.rel_pos_h.any() or block.attn.rel_pos_w.any() for block in encoder.blocks)


def test_bfloat16_autocast_stays_close() -> None:
    ours, _ = pair(SMALL, std=0.1)
    with torch.inference_mode():
        expected = ours(images(SMALL))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            received = ours(images(SMALL))
    assert (expected - received.float()).abs().max() < 0.1 * expected.abs().max()


def test_batch_entries_do_not_mix() -> None:
    ours, _ = pair(SMALL)
    x = images(SMALL)
    with torch.inference_mode():
        together = ours(x)
        alone = torch.cat([ours(x[:1]), ours(x[1:])])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (3, 64, 64), (1, 4, 64, 64)])
def test_other_input_shapes_are_refused(shape: tuple[int, ...]) -> None:
    encoder = build_vit_encoder(SMALL)
    with pytest.raises(
        ImageError, match=r"x: expected .*3, 64, 64\), received \(" + ", ".join(map(str, shape))
    ):
        encoder(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_heads": 5}, "embed_dim: expected a multiple of num_heads=5, received 32"),
        ({"img_size": 70}, "img_size: expected a multiple of patch_size=16, received 70"),
        ({"global_attn_indexes": (1, 4)}, r"global_attn_indexes: .* below 4, received \[4\]"),
        ({"depth": 0}, "depth: expected a positive integer, received 0"),
    ],
)
def test_impossible_configs_are_refused(changed: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "embed_dim": 32,
        "depth": 4,
        "num_heads": 2,
        "global_attn_indexes": (),
    } | changed
    with pytest.raises(ConfigError, match=message):
        ViTConfig(**values)  # type: ignore[arg-type]
