"""The command line that both trainings share."""

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

from zim.checkpoints import initialise_from_sam, load_into, read_checkpoint
from zim.errors import ConfigError, ZimError

from .data.batches import BatchConfig, BatchSource, Sources
from .data.scene_cache import SceneCache
from .data.scene_photos import PhotoPool
from .data.segments import SegmentPool
from .presets import PRESETS
from .tasks import Task
from .trainer import Stage, TrainConfig, Trainer

FIRST_TRAINING_SEED = 1_000_000
"""Scenes below this seed are never trained on: they are for validation and for exported test sets."""

SEEDS_PER_STAGE = 1_000_000


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Options of `train_zim` and `train_sam_baseline`."""
    options = argparse.ArgumentParser(prog=prog, description=description)
    options.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run there goes on")
    options.add_argument("--preset", choices=sorted(PRESETS), default="tiny_cpu")
    options.add_argument("--init", type=Path, help="start from these weights (safetensors)")
    options.add_argument("--segments", type=Path, nargs="*", default=[], help="labelled photographs (docs/training.md)")
    options.add_argument("--photos", type=Path, nargs="*", default=[], help="photographs for textures and backgrounds")
    options.add_argument("--cache", type=Path, help="folder for rendered scenes (none: render every time)")
    options.add_argument("--data-license", default="Apache-2.0", help="licence that the weights' metadata states")
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=0, help="torch threads, 0: torch's default")
    options.add_argument("--workers", type=int, help="data processes")
    options.add_argument("--lr", type=float)
    options.add_argument("--seed", type=int)
    options.add_argument("--steps", type=int, nargs="*", help="steps of each stage instead of the preset's")
    return options


def train_config(options: argparse.Namespace) -> TrainConfig:
    """The preset with what the command line changes.

    Raises:
        ConfigError: `--steps` does not give one number a stage.
    """
    config = PRESETS[options.preset]
    changes = {key: getattr(options, key) for key in ("lr", "seed", "workers") if getattr(options, key) is not None}
    if options.steps:
        if len(options.steps) != len(config.stages):
            raise ConfigError(f"--steps: expected {len(config.stages)} numbers, one a stage, got {len(options.steps)}")
        pairs = zip(config.stages, options.steps, strict=True)
        changes["stages"] = tuple(dataclasses.replace(stage, steps=steps) for stage, steps in pairs)
    return dataclasses.replace(config, **changes)


def initialise(task: Task, path: Path) -> str:
    """Load weights into a task's model: its own kind strictly, or the parts that SAM and ZIM share."""
    checkpoint = read_checkpoint(path)
    if checkpoint.config.get("architecture") == task.config.architecture:
        load_into(task.model, checkpoint.state_dict)
        return f"weights of {path.name}"
    if task.config.architecture == "zim":
        return initialise_from_sam(task.model, checkpoint.state_dict).summary()
    return initialise_from_zim(task.model, checkpoint.state_dict)


def initialise_from_zim(sam: torch.nn.Module, zim_state: dict[str, torch.Tensor]) -> str:
    """Copy what a SAM baseline shares with a ZIM: encoder, prompt encoder, transformer, tokens, heads.

    SAM's upscaling and the last layers of the hypernetworks, which have another width, keep their own weights.
    """
    renamed = {name.replace("image_encoder.backbone.", "image_encoder."): value for name, value in zim_state.items()}
    own = sam.state_dict()
    shared = {name: value for name, value in renamed.items() if name in own and own[name].shape == value.shape}
    sam.load_state_dict(shared, strict=False)
    left = sorted({".".join(name.split(".")[:2]) for name in own.keys() - shared.keys()})
    return f"initialised from ZIM: {len(shared)} tensors; own weights kept in {', '.join(left)}"


def sources_of(options: argparse.Namespace, config: TrainConfig) -> Callable[[Stage, int], BatchSource]:
    """Batches of a stage; each stage has scenes of its own seeds, rendered at its own size."""
    photos = PhotoPool(options.photos) if options.photos else None
    segments = SegmentPool(options.segments) if options.segments else None

    def source(stage: Stage, index: int) -> BatchSource:
        size = stage.side
        first = FIRST_TRAINING_SEED + SEEDS_PER_STAGE * {256: 0, 512: 1, 1024: 2}.get(size, 3)
        scenes = SceneCache(folder=options.cache, size=size, first=first, count=stage.scenes, photos=photos)
        batch = BatchConfig(images=stage.images, prompts=stage.prompts, side=stage.side)
        return BatchSource(Sources(scenes=scenes, segments=segments, photos=photos), batch, seed=config.seed)

    return source


def run_training(task: Task, options: argparse.Namespace) -> int:
    """Train, showing progress; SIGTERM and Ctrl-C save and leave, the same command goes on."""
    try:
        config = train_config(options)
        if options.threads:
            torch.set_num_threads(options.threads)
        cv2.setNumThreads(1)
        torch.manual_seed(config.seed)
        run_file = options.out / "run.safetensors"
        if options.init is not None and not run_file.exists():
            print(initialise(task, options.init))
        metadata = {
            "model": f"{task.name}_tiny",
            "license": options.data_license,
            "preset": json.dumps(dataclasses.asdict(config)),
            "date": datetime.date.today().isoformat(),
        }
        trainer = Trainer(
            task,
            config,
            sources_of(options, config),
            out=options.out,
            device=torch.device(options.device),
            metadata=metadata,
        )
        path = trainer.run()
    except (ZimError, OSError) as error:
        print(f"{options.out.name}: error: {error}", file=sys.stderr)
        return 1
    print(f"step {trainer.step} of {config.steps}: weights in {path}")
    return 0
