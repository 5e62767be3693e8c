"""A scene's surface: points that can belong to an object, and the depth that each camera sees."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, DataError

from .camera import Camera
from .open3d_door import import_open3d

DEFAULT_POINTS = 200_000
_RAYS_AT_ONCE = 1_000_000
_SPLAT_RADIUS = 5
_SPACING_NEIGHBOUR = 4  # of even points the fourth neighbour is one spacing away, of random ones about as far
_GREY = 160


class Mesh(NamedTuple):
    """vertices: (V, 3) float32. triangles: (T, 3) int32. colours: (V, 3) uint8 RGB."""

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    colours: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Points on the surface of everything in a scene.

    points: (N, 3) float32, world. normals: (N, 3) float32 of length 1, or zero where none is known. colours: (N, 3)
    uint8 RGB. spacing: typical distance of neighbouring points, world units. mesh: what the points lie on, or None.

    Raises:
        DataError: no points, or points that are not finite.
    """

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8]
    spacing: float
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        if not len(self.points):
            raise DataError("surface: expected at least one point, got none")
        if not np.isfinite(self.points).all():
            raise DataError("surface: expected finite points")

    @cached_property
    def _rays(self) -> Any:
        """open3d's ray caster over the mesh."""
        open3d = import_open3d()
        if self.mesh is None:
            raise ConfigError("surface: a point cloud has no triangles to cast rays at")
        scene = open3d.t.geometry.RaycastingScene()
        scene.add_triangles(
            open3d.core.Tensor(np.ascontiguousarray(self.mesh.vertices, np.float32)),
            open3d.core.Tensor(np.ascontiguousarray(self.mesh.triangles, np.uint32)),
        )
        return scene

    def caster(self) -> Any:
        """The ray caster, an `open3d.t.geometry.RaycastingScene`.

        Raises:
            ConfigError: there is no mesh.
        """
        return self._rays

    def depth(self, camera: Camera) -> NDArray[np.float32]:
        """(H, W) float32 along z, 0 where the camera sees nothing; lens distortion included."""
        if self.mesh is None:
            return _splatted_depth(self, camera)
        directions = camera.directions(camera.pixel_centres())
        pose = camera.camera_to_world
        rays = np.empty((len(directions), 6), np.float32)
        rays[:, :3] = pose[:3, 3]
        rays[:, 3:] = directions @ pose[:3, :3].T  # not normalised: the ray's parameter is z
        found = self.hit_parameters(rays)
        return np.where(np.isfinite(found), found, 0).astype(np.float32).reshape(camera.height, camera.width)

    def hit_parameters(self, rays: NDArray[np.float32]) -> NDArray[np.float32]:
        """(R, 6) rays, origin and direction -> (R,) float32 parameters of the first hits, infinite without one."""
        open3d = import_open3d()
        parts = [
            self.caster().cast_rays(open3d.core.Tensor(rays[start : start + _RAYS_AT_ONCE]))["t_hit"].numpy()
            for start in range(0, len(rays), _RAYS_AT_ONCE)
        ]
        return np.concatenate(parts)


def surface_from_mesh(mesh: Mesh, *, count: int = DEFAULT_POINTS, seed: int = 0) -> Surface:
    """Points spread evenly over a mesh: each triangle gets its share of the area.

    Args:
        mesh: the triangles; those without area are passed over.
        count: points in all, about.
        seed: of the random places within the triangles.

    Raises:
        DataError: no triangle has an area, or an index points nowhere.
    """
    vertices, triangles = mesh.vertices.astype(np.float64), mesh.triangles
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= len(vertices):
        raise DataError(f"mesh: expected triangles of {len(vertices)} vertices, got {len(triangles)}")
    corners = vertices[triangles]  # (T, 3, 3)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(across, axis=1) / 2
    total = float(areas.sum())
    if not total > 0:
        raise DataError("mesh: expected triangles with an area, got none")
    rng = np.random.default_rng(seed)
    ends = np.cumsum(areas) / total
    picked = np.searchsorted(ends, (np.arange(count) + rng.random(count)) / count).clip(0, len(areas) - 1)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
    colours = (mesh.colours[triangles[picked]] * weights[..., None]).sum(axis=1)
    return Surface(
        points=(corners[picked] * weights[..., None]).sum(axis=1).astype(np.float32),
        normals=normals[picked].astype(np.float32),
        colours=(colours + 0.5).astype(np.uint8),
        spacing=float(np.sqrt(total / count)),
        mesh=mesh,
    )


