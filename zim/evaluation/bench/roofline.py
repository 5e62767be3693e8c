"""Operations of a call against what the machine can do in matrix products, and the bytes that they handle."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from zim.evaluation.machine import timed
from zim.modeling.packed_linear import without_packing

_SIDE, _SIDE_CUDA = 2048, 8192
_TRIES = 5


class Roofline(NamedTuple):
    """flops: of products and convolutions, two a multiply-add. peak: FLOP a second of a product of the dtype, measured.

    bytes: of the tensors that operations are given or give back, operation by operation; what stays in a cache counts.
    """

    flops: int
    peak: float
    bytes: int | None = None

    @property
    def least_seconds(self) -> float:
        """What the operations would take at the peak."""
        return self.flops / self.peak

    def share(self, seconds: float) -> float:
        """Share of the peak that a measured time reaches."""
        return self.least_seconds / seconds


def measure_peak(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """FLOP a second of a product of 2048 x 2048 matrices (on CUDA 8192 x 8192) of `dtype`, the best of some tries."""
    side = _SIDE_CUDA if device.type == "cuda" else _SIDE
    matrix = torch.rand(side, side, device=device).to(dtype)
    best = min(timed(lambda: matrix @ matrix)[1] for _ in range(_TRIES + 1))
    return 2 * side**3 / best


class Work(NamedTuple):
    """flops and bytes of a call, see `Roofline`."""

    flops: int
    bytes: int


def count_work(call: Callable[[], object]) -> Work:
    """Operations of matrix products, convolutions and attention in a call of torch code, and bytes of everything.

    Without oneDNN's own operations, which the counter does not know; the same products run as PyTorch's.
    """
    counter, traffic = FlopCounterMode(display=False), _Traffic()
    with traffic, counter, without_packing():
        call()
    return Work(int(counter.get_total_flops()), traffic.bytes)


class _Traffic(TorchDispatchMode):
    """Adds up the sizes of what operations are given and give back; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)
        if not views:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum({id(one): one.numel() * one.element_size() for one in tensors}.values())
        return result
