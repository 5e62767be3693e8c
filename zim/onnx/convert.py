"""One module to one ONNX file, through torch's exporter."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from zim.errors import MissingDependencyError

OPSET = 20
EMBEDDED_LIMIT = 1_900_000_000
"""Weights of more bytes go to a file beside the graph: protobuf ends at 2 GiB."""

EXPORTER_NEEDS = ("onnx", "onnxscript", "onnxruntime")
_EXPORTER_LOGGER = "torch.onnx._internal.exporter._registration"

Axes = Sequence[Mapping[int, str]]
"""For each input of a graph, its axes of any length and their names."""


def write_graph(
    path: Path,
    module: nn.Module,
    examples: Sequence[Tensor],
    *,
    axes: Axes,
    inputs: Sequence[str],
    outputs: Sequence[str],
    broadcast: Sequence[str] = (),
) -> None:
    """Trace a module and write it as ONNX.

    Args:
        path: the file to write.
        module: takes and returns tensors only.
        examples: one tensor for each input; axes of any length must be longer than 1.
        axes: what may vary, by input.
        inputs: names of the graph's inputs.
        outputs: names of the graph's outputs.
        broadcast: inputs that are traced for one image and broadcast over the prompts at run time, so that
            their first axis may as well be as long as the prompts'; it is called "images".

    Raises:
        MissingDependencyError: the extra `onnx` is not installed.
    """
    require_exporter()
    dimensions = {name: torch.export.Dim(name) for by_axis in axes for name in by_axis.values()}
    shapes = tuple({axis: dimensions[name] for axis, name in by_axis.items()} for by_axis in axes)
    # MATH: the fused kernels' strides, recorded in the trace, do not survive the exporter's decompositions.
    # strict: only there does the length of a batch stay symbolic under `len`.
    with _quiet(), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        traced = torch.export.export(module.eval(), tuple(examples), dynamic_shapes=shapes, strict=True)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:  # for the type checker: with dynamo=True it never is
        raise MissingDependencyError("torch.onnx.export: expected a program, got None")
    _name_axes(program.model, axes, broadcast)
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    program.save(path, external_data=size > EMBEDDED_LIMIT)


def require_exporter() -> None:
    """Look for the libraries before long work.

    Raises:
        MissingDependencyError: one of them is missing.
    """
    missing = [name for name in EXPORTER_NEEDS if util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"export: pip install 'zim-matting[onnx]' (without {', '.join(missing)})")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk about itself (absent torchvision, its own deprecations) from the user."""
    logger = logging.getLogger(_EXPORTER_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _name_axes(model: Any, axes: Axes, broadcast: Sequence[str]) -> None:
    """Give the graph's free axes their names, everywhere, and free the first axis of what broadcasts."""
    names: dict[str, str] = {}
    for value, by_axis in zip(model.graph.inputs, axes, strict=True):
        names |= {str(value.shape[axis]): name for axis, name in by_axis.items()}
    for value in (*model.graph.inputs, *(output for node in model.graph for output in node.outputs)):
        for axis, side in enumerate(value.shape or ()):
            if not isinstance(side, int) and str(side) in names:
                value.shape[axis] = names[str(side)]
    for value in model.graph.inputs:
        if value.name in broadcast:
            value.shape[0] = "images"
