"""PLY files of points and meshes with an alpha for each vertex; binary, little-endian."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zim.files import write_bytes_atomic

from .surface import Mesh

_TYPES = {"f4": "float", "u1": "uchar", "i4": "int"}


def write_point_ply(
    path: Path,
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    colours: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    labels: NDArray[np.int32] | None = None,
) -> None:
    """Write (N, 3) points with normals, colours, a float property `alpha`, and `label` for several objects."""
    fields = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("nx", "f4"), ("ny", "f4"), ("nz", "f4")]
    fields += [("red", "u1"), ("green", "u1"), ("blue", "u1"), ("alpha", "f4")]
    table = np.zeros(len(points), [*fields, *([("label", "i4")] if labels is not None else [])])
    _fill(table, ("x", "y", "z"), points)
    _fill(table, ("nx", "ny", "nz"), normals)
    _fill(table, ("red", "green", "blue"), colours)
    table["alpha"] = alpha
    if labels is not None:
        table["label"] = labels
    write_bytes_atomic(path, _header(table, 0) + table.tobytes())


def write_mesh_ply(path: Path, mesh: Mesh, alpha: NDArray[np.float32]) -> None:
    """Write a mesh with vertex colours and a float property `alpha`."""
    fields = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("alpha", "f4")]
    table = np.zeros(len(mesh.vertices), fields)
    _fill(table, ("x", "y", "z"), mesh.vertices)
    _fill(table, ("red", "green", "blue"), mesh.colours)
    table["alpha"] = alpha
    faces = np.zeros(len(mesh.triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.triangles
    write_bytes_atomic(path, _header(table, len(faces)) + table.tobytes() + faces.tobytes())


def _fill(table: NDArray[np.void], names: tuple[str, ...], values: NDArray[np.generic]) -> None:
    for column, name in enumerate(names):
        table[name] = values[:, column]


def _header(table: NDArray[np.void], faces: int) -> bytes:
    names = table.dtype.names or ()
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    lines += [f"property {_TYPES[table.dtype[name].str[1:]]} {name}" for name in names]
    if faces:
        lines += [f"element face {faces}", "property list uchar int vertex_indices"]
    return ("\n".join([*lines, "end_header"]) + "\n").encode()
