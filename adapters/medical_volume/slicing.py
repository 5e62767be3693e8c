"""Slices of a volume as pictures with square pixels, and the way back.

Along a canonical axis a slice is a *plane*: (rows, columns) of voxels with the front or the top of the body above and
the patient's left to the left (sagittal: the back to the left). The *picture* is the plane resized to square pixels,
small planes enlarged, so that a model sees true proportions. An alpha comes back finer than the voxels, as smooth as
the enlarged picture; the way back undoes the enlargement. A mean over each voxel would smooth a second time: every
voxel would give an eighth of its share to each neighbour.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

from .geometry import Geometry
from .windowing import Window

AXIS_NAMES = ("sagittal", "coronal", "axial")
"""Of the canonical axes 0 (right), 1 (front), 2 (up): slices at right angles to them."""

MIN_SIDE, MAX_SIDE = 256, 2048
"""A picture's long side, in pixels: smaller planes are enlarged, larger ones reduced."""


class PlaneAxes(NamedTuple):
    """Canonical axes: along which slices follow, along the columns, and (read backwards) along the rows."""

    across: int
    columns: int
    rows: int


def plane_axes(axis: int) -> PlaneAxes:
    """The axes of slices at right angles to a canonical axis."""
    columns, rows = (other for other in range(3) if other != axis)
    return PlaneAxes(axis, columns, rows)


def default_axis(geometry: Geometry) -> int:
    """The canonical axis of largest spacing, where slices are thickest; axial where that is a tie."""
    spacing = np.array(geometry.spacing)
    return 2 if spacing[2] >= spacing.max() * (1 - 1e-3) else int(np.argmax(spacing))


def axis_of(text: str, geometry: Geometry) -> int:
    """The canonical axis that a word asks for.

    Args:
        text: "auto", "axial", "coronal", "sagittal", or "i", "j", "k": the file's own axes.
        geometry: of the volume.

    Raises:
        ConfigError: none of these.
    """
    if text == "auto":
        return default_axis(geometry)
    if text in AXIS_NAMES:
        return AXIS_NAMES.index(text)
    if text in ("i", "j", "k"):
        return geometry.canonical_axis("ijk".index(text))
    raise ConfigError(f"axis: expected auto, {', '.join(AXIS_NAMES)}, i, j or k, got {text!r}")


