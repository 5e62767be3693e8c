"""Train an HQ head: `python -m training.train_hq --base zim_tiny --out runs/hq_zim --cache DIR [--mattes DIR ...]`."""

import argparse
import dataclasses
import datetime
import json
import sys
from pathlib import Path

import cv2
import torch

from zim.checkpoints import Checkpoint, load_into, read_checkpoint
from zim.devices import resolve_device
from zim.errors import ConfigError, ZimError
from zim.hq_checkpoints import load_base
from zim.modeling.hq_head import HqHeadConfig
from zim.registry import shipped_weights, shipped_weights_path

from .command import OWN_LICENSE, RESEARCH_ONLY
from .data.batches import StepSource
from .hq_crops import RepeatedSource
from .hq_presets import HQ_PRESETS
from .hq_task import HqConfig, HqLossConfig, HqTask
from .sources import FOREIGN_DATA, data_options, open_data
from .train_config import Stage, TrainConfig
from .trainer import Trainer


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m training.train_hq", description=main.__doc__)
    options.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run there goes on")
    options.add_argument(
        "--base", default="zim_tiny", help="zim_tiny, sam_tiny, or a checkpoint (.safetensors) of ZIM or the baseline"
    )
    options.add_argument("--preset", choices=sorted(HQ_PRESETS), default="hq_cpu")
    options.add_argument("--init", type=Path, help="start from this head of the same base")
    options.add_argument(
        "--target",
        choices=("mask", "alpha"),
        help="what the answers are to be: masks of alpha > 0.5 (default for SAM), or the alphas (default for ZIM)",
    )
    options.add_argument("--alone", type=float, default=HqLossConfig.alone, help="weight of the head's logits alone")
    options.add_argument(
        "--repeats",
        type=int,
        default=1,
        help="with 2 or more: keep the HQ token as it begins, and take this many steps on crops of every batch",
    )
    data_options(options)
    options.add_argument("--data-license", help="licence that the weights' metadata states (see training.train_zim)")
    options.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto")
    options.add_argument("--threads", type=int, default=0, help="torch threads, 0: torch's default")
    options.add_argument("--workers", type=int, help="data processes")
    options.add_argument("--lr", type=float)
    options.add_argument("--seed", type=int)
    options.add_argument("--steps", type=int, nargs="+", help="steps of each stage instead of the preset's")
    return options


def main(argv: list[str] | None = None) -> int:
    """Train HQ-SAM's output token and fusion head on fine masks or mattes, beside a base that stays as it is."""
    options = parser().parse_args(argv)
    try:
        trainer = _trainer(options)
        path = trainer.run()
    except (ZimError, OSError) as error:
        reason = str(error).strip().splitlines()[-1:]  # a data process puts its traceback before it
        print(f"{options.out}: error: {''.join(reason)}", file=sys.stderr)
        return 1
    print(f"step {trainer.step} of {trainer.config.steps}: weights in {path}")
    return 0


def train_config(options: argparse.Namespace) -> TrainConfig:
    """The preset with what the command line changes.

    Raises:
        ConfigError: `--steps` does not give one number a stage, or a number makes no sense.
    """
    config = HQ_PRESETS[options.preset]
    names = ("lr", "seed", "workers")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.threads < 0:
        raise ConfigError(f"--threads: expected at least 0, got {options.threads}")
    if options.repeats < 1:
        raise ConfigError(f"--repeats: expected at least 1, got {options.repeats}")
    if options.steps:
        if len(options.steps) != len(config.stages):
            raise ConfigError(f"--steps: expected {len(config.stages)} numbers, one a stage, got {len(options.steps)}")
        pairs = zip(config.stages, options.steps, strict=True)
        changes["stages"] = tuple(dataclasses.replace(stage, steps=steps) for stage, steps in pairs)
    return dataclasses.replace(config, **changes)


def head_license(options: argparse.Namespace, base: Checkpoint) -> str:
    """The licence of the head: the data's and the base's, whichever is stricter.

    Raises:
        ConfigError: data without a licence, or the note "research-only" of the base would get lost.
    """
    stated: str | None = options.data_license
    foreign = [f"--{name}" for name in FOREIGN_DATA if getattr(options, name)]
    if foreign and not stated:
        raise ConfigError(
            f"--data-license: expected the licence that {' and '.join(foreign)} put on the weights, for example "
            f"'{RESEARCH_ONLY} (data)', got none"
        )
    handed = base.metadata.get("license", OWN_LICENSE)
    if stated and RESEARCH_ONLY in handed and RESEARCH_ONLY not in stated:
        raise ConfigError(f"--data-license: expected {handed!r}, as the base has, got {stated!r}")
    return stated or handed


def _trainer(options: argparse.Namespace) -> Trainer:
    config = train_config(options)
    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(config.seed)
    named = options.base in shipped_weights()
    base, checkpoint = load_base(shipped_weights_path(options.base) if named else Path(options.base))
    name = options.base if named else Path(options.base).stem
    license_ = head_license(options, checkpoint)
    hq = HqConfig(head=HqHeadConfig.for_base(base.config), base=name, base_sha256=checkpoint.sha256)
    target = options.target or ("alpha" if hq.architecture == "hq_zim" else "mask")
    loss = HqLossConfig(soft=target == "alpha", alone=options.alone)
    task = HqTask(base, hq, loss, crops=options.repeats > 1)
    if options.init is not None and not (options.out / "run.safetensors").exists():
        load_into(task.model, read_checkpoint(options.init).state_dict)
    data = open_data(options, config, device)

    def source_of(stage: Stage, index: int) -> StepSource:
        source = data.source_of(stage, index)
        return RepeatedSource(source, options.repeats) if options.repeats > 1 else source

    described = json.dumps(dataclasses.asdict(config))
    return Trainer(
        task,
        config,
        source_of,
        out=options.out,
        device=device,
        metadata={
            "model": f"hq_{name}",
            "license": license_,
            "preset": described,
            "date": datetime.date.today().isoformat(),
        },
        identity={
            "preset": options.preset,
            "base": checkpoint.sha256,
            "target": target,
            "alone": options.alone,
            "repeats": options.repeats,
            **data.identity,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
