"""The two tasks: SAM's decoder as oracle, what mask inputs reach the decoder, what never reaches the loss."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from training.data.batches import Batch
from training.tasks import LABEL_LOGIT, Task, ZimTask, decode_sam_batch, resized, resized_inside
from zim.errors import ConfigError
from zim.modeling.config import ZIM_TEST

MakeBatch = Callable[..., Batch]
MakeTask = Callable[..., Task]


def test_batched_sam_decoder_equals_segment_anything(make_task: MakeTask, make_batch: MakeBatch) -> None:
    model: Any = make_task("sam").model.eval()
    batch = make_batch(1, images=3, prompts=2)
    with torch.no_grad():
        features = model.image_encoder(batch.image)
        sparse, dense = model.prompt_encoder.embed(batch.coords, batch.labels, None)
        pe = model.prompt_encoder.get_dense_pe()
        logits, quality = decode_sam_batch(model.mask_decoder, features, pe, sparse, dense)
        for image in range(3):
            rows = slice(2 * image, 2 * image + 2)
            expected, judged = model.mask_decoder.predict_masks(
                features[image : image + 1], pe, sparse[rows], dense[rows]
            )
            torch.testing.assert_close(logits[rows], expected, rtol=0, atol=1e-5)
            torch.testing.assert_close(quality[rows], judged, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["zim", "sam"])
def test_rows_of_a_batch_are_answered_by_their_own_image(
    make_task: MakeTask, make_batch: MakeBatch, name: str
) -> None:
    task: Any = make_task(name)
    task.model.eval()
    batch = make_batch(2, images=2, prompts=2)
    alone = dataclasses.replace(batch, image=batch.image[1:], coords=batch.coords[2:], labels=batch.labels[2:])
    with torch.no_grad():
        torch.testing.assert_close(task.answer(batch)[0][2:], task.answer(alone)[0], rtol=0, atol=1e-4)


class Recorder:
    """Stands in for `decode` and keeps what it was called with."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = []

    def __call__(
        self, features: Any, coords: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls.append((coords, labels, masks))
        fill = torch.tensor([100.0, 1, 2, 3]).view(4, 1, 1)
        return fill.expand(len(coords), 4, self.side, self.side), torch.zeros(len(coords), 4)


@pytest.mark.parametrize("mask_source", ["none", "first_pass", "correction", "label", "label_only"])
def test_mask_inputs_are_what_the_batch_asks_for(
    make_task: MakeTask, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch, mask_source: str
) -> None:
    task: Any = make_task("zim")
    recorder = Recorder(side=32)
    monkeypatch.setattr(task, "decode", recorder)
    batch = make_batch(3, mask_source=mask_source)
    task.answer(batch)
    coords, labels, masks = recorder.calls[-1]
    assert len(recorder.calls) == (2 if mask_source in ("first_pass", "correction") else 1)
    if mask_source == "none":
        assert masks is None
    elif mask_source in ("first_pass", "correction"):
        assert recorder.calls[0][2] is None and masks is not None
        assert masks.shape == (4, 1, 16, 16) and bool((masks == 32).all())  # token 0, held within +-32
    else:
        share = batch.coarse.view(4, 16, 4, 16, 4).float().mean((2, 4)) / 255
        torch.testing.assert_close(masks, ((2 * share - 1) * LABEL_LOGIT)[:, None])
    assert labels.shape[1] == coords.shape[1] == {"label_only": 0, "correction": 4}.get(mask_source, 3)
    if mask_source == "correction":  # all is answered with the object: what is too much gets a negative click
        assert labels[:, 3].tolist() == [0] * 4
        at = coords[:, 3].round().long()
        assert all(int(batch.alpha[row, y, x]) < 200 for row, (x, y) in enumerate(at.tolist()))


@pytest.mark.parametrize("name", ["zim", "sam"])
@pytest.mark.parametrize("mask_source", ["none", "first_pass", "correction", "label", "label_only"])
def test_every_mask_source_trains(make_task: MakeTask, make_batch: MakeBatch, name: str, mask_source: str) -> None:
    task = make_task(name)
    loss, figures = task.loss(make_batch(4, mask_source=mask_source), 0.5)
    loss.backward()
    assert bool(torch.isfinite(loss)) and figures["loss"] == pytest.approx(loss.item())
    gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert isinstance(task, Task)


@pytest.mark.parametrize("name", ["zim", "sam"])
def test_overfits_one_batch(make_task: MakeTask, make_batch: MakeBatch, name: str) -> None:
    task, batch = make_task(name), make_batch(5, images=1)
    task.model.train()
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=2e-3)
    history = []
    for _ in range(30):
        optimizer.zero_grad()
        loss, figures = task.loss(batch, 0.0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
        history.append(figures["loss"])
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize("name", ["zim", "sam"])
@pytest.mark.parametrize("valid_hw", [(64, 40), (37, 64), (51, 64)])
def test_padding_never_influences_the_loss(
    make_task: MakeTask, make_batch: MakeBatch, name: str, valid_hw: tuple[int, int]
) -> None:
    """Odd heights too, where cells of the decoder's grid are part photograph, part padding."""
    task, batch = make_task(name), make_batch(6, valid_hw=valid_hw)
    task.model.eval()
    padding = batch.valid == 0
    changed = dataclasses.replace(
        batch,
        alpha=torch.where(padding, 255 - batch.alpha, batch.alpha),
        coarse=torch.where(padding, 255, batch.coarse),
        weight=torch.where(padding, 7, batch.weight),
    )
    with torch.no_grad():
        before, after = task.loss(batch, 0.3), task.loss(changed, 0.3)
    assert after[0].item() == before[0].item()
    assert after[1] == before[1]


def test_distrusted_pixels_do_not_teach_the_matte(make_task: MakeTask, make_batch: MakeBatch) -> None:
    task: Any = make_task("zim")
    task.model.eval()
    batch = make_batch(7)
    weight = batch.weight.clone()
    weight[:, 16:32, 16:32] = 0
    alpha = torch.where(weight > 0, batch.alpha, 255 - batch.alpha)
    with torch.no_grad():
        logits = task.answer(batch)[0]
        losses = [
            task.loss(dataclasses.replace(batch, alpha=a, weight=weight), 0.3)[1]["one"] for a in (batch.alpha, alpha)
        ]
        trusted = task.loss(dataclasses.replace(batch, alpha=alpha), 0.3)[1]["one"]
    assert losses[0] == losses[1] != trusted
    assert logits.shape == (4, 4, 32, 32)


def test_segmentation_labels_train_zim_on_the_coarse_label(make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    task = ZimTask(ZIM_TEST, labels="segmentation")
    task.set_image_size(64)
    task.model.eval()
    batch = make_batch(8)
    other = dataclasses.replace(batch, alpha=255 - batch.alpha, weight=torch.zeros_like(batch.weight))
    with torch.no_grad():
        assert task.loss(batch, 0.5)[0].item() == task.loss(other, 0.5)[0].item()


def test_resizing_inside_is_a_mean_over_the_counted_pixels() -> None:
    maps = torch.tensor([[[255, 255, 0, 9], [255, 0, 9, 9], [51, 9, 9, 9], [51, 9, 9, 9]]], dtype=torch.uint8)
    valid = torch.tensor([[[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]], dtype=torch.uint8)
    torch.testing.assert_close(resized_inside(maps, valid, 2)[0, 0], torch.tensor([[0.75, 0.0], [0.2, 0.0]]))
    torch.testing.assert_close(resized(maps, 2), F.avg_pool2d(maps[:, None].float() / 255, 2))


@pytest.mark.parametrize("mask_source", ["none", "first_pass"])
def test_bfloat16_step_is_close_to_float32(make_task: MakeTask, make_batch: MakeBatch, mask_source: str) -> None:
    """All weights that learn in float32 learn in bfloat16, the decoder's too after a first pass without gradients."""
    batch = make_batch(9, mask_source=mask_source)
    losses, gradients = [], []
    for enabled in (False, True):
        task = make_task("zim")
        task.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss, _ = task.loss(batch, 0.5)
        loss.backward()
        losses.append(loss.item())
        gradients.append({k: p.grad for k, p in task.model.named_parameters() if p.grad is not None})
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert gradients[0].keys() == gradients[1].keys()
    whole = [torch.cat([g.flatten() for g in found.values()]) for found in gradients]
    assert F.cosine_similarity(whole[0], whole[1], dim=0).item() > 0.98
    assert all(g.dtype == torch.float32 for g in gradients[1].values())


def test_vit_trains_without_contrast_and_at_its_own_size_only(make_task: MakeTask, make_batch: MakeBatch) -> None:
    task = make_task("vit")
    loss, figures = task.loss(make_batch(1, mask_source="correction"), 0.5)
    loss.backward()
    assert figures["contrast"] == 0 and not list(task.contrast.parameters())
    with pytest.raises(ConfigError, match="side: expected 64, the only one that a ViT takes, got 128"):
        task.set_image_size(128)


@pytest.mark.parametrize("name", ["zim", "sam"])
def test_loss_of_a_batch_is_the_mean_of_its_parts(make_task: MakeTask, make_batch: MakeBatch, name: str) -> None:
    """What gradient accumulation and several processes rest on; batch statistics apart."""
    task, batch = make_task(name), make_batch(10, images=4, mask_source="correction")
    task.model.eval()
    with torch.no_grad():
        whole = task.loss(batch, 0.5)[0].item()
        parts = [task.loss(batch.part(i, 2), 0.5)[0].item() for i in range(2)]
    assert whole == pytest.approx(sum(parts) / 2, abs=2e-6)