class Region(NamedTuple):
    """Rows and columns of a plane, from `top` and `left` up to but without `bottom` and `right`."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A region of a plane as a picture.

    region: of voxels. pixel_mm: height and width of a voxel.
    """

    region: Region
    pixel_mm: tuple[float, float]

    @property
    def plane_hw(self) -> tuple[int, int]:
        """Rows and columns of voxels in the region."""
        return self.region.bottom - self.region.top, self.region.right - self.region.left

    @property
    def picture_hw(self) -> tuple[int, int]:
        """Height and width of the picture, pixels."""
        height, width = (count * size for count, size in zip(self.plane_hw, self.pixel_mm, strict=True))
        side = float(np.clip(max(height, width) / min(self.pixel_mm), MIN_SIDE, MAX_SIDE))
        scale = side / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def to_picture(self, plane: NDArray[Any]) -> NDArray[Any]:
        """A whole plane, uint8 or float32 -> (H, W), linear."""
        top, left, bottom, right = self.region
        return _resized(np.ascontiguousarray(plane[top:bottom, left:right]), self.picture_hw)

    def to_plane(self, picture: NDArray[np.float32], plane_hw: tuple[int, int]) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1] -> a whole plane: what `to_picture` makes this picture of, 0 outside the region."""
        top, left, bottom, right = self.region
        plane = np.zeros(plane_hw, np.float32)
        plane[top:bottom, left:right] = np.clip(_restored(picture, self.plane_hw), 0, 1)
        return plane

    def xy_in_picture(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 2) xy in the plane -> in the picture; whole numbers are edges in both."""
        scale = np.divide(self.picture_hw, self.plane_hw)[::-1]
        return (np.asarray(xy, np.float64) - (self.region.left, self.region.top)) * scale

    def xy_in_plane(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 2) xy in the picture -> in the plane: the inverse of `xy_in_picture`."""
        scale = np.divide(self.picture_hw, self.plane_hw)[::-1]
        return np.asarray(xy, np.float64) / scale + (self.region.left, self.region.top)


@dataclass(frozen=True, kw_only=True)
class SliceView:
    """How a volume falls into slices.

    shape, spacing: of the canonical array, voxels and mm. axis: canonical, along which slices follow.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axis: int

    @property
    def axes(self) -> PlaneAxes:
        """See `PlaneAxes`."""
        return plane_axes(self.axis)

    @property
    def count(self) -> int:
        """Slices."""
        return self.shape[self.axis]

    @property
    def plane_hw(self) -> tuple[int, int]:
        """Rows and columns of voxels."""
        return self.shape[self.axes.rows], self.shape[self.axes.columns]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Height and width of a voxel in the plane."""
        return self.spacing[self.axes.rows], self.spacing[self.axes.columns]

    def plane(self, canonical: NDArray[Any], index: int) -> NDArray[Any]:
        """(rows, columns) view of slice `index` of a canonical array; writing into it writes into the array."""
        cut: list[Any] = [slice(None)] * 3
        cut[self.axis] = index
        return canonical[tuple(cut)].T[::-1]

    def frame(self, region: Region | None = None) -> Frame:
        """The picture of a region, or of the whole plane."""
        whole = Region(0, 0, *self.plane_hw)
        return Frame(region=region or whole, pixel_mm=self.pixel_mm)

    def picture(
        self, canonical: NDArray[np.floating], index: int, window: Window, frame: Frame | None = None
    ) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, grey: what a predictor is shown of slice `index`."""
        grey = window.grey(self.plane(canonical, index))
        return np.repeat((frame or self.frame()).to_picture(grey)[..., None], 3, axis=2)

    def point_in_plane(self, voxel: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 3) canonical coordinates, whole numbers at voxel centres -> (..., 2) xy in the plane, whose whole
        numbers are voxel edges."""
        voxel = np.asarray(voxel, np.float64)
        x = voxel[..., self.axes.columns] + 0.5
        y = self.plane_hw[0] - (voxel[..., self.axes.rows] + 0.5)
        return np.stack([x, y], axis=-1)

    def point_in_volume(self, xy: NDArray[np.floating], index: int) -> NDArray[np.float64]:
        """(..., 2) xy in the plane of slice `index` -> (..., 3) canonical: the inverse of `point_in_plane`."""
        xy = np.asarray(xy, np.float64)
        voxel = np.empty((*xy.shape[:-1], 3))
        voxel[..., self.axis] = index
        voxel[..., self.axes.columns] = xy[..., 0] - 0.5
        voxel[..., self.axes.rows] = self.plane_hw[0] - xy[..., 1] - 0.5
        return voxel


def _resized(array: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Linear where it grows, averages where it shrinks, along each direction by itself."""
    for axis in (0, 1):
        have, want = array.shape[axis], size_hw[axis]
        if have != want:
            size = (array.shape[1], want) if axis == 0 else (want, array.shape[0])
            method = cv2.INTER_AREA if want < have else cv2.INTER_LINEAR
            array = cv2.resize(array, size, interpolation=method)
    return array


def _restored(picture: NDArray[np.float32], plane_hw: tuple[int, int]) -> NDArray[np.float32]:
    """The inverse of `_resized`, as far as there is one."""
    rows, columns = plane_hw
    if rows < picture.shape[0]:
        picture = _shrinking(rows, picture.shape[0]) @ picture
    if columns < picture.shape[1]:
        picture = picture @ _shrinking(columns, picture.shape[1]).T
    return _resized(picture, plane_hw)


_PULL = 0.02
"""Weight of the mean over each voxel: decides where an enlargement by little has lost detail."""


@lru_cache(maxsize=16)
def _shrinking(voxels: int, pixels: int) -> NDArray[np.float32]:
    """(voxels, pixels), from pixels to the voxels whose linear enlargement fits them best (least squares)."""
    identity = np.eye(voxels)
    enlarging = cv2.resize(identity, (voxels, pixels), interpolation=cv2.INTER_LINEAR)
    means = cv2.resize(np.eye(pixels), (pixels, voxels), interpolation=cv2.INTER_AREA)
    pull = _PULL * pixels / voxels
    fitted = np.linalg.solve(enlarging.T @ enlarging + pull * identity, enlarging.T + pull * means)
    return np.asarray(fitted, np.float32)


def view_of(geometry: Geometry, axis: int) -> SliceView:
    """The slices of a volume along a canonical axis."""
    return SliceView(shape=geometry.canonical_shape, spacing=geometry.spacing, axis=axis)
