"""An object turned in front of a plain background, drawn from its points without a display."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zim.errors import DataError
from zim.files import write_bytes_atomic

from .camera import Camera, look_at
from .surface import Surface
from .view_maps import view_map

_BACKDROP = 245.0
_TILT = 0.35
_MILLISECONDS = 90


def write_turntable(
    path: Path, surface: Surface, alpha: NDArray[np.float32], up: NDArray[np.float64], *, frames: int = 24
) -> None:
    """Write a GIF of the points with alpha above 0.5.

    Raises:
        DataError: there are none.
    """
    pictures = [Image.fromarray(frame) for frame in turntable(surface, alpha, up, frames=frames)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=_MILLISECONDS, loop=0, optimize=True
    )
    write_bytes_atomic(path, buffer.getvalue())


def turntable(
    surface: Surface, alpha: NDArray[np.float32], up: NDArray[np.float64], *, frames: int = 24, side: int = 256
) -> list[NDArray[np.uint8]]:
    """(side, side, 3) uint8 pictures of the object from all around.

    Args:
        surface: the scene's points.
        alpha: (N,) the object's probability at each.
        up: (3,) which way is up.
        frames: number of pictures.
        side: of each, pixels.

    Raises:
        DataError: no point has an alpha above 0.5.
    """
    chosen = alpha > 0.5
    if not chosen.any():
        raise DataError("turntable: the object has no points")
    body = Surface(
        points=surface.points[chosen],
        normals=surface.normals[chosen],
        colours=surface.colours[chosen],
        spacing=surface.spacing,
    )
    low, high = np.percentile(body.points, [1, 99], axis=0)
    centre, reach = (low + high) / 2, float(np.linalg.norm(high - low)) / 2 + 2 * surface.spacing
    opacity = alpha[chosen]
    return [
        _drawn(body, opacity, camera)
        for camera in _orbit(centre, reach, np.asarray(up, np.float64), frames, side)
    ]


def _orbit(
    centre: NDArray[np.float64], reach: float, up: NDArray[np.float64], frames: int, side: int
) -> list[Camera]:
    up = up / np.linalg.norm(up)
    first = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(up, first)
    cameras = []
    for turn in np.linspace(0, 2 * np.pi, frames, endpoint=False):
        away = np.cos(turn) * first + np.sin(turn) * second
        position = centre + 3.2 * reach * (np.cos(_TILT) * away + np.sin(_TILT) * up)
        focal = 1.45 * side
        pose = look_at(position, centre, up)
        cameras.append(
            Camera(width=side, height=side, fx=focal, fy=focal, cx=side / 2, cy=side / 2, world_to_camera=pose)
        )
    return cameras


def _drawn(body: Surface, opacity: NDArray[np.float32], camera: Camera) -> NDArray[np.uint8]:
    seen = view_map(body, camera)
    shown = seen.pixels >= 0
    weight = np.where(shown, opacity[seen.pixels], 0)[..., None]
    colours = body.colours[seen.pixels].astype(np.float32)
    return (weight * colours + (1 - weight) * _BACKDROP + 0.5).astype(np.uint8)
