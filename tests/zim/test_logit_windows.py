"""Parts of an answer in the original frame, resized by themselves: the same values, and nothing left out."""

import numpy as np
import pytest
import torch

from zim.logit_windows import Frames, Promising
from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import Zim, build_zim
from zim.packed_alpha import pack_logits
from zim.region_cleanup import box_of
from zim.transforms import ResizeLongestSide

SIZES = [(50, 70), (128, 96), (300, 211), (1, 40), (999, 1001), (64, 64), (40, 700)]


@pytest.fixture(scope="module")
def model() -> Zim:
    return build_zim(ZIM_TEST).eval()


def answers(model: Zim, hw: tuple[int, int], native: torch.Tensor) -> tuple[Promising, torch.Tensor]:
    """As the decoder hands them over, and the whole frames beside them."""
    side = model.image_encoder.img_size
    input_hw = ResizeLongestSide.get_preprocess_shape(*hw, side)
    count = len(native)
    places = torch.tensor([[index, 0] for index in range(count)])
    whole = model.postprocess_masks(native[:, None], input_hw, hw)[:, 0]
    return Promising(places, torch.ones(count, 1), native, Frames(side, input_hw, hw)), whole


def blobs(cells: int, seed: int, *, level: float) -> torch.Tensor:
    """(6, cells, cells) logits: bumps of several sizes, some at the border; single cells too."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:cells, :cells]
    maps = [
        6 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2)) - level
        for cy, cx, width in zip(*rng.uniform(0, cells, (2, 6)), (0.4, 1.0, 2.0, 4.0, 8.0, 30.0), strict=True)
    ]
    return torch.from_numpy(np.stack(maps)).float()


@pytest.mark.parametrize("hw", SIZES, ids=[f"{h}x{w}" for h, w in SIZES])
@pytest.mark.parametrize("cells", [32, 64, 128])
def test_a_window_holds_what_the_whole_frame_holds_there(model: Zim, hw: tuple[int, int], cells: int) -> None:
    for level in (3.0, 8.0):
        promising, whole = answers(model, hw, blobs(cells, sum(hw) + cells, level=level))
        for index, full in enumerate(whole):
            least = -1.5
            found = promising.window(index, least)
            height, width = found.logits.shape
            here = full[found.y : found.y + height, found.x : found.x + width]
            if float(full.max()) > least:
                assert torch.allclose(found.logits, here, atol=1e-5)
            outside = full.clone()
            outside[found.y : found.y + height, found.x : found.x + width] = least
            assert float(outside.max()) <= least


@pytest.mark.parametrize("hw", SIZES, ids=[f"{h}x{w}" for h, w in SIZES])
def test_soft_edges_are_kept_as_from_the_whole_frame(model: Zim, hw: tuple[int, int]) -> None:
    promising, whole = answers(model, hw, blobs(64, 3, level=3.0))
    compared = 0
    for index, full in enumerate(whole):
        box = box_of((full > 0).numpy())
        if box is None:
            continue
        found = promising.window(index, -1.0)
        x1, y1, x2, y2 = box
        inside = (x1 - found.x, y1 - found.y, x2 - found.x, y2 - found.y)
        expected, ours = pack_logits(full.numpy(), box, (0, 0)), pack_logits(found.logits.numpy(), inside, found[:2])
        assert ours.xywh == expected.xywh
        difference = np.abs(ours.unpack().astype(int) - expected.unpack().astype(int))
        assert difference.max(initial=0) <= 1
        compared += 1
    assert compared


def test_where_nothing_is_above_one_pixel_is_left(model: Zim) -> None:
    promising, _ = answers(model, (50, 70), torch.full((1, 64, 64), -9.0))
    found = promising.window(0, -1.0)
    assert found.logits.shape == (1, 1) and float(found.logits) == -9.0
    assert promising.window(0, -10.0).logits.shape == (50, 70)


def test_answers_of_the_original_frame_are_cut_only() -> None:
    logits = torch.full((1, 200, 300), -5.0)
    logits[0, 100:110, 120:150] = 4.0
    found = Promising(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 1), logits).window(0, 0.0)
    assert (found.x, found.y, *found.logits.shape) == (120 - 16, 100 - 16, 10 + 32, 30 + 32)
    assert found.logits.sum() == logits[0, 84:126, 104:166].sum()
