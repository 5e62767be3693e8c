"""A folder as the official release has it, built by hand: its answers show what its graphs were given."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

SIDE, GRID = 128, 8
FLOAT = TensorProto.FLOAT


def tensor(name: str, *shape: int | str | None) -> onnx.ValueInfoProto:
    """A float input or output."""
    return helper.make_tensor_value_info(name, FLOAT, list(shape))


def constant(name: str, kind: int, *values: float) -> onnx.TensorProto:
    """A constant: a scalar of one float, else a vector."""
    return helper.make_tensor(name, kind, [len(values)], values)


def save(path: Path, nodes: list[onnx.NodeProto], inputs: list, outputs: list, constants: list) -> None:
    """Write a checked graph."""
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def write_encoder(path: Path) -> None:
    """image (B, 3, 128, 128) -> its means over 16, 2, 4 and 8 pixels."""
    nodes, outputs = [], []
    for name, stride in (("image_embeddings", 16), ("feat_D0", 2), ("feat_D1", 4), ("feat_D2", 8)):
        sides = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
        nodes.append(helper.make_node("AveragePool", ["image"], [name], **sides))
        outputs.append(tensor(name, "batch", 3, SIDE // stride, SIDE // stride))
    save(path, nodes, [tensor("image", "batch", 3, SIDE, SIDE)], outputs, [])


def write_decoder(path: Path, prompts: int | str | None, images: int | str | None) -> None:
    """The official signature; the four masks are constant maps but the first.

    They are the attention mask (cut off at -50), and the sums of the coordinates, of the labels, and of what the
    features hold; the qualities 0.1, 0.2, 0.3 and the number of points.
    """
    n = helper.make_node
    inputs = [tensor(f"feat_D{i}", images, 3, SIDE // 2 ** (i + 1), SIDE // 2 ** (i + 1)) for i in range(3)]
    inputs += [
        tensor("image_embeddings", images, 3, GRID, GRID),
        tensor("attn_mask", prompts, GRID, GRID),
        tensor("point_coords", prompts, "num_points", 2),
        tensor("point_labels", prompts, "num_points"),
    ]
    nodes = [
        n("Clip", ["attn_mask", "low"], ["clipped"]),
        n("Unsqueeze", ["clipped", "one"], ["map0"]),
        n("Mul", ["map0", "zero"], ["blank"]),
        n("ReduceSum", ["point_coords", "last_two"], ["xy"], keepdims=0),
        n("ReduceSum", ["point_labels", "one"], ["label_sum"], keepdims=0),
        *(n("ReduceMean", [f"feat_D{i}"], [f"mean{i}"], axes=[1, 2, 3], keepdims=0) for i in range(3)),
        n("ReduceMean", ["image_embeddings"], ["mean3"], axes=[1, 2, 3], keepdims=0),
        n("Sum", ["mean0", "mean1", "mean2", "mean3"], ["feature_sum"]),
    ]
    for index, name in enumerate(("xy", "label_sum", "feature_sum"), start=1):
        nodes.append(n("Unsqueeze", [name, "map_axes"], [f"{name}_at"]))
        nodes.append(n("Add", ["blank", f"{name}_at"], [f"map{index}"]))
    nodes += [
        n("Concat", ["map0", "map1", "map2", "map3"], ["masks"], axis=1),
        n("Shape", ["point_labels"], ["prompts_and_points"]),
        n("Gather", ["prompts_and_points", "one"], ["points"]),
        n("Cast", ["points"], ["points_f"], to=FLOAT),
        n("Concat", ["tenths", "points_f"], ["row"], axis=0),
        n("Gather", ["prompts_and_points", "nought"], ["batch"]),
        n("Concat", ["batch", "one"], ["tiling"], axis=0),
        n("Unsqueeze", ["row", "nought"], ["rows1"]),
        n("Tile", ["rows1", "tiling"], ["iou_predictions"]),
    ]
    constants = [
        helper.make_tensor("low", FLOAT, [], [-50.0]),
        constant("zero", FLOAT, 0.0),
        constant("tenths", FLOAT, 0.1, 0.2, 0.3),
        constant("nought", TensorProto.INT64, 0),
        constant("one", TensorProto.INT64, 1),
        constant("last_two", TensorProto.INT64, 1, 2),
        constant("map_axes", TensorProto.INT64, 1, 2, 3),
    ]
    outputs = [tensor("masks", prompts, 4, GRID, GRID), tensor("iou_predictions", prompts, 4)]
    save(path, nodes, inputs, outputs, constants)


@pytest.fixture
def make_official(tmp_path: Path) -> Callable[..., Path]:
    """`make_official(prompts="batch", images=1)`: a new folder whose decoder declares these batch axes."""

    def make(prompts: int | str | None = "batch", images: int | str | None = 1) -> Path:
        folder = tmp_path / f"official_{prompts}_{images}"
        write_encoder(folder / "encoder.onnx")
        write_decoder(folder / "decoder.onnx", prompts, images)
        return folder

    return make
