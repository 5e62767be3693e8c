"""Binary glTF 2.0 of a mesh: vertex colours whose fourth channel is the alpha, and the attribute `_ALPHA`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gltf import GltfBuffer
from .surface import Mesh


def write_glb(path: Path, mesh: Mesh, alpha: NDArray[np.float32], *, opaque: bool = False) -> None:
    """Write a mesh; viewers blend it by its alpha, or with `opaque` show its colours as they are, without lights."""
    linear = (mesh.colours / 255.0) ** 2.2  # glTF's vertex colours are linear
    rgba = np.concatenate([linear * 255, alpha[:, None] * 255], axis=1)
    arrays = GltfBuffer()
    attributes = {
        "POSITION": arrays.add(mesh.vertices.astype(np.float32), "vertices", bounds=True),
        "COLOR_0": arrays.add((rgba + 0.5).astype(np.uint8), "vertices"),
        "_ALPHA": arrays.add(alpha.astype(np.float32)[:, None], "vertices"),
    }
    corners = arrays.add(mesh.triangles.astype(np.uint32).reshape(-1, 1), "triangles")
    material: dict[str, Any] = {"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0}}
    unlit: dict[str, Any] = {"KHR_materials_unlit": {}}
    material |= {"extensions": unlit} if opaque else {"alphaMode": "BLEND"}
    scene: dict[str, Any] = {
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": corners, "material": 0}]}],
        "materials": [material],
    }
    arrays.write(path, scene | ({"extensionsUsed": list(unlit)} if opaque else {}))
