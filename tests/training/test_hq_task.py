"""The head's task: what is trained and what not, targets, and steps on crops against whole frames."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data.batches import Batch
from training.hq_crops import CELLS, MARGIN, RepeatedSource, answer_crops
from training.hq_task import HqConfig, HqLossConfig, HqTask, outline_band
from training.tasks import Task
from zim.modeling.config import ZIM_TEST, ZimConfig
from zim.modeling.hq_head import HqHeadConfig
from zim.modeling.zim import build_zim

MakeBatch = Callable[..., Batch]
SIDE = 384  # 24 cells: crops are smaller than the frame


def hq_task(config: ZimConfig = ZIM_TEST, *, side: int = 64, crops: bool = False, soft: bool = True) -> HqTask:
    """A task on a random base, its head with something to say."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hq = HqConfig(head=HqHeadConfig.for_base(config), base="test", base_sha256="0")
        task = HqTask(build_zim(config), hq, HqLossConfig(soft=soft), crops=crops)
        with torch.no_grad():
            for parameter in task.model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    task.set_image_size(side)
    return task


def sam_like() -> ZimConfig:
    return ZimConfig.from_dict({**ZIM_TEST.to_dict(), "prompt_attention": "none", "pixel_decoder": "sam"})


@pytest.mark.parametrize("config", [ZIM_TEST, sam_like()], ids=["zim", "sam"])
@pytest.mark.parametrize("crops", [False, True])
def test_only_the_head_learns(make_batch: MakeBatch, config: ZimConfig, crops: bool) -> None:
    task = hq_task(config, crops=crops)
    assert isinstance(task, Task)
    batch = make_batch(0, mask_source="correction")
    before = {name: value.clone() for name, value in task.whole.state_dict().items()}
    optimizer = torch.optim.SGD(task.model.parameters(), lr=1.0)
    loss, figures = task.loss(batch, 0.5)
    loss.backward()
    optimizer.step()
    assert {"loss", "mae", "sum", "alone"} <= set(figures) and torch.isfinite(loss)
    changed = {name for name, value in task.whole.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(".head." in name for name in changed)
    assert any("hf_mlp" in name for name in changed) and any("compress_vit_feat" in name for name in changed)
    assert any("hf_token" in name for name in changed) is not crops  # on crops the token stays


def test_exported_names_are_the_published_ones() -> None:
    names = set(hq_task().model.state_dict())
    assert {"mask_decoder.hf_token.weight", "mask_decoder.hf_mlp.layers.0.weight"} <= names
    assert all(name.startswith("mask_decoder.") for name in names)


def test_the_token_begins_as_the_one_for_a_single_mask() -> None:
    base = build_zim(ZIM_TEST)
    task = HqTask(base, HqConfig(head=HqHeadConfig.for_base(ZIM_TEST), base="test", base_sha256="0"))
    assert torch.equal(task.whole.head.hf_token.weight, base.mask_decoder.mask_tokens.weight[:1])


@pytest.mark.parametrize("config", [ZIM_TEST, sam_like()], ids=["zim", "sam"])
def test_a_crop_answers_what_the_whole_frame_answers_there(make_batch: MakeBatch, config: ZimConfig) -> None:
    """Away from the crop's margin the maps are the whole frame's; the whole frame is the oracle."""
    task = hq_task(config, side=SIDE, crops=True)
    batch = make_batch(3, side=SIDE)
    kept = task._keep(batch)
    whole = hq_task(config, side=SIDE)
    with torch.no_grad():
        logits, _ = whole.answer(batch)
        both = torch.cat([logits[:, :1] + logits[:, 4:], logits[:, 4:]], dim=1)
        both = torch.nn.functional.interpolate(both, (SIDE // 2, SIDE // 2), mode="bilinear", align_corners=False)
        target, _ = whole._wanted(batch)
        seen = 0
        for seed in range(4):
            crop = answer_crops(task.whole.head, kept, np.random.default_rng(seed))
            assert crop.logits.shape[-1] == CELLS * 8
            inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
            for row in range(len(both)):
                top, left = _place(target[row, 0], crop.target[row, 0])
                side = CELLS * 8
                expected = both[row, :, top : top + side, left : left + side]
                torch.testing.assert_close(
                    crop.logits[row][:, *inner], expected[:, *inner], rtol=0, atol=1e-4 * float(expected.abs().max())
                )
                counted = torch.nonzero(crop.weight[row, 0])
                assert counted.min() >= MARGIN and counted.max() < side - MARGIN
                seen += 1
    assert seen == 4 * len(both)


def _place(frame: Tensor, crop: Tensor) -> tuple[int, int]:
    """Where on the cell grid a crop of a frame was cut."""
    side = crop.shape[-1]
    for top in range(0, frame.shape[0] - side + 1, 8):
        for left in range(0, frame.shape[1] - side + 1, 8):
            piece = frame[top : top + side, left : left + side]
            if torch.equal(piece, crop) and piece.min() != piece.max():
                return top, left
    raise AssertionError("the crop is not of this frame")


def test_steps_of_one_batch_share_what_the_base_made_of_it(make_batch: MakeBatch) -> None:
    task = hq_task(side=SIDE, crops=True)
    batch, other = make_batch(0, side=SIDE), make_batch(1, side=SIDE)
    first = task._keep(batch)
    assert task._keep(batch) is first
    assert task._keep(other) is not first
    one, again = (task.loss(batch, 0.25)[0] for _ in range(2))
    torch.testing.assert_close(one, again)  # a step's crops follow from its number
    assert not torch.allclose(one, task.loss(batch, 0.26)[0])


def test_repeated_source_makes_every_batch_once() -> None:
    asked: list[int] = []

    class Source:
        def __getitem__(self, step: int) -> object:
            asked.append(step)
            return object()

    source = RepeatedSource(Source(), 3)
    made = [source[step] for step in range(7)]
    assert asked == [0, 1, 2]
    assert made[0] is made[1] is made[2] and made[2] is not made[3] and made[3] is made[5]


def test_band_is_as_wide_as_the_boundary_iou_it_is_for() -> None:
    target = torch.zeros(1, 1, 200, 200)
    target[..., 100:] = 1
    band = outline_band(target)[0, 0, 50]
    reach = round(0.005 * 200 * 2**0.5)
    assert torch.nonzero(band)[:, 0].tolist() == list(range(100 - reach, 100 + reach))
    assert outline_band(torch.full((1, 1, 20, 20), 0.5)).sum() == 0


def test_loss_is_lowest_for_the_truth(make_batch: MakeBatch) -> None:
    """Of logits that say the target, its inverse and nothing."""
    task = hq_task(soft=False)
    target, weight = task._wanted(make_batch(0))
    assert set(torch.unique(target).tolist()) == {0.0, 1.0}
    answers = (target, 0 * target + 0.5, 1 - target)
    said = [task._parts(20 * (2 * answer - 1), target, weight).mean() for answer in answers]
    assert said[0] < 0.01 < said[1] < said[2]
    soft, _ = hq_task(soft=True)._wanted(make_batch(0))
    assert ((soft > 0.1) & (soft < 0.9)).any()
