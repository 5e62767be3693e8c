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
from zim.devices import resolve_device
from zim.errors import ConfigError, ZimError

from .data.batches import BatchConfig, BatchSource, Sources
from .data.scene_cache import SceneCache, first_training_seed
from .data.scene_photos import PhotoPool
from .data.segments import SegmentPool
from .presets import PRESETS
from .tasks import Task
from .trainer import Stage, TrainConfig, Trainer

OWN_LICENSE = "Apache-2.0"
"""Licence of weights that have seen procedural scenes only."""

RESEARCH_ONLY = "research-only"
"""Weights whose licence says this hand it on to whatever is trained from them."""


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Options of `train_zim` and `train_sam_baseline`."""
    options = argparse.ArgumentParser(prog=prog, description=description)
    options.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run there goes on")
    options.add_argument("--preset", choices=sorted(PRESETS), default="tiny_cpu")
    options.add_argument("--init", type=Path, help="start from these weights (safetensors)")
    options.add_argument("--segments", type=Path, nargs="+", default=[], help="labelled photographs (docs/training.md)")
    options.add_argument("--photos", type=Path, nargs="+", default=[], help="photographs for textures and backgrounds")
    options.add_argument("--cache", type=Path, help="folder for rendered scenes (none: render every time)")
    options.add_argument(
        "--data-license",
        help="licence that the weights' metadata states; required with --segments or --photos, for example "
        f"'{RESEARCH_ONLY} (data)'; without photographs {OWN_LICENSE}",
    )
    options.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto")
    options.add_argument("--threads", type=int, default=0, help="torch threads, 0: torch's default")
    options.add_argument("--workers", type=int, help="data processes")
    options.add_argument("--lr", type=float)
    options.add_argument("--seed", type=int)
    options.add_argument("--steps", type=int, nargs="+", help="steps of each stage instead of the preset's")
    return options


def train_config(options: argparse.Namespace) -> TrainConfig:
    """The preset with what the command line changes.

    Raises:
        ConfigError: `--steps` does not give one number a stage, or a number makes no sense.
    """
    config = PRESETS[options.preset]
    changes = {key: getattr(options, key) for key in ("lr", "seed", "workers") if getattr(options, key) is not None}
    if options.threads < 0:
        raise ConfigError(f"--threads: expected at least 0, got {options.threads}")
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


def weights_license(options: argparse.Namespace) -> str:
    """`--data-license`, else that of the weights it goes on from, else `OWN_LICENSE`.

    Raises:
        ConfigError: photographs without a licence, or the note "research-only" of earlier weights would get lost.
    """
    stated: str | None = options.data_license
    if not stated and (options.segments or options.photos):
        raise ConfigError(
            "--data-license: expected the licence that --segments and --photos put on the weights, for example "
            f"'{RESEARCH_ONLY} (data)', got none"
        )
    exported = options.out / "model.safetensors"
    start = exported if exported.is_file() else options.init
    earlier = OWN_LICENSE if start is None else read_checkpoint(start).metadata.get("license", OWN_LICENSE)
    if stated and RESEARCH_ONLY in earlier and RESEARCH_ONLY not in stated:
        raise ConfigError(f"--data-license: expected {earlier!r}, as {start} has, got {stated!r}")
    return stated or earlier


def sources_of(options: argparse.Namespace, config: TrainConfig) -> Callable[[Stage, int], BatchSource]:
    """Batches of a stage; its scenes have the seeds of the size they are rendered at."""
    photos = PhotoPool(options.photos) if options.photos else None
    segments = SegmentPool(options.segments) if options.segments else None

    def scenes_of(stage: Stage) -> SceneCache:
        size = stage.scene_size or stage.side
        first = first_training_seed(size)
        return SceneCache(folder=options.cache, size=size, first=first, count=stage.scenes, photos=photos)

    def source(stage: Stage, index: int) -> BatchSource:
        batch = BatchConfig(images=stage.images, prompts=stage.prompts, side=stage.side)
        sources = Sources(scenes=scenes_of(stage), segments=segments, photos=photos)
        return BatchSource(sources, batch, seed=config.seed)

    for stage in config.stages:
        scenes_of(stage).check_origin()

    return source


def run_training(task: Task, options: argparse.Namespace) -> int:
    """Train, showing progress; SIGTERM and Ctrl-C save and leave, the same command goes on."""
    try:
        config = train_config(options)
        device = resolve_device(options.device)
        license_ = weights_license(options)
        if options.threads:
            torch.set_num_threads(options.threads)
        cv2.setNumThreads(1)
        torch.manual_seed(config.seed)
        run_file = options.out / "run.safetensors"
        if options.init is not None and not run_file.exists():
            print(initialise(task, options.init))
        metadata = {
            "model": f"{task.name}_tiny",
            "license": license_,
            "preset": json.dumps(dataclasses.asdict(config)),
            "date": datetime.date.today().isoformat(),
        }
        trainer = Trainer(
            task,
            config,
            sources_of(options, config),
            out=options.out,
            device=device,
            metadata=metadata,
        )
        path = trainer.run()
    except (ZimError, OSError) as error:
        reason = str(error).strip().splitlines()[-1:]  # a data process puts its traceback before it
        print(f"{options.out}: error: {''.join(reason)}", file=sys.stderr)
        return 1
    print(f"step {trainer.step} of {config.steps}: weights in {path}")
    return 0
