"""Posed views and the scene that they make up."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zim.errors import DataError, ImageError
from zim.image_io import read_image

from .camera import Camera

_SAME_SHAPE = 0.01
_BACKDROP = 255


class Skipped(NamedTuple):
    """A view that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture with its camera.

    name: unique in its scene, without suffix; slashes are folders. image: a file, or (H, W, 3) uint8 RGB. depth: a
    file (PNG of 16 bits, or .npy), (H, W) float32 along z in world units, 0 where nothing was measured, or None.
    depth_scale: units of the file in one unit of the world.
    """

    name: str
    camera: Camera
    image: Path | NDArray[np.uint8]
    depth: Path | NDArray[np.float32] | None = None
    depth_scale: float = 1000.0

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.camera.height, self.camera.width

    def read_image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB; a transparent picture lies on white, as NeRF's synthetic scenes are shown.

        Raises:
            ImageError: the picture cannot be read, or has not the camera's size.
        """
        image = _read_on_white(self.image) if isinstance(self.image, Path) else self.image
        if image.shape[:2] != self.hw:
            raise ImageError(f"view {self.name}: expected a picture of {_size(self.hw)}, got {_size(image.shape)}")
        return image

    def read_depth(self) -> NDArray[np.float32]:
        """(H, W) float32 along z, 0 where there is none; resized by nearest neighbour to the picture's size.

        Raises:
            DataError: there is no depth, it cannot be read, or all of it is zero.
        """
        if self.depth is None:
            raise DataError(f"view {self.name}: no depth")
        depth = _read_depth_file(self.depth, self.depth_scale) if isinstance(self.depth, Path) else self.depth
        if depth.shape != self.hw:
            if abs(depth.shape[1] * self.hw[0] / (depth.shape[0] * self.hw[1]) - 1) > _SAME_SHAPE:
                raise DataError(f"view {self.name}: depth of {_size(depth.shape)} for a picture of {_size(self.hw)}")
            depth = np.asarray(cv2.resize(depth, self.hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.float32)
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)
        if not depth.any():
            raise DataError(f"view {self.name}: the depth is zero everywhere")
        return depth


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Views of one static scene.

    views: in the order of the files. layout: which camera format they came from. skipped: what was left out.
    surface: a mesh or point cloud file that lies beside the cameras, if any.

    Raises:
        DataError: fewer than two views, or a name that occurs twice.
    """

    views: tuple[View, ...]
    layout: str = "memory"
    skipped: tuple[Skipped, ...] = ()
    surface: Path | None = None
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.views) < 2:
            left_out = "".join(f"; {each.name}: {each.reason}" for each in self.skipped[:3])
            raise DataError(f"scene: expected at least two usable views, got {len(self.views)}{left_out}")
        object.__setattr__(self, "names", tuple(view.name for view in self.views))
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise DataError(f"scene: expected every view once, got {twice!r} twice")

    def index_of(self, key: str) -> int:
        """The number of a view by its number or name; a name may be given without its folders.

        Raises:
            DataError: no view, or several, of that name.
        """
        if key.lstrip("-").isdigit() and key not in self.names:
            number = int(key)
            if 0 <= number < len(self.views):
                return number
            raise DataError(f"view: expected a number from 0 to {len(self.views) - 1}, got {key}")
        plain = str(Path(key).with_suffix("")) if "." in key else key
        fitting = [i for i, name in enumerate(self.names) if plain in (name, name.rpartition("/")[2])]
        if len(fitting) != 1:
            raise DataError(f"view: expected the name of one view, got {key!r}, which fits {len(fitting)}")
        return fitting[0]

    def has_depth(self) -> bool:
        """Whether any view has depth."""
        return any(view.depth is not None for view in self.views)


def fitted_view(view: View) -> View | Skipped:
    """The view with its camera scaled to the picture's real size, or why it cannot be used.

    Pictures are often stored smaller than the camera file says (images_4/); one of another shape is no such picture.
    """
    if not isinstance(view.image, Path):
        return view
    if not view.image.is_file():
        return Skipped(view.name, f"no picture {view.image}")
    try:
        with Image.open(view.image) as opened:
            width, height = opened.size
    except (OSError, ValueError) as error:
        return Skipped(view.name, f"{view.image} cannot be read ({error})")
    camera = view.camera
    if (width, height) == (camera.width, camera.height):
        return view
    if abs(width * camera.height / (height * camera.width) - 1) > _SAME_SHAPE:
        return Skipped(
            view.name, f"picture of {width} x {height}, camera of {camera.width} x {camera.height}: inconsistent sizes"
        )
    return replace(view, camera=camera.resized(width, height))


def _read_on_white(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as opened:
            if opened.mode not in ("RGBA", "LA"):
                return read_image(path)
            rgba = np.asarray(opened.convert("RGBA"), np.float32)
    except (OSError, ValueError) as error:
        raise ImageError(f"image file: {path} cannot be decoded ({error})") from error
    opacity = rgba[..., 3:] / 255
    return (rgba[..., :3] * opacity + _BACKDROP * (1 - opacity) + 0.5).astype(np.uint8)


def _read_depth_file(path: Path, scale: float) -> NDArray[np.float32]:
    if not path.is_file():
        raise DataError(f"depth: expected an existing file, got {path}")
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"depth: {path} cannot be read ({error})") from error
    else:
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2:
        raise DataError(f"depth: expected one channel in {path}, got {None if values is None else values.shape}")
    return (values / scale).astype(np.float32)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
