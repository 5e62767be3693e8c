"""Linear layers of inference on a CPU: oneDNN's product on weights in its own order, bias and GELU included.

PyTorch's own `linear` takes the weights as they lie and GELU is another pass over its result; at the sizes of SAM's
encoders that is 10 to 20 percent slower. TorchInductor makes the same calls. The copies in oneDNN's order live as long
as a `PackedLinears`: while one block of a transformer runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_packing_allowed = ContextVar("packing_allowed", default=True)


class Linears(Protocol):
    """Applies linear layers."""

    def __call__(self, layer: nn.Linear, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) -> (..., out), through GELU if so asked."""
        ...


def plain_linears(layer: nn.Linear, x: Tensor, *, gelu: bool = False) -> Tensor:
    """The layers as they are."""
    return F.gelu(layer(x)) if gelu else layer(x)


class PackedLinears:
    """Applies layers to float32 on a CPU, without gradients; each layer's weights are brought into order once."""

    def __init__(self) -> None:
        self._weights: dict[int, Tensor] = {}

    def __call__(self, layer: nn.Linear, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) float32 -> (..., out), through GELU (the exact one) if so asked."""
        if not _is_as_made(layer):
            return plain_linears(layer, x, gelu=gelu)
        weight = self._weights.get(id(layer))
        if weight is None:
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight, x.numel() // x.shape[-1])
            self._weights[id(layer)] = weight
        return _product(x, weight, layer.bias, gelu)


def _is_as_made(layer: nn.Module) -> bool:
    """A linear layer that nobody has wrapped, quantised or listens to."""
    listeners = layer._forward_hooks or layer._forward_pre_hooks
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32 and not listeners


def linears_for_inference() -> Linears:
    """The faster of the two here, for float32 on a CPU without gradients."""
    allowed = _packing_allowed.get() and torch.backends.mkldnn.enabled
    return PackedLinears() if allowed and _packing_works() else plain_linears


@contextmanager
def without_packing() -> Iterator[None]:
    """Run linear layers as PyTorch's own, for those who look at the operations."""
    token = _packing_allowed.set(False)
    try:
        yield
    finally:
        _packing_allowed.reset(token)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    after, kind = ("gelu", "none") if gelu else ("none", "")
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], kind)
    return result


@cache
def _packing_works() -> bool:
    """Whether this PyTorch has these operations (they are its own, not promised) and they are right."""
    if not torch.backends.mkldnn.is_available():
        return False
    with torch.no_grad():
        x, weight, bias = torch.linspace(-2, 2, 24).view(3, 8), torch.linspace(-1, 1, 32).view(4, 8), torch.ones(4)
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, 3)
            return all(
                torch.allclose(_product(x, packed, bias, gelu), F.gelu(y) if gelu else y, atol=1e-5)
                for y in (F.linear(x, weight, bias),)
                for gelu in (False, True)
            )
        except (RuntimeError, AttributeError, TypeError):
            return False
