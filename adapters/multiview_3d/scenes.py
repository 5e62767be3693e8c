"""Rendered scenes with exact geometry and exact alpha: an object of wires, leaves, a fence or solids in a small room.

Every pixel is the mean of several rays through it, so an object's alpha is the share of the pixel that it covers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.files import write_bytes_atomic
from zim.image_io import save_png

from ..fine_objects import texture
from .camera import Camera, look_at
from .open3d_door import import_open3d
from .ply_files import write_mesh_ply
from .surface import Mesh, Surface, surface_from_mesh
from .transforms_json import write_transforms
from .views import Scene, View

Kind = Literal["bicycle", "leaves", "fence", "solid", "pair"]
THIN_KINDS: tuple[Kind, ...] = ("bicycle", "leaves", "fence")
KINDS: tuple[Kind, ...] = (*THIN_KINDS, "solid", "pair")

_ROOM, _HEIGHT = 1.7, 2.2
_RING, _EYE = 1.45, 0.62
_TEXTURE = 256
_LIGHT = np.array([0.35, -0.5, 0.79])


class RenderedScene(NamedTuple):
    """A scene and the truth about it.

    scene: views with pictures and depth in memory. surface: points on everything. labels: (N,) int32, 0 background,
    k the k-th object. alphas: (K, V, H, W) float32, the share of each pixel that an object covers.
    """

    kind: Kind
    scene: Scene
    surface: Surface
    labels: NDArray[np.int32]
    alphas: NDArray[np.float32]


class _Part(NamedTuple):
    """A mesh and whose it is."""

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]
    owner: int


def rendered_scene(
    kind: Kind,
    *,
    seed: int = 0,
    views: int = 8,
    side: int = 256,
    samples: int = 3,
    points: int = 200_000,
    arc: float = 2 * np.pi,
) -> RenderedScene:
    """Build and render a scene.

    Args:
        kind: the object.
        seed: of shapes and colours.
        views: cameras, evenly on a ring that looks at the object.
        side: of the square pictures, pixels.
        samples: rays through a pixel along each side.
        points: on all surfaces.
        arc: part of the ring that is used, radians.

    Raises:
        ConfigError: an unknown kind.
        MissingDependencyError: open3d is not installed.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    parts = [*_room(), *_object(kind, rng)]
    mesh, owners = _merged(parts)
    surface = surface_from_mesh(mesh, count=points, seed=seed)
    painter = _Painter(mesh, owners, rng)
    cameras = ring_of_cameras(views, side=side, start=float(rng.uniform(0, 2 * np.pi)), arc=arc)
    rendered = [_rendered(surface, painter, camera, samples) for camera in cameras]
    scene = Scene(
        views=tuple(
            View(name=f"{i:04d}", camera=camera, image=image, depth=surface.depth(camera))
            for i, (camera, (image, _)) in enumerate(zip(cameras, rendered, strict=True))
        )
    )
    colours = painter.colours(surface.points.astype(np.float64), _owner_of_points(surface, owners))
    return RenderedScene(
        kind=kind,
        scene=scene,
        surface=Surface(
            points=surface.points,
            normals=surface.normals,
            colours=colours.astype(np.uint8),
            spacing=surface.spacing,
            mesh=mesh._replace(colours=_vertex_colours(painter, mesh, owners)),
        ),
        labels=_owner_of_points(surface, owners),
        alphas=np.stack([alphas for _, alphas in rendered], axis=1),
    )


def write_rendered(rendered: RenderedScene, folder: Path, *, depth: bool = False) -> Scene:
    """Write a scene as `scene_files.open_scene` reads it: images/, transforms.json, and mesh.ply or depth/ (mm).

    Returns:
        The views as they lie in the folder.
    """
    views = []
    for view in rendered.scene.views:
        image = folder / "images" / f"{view.name}.png"
        save_png(image, view.read_image())
        measured = None
        if depth:
            measured = folder / "depth" / f"{view.name}.png"
            millimetres = np.clip(view.read_depth() * view.depth_scale + 0.5, 0, 65535).astype(np.uint16)
            write_bytes_atomic(measured, cv2.imencode(".png", millimetres)[1].tobytes())
        views.append(replace(view, image=image, depth=measured))
    mesh = rendered.surface.mesh
    if mesh is not None and not depth:
        write_mesh_ply(folder / "mesh.ply", mesh, np.ones(len(mesh.vertices), np.float32))
    write_transforms(views, folder / "transforms.json")
    surface = folder / "mesh.ply" if mesh is not None and not depth else None
    return Scene(views=tuple(views), layout="transforms", surface=surface)


