"""COLMAP's sparse models, text and binary: cameras and images.

World to camera, quaternion (w, x, y, z), OpenCV axes, pixel centres at 0.5: the convention used inside.
Format: COLMAP documentation, "Output Format".
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.files import write_bytes_atomic, write_text_atomic

from .camera import Camera, Lens, quaternion_from_rotation, rotation_from_quaternion
from .pose_files import read_text
from .views import Skipped, View

MODELS = {  # id -> name, parameters
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
}
_PARAMETERS = {name: count for name, count in MODELS.values()}
_SPARSE_FOLDERS = ("", "sparse/0", "sparse", "colmap/sparse/0", "colmap")
_IMAGE_FOLDERS = ("images", "image", "images_2", "images_4", "images_8", "rgb", "")


class _Shared(NamedTuple):
    """A camera of the file: size, model and parameters."""

    width: int
    height: int
    model: str
    parameters: tuple[float, ...]


class _Posed(NamedTuple):
    """An image of the file."""

    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    camera_id: int
    name: str


def sparse_folder(root: Path) -> Path | None:
    """The folder with cameras and images below a scene's root, or None."""
    for place in _SPARSE_FOLDERS:
        for suffix in (".bin", ".txt"):
            if all((root / place / f"{stem}{suffix}").is_file() for stem in ("cameras", "images")):
                return root / place
    return None


def read_colmap(root: Path, images: Path | None = None) -> tuple[list[View], list[Skipped]]:
    """The views of a COLMAP model.

    Args:
        root: the scene's folder, or the folder of the model itself.
        images: folder of the pictures; looked for beside the model when None.

    Raises:
        DataError: there is no model, it is cut off, or a camera model is not known.
    """
    folder = sparse_folder(root)
    if folder is None:
        raise DataError(f"{root}: expected cameras and images of COLMAP (.txt or .bin), found none")
    binary = (folder / "cameras.bin").is_file() and (folder / "images.bin").is_file()
    cameras = _read_cameras_binary(folder / "cameras.bin") if binary else _read_cameras_text(folder / "cameras.txt")
    posed = _read_images_binary(folder / "images.bin") if binary else _read_images_text(folder / "images.txt")
    pictures = images or next((root / place for place in _IMAGE_FOLDERS if (root / place).is_dir()), root)
    views, skipped = [], []
    for image in sorted(posed, key=lambda each: each.name):
        name = str(Path(image.name).with_suffix(""))
        try:
            if image.camera_id not in cameras:
                raise DataError(f"camera {image.camera_id} is not in the model")
            views.append(View(name=name, camera=_camera(cameras[image.camera_id], image), image=pictures / image.name))
        except DataError as error:
            skipped.append(Skipped(name, str(error)))
    return views, skipped


def write_colmap(views: Sequence[View], folder: Path, *, binary: bool = False) -> None:
    """Write `cameras` and `images` (and an empty `points3D`) of a model; one camera for each view."""
    shared = [_shared(view.camera) for view in views]
    poses = [_pose(view) for view in views]
    if binary:
        ids = {name: key for key, (name, _) in MODELS.items()}
        cameras = struct.pack("<Q", len(views))
        images = struct.pack("<Q", len(views))
        for i, (camera, (quaternion, translation, name)) in enumerate(zip(shared, poses, strict=True), 1):
            cameras += struct.pack("<iiQQ", i, ids[camera.model], camera.width, camera.height)
            cameras += struct.pack(f"<{len(camera.parameters)}d", *camera.parameters)
            images += struct.pack("<i7di", i, *quaternion, *translation, i) + name.encode() + b"\0"
            images += struct.pack("<Q", 0)
        write_bytes_atomic(folder / "cameras.bin", cameras)
        write_bytes_atomic(folder / "images.bin", images)
        write_bytes_atomic(folder / "points3D.bin", struct.pack("<Q", 0))
        return
    camera_lines = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"]
    image_lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then POINTS2D[]"]
    for i, (camera, (quaternion, translation, name)) in enumerate(zip(shared, poses, strict=True), 1):
        numbers = " ".join(repr(value) for value in camera.parameters)
        camera_lines.append(f"{i} {camera.model} {camera.width} {camera.height} {numbers}")
        image_lines += [f"{i} {' '.join(map(repr, (*quaternion, *translation)))} {i} {name}", ""]
    write_text_atomic(folder / "cameras.txt", "\n".join(camera_lines) + "\n")
    write_text_atomic(folder / "images.txt", "\n".join(image_lines) + "\n")
    write_text_atomic(folder / "points3D.txt", "# POINT3D_ID X Y Z R G B ERROR TRACK[]\n")


