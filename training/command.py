"""The command line that both trainings share."""

import argparse
import dataclasses
import datetime
import json
import sys
from pathlib import Path

import cv2
import torch

from zim.checkpoints import initialise_from_sam, load_into, load_sam_pth, read_checkpoint
from zim.errors import ConfigError, ZimError
from zim.registry import SAM_SUFFIXES, shipped_weights, shipped_weights_path

from .acceleration import checkpoint_activations, compile_encoder
from .data.sprites import read_manifest
from .distributed import PARALLEL, World, started_world
from .distributed_state import latest_checkpoint
from .presets import PRESETS
from .sources import FOREIGN_DATA, data_options, open_data
from .tasks import SamTask, ZimTask
from .train_config import TrainConfig
from .trainer import Trainer

PairTask = ZimTask | SamTask

OWN_LICENSE = "Apache-2.0"
"""Licence of weights that have seen procedural scenes only."""

RESEARCH_ONLY = "research-only"
"""Weights whose licence says this hand it on to whatever is trained from them."""

SAM_LICENSE = "Apache-2.0 (weights of SAM, trained on SA-1B)"
"""What is handed on by SAM's checkpoints."""

OVERRIDES = ("lr", "seed", "workers", "bfloat16", "accumulate")
"""Options that stand for a field of the preset's configuration."""


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Options of `train_zim` and `train_sam_baseline`."""
    options = argparse.ArgumentParser(prog=prog, description=description)
    options.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run there goes on")
    options.add_argument("--preset", choices=sorted(PRESETS), default="tiny_cpu")
    options.add_argument(
        "--init", type=Path, help="start from these weights: safetensors, a SAM checkpoint (.pth), or a shipped name"
    )
    data_options(options)
    options.add_argument(
        "--data-license",
        help="licence that the weights' metadata states; required with --segments, --photos, --mattes or "
        f"--shards, for example '{RESEARCH_ONLY} (data)'; without them {OWN_LICENSE}",
    )
    options.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto")
    options.add_argument("--parallel", choices=PARALLEL, default="none", help="under torchrun: ddp, or fsdp (ViT only)")
    options.add_argument("--threads", type=int, default=0, help="torch threads, 0: torch's default")
    options.add_argument("--workers", type=int, help="data processes (for each training process)")
    options.add_argument("--lr", type=float)
    options.add_argument("--bfloat16", action="store_true", default=None, help="forward passes in bfloat16")
    options.add_argument("--accumulate", type=int, metavar="N", help="a step's images in N parts, for less memory")
    options.add_argument("--checkpoint-activations", action="store_true", help="ViT: less memory, a third more time")
    options.add_argument("--compile", action="store_true", help="compile the image encoder (torch.compile)")
    options.add_argument("--seed", type=int)
    options.add_argument("--steps", type=int, nargs="+", help="steps of each stage instead of the preset's")
    options.add_argument("--slice", metavar="I/N", help="only the I-th of N parts, from the weights of the one before")
    return options


def train_config(options: argparse.Namespace) -> TrainConfig:
    """The preset with what the command line changes.

    Raises:
        ConfigError: `--steps` does not give one number a stage, or a number makes no sense.
    """
    config = PRESETS[options.preset]
    changes = {name: getattr(options, name) for name in OVERRIDES if getattr(options, name) is not None}
    if options.threads < 0:
        raise ConfigError(f"--threads: expected at least 0, got {options.threads}")
    if options.slice:
        changes["slice"] = _slice(options.slice)
    if options.steps:
        if len(options.steps) != len(config.stages):
            raise ConfigError(f"--steps: expected {len(config.stages)} numbers, one a stage, got {len(options.steps)}")
        pairs = zip(config.stages, options.steps, strict=True)
        changes["stages"] = tuple(dataclasses.replace(stage, steps=steps) for stage, steps in pairs)
    return dataclasses.replace(config, **changes)


def _slice(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise ConfigError(f"--slice: expected I/N, got {text!r}")
    return int(part), int(parts)


def initialise(task: PairTask, path: Path) -> str:
    """Load weights into a task's model: its own kind strictly, or the parts that SAM and ZIM share."""
    if path.suffix in SAM_SUFFIXES:
        if task.config.architecture != "zim":
            raise ConfigError(f"--init: expected safetensors for {task.name}, got {path}")
        return initialise_from_sam(task.model, load_sam_pth(path)).summary()
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


