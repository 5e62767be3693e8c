"""Binary glTF 2.0 files (GLB): arrays in, one file out. What the meshes look like is their owners' matter."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zim.files import write_bytes_atomic

_COMPONENTS = {"f4": 5126, "u1": 5121, "u4": 5125}
_TARGETS = {"vertices": 34962, "triangles": 34963}
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


class GltfBuffer:
    """Collects arrays; `add` answers the number under which a primitive refers to one."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], target: Literal["vertices", "triangles"], *, bounds: bool = False) -> int:
        """Take an array.

        Args:
            array: (N, 1), (N, 3) or (N, 4) float32, uint32, or uint8, which stands for 0 to 1.
            target: what it is for.
            bounds: state the smallest and largest values, as positions must.
        """
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        kind = plain.dtype.str[1:]
        accessor: dict[str, Any] = {
            "bufferView": len(self._views),
            "componentType": _COMPONENTS[kind],
            "count": len(plain),
            "type": _TYPES[plain.shape[1]],
        }
        if bounds:
            accessor |= {"min": plain.min(axis=0).tolist(), "max": plain.max(axis=0).tolist()}
        if kind == "u1":
            accessor["normalized"] = True
        place = {"byteOffset": len(self._data), "byteLength": plain.nbytes, "target": _TARGETS[target]}
        self._views.append({"buffer": 0} | place)
        self._accessors.append(accessor)
        self._data += plain.tobytes()
        self._data += b"\0" * (-len(self._data) % 4)
        return len(self._accessors) - 1

    def write(self, path: str | Path, scene: Mapping[str, Any]) -> None:
        """Write the file, atomically.

        Args:
            path: ends in .glb.
            scene: glTF's nodes, meshes and materials; all nodes are shown.

        Raises:
            OSError: the file cannot be written.
        """
        document = {
            "asset": {"version": "2.0", "generator": "zim-matting"},
            "scene": 0,
            "scenes": [{"nodes": list(range(len(scene["nodes"])))}],
            **scene,
            "buffers": [{"byteLength": len(self._data)}],
            "bufferViews": self._views,
            "accessors": self._accessors,
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self._data)
        head = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
        write_bytes_atomic(path, head + text + struct.pack("<I4s", len(self._data), b"BIN\0") + bytes(self._data))
