"""The transformer against segment_anything's with masking off, and what the mask does when it is on."""

import math

import pytest
import torch
from torch import Tensor, nn

from zim.compat.segment_anything import import_segment_anything
from zim.modeling.prompt_attention import prompt_attention_bias
from zim.modeling.two_way_transformer import Attention, TwoWayTransformer

DIM, HEADS, MLP_DIM, GRID = 64, 8, 96, (8, 8)
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


def sam_transformer() -> nn.Module:
    """SAM's own, every parameter drawn from a normal distribution (its layer norms and biases too)."""
    modeling = import_segment_anything().modeling
    theirs = modeling.TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=HEADS, mlp_dim=MLP_DIM)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return theirs.eval()


def pair(multiplicative: bool = False) -> tuple[TwoWayTransformer, nn.Module]:
    theirs = sam_transformer()
    ours = TwoWayTransformer(
        depth=2, embedding_dim=DIM, num_heads=HEADS, mlp_dim=MLP_DIM, multiplicative_bias=multiplicative
    )
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs


def scene(batch: int = 2, tokens: int = 7, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(batch, DIM, *GRID, generator=generator)
    pe = torch.randn(batch, DIM, *GRID, generator=generator)
    return image.to(dtype), pe.to(dtype), torch.randn(batch, tokens, DIM, generator=generator).to(dtype)


def box_bias(batch: int = 2) -> Tensor:
    """(batch, 1, 8, 8): a lone box over rows 2..4 and columns 1..5."""
    corners = torch.tensor([[[16.0, 32.0], [95.0, 79.0]]]).expand(batch, -1, -1)
    return prompt_attention_bias(corners, torch.tensor([[2, 3]]).expand(batch, -1), GRID, 16.0, 3.0)


def test_state_dict_names_and_shapes_are_sams() -> None:
    ours, theirs = pair()
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", ["absent", "zero"])
def test_same_as_sam_without_a_mask(dtype: torch.dtype, bias: str) -> None:
    ours, theirs = (module.to(dtype) for module in pair())
    image, pe, tokens = scene(dtype=dtype)
    attention_bias = torch.zeros(2, 1, *GRID, dtype=dtype) if bias == "zero" else None
    with torch.no_grad():
        expected = theirs(image, pe, tokens)
        received = ours(image, pe, tokens, attention_bias)
    for mine, wanted in zip(received, expected, strict=True):
        assert wanted.std() > 0.1
        assert (mine - wanted).abs().max() <= TOLERANCE[dtype]


def test_a_mask_of_ones_multiplies_nothing() -> None:
    ours, theirs = pair(multiplicative=True)
    image, pe, tokens = scene()
    with torch.no_grad():
        expected, received = theirs(image, pe, tokens), ours(image, pe, tokens, torch.zeros(2, 1, *GRID))
    assert max((a - b).abs().max() for a, b in zip(received, expected, strict=True)) <= 1e-4


def explicit_attention(layer: Attention, q: Tensor, k: Tensor, v: Tensor, *, add: Tensor, times: Tensor) -> Tensor:
    """softmax((q k / sqrt(d)) * times + add) v, head by head."""
    q, k, v = layer.q_proj(q), layer.k_proj(k), layer.v_proj(v)
    width = q.shape[-1] // HEADS
    outputs = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = torch.einsum("bqc,bkc->bqk", q[..., part], k[..., part]) / math.sqrt(width)
        scores = scores * times[:, None] + add[:, None]
        exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
        outputs.append(torch.einsum("bqk,bkc->bqc", exponentials / exponentials.sum(-1, keepdim=True), v[..., part]))
    return layer.out_proj(torch.cat(outputs, dim=-1))


@pytest.mark.parametrize("multiplicative", [False, True])
def test_both_forms_of_the_mask_against_explicit_softmax(multiplicative: bool) -> None:
    layer = Attention(DIM, HEADS, downsample_rate=2)
    image, _, tokens = scene()
    keys = image.flatten(2).transpose(1, 2)
    mask = torch.rand(2, keys.shape[1], generator=torch.Generator().manual_seed(2))
    mask[:, ::3] = 0  # closed: log-mask -inf
    ones, zeros = torch.ones_like(mask), torch.zeros_like(mask)
    with torch.no_grad():
        received = layer(tokens, keys, keys, mask.log()[:, None, None], multiplicative)
        expected = explicit_attention(
            layer,
            tokens,
            keys,
            keys,
            add=zeros if multiplicative else mask.log(),
            times=mask if multiplicative else ones,
        )
        unmasked = explicit_attention(layer, tokens, keys, keys, add=zeros, times=ones)
    assert (received - expected).abs().max() <= 1e-5
    assert (received - unmasked).abs().max() > 1e-3


def outside_changed(image: Tensor, bias: Tensor) -> Tensor:
    """The image with every cell outside the box replaced."""
    other = 3 * torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    return torch.where(torch.isneginf(bias), other, image)


def test_tokens_cannot_see_outside_a_lone_box() -> None:
    """Not only the first look: cells inside the box learn of the tokens only, so no layer lets the outside in."""
    ours, _ = pair()
    image, pe, tokens = scene()
    bias = box_bias()
    seen: list[Tensor] = []
    for layer in (*ours.layers, ours):
        attention = getattr(layer, "cross_attn_token_to_image", None) or layer.final_attn_token_to_image
        attention.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        hidden, cells = ours(image, pe, tokens, bias)
        other_hidden, other_cells = ours(outside_changed(image, bias), pe, tokens, bias)
        free_hidden, _ = ours(outside_changed(image, bias), pe, tokens)
    first, second = seen[:3], seen[3:6]
    assert all((a - b).abs().max() <= 1e-5 for a, b in zip(first, second, strict=True))
    assert (hidden - other_hidden).abs().max() <= 1e-4
    inside = ~torch.isneginf(bias).flatten(2)[:, 0]
    assert (cells - other_cells)[inside].abs().max() <= 1e-4
    assert (cells - other_cells)[~inside].abs().max() > 0.1
    assert (hidden - free_hidden).abs().max() > 0.05, "the test would not notice a mask that does nothing"


def test_tokens_do_see_inside_the_box() -> None:
    ours, _ = pair()
    image, pe, tokens = scene()
    bias = box_bias()
    other = torch.where(torch.isneginf(bias), image, -image)
    with torch.no_grad():
        assert (ours(image, pe, tokens, bias)[0] - ours(other, pe, tokens, bias)[0]).abs().max() > 0.05


@pytest.mark.parametrize("multiplicative", [False, True])
def test_image_to_token_attention_knows_no_mask(multiplicative: bool) -> None:
    """With the block's own updated tokens, the image side is SAM's formula under SAM's own attention class."""
    ours, theirs = pair(multiplicative)
    image, pe, tokens = scene()
    keys, key_pe = image.flatten(2).transpose(1, 2), pe.flatten(2).transpose(1, 2)
    bias = box_bias().flatten(2)[:, :, None]
    for block, sam_block in zip(ours.layers, theirs.layers, strict=True):
        with torch.no_grad():
            queries, updated = block(tokens, keys, tokens, key_pe, bias, multiplicative)
            looked = sam_block.cross_attn_image_to_token(q=keys + key_pe, k=queries + tokens, v=queries)
            expected = sam_block.norm4(keys + looked)
        assert (updated - expected).abs().max() <= 1e-5


def blocks_with_both_directions_masked(
    multiplicative: bool,
) -> tuple[list[tuple[nn.Module, Tensor, Tensor, Tensor]], Tensor, Tensor]:
    """For each block: itself, its tokens with their encoding, its updated cells, and SAM's cells for these tokens."""
    ours, theirs = pair(multiplicative)
    image, pe, tokens = scene()
    keys, key_pe = image.flatten(2).transpose(1, 2), pe.flatten(2).transpose(1, 2)
    bias = box_bias().flatten(2)[:, :, None]
    found = []
    for block, sam_block in zip(ours.layers, theirs.layers, strict=True):
        with torch.no_grad():
            queries, updated = block(tokens, keys, tokens, key_pe, bias, multiplicative, True)
            looked = sam_block.cross_attn_image_to_token(q=keys + key_pe, k=queries + tokens, v=queries)
            found.append((sam_block, queries, updated, sam_block.norm4(keys + looked)))
    return found, keys, ~torch.isneginf(bias)[:, 0, 0]


@pytest.mark.parametrize("multiplicative", [False, True])
def test_cells_inside_a_box_look_at_the_tokens_as_ever_when_both_directions_are_masked(multiplicative: bool) -> None:
    found, _, inside = blocks_with_both_directions_masked(multiplicative)
    for _, _, updated, expected in found:
        assert (updated - expected)[inside].abs().max() <= 1e-5
        assert (updated - expected)[~inside].abs().max() > 0.05


def test_cells_outside_a_box_take_nothing_over_from_the_tokens() -> None:
    """The additive form: their update is their own normalisation."""
    found, keys, inside = blocks_with_both_directions_masked(multiplicative=False)
    for sam_block, _, updated, _ in found:
        with torch.no_grad():
            assert (updated - sam_block.norm4(keys))[~inside].abs().max() <= 1e-6


def test_cells_outside_a_box_take_over_the_mean_of_the_tokens_in_the_multiplicative_form() -> None:
    """Scores of zero weigh all tokens the same."""
    found, keys, inside = blocks_with_both_directions_masked(multiplicative=True)
    for sam_block, queries, updated, _ in found:
        with torch.no_grad():
            attention = sam_block.cross_attn_image_to_token
            mean = attention.out_proj(attention.v_proj(queries).mean(1, keepdim=True))
            assert (updated - sam_block.norm4(keys + mean))[~inside].abs().max() <= 1e-5


def test_masking_both_directions_needs_no_other_weights_and_a_mask() -> None:
    ours, theirs = pair()
    both = TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=HEADS, mlp_dim=MLP_DIM, mask_image_to_token=True)
    both.load_state_dict(theirs.state_dict(), strict=True)
    image, pe, tokens = scene()
    with torch.no_grad():
        for bias in (None, torch.zeros(2, 1, *GRID)):
            for mine, wanted in zip(both(image, pe, tokens, bias), ours(image, pe, tokens, bias), strict=True):
                assert (mine - wanted).abs().max() <= 1e-5
        assert (both(image, pe, tokens, box_bias())[1] - ours(image, pe, tokens, box_bias())[1]).abs().max() > 0.05


def test_rows_with_and_without_a_mask_share_a_batch() -> None:
    ours, theirs = pair()
    image, pe, tokens = scene()
    bias = box_bias()
    bias[1] = 0
    with torch.no_grad():
        together = ours(image, pe, tokens, bias)[0]
        masked = ours(image[:1], pe[:1], tokens[:1], bias[:1])[0]
        free = theirs(image[1:], pe[1:], tokens[1:])[0]
    assert (together[:1] - masked).abs().max() <= 1e-4
    assert (together[1:] - free).abs().max() <= 1e-4
