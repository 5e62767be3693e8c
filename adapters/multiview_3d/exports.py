"""Everything that comes out of a propagation: points, meshes, alphas of the views, a report, a turntable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.files import write_json_atomic
from zim.image_io import save_png

from .camera import to_opengl
from .glb_files import write_glb
from .neighbours import carried
from .ply_files import write_mesh_ply, write_point_ply
from .propagation import Propagation, ViewResult
from .surface import Mesh, Surface
from .turntable import write_turntable
from .views import View

KEPT = 0.5
_PREVIEW_POINTS = 30_000


def write_results(
    result: Propagation,
    surface: Surface,
    alphas: NDArray[np.float32],
    folder: Path,
    *,
    turntable_frames: int = 24,
    on_view: Callable[[int, int], None] | None = None,
    preview: bool = False,
) -> dict[str, Any]:
    """Write one folder for each object (the folder itself for a single one) and report.json.

    Each holds points.ply (all points of the object with `alpha`), mesh.ply and mesh.glb (where the scene has a mesh),
    turntable.gif, masks/NAME.png and transforms.json that names them; several objects also share labels.ply.

    Args:
        result: the propagation.
        surface: the points that it ran on.
        alphas: (K, N) float32, the objects' probabilities at the points.
        folder: where to.
        turntable_frames: 0 for no turntable.
        on_view: called with the masks written and their number.
        preview: write preview.glb too.

    Returns:
        The report, as it was written.
    """
    objects = []
    many = len(alphas) > 1
    for obj, alpha in enumerate(alphas):
        place = folder / f"object_{obj + 1}" if many else folder
        described = _write_object(surface, alpha, place, up_of(result), turntable_frames)
        if preview and described["points"]:
            write_preview(place / "preview.glb", surface, alpha, up_of(result))
        described["views"] = _write_masks(result, obj, place, on_view, len(alphas))
        described |= {"seeds": result.seeds[obj], "folder": "." if not many else place.name}
        objects.append(described)
    if many:
        labels = np.where(alphas.max(axis=0) > 1 - alphas.max(axis=0), alphas.argmax(axis=0) + 1, 0)
        best = alphas.max(axis=0)
        write_point_ply(
            folder / "labels.ply", surface.points, surface.normals, surface.colours, best, labels.astype(np.int32)
        )
    report = {
        "layout": result.scene.layout,
        "views": len(result.scene.views),
        "prompted_view": result.scene.names[result.prompted],
        "passes": result.passes,
        "changed": [round(value, 6) for value in result.changed],
        "points": len(surface.points),
        "spacing": surface.spacing,
        "skipped": [each._asdict() for each in (*result.scene.skipped, *result.skipped)],
        "objects": objects,
    }
    write_json_atomic(folder / "report.json", report)
    return report


def write_preview(path: Path, surface: Surface, alpha: NDArray[np.float32], up: NDArray[np.float64]) -> None:
    """Write an object for viewers on the screen: opaque, without lights, about the origin, upright (GLB's up is y).

    Its triangles where the surface is a mesh, else a little square for each of at most 30,000 points.

    Raises:
        DataError: no point has an alpha above 0.5.
    """
    try:
        mesh, _ = cropped_mesh(surface, alpha)
    except DataError:
        mesh = _squares(surface, alpha)
    side = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    turn = np.stack([side, up, np.cross(side, up)])  # rows: the viewer's x, y, z
    centre = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    placed = mesh._replace(vertices=((mesh.vertices - centre) @ turn.T).astype(np.float32))
    write_glb(path, placed, np.ones(len(placed.vertices), np.float32), opaque=True)


def _squares(surface: Surface, alpha: NDArray[np.float32]) -> Mesh:
    """Each point of the object as a square of its spacing; across its normal where that is known."""
    chosen = np.flatnonzero(alpha > KEPT)
    if not len(chosen):
        raise DataError("preview: the object has no points")
    step = -(-len(chosen) // _PREVIEW_POINTS)
    chosen = chosen[::step]
    normals = surface.normals[chosen].astype(np.float64)
    normals[np.linalg.norm(normals, axis=1) < 0.5] = [0.577, 0.577, 0.577]
    other = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(normals, other)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    reach = 0.6 * surface.spacing * float(np.sqrt(step))
    around = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    corners = [surface.points[chosen] + reach * (a * first + b * second) for a, b in around]
    start = 4 * np.arange(len(chosen))[:, None]
    triangles = (start[:, None] + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    return Mesh(
        np.stack(corners, axis=1).reshape(-1, 3).astype(np.float32),
        triangles.astype(np.int32),
        np.repeat(surface.colours[chosen], 4, axis=0),
    )


def cropped_mesh(surface: Surface, alpha: NDArray[np.float32]) -> tuple[Mesh, NDArray[np.float32]]:
    """The triangles that belong to an object, and the alpha of their vertices.

    A triangle belongs to it when the alpha at its centre, from the points around, is above 0.5.

    Raises:
        DataError: the surface has no mesh, or nothing of it is the object.
    """
    if surface.mesh is None:
        raise DataError("mesh: the scene is a point cloud")
    mesh = surface.mesh
    centres = mesh.vertices[mesh.triangles].mean(axis=1)
    kept = mesh.triangles[carried(alpha, surface.points, centres) > KEPT]
    if not len(kept):
        raise DataError("mesh: no triangle belongs to the object")
    used, renumbered = np.unique(kept, return_inverse=True)
    vertices = mesh.vertices[used]
    part = Mesh(vertices, renumbered.reshape(-1, 3).astype(np.int32), mesh.colours[used])
    return part, carried(alpha, surface.points, vertices)


def up_of(result: Propagation) -> NDArray[np.float64]:
    """(3,) the scene's upward direction: the mean of what is up in the pictures."""
    up = -np.mean([view.camera.world_to_camera[1, :3] for view in result.scene.views], axis=0)
    length = float(np.linalg.norm(up))
    return up / length if length > 1e-3 else np.array([0.0, 0.0, 1.0])


def _write_object(
    surface: Surface, alpha: NDArray[np.float32], folder: Path, up: NDArray[np.float64], frames: int
) -> dict[str, Any]:
    chosen = alpha > KEPT
    write_point_ply(
        folder / "points.ply",
        surface.points[chosen],
        surface.normals[chosen],
        surface.colours[chosen],
        alpha[chosen],
    )
    described: dict[str, Any] = {"points": int(chosen.sum())}
    if not chosen.any():
        return described | {"remark": "nothing of the scene's surface belongs to the object"}
    low, high = surface.points[chosen].min(axis=0), surface.points[chosen].max(axis=0)
    described |= {"bounds": [low.tolist(), high.tolist()], "mean_alpha": float(alpha[chosen].mean())}
    if surface.mesh is not None:
        try:
            mesh, of_vertices = cropped_mesh(surface, alpha)
            write_mesh_ply(folder / "mesh.ply", mesh, of_vertices)
            write_glb(folder / "mesh.glb", mesh, of_vertices)
            described["triangles"] = len(mesh.triangles)
        except DataError as error:
            described["remark"] = str(error)
    if frames:
        write_turntable(folder / "turntable.gif", surface, alpha, up, frames=frames)
    return described


def _write_masks(
    result: Propagation, obj: int, folder: Path, on_view: Callable[[int, int], None] | None, objects: int
) -> list[dict[str, Any]]:
    """masks/NAME.png for every view, and a transforms.json with `mask_path`, as nerfstudio reads it."""
    rows, frames = [], []
    total = objects * len(result.scene.views)
    for index, view in enumerate(result.scene.views):
        found = result.in_view(index, obj)
        save_png(folder / "masks" / f"{view.name}.png", found.alpha)
        rows.append(_row(view, found))
        frames.append(_frame(view))
        if on_view:
            on_view(obj * len(result.scene.views) + index + 1, total)
    write_json_atomic(folder / "transforms.json", {"frames": frames})
    return rows


def _row(view: View, found: ViewResult) -> dict[str, Any]:
    return {
        "name": view.name,
        "status": found.status,
        "source": found.source,
        "overlap": None if np.isnan(found.overlap) else round(found.overlap, 4),
        "covered": round(float(found.alpha.mean()), 6),
    }


def _frame(view: View) -> dict[str, Any]:
    camera = view.camera
    names = ("k1", "k2", "k3", "k4") if camera.lens.model == "fisheye" else ("k1", "k2", "p1", "p2", "k3", "k4")
    return {
        "file_path": str(view.image) if isinstance(view.image, Path) else f"images/{view.name}.png",
        "mask_path": f"masks/{view.name}.png",
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "camera_model": "OPENCV_FISHEYE" if camera.lens.model == "fisheye" else "OPENCV",
        **dict(zip(names, camera.lens.coefficients, strict=False)),
        "transform_matrix": to_opengl(camera.world_to_camera).tolist(),
    }