def ring_of_cameras(count: int, *, side: int, start: float = 0.0, arc: float = 2 * np.pi) -> list[Camera]:
    """Cameras on a ring inside the room, at two heights in turn, all looking at the object."""
    cameras = []
    for i in range(count):
        angle = start + arc * i / count
        position = np.array([_RING * np.cos(angle), _RING * np.sin(angle), _EYE + 0.25 * (i % 2)])
        pose = look_at(position, np.array([0.0, 0.0, 0.38]), np.array([0.0, 0.0, 1.0]))
        focal = 1.05 * side
        cameras.append(
            Camera(width=side, height=side, fx=focal, fy=focal, cx=side / 2, cy=side / 2, world_to_camera=pose)
        )
    return cameras


class _Painter:
    """Colours by place: a texture for each owner, laid on from three sides, with light from above."""

    def __init__(self, mesh: Mesh, owners: NDArray[np.int32], rng: np.random.Generator) -> None:
        self.owners = owners
        corners = mesh.vertices[mesh.triangles].astype(np.float64)
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
        floor = rng.uniform(95, 175, 3)
        away = 85 if floor.mean() < 135 else -85
        means = [floor, *(np.clip(floor + away + 45 * rng.normal(size=3), 20, 235) for _ in range(int(owners.max())))]
        self._textures = [
            texture(rng, _TEXTURE, contrast=28 if owner else 40, colour=mean).astype(np.float64)
            for owner, mean in enumerate(means)
        ]

    def colours(self, points: NDArray[np.float64], owners: NDArray[np.int32]) -> NDArray[np.float64]:
        """(N, 3) points -> (N, 3) colours in 0..255, unlit."""
        found = np.zeros((len(points), 3))
        for owner, picture in enumerate(self._textures):
            mine = owners == owner
            scale = _TEXTURE / (1.7 if owner == 0 else 0.6)
            cells = np.floor(points[mine] * scale).astype(int)
            u, v = cells[:, 0] + 3 * cells[:, 2], cells[:, 1] + 2 * cells[:, 2]
            fold = [np.abs((axis + _TEXTURE) % (2 * _TEXTURE) - _TEXTURE).clip(0, _TEXTURE - 1) for axis in (u, v)]
            found[mine] = picture[fold[0], fold[1]]
        return found

    def lit(self, points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, 3) points and the triangles they lie on -> (N, 3) colours with light."""
        bright = 0.55 + 0.45 * np.abs(self.normals[triangles] @ _LIGHT)
        return self.colours(points, self.owners[triangles]) * bright[:, None]


def _rendered(
    surface: Surface, painter: _Painter, camera: Camera, samples: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One view's picture, (H, W, 3) uint8, and the objects' alphas, (K, H, W)."""
    open3d = import_open3d()
    pose = camera.camera_to_world
    total = np.zeros((camera.height * camera.width, 3))
    covered = np.zeros((int(painter.owners.max()), camera.height * camera.width), np.float32)
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    for dy in offsets:
        for dx in offsets:
            directions = camera.directions(camera.pixel_centres() + [dx, dy]) @ pose[:3, :3].T
            rays = np.concatenate([np.broadcast_to(pose[:3, 3], directions.shape), directions], axis=1)
            hits: Any = surface.caster().cast_rays(open3d.core.Tensor(rays.astype(np.float32)))
            t, triangle = hits["t_hit"].numpy(), hits["primitive_ids"].numpy().astype(np.int64)
            struck = np.flatnonzero(np.isfinite(t))
            places = pose[:3, 3] + directions[struck] * t[struck, None]
            total[struck] += painter.lit(places, triangle[struck])
            for owner in range(1, len(covered) + 1):
                covered[owner - 1, struck] += painter.owners[triangle[struck]] == owner
    image = np.clip(total / samples**2 + 0.5, 0, 255).astype(np.uint8)
    shape = (camera.height, camera.width)
    return image.reshape(*shape, 3), (covered / samples**2).astype(np.float32).reshape(-1, *shape)


