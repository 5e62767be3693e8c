"""open3d's trajectories: .log (camera to world, a matrix after each line of three numbers) and .json (extrinsics).

The intrinsics of a .log come from a JSON file beside it (camera.json, intrinsic.json, camera_intrinsic.json: width,
height, intrinsic_matrix column by column), or are open3d's default for 640 x 480 (PrimeSense). Principal points count
from the centre of the first pixel; half a pixel is added.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.files import write_json_atomic, write_text_atomic

from .camera import Camera, checked_pose
from .pose_files import matrix_text, pictures_in, read_json, read_text
from .views import Skipped, View

FILES = ("trajectory.log", "trajectory.json", "scene/trajectory.log", "test_scene/trajectory.log")
_INTRINSICS = ("camera.json", "intrinsic.json", "camera_intrinsic.json")
_IMAGE_FOLDERS, _DEPTH_FOLDERS = ("image", "color", "rgb", "images"), ("depth",)
_PRIMESENSE = (640, 480, 525.0, 525.0, 319.5, 239.5)


class _Pinhole(NamedTuple):
    """Size and intrinsics as open3d writes them."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


def trajectory_file(root: Path) -> Path | None:
    """The trajectory of a scene's folder, or None."""
    return next((root / name for name in FILES if (root / name).is_file()), None)


def read_trajectory(root: Path) -> tuple[list[View], list[Skipped]]:
    """The views of a folder with image/ (or color/), depth/ and a trajectory.

    Pictures named by number take the pose of that number when the trajectory is long enough, so a thinned-out
    recording keeps its poses; otherwise pictures and poses go together in order.

    Raises:
        DataError: no trajectory, no pictures, or fewer poses than pictures.
    """
    path = trajectory_file(root)
    if path is None:
        raise DataError(f"{root}: expected {FILES[0]} or {FILES[1]}, found neither")
    folder = next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), root)
    pictures = pictures_in(folder)
    if not pictures:
        raise DataError(f"{folder}: expected pictures, found none")
    poses = _read_json_poses(path) if path.suffix == ".json" else _read_log(path, _pinhole_beside(root))
    numbered = all(p.stem.isdigit() for p in pictures) and max(int(p.stem) for p in pictures) < len(poses)
    if not numbered and len(poses) != len(pictures):
        raise DataError(f"{path}: {len(poses)} poses for {len(pictures)} pictures in {folder}")
    depths = next((root / name for name in _DEPTH_FOLDERS if (root / name).is_dir()), None)
    views, skipped = [], []
    for order, picture in enumerate(pictures):
        pinhole, pose = poses[int(picture.stem) if numbered else order]
        try:
            camera = Camera(
                width=pinhole.width,
                height=pinhole.height,
                fx=pinhole.fx,
                fy=pinhole.fy,
                cx=pinhole.cx + 0.5,
                cy=pinhole.cy + 0.5,
                world_to_camera=checked_pose(pose),
            )
        except DataError as error:
            skipped.append(Skipped(picture.stem, str(error)))
            continue
        depth = None if depths is None else depths / f"{picture.stem}.png"
        views.append(View(name=picture.stem, camera=camera, image=picture, depth=depth))
    return views, skipped


def write_trajectory(views: Sequence[View], path: Path) -> None:
    """Write a trajectory: .json holds everything; .log the poses, with the first camera in camera.json beside it.

    Raises:
        DataError: a camera with distortion.
    """
    for view in views:
        if not view.camera.lens.is_none:
            raise DataError(f"view {view.name}: open3d's trajectories have no distortion")
    if path.suffix == ".json":
        parameters = [
            {
                "class_name": "PinholeCameraParameters",
                "version_major": 1,
                "version_minor": 0,
                "extrinsic": view.camera.world_to_camera.T.ravel().tolist(),
                "intrinsic": _intrinsic_json(view.camera),
            }
            for view in views
        ]
        head = {"class_name": "PinholeCameraTrajectory", "version_major": 1, "version_minor": 0}
        write_json_atomic(path, {**head, "parameters": parameters})
        return
    blocks = [f"{i} {i} {i + 1}\n{matrix_text(view.camera.camera_to_world)}" for i, view in enumerate(views)]
    write_text_atomic(path, "\n".join(blocks) + "\n")
    write_json_atomic(path.parent / _INTRINSICS[0], _intrinsic_json(views[0].camera))


def _intrinsic_json(camera: Camera) -> dict[str, Any]:
    matrix = camera.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    return {"width": camera.width, "height": camera.height, "intrinsic_matrix": matrix.T.ravel().tolist()}


def _pinhole(content: Any, path: Path) -> _Pinhole:
    try:
        matrix = np.array(content["intrinsic_matrix"], np.float64).reshape(3, 3).T
        fx, fy, cx, cy = (float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        return _Pinhole(int(content["width"]), int(content["height"]), fx, fy, cx, cy)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected width, height and intrinsic_matrix ({error!r})") from error


def _pinhole_beside(root: Path) -> _Pinhole:
    path = next((root / name for name in _INTRINSICS if (root / name).is_file()), None)
    return _Pinhole(*_PRIMESENSE) if path is None else _pinhole(read_json(path), path)


def _read_json_poses(path: Path) -> list[tuple[_Pinhole, NDArray[np.float64]]]:
    content = read_json(path)
    try:
        return [
            (_pinhole(each["intrinsic"], path), np.array(each["extrinsic"], np.float64).reshape(4, 4).T)
            for each in content["parameters"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected parameters with extrinsic and intrinsic ({error!r})") from error


def _read_log(path: Path, pinhole: _Pinhole) -> list[tuple[_Pinhole, NDArray[np.float64]]]:
    try:
        values = np.array(read_text(path).split(), np.float64)
    except ValueError as error:
        raise DataError(f"{path}: expected numbers ({error})") from error
    if values.size % 19:
        raise DataError(f"{path}: expected 3 + 16 numbers for each pose, got {values.size} in all")
    poses = values.reshape(-1, 19)[:, 3:].reshape(-1, 4, 4)
    return [(pinhole, _inverse(pose)) for pose in poses]


def _inverse(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse, or the matrix itself where there is none: the reader then says what is wrong with it."""
    try:
        return np.asarray(np.linalg.inv(pose), np.float64)
    except np.linalg.LinAlgError:
        return pose
