"""Geometry that took long to make, kept beside the answers so that a resumed run has it at once."""

import io
from pathlib import Path

import numpy as np

from zim.errors import DataError
from zim.files import write_bytes_atomic

from .surface import Mesh, Surface


def save_surface(path: Path, surface: Surface) -> None:
    """Write a surface as .npz, atomically."""
    arrays = {
        "points": surface.points,
        "normals": surface.normals,
        "colours": surface.colours,
        "spacing": np.array(surface.spacing),
    }
    if surface.mesh is not None:
        arrays |= {f"mesh_{name}": value for name, value in surface.mesh._asdict().items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes_atomic(path, buffer.getvalue())


def load_surface(path: Path) -> Surface:
    """Read what `save_surface` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            mesh = None
            if "mesh_vertices" in data:
                mesh = Mesh(data["mesh_vertices"], data["mesh_triangles"], data["mesh_colours"])
            return Surface(
                points=data["points"],
                normals=data["normals"],
                colours=data["colours"],
                spacing=float(data["spacing"]),
                mesh=mesh,
            )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: expected a surface; delete the file and start again ({error})") from error