def _owner_of_points(surface: Surface, owners: NDArray[np.int32]) -> NDArray[np.int32]:
    open3d = import_open3d()
    answer = surface.caster().compute_closest_points(open3d.core.Tensor(surface.points))
    return owners[answer["primitive_ids"].numpy().astype(np.int64)]


def _vertex_colours(painter: _Painter, mesh: Mesh, owners: NDArray[np.int32]) -> NDArray[np.uint8]:
    of_vertex = np.zeros(len(mesh.vertices), np.int32)
    of_vertex[mesh.triangles.ravel()] = np.repeat(owners, 3)
    return painter.colours(mesh.vertices.astype(np.float64), of_vertex).astype(np.uint8)


def _merged(parts: Sequence[_Part]) -> tuple[Mesh, NDArray[np.int32]]:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    triangles = np.concatenate([part.triangles + start for part, start in zip(parts, starts[:-1], strict=True)])
    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    owners = np.repeat([part.owner for part in parts], [len(part.triangles) for part in parts]).astype(np.int32)
    return Mesh(vertices, triangles.astype(np.int32), np.full(vertices.shape, 128, np.uint8)), owners


def _room() -> list[_Part]:
    a, h = _ROOM, _HEIGHT
    corners = np.array([[x, y, z] for z in (0.0, h) for x, y in ((-a, -a), (a, -a), (a, a), (-a, a))])
    faces = [(0, 1, 2), (0, 2, 3)]
    for i in range(4):
        j = (i + 1) % 4
        faces += [(i, j, j + 4), (i, j + 4, i + 4)]
    return [_Part(corners, np.array(faces), 0)]


def _object(kind: Kind, rng: np.random.Generator) -> list[_Part]:
    if kind == "bicycle":
        return _bicycle(rng)
    if kind == "leaves":
        return _leaves(rng)
    if kind == "fence":
        return _fence(rng)
    if kind == "solid":
        body = _ellipsoid(np.array([0, 0, 0.36]), np.array([0.3, 0.22, 0.3]), 1)
        return [body, _box([-0.1, -0.1, 0.0], [0.1, 0.1, 0.1], 1)]
    return [
        _ellipsoid(np.array([-0.28, 0.1, 0.24]), np.array([0.2, 0.2, 0.24]), 1),
        _box([0.12, -0.22, 0.0], [0.5, 0.12, 0.42], 2),
    ]


def _bicycle(rng: np.random.Generator) -> list[_Part]:
    """Two wheels with spokes, a frame and a handlebar, of tubes."""
    parts: list[_Part] = []
    angle = np.linspace(0, 2 * np.pi, 41)
    hubs = [np.array([-0.33, 0.0, 0.23]), np.array([0.33, 0.0, 0.23])]
    for hub in hubs:
        rim = hub + 0.21 * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
        parts.append(_tube(rim, 0.013, 1))
        for spoke in np.linspace(0, 2 * np.pi, 9)[:-1] + rng.uniform(0, 0.7):
            parts.append(_tube(np.stack([hub, hub + 0.21 * np.array([np.cos(spoke), 0, np.sin(spoke)])]), 0.005, 1))
    crank, saddle, head = np.array([-0.03, 0, 0.2]), np.array([-0.14, 0, 0.56]), np.array([0.24, 0, 0.55])
    for line in ([hubs[0], crank, head, saddle, crank], [hubs[0], saddle], [head, hubs[1]]):
        parts.append(_tube(np.stack(line), 0.013, 1))
    bar = np.stack([head + [0, s, 0.1 - 0.04 * abs(s)] for s in np.linspace(-0.17, 0.17, 7)])
    return [*parts, _tube(np.stack([head, head + [0, 0, 0.1]]), 0.012, 1), _tube(bar, 0.012, 1)]