def surface_from_vertices(mesh: Mesh) -> Surface:
    """The vertices of an even, dense mesh, such as a fused one, as the points."""
    corners = mesh.vertices[mesh.triangles].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((len(mesh.vertices), 3))
    for corner in range(3):
        np.add.at(normals, mesh.triangles[:, corner], across)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    return Surface(
        points=mesh.vertices.astype(np.float32),
        normals=normals.astype(np.float32),
        colours=mesh.colours,
        spacing=float(np.median(edges)) if edges.size else 1e-3,
        mesh=mesh,
    )


def surface_from_points(
    points: NDArray[np.floating],
    colours: NDArray[np.uint8] | None = None,
    normals: NDArray[np.floating] | None = None,
) -> Surface:
    """A bare point cloud, (N, 3); its spacing is the median distance to the fourth neighbour."""
    open3d = import_open3d()
    cloud = np.ascontiguousarray(points, np.float32)
    if len(cloud) < 2:
        raise DataError(f"point cloud: expected at least two points, got {len(cloud)}")
    search = open3d.core.nns.NearestNeighborSearch(open3d.core.Tensor(cloud))
    search.knn_index()
    probe = cloud[:: max(1, len(cloud) // 20_000)]
    _, squared = search.knn_search(
        open3d.core.Tensor(np.ascontiguousarray(probe)), min(_SPACING_NEIGHBOUR + 1, len(cloud))
    )
    spacing = float(np.sqrt(np.median(squared.numpy()[:, -1])))
    return Surface(
        points=cloud,
        normals=np.zeros_like(cloud) if normals is None else np.asarray(normals, np.float32),
        colours=np.full(cloud.shape, _GREY, np.uint8) if colours is None else colours,
        spacing=max(spacing, 1e-9),
    )


def read_surface(path: Path, *, count: int = DEFAULT_POINTS) -> Surface:
    """A mesh (PLY, OBJ, GLB, STL) or point cloud (PLY, PCD, XYZ) from a file.

    Raises:
        DataError: the file is missing, or holds neither triangles nor points.
    """
    open3d = import_open3d()
    if not path.is_file():
        raise DataError(f"surface: expected an existing file, got {path}")
    mesh = open3d.io.read_triangle_mesh(str(path))
    vertices = np.asarray(mesh.vertices)
    if len(mesh.triangles):
        colours = _bytes(np.asarray(mesh.vertex_colors), len(vertices))
        triangles = np.asarray(mesh.triangles, np.int32)
        return surface_from_mesh(Mesh(vertices.astype(np.float32), triangles, colours), count=count)
    cloud = open3d.io.read_point_cloud(str(path))
    points = np.asarray(cloud.points)
    if not len(points):
        raise DataError(f"surface: found neither triangles nor points in {path}")
    normals = np.asarray(cloud.normals) if cloud.has_normals() else None
    return surface_from_points(points, _bytes(np.asarray(cloud.colors), len(points)), normals)


def _bytes(colours: NDArray[np.floating], count: int) -> NDArray[np.uint8]:
    if len(colours) != count:
        return np.full((count, 3), _GREY, np.uint8)
    return (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)


def _splatted_depth(surface: Surface, camera: Camera) -> NDArray[np.float32]:
    """Every point as a square of twice its spacing's size in the picture, at most 11 pixels; the nearest wins."""
    xy, z = camera.project(surface.points)
    depth = np.full(camera.height * camera.width, np.inf, np.float32)
    with np.errstate(invalid="ignore"):
        near = (z > 1e-6) & (np.abs(xy) < 1e6).all(axis=1)
    xy, z = xy[near], z[near].astype(np.float32)
    radius = np.minimum(np.ceil(0.8 * surface.spacing * camera.fx / z), _SPLAT_RADIUS).astype(int)
    reach = int(radius.max(initial=0))
    column, row = np.floor(xy).astype(int).T
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            x, y = column + dx, row + dy
            fits = (radius >= max(abs(dx), abs(dy))) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
            np.minimum.at(depth, (y * camera.width + x)[fits], z[fits])
    return np.where(np.isfinite(depth), depth, 0).reshape(camera.height, camera.width)
