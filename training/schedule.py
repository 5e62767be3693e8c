"""What every training loop of the project does alike with rates and parameters."""

import math
from typing import Any

from torch import nn


def warmup_cosine(step: int, *, lr: float, warmup: int, steps: int) -> float:
    """Rate of a step: a linear rise to `lr` over `warmup` steps, then a cosine to zero at `steps`."""
    if step < warmup:
        return lr * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return lr * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: weight decay for matrices and kernels only."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
