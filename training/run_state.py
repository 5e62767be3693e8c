"""The state of a run on disk: weights, averages and optimiser moments as tensors, never as pickles."""

import json
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zim.checkpoints import load_into
from zim.errors import CheckpointError
from zim.files import atomic_write


class Ema:
    """Exponential moving average of a model: parameters and batch statistics; counters are copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Fold the model in; early steps count more, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value, 1 - decay)
            else:
                self._average[name].copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages, under the model's names."""
        return dict(self._average)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averages that `state_dict` gave."""
        for name, value in self._average.items():
            value.copy_(state[name])


def save_run(path: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, *, step: int) -> None:
    """Write everything that resuming needs, atomically."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors.update({f"ema.{name}": value for name, value in ema.state_dict().items()})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{names[id(parameter)]}.{key}"] = value
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(whole, temporary, metadata={"format": "zim-training-run", "step": json.dumps(step)})


def load_run(path: Path, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> int:
    """Restore what `save_run` wrote; returns the step.

    Raises:
        CheckpointError: the file is damaged, or belongs to another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            step = int(json.loads((file.metadata() or {})["step"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        load_into(model, {k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        ema.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("ema.")})
    except (SafetensorError, OSError, KeyError, ValueError, CheckpointError) as error:
        raise CheckpointError(f"{path}: cannot resume from it ({error}); move it away to start anew") from error
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        state = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if state:
            moments = {k: v if k == "step" else torch.empty_like(parameter).copy_(v) for k, v in state.items()}
            optimizer.state[parameter] = cast(dict[str, Tensor], moments)
    return step
