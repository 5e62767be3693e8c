"""The state of a run of several processes: torch.distributed.checkpoint, every process its own part, as safetensors.

    checkpoints/step_000012000/    shard-0000R-....safetensors, one file a process, and run.json

The folder gets its name when everything is in it, so one that has it is whole. Another number of processes, and the
other of ddp and fsdp, may go on from it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn

from zim.errors import CheckpointError
from zim.files import write_json_atomic

from .distributed import World
from .run_identity import Identity, check_identity
from .run_state import EMA, MODEL, OPTIMIZER, Ema, run_tensors, set_moments

CHECKPOINTS = "checkpoints"
RUN_FILE = "run.json"
_PREFIX, _UNFINISHED = "step_", ".unfinished"


def latest_checkpoint(out: Path) -> Path | None:
    """The newest whole checkpoint of a run folder, or None."""
    found = sorted(p for p in (out / CHECKPOINTS).glob(f"{_PREFIX}*") if (p / RUN_FILE).is_file())
    whole = [path for path in found if path.suffix != _UNFINISHED]
    return whole[-1] if whole else None


def save_distributed(
    out: Path,
    model: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    stage: int,
    identity: Identity,
    world: World,
) -> Path:
    """Write a checkpoint; all processes must call. The one before it is deleted when the new one is whole.

    step, stage: where the batches go on; a batch depends on nothing else.
    """
    target = out / CHECKPOINTS / f"{_PREFIX}{step:09d}"
    unfinished = target.with_name(target.name + _UNFINISHED)
    if world.is_main:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    world.wait()
    writer = dcp.HuggingFaceStorageWriter(path=str(unfinished), save_distributed=True)
    tensors = {name: value.contiguous() for name, value in run_tensors(model, ema, optimizer).items()}
    dcp.save(tensors, storage_writer=writer)
    world.wait()
    if world.is_main:
        described = {"format": "zim-training-run", "step": step, "stage": stage, "identity": dict(identity)}
        write_json_atomic(unfinished / RUN_FILE, described)
        if target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
        for older in (out / CHECKPOINTS).glob(f"{_PREFIX}*"):
            if older != target:
                shutil.rmtree(older, ignore_errors=True)
    world.wait()
    return target


def load_distributed(
    folder: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, *, identity: Identity
) -> int:
    """Restore what `save_distributed` wrote; all processes must call. Returns the step.

    Raises:
        CheckpointError: it is damaged, belongs to another model, or was begun with other options.
    """
    try:
        described: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        step = int(described["step"])
        reader = dcp.HuggingFaceStorageReader(path=str(folder))
        stored = reader.read_metadata().state_dict_metadata
    except Exception as error:  # readers of safetensors and JSON raise what they like
        raise CheckpointError(f"{folder}: cannot resume from it ({error!r}); move it away to start anew") from error
    check_identity(folder, described.get("identity", {}), identity, step=step)
    wanted = run_tensors(model, ema, optimizer)
    target = {key: value.contiguous() for key, value in wanted.items() if key.startswith((MODEL, EMA))}
    expected, found = set(target), {key for key in stored if key.startswith((MODEL, EMA))}
    if expected != found:
        odd = sorted(expected ^ found)[:4]
        raise CheckpointError(f"{folder}: cannot resume from it (belongs to another model: {', '.join(odd)}, ...)")
    parameters = dict(model.named_parameters())
    for key in stored:
        if key.startswith(OPTIMIZER):
            name, _, kind = key.removeprefix(OPTIMIZER).rpartition(".")
            like = parameters[name].detach().contiguous()
            target[key] = torch.zeros(()) if kind == "step" else torch.zeros_like(like)
    dcp.load(target, storage_reader=reader)
    with torch.no_grad():
        for key, value in target.items():
            if key.startswith((MODEL, EMA)) and value is not wanted[key]:  # laid out otherwise, so loaded beside
                wanted[key].copy_(value)
    set_moments(optimizer, parameters.items(), target)
    return step
