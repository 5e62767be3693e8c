"""Operations of a call against what the machine can do in matrix products."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from zim.evaluation.machine import timed
from zim.modeling.packed_linear import without_packing

_SIDE = 2048
_TRIES = 5


class Roofline(NamedTuple):
    """flops: of products and convolutions, two a multiply-add. peak: measured FLOP a second of a float32 product."""

    flops: int
    peak: float

    @property
    def least_seconds(self) -> float:
        """What the operations would take at the peak."""
        return self.flops / self.peak

    def share(self, seconds: float) -> float:
        """Share of the peak that a measured time reaches."""
        return self.least_seconds / seconds


def measure_peak(device: torch.device) -> float:
    """FLOP a second of a float32 product of 2048 x 2048 matrices, the best of some tries."""
    matrix = torch.rand(_SIDE, _SIDE, device=device)
    best = min(timed(lambda: matrix @ matrix)[1] for _ in range(_TRIES + 1))
    return 2 * _SIDE**3 / best


def count_flops(call: Callable[[], object]) -> int:
    """Operations of matrix products, convolutions and attention in a call of torch code.

    Without oneDNN's own operations, which the counter does not know; the same products run as PyTorch's.
    """
    counter = FlopCounterMode(display=False)
    with counter, without_packing():
        call()
    return int(counter.get_total_flops())
