"""The mask decoder against segment_anything's under SAM's pixel decoder, tokens, and batches of images."""

import copy

import pytest
import torch
from torch import Tensor, nn

from zim.compat.segment_anything import import_segment_anything
from zim.errors import ImageError
from zim.modeling.features import ImageFeatures
from zim.modeling.mask_decoder import MaskDecoder
from zim.modeling.pixel_decoder import HierarchicalPixelDecoder, SamUpscaling
from zim.modeling.two_way_transformer import TwoWayTransformer
from zim.modeling.zim import Zim

DIM, MLP_DIM, GRID = 64, 48, 6
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


def pair() -> tuple[MaskDecoder, nn.Module]:
    """Ours with SAM's pixel decoder, and SAM's own; all parameters normal, none zero."""
    modeling = import_segment_anything().modeling
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=8, mlp_dim=MLP_DIM)
    theirs = modeling.MaskDecoder(num_multimask_outputs=3, transformer=transformer, transformer_dim=DIM).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    ours = MaskDecoder(
        transformer=TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=8, mlp_dim=MLP_DIM),
        pixel_decoder=SamUpscaling(DIM),
        embed_dim=DIM,
    ).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def without_fine_strides(embedding: Tensor) -> ImageFeatures:
    side = 16 * embedding.shape[-1]
    return ImageFeatures(embedding, *(embedding.new_zeros(len(embedding), 0, side // n, side // n) for n in (2, 4, 8)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("multimask", [True, False])
def test_same_as_sam_with_sams_pixel_decoder(dtype: torch.dtype, multimask: bool) -> None:
    ours, theirs = (module.to(dtype) for module in pair())
    generator = torch.Generator().manual_seed(1)
    embedding, pe = (torch.randn(1, DIM, GRID, GRID, generator=generator).to(dtype) for _ in range(2))
    sparse = torch.randn(3, 4, DIM, generator=generator).to(dtype)
    dense = torch.randn(3, DIM, GRID, GRID, generator=generator).to(dtype)
    prompts = dict(
        image_pe=pe, sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=multimask
    )
    with torch.no_grad():
        expected = theirs(image_embeddings=embedding, **prompts)
        received = ours(image_embeddings=without_fine_strides(embedding), **prompts)
    assert received[0].shape == (3, 3 if multimask else 1, 4 * GRID, 4 * GRID)
    for mine, wanted in zip(received, expected, strict=True):
        assert wanted.std() > 0.1
        assert (mine - wanted).abs().max() <= TOLERANCE[dtype]


def test_names_are_sams_but_for_the_hierarchical_decoder() -> None:
    ours, theirs = pair()
    names = set(theirs.state_dict())
    assert set(ours.state_dict()) == names
    zim = MaskDecoder(
        transformer=TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=8, mlp_dim=MLP_DIM),
        pixel_decoder=HierarchicalPixelDecoder(DIM, (8, 8, 4)),
        embed_dim=DIM,
    )
    extras = {name for name in zim.state_dict() if name.startswith("pixel_decoder.")}
    lacking = {name for name in names if name.startswith("output_upscaling.")}
    assert extras and lacking
    assert set(zim.state_dict()) == (names | extras) - lacking


@pytest.fixture(scope="module")
def scene(tiny_zim: Zim) -> tuple[ImageFeatures, Tensor, Tensor, Tensor]:
    """Features of two images and six prompts, the first three meant for the first image."""
    generator = torch.Generator().manual_seed(2)
    boxes = torch.tensor(
        [[5, 5, 60, 60], [30, 40, 120, 90], [0, 0, 127, 127], [80, 8, 100, 30], [9, 70, 44, 120], [20, 20, 90, 90]]
    ).float()
    with torch.no_grad():
        features = tiny_zim.image_encoder(torch.randn(2, 3, 128, 128, generator=generator))
        return features, tiny_zim.prompt_encoder.get_dense_pe(), *tiny_zim.prompt_encoder(None, boxes, None)


def test_one_mask_is_token_0_and_three_are_tokens_1_to_3(tiny_zim: Zim, scene: tuple) -> None:
    features, pe, sparse, dense = scene
    decoder = tiny_zim.mask_decoder
    with torch.no_grad():
        logits, quality = decoder.predict_masks(features, pe, sparse, dense)
        three, one = (decoder(features, pe, sparse, dense, multimask_output=many) for many in (True, False))
    assert logits.shape == (6, 4, 64, 64) and quality.shape == (6, 4)
    assert torch.equal(torch.cat([one[0], three[0]], 1), logits)
    assert torch.equal(torch.cat([one[1], three[1]], 1), quality)


@pytest.mark.parametrize("token", [0, 1, 2, 3])
def test_each_mask_comes_of_its_own_token(tiny_zim: Zim, scene: tuple, token: int) -> None:
    """Hypernetwork i answers for mask i only, and so does row i of the quality head."""
    features, pe, sparse, dense = scene
    changed = copy.deepcopy(tiny_zim.mask_decoder)
    with torch.no_grad():
        changed.output_hypernetworks_mlps[token].layers[-1].bias.add_(1.0)
        changed.iou_prediction_head.layers[-1].bias[token] += 1.0
        before = tiny_zim.mask_decoder.predict_masks(features, pe, sparse, dense)
        after = changed.predict_masks(features, pe, sparse, dense)
    moved = (after[0] - before[0]).abs().amax((0, 2, 3)) > 1e-3
    assert moved.tolist() == [index == token for index in range(4)]
    expected = torch.zeros(6, 4)
    expected[:, token] = 1
    assert torch.allclose(after[1] - before[1], expected, atol=1e-5)


def test_several_images_with_several_prompts_equal_one_by_one(tiny_zim: Zim, scene: tuple) -> None:
    features, pe, sparse, dense = scene
    decoder = tiny_zim.mask_decoder
    with torch.no_grad():
        together = decoder(features, pe, sparse, dense, True)
        for prompt in range(6):
            one = slice(prompt, prompt + 1)
            alone = decoder(features.select(prompt // 3), pe, sparse[one], dense[one], True)
            other = decoder(features.select(1 - prompt // 3), pe, sparse[one], dense[one], True)
            assert (together[0][one] - alone[0]).abs().max() <= 1e-4
            assert (together[1][one] - alone[1]).abs().max() <= 1e-4
            assert (together[0][one] - other[0]).abs().max() > 1e-2, "both images give the same logits"


def test_one_image_per_prompt(tiny_zim: Zim, scene: tuple) -> None:
    features, pe, sparse, dense = scene
    decoder = tiny_zim.mask_decoder
    with torch.no_grad():
        together = decoder(features, pe, sparse[2:4], dense[2:4], False)[0]
        rows = [decoder(features.select(i), pe, sparse[2 + i : 3 + i], dense[2 + i : 3 + i], False)[0] for i in (0, 1)]
    assert (together - torch.cat(rows)).abs().max() <= 1e-4


def test_images_that_do_not_divide_the_prompts_are_refused(tiny_zim: Zim, scene: tuple) -> None:
    features, pe, sparse, dense = scene
    with pytest.raises(ImageError, match="image_embeddings: 2 images do not divide 3 prompts"):
        tiny_zim.mask_decoder(features, pe, sparse[:3], dense[:3], True)


def test_a_bare_embedding_is_refused_with_the_reason(tiny_zim: Zim, scene: tuple) -> None:
    features, pe, sparse, dense = scene
    with pytest.raises(ImageError, match="image_embeddings: expected ImageFeatures .* got Tensor; the fine strides"):
        tiny_zim.mask_decoder(features.embedding, pe, sparse, dense, True)


def test_bias_channel_is_not_taken_for_an_embedding(tiny_zim: Zim, scene: tuple) -> None:
    """The last channel steers attention only: without it the same prompts answer differently, and finitely."""
    features, pe, sparse, dense = scene
    with torch.no_grad():
        with_bias = tiny_zim.mask_decoder(features, pe, sparse, dense, True)[0]
        without = tiny_zim.mask_decoder(features, pe, sparse, dense[:, :-1], True)[0]
        open_bias = torch.cat([dense[:, :-1], torch.zeros(6, 1, 8, 8)], 1)
        opened = tiny_zim.mask_decoder(features, pe, sparse, open_bias, True)[0]
    assert torch.isfinite(with_bias).all()
    assert (without - opened).abs().max() <= 1e-4
    assert (with_bias - without).abs().max() > 1e-2