def start_weights(init: Path | None) -> Path | None:
    """The file behind `--init`: a path, or the name of shipped weights where there is no such file."""
    if init is not None and not init.exists() and str(init) in shipped_weights():
        return shipped_weights_path(str(init))
    return init


def weights_license(options: argparse.Namespace, config: TrainConfig) -> str:
    """`--data-license`, else that of the weights and sprites it goes on from, else `OWN_LICENSE`.

    Raises:
        ConfigError: data without a licence, the note "research-only" of what it goes on from would get lost, or a
            preset for procedural data alone is given other data or weights that have seen some.
    """
    stated: str | None = options.data_license
    foreign = [f"--{name}" for name in FOREIGN_DATA if getattr(options, name)]
    handed = _handed_on(options, config)
    if config.procedural_only:
        odd = foreign + [f"{what} ({license_})" for what, license_ in handed.items() if license_ != OWN_LICENSE]
        odd += [f"--data-license {stated}"] * (stated not in (None, OWN_LICENSE))
        if odd:
            raise ConfigError(
                f"--preset {options.preset}: expected procedural scenes, and weights made from them alone, got "
                + ", ".join(odd)
            )
        return OWN_LICENSE
    if not stated and foreign:
        raise ConfigError(
            f"--data-license: expected the licence that {' and '.join(foreign)} put on the weights, for example "
            f"'{RESEARCH_ONLY} (data)', got none"
        )
    for what, license_ in handed.items():
        if stated and RESEARCH_ONLY in license_ and RESEARCH_ONLY not in stated:
            raise ConfigError(f"--data-license: expected {license_!r}, as {what} has, got {stated!r}")
    strictest = sorted(handed.values(), key=lambda license_: (RESEARCH_ONLY in license_, license_ != OWN_LICENSE))
    return stated or (strictest[-1] if strictest else OWN_LICENSE)


def _handed_on(options: argparse.Namespace, config: TrainConfig) -> dict[str, str]:
    """What a run goes on from -> its licence: earlier weights, and a library of sprites."""
    found: dict[str, str] = {}
    exported = options.out / "model.safetensors"
    start = exported if exported.is_file() else options.init
    if start is not None and start.suffix in SAM_SUFFIXES:
        found[str(start)] = SAM_LICENSE
    elif start is not None:
        found[str(start)] = read_checkpoint(start).metadata.get("license", OWN_LICENSE)
    if options.sprites is not None and config.source == "sprites":
        found[str(options.sprites)] = read_manifest(options.sprites).get("license", OWN_LICENSE)
    return found


def run_training(task: PairTask, options: argparse.Namespace, *, details: dict[str, object] | None = None) -> int:
    """Train, showing progress; SIGTERM and Ctrl-C save and leave, the same command goes on.

    details: further options of this command that decide the result.
    """
    try:
        with started_world(options.parallel, options.device) as (world, device):
            trainer = _trainer(task, options, details or {}, world=world, device=device)
            path = trainer.run()
    except (ZimError, OSError) as error:
        reason = str(error).strip().splitlines()[-1:]  # a data process puts its traceback before it
        print(f"{options.out}: error: {''.join(reason)}", file=sys.stderr)
        return 1
    if world.is_main:
        print(f"step {trainer.step} of {trainer.config.steps}: weights in {path}")
    return 0


def _trainer(
    task: PairTask, options: argparse.Namespace, details: dict[str, object], *, world: World, device: torch.device
) -> Trainer:
    options.init = start_weights(options.init)
    config = train_config(options)
    license_ = weights_license(options, config)
    if options.threads:
        torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(config.seed)
    if config.slice[0] > 1 and options.init is None:
        raise ConfigError(f"--slice {options.slice}: expected --init with the weights of the slice before, got none")
    begun = (options.out / "run.safetensors").exists() or latest_checkpoint(options.out) is not None
    if options.init is not None and not begun:
        report = initialise(task, options.init)
        if world.is_main:
            print(report)
    if options.checkpoint_activations:
        checkpoint_activations(task.model)
    if options.compile:
        compile_encoder(task.model)
    data = open_data(options, config, device)
    model = getattr(options, "model", f"{task.name}_tiny")
    metadata = {
        "model": model,
        "license": license_,
        "preset": json.dumps(dataclasses.asdict(config)),
        "date": datetime.date.today().isoformat(),
    }
    identity = {"preset": options.preset, "model": model, **details, **data.identity}
    return Trainer(
        task,
        config,
        data.source_of,
        out=options.out,
        device=device,
        metadata=metadata,
        world=world,
        identity=identity,
    )
