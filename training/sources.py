"""From the data options of a command line to the batches of every stage."""

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zim.errors import ConfigError

from .data.batches import BatchConfig, BatchSource, Shares, Sources, StepSource
from .data.mattes import MatteFolders, MatteShards
from .data.prompt_sampling import PromptConfig
from .data.scene_cache import SceneCache, first_training_seed
from .data.scene_photos import PhotoPool
from .data.segments import SegmentPool
from .train_config import Stage, TrainConfig

FOREIGN_DATA = ("segments", "photos", "mattes", "shards")
"""Options that bring in data with a licence of its own."""

SourceOf = Callable[[Stage, int], StepSource]


@dataclass(frozen=True)
class OpenedData:
    """`source_of(stage, index)` gives a stage's batches; `identity` says what a resumed run must find again."""

    source_of: SourceOf
    identity: dict[str, Any]


def data_options(options: argparse.ArgumentParser) -> None:
    """Add the options that say where samples come from."""
    options.add_argument("--segments", type=Path, nargs="+", default=[], help="labelled photographs (docs/training.md)")
    options.add_argument("--photos", type=Path, nargs="+", default=[], help="photographs for textures and backgrounds")
    options.add_argument(
        "--mattes",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="exact mattes: image/ + alpha/ folders, or NAME=FOLDER of a data set that training.readers knows",
    )
    options.add_argument("--shards", nargs="+", default=[], metavar="GLOB", help="SA1B-Matte shards (*.tar)")
    options.add_argument(
        "--shares",
        nargs="+",
        metavar="NAME=NUMBER",
        help="how often a sample comes from where, in proportion: scenes, segments, pasted, mattes, shards; "
        "what is not named is left out",
    )
    options.add_argument(
        "--box-jitter",
        type=float,
        metavar="SHARE",
        help="how far, at most, an edge of a box prompt is off, as a share of that side of the box "
        f"(default: {PromptConfig.box_jitter}; more for looser boxes)",
    )
    options.add_argument("--cache", type=Path, help="folder for rendered scenes (none: render every time)")
    options.add_argument("--sprites", type=Path, help="library of sprites, for presets that make batches on a GPU")


def parse_shares(texts: Sequence[str] | None) -> Shares:
    """The shares of `--shares`.

    Raises:
        ConfigError: an unknown or repeated name, or no number.
    """
    if not texts:
        return Shares()
    known = tuple(Shares.__dataclass_fields__)
    values = dict.fromkeys(known, 0.0)
    for text in texts:
        name, _, number = text.partition("=")
        try:
            if name not in known:
                raise ValueError(name)
            values[name] = float(number)
        except ValueError as error:
            names = ", ".join(known)
            raise ConfigError(f"--shares: expected NAME=NUMBER with a name of {names}, got {text!r}") from error
    return Shares(**values)


def open_data(options: argparse.Namespace, config: TrainConfig, device: torch.device) -> OpenedData:
    """Open what the options name.

    Raises:
        ConfigError, DataError: something is not there, or does not go with the preset.
    """
    if (config.source == "sprites") != (options.sprites is not None):
        given = "none" if options.sprites is None else options.sprites
        raise ConfigError(f"--sprites: expected with presets that use sprites, and only there, got {given}")
    if config.source == "sprites" and options.box_jitter is not None:
        raise ConfigError(f"--box-jitter: expected with presets that make batches on the CPU, got {options.box_jitter}")
    if config.source == "sprites":
        return _sprites(options, config, device)
    shares = parse_shares(options.shares)
    jitter = PromptConfig.box_jitter if options.box_jitter is None else options.box_jitter
    PromptConfig(box_jitter=jitter)  # refused here, not in a data process
    photos = PhotoPool(options.photos) if options.photos else None
    segments = SegmentPool(options.segments) if options.segments else None
    mattes = MatteFolders(options.mattes) if options.mattes else None
    shards = MatteShards(options.shards) if options.shards else None

    def scenes_of(stage: Stage) -> SceneCache | None:
        if not shares.scenes:
            return None
        size = stage.scene_size or stage.side
        first = first_training_seed(size)
        return SceneCache(folder=options.cache, size=size, first=first, count=stage.scenes, photos=photos)

    def source_of(stage: Stage, index: int) -> StepSource:
        batch = BatchConfig(
            images=stage.images, prompts=stage.prompts, side=stage.side, shares=shares, box_jitter=jitter
        )
        sources = Sources(scenes=scenes_of(stage), segments=segments, photos=photos, mattes=mattes, shards=shards)
        return BatchSource(sources, batch, seed=config.seed)

    for index, stage in enumerate(config.stages):
        scenes = scenes_of(stage)
        if scenes is not None:
            scenes.check_origin()
        source_of(stage, index)  # shares that nothing fills are refused before the training starts
    pools = {"segments": segments, "photos": photos, "mattes": mattes, "shards": shards}
    counts = {name: 0 if pool is None else len(pool) for name, pool in pools.items()}
    identity = {**counts, "shares": vars(shares)}
    if jitter != PromptConfig.box_jitter:  # runs from before there was such an option go on
        identity["box_jitter"] = jitter
    return OpenedData(source_of, identity)


def _sprites(options: argparse.Namespace, config: TrainConfig, device: torch.device) -> OpenedData:
    """Batches composited on the training device."""
    from .data.device_scenes import device_source
    from .data.sprites import read_manifest

    shares = parse_shares(options.shares)
    manifest = json.dumps(read_manifest(options.sprites), sort_keys=True)

    def source_of(stage: Stage, index: int) -> StepSource:
        source: StepSource = device_source(options, stage, device, seed=config.seed, shares=shares)
        return source

    library = hashlib.sha256(manifest.encode()).hexdigest()[:12]
    return OpenedData(source_of, {"sprites": library, "shares": vars(shares)})