def _leaves(rng: np.random.Generator) -> list[_Part]:
    """A plant: stems from a pot, leaves on both sides."""
    parts = [_box([-0.11, -0.11, 0.0], [0.11, 0.11, 0.2], 1)]
    for turn in np.linspace(0, 2 * np.pi, 8)[:-1] + rng.uniform(0, 1):
        out, height = rng.uniform(0.18, 0.36), rng.uniform(0.35, 0.6)
        t = np.linspace(0, 1, 9)[:, None]
        tip = np.array([np.cos(turn), np.sin(turn), 0])
        stem = tip * out * t**1.6 + np.array([0, 0, 0.2]) + np.array([0, 0, height]) * t
        parts.append(_tube(stem, 0.008, 1))
        for place in range(3, 9):
            for sign in (-1, 1):
                across = np.cross(tip, [0, 0, 1.0]) * sign + rng.normal(0, 0.4, 3)
                parts.append(_leaf(stem[place], across / np.linalg.norm(across), rng, 1))
    return parts


def _fence(rng: np.random.Generator) -> list[_Part]:
    """Pickets on two rails, with wire netting between two of the posts."""
    parts = []
    turn = rng.uniform(-0.4, 0.4)
    for x in np.linspace(-0.5, 0.5, 11):
        parts.append(_box([x - 0.017, -0.01, 0.0], [x + 0.017, 0.01, 0.5 + 0.06 * (round(x * 10) % 2)], 1))
    for z in (0.14, 0.38):
        parts.append(_box([-0.54, 0.01, z - 0.016], [0.54, 0.03, z + 0.016], 1))
    for x in np.linspace(-0.5, 0.5, 7):
        parts.append(_tube(np.array([[x, 0.02, 0.55], [x + 0.14, 0.02, 0.68]]), 0.006, 1))
    parts.append(_tube(np.array([[-0.5, 0.02, 0.68], [0.64, 0.02, 0.68]]), 0.007, 1))
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return [part._replace(vertices=part.vertices @ rotation.T) for part in parts]


def _tube(path: NDArray[np.floating], radius: float, owner: int, sides: int = 8) -> _Part:
    """A tube of straight pieces through (N, 3) points."""
    vertices: list[NDArray[np.floating]] = []
    faces: list[tuple[int, int, int]] = []
    for start, end in zip(path[:-1], path[1:], strict=True):
        along = (end - start) / np.linalg.norm(end - start)
        first = np.cross(along, [0.0, 1.0, 0.0] if abs(along[1]) < 0.9 else [1.0, 0.0, 0.0])
        first /= np.linalg.norm(first)
        second = np.cross(along, first)
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[:, None]
        ring = radius * (np.cos(angle) * first + np.sin(angle) * second)
        base = len(vertices) * 2 * sides
        vertices.append(np.concatenate([start - along * radius / 2 + ring, end + along * radius / 2 + ring]))
        for i in range(sides):
            j = (i + 1) % sides
            faces += [(base + i, base + j, base + sides + j), (base + i, base + sides + j, base + sides + i)]
    return _Part(np.concatenate(vertices), np.array(faces), owner)


def _leaf(foot: NDArray[np.floating], across: NDArray[np.floating], rng: np.random.Generator, owner: int) -> _Part:
    """A flat pointed leaf."""
    length, width = rng.uniform(0.09, 0.16), rng.uniform(0.018, 0.03)
    side = np.cross(across, rng.normal(size=3))
    side /= np.linalg.norm(side)
    t = np.linspace(0, 1, 7)[:, None]
    middle = foot + across * length * t
    bulge = width * np.sin(np.pi * t) * side
    vertices = np.concatenate([middle + bulge, middle - bulge])
    faces = [f for i in range(6) for f in ((i, i + 1, 7 + i), (i + 1, 8 + i, 7 + i))]
    return _Part(vertices, np.array(faces), owner)


def _box(low: Sequence[float], high: Sequence[float], owner: int) -> _Part:
    corners = np.array([[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]]
                        for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.float64)  # fmt: skip
    faces = [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6), (0, 2, 6),
             (0, 6, 4), (1, 5, 7), (1, 7, 3)]  # fmt: skip
    return _Part(corners, np.array(faces), owner)


def _ellipsoid(centre: NDArray[np.floating], radii: NDArray[np.floating], owner: int, rings: int = 24) -> _Part:
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    unit = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    row = 2 * rings + 1
    faces = []
    for i in range(rings):
        for j in range(2 * rings):
            a = i * row + j
            faces += [(a, a + row, a + row + 1), (a, a + row + 1, a + 1)]
    return _Part(centre + unit.reshape(-1, 3) * radii, np.array(faces), owner)
