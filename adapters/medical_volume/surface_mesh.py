"""The surface of a soft object as triangles in world millimetres, and as a file that 3-D viewers open.

Marching cubes where alpha passes 0.5 (scikit-image); the soft rim places the surface between voxels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError, MissingDependencyError

from ..gltf import GltfBuffer
from .cropped import CroppedVolume
from .geometry import Geometry
from .montage import COLOURS

MOST_VOXELS = 2_000_000
"""A larger object is averaged over blocks of voxels first, so that a browser can show its surface."""

_RAS_MM_TO_GLTF_M = (0.001, 0, 0, 0, 0, 0, -0.001, 0, 0, 0.001, 0, 0, 0, 0, 0, 1)
"""Column by column: glTF counts metres, its y points up and its z to the viewer (here: to the back of the body)."""


class SurfaceMesh(NamedTuple):
    """vertices: (V, 3) float64 world mm, RAS+. faces: (F, 3) int64, anticlockwise seen from outside."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    @property
    def area_mm2(self) -> float:
        """Sum of the triangles' areas."""
        return float(np.linalg.norm(self._crosses(), axis=1).sum() / 2)

    @property
    def volume_mm3(self) -> float:
        """What the surface encloses: the sum of signed tetrahedra (divergence theorem)."""
        return float(np.einsum("ij,ij->i", self.vertices[self.faces[:, 0]], self._crosses()).sum() / 6)

    def normals(self) -> NDArray[np.float64]:
        """(V, 3) unit vectors outwards: the mean of the triangles around a vertex, weighted by their areas."""
        summed = np.zeros_like(self.vertices)
        for corner in range(3):
            np.add.at(summed, self.faces[:, corner], self._crosses())
        lengths = np.linalg.norm(summed, axis=1, keepdims=True)
        return np.where(lengths > 0, summed / np.maximum(lengths, 1e-30), (0.0, 0.0, 1.0))

    def _crosses(self) -> NDArray[np.float64]:
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return np.asarray(np.cross(b - a, c - a))


def surface_of(
    alpha: NDArray[np.float32], geometry: Geometry, *, level: float = 0.5, most_voxels: int = MOST_VOXELS
) -> SurfaceMesh:
    """The closed surface of an object; objects that reach the volume's edge are closed there.

    Args:
        alpha: (X, Y, Z) in [0, 1], canonical frame.
        geometry: where the voxels lie.
        level: the surface is where alpha passes it.
        most_voxels: see `MOST_VOXELS`.

    Raises:
        DataError: no voxel above the level.
        MissingDependencyError: scikit-image is not installed.
    """
    marching_cubes = _marching_cubes()
    crop = CroppedVolume.of(alpha)
    if not crop.values.size or not (crop.values > level).any():
        raise DataError(f"surface: expected a voxel with alpha above {level:g}, got none")
    factor = max(1, int(np.ceil((crop.values.size / most_voxels) ** (1 / 3))))
    block = np.pad(_block_means(crop.values, factor), 1)
    if not (block > level).any():
        raise DataError(f"surface: the object is too thin for a surface on blocks of {factor} voxels")
    found, faces, _, _ = marching_cubes(block, level)
    voxels = (found - 1 + 0.5) * factor - 0.5 + np.array(crop.low)
    mesh = SurfaceMesh(geometry.canonical_to_world(voxels), faces.astype(np.int64))
    return mesh if mesh.volume_mm3 > 0 else mesh._replace(faces=mesh.faces[:, ::-1])


def write_glb(path: str | Path, meshes: Mapping[str, SurfaceMesh]) -> None:
    """Write a binary glTF 2.0 file, one mesh an object; vertices in mm, the node turns them into glTF's metres.

    Args:
        path: ends in .glb.
        meshes: name -> surface, at least one; colours follow `montage.COLOURS`.

    Raises:
        DataError: no mesh.
        OSError: the file cannot be written.
    """
    if not meshes:
        raise DataError("meshes: expected at least one, got none")
    arrays = GltfBuffer()
    drawn = []
    for number, mesh in enumerate(meshes.values()):
        attributes = {
            "POSITION": arrays.add(mesh.vertices.astype(np.float32), "vertices", bounds=True),
            "NORMAL": arrays.add(mesh.normals().astype(np.float32), "vertices"),
        }
        corners = arrays.add(mesh.faces.astype(np.uint32).reshape(-1, 1), "triangles")
        drawn.append({"attributes": attributes, "indices": corners, "material": number})
    scene = {
        "nodes": [{"name": name, "mesh": number, "matrix": _RAS_MM_TO_GLTF_M} for number, name in enumerate(meshes)],
        "meshes": [{"name": name, "primitives": [one]} for name, one in zip(meshes, drawn, strict=True)],
        "materials": [_material(number) for number in range(len(meshes))],
    }
    arrays.write(path, scene)


def _material(number: int) -> dict[str, Any]:
    red, green, blue = (round((part / 255) ** 2.2, 4) for part in COLOURS[number % len(COLOURS)])
    surface = {"baseColorFactor": [red, green, blue, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.7}
    return {"pbrMetallicRoughness": surface, "doubleSided": True}


def _block_means(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over blocks of `factor` voxels along each axis; what lies beyond counts as nothing."""
    if factor == 1:
        return values
    whole = np.pad(values, [(0, -side % factor) for side in values.shape])
    x, y, z = (side // factor for side in whole.shape)
    return whole.reshape(x, factor, y, factor, z, factor).mean((1, 3, 5), dtype=np.float32)


def _marching_cubes() -> Any:
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise MissingDependencyError(
            "surfaces need scikit-image; install it with: pip install 'zim-matting[demo]'"
        ) from error
    return marching_cubes
