"""Scenes from strangers: everything is looked at before it is read, and nothing outside the folder is named."""

import struct
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from zim.errors import DataError, ZimError
from zim.image_io import UNREADABLE

from .colmap import read_colmap, sparse_folder
from .pose_files import PICTURES, read_json
from .scene_files import SURFACES, open_scene
from .transforms_json import transforms_file
from .views import Scene, Skipped, View

_HEADER_BYTES = 65_536
_MISUNDERSTOOD = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, AttributeError, struct.error)
_PLY_SIZES = {"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2}
_PLY_SIZES |= {"int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8}


class SceneLimits(NamedTuple):
    """views: at most. pixels: of a picture. vertices: of a surface file."""

    views: int = 60
    pixels: int = 6_000_000
    vertices: int = 3_000_000


def open_contained(root: Path, limits: SceneLimits | None = None) -> Scene:
    """As `open_scene`, for a folder that came from outside.

    Raises:
        DataError: as `open_scene`; a file or a name outside the folder; a picture, an array or a surface that is
            larger than it may be, or than its file can hold. Messages name files within the folder only.
    """
    limits = limits or SceneLimits()
    folder = root.resolve()
    try:
        _check_files(folder, limits)
        _check_names(folder)
        scene = open_scene(folder)
        for view in scene.views:
            _check_view(view, folder)
    except ZimError as error:
        raise DataError(without_folder(str(error), folder)) from error
    except _MISUNDERSTOOD as error:
        raise DataError(f"scene: its camera files cannot be understood ({type(error).__name__})") from error
    if len(scene.views) > limits.views:
        raise DataError(f"scene: expected at most {limits.views} views, got {len(scene.views)}")
    skipped = tuple(Skipped(each.name, without_folder(each.reason, folder)) for each in scene.skipped)
    return replace(scene, skipped=skipped)


def without_folder(message: str, folder: Path) -> str:
    """A message with paths as seen from the folder."""
    return message.replace(f"{folder.resolve()}/", "").replace(str(folder.resolve()), "scene")


def _check_files(folder: Path, limits: SceneLimits) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_symlink():
            raise DataError(f"{file}: expected no links in a scene")
        if file.suffix in PICTURES:
            _check_picture(file, limits.pixels)
        elif file.suffix == ".npy":
            _check_array(file)
        elif file.name in SURFACES:
            _check_ply(file, limits.vertices)


def _check_picture(file: Path, most: int) -> None:
    try:
        with Image.open(file, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF")) as header:
            width, height = header.size
    except UNREADABLE as error:
        raise DataError(f"{file}: expected a picture, and it is none or is damaged") from error
    if width * height > most:
        raise DataError(f"{file}: expected at most {most / 1e6:g} megapixels, got {width} x {height}; shrink it")


def _check_array(file: Path) -> None:
    try:
        np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DataError(f"{file}: expected an array of numbers, and it is none or is cut off") from error


def _check_ply(file: Path, most: int) -> None:
    """Whether a PLY file can hold what its header announces: a reader makes room for that before it reads on."""
    if file.suffix != ".ply":
        raise DataError(f"{file}: expected a surface as .ply")
    with file.open("rb") as opened:
        head, ended, _ = opened.read(_HEADER_BYTES).partition(b"end_header")
    lines = [line.split() for line in head.decode("latin-1").splitlines()]
    if not ended or not lines or lines[0] != ["ply"]:
        raise DataError(f"{file}: expected a PLY file")
    text = ["format", "ascii"] in [line[:2] for line in lines]
    counts: list[int] = []
    sizes: list[int] = []
    for line in lines:
        if line[:1] == ["element"] and len(line) == 3 and line[2].isdigit():
            counts.append(int(line[2]))
            sizes.append(0)
        elif line[:1] == ["element"]:
            raise DataError(f"{file}: expected a number of elements, got {' '.join(line)[:40]!r}")
        elif line[:1] == ["property"] and sizes and len(line) > 2:
            sizes[-1] += 1 if line[1] == "list" or text else _PLY_SIZES.get(line[1], 1)
    if sum(count * size for count, size in zip(counts, sizes, strict=True)) > file.stat().st_size:
        raise DataError(f"{file}: announces more than the file holds")
    if max(counts, default=0) > 2 * most or sum(counts) > 3 * most:
        raise DataError(f"{file}: expected at most {most} vertices, got {max(counts)}")


def _check_names(folder: Path) -> None:
    """The files that transforms.json and COLMAP models name, before a reader looks for them."""
    path = transforms_file(folder)
    if path is not None:
        content = read_json(path)
        frames = content.get("frames") if isinstance(content, dict) else None
        for frame in frames if isinstance(frames, list) else []:
            for key in ("file_path", "depth_file_path"):
                if isinstance(frame, dict) and frame.get(key) is not None:
                    _check_name(frame[key], path)
    elif sparse_folder(folder) is not None:
        views, skipped = read_colmap(folder)
        for name in [view.name for view in views] + [each.name for each in skipped]:
            _check_name(name, folder)


def _check_name(name: Any, path: Path) -> None:
    parts = PurePosixPath(name).parts if isinstance(name, str) else ("/",)
    if not parts or parts[0] == "/" or ".." in parts or "\0" in str(name) or "\\" in str(name):
        raise DataError(f"{path}: expected names of files inside the scene, got {str(name)[:60]!r}")


def _check_view(view: View, folder: Path) -> None:
    _check_name(view.name, folder)
    for file in (view.image, view.depth):
        if isinstance(file, Path) and not file.resolve().is_relative_to(folder):
            raise DataError(f"view {view.name[:60]}: its files lie outside the scene")
