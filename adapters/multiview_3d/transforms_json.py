"""transforms.json of NeRF, instant-ngp and nerfstudio: camera to world, OpenGL axes.

Intrinsics for all frames or for each; distortion k1 k2 k3 k4 p1 p2 (OpenCV) or k1..k4 (camera_model OPENCV_FISHEYE).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zim.errors import DataError
from zim.files import write_json_atomic

from .camera import Camera, Lens, from_opengl, to_opengl
from .pose_files import picture_for, read_json
from .views import Skipped, View

FILES = ("transforms.json", "transforms_kept.json", "transforms_train.json")
_DEFAULT_DEPTH_UNIT = 1e-3


def transforms_file(root: Path) -> Path | None:
    """The file in a scene's folder, or the file itself; None when there is none."""
    if root.suffix == ".json" and root.is_file():
        return root
    return next((root / name for name in FILES if (root / name).is_file()), None)


def read_transforms(root: Path) -> tuple[list[View], list[Skipped]]:
    """The views of a transforms file; frames without a picture are left out.

    Raises:
        DataError: no file, no frames, or no focal length.
    """
    path = transforms_file(root)
    if path is None:
        raise DataError(f"{root}: expected {' or '.join(FILES)}, found none")
    content = read_json(path)
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise DataError(f'{path}: expected a list "frames" with at least one frame')
    views, skipped = [], []
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            skipped.append(Skipped(f"frame {number}", "no file_path"))
            continue
        name = _name(frame["file_path"])
        picture = picture_for(path.parent / frame["file_path"])
        if not picture.is_file():
            skipped.append(Skipped(name, f"no picture {picture}"))
            continue
        try:
            camera = _camera({**content, **frame}, frame.get("transform_matrix"), picture, path)
        except DataError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        depth = frame.get("depth_file_path")
        unit = float(content.get("depth_unit_scale_factor", _DEFAULT_DEPTH_UNIT))
        views.append(
            View(
                name=name,
                camera=camera,
                image=picture,
                depth=None if depth is None else path.parent / depth,
                depth_scale=1 / unit,
            )
        )
    return views, skipped


def write_transforms(views: Sequence[View], path: Path) -> None:
    """Write a transforms file with intrinsics in every frame; pictures are named relative to its folder."""
    frames = []
    for view in views:
        camera, k = view.camera, (*view.camera.lens.coefficients, *(0.0,) * 8)
        frame: dict[str, Any] = {
            "file_path": _relative(view.image, path.parent, view.name),
            "w": camera.width,
            "h": camera.height,
            "fl_x": float(camera.fx),
            "fl_y": float(camera.fy),
            "cx": float(camera.cx),
            "cy": float(camera.cy),
            "transform_matrix": to_opengl(camera.world_to_camera).tolist(),
        }
        if camera.lens.model == "fisheye":
            frame |= {"camera_model": "OPENCV_FISHEYE", **dict(zip(("k1", "k2", "k3", "k4"), k, strict=False))}
        else:
            names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
            frame |= {"camera_model": "OPENCV", **{n: v for n, v in zip(names, k, strict=False) if v}}
        if isinstance(view.depth, Path):
            frame["depth_file_path"] = _relative(view.depth, path.parent, view.name)
        frames.append(frame)
    scale = views[0].depth_scale if views else 1 / _DEFAULT_DEPTH_UNIT
    write_json_atomic(path, {"depth_unit_scale_factor": 1 / scale, "frames": frames})


def _camera(values: Mapping[str, Any], matrix: Any, picture: Path, path: Path) -> Camera:
    try:
        width, height = int(values.get("w", 0)), int(values.get("h", 0))
        if not (width and height):
            with Image.open(picture) as opened:
                width, height = opened.size
        fx = float(values["fl_x"]) if "fl_x" in values else _focal(width, values["camera_angle_x"])
        fy = float(values.get("fl_y", _focal(height, values["camera_angle_y"]) if "camera_angle_y" in values else fx))
        cx, cy = float(values.get("cx", width / 2)), float(values.get("cy", height / 2))
        fisheye = "FISHEYE" in str(values.get("camera_model", ""))
        order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
        k = tuple(float(values.get(name, 0.0)) for name in order)
        pose = np.array(matrix, np.float64)
    except KeyError as error:
        raise DataError(f"{path}: expected fl_x or camera_angle_x, found neither ({error})") from error
    except (TypeError, ValueError, OSError) as error:
        raise DataError(f"{path}: a frame cannot be understood ({error})") from error
    lens = Lens(model="fisheye" if fisheye else "opencv", coefficients=k)
    return Camera(
        width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy, world_to_camera=from_opengl(pose), lens=lens
    )


def _focal(side: int, angle: Any) -> float:
    return side / (2 * math.tan(float(angle) / 2))


def _name(file_path: str) -> str:
    path = Path(file_path)
    stem = path.with_suffix("") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") else path
    parts = [part for part in stem.parts if part not in (".", "..", "/")]
    return "/".join(parts[1:] if len(parts) > 1 and parts[0] in ("images", "train", "image", "color") else parts)


def _relative(file: Path | np.ndarray, folder: Path, name: str) -> str:
    if not isinstance(file, Path):
        return f"images/{name}.png"
    try:
        return file.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return str(file.resolve())
