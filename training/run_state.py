"""The state of a run on disk: weights, averages and optimiser moments as tensors, never as pickles."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zim.checkpoints import load_into
from zim.errors import CheckpointError
from zim.files import atomic_write

from .run_identity import Identity, check_identity

MODEL, EMA, OPTIMIZER = "model.", "ema.", "optimizer."
"""What the names of a run's tensors begin with."""


class Ema:
    """Exponential moving average of a model: parameters and batch statistics; counters are copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Fold the model in; early steps count more, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        groups: dict[type[Tensor], tuple[list[Tensor], list[Tensor]]] = {}  # FSDP's tensors are a kind of their own
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averages, values = groups.setdefault(type(value), ([], []))
                averages.append(self._average[name])
                values.append(value)
            else:
                self._average[name].copy_(value)
        for averages, values in groups.values():  # all at once: hundreds of launches less on a GPU
            get_ema_multi_avg_fn(decay)(averages, values, None)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages, under the model's names."""
        return dict(self._average)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averages that `state_dict` gave."""
        for name, value in self._average.items():
            value.copy_(state[name])


def run_tensors(model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that training goes on from, under names; the tensors are the live ones."""
    tensors = {MODEL + name: value.detach() for name, value in model.state_dict().items()}
    tensors.update({EMA + name: value for name, value in ema.state_dict().items()})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"{OPTIMIZER}{names[id(parameter)]}.{key}"] = value
    return tensors


def set_moments(
    optimizer: torch.optim.Optimizer, parameters: Iterable[tuple[str, nn.Parameter]], tensors: Mapping[str, Tensor]
) -> None:
    """Give the optimiser the moments among `tensors`; parameters without any start anew."""
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(OPTIMIZER):
            name, _, kind = key.removeprefix(OPTIMIZER).rpartition(".")
            moments.setdefault(name, {})[kind] = value
    for name, parameter in parameters:
        if name in moments:
            state = {k: v if k == "step" else torch.empty_like(parameter).copy_(v) for k, v in moments[name].items()}
            optimizer.state[parameter] = state


def save_run(
    path: Path,
    model: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    identity: Identity | None = None,
) -> None:
    """Write everything that resuming needs, atomically."""
    tensors = run_tensors(model, ema, optimizer)
    own = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    described = {"format": "zim-training-run", "step": json.dumps(step), "identity": json.dumps(dict(identity or {}))}
    with atomic_write(path) as temporary:
        save_file(own, temporary, metadata=described)


def load_run(
    path: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, *, identity: Identity | None = None
) -> int:
    """Restore what `save_run` wrote; returns the step.

    Raises:
        CheckpointError: the file is damaged, belongs to another model, or was begun with other options.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            step = int(json.loads(metadata["step"]))
            stored: dict[str, Any] = json.loads(metadata.get("identity", "{}"))
            if stored and identity is not None:
                check_identity(path, stored, identity, step=step)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _cannot_resume(path, error) from error
    try:
        load_into(model, {k.removeprefix(MODEL): v for k, v in tensors.items() if k.startswith(MODEL)})
        ema.load_state_dict({k.removeprefix(EMA): v for k, v in tensors.items() if k.startswith(EMA)})
    except (KeyError, CheckpointError) as error:
        raise _cannot_resume(path, error) from error
    set_moments(optimizer, model.named_parameters(), tensors)
    return step


def _cannot_resume(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: cannot resume from it ({error}); move it away to start anew")
