"""Providers by availability, loud fall-backs, and tensors that pass through onnxruntime unharmed."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from zim.errors import CheckpointError, ConfigError
from zim.onnx.session import COREML, CPU, CUDA, OnnxGraph, Provider, providers_for, warn_unless_loaded


@pytest.mark.parametrize(
    ("device", "available", "expected"),
    [
        ("auto", [CUDA, CPU], [CUDA, CPU]),
        ("auto", [COREML, CPU], [COREML, CPU]),
        ("auto", ["AzureExecutionProvider", CPU], [CPU]),
        ("cpu", [CUDA, COREML, CPU], [CPU]),
        ("cuda", [COREML, CUDA, CPU], [CUDA, CPU]),
        ("cuda:1", [CUDA, CPU], [(CUDA, {"device_id": 1}), CPU]),
        ("cuda", [CPU], [CPU]),
        ("mps", [CUDA, COREML, CPU], [COREML, CPU]),
    ],
)
def test_providers_by_availability(device: str, available: list[str], expected: list[Provider]) -> None:
    assert providers_for(device, available) == expected


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "meta", ""])
def test_unknown_device(device: str) -> None:
    with pytest.raises(ConfigError, match="device: expected auto, cpu, cuda"):
        providers_for(device, [CPU])


def test_cuda_that_did_not_load_is_said_loudly() -> None:
    with pytest.warns(RuntimeWarning, match="computes on CPU.*failed to load CUDAExecutionProvider .*cuDNN"):
        warn_unless_loaded("cuda:1", [(CUDA, {"device_id": 1}), CPU], [CPU])
    with pytest.warns(RuntimeWarning, match="this build has no CUDA.*onnxruntime-gpu"):
        warn_unless_loaded("cuda", [CPU], [CPU])
    with pytest.warns(RuntimeWarning, match="failed to load CUDA"):
        warn_unless_loaded("auto", [CUDA, CPU], [CPU])


def test_what_did_load_is_not_talked_about() -> None:
    """pytest makes an error of any warning."""
    warn_unless_loaded("cuda", [CUDA, CPU], [CUDA, CPU])
    warn_unless_loaded("auto", [CPU], [CPU])
    warn_unless_loaded("cpu", [CPU], [CPU])


@pytest.fixture
def add(tmp_path: Path) -> OnnxGraph:
    """sum = a + b, product = a * b."""
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3])
        for name in ("a", "b", "sum", "product")
    }
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])]
    graph = helper.make_graph(nodes, "add", [values["a"], values["b"]], [values["sum"], values["product"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "add.onnx"))
    return OnnxGraph(tmp_path / "add.onnx", "cpu")


def test_signature(add: OnnxGraph) -> None:
    assert add.inputs == {"a": ["rows", 3], "b": ["rows", 3]}
    assert add.outputs == ["sum", "product"]
    assert add.device == torch.device("cpu")


def test_tensors_of_any_layout_and_dtype(add: OnnxGraph) -> None:
    a = torch.arange(12, dtype=torch.float64).reshape(3, 4).T  # not contiguous, and not float32
    b = torch.full((4, 3), 2, dtype=torch.int64)
    total, product = add.run(b=b, a=a)
    assert total.dtype == torch.float32
    assert torch.equal(total, (a + 2).float())
    assert torch.equal(product, (a * 2).float())


def test_results_outlive_later_runs(add: OnnxGraph) -> None:
    first, _ = add.run(a=torch.ones(1000, 3), b=torch.ones(1000, 3))
    for value in range(20):
        add.run(a=torch.full((1000, 3), float(value)), b=torch.zeros(1000, 3))
    assert torch.equal(first, torch.full((1000, 3), 2.0))


def test_no_rows_at_all(add: OnnxGraph) -> None:
    total, _ = add.run(a=torch.zeros(0, 3), b=torch.zeros(0, 3))
    assert total.shape == (0, 3)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected an ONNX graph"):
        OnnxGraph(tmp_path / "none.onnx", "cpu")
