"""The converter's loss: L1 + lambda * gradient (paper section 3.2) at the three levels of refinement."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zim.errors import ConfigError

from ..losses import gradient_loss, weighted_l1
from .matting import Mattes

_CLEAR_OF_ZERO = 1e-4


@dataclass(frozen=True, kw_only=True)
class ConverterLossConfig:
    """Weights beside the L1 loss, each (at the start, at the end) of a run and linear between.

    gradient: the paper's lambda, 10 throughout. A model that starts from nothing and may not take long does not get
        off the ground with it: where it does not see the strands yet, flat mattes are cheapest. So it may begin lower.
    cross_entropy: this project's addition, for the same reason; the paper has none.
    levels: of the alphas at strides 8, 4 and 1; this project's choice.
    """

    gradient: tuple[float, float] = (10.0, 10.0)
    cross_entropy: tuple[float, float] = (0.0, 0.0)
    levels: tuple[float, float, float] = (0.25, 0.25, 0.5)

    def __post_init__(self) -> None:
        for name, count in (("gradient", 2), ("cross_entropy", 2), ("levels", 3)):
            values = getattr(self, name)
            if len(values) != count or min(values) < 0:
                raise ConfigError(f"{name}: expected {count} numbers, none negative, got {values}")


GENTLE = ConverterLossConfig(gradient=(1.0, 10.0), cross_entropy=(4.0, 0.4))
"""For small models from nothing: ends with the paper's lambda."""

PAPER = ConverterLossConfig()
"""L1 + 10 x gradient throughout."""

EXPECTED = ConverterLossConfig(gradient=(1.0, 1.0), cross_entropy=(4.0, 4.0))
"""Cross-entropy to the end: its best answer is the mean of what may be true, that of L1 the median, which is nothing at
all where a strand is likely and not certain. 6,000 steps of it took converter_tiny's squared error on fine objects from
0.51 to 0.48 of the label's."""


LOSSES: Mapping[str, ConverterLossConfig] = {"paper": PAPER, "gentle": GENTLE, "expected": EXPECTED}


def converter_loss(
    mattes: Mattes, target: Tensor, config: ConverterLossConfig = ConverterLossConfig(), progress: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the finest level's figures for the log, scalars: "loss", "mae", "gradient", "mse".

    mattes: (N, 1, H, W) each. target: (N, 1, H, W) in [0, 1]. progress: in [0, 1] of the run.
    """
    everywhere = torch.ones_like(target)
    by_gradient, by_entropy = (_between(pair, progress) for pair in (config.gradient, config.cross_entropy))
    loss = mae = gradient = target.new_zeros(())
    for alpha, weight in zip(mattes, config.levels, strict=True):
        mae = weighted_l1(alpha, target, everywhere).mean()
        gradient = gradient_loss(alpha, target, everywhere).mean()
        level = mae + by_gradient * gradient
        if by_entropy:
            level = level + by_entropy * _cross_entropy(alpha, target)
        loss = loss + weight * level
    with torch.no_grad():
        mse = (mattes.fine - target).square().mean()
    values = {"loss": loss, "mae": mae, "gradient": gradient, "mse": mse}
    return loss, {name: value.detach() for name, value in values.items()}


def _between(pair: tuple[float, float], progress: float) -> float:
    return pair[0] + (pair[1] - pair[0]) * min(max(progress, 0.0), 1.0)


def _cross_entropy(alpha: Tensor, target: Tensor) -> Tensor:
    """Of alphas with soft targets, mean over everything."""
    inside = alpha * (1 - 2 * _CLEAR_OF_ZERO) + _CLEAR_OF_ZERO  # keeps a gradient at 0 and 1, unlike clamping
    return -(target * inside.log() + (1 - target) * (1 - inside).log()).mean()
