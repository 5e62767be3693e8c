"""poses_bounds.npy of LLFF: camera to world with axes [down, right, back], one focal length, centred principal point.

Row: the (3, 5) matrix [R | t | (height, width, focal)] and near and far bounds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.files import atomic_write

from .camera import Camera, checked_pose
from .pose_files import pictures_in
from .views import Skipped, View

FILE = "poses_bounds.npy"
_FOLDERS = ("images", "images_4", "images_8", "images_2")
_ROW = 17


def read_llff(root: Path) -> tuple[list[View], list[Skipped]]:
    """The views of an LLFF folder: the pictures by name belong to the rows of poses_bounds.npy.

    Raises:
        DataError: no such file, another shape, or another number of pictures.
    """
    path = root / FILE
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected an array of numbers ({error})") from error
    if rows.ndim != 2 or rows.shape[1] != _ROW:
        raise DataError(f"{path}: expected shape (N, {_ROW}), got {rows.shape}")
    folder = next((root / name for name in _FOLDERS if (root / name).is_dir()), root)
    pictures = pictures_in(folder)
    if len(pictures) != len(rows):
        raise DataError(f"{path}: {len(rows)} poses for {len(pictures)} pictures in {folder}")
    views, skipped = [], []
    for picture, row in zip(pictures, rows.astype(np.float64), strict=True):
        try:
            views.append(View(name=picture.stem, camera=_camera(row), image=picture))
        except DataError as error:
            skipped.append(Skipped(picture.stem, str(error)))
    return views, skipped


def write_llff(views: Sequence[View], path: Path, *, near: float = 0.1, far: float = 100.0) -> None:
    """Write poses_bounds.npy; the views in the order of their names.

    Raises:
        DataError: a camera that the format cannot hold: distortion, two focal lengths, an off-centre principal point.
    """
    rows = []
    for view in sorted(views, key=lambda each: each.name):
        camera = view.camera
        centred = np.allclose([camera.cx, camera.cy], [camera.width / 2, camera.height / 2], atol=1e-9)
        if not camera.lens.is_none or camera.fx != camera.fy or not centred:
            raise DataError(f"view {view.name}: LLFF holds one focal length, a centred principal point, no distortion")
        pose = camera.camera_to_world
        axes = np.stack([pose[:3, 1], pose[:3, 0], -pose[:3, 2], pose[:3, 3]], axis=1)
        matrix = np.concatenate([axes, [[camera.height], [camera.width], [camera.fx]]], axis=1)
        rows.append([*matrix.ravel(), near, far])
    with atomic_write(path) as temporary:
        np.save(temporary, np.array(rows, np.float64), allow_pickle=False)


def _camera(row: NDArray[np.float64]) -> Camera:
    matrix = row[:15].reshape(3, 5)
    down, right, back, centre = matrix[:, :4].T
    height, width, focal = matrix[:, 4]
    if not np.isfinite(row).all():
        raise DataError("pose: expected finite numbers, got NaN or infinity")
    pose = checked_pose(np.stack([right, down, -back, centre], axis=1))
    return Camera(
        width=round(width),
        height=round(height),
        fx=float(focal),
        fy=float(focal),
        cx=width / 2,
        cy=height / 2,
        world_to_camera=np.asarray(np.linalg.inv(pose), np.float64),
    )
