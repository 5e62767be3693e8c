"""Pinhole cameras with lens distortion, in the one convention that this adapter uses inside.

World to camera, OpenCV axes (x right, y down, z forward), float64. Image coordinates are continuous: (0, 0) is the
upper left corner of the image, the centre of its first pixel is (0.5, 0.5).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

RIGID_TOLERANCE = 1e-3
"""How far the rotation of a pose may be from orthonormal; files with six decimals stay well below it."""

_NEWTON_STEPS = 30
LensModel = Literal["opencv", "fisheye"]


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Distortion. "opencv": (k1, k2, p1, p2, k3, k4, k5, k6); "fisheye": (k1, k2, k3, k4), the equidistant model."""

    model: LensModel = "opencv"
    coefficients: tuple[float, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether the lens does nothing."""
        return self.model == "opencv" and not any(self.coefficients)

    def distort(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) coordinates on the plane z = 1 -> (N, 2) as the lens shows them."""
        if self.is_none:
            return xy
        return self._fisheye(xy) if self.model == "fisheye" else self._opencv(xy)

    def undistort(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `distort`, by Newton's method with a numerical Jacobian."""
        if self.is_none:
            return xy
        found = xy.copy()
        step = 1e-7
        for _ in range(_NEWTON_STEPS):
            here = self.distort(found)
            error = here - xy
            if np.abs(error).max(initial=0.0) < 1e-13:
                break
            by_x = (self.distort(found + [step, 0.0]) - here) / step
            by_y = (self.distort(found + [0.0, step]) - here) / step
            determinant = by_x[:, 0] * by_y[:, 1] - by_y[:, 0] * by_x[:, 1]
            determinant = np.where(np.abs(determinant) < 1e-9, 1e-9, determinant)
            found[:, 0] -= (by_y[:, 1] * error[:, 0] - by_y[:, 0] * error[:, 1]) / determinant
            found[:, 1] -= (by_x[:, 0] * error[:, 1] - by_x[:, 1] * error[:, 0]) / determinant
        return found

    def _opencv(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.coefficients, *(0.0,) * 8)[:8]
        x, y = xy[:, 0], xy[:, 1]
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=1,
        )

    def _fisheye(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        k1, k2, k3, k4 = (*self.coefficients, *(0.0,) * 4)[:4]
        radius = np.hypot(xy[:, 0], xy[:, 1])
        angle = np.arctan(radius)
        a2 = angle * angle
        bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        return xy * (bent / np.maximum(radius, 1e-12))[:, None]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One view's camera.

    width, height: pixels. fx, fy: focal lengths in pixels. cx, cy: principal point, continuous image coordinates.
    world_to_camera: (4, 4) float64, rigid. lens: distortion.

    Raises:
        DataError: sizes or focal lengths that are not positive, or a pose that is not rigid or not finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_to_camera: NDArray[np.float64]
    lens: Lens = field(default_factory=Lens)

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise DataError(f"camera: expected a size of at least 1 x 1, got {self.width} x {self.height}")
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.lens.coefficients)
        if not np.isfinite(numbers).all() or self.fx <= 0 or self.fy <= 0:
            raise DataError(f"camera: expected finite intrinsics and positive focal lengths, got {numbers}")
        object.__setattr__(self, "world_to_camera", checked_pose(self.world_to_camera))

    @property
    def camera_to_world(self) -> NDArray[np.float64]:
        """(4, 4) float64."""
        return np.asarray(np.linalg.inv(self.world_to_camera), np.float64)

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) where the camera stands in the world."""
        return self.camera_to_world[:3, 3]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) intrinsics for continuous image coordinates."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    def project(self, points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, 3) world points -> (N, 2) image coordinates and (N,) depths z.

        Points at or behind the camera have NaN as coordinates.
        """
        local = np.asarray(points, np.float64) @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth = local[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            plane = np.where(depth[:, None] > 1e-9, local[:, :2] / depth[:, None], np.nan)
        bent = self.lens.distort(plane)
        return bent * [self.fx, self.fy] + [self.cx, self.cy], depth

    def directions(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 2) image coordinates -> (N, 3) directions in camera axes with z = 1."""
        plane = (np.asarray(xy, np.float64) - [self.cx, self.cy]) / [self.fx, self.fy]
        flat = self.lens.undistort(plane)
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    def unproject(self, xy: NDArray[np.floating], depth: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 2) image coordinates and (N,) depths z -> (N, 3) world points."""
        local = self.directions(xy) * np.asarray(depth, np.float64)[:, None]
        return local @ self.camera_to_world[:3, :3].T + self.camera_to_world[:3, 3]

    def pixel_centres(self) -> NDArray[np.float64]:
        """(H * W, 2) image coordinates of all pixels, row by row."""
        x, y = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera for a picture scaled to another size."""
        x, y = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * x,
            cx=self.cx * x,
            fy=self.fy * y,
            cy=self.cy * y,
        )


def checked_pose(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """A rigid (4, 4) transform in float64; a (3, 4) one is completed.

    Raises:
        DataError: another shape, not finite, or no rotation.
    """
    pose = np.asarray(matrix, np.float64)
    if pose.shape == (3, 4):
        pose = np.concatenate([pose, [[0.0, 0.0, 0.0, 1.0]]])
    if pose.shape != (4, 4):
        raise DataError(f"pose: expected a 4 x 4 matrix, got shape {pose.shape}")
    if not np.isfinite(pose).all():
        raise DataError("pose: expected finite numbers, got NaN or infinity")
    rotation = pose[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > RIGID_TOLERANCE or np.linalg.det(rotation) < 0 or not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise DataError(
            f"pose: expected a rigid transform, got a rotation off by {error:.3g} "
            f"with determinant {np.linalg.det(rotation):.3g}"
        )
    return pose


def from_opengl(camera_to_world: NDArray[np.floating]) -> NDArray[np.float64]:
    """Camera to world with OpenGL axes (x right, y up, z backward) -> world to camera with OpenCV axes."""
    pose = np.array(camera_to_world, np.float64)
    if pose.shape == (3, 4):
        pose = np.concatenate([pose, [[0.0, 0.0, 0.0, 1.0]]])
    pose[:3, 1:3] *= -1
    return np.asarray(np.linalg.inv(checked_pose(pose)), np.float64)


def to_opengl(world_to_camera: NDArray[np.floating]) -> NDArray[np.float64]:
    """The inverse of `from_opengl`."""
    pose = np.asarray(np.linalg.inv(np.asarray(world_to_camera, np.float64)), np.float64)
    pose[:3, 1:3] *= -1
    return pose


def rotation_from_quaternion(wxyz: NDArray[np.floating]) -> NDArray[np.float64]:
    """(w, x, y, z), of any length but zero -> (3, 3).

    Raises:
        DataError: a quaternion of length zero, or not finite.
    """
    values = np.asarray(wxyz, np.float64)
    length = float(np.linalg.norm(values))
    if not np.isfinite(length) or length < 1e-9:
        raise DataError(f"pose: expected a quaternion of length 1, got {values.tolist()}")
    w, x, y, z = values / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """(3, 3) -> (w, x, y, z) with w >= 0: the eigenvector of Bar-Itzhack's matrix, stable for every rotation."""
    r = np.asarray(rotation, np.float64)
    upper = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    _, vectors = np.linalg.eigh(upper / 3)
    x, y, z, w = vectors[:, 3]
    found = np.array([w, x, y, z])
    return -found if w < 0 else found


def look_at(
    position: NDArray[np.floating], target: NDArray[np.floating], up: NDArray[np.floating]
) -> NDArray[np.float64]:
    """World to camera, (4, 4), of a camera at `position` that looks at `target` with `up` upward in the picture."""
    forward = np.asarray(target, np.float64) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ position
    return pose