def _camera(shared: _Shared, image: _Posed) -> Camera:
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_quaternion(np.array(image.quaternion))
    pose[:3, 3] = image.translation
    single = shared.model.startswith("SIMPLE") or shared.model in ("RADIAL", "RADIAL_FISHEYE")
    p = shared.parameters if not single else (shared.parameters[0], *shared.parameters)
    fx, fy, cx, cy, *rest = p
    fisheye = shared.model.endswith("FISHEYE")
    lens = Lens(model="fisheye" if fisheye else "opencv", coefficients=tuple(rest))
    return Camera(
        width=shared.width, height=shared.height, fx=fx, fy=fy, cx=cx, cy=cy, world_to_camera=pose, lens=lens
    )


def _shared(camera: Camera) -> _Shared:
    focal = (camera.fx, camera.fy, camera.cx, camera.cy)
    k = camera.lens.coefficients
    if camera.lens.model == "fisheye":
        name, extra = "OPENCV_FISHEYE", (*k, *(0.0,) * 4)[:4]
    elif camera.lens.is_none:
        name, extra = "PINHOLE", ()
    elif any(k[4:]):
        name, extra = "FULL_OPENCV", (*k, *(0.0,) * 8)[:8]
    else:
        name, extra = "OPENCV", (*k, *(0.0,) * 4)[:4]
    return _Shared(camera.width, camera.height, name, tuple(float(value) for value in (*focal, *extra)))


def _pose(view: View) -> tuple[list[float], list[float], str]:
    matrix = view.camera.world_to_camera
    suffix = view.image.suffix if isinstance(view.image, Path) else ".png"
    quaternion: NDArray[np.float64] = quaternion_from_rotation(matrix[:3, :3])
    return quaternion.tolist(), matrix[:3, 3].tolist(), view.name + suffix


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path).splitlines() if not line.startswith("#")]


def _read_cameras_text(path: Path) -> dict[int, _Shared]:
    cameras = {}
    for line in filter(str.strip, _lines(path)):
        words = line.split()
        try:
            number, model, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
            parameters = tuple(float(word) for word in words[4:])
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS, got {line!r}") from error
        if _PARAMETERS.get(model) != len(parameters):
            raise DataError(f"{path}: expected a model of {', '.join(_PARAMETERS)} with its parameters, got {line!r}")
        cameras[number] = _Shared(width, height, model, parameters)
    return cameras


def _read_images_text(path: Path) -> list[_Posed]:
    lines = _lines(path)
    while lines and not lines[0].strip():
        lines.pop(0)
    images = []
    for line in lines[::2]:  # the other lines hold the image's points, and may be empty
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        try:
            numbers = tuple(float(word) for word in words[1:8])
            images.append(_Posed(numbers[:4], numbers[4:], int(words[8]), words[9].strip()))
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, got {line!r}") from error
    return images


class _Bytes:
    """A binary file, read from front to back."""

    def __init__(self, path: Path) -> None:
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error})") from error
        self._at, self._path = 0, path

    def take(self, layout: str) -> tuple[float, ...]:
        """The next numbers, little-endian."""
        size = struct.calcsize("<" + layout)
        if self._at + size > len(self._data):
            raise DataError(f"{self._path}: cut off after {len(self._data)} bytes")
        found = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += size
        return found

    def word(self) -> str:
        """The next text, ended by a zero byte."""
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise DataError(f"{self._path}: cut off after {len(self._data)} bytes")
        text = self._data[self._at : end].decode("utf-8", errors="replace")
        self._at = end + 1
        return text

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        if self._at + size > len(self._data):
            raise DataError(f"{self._path}: cut off after {len(self._data)} bytes")
        self._at += size


def _read_cameras_binary(path: Path) -> dict[int, _Shared]:
    data, cameras = _Bytes(path), {}
    for _ in range(int(data.take("Q")[0])):
        number, model, width, height = (int(value) for value in data.take("iiQQ"))
        if model not in MODELS:
            raise DataError(f"{path}: expected a camera model of {', '.join(_PARAMETERS)}, got number {model}")
        name, count = MODELS[model]
        cameras[number] = _Shared(width, height, name, data.take(f"{count}d"))
    return cameras


def _read_images_binary(path: Path) -> list[_Posed]:
    data, images = _Bytes(path), []
    for _ in range(int(data.take("Q")[0])):
        _, *numbers, camera_id = data.take("i7di")
        name = data.word()
        data.skip(24 * int(data.take("Q")[0]))  # x, y, id of each point
        images.append(_Posed(tuple(numbers[:4]), tuple(numbers[4:]), int(camera_id), name))
    return images
