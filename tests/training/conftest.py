"""Small tasks and batches that need neither scenes nor photographs."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from training.data.batches import Batch, MaskSource
from training.tasks import SamTask, Task, ZimTask
from zim.modeling.config import ZIM_TEST, ZimConfig
from zim.modeling.image_encoder import ViTConfig

SAM_TEST = dataclasses.replace(ZIM_TEST, architecture="sam", prompt_attention="none", pixel_decoder="sam")


def disc_batch(
    seed: int, *, side: int = 64, images: int = 2, prompts: int = 2, valid_hw: tuple[int, int] | None = None,
    mask_source: MaskSource = "none",
) -> Batch:
    """Soft discs on noise, one a row, prompted by their box and a point; padding outside `valid_hw`."""
    rng = np.random.default_rng(seed)
    rows = images * prompts
    y, x = np.mgrid[:side, :side]
    centres, radii = rng.uniform(0.3, 0.55, (rows, 2)) * side, rng.uniform(0.12, 0.25, rows) * side
    distance = np.hypot(x - centres[:, :1, None], y - centres[:, 1:, None])
    alpha = np.clip((radii[:, None, None] - distance) / 4 + 0.5, 0, 1)
    image = rng.normal(0, 0.3, (images, 3, side, side)) + alpha.reshape(images, prompts, 1, side, side).max(1)
    valid = np.zeros((rows, side, side), np.uint8)
    height, width = valid_hw or (side, side)
    valid[:, :height, :width] = 1
    corners = np.stack([centres - radii[:, None], centres, centres + radii[:, None]], axis=1)
    return Batch(
        image=torch.from_numpy((image * valid[::prompts, None]).astype(np.float32)),
        alpha=torch.from_numpy((alpha * 255 + 0.5).astype(np.uint8)),
        coarse=torch.from_numpy((alpha > 0.5).astype(np.uint8) * 255),
        weight=torch.full((rows, side, side), 255, dtype=torch.uint8),
        valid=torch.from_numpy(valid),
        coords=torch.from_numpy(corners[:, [1, 0, 2]].astype(np.float32)),
        labels=torch.tensor([[1, 2, 3]] * rows),
        mask_source=mask_source,
    )


class DiscSource(Dataset[Batch]):
    """Batch `step` out of nothing but `step`, as `BatchSource` promises; `at` hears of every step asked for."""

    def __init__(self, at: Callable[[int], None] = lambda step: None, images: int = 1) -> None:
        self.at, self.images = at, images

    def __getitem__(self, step: int) -> Batch:
        self.at(step)
        return disc_batch(step, images=self.images)


VIT = ViTConfig(
    embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), img_size=64, window_size=2, out_chans=256
)
VIT_TEST = ZimConfig(img_size=64, vit=VIT, transformer_mlp_dim=32, pixel_decoder="sam")
"""A ViT model without batch normalisation: parts of a batch give exactly what the batch gives."""


@pytest.fixture(scope="session")
def vit_config() -> ZimConfig:
    """A small ZIM around a ViT."""
    return VIT_TEST


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    """`make_batch(seed, side=64, images=2, prompts=2, valid_hw=None, mask_source="none")`."""
    return disc_batch


@pytest.fixture(scope="session")
def make_source() -> Callable[..., DiscSource]:
    """`make_source(at, images=1)`: an endless source of such batches."""
    return DiscSource


@pytest.fixture(scope="session")
def sam_config() -> ZimConfig:
    """The baseline's counterpart of ZIM_TEST."""
    return SAM_TEST


def small_task(name: str, seed: int = 0) -> Task:
    """A fresh task with the weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task: Task = SamTask(SAM_TEST) if name == "sam" else ZimTask(VIT_TEST if name == "vit" else ZIM_TEST)
    task.set_image_size(64)
    return task


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """`make_task("zim", "sam" or "vit", seed=0)`: a fresh small task at 64 px."""
    return small_task
