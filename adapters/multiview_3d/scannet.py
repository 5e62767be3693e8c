"""ScanNet's exported folders: color/, depth/ (uint16 millimetres), pose/ (camera to world), intrinsic/.

Principal points of these files count from the centre of the first pixel; half a pixel is added. A lost frame has
infinities as its pose and is left out. Depth and colour pictures are taken as registered, as in the exported sets.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from zim.errors import DataError
from zim.files import write_text_atomic

from .camera import Camera, checked_pose
from .pose_files import matrix_text, pictures_in, read_matrix
from .views import Skipped, View

_INTRINSICS = ("intrinsic/intrinsic_color.txt", "intrinsic_color.txt", "intrinsic.txt")


def intrinsics_file(root: Path) -> Path | None:
    """The colour camera's intrinsics, or None when this is no ScanNet folder."""
    if not (root / "pose").is_dir():
        return None
    return next((root / name for name in _INTRINSICS if (root / name).is_file()), None)


def read_scannet(root: Path) -> tuple[list[View], list[Skipped]]:
    """The views of a folder.

    Raises:
        DataError: no intrinsics or no pictures.
    """
    path = intrinsics_file(root)
    if path is None:
        raise DataError(f"{root}: expected pose/ and intrinsic/intrinsic_color.txt")
    k = read_matrix(path)
    folder = next((root / name for name in ("color", "images") if (root / name).is_dir()), root)
    pictures = pictures_in(folder)
    if not pictures:
        raise DataError(f"{folder}: expected pictures, found none")
    views, skipped = [], []
    for picture in pictures:
        try:
            pose = checked_pose(read_matrix(root / "pose" / f"{picture.stem}.txt"))
            with Image.open(picture) as opened:
                width, height = opened.size
            camera = Camera(
                width=width,
                height=height,
                fx=float(k[0, 0]),
                fy=float(k[1, 1]),
                cx=float(k[0, 2]) + 0.5,
                cy=float(k[1, 2]) + 0.5,
                world_to_camera=np.asarray(np.linalg.inv(pose), np.float64),
            )
        except (DataError, OSError) as error:
            skipped.append(Skipped(picture.stem, str(error)))
            continue
        depth = root / "depth" / f"{picture.stem}.png"
        views.append(View(name=picture.stem, camera=camera, image=picture, depth=depth if depth.is_file() else None))
    return views, skipped


def write_scannet(views: Sequence[View], root: Path) -> None:
    """Write pose/ and intrinsic/; colours and depths are the caller's.

    Raises:
        DataError: cameras that differ in their intrinsics, or distortion: the format has one pinhole camera.
    """
    first = views[0].camera
    for view in views:
        if not view.camera.lens.is_none or not np.array_equal(view.camera.matrix, first.matrix):
            raise DataError(f"view {view.name}: ScanNet's folders hold one camera without distortion")
        pose = matrix_text(view.camera.camera_to_world)
        write_text_atomic(root / "pose" / f"{view.name}.txt", pose + "\n")
    k = np.eye(4)
    k[:3, :3] = first.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    write_text_atomic(root / "intrinsic" / "intrinsic_color.txt", matrix_text(k) + "\n")
