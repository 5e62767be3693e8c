"""Train a label converter: `python -m training.label_converter.train --out RUN`.

Pairs come from procedural scenes and, with `--mattes`, from matte data sets; labels that are their own target (STL)
from hard procedural objects and, with `--stl`, from sets of coarse objects. Interrupted runs go on with the same
command.
"""

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import torch

from zim.checkpoints import load_into, read_checkpoint
from zim.errors import ConfigError, ZimError

from ..command import OWN_LICENSE, RESEARCH_ONLY
from ..data.scene_cache import SceneCache, first_training_seed
from ..data.scene_photos import PhotoPool
from ..distributed import World, started_world
from ..distributed_state import latest_checkpoint
from ..readers import DATASETS, Quarantine, Reader, open_dataset
from ..train_config import Stage, TrainConfig
from ..trainer import Trainer
from .batches import ConverterBatches, MixConfig
from .builders import build_matting
from .hiera_backbone import HieraBackbone
from .loss import LOSSES
from .matting import MaskGuidedMatting
from .pairs import HardScenePairs, MattePairs, MixedPairs, PairSource, ScenePairs, SegmentPairs
from .presets import PRESETS, Preset
from .task import ConverterTask
from .zim_backbone import ZimBackbone, zim_weights

MAX_POWER = 4.0


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Options of `train` and `ablation`."""
    options = argparse.ArgumentParser(prog=prog, description=description)
    options.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run there goes on")
    options.add_argument("--preset", choices=sorted(PRESETS), default="tiny_cpu")
    options.add_argument("--init", type=Path, help="start from these weights (safetensors)")
    backbones = "Hiera's: a folder or a name on the Hugging Face hub; zim's: zim_tiny or a file"
    options.add_argument("--backbone-weights", help=backbones)
    options.add_argument("--photos", type=Path, nargs="+", default=[], help="photographs for the scenes' textures")
    options.add_argument("--cache", type=Path, help="folder for rendered scenes (none: render every time)")
    options.add_argument(
        "--mattes", nargs="+", default=[], metavar="NAME=FOLDER", help="matte data sets, for example am2k=DIR"
    )
    options.add_argument(
        "--stl", nargs="+", default=[], metavar="NAME=FOLDER", help="sets of coarse objects, for example ade20k=DIR"
    )
    options.add_argument("--matte-share", type=float, default=0.7, help="of --mattes beside scenes (default 0.7)")
    options.add_argument("--stl-set-share", type=float, default=0.5, help="of --stl beside hard scene objects (0.5)")
    options.add_argument("--loss", choices=sorted(LOSSES), help="instead of the preset's; see label_converter/loss.py")
    options.add_argument("--stl-share", type=float, help="of STL samples in all (default 0.25)")
    by_size = "scene objects in proportion to their side to this power (0: all alike; 2: as squared errors count them)"
    options.add_argument("--by-size", type=float, default=0.0, metavar="POWER", help=by_size)
    options.add_argument("--no-sga", action="store_true", help="cut nothing out of labels and mattes")
    options.add_argument("--no-stl", action="store_true", help="no sample whose target is its label")
    options.add_argument("--data-license", help="licence of the weights; required with photographs or data sets")
    options.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto")
    options.add_argument("--parallel", choices=("none", "ddp"), default="none", help="ddp: under torchrun")
    options.add_argument("--accumulate", type=int, metavar="N", help="a step's crops in N parts, for less memory")
    options.add_argument("--threads", type=int, default=0, help="torch threads, 0: torch's default")
    options.add_argument("--workers", type=int, help="data processes")
    options.add_argument("--lr", type=float)
    options.add_argument("--seed", type=int)
    options.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, help="forward passes in bfloat16")
    options.add_argument("--steps", type=int, nargs="+", help="steps of each stage instead of the preset's")
    return options


def chosen_preset(options: argparse.Namespace) -> Preset:
    """The preset, with another loss where the command line names one."""
    preset = PRESETS[options.preset]
    return preset if options.loss is None else preset._replace(loss=LOSSES[options.loss])


def run_config(options: argparse.Namespace, preset: Preset) -> TrainConfig:
    """The preset's run with what the command line changes.

    Raises:
        ConfigError: `--steps` does not give one number a stage, or a number makes no sense.
    """
    names = ("lr", "seed", "workers", "bfloat16", "accumulate")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.threads < 0:
        raise ConfigError(f"--threads: expected at least 0, got {options.threads}")
    stages = preset.run.stages
    if options.steps:
        if len(options.steps) != len(stages):
            raise ConfigError(f"--steps: expected {len(stages)} numbers, one a stage, got {len(options.steps)}")
        pairs = zip(stages, options.steps, strict=True)
        changes["stages"] = tuple(dataclasses.replace(stage, steps=steps) for stage, steps in pairs)
    return dataclasses.replace(preset.run, **changes)


def mix_config(options: argparse.Namespace) -> MixConfig:
    """What samples are mixed of, as the command line says."""
    mix = MixConfig() if options.stl_share is None else MixConfig(stl_share=options.stl_share)
    if options.no_sga:
        mix = dataclasses.replace(mix, sga=None)
    return dataclasses.replace(mix, stl_share=0.0) if options.no_stl else mix


def open_sets(specifications: Sequence[str], option: str) -> list[Reader]:
    """The data sets of `NAME=FOLDER` arguments, training splits only.

    Raises:
        ConfigError: an argument has another form, or there is no such data set.
        DataError: a folder does not hold that data set.
    """
    readers = []
    for text in specifications:
        name, separator, folder = text.partition("=")
        if not separator or name not in DATASETS:
            raise ConfigError(f"{option}: expected NAME=FOLDER with a name of {', '.join(DATASETS)}, got {text!r}")
        trained = [split for split, use in DATASETS[name].SPLITS.items() if use.allowed]
        split = trained[0] if len(trained) == 1 else None
        readers.append(open_dataset(name, folder, split, for_training=True))
    return readers


def sources_of(
    options: argparse.Namespace, config: TrainConfig, mix: MixConfig
) -> Callable[[Stage, int], ConverterBatches]:
    """Batches of a stage."""
    photos = PhotoPool(options.photos) if options.photos else None
    quarantine = Quarantine(options.out / "quarantine.jsonl")
    mattes = [MattePairs(reader=reader, quarantine=quarantine) for reader in open_sets(options.mattes, "--mattes")]
    segments = [SegmentPairs(reader=reader, quarantine=quarantine) for reader in open_sets(options.stl, "--stl")]
    if not 0 <= options.by_size <= MAX_POWER:
        raise ConfigError(f"--by-size: expected a number in [0, {MAX_POWER:g}], got {options.by_size}")
    for name, value in (("--matte-share", options.matte_share), ("--stl-set-share", options.stl_set_share)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}: expected a number in [0, 1], got {value}")

    def scenes_of(stage: Stage) -> SceneCache:
        size = stage.scene_size or stage.side
        first = first_training_seed(size)
        return SceneCache(folder=options.cache, size=size, first=first, count=stage.scenes, photos=photos)

    def source(stage: Stage, index: int) -> ConverterBatches:
        scenes = scenes_of(stage)
        fine = _mixed(ScenePairs(scenes=scenes, by_size=options.by_size), mattes, options.matte_share)
        hard = HardScenePairs(scenes=scenes, by_size=options.by_size)
        stl = _mixed(hard, segments, options.stl_set_share) if mix.stl_share else None
        return ConverterBatches(fine, stl, mix, images=stage.images, side=stage.side, seed=config.seed)

    for stage in config.stages:
        scenes_of(stage).check_origin()
    return source


def _mixed(scenes: PairSource, others: Sequence[PairSource], share: float) -> PairSource:
    """Scenes and data sets; the sets share `share` in proportion to one another."""
    if not others:
        return scenes
    return MixedPairs(sources=[scenes, *others], weights=[1 - share, *[share / len(others)] * len(others)])


def initialise(model: MaskGuidedMatting, options: argparse.Namespace) -> None:
    """Load `--init` or `--backbone-weights` into a fresh model.

    Raises:
        CheckpointError: the weights are missing or of another model.
        ConfigError: `--backbone-weights` with a backbone that has none.
    """
    if options.init is not None:
        load_into(model, read_checkpoint(options.init).state_dict)
    elif options.backbone_weights is not None:
        if not isinstance(model.backbone, HieraBackbone | ZimBackbone):
            raise ConfigError("--backbone-weights: expected a preset with a published backbone: paper_hiera or zim_cpu")
        model.backbone.load_pretrained(options.backbone_weights)


def weights_license(options: argparse.Namespace) -> str:
    """`--data-license`, else that of the weights it goes on from, else that of this project.

    Raises:
        ConfigError: photographs or data sets without a licence, or the note "research-only" would get lost.
    """
    stated: str | None = options.data_license
    if not stated and (options.photos or options.mattes or options.stl):
        raise ConfigError(
            "--data-license: expected the licence that --photos, --mattes and --stl put on the weights, for example "
            f"'{RESEARCH_ONLY} (data)', got none"
        )
    exported = options.out / "model.safetensors"
    start = exported if exported.is_file() else options.init
    backbone = PRESETS[options.preset].architecture.backbone
    if start is None and options.backbone_weights is not None and backbone == "zim":
        start = zim_weights(options.backbone_weights)
    earlier = OWN_LICENSE if start is None else read_checkpoint(start).metadata.get("license", OWN_LICENSE)
    if stated and RESEARCH_ONLY in earlier and RESEARCH_ONLY not in stated:
        raise ConfigError(f"--data-license: expected {earlier!r}, as {start} has, got {stated!r}")
    return stated or earlier


def _data_of(options: argparse.Namespace) -> dict[str, object]:
    """What the command line says of data, for the identity of a run; folders may move."""
    names = {option: [text.partition("=")[0] for text in getattr(options, option)] for option in ("mattes", "stl")}
    shares = [options.matte_share, options.stl_set_share]
    by_size = {"by_size": options.by_size} if options.by_size else {}
    return {"photos": bool(options.photos), **names, "shares": shares, **by_size}


def train(options: argparse.Namespace, mix: MixConfig) -> Path:
    """Run or go on with a training; returns the weights.

    Raises:
        ZimError: whatever is wrong with arguments, data or checkpoints.
    """
    with started_world(options.parallel, options.device) as (world, device):
        trainer = _trainer(options, mix, world, device)
        path = trainer.run()
    if world.is_main:
        print(f"step {trainer.step} of {trainer.config.steps}: weights in {path}")
    return path


def _trainer(options: argparse.Namespace, mix: MixConfig, world: World, device: torch.device) -> Trainer:
    preset = chosen_preset(options)
    config = run_config(options, preset)
    license_ = weights_license(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(config.seed)
    model = build_matting(preset.architecture)
    if not (options.out / "run.safetensors").exists() and latest_checkpoint(options.out) is None:
        initialise(model, options)
    loss = dataclasses.asdict(preset.loss)
    metadata = {
        "model": f"label_converter_{preset.architecture.backbone}",
        "license": license_,
        "preset": json.dumps({**dataclasses.asdict(config), "loss": loss}),
        "mix": json.dumps(dataclasses.asdict(mix)),
        "date": datetime.date.today().isoformat(),
    }
    given = {"model": preset.architecture.to_dict(), "loss": loss, "mix": dataclasses.asdict(mix)}
    return Trainer(
        ConverterTask(model, preset.architecture, preset.loss),
        config,
        sources_of(options, config, mix),
        out=options.out,
        device=device,
        metadata=metadata,
        world=world,
        identity={**given, "data": _data_of(options)},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("python -m training.label_converter.train", __doc__).parse_args(argv)
    try:
        train(options, mix_config(options))
    except (ZimError, OSError) as error:
        reason = str(error).strip().splitlines()[-1:]  # a data process puts its traceback before it
        print(f"{options.out}: error: {''.join(reason)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
