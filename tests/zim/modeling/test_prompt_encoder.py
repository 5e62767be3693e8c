"""The prompt encoder against segment_anything's with its two additions off, and the additions by themselves."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.compat.segment_anything import import_segment_anything
from zim.errors import PromptError
from zim.modeling.prompt_attention import prompt_attention_bias
from zim.modeling.prompt_encoder import DensePromptMap, PromptEncoder

DIM, SIDE = 32, 128
GRID = SIDE // 16


def sam_encoder(side: int = SIDE) -> nn.Module:
    """SAM's own, every parameter drawn from a normal distribution."""
    theirs = import_segment_anything().modeling.PromptEncoder(
        embed_dim=DIM,
        image_embedding_size=(side // 16, side // 16),
        input_image_size=(side, side),
        mask_in_chans=16,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 1, generator=generator)
    return theirs.eval()


def encoder(seed: int = 0, **additions: Any) -> PromptEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PromptEncoder(embed_dim=DIM, img_size=SIDE, **additions).eval()


def pair() -> tuple[PromptEncoder, nn.Module]:
    theirs, ours = sam_encoder(), encoder()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


POINTS = (
    torch.tensor([[[3.0, 4.0], [100.5, 27.25], [64.0, 127.0]], [[0.0, 0.0], [127.0, 127.0], [5.0, 90.0]]]),
    torch.tensor([[1, 0, -1], [-1, 1, 1]]),
)
BOXES = torch.tensor([[10.0, 20.0, 90.5, 100.25], [0.0, 0.0, 127.0, 127.0]])
MASKS = torch.randn(2, 1, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(5))

PROMPTS: dict[str, tuple[Any, Any, Any]] = {
    "points": (POINTS, None, None),
    "float labels": ((POINTS[0], POINTS[1].float()), None, None),
    "points and box": (POINTS, BOXES, None),
    "box": (None, BOXES, None),
    "mask": (None, None, MASKS),
    "box and mask": (None, BOXES, MASKS),
    "everything": (POINTS, BOXES, MASKS),
    "only padding": ((POINTS[0], torch.full((2, 3), -1)), None, None),
    "nothing": (None, None, None),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_same_as_sam(kind: str) -> None:
    ours, theirs = pair()
    points, boxes, masks = PROMPTS[kind]
    with torch.no_grad():
        expected = theirs(points=points, boxes=boxes, masks=masks)
        received = ours(points=points, boxes=boxes, masks=masks)
    for mine, wanted in zip(received, expected, strict=True):
        assert mine.shape == wanted.shape
        assert not wanted.numel() or (mine - wanted).abs().max() <= 1e-4


def test_dense_positional_encoding_is_sams() -> None:
    for side in (SIDE, 1024):
        theirs = sam_encoder(side)
        ours = PromptEncoder(embed_dim=DIM, img_size=side)
        ours.load_state_dict(theirs.state_dict(), strict=True)
        expected = theirs.get_dense_pe()
        assert ours.get_dense_pe().shape == expected.shape == (1, DIM, side // 16, side // 16)
        # sine and cosine of angles up to some 20: float32 rounds the angles by 1e-6
        assert (ours.get_dense_pe() - expected).abs().max() <= 1e-5


def test_state_dict_is_sams_plus_the_prompt_map() -> None:
    names = set(sam_encoder().state_dict())
    assert set(encoder().state_dict()) == names
    assert set(encoder(attention_sigma=21.0).state_dict()) == names, "the bias has no parameters"
    extras = set(encoder(dense_prompt_map=True).state_dict()) - names
    assert extras and all(name.startswith("dense_prompt_map.embed.") for name in extras)


def test_attribute_names_that_sams_callers_read() -> None:
    ours, theirs = pair()
    for name in ("embed_dim", "input_image_size", "image_embedding_size", "mask_input_size"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_double_size_masks_are_averaged() -> None:
    ours, theirs = pair()
    large = torch.randn(2, 1, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(6))
    means = torch.from_numpy(large.numpy().reshape(2, 1, SIDE // 4, 2, SIDE // 4, 2).mean((3, 5)))
    with torch.no_grad():
        assert (ours(None, None, large)[1] - theirs(None, None, means)[1]).abs().max() <= 1e-4


@pytest.mark.parametrize("shape", [(2, 1, 31, 32), (2, 3, 32, 32), (2, 32, 32), (1, 1, 128, 128)])
def test_masks_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PromptError, match=r"masks: expected \(B, 1, 32, 32\) or \(B, 1, 64, 64\) logits, got"):
        encoder()(None, None, torch.zeros(shape))


@pytest.mark.parametrize("kind", sorted(set(PROMPTS) - {"mask", "nothing"}))
def test_attention_bias_rides_as_one_more_channel(kind: str) -> None:
    plain, biased = encoder(), encoder(attention_sigma=24.0)
    points, boxes, masks = PROMPTS[kind]
    with torch.no_grad():
        sparse, dense = plain(points, boxes, masks)
        same_sparse, longer = biased(points, boxes, masks)
    assert torch.equal(sparse, same_sparse) and torch.equal(longer[:, :DIM], dense)
    assert longer.shape == (2, DIM + 1, GRID, GRID)
    corners = None if boxes is None else boxes.view(2, 2, 2)
    labels = None if boxes is None else torch.tensor([[2, 3], [2, 3]])
    coords = torch.cat([part for part in (None if points is None else points[0], corners) if part is not None], 1)
    kinds = torch.cat([part for part in (None if points is None else points[1], labels) if part is not None], 1)
    # 24 cells of a 64 x 64 grid are 3 of the 8 x 8 grid here
    assert torch.equal(longer[:, DIM:], prompt_attention_bias(coords, kinds.long(), (GRID, GRID), 16.0, 3.0))


def test_point_reach_is_a_share_of_the_frame() -> None:
    """The bias at the same relative place does not depend on the input size."""
    biases = []
    for side in (128, 512):
        model = PromptEncoder(embed_dim=DIM, img_size=side, attention_sigma=21.0)
        point = torch.tensor([[[side / 16, side / 16]]])  # the centre of the first cell at 128
        biases.append(model((point, torch.tensor([[1]])), None, None)[1][0, DIM])
    coarse, fine = biases
    pooled = F.avg_pool2d(fine[None, None], 4)[0, 0]
    # the mean of a square over a cell is the square at its centre + (4^2 - 1) / 12 each way, in fine cells
    assert torch.allclose(coarse, pooled + 2 * (16 - 1) / 12 / (2 * (21.0 / 2) ** 2), atol=1e-4)


@pytest.mark.parametrize("prompt_map", [False, True])
def test_mask_alone_has_no_bias_and_no_tokens(prompt_map: bool) -> None:
    ours = encoder(attention_sigma=21.0, dense_prompt_map=prompt_map)
    sparse, dense = ours(None, None, MASKS)
    assert sparse.shape == (2, 0, DIM)
    assert torch.equal(dense[:, DIM], torch.zeros(2, GRID, GRID))
    plain = encoder()
    plain.load_state_dict(ours.state_dict(), strict=False)
    assert torch.equal(dense[:, :DIM], plain(None, None, MASKS)[1])


def test_rows_with_and_without_a_box_share_a_batch() -> None:
    """`embed` takes boxes as points; padded rows equal rows of their own."""
    ours = encoder(attention_sigma=21.0, dense_prompt_map=True)
    box, point = torch.tensor([[20.0, 30.0, 90.0, 60.0]]), torch.tensor([[[40.0, 40.0]]])
    coords = torch.stack([torch.cat([box.view(2, 2)]), torch.cat([point[0], torch.zeros(1, 2)])])
    with torch.no_grad():
        sparse, dense = ours.embed(coords, torch.tensor([[2, 3], [1, -1]]), None)
        boxed, pointed = ours(None, box, None), ours((point, torch.tensor([[1]])), None, None)
    for row, (own_sparse, own_dense) in enumerate((boxed, pointed)):
        assert torch.allclose(sparse[row : row + 1], own_sparse, atol=1e-6)
        assert torch.equal(torch.isneginf(dense[row : row + 1]), torch.isneginf(own_dense))
        assert torch.allclose(dense[row : row + 1].nan_to_num(neginf=-9), own_dense.nan_to_num(neginf=-9), atol=1e-5)


def rasterised(points: list[tuple[float, float, int]]) -> np.ndarray:
    """(7, 8, 8) channels of one row of (x, y, label)."""
    row = torch.tensor(points, dtype=torch.float64)
    return DensePromptMap(DIM).rasterise(row[None, :, :2], row[None, :, 2].long(), GRID, 16.0)[0].numpy()


def test_prompt_map_draws_the_share_of_each_cell_inside_the_box() -> None:
    x1, y1, x2, y2 = 8, 20, 90, 66
    canvas = np.zeros((SIDE, SIDE))
    canvas[y1:y2, x1:x2] = 1
    share = canvas.reshape(GRID, 16, GRID, 16).mean((1, 3))
    channels = rasterised([(x1, y1, 2), (x2, y2, 3)])
    np.testing.assert_allclose(channels[0], share, atol=1e-9)
    centre_x, centre_y = (np.arange(GRID) + 0.5) * 16, (np.arange(GRID) + 0.5) * 16
    relative_x = np.clip(2 * (centre_x - x1) / (x2 - x1) - 1, -1, 1)
    relative_y = np.clip(2 * (centre_y - y1) / (y2 - y1) - 1, -1, 1)
    np.testing.assert_allclose(channels[1], share * relative_x[None, :], atol=1e-9)
    np.testing.assert_allclose(channels[2], share * relative_y[:, None], atol=1e-9)
    assert not channels[3:].any()


def test_prompt_map_draws_points_by_sign() -> None:
    channels = rasterised([(40.0, 24.0, 1), (104.0, 88.0, 0), (56.0, 56.0, -1)])
    rows, columns = np.mgrid[:GRID, :GRID] + 0.5
    for channel, (x, y), sigma_64 in ((3, (40, 24), 2), (4, (104, 88), 2), (5, (40, 24), 8), (6, (104, 88), 8)):
        sigma = sigma_64 * GRID / 64
        squared = (columns - x / 16) ** 2 + (rows - y / 16) ** 2
        np.testing.assert_allclose(channels[channel], np.exp(-squared / (2 * sigma**2)), atol=1e-9)
    assert not channels[:3].any()


def test_prompt_map_of_a_flat_box_is_finite() -> None:
    channels = rasterised([(40.0, 40.0, 2), (40.0, 40.0, 3)])
    assert np.isfinite(channels).all() and channels[0].sum() == pytest.approx(1 / 256)  # one pixel


def test_prompt_map_adds_to_the_dense_embedding() -> None:
    ours = encoder(dense_prompt_map=True)
    plain = encoder()
    plain.load_state_dict(ours.state_dict(), strict=False)
    assert ours.dense_prompt_map is not None
    coords = torch.cat([POINTS[0], BOXES.view(2, 2, 2)], 1)
    labels = torch.cat([POINTS[1], torch.tensor([[2, 3], [2, 3]])], 1)
    with torch.no_grad():
        added = ours.dense_prompt_map(coords, labels, GRID, 16.0)
        difference = ours(POINTS, BOXES, MASKS)[1] - plain(POINTS, BOXES, MASKS)[1]
    assert torch.allclose(difference, added, atol=1e-5) and added.abs().max() > 0.01


@pytest.mark.parametrize("prompt_map", [False, True])
def test_one_mask_serves_several_boxes(prompt_map: bool) -> None:
    """SAM adds one mask to every row by broadcasting; a row each must give the same."""
    ours = encoder(attention_sigma=21.0, dense_prompt_map=prompt_map)
    with torch.no_grad():
        dense = ours(None, BOXES, MASKS[:1])[1]
        repeated = ours(None, BOXES, MASKS[:1].expand(2, -1, -1, -1))[1]
    assert torch.allclose(dense.nan_to_num(neginf=-9), repeated.nan_to_num(neginf=-9), atol=1e-5)


def test_half_precision_keeps_the_place_of_a_prompt() -> None:
    """bfloat16 counts in steps of 4 between 512 and 1024: coordinates must not be rounded to it."""
    full = PromptEncoder(embed_dim=DIM, img_size=1024, attention_sigma=21.0)
    half = copy.deepcopy(full).bfloat16()
    boxes = torch.tensor([[3.0, 3.0, 1007.0, 1007.0], [513.0, 527.0, 703.0, 767.0]])
    closed: list[Tensor] = [torch.isneginf(model(None, boxes, None)[1][:, DIM]) for model in (full, half)]
    assert torch.equal(*closed)
    assert closed[0][0].sum() == 64**2 - 63**2
