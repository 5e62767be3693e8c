"""Which points of a surface a view sees, how much its word counts there, and which point each pixel shows."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Camera
from .surface import Surface

DEPTH_TOLERANCE = 0.01
"""A point is visible when it lies within this share of its depth, or two spacings, of what the camera sees."""

LOWEST_COSINE = 0.1
EDGE_RADIUS = 0.008
"""Reach of a depth edge, as a share of the picture's long side (at least 2 pixels)."""

BEHIND_EDGE, BEFORE_EDGE = 0.05, 0.5
"""What a vote counts just beside a depth edge: on the far side, where soft edges spill over, and on the near one."""

_SPLAT = 5


class ViewMap(NamedTuple):
    """One view's relation to a surface.

    points: (V,) int32, the visible ones. xy: (V, 2) float32 image coordinates. weight: (V,) float32, cosine / z^2 with
    z in units of the view's median depth. edge_weight: (V,) float32 in (0, 1], lower at depth edges. pixels: (H, W)
    int32, the point that each pixel shows, -1 for none. depth: (H, W) float32 along z, 0 for none.
    """

    points: NDArray[np.int32]
    xy: NDArray[np.float32]
    weight: NDArray[np.float32]
    edge_weight: NDArray[np.float32]
    pixels: NDArray[np.int32]
    depth: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(array.nbytes for array in self)


def view_map(surface: Surface, camera: Camera) -> ViewMap:
    """Project a surface into a view and test its points against the depth there."""
    depth = surface.depth(camera)
    xy, z = camera.project(surface.points)
    with np.errstate(invalid="ignore"):
        inside = (z > 1e-6) & (xy >= 0).all(axis=1) & (xy < [camera.width, camera.height]).all(axis=1)
    candidates = np.flatnonzero(inside)
    column, row = np.floor(xy[candidates]).astype(int).T
    seen = depth[row, column]
    near = z[candidates]
    tolerance = np.maximum(2 * surface.spacing, DEPTH_TOLERANCE * near) + pixel_slope(depth)[row, column]
    passes = (seen > 0) & (np.abs(near - seen) < tolerance)
    visible, row, column = candidates[passes], row[passes], column[passes]
    distance = z[visible]
    usual = float(np.median(distance)) if len(distance) else 1.0
    return ViewMap(
        points=visible.astype(np.int32),
        xy=xy[visible].astype(np.float32),
        weight=(_cosines(surface, camera, visible) / (distance / usual) ** 2).astype(np.float32),
        edge_weight=edge_weights(depth, surface.spacing)[row, column],
        pixels=_pixels(surface, camera, depth, visible, row, column, distance),
        depth=depth,
    )


def edge_weights(depth: NDArray[np.float32], spacing: float) -> NDArray[np.float32]:
    """(H, W) float32: 1 away from depth edges, less beside them, least on their far side.

    The slope of the surface itself is no edge: what counts is depth beyond the line through both neighbours.
    """
    radius = max(2, round(EDGE_RADIUS * max(depth.shape)))
    far = np.float32(depth.max(initial=1.0) * 10)
    filled = np.where(depth > 0, depth, far).astype(np.float32)
    kernel = np.ones((2 * radius + 1,) * 2, np.uint8)
    tolerance = np.maximum(4 * spacing, 3 * DEPTH_TOLERANCE * depth)
    nearest = np.asarray(cv2.erode(filled, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
    farthest = np.asarray(cv2.dilate(filled, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
    behind, before = filled - nearest > tolerance, farthest - filled > tolerance
    weights = np.ones(depth.shape, np.float32)
    weights[before] = BEFORE_EDGE
    weights[behind & ~_slanted(filled, nearest, farthest)] = BEHIND_EDGE
    return weights


def pixel_slope(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) float32: how much depth changes within a pixel, from the gentler neighbour along each axis: of the two
    sides of a depth edge that is the pixel's own."""
    filled = np.where(depth > 0, depth, np.inf)
    total = np.zeros(depth.shape, np.float32)
    for axis in (0, 1):
        edges = [(1, 1) if each == axis else (0, 0) for each in (0, 1)]
        with np.errstate(invalid="ignore"):
            steps = np.abs(np.diff(np.pad(filled, edges, constant_values=np.inf), axis=axis))
        steps = np.where(np.isfinite(steps), steps, np.inf)
        sides = np.take(steps, range(depth.shape[axis]), axis), np.take(steps, range(1, depth.shape[axis] + 1), axis)
        gentle = np.minimum(*sides)
        total += np.where(np.isfinite(gentle), gentle, 0).astype(np.float32)
    return total


def sample(alpha: NDArray[np.float32], xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) values at (V, 2) image coordinates, bilinear between pixel centres -> (V,) float32."""
    if not len(xy):
        return np.zeros(0, np.float32)
    width = 16_384  # OpenCV's remap takes no wider arrays
    padded = np.zeros((-(-len(xy) // width) * width, 2), np.float32)
    padded[: len(xy)] = xy - 0.5
    where = padded.reshape(-1, width, 2)
    values = cv2.remap(alpha, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32).ravel()[: len(xy)]


def _slanted(
    depth: NDArray[np.float32], nearest: NDArray[np.float32], farthest: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Where depth rises as much as it falls: a plane seen at a grazing angle."""
    up, down = farthest - depth, depth - nearest
    return (np.minimum(up, down) > 0.6 * np.maximum(up, down)) & (up < 0.2 * depth)


def _cosines(surface: Surface, camera: Camera, points: NDArray[np.intp]) -> NDArray[np.float64]:
    """|cosine| between normal and line of sight, at least LOWEST_COSINE; 1 where no normal is known."""
    sight = camera.centre - surface.points[points]
    sight /= np.maximum(np.linalg.norm(sight, axis=1, keepdims=True), 1e-12)
    normals = surface.normals[points]
    cosine = np.abs((sight * normals).sum(axis=1))
    unknown = ~normals.any(axis=1)
    return np.where(unknown, 1.0, np.maximum(cosine, LOWEST_COSINE))


def _pixels(
    surface: Surface,
    camera: Camera,
    depth: NDArray[np.float32],
    points: NDArray[np.intp],
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    z: NDArray[np.float64],
) -> NDArray[np.int32]:
    """The nearest visible point in the picture, among those of the pixel's own depth."""
    height, width = depth.shape
    shown = np.full(height * width, -1, np.int32)
    flat_depth = depth.ravel()
    close_by = float(np.percentile(z, 10)) if len(z) else 1.0
    reach = int(np.clip(np.ceil(1.5 * surface.spacing * camera.fx / close_by), 1, _SPLAT))
    offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    order = np.argsort(-z)  # of points in one pixel the nearest is written last
    points, row, column, z = points[order], row[order], column[order], z[order]
    tolerance = np.maximum(2 * surface.spacing, DEPTH_TOLERANCE * z)
    for dy, dx in sorted(offsets, key=lambda offset: -(offset[0] ** 2 + offset[1] ** 2)):
        y, x = row + dy, column + dx
        fits = (y >= 0) & (x >= 0) & (y < height) & (x < width)
        target = (y * width + x)[fits]
        close = np.abs(flat_depth[target] - z[fits]) < tolerance[fits]
        shown[target[close]] = points[fits][close]
    return shown.reshape(height, width)
