"""Binary glTF 2.0 of a mesh: vertex colours whose fourth channel is the alpha, and the attribute `_ALPHA`."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.files import write_bytes_atomic

from .surface import Mesh

_FLOAT, _BYTE, _INT = 5126, 5121, 5125
_ARRAY, _ELEMENTS = 34962, 34963
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def write_glb(path: Path, mesh: Mesh, alpha: NDArray[np.float32]) -> None:
    """Write a mesh; viewers blend it by its alpha."""
    linear = (mesh.colours / 255.0) ** 2.2  # glTF's vertex colours are linear
    rgba = np.concatenate([linear * 255, alpha[:, None] * 255], axis=1)
    arrays = [
        (mesh.vertices.astype("<f4"), _FLOAT, _ARRAY),
        ((rgba + 0.5).astype("u1"), _BYTE, _ARRAY),
        (alpha.astype("<f4")[:, None], _FLOAT, _ARRAY),
        (mesh.triangles.astype("<u4").reshape(-1, 1), _INT, _ELEMENTS),
    ]
    body, views, accessors = b"", [], []
    for number, (array, kind, target) in enumerate(arrays):
        data = array.tobytes()
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": len(data), "target": target})
        accessor: dict[str, Any] = {
            "bufferView": number,
            "componentType": kind,
            "count": len(array),
            "type": _TYPES[array.shape[1]],
        }
        if number == 0:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        accessors.append(accessor | ({"normalized": True} if kind == _BYTE else {}))
        body += data + b"\0" * (-len(data) % 4)
    content = {
        "asset": {"version": "2.0", "generator": "zim-matting"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1, "_ALPHA": 2}, "indices": 3, "material": 0}]}
        ],
        "materials": [{"alphaMode": "BLEND", "doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0}}],
        "buffers": [{"byteLength": len(body)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + len(body)
    head = struct.pack("<III", 0x46546C67, 2, size)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(body), 0x004E4942) + body
    write_bytes_atomic(path, head + chunks)
