"""One run of an ablation: train a variant with a seed, measure it on held-out scenes; go on where it was left."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zim.checkpoints import load_into, read_checkpoint
from zim.errors import CheckpointError, ConfigError, DataError
from zim.evaluation.benchmark import run_benchmark
from zim.evaluation.datasets import FolderDataset
from zim.files import write_json_atomic
from zim.modeling.config import ZimConfig
from zim.modeling.zim import build_zim
from zim.predictor import ZimPredictor

from ..data.batches import BatchConfig, BatchSource, Shares, Sources
from ..data.mattes import MatteFolders, MatteShards
from ..data.scene_cache import SceneCache, first_training_seed
from ..data.scene_photos import PhotoPool
from ..data.segments import SegmentPool
from ..tasks import ZimTask
from ..trainer import Stage, Trainer
from .budgets import Budget
from .data import SalientScenes, WholeObjects
from .variants import Labels, Variant, settings_of

PROMPTS = ("box", "point")
ROW = "model"
LICENSE = "research-only (ablation run, not for publishing)"
SHARED = (
    "image_encoder.backbone.",
    "prompt_encoder.",
    "mask_decoder.transformer.",
    "mask_decoder.iou_token.",
    "mask_decoder.mask_tokens.",
    "mask_decoder.iou_prediction_head.",
)
"""What every variant takes over from `init`: the parts that all of them have. Pixel decoders start anew in all."""

REAL_SHARE = 0.8
"""Share of shards, or of exact mattes, among the samples (scenes have 0.4): the same for either."""

Measured = dict[str, dict[str, dict[str, Any]]]
"""prompt -> split -> numbers of the benchmark."""


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What all runs share besides the budget.

    heldout: folder of exported scenes to measure on. cache: folder of rendered training scenes, None: rendered each
    time. photos: for their textures. segments: labelled photographs. shards: of converted micro labels, for variants
    that train on these. mattes: folders of exact mattes, for variants that train on whole objects. init: weights that
    the shared parts start from.
    """

    heldout: Path
    cache: Path | None = None
    photos: tuple[Path, ...] = ()
    segments: tuple[Path, ...] = ()
    shards: tuple[str, ...] = ()
    mattes: tuple[str, ...] = ()
    init: Path | None = None
    device: torch.device = torch.device("cpu")
    workers: int = 0

    def settings(self) -> dict[str, Any]:
        """What the figures depend on, ready for JSON."""
        init = None if self.init is None else hashlib.sha256(self.init.read_bytes()).hexdigest()
        return {
            "heldout": str(self.heldout.resolve()),
            "photos": [str(path.resolve()) for path in self.photos],
            "segments": [str(path.resolve()) for path in self.segments],
            "shards": list(self.shards),
            "mattes": list(self.mattes),
            "init": init,
        }


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal, after it had been saved."""


def run_variant(variant: Variant, seed: int, budget: Budget, ingredients: Ingredients, folder: Path) -> Measured:
    """Train and measure, or take what was measured before.

    Args:
        variant: what to train.
        seed: of the first weights and of the data.
        budget, ingredients: the same for all runs of an ablation.
        folder: of the run; an unfinished one goes on.

    Raises:
        ConfigError: the folder holds a run of other settings.
        Interrupted: a signal stopped the training; the same call goes on.
    """
    budget_settings = {**dataclasses.asdict(budget), "model": budget.model.to_dict()}
    settings = json.loads(
        json.dumps({"variant": settings_of(variant), "seed": seed, "budget": budget_settings, **ingredients.settings()})
    )
    _check_settings(folder / "settings.json", settings)
    result = folder / "result.json"
    if result.is_file():
        return _read_result(result)
    task = build_task(variant.config(budget.config), seed=seed, init=ingredients.init)
    config = budget.training(seed=seed, workers=ingredients.workers)
    trainer = Trainer(
        task,
        config,
        lambda stage, index: training_data(stage, variant.labels, ingredients, seed=seed),
        out=folder,
        device=ingredients.device,
        metadata={"model": f"ablation {variant.slug}", "license": LICENSE},
    )
    weights = trainer.run()
    if trainer.step < config.steps:
        raise Interrupted
    measured = measure(weights, variant.config(budget.config), ingredients)
    write_json_atomic(result, measured)
    return measured


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    if not path.is_file():
        write_json_atomic(path, settings)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = [name for name in {**settings, **found} if found.get(name) != settings.get(name)]
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); move the folder away to start anew") from error
    if names:
        raise ConfigError(
            f"{path}: belongs to a run of other settings ({names[0]} was {found.get(names[0])}, "
            f"now {settings.get(names[0])}); give another --out"
        )


def _read_result(path: Path) -> Measured:
    try:
        found: Measured = json.loads(path.read_text(encoding="utf-8"))
        if set(found) != set(PROMPTS):
            raise ValueError(f"expected {PROMPTS}, found {list(found)}")
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it to have the run measured again") from error
    return found


def build_task(config: ZimConfig, *, seed: int, init: Path | None = None) -> ZimTask:
    """A task whose `SHARED` weights are the same for all variants: of the seed alone, or those of `init`."""
    whole = dataclasses.replace(
        config, prompt_attention="additive", pixel_decoder="hierarchical", mask_image_to_token=False
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shared = {key: value for key, value in build_zim(whole).state_dict().items() if key.startswith(SHARED)}
        torch.manual_seed(seed)
        task = ZimTask(config)
    task.model.load_state_dict({**task.model.state_dict(), **shared})
    if init is not None:
        start_from(task.model, init)
    task.set_image_size(config.img_size)
    return task


def start_from(model: nn.Module, path: Path) -> None:
    """Copy the `SHARED` parts of a checkpoint, of a ZIM or of the SAM baseline, into a model.

    Raises:
        CheckpointError: it lacks a shared tensor, or has one of another shape (position embeddings are resized).
    """
    checkpoint = read_checkpoint(path)
    sam = checkpoint.config.get("architecture") == "sam"
    prefix = ("image_encoder.", "image_encoder.backbone.") if sam else ("", "")
    given = {
        prefix[1] + key.removeprefix(prefix[0]) if sam and key.startswith(prefix[0]) else key: value
        for key, value in checkpoint.state_dict.items()
    }
    state = model.state_dict()
    for key, own in state.items():
        if not key.startswith(SHARED):
            continue
        value = given.get(key)
        if value is not None and key.endswith("pos_embed") and value.shape != own.shape:
            value = _resized_positions(value, own.shape[1])
        if value is None or value.shape != own.shape:
            shape = None if value is None else tuple(value.shape)
            raise CheckpointError(f"--init {path}: expected {key} of shape {tuple(own.shape)}, got {shape}")
        state[key] = value
    model.load_state_dict(state)


def _resized_positions(embedding: torch.Tensor, cells: int) -> torch.Tensor:
    """(1, n * n, C) -> (1, cells, C) for a square number of cells."""
    old, new = round(embedding.shape[1] ** 0.5), round(cells**0.5)
    grid = embedding.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(1, cells, -1)


def training_data(stage: Stage, labels: Labels, ingredients: Ingredients, *, seed: int) -> BatchSource:
    """Batches of the stage: the same scenes and photographs for every variant, with all labels or whole objects."""
    size = stage.scene_size or stage.side
    photos = PhotoPool(list(ingredients.photos)) if ingredients.photos else None
    scenes_type, segments_type = (SceneCache, SegmentPool) if labels == "micro" else (SalientScenes, WholeObjects)
    scenes = scenes_type(
        folder=ingredients.cache, size=size, first=first_training_seed(size), count=stage.scenes, photos=photos
    )
    scenes.check_origin()
    sources = Sources(
        scenes=scenes,
        segments=segments_type(list(ingredients.segments)) if ingredients.segments else None,
        photos=photos,
        mattes=MatteFolders(ingredients.mattes) if ingredients.mattes and labels == "whole" else None,
        shards=MatteShards(ingredients.shards) if ingredients.shards and labels == "micro" else None,
    )
    shares = Shares(mattes=REAL_SHARE, shards=REAL_SHARE)
    batch = BatchConfig(images=stage.images, prompts=stage.prompts, side=stage.side, shares=shares)
    return BatchSource(sources, batch, seed=seed)


def measure(weights: Path, config: ZimConfig, ingredients: Ingredients) -> Measured:
    """The benchmark's numbers with a box and with a click, at the size that the run was trained at.

    Scenes that a prompt cannot be placed in (nothing opaque enough to click on) are left out, for every variant alike.

    Raises:
        DataError: the model failed on a scene, or no scene could be asked about.
    """
    model = build_task(config, seed=0).model
    load_into(model, read_checkpoint(weights).state_dict)
    predictor = ZimPredictor(model.to(ingredients.device))
    dataset = FolderDataset(ingredients.heldout)
    found: Measured = {}
    for prompt in PROMPTS:
        result = run_benchmark(dataset, {ROW: predictor}, prompt, long_side=None)
        failed = [failure for failure in result.failures if failure.row == ROW or not result.rows_of(ROW)]
        if failed:
            failure = failed[0]
            raise DataError(f"{ingredients.heldout}: {failure.row} on {failure.sample}: {failure.message}")
        found[prompt] = {split: rows[ROW] for split, rows in result.aggregates().items()}
    return found
