"""Where there is no CUDA device, requests for one are answered with the CPU, for as long as a context lasts."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from zim.compat.notices import Notices

Function = Callable[..., Any]
CpuFor = Callable[[Any], Any]
"""Gives back a device, or the CPU in the place of a CUDA device."""

WITHOUT_EFFECT = ("set_device", "synchronize")
"""Functions of `torch.cuda` that fail without CUDA although nothing depends on them."""

_MISSING = object()


@contextmanager
def cuda_answered_by_cpu(notices: Notices) -> Iterator[None]:
    """Within the context `tensor.to("cuda")`, `.cuda()` and `device="cuda"` mean the CPU, models included.

    Does nothing where CUDA is there. `torch.cuda.is_available()` keeps telling the truth, and what was replaced
    in torch is put back at the end. Moving holds for all threads; making tensors with `device="cuda"` for the
    thread that entered the context.
    """
    if torch.cuda.is_available():
        yield
        return

    def cpu_for(device: Any) -> Any:
        if not _is_cuda(device):
            return device
        notices.say("cuda", "this machine has no CUDA device: the CPU answers instead")
        return torch.device("cpu")

    replacements = _replacements(cpu_for)
    before = [(owner, name, vars(owner).get(name, _MISSING)) for owner, name, _ in replacements]
    for owner, name, function in replacements:
        setattr(owner, name, function)
    try:
        with _OnCpu(cpu_for):
            yield
    finally:
        for owner, name, original in before:
            if original is _MISSING:
                delattr(owner, name)  # what was inherited shows again
            else:
                setattr(owner, name, original)


class _OnCpu(TorchFunctionMode):
    """Changes the `device` argument of every torch function called in this thread."""

    def __init__(self, cpu_for: CpuFor) -> None:
        super().__init__()
        self._cpu_for = cpu_for

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "device" in kwargs:
            kwargs = kwargs | {"device": self._cpu_for(kwargs["device"])}
        return func(*args, **kwargs)


def _replacements(cpu_for: CpuFor) -> list[tuple[Any, str, Function]]:
    """(owner, name, function); modules move by `Tensor.to` and `Tensor.cuda` too."""
    wanted = [
        (torch.Tensor, "to", _to),
        (torch.Tensor, "cuda", _cuda),
        (torch, "load", _load),
        (torch.jit, "load", _load),
        *((torch.cuda, name, _nothing) for name in WITHOUT_EFFECT),
    ]
    return [(owner, name, wrap(getattr(owner, name), cpu_for)) for owner, name, wrap in wanted]


def _to(original: Function, cpu_for: CpuFor) -> Function:
    @functools.wraps(original)
    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:
            kwargs["device"] = cpu_for(kwargs["device"])
        return original(self, *(cpu_for(arg) for arg in args[:1]), *args[1:], **kwargs)

    return to


def _cuda(original: Function, cpu_for: CpuFor) -> Function:
    @functools.wraps(original)
    def cuda(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.to(cpu_for("cuda"))

    return cuda


def _load(original: Function, cpu_for: CpuFor) -> Function:
    @functools.wraps(original)
    def load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        return original(f, torch.device("cpu") if map_location is None else cpu_for(map_location), *args, **kwargs)

    return load


def _nothing(original: Function, cpu_for: CpuFor) -> Function:
    @functools.wraps(original)
    def nothing(*args: Any, **kwargs: Any) -> None:
        cpu_for("cuda")

    return nothing


def _is_cuda(device: Any) -> bool:
    """Whether that is a way to name a CUDA device: "cuda:0", a `torch.device`, or its bare number."""
    if isinstance(device, torch.device):
        return device.type == "cuda"
    if isinstance(device, str):
        return device.partition(":")[0] == "cuda"
    return isinstance(device, int) and not isinstance(device, bool)
