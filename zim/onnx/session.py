"""One ONNX graph under onnxruntime, with torch tensors in and out and no copy between the two."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zim.errors import CheckpointError, ConfigError, MissingDependencyError

CUDA, COREML, CPU = "CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"
ACCELERATORS = {"auto": (CUDA, COREML), "cuda": (CUDA,), "mps": (COREML,), "cpu": ()}
"""What is tried before the CPU, by the kind of device that was asked for."""

Provider = str | tuple[str, dict[str, Any]]


class OnnxGraph:
    """A loaded graph.

    Attributes:
        path: the file.
        device: where its tensors live: a CUDA device, else the CPU.
        inputs: shapes by name, in order; an axis of any length is a string or None.
        outputs: names, in order.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        runtime = import_runtime()
        providers = providers_for(device, runtime.get_available_providers())
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # as many as torch takes on this machine
        options.log_severity_level = 3  # errors only
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime has a dozen exceptions of its own
            raise CheckpointError(f"{path}: expected an ONNX graph, onnxruntime cannot load it ({error})") from error
        loaded = self._session.get_providers()
        warn_unless_loaded(device, providers, loaded)
        self.path = path
        self.device = _tensor_device(device, loaded)
        self.inputs: dict[str, list[Any]] = {value.name: list(value.shape) for value in self._session.get_inputs()}
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]

    def run(self, **inputs: Tensor) -> list[Tensor]:
        """Compute all outputs.

        Args:
            inputs: tensors of any device and dtype, by name.

        Returns:
            float32 tensors on the device of the first input.
        """
        home = next(iter(inputs.values())).device
        bound = {  # kept until the run is over: onnxruntime reads their memory
            name: value.detach().to(self.device, torch.float32).contiguous() for name, value in inputs.items()
        }
        kind, index = self.device.type, self.device.index or 0
        if kind == "cuda":
            torch.cuda.current_stream(self.device).synchronize()  # onnxruntime computes on a stream of its own
        binding = self._session.io_binding()
        for name, value in bound.items():
            binding.bind_input(name, kind, index, np.float32, tuple(value.shape), value.data_ptr())
        for name in self.outputs:
            binding.bind_output(name, kind, index)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return [torch.from_dlpack(value).to(home) for value in binding.get_outputs()]


def import_runtime() -> Any:
    """onnxruntime.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(f"onnxruntime: pip install 'zim-matting[onnx]' ({error})") from error
    return onnxruntime


def providers_for(device: str, available: Sequence[str]) -> list[Provider]:
    """What onnxruntime should compute on, best first; the CPU is always the last.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        available: what this build of onnxruntime knows.

    Raises:
        ConfigError: another device.
    """
    kind, _, index = device.partition(":")
    if kind not in ACCELERATORS or (index and not index.isdecimal()):
        raise ConfigError(f"device: expected auto, cpu, cuda, cuda:N or mps for an ONNX folder, got {device!r}")
    chosen: list[Provider] = [name for name in ACCELERATORS[kind] if name in available]
    return [*((name, {"device_id": int(index)}) if name == CUDA and index else name for name in chosen), CPU]


def warn_unless_loaded(device: str, tried: Sequence[Provider], loaded: Sequence[str]) -> None:
    """Say loudly that an accelerator was wanted and the CPU is what computes; onnxruntime itself goes on quietly."""
    kind = device.partition(":")[0]
    names = [provider if isinstance(provider, str) else provider[0] for provider in tried]
    wanted = list(ACCELERATORS[kind]) if kind in ("cuda", "mps") else [name for name in names if name != CPU]
    absent = [name for name in wanted if name not in loaded]
    if not absent:
        return
    reason = (
        f"it failed to load {absent[0]} (CUDA, cuDNN or driver missing or of another version)"
        if absent[0] in names
        else f"this build has no {absent[0]} (for CUDA: pip uninstall onnxruntime; pip install onnxruntime-gpu)"
    )
    warnings.warn(
        f"device {device!r} was asked for, but onnxruntime computes on {', '.join(loaded)}: {reason}",
        RuntimeWarning,
        stacklevel=4,
    )


def _tensor_device(device: str, loaded: Sequence[str]) -> torch.device:
    if CUDA in loaded and torch.cuda.is_available():
        return torch.device("cuda", int(device.partition(":")[2] or 0))
    return torch.device("cpu")
