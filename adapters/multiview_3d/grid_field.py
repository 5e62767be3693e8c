"""Objects as a soft mask grid over a density grid, by inverse rendering.

The mask of a ray is the sum of its voxels' masks, weighted by the scene's own rendering weights. SA3D's loss
-sum(alpha M) + lambda sum((1 - alpha) M) is linear in the grid, so its gradient is two sums over rays: what speaks for
a voxel, and what speaks against it. The object is where the first exceeds lambda times the second; their share is the
soft mask. After arXiv 2304.12308, section 3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from zim.errors import ConfigError

from .camera import Camera
from .object_fields import Rendering
from .radiance import RadianceGrid, Rays
from .radiance_training import scaled_size
from .surface import Surface

_LEAST_WEIGHT = 0.02
_RAYS_AT_ONCE = 4096
_SEED_ALPHA = 0.9
_LOWEST_QUALITY, _HIGHEST_QUALITY = 0.1, 1.5


class _ViewWeights(NamedTuple):
    """One view's rays, at low resolution, as a sparse matrix: ray, voxel and weight of each entry; depth (h, w)."""

    ray: NDArray[np.int32]
    voxel: NDArray[np.int32]
    weight: NDArray[np.float32]
    depth: NDArray[np.float32]


class GridField:
    """An `ObjectField` over a density grid.

    negative: SA3D's lambda. picture_side: long side at which views are rendered and vote.
    """

    def __init__(
        self,
        grid: RadianceGrid,
        cameras: Sequence[Camera],
        objects: int = 1,
        *,
        negative: float = 0.7,
        picture_side: int = 200,
        prior_weight: float = 0.05,
    ) -> None:
        if not negative > 0:
            raise ConfigError(f"negative: expected a positive number, got {negative!r}")
        self.grid, self.cameras = grid, tuple(cameras)
        self._negative, self._side, self._a = negative, picture_side, prior_weight
        shape = (objects, grid.side**3)
        self._prior, self._trust = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._for, self._against = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._first_pass = True
        self._weights: dict[int, _ViewWeights] = {}

    @property
    def objects(self) -> int:
        """How many objects."""
        return len(self._prior)

    @torch.no_grad()
    def weights_of(self, view: int) -> _ViewWeights:
        """A view's rendering weights on the voxels."""
        if view not in self._weights:
            width, height = scaled_size((self.cameras[view].height, self.cameras[view].width), self._side)
            rays = self.grid.rays(self.cameras[view].resized(width, height))
            ray, voxel, weight = [], [], []
            depth = np.zeros(height * width, np.float32)
            for start in range(0, len(rays.origin), _RAYS_AT_ONCE):
                part = Rays(*(each[start : start + _RAYS_AT_ONCE] for each in rays))
                samples = self.grid.samples(part)
                found = self.grid.weights(samples)
                depth[start : start + len(found)] = (found * samples.parameter).sum(1) / found.sum(1).clamp_min(1e-6)
                depth[start : start + len(found)][(found.sum(1) < 0.5).numpy()] = 0
                rows, columns = torch.nonzero(found > _LEAST_WEIGHT, as_tuple=True)
                ray.append((rows + start).numpy().astype(np.int32))
                voxel.append(self.grid.cells(samples.position[rows, columns]).numpy().astype(np.int32))
                weight.append(found[rows, columns].numpy())
            self._weights[view] = _ViewWeights(
                np.concatenate(ray), np.concatenate(voxel), np.concatenate(weight), depth.reshape(height, width)
            )
        return self._weights[view]

    def seed(self, view: int, alphas: NDArray[np.float32]) -> list[int]:
        """Voxels that the surest pixels of the prompted view show."""
        seen, counts = self.weights_of(view), []
        for obj, alpha in enumerate(alphas):
            small = _shrunk(alpha, seen.depth.shape).ravel()
            sure = min(_SEED_ALPHA, 0.9 * float(small.max(initial=0.0)))
            chosen = seen.voxel[(small[seen.ray] >= max(sure, 0.3)) & (seen.weight > 0.1)]
            self._prior[obj, chosen] = 1
            counts.append(len(np.unique(chosen)))
        return counts

    def vote(self, view: int, obj: int, alpha: NDArray[np.float32], quality: float) -> None:
        """One step down the gradient of the loss of one view."""
        seen = self.weights_of(view)
        values = _shrunk(alpha, seen.depth.shape).ravel()[seen.ray]
        weight = seen.weight * np.float32(np.clip(quality, _LOWEST_QUALITY, _HIGHEST_QUALITY))
        size = self._for.shape[1]
        self._for[obj] += np.bincount(seen.voxel, weight * values, size).astype(np.float32)
        self._against[obj] += np.bincount(seen.voxel, weight * (1 - values), size).astype(np.float32)

    def current(self, obj: int) -> NDArray[np.float32]:
        """(R^3,) soft masks by the votes of the open pass, on top of the prior."""
        a = max(self._a, 1e-6)
        both = self._for[obj] + self._negative * self._against[obj]
        return (self._for[obj] + a * self._prior[obj]) / (both + a)

    @property
    def alpha(self) -> NDArray[np.float32]:
        """(K, R^3) the soft masks after the last pass."""
        return self._prior

    def render(self, view: int, obj: int) -> Rendering:
        """An object from a view, rendered small and scaled up."""
        seen = self.weights_of(view)
        values = self.current(obj) if self._first_pass else self._prior[obj]
        trust = self._for[obj] + self._against[obj] if self._first_pass else self._trust[obj]
        size = seen.depth.size
        mask = np.bincount(seen.ray, seen.weight * values[seen.voxel], size)
        known = np.bincount(seen.ray, seen.weight * (trust[seen.voxel] > 0), size)
        total = np.bincount(seen.ray, seen.weight, size)
        camera = self.cameras[view]
        full = (camera.width, camera.height)
        alpha = cv2.resize(mask.reshape(seen.depth.shape).clip(0, 1).astype(np.float32), full)
        settled = (known > 0.5 * total) & (total > 0.1) | (total <= 0.1)  # where nothing is, nothing is unknown
        settled_full = cv2.resize(settled.reshape(seen.depth.shape).astype(np.uint8), full, interpolation=0) > 0
        depth = cv2.resize(seen.depth, full, interpolation=cv2.INTER_NEAREST)
        return Rendering(alpha.astype(np.float32), settled_full, depth.astype(np.float32))

    def end_pass(self) -> float:
        """Close a pass."""
        before = self._prior > 0.5
        for obj in range(self.objects):
            self._prior[obj] = self.current(obj)
        if self.objects > 1:
            self._prior *= self._prior >= self._prior.max(axis=0, keepdims=True)
        self._trust = self._for + self._against
        after = self._prior > 0.5
        self._for, self._against = np.zeros_like(self._for), np.zeros_like(self._against)
        self._first_pass = False
        return float((before ^ after).sum() / max(1, int(after.sum())))

    def surface(self) -> tuple[Surface, NDArray[np.float32]]:
        """The voxels that views see, as points, and (K, N) their soft masks."""
        total = np.zeros(self.grid.side**3)
        for view in range(len(self.cameras)):
            seen = self.weights_of(view)
            total += np.bincount(seen.voxel, seen.weight, len(total))
        shown = np.flatnonzero(total > 0.5)
        z, rest = np.divmod(shown, self.grid.side**2)
        y, x = np.divmod(rest, self.grid.side)
        cells = (np.stack([x, y, z], axis=1) + 0.5) / self.grid.side * 2 - 1
        colours = torch.sigmoid(self.grid.colour[0]).reshape(3, -1)[:, torch.from_numpy(shown)].T.numpy()
        points = (cells * self.grid.half_side + self.grid.centre).astype(np.float32)
        surface = Surface(
            points=points,
            normals=np.zeros_like(points),
            colours=(colours * 255 + 0.5).astype(np.uint8),
            spacing=self.grid.voxel,
        )
        return surface, self._prior[:, shown]


def _shrunk(alpha: NDArray[np.float32], hw: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(alpha, (hw[1], hw[0]), interpolation=cv2.INTER_AREA), np.float32)
