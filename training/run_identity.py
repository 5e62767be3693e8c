"""What makes a run this run: what a run folder was begun with must be what goes on there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zim.errors import CheckpointError

from .train_config import TrainConfig

Identity = Mapping[str, Any]
"""Name of an option -> its value, as JSON carries it."""

_CONFIG = ("lr", "warmup", "weight_decay", "clip", "ema", "seed", "bfloat16", "slice", "slice_warmup", "source")
"""Fields of `TrainConfig` that decide the result; the others decide time, memory and what is written."""


def identity_of(config: TrainConfig, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The identity of a run: its configuration, and what else its command line says of it (model, data, ...)."""
    stages = [{key: value for key, value in vars(stage).items()} for stage in config.stages]
    values = {name: getattr(config, name) for name in _CONFIG} | {"stages": stages} | dict(more or {})
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found


def check_identity(path: Path, stored: Identity, wanted: Identity, *, step: int) -> None:
    """Compare a run on disk with the one that is to go on there. Steps may be extended, nothing else may change.

    Stages that the run has left keep their steps; later ones may become longer, and stages may be appended.

    Raises:
        CheckpointError: names the options that differ, with both values.
    """
    complaints = [
        f"{name}: the run has {stored.get(name)!r}, got {wanted.get(name)!r}"
        for name in sorted(stored.keys() | wanted.keys())
        if name != "stages" and stored.get(name) != wanted.get(name)
    ]
    complaints += _stage_complaints(stored.get("stages", ()), wanted.get("stages", ()), step)
    if complaints:
        raise CheckpointError(
            f"{path}: begun with other options ({'; '.join(complaints)}); give those, or another --out"
        )


def _stage_complaints(stored: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], step: int) -> list[str]:
    if len(wanted) < len(stored):
        return [f"stages: the run has {len(stored)}, got {len(wanted)}"]
    complaints, end = [], 0
    for number, (old, new) in enumerate(zip(stored, wanted, strict=False), start=1):
        end += old["steps"]
        for name in sorted(old.keys() | new.keys()):
            before, after = old.get(name), new.get(name)
            longer = name == "steps" and before is not None and after is not None and after > before and step <= end
            if before != after and not longer:
                hint = " (steps can only grow, and not in a stage that is over)" if name == "steps" else ""
                complaints.append(f"stage {number} {name}: the run has {before!r}, got {after!r}{hint}")
    return complaints
